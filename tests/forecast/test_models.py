"""The contract that every registered model keeps, and what each of them promises beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from gridpilot.forecast.features import Series
from gridpilot.forecast.models import MODELS, Asinh, Ridge, SeasonalNaive
from gridpilot.values import Array

ZONE = "Europe/Amsterdam"


def times(start: str, n: int, step_s: int) -> np.ndarray:
    return np.datetime64(start, "s") + np.arange(n) * np.timedelta64(step_s, "s")


def daily_price(n: int, step_s: int = 3600, start: str = "2024-01-01", noise: float = 4.0) -> Series:
    """A price with a day, a quieter weekend and autoregressive noise, UTC clock."""
    rng = np.random.default_rng(3)
    seconds = np.arange(n) * step_s
    shocks = rng.normal(0.0, noise, n)
    for i in range(1, n):
        shocks[i] += 0.8 * shocks[i - 1]
    weekend = np.isin(seconds // 86_400 % 7, (5, 6))
    y = 60 + 20 * np.sin(2 * np.pi * seconds / 86_400) - 15 * weekend + shocks
    return Series(times(start, n, step_s), step_s, y, "UTC")


def with_values(series: Series, y: Array, zone: str = ZONE) -> Series:
    return Series(series.timestamp, series.step_s, y, zone)


def odd_series() -> dict[str, Series]:
    base = daily_price(24 * 70)
    shifted = base.y.copy()
    shifted[24 * 50 :] += 300.0
    spiked = base.y.copy()
    spiked[-1] = 100.0 * spiked.mean()
    mostly_flat = np.full(24 * 70, 50.0)
    mostly_flat[700] = 51.0
    return {
        "constant": with_values(base, np.full(24 * 70, 42.0)),
        "mostly flat": with_values(base, mostly_flat),
        "level shift": with_values(base, shifted),
        "negative": with_values(base, base.y - 90.0),
        "spike at the end": with_values(base, spiked),
        "spring clock change": daily_price(24 * 71, start="2024-01-20"),
        "origin before the spring change": Series(times("2024-01-21", 24 * 70, 3600), 3600, base.y, ZONE),
        "origin before the autumn change": Series(times("2024-08-18", 24 * 70, 3600), 3600, base.y, ZONE),
        "quarter hours": daily_price(96 * 12, 900),
        "five minutes": daily_price(288 * 6, 300),
        "two-hour steps": daily_price(12 * 70, 7200),
        "few points": daily_price(24 * 5),
    }


@pytest.mark.parametrize("horizon", [1, 24, 48])
@pytest.mark.parametrize("case", odd_series())
@pytest.mark.parametrize("model", MODELS)
def test_model__odd_input_gives_the_right_length_and_finite_values(model: str, case: str, horizon: int) -> None:
    series, forecaster = odd_series()[case], MODELS[model]()
    if len(series) < forecaster.min_history(series.step_s, horizon):
        pytest.skip("not enough history for this model, as min_history says")
    forecaster.fit(series, horizon)
    values = forecaster.predict(series, horizon)
    assert values.shape == (horizon,)
    assert np.all(np.isfinite(values))
    assert np.abs(values).max() <= 2.0 * np.abs(series.y).max()


@pytest.mark.parametrize("days", [3, 10, 40, 100])
@pytest.mark.parametrize("model", MODELS)
def test_model__future_corrupted_gives_identical_forecasts(model: str, days: int) -> None:
    whole = daily_price(24 * 110)
    spoiled = whole.y.copy()
    spoiled[24 * days :] = np.linspace(-1e4, 1e4, 24 * (110 - days))
    results = []
    for source in (whole, with_values(whole, spoiled, "UTC")):
        forecaster, known = MODELS[model](), source.cut(24 * days)
        forecaster.fit(known, 24)
        results.append(forecaster.predict(known, 24))
    assert np.array_equal(results[0], results[1])


@pytest.mark.parametrize("model", MODELS)
def test_model__exactly_min_history_is_enough(model: str) -> None:
    for step_s, horizon in ((3600, 24), (3600, 1), (300, 288), (900, 30)):
        forecaster = MODELS[model]()
        series = daily_price(forecaster.min_history(step_s, horizon), step_s)
        forecaster.fit(series, horizon)
        assert forecaster.predict(series, horizon).shape == (horizon,)


@pytest.mark.parametrize("model", MODELS)
def test_model__registered_under_its_own_name(model: str) -> None:
    assert MODELS[model]().name == model


def test_seasonal_naive__weekday_and_weekend_take_their_like_day() -> None:
    y = np.repeat(np.arange(21.0), 24)  # the value is the number of the day; day 0 is Monday 1 January
    series = Series(times("2024-01-01", len(y), 3600), 3600, y)
    for day, expected in ((15, 14.0), (16, 15.0), (19, 12.0), (20, 13.0), (14, 7.0)):
        assert SeasonalNaive().predict(series.cut(24 * day), 24).tolist() == [expected] * 24
    two_days = SeasonalNaive().predict(series.cut(24 * 16), 48)  # Wednesday and Thursday, from Tuesday night
    assert two_days.tolist() == [15.0] * 48


def test_seasonal_naive__after_the_clock_change_keeps_the_local_hour() -> None:
    stamps = times("2024-03-01", 24 * 40, 3600)
    local_hour = (np.arange(24 * 40) + 1 + (stamps >= np.datetime64("2024-03-31T01:00:00"))) % 24
    series = Series(stamps, 3600, local_hour.astype(float), ZONE)
    origin = 24 * 31  # midnight UTC of 1 April, the Monday after the change
    assert SeasonalNaive().predict(series.cut(origin), 24).tolist() == local_hour[origin : origin + 24].tolist()


def test_seasonal_naive__less_than_a_week_takes_yesterday() -> None:
    series = Series(times("2024-01-03", 48, 3600), 3600, np.arange(48.0))  # the target is a Friday, then Saturday
    assert SeasonalNaive().predict(series, 48).tolist() == [*range(24, 48), *range(24, 48)]


def test_ridge__daily_price_beats_the_naive_clearly() -> None:
    series = daily_price(24 * 200)
    ridge, naive, errors = Ridge(), SeasonalNaive(), []
    ridge.fit(series.cut(24 * 140), 24)
    for day in range(140, 199):
        known, truth = series.cut(24 * day), series.y[24 * day : 24 * day + 24]
        errors.append([np.abs(m.predict(known, 24) - truth).mean() for m in (ridge, naive)])
    ridge_mae, naive_mae = np.mean(errors, axis=0)
    assert ridge_mae < 0.85 * naive_mae


def test_ridge__extreme_end_stays_near_the_range_it_has_seen() -> None:
    series = daily_price(24 * 100)
    ridge = Ridge()
    ridge.fit(series, 24)
    spiked = series.y.copy()
    spiked[-24:] = 1e7
    values = ridge.predict(with_values(series, spiked, "UTC"), 24)
    assert values.max() < 2.0 * series.y.max()


def test_ridge__another_time_of_day_or_step_than_fitted_is_refused() -> None:
    series, ridge = daily_price(24 * 100), Ridge()
    with pytest.raises(ValueError, match="not fitted"):
        ridge.predict(series, 24)
    ridge.fit(series, 24)
    with pytest.raises(ValueError, match="another time of day"):
        ridge.predict(series.cut(24 * 100 - 5), 24)
    with pytest.raises(ValueError, match="not fitted for 25"):
        ridge.predict(series, 25)
    assert ridge.predict(series.cut(24 * 99), 12).shape == (12,)


@pytest.mark.parametrize("origin", [24 * 84 + 11, 24 * 84 + 10], ids=["the same UTC hour", "the same local hour"])
def test_ridge__clock_change_between_fit_and_origin_is_served(origin: int) -> None:
    times = np.datetime64("2023-01-02", "s") + np.arange(24 * 90) * np.timedelta64(3600, "s")
    series = Series(times, 3600, daily_price(24 * 90).y, "Europe/Amsterdam")  # the clock goes on on 26 March
    ridge = Ridge()
    ridge.fit(series.cut(24 * 80 + 12), 24)  # 12:00 there, 11:00 UTC
    known = series.cut(origin + 1)
    assert ridge.serves(known)
    assert np.isfinite(ridge.predict(known, 24)).all()
    assert not ridge.serves(series.cut(origin - 3))


def test_ridge__too_little_history_says_how_much_it_needs() -> None:
    with pytest.raises(ValueError, match="needs"):
        Ridge().fit(daily_price(50), 24)


def test_asinh__prices_of_either_sign_come_back() -> None:
    y = np.array([-500.0, -1.0, 0.0, 30.0, 60.0, 4000.0])
    transform = Asinh.of(y)
    np.testing.assert_allclose(transform.inverse(transform.forward(y)), y, atol=1e-9)
    assert Asinh.of(np.full(5, 3.0)).scale == 1.0
    assert Asinh.of(np.array([3.0, 3.0, 3.0, 4.0])).scale == pytest.approx(np.std([3, 3, 3, 4]))
