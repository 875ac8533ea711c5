"""Rules that act before any optimisation: the fail-safe state, shedding, and the battery's guard. Pure.

Each makes its result with `from_counts`, so that it goes through the same independent check as every other
dispatch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Battery, DataFlag, Dispatch, MachineType, Site, SiteState

MARGIN = 0.10  # shed this far below a limit that was broken, so that the next tick does not break it again


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
    margin: float = MARGIN,
) -> tuple[Dispatch, DataFlag | None]:
    """Shed load until total power and grid import are a margin (a tenth) below a limit that they broke.

    Charging goes first, then machines, least valuable first (without `value_usd_per_kwh`: those that do least
    for a watt first, miners before inference), then jobs, then tenants, each in equal shares. Discharging is
    never counted on. Gives the dispatch itself and no flag where it fits.
    """
    if max(dispatch.total_power_kw, dispatch.grid_kw) <= limit_kw:
        return dispatch, None
    target_kw = max(limit_kw, 0.0) * (1.0 - margin)
    heat = 1.0 + site.cooling.kw_per_kw
    counts = dict(dispatch.machines)
    excess = dispatch.total_power_kw - target_kw
    for machine in sorted(site.machines, key=lambda m: _worth(m, value_usd_per_kwh)):
        if excess <= 0.0:
            break
        off = min(counts.get(machine.type, 0), math.ceil(excess / (machine.power_kw * heat)))
        counts[machine.type] = counts.get(machine.type, 0) - off
        excess -= off * machine.power_kw * heat
    jobs, excess = _cut(dispatch.jobs_kw, excess, heat)
    tenants, excess = _cut(dispatch.tenants_kw, excess, heat)
    battery_kw = min(dispatch.battery_kw, max(0.0, -excess))
    shed = from_counts(
        site, state, counts, battery_kw, jobs, tenants, dispatch.at, dispatch.valid_until, dispatch.origin
    )
    text = (
        f"{dispatch.total_power_kw:.1f} kW of load and {dispatch.grid_kw:.1f} kW from the grid were asked for, "
        f"the limit is {limit_kw:.1f} kW: shed to {shed.total_power_kw:.1f} kW"
    )
    return shed, DataFlag("SHED", text, "alarm", "dispatch")


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
        return 0.0, DataFlag("SOC_LIMIT", text, "warn", "dispatch")
    return battery_kw, None


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
