"""The day-ahead models: no look-ahead, one answer on every way to a forecast, and better than what is simple."""

from __future__ import annotations

import numpy as np
import pytest

from gridpilot.forecast import gp
from gridpilot.forecast.dayahead import DayAhead
from gridpilot.forecast.days import day_table
from gridpilot.forecast.features import Series
from gridpilot.forecast.inputs import Inputs
from gridpilot.forecast.models import SeasonalNaive
from gridpilot.forecast.registry import REGISTRY
from gridpilot.forecast.stack import START_WEIGHTS, LikeDay, Stack, learnt_weights
from tests.forecast.conftest import daily, market, spoiled, times

SLOW = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("gp", "gp whole", "net", "ensemble"))
MODELS = ("lear", *SLOW)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps of training: what is tested does not depend on their number."""
    monkeypatch.setattr("gridpilot.forecast.gp.STEPS", 4)
    monkeypatch.setattr("gridpilot.forecast.net.EPOCHS", 4)


def build(name: str) -> DayAhead:
    model = REGISTRY[name].build()
    assert isinstance(model, DayAhead)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_rolling__everything_after_an_origin_corrupted_gives_bit_identical_forecasts(name: str) -> None:
    series = market(150)
    origins = daily(series, 24 * 144 - 1, 4)
    honest = build(name).rolling(series, origins, 24)
    assert honest is not None
    for k in (0, 2):
        cut = int(origins[k]) + 1
        again = build(name).rolling(spoiled(series, cut), origins, 24)
        assert again is not None
        assert np.array_equal(honest[: k + 1], again[: k + 1])


@pytest.mark.parametrize("name", MODELS)
def test_predict__same_as_the_next_row_of_a_rolling_run(name: str) -> None:
    series = market(150)
    origins = daily(series, 24 * 144 - 1, 4)
    rolled = build(name).rolling(series, origins, 24)
    ready = build(name)
    assert ready.rolling(series, origins[:-1], 24) is not None
    issued = ready.predict(series.cut(int(origins[-1]) + 1), 24)
    assert rolled is not None
    assert np.allclose(issued, rolled[-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["plain", "no outside series", "5 min", "clock change", "jump", "nearly constant"])
@pytest.mark.parametrize("name", MODELS)
def test_fit_predict__any_series_gives_finite_values_of_the_right_length(name: str, case: str) -> None:
    base = market(140, 300 if case == "5 min" else 3600)
    if case == "no outside series":
        base = base.without_exog()
    if case == "clock change":
        base = Series(times("2023-11-08T23:00:00", len(base), 3600), 3600, base.y, "Europe/Amsterdam", base.exog, 48)
    if case == "jump":
        y = base.y.copy()
        y[2000:] += 500.0
        y[-1] *= 100.0
        base = Series(base.timestamp, 3600, y, "UTC", base.exog, 48)
    if case == "nearly constant":
        y = np.full(len(base), 40.0)
        y[700] = -3.0
        base = Series(base.timestamp, 3600, y, "UTC", base.exog, 48)
    model, horizon = build(name), 2 * base.season
    assert len(base) >= model.min_history(base.step_s, horizon)
    model.fit(base, horizon)
    values = model.predict(base, horizon)
    assert values.shape == (horizon,)
    assert np.all(np.isfinite(values))
    assert np.abs(values).max() <= 3.0 * np.abs(base.y).max()


def test_predict__another_time_of_day_than_fitted_is_refused() -> None:
    series, model = market(100), build("gp")
    model.fit(series, 24)
    with pytest.raises(ValueError, match="another time of day"):
        model.predict(series.cut(24 * 100 - 5), 24)


@pytest.mark.slow
def test_ensemble__outside_forecasts_and_weekends_beat_the_naive_by_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridpilot.forecast.gp.STEPS", 35)
    monkeypatch.setattr("gridpilot.forecast.net.EPOCHS", 50)
    series = market(300)
    origins = daily(series, 24 * 299 - 1, 60)
    truth = series.y[origins[:, None] + np.arange(1, 25)]
    guess = build("ensemble").rolling(series, origins, 24)
    naive = np.stack([SeasonalNaive().predict(series.cut(int(o) + 1), 24) for o in origins])
    assert guess is not None
    assert np.abs(guess - truth).mean() < 0.4 * np.abs(naive - truth).mean()


def test_gp__prequential_errors_equal_one_refit_a_day() -> None:
    days = day_table(market(80))
    model = gp.GaussianProcess()
    rows = model.rows(days, 70)
    inputs, table = Inputs.learn(days, 70)
    z = inputs.scale.z(days.relative)
    for fit in model._fitted:
        for row in (71, 75, 79):
            x = table.x[7 : row + 1, fit.block.pick]
            covariance = gp._parts(fit.theta, x, fit.block).covariance
            naive = covariance[-1, :-1] @ np.linalg.solve(covariance[:-1, :-1], z[7:row, fit.block.slots])
            price = inputs.scale.price(naive, fit.block.slots) + days.level[row]
            assert np.allclose(price, rows[row, fit.block.slots], rtol=1e-7)


def test_gp__gradient_equals_finite_differences() -> None:
    days = day_table(market(40))
    _, table = Inputs.learn(days, 40)
    block = gp._blocks(table, 24, (0, 7, 12, 18, 24))[1]
    rng = np.random.default_rng(0)
    x, z = table.x[7:-1, block.pick], rng.normal(size=(33, 5))
    problem = gp._Problem(x, z, np.full(z.shape, 1.0 / z.size), block)
    theta = gp._start(block) + rng.normal(0, 0.1, 2 * len(block.names) + gp.SCALARS)
    _, gradient = problem.loss_and_gradient(theta)
    for i in range(len(theta)):
        step = np.zeros_like(theta)
        step[i] = 1e-6
        slope = (problem.loss_and_gradient(theta + step)[0] - problem.loss_and_gradient(theta - step)[0]) / 2e-6
        assert slope == pytest.approx(gradient[i], abs=1e-7)


def test_weights__start_as_given_then_follow_the_member_that_errs_less() -> None:
    errors = np.random.default_rng(0).normal(size=(2, 80, 24))
    errors[1] *= 5.0
    weights = learnt_weights(errors, np.array([0.5, 0.5]))
    assert weights.shape == (81, 2)
    assert np.array_equal(weights[:14], np.full((14, 2), 0.5))
    assert weights[-1, 0] >= 0.9
    assert np.allclose(weights.sum(axis=1), 1.0)


@pytest.mark.slow
def test_stack__a_member_that_fails_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr("gridpilot.forecast.lear.Lear.rows", broken)
    stack = Stack()
    stack.fit(day_table(market(130)))
    assert stack.left_out == {"lear": "LinAlgError: not positive definite"}
    assert set(stack.weights) == set(START_WEIGHTS) - {"lear"}
    assert sum(stack.weights.values()) == pytest.approx(1.0)


def test_gp__drivers_name_the_input_that_moved_the_forecast() -> None:
    series = market(150)
    y, exog = series.y.copy(), series.exog.copy()
    model = DayAhead(lambda: gp.GaussianProcess("gp whole", (0, 24)))
    model.fit(series, 24)
    calm = model.drivers(series)
    exog[len(y) :, 1] -= 20.0  # no wind tomorrow
    windless = model.drivers(Series(series.timestamp, 3600, y, "UTC", exog, 48, "NL"))
    assert windless["outside forecasts"] > calm["outside forecasts"] + 5.0


@pytest.mark.parametrize(("start", "change"), [("2023-01-14T23:00:00", "spring"), ("2023-07-16T22:00:00", "autumn")])
def test_rolling__through_a_clock_change_equals_one_prediction_from_each_origin(start: str, change: str) -> None:
    series = market(110, zone="Europe/Amsterdam", start=start)
    ends = day_table(series).ends
    days = [k for k in range(60, 108) if ends[k] - ends[k - 1] != 24]
    assert len(days) == 1, change
    origins = ends[days[0] - 3 : days[0] + 3]
    rolled = build("gp whole").rolling(series, origins, 24)
    assert rolled is not None
    for k in range(1, len(origins)):
        model = build("gp whole")
        assert model.rolling(series, origins[:k], 24) is not None
        assert np.allclose(model.predict(series.cut(int(origins[k]) + 1), 24), rolled[k], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_ensemble__a_month_after_a_level_shift_it_is_near_the_naive_again() -> None:
    series = market(260)
    y = series.y.copy()
    y[24 * 200 :] += 1000.0
    moved = Series(series.timestamp, 3600, y, "UTC", series.exog, 48, "NL")
    origins = daily(moved, 24 * 258 - 1, 80)
    guess = build("ensemble").rolling(moved, origins, 24)
    assert guess is not None
    late = origins[-28:]
    truth = y[late[:, None] + np.arange(1, 25)]
    naive = np.stack([SeasonalNaive().predict(moved.cut(int(o) + 1), 24) for o in late])
    assert np.abs(guess[-28:] - truth).mean() <= 1.4 * np.abs(naive - truth).mean()


def test_like_day__equals_the_seasonal_naive() -> None:
    series = market(40)
    origins = daily(series, 24 * 38 - 1, 10)
    days = day_table(series)
    rows = LikeDay().rows(days, 20)[np.searchsorted(days.ends, origins)]
    naive = np.stack([SeasonalNaive().predict(series.cut(int(o) + 1), 24) for o in origins])
    assert np.array_equal(rows, naive)
    assert np.array_equal(LikeDay().predict(days), SeasonalNaive().predict(series, 24))
