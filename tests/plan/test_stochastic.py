"""The two-stage mean-CVaR problem against one large linear program."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from gridpilot.domain import Battery
from gridpilot.errors import DataError
from gridpilot.plan import merge
from gridpilot.plan.merge import Store
from gridpilot.plan.stochastic import Hedged, Risk, hedge

BATTERY = Battery(charge_kw=300.0, discharge_kw=400.0, wear_usd_per_kwh=0.002)
STORE = Store.of(BATTERY, 1.0)
START, WORTH, LIMIT = 430.0, 0.05, 1000.0


def courses(count: int, steps: int, seed: int) -> np.ndarray:
    """Prices that become more uncertain with time [$/kWh]."""
    rng = np.random.default_rng(seed)
    return np.abs(0.08 + np.cumsum(rng.normal(0.0, 0.03, (count, steps)), axis=1))


def hedged(price: float, ahead: np.ndarray, weight: float, alpha: float) -> Hedged:
    first, later = merge.trade(np.array([price]), LIMIT), merge.trade(ahead.ravel(), LIMIT)
    end = merge.flat_end(STORE, START, WORTH)
    return hedge(STORE, first, later, START, end, len(ahead), Risk(weight, alpha))


def by_linear_program(price: float, ahead: np.ndarray, weight: float, alpha: float) -> float:
    """Charge and discharge of each scenario and step, with one first step for all; Rockafellar and Uryasev's form."""
    count, steps = ahead.shape
    battery, n = BATTERY, 2 + 2 * count * steps  # then: the threshold and a shortfall for each scenario
    width = n + 1 + count
    gain = np.zeros((count, width))
    upper, limit = [], []
    for s in range(count):
        columns = [0, 1, *(2 + 2 * (s * steps + t) + d for t in range(steps) for d in (0, 1))]
        gain[s, 0], gain[s, 1] = -price - battery.wear_usd_per_kwh, price - battery.wear_usd_per_kwh
        stored = np.zeros(width)
        for i in range(steps + 1):
            stored[columns[2 * i]] = battery.efficiency_charge
            stored[columns[2 * i + 1]] = -1.0 / battery.efficiency_discharge
            upper += [stored.copy(), -stored.copy()]
            limit += [STORE.high - START, START - STORE.low]
            if i:
                p = ahead[s, i - 1]
                gain[s, columns[2 * i]] = -p - battery.wear_usd_per_kwh
                gain[s, columns[2 * i + 1]] = p - battery.wear_usd_per_kwh
        gain[s] += WORTH * stored
        short = -gain[s].copy()  # threshold - outcome <= shortfall
        short[n], short[n + 1 + s] = 1.0, -1.0
        upper.append(short)
        limit.append(WORTH * (START - STORE.low))
    money = (1.0 - weight) * gain.mean(axis=0)
    money[n] += weight
    money[n + 1 :] -= weight / ((1.0 - alpha) * count)
    bounds = [(0.0, battery.charge_kw), (0.0, battery.discharge_kw)] * (n // 2) + [(None, None)] + [(0.0, None)] * count
    found = linprog(-money, A_ub=np.array(upper), b_ub=limit, bounds=bounds)
    assert found.status == 0
    return -float(found.fun) + (1.0 - weight) * WORTH * (START - STORE.low)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("count", "alpha"), [(5, 0.5), (12, 0.9), (9, 0.7)])
def test_hedge__equals_the_linear_program(weight: float, count: int, alpha: float) -> None:
    for seed in range(3):
        ahead = courses(count, 6, seed)
        found = hedged(0.09, ahead, weight, alpha)
        assert found.objective_usd == pytest.approx(by_linear_program(0.09, ahead, weight, alpha), rel=1e-7, abs=1e-6)
        assert STORE.low - 1e-9 <= found.stored <= STORE.high + 1e-9
        assert found.cvar_usd <= found.mean_usd + 1e-9


def test_hedge__more_weight_on_risk_gives_better_worst_cases_and_no_better_mean() -> None:
    ahead = courses(200, 24, 5)
    plans = [hedged(0.08, ahead, weight, 0.9) for weight in (0.0, 0.5, 1.0)]
    assert plans[0].mean_usd >= plans[1].mean_usd - 1e-9 >= plans[2].mean_usd - 2e-9
    assert plans[0].cvar_usd <= plans[1].cvar_usd + 1e-9 <= plans[2].cvar_usd + 2e-9


def test_hedge__certain_flat_prices_rest() -> None:
    found = hedged(0.05, np.full((4, 12), 0.05), 0.5, 0.9)
    assert found.out == 0.0


def test_hedge__refuses_what_it_cannot_mean() -> None:
    ahead = courses(3, 4, 1)
    with pytest.raises(DataError, match="expected 0 to 1"):
        hedged(0.05, ahead, 1.5, 0.9)
    first, later = merge.trade(np.array([0.05]), LIMIT), merge.trade(ahead.ravel(), LIMIT)
    with pytest.raises(DataError, match="bring it back first"):
        hedge(STORE, first, later, 20.0, merge.flat_end(STORE, START, 0.0), 3, Risk(0.5))
