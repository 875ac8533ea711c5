"""A solution's set points as a plan; its objective is worked out anew, in plain numpy."""

from __future__ import annotations

import numpy as np

from gridpilot.domain import Battery, Plan, PriceOutlook, SiteState
from gridpilot.plan.model import Solution
from gridpilot.plan.problem import Problem
from gridpilot.values import as_array


def to_plan(
    problem: Problem, outlook: PriceOutlook, state: SiteState, found: Solution, method: str, solve_ms: float
) -> Plan:
    """A solution as a plan; its objective is worked out anew from the set points."""
    battery = problem.battery
    soc = np.full(len(problem), state.soc_frac)
    if battery:
        soc = np.clip(found.stored_kwh / battery.capacity_kwh, *_soc_range(battery, problem.start_kwh))
    loads = {load.name: as_array(np.minimum(found.loads_kw[load.name], load.max_kw)) for load in problem.loads}
    it_kw = sum(loads.values(), np.zeros(len(problem)))
    return Plan(
        status="optimal",  # the caller says otherwise for a fallback
        method=method,
        objective_usd=objective(problem, found),
        timestamp=outlook.timestamp,
        step_s=outlook.step_s,
        soc_start_frac=state.soc_frac,
        charge_kw=found.charge_kw,
        discharge_kw=found.discharge_kw,
        soc_frac=as_array(soc),
        import_kw=found.import_kw,
        export_kw=found.export_kw,
        cooling_kw=as_array(problem.cooling_kw_per_kw * it_kw),
        loads_kw=loads,
        marginal_value_usd_per_kwh=found.marginal_usd_per_kwh,
        power_price_usd_per_kwh=found.power_usd_per_kwh,
        terminal_usd_per_mwh=problem.terminal_usd_per_kwh * 1000.0,
        outlook=outlook,
        solve_ms=solve_ms,
    )


def _soc_range(battery: Battery, start_kwh: float) -> tuple[float, float]:
    """The band, widened to the start where that lies outside: a solver undershoots a bound by 2e-11."""
    start = start_kwh / battery.capacity_kwh
    return min(battery.soc_min, start), max(battery.soc_max, start)


def objective(problem: Problem, found: Solution) -> float:
    """The money of a solution [$], by the formula in `problem.py`."""
    h = problem.step_h
    money = h * float(problem.price_usd_per_kwh @ (found.export_kw - found.import_kw))
    for load in problem.loads:
        money += h * float(load.value_usd_per_kwh @ found.loads_kw[load.name])
    if problem.battery is not None:
        money -= h * problem.battery.wear_usd_per_kwh * float(np.sum(found.charge_kw + found.discharge_kw))
        money += problem.terminal_usd_per_kwh * float(found.stored_kwh[-1] - problem.start_kwh)
    return money
