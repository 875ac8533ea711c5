"""The problem of `problem.py` as terms of a program for HiGHS, a few lines each.

Money is in units of the largest price or value of the problem, so that the solver sees numbers near one. Terms meet in
the rows of the power balance and in the columns of `_Made`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from gridpilot.plan.problem import CHANGE_USD_PER_KWH, SERVICE, SOFT, Problem, Switching
from gridpilot.plan.program import Found, Program
from gridpilot.plan.result import Solution, depth_start_kwh, depth_width_kwh
from gridpilot.values import Array, Index, as_array

NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class _Made:
    """Columns (T,) of what the terms have in common, and rows of the balance (T,)."""

    balance: Index
    net: Index = field(default_factory=lambda: NOTHING)
    loads: list[Index] = field(default_factory=list)
    charge: Index = field(default_factory=lambda: NOTHING)
    discharge: Index = field(default_factory=lambda: NOTHING)
    stored: Index = field(default_factory=lambda: NOTHING)
    kept: Index = field(default_factory=lambda: NOTHING)  # rows of the stored energy
    up: list[Index] = field(default_factory=list)  # reserve, one part for each that gives it
    down: list[Index] = field(default_factory=list)
    room: Index = field(default_factory=lambda: NOTHING)  # cooling beyond what the heat needs


def solve(
    problem: Problem,
    *,
    time_limit_s: float,
    exclusive: tuple[int, ...] = (),
    idle_charge: Array | None = None,
    idle_discharge: Array | None = None,
) -> Solution:
    """The optimum; the same question and answer as `model.solve`, held open between calls."""
    scale, program, n = problem.scale, Program(), len(problem)
    made = _Made(program.rows(n))
    _grid(program, made, problem, scale)
    _loads(program, made, problem, scale)
    _runs(program, made, problem, scale)
    if problem.battery is not None:
        none = np.zeros(n)
        shut = (none if idle_charge is None else idle_charge, none if idle_discharge is None else idle_discharge)
        _battery(program, made, problem, scale, shut)
        _apart(program, made, problem, exclusive)
        _steady(program, made, problem, scale)
        _depth(program, made, problem, scale)
    _ramp(program, made, problem)
    _demand(program, made, problem, scale)
    for switching in problem.switching:
        _run_times(program, made, problem, switching)
    if problem.reserve.wanted:
        _reserve(program, made, problem, scale)
    if problem.room.planned:
        _room(program, made, problem, scale)
    start = time.perf_counter()
    found = program.solve(time_limit_s)
    return _read(problem, made, found, scale, (time.perf_counter() - start) * 1000.0)


def _read(problem: Problem, made: _Made, found: Found, scale: float, solve_ms: float) -> Solution:
    nothing = np.zeros(len(problem))

    def of(columns: Index) -> Array:
        return as_array(found.columns[columns] if len(columns) else nothing)

    power = -found.row_worth[made.balance] * scale / problem.hours
    worth = {
        load.name: as_array(found.column_worth[ids] * scale / problem.hours + problem.gross * power)
        for load, ids in zip(problem.loads, made.loads, strict=True)
    }
    loads = zip(problem.loads, made.loads, strict=True)
    return Solution(
        charge_kw=as_array(np.maximum(of(made.charge), 0.0)),
        discharge_kw=as_array(np.maximum(of(made.discharge), 0.0)),
        stored_kwh=of(made.stored),
        loads_kw={load.name: as_array(np.maximum(of(ids), 0.0)) for load, ids in loads},
        import_kw=as_array(np.maximum(of(made.net), 0.0)),
        export_kw=as_array(np.maximum(-of(made.net), 0.0)),
        marginal_usd_per_kwh=as_array(found.row_worth[made.kept] * scale if len(made.kept) else nothing),
        power_usd_per_kwh=as_array(power),
        solve_ms=solve_ms,
        worth_usd_per_kwh=worth if found.priced else {},
        reserve_up_kw=as_array(np.maximum(sum((of(ids) for ids in made.up), nothing), 0.0)),
        reserve_down_kw=as_array(np.maximum(sum((of(ids) for ids in made.down), nothing), 0.0)),
        room_kw=of(made.room),
    )


def _grid(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """Power from the grid [kW], negative where it is sold: -price h net. One column, as both have one price."""
    money = problem.hours * problem.price_usd_per_kwh / scale
    made.net = program.columns(len(problem), -problem.export_kw, problem.import_kw, -money)
    program.add(made.balance, made.net, 1.0)


def _loads(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """IT power of each load [kW], up to max_kw: worth h load; it takes 1 + k of site power, with its cooling."""
    for load in problem.loads:
        money = problem.hours * load.worth_usd_per_kwh / scale
        made.loads.append(program.columns(len(problem), 0.0, load.max_kw, money))
        program.add(made.balance, made.loads[-1], -problem.gross)


def _runs(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """Energy of each window [kWh]: h sum_t mask load <= most, and + short >= least at a price for each kWh short."""
    place = {load.name: ids for load, ids in zip(problem.loads, made.loads, strict=True)}
    for run in problem.runs:
        if np.isfinite(run.energy_kwh):
            program.add(program.rows(1, -np.inf, run.energy_kwh), place[run.load], problem.hours * run.mask)
        if run.least_kwh > 0.0 and run.short_usd_per_kwh != 0.0:
            price = SERVICE if run.short_usd_per_kwh is None else run.short_usd_per_kwh / scale
            row = program.rows(1, run.least_kwh, np.inf)
            program.add(row, place[run.load], problem.hours * run.mask)
            program.add(row, program.columns(1, 0.0, np.inf, -price), 1.0)


def _battery(program: Program, made: _Made, problem: Problem, scale: float, shut: tuple[Array, Array]) -> None:
    """Charge and discharge [kW] at a wear, and the energy stored after each step [kWh], softly inside its band.

    stored[t] - stored[t-1] - h (eta_c charge - discharge / eta_d) = 0
    low - below <= stored <= high + above, at SOFT for a kWh outside and step
    """
    battery, n, h = problem.battery, len(problem), problem.hours
    assert battery is not None  # noqa: S101  # the caller has looked
    low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
    wear = -h * battery.wear_usd_per_kwh / scale
    most_charge, most_discharge = battery.charge_kw * (1.0 - shut[0]), battery.discharge_kw * (1.0 - shut[1])
    least_charge, least_discharge = np.zeros(n), np.zeros(n)
    if np.isfinite(problem.first_kw):
        least_charge[0] = most_charge[0] = max(problem.first_kw, 0.0)
        least_discharge[0] = most_discharge[0] = max(-problem.first_kw, 0.0)
    made.charge = charge = program.columns(n, least_charge, most_charge, wear)
    made.discharge = discharge = program.columns(n, least_discharge, most_discharge, wear)
    worth = np.zeros(n)
    worth[-1] = problem.terminal_usd_per_kwh / scale
    made.stored = stored = program.columns(n, min(low, problem.start_kwh), max(high, problem.start_kwh), worth)
    program.add(made.balance, discharge, 1.0)
    program.add(made.balance, charge, -1.0)
    first = np.zeros(n)
    first[0] = problem.start_kwh
    made.kept = kept = program.rows(n, first, first)
    program.add(kept, stored, 1.0)
    program.add(kept[1:], stored[:-1], -1.0)
    program.add(kept, charge, -h * battery.efficiency_charge)
    program.add(kept, discharge, h / battery.efficiency_discharge)
    if low <= problem.start_kwh <= high:
        return
    below, above = program.columns(n, cost=-SOFT), program.columns(n, cost=-SOFT)
    floor, ceiling = program.rows(n, low, np.inf), program.rows(n, -np.inf, high)
    program.add(floor, stored, 1.0)
    program.add(floor, below, 1.0)
    program.add(ceiling, stored, 1.0)
    program.add(ceiling, above, -1.0)


def _steady(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """charge - discharge - up + down = what was planned before [kW]; up and down at CHANGE_USD_PER_KWH."""
    known = np.flatnonzero(np.isfinite(problem.before_kw))
    if not len(known):
        return
    cost = -problem.hours[known] * CHANGE_USD_PER_KWH / scale
    up, down = program.columns(len(known), cost=cost), program.columns(len(known), cost=cost)
    rows = program.rows(len(known), problem.before_kw[known], problem.before_kw[known])
    for columns, coefficient in ((made.charge[known], 1.0), (made.discharge[known], -1.0), (up, -1.0), (down, 1.0)):
        program.add(rows, columns, coefficient)


def _apart(program: Program, made: _Made, problem: Problem, steps: tuple[int, ...]) -> None:
    """In these steps either charge or discharge: charge <= most on, discharge <= most (1 - on)."""
    if not steps or problem.battery is None:
        return
    chosen = np.array(steps)
    on = program.columns(len(steps), 0.0, 1.0)
    program.whole(on)
    up, down = program.rows(len(steps), -np.inf, 0.0), program.rows(len(steps), -np.inf, problem.battery.discharge_kw)
    program.add(up, made.charge[chosen], 1.0)
    program.add(up, on, -problem.battery.charge_kw)
    program.add(down, made.discharge[chosen], 1.0)
    program.add(down, on, problem.battery.discharge_kw)


def _depth(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """Equal parts of the band, from the top, each with its own energy and a wear of its own for what leaves it:

    charge = sum_j c_j,  discharge = sum_j d_j,  e_j[t] - e_j[t-1] - h (eta_c c_j - d_j / eta_d) = 0,  0 <= e_j <= width
    """
    if not problem.depth_wear:
        return
    battery, n, h = problem.battery, len(problem), problem.hours
    assert battery is not None  # noqa: S101  # depth_wear is empty without one
    rows_c, rows_d = program.rows(n), program.rows(n)
    program.add(rows_c, made.charge, 1.0)
    program.add(rows_d, made.discharge, 1.0)
    for held, usd in zip(depth_start_kwh(problem), problem.depth_wear, strict=True):
        c, d = program.columns(n), program.columns(n, cost=-h * usd / scale)
        e = program.columns(n, 0.0, depth_width_kwh(problem))
        first = np.zeros(n)
        first[0] = held
        kept = program.rows(n, first, first)
        program.add(rows_c, c, -1.0)
        program.add(rows_d, d, -1.0)
        program.add(kept, e, 1.0)
        program.add(kept[1:], e[:-1], -1.0)
        program.add(kept, c, -h * battery.efficiency_charge)
        program.add(kept, d, h / battery.efficiency_discharge)


def _ramp(program: Program, made: _Made, problem: Problem) -> None:
    """-ramp <= net[t] - net[t-1] - up + down <= ramp [kW]; up and down at SERVICE for each kW."""
    if not np.isfinite(problem.ramp_kw):
        return
    n = len(problem)
    middle, most = np.zeros(n), np.full(n, problem.ramp_kw)
    if np.isfinite(problem.grid_before_kw):
        middle[0] = problem.grid_before_kw
    else:
        most = np.where(np.arange(n) == 0, np.inf, most)
    rows = program.rows(n, middle - most, middle + most)
    program.add(rows, made.net, 1.0)
    program.add(rows[1:], made.net[:-1], -1.0)
    program.add(rows, program.columns(n, cost=-SERVICE), -1.0)
    program.add(rows, program.columns(n, cost=-SERVICE), 1.0)


def _demand(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """peak >= net[t], peak >= the month's so far [kW]; each kW more at the demand charge."""
    if problem.demand_usd_per_kw <= 0.0:
        return
    peak = program.columns(1, problem.peak_kw, np.inf, -problem.demand_usd_per_kw / scale)
    rows = program.rows(len(problem), -np.inf, 0.0)
    program.add(rows, made.net, 1.0)
    program.add(rows, np.repeat(peak, len(problem)), -1.0)


