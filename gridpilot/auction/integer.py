"""Bids that can't be served in part, on several resources or of odd sizes: a mixed-integer program.

HiGHS proves the optimum to a gap of zero, once for the allocation and once without each winner. Where that takes longer
than the time limit, Clarke payments would be wrong (a profitable lie in a third of random cases), so another, monotone
rule decides: bids by value per share of the capacities, each served as far as it fits, and a winner pays its critical
value - what it would have had to bid at least for what it got. (Lehmann, O'Callaghan and Shoham 2002; Myerson 1981.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridpilot.auction import merit
from gridpilot.auction.book import Ints, Problem, total
from gridpilot.auction.linear import OPTIONS
from gridpilot.values import Array

COMPILE_FROM = 2000  # rows served by the greedy rule; fewer are done before numba is imported
FITS = 1e-12  # of what a row takes: rounding
MOST_ROWS = 200_000  # HiGHS takes half a minute over the first look at a million
MOST_PRESOLVED = 1000  # rows; presolve takes their square, and looks at no clock


@dataclass(frozen=True, slots=True)
class Found:
    """kW of each row (n,), its value, the most that was not ruled out, and whether that is proved to be the optimum."""

    x: Array
    value: float
    bound: float
    exact: bool


class Deadline:
    """A limit on the time of several solves together."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return max(0.0, self._end - time.monotonic())


def allocate(p: Problem, deadline: Deadline) -> Found:
    """The most value, as far as time allows: more than `MOST_ROWS` rows are not tried."""
    if deadline.left <= 0.0 or len(p) > MOST_ROWS:
        return Found(np.zeros(len(p)), 0.0, _relaxed(p), exact=False)
    return _Model(p).solve(deadline)


def removals(p: Problem, bidders: Ints, deadline: Deadline) -> Array | None:
    """The most value without each of `bidders`; None where time ended before all were proved."""
    model = _Model(p)
    without = np.zeros(len(bidders))
    for k, b in enumerate(bidders.tolist()):
        found = model.solve(deadline, closed=np.flatnonzero(p.bidder == b))
        if not found.exact:
            return None
        without[k] = found.value
    return without


class _Model:
    """maximise v x; a column for each row, and a yes or no for each row with a minimum.

    A whole row's column is the share served, 0 or 1. Column i belongs to row i; those of the minima follow.
    """

    def __init__(self, p: Problem) -> None:
        import highspy

        self.p, self._highs = p, highspy
        self._solver = highspy.Highs()
        exact = {"mip_rel_gap": 0.0, "mip_abs_gap": 0.0, "mip_feasibility_tolerance": 1e-9}
        presolve = {"presolve": "choose" if len(p) <= MOST_PRESOLVED else "off"}
        for name, setting in {**OPTIONS, **exact, **presolve}.items():
            self._solver.setOptionValue(name, setting)
        whole, minima = p.whole, np.flatnonzero((p.least_kw > 0.0) & ~p.whole)
        scale = np.where(whole, p.kw, 1.0)
        matrix = self._matrix(scale, minima)
        self._upper = np.concatenate([np.where(whole, 1.0, p.kw), np.ones(len(minima))])
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = np.concatenate([p.value * scale, np.zeros(len(minima))])
        lp.col_lower_, lp.col_upper_ = np.zeros(len(self._upper)), self._upper
        lp.row_lower_ = np.full(matrix.shape[0], -np.inf)
        lp.row_upper_ = np.concatenate([p.capacity, np.zeros(2 * len(minima))])
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[yes] for yes in [*whole.tolist(), *[True] * len(minima)]]
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        self._solver.passModel(lp)
        self._most = _relaxed(p)

    def _matrix(self, scale: Array, minima: Ints) -> Any:
        """What each column takes of the capacities; then for each minimum least <= x where on, and x <= 0 where off."""
        from scipy.sparse import csc_array

        p, k = self.p, len(minima)
        n, resources = p.use.shape
        i, r = np.nonzero(p.use > 0.0)
        low, switch = resources + 2 * np.arange(k), n + np.arange(k)
        row = np.concatenate([r, low, low, low + 1, low + 1])
        column = np.concatenate([i, minima, switch, minima, switch])
        number = [p.use[i, r] * scale[i], -np.ones(k), p.least_kw[minima], np.ones(k), -p.kw[minima]]
        return csc_array((np.concatenate(number), (row, column)), shape=(resources + 2 * k, n + k))

    def solve(self, deadline: Deadline, closed: Ints | None = None) -> Found:
        """The optimum with the rows `closed` held at zero."""
        shut = [] if closed is None else closed.tolist()
        for i in shut:
            self._solver.changeColBounds(i, 0.0, 0.0)
        self._solver.setOptionValue("time_limit", max(deadline.left, 1e-3))  # of this run alone
        self._solver.run()
        optimal = self._solver.getModelStatus() == self._highs.HighsModelStatus.kOptimal
        columns = np.array(self._solver.getSolution().col_value)
        bound = min(float(self._solver.getInfo().mip_dual_bound), self._most)
        for i in shut:
            self._solver.changeColBounds(i, 0.0, float(self._upper[i]))
        n = len(self.p)
        if len(columns) < n:
            return Found(np.zeros(n), 0.0, bound, exact=False)
        x = self._clean(columns)
        return Found(x, float(x @ self.p.value), bound, exact=optimal)

    def _clean(self, columns: Array) -> Array:
        """kW without a solver's rounding: whole rows by their integer, the others cut to what is left."""
        p = self.p
        share = columns[: len(p)]
        x = np.where(p.whole, np.rint(share) * p.kw, np.clip(share, 0.0, p.kw))
        x = np.where(~p.whole & (x <= 1e-9 * np.maximum(1.0, p.kw)), 0.0, x)
        x = np.where(~p.whole & (p.kw - x <= 1e-9 * np.maximum(1.0, p.kw)), p.kw, x)
        for r in range(len(p.capacity)):
            for i in np.flatnonzero(~p.whole & (p.use[:, r] > 0.0) & (x > 0.0))[::-1]:
                over = float(p.use[:, r] @ x - p.capacity[r])
                if over <= 0.0:
                    break
                x[i] -= min(x[i], over / p.use[i, r])
        return x


