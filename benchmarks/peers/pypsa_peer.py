"""The shared battery problem in PyPSA: problem JSON on stdin, {objective, first_ms, again_ms} on stdout.

PyPSA is for whole power systems: here one bus, a market as a generator in both directions and a storage unit.
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pypsa

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
problem = json.load(sys.stdin)
prices, hours, times = np.array(problem["price_usd_per_kwh"]), problem["step_s"] / 3600.0, []
for run in range(problem["runs"] + 1):
    began = time.perf_counter()
    net = pypsa.Network()
    net.set_snapshots(pd.date_range("2024-01-01", periods=len(prices), freq=f"{problem['step_s']}s"))
    net.snapshot_weightings = net.snapshot_weightings.astype(float) * hours
    net.add("Bus", "site")
    cost = pd.Series(prices * (1.0 + 1e-6 * run), net.snapshots)
    net.add("Generator", "market", bus="site", p_nom=1e5, p_min_pu=-1.0, marginal_cost=cost)
    net.add(
        "StorageUnit", "battery", bus="site", p_nom=problem["power_kw"],
        max_hours=problem["capacity_kwh"] / problem["power_kw"], efficiency_store=problem["efficiency_charge"],
        efficiency_dispatch=1.0, cyclic_state_of_charge=False,
        state_of_charge_initial=problem["soc"] * problem["capacity_kwh"],
        state_of_charge_set=pd.Series(
            [np.nan] * (len(prices) - 1) + [problem["soc"] * problem["capacity_kwh"]], net.snapshots
        ),
    )  # fmt: skip
    net.optimize(solver_name="highs", io_api="direct", output_flag=False, threads=1, log_to_console=False)
    times.append(1000.0 * (time.perf_counter() - began))
power = net.storage_units_t.p["battery"].to_numpy()
money = float(np.sum(prices * power) * hours)
json.dump({"objective": money, "first_ms": times[0], "again_ms": float(np.median(times[1:]))}, sys.stdout)
