"""Days as rows: complete, causal, and the same whatever origin looks at them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from gridpilot.errors import DataError
from gridpilot.forecast.days import check_country, day_table, is_holiday, shape_in_hour, spread
from gridpilot.forecast.features import Series
from tests.forecast.conftest import market, times


def test_day_table__hours_from_midnight_are_the_rows() -> None:
    series = market(20)
    days = day_table(series)
    assert np.array_equal(days.y, series.y.reshape(20, 24))
    assert np.array_equal(days.exog[-1, 0], series.exog[480:504, 0])
    assert days.ends[-1] == 479
    assert days.ends[0] == -1
    assert days.weekday[0] == date(2023, 1, 1).weekday()


def test_day_table__origin_at_noon_has_rows_from_noon_and_drops_the_first_half_day() -> None:
    series = market(20)
    days = day_table(series.cut(20 * 24 - 12))
    assert len(days) == 19
    assert np.array_equal(days.y[-1], series.y[18 * 24 + 12 : 19 * 24 + 12])


def test_day_table__clock_changes_keep_the_local_hour_in_its_column() -> None:
    stamps = times("2023-03-19T23:00:00", 24 * 20, 3600)  # midnight in Amsterdam; the clock changes on the 26th
    hour = (np.arange(24 * 20) + (stamps >= np.datetime64("2023-03-26T01:00:00"))) % 24
    series = Series(stamps, 3600, hour.astype(float), "Europe/Amsterdam").cut(24 * 15 - 1)
    days = day_table(series)
    assert len(days) == 15
    assert np.array_equal(days.y[0], np.arange(24.0))
    assert np.array_equal(days.y[-1], np.arange(24.0))
    assert days.y[6, 2] == 1.0  # the hour that was skipped repeats the one before
    assert np.array_equal(np.delete(days.y[6], 2), np.delete(np.arange(24.0), 2))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "America/New_York"])
def test_day_table__rows_do_not_depend_on_the_origin_that_looks(zone: str) -> None:
    series = market(120, zone=zone, start="2023-02-01")
    whole = day_table(series)
    for row in (40, 60, 90):
        part = day_table(series.cut(int(whole.ends[row]) + 1))
        k = len(part)
        assert np.array_equal(part.y, whole.y[row - k : row])
        assert np.array_equal(part.level, whole.level[: k + 1])
        assert np.array_equal(part.exog[:k], whole.exog[row - k : row])
        assert np.array_equal(part.holiday[: k + 2], whole.holiday[row - k : row + 2])


def test_day_table__five_minutes_enter_as_means_of_their_hour() -> None:
    series = market(4, 300)
    days = day_table(series)
    assert days.y.shape == (4, 24)
    assert np.allclose(days.y[1, 3], series.y[288 + 36 : 288 + 48].mean())


def test_spread__shape_within_the_hour_is_kept() -> None:
    pattern = np.tile(np.arange(12.0), 24 * 10)
    series = Series(times("2023-01-01", len(pattern), 300), 300, pattern)
    steps = spread(series, 300, lambda known: np.full(24, 100.0))
    assert np.allclose(steps[:12], 100.0 + np.arange(12) - 5.5)
    assert len(steps) == 300
    assert np.all(shape_in_hour(market(3)) == 0.0)


def test_spread__two_days_go_on_from_the_first_forecast() -> None:
    series = market(10)
    out = spread(series, 48, lambda known: day_table(known).y[-1] + 1.0)
    assert np.allclose(out[24:], series.y[-24:] + 2.0)


def test_country__unknown_is_refused_and_known_has_its_days() -> None:
    assert is_holiday("NL", date(2024, 4, 27))
    assert not is_holiday("NL", date(2024, 4, 26))
    with pytest.raises(DataError, match=r"'XX'.*ISO code"):
        check_country("XX")


def test_level__is_the_median_of_eight_weeks_before_and_knows_nothing_later() -> None:
    days = day_table(market(80))
    means = days.y.mean(axis=1)
    assert days.level[70] == np.median(means[14:70])
    assert days.level[80] == np.median(means[24:80])
    assert days.level[5] == np.median(means[:5])
    assert np.allclose(days.relative + days.level[:-1, None], days.y)
