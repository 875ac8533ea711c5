"""From a solver's numbers to a `Plan`, with the money that its set points make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gridpilot.domain import Battery, DataFlag, Offer, Plan, PriceOutlook, SiteState
from gridpilot.plan.loads import CUSTOMER, JOB, Load
from gridpilot.plan.problem import Problem
from gridpilot.values import Array, as_array

SHORT_KWH = 0.05  # less is told as 0.0
RESERVE, DEMAND, DEPTH, ROOM = "reserve", "demand charge", "wear by depth", "warmth left in the room"


@dataclass(frozen=True, slots=True)
class Solution:
    """Primal and dual values: kW (T,), kWh at the end of each step (T,), $/kWh (T,).

    worth_usd_per_kwh is what a kWh is worth in each load (T,), with what its windows, run times and rules make of it;
    empty where that is not known.
    """

    charge_kw: Array
    discharge_kw: Array
    stored_kwh: Array
    loads_kw: dict[str, Array]
    import_kw: Array
    export_kw: Array
    marginal_usd_per_kwh: Array
    power_usd_per_kwh: Array
    solve_ms: float
    worth_usd_per_kwh: dict[str, Array] = field(default_factory=dict)
    reserve_up_kw: Array = field(default_factory=lambda: as_array([]))
    reserve_down_kw: Array = field(default_factory=lambda: as_array([]))
    room_kw: Array = field(default_factory=lambda: as_array([]))


def to_plan(
    problem: Problem, outlook: PriceOutlook, state: SiteState, found: Solution, method: str, solve_ms: float
) -> Plan:
    """A plan with status optimal; the caller renames what a fallback made."""
    battery, n = problem.battery, len(problem)
    soc = np.full(n, state.soc_frac, dtype=float)
    if battery:
        soc = np.clip(found.stored_kwh / battery.capacity_kwh, *_soc_range(battery, problem.start_kwh))
    taken = {load.name: as_array(np.minimum(found.loads_kw[load.name], load.max_kw)) for load in problem.loads}
    loads: dict[str, Array] = {}
    for load in problem.loads:
        loads[load.place] = as_array(loads.get(load.place, np.zeros(n)) + taken[load.name])
    it_kw = sum(loads.values(), np.zeros(n))
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
        cooling_kw=as_array(np.maximum(problem.cooling_kw_per_kw * it_kw + _room_kw(problem, found), 0.0)),
        loads_kw=loads,
        marginal_value_usd_per_kwh=found.marginal_usd_per_kwh,
        power_price_usd_per_kwh=found.power_usd_per_kwh,
        terminal_usd_per_mwh=problem.terminal_usd_per_kwh * 1000.0,
        outlook=outlook,
        solve_ms=solve_ms,
        offers=tuple(_offer(problem, found, load) for load in problem.loads),
        customers_kw={load.name: taken[load.name] for load in problem.loads if load.place != load.name},
        reserve_up_kw=found.reserve_up_kw,
        reserve_down_kw=found.reserve_down_kw,
        room_kw=_room_kw(problem, found),
        room_c=as_array(room_c(problem, found) if problem.room.planned else []),
        extras_usd=extras(problem, found),
        flags=tuple(_broken(problem, found)),
    )


def _room_kw(problem: Problem, found: Solution) -> Array:
    return found.room_kw if len(found.room_kw) else as_array(np.zeros(len(problem)))


def room_c(problem: Problem, found: Solution) -> list[float]:
    """The room's temperature at the end of each step [degrees C]."""
    now, out = problem.room_start_c, []
    for extra, cop, hours in zip(_room_kw(problem, found), problem.cop, problem.hours, strict=True):
        now = problem.room.after(now, float(extra), float(cop), float(hours))
        out.append(now)
    return out


def _soc_range(battery: Battery, start_kwh: float) -> tuple[float, float]:
    """The band, widened to the start where that lies outside: a solver undershoots a bound by 2e-11."""
    start = start_kwh / battery.capacity_kwh
    return min(battery.soc_min, start), max(battery.soc_max, start)


def _offer(problem: Problem, found: Solution, load: Load) -> Offer:
    """What the load asks of the auction in the first step: all that it could use, or what the plan gives it where
    something else than its value shapes that (a job, a customer's service, minimum run times)."""
    worth = float(found.worth_usd_per_kwh.get(load.name, load.worth_usd_per_kwh)[0])
    job = not load.of and any(run.load == load.name for run in problem.runs)
    shaped = job or load.place != load.name or any(s.type == load.place for s in problem.switching)
    kw = min(float(found.loads_kw[load.name][0]), float(load.max_kw[0])) if shaped else float(load.max_kw[0])
    own = float(load.worth_usd_per_kwh[0])
    return Offer(load.name, load.place, load.service, kw, max(worth, own) if job else worth if shaped else own)


def objective(problem: Problem, found: Solution) -> float:
    """The money of a solution [$], by the formula in `problem.py`."""
    h = problem.hours
    money = float(h * problem.price_usd_per_kwh @ (found.export_kw - found.import_kw))
    for load in problem.loads:
        money += float(h * load.value_usd_per_kwh @ found.loads_kw[load.name])
    if problem.battery is not None:
        money -= problem.battery.wear_usd_per_kwh * float(h @ (found.charge_kw + found.discharge_kw))
        money += problem.terminal_usd_per_kwh * float(found.stored_kwh[-1] - problem.start_kwh)
    return money + sum(extras(problem, found).values())


