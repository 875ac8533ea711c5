"""From kW to whole machines, and any set of set points as a checked `Dispatch`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from gridpilot.auction.services import BATTERY
from gridpilot.domain import AuctionResult, Dispatch, Plan, Site, SiteState
from gridpilot.plan.loads import available_kw
from gridpilot.plan.safety import check_dispatch

EPSILON_KW = 1e-6  # the auction's and the solver's rounding
CHECK_S = 3600.0  # how far ahead the state of charge is checked, where no step is given


def to_dispatch(
    site: Site,
    plan: Plan,
    auction: AuctionResult,
    state: SiteState,
    at: datetime,
    valid_until: datetime,
    origin: str = "plan",
) -> Dispatch:
    """The auction's kW as whole machines, with the plan's battery power.

    Each type gets the whole machines that its kW carry. What is left over is filled by the machines that are
    worth most per kW, one more of a type at the most, as far as the connection, its ramp and the work at hand allow.
    Where whole machines draw less than the ramp lets the connection fall by, the battery gives as much less.
    """
    kw = {allocation.bidder: 0.0 for allocation in auction.allocation}
    value = dict(kw)
    for allocation in auction.allocation:
        kw[allocation.bidder] += allocation.kw
        value[allocation.bidder] += allocation.value_usd_per_h
    battery_kw = min(float(plan.battery_kw[0]), kw.get(BATTERY, 0.0))  # charging is what the auction gives to it
    jobs = {job.name: kw.get(job.name, 0.0) for job in site.jobs}
    tenants = {tenant.name: kw.get(tenant.name, 0.0) for tenant in site.tenants}
    counts = {m.type: int((kw.get(m.type, 0.0) + EPSILON_KW) / m.power_kw) for m in site.machines}
    it_kw = sum(counts[m.type] * m.power_kw for m in site.machines) + sum(jobs.values()) + sum(tenants.values())
    least_kw, most_kw = _ramp(site, state, plan.step_s)
    most_kw = min(site.import_kw, most_kw)
    room = (most_kw - battery_kw - float(plan.room_kw[0])) / (1.0 + site.cooling.kw_per_kw) - it_kw
    part = [m for m in site.machines if kw.get(m.type, 0.0) - counts[m.type] * m.power_kw > EPSILON_KW]
    for machine in sorted(part, key=lambda m: (-value[m.type] / kw[m.type], m.type)):
        works = (counts[machine.type] + 1) * machine.power_kw <= available_kw(site, machine, at) + EPSILON_KW
        if works and machine.power_kw <= room:
            counts[machine.type] += 1
            room -= machine.power_kw
            it_kw += machine.power_kw
    room_kw = max(float(plan.room_kw[0]), -it_kw * site.cooling.kw_per_kw)
    load_kw = it_kw * (1.0 + site.cooling.kw_per_kw) + room_kw
    if battery_kw < 0.0:  # whole machines may draw a little less than planned: the grid does not take it all
        battery_kw = max(battery_kw, min(0.0, max(least_kw, -site.export_kw) - load_kw))
    return from_counts(site, state, counts, battery_kw, jobs, tenants, at, valid_until, origin, plan.step_s, room_kw)


def _ramp(site: Site, state: SiteState, step_s: float) -> tuple[float, float]:
    """The least and the most that the connection may carry in an interval after what it carries now [kW]."""
    if not site.ramp_kw_per_min or math.isnan(state.grid_kw):
        return -math.inf, math.inf
    change_kw = site.ramp_kw_per_min * step_s / 60.0
    return state.grid_kw - change_kw, state.grid_kw + change_kw


def from_counts(  # noqa: PLR0913, PLR0917 - absolute targets, one for each thing that can be set
    site: Site,
    state: SiteState,
    machines: Mapping[str, int],
    battery_kw: float,
    jobs_kw: Mapping[str, float],
    tenants_kw: Mapping[str, float],
    at: datetime,
    valid_until: datetime,
    origin: str,
    step_s: float = CHECK_S,
    room_kw: float = 0.0,
) -> Dispatch:
    """These set points with cooling, totals, payload and the independent check's verdict. Nothing is clamped."""
    power_kw = {m.type: m.power_kw for m in site.machines}
    machine_kw = sum(count * power_kw.get(name, 0.0) for name, count in machines.items())
    it_kw = machine_kw + sum(jobs_kw.values()) + sum(tenants_kw.values())
    cooling_kw = it_kw * site.cooling.kw_per_kw + room_kw
    bare = Dispatch(
        at=at,
        valid_until=valid_until,
        origin=origin,
        machines=dict(machines),
        battery_kw=battery_kw,
        jobs_kw=dict(jobs_kw),
        tenants_kw=dict(tenants_kw),
        cooling_kw=cooling_kw,
        machine_kw=machine_kw,
        total_power_kw=it_kw + cooling_kw,
        payload={},
        constraints_satisfied=False,
        room_kw=room_kw,
        step_s=min(step_s, (valid_until - at).total_seconds()),
    )
    violations = check_dispatch(site, state, bare, step_s=bare.step_s)
    return replace(
        bare,
        constraints_satisfied=not violations,
        violations=violations,
        payload=_payload(site, state, bare, ok=not violations),
    )


def _payload(site: Site, state: SiteState, dispatch: Dispatch, *, ok: bool) -> dict[str, object]:
    """The message's shape in the system that GridPilot grew out of."""
    service = {m.type: m.service for m in site.machines} | {t.name: t.service for t in site.tenants}
    power = {m.type: dispatch.machines.get(m.type, 0) * m.power_kw for m in site.machines}
    power |= {**dispatch.jobs_kw, **dispatch.tenants_kw}
    allocation: dict[str, float] = {}
    for name, kw in power.items():
        key = service.get(name, "training")
        allocation[key] = allocation.get(key, 0.0) + kw
    return {
        "allocation": allocation,
        "power_requirements": power | {"cooling": dispatch.cooling_kw, "battery": dispatch.battery_kw},
        "constraints_satisfied": ok,
        "system_state": {
            "soc_frac": state.soc_frac,
            "total_power_kw": dispatch.total_power_kw,
            "battery_kw": dispatch.battery_kw,
            "grid_kw": dispatch.grid_kw,
        },
    }
