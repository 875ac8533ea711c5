from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from gridpilot import operate, views
from gridpilot.console import format as fmt
from gridpilot.console import now_parts
from gridpilot.monitor.health import PilotState
from tests.pages.conftest import OpenPage, words


def test_overview__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("overview")
    assert not app.exception
    assert "No decision yet" in words(app)
    assert not app.metric


def test_overview__full_ledger__five_tiles_with_their_references(full: OpenPage) -> None:
    app = full("overview")
    assert not app.exception
    assert not app.error
    labels = [metric.label.replace("\\", "") for metric in app.metric]
    assert labels[:4] == ["Price", "Load, as sent", "State of charge", "Margin per hour"]
    assert re.fullmatch(r"P&L since \d\d:\d\d", labels[4])
    assert all(metric.delta for metric in app.metric)
    assert "Prices are stale" not in words(app)


def test_overview__full_ledger__figures_are_those_of_the_ledger(full: OpenPage) -> None:
    app = full("overview")
    snap, today = views.snapshot(), views.pnl_today()
    assert snap is not None
    assert today is not None
    shown = [metric.value.replace("\\", "") for metric in app.metric]
    price = fmt.price(snap.cycle["prices"]["energy_usd_per_mwh"], "USD/MWh")
    assert shown[0].startswith(price.value)
    assert "USD/MWh" in shown[0]
    assert shown[3].startswith(fmt.money(snap.cycle["rate"]["profit_usd_per_h"], "USD", "h").value)
    assert shown[4].startswith(fmt.money(today.profit_usd, "USD").value)


def test_overview__full_ledger__sentence_and_next_changes(full: OpenPage) -> None:
    text = words(full("overview"))
    assert views.now_sentence().text in text.replace("**", "")
    snap = views.snapshot()
    assert snap is not None
    for change in views.next_changes(snap, 3):
        assert fmt.local(change.at, snap.site.timezone, with_date=False) in text
        assert change.what in text


def test_overview__stale_prices__strip_says_so_and_the_page_works(stale: OpenPage) -> None:
    app = stale("overview")
    assert not app.exception
    assert "Prices are stale" in words(app)
    assert len(app.metric) == 5


def test_overview__emergency_stop__announces_no_change(full: OpenPage) -> None:
    assert "Nothing changes until the emergency stop is released" not in words(full("overview"))
    operate.emergency_stop(operate.local("anna"))
    app = full("overview")
    assert not app.exception
    assert "Nothing changes until the emergency stop is released" in words(app)


def test_overview__stop_pressed_a_moment_ago__sentence_says_so_at_once(full: OpenPage) -> None:
    app = full("overview")
    app.button(key="strip_stop").click().run()
    assert not app.exception
    assert "Emergency stop: all machines and the battery are being switched off" in words(app)
    assert "before the stop" in [metric.delta for metric in app.metric], "the newest decision is of before it"


def test_overview__failsafe__announces_nothing_of_the_plan(full: OpenPage) -> None:
    full("overview")
    replace(PilotState.load(views.ledger()), control="FAILSAFE").save(views.ledger())
    text = words(full("overview"))
    assert "Nothing of the plan is done while the site is in its fail-safe state" in text
    assert "What lies ahead is planned, not done" in text


def test_overview__full_ledger__money_names_its_alternative_and_what_is_stored(full: OpenPage) -> None:
    text = words(full("overview"))
    today, stored, snap = views.pnl_today(), views.stored_today(), views.snapshot()
    assert today is not None and stored is not None and snap is not None
    gain = fmt.money(today.profit_usd - today.always_on_usd, sign=True)
    assert f"Today vs. always on</td><td>{gain}" in text
    settled = views.ledger().entries("settlement", newest_first=False)[0]
    held = views.ledger().cycle(settled.body["cycle_id"])["cycle"].body["soc_frac"]
    assert stored.kwh == pytest.approx((snap.cycle["soc_frac"] - held) * snap.site.battery.capacity_kwh)
    assert stored.usd == pytest.approx(stored.kwh * snap.plan["marginal_value_usd_per_kwh"][0])
    assert str(fmt.money(stored.usd, sign=True)) in text


def test_upcoming__override_that_ends_before_the_plan_changes__is_the_next_change(full: OpenPage) -> None:
    full("overview")
    snap, now = views.snapshot(), views.status().at
    assert snap is not None and now is not None
    plan = now_parts.upcoming(snap, now)
    assert plan is not None and plan.plan
    operate.operate(operate.select("hold", {}), operate.local("anna"), {}, reason="test", minutes=5)
    found = now_parts.upcoming(snap, now)
    assert found is not None and (found.what, found.at) == ("the override ends", now + timedelta(minutes=5))
    assert now_parts.by_hand(snap) == ((now, "Machines as they are, battery at rest, by anna: test"),)


def test_status__live_prices_on_a_simulated_site__says_simulated(full: OpenPage) -> None:
    full("overview")
    newest = views.ledger().latest("cycle")
    assert newest is not None and newest.body["state_source"] == "simulated"
    assert views.status().simulated
    views.ledger().append("cycle", {**newest.body, "simulated": False, "source": "energy-charts:NL"}, at=newest.at)
    assert (views.status().mode, views.status().simulated) == ("LIVE", True)
