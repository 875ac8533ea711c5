"""When power is cheap: the week by the hour, the duration curve, and how restless prices are, of recorded prices."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.values import Array, Times, as_array, to_utc

DAY_S = 86_400
FEWEST_DAYS = 7  # to compare the newest day with


@dataclass(frozen=True, slots=True)
class Week:
    """Mean price of each hour of the week in a time zone, (7, 24) from Monday on; NaN where none was recorded."""

    mean: Array

    @property
    def cheapest(self) -> tuple[int, int]:
        """Weekday (0 is Monday) and hour of the lowest mean."""
        day, hour = divmod(int(np.nanargmin(self.mean)), 24)
        return day, hour

    @property
    def dearest(self) -> tuple[int, int]:
        """Weekday and hour of the highest mean."""
        day, hour = divmod(int(np.nanargmax(self.mean)), 24)
        return day, hour


def week(timestamp: Times, price: Array, timezone: str) -> Week | None:
    """The week of prices (N,) at UTC interval starts; None where not one is known."""
    known = np.isfinite(price)
    if not known.any():
        return None
    zone = ZoneInfo(timezone)
    hours = np.unique(timestamp[known].astype("datetime64[h]"))
    local = [to_utc(hour.astype("datetime64[s]")).astimezone(zone) for hour in hours]
    slot = np.array([24 * at.weekday() + at.hour for at in local])
    cell = slot[np.searchsorted(hours, timestamp[known].astype("datetime64[h]"))]
    total, count = np.bincount(cell, price[known], 168), np.bincount(cell, minlength=168)
    mean = np.divide(total, count, out=np.full(168, np.nan), where=count > 0)
    return Week(as_array(mean.reshape(7, 24)))


def duration(price: Array) -> tuple[Array, Array]:
    """The duration curve: the share of the intervals (n,), 0 to 1, in which the price was above each price (n,),
    highest first; intervals without a price are left out."""
    known = np.sort(price[np.isfinite(price)])[::-1]
    return as_array(np.arange(len(known)) / max(1, len(known) - 1)), as_array(known)


@dataclass(frozen=True, slots=True)
class Restless:
    """How much the price changed from one interval to the next in the newest 24 h: standard deviation, the median of
    such days before, and the share of them that were calmer."""

    now: float
    median: float
    share: float
    days: int


def restless(timestamp: Times, price: Array, step_s: int) -> Restless | None:
    """Of prices (N,); None where fewer than FEWEST_DAYS whole days before the newest are known."""
    per_day = max(1, DAY_S // step_s)
    change = np.where(np.diff(timestamp).astype("timedelta64[s]").astype(np.int64) == step_s, np.diff(price), np.nan)
    days = len(change) // per_day
    if days <= FEWEST_DAYS:
        return None
    blocks = change[len(change) - days * per_day :].reshape(days, per_day)
    known = np.isfinite(blocks).sum(axis=1) > per_day // 2
    if not known[-1] or known[:-1].sum() < FEWEST_DAYS:
        return None
    spread = np.array([np.nanstd(block) for block in blocks[known]])
    before = spread[:-1]
    return Restless(float(spread[-1]), float(np.median(before)), float(np.mean(before < spread[-1])), len(before))
