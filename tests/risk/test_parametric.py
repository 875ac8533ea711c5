"""Parametric VaR and CVaR: against numerical integration, and on samples of known laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from gridpilot.errors import DataError
from gridpilot.risk import parametric
from gridpilot.risk.measures import cvar, cvar_error
from gridpilot.risk.parametric import StudentT


@pytest.mark.parametrize("alpha", [0.6, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [2.5, 5.0, 40.0])
def test_student__known_law__var_and_cvar_are_its_quantile_and_tail_mean(freedom: float, alpha: float) -> None:
    law = stats.t(freedom, loc=10.0, scale=3.0)
    found = StudentT(10.0, 3.0, freedom).estimate(alpha)
    quantile = law.ppf(1.0 - alpha)
    tail = integrate.quad(lambda x: x * law.pdf(x), -np.inf, quantile)[0] / (1.0 - alpha)
    assert found.var == pytest.approx(-quantile, rel=1e-9)
    assert found.cvar == pytest.approx(-tail, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.6, 0.9, 0.95, 0.99])
def test_normal__sample__var_and_cvar_of_its_normal_law(alpha: float) -> None:
    sample = np.random.default_rng(0).gamma(2.0, 5.0, 300)
    law = stats.norm(sample.mean(), sample.std(ddof=1))
    quantile = law.ppf(1.0 - alpha)
    found = parametric.normal(sample, alpha)
    assert found.var == pytest.approx(-quantile)
    assert found.cvar == pytest.approx(-law.expect(ub=quantile, conditional=True), rel=1e-6)


@pytest.mark.parametrize("freedom", [3.0, 6.0])
def test_student__large_sample__finds_the_law_that_it_came_from(freedom: float) -> None:
    sample = stats.t.rvs(freedom, loc=5.0, scale=2.0, size=20_000, random_state=np.random.default_rng(1))
    law = parametric.student(sample)
    assert law.freedom == pytest.approx(freedom, rel=0.1)
    assert (law.centre, law.scale) == (pytest.approx(5.0, abs=0.05), pytest.approx(2.0, rel=0.03))


def test_student__small_sample__as_likely_as_what_scipy_finds() -> None:
    sample = stats.t.rvs(4.0, size=250, random_state=np.random.default_rng(2)) * 50.0
    law = parametric.student(sample)
    mine = stats.t.logpdf(sample, law.freedom, law.centre, law.scale).sum()
    assert mine >= stats.t.logpdf(sample, *stats.t.fit(sample)).sum() - 1e-4


def test_student__normal_sample__is_the_normal_law_nearly() -> None:
    sample = np.random.default_rng(3).normal(100.0, 20.0, 5000)
    t, plain = parametric.student(sample).estimate(0.95), parametric.normal(sample, 0.95)
    assert t.cvar == pytest.approx(plain.cvar, abs=1.0)


def test_estimates__fat_tails__the_normal_law_sees_less_than_the_t_law_far_out() -> None:
    sample = stats.t.rvs(3.0, size=4000, random_state=np.random.default_rng(4)) * 10.0
    found = {estimate.method: estimate for estimate in parametric.estimates(sample, 0.99)}
    assert list(found) == [parametric.HISTORICAL, parametric.NORMAL, parametric.STUDENT]
    assert found["Student-t"].cvar > found["normal"].cvar
    assert abs(found["historical"].cvar - found["Student-t"].cvar) < 4.0 * found["historical"].error


def test_cvar_error__many_samples__is_the_spread_of_cvar_over_them() -> None:
    rng = np.random.default_rng(5)
    samples = rng.normal(0.0, 100.0, (800, 1000))
    seen = np.std([cvar(sample, 0.95) for sample in samples])
    assert np.mean([cvar_error(sample, 0.95) for sample in samples]) == pytest.approx(seen, rel=0.1)


@pytest.mark.parametrize("pnl", [np.arange(19.0), np.full(30, 2.0), np.append(np.arange(30.0), np.nan)])
def test_F37_estimates__sample_that_says_nothing__not_enough_data(pnl: np.ndarray) -> None:
    with pytest.raises(DataError, match="not enough data"):
        parametric.estimates(pnl, 0.95)


def test_estimates__most_values_equal__no_t_law() -> None:
    pnl = np.append(np.full(30, 1.0), np.arange(5.0))
    assert [e.method for e in parametric.estimates(pnl, 0.9)] == ["historical", "normal"]
    with pytest.raises(DataError, match="a t law does not fit"):
        parametric.student(pnl)
