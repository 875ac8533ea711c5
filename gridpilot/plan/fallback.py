"""What is planned when no solver can: simple, safe, and never under another method's name."""

from __future__ import annotations

import numpy as np

from gridpilot.domain import Plan, PriceOutlook, SiteState
from gridpilot.errors import PlanError
from gridpilot.plan.loads import Load
from gridpilot.plan.problem import Problem, at_times
from gridpilot.plan.result import Solution, to_plan
from gridpilot.values import Array, as_array

SHIFTED = "previous plan, shifted"
RANKED = "price rank"
IDLE = "idle"


def shifted(problem: Problem, outlook: PriceOutlook, state: SiteState, previous: Plan | None) -> Plan:
    """The steps of the previous plan that are still ahead, and then nothing.

    Battery powers are cut to what the state of charge allows by now. PlanError where there is no previous
    plan of the same step, or none of its steps is ahead.
    """
    if previous is None:
        raise PlanError("there is no previous plan")
    if np.isnan(at_times(previous.battery_kw, previous, outlook)[0]):
        raise PlanError("the previous plan says nothing about this interval")

    def taken(values: Array) -> Array:
        return as_array(np.nan_to_num(at_times(values, previous, outlook)))

    loads = {
        load.name: as_array(np.minimum(taken(_planned(problem, previous, load)), load.max_kw)) for load in problem.loads
    }
    return _assemble(problem, outlook, state, loads, taken(previous.battery_kw), SHIFTED)


def _planned(problem: Problem, previous: Plan, load: Load) -> Array:
    """What the previous plan gave a load (T,): a customer's share, or what the customers of its type left."""
    nothing = np.zeros(len(previous))
    if load.name in previous.customers_kw:
        return previous.customers_kw[load.name]
    others = [o.name for o in problem.loads if o.place == load.place and o.name != load.name]
    given = sum((previous.customers_kw.get(name, nothing) for name in others), nothing)
    return as_array(np.maximum(previous.loads_kw.get(load.place, nothing) - given, 0.0))


def price_rank(problem: Problem, outlook: PriceOutlook, state: SiteState) -> Plan:
    """Loads that earn more than they cost, best first; charge in the cheapest quarter, discharge in the dearest.

    Needs no solver. Job energy is spent in the order of the steps.
    """
    n, price = len(problem), problem.price_usd_per_kwh
    loads = {load.name: np.zeros(n) for load in problem.loads}
    left = {i: run.energy_kwh for i, run in enumerate(problem.runs)}
    for t in range(n):
        gross = float(problem.gross[t])
        room = float(problem.import_kw[t]) / gross
        order = sorted(problem.loads, key=lambda load: (-load.worth_usd_per_kwh[t], load.name))
        for load in order:
            if load.worth_usd_per_kwh[t] <= price[t] * gross:
                break
            kw = min(float(load.max_kw[t]), room)
            for i, run in enumerate(problem.runs):
                if run.load == load.name and run.mask[t] > 0:
                    kw = min(kw, left[i] / problem.hours[t])
                    left[i] -= kw * problem.hours[t]
            loads[load.name][t] = kw
            room -= kw
    wanted = np.zeros(n)
    if problem.battery is not None:
        low, high = np.quantile(price, [0.25, 0.75])
        worth_it = low < high * problem.battery.efficiency_charge * problem.battery.efficiency_discharge
        if worth_it:
            wanted = np.where(price <= low, problem.battery.charge_kw, 0.0)
            wanted = np.where(price >= high, -problem.battery.discharge_kw, wanted)
    return _assemble(problem, outlook, state, loads, as_array(wanted), RANKED)


def idle(problem: Problem, outlook: PriceOutlook, state: SiteState) -> Plan:
    """Nothing runs and the battery rests."""
    nothing = np.zeros(len(problem))
    return _assemble(problem, outlook, state, {load.name: nothing for load in problem.loads}, as_array(nothing), IDLE)


def _assemble(
    problem: Problem,
    outlook: PriceOutlook,
    state: SiteState,
    loads: dict[str, Array],
    battery_kw: Array,
    method: str,
) -> Plan:
    """Loads and wished battery power as a plan: the battery is cut to its limits and to the grid's."""
    n = len(problem)
    drawn = sum(loads.values(), np.zeros(n)) * problem.gross
    charge, discharge, stored = np.zeros(n), np.zeros(n), np.zeros(n)
    battery, energy = problem.battery, problem.start_kwh
    for t in range(n):
        h = float(problem.hours[t])
        if battery is not None:
            low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
            room = float(problem.import_kw[t]) - drawn[t]
            up = min(battery.charge_kw, (high - energy) / (h * battery.efficiency_charge), room)
            down = min(
                battery.discharge_kw, (energy - low) * battery.efficiency_discharge / h, problem.export_kw + drawn[t]
            )
            charge[t] = min(max(battery_kw[t], 0.0), max(up, 0.0))
            discharge[t] = min(max(-battery_kw[t], 0.0), max(down, 0.0))
            energy += h * (charge[t] * battery.efficiency_charge - discharge[t] / battery.efficiency_discharge)
        stored[t] = energy
    grid = drawn + charge - discharge
    found = Solution(
        as_array(charge),
        as_array(discharge),
        as_array(stored),
        {name: as_array(kw) for name, kw in loads.items()},
        as_array(np.maximum(grid, 0.0)),
        as_array(np.maximum(-grid, 0.0)),
        as_array(np.zeros(n)),
        problem.price_usd_per_kwh,
        0.0,
    )
    return to_plan(problem, outlook, state, found, method, 0.0)
