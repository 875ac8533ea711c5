"""VaR and CVaR of a P&L sample by several methods, side by side.

    historical    the sample itself, every value equally likely (`measures`)
    normal        the normal law with the sample's mean and standard deviation
    Student-t     the t law of greatest likelihood: fat tails, by as many degrees of freedom as the sample shows

VaR and CVaR are LOSSES in $: positive means that money may be lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gridpilot.domain.check import require
from gridpilot.errors import DataError
from gridpilot.risk.measures import check_alpha, cvar, cvar_error, lacking, value_at_risk
from gridpilot.values import Array

HISTORICAL, NORMAL, STUDENT = "historical", "normal", "Student-t"
LEAST_FREEDOM, MOST_FREEDOM = 1.05, 1000.0  # below 1 there is no mean; at 1000 it is the normal law to a thousandth


@dataclass(frozen=True, slots=True)
class Estimate:
    """VaR and CVaR [$] by one method; `error` is the standard error of CVaR (NaN: none is known)."""

    method: str
    var: float
    cvar: float
    error: float = math.nan
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = not self.cvar < self.var - 1e-9 * max(1.0, abs(self.var))
        require(ordered, f"{self.method}: CVaR {self.cvar} is below VaR {self.var}: expected no less")


@dataclass(frozen=True, slots=True)
class StudentT:
    """The law  centre + scale x T  of a P&L [$], T with `freedom` degrees of freedom."""

    centre: float
    scale: float
    freedom: float

    def __post_init__(self) -> None:
        require(self.scale > 0.0, f"scale of the t law is {self.scale}: expected above 0")
        require(self.freedom > 1.0, f"the t law has {self.freedom} degrees of freedom: expected above 1")

    def estimate(self, alpha: float) -> Estimate:
        """VaR = -centre + scale q and CVaR = -centre + scale f(q) / (1 - alpha) x (freedom + q^2) / (freedom - 1).

        q is the alpha-quantile and f the density of T. Source: McNeil, Frey and Embrechts (2015), Quantitative Risk
        Management, section 2.3.4.
        """
        from scipy.special import gammaln, stdtrit

        check_alpha(alpha)
        nu = self.freedom
        q = float(stdtrit(nu, alpha))
        log_f = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * math.log(nu * math.pi)
        density = math.exp(log_f - 0.5 * (nu + 1.0) * math.log1p(q * q / nu))
        beyond = density / (1.0 - alpha) * (nu + q * q) / (nu - 1.0)
        shown = {"centre": self.centre, "scale": self.scale, "freedom": nu}
        return Estimate(STUDENT, -self.centre + self.scale * q, -self.centre + self.scale * beyond, parameters=shown)


def historical(pnl: Array, alpha: float) -> Estimate:
    """The sample (n,) as it is."""
    sample = _usable(pnl, alpha)
    return Estimate(HISTORICAL, value_at_risk(sample, alpha), cvar(sample, alpha), cvar_error(sample, alpha))


def normal(pnl: Array, alpha: float) -> Estimate:
    """VaR = -mean + sd z and CVaR = -mean + sd f(z) / (1 - alpha), z the alpha-quantile, f the normal density.

    pnl (n,); sd has n - 1 in the denominator. DataError where the sample says nothing about its tail.
    Source: McNeil, Frey and Embrechts (2015), section 2.3.4.
    """
    from scipy.special import ndtri

    sample = _usable(pnl, alpha)
    mean, sd, z = float(sample.mean()), float(sample.std(ddof=1)), float(ndtri(alpha))
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return Estimate(NORMAL, -mean + sd * z, -mean + sd * density / (1.0 - alpha), parameters={"mean": mean, "sd": sd})


def student(pnl: Array) -> StudentT:
    """The t law of greatest likelihood for a sample (n,), by L-BFGS on (centre, log scale, log freedom).

    Freedom is sought from LEAST_FREEDOM to MOST_FREEDOM. DataError where the sample says nothing about its tail, or
    most of its values are equal (then the likelihood has no maximum).
    """
    from scipy.optimize import minimize

    sample = _usable(pnl, 0.5)
    middle = float(np.median(sample))
    spread = float(np.median(np.abs(sample - middle)))
    if spread <= 0.0:
        raise DataError("more than half of the P&L values are equal: a t law does not fit; use the historical figures")
    unit = (sample - middle) / spread
    bounds = [(None, None), (-6.0, 6.0), (math.log(LEAST_FREEDOM), math.log(MOST_FREEDOM))]
    start = np.array([0.0, math.log(1.3), math.log(6.0)])
    found = minimize(
        _unlikelihood, start, args=(unit,), jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-13}
    )
    centre, log_scale, log_freedom = (float(x) for x in found.x)
    return StudentT(middle + spread * centre, spread * math.exp(log_scale), math.exp(log_freedom))


def estimates(pnl: Array, alpha: float) -> tuple[Estimate, ...]:
    """Historical, normal and Student-t figures of a P&L sample (n,) [$], each value equally likely.

    The t law is left out where it does not fit; DataError where the sample says nothing about its tail.
    """
    known = (historical(pnl, alpha), normal(pnl, alpha))
    try:
        return (*known, student(pnl).estimate(alpha))
    except DataError:
        return known


def _unlikelihood(x: Array, unit: Array) -> tuple[float, Array]:
    """Minus the mean log-likelihood of the t law and its gradient in (centre, log scale, log freedom)."""
    from scipy.special import gammaln, psi

    centre, scale, nu = float(x[0]), math.exp(float(x[1])), math.exp(float(x[2]))
    z = (unit - centre) / scale
    square = z * z / nu
    log_term = np.log1p(square)
    weight = (nu + 1.0) / nu / (1.0 + square)
    constant = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * math.log(nu * math.pi) - math.log(scale)
    value = constant - 0.5 * (nu + 1.0) * float(log_term.mean())
    by_centre = float(np.mean(weight * z)) / scale
    by_scale = float(np.mean(weight * z * z)) - 1.0
    by_nu = 0.5 * (psi((nu + 1.0) / 2.0) - psi(nu / 2.0) - 1.0 / nu - float(log_term.mean()))
    by_nu += 0.5 * float(np.mean(weight * z * z)) / nu
    return -value, -np.array([by_centre, by_scale, by_nu * nu])


def _usable(pnl: Array, alpha: float) -> Array:
    check_alpha(alpha)
    sample = np.asarray(pnl, dtype=np.float64)
    reason = lacking(sample)
    if reason:
        raise DataError(f"P&L sample: {reason}")
    return sample