def _run_times(program: Program, made: _Made, problem: Problem, switching: Switching) -> None:
    """Machines of a type, started and stopped [kW], stay so for their minimum times (Rajan and Takriti 2005):

    n[t] - n[t-1] - start[t] + stop[t] = 0,  n[t] >= sum of start over the last on_h,
    installed - n[t] >= sum of stop over the last off_h; what can't be kept, at SERVICE for each kW.

    Equal machines need no binaries here: the rows describe the convex hull of what whole machines can do.
    """
    n = len(problem)
    groups = [ids for load, ids in zip(problem.loads, made.loads, strict=True) if load.place == switching.type]
    start, stop = program.columns(n, cost=-1e-6), program.columns(n, cost=-1e-6)
    before = np.zeros(n)
    before[0] = switching.before_kw
    moved = program.rows(n, before, before)
    begin = problem.starts_h
    for sign, window_h, switched in ((1.0, switching.on_h, start), (-1.0, switching.off_h, stop)):
        # on: n - starts + free >= what was started before the outlook; off: the same of installed - n and stops
        past = np.array(
            [
                sum(max(0.0, sign * kw) for age, kw in switching.recent if age + begin[t] < window_h - 1e-9)
                for t in range(n)
            ]
        )
        past = np.minimum(past, switching.before_kw if sign > 0 else switching.installed_kw - switching.before_kw)
        rows = program.rows(n, past - (0.0 if sign > 0 else switching.installed_kw), np.inf)
        for ids in groups:
            program.add(rows, ids, sign)
        first = np.searchsorted(begin, begin - window_h + 1e-9, side="right")
        inside = [np.arange(first[t], t + 1) for t in range(n)]
        program.add(np.repeat(rows, [len(steps) for steps in inside]), switched[np.concatenate(inside)], -1.0)
        program.add(rows, program.columns(n, cost=-SERVICE), 1.0)
    for ids in groups:
        program.add(moved, ids, 1.0)
        program.add(moved[1:], ids[:-1], -1.0)
    program.add(moved, start, -1.0)
    program.add(moved, stop, 1.0)


