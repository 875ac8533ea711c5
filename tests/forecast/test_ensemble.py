"""The issued forecast: honest about what it knows, the same every time, never blind to a failed model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from gridpilot.domain import Band, Forecast, PriceHistory
from gridpilot.errors import DataError
from gridpilot.forecast.ensemble import calibration_origins, forecast, forecast_prices, prepare
from gridpilot.forecast.features import Series
from gridpilot.forecast.models import MODELS, LastValue
from gridpilot.values import Array

DAYS = 100


def history(n: int = 24 * DAYS, step_s: int = 3600, **prices: Array) -> PriceHistory:
    """A day-and-week price with noise, a hashprice that walks, a constant token price."""
    rng = np.random.default_rng(11)
    seconds = np.arange(n) * step_s
    season = 20 * np.sin(2 * np.pi * seconds / 86_400) - 15 * np.isin(seconds // 86_400 % 7, (5, 6))
    values = {
        "energy_usd_per_mwh": 60 + season + rng.normal(0, 5, n),
        "hash_price": 60 + np.cumsum(rng.normal(0, 0.05, n)),
        "token_price": np.full(n, 0.6),
    }
    times = np.datetime64("2024-01-01", "s") + seconds.astype("timedelta64[s]")
    return PriceHistory("test", times, step_s, **{**values, **prices})


def codes(result: Forecast) -> set[str]:
    return {flag.code for flag in result.flags}


def assert_sound(band: Band, horizon: int) -> None:
    assert band.point.shape == (horizon,)
    stack = np.stack([band.quantiles[q] for q in sorted(band.quantiles)])
    assert np.all(np.isfinite(stack))
    assert np.all(np.diff(stack, axis=0) >= 0)
    assert np.array_equal(band.lower, band.quantiles[0.1])
    assert np.array_equal(band.upper, band.quantiles[0.9])
    assert np.all((band.lower <= band.point) & (band.point <= band.upper))
    assert np.all(np.isfinite(band.sigma))


def same(one: Forecast, other: Forecast) -> bool:
    bands = all(
        np.array_equal(getattr(getattr(one, price), part), getattr(getattr(other, price), part), equal_nan=True)
        for price in ("energy", "hash", "token")
        for part in ("point", "lower", "upper", "sigma")
    )
    paths = all(np.array_equal(one.paths[price], other.paths[price], equal_nan=True) for price in one.paths)
    return bands and paths and one.scores == other.scores and one.timestamp.tolist() == other.timestamp.tolist()


def test_forecast__hourly_history_gives_sound_bands_scores_and_paths() -> None:
    given = history()
    result = forecast_prices(given, 24, timezone="Europe/Amsterdam", n_paths=150)
    for price in ("energy", "hash", "token"):
        assert_sound(getattr(result, price), 24)
        assert result.paths[price].shape == (150, 24)
    assert result.timestamp[0] == given.timestamp[-1] + np.timedelta64(3600, "s")
    assert result.n_history == len(given)
    assert set(result.scores["energy"]) == {*MODELS, "mix"}
    assert set(result.energy.members) == set(MODELS)
    assert result.scores["energy"]["ridge"] < result.scores["energy"]["last value"]
    assert result.score_days == 33.0
    assert result.hash.sigma.mean() > 0.0


def test_forecast__same_input_gives_the_same_bits_and_another_seed_other_paths() -> None:
    first, second = (forecast_prices(history(), 24, seed=5) for _ in range(2))
    assert same(first, second)
    other = forecast_prices(history(), 24, seed=6)
    assert np.array_equal(first.energy.point, other.energy.point)
    assert not np.array_equal(first.paths["energy"], other.paths["energy"])


@pytest.mark.parametrize("known", [30, 24 * 8, 24 * 50, 24 * 70 + 7])
def test_forecast__future_corrupted_then_cut_gives_identical_bits(known: int) -> None:
    clean = history()
    spoiled = {}
    for name in ("energy_usd_per_mwh", "hash_price", "token_price"):
        values = getattr(clean, name).copy()
        values[known:] = np.linspace(-1e5, 1e5, len(clean) - known)
        spoiled[name] = values
    pair = [clean, dataclasses.replace(clean, **spoiled)]
    cuts = [
        PriceHistory(
            "test", h.timestamp[:known], 3600, h.energy_usd_per_mwh[:known], h.hash_price[:known], h.token_price[:known]
        )
        for h in pair
    ]
    assert same(forecast_prices(cuts[0], 24), forecast_prices(cuts[1], 24))


def odd(name: str) -> PriceHistory:
    base = history().energy_usd_per_mwh.copy()
    if name == "spike":
        base[-2] *= 100.0
    elif name == "level shift":
        base[24 * 60 :] += 500.0
    elif name == "negative":
        base -= 80.0
    elif name == "one other value":
        base[:] = 50.0
        base[3] = 51.0
    elif name == "constant":
        base[:] = 50.0
    return history(energy_usd_per_mwh=base)


@pytest.mark.parametrize("horizon", [1, 24, 36])
@pytest.mark.parametrize("name", ["spike", "level shift", "negative", "one other value", "constant"])
def test_forecast__odd_prices_never_raise_and_never_give_nan(name: str, horizon: int) -> None:
    result = forecast_prices(odd(name), horizon, timezone="Europe/Amsterdam")
    assert_sound(result.energy, horizon)
    assert np.all(np.isfinite(result.paths["energy"]))
    assert "MODEL_SKIPPED" not in codes(result)


@pytest.mark.parametrize("n", [1, 2, 3, 23, 25, 60, 100, 24 * 10, 24 * 41, 24 * 42, 24 * 43 + 5])
def test_forecast__any_length_of_history_gives_sound_bands(n: int) -> None:
    result = forecast_prices(history(n), 24)
    assert_sound(result.energy, 24)
    assert "MODEL_SKIPPED" not in codes(result)


def test_forecast__short_five_minute_history_is_labelled_cold_start() -> None:
    rng = np.random.default_rng(4)
    prices = {name: 3 + np.cumsum(rng.normal(0, 0.1, 147)) for name in ("energy_usd_per_mwh", "hash_price")}
    result = forecast_prices(history(147, 300, **prices), 288)
    assert result.energy.method == "last value (cold start)"
    assert "COLD_START" in codes(result)
    assert result.scores == {}
    width = result.energy.upper - result.energy.lower
    assert width[3] > 1.5 * width[0]
    assert np.ptp(result.paths["energy"][:, 11]) > np.ptp(result.paths["energy"][:, 0])


def test_forecast__models_join_as_history_grows() -> None:
    joined = [set(forecast_prices(history(24 * days), 24).energy.members) for days in (2, 4, 30)]
    assert joined == [{"last value"}, {"last value", "seasonal naive"}, set(MODELS)]


def test_forecast__constant_price_has_a_band_of_no_width_and_a_flag() -> None:
    result = forecast_prices(history(), 24)
    assert result.token.method == "constant"
    assert np.all(result.token.upper == 0.6)
    assert np.all(result.token.lower == 0.6)
    assert np.all(result.paths["token"] == 0.6)
    assert next(flag.message for flag in result.flags if flag.code == "CONSTANT").startswith("token price")


def test_forecast__price_that_the_source_lacks_is_nan_and_named() -> None:
    result = forecast_prices(history(hash_price=np.full(24 * DAYS, np.nan)), 24)
    assert result.hash.method == "no price"
    assert np.all(np.isnan(result.hash.point))
    assert np.all(np.isnan(result.paths["hash"]))
    assert_sound(result.energy, 24)


def test_prepare__unknown_values_are_carried_forward_with_a_flag() -> None:
    hash_price = history().hash_price.copy()
    hash_price[:50] = np.nan
    hash_price[60:63] = np.nan
    prepared = prepare(history(hash_price=hash_price))
    assert len(prepared.series["hash"]) == 24 * DAYS - 50
    assert prepared.series["hash"].y[10:13].tolist() == [hash_price[59]] * 3
    flag = prepared.flags[0]
    assert (flag.code, flag.count, flag.stage) == ("GAP_FILLED", 3, "forecast")


def test_prepare__unknown_zone_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="timezone is 'Mars/Base'"):
        prepare(history(), "Mars/Base")


@pytest.mark.parametrize("bad", [{"horizon": 0}, {"horizon": 24, "n_paths": 0}])
def test_forecast__no_steps_or_no_paths_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected 1 or more"):
        forecast_prices(history(48), **bad)


class Broken(LastValue):
    """A model that goes wrong in a chosen way."""

    name = "broken"

    def __init__(self, result: Callable[[int], Array]) -> None:
        self.result = result

    def predict(self, series: Series, horizon: int) -> Array:
        return self.result(horizon)


def raising(horizon: int) -> Array:
    raise FloatingPointError("the matrix is singular")


BREAKS = {
    "raises": raising,
    "NaN": lambda horizon: np.full(horizon, np.nan),
    "wrong length": lambda horizon: np.zeros(horizon + 1),
}


@pytest.mark.parametrize("how", BREAKS)
def test_forecast__failing_model_is_left_out_with_a_flag(how: str) -> None:
    models = {**MODELS, "broken": lambda: Broken(BREAKS[how])}
    result = forecast(prepare(history()), 24, models=models)
    assert "broken" not in result.energy.members
    skipped = [flag for flag in result.flags if flag.code == "MODEL_SKIPPED"]
    assert len(skipped) == 2  # energy and hash; the token price is constant
    assert all("broken left out" in flag.message and flag.stage == "forecast" for flag in skipped)
    assert {flag.severity for flag in skipped} == {"info"}  # nothing for an operator to do
    assert same(result, forecast_prices(history(), 24))


def test_forecast__all_models_failing_falls_back_to_the_last_value() -> None:
    given = history()
    result = forecast(prepare(given), 24, models={"broken": lambda: Broken(raising)})
    assert codes(result) >= {"MODEL_SKIPPED", "FALLBACK"}
    assert result.energy.method == "last value"
    assert np.all(result.energy.point == given.energy_usd_per_mwh[-1])
    assert_sound(result.energy, 24)


def test_paths__errors_of_one_origin_stay_together_across_prices() -> None:
    given = history()
    linked = history(hash_price=given.energy_usd_per_mwh / 10.0)
    paths = forecast_prices(linked, 24, n_paths=60).paths
    np.testing.assert_allclose(paths["hash"], paths["energy"] / 10.0, rtol=1e-6)


def test_paths__spread_matches_the_band() -> None:
    result = forecast_prices(history(), 24, n_paths=400)
    inside = (result.paths["energy"] >= result.energy.lower) & (result.paths["energy"] <= result.energy.upper)
    assert 0.75 <= inside.mean() <= 0.9


def test_bands__seasonal_price_is_covered_at_about_eighty_percent() -> None:
    whole, inside = history(24 * 130), []
    for day in range(90, 129, 2):
        n = 24 * day
        cut = PriceHistory(
            "test", whole.timestamp[:n], 3600, whole.energy_usd_per_mwh[:n], np.full(n, np.nan), np.full(n, 1.0)
        )
        band = forecast_prices(cut, 24).energy
        truth = whole.energy_usd_per_mwh[n : n + 24]
        inside.append((band.lower <= truth) & (truth <= band.upper))
    assert 0.72 <= np.mean(inside) <= 0.9


@pytest.mark.parametrize("n", [40, 24 * 3, 24 * 42, 24 * 90 + 13, 24 * 400])
@pytest.mark.parametrize("horizon", [1, 24, 30])
def test_calibration_origins__all_targets_are_known_and_a_day_comes_first(n: int, horizon: int) -> None:
    given = history(n)
    origins = calibration_origins(Series(given.timestamp, 3600, given.energy_usd_per_mwh), horizon)
    if len(origins):
        assert origins[-1] + horizon <= n - 1
        assert origins[0] >= 24
        assert len(set(np.diff(origins).tolist())) == 1
    if n >= 24 * 42 and n % 24 == 0:
        assert np.all((n - 1 - origins) % 24 == 0)


def test_prepare__outside_series__unknown_future_is_taken_from_a_week_before_and_said() -> None:
    n, day = 24 * 20, 24
    stamps = np.datetime64("2024-05-01", "s") + np.arange(n) * np.timedelta64(3600, "s")
    load = np.arange(float(n))
    blank = np.full(n, np.nan)
    ahead = np.concatenate([np.arange(900.0, 910.0), [np.nan], np.arange(911.0, 920.0)])
    given = PriceHistory(
        "test", stamps, 3600, np.sin(load), blank, blank, columns={"load": load}, ahead={"load": ahead}
    )
    found = prepare(given, exog=["load"], horizon=day)
    future = found.clock.exog[n : n + day, 0]
    assert found.clock.lead >= day
    assert future[:10].tolist() == list(range(900, 910))
    assert future[10] == load[n + 10 - 7 * day]
    assert future[20:24].tolist() == [load[n + i - 7 * day] for i in range(20, 24)]
    (flag,) = [flag for flag in found.flags if flag.code == "EXOG_FILLED"]
    assert flag.count == 5
    assert prepare(given).clock.exog.shape[1] == 1  # what is known ahead is used unasked
    with pytest.raises(DataError, match="no column 'wind'"):
        prepare(given, exog=["wind"])
