"""Quantiles from errors: ordered, calibrated, and honest where little is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gridpilot.forecast import bands

ERRORS = arrays(
    np.float64,
    st.tuples(st.integers(2, 40), st.integers(1, 12)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


@given(errors=ERRORS, neighbours=st.integers(0, 20), days=st.floats(0.01, 100.0))
@settings(deadline=None, max_examples=60)
def test_conformal__any_errors_give_ordered_quantiles_around_the_point(
    errors: np.ndarray, neighbours: int, days: float
) -> None:
    point = np.linspace(-5.0, 5.0, errors.shape[1])
    residuals = bands.rescaled(errors, neighbours)
    quantiles, sigma = bands.conformal(point, residuals, neighbours=neighbours, days=days)
    stack = np.stack([quantiles[q] for q in bands.LEVELS])
    assert np.all(np.diff(stack, axis=0) >= -1e-6)
    assert np.all(quantiles[0.1] <= point)
    assert np.all(quantiles[0.9] >= point)
    assert np.all(np.isfinite(stack))
    assert np.all(sigma >= 0.0)


def test_conformal__errors_of_one_law_are_covered_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        errors, truth = rng.standard_t(4, (56, 24)), rng.standard_t(4, 24)
        residuals = bands.rescaled(errors, 1)
        quantiles, _ = bands.conformal(np.zeros(24), residuals, neighbours=1, days=56.0)
        inside.append((quantiles[0.1] <= truth) & (truth <= quantiles[0.9]))
    assert 0.78 <= np.mean(inside) <= 0.84


def test_conformal__few_days_give_wider_bands_than_many() -> None:
    errors = np.random.default_rng(1).normal(size=(40, 6))
    few, _ = bands.conformal(np.zeros(6), errors, neighbours=0, days=2.0)
    many, _ = bands.conformal(np.zeros(6), errors, neighbours=0, days=200.0)
    assert np.all(few[0.9] - few[0.1] > many[0.9] - many[0.1])


def test_rescaled__volatility_that_doubled_widens_the_old_errors() -> None:
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(60, 4))
    errors[30:] *= 10.0
    residuals = bands.rescaled(errors, 0)
    assert len(residuals) == 60 - bands.BURN_IN
    assert residuals[:20].std() > 5.0 * errors[:20].std()


def test_rescaled__forecast_without_error_gives_zero_not_nan() -> None:
    assert np.array_equal(bands.rescaled(np.zeros((30, 3)), 1), np.zeros((23, 3)))


def test_random_walk__band_grows_with_the_root_of_time_within_its_range() -> None:
    y = 50.0 + np.cumsum(np.random.default_rng(3).normal(size=400))
    band = bands.random_walk(y, 16, "cold")
    width = band.quantiles[0.75] - band.quantiles[0.25]
    assert width[3] == pytest.approx(2.0 * width[0])
    assert np.all(band.point == y[-1])
    low, high = bands.walk_range(y)
    assert band.lower.min() >= low
    assert band.upper.max() <= high


def test_random_walk__two_values_are_enough() -> None:
    band = bands.random_walk(np.array([3.0, 4.0]), 5, "cold")
    assert np.all(np.isfinite(band.sigma))
    assert np.all(band.lower <= 4.0)


def test_changes__mirrored_so_that_there_is_no_drift() -> None:
    assert bands.changes(np.array([1.0, 2.0, 4.0])).tolist() == [1.0, 2.0, -1.0, -2.0]


def test_rescaled__surprise_after_perfect_days_stays_in_proportion() -> None:
    errors = np.full((56, 2), 1e-12)
    errors[30:] = 1.0
    assert np.abs(bands.rescaled(errors, 0)).max() < 10.0


def test_weighted__errors_fade_with_age_and_weights_sum_to_one() -> None:
    sample, weight = bands.weighted(np.arange(182.0)[:, None].repeat(3, axis=1), 1)
    assert sample.shape == weight.shape == (3, 3 * 182)
    assert np.allclose(weight.sum(axis=1), 1.0)
    assert weight[0, -1] / weight[0, 0] == pytest.approx(0.99**-181)


def test_conformal__fading_follows_a_change_of_bias_sooner() -> None:
    errors = np.concatenate([np.zeros((140, 4)), np.ones((42, 4))])
    even, _ = bands.conformal(np.zeros(4), errors, neighbours=0, days=182.0)
    faded, _ = bands.conformal(np.zeros(4), errors, neighbours=0, days=182.0, fade=0.97)
    assert np.all(even[0.5] == 0.0)
    assert np.all(faded[0.5] == 1.0)
