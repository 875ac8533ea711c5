"""Local clock, lags in local time, and the promise that no feature sees past its origin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import DataError
from gridpilot.forecast.features import (
    Series,
    days_back,
    design,
    feature_table,
    local_clock,
    local_offset_s,
    lookback,
    same_time,
)

ZONES = ("UTC", "Europe/Amsterdam", "America/Chicago", "Asia/Kolkata", "Australia/Lord_Howe")


def grid(start: str, n: int, step_s: int = 3600) -> np.ndarray:
    return np.datetime64(start, "s") + np.arange(n) * np.timedelta64(step_s, "s")


def walk(n: int, step_s: int = 3600, zone: str = "Europe/Amsterdam", start: str = "2024-01-01") -> Series:
    rng = np.random.default_rng(7)
    return Series(grid(start, n, step_s), step_s, np.cumsum(rng.normal(size=n)), zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("step_s", [900, 3600])
def test_local_clock__a_whole_year_agrees_with_zoneinfo(zone: str, step_s: int) -> None:
    times = grid("2024-01-01", 366 * 86_400 // step_s, step_s)
    fraction, weekday = local_clock(times, local_offset_s(times, zone))
    for i in range(0, len(times), 37):
        local = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=i * step_s)).astimezone(ZoneInfo(zone))
        assert fraction[i] * 86_400 == pytest.approx(local.hour * 3600 + local.minute * 60)
        assert weekday[i] == local.weekday()


def test_same_time__day_after_the_clocks_changed_keeps_the_local_hour() -> None:
    series = walk(24 * 200)
    times = series.extended(24)
    offset = local_offset_s(times, series.timezone)
    fraction, _ = local_clock(times, offset)
    target = np.arange(24 * 15, 24 * 200)
    for days in (1, 7):
        same = same_time(target, np.full_like(target, days), offset, 3600)
        differ = fraction[same] != fraction[target]
        assert differ.sum() <= 1  # only the hour that did not exist on the day of the change


@given(end=st.integers(24 * 20, 24 * 120), horizon=st.integers(1, 72))
@settings(deadline=None, max_examples=60)
def test_days_back__any_origin_leads_to_a_value_known_there(end: int, horizon: int) -> None:
    series = walk(24 * 120).cut(end)  # the clock change of 31 March 2024 is among the origins
    offset = local_offset_s(series.extended(horizon), series.timezone)
    target = np.arange(end, end + horizon)
    days = days_back(np.full(horizon, end - 1), target, offset, 3600)
    assert np.all(same_time(target, days, offset, 3600) <= end - 1)
    assert np.all(days >= 1)
    assert np.all(days <= horizon // 24 + 2)


@given(
    origin=st.integers(400, 2300),
    horizon=st.integers(1, 50),
    lag_days=st.sampled_from([(1,), (1, 2, 7), (1, 2, 3, 7, 14)]),
)
@settings(deadline=None, max_examples=40)
def test_design__values_after_the_origin_replaced_changes_no_bit(
    origin: int, horizon: int, lag_days: tuple[int, ...]
) -> None:
    series = walk(2400)
    spoiled = series.y.copy()
    spoiled[origin + 1 :] = 1e6
    changed = Series(series.timestamp, 3600, spoiled, series.timezone)
    rows = np.array([origin])
    assert np.array_equal(design(series, rows, horizon, lag_days), design(changed, rows, horizon, lag_days))
    cut = design(series.cut(origin + 1), rows, horizon, lag_days)
    assert np.array_equal(design(series, rows, horizon, lag_days), cut)


def test_design__columns_are_those_of_the_table() -> None:
    for lag_days in ((1,), (1, 2, 3, 7, 14)):
        rows = design(walk(24 * 40), np.array([24 * 30, 24 * 31]), 24, lag_days)
        assert rows.shape == (2, 24, sum(feature.columns for feature in feature_table(lag_days)))
        assert all(feature.known for feature in feature_table(lag_days))


def test_design__known_values_land_in_their_columns() -> None:
    series = Series(grid("2024-06-03", 24 * 20), 3600, np.arange(24.0 * 20))
    row = design(series, np.array([24 * 20 - 1]), 24, (1, 7))[0]
    last = 24 * 20 - 1
    assert row[0, :4].tolist() == [last, last - 1, last - 2, last - 3]
    assert row[0, 4:12].tolist() == [last - 22.0 + 3 * i for i in range(8)]
    assert row[5, 17:19].tolist() == [last + 6 - 24, last + 6 - 168]
    assert row[5, 19:21].tolist() == [last + 6 - 25, last + 6 - 23]
    assert row[:, 21:28].sum() == 24


def test_lookback__just_enough_values_give_the_same_row_as_all() -> None:
    series = walk(24 * 60, start="2024-06-01")
    need = lookback(3600, (1, 2, 7))
    short = series.tail(need)
    whole = design(series, np.array([len(series) - 1]), 24, (1, 2, 7))
    np.testing.assert_allclose(design(short, np.array([need - 1]), 24, (1, 2, 7)), whole, rtol=1e-9)


def test_series__unequal_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="expected equal"):
        Series(grid("2024-01-01", 3), 3600, np.zeros(2))
