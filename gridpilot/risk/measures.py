"""Risk measures of a P&L sample: pure functions.

A sample is (n,) in $, gains positive, every value equally likely. VaR and CVaR are LOSSES: positive means
that money may be lost, negative that even the tail gains. All functions return NaN for a sample that is
empty or holds NaN; `report` says in words why.
"""

from __future__ import annotations

import math

import numpy as np

from gridpilot.domain import RiskReport
from gridpilot.errors import DataError
from gridpilot.values import Array, as_array

FEWEST = 20  # values below which a 95 % tail is less than one observation
FACTOR_UNKNOWN = 0.5  # factor without figures: half power, so that missing data can never raise the load
FACTOR_FLOOR = 0.1  # least factor: a tenth keeps machines warm; stopping the site is the operator's decision


def value_at_risk(pnl: Array, alpha: float) -> float:
    """The least loss that no more than 1 - alpha of the values exceed [$]: the lower alpha-quantile of the loss.

    It is loss number floor((1 - alpha) n) + 1 from the worst. pnl (n,).
    Source: Rockafellar and Uryasev (2002), J. Banking and Finance 26, definition 1.
    """
    losses, tail = _worst_first(pnl, alpha)
    return float(losses[min(math.floor(tail), len(losses) - 1)]) if len(losses) else math.nan


def cvar(pnl: Array, alpha: float) -> float:
    """Mean of the worst (1 - alpha) n losses [$], the last of them counted with the fraction that is left.

    CVaR = (sum of the m worst + (k - m) x the next) / k with k = (1 - alpha) n and m = ceil(k) - 1; equal to
    min over c of c + mean(max(-pnl - c, 0)) / (1 - alpha). pnl (n,).
    Source: Rockafellar and Uryasev (2000), J. Risk 2(3).
    """
    losses, tail = _worst_first(pnl, alpha)
    if not len(losses):
        return math.nan
    whole = math.ceil(tail) - 1
    # Counted from the next loss on, so that CVaR >= VaR holds to the last bit.
    return float(losses[whole] + np.sum(losses[:whole] - losses[whole]) / tail)


def cvar_error(pnl: Array, alpha: float) -> float:
    """Standard error of `cvar` [$] for independent values: sd(max(loss - VaR, 0)) / ((1 - alpha) sqrt(n)).

    pnl (n,). Source: Hong, Hu and Liu (2014), ACM TOMACS 24(4), section 3.2.
    """
    level = value_at_risk(pnl, alpha)
    beyond = np.maximum(-np.asarray(pnl, dtype=np.float64) - level, 0.0)
    return float(np.std(beyond)) / ((1.0 - alpha) * math.sqrt(len(beyond))) if len(beyond) else math.nan


def max_drawdown(pnl: Array) -> float:
    """Largest of the `falls` [$] of a P&L (n,); NaN for none."""
    return float(np.max(falls(pnl))) if len(pnl) else math.nan


def worst_falls(pnl: Array) -> Array:
    """`max_drawdown` of each row of a P&L (S, n): (S,). A step at a time, for many rows."""
    level, high, worst = (np.zeros(len(pnl)) for _ in range(3))
    for t in range(pnl.shape[1]):
        level += pnl[:, t]
        np.maximum(high, level, out=high)
        np.maximum(worst, high - level, out=worst)
    return worst


def falls(pnl: Array) -> Array:
    """How far the running total of a P&L (..., n) is below its own high so far, 0 at the start among it: (..., n)."""
    level = running_total(pnl)
    return np.asarray((np.maximum.accumulate(level, axis=-1) - level)[..., 1:])


def average_drawdown(pnl: Array) -> float:
    """Mean of `falls` [$] over all periods (and all paths) of a P&L (..., n); NaN for none."""
    return float(np.mean(falls(pnl))) if np.size(pnl) else math.nan


def cdar(pnl: Array, alpha: float) -> float:
    """Conditional drawdown at risk [$]: the mean of the worst 1 - alpha of `falls`, all paths of (..., n) together.

    Source: Chekhlov, Uryasev and Zabarankin (2005), Int. J. Theoretical and Applied Finance 8(1), multi-scenario form.
    """
    return cvar(-falls(pnl).ravel(), alpha)


