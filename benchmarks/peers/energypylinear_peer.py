"""The shared battery problem in energypylinear: problem JSON on stdin, {objective, first_ms, again_ms} on stdout.

It builds a mixed-integer problem anew on each call, with a binary for the direction of the battery in each step.
"""

import json
import sys
import time

import energypylinear as epl
import numpy as np

problem = json.load(sys.stdin)
prices, times = np.array(problem["price_usd_per_kwh"]), []
for run in range(problem["runs"] + 1):
    began = time.perf_counter()
    asset = epl.Battery(
        power_mw=problem["power_kw"] / 1000.0,
        capacity_mwh=problem["capacity_kwh"] / 1000.0,
        efficiency_pct=problem["efficiency_charge"],
        initial_charge_mwh=problem["soc"] * problem["capacity_kwh"] / 1000.0,
        final_charge_mwh=problem["soc"] * problem["capacity_kwh"] / 1000.0,
        electricity_prices=1000.0 * prices * (1.0 + 1e-6 * run),
        freq_mins=problem["step_s"] // 60,
    )
    out = asset.optimize(objective="price", verbose=False)
    times.append(1000.0 * (time.perf_counter() - began))
table = out.results
net = (table["battery-electric_discharge_mwh"] - table["battery-electric_charge_mwh"]).to_numpy() * 1000.0
money = float(np.sum(prices * net))
json.dump({"objective": money, "first_ms": times[0], "again_ms": float(np.median(times[1:]))}, sys.stdout)
