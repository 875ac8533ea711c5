"""The live plan's first step under risk: exact where scenarios agree, safer with a higher weight."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import Battery, PriceHistory, PriceOutlook, RiskAppetite, Rule, Site, SiteState
from gridpilot.errors import DataError
from gridpilot.plan import solve
from gridpilot.plan.hedging import Scenarios
from gridpilot.plan.loads import job_needs
from gridpilot.plan.safety import check_plan
from gridpilot.risk.limits import CALM, RESTLESS, STORMY, cvar_limit, regime

START = datetime(2024, 6, 24, 12, tzinfo=UTC)
DEFAULT = load_site(DATA / "site-default.toml")


def outlook(prices: np.ndarray) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(3600, "s")
    return PriceOutlook(stamps, 3600, prices, np.full(n, 55.0), np.full(n, 0.6))


def scenarios(ahead: PriceOutlook, energy: np.ndarray) -> Scenarios:
    """Energy paths (S, T - 1) of the steps after the known one; hash and token as expected."""
    nothing = np.full(energy.shape, np.nan)
    return Scenarios.of(ahead, energy, nothing, nothing)


def appetite(weight: float, site: Site = DEFAULT) -> Site:
    return replace(site, risk=RiskAppetite(weight, 0.9))


@pytest.mark.parametrize("limit_kw", [250.0, 1000.0])
@pytest.mark.parametrize("seed", range(3))
def test_plan__every_scenario_as_expected__is_the_plan_without_scenarios(seed: int, limit_kw: float) -> None:
    rng = np.random.default_rng(seed)
    site = replace(appetite(0.5), import_kw=limit_kw, jobs=(), rules=(Rule("air", 60.0),))
    ahead = outlook(rng.normal(70.0, 30.0, 24).clip(1.0))
    state = SiteState(START, float(rng.uniform(0.2, 0.85)), machines={"air": 5})
    plain = solve.plan(replace(site, risk=RiskAppetite()), state, ahead)
    same = scenarios(ahead, np.tile(ahead.energy_usd_per_mwh[1:], (20, 1)))
    made = solve.plan(site, state, ahead, scenarios=same)
    assert made.objective_usd == pytest.approx(plain.objective_usd, rel=1e-6)
    assert made.hedge["mean_usd"] == pytest.approx(plain.objective_usd, rel=1e-6)
    assert made.hedge["cvar_usd"] == pytest.approx(plain.objective_usd, rel=1e-6)
    assert check_plan(site, state, made) == ()


def courses(seed: int, count: int = 100) -> tuple[PriceOutlook, Scenarios]:
    """An expected day, and courses around it with a dear tail."""
    rng = np.random.default_rng(seed)
    day = 60.0 + 30.0 * np.sin(np.arange(24) / 6.0 * np.pi) + 0.3 * np.arange(24)  # no two hours alike
    ahead = outlook(day)
    shocks = np.cumsum(rng.normal(0.0, 12.0, (count, 23)), axis=1) + (rng.random((count, 1)) < 0.1) * 200.0
    return ahead, scenarios(ahead, (day[1:] + shocks).clip(1.0))


def test_plan__higher_weight__no_better_on_average_and_no_worse_in_the_worst() -> None:
    ahead, paths = courses(1)
    state = SiteState(START, 0.5)  # without jobs: they may run at hours that are worth the same, which turns with ties
    made = [solve.plan(appetite(w), state, ahead, scenarios=paths) for w in (0.0, 0.5, 1.0)]
    means, tails = ([plan.hedge[key] for plan in made] for key in ("mean_usd", "cvar_usd"))
    assert means == sorted(means, reverse=True)
    assert tails == sorted(tails)
    assert all(plan.status == "optimal" and check_plan(DEFAULT, state, plan) == () for plan in made)


def test_plan__cvar_limit__takes_the_first_weight_that_keeps_it() -> None:
    ahead, paths = courses(2)
    site = appetite(0.0, Site(battery=Battery(terminal_usd_per_mwh=90.0)))
    state = SiteState(START, 0.5)
    loose = solve.plan(site, state, ahead, scenarios=paths, cvar_limit_usd=1e6)
    assert loose.hedge["weight"] == 0.0
    never = solve.plan(site, state, ahead, scenarios=paths, cvar_limit_usd=-1e6)
    assert never.hedge["weight"] == 1.0
    assert "CVAR_LIMIT" in [flag.code for flag in never.flags]
    between = -(loose.hedge["cvar_usd"] + never.hedge["cvar_usd"]) / 2.0
    made = solve.plan(site, state, ahead, scenarios=paths, cvar_limit_usd=between)
    assert -made.hedge["cvar_usd"] <= between or made.hedge["weight"] == 1.0


def test_plan__with_jobs__is_hedged_and_safe() -> None:
    ahead, paths = courses(4)
    state = SiteState(START, 0.5, jobs=job_needs(DEFAULT, START, 86400.0, {}))
    made = solve.plan(appetite(0.3), state, ahead, scenarios=paths)
    assert made.hedge["paths"] == 100
    assert float(np.sum(made.loads_kw["training"])) > 399.0
    assert check_plan(DEFAULT, state, made) == ()


@pytest.mark.parametrize("soc", [0.05, float("nan")])
def test_plan__state_that_cannot_be_hedged__follows_the_expected_prices_and_says_so(soc: float) -> None:
    ahead, paths = courses(3)
    made = solve.plan(appetite(0.5), SiteState(START, soc), ahead, scenarios=paths)
    assert made.status == "optimal"
    assert made.hedge == {}
    assert "NOT_HEDGED" in [flag.code for flag in made.flags]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_risk_appetite__weight_out_of_bounds__one_line(weight: float) -> None:
    with pytest.raises(DataError, match=r"risk\.weight is"):
        RiskAppetite(weight)


# --- the limit by regime ---------------------------------------------------------------------


def history(days: int, wild: float, seed: int = 0) -> PriceHistory:
    """Days of like volatility, the newest one `wild` times as much."""
    rng = np.random.default_rng(seed)
    scale = np.repeat(np.r_[np.linspace(0.9, 1.1, days - 1), wild], 24)
    prices = np.r_[60.0, 60.0 + rng.normal(0.0, 10.0, 24 * days) * scale]
    stamps = np.datetime64("2024-01-01", "s") + np.arange(len(prices)) * np.timedelta64(3600, "s")
    nothing = np.full(len(prices), np.nan)
    return PriceHistory("csv", stamps, 3600, prices, nothing, nothing)


def test_regime__newest_day_against_the_days_before__sets_the_limit() -> None:
    limit = RiskAppetite(0.5, cvar_limit_usd=200.0)
    assert (regime(history(30, 0.2)).name, regime(history(30, 5.0)).name) == (CALM, STORMY)
    assert cvar_limit(limit, regime(history(30, 0.2))) == 200.0
    assert cvar_limit(limit, regime(history(30, 5.0))) == 100.0
    assert cvar_limit(RiskAppetite(), regime(history(30, 5.0))) is None
    shares = [regime(history(30, wild)) for wild in np.linspace(0.5, 2.0, 40)]
    assert {found.name for found in shares} == {CALM, RESTLESS, STORMY}
    assert all(found.name == RESTLESS for found in shares if 0.75 < found.share <= 0.95)


def test_regime__a_few_days__are_calm_for_want_of_a_comparison() -> None:
    found = regime(history(3, 9.0))
    assert (found.name, found.days) == (CALM, 3)
