"""Where prices are so far below zero that slope merging gives only a bound: dynamic programming on levels of energy.

V_t(e_j) = max_i k_t(e_j - e_i) + V_{t+1}(e_i) over LEVELS equally spaced energies, with the true k_t of a battery that
never charges and discharges at once. The plan is feasible, and optimal but for the spacing of the levels.
"""

from __future__ import annotations

from dataclasses import replace

import numba as nb
import numpy as np

from gridpilot.plan import merge
from gridpilot.plan.merge import Found, Store, Uses
from gridpilot.values import Array

LEVELS = 300


def best_plan(store: Store, what: Uses, start: float, end_slope: Array, end_width: Array) -> Found:
    """`merge.solve`, and where it does not reach its bound the better of its plan and the best one on the levels."""
    found = merge.solve(store, what, start, end_slope, end_width)
    if found.exact or not store.low <= start <= store.high or store.high <= store.low:
        return found
    levels = np.linspace(store.low, store.high, LEVELS + 1)
    at = np.concatenate([[0.0], np.cumsum(end_width)])
    worth = np.interp(levels - store.low, at, np.concatenate([[0.0], np.cumsum(end_slope * end_width)]))
    limits = (store.charge, store.discharge, store.eta_c, store.eta_d, store.wear)
    stored, value = _best(what[:4], limits, levels, worth, start)
    if value <= found.value_usd:
        return found
    out = -np.diff(np.concatenate([[start], stored]))
    profit = merge.step_profit(store, what, out)
    return replace(found, out=out, stored=stored, profit_usd=profit, value_usd=float(value))


@nb.njit(cache=True, nogil=True)
def _best(uses, limits, levels, worth, start):  # type: ignore[no-untyped-def]
    """Stored energy at the end of each step of the best plan on the levels, and its value."""
    value, kwh, base, cost = uses
    charge, discharge, eta_c, eta_d, _ = limits
    steps, count, gap = len(base), len(levels), levels[1] - levels[0]
    ahead, before = worth.copy(), np.empty(count)
    choice = np.empty((steps, count), np.int32)
    chosen = np.empty(steps)
    for back in range(steps):
        t = steps - 1 - back
        total = 0.0
        for i in range(kwh.shape[1]):
            total += kwh[t, i]
        most_in = min(charge, base[t]) * eta_c  # stored, at most
        most_out = min(discharge, total - base[t]) / eta_d
        now = (value[t : t + 1], kwh[t : t + 1], base[t : t + 1], cost[t : t + 1])
        up, down = int(most_in / gap + 1e-9), int(most_out / gap + 1e-9)
        up, down = min(up, count - 1), min(down, count - 1)
        earned = np.empty(up + down + 1)  # by levels down: -up .. down
        out = np.empty(1)
        for d in range(-up, down + 1):
            out[0] = d * gap
            earned[d + up] = merge._profit(now, limits, out)[0]
        if t == 0:
            top, best = -np.inf, -1
            for i in range(count):
                out[0] = start - levels[i]
                if -most_in - 1e-9 <= out[0] <= most_out + 1e-9:
                    total_here = merge._profit(now, limits, out)[0] + ahead[i]
                    if total_here > top:
                        top, best = total_here, i
            if best < 0:
                return chosen, -np.inf
            chosen[0] = levels[best]
            for s in range(1, steps):
                best = choice[s, best]
                chosen[s] = levels[best]
            return chosen, top
        for j in range(count):
            top, best = -np.inf, j
            for i in range(max(0, j - down), min(count, j + up + 1)):
                total_here = earned[j - i + up] + ahead[i]
                if total_here > top:
                    top, best = total_here, i
            before[j], choice[t, j] = top, best
        ahead, before = before, ahead
    return chosen, -np.inf
