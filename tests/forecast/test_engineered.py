"""The feature table: complete, named, right by hand, and blind to what comes after the origin."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gridpilot.forecast.engineered import FEATURES, LOOKBACK_H, NAMES, engineered, select
from tests.forecast.conftest import market, spoiled


def test_table__104_named_features_in_seven_categories() -> None:
    wanted = {"temporal": 18, "price": 36, "technical": 12, "regime": 8, "lag": 16, "volume": 6, "interaction": 8}
    assert Counter(feature.category for feature in FEATURES) == wanted
    assert len(set(NAMES)) == 104
    assert all(feature.formula and feature.unit and feature.known for feature in FEATURES)


def column(x: np.ndarray, name: str) -> np.ndarray:
    return x[:, :, NAMES.index(name)]


def test_engineered__values_by_hand() -> None:
    series = market(60)
    o = np.array([24 * 50 - 1])
    x, y = engineered(series, o, 24), series.y
    day = y[o[0] - 23 : o[0] + 1]
    assert np.allclose(column(x, "price_ma_24h"), day.mean())
    assert np.allclose(column(x, "price_volatility_24h"), day.std())
    assert np.allclose(column(x, "price_lag_1h"), y[o[0]])
    assert np.allclose(column(x, "price_lag_12h"), y[o[0] - 11])
    assert np.allclose(column(x, "price_same_hour_1d")[0], day)
    assert np.allclose(column(x, "price_same_hour_7d")[0], y[o[0] - 167 : o[0] - 143])
    assert np.array_equal(column(x, "hour")[0], np.arange(24))
    assert set(column(x, "day_of_week")[0]) == {0.0}  # Monday 20 February 2023
    assert np.allclose(
        column(x, "price_return_24h"), (y[o[0]] - y[o[0] - 24]) / np.abs(y[o[0] - 167 : o[0] + 1]).mean()
    )
    up = np.diff(y[o[0] - 14 : o[0] + 1])
    assert np.allclose(column(x, "rsi_14h"), up.clip(0).sum() / np.abs(up).sum())
    assert np.allclose(column(x, "volatility_peak"), column(x, "is_peak_hours") * day.std())


def test_engineered__without_a_volume_says_so_and_with_one_has_all() -> None:
    series, o = market(60), np.array([24 * 50 - 1])
    volume = np.arange(1.0, len(series) + 1)
    missing = [name for name, values in zip(NAMES, engineered(series, o, 3)[0, 0], strict=True) if np.isnan(values)]
    assert missing == [feature.name for feature in FEATURES if feature.category == "volume"]
    full = engineered(series, o, 3, volume)
    assert np.all(np.isfinite(full))
    weights, prices = volume[o[0] - 23 : o[0] + 1], series.y[o[0] - 23 : o[0] + 1]
    assert np.allclose(column(full, "volume_weighted_price"), np.sum(weights * prices) / weights.sum())


@pytest.mark.parametrize("step_s", [3600, 900])
def test_engineered__future_corrupted_changes_no_bit(step_s: int) -> None:
    series = market(45, step_s, zone="Europe/Amsterdam", start="2023-02-24")  # with a clock change
    per = series.season
    origins = np.array([per * 33 - 1, per * 40 + 5])
    assert origins[0] >= LOOKBACK_H * 3600 // step_s
    for k, origin in enumerate(origins):
        again = engineered(spoiled(series, int(origin) + 1), origins, per)
        assert np.array_equal(engineered(series, origins, per)[: k + 1], again[: k + 1], equal_nan=True)


def test_select__keeps_what_varies_and_correlates_and_no_twins() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    strong, weak = y + rng.normal(0, 0.3, 500), y + rng.normal(0, 3, 500)
    x = np.stack([np.ones(500), weak, strong, strong * 2 + 1, np.full(500, np.nan), rng.normal(size=500)], axis=1)
    assert select(x, y, 3) == [2, 1, 5] or select(x, y, 3) == [3, 1, 5]
    assert select(x, np.ones(500), 2) == [1, 2]
    assert select(x[:, [0]], y) == []
