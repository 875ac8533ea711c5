"""Slope merging: the exact plan of one battery and a merit order of uses, without a solver.

Let V_t(e) be the most that can still be earned from the start of step t with e kWh stored, and k_t(y) the most that
step t earns while y kWh leave the battery. Then

    V_t(e) = max_y  k_t(y) + V_{t+1}(e - y),       V_T(e) = worth of what is stored at the end.

k_t is concave and piecewise linear: the step's uses of energy, dearest first, seen through the battery's losses and
wear. So is V_t, and this maximum (a sup-convolution) is the merge of the two lists of slopes, cut to the energies
that the battery may hold. The slopes of V_{t+1} are the marginal values of stored energy; a forward pass reads the
plan off.

Where energy is worth less than about -wear (1/eta_c + eta_d) / (1/eta_c - eta_d), charging and discharging at once
would pay and k_t is not concave. Its slopes are then sorted all the same, which bounds the optimum from above:
`Found.bound_usd` is that bound, and the plan, which never does both at once, is optimal where it reaches it.

All energies are kWh, money $, slopes $/kWh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba as nb
import numpy as np

from gridpilot.domain import Battery
from gridpilot.values import Array, Index

TIE = 1e-12  # slopes so near to each other, as a share, count as equal
EXACT = 1e-9  # a plan is optimal if it reaches the bound to within this share of the money that changes hands


class Uses(NamedTuple):
    """What energy can do in each of T steps, dearest first: value (T, K) and most kWh (T, K) of each use.

    Not to import is a use like any other, worth the import price; so the first `base` (T,) kWh are the full import,
    paid for beforehand by `cost` (T,). `order` (T, K) says which is which: 0 not to import, 1 to export, 2.. the loads.
    """

    value: Array
    kwh: Array
    base: Array
    cost: Array
    order: Index


class Curves(NamedTuple):
    """k_t for each of T steps: slopes (T, K) falling, widths (T, K) of y, `charge` (T,) = -(the least y), k there."""

    slope: Array
    width: Array
    charge: Array
    value: Array


@dataclass(frozen=True, slots=True)
class Store:
    """What a battery may hold and move in a step, kWh; `charge` and `discharge` are at its terminals.

    Outside low..high, where it may only be if it starts there, a kWh costs `soft` at the end of each step.
    """

    low: float
    high: float
    charge: float
    discharge: float
    eta_c: float
    eta_d: float
    wear: float
    soft: float

    @staticmethod
    def of(battery: Battery, step_h: float, soft: float = 0.0) -> Store:
        """The store of a battery for steps of that many hours."""
        return Store(
            battery.soc_min * battery.capacity_kwh,
            battery.soc_max * battery.capacity_kwh,
            battery.charge_kw * step_h,
            battery.discharge_kw * step_h,
            battery.efficiency_charge,
            battery.efficiency_discharge,
            battery.wear_usd_per_kwh,
            soft,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The plan: energy `out` (T,) of the battery (negative: charged), stored (T,) at the end of each step.

    `marginal` (T,) is the value of one more kWh stored at the end of the step; `bound_usd` what no plan can exceed;
    `exact` says that this one reaches it.
    """

    out: Array
    stored: Array
    marginal: Array
    profit_usd: Array
    value_usd: float
    bound_usd: float
    exact: bool


