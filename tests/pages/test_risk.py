from __future__ import annotations

import pytest

from gridpilot import views
from tests.pages.conftest import OpenPage, words


def test_risk__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("risk")
    assert not app.exception
    assert "No risk figure yet" in words(app)


def test_risk__full_ledger__tiles_and_stress(full: OpenPage) -> None:
    app = full("risk")
    assert not app.exception and not app.error
    assert [metric.label for metric in app.metric] == [
        "Expected, next 24 h",
        "VaR 95 %",
        "CVaR 95 %",
        "Drawdown",
        "Risk adjustment",
    ]
    table = app.dataframe[0].value
    assert table["change, USD"].iloc[0] == 0.0
    assert table["change, USD"].iloc[1] == pytest.approx(-table["change, USD"].iloc[2])


def test_stress__as_expected__is_the_plan_without_the_value_of_stored_energy(full: OpenPage) -> None:
    full("risk")
    snap = views.snapshot()
    assert snap is not None
    plan = snap.plan
    stored = (plan["soc_frac"][-1] - plan["soc_start_frac"]) * snap.site.battery.capacity_kwh
    usual = views.stress(snap)[0][1]
    assert usual == pytest.approx(plan["objective_usd"] - stored * plan["terminal_usd_per_mwh"] / 1000.0)


def test_risk__stale_ledger__still_answers(stale: OpenPage) -> None:
    app = stale("risk")
    assert not app.exception
    assert "Prices are stale" in words(app)
