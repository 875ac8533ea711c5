"""How much of each asset to hold: mean-variance, risk parity, CVaR-minimal, CVaR-constrained, and the frontier.

An asset's P&L is (S,) in $ over S equally likely courses of prices; a portfolio holds w (n,) of the n assets and has
the P&L  pnl @ w + beside, `beside` (S,) being what is held in any case. What may be held is a `Limits`. CVaR is a loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack, vstack

from gridpilot.domain.check import require
from gridpilot.errors import DataError, PlanError
from gridpilot.risk.measures import check_alpha, cvar
from gridpilot.values import Array, as_array

MOST_ROUNDS = 10_000  # of the coordinate descent
HAIR = 1e-9  # share of the highest mean by which its own limit is widened, so that rounding leaves a point


@dataclass(frozen=True, slots=True)
class Limits:
    """least <= w <= most (n,); rows (m, n) @ w <= upto (m,); and sum w = total where a total is given."""

    least: Array
    most: Array
    rows: Array = field(default_factory=lambda: np.empty((0, 0)))
    upto: Array = field(default_factory=lambda: as_array([]))
    total: float | None = None

    def __post_init__(self) -> None:
        n, m = len(self.most), len(self.upto)
        object.__setattr__(self, "rows", as_array(np.reshape(self.rows, (m, n)) if m else np.empty((0, n))))
        for name in ("least", "most", "upto"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
            require(bool(np.isfinite(getattr(self, name)).all()), f"limits: {name} has NaN or infinity")
        require(self.least.shape == (n,), f"limits: least has shape {self.least.shape}, expected ({n},)")
        require(bool(np.all(self.least <= self.most)), "limits: least is above most for some asset: expected no more")
        require(bool(np.isfinite(self.rows).all()), "limits: rows have NaN or infinity")

    @staticmethod
    def of(n: int, most: float = 1.0, total: float | None = 1.0) -> Limits:
        """0 to `most` of each of n assets; with a total, that much in all."""
        return Limits(as_array(np.zeros(n)), as_array(np.full(n, most)), total=total)


@dataclass(frozen=True, slots=True)
class Point:
    """A portfolio with the mean and the CVaR of its P&L [$]."""

    weights: Array
    mean: float
    cvar: float

    @property
    def deviation(self) -> float:
        """How far the worst cases are below the mean [$]."""
        return self.mean + self.cvar


def mean_variance(mean: Array, covariance: Array, aversion: float, limits: Limits) -> Array:
    """Weights (n,) that make  mean @ w - aversion / 2 x w' covariance w  largest within the limits.

    mean (n,) in $, covariance (n, n) in $^2, aversion in 1/$; with a mean of 0 the least variance. A convex quadratic
    program (HiGHS). DataError for shapes or a covariance that is not positive semi-definite; PlanError where nothing
    fits the limits. Source: Markowitz (1952), J. Finance 7(1).
    """
    mean, covariance = _square(mean, covariance)
    require(0.0 < aversion < math.inf, f"aversion to risk is {aversion}: expected above 0")
    return _quadratic(aversion * covariance, -mean, limits)


def least_variance(covariance: Array, limits: Limits) -> Array:
    """Weights (n,) with the least variance within the limits; see `mean_variance`."""
    return mean_variance(np.zeros(len(covariance)), covariance, 1.0, limits)


def risk_parity(covariance: Array, budget: Array | None = None) -> Array:
    """Weights (n,), all positive, of sum 1, whose risk contributions w_i (covariance w)_i are in the budget's ratio.

    covariance (n, n) positive definite; budget (n,), positive, is even where left out. Cyclical coordinate descent on
    x' covariance x / 2 - sum budget_i log x_i, until the contributions are right to 1e-12. DataError for a variance
    that is not positive; PlanError where it does not settle. Source: Griveau-Billion, Richard and Roncalli (2013),
    arXiv:1311.4057, section 2.
    """
    _, covariance = _square(np.zeros(len(covariance)), covariance)
    n = len(covariance)
    share = np.full(n, 1.0 / n) if budget is None else np.asarray(budget, dtype=np.float64)
    if share.shape != (n,) or not np.all(share > 0.0):
        raise DataError(f"risk budget is {share}: expected {n} positive shares")
    share = share / share.sum()
    variance = np.diag(covariance)
    if not np.all(variance > 0.0):
        raise DataError("an asset's P&L never changes: it has no part in risk parity; leave it out")
    x = np.sqrt(share / variance)
    for _ in range(MOST_ROUNDS):
        for i in range(n):
            others = float(covariance[i] @ x) - variance[i] * x[i]
            x[i] = (-others + math.sqrt(others * others + 4.0 * variance[i] * share[i])) / (2.0 * variance[i])
        part = x * (covariance @ x)
        if float(np.abs(part - share).max()) < 1e-12:
            return as_array(x / x.sum())
    raise PlanError(f"risk parity did not settle in {MOST_ROUNDS} rounds: the covariance is nearly singular")


def least_cvar(
    pnl: Array, alpha: float, limits: Limits, *, beside: Array | None = None, least_mean: float | None = None
) -> Array:
    """Weights (n,) with the least CVaR within the limits, and a mean of `least_mean` or more where one is given.

    pnl (S, n), beside (S,) in $. The linear program of Rockafellar and Uryasev (2000), J. Risk 2(3):
    CVaR = min over c of c + sum of max(-P&L - c, 0) / ((1 - alpha) S). PlanError where nothing fits the limits.
    """
    program = _Program.of(pnl, alpha, limits, beside)
    cost = program.cvar_row
    if least_mean is None:
        return program.solve(cost)
    return program.solve(cost, -program.mean_row, program.mean_beside - least_mean)


def most_mean(pnl: Array, alpha: float, limits: Limits, cvar_limit: float, *, beside: Array | None = None) -> Array:
    """Weights (n,) with the highest mean P&L among those within the limits whose CVaR is `cvar_limit` $ at most.

    PlanError where none is. The same program as `least_cvar`, turned round (Krokhmal, Palmquist and Uryasev 2002,
    J. Risk 4(2)).
    """
    program = _Program.of(pnl, alpha, limits, beside)
    return program.solve(-program.mean_row, program.cvar_row, cvar_limit)


def mean_cvar(pnl: Array, alpha: float, weight: float, limits: Limits) -> Array:
    """Weights (n,) that make (1 - weight) x mean - weight x CVaR largest within the limits; weight from 0 to 1.

    pnl (S, n) in $. The same program as `least_cvar`. DataError for NaN, other shapes or a weight out of bounds.
    """
    if not 0.0 <= weight <= 1.0:
        raise DataError(f"weight of the worst cases is {weight}: expected 0 to 1")
    program = _Program.of(pnl, alpha, limits, None)
    return program.solve(weight * program.cvar_row - (1.0 - weight) * program.mean_row)


def frontier(pnl: Array, alpha: float, limits: Limits, points: int = 12, beside: Array | None = None) -> list[Point]:
    """The efficient frontier: `points` portfolios, evenly spaced in mean, each with the least CVaR for its mean.

    It begins at the portfolio whose worst 1 - alpha fall least below its mean (the least deviation, mean + CVaR) and
    ends at the highest mean; one point where these are the same. DataError for shapes, PlanError where nothing fits the
    limits. Source: Rockafellar, Uryasev and Zabarankin (2006), Finance and Stochastics 10(1), for the deviation.
    """
    program = _Program.of(pnl, alpha, limits, beside)

    def point(weights: Array) -> Point:
        total = pnl @ weights + program.beside
        return Point(weights, float(total.mean()), cvar(total, alpha))

    deviation = program.cvar_row + program.mean_row  # for a given mean, the least of it is the least CVaR

    def least(mean: float) -> Point:
        return point(program.solve(deviation, -program.mean_row, program.mean_beside - mean))

    richest = point(program.solve(-program.mean_row))
    hair = HAIR * max(1.0, abs(richest.mean))
    end = least(richest.mean - hair)
    start = point(program.solve(deviation))
    if points < 2 or end.mean - start.mean <= 1e-6 * max(1.0, abs(end.mean)):
        return [end]
    return [start, *(least(float(mean)) for mean in np.linspace(start.mean, end.mean, points)[1:-1]), end]


@dataclass(frozen=True, slots=True)
class _Program:
    """The linear program in (w, c, z): z_s >= -P&L_s - c, z >= 0. Money is in units of `scale`."""

    rows: csr_array
    upto: Array
    equal: tuple[csr_array, Array] | None
    bounds: Sequence[tuple[float | None, float | None]]
    cvar_row: Array
    mean_row: Array
    mean_beside: float
    beside: Array
    scale: float
    limits: Limits

    @staticmethod
    def of(pnl: Array, alpha: float, limits: Limits, beside: Array | None) -> _Program:
        check_alpha(alpha)
        pnl = np.asarray(pnl, dtype=np.float64)
        if pnl.ndim != 2 or pnl.shape[1] != len(limits.most) or not len(pnl) or not np.isfinite(pnl).all():
            raise DataError(f"P&L is {pnl.shape} for {len(limits.most)} assets: expected numbers, (S, n)")
        s, n = pnl.shape
        held = np.zeros(s) if beside is None else np.asarray(beside, dtype=np.float64)
        if held.shape != (s,) or not np.isfinite(held).all():
            raise DataError(f"P&L beside the assets is {held.shape}: expected numbers, ({s},)")
        scale = float(max(np.abs(pnl).max(initial=0.0), np.abs(held).max())) or 1.0
        tail = hstack([csr_array(-pnl / scale), csr_array(-np.ones((s, 1))), -_eye(s)])
        own = hstack([csr_array(limits.rows), csr_array((len(limits.upto), 1 + s))])
        total = None
        if limits.total is not None:
            total = (csr_array(np.concatenate([np.ones(n), np.zeros(1 + s)])[None, :]), np.array([limits.total]))
        worst = np.concatenate([np.zeros(n), [1.0], np.full(s, 1.0 / ((1.0 - alpha) * s))])
        mean = np.concatenate([pnl.mean(axis=0) / scale, np.zeros(1 + s)])
        each = [(float(a), float(b)) for a, b in zip(limits.least, limits.most, strict=True)]
        bounds = [*each, (None, None), *([(0.0, None)] * s)]
        upto = np.concatenate([held / scale, limits.upto])
        rows = vstack([tail, own]).tocsr() if len(limits.upto) else tail.tocsr()
        return _Program(rows, upto, total, bounds, worst, mean, float(held.mean()), held, scale, limits)

    def solve(self, cost: Array, row: Array | None = None, limit: float = 0.0) -> Array:
        """The weights of least cost, with row @ x <= limit [$] where a row is given. PlanError where there are none."""
        rows, upto = self.rows, self.upto
        if row is not None:
            rows, upto = vstack([rows, csr_array(row[None, :])]), np.append(upto, limit / self.scale)
        matrix, right = self.equal or (None, None)
        found = linprog(cost, A_ub=rows, b_ub=upto, A_eq=matrix, b_eq=right, bounds=self.bounds, method="highs")
        if found.status != 0:
            raise PlanError(f"no portfolio was found: {found.message}")
        return as_array(np.clip(found.x[: len(self.limits.most)], self.limits.least, self.limits.most) + 0.0)  # no -0


def _eye(n: int) -> csr_array:
    return csr_array((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n))


def _square(mean: Array, covariance: Array) -> tuple[Array, Array]:
    mean, covariance = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    n = len(mean)
    finite = np.isfinite(mean).all() and np.isfinite(covariance).all()
    if n < 1 or covariance.shape != (n, n) or not finite:
        raise DataError(f"mean is {mean.shape} and covariance {covariance.shape}: expected numbers, (n,) and (n, n)")
    if float(np.abs(covariance - covariance.T).max()) > 1e-9 * float(np.abs(covariance).max() or 1.0):
        raise DataError("the covariance is not symmetric")
    return mean, 0.5 * (covariance + covariance.T)


def _quadratic(hessian: Array, linear: Array, limits: Limits) -> Array:
    """The w that makes  w' hessian w / 2 + linear @ w  least within the limits, by HiGHS."""
    import highspy

    n = len(linear)
    if len(limits.most) != n:
        raise DataError(f"limits are for {len(limits.most)} assets and the covariance for {n}: expected equal")
    least = float(np.linalg.eigvalsh(hessian).min())
    scale = float(np.abs(hessian).max()) or 1.0
    if least < -1e-9 * scale:
        raise DataError(f"the covariance has a negative eigenvalue ({least:.3g}): expected positive semi-definite")
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    model = highspy.HighsModel()
    rows = limits.rows if limits.total is None else np.vstack([limits.rows, np.ones((1, n))])
    low = np.full(len(limits.upto), -highspy.kHighsInf)
    high = limits.upto
    if limits.total is not None:
        low, high = np.append(low, limits.total), np.append(high, limits.total)
    model.lp_.num_col_, model.lp_.num_row_ = n, len(rows)
    model.lp_.col_cost_, model.lp_.col_lower_, model.lp_.col_upper_ = linear / scale, limits.least, limits.most
    model.lp_.row_lower_, model.lp_.row_upper_ = low, high
    matrix = csr_array(rows)
    model.lp_.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.lp_.a_matrix_.start_, model.lp_.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.lp_.a_matrix_.value_ = matrix.data
    lower = [(i, j) for j in range(n) for i in range(j, n)]
    model.hessian_.dim_ = n
    model.hessian_.format_ = highspy.HessianFormat.kTriangular
    model.hessian_.start_ = np.array([sum(n - k for k in range(j)) for j in range(n + 1)])
    model.hessian_.index_ = np.array([i for i, _ in lower])
    model.hessian_.value_ = np.array([hessian[i, j] / scale for i, j in lower])
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        said = solver.modelStatusToString(solver.getModelStatus())
        raise PlanError(f"no portfolio was found: {said}; check that the limits leave room for the total")
    return as_array(np.clip(solver.getSolution().col_value, limits.least, limits.most) + 0.0)
