"""How good price data are, in five figures: how many, how much is missing, how often, how volatile, how slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridpilot.values import Array, Times

REGULAR = 0.95  # share of the steps that are as long as the usual one, for a series to be called regular


@dataclass(frozen=True, slots=True)
class Quality:
    """Of the records (N,) of a source: `expected` would be there at the usual step between the first and the last.

    volatility: standard deviation of the change over the usual step, in the price's unit; relative_volatility:
    the same as a share of the median |price|. NaN where there are too few records, latency where none was measured.
    """

    records: int
    expected: int
    step_s: int
    regular_frac: float  # of the steps that are as long as the usual one
    volatility: float
    relative_volatility: float
    latency_ms: float  # median of what fetching took
    latency_95_ms: float

    @property
    def missing_frac(self) -> float:
        """Share of the expected records that are not there."""
        return 1.0 - self.records / self.expected if self.expected else math.nan

    @property
    def frequency_per_h(self) -> float:
        """Records an hour."""
        return 3600.0 / self.step_s if self.step_s else math.nan

    @property
    def regular(self) -> bool:
        """Whether nearly all steps are alike."""
        return self.regular_frac >= REGULAR


def quality(timestamp: Times, price: Array, latency_ms: Sequence[float] = ()) -> Quality:
    """The figures of records with times (N,) ascending and prices (N,) finite; `latency_ms` of fetches."""
    n = len(timestamp)
    steps = np.diff(timestamp.astype("datetime64[s]").astype(np.int64))
    took = np.asarray(latency_ms, dtype=float)
    slow = (float(np.median(took)), float(np.quantile(took, 0.95))) if len(took) else (math.nan, math.nan)
    if not len(steps):
        return Quality(n, n, 0, math.nan, math.nan, math.nan, *slow)
    lengths, counts = np.unique(steps, return_counts=True)
    usual = int(lengths[np.argmax(counts)])
    level = float(np.median(np.abs(price)))
    near = np.diff(price)[steps == usual]  # what lies between the ends of a gap is no change
    moved = float(np.std(near))
    return Quality(
        records=n,
        expected=int(steps.sum()) // usual + 1,
        step_s=usual,
        regular_frac=float(counts.max() / counts.sum()),
        volatility=moved,
        relative_volatility=moved / level if level > 0.0 else math.nan,
        latency_ms=slow[0],
        latency_95_ms=slow[1],
    )
