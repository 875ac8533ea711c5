"""Stress tests: what the plan's set points would bring if prices came otherwise than expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridpilot.domain import Site, Units, value_usd_per_kwh
from gridpilot.values import Array, as_array


@dataclass(frozen=True, slots=True)
class Path:
    """One course of prices over the plan's steps, (T,) each: energy in $/MWh, hash and token in the source's unit."""

    energy: Array
    hash: Array
    token: Array


def _spike(path: Path) -> Path:
    """The dearest coming hour costs ten times as much."""
    energy = np.array(path.energy)
    energy[int(np.argmax(energy))] *= 10.0
    return replace(path, energy=as_array(energy))


CASES: dict[str, Callable[[Path], Path]] = {
    "as expected": lambda path: path,
    "energy 50 % cheaper": lambda path: replace(path, energy=as_array(path.energy * 0.5)),
    "energy 50 % dearer": lambda path: replace(path, energy=as_array(path.energy * 1.5)),
    "dearest step ten times as dear": _spike,
    "hash price halves": lambda path: replace(path, hash=as_array(path.hash * 0.5)),
    "token price halves": lambda path: replace(path, token=as_array(path.token * 0.5)),
}


def plan_pnl(plan: Mapping[str, Any], site: Site, units: Units, change: Callable[[Path], Path]) -> float:
    """P&L [$] of a recorded plan (`report.plan_json`) with every set point kept, on changed prices.

    export income - import cost + load value - wear, as in `plan/problem.py` without the terminal value.
    """

    def row(name: str) -> Array:
        return as_array([np.nan if value is None else value for value in plan[name]])

    path = change(Path(row("energy_usd_per_mwh"), row("hash_price"), row("token_price")))
    worth = {m.type: value_usd_per_kwh(m, units, path.hash, path.token) for m in site.machines}
    n = len(path.energy)
    worth |= {job.name: as_array(np.full(n, job.value_usd_per_kwh)) for job in site.jobs}
    worth |= {tenant.name: as_array(np.full(n, tenant.price_usd_per_kwh)) for tenant in site.tenants}
    rate = (row("export_kw") - row("import_kw")) * path.energy / 1000.0
    for name, kw in plan["loads_kw"].items():
        rate = rate + np.asarray(kw) * worth[name]
    rate = rate - (row("charge_kw") + row("discharge_kw")) * site.battery.wear_usd_per_kwh
    return float(np.sum(rate)) * float(plan["step_s"]) / 3600.0
