"""Random courses of a price: four processes, each fitted to a history, simulated and known by its moments.

    Ornstein-Uhlenbeck            dX = pull (level - X) dt + noise dW                 any price, negative ones too
    geometric Brownian motion     dS / S = growth dt + noise dW                       positive prices
    Merton jump diffusion         dS / S = (growth - rate k) dt + noise dW + (e^J - 1) dN   positive prices
    Heston                        in `heston.py`                                      positive prices

Time is in hours, so `pull`, `growth` and `rate` are per hour and `noise` per square root of an hour. `paths` takes
standard normal shocks (S, H) for the diffusion, so that several prices can be driven by correlated shocks; what else is
random comes from `rng`. Values are (S, H), after each of H steps. `mean` and `variance` are exact, at any hours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from gridpilot.domain.check import finite
from gridpilot.errors import DataError
from gridpilot.values import Array

FEWEST = 100  # values of a history that a process is fitted to
JUMP = 3.0  # robust standard deviations from which a return is taken for a jump at first
MOST_ROUNDS = 500  # of the fit of jumps
MOST_JUMPS = 0.5  # share of the steps: above it "jumps" are the rule and the diffusion is not


class Simulator(Protocol):
    """A fitted process."""

    label: ClassVar[str]
    positive: ClassVar[bool]  # whether it applies to positive prices alone

    def paths(self, start: float, shocks: Array, step_h: float, rng: np.random.Generator) -> Array:
        """Values (S, H) after each step."""

    def mean(self, start: float, hours: Array) -> Array:
        """Expected value after so many hours (H,)."""

    def variance(self, start: float, hours: Array) -> Array:
        """Variance after so many hours (H,)."""


@dataclass(frozen=True, slots=True)
class OrnsteinUhlenbeck:
    """A price that is pulled back to its level."""

    pull: float
    level: float
    noise: float
    label: ClassVar[str] = "Ornstein-Uhlenbeck"
    positive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        finite("pull of the Ornstein-Uhlenbeck process", self.pull, 1e-12)
        finite("level of the Ornstein-Uhlenbeck process", self.level)
        finite("noise of the Ornstein-Uhlenbeck process", self.noise, 0.0)

    @classmethod
    def fit(cls, values: Array, step_h: float) -> OrnsteinUhlenbeck:
        """The maximum-likelihood estimate given the first value: least squares of each value (N,) on the one before.

        With slope b, intercept a and residual variance r: pull = -log(b) / step, level = a / (1 - b),
        noise^2 = 2 pull r / (1 - b^2). DataError where b is not between 0 and 1: there is no pull.
        Source: Glasserman (2003), Monte Carlo Methods in Financial Engineering, section 3.3.1.
        """
        known = checked(values, step_h, cls.label)
        before, after = known[:-1], known[1:]
        centred = before - before.mean()
        square = float(centred @ centred)
        if square <= 0.0:
            raise DataError(f"{cls.label} does not apply: all values are equal; there is nothing to simulate")
        slope = float(centred @ after) / square
        if not 0.0 < slope < 1.0:
            raise DataError(
                f"{cls.label} does not apply: the slope of a value on the one before is {slope:.4f}, expected between "
                "0 and 1; a price without a pull is simulated by geometric Brownian motion"
            )
        intercept = float(after.mean()) - slope * float(before.mean())
        rest = float(np.mean((after - intercept - slope * before) ** 2))
        pull = -math.log(slope) / step_h
        return cls(pull, intercept / (1.0 - slope), math.sqrt(2.0 * pull * rest / (1.0 - slope * slope)))

    def paths(self, start: float, shocks: Array, step_h: float, rng: np.random.Generator) -> Array:
        """Values (S, H), exact at any step: X' = level + (X - level) e^(-pull h) + sd(h) shock."""
        keep = math.exp(-self.pull * step_h)
        spread = math.sqrt(float(self.variance(start, np.array(step_h))))
        out = np.empty_like(shocks)
        at = np.full(len(shocks), start - self.level)
        for t in range(shocks.shape[1]):
            at = keep * at + spread * shocks[:, t]
            out[:, t] = at
        return np.asarray(out + self.level)

    def mean(self, start: float, hours: Array) -> Array:
        """Expected value: level + (start - level) e^(-pull t)."""
        return np.asarray(self.level + (start - self.level) * np.exp(-self.pull * hours))

    def variance(self, start: float, hours: Array) -> Array:
        """Variance: noise^2 (1 - e^(-2 pull t)) / (2 pull)."""
        return np.asarray(self.noise**2 * -np.expm1(-2.0 * self.pull * hours) / (2.0 * self.pull))