def uses(
    import_price: Array, export_price: Array, import_kwh: Array, export_kwh: Array, value: Array, kwh: Array
) -> Uses:
    """The merit order of steps: prices and limits (T,), loads' values and most energies at the meter (T, L).

    The export price must not be above the import price. At equal values the grid comes before a load.
    """
    grid = np.stack([import_price, export_price], axis=1)
    values = np.concatenate([grid, value], axis=1)
    widths = np.concatenate([np.stack([import_kwh, export_kwh], axis=1), kwh], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return Uses(
        np.take_along_axis(values, order, axis=1),
        np.take_along_axis(widths, order, axis=1),
        np.ascontiguousarray(import_kwh, dtype=np.float64),
        np.ascontiguousarray(import_price * import_kwh, dtype=np.float64),
        order,
    )


def trade(price: Array, kwh: float) -> Uses:
    """The uses of a battery alone with the grid: buy and sell at the price (T,), at most so many kWh a step."""
    steps = len(price)
    value = np.empty((steps, 2))
    value[:, 0] = value[:, 1] = price
    order = np.broadcast_to(np.arange(2), (steps, 2))
    return Uses(value, np.full((steps, 2), kwh), np.full(steps, kwh), price * kwh, order)


def solve(store: Store, what: Uses, start: float, end_slope: Array, end_width: Array) -> Found:
    """The plan from `start` kWh on; the worth of the end is given by falling slopes and widths from the lowest energy.

    Their widths must add up to the widest energy range: min(low, start) to max(high, start).
    """
    span = (min(store.low, start), store.low, store.high, max(store.high, start))
    limits = (store.charge, store.discharge, store.eta_c, store.eta_d, store.wear)
    return Found(*_solve(what[:4], limits, span, (start, store.soft), (end_slope, end_width)))


def value_ahead(store: Store, what: Uses, end_slope: Array, end_width: Array) -> tuple[Array, Array, float]:
    """V_0 as falling slopes and widths from the lower bound on, and its value there; nothing else is kept."""
    slope, width, value = _ahead(tuple(curves(store, what)), store.high - store.low, end_slope, end_width)
    return slope, width, value


def curves(store: Store, what: Uses) -> Curves:
    """k_t of all steps."""
    limits = (store.charge, store.discharge, store.eta_c, store.eta_d, store.wear)
    return Curves(*_curves(what[:4], limits))


def flat_end(store: Store, start: float, usd_per_kwh: float) -> tuple[Array, Array]:
    """The worth of the end where every stored kWh counts the same."""
    return np.array([usd_per_kwh]), np.array([max(store.high, start) - min(store.low, start)])


def terminal(store: Store, out: Array) -> Array:
    """kWh at the battery's terminals, positive when it delivers, for `out` (T,) kWh out of what it stores."""
    return np.where(out > 0.0, out * store.eta_d, out / store.eta_c)


def step_profit(store: Store, what: Uses, out: Array) -> Array:
    """What each step earns (T,) while `out` (T,) kWh leave the battery: uses less imports and wear."""
    limits = (store.charge, store.discharge, store.eta_c, store.eta_d, store.wear)
    return np.asarray(_profit(what[:4], limits, np.ascontiguousarray(out)))


def loads_kwh(what: Uses, moved: Array) -> Array:
    """kWh of each load (T, L) at the meter when the battery delivers `moved` (T,) kWh (negative: takes)."""
    out = np.empty_like(what.kwh)
    np.put_along_axis(out, what.order, _filled(what, moved), axis=1)
    return out[:, 2:]


def _filled(what: Uses, moved: Array) -> Array:
    """kWh of each use (T, K), dearest first."""
    before = np.cumsum(what.kwh, axis=1) - what.kwh
    return np.asarray(np.clip((what.base + moved)[:, None] - before, 0.0, what.kwh))


@nb.njit(cache=True, nogil=True)
def _curves(uses, limits):  # type: ignore[no-untyped-def]
    """k_t of all steps; slopes sorted where they do not fall."""
    value, kwh, base, cost = uses
    charge, discharge, eta_c, eta_d, wear = limits
    steps, count = value.shape
    slope = np.zeros((steps, count + 1))
    width = np.zeros((steps, count + 1))
    most, least_value = np.zeros(steps), np.zeros(steps)
    for t in range(steps):
        total = 0.0
        for i in range(count):
            total += kwh[t, i]
        low = base[t] - min(charge, base[t])
        high = base[t] + min(discharge, total - base[t])
        most[t] = (base[t] - low) * eta_c
        worth, at, n = -cost[t] - wear * (base[t] - low), 0.0, 0
        for i in range(count):
            left, right = at, at + kwh[t, i]
            at = right
            worth += value[t, i] * max(min(right, low) - left, 0.0)
            a, b = max(left, low), min(right, base[t])
            if b > a:  # charging less
                slope[t, n], width[t, n] = (value[t, i] + wear) / eta_c, (b - a) * eta_c
                n += 1
            a, b = max(left, base[t]), min(right, high)
            if b > a:  # discharging
                slope[t, n], width[t, n] = (value[t, i] - wear) * eta_d, (b - a) / eta_d
                n += 1
        least_value[t] = worth
        for i in range(1, n):  # already in order but at negative values
            j = i
            while j > 0 and slope[t, j - 1] < slope[t, j]:
                slope[t, j - 1], slope[t, j] = slope[t, j], slope[t, j - 1]
                width[t, j - 1], width[t, j] = width[t, j], width[t, j - 1]
                j -= 1
    return slope, width, most, least_value


@nb.njit(cache=True, nogil=True)
def merge_slopes(k, v, skip, keep, out):  # type: ignore[no-untyped-def]
    """Merge two falling lists (slopes, widths) into `out`, without the first `skip` kWh and up to `keep` kWh more.

    Gives the number of segments and the worth of what was skipped.
    """
    (k_slope, k_width), (v_slope, v_width), (out_slope, out_width) = k, v, out
    i = j = n = 0
    skipped = 0.0
    while keep > 0.0 or skip > 0.0:
        while i < len(k_width) and k_width[i] <= 0.0:
            i += 1
        while j < len(v_width) and v_width[j] <= 0.0:
            j += 1
        if i < len(k_width) and (j >= len(v_width) or k_slope[i] > v_slope[j]):
            slope, width = k_slope[i], k_width[i]
            i += 1
        elif j < len(v_width):
            slope, width = v_slope[j], v_width[j]
            j += 1
        else:
            break
        if skip > 0.0:
            cut = min(skip, width)
            skipped += slope * cut
            skip -= cut
            width -= cut
        width = min(width, keep)
        if width > 0.0:
            keep -= width
            if n > 0 and out_slope[n - 1] == slope:
                out_width[n - 1] += width
            else:
                out_slope[n], out_width[n] = slope, width
                n += 1
    if keep > 0.0 and n > 0:  # rounding
        out_width[n - 1] += keep
    return n, skipped


@nb.njit(cache=True, nogil=True)
def _soften(v, outside, soft, out):  # type: ignore[no-untyped-def]
    """Take the price of being outside away: so many kWh at the beginning and at the end of the range."""
    (slope, width), (out_slope, out_width) = v, out
    total = width.sum()
    at, n = 0.0, 0
    edges = (0.0, outside[0], total - outside[1], total)
    for i in range(len(slope)):
        end = at + width[i]
        for zone in range(3):
            part = min(end, edges[zone + 1]) - max(at, edges[zone])
            if part > 0.0:
                out_slope[n], out_width[n] = slope[i] + (1 - zone) * soft, part
                n += 1
        at = end
    return n


@nb.njit(cache=True, nogil=True)
def _grown(values, used, more):  # type: ignore[no-untyped-def]
    """The values, with room for so many more."""
    if used + more <= len(values):
        return values
    out = np.empty(2 * len(values) + more)
    out[:used] = values[:used]
    return out


@nb.njit(cache=True, nogil=True)
def _at(slope, width, value, distance):  # type: ignore[no-untyped-def]
    """The value of a piecewise-linear function so far from its left end, where it has `value`."""
    for i in range(len(slope)):
        part = min(width[i], distance)
        if part <= 0.0:
            break
        value += slope[i] * part
        distance -= part
    return value


@nb.njit(cache=True, nogil=True)
def _profit(uses, limits, out):  # type: ignore[no-untyped-def]
    """What each step earns (T,) for so much energy out of the battery."""
    value, kwh, base, cost = uses
    _, _, eta_c, eta_d, wear = limits
    earned = np.empty(len(out))
    for t in range(len(out)):
        moved = out[t] * eta_d if out[t] > 0.0 else out[t] / eta_c
        left, worth = base[t] + moved, -cost[t] - wear * abs(moved)
        for i in range(value.shape[1]):
            part = min(max(left, 0.0), kwh[t, i])
            worth += value[t, i] * part
            left -= part
        earned[t] = worth
    return earned


@nb.njit(cache=True, nogil=True)
def _solve(uses, limits, span, at, end):  # type: ignore[no-untyped-def]
    """The whole of `solve`: the fields of `Found` in their order."""
    (start, soft), (end_slope, end_width) = at, end
    lowest, low, high, _ = span
    curves = _curves(uses, limits)
    slopes, widths, begin, size, least = _backward(curves, span, soft, end_slope, end_width)
    out, stored, marginal = _forward(curves, (slopes, widths, begin, size), lowest, start)
    profit = _profit(uses, limits, out)
    value, scale = _at(end_slope, end_width, 0.0, stored[-1] - lowest), 0.0
    for t in range(len(out)):
        value += profit[t] - soft * (max(low - stored[t], 0.0) + max(stored[t] - high, 0.0))
        scale += abs(uses[3][t]) + abs(profit[t])
    a, b = begin[0], begin[0] + size[0]
    bound = _at(slopes[a:b], widths[a:b], least, start - lowest)
    return out, stored, marginal, profit, value, bound, abs(bound - value) <= EXACT * max(scale + abs(bound), 1e-9)


@nb.njit(cache=True, nogil=True)
def _backward(curves, span, soft, end_slope, end_width):  # type: ignore[no-untyped-def]
    """V_T back to V_0, one after the other in two long arrays: where each begins, how long it is; V_0's least value."""
    k_slope, k_width, charge, k_value = curves
    lowest, low, high, highest = span
    steps, used, value = len(charge), len(end_slope), 0.0
    begin, size = np.zeros(steps + 1, np.int64), np.zeros(steps + 1, np.int64)
    slopes, widths = np.empty(32 * (steps + 4) + used), np.empty(32 * (steps + 4) + used)
    slopes[:used], widths[:used] = end_slope, end_width
    size[steps] = used
    for back in range(steps):
        t = steps - 1 - back
        more = 4 * (size[t + 1] + k_slope.shape[1] + 2)  # one V, and one that is softened before
        slopes, widths = _grown(slopes, used, more), _grown(widths, used, more)
        a = begin[t + 1]
        if low > lowest or high < highest:
            value -= soft * (low - lowest)
            now = (slopes[a : a + size[t + 1]], widths[a : a + size[t + 1]])
            size[t + 1] = _soften(now, (low - lowest, highest - high), soft, (slopes[used:], widths[used:]))
            begin[t + 1] = a = used
            used += size[t + 1]
        now = (slopes[a : a + size[t + 1]], widths[a : a + size[t + 1]])
        out = (slopes[used:], widths[used:])
        begin[t] = used
        size[t], skipped = merge_slopes((k_slope[t], k_width[t]), now, charge[t], highest - lowest, out)
        value += k_value[t] + skipped
        used += size[t]
    return slopes, widths, begin, size, value


@nb.njit(cache=True, nogil=True)
def _ahead(curves, kept, end_slope, end_width):  # type: ignore[no-untyped-def]
    """V_0 alone, for a start inside the band."""
    k_slope, k_width, charge, k_value = curves
    steps, count, value = len(charge), len(end_slope), 0.0
    room = count + k_slope.shape[1] * steps + 4
    a_slope, a_width, b_slope, b_width = np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    a_slope[:count], a_width[:count] = end_slope, end_width
    for back in range(steps):
        t = steps - 1 - back
        now = (a_slope[:count], a_width[:count])
        count, skipped = merge_slopes((k_slope[t], k_width[t]), now, charge[t], kept, (b_slope, b_width))
        value += k_value[t] + skipped
        a_slope, b_slope, a_width, b_width = b_slope, a_slope, b_width, a_width
    return a_slope[:count].copy(), a_width[:count].copy(), value


@nb.njit(cache=True, nogil=True)
def best_step(k, charge, v, lowest, energy):  # type: ignore[no-untyped-def]
    """The best step from `energy` kWh: energy out, stored, slope there. Of equally good ones the nearest to rest."""
    (k_slope, k_width), (v_slope, v_width) = k, v
    left, taken, kept, last, i, j, used_k, used_v = energy - lowest + charge, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0
    while left > 0.0:
        while i < len(k_width) and k_width[i] - used_k <= 0.0:
            i, used_k = i + 1, 0.0
        while j < len(v_width) and v_width[j] - used_v <= 0.0:
            j, used_v = j + 1, 0.0
        more_k, more_v = i < len(k_width), j < len(v_width)
        if not more_k and not more_v:
            break
        tie = more_k and more_v and abs(k_slope[i] - v_slope[j]) <= TIE * (1.0 + abs(v_slope[j]))
        if (tie and taken < charge) or (not tie and more_k and (not more_v or k_slope[i] > v_slope[j])):
            part = min(left, k_width[i] - used_k)
            if tie:
                part = min(part, charge - taken)
            last, used_k, taken = k_slope[i], used_k + part, taken + part
        else:
            part = min(left, v_width[j] - used_v)
            last, used_v, kept = v_slope[j], used_v + part, kept + part
        left -= part
    return taken - charge, lowest + kept, last


@nb.njit(cache=True, nogil=True)
def _forward(curves, future, lowest, start):  # type: ignore[no-untyped-def]
    """Energy out, stored and marginal value of each step."""
    k_slope, k_width, charge, _ = curves
    slopes, widths, begin, size = future
    steps, energy = len(charge), start
    out, stored, marginal = np.empty(steps), np.empty(steps), np.empty(steps)
    for t in range(steps):
        a, b = begin[t + 1], begin[t + 1] + size[t + 1]
        ahead = (slopes[a:b], widths[a:b])
        out[t], energy, marginal[t] = best_step((k_slope[t], k_width[t]), charge[t], ahead, lowest, energy)
        stored[t] = energy
    return out, stored, marginal
