"""The battery formula of the system that GridPilot grew out of, kept as a named special case.

    maximise   sum_t (price_t / 1000 - wear) d_t
    subject to 0 <= d_t <= discharge_kw,   sum_t d_t <= (soc - soc_min) capacity_kwh

It only discharges. It has no charging, no efficiency, no time step (a kW for a step counts as a kWh) and no
value for what is left at the end, so it always empties the battery into the dearest steps. `plan` is the
planner to use; this one is for comparison.
"""

from __future__ import annotations

import math

import numpy as np

from gridpilot.domain import Battery
from gridpilot.errors import DataError
from gridpilot.values import Array, as_array

NAME = "seed: discharge only"


def seed_discharge(battery: Battery, soc_frac: float, price_usd_per_mwh: Array) -> Array:
    """Discharge in each step, kW (T,): the exact optimum of the formula above.

    The dearest steps first (the earlier of equal ones), while a kWh brings more than its wear and energy is
    left above soc_min. DataError for a state of charge outside 0..1 or a price that is not finite.
    """
    if not (math.isfinite(soc_frac) and 0.0 <= soc_frac <= 1.0):
        raise DataError(f"state of charge is {soc_frac}: expected a fraction from 0 to 1")
    if not np.all(np.isfinite(price_usd_per_mwh)):
        raise DataError("a price is not finite: clean the prices first")
    left = max(0.0, (soc_frac - battery.soc_min) * battery.capacity_kwh)
    discharge = np.zeros(len(price_usd_per_mwh))
    for step in np.argsort(-price_usd_per_mwh, kind="stable"):
        if left <= 0.0 or price_usd_per_mwh[step] / 1000.0 <= battery.wear_usd_per_kwh:
            break
        discharge[step] = min(battery.discharge_kw, left)
        left -= discharge[step]
    return as_array(discharge)
