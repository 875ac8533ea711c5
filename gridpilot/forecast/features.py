"""Series, local clock and leak-free features.

A feature row belongs to an origin o (the newest known interval) and a step h = 1..H ahead; its target is
t = o + h. Every feature is a function of y[..o] and of the calendar of t, so nothing after the origin can
enter. `FEATURES` says for each group when it is known.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.errors import DataError
from gridpilot.values import Array, Index, Times, as_array, as_times

DAY_S = 86_400
HOUR_S = 3600
BLOCKS = 8  # the last day enters as this many block means, whatever the step
RECENT = 4  # newest single values
HARMONICS = 3  # sine and cosine pairs over the local day


@dataclass(frozen=True, slots=True)
class Series:
    """One price on an even grid, oldest first, with the zone whose clock people live by.

    timestamp (N,) UTC interval starts; y (N,) in the price's own unit, finite. exog (N + lead, E) are series
    like load or wind, whose forecasts reach `known_ahead` steps beyond every origin; `country` (ISO code) says
    whose public holidays count.
    """

    timestamp: Times
    step_s: int
    y: Array
    timezone: str = "UTC"
    exog: Array = field(default_factory=lambda: np.empty((0, 0)))
    known_ahead: int = 0
    country: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        object.__setattr__(self, "y", as_array(self.y))
        object.__setattr__(self, "exog", as_array(self.exog))
        if self.y.ndim != 1 or self.y.shape != self.timestamp.shape or not len(self.y):
            raise DataError(f"series has {self.timestamp.shape} times and {self.y.shape} values: expected equal, not 0")
        if self.exog.ndim != 2 or (self.exog.shape[1] and len(self.exog) < len(self.y)):
            raise DataError(f"exogenous series have shape {self.exog.shape}: expected ({len(self.y)} or more, E)")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def season(self) -> int:
        """Steps in a day, at least 1."""
        return max(1, round(DAY_S / self.step_s))

    @property
    def per_hour(self) -> int:
        """Steps in an hour, at least 1."""
        return max(1, round(HOUR_S / self.step_s))

    @property
    def lead(self) -> int:
        """Steps after the end that the exogenous series hold; 0 without any."""
        return max(0, len(self.exog) - len(self.y))

    def cut(self, n: int) -> Series:
        """The oldest `n` values: what was known at origin n - 1, exogenous forecasts included."""
        exog = self.exog[: n + self.known_ahead]
        return dataclasses.replace(self, timestamp=self.timestamp[:n], y=self.y[:n], exog=exog)

    def tail(self, n: int) -> Series:
        """The newest `n` values."""
        drop = max(0, len(self) - n)
        return dataclasses.replace(self, timestamp=self.timestamp[drop:], y=self.y[drop:], exog=self.exog[drop:])

    def continued(self, values: Array) -> Series:
        """As if `values` had come next; exogenous series hold their last known values."""
        missing = max(0, len(values) - self.lead) + self.lead if self.exog.shape[1] else 0
        exog = np.concatenate([self.exog, np.repeat(self.exog[-1:], missing, axis=0)]) if missing else self.exog
        y, stamps = np.concatenate([self.y, values]), self.extended(len(values))
        return dataclasses.replace(self, timestamp=stamps, y=y, exog=exog)

    def without_exog(self) -> Series:
        """The price alone."""
        return dataclasses.replace(self, exog=np.empty((0, 0)))

    def future(self, horizon: int) -> Times:
        """The interval starts of the next `horizon` steps (H,)."""
        return as_times(self.timestamp[-1] + np.arange(1, horizon + 1) * np.timedelta64(self.step_s, "s"))

    def extended(self, horizon: int) -> Times:
        """All known interval starts and the next `horizon` ones (N + H,)."""
        return as_times(np.concatenate([self.timestamp, self.future(horizon)]))


@dataclass(frozen=True, slots=True)
class Feature:
    """A group of columns of the design matrix. z is the transformed price, o the origin, t = o + h the target."""

    name: str
    columns: int
    formula: str
    known: str  # the lead time at which it is known


def feature_table(lag_days: tuple[int, ...]) -> tuple[Feature, ...]:
    """The groups that `design` writes, in its order."""
    return (
        Feature("recent", RECENT, "z[o], z[o-1], z[o-2], z[o-3]", "at the origin"),
        Feature("day blocks", BLOCKS, "means of the eighths of the last 24 h", "at the origin"),
        Feature("day level", 4, "mean, min, max, sd of the last 24 h", "at the origin"),
        Feature("week level", 1, "mean of the longest known whole days, 7 at the most", "at the origin"),
        Feature("same time", len(lag_days), f"z at t's local time, {lag_days} days back", "lag of h steps or more"),
        Feature("neighbours", 2, "z one step before and after t's local time one day back", "lag of h steps or more"),
        Feature("weekday", 7, "1 for t's local weekday", "calendar: always"),
        Feature("hour", 2 * HARMONICS, "sine and cosine of t's local time of day", "calendar: always"),
    )


def local_offset_s(times: Times, timezone: str) -> Index:
    """Seconds by which the zone's clock is ahead of UTC at each time (N,)."""
    zone = ZoneInfo(timezone)
    seconds = times.astype(np.int64)
    day = seconds // DAY_S
    first = int(day.min())
    edges = np.array([_offset(d * DAY_S, zone) for d in range(first, int(day.max()) + 2)], dtype=np.int64)
    out = edges[day - first]
    for i in np.flatnonzero(edges[day - first + 1] != out):  # only days on which the clock changes
        out[i] = _offset(int(seconds[i]), zone)
    return out


