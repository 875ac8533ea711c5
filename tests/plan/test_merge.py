"""Slope merging against HiGHS: the same money on random problems, a bound where the problem is not convex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from gridpilot.domain import Battery
from gridpilot.plan import merge
from gridpilot.plan.gridded import best_plan
from gridpilot.plan.merge import Store

SOFT_TIMES = 10.0


@dataclass(frozen=True)
class Case:
    battery: Battery
    step_h: float
    buy: np.ndarray
    sell: np.ndarray
    import_kwh: np.ndarray
    export_kwh: np.ndarray
    value: np.ndarray
    kwh: np.ndarray
    start: float
    worth: float
    soft: float

    @property
    def store(self) -> Store:
        return Store.of(self.battery, self.step_h, self.soft)

    def merged(self) -> merge.Found:
        what = merge.uses(self.buy, self.sell, self.import_kwh, self.export_kwh, self.value, self.kwh)
        return merge.solve(self.store, what, self.start, *merge.flat_end(self.store, self.start, self.worth))

    def by_highs(self, apart: bool = False) -> float:
        """The optimum above the worth of the lowest energy; `apart`: never charge and discharge at once (a MILP).

        Columns: charge, discharge, import, export, stored, below, above, on, loads; T of each.
        """
        store, steps, loads = self.store, len(self.buy), self.value.shape[1]
        lowest, highest = min(store.low, self.start), max(store.high, self.start)
        eye, zero, full = np.eye(steps), np.zeros((steps, steps)), np.ones(steps)
        before = np.eye(steps, k=-1)
        blank = [zero] * loads
        balance = np.hstack([-eye, eye, eye, -eye, zero, zero, zero, zero, *[-eye] * loads])
        kept = np.hstack([-store.eta_c * eye, eye / store.eta_d, zero, zero, eye - before, zero, zero, zero, *blank])
        below = np.hstack([zero, zero, zero, zero, eye, eye, zero, zero, *blank])
        above = np.hstack([zero, zero, zero, zero, eye, zero, -eye, zero, *blank])
        either = np.hstack([eye, zero, zero, zero, zero, zero, zero, -store.charge * eye, *blank])
        other = np.hstack([zero, eye, zero, zero, zero, zero, zero, store.discharge * eye, *blank])
        wear, soft = np.full(steps, -store.wear), np.full(steps, -self.soft)
        money = np.concatenate([wear, wear, -self.buy, self.sell, 0 * full, soft, soft, 0 * full, *self.value.T])
        money[5 * steps - 1] += self.worth
        first = np.zeros(steps)
        first[0] = self.start
        rules = [
            LinearConstraint(balance, 0.0, 0.0),
            LinearConstraint(kept, first, first),
            LinearConstraint(below, store.low, np.inf),
            LinearConstraint(above, -np.inf, store.high),
        ]
        if apart:
            rules += [LinearConstraint(either, -np.inf, 0.0), LinearConstraint(other, -np.inf, store.discharge)]
        most = [store.charge * full, store.discharge * full, self.import_kwh, self.export_kwh, highest * full]
        most += [np.inf * full, np.inf * full, full, *self.kwh.T]
        least = np.zeros(len(money))
        least[4 * steps : 5 * steps] = lowest
        whole = np.zeros(len(money))
        whole[7 * steps : 8 * steps] = float(apart)
        found = milp(-money, constraints=rules, bounds=Bounds(least, np.concatenate(most)), integrality=whole)
        assert found.status == 0, found.message
        return -float(found.fun) - self.worth * lowest


def case(rng: np.random.Generator, lowest_price: float) -> Case:
    steps, loads, step_h = int(rng.integers(1, 25)), int(rng.integers(0, 4)), float(rng.choice([1.0, 0.25]))
    capacity = float(rng.choice([0.0, 500.0, 1000.0]))
    battery = Battery(
        capacity_kwh=capacity,
        charge_kw=float(rng.choice([0.0, 100.0, 1000.0])),
        discharge_kw=float(rng.choice([0.0, 250.0, 1000.0])),
        efficiency_charge=float(rng.uniform(0.8, 1.0)),
        efficiency_discharge=float(rng.uniform(0.8, 1.0)),
        wear_usd_per_kwh=float(rng.choice([0.0, 0.0002, 0.01])),
    )
    price = np.maximum(rng.normal(0.05, 0.08, steps), lowest_price)
    band = (0.0, 1.0) if rng.random() < 0.3 else (0.15, 0.90)
    return Case(
        battery,
        step_h,
        price + float(rng.choice([0.0, 0.01])),
        price,
        np.full(steps, float(rng.choice([0.0, 300.0, 1000.0]))) * step_h,
        np.full(steps, float(rng.choice([0.0, 300.0, 1000.0]))) * step_h,
        rng.uniform(min(0.0, lowest_price), 0.15, (steps, loads)),
        rng.uniform(0.0, 400.0, (steps, loads)) * step_h,
        float(rng.uniform(*band)) * capacity,
        float(rng.uniform(0.0, 0.1)),
        SOFT_TIMES * 0.5,
    )


def check_equal(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        one = case(rng, 0.0)
        outside = not one.store.low <= one.start <= one.store.high  # a linear program would burn what is too much
        found, best = one.merged(), one.by_highs(apart=outside)
        assert found.exact
        assert found.bound_usd == pytest.approx(best, rel=1e-9, abs=1e-6 if outside else 1e-9)
        assert found.value_usd == pytest.approx(best, rel=1e-9, abs=1e-6 if outside else 1e-9)
        lowest, highest = min(one.store.low, one.start), max(one.store.high, one.start)
        assert np.all(found.stored >= lowest - 1e-9)
        assert np.all(found.stored <= highest + 1e-9)
        assert np.allclose(np.diff(np.concatenate([[one.start], found.stored])), -found.out, atol=1e-9)
        terminal = merge.terminal(one.store, found.out)
        assert np.all(terminal <= one.store.discharge + 1e-9)
        assert np.all(-terminal <= one.store.charge + 1e-9)


def test_solve__equals_highs_on_random_problems() -> None:
    check_equal(11, 60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_solve__equals_highs_on_thousands_of_random_problems(seed: int) -> None:
    check_equal(seed, 500)


def test_solve__negative_prices_bound_the_mixed_integer_optimum_and_say_when_they_reach_it() -> None:
    rng, exact = np.random.default_rng(12), 0
    for _ in range(40):
        one = case(rng, -0.2)
        found, best = one.merged(), one.by_highs(apart=True)
        assert found.bound_usd >= best - 1e-6
        assert found.value_usd <= best + 1e-6
        if found.exact:
            exact += 1
            assert found.value_usd == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert exact >= 20


def test_best_plan__far_below_zero_is_the_mixed_integer_optimum_but_for_the_levels() -> None:
    rng, harder, none = np.random.default_rng(13), 0, np.empty((24, 0))
    for _ in range(12):
        battery = Battery(charge_kw=float(rng.choice([250.0, 1000.0])), discharge_kw=float(rng.choice([400.0, 1000.0])))
        price, limit = rng.normal(-0.02, 0.03, 24), np.full(24, 1000.0)
        one = Case(battery, 1.0, price, price, limit, limit, none, none, float(rng.uniform(150.0, 900.0)), 0.0, 0.0)
        what = merge.trade(price, 1000.0)
        found = best_plan(one.store, what, one.start, *merge.flat_end(one.store, one.start, 0.0))
        best = one.by_highs(apart=True)
        harder += not found.exact
        assert best - 0.02 * abs(best) <= found.value_usd <= best + 1e-6
        assert found.value_usd >= one.merged().value_usd - 1e-9
        assert np.allclose(np.diff(np.concatenate([[one.start], found.stored])), -found.out, atol=1e-9)
    assert harder >= 6


def test_solve__flat_prices_leave_the_battery_at_rest() -> None:
    store = Store.of(Battery(), 1.0)
    what = merge.trade(np.full(24, 0.05), 1000.0)
    found = merge.solve(store, what, 500.0, *merge.flat_end(store, 500.0, 0.05 * 0.94))
    assert np.array_equal(found.out, np.zeros(24))


def test_solve__marginal_is_what_one_more_stored_kwh_brings() -> None:
    rng = np.random.default_rng(1)
    store, price = Store.of(Battery(), 1.0), rng.uniform(0.01, 0.2, 24)
    what = merge.trade(price, 1000.0)
    found = merge.solve(store, what, 430.0, *merge.flat_end(store, 430.0, 0.03))
    inner = [t for t in range(23) if store.low + 1.0 < found.stored[t] < store.high - 1.0]
    assert inner
    for t in inner:
        rest, at = merge.trade(price[t + 1 :], 1000.0), float(found.stored[t])
        less, same, more = (
            merge.solve(store, rest, at + d, *merge.flat_end(store, at + d, 0.03)).bound_usd for d in (-0.5, 0.0, 0.5)
        )
        assert 2.0 * (more - same) - 1e-9 <= found.marginal[t] <= 2.0 * (same - less) + 1e-9


def test_loads_kwh__dearest_first_and_what_is_left_is_exported() -> None:
    what = merge.uses(
        np.array([0.05]), np.array([0.05]), np.array([100.0]), np.array([100.0]),
        np.array([[0.02, 0.20, 0.08]]), np.array([[50.0, 60.0, 70.0]]),
    )  # fmt: skip
    assert merge.loads_kwh(what, np.array([0.0])).tolist() == [[0.0, 60.0, 40.0]]
    assert merge.loads_kwh(what, np.array([50.0])).tolist() == [[0.0, 60.0, 70.0]]
    assert merge.loads_kwh(what, np.array([-60.0])).tolist() == [[0.0, 40.0, 0.0]]


def test_value_ahead__is_the_bound_of_the_whole() -> None:
    store, price = Store.of(Battery(), 1.0), np.random.default_rng(2).uniform(0.01, 0.2, 48)
    end = merge.flat_end(store, 400.0, 0.04)
    slope, width, value = merge.value_ahead(store, merge.trade(price, 1000.0), *end)
    found = merge.solve(store, merge.trade(price, 1000.0), 400.0, *end)
    inside = np.clip(400.0 - store.low - (np.cumsum(width) - width), 0.0, width)
    assert value + slope @ inside == pytest.approx(found.bound_usd, rel=1e-12)
    assert np.all(np.diff(slope) <= 0.0)
