"""Prices that stand out from what came before: robust, seasonal, in one pass, without a look ahead.

A price is an anomaly where one of two rules says so, each from earlier prices alone:

spike    price > 10 x local median, where the local median is that of |price| over the seven days before
season   |price - m| > 8 s, with m and s of the same time of day (an hour either side) in the fourteen days before:
         m their median, s their interquartile range / 1.349 (the standard deviation, were they normal), and at least a
         quarter of the local median, so that a flat fortnight makes no alarm of every cent

Medians and quartiles do not move by a few spikes (breakdown points 1/2 and 1/4: Rousseeuw and Croux (1993), J. Am.
Stat. Assoc. 88(424)); |price| stands for the level because where half of the prices are negative their median is about
zero. Less than a day of earlier prices says nothing. The sensitivities were set, and are measured, on the Australian
and Texan prices that `benchmarks/anomalies.py` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.values import Array, Times, as_array

TIMES = 10.0  # a spike is above so many times the local median
SPREADS = 8.0  # a price is out of season that is so many spreads from its season's median
LEAST_SPREAD = 0.25  # of the local median
LOCAL_DAYS, SEASON_DAYS, LEAST_DAYS = 7, 14, 1
IQR = 1.349  # interquartile range of the normal distribution, in standard deviations
DAY_S, HOUR_S = 86_400, 3600
CODE = "PRICE_ANOMALY"


@dataclass(frozen=True, slots=True)
class Scan:
    """What was said of each price (N,): `spike`, `season` (True or False), and the `local` median and `median` and
    `spread` of the season that it was held against, NaN where there was too little before it."""

    spike: np.ndarray[tuple[int], np.dtype[np.bool_]]
    season: np.ndarray[tuple[int], np.dtype[np.bool_]]
    local: Array
    median: Array
    spread: Array

    @property
    def anomaly(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Prices (N,) that either rule names."""
        out: np.ndarray[tuple[int], np.dtype[np.bool_]] = self.spike | self.season
        return out


def scan(timestamp: Times, price: Array, step_s: int, newest: int | None = None) -> Scan:
    """The verdict on each of the prices (N,), oldest first, or on the `newest` ones only (the rest is then unsaid).

    `timestamp` (N,) ascending interval starts, `price` (N,) finite, in any unit. The verdict on a price depends on it
    and on earlier ones, never on later ones. Windows are counted in values, so that a gap makes them reach further
    back.
    """
    n, day = len(price), max(1, DAY_S // step_s)
    level = np.abs(price)
    hour = timestamp.astype("datetime64[s]").astype(np.int64) // HOUR_S % 24
    local, median, spread = (np.full(n, np.nan) for _ in range(3))
    first = LEAST_DAYS * day if newest is None else max(LEAST_DAYS * day, n - newest)
    for i in range(first, n):
        local[i] = np.median(level[max(0, i - LOCAL_DAYS * day) : i])
        before = slice(max(0, i - SEASON_DAYS * day), i)
        near = (hour[before] - hour[i] + 1) % 24 <= 2
        if near.any():
            low, median[i], high = np.quantile(price[before][near], (0.25, 0.5, 0.75))
            spread[i] = max((high - low) / IQR, LEAST_SPREAD * local[i])
    with np.errstate(invalid="ignore"):  # NaN compares as False: unsaid
        spike = (price > TIMES * local) & (local > 0.0)
        season = (np.abs(price - median) > SPREADS * spread) & (spread > 0.0)
    return Scan(spike, season, as_array(local), as_array(median), as_array(spread))


def newest_flag(history: PriceHistory) -> DataFlag | None:
    """A flag for the newest energy price where it stands out; None where it does not, or too little is known."""
    found = scan(history.timestamp, history.energy_usd_per_mwh, history.step_s, newest=1)
    if not found.anomaly[-1]:
        return None
    scale, unit = history.units.energy_usd_per_mwh, history.units.energy
    price, local, usual = (float(v[-1]) / scale for v in (history.energy_usd_per_mwh, found.local, found.median))
    if found.spike[-1]:
        why = f"{price / local:.0f} times the {local:.3g} that is usual in a week"
    else:
        why = f"far from the {usual:.3g} that is usual at this time of day"
    return DataFlag(CODE, f"energy price is {price:.4g} {unit}, {why}", "warn")
