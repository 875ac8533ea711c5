"""Measures of point and probabilistic forecasts. Errors are truth - forecast, arrays (K, H): K origins, H steps.

Pure functions; NaN is not allowed unless said. Formulas follow Lago, Marcjasz, De Schutter and Weron (2021),
Applied Energy 293, section 3, and Gneiting and Raftery (2007), JASA 102, for CRPS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gridpilot.values import Array


def mae(truth: Array, forecast: Array) -> float:
    """Mean absolute error, in the price's unit."""
    return float(np.mean(np.abs(truth - forecast)))


def rmse(truth: Array, forecast: Array) -> float:
    """Root of the mean squared error, in the price's unit."""
    return float(np.sqrt(np.mean((truth - forecast) ** 2)))


def smape(truth: Array, forecast: Array) -> float:
    """Mean of 2 |y - f| / (|y| + |f|), a fraction 0..2; 0 where both are 0."""
    size = np.abs(truth) + np.abs(forecast)
    return float(np.mean(np.divide(2.0 * np.abs(truth - forecast), size, out=np.zeros_like(size), where=size > 0.0)))


def wape(truth: Array, forecast: Array) -> float:
    """Sum of |y - f| over sum of |y|; NaN where all prices are 0."""
    total = float(np.sum(np.abs(truth)))
    return float(np.sum(np.abs(truth - forecast))) / total if total > 0.0 else math.nan


def ratio(own: float, reference: float) -> float:
    """Error over that of a reference; NaN where the reference makes none."""
    return own / reference if reference > 0.0 else math.nan


def kendall_tau(truth: Array, forecast: Array) -> float:
    """Mean over origins of tau-b between the H true and forecast values: does it order the hours rightly?

    Origins where either is constant have no order and are left out; NaN where none is left.
    """
    if truth.shape[1] < 2:
        return math.nan
    upper = np.triu_indices(truth.shape[1], 1)
    a = np.sign(truth[:, upper[0]] - truth[:, upper[1]])
    b = np.sign(forecast[:, upper[0]] - forecast[:, upper[1]])
    norm = np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
    ordered = norm > 0.0
    return float(np.mean(np.sum(a * b, axis=1)[ordered] / norm[ordered])) if ordered.any() else math.nan


def coverage(truth: Array, low: Array, high: Array) -> float:
    """Share of values within the band, its edges included."""
    return float(np.mean((low <= truth) & (truth <= high)))


def kupiec(inside: Array, nominal: float) -> float:
    """p-value of Kupiec's (1995) test that hits (n,) of 0 or 1 come with probability `nominal`.

    LR = -2 log L(nominal) / L(observed), chi-squared with one degree of freedom.
    """
    n, hits = len(inside), float(np.sum(inside))
    observed = hits / n

    def log_likelihood(p: float) -> float:
        return (hits * math.log(p) if hits else 0.0) + ((n - hits) * math.log(1.0 - p) if hits < n else 0.0)

    ratio = max(0.0, -2.0 * (log_likelihood(nominal) - log_likelihood(observed)))
    return math.erfc(math.sqrt(ratio / 2.0))  # the upper tail of chi-squared with one degree of freedom


def crps_sample(truth: float, sample: Array, weight: Array) -> float:
    """Continuous ranked probability score of a weighted sample: E|X - y| - E|X - X'| / 2, in the price's unit.

    sample (n,) ascending, weight (n,) summing to 1. The second term is sum_i w_i x_i (2 W_i - w_i - 1), with W the
    running sum of w.
    """
    below = np.cumsum(weight)
    spread = float(np.sum(weight * sample * (2.0 * below - weight - 1.0)))
    return float(np.sum(weight * np.abs(sample - truth))) - spread


def diebold_mariano(own: Array, other: Array) -> float:
    """One-sided p-value that the first of two loss series (K,) is not smaller in the mean.

    Newey-West variance with floor(K^(1/3)) lags; source: Diebold and Mariano (1995), JBES 13. Losses are daily
    means of |error|, as in Ziel and Weron (2018). NaN where the losses are equal throughout.
    """
    gap = own - other
    k = len(gap)
    centred = gap - gap.mean()
    variance = float(np.mean(centred * centred))
    lags = int(k ** (1.0 / 3.0))
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1.0)) * float(np.sum(centred[lag:] * centred[:-lag])) / k
    if variance <= 0.0:
        return math.nan
    return 0.5 * math.erfc(-float(gap.mean()) / math.sqrt(2.0 * variance / k))


def against_best_other(losses: Mapping[str, Array]) -> dict[str, tuple[str, float]]:
    """For each model the best of the others and the Diebold-Mariano p-value against it; empty for one model."""
    out = {}
    for name, loss in losses.items():
        others = {other: float(np.mean(values)) for other, values in losses.items() if other != name}
        if others:
            best = min(others, key=others.__getitem__)
            out[name] = (best, diebold_mariano(loss, losses[best]))
    return out
