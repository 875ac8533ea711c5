"""Operator rules: windows over and under the strike, the high strike, hold, ramp, and what the plan makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridpilot.auction.services import sell
from gridpilot.dispatch.machines import to_dispatch
from gridpilot.domain import Battery, MachineType, PriceHistory, PriceOutlook, Rule, RuleState, Site, SiteState
from gridpilot.errors import DataError
from gridpilot.plan import solve
from gridpilot.plan.rules import follow, signal, standing
from gridpilot.plan.safety import check_plan

START = datetime(2024, 6, 24, 12, tzinfo=UTC)
MINERS = MachineType("air", 10, 10000.0, 360.0, "hash")  # 100 kW; worth 82.5 $/MWh, 64.2 with its cooling
BETTER = MachineType("hydro", 10, 10000.0, 900.0, "hash")
SITE = Site(battery=Battery(capacity_kwh=0.0), machines=(MINERS,))


def ruled(*rules: Rule, site: Site = SITE) -> Site:
    return replace(site, rules=rules)


def outlook(prices: list[float]) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(300, "s")
    return PriceOutlook(stamps, 300, np.asarray(prices, float), np.full(n, 55.0), np.full(n, 0.6))


def on(rule: Rule, prices: list[float], even: float = 64.0, state: RuleState | None = None) -> list[int]:
    flags, _ = signal(rule, state, np.array(prices), np.full(len(prices), even), 300)
    return [int(flag) for flag in flags]


def test_signal__three_windows_above_and_two_below__waits_for_both() -> None:
    rule = Rule("air", 60.0, above=3, below=2)
    assert on(rule, [70, 70, 50, 70, 70, 70, 70, 50, 70, 50, 50, 50]) == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1]


def test_signal__high_strike__acts_at_once() -> None:
    rule = Rule("air", 60.0, above=3, below=1, high_usd_per_mwh=200.0)
    assert on(rule, [70, 200, 50, 50]) == [1, 0, 1, 1]


def test_signal__hold__keeps_a_change_for_its_minutes_but_for_the_high_strike() -> None:
    rule = Rule("air", 60.0, hold_min=15.0, high_usd_per_mwh=200.0)
    assert on(rule, [70, 50, 50, 50, 70, 70, 70, 70]) == [0, 0, 0, 1, 1, 1, 0, 0]
    assert on(rule, [70, 50, 50, 50, 250, 50]) == [0, 0, 0, 1, 0, 0]


def test_signal__no_strike_given__is_the_break_even_of_the_moment() -> None:
    rule = Rule("air")
    flags, _ = signal(rule, None, np.array([60.0, 60.0]), np.array([64.0, 50.0]), 300)
    assert flags.tolist() == [True, False]


@given(st.lists(st.floats(-50.0, 300.0), min_size=2, max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_signal__cut_anywhere__goes_on_as_if_it_had_not_been(prices: list[float], above: int, below: int) -> None:
    rule = Rule("air", 60.0, above, below, 200.0, hold_min=10.0)
    whole = on(rule, prices)
    state = RuleState()
    for i, price in enumerate(prices):
        assert on(rule, prices[i:], state=state) == whole[i:]
        state = follow(rule, state, price, 64.0, 300)


def test_standing__of_a_price_history__is_how_the_rule_stands_before_its_newest_interval() -> None:
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(4) * np.timedelta64(300, "s")
    history = PriceHistory("csv", stamps, 300, np.array([70.0, 70.0, 70.0, 10.0]), np.full(4, 55.0), np.full(4, 0.6))
    state = standing(ruled(Rule("air", 60.0, above=3, below=1)), history)["air"]
    assert (state.on, state.over, state.under) == (False, 3, 0)


# --- in the plan -----------------------------------------------------------------------------


def test_plan__price_over_the_break_even_for_less_than_n_windows__runs_on() -> None:
    prices = [50.0, 90.0, 90.0, 50.0, 50.0]
    alone = solve.plan(SITE, SiteState(START, 0.5), outlook(prices))
    assert alone.loads_kw["air"] == pytest.approx([100, 0, 0, 100, 100])
    site = ruled(Rule("air", above=3))
    patient = solve.plan(site, SiteState(START, 0.5), outlook(prices))
    assert patient.loads_kw["air"] == pytest.approx([100] * 5)
    loss = sum((0.0825 - 0.09 * (1 + 1 / 3.5)) * 100 / 12 for _ in range(2))
    assert patient.objective_usd - alone.objective_usd == pytest.approx(loss, abs=1e-6)  # what a rule costs is money
    assert check_plan(site, SiteState(START, 0.5), patient) == ()


def test_plan__curtailed__comes_back_after_m_windows_though_it_would_pay_at_once() -> None:
    site, stood = ruled(Rule("air", below=3)), {"air": RuleState(on=False, over=5, under=0)}
    made = solve.plan(site, SiteState(START, 0.5, rules=stood), outlook([10.0] * 5))
    assert made.loads_kw["air"] == pytest.approx([0, 0, 100, 100, 100])


def test_plan__manual_strike_under_the_break_even__curtails_at_the_strike() -> None:
    made = solve.plan(ruled(Rule("air", 40.0)), SiteState(START, 0.5), outlook([30.0, 50.0, 30.0]))
    assert made.loads_kw["air"] == pytest.approx([100, 0, 100])


def test_plan__ramp__leaves_and_comes_back_in_stages_but_for_the_high_strike() -> None:
    rule = Rule("air", ramp_machines=4, high_usd_per_mwh=500.0)
    running = SiteState(START, 0.5, machines={"air": 10})
    made = solve.plan(ruled(rule), running, outlook([90.0, 90.0, 90.0, 90.0, 10.0, 10.0, 10.0]))
    assert made.loads_kw["air"] == pytest.approx([60, 20, 0, 0, 40, 80, 100])
    urgent = solve.plan(ruled(rule), running, outlook([500.0, 10.0]))
    assert urgent.loads_kw["air"] == pytest.approx([0, 40])


def test_plan__connection_for_half__least_efficient_off_first() -> None:
    both = replace(SITE, machines=(MINERS, BETTER), import_kw=100.0 * (1 + 1 / 3.5))
    site = ruled(Rule("air", 200.0), Rule("hydro", 200.0), site=both)
    made = solve.plan(site, SiteState(START, 0.5), outlook([150.0, 20.0]))
    assert made.loads_kw["air"] == pytest.approx([0, 0])
    assert made.loads_kw["hydro"] == pytest.approx([100, 100])


def test_plan__rule_and_auction_agree__what_the_rule_runs_or_curtails_is_what_is_sent() -> None:
    for prices, machines, sent in (
        ([90.0, 90.0, 50.0], Rule("air", above=3), 10),
        ([50.0, 50.0], Rule("air", 40.0), 0),
        ([90.0, 90.0], Rule("air", ramp_machines=3), 7),
    ):
        site, state = ruled(machines), SiteState(START, 0.5, machines={"air": 10})
        made = solve.plan(site, state, outlook(prices))
        _, auction = sell(site, made)
        dispatch = to_dispatch(site, made, auction, state, START, datetime(2024, 6, 24, 12, 10, tzinfo=UTC))
        assert (dispatch.machines["air"], dispatch.violations) == (sent, ())


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"above": 0}, "above is 0, expected 1 to 1000"),
        ({"ramp_machines": -1}, "ramp_machines is -1"),
        ({"strike_usd_per_mwh": float("nan")}, "strike_usd_per_mwh is nan"),
        ({"strike_usd_per_mwh": 90.0, "high_usd_per_mwh": 50.0}, "high strike is 50, the strike 90"),
        ({"hold_min": -5.0}, "hold_min is -5:"),
    ],
)
def test_rule__bad_figures__one_line(changes: dict[str, float], seen: str) -> None:
    with pytest.raises(DataError, match=seen):
        Rule("air", **changes)  # type: ignore[arg-type]


def test_site__rule_for_machines_that_do_not_exist__is_refused() -> None:
    with pytest.raises(DataError, match=r"rule: type is 'water', expected one of the site's machines \(air\)"):
        ruled(Rule("water"))
