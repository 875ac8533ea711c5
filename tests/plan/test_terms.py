"""Each further term of the problem, against the cvxpy statement and against what it promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import (
    Battery,
    Customer,
    Job,
    MachineType,
    Plan,
    PriceOutlook,
    Reserve,
    Served,
    Site,
    SiteState,
    Switched,
)
from gridpilot.plan import model, solve, terms
from gridpilot.plan.loads import job_needs, service_window
from gridpilot.plan.problem import build_problem
from gridpilot.plan.result import DEMAND, DEPTH, RESERVE, objective
from gridpilot.plan.safety import check_plan

START = datetime(2024, 6, 24, 12, tzinfo=UTC)
DEFAULT = load_site(DATA / "site-default.toml")
ALONE = Site(battery=Battery(terminal_usd_per_mwh=40.0))
MINERS = MachineType("air", 10, 10000.0, 600.0, "hash")  # 100 kW, worth 0.0825 $/kWh at 55 $/PH/day


def outlook(prices: list[float] | np.ndarray, step_s: int = 3600, outdoor_c: list[float] | None = None) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(step_s, "s")
    known = np.asarray(outdoor_c or [], float)
    return PriceOutlook(
        stamps, step_s, np.asarray(prices, float), np.full(n, 55.0), np.full(n, 0.6), outdoor_c=known
    )


def state(site: Site, soc: float = 0.5, hours: float = 24.0) -> SiteState:
    return SiteState(START, soc, jobs=job_needs(site, START, hours * 3600.0, {}))


def everything(rng: np.random.Generator) -> tuple[Site, SiteState, PriceOutlook]:
    """A site that asks for a random choice of all terms, in a random state."""

    def maybe(value: float) -> float:
        return value if rng.random() < 0.6 else 0.0

    steps = int(rng.choice([6, 24]))
    battery = replace(
        DEFAULT.battery, depth_wear_usd_per_kwh=(0.0, 0.002, 0.004, 0.02) if rng.random() < 0.5 else ()
    )
    machines = tuple(
        replace(m, min_on_h=maybe(3.0), min_off_h=maybe(2.0)) if m.type != "gpu" else m for m in DEFAULT.machines
    )
    customers = (Customer("acme", "gpu", 0.5, 1, window_h=3.0), Customer("beta", "gpu", 0.25, 3, short_usd_per_kwh=0.4))
    reserve = Reserve(maybe(50.0), maybe(40.0), 200.0, 150.0, maybe(8.0), maybe(6.0), 0.5)
    site = replace(
        DEFAULT,
        battery=battery,
        machines=machines,
        customers=customers if rng.random() < 0.6 else (),
        reserve=reserve,
        ramp_kw_per_min=maybe(5.0),
        demand_usd_per_kw=maybe(0.8),
        jobs=tuple(replace(job, shortfall_usd_per_kwh=maybe(0.7)) for job in DEFAULT.jobs),
        import_kw=float(rng.choice([300.0, 1000.0])),
    )
    recent = (Switched("air", START - timedelta(hours=1), 20), Switched("hydro", START - timedelta(minutes=30), -5))
    known = replace(
        state(site, float(rng.choice([0.05, 0.3, 0.5, 0.9, 0.97]))),
        machines={"air": 30, "immersion": 20, "hydro": 10, "gpu": 3},
        switched=recent,
        grid_kw=float(rng.choice([float("nan"), 200.0])),
        peak_kw=float(rng.choice([0.0, 250.0])),
        served=(Served("acme", service_window(site, 3.0, START), 30.0, 60.0),),
    )
    warm = list(rng.uniform(5.0, 35.0, steps)) if rng.random() < 0.5 else None
    return site, known, outlook(rng.normal(70.0, 50.0, steps).clip(1.0), 3600, warm)


@pytest.mark.parametrize("seed", range(4))
def test_terms__all_of_them_at_once__equal_the_cvxpy_statement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        site, known, ahead = everything(rng)
        problem = build_problem(site, known, ahead)
        ours, reference = (engine(problem, time_limit_s=10.0) for engine in (terms.solve, model.solve))
        assert objective(problem, ours) == pytest.approx(objective(problem, reference), rel=1e-5, abs=1e-5)
        made = solve.plan(site, known, ahead)
        assert made.status == "optimal", made.attempts
        assert check_plan(site, known, made) == ()
