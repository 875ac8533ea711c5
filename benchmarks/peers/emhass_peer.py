"""The shared battery problem in emhass: problem JSON on stdin, {objective, first_ms, again_ms} on stdout.

emhass keeps its cvxpy problem between calls and states a more general one: binaries for the direction of battery and
grid, curtailment, deferrable loads.
"""

import json
import logging
import pathlib
import sys
import time

import emhass
import numpy as np
import pandas as pd
from emhass.optimization import Optimization

problem = json.load(sys.stdin)
prices, n = np.array(problem["price_usd_per_kwh"]), len(problem["price_usd_per_kwh"])
folder = pathlib.Path(emhass.__file__).parent
conf = json.loads((folder / "data" / "config_defaults.json").read_text())
watts, eta = 1000.0 * problem["power_kw"], problem["efficiency_charge"]
conf |= {
    "optimization_time_step": pd.Timedelta(seconds=problem["step_s"]),
    "time_zone": "UTC",
    "delta_forecast_daily": pd.Timedelta(seconds=problem["step_s"] * n),
    "number_of_deferrable_loads": 0,
    "set_use_battery": True,
    "set_nodischarge_to_grid": False,
    "maximum_power_from_grid": 10.0 * watts,
    "maximum_power_to_grid": 10.0 * watts,
    "battery_discharge_power_max": watts,
    "battery_charge_power_max": watts,
    "battery_discharge_efficiency": 1.0,
    "battery_charge_efficiency": eta,
    "battery_nominal_energy_capacity": 1000.0 * problem["capacity_kwh"],
    "battery_minimum_state_of_charge": 0.0,
    "battery_maximum_state_of_charge": 1.0,
    "battery_target_state_of_charge": problem["soc"],
    "lp_solver_mip_rel_gap": 1e-7,
    "num_threads": 1,
}
stamps = pd.date_range("2024-01-01", periods=n, freq=conf["optimization_time_step"], tz="UTC")
data = pd.DataFrame({"unit_load_cost": prices, "unit_prod_price": prices}, index=stamps)
nothing, log = np.zeros(n), logging.getLogger("emhass")
log.setLevel(logging.ERROR)
paths = {"data_path": pathlib.Path("/tmp"), "root_path": folder, "associations_path": folder}  # noqa: S108
engine = Optimization(conf, conf, conf, "unit_load_cost", "unit_prod_price", "profit", paths, log, num_timesteps=n)
times = []
for run in range(problem["runs"] + 1):
    shifted = prices * (1.0 + 1e-6 * run)
    began = time.perf_counter()
    out = engine.perform_optimization(
        data, nothing, nothing, shifted, shifted, soc_init=problem["soc"], soc_final=problem["soc"]
    )
    times.append(1000.0 * (time.perf_counter() - began))
power = out["P_batt"].to_numpy() / 1000.0
money = float(np.sum(prices * power) * problem["step_s"] / 3600.0)
json.dump({"objective": money, "first_ms": times[0], "again_ms": float(np.median(times[1:]))}, sys.stdout)
