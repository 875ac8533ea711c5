"""The models of the system that GridPilot grew out of: finite on odd input, no look-ahead, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest

from gridpilot.forecast.classic import Garch, Kalman, Wavelet
from gridpilot.forecast.features import Series
from gridpilot.forecast.registry import REGISTRY, named
from gridpilot.forecast.tabular import XGBoost
from tests.forecast.conftest import market, spoiled

QUICK = ("linear", "garch", "kalman", "wavelet")
SLOW = tuple(
    pytest.param(name, marks=pytest.mark.slow) for name in ("prophet", "forest", "xgboost", "seed ensemble", "plain gp")
)


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_model__future_corrupted_gives_identical_forecasts(name: str) -> None:
    series, results = market(62), []
    for source in (series, spoiled(series, 24 * 58)):
        model, known = REGISTRY[name].build(), source.cut(24 * 58)
        model.fit(known, 24)
        assert model.serves(known)
        results.append(model.predict(known, 24))
    assert np.array_equal(results[0], results[1])
    assert np.abs(results[0] - series.y[24 * 58 : 24 * 59]).mean() < np.std(series.y)


@pytest.mark.parametrize("case", ["constant", "jump and spike", "quarter hours", "exactly enough"])
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_model__odd_input_gives_finite_values_of_the_right_length_or_says_why(name: str, case: str) -> None:
    model = REGISTRY[name].build()
    base = market(64, 900 if case == "quarter hours" else 3600)
    y = base.y.copy()
    if case == "constant":
        y[:] = 30.0
    if case == "jump and spike":
        y[800:] -= 300.0
        y[-1] *= 100.0
    if case == "exactly enough":
        y = y[: model.min_history(3600, 24)]
    series = Series(base.timestamp[: len(y)], base.step_s, y)
    try:
        model.fit(series, series.season)
    except ValueError as error:
        assert case == "constant"
        assert str(error)
        return
    values = model.predict(series, series.season)
    assert values.shape == (series.season,)
    assert np.all(np.isfinite(values))


@pytest.mark.slow
def test_xgboost__doubt_is_positive() -> None:
    model, series = XGBoost(), market(60)
    model.fit(series, 24)
    assert np.all(model.uncertainty(series, 24) > 0.0)


def test_garch__volatility_grows_after_turbulence() -> None:
    rng = np.random.default_rng(0)
    y = 50 + np.concatenate([rng.normal(0, 1, 24 * 50), rng.normal(0, 8, 24 * 2)])
    calm = Series(market(52).timestamp, 3600, y)
    model = Garch()
    model.fit(calm, 24)
    assert model.volatility(calm, 24)[0] > 2.0 * model.volatility(calm.cut(24 * 49), 24)[0]


def test_kalman__follows_a_new_level_within_a_day() -> None:
    series = market(40).without_exog()
    y = series.y.copy()
    y[-24:] += 100.0
    model = Kalman()
    model.fit(series, 24)
    moved = model.predict(Series(series.timestamp, 3600, y), 24) - model.predict(series, 24)
    assert moved.mean() > 50.0


def test_wavelet__removes_noise_and_keeps_a_slow_wave() -> None:
    clean = 10 * np.sin(2 * np.pi * np.arange(24 * 28) / (24 * 5))
    noisy = clean + np.random.default_rng(0).normal(0, 2, len(clean))
    denoised = Wavelet().denoised(noisy)
    assert np.abs(denoised - clean).mean() < 0.75 * np.abs(noisy - clean).mean()
    assert np.allclose(Wavelet().denoised(np.full(300, 3.0)), 3.0)


def test_wavelet__daily_pattern_alone_comes_back_unchanged() -> None:
    y = np.tile(20 + 10 * np.sin(2 * np.pi * np.arange(24) / 24), 30)
    series = Series(market(30).timestamp, 3600, y)
    assert np.allclose(Wavelet().predict(series.cut(24 * 29 + 7), 24), y[24 * 29 + 7 - 24 : 24 * 29 + 7])


def test_registry__names_are_the_models_own_and_lists_are_read_leniently() -> None:
    assert all(entry.build().name == name for name, entry in REGISTRY.items())
    assert named("Seed-Ensemble, weekly_naive,ridge,ridge") == ["seed ensemble", "weekly naive", "ridge"]
