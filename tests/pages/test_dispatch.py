from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import operate, views
from gridpilot.config import Settings
from gridpilot.console import command_inputs, dispatch_parts, widgets
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch import stopfile
from gridpilot.errors import Conflict, InputError
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from tests.pages.conftest import OpenPage, approve_above, next_hour, words

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

ANNA = operate.local("anna")


def test_dispatch__empty_ledger__says_what_comes_and_offers_no_override(empty: OpenPage) -> None:
    app = empty("dispatch")
    assert not app.exception
    assert "Nothing was sent yet" in words(app)
    assert [button.key for button in app.button if (button.key or "").startswith("override")] == []


def test_dispatch__full_ledger__planned_sent_and_actual(full: OpenPage) -> None:
    app = full("dispatch")
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    table = app.dataframe[0].value
    assert dict(zip(table["machines"], table["actual"], strict=True)) == snap.dispatch["machines"]
    assert table["actual"].tolist() == table["sent"].tolist()


def _select_and_name(app: AppTest, gpu: int) -> AppTest:
    app.text_input(key="operator_name").set_value("anna").run()
    app.text_input(key="override_reason").set_value("fan test").run()
    app.number_input(key="count_gpu").set_value(gpu).run()
    return app.button(key="override_select").click().run()


def test_dispatch__select_operate_release__each_step_on_record(full: OpenPage) -> None:
    app = _select_and_name(full("dispatch"), 2)
    assert "Void in" in words(app)
    assert views.command_log() == [], "selecting sends nothing"
    app.button(key="override_operate").click().run()
    assert not app.exception and not app.error
    given = views.override_in_force()
    assert given is not None
    assert (given.author, given.reason, given.target) == ("anna", "fan test", {"gpu": 2})
    assert "In force" in "\n".join(warning.value for warning in app.warning)
    app.run()
    assert len(views.command_log()) == 1, "a reload sends nothing again"
    app.button(key="override_release").click().run()
    assert views.override_in_force() is None
    assert views.command_log()[0].status == "released"


@pytest.mark.parametrize("missing", ["reason", "author"])
def test_dispatch__no_name_or_reason__one_clear_line_before_the_seconds_run(full: OpenPage, missing: str) -> None:
    app = full("dispatch")
    app.text_input(key="override_reason" if missing == "author" else "operator_name").set_value("anna").run()
    app.button(key="override_select").click().run()
    assert len(app.error) == 1 and f"the {missing} is empty" in app.error[0].value
    assert "override_selected" not in app.session_state and "Void in" not in words(app)


def test_dispatch__reason_taken_away_after_the_look__nothing_written(full: OpenPage) -> None:
    app = _select_and_name(full("dispatch"), 2)
    app.text_input(key="override_reason").set_value(" ").run()
    app.button(key="override_operate").click().run()
    assert "reason is empty" in app.error[0].value
    assert views.command_log() == []