def extras(problem: Problem, found: Solution) -> dict[str, float]:
    """Money beside energy, loads and plain wear [$], by cause; what is not asked of the site is left out."""
    out: dict[str, float] = {}
    for run in problem.runs:
        short = max(0.0, run.least_kwh - float(run.mask * problem.hours @ found.loads_kw[run.load]))
        if run.least_kwh > 0.0 and run.short_usd_per_kwh:
            out[run.cause] = out.get(run.cause, 0.0) - short * run.short_usd_per_kwh
    if problem.demand_usd_per_kw > 0.0:
        more = max(0.0, float(np.max(found.import_kw)) - problem.peak_kw)
        out[DEMAND] = 0.0 - problem.demand_usd_per_kw * more
    if problem.reserve.wanted and len(found.reserve_up_kw):
        price = problem.reserve
        up, down = float(problem.hours @ found.reserve_up_kw), float(problem.hours @ found.reserve_down_kw)
        out[RESERVE] = (up * price.up_usd_per_mw_h + down * price.down_usd_per_mw_h) / 1000.0
    if problem.room.planned:
        warmer = room_c(problem, found)[-1] - problem.room_start_c
        out[ROOM] = 0.0 - problem.room_usd_per_c * warmer
    if problem.depth_wear:
        out[DEPTH] = 0.0 - float(_depth_wear_usd(problem, found))
    return out


def _broken(problem: Problem, found: Solution) -> Iterator[DataFlag]:
    """A line for each promise that the set points do not keep."""
    for run in problem.runs:
        if run.least_kwh <= 0.0:
            continue
        kw, most_kw = found.loads_kw[run.load], next(load.max_kw for load in problem.loads if load.name == run.load)
        missing, could = (run.least_kwh - float(run.mask * problem.hours @ power) for power in (kw, most_kw))
        if run.cause == JOB and could > SHORT_KWH:
            needs, fits = f"{run.least_kwh:,.1f}", f"{run.least_kwh - could:,.1f}"
            text = f"{run.load} needs {needs} kWh before its deadline: {fits} kWh fit, {could:,.1f} don't"
            yield DataFlag("JOB_LATE", text, "warn", "plan")
        elif missing > SHORT_KWH and (run.cause == CUSTOMER or run.short_usd_per_kwh):
            what = "of its service level" if run.cause == CUSTOMER else "at its deadline"
            code = "SERVICE_SHORT" if run.cause == CUSTOMER else "JOB_SHORT"
            yield DataFlag(code, f"{run.load}: {missing:,.1f} kWh are missing {what}", "warn", "plan")
    if problem.reserve.wanted:
        for name, given, sold in (
            ("up", found.reserve_up_kw, problem.reserve.up_kw),
            ("down", found.reserve_down_kw, problem.reserve.down_kw),
        ):
            least = float(np.min(given)) if len(given) else 0.0
            if least < sold - SHORT_KWH:
                steps = int(np.sum(given < sold - SHORT_KWH)) if len(given) else len(problem)
                text = (
                    f"reserve {name}: {sold:g} kW are sold, {least:,.1f} kW can be kept free ({steps} intervals short)"
                )
                yield DataFlag("RESERVE_SHORT", text, "warn", "plan")
    if np.isfinite(problem.ramp_kw):
        grid = found.import_kw - found.export_kw
        change = np.abs(np.diff(grid, prepend=problem.grid_before_kw))
        over = np.nan_to_num(change - problem.ramp_kw, nan=0.0)
        if np.max(over) > SHORT_KWH:
            t = int(np.argmax(over))
            text = f"the grid connection changes by {change[t]:,.1f} kW in step {t}, limit {problem.ramp_kw:,.1f} kW"
            yield DataFlag("RAMP", text, "warn", "plan")


def _depth_wear_usd(problem: Problem, found: Solution) -> float:
    """Charging fills and discharging empties the shallowest part that can; at the start the deepest are full.

    The cheapest assignment of a profile to parts, as the costs rise with depth (Xu, Zhao, Zheng, Litvinov and Kirschen
    2018, "Factoring the cycle aging cost of batteries participating in electricity markets").
    """
    battery = problem.battery
    assert battery is not None  # noqa: S101  # depth_wear is empty without one
    width = depth_width_kwh(problem)
    held = depth_start_kwh(problem)
    gains = (problem.hours * found.charge_kw * battery.efficiency_charge).tolist()
    drains = (problem.hours * found.discharge_kw / battery.efficiency_discharge).tolist()
    usd, prices = 0.0, problem.depth_wear
    for gain, drain in zip(gains, drains, strict=True):
        for j, price in enumerate(prices):
            put = min(gain, width - held[j])
            held[j] += put
            gain -= put  # noqa: PLW2901
            got = min(drain, held[j])
            held[j] -= got
            drain -= got  # noqa: PLW2901
            usd += got * battery.efficiency_discharge * price
    return usd


def depth_width_kwh(problem: Problem) -> float:
    """Energy of each of the equal parts of the band."""
    battery = problem.battery
    assert battery is not None  # noqa: S101  # depth_wear is empty without one
    return (battery.soc_max - battery.soc_min) * battery.capacity_kwh / len(problem.depth_wear)


def depth_start_kwh(problem: Problem) -> list[float]:
    """What each part holds at the start, from the top: the deepest are full."""
    battery = problem.battery
    assert battery is not None  # noqa: S101  # depth_wear is empty without one
    left, width = problem.start_kwh - battery.soc_min * battery.capacity_kwh, depth_width_kwh(problem)
    out = []
    for _ in problem.depth_wear:
        out.append(min(width, max(0.0, left)))
        left -= width
    return out[::-1]
