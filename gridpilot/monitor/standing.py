"""How the site stands by its rules and promises, from a recorded decision: nothing is decided here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.domain import Customer, RuleState, SiteState
from gridpilot.monitor.decision import Snapshot, gross, load_values, times, values
from gridpilot.plan.loads import available_kw, service_window
from gridpilot.plan.rules import follow
from gridpilot.values import iso, to_utc


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """A rule in the running interval. Prices in the source's unit; `turns` is when the plan's prices change it."""

    type: str
    strike: float
    manual: bool
    high: float  # NaN: none
    on: bool
    windows: int  # in a row on the side of the strike that changes it
    needed: int
    turns: datetime | None


def rule_standings(snap: Snapshot) -> list[RuleStanding]:
    """How each rule stands now, and when it changes at the prices that the plan expects."""
    state, out = snap.state, []
    if state is None:
        return []
    price = values(snap.plan["energy_usd_per_mwh"])
    worth = load_values(snap)
    for rule in snap.site.rules:
        even = 1000.0 * worth[rule.type] / gross(snap)
        stands, turns = [], None
        before = state.rules.get(rule.type, RuleState())
        for t in range(len(price)):
            before = follow(rule, before, float(price[t]), float(even[t]), snap.step_s)
            stands.append(before)
            if turns is None and before.on != stands[0].on:
                turns = to_utc(times(snap.plan["timestamp"])[t])
        now = stands[0]
        strike = float(even[0]) if rule.strike_usd_per_mwh is None else rule.strike_usd_per_mwh
        high = math.nan if rule.high_usd_per_mwh is None else float(snap.shown(rule.high_usd_per_mwh))
        windows, needed = (now.over, rule.above) if now.on else (now.under, rule.below)
        manual = rule.strike_usd_per_mwh is not None
        out.append(RuleStanding(rule.type, float(snap.shown(strike)), manual, high, now.on, windows, needed, turns))
    return out


@dataclass(frozen=True, slots=True)
class CustomerStanding:
    """A customer's running window: what it has had and will have by the plan, of what it asks for."""

    name: str
    type: str
    until: datetime
    allowed_frac: float  # slow-down
    so_far_frac: float  # slow-down; NaN before anything was asked for
    planned_frac: float  # slow-down of the whole window, as planned
    kw: float  # now
    slack_kwh: float  # that may still be left out in this window


def customer_standings(snap: Snapshot) -> list[CustomerStanding]:
    """The running window of each customer. Empty where the decision has no state recorded."""
    state = snap.state
    return [] if state is None else [_customer(snap, state, customer) for customer in snap.site.customers]


def _customer(snap: Snapshot, state: SiteState, customer: Customer) -> CustomerStanding:
    site, hours = snap.site, snap.step_s / 3600.0
    stamps = times(snap.plan["timestamp"])
    begun = service_window(site, customer.window_h, to_utc(stamps[0]))
    until = service_window(site, customer.window_h, begun + timedelta(hours=customer.window_h, minutes=30))
    inside = np.array([to_utc(stamp) < until for stamp in stamps])
    kw = values(snap.plan["customers_kw"][customer.name])
    machine = site.machine(customer.type)
    most = customer.share * np.array([available_kw(site, machine, to_utc(stamp)) for stamp in stamps])
    past = next((s for s in state.served if s.name == customer.name and s.start == begun), None)
    had, asked = (past.served_kwh, past.asked_kwh) if past else (0.0, 0.0)
    whole_had = had + hours * float(np.sum(kw[inside]))
    whole_asked = asked + hours * float(np.sum(most[inside]))
    return CustomerStanding(
        customer.name,
        customer.type,
        until,
        customer.allowed_slowdown,
        1.0 - had / asked if asked > 0.0 else math.nan,
        1.0 - whole_had / whole_asked if whole_asked > 0.0 else 0.0,
        float(kw[0]),
        max(0.0, customer.allowed_slowdown * whole_asked - (whole_asked - whole_had)),
    )


@dataclass(frozen=True, slots=True)
class Curtailable:
    """Site power that could be dropped at once without breaking a promise [kW], with its cooling, by what drops it.

    `discharge_kw` is what the battery could deliver beside that; `reserved_kw` of the whole is sold as reserve.
    """

    parts_kw: Mapping[str, float]
    discharge_kw: float
    reserved_kw: float

    @property
    def load_kw(self) -> float:
        """All of the load."""
        return sum(self.parts_kw.values())


def curtailable(snap: Snapshot) -> Curtailable:
    """The available-to-curtail figure of the set points in force.

    Miners whole; other machines but for what customers need: a customer's part counts where its window has room for an
    interval without it; jobs that would still be done by their deadline; charging.
    """
    site, sent, hours = snap.site, snap.dispatch, snap.step_s / 3600.0
    parts, heat = {}, 1.0 + site.cooling.kw_per_kw
    needed: dict[str, float] = {}
    for customer in customer_standings(snap):
        if customer.slack_kwh < customer.kw * hours - 1e-9:
            needed[customer.type] = needed.get(customer.type, 0.0) + customer.kw
    for machine in site.machines:
        running = sent["machines"].get(machine.type, 0) * machine.power_kw
        parts[machine.type] = heat * max(0.0, running - needed.get(machine.type, 0.0))
    for job, kw in sent["jobs_kw"].items():
        parts[job] = heat * kw if _can_wait(snap, job) else 0.0
    parts["charging"] = max(0.0, sent["battery_kw"])
    battery, soc = site.battery, snap.cycle["soc_frac"]
    held = 0.0 if soc is None else max(0.0, soc - battery.soc_min) * battery.capacity_kwh * battery.efficiency_discharge
    discharge = min(battery.discharge_kw, held / hours) - max(0.0, -sent["battery_kw"])
    reserved = float(snap.plan["reserve_up_kw"][0]) if "reserve_up_kw" in snap.plan else 0.0
    return Curtailable({k: kw for k, kw in parts.items() if kw > 0.0}, max(0.0, discharge), reserved)


def _can_wait(snap: Snapshot, job: str) -> bool:
    """Whether the running run of a job could skip an interval and be done in time."""
    state = snap.state
    needs = [need for need in state.jobs if need.name == job] if state else []
    if not needs:
        return False
    need = min(needs, key=lambda n: iso(n.deadline))
    left_h = (need.deadline - snap.at).total_seconds() / 3600.0 - snap.step_s / 3600.0
    return need.remaining_kwh <= need.max_kw * max(0.0, left_h) + 1e-9
