"""Whole machines: as many as the auction's kW carry, never above the connection, and checked by the checker alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.auction.services import sell
from gridpilot.config import DATA, load_site
from gridpilot.dispatch.machines import from_counts, to_dispatch
from gridpilot.domain import Dispatch, PriceOutlook, SiteState
from gridpilot.plan.loads import job_needs
from gridpilot.plan.safety import check_dispatch
from gridpilot.plan.solve import plan

AT = datetime(2024, 6, 24, 12, tzinfo=UTC)
UNTIL = AT + timedelta(hours=2)
SITE = load_site(DATA / "site-default.toml")


def dispatch_for(prices: list[float], hashprice: float, soc: float) -> tuple[SiteState, Dispatch]:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(3600, "s")
    ahead = PriceOutlook(stamps, 3600, np.array(prices), np.full(n, hashprice), np.full(n, 0.6))
    state = SiteState(AT, soc, jobs=job_needs(SITE, AT, n * 3600.0, {}))
    made = plan(SITE, state, ahead)
    _, result = sell(SITE, made)
    return state, to_dispatch(SITE, made, result, state, AT, UNTIL)


@settings(deadline=None, max_examples=80)
@given(
    prices=st.lists(st.floats(-200.0, 600.0), min_size=2, max_size=12),
    hashprice=st.floats(20.0, 120.0),
    soc=st.floats(0.0, 1.0),
)
def test_to_dispatch__any_plan__is_safe_and_whole(prices: list[float], hashprice: float, soc: float) -> None:
    state, made = dispatch_for(prices, hashprice, soc)
    assert made.violations == ()
    assert made.constraints_satisfied
    assert check_dispatch(SITE, state, made, step_s=3600.0) == ()
    assert made.grid_kw <= SITE.import_kw + 1e-6
    assert all(isinstance(count, int) for count in made.machines.values())


def test_to_dispatch__cheap_power__the_best_machines_run_and_the_connection_is_used() -> None:
    _, made = dispatch_for([20.0] * 6, 55.0, 0.9)
    assert made.machines["hydro"] == 40 and made.machines["gpu"] == 12
    smallest = min(m.power_kw for m in SITE.machines) * (1 + SITE.cooling.kw_per_kw)
    assert SITE.import_kw - made.grid_kw < smallest, "less than one more machine is left unused"


def test_to_dispatch__dear_power__miners_are_off_and_inference_stays() -> None:
    _, made = dispatch_for([400.0, 400.0, 20.0, 20.0], 55.0, 0.5)
    assert (made.machines["air"], made.machines["immersion"], made.machines["hydro"]) == (0, 0, 0)
    assert made.machines["gpu"] == 12
    assert made.battery_kw < 0.0


def test_from_counts__above_the_limit__is_not_clamped_but_named() -> None:
    counts = {m.type: m.count for m in SITE.machines}
    made = from_counts(SITE, SiteState(AT, 0.5), counts, 0.0, {}, {}, AT, UNTIL, "override")
    assert made.machines == counts
    assert not made.constraints_satisfied
    assert made.payload["constraints_satisfied"] is False
    assert "limit 1,000 kW" in made.violations[0]


def test_from_counts__payload__adds_up_to_the_site() -> None:
    made = from_counts(
        SITE, SiteState(AT, 0.5), {"hydro": 10, "gpu": 2}, 50.0, {"training": 30.0}, {}, AT, UNTIL, "plan"
    )
    power = made.payload["power_requirements"]
    assert sum(kw for name, kw in power.items() if name != "battery") == pytest.approx(made.total_power_kw)
    assert made.payload["allocation"] == {
        "mining": pytest.approx(53.6),
        "inference": pytest.approx(20.4),
        "training": 30.0,
    }
    assert made.payload["system_state"]["grid_kw"] == pytest.approx(made.total_power_kw + 50.0)


def test_from_counts__battery_with_an_unknown_state__is_refused_by_the_checker() -> None:
    made = from_counts(SITE, SiteState(AT, float("nan")), {}, 100.0, {}, {}, AT, UNTIL, "override")
    assert not made.constraints_satisfied
