from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import operate, views
from gridpilot.errors import Conflict, InputError
from tests.pages.conftest import OpenPage, words

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
    app.number_input(key="count_gpu").set_value(gpu).run()
    return app.button(key="override_select").click().run()


def test_dispatch__select_operate_release__each_step_on_record(full: OpenPage) -> None:
    app = _select_and_name(full("dispatch"), 2)
    assert "Void in" in words(app)
    assert views.command_log() == [], "selecting sends nothing"
    app.text_input(key="override_reason").set_value("fan test").run()
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


def test_dispatch__no_reason__one_clear_line_and_nothing_written(full: OpenPage) -> None:
    app = _select_and_name(full("dispatch"), 2)
    app.button(key="override_operate").click().run()
    assert "reason is empty" in app.error[0].value
    assert views.command_log() == []


def test_F53_operate__after_31_seconds__is_void(full: OpenPage) -> None:
    full("dispatch")
    from dataclasses import replace

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
