"""Forecasters of one price series, and their registry.

A model sees a `Series` that ends at the origin and gives the next H values; it never sees what follows.
To add one: a class with the four members of `Forecaster`, and one line in `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gridpilot.forecast.features import (
    DAY_S,
    Series,
    days_back,
    design,
    local_clock,
    local_offset_s,
    lookback,
    same_time,
)
from gridpilot.values import Array, Index


class Forecaster(Protocol):
    """Fits on a series and forecasts from the end of that series or of a later, longer one."""

    @property
    def name(self) -> str:
        """What screens and scores call it."""

    def min_history(self, step_s: int, horizon: int) -> int:
        """Values that `fit` needs."""

    def fit(self, series: Series, horizon: int) -> None:
        """Learn from the series; called again, it starts afresh."""

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,) after the end of the series."""

    def serves(self, series: Series) -> bool:
        """Whether what was fitted can forecast from the end of this series."""


@dataclass(frozen=True, slots=True)
class Asinh:
    """z = asinh((p - median) / scale): near linear in the bulk, logarithmic in spikes of either sign.

    scale = 1.4826 x median absolute deviation, or the standard deviation where more than half of the values
    are equal, or 1 for a constant. Source: Uniejewski, Weron and Ziel (2018), IEEE Trans. Power Syst. 33(2).
    """

    median: float
    scale: float

    @classmethod
    def of(cls, y: Array) -> Asinh:
        """Median and scale of the values y (N,)."""
        median = float(np.median(y))
        scale = 1.4826 * float(np.median(np.abs(y - median))) or float(np.std(y)) or 1.0
        return cls(median, scale)

    def forward(self, y: Array) -> Array:
        """Prices to z."""
        return np.asarray(np.arcsinh((y - self.median) / self.scale))

    def inverse(self, z: Array) -> Array:
        """z to prices."""
        return np.asarray(self.median + self.scale * np.sinh(z))


class LastValue:
    """Every step is the newest value: nothing beats it on a random walk."""

    name = "last value"

    def min_history(self, step_s: int, horizon: int) -> int:
        """One value."""
        return 1

    def fit(self, series: Series, horizon: int) -> None:
        """Nothing to learn."""

    def serves(self, series: Series) -> bool:
        """Any series."""
        return True

    def predict(self, series: Series, horizon: int) -> Array:
        """y[o] for every step."""
        return np.full(horizon, series.y[-1])


