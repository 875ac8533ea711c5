"""What recorded decisions and prices say, for the screens: nothing is decided here.

Prices are in the source's own unit (`Units.energy`) where a docstring does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.domain import Site
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import GUARD, Change, Snapshot, gross, load_values, times, values
from gridpilot.values import Array, Times, as_array, as_times, to_stamp, to_utc

SET = ("applied", "mismatch")  # of a dispatch: the site took the set points, or some of them


# --- what was set --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Track:
    """The set points in force in past intervals up to the running one, on an even grid.

    timestamp (N,); loads_kw: machine types, jobs, tenants and cooling -> (N,); battery_kw (N,) charging
    positive; grid_kw (N,) import positive; soc_frac (N,) at the decision, so near the START of the interval,
    NaN where none was made. Powers are means over an interval, of the running one what is in force now. Where nothing
    was sent the last set points hold while they are valid, and then nothing is on, as the settlement counts it.
    known_h (N,): hours of each interval since the first decision; all of it but in the first one.
    """

    timestamp: Times
    loads_kw: Mapping[str, Array]
    battery_kw: Array
    grid_kw: Array
    soc_frac: Array
    known_h: Array


def track(ledger: Ledger, snap: Snapshot, hours: float) -> Track:
    """The recorded set points of the last hours: what was sent within an interval counts by its time in it."""
    last = to_stamp(datetime.fromisoformat(snap.cycle["price_at"]))
    cycles = ledger.entries("cycle", since=snap.at - timedelta(hours=hours), limit=5000, newest_first=False)
    own = [e for e in cycles if e.body["source"] == snap.cycle["source"]]
    own = [e for e in own if to_stamp(datetime.fromisoformat(e.body["price_at"])) <= last]
    decided = {to_stamp(datetime.fromisoformat(e.body["price_at"])): e.body for e in own}
    step = np.timedelta64(snap.step_s, "s")
    stamps = as_times(np.arange(min(decided, default=last), last + step, step))
    spans = _spans(ledger, snap.site, own)
    names = [*(m.type for m in snap.site.machines), *(j.name for j in snap.site.jobs)]
    names += [*(t.name for t in snap.site.tenants), "cooling"]
    arrays = {name: as_array(np.zeros(len(stamps))) for name in (*names, "=battery", "=grid")}
    known = _known(stamps, snap.step_s, spans)
    weights = _weights(stamps, snap.step_s, spans, known)
    for name in arrays:
        arrays[name] = as_array(weights @ np.array([kw.get(name, 0.0) for _, _, kw in spans]))
    soc = [decided[stamp]["soc_frac"] if stamp in decided else None for stamp in stamps]
    return Track(
        stamps,
        {name: arrays[name] for name in names},
        arrays["=battery"],
        arrays["=grid"],
        values(soc),
        as_array(known / 3600.0),
    )


_Span = tuple[datetime, datetime, Mapping[str, float]]  # from, to, kW by name


def _spans(ledger: Ledger, site: Site, cycles: list[Entry]) -> list[_Span]:
    """What was in force one after the other: each decision's set points, and what was sent between two of them."""
    if not cycles:
        return []
    ids = {entry.cycle_id for entry in cycles}
    between = ledger.entries(GUARD, since=cycles[0].at, limit=5000, newest_first=False)
    sent = sorted([*cycles, *(e for e in between if e.cycle_id in ids)], key=lambda entry: entry.seq)
    taken = [(e.at, e.body["dispatch"]) for e in sent if e.body["dispatch"]["status"] in SET]
    ends = [*(at for at, _ in taken[1:]), datetime.max.replace(tzinfo=UTC)]
    return [
        (at, min(end, datetime.fromisoformat(body["valid_until"])), _set_kw(site, body))
        for (at, body), end in zip(taken, ends, strict=True)
    ]


def _known(stamps: Times, step_s: int, spans: list[_Span]) -> Array:
    """Seconds of each interval (N,) since the first span; the whole interval where there is none."""
    first = stamps.astype("datetime64[s]").astype(np.float64)
    since = np.minimum(step_s, first + step_s - spans[0][0].timestamp()) if spans else first * 0.0
    return as_array(np.where(since > 0.0, since, step_s))


def _weights(stamps: Times, step_s: int, spans: list[_Span], known: Array) -> Array:
    """Share of the known part of each interval (N,) that each span (K,) has: (N, K); of the running interval what is in
    force now counts alone."""
    if not spans:
        return as_array(np.zeros((len(stamps), 0)))
    first = stamps.astype("datetime64[s]").astype(np.float64)
    begin, end = np.array([(since.timestamp(), until.timestamp()) for since, until, _ in spans]).T
    inside = np.minimum(first[:, None] + step_s, end) - np.maximum(first[:, None], begin)
    share = np.clip(inside, 0.0, None) / known[:, None]
    share[-1] = 0.0
    share[-1, -1] = float(inside[-1, -1] > 0.0)
    return as_array(share)


def _set_kw(site: Site, sent: Mapping[str, Any]) -> dict[str, float]:
    out = {m.type: sent["machines"].get(m.type, 0) * m.power_kw for m in site.machines}
    out |= {job.name: sent["jobs_kw"].get(job.name, 0.0) for job in site.jobs}
    out |= {tenant.name: sent["tenants_kw"].get(tenant.name, 0.0) for tenant in site.tenants}
    return out | {"cooling": sent["cooling_kw"], "=battery": sent["battery_kw"], "=grid": sent["grid_kw"]}


