"""Divisible bids on several resources: a linear program over the rows near the margin, and warm removals.

With prices of the resources y_r >= 0 a row is served whole where its value exceeds its use's cost u_i y, not at all
where it falls short; only rows near equality are open. So HiGHS gets those few as columns and the others as what they
take. A solution counts when no row outside has changed sides at the new prices; else more rows come in. The value is
read from the dual function y c + sum_i max(0, v_i - u_i y) kw_i, which equals the optimum there.
"""

from __future__ import annotations

import numpy as np

from gridpilot.auction.book import Ints, Problem
from gridpilot.values import Array

COLUMNS = 250  # rows in the first core: those nearest to the margin
TIGHT = 1e-12
TIE = 1e-9  # of the largest price: what rounding may make of equality
OPTIONS = {  # the finest tolerances that HiGHS takes
    "output_flag": False,
    "presolve": "off",
    "threads": 1,
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
}


def allocate(p: Problem) -> tuple[Array, Array]:
    """kW of each row (n,) and the prices of the resources (R,) [$/h per unit]."""
    core = _Core(p, _guess(p))
    return core.x(), core.price


def removals(p: Problem, price: Array, bidders: Ints) -> Array:
    """The most value without each of `bidders` [$/h]."""
    core = _Core(p, price)
    without = []
    for first, end in np.searchsorted(p.bidder, np.stack([bidders, bidders + 1])).T:  # rows stand by bidder
        mine = np.arange(first, end)
        value = core.without(mine)
        while value is None:
            core = _Core(p, price, 2 * core.size)
            value = core.without(mine)
        without.append(value)
    return np.array(without)


def _guess(p: Problem) -> Array:
    """Prices from a sample of the rows with a like share of the capacity; all rows where there are few."""
    step = len(p) // 2000
    if step < 2:
        return np.zeros(len(p.capacity))
    some = np.zeros(len(p), dtype=bool)
    some[::step] = True
    part = p.take(some)
    share = (part.kw @ part.use) / (p.kw @ p.use)
    return _Program(part.value, part.kw, part.use).solve(p.capacity * share)[1]


class NotSolved(Exception):
    """HiGHS ended without an optimum; caught in `mechanism`."""


class _Program:
    """max v x, 0 <= x <= kw, use x <= capacity: one HiGHS model, warm from solve to solve."""

    def __init__(self, value: Array, kw: Array, use: Array) -> None:
        import highspy

        n, resources = use.shape
        self.use, self.kw, self._solver = use, kw, highspy.Highs()
        self._optimal = highspy.HighsModelStatus.kOptimal
        for name, setting in OPTIONS.items():
            self._solver.setOptionValue(name, setting)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = n, resources
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = value, np.zeros(n), kw
        lp.row_lower_, lp.row_upper_ = np.full(resources, -np.inf), np.zeros(resources)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(n + 1) * resources
        lp.a_matrix_.index_, lp.a_matrix_.value_ = np.tile(np.arange(resources), n), use.ravel()
        self._solver.passModel(lp)

    def solve(self, capacity: Array, closed: Ints | None = None) -> tuple[Array, Array]:
        """x (n,) and prices (R,) with these capacities, columns `closed` held at zero."""
        for r, most in enumerate(capacity.tolist()):
            self._solver.changeRowBounds(r, -np.inf, max(most, 0.0))
        shut = [] if closed is None else closed.tolist()
        for i in shut:
            self._solver.changeColBounds(i, 0.0, 0.0)
        self._solver.run()
        if self._solver.getModelStatus() != self._optimal:  # a warm start that went astray: once more from nothing
            self._solver.clearSolver()
            self._solver.run()
        if self._solver.getModelStatus() != self._optimal:
            raise NotSolved(str(self._solver.getModelStatus()))
        found = self._solver.getSolution()
        for i in shut:
            self._solver.changeColBounds(i, 0.0, float(self.kw[i]))
        return np.array(found.col_value), np.maximum(np.array(found.row_dual), 0.0)