def running_total(pnl: Array) -> Array:
    """Levels of a P&L per period (..., n), from 0 before the first: (..., n + 1)."""
    total = np.cumsum(pnl, axis=-1)
    return np.concatenate([np.zeros((*total.shape[:-1], 1)), total], axis=-1)


def volatility(pnl: Array) -> float:
    """Sample standard deviation (n - 1 in the denominator) of pnl (n,) [$]; NaN for fewer than two values."""
    return float(np.std(pnl, ddof=1)) if len(pnl) > 1 else math.nan


def risk_adjustment_factor(cvar_usd: float, cap_usd: float | None) -> float:
    """How much of the plan's discretionary power the risk allows: 1 up to the cap, then cap / CVaR.

    At least FACTOR_FLOOR. Without a cap 1; with an unknown (NaN) CVaR FACTOR_UNKNOWN.
    """
    if cap_usd is not None and not 0.0 <= cap_usd < math.inf:
        raise DataError(f"risk cap is {cap_usd} USD: expected 0 or more")
    if math.isnan(cvar_usd):
        return FACTOR_UNKNOWN
    if cap_usd is None or cvar_usd <= cap_usd:
        return 1.0
    return max(FACTOR_FLOOR, cap_usd / cvar_usd)


def report(pnl: Array, alpha: float = 0.95, cap_usd: float | None = None) -> RiskReport:
    """All measures of a P&L sample (n,) in its order in time; `max_drawdown` is that of its running
    total, which starts at 0.

    With fewer than FEWEST values, NaN or infinity among them, or all of them equal, the status says so, the
    figures are NaN and the factor is FACTOR_UNKNOWN.
    """
    sample = np.asarray(pnl, dtype=np.float64)
    check_alpha(alpha)
    reason = lacking(sample)
    if reason:
        factor = risk_adjustment_factor(math.nan, cap_usd)
        unknown = math.nan
        return RiskReport(reason, alpha, sample.size, unknown, unknown, unknown, unknown, factor, pnl_usd=sample)
    tail = cvar(sample, alpha)
    return RiskReport(
        status="ok",
        alpha=alpha,
        n=sample.size,
        var=value_at_risk(sample, alpha),
        cvar=tail,
        max_drawdown=max_drawdown(sample),
        volatility=volatility(sample),
        risk_adjustment_factor=risk_adjustment_factor(tail, cap_usd),
        expected=float(sample.mean()),
        average_drawdown=average_drawdown(sample),
        cdar=cdar(sample, alpha),
        pnl_usd=as_array(sample),
    )


def lacking(sample: Array) -> str:
    """Why the sample (n,) says nothing about its tail, or "" where it does. DataError for another shape."""
    if sample.ndim != 1:
        raise DataError(f"P&L sample has shape {sample.shape}: expected one value for each scenario or period")
    if sample.size < FEWEST:
        return f"not enough data: {sample.size} of {FEWEST}"
    bad = int(np.sum(~np.isfinite(sample)))
    if bad:
        return f"not enough data: {bad} of {sample.size} values are not numbers"
    if np.ptp(sample) == 0.0:
        return f"not enough data: all {sample.size} values are equal"
    return ""


def _worst_first(pnl: Array, alpha: float) -> tuple[Array, float]:
    """The losses down to VaR, largest first, and how many of them the tail holds; none where the sample has NaN."""
    check_alpha(alpha)
    losses = -np.asarray(pnl, dtype=np.float64)
    if not losses.size or np.any(np.isnan(losses)):
        return np.empty(0), math.nan
    # Rounded, or 5 % of 20 would be 1.0000000000000009 values.
    tail = max(round((1.0 - alpha) * losses.size, 9), 1e-9)
    begin = losses.size - min(losses.size, math.floor(tail) + 1)
    return np.sort(np.partition(losses, begin)[begin:])[::-1], tail


def check_alpha(alpha: float) -> None:
    """DataError unless alpha is a confidence between 0 and 1."""
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha is {alpha}: expected a confidence between 0 and 1, such as 0.95")
