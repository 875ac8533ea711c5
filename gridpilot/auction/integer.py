"""Bids that can't be served in part, on several resources or of odd sizes: a mixed-integer program.

HiGHS proves the optimum to a gap of zero, once for the allocation and once without each winner. Where that takes longer
than the time limit, Clarke payments would be wrong (a profitable lie in a third of random cases), so another, monotone
rule decides: bids by value per share of the capacities, each served as far as it fits, and a winner pays its critical
value - what it would have had to bid at least for what it got. (Lehmann, O'Callaghan and Shoham 2002; Myerson 1981.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridpilot.auction.book import Ints, Problem
from gridpilot.auction.linear import OPTIONS
from gridpilot.values import Array

WHOLE = 1e-6  # how far from an integer HiGHS may leave one


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
    """The most value, as far as time allows."""
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
    """maximise v x; a column for each row, and a yes or no for each row with a minimum."""

    def __init__(self, p: Problem) -> None:
        import highspy

        self.p, self._highs = p, highspy
        self._solver = highspy.Highs()
        exact = {"mip_rel_gap": 0.0, "mip_abs_gap": 0.0, "mip_feasibility_tolerance": 1e-9, "presolve": "choose"}
        for name, setting in {**OPTIONS, **exact}.items():
            self._solver.setOptionValue(name, setting)
        columns, entries, upper = self._columns()
        n, rows = len(columns), len(upper)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = n, rows
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = np.array([value for value, _, _ in columns])
        lp.col_lower_ = np.zeros(n)
        self._upper = np.array([most for _, most, _ in columns])
        lp.col_upper_ = self._upper
        lp.row_lower_, lp.row_upper_ = np.full(rows, -np.inf), upper
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[integer] for _, _, integer in columns]
        self._matrix(lp, entries, n)
        self._solver.passModel(lp)

    @staticmethod
    def _matrix(lp: Any, entries: list[tuple[int, int, float]], n: int) -> None:
        entries.sort(key=lambda e: (e[1], e[0]))
        counts = np.bincount([column for _, column, _ in entries], minlength=n)
        lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)])
        lp.a_matrix_.index_ = np.array([row for row, _, _ in entries])
        lp.a_matrix_.value_ = np.array([number for _, _, number in entries])

    def _columns(self) -> tuple[list[tuple[float, float, bool]], list[tuple[int, int, float]], Array]:
        """(value, upper bound, integer) of each column, (row, column, number) of the matrix, right-hand sides.

        A whole row's column is the share served, 0 or 1. Column i belongs to row i; those of the minima follow.
        """
        p = self.p
        columns, entries, upper = [], [], list(p.capacity)
        whole = p.whole
        for i in range(len(p)):
            scale = float(p.kw[i]) if whole[i] else 1.0
            columns.append((float(p.value[i]) * scale, 1.0 if whole[i] else float(p.kw[i]), bool(whole[i])))
            entries += [(r, i, float(p.use[i, r]) * scale) for r in range(len(p.capacity)) if p.use[i, r] > 0.0]
        for i in np.flatnonzero((p.least_kw > 0.0) & ~p.whole).tolist():
            switch = len(columns)
            columns.append((0.0, 1.0, True))
            entries += [(len(upper), i, -1.0), (len(upper), switch, float(p.least_kw[i]))]  # least <= x where on
            entries += [(len(upper) + 1, i, 1.0), (len(upper) + 1, switch, -float(p.kw[i]))]  # x <= 0 where off
            upper += [0.0, 0.0]
        return columns, entries, np.array(upper)

    def solve(self, deadline: Deadline, closed: Ints | None = None) -> Found:
        """The optimum with the rows `closed` held at zero."""
        shut = [] if closed is None else closed.tolist()
        for i in shut:
            self._solver.changeColBounds(i, 0.0, 0.0)
        self._solver.setOptionValue("time_limit", float(self._solver.getRunTime()) + max(deadline.left, 1e-3))
        self._solver.run()
        optimal = self._solver.getModelStatus() == self._highs.HighsModelStatus.kOptimal
        columns = np.array(self._solver.getSolution().col_value)
        bound = float(self._solver.getInfo().mip_dual_bound)
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


# --- when time is up -------------------------------------------------------------------------


def greedy(p: Problem, n_bidders: int) -> tuple[Array, Array]:
    """kW of each row (n,) and each bidder's critical value (n_bidders,) [$/h above the reserve].

    No lie pays for somebody with one bid; with several bids one may.
    """
    weight = _weight(p)
    order = np.argsort(-p.value / weight, kind="stable")
    x, _ = _fill(p, order)
    pays = np.zeros(n_bidders)
    for b in np.unique(p.bidder[x > 0.0]).tolist():
        mine = [int(i) for i in order if p.bidder[i] == b and x[i] > 0.0]
        others = order[p.bidder[order] != b]
        pays[b] = _critical(p, weight, others, mine, x)
    return x, pays


def _weight(p: Problem) -> Array:
    """What a kW of each row takes of all capacities together: the sum of the shares."""
    capacity = np.maximum(p.capacity, 1e-12)
    return np.asarray(np.maximum((p.use / capacity).sum(axis=1), 1e-12))


def _fits(p: Problem, i: int, left: Array) -> float:
    """kW of a row that fit into what is left: all or nothing where it is whole, no less than a minimum."""
    need = p.use[i] > 0.0
    most = float(np.min(left[need] / p.use[i][need], initial=float(p.kw[i])))
    most = min(float(p.kw[i]), max(most, 0.0))
    return most if most >= p.least_kw[i] else 0.0


def _fill(p: Problem, order: Ints) -> tuple[Array, Array]:
    x, left = np.zeros(len(p)), p.capacity.copy()
    for i in order.tolist():
        x[i] = _fits(p, i, left)
        left -= x[i] * p.use[i]
        np.maximum(left, 0.0, out=left)
    return x, left


def _critical(p: Problem, weight: Array, others: Ints, mine: list[int], x: Array) -> float:
    """The least that a winner must have bid for what it got: as its price falls past each other bid, what would it get?

    Myerson's payment of a row: the sum over the bids below of (their price at its weight) x (kW that it would lose to
    them). Its rows are priced one after the other, the dearer ones holding what they got.
    """
    held = np.zeros(len(p.capacity))
    money = 0.0
    for i in mine:
        left = p.capacity - held
        position = p.value[i] / weight[i]
        gets = None
        for j in others.tolist():
            if p.value[j] / weight[j] < position or (p.value[j] / weight[j] == position and j > i):
                if gets is None:
                    gets = min(x[i], _fits(p, i, left))
                took = _fits(p, j, left)
                left = np.maximum(left - took * p.use[j], 0.0)
                now = min(gets, _fits(p, i, left))
                money += (gets - now) * float(p.value[j] / weight[j] * weight[i])
                gets = now
            else:
                took = _fits(p, j, left)
                left = np.maximum(left - took * p.use[j], 0.0)
        held = held + x[i] * p.use[i]
    return money
