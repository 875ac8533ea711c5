"""What stored energy is worth, by what may come next."""

from __future__ import annotations

import numpy as np
import pytest

from gridpilot.domain import Battery
from gridpilot.plan import merge, worth
from gridpilot.plan.merge import Store

BATTERY = Battery(charge_kw=1000.0, discharge_kw=1000.0)
STORE = Store.of(BATTERY, 1.0)


def test_end_worth__of_one_day_is_that_days_value() -> None:
    price = np.random.default_rng(3).uniform(0.01, 0.2, 24)
    what = merge.trade(price, 1000.0)
    slope, width = worth.end_worth(STORE, [(what, 2.0)], 0.03)
    gained = float(slope @ width)
    full, empty = (
        merge.solve(STORE, what, at, *merge.flat_end(STORE, at, 0.03)).bound_usd for at in (STORE.high, STORE.low)
    )
    assert gained == pytest.approx(full - empty, rel=1e-9)
    assert np.all(np.diff(slope) <= 1e-12)


def test_end_worth__two_days_give_the_weighted_mean() -> None:
    days = [merge.trade(np.full(24, level), 1000.0) for level in (0.02, 0.10)]
    low, high, both = (
        float(np.dot(*worth.end_worth(STORE, chosen, 0.0)))
        for chosen in ([(days[0], 1.0)], [(days[1], 1.0)], [(days[0], 3.0), (days[1], 1.0)])
    )
    assert both == pytest.approx(0.75 * low + 0.25 * high)


def wandering(days: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A forecast with a day's shape and a price that wanders from it [$/MWh]."""
    rng = np.random.default_rng(seed)
    forecast = np.tile(40.0 + 25.0 * np.sin(np.arange(24) / 24 * 2 * np.pi), days)
    x = np.zeros(len(forecast))
    for i in range(1, len(x)):
        x[i] = 0.8 * x[i - 1] + rng.normal(0.0, 0.2)
    return forecast * (1.0 + x), forecast


def learnt(price: np.ndarray, forecast: np.ndarray) -> worth.Chain:
    first = worth.learn_chain(price, forecast, np.zeros(len(price), dtype=np.int64), 24)
    return worth.learn_chain(price, forecast, first.states(price, forecast), 24)


def test_chain__states_persist_and_mean_what_they_are() -> None:
    price, forecast = wandering(120)
    chain = learnt(price, forecast)
    assert np.allclose(chain.moves.sum(axis=1), 1.0)
    assert chain.moves[0, 0] > chain.moves[5, 0]
    assert chain.moves[-3, -4:].sum() > chain.moves[3, -4:].sum()
    prices = chain.prices(np.array([40.0]))[0]
    assert np.all(np.diff(prices[1:8]) > 0.0)
    assert prices[0] < 40.0 < prices[-1]


def test_walk__waiting_for_better_prices_beats_following_the_forecast() -> None:
    price, forecast = wandering(200, seed=4)
    start = 120 * 24
    chain = learnt(price[:start], forecast[:start])
    energy, ours, plain = 500.0, 0.0, 0.0
    plain_energy = 500.0
    for day in range(start, start + 60 * 24, 24):
        ahead = np.tile(forecast[day : day + 24], 2)
        curves = merge.curves(STORE, merge.trade(chain.prices(ahead).ravel() / 1000.0, 1000.0))
        end = np.full(worth.CELLS, worth.flat_worth(BATTERY, ahead / 1000.0))
        waiting = worth.waiting_worth(STORE, chain, curves, end)[:24]
        assert np.all(np.diff(waiting, axis=2) <= 1e-12)
        real = merge.trade(price[day : day + 24] / 1000.0, 1000.0)
        states = chain.states(price[day : day + 24], forecast[day : day + 24])
        out, stored = worth.walk(STORE, real, states, waiting, energy)
        assert np.all((stored >= STORE.low - 1e-9) & (stored <= STORE.high + 1e-9))
        ours += merge.step_profit(STORE, real, out).sum()
        energy = stored[-1]
        followed = merge.solve(
            STORE, merge.trade(ahead / 1000.0, 1000.0), plain_energy, *merge.flat_end(STORE, plain_energy, end[0])
        )
        plain += merge.step_profit(STORE, real, followed.out[:24]).sum()
        plain_energy = followed.stored[23]
    assert ours > 1.05 * plain > 0.0


def test_walk__a_price_decides_nothing_before_it_is_known() -> None:
    price, forecast = wandering(130, seed=5)
    start = 120 * 24
    chain = learnt(price[:start], forecast[:start])
    day = slice(start, start + 24)
    curves = merge.curves(STORE, merge.trade(chain.prices(np.tile(forecast[day], 2)).ravel() / 1000.0, 1000.0))
    waiting = worth.waiting_worth(STORE, chain, curves, np.full(worth.CELLS, 0.04))[:24]

    def walked(prices: np.ndarray) -> np.ndarray:
        real = merge.trade(prices / 1000.0, 1000.0)
        return worth.walk(STORE, real, chain.states(prices, forecast[day]), waiting, 500.0)[0]

    changed = price[day].copy()
    changed[15:] *= 9.0
    assert np.array_equal(walked(price[day])[:15], walked(changed)[:15])
