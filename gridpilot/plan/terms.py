"""The problem of `problem.py` as terms of a program for HiGHS.

Money is in units of the largest price or value of the problem, so that the solver sees numbers near one.
"""

from __future__ import annotations

import time

import numpy as np

from gridpilot.plan.model import SOFT, Solution, money_scale
from gridpilot.plan.problem import CHANGE_USD_PER_KWH, Problem
from gridpilot.plan.program import Program
from gridpilot.values import Array, Index, as_array

NOTHING = np.zeros(0, dtype=np.int64)


def solve(
    problem: Problem,
    *,
    time_limit_s: float,
    exclusive: tuple[int, ...] = (),
    idle_charge: Array | None = None,
    idle_discharge: Array | None = None,
) -> Solution:
    """The optimum; the same question and answer as `model.solve`, held open between calls."""
    scale, program, n = money_scale(problem), Program(), len(problem)
    balance = program.rows(n)
    net = _grid(program, balance, problem, scale)
    loads = _loads(program, balance, problem, scale)
    _runs(program, loads, problem)
    charge = discharge = stored = kept = NOTHING
    if problem.battery is not None:
        none = np.zeros(n)
        shut = (none if idle_charge is None else idle_charge, none if idle_discharge is None else idle_discharge)
        charge, discharge, stored, kept = _battery(program, balance, problem, scale, shut)
        _apart(program, charge, discharge, problem, exclusive)
        _steady(program, charge, discharge, problem, scale)
    start = time.perf_counter()
    found = program.solve(time_limit_s)
    solve_ms = (time.perf_counter() - start) * 1000.0

    def of(columns: Index) -> Array:
        return as_array(found.columns[columns] if len(columns) else np.zeros(n))

    return Solution(
        charge_kw=as_array(np.maximum(of(charge), 0.0)),
        discharge_kw=as_array(np.maximum(of(discharge), 0.0)),
        stored_kwh=of(stored),
        loads_kw={
            load.name: as_array(np.maximum(of(ids), 0.0)) for load, ids in zip(problem.loads, loads, strict=True)
        },
        import_kw=as_array(np.maximum(of(net), 0.0)),
        export_kw=as_array(np.maximum(-of(net), 0.0)),
        marginal_usd_per_kwh=as_array(found.row_worth[kept] * scale if len(kept) else np.zeros(n)),
        power_usd_per_kwh=as_array(-found.row_worth[balance] * scale / problem.step_h),
        solve_ms=solve_ms,
    )


def _grid(program: Program, balance: Index, problem: Problem, scale: float) -> Index:
    """Power from the grid [kW], negative where it is sold: -price h net. One column, as both have one price."""
    money = problem.step_h * problem.price_usd_per_kwh / scale
    net = program.columns(len(problem), -problem.export_kw, problem.import_kw, -money)
    program.add(balance, net, 1.0)
    return net


def _loads(program: Program, balance: Index, problem: Problem, scale: float) -> list[Index]:
    """IT power of each load [kW], up to max_kw: value h load; it takes 1 + k of site power, with its cooling."""
    out = []
    for load in problem.loads:
        money = problem.step_h * load.value_usd_per_kwh / scale
        ids = program.columns(len(problem), 0.0, load.max_kw, money)
        program.add(balance, ids, -(1.0 + problem.cooling_kw_per_kw))
        out.append(ids)
    return out


def _runs(program: Program, loads: list[Index], problem: Problem) -> None:
    """Energy of each run of a job [kWh]: h sum_t mask load <= energy."""
    place = {load.name: ids for load, ids in zip(problem.loads, loads, strict=True)}
    for run in problem.runs:
        row = program.rows(1, -np.inf, run.energy_kwh)
        program.add(row, place[run.load], problem.step_h * run.mask)


def _battery(
    program: Program, balance: Index, problem: Problem, scale: float, shut: tuple[Array, Array]
) -> tuple[Index, Index, Index, Index]:
    """Charge and discharge [kW] at a wear, and the energy stored after each step [kWh], softly inside its band.

    stored[t] - stored[t-1] - h (eta_c charge - discharge / eta_d) = 0
    low - below <= stored <= high + above, at SOFT for a kWh outside and step
    """
    battery, n, h = problem.battery, len(problem), problem.step_h
    assert battery is not None  # noqa: S101  # the caller has looked
    low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
    wear = -h * battery.wear_usd_per_kwh / scale
    charge = program.columns(n, 0.0, battery.charge_kw * (1.0 - shut[0]), wear)
    discharge = program.columns(n, 0.0, battery.discharge_kw * (1.0 - shut[1]), wear)
    worth = np.zeros(n)
    worth[-1] = problem.terminal_usd_per_kwh / scale
    stored = program.columns(n, min(low, problem.start_kwh), max(high, problem.start_kwh), worth)
    program.add(balance, discharge, 1.0)
    program.add(balance, charge, -1.0)
    first = np.zeros(n)
    first[0] = problem.start_kwh
    kept = program.rows(n, first, first)
    program.add(kept, stored, 1.0)
    program.add(kept[1:], stored[:-1], -1.0)
    program.add(kept, charge, -h * battery.efficiency_charge)
    program.add(kept, discharge, h / battery.efficiency_discharge)
    if low <= problem.start_kwh <= high:
        return charge, discharge, stored, kept
    below, above = program.columns(n, cost=-SOFT), program.columns(n, cost=-SOFT)
    floor, ceiling = program.rows(n, low, np.inf), program.rows(n, -np.inf, high)
    program.add(floor, stored, 1.0)
    program.add(floor, below, 1.0)
    program.add(ceiling, stored, 1.0)
    program.add(ceiling, above, -1.0)
    return charge, discharge, stored, kept


def _steady(program: Program, charge: Index, discharge: Index, problem: Problem, scale: float) -> None:
    """charge - discharge - up + down = what was planned before [kW]; up and down at CHANGE_USD_PER_KWH."""
    known = np.flatnonzero(np.isfinite(problem.before_kw))
    if not len(known):
        return
    cost = -problem.step_h * CHANGE_USD_PER_KWH / scale
    up, down = program.columns(len(known), cost=cost), program.columns(len(known), cost=cost)
    rows = program.rows(len(known), problem.before_kw[known], problem.before_kw[known])
    for columns, coefficient in ((charge[known], 1.0), (discharge[known], -1.0), (up, -1.0), (down, 1.0)):
        program.add(rows, columns, coefficient)


def _apart(program: Program, charge: Index, discharge: Index, problem: Problem, steps: tuple[int, ...]) -> None:
    """In these steps either charge or discharge: charge <= most on, discharge <= most (1 - on)."""
    if not steps or problem.battery is None:
        return
    chosen = np.array(steps)
    on = program.columns(len(steps), 0.0, 1.0)
    program.whole(on)
    up, down = program.rows(len(steps), -np.inf, 0.0), program.rows(len(steps), -np.inf, problem.battery.discharge_kw)
    program.add(up, charge[chosen], 1.0)
    program.add(up, on, -problem.battery.charge_kw)
    program.add(down, discharge[chosen], 1.0)
    program.add(down, on, problem.battery.discharge_kw)
