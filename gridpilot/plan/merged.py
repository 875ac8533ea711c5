"""Slope merging as an engine of the live plan, for a battery with loads that follow their price alone.

It needs no solver, so it stands in where HiGHS fails; it starts with numba, which takes a second.
"""

from __future__ import annotations

import time

import numpy as np

from gridpilot.errors import PlanError
from gridpilot.plan.problem import SOFT, Problem
from gridpilot.plan.result import Solution
from gridpilot.values import Array, as_array


def fits(problem: Problem) -> bool:
    """Whether a merit order says all of the problem."""
    even = bool(np.all(problem.hours == problem.hours[0]))
    return even and problem.plain and not problem.runs and problem.battery is not None


def solve(problem: Problem) -> Solution:
    """The optimum, never charging and discharging at once; PlanError where it is not proven to be one.

    What a plan before said is not kept to: of plans worth the same it may choose another.
    """
    from gridpilot.plan import merge

    battery, h = problem.battery, float(problem.hours[0])
    if battery is None or not fits(problem):
        raise PlanError("a merit order can't say all of this problem")
    began, n = time.perf_counter(), len(problem)
    store = merge.Store.of(battery, h, SOFT * problem.scale)
    what = merge.uses(
        problem.price_usd_per_kwh,
        problem.price_usd_per_kwh,
        as_array(problem.import_kw * h),
        np.full(n, problem.export_kw * h),
        _columns([load.worth_usd_per_kwh / problem.gross for load in problem.loads], n),
        _columns([load.max_kw * problem.gross * h for load in problem.loads], n),
    )
    end = merge.flat_end(store, problem.start_kwh, problem.terminal_usd_per_kwh)
    found = merge.solve(store, what, problem.start_kwh, *end)
    if not found.exact:
        raise PlanError(f"far below zero: {found.bound_usd - found.value_usd:.6g} short of what might be possible")
    moved = merge.terminal(store, found.out) / h  # kW, positive when the battery delivers
    taken = merge.loads_kwh(what, moved * h) / h / problem.gross[:, None]
    net = problem.gross * taken.sum(axis=1) - moved
    return Solution(
        charge_kw=as_array(np.maximum(-moved, 0.0)),
        discharge_kw=as_array(np.maximum(moved, 0.0)),
        stored_kwh=as_array(found.stored),
        loads_kw={load.name: as_array(taken[:, i]) for i, load in enumerate(problem.loads)},
        import_kw=as_array(np.maximum(net, 0.0)),
        export_kw=as_array(np.maximum(-net, 0.0)),
        marginal_usd_per_kwh=as_array(found.marginal),
        power_usd_per_kwh=as_array(_next_use(what.value, what.kwh, what.base + moved * h)),
        solve_ms=1000.0 * (time.perf_counter() - began),
    )


def _columns(values: list[Array], n: int) -> Array:
    return np.stack(values, axis=1) if values else np.empty((n, 0))


def _next_use(value: Array, kwh: Array, filled: Array) -> Array:
    """What one more kWh would be used for in each step, its worth (T,)."""
    room = np.cumsum(kwh, axis=1) > filled[:, None] + 1e-9
    last = value.shape[1] - 1
    return np.take_along_axis(value, np.where(room.any(axis=1), room.argmax(axis=1), last)[:, None], axis=1)[:, 0]