@dataclass(frozen=True, slots=True)
class GeometricBrownian:
    """A positive price whose relative changes are all alike."""

    growth: float
    noise: float
    label: ClassVar[str] = "geometric Brownian motion"
    positive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        finite("growth of the geometric Brownian motion", self.growth)
        finite("noise of the geometric Brownian motion", self.noise, 0.0)

    @classmethod
    def fit(cls, values: Array, step_h: float) -> GeometricBrownian:
        """From the log returns r of a history (N,): noise^2 = var(r) / step, growth = mean(r) / step + noise^2 / 2.

        Source: Campbell, Lo and MacKinlay (1997), The Econometrics of Financial Markets, section 9.3.2.
        """
        returns = log_returns(values, step_h, cls.label)
        variance = float(returns.var(ddof=1)) / step_h
        return cls(float(returns.mean()) / step_h + 0.5 * variance, math.sqrt(variance))

    def paths(self, start: float, shocks: Array, step_h: float, rng: np.random.Generator) -> Array:
        """Values (S, H), exact at any step: S' = S exp((growth - noise^2 / 2) h + noise sqrt(h) shock)."""
        check_start(start, self.label)
        drift = (self.growth - 0.5 * self.noise**2) * step_h
        return np.asarray(start * np.exp(np.cumsum(drift + self.noise * math.sqrt(step_h) * shocks, axis=1)))

    def mean(self, start: float, hours: Array) -> Array:
        """Expected value: start e^(growth t)."""
        return np.asarray(start * np.exp(self.growth * hours))

    def variance(self, start: float, hours: Array) -> Array:
        """Variance: mean^2 (e^(noise^2 t) - 1)."""
        return np.asarray(self.mean(start, hours) ** 2 * np.expm1(self.noise**2 * hours))


@dataclass(frozen=True, slots=True)
class MertonJump:
    """A positive price that diffuses, and jumps `rate` times an hour by e^J, J normal with `jump_mean` and `jump_sd`.

    k = E[e^J] - 1 is taken off the drift, so that the expected price grows by `growth`.
    Source: Merton (1976), J. Financial Economics 3.
    """

    growth: float
    noise: float
    rate: float
    jump_mean: float
    jump_sd: float
    label: ClassVar[str] = "Merton jump diffusion"
    positive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("growth", "jump_mean"):
            finite(f"{name} of the jump diffusion", getattr(self, name))
        for name in ("noise", "rate", "jump_sd"):
            finite(f"{name} of the jump diffusion", getattr(self, name), 0.0)

    @property
    def _k(self) -> float:
        return math.expm1(self.jump_mean + 0.5 * self.jump_sd**2)

    @classmethod
    def fit(cls, values: Array, step_h: float) -> MertonJump:
        """Maximum likelihood of the log returns of a history (N,) with at most one jump a step, by EM.

        The returns are then a mixture of two normals, without and with a jump. The start takes what is JUMP robust
        standard deviations off for jumps; the jump's variance is kept from falling below that of the diffusion.
        DataError where nothing is so far off, or jumps come in more than MOST_JUMPS of the steps.
        Source: Ball and Torous (1983), J. Financial and Quantitative Analysis 18(1).
        """
        returns = log_returns(values, step_h, cls.label)
        share, centre, jump_mean, variance, wide = _two_normals(returns)
        if not 0.0 < share <= MOST_JUMPS:
            raise DataError(
                f"{cls.label} does not apply: {share:.0%} of the steps would jump, expected 0 to {MOST_JUMPS:.0%}; "
                "geometric Brownian motion describes such a history"
            )
        noise2, rate, jump_sd = variance / step_h, share / step_h, math.sqrt(max(0.0, wide - variance))
        k = math.expm1(jump_mean + 0.5 * jump_sd**2)
        return cls(centre / step_h + 0.5 * noise2 + rate * k, math.sqrt(noise2), rate, jump_mean, jump_sd)

    def paths(self, start: float, shocks: Array, step_h: float, rng: np.random.Generator) -> Array:
        """Values (S, H), exact at any step: the jumps of a step are Poisson in number, their sum normal."""
        check_start(start, self.label)
        drift = (self.growth - 0.5 * self.noise**2 - self.rate * self._k) * step_h
        jumps = rng.poisson(self.rate * step_h, shocks.shape)
        size = self.jump_mean * jumps + self.jump_sd * np.sqrt(jumps) * rng.standard_normal(shocks.shape)
        return np.asarray(start * np.exp(np.cumsum(drift + self.noise * math.sqrt(step_h) * shocks + size, axis=1)))

    def mean(self, start: float, hours: Array) -> Array:
        """Expected value: start e^(growth t)."""
        return np.asarray(start * np.exp(self.growth * hours))

    def variance(self, start: float, hours: Array) -> Array:
        """Variance: mean^2 (exp((noise^2 + rate (E[e^2J] - 2 E[e^J] + 1)) t) - 1)."""
        once = math.exp(self.jump_mean + 0.5 * self.jump_sd**2)
        twice = math.exp(2.0 * self.jump_mean + 2.0 * self.jump_sd**2)
        speed = self.noise**2 + self.rate * (twice - 2.0 * once + 1.0)
        return np.asarray(self.mean(start, hours) ** 2 * np.expm1(speed * hours))


