"""Many sites at one moment: what work that may run anywhere would save if it ran where power is cheapest.

A suggestion, never sent. Inference is such work: a token that is served elsewhere is worth the same, and what differs
is the power that it takes. With `c_i` [USD a unit] the power that a unit of work takes at site i times what one more
kWh is worth there, the work to move is the linear program

    max  sum_ij x_ij (c_i - c_j)     over x_ij >= 0 from i to another site j
    s.t. sum_j x_ij <= running_i     what runs there now
         sum_i x_ij <= spare_j       what machines that stand still could do
         sum x_ij kwh_j <= room_s    what the connection of site s has left [kW]

and x is in units an hour. What a kWh is worth is a marginal price: for a transfer that is large against a site the
saving is an upper bound. The way there, its delay and what was agreed with customers are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridpilot.errors import InputError

LEAST = 1e-6  # a smaller move is none [units an hour]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of machine at one site that does work which may run elsewhere."""

    site: str
    running: float  # units of work an hour
    spare: float  # what the machines that stand still could do [units an hour]
    kwh_per_unit: float  # with cooling
    usd_per_kwh: float  # what one more kWh of power is worth there now
    room_kw: float  # what the site's connection has left

    def __post_init__(self) -> None:
        for name in ("running", "spare", "kwh_per_unit", "room_kw"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0.0:
                raise InputError(f"work at {self.site}: {name} is {value}, expected a finite number, 0 or more")
        if not np.isfinite(self.usd_per_kwh):
            raise InputError(f"work at {self.site}: the worth of a kWh is not known")

    @property
    def usd_per_unit(self) -> float:
        """What the power of a unit of work costs there."""
        return self.kwh_per_unit * self.usd_per_kwh


@dataclass(frozen=True, slots=True)
class Move:
    """Work that would be cheaper elsewhere."""

    origin: str
    target: str
    units_per_h: float
    frees_kw: float  # at the origin
    takes_kw: float  # at the target
    usd_per_h: float  # saved


def moves(work: Sequence[Work]) -> tuple[Move, ...]:
    """What would have paid to move, the largest saving first; empty where nothing would. One row a pair of sites."""
    pairs = [
        (i, j)
        for i, a in enumerate(work)
        for j, b in enumerate(work)
        if a.site != b.site and a.running > 0.0 and b.spare > 0.0 and a.usd_per_unit > b.usd_per_unit
    ]
    if not pairs:
        return ()
    found: dict[tuple[str, str], Move] = {}
    for (i, j), units in zip(pairs, _solve(work, pairs), strict=True):
        if units <= LEAST:
            continue
        a, b = work[i], work[j]
        old = found.get((a.site, b.site), Move(a.site, b.site, 0.0, 0.0, 0.0, 0.0))
        found[a.site, b.site] = Move(
            a.site,
            b.site,
            old.units_per_h + units,
            old.frees_kw + units * a.kwh_per_unit,
            old.takes_kw + units * b.kwh_per_unit,
            old.usd_per_h + units * (a.usd_per_unit - b.usd_per_unit),
        )
    return tuple(sorted(found.values(), key=lambda move: -move.usd_per_h))


def _solve(work: Sequence[Work], pairs: Sequence[tuple[int, int]]) -> Sequence[float]:
    """Units an hour of each pair, by HiGHS."""
    from scipy.optimize import linprog  # here: the console's process is light until somebody asks

    sites = sorted({row.site for row in work})
    n, limits = len(work), np.zeros((2 * len(work) + len(sites), len(pairs)))
    for k, (i, j) in enumerate(pairs):
        limits[i, k] = limits[n + j, k] = 1.0
        limits[2 * n + sites.index(work[j].site), k] = work[j].kwh_per_unit
    room = [min(row.room_kw for row in work if row.site == site) for site in sites]
    bound = np.array([*(row.running for row in work), *(row.spare for row in work), *room])
    gain = np.array([work[i].usd_per_unit - work[j].usd_per_unit for i, j in pairs])
    found = linprog(-gain, A_ub=limits, b_ub=bound, method="highs")
    if found.status != 0:
        raise InputError(f"the work to move was not found: {found.message}")
    units: Sequence[float] = np.maximum(found.x, 0.0).tolist()
    return units
