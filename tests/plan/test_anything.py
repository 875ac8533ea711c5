"""Extreme sites, states and prices: always a plan with a status and a reason, and never an unsafe one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import (
    Customer,
    PriceOutlook,
    Reserve,
    Room,
    Rule,
    RuleState,
    Served,
    Site,
    SiteState,
    Switched,
)
from gridpilot.errors import DataError
from gridpilot.plan import solve
from gridpilot.plan.loads import job_needs
from gridpilot.plan.safety import check_plan

DEFAULT = load_site(DATA / "site-default.toml")
NAN = float("nan")
STARTS = ("2024-06-24T12:05:00", "2024-10-27T00:00:00", "2024-03-31T00:00:00")  # a clock change among them


class Dice:
    """Choices from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance, self.numbers = random.Random(seed), np.random.default_rng(seed)

    def of(self, *choices: Any) -> Any:
        return self.chance.choice(choices)


def any_site(dice: Dice) -> Site:
    of = dice.of
    customer = Customer(
        "acme", "gpu", of(0.0, 0.5, 1.0), of(0, 1, 3), window_h=of(1.0, 6.0, 24.0), short_usd_per_kwh=of(None, 0.0, 1e6)
    )
    rule = Rule("air", of(None, 60.0, -1e5, 1e9), of(1, 5), of(1, 5), of(None, 1e9), of(0.0, 1440.0), of(0, 1, 1000))
    battery = replace(
        DEFAULT.battery,
        capacity_kwh=of(0.0, 1000.0, 1e-3, 1e6),
        charge_kw=of(0.0, 250.0, 1e5),
        soc_min=of(0.0, 0.15, 0.5),
        soc_max=of(0.5, 0.9, 1.0),
        depth_wear_usd_per_kwh=of((), (0.0, 0.01), (1e3,)),
        efficiency_charge=of(0.01, 0.94, 1.0),
        terminal_usd_per_mwh=of(None, -50.0, 1e6),
    )
    machines = tuple(
        replace(m, count=of(0, 1, m.count), min_on_h=of(0.0, 0.0, 24.0), min_off_h=of(0.0, 1.0))
        for m in DEFAULT.machines
    )
    jobs = tuple(replace(j, energy_kwh=of(0.0, 400.0, 1e7), shortfall_usd_per_kwh=of(0.0, 1e5)) for j in DEFAULT.jobs)
    cooling = replace(DEFAULT.cooling, cop=of(0.1, 3.5), heat_fraction=of(0.0, 0.15, 1.0), cop_drop_per_c=of(0.0, 10.0))
    return replace(
        DEFAULT,
        import_kw=of(0.0, 1.0, 400.0, 1000.0, 1e6),
        export_kw=of(0.0, 1000.0),
        battery=battery,
        machines=machines,
        jobs=jobs,
        cooling=cooling,
        customers=of((), (customer,)),
        rules=of((), (rule, Rule("hydro"))),
        reserve=Reserve(of(0.0, 50.0, 1e6), of(0.0, 50.0), of(0.0, 1e6), of(0.0, 1e6), of(0.0, 1e6), of(0.0, 8.0), 0.5),
        room=Room(of(0.0, 0.0, 40.0, 1e6), of(0.0, 2.0), 22.0, 18.0, of(22.0, 27.0), of(0.0, 40.0)),
        ramp_kw_per_min=of(0.0, 0.0, 1e-3, 10.0),
        demand_usd_per_kw=of(0.0, 0.0, 1e5),
    )


def any_outlook(dice: Dice) -> PriceOutlook:
    n, step_s = dice.of((1, 3600), (24, 3600), (97, 900), (30, 60))
    prices: Sequence[np.ndarray] = (
        dice.numbers.normal(50.0, 50.0, n),
        np.full(n, 9999.0),
        np.full(n, -9999.0),
        dice.numbers.choice([-9999.0, 9999.0, 0.0], n),
    )
    outdoor = dice.of([], np.full(n, NAN), np.full(n, 999.0), dice.numbers.uniform(-30.0, 45.0, n))
    stamps = np.datetime64(dice.of(*STARTS), "s") + np.arange(n) * np.timedelta64(step_s, "s")
    hash_price, token = np.full(n, dice.of(55.0, NAN, 0.0)), np.full(n, dice.of(0.6, NAN))
    return PriceOutlook(stamps, step_s, dice.of(*prices), hash_price, token, outdoor_c=np.asarray(outdoor, float))


def any_state(dice: Dice, site: Site, ahead: PriceOutlook) -> SiteState:
    of, start = dice.of, datetime.fromtimestamp(int(ahead.timestamp[0].astype(np.int64)), UTC)
    served = (Served("acme", start - timedelta(days=3), 5.0, 9.0), Served("acme", start.replace(minute=0), 1e9, 0.0))
    switched = (Switched("air", start + timedelta(hours=5), 10), Switched("hydro", start, -(10**6)))
    return SiteState(
        start,
        of(0.5, 0.05, 0.97, NAN, 68.0, 0.0, 1.0),
        machines=of({}, {"air": 10**6, "hydro": 3, "gpu": 2}, {"air": 10}),
        jobs=job_needs(site, start, len(ahead) * ahead.step_s, {}),
        served=of((), served[:1], served[1:]),
        switched=of((), switched),
        rules=of({}, {"air": RuleState(on=False, over=3, under=0, kept=1)}),
        grid_kw=of(NAN, 0.0, 1e7, -500.0),
        peak_kw=of(0.0, 300.0, 1e9),
        room_c=of(NAN, 22.0, -10.0, 90.0),
    )


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 24))])
def test_plan__anything__is_safe_and_says_what_it_is(seed: int) -> None:
    for part in range(5):
        dice = Dice(100 * seed + part)
        try:
            site = any_site(dice)
        except DataError:
            continue  # refused by its constructor, with one line
        ahead = any_outlook(dice)
        state = any_state(dice, site, ahead)
        made = solve.plan(site, state, ahead)
        assert check_plan(site, state, made) == ()
        assert made.status == "optimal" or made.attempts[0].reason
        assert np.isfinite(made.objective_usd)
        parts = sum(made.customers_kw.values(), np.zeros(len(made)))
        assert not len(made.customers_kw) or np.all(parts <= made.loads_kw["gpu"] + 1e-6)
