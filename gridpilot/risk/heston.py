"""Heston's process: a positive price whose variance is random, comes back to its level, and moves with the price.

    dS / S = growth dt + sqrt(v) dW        dv = pull (level - v) dt + noise sqrt(v) dZ        corr(dW, dZ) = link

Time is in hours; v is the variance of log returns per hour. Source: Heston (1993), Review of Financial Studies 6(2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gridpilot.domain.check import finite
from gridpilot.errors import DataError
from gridpilot.risk.simulators import check_start, log_returns
from gridpilot.values import Array

SWITCH = 1.5  # relative variance of v from which its next value is 0 with a probability: Andersen's psi_c
BLOCK_H = 24.0  # returns are gathered by days: hours of a day differ
FEWEST_BLOCKS = 30
LAGS = 4  # autocovariances of the realised variance that give its pull
MOST_LINK = 0.95


@dataclass(frozen=True, slots=True)
class Heston:
    """The process, with the variance `now` that it starts from."""

    growth: float
    pull: float
    level: float
    noise: float
    link: float
    now: float
    label: ClassVar[str] = "Heston"
    positive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        finite("growth of the Heston process", self.growth)
        for name in ("pull", "level", "noise"):
            finite(f"{name} of the Heston variance", getattr(self, name), 1e-15)
        finite("variance now of the Heston process", self.now, 0.0)
        finite("link of the Heston process", self.link, -0.999, 0.999)

    @classmethod
    def fit(cls, values: Array, step_h: float) -> Heston:
        """By moments of the daily realised variance V (the sum of squared returns of a day) and daily returns R.

        V is the integral of v and an error that is independent from day to day, so its autocovariances c1, c2, ... are
        those of the integral. With D = 24 h and g = (1 - e^(-pull D)) / pull:
        level = mean(V) / D; e^(-pull D) = (c2 + .. + c5) / (c1 + .. + c4); c1 = g^2 var(v);
        noise^2 = 2 pull var(v) / level; cov(R, next V) = link noise level g^2 - c1 / 2. `link` is kept within
        MOST_LINK. A rough estimate: a year of hours gives pull and noise to about a third. DataError where the variance
        of returns does not cluster, or there are fewer than FEWEST_BLOCKS days.
        Source: Bollerslev and Zhou (2002), J. Econometrics 109, whose moments these are, used one by one.
        """
        returns = log_returns(values, step_h, cls.label)
        per_day = max(1, round(BLOCK_H / step_h))
        days = len(returns) // per_day
        if per_day < 4 or days < FEWEST_BLOCKS:
            raise DataError(
                f"{cls.label} can't be fitted: {days} days of {per_day} steps, expected {FEWEST_BLOCKS} of 4 or more"
            )
        blocks = (returns - returns.mean())[-days * per_day :].reshape(days, per_day)
        realised, moved, span = np.sum(blocks**2, axis=1), blocks.sum(axis=1), per_day * step_h
        around = realised - realised.mean()
        cov = [float(around[: days - lag] @ around[lag:]) / (days - lag) for lag in range(1, LAGS + 2)]
        first, later = sum(cov[:LAGS]), sum(cov[1:])
        if not (first > 0.0 and 0.0 < later < first and cov[0] > 0.0):
            raise DataError(
                f"{cls.label} does not apply: the variance of returns does not cluster and come back (autocovariances "
                f"of days sum to {first:.3g}, a day later to {later:.3g}); use geometric Brownian motion"
            )
        pull = -math.log(later / first) / span
        reach = -math.expm1(-pull * span) / pull
        level = float(realised.mean()) / span
        noise = math.sqrt(2.0 * pull * cov[0] / reach**2 / level)
        beside = float((moved[:-1] - moved[:-1].mean()) @ around[1:]) / (days - 1)
        link = (beside + 0.5 * cov[0]) / (noise * level * reach**2)
        growth = float(returns.mean()) / step_h + 0.5 * level
        return cls(growth, pull, level, noise, max(-MOST_LINK, min(MOST_LINK, link)), float(realised[-1]) / span)

    def paths(self, start: float, shocks: Array, step_h: float, rng: np.random.Generator) -> Array:
        """Values (S, H) by the quadratic-exponential scheme with the martingale correction.

        The mean of S, and mean and variance of v, are exact at any step; DataError where the step is too long for the
        correction (a strongly positive link). Source: Andersen (2008), J. Computational Finance 11(3), sections 3.2, 4.
        """
        check_start(start, self.label)
        h, ratio = step_h, self.pull * self.link / self.noise - 0.5
        by_before, by_after = 0.5 * h * ratio - self.link / self.noise, 0.5 * h * ratio + self.link / self.noise
        spread = 0.5 * h * (1.0 - self.link**2)
        variance = np.full(len(shocks), self.now)
        log_price = np.zeros(len(shocks))
        out = np.empty_like(shocks)
        for t in range(shocks.shape[1]):
            after, log_m = self._next(variance, h, by_after + 0.5 * spread, rng)
            drift = self.growth * h - log_m - (by_before + 0.5 * spread) * variance
            moved = by_before * variance + by_after * after + np.sqrt(spread * (variance + after)) * shocks[:, t]
            log_price = log_price + drift + moved
            out[:, t] = log_price
            variance = after
        return np.asarray(start * np.exp(out))

    def _next(self, v: Array, h: float, a: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """The variance a step later (S,), and log E[e^(a v')] given v, for the correction."""
        keep = math.exp(-self.pull * h)
        mean = self.level + (v - self.level) * keep
        square = v * self.noise**2 * keep * (1.0 - keep) / self.pull
        square = square + self.level * self.noise**2 * (1.0 - keep) ** 2 / (2.0 * self.pull)
        psi = square / mean**2
        calm = psi <= SWITCH
        inverse = 2.0 / np.where(calm, psi, SWITCH)
        b2 = inverse - 1.0 + np.sqrt(inverse) * np.sqrt(inverse - 1.0)
        scale = mean / (1.0 + b2)
        none = np.where(calm, 0.5, (psi - 1.0) / (psi + 1.0))  # probability that v' is 0
        beta = (1.0 - none) / mean
        if np.any(np.where(calm, 2.0 * a * scale, a / beta) >= 1.0):
            raise DataError(
                f"{self.label} can't be simulated in steps of {h:g} h with a link of {self.link:.2f}: shorten them"
            )
        u = rng.random(len(v))
        normal = rng.standard_normal(len(v))
        jump = np.where(u <= none, 0.0, np.log((1.0 - none) / np.maximum(1.0 - u, 1e-300)) / beta)
        after = np.where(calm, scale * (np.sqrt(b2) + normal) ** 2, jump)
        inner = np.where(calm, 1.0 - 2.0 * a * scale, 1.0)
        log_calm = a * b2 * scale / inner - 0.5 * np.log(inner)
        log_jump = np.log(none + beta * (1.0 - none) / np.where(calm, 1.0, beta - a))
        return after, np.where(calm, log_calm, np.where(calm, 0.0, log_jump))

    def mean(self, start: float, hours: Array) -> Array:
        """Expected value: start e^(growth t)."""
        return np.asarray(start * np.exp(self.growth * np.asarray(hours)))

    def variance(self, start: float, hours: Array) -> Array:
        """Variance from the second moment  start^2 exp(2 growth t + C(t) + D(t) now), infinite from where it explodes.

        C and D solve the Riccati equations of the affine moment function at u = 2.
        Source: Andersen and Piterbarg (2007), Finance and Stochastics 11, section 3.
        """
        t = np.asarray(hours, dtype=np.float64)
        back = self.pull - 2.0 * self.link * self.noise
        root = complex(back * back - 2.0 * self.noise**2) ** 0.5
        e = np.exp(-root * t)
        g = (back - root) / (back + root)
        d = (back - root) / self.noise**2 * (1.0 - e) / (1.0 - g * e)
        c = self.pull * self.level / self.noise**2 * ((back - root) * t - 2.0 * np.log((1.0 - g * e) / (1.0 - g)))
        log_ratio = (c + d * self.now).real
        ends = self._explodes(back, root)
        with np.errstate(over="ignore"):
            return np.where(t < ends, self.mean(start, t) ** 2 * np.expm1(log_ratio), np.inf)

    @staticmethod
    def _explodes(back: float, root: complex) -> float:
        """When the second moment becomes infinite [h]."""
        if root.imag == 0.0:
            half = root.real
            return math.inf if back > 0.0 else math.log((back - half) / (back + half)) / half
        angle = math.atan(root.imag / -back) if back != 0.0 else 0.5 * math.pi
        return 2.0 / abs(root.imag) * (angle if angle > 0.0 else math.pi + angle)
