"""The independent check: what may be sent, in plain numpy, sharing no code with the optimiser.

A set of set points that was made by anyone (optimiser, fallback, auction, operator) passes here or is not
sent. Each violation is one line: what, where, how much, and the limit. The checks start from the site file
and the physics again, and take nothing from a plan on trust but its set points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

import numpy as np

from gridpilot.domain import Dispatch, Plan, Site, SiteState
from gridpilot.values import Array, to_utc

KW = 1e-4  # tolerance of a power, 0.1 W: below anything a machine can tell
SOC = 1e-6
ROOM_C = 0.01  # degrees


def check_plan(site: Site, state: SiteState, plan: Plan) -> tuple[str, ...]:
    """Violations of a plan over all its steps; empty when it is safe."""
    arrays = {
        "charge_kw": plan.charge_kw,
        "discharge_kw": plan.discharge_kw,
        "import_kw": plan.import_kw,
        "export_kw": plan.export_kw,
        "cooling_kw": plan.cooling_kw,
        **{f"loads_kw.{name}": kw for name, kw in plan.loads_kw.items()},
    }
    for name, values in arrays.items():
        if not np.all(np.isfinite(values)):
            return (f"{name} has a value that is not finite",)
    return (
        *_grid(site, state, plan, arrays),
        *_battery(site, state, plan),
        *_loads(site, plan),
        *_reserve(site, plan),
        *_room(site, state, plan),
    )


def _grid(site: Site, state: SiteState, plan: Plan, arrays: dict[str, Array]) -> Iterator[str]:
    for name, values in arrays.items():
        yield from _above(f"-{name}", -values, 0.0, plan)
    yield from _above("import_kw", plan.import_kw, site.import_kw, plan)
    yield from _curtailed(state, plan)
    yield from _above("export_kw", plan.export_kw, site.export_kw, plan)
    it_kw = np.zeros(len(plan))
    for values in plan.loads_kw.values():
        it_kw = it_kw + values
    cooling = it_kw * site.cooling.heat_fraction / _cop(site, plan) + plan.room_kw
    yield from _above("|cooling - heat / COP|", np.abs(plan.cooling_kw - cooling), 0.0, plan)
    drawn = it_kw + cooling + plan.charge_kw - plan.discharge_kw
    yield from _above("|power balance|", np.abs(plan.import_kw - plan.export_kw - drawn), 0.0, plan)


def _curtailed(state: SiteState, plan: Plan) -> Iterator[str]:
    """A limit that holds for a time binds each step that it touches, the running one only while it holds now."""
    for limit in state.limits:
        for t, kw in enumerate(plan.import_kw):
            start = to_utc(plan.timestamp[t])
            last = (
                state.at
                if t == 0
                else min(start + timedelta(seconds=plan.step_s - 1), limit.end - timedelta(seconds=1))
            )
            if limit.start <= last < limit.end and start < limit.end and kw > limit.at(last) + KW:
                yield (
                    f"import_kw is {kw:.6g} at {start:%Y-%m-%d %H:%M} UTC (step {t}), limit {limit.at(last):.6g} "
                    f"until {limit.end:%H:%M}"
                )
                break


def _cop(site: Site, plan: Plan) -> Array:
    """The cooling's coefficient of performance, by the outdoor temperature where it is known (T,)."""
    outdoor = plan.outlook.outdoor_c
    return site.cooling.cop_at(outdoor) if len(outdoor) else np.full(len(plan), site.cooling.cop)


def _battery(site: Site, state: SiteState, plan: Plan) -> Iterator[str]:
    battery = site.battery
    yield from _above("charge_kw", plan.charge_kw, battery.charge_kw, plan)
    yield from _above("discharge_kw", plan.discharge_kw, battery.discharge_kw, plan)
    yield from _above("charge and discharge at once", np.minimum(plan.charge_kw, plan.discharge_kw), 0.0, plan)
    moved = np.maximum(plan.charge_kw, plan.discharge_kw)
    if not (math.isfinite(state.soc_frac) and 0.0 <= state.soc_frac <= 1.0) or battery.capacity_kwh <= 0.0:
        yield from _above("battery power with an unknown state of charge", moved, 0.0, plan)
        return
    hours = plan.step_s / 3600.0
    stored = plan.charge_kw * battery.efficiency_charge - plan.discharge_kw / battery.efficiency_discharge
    soc = state.soc_frac + np.cumsum(stored) * hours / battery.capacity_kwh
    low, high = min(battery.soc_min, state.soc_frac), max(battery.soc_max, state.soc_frac)
    yield from _above("soc_frac", soc, high, plan, SOC)
    yield from _above("-soc_frac", -soc, -low, plan, SOC)
    yield from _above("|soc_frac - what the set points give|", np.abs(plan.soc_frac - soc), 0.0, plan, 10 * SOC)


def _loads(site: Site, plan: Plan) -> Iterator[str]:
    stock = {m.type: m.count * m.power_w / 1000.0 for m in site.machines}
    stock |= {t.name: t.kw for t in site.tenants}
    stock |= {j.name: j.max_kw for j in site.jobs}
    for name, values in plan.loads_kw.items():
        if name not in stock:
            yield f"{name}: the site has no such load"
        else:
            yield from _above(f"{name} kW", values, stock[name], plan)


