"""What stored energy is worth: at the end of a plan, and while a price that wanders from its forecast is traded on.

Both are falling slopes [$/kWh] over equal shares of the battery's range, so they fit into `merge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np

from gridpilot.domain import Battery
from gridpilot.plan import merge
from gridpilot.plan.merge import Curves, Store, Uses, best_step, merge_slopes
from gridpilot.values import Array, Index

CELLS = 40  # equal shares of the range
EDGES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.96, 0.99)  # quantiles that part the states of a price
WINDOW_DAYS = 180  # of past prices that the states are learnt from
FADE = 0.998  # weight of a past price per day of age
PRIOR = 1.0  # transitions seen beforehand, to every state by its share
NEAR = 0.6  # width of "at a like forecast", in units of asinh(forecast / typical forecast)
RANKED = 2000  # past deviations that a new one is ranked among, at most
FLOOR = 0.35  # least size of a forecast that deviations are shares of, in typical forecasts
LEVELS = 40  # forecasts at which the deviation of each state is tabulated


def flat_worth(battery: Battery, price_usd_per_kwh: Array) -> float:
    """A kWh delivered at the median price, after loss and wear [$/kWh]; never below zero."""
    delivered = float(np.median(price_usd_per_kwh)) - battery.wear_usd_per_kwh
    return max(0.0, delivered * battery.efficiency_discharge)


def end_worth(store: Store, days: Sequence[tuple[Uses, float]], end_usd_per_kwh: float) -> tuple[Array, Array]:
    """The worth of what is stored when any of `days`, each with its weight, may come next; (CELLS,), (CELLS,).

    The mean over these days of the most that each would earn with it, what is left then counting `end_usd_per_kwh`.
    The mean of concave functions is concave: energy is kept for several uses instead of for the one likeliest.
    """
    edges, width = np.linspace(0.0, store.high - store.low, CELLS + 1), (store.high - store.low) / CELLS
    total = np.zeros(CELLS)
    for what, weight in days:
        slopes, widths, _ = merge.value_ahead(store, what, *merge.flat_end(store, store.low, end_usd_per_kwh))
        at = np.concatenate([[0.0], np.cumsum(widths)])
        worth = np.interp(edges, at, np.concatenate([[0.0], np.cumsum(slopes * widths)]))
        total += weight * np.diff(worth) / max(width, np.finfo(float).tiny)
    return total / sum(weight for _, weight in days), np.full(CELLS, width)


@dataclass(frozen=True, slots=True)
class Chain:
    """How a price wanders around its forecast: a Markov chain of the deviation x = (price - f) / max(|f|, floor).

    A state is a range between two quantiles of the past deviations at like forecasts. `moves` (S, S) are the chances
    of the next state; `level` (LEVELS,) and `deviation` (LEVELS, S) say what a state means at a forecast.
    """

    moves: Array
    floor: float
    level: Array
    deviation: Array
    past: tuple[Array, Array, Array]  # transformed forecast, deviation and weight of what was learnt from

    def prices(self, forecast: Array) -> Array:
        """The price of each state at each forecast: (H,) -> (H, S)."""
        at = np.arcsinh(forecast / (2.0 * self.floor))
        x = np.stack([np.interp(at, self.level, self.deviation[:, s]) for s in range(self.deviation.shape[1])], axis=1)
        return np.asarray(forecast[:, None] + x * np.maximum(np.abs(forecast), self.floor)[:, None])

    def states(self, price: Array, forecast: Array) -> Index:
        """The state of each price, by its own forecast (H,)."""
        x = (price - forecast) / np.maximum(np.abs(forecast), self.floor)
        rank = _ranks(np.arcsinh(forecast / (2.0 * self.floor)), x, *self.past)
        return np.searchsorted(np.array(EDGES), np.asarray(rank)).astype(np.int64)


def learn_chain(price: Array, forecast: Array, states: Index, season: int) -> Chain:
    """From past prices, what was forecast for them and the states they were in (N,), oldest first.

    `season` is the number of steps in a day. States are those that earlier chains gave (0 before there was one).
    """
    newest = slice(-WINDOW_DAYS * season, None)
    price, forecast, states = price[newest], forecast[newest], states[newest]
    floor = max(FLOOR * float(np.median(np.abs(forecast))), np.finfo(float).tiny)
    at, x = np.arcsinh(forecast / (2.0 * floor)), (price - forecast) / np.maximum(np.abs(forecast), floor)
    weight = FADE ** (np.arange(len(x) - 1, -1, -1.0) / season)
    share = np.diff(np.concatenate([[0.0], EDGES, [1.0]]))
    moves = np.tile(PRIOR * share, (len(share), 1))
    np.add.at(moves, (states[:-1], states[1:]), weight[1:])
    level = np.linspace(at.min(), at.max(), LEVELS)
    deviation = _deviations(level, at, x, weight, states, len(share))
    some = np.linspace(0, len(x) - 1, min(len(x), RANKED)).astype(np.int64)
    return Chain(moves / moves.sum(axis=1, keepdims=True), floor, level, deviation, (at[some], x[some], weight[some]))


def waiting_worth(store: Store, chain: Chain, curves: Curves, end_slope: Array) -> Array:
    """What stored energy is worth after each step in each state: falling slopes (H, S, CELLS).

    `curves` are those of the uses at the price of each state of each step (H x S rows), see `Chain.prices`. With
    W[t](e, s) = max_y k[t, s](y) + sum_s' moves[s, s'] W[t + 1](e - y, s') this is the sum, for every t.
    """
    states = len(chain.moves)
    slope, width, charge = (c.reshape(-1, states, *c.shape[1:]) for c in (curves.slope, curves.width, curves.charge))
    cell = (store.high - store.low) / CELLS
    return np.asarray(_waiting(slope, width, charge, chain.moves, end_slope, cell))


def walk(store: Store, what: Uses, states: Index, worth: Array, start: float) -> tuple[Array, Array]:
    """Energy out and stored (H,) when each step is decided by its own price and state and `worth` (H, S, CELLS)."""
    width = np.full(CELLS, (store.high - store.low) / CELLS)
    out, stored = _walk(tuple(merge.curves(store, what)), states, worth, width, store.low, start)
    return np.asarray(out), np.asarray(stored)


@nb.njit(cache=True, nogil=True)
def _ranks(at, x, past_at, past_x, weight):  # type: ignore[no-untyped-def]
    """The share of past deviations at like forecasts that lie below each x (H,)."""
    out = np.empty(len(x))
    for i in range(len(x)):
        total = below = 0.0
        for j in range(len(past_x)):
            d = (past_at[j] - at[i]) / NEAR
            if abs(d) < 3.0:
                w = weight[j] * np.exp(-0.5 * d * d)
                total += w
                if past_x[j] < x[i]:
                    below += w
                elif past_x[j] == x[i]:
                    below += 0.5 * w
        out[i] = below / total if total > 0.0 else 0.5
    return out


@nb.njit(cache=True, nogil=True)
def _deviations(level, at, x, weight, state, states):  # type: ignore[no-untyped-def]
    """Mean deviation of each state near each level of the forecast; a state not seen near there: its mean anywhere."""
    overall, count = np.zeros(states), np.zeros(states)
    for j in range(len(x)):
        overall[state[j]] += weight[j] * x[j]
        count[state[j]] += weight[j]
    out = np.zeros((len(level), states))
    for i in range(len(level)):
        total, seen = np.zeros(states), np.zeros(states)
        for j in range(len(x)):
            d = (at[j] - level[i]) / NEAR
            if abs(d) < 3.0:
                w = weight[j] * np.exp(-0.5 * d * d)
                total[state[j]] += w * x[j]
                seen[state[j]] += w
        for s in range(states):
            if seen[s] > 0.5:
                out[i, s] = total[s] / seen[s]
            elif count[s] > 0.0:
                out[i, s] = overall[s] / count[s]
    return out


@nb.njit(cache=True, nogil=True)
def _waiting(k_slope, k_width, charge, moves, end, width):  # type: ignore[no-untyped-def]
    steps, states, cells = charge.shape[0], charge.shape[1], len(end)
    out = np.empty((steps, states, cells))
    ahead = np.empty((states, cells))
    ahead[:] = end
    room = cells + k_slope.shape[2] + 2
    slope, widths, even = np.empty(room), np.empty(room), np.full(cells, width)
    for back in range(steps):
        t = steps - 1 - back
        for s in range(states):
            for c in range(cells):
                total = 0.0
                for n in range(states):
                    total += moves[s, n] * ahead[n, c]
                out[t, s, c] = total
        for s in range(states):
            curve = (k_slope[t, s], k_width[t, s])
            count, _ = merge_slopes(curve, (out[t, s], even), charge[t, s], cells * width, (slope, widths))
            i, used = 0, 0.0
            for c in range(cells):  # mean slope in each cell
                need, total = width, 0.0
                while need > 1e-12 * width and i < count:
                    part = min(need, widths[i] - used)
                    total += part * slope[i]
                    need, used = need - part, used + part
                    if widths[i] - used <= 1e-12 * width:
                        i, used = i + 1, 0.0
                ahead[s, c] = total / width if width > 0.0 else 0.0
    return out


@nb.njit(cache=True, nogil=True)
def _walk(curves, states, worth, width, low, start):  # type: ignore[no-untyped-def]
    k_slope, k_width, charge, _ = curves
    steps, energy = len(charge), start
    out, stored = np.empty(steps), np.empty(steps)
    for t in range(steps):
        ahead = (worth[t, states[t]], width)
        out[t], energy, _ = best_step((k_slope[t], k_width[t]), charge[t], ahead, low, energy)
        stored[t] = energy
    return out, stored
