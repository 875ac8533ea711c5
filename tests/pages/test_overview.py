from __future__ import annotations

import re

from gridpilot import operate, views
from gridpilot.console import format as fmt
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
    assert labels[:4] == ["Price", "Load", "State of charge", "Margin per hour"]
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


def test_status__live_prices_on_a_simulated_site__says_simulated(full: OpenPage) -> None:
    full("overview")
    newest = views.ledger().latest("cycle")
    assert newest is not None and newest.body["state_source"] == "simulated"
    assert views.status().simulated
    views.ledger().append("cycle", {**newest.body, "simulated": False, "source": "energy-charts:NL"}, at=newest.at)
    assert (views.status().mode, views.status().simulated) == ("LIVE", True)