def _room(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """x[t], cooling beyond what the heat needs [kW], and d[t], the room's difference from its set point [degrees C]:

    d[t] - kept d[t-1] + COP moved x[t] = 0,  low - set <= d <= high - set (softly),  x[t] + k sum_i load_i >= 0
    """
    room, n = problem.room, len(problem)
    kept = np.array([room.kept(float(h)) for h in problem.hours])
    moved = problem.cop * np.array([room.moved_c(float(h)) for h in problem.hours])
    made.room = extra = program.columns(n, -np.inf, room.extra_kw)
    worth = np.zeros(n)
    worth[-1] = -problem.room_usd_per_c / scale
    apart = program.columns(n, -np.inf, np.inf, worth)
    first = np.zeros(n)
    first[0] = kept[0] * (problem.room_start_c - room.set_c)
    rows = program.rows(n, first, first)
    program.add(rows, apart, 1.0)
    program.add(rows[1:], apart[:-1], -kept[1:])
    program.add(rows, extra, moved)
    band = program.rows(n, room.low_c - room.set_c, room.high_c - room.set_c)
    program.add(band, apart, 1.0)
    for sign in (1.0, -1.0):
        program.add(band, program.columns(n, cost=-problem.room_soft), sign)
    least = program.rows(n, 0.0, np.inf)
    program.add(least, extra, 1.0)
    for ids in made.loads:
        program.add(least, ids, problem.cooling_kw_per_kw)
    program.add(made.balance, extra, -1.0)


def _reserve(program: Program, made: _Made, problem: Problem, scale: float) -> None:
    """Power up and down [kW] that battery and miners could give at once, and the battery for `hours`:

    discharge - charge + up <= most,  charge - discharge + down <= most                      the battery's power
    low <= stored - hours up / eta_d,  stored + hours eta_c down <= high                     at both ends of a step
    up <= (1 + k) running miners,  down <= (1 + k) (miners that could run - running)         the miners' part
    up - net <= export limit,  net + down <= import limit                                    the connection
    sold - short <= sum of parts <= offered, short at SERVICE                                the promise
    """
    reserve, n = problem.reserve, len(problem)
    miners = [(load, ids) for load, ids in zip(problem.loads, made.loads, strict=True) if load.service == "mining"]
    prices = (reserve.up_usd_per_mw_h, reserve.down_usd_per_mw_h)
    up, down = ([program.columns(n, cost=problem.hours * usd / (1000.0 * scale))] for usd in prices)
    give = program.rows(n, -np.inf, 0.0)
    more = program.rows(n, -np.inf, problem.gross * sum((load.max_kw for load, _ in miners), np.zeros(n)))
    program.add(give, up[0], 1.0)
    program.add(more, down[0], 1.0)
    for _, ids in miners:
        program.add(give, ids, -problem.gross)
        program.add(more, ids, problem.gross)
    if problem.battery is not None:
        for parts, usd in zip((up, down), prices, strict=True):
            parts.append(program.columns(n, cost=problem.hours * usd / (1000.0 * scale)))
        _reserve_battery(program, made, problem, up[1], down[1])
    sold = ((up, reserve.up_kw, reserve.most_up_kw, -1.0), (down, reserve.down_kw, reserve.most_down_kw, 1.0))
    for parts, least, most, sign in sold:
        promise = program.rows(n, least, max(least, most))
        limit = program.rows(n, -np.inf, problem.export_kw if sign < 0 else problem.import_kw)
        for ids in parts:
            program.add(promise, ids, 1.0)
            program.add(limit, ids, 1.0)
        program.add(limit, made.net, sign)
        program.add(promise, program.columns(n, 0.0, least, -SERVICE), 1.0)
    made.up, made.down = up, down


def _reserve_battery(program: Program, made: _Made, problem: Problem, up: Index, down: Index) -> None:
    """The battery's part of the reserve: headroom in power and, for the reserve's hours, in energy."""
    battery, n, hours = problem.battery, len(problem), problem.reserve.hours
    assert battery is not None  # noqa: S101  # the caller has looked
    low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
    for part, sign, power_kw in ((up, -1.0, battery.discharge_kw), (down, 1.0, battery.charge_kw)):
        rows = program.rows(n, -np.inf, power_kw)
        program.add(rows, made.charge, sign)
        program.add(rows, made.discharge, -sign)
        program.add(rows, part, 1.0)
    for back in (0, 1):  # at the end of a step, and at its start
        least, most = np.full(n, low, dtype=float), np.full(n, high, dtype=float)
        if back:  # before the first step
            least[0], most[0] = low - problem.start_kwh, high - problem.start_kwh
        for part, each, lower, upper, given in (
            (up, -hours / battery.efficiency_discharge, least, np.full(n, np.inf), problem.start_kwh >= low),
            (down, hours * battery.efficiency_charge, np.full(n, -np.inf), most, problem.start_kwh <= high),
        ):
            if given:  # a battery that must first come back to its band gives none in that direction
                rows = program.rows(n, lower, upper)
                program.add(rows[back:], made.stored[: n - back], 1.0)
                program.add(rows, part, each)
            elif not back:
                program.add(program.rows(n), part, 1.0)
