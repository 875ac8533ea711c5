from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.domain import PriceHistory
from gridpilot.monitor.anomalies import CODE, Scan, newest_flag, scan
from gridpilot.values import Array, Times, as_array

HOURS = 24 * 30


def calm(hours: int = HOURS, seed: int = 3, level: float = 50.0) -> Array:
    """A month of daily seasons with noise of ten per cent of the level."""
    rng = np.random.default_rng(seed)
    season = level * (1.0 + 0.5 * np.sin(2.0 * np.pi * np.arange(hours) / 24.0))
    return as_array(season + 0.1 * level * rng.standard_normal(hours))


def stamps(n: int, step_s: int = 3600) -> Times:
    return np.datetime64("2024-03-01T00:00:00", "s") + np.arange(n) * np.timedelta64(step_s, "s")


def scanned(price: Array, step_s: int = 3600) -> Scan:
    return scan(stamps(len(price), step_s), price, step_s)


def test_scan__calm_seasonal_prices__under_one_per_cent_named() -> None:
    found = scanned(calm(24 * 120))
    assert found.anomaly[24:].mean() < 0.01
    assert not found.spike.any()


@pytest.mark.parametrize("at", [30, 200, 500, HOURS - 1])
def test_scan__price_above_ten_times_the_local_median__named_at_once(at: int) -> None:
    price = np.array(calm())
    price[at] = 10.5 * np.median(np.abs(price[max(0, at - 168) : at]))
    found = scanned(as_array(price))
    assert found.spike[at]
    assert np.flatnonzero(found.spike).tolist() == [at]


def test_scan__every_spike_of_a_long_scarcity__named_until_the_week_is_half_of_it() -> None:
    price = np.array(calm())
    price[400:470] = 4000.0
    assert scanned(as_array(price)).spike[400:470].all()


def test_scan__deep_drop_and_night_price_at_noon__out_of_season() -> None:
    price = np.array(calm())
    price[300] = -900.0
    found = scanned(as_array(price))
    assert found.season[300] and not found.spike[300]


def test_scan__half_of_the_prices_negative__level_is_of_their_size() -> None:
    price = np.array(calm(level=40.0)) * np.where(np.arange(HOURS) % 2, 1.0, -1.0)
    found = scanned(as_array(price))
    assert found.anomaly[48:].mean() < 0.01
    price[400] = 700.0
    assert scanned(as_array(price)).spike[400]


def test_scan__flat_price_then_a_cent__nothing_and_zero_says_nothing() -> None:
    assert not scanned(as_array([3.0] * 100 + [3.01])).anomaly.any()
    assert not scanned(as_array([0.0] * 100 + [5.0])).anomaly.any()


def test_scan__less_than_a_day__nothing() -> None:
    found = scanned(as_array([50.0] * 23 + [50_000.0]))
    assert not found.anomaly.any()
    assert np.isnan(found.local).all()


@given(st.integers(30, 200), st.integers(1, 80), st.floats(-1000, 5000))
@settings(deadline=None, max_examples=30)
def test_scan__whatever_comes_later__changes_no_verdict(n: int, more: int, later: float) -> None:
    price = calm(n)
    longer = as_array([*price, *([later] * more)])
    short, long = scanned(price), scanned(longer)
    for name in ("spike", "season", "local", "median", "spread"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:n])


def test_scan__newest_only__as_in_the_whole_scan() -> None:
    price = calm(400)
    whole, newest = scanned(price), scan(stamps(400), price, 3600, newest=5)
    np.testing.assert_array_equal(newest.local[-5:], whole.local[-5:])
    np.testing.assert_array_equal(newest.anomaly[-5:], whole.anomaly[-5:])
    assert np.isnan(newest.local[:-5]).all()


def test_newest_flag__spike__says_how_many_times_and_what_is_usual() -> None:
    price = as_array([*([40.0] * 50), 800.0])
    nothing = np.full(51, np.nan)
    flag = newest_flag(PriceHistory("test", stamps(51), 3600, price, nothing, nothing))
    assert flag is not None
    assert (flag.code, flag.severity) == (CODE, "warn")
    assert flag.message == "energy price is 800 USD/MWh, 20 times the 40 that is usual in a week"
    usual = as_array([40.0] * 51)
    assert newest_flag(PriceHistory("test", stamps(51), 3600, usual, nothing, nothing)) is None