# --- why a planned change comes ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a set point changes. `limit` is the energy price behind it, NaN where there is none.

    kind: under or over (power against `limit`), empty or full (the battery), work (the work at hand changes
    with the hour), rule (an operator's rule with its strike `limit`), deadline (a job's cheapest hours), room (the
    connection is full), later (energy is kept for a better hour), plan (none of these).
    """

    kind: str
    limit: float = float("nan")


def why(snap: Snapshot, change: Change) -> Reason:
    """The reason of a planned change, from the plan's own prices, worths and limits."""
    stamps = times(snap.plan["timestamp"])
    t = int(np.searchsorted(stamps, to_stamp(change.at)))
    if change.what == "battery":
        return _battery_why(snap, change, t)
    worth = load_values(snap).get(change.what)
    limit = float("nan")
    if worth is not None:
        limit = float(snap.shown(1000.0 * worth[t] / gross(snap)[t]))
    more = change.after_kw > change.before_kw
    rule = next((rule for rule in snap.site.rules if rule.type == change.what), None)
    if rule is not None:
        manual = rule.strike_usd_per_mwh
        return Reason("rule", limit if manual is None else float(snap.shown(manual)))
    if any(job.name == change.what for job in snap.site.jobs):
        return Reason("deadline", limit)
    before = float(snap.shown(snap.plan["energy_usd_per_mwh"][t - 1]))
    if more and change.energy_price < limit <= before:
        return Reason("under", limit)
    if not more and change.energy_price > limit:
        return Reason("over", limit)
    if _work_changes(snap, change.what, stamps, t):
        return Reason("work", limit)
    full = max(values(snap.plan["import_kw"])[t - 1 : t + 1]) >= snap.site.import_kw - 1.0
    return Reason("room" if full else "under" if more and change.energy_price < limit else "plan", limit)


def _battery_why(snap: Snapshot, change: Change, t: int) -> Reason:
    """Charging pays under worth x efficiency - wear, discharging over worth / efficiency + wear."""
    battery, worth = snap.site.battery, values(snap.plan["marginal_value_usd_per_kwh"])[t]
    known = snap.plan["status"] == "optimal"  # a fallback has no shadow prices
    charge = float(snap.shown(1000.0 * (worth * battery.efficiency_charge - battery.wear_usd_per_kwh)))
    discharge = float(snap.shown(1000.0 * (worth / battery.efficiency_discharge + battery.wear_usd_per_kwh)))
    if change.after_kw > 1.0:
        return Reason("under", charge if known else float("nan"))
    if change.after_kw < -1.0:
        return Reason("over", discharge if known else float("nan"))
    soc = float(values(snap.plan["soc_frac"])[t - 1])
    if soc <= battery.soc_min + 0.005:
        return Reason("empty")
    return Reason("full" if soc >= battery.soc_max - 0.005 else "later")


def _work_changes(snap: Snapshot, name: str, stamps: Times, t: int) -> bool:
    shares = next((m.demand_by_hour for m in snap.site.machines if m.type == name), ())
    zone = ZoneInfo(snap.site.timezone)
    before, after = (to_utc(stamps[i]).astimezone(zone).hour for i in (t - 1, t))
    return bool(shares) and shares[before] != shares[after]


# --- what a plan's worth is made of --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanParts:
    """The plan's objective, split [$ over the horizon]; `loads` less their energy and cooling at the plan's prices.

    Energy is bought and sold at one price, so the split is exact: total = loads + trade - wear + stored + extras.
    """

    total: float
    loads: Mapping[str, float]
    trade: float  # sold less bought by the battery
    wear: float
    stored: float  # what the change in stored energy counts at the end
    extras: Mapping[str, float]  # reserve; demand charge, shortfalls and wear by depth as minus

    @property
    def battery(self) -> float:
        """All that the battery adds to the objective."""
        return self.trade - self.wear + self.stored


def plan_parts(snap: Snapshot) -> PlanParts:
    """Where the plan's value comes from."""
    plan, battery, hours = snap.plan, snap.site.battery, snap.step_s / 3600.0
    price = values(plan["energy_usd_per_mwh"]) / 1000.0
    charge, discharge = values(plan["charge_kw"]), values(plan["discharge_kw"])
    worth, heat = load_values(snap), gross(snap)
    loads = {
        name: hours * float(np.sum((worth[name] - heat * price) * values(kw)))
        for name, kw in plan["loads_kw"].items()
        if name in worth
    }
    soc = values([plan["soc_start_frac"], plan["soc_frac"][-1]])
    stored_kwh = float(np.nan_to_num(soc[1] - soc[0])) * battery.capacity_kwh
    return PlanParts(
        total=float(plan["objective_usd"]),
        loads=loads,
        trade=hours * float(np.sum(price * (discharge - charge))),
        wear=hours * battery.wear_usd_per_kwh * float(np.sum(charge + discharge)),
        stored=stored_kwh * float(plan["terminal_usd_per_mwh"]) / 1000.0,
        extras=plan.get("extras_usd", {}),
    )
