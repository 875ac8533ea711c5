"""Whether a VaR was exceeded as often as it promised, and not in clusters: the tests of Kupiec and Christoffersen.

A hit is a 1 where the loss was above VaR, else 0; hits (n,) are in order in time and from periods that do not overlap.
With confidence alpha they should come with probability p = 1 - alpha and independently of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gridpilot.errors import DataError
from gridpilot.risk.measures import FEWEST, check_alpha
from gridpilot.values import Array

ENOUGH = 0.05  # p-value below which the promise is refuted


@dataclass(frozen=True, slots=True)
class Verdict:
    """A likelihood ratio with its p-value: how probable one as large is if VaR keeps its promise."""

    statistic: float
    p_value: float

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the promise at 5 %."""
        return self.p_value >= ENOUGH


@dataclass(frozen=True, slots=True)
class Coverage:
    """The three tests of n hits. `status` is "ok", or why there is no verdict (then the tests are NaN)."""

    status: str
    n: int
    hits: int
    expected: float
    unconditional: Verdict
    independence: Verdict
    conditional: Verdict


def coverage(hits: Array, alpha: float) -> Coverage:
    """Kupiec's test of the number of hits, Christoffersen's of their independence, and both together.

    LR_uc = 2 (log L(share seen) - log L(p)), chi-squared with one degree: Kupiec (1995), J. Derivatives 3(2).
    LR_ind = 2 (log L(share after a hit, share after none) - log L(one share)) over the n - 1 transitions, one degree;
    LR_cc = LR_uc + LR_ind, two: Christoffersen (1998), Int. Economic Review 39(4), with LR_uc over all n as is usual.
    With fewer than FEWEST hits or misses the status says so. DataError for values other than 0 and 1.
    """
    check_alpha(alpha)
    seen = np.asarray(hits, dtype=np.float64)
    if seen.ndim != 1 or not np.isin(seen, (0.0, 1.0)).all():
        raise DataError(
            f"hits are {seen.shape} with values {np.unique(seen)[:4]}: expected 0 and 1, one for each period"
        )
    n, count, p = len(seen), int(seen.sum()), 1.0 - alpha
    if n < FEWEST:
        none = Verdict(math.nan, math.nan)
        return Coverage(f"not enough data: {n} of {FEWEST}", n, count, n * p, none, none, none)
    share = _ratio(2.0 * (_likelihood(n - count, count, count / n) - _likelihood(n - count, count, p)))
    before, after = seen[:-1], seen[1:]
    moves = [[int(np.sum((before == a) & (after == b))) for b in (0.0, 1.0)] for a in (0.0, 1.0)]
    apart = sum(_likelihood(calm, hit, hit / (calm + hit)) for calm, hit in moves if calm + hit)
    calm, hit = moves[0][0] + moves[1][0], moves[0][1] + moves[1][1]
    alone = _ratio(2.0 * (apart - _likelihood(calm, hit, hit / (calm + hit))))
    both = share + alone
    return Coverage(
        "ok",
        n,
        count,
        n * p,
        Verdict(share, _beyond(share, 1)),
        Verdict(alone, _beyond(alone, 1)),
        Verdict(both, _beyond(both, 2)),
    )


def _likelihood(misses: int, hits: int, p: float) -> float:
    """Log-likelihood of so many misses and hits; 0 log 0 is 0."""
    return (hits * math.log(p) if hits else 0.0) + (misses * math.log(1.0 - p) if misses else 0.0)


def _ratio(value: float) -> float:
    return max(0.0, value)  # rounding may leave -1e-16


def _beyond(value: float, freedom: int) -> float:
    """The upper tail of chi-squared with one or two degrees of freedom."""
    return math.erfc(math.sqrt(value / 2.0)) if freedom == 1 else math.exp(-value / 2.0)
