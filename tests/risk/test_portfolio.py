"""Portfolios of services: against brute force over a grid, and against what is known without computing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import DataError
from gridpilot.risk.measures import cvar
from gridpilot.risk.portfolio import mean_cvar


def score(pnl: np.ndarray, w: np.ndarray, alpha: float, weight: float) -> float:
    total = pnl @ w
    return float((1.0 - weight) * total.mean() - weight * cvar(total, alpha))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), weight=st.floats(0.0, 1.0), alpha=st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_mean_cvar__any_sample__no_weights_of_a_grid_are_better(seed: int, weight: float, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    pnl = rng.normal(0.3, 1.0, (60, 3)) * rng.uniform(0.1, 3.0, 3)
    most = rng.uniform(0.1, 1.0, 3)
    best = mean_cvar(pnl, alpha, weight, most)
    assert np.all(best >= 0.0) and np.all(best <= most + 1e-9) and best.sum() <= 1.0 + 1e-9
    ticks = np.linspace(0.0, 1.0, 11)
    grid = [np.array([a, b, c]) * most for a in ticks for b in ticks for c in ticks]
    reached = score(pnl, best, alpha, weight)
    assert all(score(pnl, w, alpha, weight) <= reached + 1e-8 for w in grid if w.sum() <= 1.0)


def test_mean_cvar__one_asset_that_only_loses__gets_nothing() -> None:
    pnl = np.column_stack([np.full(50, -1.0), np.full(50, 2.0)])
    assert mean_cvar(pnl, 0.95, 0.5, np.ones(2)).tolist() == pytest.approx([0.0, 1.0])


def test_mean_cvar__no_assets_and_bad_figures__nothing_or_one_line() -> None:
    assert mean_cvar(np.empty((20, 0)), 0.95, 0.5, np.empty(0)).size == 0
    with pytest.raises(DataError, match="expected numbers"):
        mean_cvar(np.full((20, 1), np.nan), 0.95, 0.5, np.ones(1))
    with pytest.raises(DataError, match="alpha is 1"):
        mean_cvar(np.ones((20, 1)), 1.0, 0.5, np.ones(1))
