"""One divisible resource: merit order, and every payment in one pass over the losing stack.

Rows are served by their value per unit of the resource until it is used up. A winner displaces the best losing rows of
others: those just below the margin, its own skipped, for as much as it took. With S_i the cumulated amount of the
losing stack before row i and L_b the level down to which bidder b displaces, one pass from the top finds every L_b:
where S_i < L_b and row i is b's own, L_b grows by that row. (Vickrey 1961, Clarke 1971, Groves 1973.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gridpilot.auction.book import Ints, Problem, total
from gridpilot.values import Array

COMPILE_FROM = 20_000  # rows; fewer are faster in plain Python than numba is to import
SAMPLE = 20_000
SPARE = 0.05  # of the amount: how far off a sample may be


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function through numba, kept on disk between runs."""
    from numba import njit

    return njit(cache=True)(function)


@dataclass(frozen=True, slots=True)
class Stack:
    """The merit order where it matters.

    `rows` are those around the margin, in order; all dearer ones are served whole, all cheaper ones not at all. The
    first `served` of them are served whole, the next one as far as it goes.
    """

    x: Array  # (n,) kW of each row
    amount: Array  # (n,) of the resource
    density: Array  # (n,) value per unit of it
    rows: Ints
    served: int


def allocate(p: Problem) -> Array:
    """kW of each row (n,): the most value. Ties go to the earlier row."""
    return stacked(p, 0.0).x


def clear(p: Problem, n_bidders: int) -> tuple[Array, Array, float]:
    """kW of each row (n,), the value that the others lose by each bidder (n_bidders,) [$/h], and the density
    at the margin."""
    asked = total(p.bidder, p.kw * p.use[:, 0], n_bidders)
    stack = stacked(p, float(asked.max()))  # a winner and its own rows below displace no deeper than it asks in all
    losing = stack.rows[stack.served :]
    left, density = stack.amount[losing], stack.density[losing]
    if len(losing):
        left[0] -= stack.x[losing[0]] * p.use[losing[0], 0]
    took = total(p.bidder, stack.x * p.use[:, 0], n_bidders)
    start = np.concatenate([[0.0], np.cumsum(left)])
    worth = np.concatenate([[0.0], np.cumsum(left * density)])
    level, own = took.copy(), np.zeros(n_bidders)
    run = compiled(_skip_own) if len(losing) > COMPILE_FROM else _skip_own
    run(p.bidder[losing], left, density, start, level, own)
    lost = np.zeros(n_bidders)
    winners = np.flatnonzero(took > 0.0)
    lost[winners] = np.interp(level[winners], start, worth) - own[winners]
    return stack.x, lost, float(density[0]) if len(losing) else 0.0


def stacked(p: Problem, deeper: float) -> Stack:
    """The rows in merit order down to `deeper` below the margin at least; all of them where there are few."""
    use, capacity = p.use[:, 0], float(p.capacity[0])
    amount = p.kw * use
    density = np.divide(p.value, use, out=np.full(len(use), np.inf), where=use > 0.0)  # a free row is served
    high, low = np.inf, -np.inf
    if len(p) > 4 * SAMPLE:
        high, low = _window(density, amount, capacity, deeper)
    dearer = density > high if np.isfinite(high) else use <= 0.0
    rows = np.flatnonzero(~dearer & (density >= low))
    rows = rows[np.argsort(-density[rows], kind="stable")]
    filled = np.cumsum(amount[rows]) + float(amount[dearer].sum())
    served = int(np.searchsorted(filled, capacity, side="right"))
    x = np.where(dearer, p.kw, 0.0)
    x[rows[:served]] = p.kw[rows[:served]]
    if served < len(rows):
        i = rows[served]
        x[i] = min(p.kw[i], max(capacity - (filled[served] - amount[i]), 0.0) / use[i])
    return Stack(x, amount, density, rows, served)


def _window(density: Array, amount: Array, capacity: float, deeper: float) -> tuple[float, float]:
    """Densities around the margin, estimated from a sample and then counted; endless where the estimate fails."""
    step = len(density) // SAMPLE
    some = density[::step]
    order = np.argsort(-some)
    seen = np.cumsum(amount[::step][order]) * step
    spare = SPARE * float(seen[-1])
    above = int(np.searchsorted(seen, capacity - spare)) - 1
    below = int(np.searchsorted(seen, capacity + deeper + spare))
    high = float(some[order[above]]) if above >= 0 else np.inf
    low = float(some[order[below]]) if below < len(order) else -np.inf
    dearer = float(amount[density > high].sum()) if np.isfinite(high) else 0.0
    if dearer > capacity:
        high = np.inf
    if np.isfinite(low) and float(amount[density >= low].sum()) < capacity + deeper:
        low = -np.inf
    return high, low


def _skip_own(bidder: Ints, amount: Array, density: Array, start: Array, level: Array, own: Array) -> None:
    """Push each bidder's `level` (B,) past its own losing rows, and add up in `own` (B,) what those are worth."""
    for i in range(len(amount)):
        b = bidder[i]
        if start[i] < level[b]:  # somebody without a row served is at level 0
            level[b] += amount[i]
            own[b] += amount[i] * density[i]