def _reserve(site: Site, plan: Plan) -> Iterator[str]:
    """What is promised as reserve fits the connection, and the battery and the miners together can give it."""
    up, down = plan.reserve_up_kw, plan.reserve_down_kw
    if not (np.any(up) or np.any(down)):
        return
    grid_kw = plan.import_kw - plan.export_kw
    yield from _above("reserve up beyond the export limit", up - grid_kw, site.export_kw, plan)
    yield from _above("reserve down beyond the import limit", down + grid_kw, site.import_kw, plan)
    battery, hours = site.battery, site.reserve.hours
    mining = [m for m in site.machines if m.product == "hash"]
    gross = 1.0 + site.cooling.heat_fraction / _cop(site, plan)
    running = sum((plan.loads_kw[m.type] for m in mining if m.type in plan.loads_kw), np.zeros(len(plan)))
    stock = sum(m.count * m.power_w / 1000.0 for m in mining)
    soc = np.clip(np.stack([plan.soc_frac, np.append(plan.soc_start_frac, plan.soc_frac[:-1])]), 0.0, 1.0)
    above, below = soc.min(axis=0) - battery.soc_min, battery.soc_max - soc.max(axis=0)
    held_kwh, room_kwh = (np.nan_to_num(np.maximum(x, 0.0)) * battery.capacity_kwh for x in (above, below))
    up_kw = np.minimum(
        battery.discharge_kw + plan.battery_kw, _per_hour(held_kwh * battery.efficiency_discharge, hours)
    )
    down_kw = np.minimum(battery.charge_kw - plan.battery_kw, _per_hour(room_kwh / battery.efficiency_charge, hours))
    hair = 10 * KW + 1e-6 * max(battery.charge_kw, battery.discharge_kw, site.import_kw)  # solvers keep to 1e-7
    yield from _above("reserve up beyond battery and miners", up - up_kw - gross * running, 0.0, plan, hair)
    yield from _above(
        "reserve down beyond battery and miners", down - down_kw - gross * (stock - running), 0.0, plan, hair
    )


def _room(site: Site, state: SiteState, plan: Plan) -> Iterator[str]:
    """Cooling beyond the heat keeps the room between its temperatures, or brings it back."""
    room = site.room
    if not np.any(plan.room_kw):
        return
    if not room.planned:
        yield f"cooling differs from its heat by up to {np.max(np.abs(plan.room_kw)):.3f} kW: the site plans no room"
        return
    yield from _above("room_kw", plan.room_kw, room.extra_kw, plan)
    start = state.room_c if math.isfinite(state.room_c) else room.set_c
    now, track = start, []
    for extra, each in zip(plan.room_kw, _cop(site, plan), strict=True):
        now = room.after(now, float(extra), float(each), plan.step_s / 3600.0)
        track.append(now)
    yield from _above("room_c", np.array(track), max(room.high_c, start), plan, ROOM_C)
    yield from _above("-room_c", -np.array(track), -min(room.low_c, start), plan, ROOM_C)


def _per_hour(kwh: Array, hours: float) -> Array:
    """The power that an energy lasts for; no bound for reserve that takes no time."""
    return kwh / hours if hours > 0.0 else np.full(len(kwh), np.inf)


def _above(name: str, values: Array, limit: float, plan: Plan, tolerance: float = KW) -> Iterator[str]:
    """One line for the worst step where a value is above its limit."""
    worst = int(np.argmax(values))
    if values[worst] > limit + tolerance:
        when = to_utc(plan.timestamp[worst])
        yield f"{name} is {values[worst]:.6g} at {when:%Y-%m-%d %H:%M} UTC (step {worst}), limit {limit:.6g}"


def check_dispatch(site: Site, state: SiteState, dispatch: Dispatch, *, step_s: float) -> tuple[str, ...]:
    """Violations of the set points of one interval, held for `step_s` seconds; empty when they may be sent."""
    numbers = [dispatch.battery_kw, dispatch.cooling_kw, dispatch.machine_kw, dispatch.total_power_kw]
    numbers += [dispatch.room_kw, *dispatch.jobs_kw.values(), *dispatch.tenants_kw.values()]
    if not all(math.isfinite(number) for number in numbers):
        return ("a set point is not a finite number",)
    return (
        *_counts(site, dispatch),
        *_flexible(site, dispatch),
        *_power(site, state, dispatch),
        *_state_of_charge(site, state, dispatch, step_s),
        *_room_step(site, state, dispatch, step_s),
    )


def _counts(site: Site, dispatch: Dispatch) -> Iterator[str]:
    stock = {m.type: m.count for m in site.machines}
    for name, count in dispatch.machines.items():
        if isinstance(count, bool) or not isinstance(count, int):
            yield f"{name}: {count!r} machines, expected a whole number"
        elif count < 0:
            yield f"{name}: {count} machines, expected 0 or more"
        elif count > stock.get(name, 0):
            yield f"{name}: {count} machines, the site has {stock.get(name, 0)}"
    if dispatch.valid_until <= dispatch.at:
        yield f"valid until {dispatch.valid_until:%H:%M:%S}, which is not after {dispatch.at:%H:%M:%S} UTC"


