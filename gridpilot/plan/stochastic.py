"""Planning under risk: the first step decided against many courses of prices at once.

After the first step the scenarios share nothing but the energy stored then, e. With V_s(e) what scenario s still earns
(by slope merging, with perfect foresight inside it) the two-stage mean-CVaR problem is concave in e alone:

    J(e) = k_0(start - e) + (1 - w) mean_s V_s(e) + w CVaR_a(V_s(e))

CVaR_a is the mean of the worst share 1 - a of the outcomes (Rockafellar and Uryasev 2000, with the fractional atom),
w the operator's risk weight. The maximum is found by golden section.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numba as nb
import numpy as np

from gridpilot.errors import DataError
from gridpilot.plan import merge
from gridpilot.plan.merge import Store, Uses
from gridpilot.values import Array

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
PRECISION_KWH = 1e-6


@dataclass(frozen=True, slots=True)
class Risk:
    """How much the worst cases count: weight 0 for the mean alone, 1 for CVaR at level `alpha` alone."""

    weight: float
    alpha: float = 0.95

    def __post_init__(self) -> None:
        if not (0.0 <= self.weight <= 1.0 and 0.0 <= self.alpha < 1.0):
            raise DataError(f"risk weight is {self.weight} and alpha {self.alpha}: expected 0 to 1, and alpha below 1")


@dataclass(frozen=True, slots=True)
class Hedged:
    """The first step: energy `out` of the battery [kWh], `stored` after it, and what each scenario then earns (S,) [$].

    `mean_usd` and `cvar_usd` are of these outcomes, the first step included; cvar_usd is a profit, not a loss.
    """

    out: float
    stored: float
    outcome_usd: Array
    mean_usd: float
    cvar_usd: float
    objective_usd: float


def hedge(
    store: Store,
    first: Uses,
    scenarios: Uses,
    start: float,
    end: tuple[Array, Array],
    courses: int | tuple[int, Array],
    risk: Risk,
) -> Hedged:
    """The best first step (one row of uses) before equally likely `courses`, so many (times T rows of uses).

    With `courses` goes what each earns beside (S,) [$], where it does. `end` is the worth of what is stored at the end,
    as for `merge.value_ahead`. DataError for a start outside the band.
    """
    if not store.low <= start <= store.high:
        raise DataError(f"{start:.1f} kWh stored, outside {store.low:.1f} to {store.high:.1f}: bring it back first")
    count, beside = courses if isinstance(courses, tuple) else (courses, np.zeros(courses))
    futures = _futures(tuple(merge.curves(store, scenarios)), count, store.high - store.low, end)

    def outcomes(stored: float) -> tuple[Array, float]:
        earned = float(merge.step_profit(store, first, np.array([start - stored]))[0])
        found = earned + beside + _outcomes(futures, stored - store.low)
        return found, _weighed(found, risk.weight, risk.alpha)

    reach = merge.curves(store, first)
    low = max(store.low, start - float(reach.width.sum() - reach.charge[0]))
    high = min(store.high, start + float(reach.charge[0]))
    stored = _highest(lambda e: outcomes(e)[1], low, high)
    stored = max(
        (start, low, high, stored), key=lambda e: (outcomes(e)[1], -abs(e - start))
    )  # rest where it is as good
    found, objective = outcomes(stored)
    return Hedged(start - stored, stored, found, float(found.mean()), _weighed(found, 1.0, risk.alpha), objective)


def _highest(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a concave function is highest, to PRECISION_KWH."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = value(a), value(b)
    while high - low > PRECISION_KWH:
        if at_a >= at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = value(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = value(b)
    return 0.5 * (low + high)


@nb.njit(cache=True, nogil=True)
def _futures(curves, count, kept, end):  # type: ignore[no-untyped-def]
    """V_s of each scenario: slopes and widths one after the other, where each begins, and its value at the low end."""
    slope, width, charge, value = curves
    steps = len(charge) // count
    out_slope, out_width = np.empty(count * 64), np.empty(count * 64)
    first, least = np.zeros(count + 1, np.int64), np.empty(count)
    for s in range(count):
        a, b = s * steps, (s + 1) * steps
        v_slope, v_width, least[s] = merge._ahead((slope[a:b], width[a:b], charge[a:b], value[a:b]), kept, *end)
        n = first[s] + len(v_slope)
        out_slope = merge._grown(out_slope, first[s], len(v_slope))
        out_width = merge._grown(out_width, first[s], len(v_slope))
        out_slope[first[s] : n], out_width[first[s] : n] = v_slope, v_width
        first[s + 1] = n
    return out_slope, out_width, first, least


@nb.njit(cache=True, nogil=True)
def _outcomes(futures, distance):  # type: ignore[no-untyped-def]
    """V_s so far above the lowest energy (S,)."""
    slope, width, first, least = futures
    out = np.empty(len(least))
    for s in range(len(least)):
        out[s] = merge._at(slope[first[s] : first[s + 1]], width[first[s] : first[s + 1]], least[s], distance)
    return out


@nb.njit(cache=True, nogil=True)
def _weighed(outcome, weight, alpha):  # type: ignore[no-untyped-def]
    """(1 - w) mean + w CVaR of equally likely outcomes; CVaR with the fractional atom."""
    share = (1.0 - alpha) * len(outcome)
    ordered = np.sort(outcome)
    whole = min(int(share + 1e-12), len(outcome))
    worst = ordered[:whole].sum()
    if share - whole > 1e-12:
        worst += (share - whole) * ordered[whole]
    return (1.0 - weight) * outcome.mean() + weight * worst / share