def _offset(second: int, zone: ZoneInfo) -> int:
    delta = datetime.fromtimestamp(second, tz=zone).utcoffset()
    return int(delta.total_seconds()) if delta is not None else 0


def local_clock(times: Times, offset_s: Index) -> tuple[Array, Index]:
    """Local time of day as a fraction of the day (N,) and weekday, 0 = Monday (N,)."""
    local = times.astype(np.int64) + offset_s
    return (local % DAY_S) / DAY_S, (local // DAY_S + 3) % 7  # 1970-01-01 was a Thursday


def same_time(target: Index, days: Index, offset_s: Index, step_s: int) -> Index:
    """Index of the target's local time `days` local days back; a clock change in between is allowed for.

    target and days broadcast; offset_s (N + H,) belongs to all times.
    """
    season = max(1, round(DAY_S / step_s))
    back = np.maximum(target - days * season, 0)
    return np.asarray(target - days * season + (offset_s[target] - offset_s[back]) // step_s)


def days_back(origin: Index, target: Index, offset_s: Index, step_s: int) -> Index:
    """The fewest whole local days (>= 1) that lead from the target to a value known at the origin."""
    season = max(1, round(DAY_S / step_s))
    days = np.maximum(-(-(target - origin) // season), 1)
    # A day of 23 hours can lead one hour past the origin: go one day further back.
    return np.asarray(days + (same_time(target, days, offset_s, step_s) > origin))


def design(series: Series, origins: Index, horizon: int, lag_days: tuple[int, ...]) -> Array:
    """Feature rows (K, H, F) of K origins for steps 1..H, columns as in `feature_table`.

    Every origin needs `lookback(...)` values before it. Reads y[..o] only.
    """
    y, season, step = series.y, series.season, series.step_s
    times = series.extended(horizon)
    offset = local_offset_s(times, series.timezone)
    fraction, weekday = local_clock(times, offset)
    o = origins[:, None]
    target = o + np.arange(1, horizon + 1)
    first = days_back(np.broadcast_to(o, target.shape), target, offset, step)
    parts = [np.repeat(_origin_features(y, origins, season)[:, None, :], horizon, axis=1)]
    same = [y[np.clip(same_time(target, first + lag - 1, offset, step), 0, o)] for lag in lag_days]
    anchor = same_time(target, first, offset, step)
    around = [y[np.clip(anchor + side, 0, o)] for side in (-1, 1)]
    parts.append(np.stack(same + around, axis=2))
    parts.append((weekday[target][:, :, None] == np.arange(7)).astype(np.float64))
    angle = 2.0 * np.pi * fraction[target][:, :, None] * np.arange(1, HARMONICS + 1)
    parts += [np.sin(angle), np.cos(angle)]
    return np.concatenate(parts, axis=2)


def lookback(series_step_s: int, lag_days: tuple[int, ...]) -> int:
    """Values up to and including an origin that `design` needs: the oldest lag, one clock change, one neighbour."""
    season = max(1, round(DAY_S / series_step_s))
    return max(lag_days) * season + -(-3600 // series_step_s) + 2


def _origin_features(y: Array, origins: Index, season: int) -> Array:
    """Features of the origin alone (K, RECENT + BLOCKS + 5); origins need a season of values."""
    recent = y[np.maximum(origins[:, None] - np.arange(RECENT), 0)]
    day = y[np.maximum(origins[:, None] - np.arange(season)[::-1], 0)]
    edges = np.linspace(0, season, BLOCKS + 1).astype(np.int64)[:-1]
    edges = np.minimum(edges, season - 1)
    widths = np.diff(np.append(edges, season))
    blocks = np.add.reduceat(day, edges, axis=1) / np.maximum(widths, 1)
    level = np.stack([day.mean(axis=1), day.min(axis=1), day.max(axis=1), day.std(axis=1)], axis=1)
    total = np.concatenate([[0.0], np.cumsum(y)])
    days = np.clip((origins + 1) // season, 1, 7)
    start = np.maximum(origins + 1 - days * season, 0)
    week = (total[origins + 1] - total[start]) / (origins + 1 - start)
    return np.concatenate([recent, blocks, level, week[:, None]], axis=1)
