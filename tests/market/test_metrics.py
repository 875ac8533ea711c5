from __future__ import annotations

import math

import numpy as np
import pytest

from gridpilot.market.metrics import quality
from gridpilot.values import Times, as_array

START = np.datetime64("2024-03-01T00:00:00", "s")


def hours(*at: float) -> Times:
    return np.array([START + np.timedelta64(int(h * 3600), "s") for h in at])


def test_quality__whole_day_of_quarter_hours__nothing_missing_and_regular() -> None:
    found = quality(hours(*np.arange(96) / 4), as_array(np.arange(96.0)), [120.0, 80.0, 100.0])
    assert (found.records, found.expected, found.missing_frac) == (96, 96, 0.0)
    assert (found.step_s, found.frequency_per_h, found.regular) == (900, 4.0, True)
    assert found.volatility == 0.0, "it changes alike at every step"
    assert (found.latency_ms, found.latency_95_ms) == (100.0, 118.0)


def test_quality__two_of_ten_hours_missing__a_fifth_and_not_regular() -> None:
    found = quality(hours(0, 1, 2, 5, 6, 7, 8, 9), as_array([5.0] * 8))
    assert (found.records, found.expected) == (8, 10)
    assert found.missing_frac == pytest.approx(0.2)
    assert (found.regular_frac, found.regular) == (pytest.approx(6 / 7), False)


def test_quality__volatility__by_hand() -> None:
    found = quality(hours(0, 1, 2, 3, 4), as_array([10.0, 14.0, 8.0, -12.0, 10.0]))
    changes = [4.0, -6.0, -20.0, 22.0]
    assert found.volatility == pytest.approx(float(np.std(changes)))
    assert found.relative_volatility == pytest.approx(float(np.std(changes)) / 10.0)


def test_quality__one_record_or_none__says_what_it_does_not_know() -> None:
    for n in (0, 1):
        found = quality(hours(*range(n)), as_array([1.0] * n))
        assert (found.records, found.expected, found.step_s) == (n, n, 0)
        assert math.isnan(found.volatility) and math.isnan(found.latency_ms) and math.isnan(found.frequency_per_h)
    assert math.isnan(quality(hours(0, 1, 2), as_array([0.0] * 3)).relative_volatility)