class SeasonalNaive:
    """The same local time a day ago; for Saturday, Sunday and Monday a week ago.

    Beyond a day ahead the newest known day repeats; with less than a week of history always the newest day.
    Source: Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293, eq. 2.
    """

    name = "seasonal naive"

    def min_history(self, step_s: int, horizon: int) -> int:
        """One day, at least two values."""
        return max(2, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Nothing to learn."""

    def serves(self, series: Series) -> bool:
        """Any series."""
        return True

    def predict(self, series: Series, horizon: int) -> Array:
        """y at the target's local time on the newest like day that is known at the origin."""
        days = -(-horizon // series.season)
        recent = series.tail((days + 9) * series.season + 2)
        n = len(recent)
        times = recent.extended(horizon)
        offset = local_offset_s(times, recent.timezone)
        target: Index = np.arange(n, n + horizon)
        near = days_back(np.full(horizon, n - 1), target, offset, recent.step_s)
        week = 7 * -(-near // 7)
        _, weekday = local_clock(times[n:], offset[n:])
        weekly = np.isin(weekday, (5, 6, 0)) & (target - week * recent.season >= 0)
        source = same_time(target, np.where(weekly, week, near), offset, recent.step_s)
        return recent.y[np.clip(source, 0, n - 1)]


class WeeklyNaive:
    """The same local time a week ago; beyond a week the newest known week repeats.

    Source: Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293, section 3.2 (the reference of rMAE).
    """

    name = "weekly naive"

    def min_history(self, step_s: int, horizon: int) -> int:
        """Eight days: a week and a clock change."""
        return 8 * max(1, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Nothing to learn."""

    def serves(self, series: Series) -> bool:
        """Any series."""
        return True

    def predict(self, series: Series, horizon: int) -> Array:
        """y at the target's local time, the fewest whole weeks back that lead to a known value."""
        weeks = -(-horizon // (7 * series.season))
        recent = series.tail((7 * weeks + 8) * series.season + 2)
        n = len(recent)
        offset = local_offset_s(recent.extended(horizon), recent.timezone)
        target: Index = np.arange(n, n + horizon)
        back = 7 * -(-(target - n + 1) // (7 * recent.season))
        source = same_time(target, back, offset, recent.step_s)
        return recent.y[np.clip(source, 0, n - 1)]


@dataclass(frozen=True, slots=True)
class _RidgeFit:
    """What a fitted ridge holds: for each step an affine map of the features (H, F)."""

    step_s: int
    phases_s: tuple[int, int] | None  # UTC and local time of day of the origins; None: of all times of day
    lag_days: tuple[int, ...]
    transform: Asinh
    mean: Array
    weight: Array  # coefficients over standard deviations
    level: Array  # (H,)
    z_low: float
    z_high: float


class Ridge:
    """One ridge regression for each step ahead, on the features of `features.design`, in asinh space.

    beta_h = (X_h'X_h / n + a I)^-1 X_h'(z_h - mean) / n with standardised columns and a = 0.3 F / days: the
    prior weighs as much as a third of a day of data for each feature. With 60 training days or more all origins
    have the time of day of the last one, so that each step has its own local hour (the usual day-ahead
    layout); with fewer, origins at all times of day are pooled. A forecast stays within the range of the
    training data, widened by a quarter of a unit of z.
    """

    name = "ridge"
    max_days = 365
    pooled_origins = 200
    prior_days = 0.3

    def __init__(self) -> None:
        self._fit: _RidgeFit | None = None

    def min_history(self, step_s: int, horizon: int) -> int:
        """Room for the shortest lag, a full horizon and a day of origins."""
        return lookback(step_s, (1,)) + horizon + max(12, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Two batched matrix products and one batched solve for all steps."""
        series = series.tail(self.max_days * series.season)
        transform = Asinh.of(series.y)
        z = Series(series.timestamp, series.step_s, transform.forward(series.y), series.timezone)
        days = len(series) / series.season
        lag_days = (1, 2, 3, 7, 14) if days >= 60 else (1, 2, 7) if days >= 28 else (1,)
        origins, daily = self._origins(z, horizon, lag_days)
        x = design(z, origins, horizon, lag_days).transpose(1, 0, 2)
        target = z.y[origins[:, None] + np.arange(1, horizon + 1)]
        mean = x.mean(axis=1)
        x -= mean[:, None, :]
        spread = np.sqrt(np.mean(x * x, axis=1))
        spread[spread < 1e-9] = np.inf  # a column that never moved gets no weight
        x /= spread[:, None, :]
        level = target.mean(axis=0)
        n, features = x.shape[1], x.shape[2]
        gram = x.transpose(0, 2, 1) @ x / n
        gram[:, np.arange(features), np.arange(features)] += self.prior_days * features / days
        moment = x.transpose(0, 2, 1) @ (target - level).T[:, :, None] / n
        beta = np.linalg.solve(gram, moment)[:, :, 0]
        self._fit = _RidgeFit(
            step_s=series.step_s,
            phases_s=_phases_s(series) if daily else None,
            lag_days=lag_days,
            transform=transform,
            mean=mean,
            weight=beta / spread,
            level=level,
            z_low=float(z.y.min()) - 0.25,
            z_high=float(z.y.max()) + 0.25,
        )

    def predict(self, series: Series, horizon: int) -> Array:
        """The fitted maps on the features of the series' last value."""
        fit = self._fit
        if fit is None or horizon > len(fit.level) or series.step_s != fit.step_s:
            raise ValueError(f"ridge is not fitted for {horizon} steps of {series.step_s} s: call fit first")
        if not self.serves(series):
            raise ValueError("ridge was fitted for origins at another time of day: fit it on a series that ends then")
        recent = series.tail(lookback(series.step_s, fit.lag_days) + 2 * series.season)
        z = Series(recent.timestamp, recent.step_s, fit.transform.forward(recent.y), recent.timezone)
        x = design(z, np.array([len(z) - 1]), horizon, fit.lag_days)[0]
        out = fit.level[:horizon] + np.sum((x - fit.mean[:horizon]) * fit.weight[:horizon], axis=1)
        return fit.transform.inverse(np.clip(out, fit.z_low, fit.z_high))

    def serves(self, series: Series) -> bool:
        """Series of the fitted step; with daily origins only at their time of day, in UTC or locally."""
        fit = self._fit
        if fit is None or series.step_s != fit.step_s:
            return False
        return fit.phases_s is None or any(a == b for a, b in zip(fit.phases_s, _phases_s(series), strict=True))

    def _origins(self, series: Series, horizon: int, lag_days: tuple[int, ...]) -> tuple[Index, bool]:
        """Training origins, ascending, and whether all have the time of day of the series' end."""
        n, season = len(series), series.season
        first = lookback(series.step_s, lag_days) - 1
        last = n - 1 - season * -(-horizon // season)
        if (last - first) // season >= 45:
            return np.arange(last, first - 1, -season)[::-1], True
        last = n - 1 - horizon
        if last - first < 8:
            raise ValueError(f"ridge has {n} values and needs {self.min_history(series.step_s, horizon)}")
        return np.arange(last, first - 1, -max(1, (last - first) // self.pooled_origins))[::-1], False


def _phases_s(series: Series) -> tuple[int, int]:
    """UTC and local time of day of the end [s]."""
    newest = series.timestamp[-1:]
    utc = int(newest.astype(np.int64)[0])
    return utc % DAY_S, (utc + int(local_offset_s(newest, series.timezone)[0])) % DAY_S


MODELS: Mapping[str, Callable[[], Forecaster]] = {
    LastValue.name: LastValue,
    SeasonalNaive.name: SeasonalNaive,
    Ridge.name: Ridge,
}
