"""Measures against hand-worked values, closed forms and other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gridpilot.forecast import scores

TRUTH = np.array([[10.0, -20.0], [0.0, 40.0]])
GUESS = np.array([[12.0, -10.0], [0.0, 30.0]])


def test_point_measures__hand_worked() -> None:
    assert scores.mae(TRUTH, GUESS) == pytest.approx(22 / 4)
    assert scores.rmse(TRUTH, GUESS) == pytest.approx(math.sqrt(204 / 4))
    assert scores.wape(TRUTH, GUESS) == pytest.approx(22 / 70)
    assert scores.smape(TRUTH, GUESS) == pytest.approx((4 / 22 + 20 / 30 + 0 + 20 / 70) / 4)
    assert math.isnan(scores.wape(TRUTH * 0.0, GUESS))
    assert scores.ratio(3.0, 4.0) == 0.75
    assert math.isnan(scores.ratio(3.0, 0.0))


def test_kendall_tau__equals_scipy_origin_by_origin_and_skips_constant_ones() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 9, (30, 24)).astype(float), rng.integers(0, 9, (30, 24)).astype(float)
    expected = np.mean([stats.kendalltau(a, b).statistic for a, b in zip(truth, guess, strict=True)])
    assert scores.kendall_tau(truth, guess) == pytest.approx(expected)
    guess[3] = 1.0
    kept = [i for i in range(30) if i != 3]
    assert scores.kendall_tau(truth, guess) == pytest.approx(scores.kendall_tau(truth[kept], guess[kept]))
    assert math.isnan(scores.kendall_tau(truth, guess * 0.0))


def test_kupiec__known_likelihood_ratio_and_the_edges() -> None:
    inside = np.concatenate([np.ones(85), np.zeros(15)])
    ratio = -2 * (85 * math.log(0.8 / 0.85) + 15 * math.log(0.2 / 0.15))
    assert scores.kupiec(inside, 0.8) == pytest.approx(stats.chi2.sf(ratio, 1))
    assert scores.kupiec(np.concatenate([np.ones(80), np.zeros(20)]), 0.8) == pytest.approx(1.0)
    assert scores.kupiec(np.ones(100), 0.8) < 1e-6
    assert scores.kupiec(np.zeros(100), 0.8) < 1e-6


def test_crps__sample_of_the_normal_law_comes_near_its_closed_form() -> None:
    n = 20_000
    sample = stats.norm.ppf((np.arange(n) + 0.5) / n)
    for y in (-1.5, 0.0, 0.7):
        closed = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / math.sqrt(math.pi)
        assert scores.crps_sample(y, sample, np.full(n, 1 / n)) == pytest.approx(closed, abs=1e-3)


def test_crps__weights_count_like_repetition_and_one_point_is_the_absolute_error() -> None:
    repeated = scores.crps_sample(0.5, np.array([0.0, 0.0, 0.0, 2.0]), np.full(4, 0.25))
    assert scores.crps_sample(0.5, np.array([0.0, 2.0]), np.array([0.75, 0.25])) == pytest.approx(repeated)
    assert scores.crps_sample(3.0, np.array([1.0]), np.array([1.0])) == 2.0


def test_diebold_mariano__size_is_right_and_a_clear_difference_is_seen() -> None:
    rng = np.random.default_rng(1)
    rejected = [scores.diebold_mariano(*rng.gamma(2.0, 1.0, (2, 300))) < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(rejected) <= 0.09
    better = rng.gamma(2.0, 1.0, 300)
    assert scores.diebold_mariano(better, better + rng.uniform(0.0, 0.5, 300)) < 1e-6
    assert math.isnan(scores.diebold_mariano(better, better))


def test_against_best_other__names_the_strongest_rival() -> None:
    rng = np.random.default_rng(2)
    losses = {name: level + rng.uniform(0, 1, 100) for name, level in (("a", 0.0), ("b", 1.0), ("c", 2.0))}
    found = scores.against_best_other(losses)
    assert {name: rival for name, (rival, _) in found.items()} == {"a": "b", "b": "a", "c": "a"}
    assert found["a"][1] < 0.01
    assert found["b"][1] > 0.99
    assert scores.against_best_other({"a": losses["a"]}) == {}
