"""Portfolios: against brute force, and against what is known without computing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import DataError, PlanError
from gridpilot.risk import allocation
from gridpilot.risk.allocation import Limits, mean_cvar
from gridpilot.risk.measures import cvar

ALPHA = 0.9


def sample(seed: int, n: int = 3, s: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1.0, (s, n)) * rng.uniform(0.1, 3.0, n)


def grid(n: int, ticks: int, total: float | None) -> list[np.ndarray]:
    axes = np.meshgrid(*[np.linspace(0.0, 1.0, ticks)] * n)
    points = np.stack([axis.ravel() for axis in axes], axis=1)
    return [w for w in points if total is None or abs(w.sum() - total) < 1e-9]


def score(pnl: np.ndarray, w: np.ndarray, alpha: float, weight: float) -> float:
    total = pnl @ w
    return float((1.0 - weight) * total.mean() - weight * cvar(total, alpha))


def budget(most: np.ndarray) -> Limits:
    return Limits(np.zeros(len(most)), most, rows=np.ones((1, len(most))), upto=np.ones(1))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), weight=st.floats(0.0, 1.0), alpha=st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_mean_cvar__any_sample__no_weights_of_a_grid_are_better(seed: int, weight: float, alpha: float) -> None:
    pnl = sample(seed)
    most = np.random.default_rng(seed).uniform(0.1, 1.0, 3)
    best = mean_cvar(pnl, alpha, weight, budget(most))
    assert np.all(best >= 0.0) and np.all(best <= most + 1e-9) and best.sum() <= 1.0 + 1e-9
    reached = score(pnl, best, alpha, weight)
    assert all(score(pnl, w * most, alpha, weight) <= reached + 1e-8 for w in grid(3, 11, None) if w @ most <= 1.0)


def test_mean_cvar__one_asset_that_only_loses__gets_nothing() -> None:
    pnl = np.column_stack([np.full(50, -1.0), np.full(50, 2.0)])
    assert mean_cvar(pnl, 0.95, 0.5, budget(np.ones(2))).tolist() == pytest.approx([0.0, 1.0])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_least_cvar__any_sample__no_weights_of_a_grid_are_safer(seed: int) -> None:
    pnl, limits = sample(seed), Limits.of(3)
    reached = cvar(pnl @ allocation.least_cvar(pnl, ALPHA, limits), ALPHA)
    assert all(cvar(pnl @ w, ALPHA) >= reached - 1e-8 for w in grid(3, 21, 1.0))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_most_mean__any_sample__keeps_the_limit_and_no_weights_of_a_grid_earn_more(seed: int) -> None:
    pnl, limits = sample(seed), Limits.of(3)
    safe = cvar(pnl @ allocation.least_cvar(pnl, ALPHA, limits), ALPHA)
    limit = safe + 0.2 * abs(safe)
    best = allocation.most_mean(pnl, ALPHA, limits, limit)
    assert cvar(pnl @ best, ALPHA) <= limit + 1e-7
    earned = float((pnl @ best).mean())
    assert all(float((pnl @ w).mean()) <= earned + 1e-7 for w in grid(3, 21, 1.0) if cvar(pnl @ w, ALPHA) <= limit)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), aversion=st.floats(0.1, 20.0))
def test_mean_variance__any_sample__no_weights_of_a_grid_are_better(seed: int, aversion: float) -> None:
    pnl = sample(seed)
    mean, covariance = pnl.mean(axis=0), np.cov(pnl.T)

    def value(w: np.ndarray) -> float:
        return float(mean @ w - 0.5 * aversion * w @ covariance @ w)

    best = allocation.mean_variance(mean, covariance, aversion, Limits.of(3))
    assert best.sum() == pytest.approx(1.0, abs=1e-7)
    assert all(value(w) <= value(best) + 1e-6 for w in grid(3, 21, 1.0))


def test_least_variance__two_assets__closed_form() -> None:
    covariance = np.array([[4.0, 0.5], [0.5, 1.0]])
    first = (1.0 - 0.5) / (4.0 + 1.0 - 2 * 0.5)
    assert allocation.least_variance(covariance, Limits.of(2)) == pytest.approx([first, 1.0 - first], abs=1e-6)


def test_mean_variance__rows_and_bounds__are_kept() -> None:
    limits = Limits(np.array([0.1, 0.0, 0.0]), np.full(3, 0.8), np.array([[1.0, 1.0, 0.0]]), np.array([0.5]), 1.0)
    w = allocation.mean_variance(np.array([3.0, 2.0, 0.1]), np.eye(3), 1.0, limits)
    assert w.sum() == pytest.approx(1.0) and w[0] + w[1] <= 0.5 + 1e-7 and w[0] >= 0.1


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 8))
def test_risk_parity__any_covariance__contributions_are_in_the_budgets_ratio(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n + 3)) * rng.uniform(0.1, 10.0, (n, 1))
    covariance, share = half @ half.T, rng.uniform(0.2, 1.0, n)
    w = allocation.risk_parity(covariance, share)
    part = w * (covariance @ w)
    assert w.sum() == pytest.approx(1.0) and np.all(w > 0.0)
    assert part / part.sum() == pytest.approx(share / share.sum(), rel=1e-7)


def test_risk_parity__independent_assets__inverse_volatility() -> None:
    sd = np.array([1.0, 2.0, 5.0])
    assert allocation.risk_parity(np.diag(sd**2)) == pytest.approx((1.0 / sd) / np.sum(1.0 / sd))


def test_frontier__from_the_steadiest_to_the_richest__no_weights_of_a_grid_are_beyond_it() -> None:
    pnl = sample(3, 3, 200)
    beside = np.random.default_rng(0).normal(0.0, 0.5, 200)
    points = allocation.frontier(pnl, ALPHA, Limits.of(3), 9, beside)
    means, apart = np.array([p.mean for p in points]), np.array([p.deviation for p in points])
    assert len(points) == 9
    assert np.diff(means) == pytest.approx(np.full(8, (means[-1] - means[0]) / 8), rel=1e-4)
    assert np.all(np.diff(apart) > 0.0)
    assert means[-1] == pytest.approx(pnl.mean(axis=0).max() + beside.mean())
    for point in points:
        assert point.cvar == pytest.approx(cvar(pnl @ point.weights + beside, ALPHA))
    for w in grid(3, 21, 1.0):
        total = pnl @ w + beside
        assert total.mean() + cvar(total, ALPHA) >= apart[0] - 1e-7
        below = apart[means <= total.mean() + 1e-12]
        assert not below.size or total.mean() + cvar(total, ALPHA) >= below.max() - 1e-6


def test_frontier__asset_that_is_richest_and_steadiest__one_point() -> None:
    worse = np.random.default_rng(1).normal(0.0, 1.0, (100, 1))
    points = allocation.frontier(np.hstack([2.0 * worse, worse + 2.0]), ALPHA, Limits.of(2))
    assert [p.weights.tolist() for p in points] == [pytest.approx([0.0, 1.0], abs=1e-6)]


def test_least_cvar__mean_that_is_asked_for__is_reached_or_refused() -> None:
    pnl = sample(5)
    top = float(pnl.mean(axis=0).max())
    w = allocation.least_cvar(pnl, ALPHA, Limits.of(3), least_mean=0.9 * top)
    assert float((pnl @ w).mean()) >= 0.9 * top - 1e-7
    with pytest.raises(PlanError, match="no portfolio was found"):
        allocation.least_cvar(pnl, ALPHA, Limits.of(3), least_mean=1.1 * top)


def test_allocation__bad_figures__one_line() -> None:
    nan = np.full((20, 1), np.nan)
    with pytest.raises(DataError, match="expected numbers"):
        mean_cvar(nan, 0.95, 0.5, Limits.of(1))
    with pytest.raises(DataError, match="alpha is 1"):
        mean_cvar(np.ones((20, 1)), 1.0, 0.5, Limits.of(1))
    with pytest.raises(DataError, match="expected 0 to 1"):
        mean_cvar(np.ones((20, 1)), 0.9, 1.5, Limits.of(1))
    with pytest.raises(DataError, match="negative eigenvalue"):
        allocation.least_variance(np.array([[1.0, 2.0], [2.0, 1.0]]), Limits.of(2))
    with pytest.raises(DataError, match="not symmetric"):
        allocation.least_variance(np.array([[1.0, 0.2], [0.0, 1.0]]), Limits.of(2))
    with pytest.raises(DataError, match="never changes"):
        allocation.risk_parity(np.diag([1.0, 0.0]))
    with pytest.raises(DataError, match="least is above most"):
        Limits(np.ones(2), np.zeros(2))
    with pytest.raises(PlanError, match="no portfolio was found"):
        allocation.least_variance(np.eye(2), Limits.of(2, most=0.3))