class _Core:
    """The optimum of a problem, with the rows near its margin as a program for what is asked next."""

    def __init__(self, p: Problem, guess: Array, columns: int = COLUMNS) -> None:
        self.p, self.size = p, columns
        self._open(guess)
        _, self.price = self.program.solve(p.capacity - self.taken)
        while not (self._fits() and self._holds(self.price)):
            fits = self._fits()
            self.size *= 2 if fits else 4
            self._open(self.price if fits else self.centre)  # prices of a core that does not fit mean nothing
            _, self.price = self.program.solve(p.capacity - self.taken)
        best, self.size = self.price, columns
        self._open(best)  # centred on the optimum: what is asked next is near it
        self.found, self.price = self.program.solve(p.capacity - self.taken)
        while not (self._fits() and self._holds(self.price)):  # rounding at the margin: more of it into the core
            self.size *= 2
            self._open(best)
            self.found, self.price = self.program.solve(p.capacity - self.taken)

    def _open(self, price: Array) -> None:
        """Choose the rows nearest to equality at `price`, with all that are equal but for rounding; the others stand as
        they do there."""
        p = self.p
        gain = p.value - p.use @ price
        distance = np.abs(gain) / np.maximum(p.use.sum(axis=1), 1e-300)
        n = min(self.size, len(p))
        reach = np.inf if n == len(p) else max(float(np.partition(distance, n - 1)[n - 1]), self._tie(price))
        near = distance <= reach
        self.centre, self.rows = price, np.flatnonzero(near)
        self.reach = reach if not near.all() else np.inf
        self.place = np.full(len(p), -1)
        self.place[self.rows] = np.arange(len(self.rows))
        self.served = ~near & (gain > 0.0)
        self.taken = p.kw[self.served] @ p.use[self.served]
        self.worth = float(p.kw[self.served] @ p.value[self.served])
        self.program = _Program(p.value[self.rows], p.kw[self.rows], p.use[self.rows])

    @staticmethod
    def _tie(price: Array) -> float:
        """How far from equality rounding may put a row that is at the margin."""
        return TIE * max(1.0, float(np.abs(price).max(initial=0.0)))

    def _fits(self) -> bool:
        """Whether the rows that stand as served leave something, or just nothing."""
        capacity = self.p.capacity
        return bool(np.all(self.taken <= capacity + TIGHT * np.maximum(1.0, capacity)))

    def _holds(self, price: Array) -> bool:
        """Whether no row outside changes sides between centre and price: |change of u y| <= u.1 max |change of y|."""
        return float(np.abs(price - self.centre).max(initial=0.0)) <= self.reach

    def x(self) -> Array:
        """kW of each row; the open ones exactly on the capacity, not within a solver's tolerance."""
        x = np.where(self.served, self.p.kw, 0.0)
        p, rows = self.p, self.rows
        found = _exact(p.use[rows], p.kw[rows], self.found, p.capacity - self.taken)
        x[rows] = _in_order(np.column_stack([p.value[rows], p.use[rows]]), p.kw[rows], found)
        return x

    def without(self, mine: Ints) -> float | None:
        """The most value without some rows [$/h]; None where rows outside of the core might change sides."""
        p = self.p
        gone = mine[self.served[mine]]
        taken = self.taken - p.kw[gone] @ p.use[gone]
        shut = self.place[mine]
        shut = shut[shut >= 0]
        _, price = self.program.solve(p.capacity - taken, shut)
        if not self._holds(price):
            return None
        gain = p.value[self.rows] - p.use[self.rows] @ price
        gain[shut] = 0.0
        outside = self.worth - float(p.kw[gone] @ p.value[gone]) - float(taken @ price)
        return float(p.capacity @ price + outside + np.maximum(gain, 0.0) @ p.kw[self.rows])


def _exact(use: Array, kw: Array, x: Array, left: Array) -> Array:
    """A vertex without the solver's rounding: bounds exactly met, open columns solved from the tight resources."""
    x = np.clip(x, 0.0, kw)
    tolerance = 1e-7 * np.maximum(1.0, kw)
    x = np.where(x <= tolerance, 0.0, np.where(x >= kw - tolerance, kw, x))
    inside = np.flatnonzero((x > 0.0) & (x < kw))
    fixed = x.copy()
    fixed[inside] = 0.0
    rest = left - fixed @ use
    if len(inside):
        tight = np.abs(use.T @ x - left) <= 1e-6 * np.maximum(1.0, np.abs(left))
        solved, *_ = np.linalg.lstsq(use[inside][:, tight].T, rest[tight], rcond=None)
        if np.all((solved >= 0.0) & (solved <= kw[inside])):
            x[inside] = solved
    over = use.T @ x - left
    for r in np.flatnonzero(over > 0.0):  # what is left of rounding: a solver's 1e-7 at the most
        users = np.flatnonzero((x > 0.0) & (use[:, r] > 0.0))
        for i in users[np.argsort(-x[users])]:
            cut = min(x[i], max(0.0, float(use[:, r] @ x - left[r])) / use[i, r])
            x[i] -= cut
            if use[:, r] @ x <= left[r]:
                break
    return x


def _in_order(kind: Array, kw: Array, x: Array) -> Array:
    """The same kW for each kind of row (n, K), but the earlier rows of a kind first: they can stand for each other."""
    _, group, count = np.unique(kind, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    for g in np.flatnonzero(count > 1).tolist():
        rows = np.flatnonzero(group == g)
        before = np.concatenate([[0.0], np.cumsum(kw[rows])[:-1]])
        x[rows] = np.clip(float(x[rows].sum()) - before, 0.0, kw[rows])
    return x
