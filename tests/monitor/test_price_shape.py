"""The week, the duration curve and restlessness, on prices whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from gridpilot.monitor.price_shape import duration, restless, week
from gridpilot.values import Times, as_array


def stamps(start: str, n: int, step_s: int = 3600) -> Times:
    return np.datetime64(start, "s") + np.arange(n) * np.timedelta64(step_s, "s")


def test_week__hours_in_the_sites_zone_and_missing_prices_left_out() -> None:
    at = stamps("2024-06-09T22:00:00", 48)  # Monday midnight in Amsterdam
    price = np.arange(48.0)
    price[5] = np.nan
    found = week(at, as_array(price), "Europe/Amsterdam")
    assert found is not None
    assert found.mean.shape == (7, 24)
    assert found.mean[0, 0] == 0.0 and found.mean[1, 23] == 47.0
    assert np.isnan(found.mean[0, 5]) and np.isnan(found.mean[2:]).all()
    assert (found.cheapest, found.dearest) == ((0, 0), (1, 23))


def test_week__clocks_go_back__both_hours_are_the_second_hour_of_sunday() -> None:
    at = stamps("2024-10-26T22:00:00", 25)  # a Sunday of 25 hours
    found = week(at, as_array(np.arange(25.0)), "Europe/Amsterdam")
    assert found is not None
    assert found.mean[6, 2] == 2.5
    assert found.mean[6, 23] == 24.0


def test_week__quarter_hours__mean_of_the_hour() -> None:
    found = week(stamps("2024-06-10T00:00:00", 8, 900), as_array([1.0, 2.0, 3.0, 6.0, 9.0, 9.0, 9.0, 9.0]), "UTC")
    assert found is not None
    assert found.mean[0, :2].tolist() == [3.0, 9.0]


def test_week__nothing_known__none() -> None:
    assert week(stamps("2024-06-10T00:00:00", 3), as_array([np.nan] * 3), "UTC") is None


def test_duration__highest_first_and_shares_from_zero_to_one() -> None:
    share, price = duration(as_array([5.0, np.nan, -1.0, 9.0]))
    assert price.tolist() == [9.0, 5.0, -1.0]
    assert share.tolist() == [0.0, 0.5, 1.0]
    assert duration(as_array([np.nan]))[1].size == 0


def test_restless__newest_day_swings_most__all_days_were_calmer() -> None:
    hours = np.arange(24 * 10 + 1)
    price = np.where(hours > 24 * 9, 50.0, 5.0) * (hours % 2)
    found = restless(stamps("2024-06-01T00:00:00", len(hours)), as_array(price), 3600)
    assert found is not None
    assert found.share == 1.0 and found.days == 9
    assert found.now == pytest.approx(50.0, rel=0.02) and found.median == pytest.approx(5.0)


def test_restless__few_days_or_the_newest_with_gaps__not_said() -> None:
    at = stamps("2024-06-01T00:00:00", 24 * 10 + 1)
    price = np.arange(len(at)) % 7 * 1.0
    assert restless(at[: 24 * 7], as_array(price[: 24 * 7]), 3600) is None
    price[-20:] = np.nan
    assert restless(at, as_array(price), 3600) is None
