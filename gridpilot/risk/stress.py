"""Stress tests: what the plan's set points would bring if prices came otherwise than expected, or the site failed.

The built-in cases and those of the site file (`[[stress]]`) are of one kind, `domain.StressCase`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridpilot.domain import Site, StressCase, Units, value_usd_per_kwh
from gridpilot.errors import DataError
from gridpilot.values import Array, as_array

# The price cap of the Texas market, in force from 15 to 19 February 2021 (FERC and NERC, The February 2021 Cold Weather
# Outages, November 2021, chapter III).
CAP_USD_PER_MWH = 9000.0
# The mean Dutch day-ahead price of 2 July 2023, the lowest day of the replayed prices: -85.27 EUR/MWh at 1.08 USD.
NEGATIVE_USD_PER_MWH = -92.0
TRIP_H = 4.0

CASES: tuple[StressCase, ...] = (
    StressCase("as expected"),
    StressCase("energy 50 % cheaper", energy_factor=0.5),
    StressCase("energy 50 % dearer", energy_factor=1.5),
    StressCase("dearest step times ten", dearest_factor=10.0),
    StressCase("price cap (Texas, Feb 2021)", energy_usd_per_mwh=CAP_USD_PER_MWH),
    StressCase("negative day (NL, 2 Jul 2023)", energy_usd_per_mwh=NEGATIVE_USD_PER_MWH),
    StressCase("hash price halves", hash_factor=0.5),
    StressCase("token price halves", token_factor=0.5),
    StressCase("forecast off by 2 sigma", sigma=2.0),
    StressCase(f"site trips for {TRIP_H:g} hours", trip=True, hours=TRIP_H),
)


@dataclass(frozen=True, slots=True)
class Path:
    """One course of prices over the plan's steps, (T,) each: energy in $/MWh, hash and token in the source's unit.

    `up` (T,) is the share of each step in which the site has its connection.
    """

    energy: Array
    hash: Array
    token: Array
    up: Array


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the plan brings in a case [$]."""

    name: str
    usd: float


def expected(plan: Mapping[str, Any]) -> Path:
    """The prices that a recorded plan (`report.plan_json`) was made for."""
    energy, hashes, tokens = (_row(plan[name]) for name in ("energy_usd_per_mwh", "hash_price", "token_price"))
    return Path(energy, hashes, tokens, as_array(np.ones(len(energy))))


def changed(plan: Mapping[str, Any], case: StressCase, sigma: Mapping[str, Array]) -> Path:
    """The prices of the case. `sigma`: energy, hash, token -> standard deviation (T,) of the forecast of each step.

    A settled step has a sigma of 0; NaN (no such price) moves nothing.
    """
    path = expected(plan)
    begin = np.arange(len(path.energy)) * float(plan["step_s"]) / 3600.0
    step_h = float(plan["step_s"]) / 3600.0
    inside = np.clip(
        (np.minimum(begin + step_h, case.start_h + case.hours) - np.maximum(begin, case.start_h)), 0.0, None
    )
    part = inside / step_h  # of each step, that the case holds for
    energy = case.energy_factor * path.energy + case.energy_shift_usd_per_mwh
    if case.energy_usd_per_mwh is not None:
        energy = np.full(len(energy), case.energy_usd_per_mwh)
    energy = np.array(energy)
    hit = np.flatnonzero(part > 0.0)
    if len(hit) and case.dearest_factor != 1.0:
        dearest = hit[int(np.argmax(path.energy[hit]))]
        energy[dearest] *= case.dearest_factor
    if case.sigma > 0.0:
        against = np.sign(_row(plan["import_kw"]) - _row(plan["export_kw"]))
        energy = energy + case.sigma * against * _sigma(sigma, "energy", len(energy))
    hashes, tokens = (
        np.maximum(0.0, factor * price - case.sigma * _sigma(sigma, name, len(energy)))
        for name, factor, price in (("hash", case.hash_factor, path.hash), ("token", case.token_factor, path.token))
    )
    mixed = (
        part * new + (1.0 - part) * old
        for new, old in ((energy, path.energy), (hashes, path.hash), (tokens, path.token))
    )
    energy, hashes, tokens = (as_array(price) for price in mixed)
    return Path(energy, hashes, tokens, as_array(1.0 - part if case.trip else path.up))


def plan_pnl(plan: Mapping[str, Any], site: Site, units: Units, path: Path | None = None) -> float:
    """P&L [$] of a recorded plan (`report.plan_json`) with every set point kept, on a course of prices."""
    return float(np.sum(plan_course(plan, site, units, path)))


def plan_course(plan: Mapping[str, Any], site: Site, units: Units, path: Path | None = None) -> Array:
    """What each step of the plan brings (T,) [$].

    export income - import cost + load value - wear, as in `plan/problem.py` without the terminal value. While the
    connection is lost nothing is bought, sold, used or earned; what a job then lacks costs its shortfall price.
    """
    path = path or expected(plan)
    worth = {m.type: value_usd_per_kwh(m, units, path.hash, path.token) for m in site.machines}
    n = len(path.energy)
    worth |= {job.name: as_array(np.full(n, job.value_usd_per_kwh)) for job in site.jobs}
    worth |= {tenant.name: as_array(np.full(n, tenant.price_usd_per_kwh)) for tenant in site.tenants}
    short = {job.name: job.shortfall_usd_per_kwh for job in site.jobs}
    rate = (_row(plan["export_kw"]) - _row(plan["import_kw"])) * path.energy / 1000.0
    rate = rate - (_row(plan["charge_kw"]) + _row(plan["discharge_kw"])) * site.battery.wear_usd_per_kwh
    lost = np.zeros(n)
    for name, kw in plan["loads_kw"].items():
        if name not in worth:
            raise DataError(f"load {name!r} of the plan is no machine, job or tenant of site {site.name}")
        rate = rate + np.asarray(kw) * worth[name]
        lost = lost + np.asarray(kw) * short.get(name, 0.0)
    return as_array((rate * path.up - lost * (1.0 - path.up)) * float(plan["step_s"]) / 3600.0)


def outcomes(
    plan: Mapping[str, Any], site: Site, units: Units, sigma: Mapping[str, Array], own: tuple[StressCase, ...] = ()
) -> tuple[Outcome, ...]:
    """What the plan brings in every case, "as expected" first; `own` cases come last.

    Where a source's numbers are no money (`units.money` is "index"), built-in cases with a price in USD are left out.
    """
    fits = [case for case in CASES if case.energy_usd_per_mwh is None or units.money != "index"]
    return tuple(Outcome(case.name, plan_pnl(plan, site, units, changed(plan, case, sigma))) for case in (*fits, *own))


def _sigma(sigma: Mapping[str, Array], name: str, n: int) -> Array:
    spread = sigma.get(name)
    if spread is None:
        return np.zeros(n)
    if spread.shape != (n,):
        raise DataError(f"sigma of the {name} price has shape {spread.shape}: expected ({n},), one for each step")
    return np.nan_to_num(spread, nan=0.0)


def _row(numbers: Any) -> Array:
    return as_array([math.nan if value is None else value for value in numbers])
