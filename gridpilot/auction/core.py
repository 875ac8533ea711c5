"""Core-selecting payments: so high that no group of bidders could offer the seller more. Not truthful.

With bids that can't be served in part, Vickrey payments can be so low that losers together would have paid more than
the winners do. Core-selecting payments rule that out: the least in sum, and of those the nearest to Vickrey's.
Coalitions are found one by one, as the most that anybody could offer while winners keep what they gain now (Day and
Cramton 2012). A winner may then gain by bidding less than its value, so they are off unless asked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridpilot.auction.book import Bools, Ints, Problem, total
from gridpilot.auction.integer import Deadline
from gridpilot.errors import PlanError
from gridpilot.values import Array

ROUNDS = 500
MOST_ROWS = 5000
SLACK = 1e-7  # of the welfare: what a coalition must offer more to count


def payments(p: Problem, x: Array, lost: Array, house: Bools, deadline: Deadline) -> Array:
    """Payments above the reserve (B,) in the core, from the best allocation x (n,) and Vickrey's payments `lost` (B,).

    `house` (B,) marks the seller's own bids, which belong to every coalition. PlanError where time or rounds end first.
    """
    n = len(lost)
    worth = total(p.bidder, x * p.value, n)
    winners = np.flatnonzero((worth > 0.0) & ~house)
    pays = np.where(house, 0.0, lost)
    if not len(winners) or not len(p.capacity):
        return pays
    scale = float(worth.sum())  # solvers' tolerances are absolute: the welfare is their unit
    worth, pays, least = worth / scale, pays / scale, lost[winners] / scale
    own = float(worth[house].sum())
    model = _Coalition(replace(p, value=p.value / scale), winners)
    members: list[Bools] = []
    floors: list[float] = []
    for _ in range(ROUNDS):
        if deadline.left <= 0.0:
            break
        offer, inside = model.best(worth[winners] - pays[winners], deadline)
        known = any(np.array_equal(~inside, others) for others in members)
        if known or offer <= float(pays.sum()) + own + SLACK:  # a coalition that was met is back by rounding alone
            return pays * scale
        members.append(~inside)
        floors.append(offer - own - float(pays[winners][inside].sum()))
        pays[winners] = _nearest(least, worth[winners], np.array(members, dtype=float), np.array(floors))
    raise PlanError("core-selecting payments were not found in time: clear this auction without them")


class _Coalition:
    """The most that a coalition can offer, where each winner in it keeps its gain: a mixed-integer program."""

    def __init__(self, p: Problem, winners: Ints) -> None:
        self.p = p
        n, k = len(p), len(winners)
        lumpy = np.flatnonzero(p.least_kw > 0.0)
        self.columns = n + k + len(lumpy)
        rows, most = [], []
        for r in range(len(p.capacity)):
            rows.append({i: float(p.use[i, r]) for i in range(n)})
            most.append(float(p.capacity[r]))
        for w, b in enumerate(winners.tolist()):  # a winner with anything takes part
            for i in np.flatnonzero(p.bidder == b).tolist():
                rows.append({i: 1.0, n + w: -float(p.kw[i])})
                most.append(0.0)
        for s, i in enumerate(lumpy.tolist()):  # all, or the least, or nothing
            rows += [{i: 1.0, n + k + s: -float(p.kw[i])}, {i: -1.0, n + k + s: float(p.least_kw[i])}]
            most += [0.0, 0.0]
        self.rows, self.most, self.winners = rows, np.array(most), winners

    def best(self, gains: Array, deadline: Deadline) -> tuple[float, Bools]:
        """The offer [$/h], and which winners take part in it (W,)."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        p, n, k = self.p, len(self.p), len(self.winners)
        place = [(r, c, number) for r, row in enumerate(self.rows) for c, number in row.items() if number]
        r, c, number = (np.array(part) for part in zip(*place, strict=True))
        matrix = csr_array((number, (r, c)), shape=(len(self.rows), self.columns))
        found = milp(
            np.concatenate([-p.value, gains, np.zeros(self.columns - n - k)]),
            constraints=LinearConstraint(matrix, -np.inf, self.most),
            integrality=np.r_[np.zeros(n), np.ones(self.columns - n)],
            bounds=Bounds(0.0, np.concatenate([p.kw, np.ones(self.columns - n)])),
            options={"mip_rel_gap": 0.0, "time_limit": max(deadline.left, 1e-3)},
        )
        if found.status != 0:
            raise PlanError("core-selecting payments were not found in time: clear this auction without them")
        return float(-found.fun), np.asarray(found.x[n : n + k] > 0.5)


def _nearest(vcg: Array, worth: Array, members: Array, floors: Array) -> Array:
    """The least payments in sum with members @ payments >= floors, and of those the nearest to Vickrey's."""
    import cvxpy as cp
    from scipy.optimize import linprog

    floors = np.minimum(floors, members @ worth)  # rounding
    most = np.maximum(vcg, worth)
    least = linprog(np.ones(len(vcg)), A_ub=-members, b_ub=-floors, bounds=np.column_stack([vcg, most]))
    if least.status != 0:
        raise PlanError("core-selecting payments have no solution: clear this auction without them")
    more = cp.Variable(len(vcg), nonneg=True)
    limits = [members @ (vcg + more) >= floors, cp.sum(more) <= float(least.fun) - vcg.sum() + 1e-9]
    cp.Problem(cp.Minimize(cp.sum_squares(more)), [*limits, vcg + more <= most]).solve(solver=cp.CLARABEL)
    found = least.x if more.value is None else vcg + np.maximum(more.value, 0.0)
    return np.asarray(np.clip(found, vcg, most))
