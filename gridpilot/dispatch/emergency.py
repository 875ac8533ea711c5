"""Rules that act before any optimisation: the fail-safe state, shedding, and the battery's guard. Pure.

Each makes its result with `from_counts`, so that it goes through the same independent check as every other
dispatch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Battery, DataFlag, Dispatch, FrequencyResponse, MachineType, Site, SiteState

MARGIN = 0.10  # shed this far below a limit that was broken, so that the next tick does not break it again
KW = 1e-6  # rounding
HOT_C, COOL_C, CRITICAL_C = 75.0, 72.0, 85.0  # of the hottest machine: act above the first, undo below the second
STEP_S = 120.0  # between two steps against heat: what it takes to see the last one work
GRAIN_KW = 5.0  # battery power is cut and called up in such steps, so that what trembles or falls slowly sends little
SOC_SPARE = 0.005  # of the band's edge that frequency response leaves alone


def failsafe(site: Site, state: SiteState, at: datetime, valid_until: datetime, origin: str = "failsafe") -> Dispatch:
    """Everything off, battery at rest: safe without any knowledge of prices. `origin` may be estop."""
    off = {machine.type: 0 for machine in site.machines}
    return from_counts(site, state, off, 0.0, {}, {}, at, valid_until, origin)


def scale_down(
    site: Site,
    state: SiteState,
    dispatch: Dispatch,
    limit_kw: float,
    value_usd_per_kwh: Mapping[str, float] | None = None,
    *,
    margin: float = MARGIN,
) -> tuple[Dispatch, DataFlag | None]:
    """Shed load until total power and grid import are a tenth (`margin`) below a limit that they broke.

    Charging goes first, then machines, least valuable first (without `value_usd_per_kwh`: those that do least
    for a watt first, miners before inference), then jobs, then tenants, each in equal shares. Discharging is
    never counted on, unless `margin` is 0: there the import alone must fit, as in a curtailment.
    Gives the dispatch itself and no flag where it fits.
    """
    relied_kw = min(0.0, dispatch.battery_kw) if margin == 0.0 else 0.0
    asked_kw = max(dispatch.total_power_kw + relied_kw, dispatch.grid_kw)
    if asked_kw <= limit_kw + KW:
        return dispatch, None
    target_kw = max(limit_kw, 0.0) * (1.0 - margin)
    room_kw = min(dispatch.room_kw, 0.0)  # cooling that can wait, waits
    excess = dispatch.total_power_kw - dispatch.room_kw + room_kw + relied_kw - target_kw
    less, excess = _less(site, dispatch, excess, value_usd_per_kwh)
    heated_kw = _it_kw(site, **less) * (1.0 + site.cooling.kw_per_kw)
    room_kw = max(room_kw, -_it_kw(site, **less) * site.cooling.kw_per_kw)
    battery_kw = dispatch.battery_kw
    if battery_kw > max(0.0, -excess):
        battery_kw = grain(max(0.0, -excess))
    if battery_kw < 0.0:  # whole machines may go by more than was asked: the grid does not take it all
        battery_kw = max(battery_kw, min(0.0, -site.export_kw - heated_kw - room_kw))
    shed = changed(site, state, dispatch, battery_kw=battery_kw, room_kw=room_kw, **less)
    text = (
        f"{dispatch.total_power_kw:.1f} kW of load and {dispatch.grid_kw:.1f} kW from the grid were asked for, "
        f"the limit is {limit_kw:.1f} kW: shed to {shed.total_power_kw:.1f} kW"
    )
    return shed, DataFlag("SHED", text, "alarm", "dispatch")


def cap_load(
    site: Site,
    state: SiteState,
    dispatch: Dispatch,
    cap_kw: float,
    value_usd_per_kwh: Mapping[str, float] | None = None,
) -> Dispatch:
    """Loads with their own cooling brought under `cap_kw`, in the order of `scale_down`, whatever the battery does; the
    cooling beyond their heat stays."""
    excess = dispatch.total_power_kw - dispatch.room_kw - cap_kw
    if excess <= KW:
        return dispatch
    less, _ = _less(site, dispatch, excess, value_usd_per_kwh)
    load_kw = _it_kw(site, **less)
    room_kw = max(dispatch.room_kw, -load_kw * site.cooling.kw_per_kw)
    return changed(site, state, dispatch, room_kw=room_kw, **less)


def _less(
    site: Site, dispatch: Dispatch, excess: float, value_usd_per_kwh: Mapping[str, float] | None
) -> tuple[dict[str, Any], float]:
    """Machines, then jobs, then tenants, `excess` kW less of them with their cooling; and what is still too much."""
    heat, counts = 1.0 + site.cooling.kw_per_kw, dict(dispatch.machines)
    for machine in sorted(site.machines, key=lambda m: _worth(m, value_usd_per_kwh)):
        if excess <= KW:
            break
        off = min(counts.get(machine.type, 0), math.ceil((excess - KW) / (machine.power_kw * heat)))
        counts[machine.type] = counts.get(machine.type, 0) - off
        excess -= off * machine.power_kw * heat
    jobs, excess = _cut(dispatch.jobs_kw, excess, heat)
    tenants, excess = _cut(dispatch.tenants_kw, excess, heat)
    return {"machines": counts, "jobs_kw": jobs, "tenants_kw": tenants}, excess


def grain(charge_kw: float) -> float:
    """Charging power, down to whole steps."""
    return math.floor((charge_kw + KW) / GRAIN_KW) * GRAIN_KW


def changed(site: Site, state: SiteState, dispatch: Dispatch, **what: Any) -> Dispatch:
    """A dispatch with something else set (`machines`, `battery_kw`, `jobs_kw`, `tenants_kw`, `room_kw`, `origin`),
    checked anew."""
    now = {name: what.get(name, getattr(dispatch, name)) for name in _SET}
    return from_counts(
        site,
        state,
        now["machines"],
        now["battery_kw"],
        now["jobs_kw"],
        now["tenants_kw"],
        dispatch.at,
        dispatch.valid_until,
        now["origin"],
        dispatch.step_s,
        now["room_kw"],
    )


_SET = ("machines", "battery_kw", "jobs_kw", "tenants_kw", "room_kw", "origin")


def battery_guard(battery: Battery, soc_frac: float, battery_kw: float) -> tuple[float, DataFlag | None]:
    """Battery power that a state of charge allows: none when it is unknown, only inward outside the band."""
    if not (math.isfinite(soc_frac) and 0.0 <= soc_frac <= 1.0):
        text = f"state of charge reads {soc_frac}, expected 0 to 1: battery held at 0 kW"
        return 0.0, DataFlag("SOC_UNKNOWN", text, "alarm", "dispatch")
    low, high = soc_frac < battery.soc_min, soc_frac > battery.soc_max
    if (low and battery_kw < 0.0) or (high and battery_kw > 0.0):
        verb = "discharging" if low else "charging"
        text = (
            f"state of charge is {soc_frac:.1%}, its band {battery.soc_min:.0%} to {battery.soc_max:.0%}: "
            f"{verb} at {abs(battery_kw):.1f} kW was stopped"
        )
        return 0.0, DataFlag("SOC_LIMIT", text, "info", "dispatch")
    return battery_kw, None


# --- heat ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heat:
    """What was done about heat so far: extra cooling since when, and the most load [kW] that is allowed."""

    cooling: bool = False
    cap_kw: float | None = None
    at: datetime | None = None  # of the last step

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Heat:
        """The inverse of `values.to_jsonable`."""
        return cls(**{**body, "at": None if body["at"] is None else datetime.fromisoformat(body["at"])})


def heat_step(heat: Heat, hottest_c: float | None, now: datetime, load_kw: float, *, can_cool: bool) -> Heat:
    """The next step against heat: first cooling, then a tenth of the load less each `STEP_S` while it stays too hot.

    `load_kw` is what would be drawn without any of this. `hottest_c` None (no such sensor) or NaN (lost) changes
    nothing. Below `COOL_C` a tenth comes back each step, and the extra cooling ends last. A clock that went back waits
    for nothing.
    """
    if hottest_c is None or not math.isfinite(hottest_c):
        return heat
    waited = None if heat.at is None else now - heat.at
    if waited is not None and timedelta(0) <= waited < timedelta(seconds=STEP_S) and hottest_c < CRITICAL_C:
        return heat
    if hottest_c > HOT_C:
        if can_cool and not heat.cooling and hottest_c < CRITICAL_C:
            return Heat(True, heat.cap_kw, now)
        cap = min(load_kw, load_kw if heat.cap_kw is None else heat.cap_kw) * (1.0 - MARGIN)
        return Heat(can_cool, cap, now)
    if hottest_c > COOL_C or heat == Heat():
        return heat
    if heat.cap_kw is not None:
        cap = heat.cap_kw / (1.0 - MARGIN)
        return Heat(heat.cooling, cap if cap < load_kw else None, now)
    return Heat()


# --- frequency -------------------------------------------------------------------------------


def droop_kw(terms: FrequencyResponse, hertz: float, up_kw: float, down_kw: float) -> float:
    """What the grid's frequency asks of the promised reserve [kW]: positive is less load, negative more.

    0 within the dead band; then in proportion, and all of it from `full_hz` off the nominal frequency on.
    0 for a reading that no grid can have (more than 10 % off) or that is lost.
    """
    off = hertz - terms.nominal_hz
    if not math.isfinite(off) or abs(off) > 0.1 * terms.nominal_hz:
        return 0.0
    share = min(1.0, max(0.0, (abs(off) - terms.dead_band_hz) / (terms.full_hz - terms.dead_band_hz)))
    return share * up_kw if off < 0.0 else -share * down_kw


def respond(
    site: Site, state: SiteState, dispatch: Dispatch, kw: float, value_usd_per_kwh: Mapping[str, float] | None = None
) -> Dispatch:
    """A dispatch that draws `kw` less from the grid (negative: more): by the battery first, then by miners.

    Miners round so that no less than asked is given, as far as there are any; the battery keeps to its band.
    """
    battery, heat = site.battery, 1.0 + site.cooling.kw_per_kw
    low, high = _battery_room(battery, state.soc_frac, dispatch.step_s / 3600.0)
    battery_kw = min(max(dispatch.battery_kw - kw, min(low, dispatch.battery_kw)), max(high, dispatch.battery_kw))
    left = kw - (dispatch.battery_kw - battery_kw)
    counts = dict(dispatch.machines)
    miners = [m for m in site.machines if m.product == "hash"]
    for machine in sorted(miners, key=lambda m: _worth(m, value_usd_per_kwh), reverse=left < 0.0):
        each, running = machine.power_kw * heat, counts.get(machine.type, 0)
        if left > KW:
            off = min(running, math.ceil((left - KW) / each))
            counts[machine.type], left = running - off, left - off * each
        elif left < -KW:
            on = min(machine.count - running, math.ceil((-left - KW) / each))
            counts[machine.type], left = running + on, left + on * each
    return changed(site, state, dispatch, machines=counts, battery_kw=battery_kw)


def _battery_room(battery: Battery, soc_frac: float, hours: float) -> tuple[float, float]:
    """Least and most battery power that the state of charge allows for so long [kW]; none where that is unknown."""
    if not (math.isfinite(soc_frac) and 0.0 <= soc_frac <= 1.0):
        return 0.0, 0.0
    held_kwh = (soc_frac - battery.soc_min) * battery.capacity_kwh * battery.efficiency_discharge
    free_kwh = (battery.soc_max - soc_frac) * battery.capacity_kwh / battery.efficiency_charge
    low = _lasting(battery.discharge_kw, held_kwh, hours) if soc_frac > battery.soc_min + SOC_SPARE else 0.0
    high = _lasting(battery.charge_kw, free_kwh, hours) if soc_frac < battery.soc_max - SOC_SPARE else 0.0
    return -low, high


def _lasting(most_kw: float, kwh: float, hours: float) -> float:
    """All of a power where the energy lasts for the time, else as much of it as lasts, in whole steps [kW]."""
    return most_kw if most_kw * hours <= kwh else grain(kwh / hours)


def _it_kw(
    site: Site, machines: Mapping[str, int], jobs_kw: Mapping[str, float], tenants_kw: Mapping[str, float]
) -> float:
    machines_kw = sum(site.machine(name).power_kw * count for name, count in machines.items())
    return machines_kw + sum(jobs_kw.values()) + sum(tenants_kw.values())


def _worth(machine: MachineType, values: Mapping[str, float] | None) -> tuple[float, float, str]:
    """Sort key: what is shed first comes first."""
    per_kw = machine.rate / machine.power_kw
    if values is not None:
        return values.get(machine.type, 0.0), per_kw, machine.type
    return float(machine.product == "token"), per_kw, machine.type


def _cut(loads: Mapping[str, float], excess: float, heat: float) -> tuple[dict[str, float], float]:
    """Scale loads alike to take `excess` kW (cooling included) away; returns them and what is still too much."""
    total = sum(loads.values()) * heat
    if excess <= 0.0 or total <= 0.0:
        return dict(loads), excess
    share = max(0.0, 1.0 - excess / total)
    return {name: kw * share for name, kw in loads.items()}, excess - total * (1.0 - share)