def _flexible(site: Site, dispatch: Dispatch) -> Iterator[str]:
    limits = {j.name: j.max_kw for j in site.jobs} | {t.name: t.kw for t in site.tenants}
    for name, kw in {**dispatch.jobs_kw, **dispatch.tenants_kw}.items():
        if kw < -KW or kw > limits.get(name, 0.0) + KW:
            yield f"{name}: {_number(kw)} kW, expected 0 to {_number(limits.get(name, 0.0))} kW"


def _power(site: Site, state: SiteState, dispatch: Dispatch) -> Iterator[str]:
    power_w = {m.type: m.power_w for m in site.machines}
    machine_kw = sum(n * power_w.get(name, 0.0) for name, n in dispatch.machines.items()) / 1000.0
    it_kw = machine_kw + sum(dispatch.jobs_kw.values()) + sum(dispatch.tenants_kw.values())
    cooling_kw = it_kw * site.cooling.heat_fraction / site.cooling.cop + dispatch.room_kw
    if cooling_kw < -KW:
        yield f"{_number(cooling_kw)} kW of cooling, expected 0 or more"
    total_kw = it_kw + cooling_kw
    stated = (("machine", dispatch.machine_kw, machine_kw), ("cooling", dispatch.cooling_kw, cooling_kw))
    for name, said, real in (*stated, ("total", dispatch.total_power_kw, total_kw)):
        if abs(said - real) > KW:
            yield f"{name} power is given as {_number(said)} kW, the set points draw {_number(real)} kW"
    grid_kw = total_kw + dispatch.battery_kw
    most_kw = min([site.import_kw, *(limit.at(dispatch.at) for limit in state.limits)])
    if grid_kw > most_kw + KW:
        yield f"{_number(grid_kw)} kW from the grid, limit {_number(most_kw)} kW"
    if -grid_kw > site.export_kw + KW:
        yield f"{_number(-grid_kw)} kW into the grid, limit {_number(site.export_kw)} kW"


def _state_of_charge(site: Site, state: SiteState, dispatch: Dispatch, step_s: float) -> Iterator[str]:
    battery, kw = site.battery, dispatch.battery_kw
    if kw > battery.charge_kw + KW or -kw > battery.discharge_kw + KW:
        yield f"battery at {_number(kw)} kW, limits -{_number(battery.discharge_kw)} to {_number(battery.charge_kw)} kW"
    if abs(kw) <= KW:
        return
    if not (math.isfinite(state.soc_frac) and 0.0 <= state.soc_frac <= 1.0) or battery.capacity_kwh <= 0.0:
        known = math.isfinite(state.soc_frac)
        soc = f"a state of charge of {_number(100.0 * state.soc_frac, 1)} %" if known else "no known state of charge"
        yield f"battery at {_number(kw)} kW with {soc}, expected 0 kW"
        return
    gain = kw * battery.efficiency_charge if kw > 0 else kw / battery.efficiency_discharge
    after = state.soc_frac + gain * step_s / 3600.0 / battery.capacity_kwh
    low, high = min(battery.soc_min, state.soc_frac), max(battery.soc_max, state.soc_frac)
    if not low - 100 * SOC <= after <= high + 100 * SOC:
        after_, low_, high_ = _told_apart(100.0 * after, 100.0 * low, 100.0 * high)
        yield f"state of charge would be {after_} % after {_span(step_s)}, band {low_} to {high_} %"


def _room_step(site: Site, state: SiteState, dispatch: Dispatch, step_s: float) -> Iterator[str]:
    room, extra = site.room, dispatch.room_kw
    if abs(extra) <= KW:
        return
    if not room.planned or extra > room.extra_kw + KW:
        most_kw = room.extra_kw if room.planned else 0.0
        yield f"{_number(extra)} kW of cooling beyond the heat, limit {_number(most_kw)} kW"
        return
    start = state.room_c if math.isfinite(state.room_c) else room.set_c
    after = room.after(start, extra, site.cooling.cop, step_s / 3600.0)
    low, high = min(room.low_c, start), max(room.high_c, start)
    if not low - ROOM_C <= after <= high + ROOM_C:
        after_, low_, high_ = _told_apart(after, low, high)
        yield f"the room would be at {after_} °C after {_span(step_s)}, band {low_} to {high_} °C"


# --- as people read ------------------------------------------------------------------------


def _number(value: float, digits: int = 3) -> str:
    """Thousands apart, at most that many decimals: 1,234.5."""
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _told_apart(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A value and its limits, one decimal unless that would hide that it is outside of them."""
    shown = ("", "", "")
    for digits in range(1, 5):
        shown = (_number(value, digits), _number(low, digits), _number(high, digits))
        if shown[0] not in shown[1:]:
            break
    return shown


def _span(seconds: float) -> str:
    """1 h, 1 h 24 min, 15 min, 90 s."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min")) if n)
