"""The linear program of `problem.py` in cvxpy: built once for a shape, solved again with other numbers.

Money is scaled by the largest price or value, so that the solver sees numbers near one whatever the currency.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridpilot.errors import PlanError
from gridpilot.plan.problem import Problem
from gridpilot.values import Array, as_array

SOFT = 10.0  # price of a kWh outside the SOC band for a step, in units of the largest price or value


@dataclass(frozen=True, slots=True)
class Solution:
    """Primal and dual values: kW (T,), kWh at the end of each step (T,), $/kWh (T,)."""

    charge_kw: Array
    discharge_kw: Array
    stored_kwh: Array
    loads_kw: dict[str, Array]
    import_kw: Array
    export_kw: Array
    marginal_usd_per_kwh: Array
    power_usd_per_kwh: Array
    solve_ms: float


@dataclass(frozen=True, slots=True)
class _Shape:
    steps: int
    loads: int
    runs: tuple[int, ...]  # the load of each run
    battery: tuple[float, ...]  # eta_c, eta_d, wear; empty: none
    step_h: float
    cooling: float
    integer: tuple[int, ...] = ()  # steps where charging excludes discharging by a binary variable


class _Model:
    """A cvxpy problem with parameters; see `problem.py` for the formulas."""

    def __init__(self, shape: _Shape) -> None:
        import cvxpy as cp

        n, h = shape.steps, shape.step_h
        self.shape = shape
        self.price = cp.Parameter(n)
        self.grid_max = cp.Parameter(2, nonneg=True)
        self.bought, self.sold = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        self.charge, self.discharge = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        self.limits: list[Any] = [self.bought <= self.grid_max[0], self.sold <= self.grid_max[1]]
        money = h * self.price @ (self.sold - self.bought)
        used = np.zeros(n)
        if shape.loads:
            self.value = cp.Parameter((shape.loads, n))
            self.load_max = cp.Parameter((shape.loads, n), nonneg=True)
            self.loads = cp.Variable((shape.loads, n), nonneg=True)
            self.limits.append(self.loads <= self.load_max)
            money += h * cp.sum(cp.multiply(self.value, self.loads))
            used = (1.0 + shape.cooling) * cp.sum(self.loads, axis=0)
        if shape.runs:
            self.mask = cp.Parameter((len(shape.runs), n), nonneg=True)
            self.energy = cp.Parameter(len(shape.runs), nonneg=True)
            for i, load in enumerate(shape.runs):
                self.limits.append(h * self.mask[i] @ self.loads[load] <= self.energy[i])
        if shape.battery:
            money += self._battery(cp, shape)
        else:
            self.limits += [self.charge == 0, self.discharge == 0]
        self.balance = self.bought - self.sold + self.discharge - self.charge - used == 0
        self.problem = cp.Problem(cp.Maximize(money), [self.balance, *self.limits])

    def _battery(self, cp: Any, shape: _Shape) -> Any:
        eta_c, eta_d, _wear = shape.battery
        n, h = shape.steps, shape.step_h
        self.power_max = cp.Parameter((2, n), nonneg=True)
        self.band = cp.Parameter(2)
        self.start = cp.Parameter()
        self.outer = cp.Parameter(2)
        self.worth = cp.Parameter()  # terminal value
        self.wear = cp.Parameter(nonneg=True)
        self.stored = cp.Variable(n)
        outside = cp.Variable((2, n), nonneg=True)
        before = cp.hstack([cp.reshape(self.start, (1,), order="C"), self.stored[:-1]]) if n > 1 else self.start
        self.recursion = self.stored - before - h * (eta_c * self.charge - self.discharge / eta_d) == 0
        self.limits += [
            self.recursion,
            self.charge <= self.power_max[0],
            self.discharge <= self.power_max[1],
            self.stored >= self.band[0] - outside[0],
            self.stored <= self.band[1] + outside[1],
            self.stored >= self.outer[0],
            self.stored <= self.outer[1],
        ]
        if shape.integer:
            steps = list(shape.integer)
            on = cp.Variable(len(steps), boolean=True)
            self.limits += [
                self.charge[steps] <= cp.multiply(self.power_max[0][steps], on),
                self.discharge[steps] <= cp.multiply(self.power_max[1][steps], 1 - on),
            ]
        wear = self.wear * h * cp.sum(self.charge + self.discharge)
        return self.worth * self.stored[-1] - wear - SOFT * cp.sum(outside)


@functools.lru_cache(maxsize=16)
def _model(shape: _Shape) -> _Model:
    return _Model(shape)


def solve(
    problem: Problem,
    *,
    time_limit_s: float,
    exclusive: tuple[int, ...] = (),
    idle_charge: Array | None = None,
    idle_discharge: Array | None = None,
) -> Solution:
    """The optimum, with HiGHS. `exclusive` names steps where charging and discharging exclude each other.

    `idle_charge` and `idle_discharge` are True (T,) where that direction is shut, as after a MILP.
    PlanError for any status but optimal: a time limit returns finite, wrong numbers.
    """
    import cvxpy as cp

    model = _model(_shape(problem, exclusive))
    scale = _fill(model, problem, idle_charge, idle_discharge)
    start = time.perf_counter()
    try:
        model.problem.solve(solver=cp.HIGHS, warm_start=False, highs_options={"time_limit": time_limit_s, "threads": 1})
    except (cp.SolverError, ValueError, ArithmeticError) as error:
        raise PlanError(f"HiGHS failed: {error}") from None
    solve_ms = (time.perf_counter() - start) * 1000.0
    if model.problem.status != cp.OPTIMAL:
        raise PlanError(f"HiGHS ended with status {model.problem.status}, only optimal counts")
    return _read(model, problem, scale, solve_ms)


def _shape(problem: Problem, exclusive: tuple[int, ...]) -> _Shape:
    battery = problem.battery
    names = [load.name for load in problem.loads]
    return _Shape(
        steps=len(problem),
        loads=len(problem.loads),
        runs=tuple(names.index(run.load) for run in problem.runs),
        battery=(battery.efficiency_charge, battery.efficiency_discharge, 1.0) if battery else (),
        step_h=problem.step_h,
        cooling=problem.cooling_kw_per_kw,
        integer=exclusive,
    )


def money_scale(problem: Problem) -> float:
    """The largest price or value of the problem [$/kWh], 1 where all are 0."""
    tallest = [float(np.max(np.abs(problem.price_usd_per_kwh))), abs(problem.terminal_usd_per_kwh)]
    tallest += [float(np.max(np.abs(load.value_usd_per_kwh))) for load in problem.loads]
    return max(tallest) or 1.0


def _fill(model: _Model, problem: Problem, shut_charge: Array | None, shut_discharge: Array | None) -> float:
    """Put the numbers into the parameters; returns the money scale."""
    n, scale = len(problem), money_scale(problem)
    model.price.value = problem.price_usd_per_kwh / scale
    model.grid_max.value = np.array([problem.import_kw, problem.export_kw])
    if problem.loads:
        model.value.value = np.array([load.value_usd_per_kwh for load in problem.loads]) / scale
        model.load_max.value = np.array([load.max_kw for load in problem.loads])
    if problem.runs:
        model.mask.value = np.array([run.mask for run in problem.runs])
        model.energy.value = np.array([run.energy_kwh for run in problem.runs])
    battery = problem.battery
    if battery is None:
        return scale
    low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
    open_c = 1.0 if shut_charge is None else 1.0 - shut_charge
    open_d = 1.0 if shut_discharge is None else 1.0 - shut_discharge
    model.power_max.value = np.array(
        [battery.charge_kw * open_c * np.ones(n), battery.discharge_kw * open_d * np.ones(n)]
    )
    model.band.value = np.array([low, high])
    model.outer.value = np.array([min(low, problem.start_kwh), max(high, problem.start_kwh)])
    model.start.value = problem.start_kwh
    model.worth.value = problem.terminal_usd_per_kwh / scale
    model.wear.value = battery.wear_usd_per_kwh / scale
    return scale


def _read(model: _Model, problem: Problem, scale: float, solve_ms: float) -> Solution:
    n = len(problem)
    zero = np.zeros(n)
    battery = problem.battery
    mixed = bool(model.shape.integer)  # a MILP has no duals
    loads = model.loads.value if problem.loads else np.zeros((0, n))
    return Solution(
        charge_kw=as_array(np.maximum(model.charge.value, 0.0)),
        discharge_kw=as_array(np.maximum(model.discharge.value, 0.0)),
        stored_kwh=as_array(model.stored.value if battery else zero),
        loads_kw={load.name: as_array(np.maximum(loads[i], 0.0)) for i, load in enumerate(problem.loads)},
        import_kw=as_array(np.maximum(model.bought.value, 0.0)),
        export_kw=as_array(np.maximum(model.sold.value, 0.0)),
        marginal_usd_per_kwh=as_array(zero if mixed or not battery else np.asarray(model.recursion.dual_value) * scale),
        power_usd_per_kwh=as_array(zero if mixed else -np.asarray(model.balance.dual_value) * scale / problem.step_h),
        solve_ms=solve_ms,
    )
