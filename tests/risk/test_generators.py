"""Scenario generators: labelled, around the forecast, correlated as the history was, refused where they don't apply."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gridpilot.domain import PriceHistory, PriceOutlook
from gridpilot.errors import DataError
from gridpilot.risk.generators import PROCESSES, fit, from_bands, persistence

N = 20_000
DAYS = 120


def history(days: int = DAYS, seed: int = 0) -> PriceHistory:
    """Energy with a daily shape, jumps and restless weeks; a hash price that moves with it; a constant token price."""
    rng = np.random.default_rng(seed)
    n = 24 * days
    restless = np.zeros(days)
    for day in range(1, days):
        restless[day] = 0.9 * restless[day - 1] + rng.normal(0.0, 0.35)
    shocks = rng.normal(0.0, 0.03, n) * np.repeat(np.exp(restless), 24)
    shocks += (rng.random(n) < 0.02) * rng.normal(0.0, 0.1, n)
    level = np.zeros(n)
    for t in range(1, n):
        level[t] = 0.9 * level[t - 1] + shocks[t]
    shape = 60.0 + 20.0 * np.sin(2.0 * np.pi * np.arange(n) / 24.0)
    energy = shape * np.exp(level)
    hashes = 60.0 * np.exp(np.cumsum(0.02 * shocks + rng.normal(0.0, 0.0006, n)))
    stamps = np.datetime64("2024-01-01", "s") + np.arange(n) * np.timedelta64(3600, "s")
    return PriceHistory("csv", stamps, 3600, energy, hashes, np.full(n, 0.6))


def outlook(past: PriceHistory, low: float = 40.0) -> PriceOutlook:
    stamps = past.timestamp[-1] + np.arange(24) * np.timedelta64(3600, "s")
    energy = low + 30.0 + 30.0 * np.sin(np.arange(24) / 4.0)
    return PriceOutlook(stamps, 3600, energy, np.full(24, 60.0), np.full(24, 0.6))


@pytest.mark.parametrize("process", PROCESSES)
def test_simulate__every_process__mean_is_the_forecast_and_the_known_step_stands(process: str) -> None:
    past = history()
    ahead = outlook(past)
    drawn = fit(process, past).simulate(ahead, N, np.random.default_rng(0))
    assert drawn.label == f"{process}, fitted to {DAYS} days"
    assert drawn.energy.shape == drawn.hash.shape == drawn.token.shape == (N, 24)
    for courses, known in ((drawn.energy, ahead.energy_usd_per_mwh), (drawn.hash, ahead.hash_price)):
        assert np.all(courses[:, 0] == known[0])
        error = courses[:, 1:].std(axis=0) / np.sqrt(N)
        assert np.all(error > 0.0) and np.all(np.abs(courses[:, 1:].mean(axis=0) - known[1:]) <= 4.5 * error)
    assert np.all(drawn.token == 0.6)  # it never moved


@pytest.mark.parametrize("process", PROCESSES)
def test_simulate__same_seed__the_same(process: str) -> None:
    past = history()
    one, other = (fit(process, past).simulate(outlook(past), 50, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one.energy, other.energy) and np.array_equal(one.hash, other.hash)


def test_fit__prices_that_moved_together__shocks_do_too() -> None:
    past = history()
    made = fit("Ornstein-Uhlenbeck", past)
    assert made.correlation[0, 1] > 0.3 and made.correlation[0, 2] == 0.0
    apart = fit("Ornstein-Uhlenbeck", replace(past, hash_price=np.roll(past.hash_price, 31)))
    assert abs(apart.correlation[0, 1]) < 0.1
    drawn = made.simulate(outlook(past), N, np.random.default_rng(1))
    first = [np.corrcoef(drawn.energy[:, 1], drawn.hash[:, 1])[0, 1], made.correlation[0, 1]]
    assert first[0] == pytest.approx(first[1], abs=4.0 / np.sqrt(N))


@pytest.mark.parametrize("process", [name for name in PROCESSES if name != "Ornstein-Uhlenbeck"])
def test_fit__negative_prices__one_line_and_ornstein_uhlenbeck_takes_them(process: str) -> None:
    past = history()
    energy = np.array(past.energy_usd_per_mwh)
    energy[7] = -12.0
    negative = replace(past, energy_usd_per_mwh=energy)
    with pytest.raises(
        DataError, match=r"does not apply: 1 of 2880 energy prices are 0 or negative, the lowest -12"
    ) as no:
        fit(process, negative)
    assert "\n" not in str(no.value)
    assert fit("Ornstein-Uhlenbeck", negative).days == DAYS


def test_simulate__ratio_meets_a_negative_forecast__refused() -> None:
    past = history()
    with pytest.raises(DataError, match="the forecast goes down to -"):
        fit("geometric Brownian motion", past).simulate(outlook(past, -40.0), 10, np.random.default_rng(0))


def test_simulate__hash_price_that_is_not_known__stays_unknown() -> None:
    past = replace(history(), hash_price=np.full(24 * DAYS, np.nan))
    ahead = replace(outlook(past), hash_price=np.full(24, np.nan))
    assert np.isnan(fit("Ornstein-Uhlenbeck", past).simulate(ahead, 10, np.random.default_rng(0)).hash).all()


def test_fit__unknown_process_short_history_or_other_step__refused() -> None:
    past = history()
    with pytest.raises(DataError, match="no process 'magic': expected one of Ornstein-Uhlenbeck"):
        fit("magic", past)
    with pytest.raises(DataError, match="5 whole days of prices, expected 8 or more"):
        fit("Heston", past.tail(130))
    ahead = replace(outlook(past), step_s=900, timestamp=past.timestamp[-1] + np.arange(24) * np.timedelta64(900, "s"))
    with pytest.raises(DataError, match="steps of 900 s"):
        fit("Ornstein-Uhlenbeck", past).simulate(ahead, 10, np.random.default_rng(0))


# --- courses within a forecast's bands -----------------------------------------------------------


def test_persistence__history__what_a_step_keeps() -> None:
    past = history()
    assert persistence(past) == pytest.approx(0.9, abs=0.05)
    few = past.tail(120)  # no daily shape yet: the shape itself is what persists
    assert persistence(few) == pytest.approx(
        np.corrcoef(few.energy_usd_per_mwh[:-1], few.energy_usd_per_mwh[1:])[0, 1], abs=0.05
    )
    with pytest.raises(DataError, match="50 values, expected a history of 100"):
        persistence(past.tail(50))


def test_from_bands__band_without_width_or_price__stays_as_it_is() -> None:
    ahead = replace(outlook(history()), hash_price=np.full(24, np.nan))
    levels = (0.1, 0.5, 0.9)
    flat, none = np.full(23, 0.6), np.full(23, np.nan)
    wide = {q: 60.0 + 40.0 * (q - 0.5) + np.zeros(23) for q in levels}
    bands = {"energy": wide, "hash": dict.fromkeys(levels, none), "token": dict.fromkeys(levels, flat)}
    drawn = from_bands(ahead, bands, 0.9, 500, np.random.default_rng(0))
    assert np.all(drawn.token == 0.6) and np.isnan(drawn.hash).all()
    assert np.all(drawn.energy[:, 0] == ahead.energy_usd_per_mwh[0]) and np.ptp(drawn.energy[:, 1]) > 40.0


@pytest.mark.parametrize("keep", [-0.1, 1.1, np.nan])
def test_from_bands__keep_out_of_bounds__refused(keep: float) -> None:
    with pytest.raises(DataError, match="expected 0 to 1"):
        from_bands(outlook(history()), {}, keep, 5, np.random.default_rng(0))
