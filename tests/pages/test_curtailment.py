from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import operate, views
from gridpilot.console import curtailment_panel
from gridpilot.console import format as fmt
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.domain import Reading
from gridpilot.errors import Forbidden
from gridpilot.monitor import metering
from gridpilot.monitor.curtailments import audit
from tests.pages.conftest import OpenPage, approve_above, words

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`


HOUR = timedelta(hours=1)
NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)


def _events() -> list[Curtailment]:
    return curtailment.events(views.ledger())


def _give(app: AppTest, percent: float, reason: str, name: str = "anna") -> AppTest:
    app.text_input(key="operator_name").set_value(name).run()
    app.number_input(key="curtailment_amount").set_value(percent).run()
    app.text_input(key="curtailment_reason").set_value(reason).run()
    return app.button(key="curtailment_give").click().run()


def test_curtailment__within_one_persons_power__is_scheduled_and_shown(full: OpenPage) -> None:
    app = _give(full("dispatch"), 5.0, "the grid operator called")
    assert not app.exception and not app.error
    (event,) = _events()
    assert (event.status, event.percent, event.author, event.origin) == ("scheduled", 5.0, "anna", "operator")
    assert "5 % less" in words(app)
    app.run()
    assert len(_events()) == 1, "a reload gives nothing again"


def test_curtailment__no_reason__one_clear_line_and_nothing_written(full: OpenPage) -> None:
    app = _give(full("dispatch"), 5.0, " ")
    assert not app.exception
    assert "reason" in app.error[0].value
    assert _events() == []


def test_curtailment__above_the_threshold__waits_for_another_person(full: OpenPage) -> None:
    app = full("dispatch")
    approve_above(50.0)
    snap = views.snapshot()
    assert snap is not None and snap.dispatch["grid_kw"] < 0.0, "it exports now: what counts is what it will draw"
    app.number_input(key="curtailment_minutes").set_value(12 * 60).run()
    app = _give(app, 100.0, "drill")
    assert "another one must approve it" in app.success[0].value
    (event,) = _events()
    assert event.status == "proposed"
    assert app.button(key=f"approve_curtailment_{event.id}").disabled, "anna may not approve her own"
    with pytest.raises(Forbidden, match="proposed it: another person must approve it"):
        operate.approve_curtailment(operate.local("Anna "), event)
    assert _events()[0].status == "proposed"
    assert views.command_log()[0].status == "refused", "the attempt is on record"
    app.text_input(key="operator_name").set_value("bert").run()
    app.button(key=f"approve_curtailment_{event.id}").click().run()
    assert not app.exception and not app.error
    assert _events()[0].status == "scheduled"


def test_curtail__second_person__by_what_would_be_drawn_in_its_time(full: OpenPage) -> None:
    full("dispatch")
    approve_above(50.0)
    snap = views.snapshot()
    assert snap is not None
    drawn = views.values(snap.plan["import_kw"]) - views.values(snap.plan["export_kw"])
    most, least = int(drawn.argmax()), int(drawn.argmin())
    assert drawn[most] > 100.0 and drawn[least] < 0.0

    def status(in_h: float, percent: float) -> str:
        anna, target = operate.local("anna"), {"percent": percent}
        event = operate.curtail(anna, target=target, in_minutes=60 * in_h, minutes=60, ramp_s=0.0, reason="drill")
        operate.cancel_curtailment(anna, event.id, reason="drill over")
        return event.status

    assert status(most, 90.0) == "proposed"
    assert status(most, 1.0) == "scheduled"
    assert status(least, 90.0) == "scheduled", "nothing is drawn in that hour: there is nothing to leave out"
    assert status(len(drawn), 90.0) == "proposed", "beyond the plan it may draw all that the connection carries"


def test_curtailment__cancelled__stays_on_record(full: OpenPage) -> None:
    app = _give(full("dispatch"), 5.0, "the grid operator called")
    (event,) = _events()
    app.button(key=f"cancel_curtailment_{event.id}").click().run()
    assert not app.exception and not app.error
    assert [row.status for row in _events()] == ["cancelled"]
    assert f"cancel_curtailment_{event.id}" not in [button.key for button in app.button]


def test_strip__while_a_curtailment_holds__says_so_and_no_longer(full: OpenPage) -> None:
    app = full("dispatch")
    at = views.status().at
    assert at is not None and views.status().curtailed == ""
    event = Curtailment("e1", "utility", "grid", "peak", at, at + timedelta(minutes=30), import_kw=300.0)
    curtailment.submit(views.ledger(), event, at)
    ends = (at + timedelta(minutes=30)).astimezone(ZoneInfo(views.status().timezone))
    assert views.status().curtailed == f"at most 300 kW from the grid until {ends:%H:%M}"
    assert ">CURTAILED</span>" in words(app.run())
    curtailment.cancel(views.ledger(), "e1", author="grid", reason="over", now=at)
    assert views.status().curtailed == ""


def test_strip__commanded_curtailment__says_by_whom(full: OpenPage) -> None:
    full("dispatch")
    target = {"import_kw": 1000.0}
    operate.operate(operate.select("curtail", target), operate.local("anna"), target, reason="drill", minutes=30)
    assert views.status().curtailed.startswith("by anna until ")


def test_curtailment__before_it_is_given__connection_and_money_before_and_after(full: OpenPage) -> None:
    app = full("dispatch")
    snap = views.snapshot()
    assert snap is not None
    assert {"Highest import", "Money per hour"} <= {metric.label for metric in app.metric}
    seen = operate.foresee({"import_kw": 0.0}, 0.0, 12 * 60.0)
    drawn = views.values(snap.plan["import_kw"]) - views.values(snap.plan["export_kw"])
    assert (seen.after_kw, seen.limit_kw) == (0.0, 0.0)
    assert seen.before_kw == pytest.approx(max(float(snap.dispatch["grid_kw"]), *drawn[:12].tolist()))
    assert seen.less_kwh == pytest.approx(float(drawn[:12].clip(0.0).sum()), rel=1e-3)
    assert seen.now is not None and seen.now.before_kw == pytest.approx(snap.dispatch["grid_kw"])


def test_curtailment__percent_later__says_that_the_baseline_is_not_known_yet(full: OpenPage) -> None:
    app = full("dispatch")
    assert curtailment_panel.NOT_YET not in words(app), "at once it is"
    app.number_input(key="curtailment_in").set_value(30).run()
    assert curtailment_panel.NOT_YET in words(app)
    app.get("button_group")[-1].set_value(curtailment_panel.KW).run()
    assert not app.exception
    assert curtailment_panel.NOT_YET not in words(app)


def test_foresee__later__nothing_is_said_of_the_money_now(full: OpenPage) -> None:
    full("dispatch")
    assert operate.foresee({"percent": 50.0}, 120.0, 60.0).now is None
    high = operate.foresee({"import_kw": 1e6}, 120.0, 60.0)
    assert (high.after_kw, high.less_kwh) == (high.before_kw, 0.0)


def test_state_words__begun_but_not_yet_written_so__is_active(full: OpenPage) -> None:
    full("dispatch")
    target, anna = {"import_kw": 600.0}, operate.local("anna")
    event = operate.curtail(anna, target=target, in_minutes=0.0, minutes=60.0, ramp_s=0.0, reason="call")
    assert event.status == "scheduled"
    assert curtailment_panel.state_words(event, event.start) == "active"
    assert curtailment_panel.state_words(event, event.start - timedelta(seconds=2)) == "scheduled"
    (kept,) = _events()
    assert curtailment_panel.turns(kept.start) == [(kept.end, "the curtailment ends")]


def test_curtailment__in_kw__the_form_takes_it_and_previews_it(full: OpenPage) -> None:
    app = full("dispatch")
    app.segmented_control(key="curtailment_unit").set_value(curtailment_panel.KW).run()
    assert not app.exception
    assert app.number_input(key="curtailment_kw").value == 750.0, "25 % do not become 25 kW"
    app.number_input(key="curtailment_kw").set_value(400.0).run()
    app.number_input(key="curtailment_in").set_value(120).run()
    seen = operate.foresee({"import_kw": 400.0}, 120.0, 60.0)
    (tile,) = [metric for metric in app.metric if metric.label == "Highest import"]
    assert not app.exception
    assert tile.value.startswith(fmt.number(seen.after_kw).replace(".", "\\."))
    assert "Money" in [metric.label for metric in app.metric], "of later hours the plan says nothing yet"


def test_foresee__beside_an_override_that_keeps_the_limit__changes_no_money(full: OpenPage) -> None:
    full("dispatch")
    snap = views.snapshot()
    assert snap is not None
    planned = {**snap.dispatch, "battery_kw": 0.0}
    body = {**snap.cycle, "planned": planned}  # an override holds: what runs is not the plan
    views.ledger().append("cycle", body, at=snap.at, cycle_id=snap.cycle_id)
    seen = operate.foresee({"import_kw": snap.site.import_kw}, 0.0, 60.0)
    assert seen.now is not None
    assert seen.now.after_usd_per_h == pytest.approx(seen.now.before_usd_per_h)


def _said(*kw: float | None, **event: float) -> str:
    """What is said after an hour of at most 300 kW, metered each minute; None: that reading is missing. The rest of the
    hour is as the last one."""
    store = views.ledger()
    start = datetime(2024, 7, 1, 8, tzinfo=UTC)
    asked = event if "percent" in event else {"import_kw": 300.0, **event}
    row = Curtailment("e1", "utility", "grid", "peak", start, start + HOUR, status="ended", **asked)
    for n in range(60):
        moment, grid_kw = start + timedelta(minutes=n), kw[min(n, len(kw) - 1)]
        if grid_kw is not None:
            store.append(metering.KIND, metering.record(Reading(moment, {}, 0.0, grid_kw=grid_kw)), at=moment)
    found = audit(store, row, start + HOUR)
    said = curtailment_panel.verdict(found, row, "Europe/Amsterdam").replace("\N{NO-BREAK SPACE}", " ")
    table = {"yes": "was kept", "no": "was not kept", "not known": "nobody knows", "": "nobody knows"}
    assert table[curtailment_panel._kept(row, found)] in said, "the table and the line say the same"
    return said.removeprefix("Curtailment Mon 1 Jul 10:00\N{EN DASH}11:00")


def test_verdict__by_the_meter__kept(full: OpenPage) -> None:
    full("dispatch")
    assert _said(295.0) == " was kept: 295 kW on average where at most 300 kW was asked for"


def test_verdict__more_drawn_for_a_minute__not_kept_when_and_how_much(full: OpenPage) -> None:
    full("dispatch")
    said = _said(*[295.0] * 30, 480.0, 295.0)
    assert said == " was not kept: 332 kW in the five minutes of 10:30, where 300 kW was allowed"


def test_verdict__above_it_nearly_all_the_time__a_gap_does_not_hide_that(full: OpenPage) -> None:
    full("dispatch")
    said = _said(*[480.0] * 20, *[None] * 12, 480.0)
    assert said.startswith(" was not kept: 480 kW in the five minutes of 10:")


def test_verdict__a_ramp_followed_too_slowly__the_interval_of_the_ramp_and_what_it_allowed(full: OpenPage) -> None:
    full("dispatch")
    said = _said(*[600.0] * 19, 290.0, ramp_s=1200.0, baseline_kw=600.0)
    assert said.startswith(" was not kept: ") and said.endswith("where 338 kW was allowed")


def test_verdict__as_long_a_ramp_as_the_event__no_average_is_told(full: OpenPage) -> None:
    full("dispatch")
    said = _said(290.0, ramp_s=3600.0, baseline_kw=600.0)
    assert said == " was kept: never more than its ramp where at most 300 kW was asked for"


def test_verdict__under_the_target_long_before_the_ramp_is_over__kept(full: OpenPage) -> None:
    full("dispatch")
    said = _said(590.0, *[550.0] * 2, *[280.0] * 2, 290.0, ramp_s=1200.0, baseline_kw=600.0)
    assert said == " was kept: 290 kW on average where at most 300 kW was asked for"


def test_verdict__reached_too_late__says_how_much(full: OpenPage) -> None:
    full("dispatch")
    assert _said(301.0, 301.0, 303.0, 290.0).startswith(" was not kept: 300 kW was reached 3 min late")


def test_verdict__the_meter_was_silent__nobody_knows(full: OpenPage) -> None:
    full("dispatch")
    assert _said(*[295.0] * 20, None) == ": not metered throughout, so that nobody knows whether it was kept"
    assert "nobody knows" in curtailment_panel.verdict(None, Curtailment("e9", "u", "g", "p", NOON, NOON + HOUR), "UTC")


def test_verdict__percent_of_a_baseline_that_is_not_on_record__that_is_what_is_said(full: OpenPage) -> None:
    full("dispatch")
    assert _said(295.0, percent=25.0) == ": its baseline is not on record, so that nobody knows whether it was kept"


def test_in_force__for_an_hour_after_its_end__the_page_says_whether_it_was_kept(full: OpenPage) -> None:
    app = full("dispatch")
    now = views.present()
    assert now is not None
    begun = now - timedelta(minutes=40)
    event = Curtailment("e1", "utility", "grid", "peak", begun, now - timedelta(minutes=10), import_kw=300.0)
    curtailment.submit(views.ledger(), event, begun)
    assert "nobody knows whether it was kept" in words(app.run())
    long_over = replace(event, id="e2", start=now - 3 * HOUR, end=now - 2 * HOUR)
    curtailment.submit(views.ledger(), long_over, now - 3 * HOUR)
    assert words(app.run()).count("nobody knows whether it was kept") == 1
