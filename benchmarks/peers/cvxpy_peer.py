"""The shared battery problem in cvxpy: problem JSON on stdin, {objective, first_ms, again_ms} on stdout.

As one would write it down, stated anew on each call and solved by HiGHS.
"""

import json
import sys
import time

import cvxpy as cp
import numpy as np

problem = json.load(sys.stdin)
prices, hours = np.array(problem["price_usd_per_kwh"]), problem["step_s"] / 3600.0
start, steps, times = problem["soc"] * problem["capacity_kwh"], len(prices), []
for run in range(problem["runs"] + 1):
    began = time.perf_counter()
    charge, discharge = cp.Variable(steps, nonneg=True), cp.Variable(steps, nonneg=True)
    stored = start + hours * cp.cumsum(problem["efficiency_charge"] * charge - discharge)
    limits = [charge <= problem["power_kw"], discharge <= problem["power_kw"], stored >= 0.0]
    limits += [stored <= problem["capacity_kwh"], stored[-1] == start]
    paid = prices * (1.0 + 1e-6 * run)
    cp.Problem(cp.Maximize(hours * paid @ (discharge - charge)), limits).solve(solver=cp.HIGHS)
    times.append(1000.0 * (time.perf_counter() - began))
money = float(np.sum(prices * (discharge.value - charge.value)) * hours)
json.dump({"objective": money, "first_ms": times[0], "again_ms": float(np.median(times[1:]))}, sys.stdout)
