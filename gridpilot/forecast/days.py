"""A price as a table of days: one row for each local day that ends where the series ends.

The day-ahead models see hours of the day as columns. A row starts at the local time of day of the first
interval to forecast, whatever that is, so the newest row is always complete and the next one is the forecast.
Values finer than an hour enter as means of their hour; `spread` puts the shape within the hour back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np

from gridpilot.errors import DataError
from gridpilot.forecast.features import DAY_S, HOUR_S, Series, local_offset_s
from gridpilot.values import Array, Index, Times

Tick = Callable[[float], None]  # told the share of the work that is done

LEVEL_DAYS = 56  # eight weeks
SHAPE_DAYS = 28  # the shape within the hour is the mean of as many days


@dataclass(frozen=True, slots=True)
class DayTable:
    """D known days of S slots and the day to come, row D.

    y (D, S) price; exog (D + 1, E, S), known ahead; weekday (D + 1,), 0 = Monday; season (D + 1,) day of the
    year as an angle; holiday (D + 3,) 0 or 1 from the day before row 0 to the day after row D, empty without a
    country; ends (D + 1,) index in the series of the newest value known when row d is forecast;
    number counts days up to row D, from a fixed day; level (D + 1,) is the median of the mean prices of the
    LEVEL_DAYS rows before.
    """

    y: Array
    exog: Array
    weekday: Index
    season: Array
    holiday: Array
    ends: Index
    number: int
    level: Array

    def __len__(self) -> int:
        return len(self.y)

    @property
    def relative(self) -> Array:
        """Prices less the level of their row (D, S): what the models see, so that a shift of level is followed."""
        return np.asarray(self.y - self.level[:-1, None])


def silent(share: float) -> None:
    """The tick of those who don't want to know."""


def slots(step_s: int) -> int:
    """Slots of a day: hours, or steps where these are longer."""
    return max(1, round(DAY_S / max(step_s, HOUR_S)))


def longest_day(step_s: int) -> int:
    """Steps of the day on which the clock goes back an hour."""
    return max(1, round((DAY_S + HOUR_S) / step_s))


def day_table(series: Series) -> DayTable:
    """The table of a series that is to be forecast from its end.

    The hour that is skipped in spring repeats the hour before; the one that comes twice in autumn is a mean.
    """
    width = slots(series.step_s)
    n, longest = len(series), longest_day(series.step_s)
    lead = min(longest, series.lead)
    where = position(series, n + longest)
    known = where[:n]
    rows = -int(known[0] // width)
    if known[0] % width and rows:
        rows -= 1
    y = _slot_means(series.y, known, rows, width)
    exog = np.empty((rows + 1, series.exog.shape[1], width))
    for e in range(exog.shape[1]):
        values = series.exog[: n + lead, e]
        exog[:, e] = _slot_means(values, where[: n + lead], rows, width, ahead=1)
    first = np.searchsorted(known, (np.arange(rows + 1) - rows) * width)
    noon = _noons(series.extended(1)[first], series.timezone)
    days = [noon[0] - timedelta(days=1), *noon, noon[-1] + timedelta(days=1)]
    return DayTable(
        y=y,
        exog=exog,
        weekday=np.array([day.weekday() for day in noon], dtype=np.int64),
        season=np.array([2.0 * np.pi * day.timetuple().tm_yday / 365.25 for day in noon]),
        holiday=np.array([float(is_holiday(series.country, day)) for day in days if series.country]),
        ends=np.asarray(first - 1, dtype=np.int64),
        number=noon[-1].toordinal(),
        level=_level(y),
    )


def position(series: Series, count: int) -> Index:
    """Slot number of the first `count` intervals, known or to come (count,); 0 is the first interval to come."""
    ahead = max(count - len(series), 1)
    times = series.extended(ahead)
    local = times.astype(np.int64) + local_offset_s(times, series.timezone)
    relative = (local - local[len(series)]) // max(series.step_s, HOUR_S)
    out: Index = np.maximum.accumulate(relative[:count])
    return out


def spread(series: Series, horizon: int, one_day: Callable[[Series], Array]) -> Array:
    """The next H values (H,) from a model of days: `one_day` gives the S slots after the end of a series.

    Beyond a day the model goes on from its own forecast. Steps shorter than an hour get the mean deviation
    from the hour's mean that the last four weeks had at that time of day.
    """
    width, out = slots(series.step_s), np.empty(0)
    while len(out) < horizon:
        day = one_day(series)
        where = position(series, len(series) + series.season)[len(series) :] % width
        steps = day[where] + shape_in_hour(series)
        out = np.concatenate([out, steps])
        if len(out) < horizon:
            series = series.continued(steps)
    return out[:horizon]


@lru_cache(maxsize=8)
def _calendar(country: str) -> object:
    import holidays

    if country not in holidays.list_supported_countries():
        raise DataError(f"country is {country!r}: expected an ISO code with known public holidays, as NL")
    return holidays.country_holidays(country)


def check_country(country: str | None) -> None:
    """DataError for a country whose public holidays are not known."""
    if country is not None:
        _calendar(country)


@lru_cache(maxsize=20_000)
def is_holiday(country: str, day: date) -> bool:
    """Whether a local day is a public holiday there."""
    return day in _calendar(country)  # type: ignore[operator]


def _noons(starts: Times, timezone: str) -> list[date]:
    """The local date in the middle of each row that starts then."""
    middle = starts.astype(np.int64) + local_offset_s(starts, timezone) + DAY_S // 2
    return [datetime.fromtimestamp(int(second), UTC).date() for second in middle]


def _level(y: Array) -> Array:
    """Level of each row and the next (D + 1,) from the rows before it; the first row has its own."""
    mean = y.mean(axis=1)
    out = np.empty(len(y) + 1)
    out[0] = mean[0] if len(y) else 0.0
    for row in range(1, min(LEVEL_DAYS, len(y) + 1)):
        out[row] = np.median(mean[:row])
    if len(y) >= LEVEL_DAYS:
        out[LEVEL_DAYS:] = np.median(np.lib.stride_tricks.sliding_window_view(mean, LEVEL_DAYS), axis=1)
    return out


def _slot_means(values: Array, where: Index, rows: int, width: int, ahead: int = 0) -> Array:
    """Means of the values in each slot of the last `rows` rows and `ahead` to come; an empty slot repeats the last."""
    cell = where + rows * width
    inside = (cell >= 0) & (cell < (rows + ahead) * width)
    size = (rows + ahead) * width
    count = np.bincount(cell[inside], minlength=size)
    total = np.bincount(cell[inside], weights=values[inside], minlength=size)
    held = np.maximum.accumulate(np.where(count > 0, np.arange(size), 0))
    mean = total[held] / np.maximum(count[held], 1)
    return np.asarray(mean.reshape(rows + ahead, width))


def shape_in_hour(series: Series) -> Array:
    """Mean deviation of each step of the day from its hour's mean (season,), 0 for hourly steps."""
    season, width = series.season, slots(series.step_s)
    per, days = season // width, min(SHAPE_DAYS, len(series) // season)
    if per <= 1 or days < 1 or season % width:
        return np.zeros(season)
    recent = series.y[-days * season :].reshape(days, width, per)
    return np.asarray((recent - recent.mean(axis=2, keepdims=True)).mean(axis=0).ravel())
