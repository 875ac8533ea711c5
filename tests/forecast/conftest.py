"""Series that look like prices, with and without outside forecasts."""

from __future__ import annotations

import numpy as np

from gridpilot.forecast.features import Series
from gridpilot.values import Array


def times(start: str, n: int, step_s: int) -> np.ndarray:
    return np.datetime64(start, "s") + np.arange(n) * np.timedelta64(step_s, "s")


def market(days: int, step_s: int = 3600, *, zone: str = "UTC", start: str = "2023-01-01", seed: int = 5) -> Series:
    """A price that answers to a load and a wind forecast, with a day, weekends and autoregressive noise."""
    rng = np.random.default_rng(seed)
    per = 86_400 // step_s
    n, ahead = days * per, 2 * per
    seconds = np.arange(n + ahead) * step_s
    load = 50 + 10 * np.sin(2 * np.pi * seconds / 86_400 - 1.5) - 6 * np.isin(seconds // 86_400 % 7, (5, 6))
    load = load + rng.normal(0, 1, n + ahead)
    wind = 15 + 8 * np.sin(2 * np.pi * seconds / 86_400 / 3.7) + rng.normal(0, 1.5, n + ahead)
    shocks = rng.normal(0, 1.2, n)
    for i in range(1, n):
        shocks[i] += 0.9 * shocks[i - 1]
    y = 1.4 * (load - wind)[:n] + shocks
    exog = np.stack([load, wind], axis=1)
    return Series(times(start, n, step_s), step_s, y, zone, exog, 2 * per, "NL")


def spoiled(series: Series, n: int) -> Series:
    """The same up to value n; after it nonsense, in the outside series from two days later."""
    y, exog = series.y.copy(), series.exog.copy()
    y[n:] = np.linspace(-1e4, 1e4, len(y) - n)
    exog[n + series.known_ahead :] = 1e5
    return Series(series.timestamp, series.step_s, y, series.timezone, exog, series.known_ahead, series.country)


def daily(series: Series, last: int, count: int) -> Array:
    """Origins a day apart that end at `last`."""
    return last - series.season * np.arange(count)[::-1]