def _relaxed(p: Problem) -> float:
    """A bound on the value: the least of what each capacity alone would allow of divisible bids [$/h]."""
    one = [replace(p, use=p.use[:, [r]], capacity=p.capacity[[r]]) for r in range(len(p.capacity))]
    return min(p.worth(merit.allocate(alone)) for alone in one)


# --- when time is up -------------------------------------------------------------------------


def greedy(p: Problem, n_bidders: int) -> tuple[Array, Array]:
    """kW of each row (n,) and each bidder's critical value (n_bidders,) [$/h above the reserve].

    No other price pays for somebody with one bid. Other kW, another minimum, a bid said to be divisible or split in
    two may pay, and with several bids another price may.
    """
    weight = _weight(p)
    order = np.argsort(-p.value / weight, kind="stable")
    order = order[(p.use[order] * p.least_kw[order, None] <= p.capacity * (1.0 + FITS)).all(axis=1)]
    rows = (p.bidder[order], p.kw[order], p.least_kw[order], p.value[order], weight[order], p.use[order])
    run = merit.compiled(_serve) if len(order) > COMPILE_FROM else _serve
    got, money = run(*rows, p.capacity)
    x = np.zeros(len(p))
    x[order] = got
    return x, total(rows[0], money, n_bidders)


def _weight(p: Problem) -> Array:
    """What a kW of each row takes of all capacities together: the sum of the shares."""
    capacity = np.maximum(p.capacity, 1e-12)
    return np.asarray(np.maximum((p.use / capacity).sum(axis=1), 1e-12))


def _serve(
    bidder: Ints, kw: Array, least: Array, value: Array, weight: Array, use: Array, capacity: Array
) -> tuple[Array, Array]:
    """kW of each row in the order of service (n,), and what its holder must have bid for it at least (n,) [$/h].

    As the price of a served row falls past each other bid below, what would it get? Myerson's payment: the sum over
    those bids of (their price at its weight) x (kW that it would lose to them). The holder's dearer rows keep what they
    got, its cheaper ones stand aside. Down to the next row that is not served in full, or is the holder's own, nothing
    else changes: all find as much room or more.
    """
    n, resources = use.shape

    def fits(i: int, left: Array) -> float:
        most = kw[i]
        for r in range(resources):
            if use[i, r] > 0.0 and left[r] < most * use[i, r]:
                most = left[r] / use[i, r]
        if most >= kw[i] * (1.0 - 1e-12):  # rounding, as FITS
            return float(kw[i])
        return float(most) if most >= least[i] * (1.0 - 1e-12) else 0.0

    x, money, after, left = np.zeros(n), np.zeros(n), np.zeros((n, resources)), capacity.copy()
    for i in range(n):
        x[i] = fits(i, left)
        for r in range(resources):
            left[r] = max(left[r] - x[i] * use[i, r], 0.0)
            after[i, r] = left[r]
    look, short, last = np.full(n, n), n, np.full(bidder.max() + 1 if n > 0 else 0, n)
    for i in range(n - 1, -1, -1):
        look[i] = min(short, last[bidder[i]])
        last[bidder[i]] = i
        if x[i] < kw[i]:
            short = i
    for i in range(n):
        gets, j = x[i], look[i]
        if gets > 0.0 and j < n:
            for r in range(resources):
                left[r] = after[j - 1, r] + gets * use[i, r]
        while gets > 0.0 and j < n:
            took = fits(j, left) if bidder[j] != bidder[i] else 0.0
            if took > 0.0:
                for r in range(resources):
                    left[r] = max(left[r] - took * use[j, r], 0.0)
                now = min(gets, fits(i, left))
                money[i] += (gets - now) * value[j] / weight[j] * weight[i]
                gets = now
            j += 1
    return x, money