def _two_normals(returns: Array) -> tuple[float, float, float, float, float]:
    """EM of (1 - p) N(c, v) + p N(c + m, w), w >= v: p, c, m, v, w. DataError where no value is far off."""
    middle = float(np.median(returns))
    robust = 1.4826 * float(np.median(np.abs(returns - middle)))
    far = np.abs(returns - middle) > JUMP * (robust or float(returns.std()))
    if robust <= 0.0 or int(far.sum()) < 2:
        raise DataError(
            f"{MertonJump.label} does not apply: {int(far.sum())} of {len(returns)} changes are {JUMP:g} robust "
            "standard deviations off, expected 2 or more; geometric Brownian motion describes such a history"
        )
    floor = 1e-6 * float(returns.var())
    belongs = far.astype(np.float64)
    share = centre = other = variance = wide = before = 0.0
    for _ in range(MOST_ROUNDS):
        share, rest = float(belongs.mean()), 1.0 - belongs
        if not 1e-9 < share < 1.0 - 1e-9:
            break
        centre, other = float(rest @ returns / rest.sum()), float(belongs @ returns / belongs.sum())
        variance = max(floor, float(rest @ (returns - centre) ** 2 / rest.sum()))
        wide = max(variance, float(belongs @ (returns - other) ** 2 / belongs.sum()))
        calm = math.log(1.0 - share) - 0.5 * (math.log(variance) + (returns - centre) ** 2 / variance)
        jump = math.log(share) - 0.5 * (math.log(wide) + (returns - other) ** 2 / wide)
        total = np.logaddexp(calm, jump)
        belongs = np.exp(jump - total)
        likely = float(total.mean())
        if abs(likely - before) < 1e-12:
            break
        before = likely
    return share, centre, other - centre, variance, wide


def log_returns(values: Array, step_h: float, label: str) -> Array:
    """Logarithms of each value over the one before (N - 1,). DataError where one is not positive, or none changes."""
    known = checked(values, step_h, label)
    low = float(known.min())
    if low <= 0.0:
        raise DataError(
            f"{label} does not apply: {int(np.sum(known <= 0.0))} of {len(known)} prices are 0 or negative, the lowest "
            f"{low:g}; expected positive prices; Ornstein-Uhlenbeck takes any"
        )
    returns = np.diff(np.log(known))
    if float(np.ptp(returns)) == 0.0:
        raise DataError(f"{label} does not apply: all changes are equal; there is nothing to simulate")
    return np.asarray(returns)


def checked(values: Array, step_h: float, label: str) -> Array:
    """The history (N,) as floats. DataError where it is too short, not finite, or the step is not positive."""
    known = np.asarray(values, dtype=np.float64)
    finite("step of the history in hours", step_h, 1e-9)
    if known.ndim != 1 or len(known) < FEWEST:
        raise DataError(f"{label} can't be fitted: {known.size} values, expected a history of {FEWEST} or more")
    if not np.isfinite(known).all():
        bad = int(np.sum(~np.isfinite(known)))
        raise DataError(
            f"{label} can't be fitted: {bad} of {len(known)} values are not numbers; fill or leave them out"
        )
    return known


def check_start(start: float, label: str) -> None:
    """DataError unless the start is a positive price."""
    if not (math.isfinite(start) and start > 0.0):
        raise DataError(f"{label} does not apply: it would start at {start:g}, expected a positive price")
