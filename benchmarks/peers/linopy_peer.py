"""The shared battery problem in linopy: problem JSON on stdin, {objective, first_ms, again_ms} on stdout.

The same linear program as ours, stated anew on each call and solved by HiGHS.
"""

import json
import sys
import time
import warnings

import linopy
import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
problem = json.load(sys.stdin)
prices, hours = np.array(problem["price_usd_per_kwh"]), problem["step_s"] / 3600.0
steps, times = pd.RangeIndex(len(prices), name="t"), []
start = problem["soc"] * problem["capacity_kwh"]
for run in range(problem["runs"] + 1):
    began = time.perf_counter()
    model = linopy.Model()
    charge = model.add_variables(0.0, problem["power_kw"], coords=[steps], name="charge")
    discharge = model.add_variables(0.0, problem["power_kw"], coords=[steps], name="discharge")
    stored = model.add_variables(0.0, problem["capacity_kwh"], coords=[steps], name="stored")
    moved = hours * (problem["efficiency_charge"] * charge - discharge)
    model.add_constraints(stored - stored.shift(t=1) - moved == np.where(steps == 0, start, 0.0), name="kept")
    model.add_constraints(stored.isel(t=-1) == start, name="end")
    paid = prices * (1.0 + 1e-6 * run)
    model.add_objective((hours * paid * (charge - discharge)).sum())
    model.solve("highs", io_api="direct", output_flag=False, threads=1)
    times.append(1000.0 * (time.perf_counter() - began))
net = (discharge.solution - charge.solution).to_numpy()
money = float(np.sum(prices * net) * hours)
json.dump({"objective": money, "first_ms": times[0], "again_ms": float(np.median(times[1:]))}, sys.stdout)
