"""Measures and portfolios beside skfolio, on its own data set: 20 stocks of the S&P 500, daily returns of 1990-2022."""

from __future__ import annotations

import numpy as np
import pytest
import skfolio.measures as oracle
from skfolio import RiskMeasure
from skfolio.datasets import load_sp500_dataset
from skfolio.optimization import MeanRisk, ObjectiveFunction, RiskBudgeting
from skfolio.preprocessing import prices_to_returns

from gridpilot.risk import allocation, measures
from gridpilot.risk.allocation import Limits

ALPHAS = (0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999, 0.123456)
DIGITS = 1e-10
WEIGHTS = 2e-4  # what the two solvers agree to
ALPHA = 0.95


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    return np.asarray(prices_to_returns(load_sp500_dataset()))


@pytest.fixture(scope="module")
def few(returns: np.ndarray) -> np.ndarray:
    """Six of the stocks in the newest two years."""
    return returns[-504:, [0, 3, 7, 11, 15, 19]]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [20, 37, 100, 252, 1000, 8312])
def test_measures__returns_of_skfolio__equal_to_its_figures(returns: np.ndarray, n: int, alpha: float) -> None:
    for asset in range(returns.shape[1]):
        sample = returns[-n:, asset]
        falls = oracle.get_drawdowns(sample)
        assert measures.value_at_risk(sample, alpha) == pytest.approx(oracle.value_at_risk(sample, alpha), abs=DIGITS)
        assert measures.cvar(sample, alpha) == pytest.approx(oracle.cvar(sample, alpha), abs=DIGITS)
        assert measures.cdar(sample, alpha) == pytest.approx(oracle.cdar(falls, alpha), abs=DIGITS)


def test_drawdowns_and_volatility__returns_of_skfolio__equal_to_its_figures(returns: np.ndarray) -> None:
    for asset in range(returns.shape[1]):
        sample = returns[:, asset]
        falls = oracle.get_drawdowns(sample)
        assert measures.max_drawdown(sample) == pytest.approx(oracle.max_drawdown(falls), abs=DIGITS)
        assert measures.average_drawdown(sample) == pytest.approx(oracle.average_drawdown(falls), abs=DIGITS)
        assert measures.volatility(sample) == pytest.approx(oracle.standard_deviation(sample), abs=DIGITS)


def test_report__returns_of_skfolio__the_same_as_its_figures(returns: np.ndarray) -> None:
    sample = returns[-500:, 0]
    found = measures.report(sample, ALPHA)
    assert found.var == pytest.approx(oracle.value_at_risk(sample, ALPHA), abs=DIGITS)
    assert found.cvar == pytest.approx(oracle.cvar(sample, ALPHA), abs=DIGITS)
    assert found.max_drawdown == pytest.approx(oracle.max_drawdown(oracle.get_drawdowns(sample)), abs=DIGITS)


def test_least_variance__skfolio__same_weights(few: np.ndarray) -> None:
    covariance = np.cov(few.T)
    mine = allocation.least_variance(covariance, Limits.of(few.shape[1]))
    theirs = MeanRisk(risk_measure=RiskMeasure.VARIANCE).fit(few).weights_
    assert mine @ covariance @ mine <= theirs @ covariance @ theirs * (1.0 + 1e-9)
    assert mine == pytest.approx(theirs, abs=WEIGHTS)


@pytest.mark.parametrize("most", [0.25, 0.4])
def test_mean_variance__bounds_as_skfolio__same_weights(few: np.ndarray, most: float) -> None:
    aversion = 4.0
    mine = allocation.mean_variance(few.mean(axis=0), np.cov(few.T), aversion, Limits.of(few.shape[1], most))
    theirs = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=aversion / 2.0, max_weights=most
    ).fit(few)
    assert mine == pytest.approx(theirs.weights_, abs=WEIGHTS)


def test_risk_parity__skfolio__same_weights(few: np.ndarray) -> None:
    mine = allocation.risk_parity(np.cov(few.T))
    theirs = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE, solver_params={"tol_gap_abs": 1e-12}).fit(few)
    assert mine == pytest.approx(theirs.weights_, abs=WEIGHTS)


def test_least_cvar__skfolio__same_cvar_and_weights(few: np.ndarray) -> None:
    mine = allocation.least_cvar(few, ALPHA, Limits.of(few.shape[1]))
    theirs = MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=ALPHA).fit(few).weights_
    assert measures.cvar(few @ mine, ALPHA) <= measures.cvar(few @ theirs, ALPHA) + 1e-9
    assert mine == pytest.approx(theirs, abs=1e-3)


def test_most_mean__cvar_limit_as_skfolio__same_mean(few: np.ndarray) -> None:
    limit = 1.2 * measures.cvar(few @ allocation.least_cvar(few, ALPHA, Limits.of(few.shape[1])), ALPHA)
    mine = allocation.most_mean(few, ALPHA, Limits.of(few.shape[1]), limit)
    theirs = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_RETURN, risk_measure=RiskMeasure.CVAR, cvar_beta=ALPHA,
        max_cvar=limit,
    ).fit(few).weights_  # fmt: skip
    assert measures.cvar(few @ mine, ALPHA) <= limit * (1.0 + 1e-7)
    assert float((few @ mine).mean()) == pytest.approx(float((few @ theirs).mean()), rel=1e-5)
