"""A long horizon of short steps in blocks: fine where it matters, and coarse later.

Set points are constant within a block, so a plan in blocks is a plan for every step; what it can't do is follow prices
within the later blocks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridpilot.plan.problem import Problem
from gridpilot.plan.result import Solution
from gridpilot.values import Array, Index, as_array

FROM_H = ((2.0, 0.25), (6.0, 1.0))  # from so many hours ahead on, blocks of so many hours; every step for itself before


def block_sizes(problem: Problem) -> Index:
    """How many steps each block takes (B,): 58 blocks for a day of 5 minutes. Blocks end with the clock's hours and
    quarters, as prices and weather do."""
    begin, sizes, t = problem.starts_h, [], 0
    while t < len(problem):
        step_h, size = float(problem.hours[t]), 1
        length_h = max((h for start, h in FROM_H if begin[t] >= start - 1e-9), default=0.0)
        if length_h > step_h:
            size = max(1, round((length_h - (problem.clock_h + begin[t] + 1e-9) % length_h) / step_h))
        sizes.append(min(size, len(problem) - t))
        t += sizes[-1]
    return np.array(sizes)


def weather_fits(problem: Problem, sizes: Index) -> bool:
    """Whether cooling is the same in all steps of each block, as a plan in blocks takes it to be."""
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return bool(np.all(problem.cop == np.repeat(problem.cop[first], sizes)))


def in_blocks(problem: Problem, sizes: Index) -> Problem:
    """The problem with each block as one step, so that its every solution is one of the problem's own.

    Prices and values are means; of what may be drawn the least counts. The weather has to fit (`weather_fits`).
    """
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def mean(values: Array) -> Array:
        return as_array(np.add.reduceat(values, first) / sizes)

    loads = tuple(
        replace(
            load,
            max_kw=as_array(np.minimum.reduceat(load.max_kw, first)),
            value_usd_per_kwh=mean(load.value_usd_per_kwh),
            held_usd_per_kwh=mean(load.held_usd_per_kwh) if len(load.held_usd_per_kwh) else load.held_usd_per_kwh,
        )
        for load in problem.loads
    )
    return replace(
        problem,
        hours=as_array(np.add.reduceat(problem.hours, first)),
        price_usd_per_kwh=mean(problem.price_usd_per_kwh),
        import_kw=as_array(np.minimum.reduceat(problem.import_kw, first)),
        loads=loads,
        runs=tuple(replace(run, mask=mean(run.mask)) for run in problem.runs),
        cop=as_array(problem.cop[first]),
        cooling_kw_per_kw=as_array(problem.cooling_kw_per_kw[first]),
        before_kw=mean(problem.before_kw) if len(problem.before_kw) else problem.before_kw,
    )


def in_steps(problem: Problem, sizes: Index, found: Solution) -> Solution:
    """A solution in blocks as one of the problem's own steps."""

    def each(values: Array) -> Array:
        return as_array(np.repeat(values, sizes)) if len(values) else values

    charge, discharge = each(found.charge_kw), each(found.discharge_kw)
    loads = {name: each(kw) for name, kw in found.loads_kw.items()}
    room = each(found.room_kw)
    drawn = problem.gross * sum(loads.values(), np.zeros(len(problem))) + (room if len(room) else 0.0)
    net = drawn + charge - discharge
    stored, battery = each(found.stored_kwh), problem.battery
    if battery is not None:
        into = charge * battery.efficiency_charge - discharge / battery.efficiency_discharge
        stored = as_array(problem.start_kwh + np.cumsum(problem.hours * into))
    return replace(
        found,
        charge_kw=charge,
        discharge_kw=discharge,
        stored_kwh=stored,
        loads_kw=loads,
        import_kw=as_array(np.maximum(net, 0.0)),
        export_kw=as_array(np.maximum(-net, 0.0)),
        marginal_usd_per_kwh=each(found.marginal_usd_per_kwh),
        power_usd_per_kwh=each(found.power_usd_per_kwh),
        worth_usd_per_kwh={name: each(worth) for name, worth in found.worth_usd_per_kwh.items()},
        reserve_up_kw=each(found.reserve_up_kw),
        reserve_down_kw=each(found.reserve_down_kw),
        room_kw=room,
    )
