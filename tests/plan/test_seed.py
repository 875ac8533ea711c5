"""The seed's discharge-only formula, against the same linear program solved by another route."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gridpilot.domain import Battery
from gridpilot.errors import DataError
from gridpilot.plan.seed import seed_discharge
from gridpilot.values import as_array


@settings(deadline=None, max_examples=60)
@given(prices=st.lists(st.floats(-100.0, 900.0), min_size=1, max_size=24), soc=st.floats(0.0, 1.0))
def test_seed_discharge__any_prices__is_the_optimum_of_its_formula(prices: list[float], soc: float) -> None:
    battery = Battery()
    found = seed_discharge(battery, soc, as_array(prices))
    gain = np.array(prices) / 1000.0 - battery.wear_usd_per_kwh
    room = max(0.0, (soc - battery.soc_min) * battery.capacity_kwh)
    best = linprog(-gain, A_ub=np.ones((1, len(prices))), b_ub=[room], bounds=[(0.0, 250.0)] * len(prices))
    assert float(gain @ found) == pytest.approx(-float(best.fun), abs=1e-9)


def test_seed_discharge__full_battery__empties_into_the_dearest_steps() -> None:
    found = seed_discharge(Battery(), 0.90, as_array([10.0, 200.0, 50.0, 40.0, 30.0]))
    assert found.tolist() == [0.0, 250.0, 250.0, 250.0, 0.0]


@pytest.mark.parametrize("soc", [float("nan"), 68.7])
def test_seed_discharge__bad_state__one_clear_line(soc: float) -> None:
    with pytest.raises(DataError, match="expected a fraction from 0 to 1"):
        seed_discharge(Battery(), soc, as_array([10.0]))
