"""VaR, CVaR and the factor: exact on small samples, coherent on all."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from gridpilot.errors import DataError
from gridpilot.risk import measures

SAMPLES = arrays(np.float64, st.integers(1, 120), elements=st.floats(-1e6, 1e6, allow_subnormal=False))
ALPHAS = st.floats(0.01, 0.99)
CHECKED = settings(deadline=None, max_examples=80)


def brute_force(pnl: np.ndarray, tail: int) -> float:
    return float(np.sort(-pnl)[::-1][:tail].mean())


@given(pnl=SAMPLES, alpha=ALPHAS)
@CHECKED
def test_cvar__any_sample_is_between_var_and_the_worst_loss(pnl: np.ndarray, alpha: float) -> None:
    tail = measures.cvar(pnl, alpha)
    assert measures.value_at_risk(pnl, alpha) <= tail <= -pnl.min() + 1e-6


@given(pnl=SAMPLES, alpha=ALPHAS, shift=st.floats(-1e5, 1e5), scale=st.floats(0.001, 100.0))
@CHECKED
def test_measures__shifted_and_scaled_sample_moves_with_it(
    pnl: np.ndarray, alpha: float, shift: float, scale: float
) -> None:
    for measure in (measures.value_at_risk, measures.cvar):
        assert measure(scale * pnl + shift, alpha) == pytest.approx(
            scale * measure(pnl, alpha) - shift, rel=1e-9, abs=1e-4
        )


@given(pnl=SAMPLES, first=ALPHAS, second=ALPHAS)
@CHECKED
def test_measures__higher_alpha_never_gives_a_lower_loss(pnl: np.ndarray, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert measures.value_at_risk(pnl, low) <= measures.value_at_risk(pnl, high)
    assert measures.cvar(pnl, low) <= measures.cvar(pnl, high) + 1e-6


@given(n=st.integers(2, 60), alpha=ALPHAS, seed=st.integers(0, 1000))
@CHECKED
def test_cvar__sum_of_two_positions_is_at_most_the_sum_of_their_risks(n: int, alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.standard_t(3, n), rng.standard_t(3, n)
    assert measures.cvar(one + other, alpha) <= measures.cvar(one, alpha) + measures.cvar(other, alpha) + 1e-9


@given(pnl=SAMPLES, tail=st.integers(1, 30))
@CHECKED
def test_cvar__whole_number_in_the_tail_is_the_plain_mean(pnl: np.ndarray, tail: int) -> None:
    assume(tail < len(pnl))
    alpha = 1.0 - tail / len(pnl)
    assert measures.cvar(pnl, alpha) == pytest.approx(brute_force(pnl, tail), rel=1e-9, abs=1e-6)
    assert measures.value_at_risk(pnl, alpha) == np.sort(-pnl)[::-1][tail]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.5, 0.83, 0.95, 0.99])
def test_cvar__random_sample_equals_the_linear_program(seed: int, alpha: float) -> None:
    pnl = np.random.default_rng(seed).standard_t(3, 37) * 100.0
    n = len(pnl)
    cost = np.concatenate([[1.0], np.full(n, 1.0 / (n * (1.0 - alpha)))])
    rows = np.hstack([-np.ones((n, 1)), -np.eye(n)])  # -c - u <= pnl, that is u >= -pnl - c
    answer = linprog(cost, A_ub=rows, b_ub=pnl, bounds=[(None, None)] + [(0, None)] * n)
    assert answer.status == 0
    assert measures.cvar(pnl, alpha) == pytest.approx(answer.fun, rel=1e-9)


def test_cvar__fraction_of_the_last_value_counts_as_a_fraction() -> None:
    pnl = np.array([-10.0, -4.0, 1.0, 2.0, 3.0])
    # 30 % of five values are one and a half: all of the loss of 10 and half of the loss of 4.
    assert measures.cvar(pnl, 0.7) == pytest.approx((10.0 + 0.5 * 4.0) / 1.5)
    assert measures.value_at_risk(pnl, 0.7) == 4.0


def test_measures__profitable_tail_is_a_negative_loss() -> None:
    pnl = np.linspace(100.0, 200.0, 40)
    assert measures.cvar(pnl, 0.95) < 0.0
    assert measures.value_at_risk(pnl, 0.95) < 0.0


def test_measures__twenty_values__one_in_the_tail_is_beyond_var() -> None:
    pnl = -np.arange(20.0)
    assert measures.value_at_risk(pnl, 0.95) == 18.0
    assert measures.cvar(pnl, 0.95) == 19.0


@given(pnl=SAMPLES, alpha=ALPHAS)
@CHECKED
def test_value_at_risk__any_sample__is_the_least_loss_that_few_enough_exceed(pnl: np.ndarray, alpha: float) -> None:
    level, allowed = measures.value_at_risk(pnl, alpha), (1.0 - alpha) * len(pnl) + 1e-9
    assert np.sum(-pnl > level) <= allowed
    milder = -pnl[-pnl < level]
    assert not milder.size or np.sum(-pnl > milder.max()) > allowed - 2e-9


@pytest.mark.parametrize("measure", [measures.value_at_risk, measures.cvar])
@pytest.mark.parametrize("pnl", [[], [1.0, math.nan, 2.0]])
def test_measures__empty_or_nan_sample_is_nan(measure: Callable[[np.ndarray, float], float], pnl: list[float]) -> None:
    assert math.isnan(measure(np.array(pnl), 0.95))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 95.0, -0.1, math.nan])
def test_measures__alpha_outside_the_open_interval_is_refused(alpha: float) -> None:
    for measure in (measures.value_at_risk, measures.cvar, measures.report):
        with pytest.raises(DataError, match=r"such as 0\.95"):
            measure(np.arange(30.0), alpha)


def test_max_drawdown__running_total__is_the_fall_from_its_own_high() -> None:
    assert measures.max_drawdown(np.array([5.0, -3.0, 6.0, -7.0, 8.0])) == 7.0
    assert measures.max_drawdown(np.array([1.0, 2.0, 3.0])) == 0.0
    assert math.isnan(measures.max_drawdown(np.array([])))


@given(pnl=SAMPLES)
@CHECKED
def test_max_drawdown__running_total_equals_the_double_loop(pnl: np.ndarray) -> None:
    level = measures.running_total(pnl)
    worst = max(level[i] - level[j] for i in range(len(level)) for j in range(i, len(level)))
    assert measures.max_drawdown(pnl) == pytest.approx(worst)


def test_max_drawdown__loss_from_the_first_period_counts() -> None:
    assert measures.report(np.array([-10.0] * 10 + [1.0] * 10)).max_drawdown == 100.0


@given(pnl=SAMPLES)
@CHECKED
def test_falls__any_path__double_loop(pnl: np.ndarray) -> None:
    level = np.concatenate([[0.0], np.cumsum(pnl)])
    assert measures.falls(pnl).tolist() == [level[: i + 1].max() - level[i] for i in range(1, len(level))]
    assert measures.average_drawdown(pnl) == pytest.approx(measures.falls(pnl).mean())


def test_drawdowns__several_paths__all_their_steps_count() -> None:
    paths = np.array([[1.0, -2.0, 0.0], [-1.0, -1.0, 3.0]])
    assert measures.falls(paths).tolist() == [[0.0, 2.0, 2.0], [1.0, 2.0, 0.0]]
    assert measures.average_drawdown(paths) == pytest.approx(7.0 / 6.0)
    assert measures.cdar(paths, 0.5) == pytest.approx(2.0)
    assert math.isnan(measures.average_drawdown(np.empty((0, 3)))) and math.isnan(measures.cdar(np.array([]), 0.9))


def test_volatility__is_the_sample_standard_deviation() -> None:
    assert measures.volatility(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(math.sqrt(5.0 / 3.0))
    assert math.isnan(measures.volatility(np.array([1.0])))


@pytest.mark.parametrize(
    ("cvar_usd", "cap_usd", "factor"),
    [
        (50.0, None, 1.0),
        (50.0, 100.0, 1.0),
        (100.0, 100.0, 1.0),
        (200.0, 100.0, 0.5),
        (1e9, 100.0, measures.FACTOR_FLOOR),
        (5.0, 0.0, measures.FACTOR_FLOOR),
        (-5.0, 0.0, 1.0),
        (math.nan, 100.0, measures.FACTOR_UNKNOWN),
        (math.nan, None, measures.FACTOR_UNKNOWN),
    ],
)
def test_risk_adjustment_factor__table(cvar_usd: float, cap_usd: float | None, factor: float) -> None:
    assert measures.risk_adjustment_factor(cvar_usd, cap_usd) == factor


@pytest.mark.parametrize("cap_usd", [-1.0, math.nan, math.inf])
def test_risk_adjustment_factor__senseless_cap_is_refused(cap_usd: float) -> None:
    with pytest.raises(DataError, match="expected 0 or more"):
        measures.risk_adjustment_factor(10.0, cap_usd)


def test_report__enough_data_has_all_figures() -> None:
    pnl = np.random.default_rng(0).normal(10.0, 50.0, 400)
    result = measures.report(pnl, 0.9, cap_usd=20.0)
    assert result.status == "ok"
    assert (result.n, result.alpha) == (400, 0.9)
    assert result.cvar == pytest.approx(brute_force(pnl, 40))
    assert result.expected == pytest.approx(pnl.mean())
    assert result.risk_adjustment_factor == pytest.approx(20.0 / result.cvar)
    assert result.pnl_usd.tolist() == pnl.tolist()


@pytest.mark.parametrize(
    ("pnl", "status"),
    [
        (np.arange(19.0), "not enough data: 19 of 20"),
        (np.array([]), "not enough data: 0 of 20"),
        (np.full(50, 7.0), "not enough data: all 50 values are equal"),
        (np.append(np.arange(30.0), np.nan), "not enough data: 1 of 31 values are not numbers"),
        (np.append(np.arange(30.0), -np.inf), "not enough data: 1 of 31 values are not numbers"),
    ],
)
def test_F37_report__too_little_to_go_by__says_so_and_is_conservative(pnl: np.ndarray, status: str) -> None:
    result = measures.report(pnl, cap_usd=1e9)
    assert result.status == status
    assert result.n == len(pnl)
    assert all(
        math.isnan(x) for x in (result.var, result.cvar, result.max_drawdown, result.volatility, result.expected)
    )
    assert result.risk_adjustment_factor == measures.FACTOR_UNKNOWN


def test_report__table_instead_of_a_list_is_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        measures.report(np.zeros((30, 2)))
