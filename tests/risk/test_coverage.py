"""Kupiec's and Christoffersen's tests: against binomial likelihoods, counted by hand, and for their size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gridpilot.errors import DataError
from gridpilot.risk.coverage import coverage


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(20, 400), share=st.floats(0.0, 1.0), alpha=st.sampled_from([0.9, 0.95, 0.99]), seed=st.integers(0, 99)
)
def test_coverage__any_hits__kupiec_is_the_ratio_of_binomial_likelihoods(
    n: int, share: float, alpha: float, seed: int
) -> None:
    hits = (np.random.default_rng(seed).random(n) < share).astype(float)
    found, count = coverage(hits, alpha), int(hits.sum())
    ratio = -2.0 * (stats.binom.logpmf(count, n, 1.0 - alpha) - stats.binom.logpmf(count, n, count / n))
    assert found.unconditional.statistic == pytest.approx(ratio, abs=1e-7, rel=1e-7)
    assert found.unconditional.p_value == pytest.approx(stats.chi2.sf(max(0.0, ratio), 1), abs=1e-6)
    assert (found.hits, found.n, found.expected) == (count, n, pytest.approx(n * (1.0 - alpha)))
    both = found.unconditional.statistic + found.independence.statistic
    assert found.conditional.p_value == pytest.approx(stats.chi2.sf(both, 2))


def test_coverage__transitions__counted_by_hand() -> None:
    hits = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1.0])
    # 21 moves: none -> none 13, none -> hit 3, hit -> hit 3, hit -> none 2
    after_none, after_hit, one = 3 / 16, 3 / 5, 6 / 21
    apart = (
        13 * math.log(1 - after_none) + 3 * math.log(after_none) + 2 * math.log(1 - after_hit) + 3 * math.log(after_hit)
    )
    together = 15 * math.log(1 - one) + 6 * math.log(one)
    assert coverage(hits, 0.9).independence.statistic == pytest.approx(2.0 * (apart - together))


def test_coverage__promise_kept_or_broken__verdict() -> None:
    kept = np.tile(np.r_[np.zeros(19), 1.0], 20)
    assert coverage(kept, 0.95).unconditional.passed
    assert not coverage(kept, 0.99).unconditional.passed
    assert not coverage(np.zeros(400), 0.95).unconditional.passed  # a VaR that is never exceeded is too high
    clustered = np.r_[np.zeros(190), np.ones(20), np.zeros(190)]
    found = coverage(clustered, 0.95)
    assert found.unconditional.passed and not found.independence.passed and not found.conditional.passed


def test_coverage__independent_hits__a_true_promise_is_refuted_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    found = [coverage((rng.random(1000) < 0.05).astype(float), 0.95) for _ in range(1000)]
    for verdicts in ([f.unconditional for f in found], [f.independence for f in found], [f.conditional for f in found]):
        assert 0.02 < np.mean([not verdict.passed for verdict in verdicts]) < 0.09


def test_F37_coverage__few_periods__no_verdict() -> None:
    found = coverage(np.zeros(19), 0.95)
    assert found.status == "not enough data: 19 of 20"
    assert math.isnan(found.conditional.p_value) and not found.conditional.passed


@pytest.mark.parametrize("hits", [np.full(30, 0.5), np.array([0.0, math.nan] * 15), np.zeros((30, 1))])
def test_coverage__values_that_are_no_hits__refused(hits: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected 0 and 1"):
        coverage(hits, 0.95)