def test_dispatch__a_command_was_accepted__said_for_a_while_not_for_ever(
    full: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _select_and_name(full("dispatch"), 2)
    app.button(key="override_operate").click().run()
    app.run()
    assert ["accepted" in said.value for said in app.success] == [True]
    monkeypatch.setattr(widgets, "TOLD_S", 0.0)
    app.run()
    assert not app.success


def test_F53_operate__after_31_seconds__is_void(full: OpenPage) -> None:
    full("dispatch")
    selected = operate.select("machines", {"gpu": 1})
    late = replace(selected, selected_at=datetime.now(UTC) - timedelta(seconds=31))
    with pytest.raises(InputError, match="select it again"):
        operate.operate(late, ANNA, {"gpu": 1}, reason="late", minutes=30)


def test_F32_select__more_than_the_site_has__names_the_limit_and_cannot_be_operated(full: OpenPage) -> None:
    full("dispatch")
    selected = operate.select("machines", {"hydro": 41})
    assert selected.violations == ("hydro: 41 machines, the site has 40",)
    with pytest.raises(InputError, match="break a limit"):
        operate.operate(selected, ANNA, {"hydro": 41}, reason="greed", minutes=30)
    assert views.command_log() == []


def test_F53_operate__another_value_than_selected__is_inconsistent_and_on_record(full: OpenPage) -> None:
    full("dispatch")
    selected = operate.select("machines", {"gpu": 1})
    with pytest.raises(InputError, match="inconsistent: gpu 1 was selected, gpu 2 operated"):
        operate.operate(selected, ANNA, {"gpu": 2}, reason="slip", minutes=30)
    row = views.command_log()[0]
    assert (row.status, row.detail[:12], views.override_in_force()) == ("refused", "inconsistent", None)


def test_F53_dispatch__input_changed_after_the_selection__selection_is_dropped(full: OpenPage) -> None:
    app = _select_and_name(full("dispatch"), 2)
    app.number_input(key="count_gpu").set_value(3).run()
    assert "Void in" not in words(app)
    with pytest.raises(KeyError):
        app.button(key="override_operate")
    assert views.command_log() == []


def test_F52_operate__somebody_acted_in_between__refused_with_the_reason(full: OpenPage) -> None:
    full("dispatch")
    mine, theirs = operate.select("machines", {"gpu": 1}), operate.select("hold", {})
    operate.operate(theirs, operate.local("bert"), {}, reason="maintenance", minutes=30)
    with pytest.raises(Conflict, match="somebody acted in between"):
        operate.operate(mine, ANNA, {"gpu": 1}, reason="fan test", minutes=30)


def test_dispatch__emergency_stop__one_press_and_two_steps_back(full: OpenPage) -> None:
    app = full("dispatch")
    app.button(key="strip_stop").click().run()
    app.run()
    assert views.stopped() is not None
    assert "Emergency stop" in words(app)
    app.text_input(key="operator_name").set_value("anna").run()
    app.text_input(key="stop_reason").set_value("false alarm").run()
    app.button(key="stop_request").click().run()
    assert views.stopped() is not None, "one step is not enough"
    app.button(key="stop_confirm").click().run()
    assert not app.exception
    assert views.stopped() is None


def test_dispatch__stale_ledger__still_answers(stale: OpenPage) -> None:
    app = stale("dispatch")
    assert not app.exception
    assert "Prices are stale" in words(app)


# --- other kinds -----------------------------------------------------------------------------


def _choose(app: AppTest, kind: str) -> AppTest:
    app.text_input(key="operator_name").set_value("anna").run()
    app.text_input(key="override_reason").set_value("grid operator called").run()
    return app.get_by_key("override_kind").set_value(kind).run()


def _give(app: AppTest) -> views.Command:
    app.button(key="override_select").click().run()
    app.button(key="override_operate").click().run()
    assert not app.exception and not app.error
    given = views.override_in_force()
    assert given is not None
    return given


def test_dispatch__curtail__in_kw_or_percent_of_the_connection(full: OpenPage) -> None:
    app = _choose(full("dispatch"), "curtail")
    app.number_input(key="curtail_kw").set_value(400.0).run()
    app.button(key="override_select").click().run()
    assert "Grid power" in words(app)
    app.button(key="override_operate").click().run()
    given = views.override_in_force()
    assert given is not None and given.target == {"import_kw": 400.0}
    assert "At most 400 kW from the grid" in "\n".join(warning.value for warning in app.warning)
    app.get_by_key("curtail_unit").set_value("% of the connection").run()
    app.number_input(key="curtail_percent").set_value(25.0).run()
    assert _give(app).target == {"percent": 25.0}


def test_dispatch__price_threshold__in_the_sources_unit(full: OpenPage) -> None:
    app = _choose(full("dispatch"), "threshold")
    app.number_input(key="threshold_price").set_value(90.0).run()
    snap = views.snapshot()
    assert snap is not None
    price = 90.0 * snap.units.energy_usd_per_mwh
    assert _give(app).target == {"type": "all miners", "energy_usd_per_mwh": pytest.approx(price)}
    assert "all miners off while energy costs" in "\n".join(warning.value for warning in app.warning)


def test_select__another_command_in_force__effect_is_over_the_plan_that_it_gives_way_to(full: OpenPage) -> None:
    full("dispatch")
    snap = views.snapshot()
    assert snap is not None
    wall = datetime.now(UTC)
    with Ledger.open(views.settings().database_url()) as ledger:
        first = operate.select("machines", {"gpu": 0})
        operate.operate(first, ANNA, {"gpu": 0}, reason="fan test", minutes=60)
        engine = open_engine(Settings(source="replay"), ledger)
        assert isinstance(engine.source, ReplaySource)
        engine.source.clock = replace(engine.source.clock, wall=wall, replay=snap.at, speed=0.0)
        run_cycle(engine, wall)
    now = views.snapshot()
    assert now is not None and now.dispatch["machines"]["gpu"] == 0 and now.dispatch["origin"] == "override"
    second = operate.select("battery_kw", {"battery_kw": now.cycle["planned"]["battery_kw"]})
    assert second.before_kw == pytest.approx(now.dispatch["grid_kw"])
    assert second.after_kw == pytest.approx(now.cycle["planned"]["grid_kw"])
    assert second.after_kw > second.before_kw + 10.0, "the gpus come back with the plan"


# --- a second person, a hold, a stop in a file -----------------------------------------------


def test_dispatch__above_the_threshold__proposed_then_approved_by_another_name(full: OpenPage) -> None:
    app = full("dispatch")
    approve_above(50.0)
    app.text_input(key="override_reason").set_value("hall 3 floods").run()
    app = _select_and_name(app, 0)
    assert app.button(key="override_operate").label == "Propose"
    app.button(key="override_operate").click().run()
    assert views.override_in_force() is None
    number = views.proposals()[0][0].id
    assert app.button(key=f"approve_{number}").disabled, "anna may not approve her own"
    app.text_input(key="operator_name").set_value("bert").run()
    app.button(key=f"approve_{number}").click().run()
    assert not app.exception and not app.error
    given = views.override_in_force()
    assert given is not None and (given.author, given.detail) == ("anna", "approved by bert")


def test_dispatch__proposal__taken_back_by_its_author(full: OpenPage) -> None:
    app = full("dispatch")
    approve_above(50.0)
    operate.operate(operate.select("machines", {"gpu": 0}), ANNA, {"gpu": 0}, reason="test", minutes=30)
    app.text_input(key="operator_name").set_value("anna").run()
    number = views.proposals()[0][0].id
    assert app.button(key=f"reject_{number}").label == "Take back"
    app.button(key=f"reject_{number}").click().run()
    assert views.proposals() == [] and views.command_log()[0].status == "released"


def test_dispatch__on_hold__says_why_and_resumes_with_a_reason(full: OpenPage) -> None:
    app = full("dispatch")
    ledger = views.ledger()
    ledger.put_state("hold", {"reason": "machines were changed from outside twice", "at": "2024-06-24T12:00:00Z"})
    app.text_input(key="operator_name").set_value("anna").run()
    assert "changed from outside twice" in words(app)
    app.button(key="hold_resume").click().run()
    assert "reason is empty" in app.error[0].value
    app.text_input(key="hold_reason").set_value("electrician has left").run()
    app.button(key="hold_resume").click().run()
    assert not app.exception
    assert views.on_hold() is None
    assert (views.command_log()[0].kind, views.command_log()[0].author) == ("resume", "anna")


def test_F56_dispatch__stop_latched_in_the_file_alone__strip_and_panel_say_stopped(full: OpenPage) -> None:
    app = full("dispatch")
    stopfile.press(views.settings().database_url(), author="anna", reason="smoke", at=datetime.now(UTC))
    app.run()
    assert app.button(key="strip_stop").label == "Stopped"
    assert views.status().control == "ESTOP"
    assert "Pressed by anna" in words(app)
    assert "latched in a file" in app.warning[0].value


def test_dispatch__name__kept_from_page_to_page(full: OpenPage) -> None:
    app = full("dispatch")
    app.text_input(key="operator_name").set_value("anna").run()
    app.switch_page("../../pages/health.py").run()
    app.button(key="strip_stop").click().run()
    stop = views.stopped()
    assert stop is not None and stop["author"] == "anna"
    app.switch_page("../../pages/dispatch.py").run()
    assert app.text_input(key="operator_name").value == "anna"


def test_dispatch__stop_in_force__says_that_the_plan_is_not_followed(full: OpenPage) -> None:
    app = full("dispatch")
    assert "The plan is grey" not in words(app)
    app.button(key="strip_stop").click().run()
    assert not app.exception
    assert "Nothing changes until the emergency stop is released. The plan is grey." in words(app)


@pytest.mark.parametrize(
    ("asked", "actual", "expected"),
    [
        (10, 10, "on, as sent"),
        (0, 0, "off, as sent"),
        (40, 3, "switching: 37 to start"),
        (0, 10, "switching: 10 to stop"),
        (5, None, "no reading"),
        (None, 5, "nothing sent yet"),
    ],
)
def test_state_words__sent_and_read_back__say_what_is_left(
    asked: int | None, actual: int | None, expected: str
) -> None:
    assert dispatch_parts.state_words(asked, actual) == expected


def test_command_log__stop_and_override_in_a_replay__each_time_under_its_own_clock(full: OpenPage) -> None:
    full("dispatch")
    operate.operate(operate.select("hold", {}), ANNA, {}, reason="test", minutes=30)
    operate.emergency_stop(ANNA)
    snap = views.snapshot()
    assert snap is not None
    stop, hold = command_inputs.log(snap, views.command_log()).to_dict("records")
    assert (stop["site time"], stop["until, site time"], hold["clock"]) == ("", "", "")
    assert "Jun" in hold["site time"] and "Jun" in hold["until, site time"]
    assert stop["clock"]


def test_dispatch__a_decision_comes__inputs_that_nobody_touched_follow_it(full: OpenPage) -> None:
    app = full("dispatch")
    app.number_input(key="count_gpu").set_value(3).run()
    before = views.snapshot()
    for _ in range(6):
        next_hour()
    app.run()
    snap = views.snapshot()
    assert snap is not None and before is not None and snap.dispatch["machines"] != before.dispatch["machines"]
    shown = {machine.type: app.number_input(key=f"count_{machine.type}").value for machine in snap.site.machines}
    assert shown == {**snap.dispatch["machines"], "gpu": 3}
    app.text_input(key="operator_name").set_value("anna").run()
    app.text_input(key="override_reason").set_value("fan test").run()
    app.button(key="override_select").click().run()
    assert app.session_state["override_selected"].target == {"gpu": 3}
