"""The planner against physics, an independent linear program, and bad states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gridpilot.config import DATA, load_site
from gridpilot.domain import Battery, GridLimit, Plan, PriceOutlook, Site, SiteState
from gridpilot.errors import PlanError
from gridpilot.plan import fallback, model, program, solve, terms
from gridpilot.plan.loads import job_needs
from gridpilot.plan.problem import Problem, build_problem, import_limits
from gridpilot.plan.result import objective
from gridpilot.plan.safety import check_plan

START = datetime(2024, 6, 24, 12, tzinfo=UTC)
DEFAULT = load_site(DATA / "site-default.toml")
ALONE = Site(battery=Battery(terminal_usd_per_mwh=40.0))


def outlook(prices: list[float] | np.ndarray, step_s: int = 3600) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(step_s, "s")
    return PriceOutlook(stamps, step_s, np.asarray(prices, float), np.full(n, 55.0), np.full(n, 0.6))


def state(soc: float, site: Site = DEFAULT, hours: float = 24.0) -> SiteState:
    return SiteState(START, soc, jobs=job_needs(site, START, hours * 3600.0, {}))


def oracle(battery: Battery, prices: np.ndarray, soc: float, limit: float = 1000.0) -> float:
    """The best money of a battery alone with the grid, by scipy's own interface to a linear program.

    Variables: charge (n), discharge (n). Stored energy is a running sum of them.
    """
    n, h = len(prices), 1.0
    p = prices / 1000.0
    gain = np.tril(np.ones((n, n))) * h
    stored = np.hstack([gain * battery.efficiency_charge, -gain / battery.efficiency_discharge])
    start = soc * battery.capacity_kwh
    high = np.full(n, battery.soc_max * battery.capacity_kwh - start)
    low = np.full(n, start - battery.soc_min * battery.capacity_kwh)
    worth = (battery.terminal_usd_per_mwh or 0.0) / 1000.0
    wear = battery.wear_usd_per_kwh
    gains = np.concatenate([-h * (p + wear), h * (p - wear)]) + worth * stored[-1]
    bounds = [(0.0, min(limit, battery.charge_kw))] * n + [(0.0, min(limit, battery.discharge_kw))] * n
    found = linprog(-gains, A_ub=np.vstack([stored, -stored]), b_ub=np.concatenate([high, low]), bounds=bounds)
    assert found.status == 0
    return -float(found.fun)


@settings(deadline=None, max_examples=40)
@given(
    prices=st.lists(st.floats(1.0, 500.0), min_size=1, max_size=24),
    soc=st.floats(0.15, 0.90),
    eta=st.floats(0.5, 1.0),
    power=st.sampled_from([0.0, 100.0, 250.0, 1000.0]),
)
def test_plan__battery_alone__equals_an_independent_linear_program(
    prices: list[float], soc: float, eta: float, power: float
) -> None:
    battery = Battery(
        charge_kw=power, discharge_kw=power, efficiency_charge=eta, efficiency_discharge=eta, terminal_usd_per_mwh=60.0
    )
    site = Site(battery=battery)
    found = solve.plan(site, SiteState(START, soc), outlook(prices))
    assert found.status == "optimal"
    assert found.objective_usd == pytest.approx(oracle(battery, np.array(prices), soc), rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    prices=st.lists(st.floats(-500.0, 3000.0), min_size=2, max_size=24),
    soc=st.floats(0.0, 1.0),
    limit=st.sampled_from([0.0, 120.0, 1000.0]),
)
def test_plan__any_prices_and_state__passes_the_independent_check(
    prices: list[float], soc: float, limit: float
) -> None:
    site = replace(DEFAULT, import_kw=limit, export_kw=limit)
    found = solve.plan(site, state(soc, site), outlook(prices))
    assert found.status == "optimal"
    assert check_plan(site, state(soc), found) == ()
    assert np.max(np.minimum(found.charge_kw, found.discharge_kw)) <= 1e-6
    assert found.objective_usd == pytest.approx(recomputed(site, found), rel=1e-6, abs=1e-6)


def recomputed(site: Site, found: Plan) -> float:
    """Design's formula, from the plan's public arrays alone."""
    h = found.step_s / 3600.0
    price = found.outlook.energy_usd_per_mwh / 1000.0
    money = np.sum((found.export_kw - found.import_kw) * price) * h
    money -= np.sum(found.charge_kw + found.discharge_kw) * h * site.battery.wear_usd_per_kwh
    per_kwh = {
        m.type: m.rate / m.power_kw * (55 / 24000 if m.product == "hash" else 0.6 * 0.0036) for m in site.machines
    }
    per_kwh |= {j.name: j.value_usd_per_kwh for j in site.jobs} | {t.name: t.price_usd_per_kwh for t in site.tenants}
    money += sum(per_kwh[name] * np.sum(kw) * h for name, kw in found.loads_kw.items())
    stored = (found.soc_frac[-1] - found.soc_start_frac) * site.battery.capacity_kwh
    return float(money + found.terminal_usd_per_mwh / 1000.0 * stored)


def test_plan__negative_prices__never_burns_energy_in_both_directions() -> None:
    site = replace(ALONE, import_kw=250.0)
    found = solve.plan(site, SiteState(START, 0.85), outlook([-900.0, -900.0, 30.0, 30.0]))
    assert found.method == solve.MILP.format("HiGHS")
    assert np.max(np.minimum(found.charge_kw, found.discharge_kw)) <= 1e-6
    assert found.objective_usd > 0.0


def test_plan__milp__has_the_duals_of_its_own_optimum() -> None:
    found = solve.plan(ALONE, SiteState(START, 0.5), outlook([-900.0, -900.0, 30.0, 60.0]))
    # with room at the grid, a kW more or less of site power is worth its price
    assert found.power_price_usd_per_kwh == pytest.approx(found.outlook.energy_usd_per_mwh / 1000.0)


def test_plan__power_price__is_the_gain_of_one_more_kw_at_the_connection() -> None:
    prices = [20.0] * 6
    base = solve.plan(replace(DEFAULT, jobs=()), SiteState(START, 0.9), outlook(prices))
    more = solve.plan(replace(DEFAULT, jobs=(), import_kw=1000.5), SiteState(START, 0.9), outlook(prices))
    gain = (more.objective_usd - base.objective_usd) / 0.5
    above = base.power_price_usd_per_kwh - base.outlook.energy_usd_per_mwh / 1000.0
    assert gain == pytest.approx(float(np.sum(above)), rel=1e-6)


def test_plan__marginal_value__is_the_gain_of_one_more_stored_kwh() -> None:
    prices = [100.0, 20.0, 30.0, 200.0, 40.0, 90.0]
    base = solve.plan(ALONE, SiteState(START, 0.50), outlook(prices))
    more = solve.plan(ALONE, SiteState(START, 0.5001), outlook(prices))
    # 0.1 kWh more at the start; the terminal term pays for the change, not for the level
    gain = (more.objective_usd - base.objective_usd + 0.1 * 0.040) / 0.1
    assert gain == pytest.approx(base.marginal_value_usd_per_kwh[0], rel=1e-6)


@pytest.mark.parametrize("soc", [0.02, 0.97])
def test_plan__state_outside_the_band__comes_back_and_says_so(soc: float) -> None:
    found = solve.plan(ALONE, SiteState(START, soc), outlook([50.0] * 6))
    assert found.status == "optimal"
    assert 0.15 - 1e-6 <= found.soc_frac[-1] <= 0.90 + 1e-6
    assert [flag.code for flag in found.flags] == ["SOC_OUTSIDE"]


@pytest.mark.parametrize("soc", [float("nan"), 68.7, -0.1])
def test_plan__unknown_state_of_charge__holds_the_battery_and_says_so(soc: float) -> None:
    found = solve.plan(DEFAULT, SiteState(START, soc), outlook([10.0, 900.0]))
    assert (np.max(found.charge_kw), np.max(found.discharge_kw)) == (0.0, 0.0)
    assert [flag.code for flag in found.flags] == ["SOC_UNKNOWN"]
    assert sum(float(kw[0]) for kw in found.loads_kw.values()) > 0.0  # the rest of the site works on


def test_plan__nothing_to_plan__is_an_empty_optimum() -> None:
    bare = Site(battery=Battery(capacity_kwh=0.0))
    found = solve.plan(bare, SiteState(START, 0.5), outlook([50.0]))
    assert (found.status, found.objective_usd, found.loads_kw) == ("optimal", 0.0, {})


@pytest.mark.parametrize("price", [-9999.0, 9999.0])
def test_plan__absurd_prices__still_a_safe_optimum(price: float) -> None:
    found = solve.plan(DEFAULT, state(0.5), outlook([price] * 24))
    assert found.status == "optimal"
    assert check_plan(DEFAULT, state(0.5), found) == ()


def test_plan__index_prices_of_millions__are_solved_as_well() -> None:
    small = solve.plan(ALONE, SiteState(START, 0.5), outlook([1.0, 3.0, 2.0, 4.0]))
    terminal = replace(ALONE.battery, terminal_usd_per_mwh=40.0 * 1e6, wear_usd_per_kwh=200.0)
    big = solve.plan(replace(ALONE, battery=terminal), SiteState(START, 0.5), outlook([1e6, 3e6, 2e6, 4e6]))
    assert big.objective_usd == pytest.approx(small.objective_usd * 1e6, rel=1e-9)


def test_plan__job__gets_its_energy_before_the_deadline_and_no_more() -> None:
    found = solve.plan(DEFAULT, state(0.5), outlook([80.0] * 24))
    kw = found.loads_kw["training"]
    due = 5  # 17:00 UTC is 19:00 in Amsterdam, five steps from the start
    assert float(np.sum(kw[:due])) == pytest.approx(400.0)
    assert float(np.sum(kw[due:])) == pytest.approx(400.0)  # the next day's run, released at once


def test_plan__gpu_demand__is_never_exceeded_at_local_hours() -> None:
    found = solve.plan(DEFAULT, state(0.5), outlook([10.0] * 24))
    gpu = DEFAULT.machine("gpu")
    local = [(START + timedelta(hours=i + 2)).hour for i in range(24)]
    allowed = [int(gpu.count * gpu.demand_by_hour[hour] + 1e-9) * gpu.power_kw for hour in local]
    assert np.all(found.loads_kw["gpu"] <= np.array(allowed) + 1e-6)


def test_plan__a_hairs_difference_in_the_forecast__leaves_the_plan_as_it_was() -> None:
    first = [50.0, 90.0, 90.001, 50.0, 20.0, 20.0, 20.001, 95.0]
    turned = [50.0, 90.001, 90.0, 50.0, 20.001, 20.0, 20.0, 95.0]
    before = solve.plan(ALONE, SiteState(START, 0.40), outlook(first))
    freely = solve.plan(ALONE, SiteState(START, 0.40), outlook(turned))
    kept = solve.plan(ALONE, SiteState(START, 0.40), outlook(turned), previous=before)
    assert np.abs(freely.battery_kw - before.battery_kw).max() > 40.0
    assert kept.battery_kw == pytest.approx(before.battery_kw, abs=1e-6)
    assert freely.objective_usd - kept.objective_usd == pytest.approx(0.0, abs=1e-3)


def test_plan__a_real_difference__turns_the_plan_over() -> None:
    before = solve.plan(ALONE, SiteState(START, 0.40), outlook([50.0, 90.0, 60.0, 50.0]))
    after = solve.plan(ALONE, SiteState(START, 0.40), outlook([50.0, 60.0, 90.0, 50.0]), previous=before)
    best = solve.plan(ALONE, SiteState(START, 0.40), outlook([50.0, 60.0, 90.0, 50.0]))
    assert after.battery_kw == pytest.approx(best.battery_kw, abs=1e-6)
    assert after.objective_usd == pytest.approx(best.objective_usd, rel=1e-9)


# --- the engine against its reference --------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_terms__held_open_equal_the_cvxpy_statement_on_random_problems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(15):
        site = replace(DEFAULT, import_kw=float(rng.choice([150.0, 400.0, 1000.0])))
        prices = rng.normal(60.0, 60.0, int(rng.choice([6, 24])))
        problem = build_problem(site, state(float(rng.uniform(0.0, 1.0)), site), outlook(prices))
        ours, reference = (engine(problem, time_limit_s=5.0) for engine in (terms.solve, model.solve))
        assert objective(problem, ours) == pytest.approx(objective(problem, reference), rel=1e-6, abs=1e-6)


def test_terms__a_program_that_was_held_open_gives_what_a_new_one_gives() -> None:
    rng, problems = np.random.default_rng(7), []
    for _ in range(6):
        cooling = replace(DEFAULT.cooling, cop=float(rng.uniform(2.0, 5.0)))
        site = replace(DEFAULT, cooling=cooling, import_kw=float(rng.uniform(100.0, 1000.0)))
        soc = float(rng.choice([0.05, 0.5]))
        problems.append(build_problem(site, state(soc, site), outlook(rng.normal(60.0, 40.0, 24))))
    held = [terms.solve(problem, time_limit_s=5.0) for problem in problems]
    for problem, warm in zip(problems, held, strict=True):
        program._HELD.clear()
        cold = terms.solve(problem, time_limit_s=5.0)
        assert objective(problem, warm) == pytest.approx(objective(problem, cold), rel=1e-9)


def test_terms__time_limit_is_a_failure_and_the_next_solve_is_whole() -> None:
    problem = build_problem(DEFAULT, state(0.5), outlook(np.random.default_rng(1).normal(60.0, 40.0, 288), 300))
    with pytest.raises(PlanError, match="Time limit reached, only optimal counts"):
        terms.solve(problem, time_limit_s=0.0)
    assert terms.solve(problem, time_limit_s=5.0).solve_ms > 0.0


# --- when the solver fails -------------------------------------------------------------------


def _fails(*_args: object, **_options: object) -> model.Solution:
    raise PlanError("HiGHS ended with status user_limit, only optimal counts")


def test_F26_plan__solver_limit__price_rank_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "ENGINES", dict.fromkeys(solve.ENGINES, _fails))
    prices = [90.0] * 6 + [300.0] * 6
    found = solve.plan(DEFAULT, state(0.5), outlook(prices))
    assert (found.status, found.method) == ("fallback", fallback.RANKED)
    assert [attempt.status for attempt in found.attempts] == ["rejected", "rejected", "rejected", "fallback"]
    assert "user_limit" in found.attempts[0].reason
    assert [flag.code for flag in found.flags] == ["FALLBACK"]
    assert check_plan(DEFAULT, state(0.5), found) == ()
    assert float(np.max(found.discharge_kw[6:])) > 0.0 < float(np.max(found.charge_kw[:6]))


@pytest.mark.parametrize("seed", range(6))
def test_plan__solver_fails__slope_merging_finds_the_same_optimum_without_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    site = replace(DEFAULT, jobs=(), import_kw=float(rng.choice([200.0, 500.0, 1000.0])))
    known = SiteState(START, float(rng.choice([0.05, 0.3, 0.5, 0.97])))
    ahead = outlook(rng.normal(80.0, 40.0, 24).clip(1.0))
    best = solve.plan(site, known, ahead)
    monkeypatch.setattr(solve, "ENGINES", dict.fromkeys(solve.ENGINES, _fails))
    found = solve.plan(site, known, ahead)
    assert (found.status, found.method) == ("optimal", solve.MERGED)
    assert found.objective_usd == pytest.approx(best.objective_usd, rel=1e-9, abs=1e-9)
    assert check_plan(site, known, found) == ()
    assert "FALLBACK" in [flag.code for flag in found.flags]


def test_F25_plan__solver_fails_with_a_previous_plan__goes_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = solve.plan(DEFAULT, state(0.5), outlook([20.0, 300.0, 20.0, 300.0]))
    monkeypatch.setattr(solve, "ENGINES", dict.fromkeys(solve.ENGINES, _fails))
    later = outlook([20.0, 300.0, 20.0, 300.0, 50.0])
    later = replace(
        later,
        timestamp=later.timestamp[1:],
        energy_usd_per_mwh=later.energy_usd_per_mwh[1:],
        hash_price=later.hash_price[1:],
        token_price=later.token_price[1:],
    )
    needs = job_needs(DEFAULT, START + timedelta(hours=1), 5 * 3600.0, {})
    now = SiteState(START + timedelta(hours=1), float(before.soc_frac[0]), jobs=needs)
    found = solve.plan(DEFAULT, now, later, previous=before)
    assert (found.status, found.method) == ("held", fallback.SHIFTED)
    assert found.battery_kw[0] == pytest.approx(before.battery_kw[1])


def test_F27_plan__solver_breaks_a_limit__never_leaves_the_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    def wild(problem: Problem, **options: Any) -> model.Solution:
        found = terms.solve(problem, **options)
        return replace(found, discharge_kw=found.discharge_kw + 900.0, export_kw=found.export_kw + 900.0)

    monkeypatch.setattr(solve, "ENGINES", {"HiGHS": wild})
    found = solve.plan(DEFAULT, state(0.5), outlook([50.0] * 4))
    assert found.status == "fallback"
    assert found.attempts[0].status == "rejected"
    assert "discharge" in found.attempts[0].reason


def test_build_problem__terminal_value__is_the_site_files_or_the_median_delivered() -> None:
    given_value = build_problem(ALONE, SiteState(START, 0.5), outlook([10.0, 20.0, 900.0]))
    assert given_value.terminal_usd_per_kwh == pytest.approx(0.040)
    chosen = build_problem(Site(), SiteState(START, 0.5), outlook([10.0, 20.0, 900.0]))
    assert chosen.terminal_usd_per_kwh == pytest.approx((0.020 - 0.0002) * 0.94)


def test_import_limits__site_in_whole_numbers__a_limit_keeps_its_fraction() -> None:
    limit = GridLimit(START, START + timedelta(hours=1), 666.7)
    limits = import_limits(
        replace(DEFAULT, import_kw=1000), SiteState(START, 0.5, limits=(limit,)), outlook([50.0] * 2)
    )
    assert limits.tolist() == [666.7, 1000.0]
