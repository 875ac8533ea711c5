"""Day-ahead models as forecasters: from a series to a table of days, and back to the steps of the series."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import numpy as np

from gridpilot.forecast.days import (
    LEVEL_DAYS,
    DayTable,
    Tick,
    day_table,
    position,
    shape_in_hour,
    silent,
    slots,
    spread,
)
from gridpilot.forecast.features import DAY_S, Series, local_offset_s
from gridpilot.forecast.gp import GaussianProcess
from gridpilot.values import Array, Index

TAIL_DAYS = LEVEL_DAYS + 10  # what a fitted model reads: the level of each day of a week, and a clock change


class DayModel(Protocol):
    """Forecasts the row after the last of a day table, or many rows, each from the rows before it."""

    @property
    def name(self) -> str:
        """What screens and scores call it."""

    @property
    def least_rows(self) -> int:
        """Known days that it needs."""

    def fit(self, days: DayTable) -> None:
        """Learn from all known rows."""

    def predict(self, days: DayTable) -> Array:
        """The row to come (S,), from what was learnt and the inputs of today."""

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of the known rows from `first` on (D, S), each recalibrated on all rows before it.

        What is learnt once is learnt from rows before `first`. Leaves the model ready for `predict`.
        """


class DayAhead:
    """A `DayModel` behind the `Forecaster` interface. A fitted one serves origins at the time of day of its fit."""

    def __init__(self, build: Callable[[], DayModel]) -> None:
        self._build = build
        self._model: DayModel | None = None
        self._fitted: tuple[int, int, int] | None = None
        example = build()
        self.name = example.name
        self._least_rows = example.least_rows

    def min_history(self, step_s: int, horizon: int) -> int:
        """As many whole days as the model needs, and one for the time of day."""
        return (self._least_rows + 1) * max(1, round(86_400 / step_s)) + 3600 // step_s + 1

    def fit(self, series: Series, horizon: int) -> None:
        """Learn from all whole days that end with the series."""
        model = self._build()
        model.fit(day_table(series))
        self._model, self._fitted = model, _shape(series)

    def predict(self, series: Series, horizon: int, days: DayTable | None = None) -> Array:
        """The next `horizon` values (H,); beyond a day the model goes on from its own forecast.

        `days` is `recent_days(series)` where the caller has it already.
        """
        model = self._model
        if model is None or not self.serves(series):
            seen = "nothing" if model is None else "origins at another time of day, or another step or set of series"
            raise ValueError(f"{self.name} was fitted for {seen}: fit it on a series that ends then")
        recent = series.tail(TAIL_DAYS * series.season)

        def one_day(known: Series) -> Array:
            return model.predict(days if days is not None and known is recent else day_table(known))

        return spread(recent, horizon, one_day)

    @property
    def model(self) -> DayModel | None:
        """The fitted model, if any."""
        return self._model

    def part(self, model: DayModel) -> DayAhead:
        """One fitted member alone, for the same origins."""
        out = copy.copy(self)
        out._model, out.name = model, model.name
        return out

    def serves(self, series: Series) -> bool:
        """Whether the fitted model serves origins like the end of this series."""
        return self._fitted == _shape(series)

    def steps(self, rows: Array, series: Series, origins: Index, horizon: int) -> Array:
        """Rows of a table that ends with the series as steps after each origin (K, H)."""
        return to_steps(rows[np.searchsorted(day_table(series).ends, origins)], series, origins, horizon)

    def drivers(self, series: Series) -> dict[str, float]:
        """What each input adds to the next day's mean price; empty where the model can't say."""
        if not isinstance(self._model, GaussianProcess) or not self.serves(series):
            return {}
        return self._model.drivers(recent_days(series))

    def rolling(self, series: Series, origins: Index, horizon: int, tick: Tick = silent) -> Array | None:
        """Forecasts (K, H) from each of ascending `origins`, fitted before the first, recalibrated daily.

        None where one table of days does not serve them all: a horizon beyond a day, origins at different times
        of day or less than a day before the end of the series, or too little before the first. Afterwards the
        model is ready to `predict` from the origin a day after the last.
        """
        stop = _day_after(series, int(origins[-1])) + 1
        if horizon > series.season or stop > len(series):
            return None
        known = series.cut(stop)
        days = day_table(known)
        row = np.searchsorted(days.ends, origins)
        if not np.array_equal(days.ends[np.minimum(row, len(days))], origins) or row[0] < self._least_rows:
            return None
        self._model, self._fitted = self._build(), _shape(known)
        table = self._model.rows(days, int(row[0]), tick)
        return to_steps(table[row], known, origins, horizon)


def recent_days(series: Series) -> DayTable:
    """The newest days, as many as a fitted model reads."""
    return day_table(series.tail(TAIL_DAYS * series.season))


def to_steps(rows: Array, series: Series, origins: Index, horizon: int) -> Array:
    """The row after each origin (K, S) as steps (K, H): on days with a clock change slots and steps differ."""
    where = position(series, len(series) + horizon) % rows.shape[1]
    target = origins[:, None] + np.arange(1, horizon + 1)
    steps = rows[np.arange(len(origins))[:, None], where[target]]
    if series.season == slots(series.step_s):
        return np.asarray(steps)
    return np.asarray(steps + np.stack([shape_in_hour(series.cut(int(o) + 1))[:horizon] for o in origins]))


def _day_after(series: Series, origin: int) -> int:
    """Index of the same local time a day later."""
    times = series.timestamp[origin] + np.array([1, 1 + series.season]) * np.timedelta64(series.step_s, "s")
    first, later = local_offset_s(times, series.timezone)
    return origin + series.season - int(later - first) // series.step_s


def _shape(series: Series) -> tuple[int, int, int]:
    """What a fitted model depends on: the step, the local time of day of the end, the number of exogenous series."""
    return series.step_s, local_phase_s(series), series.exog.shape[1]


def local_phase_s(series: Series) -> int:
    """Local time of day of the first interval to come [s]."""
    ahead = series.future(1)
    return int((ahead.astype(np.int64) + local_offset_s(ahead, series.timezone))[0]) % DAY_S
