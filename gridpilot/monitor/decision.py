"""A decision read back from the ledger, and what can be worked out from it without deciding anew."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from gridpilot.config import site_from_json
from gridpilot.dispatch.simulator import SIMULATED
from gridpilot.domain import (
    DataFlag,
    GridLimit,
    JobNeed,
    RuleState,
    Served,
    Site,
    SiteState,
    Switched,
    Units,
    value_usd_per_kwh,
)
from gridpilot.ledger.chain import Entry, Head
from gridpilot.ledger.store import Ledger
from gridpilot.values import Array, Times, as_array, as_times, to_utc

GUARD = "guard"  # kind of the entry of what was sent between two cycles
PROTOCOLS = ("FREQUENCY", "SOC_UNKNOWN", "SOC_LIMIT", "SHED", "CURTAILED", "UNSEEN_LOAD", "HOT", "HOT_COOLING")
SITE = "site"  # key of the ledger's state: the site as the last cycle used it


def times(stamps: Sequence[str]) -> Times:
    """ISO times of a ledger body as an array."""
    return as_times([stamp.rstrip("Z") for stamp in stamps])


def values(numbers: Sequence[float | None]) -> Array:
    """Numbers of a ledger body as an array; null is NaN."""
    return as_array([np.nan if number is None else number for number in numbers])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One whole decision from the ledger: the entries of a cycle by kind, with the site it was made for."""

    cycle_id: str
    at: datetime
    site: Site
    units: Units
    cycle: Mapping[str, Any]
    forecast: Mapping[str, Any]
    plan: Mapping[str, Any]
    auction: Mapping[str, Any]
    risk: Mapping[str, Any]
    flags: tuple[DataFlag, ...]

    @property
    def dispatch(self) -> Mapping[str, Any]:
        """What was sent, and what became of it."""
        body: Mapping[str, Any] = self.cycle["dispatch"]
        return body

    @property
    def state(self) -> SiteState | None:
        """What the plan started from; None where it was recorded without."""
        body = self.plan.get("state")
        return None if body is None else state_from_json(body)

    @property
    def step_s(self) -> int:
        """Length of an interval."""
        return int(self.cycle["step_s"])

    def shown(self, energy_usd_per_mwh: Any) -> Any:
        """An energy price (or an array) in the unit that the source calls its own, `units.energy`."""
        return np.asarray(energy_usd_per_mwh, dtype=float) / self.units.energy_usd_per_mwh


def state_from_json(body: Mapping[str, Any]) -> SiteState:
    """The inverse of `values.to_jsonable`; a number that is missing is not known (NaN)."""

    def rows(kind: type[Any], name: str, *moments: str) -> tuple[Any, ...]:
        return tuple(kind(**{**row, **{m: datetime.fromisoformat(row[m]) for m in moments}}) for row in body[name])

    numbers = {name: math.nan if body[name] is None else body[name] for name in ("soc_frac", "grid_kw", "room_c")}
    return SiteState(
        **{
            **body,
            **numbers,
            "at": datetime.fromisoformat(body["at"]),
            "jobs": rows(JobNeed, "jobs", "release", "deadline"),
            "served": rows(Served, "served", "start"),
            "switched": rows(Switched, "switched", "at"),
            "rules": {name: RuleState(**row) for name, row in body["rules"].items()},
            "limits": tuple(_grid_limit(row) for row in body.get("limits", [])),
        }
    )


def flags_now(ledger: Ledger, cycle: Entry) -> tuple[DataFlag, ...]:
    """What is to be said of a cycle, as its emergency protocols see it by now."""
    newest = ledger.latest(GUARD)
    return _flags(cycle, newest if newest is not None and newest.cycle_id == cycle.cycle_id else None)


def _flags(cycle: Entry, since: Entry | None) -> tuple[DataFlag, ...]:
    said = [DataFlag(**flag) for flag in cycle.body["flags"]]
    if since is None:
        return tuple(said)
    protocols = [DataFlag(**flag) for flag in since.body["flags"]]
    return (*(flag for flag in said if flag.code not in PROTOCOLS), *protocols)


def _grid_limit(body: Mapping[str, Any]) -> GridLimit:
    return GridLimit(**{**body, **{name: datetime.fromisoformat(body[name]) for name in ("start", "end")}})


def simulated(cycle: Mapping[str, Any]) -> bool:
    """Whether a recorded decision stands on prices or machines that are not real."""
    return bool(cycle["simulated"]) or cycle["state_source"] == SIMULATED


def recorded_site(ledger: Ledger) -> Site | None:
    """The site as the pilot last used it (with an API's inventory); None before the first cycle."""
    body = ledger.get_state(SITE).value
    return site_from_json(body) if body else None


def load(ledger: Ledger, cycle_id: str = "") -> Snapshot | None:
    """A decision, the newest one by default; None before the first cycle.

    It is read once for all who ask, until there is a newer entry or another site; so nobody may change what is in it.
    """
    return _read(ledger, cycle_id, ledger.head(), ledger.get_state(SITE).version)


@functools.lru_cache(maxsize=8)
def _read(ledger: Ledger, cycle_id: str, _head: Head, _site: int) -> Snapshot | None:
    entry = ledger.cycle(cycle_id).get("cycle") if cycle_id else ledger.latest("cycle")
    site = recorded_site(ledger)
    if entry is None or site is None:
        return None
    parts = ledger.cycle(entry.cycle_id)
    since = parts.get(GUARD)  # what the emergency protocols sent since
    later = {} if since is None else {k: since.body[k] for k in ("dispatch", "rate", "always_on")}
    return Snapshot(
        cycle_id=entry.cycle_id,
        at=entry.at,
        site=site,
        units=Units(**entry.body["units"]),
        cycle={**entry.body, **later},
        forecast=parts["forecast"].body,
        plan=parts["plan"].body,
        auction=parts["auction"].body,
        risk=parts["risk"].body,
        flags=_flags(entry, since),
    )


@dataclass(frozen=True, slots=True)
class Strike:
    """The energy price at which a machine type just breaks even, cooling included, in the source's unit."""

    type: str
    product: str
    strike: float
    margin_usd_per_kwh: float  # earned per kWh of site power at the price now
    running: int
    count: int
    note: str
    known: bool = True  # whether the price of what it makes is; without one it counts as worth nothing


def strikes(snap: Snapshot) -> list[Strike]:
    """Break-even of each machine type at the hash and token price now, highest first."""
    now = snap.cycle["prices"]
    hash_price, token_price = (values([now[name]]) for name in ("hash", "token"))
    overhead = 1.0 + snap.site.cooling.kw_per_kw
    out = []
    for machine in snap.site.machines:
        value = float(value_usd_per_kwh(machine, snap.units, hash_price, token_price)[0]) / overhead
        running = int(snap.dispatch["machines"].get(machine.type, 0))
        out.append(
            Strike(
                machine.type,
                machine.product,
                float(snap.shown(value * 1000.0)),
                value - now["energy_usd_per_mwh"] / 1000.0,
                running,
                machine.count,
                machine.note,
                known=now[machine.product] is not None,
            )
        )
    return sorted(out, key=lambda strike: -strike.strike)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the plan will do differently from an interval on."""

    at: datetime
    what: str  # battery, or a machine type, job or tenant
    before_kw: float
    after_kw: float
    energy_price: float  # of that interval, in the source's unit
    usd: float  # what the change moves over its run; NaN where a limit forces it (full, empty, no work left)


def next_changes(snap: Snapshot, n: int = 3, least_kw: float = 1.0) -> list[Change]:
    """The next planned changes of battery and loads, soonest first."""
    plan = snap.plan
    stamps = times(plan["timestamp"])
    price = values(plan["energy_usd_per_mwh"])
    series = {"battery": values(plan["charge_kw"]) - values(plan["discharge_kw"])}
    series |= {name: values(kw) for name, kw in plan["loads_kw"].items()}
    out = []
    for name, kw in series.items():
        for t in range(1, len(kw)):
            if abs(kw[t] - kw[t - 1]) < least_kw:
                continue
            end = next((u for u in range(t + 1, len(kw)) if abs(kw[u] - kw[t]) >= least_kw), len(kw))
            worth = _worth(snap, name, t, end, float(kw[t] - kw[t - 1]), price)
            out.append(
                Change(to_utc(stamps[t]), name, float(kw[t - 1]), float(kw[t]), float(snap.shown(price[t])), worth)
            )
            break
    return sorted(out, key=lambda change: (change.at, -abs(change.after_kw - change.before_kw)))[:n]


def _worth(snap: Snapshot, name: str, start: int, end: int, kw: float, price: Array) -> float:
    """Money at the grid for `kw` more (or less) from step `start` to `end`: what the change itself moves.

    For the battery the bought or sold energy at the plan's prices; for a load its value less its energy and
    cooling. A change that loses money, other than charging, was not chosen but forced: NaN.
    """
    hours = snap.step_s / 3600.0
    cost = float(np.sum(price[start:end])) / 1000.0 * hours
    if name == "battery":
        charging = snap.plan["charge_kw"][start] > 0.0
        return -kw * cost if charging or kw < 0.0 else math.nan
    value = load_values(snap).get(name)
    if value is None:
        return math.nan
    worth = kw * (float(np.sum(value[start:end])) * hours - cost * (1.0 + snap.site.cooling.kw_per_kw))
    return worth if worth >= 0.0 else math.nan


def load_values(snap: Snapshot) -> dict[str, Array]:
    """What a kWh brings in each load over the plan's steps [$/kWh]."""
    n = len(snap.plan["timestamp"])
    hash_price, token_price = values(snap.plan["hash_price"]), values(snap.plan["token_price"])
    out = {m.type: value_usd_per_kwh(m, snap.units, hash_price, token_price) for m in snap.site.machines}
    out |= {job.name: as_array(np.full(n, job.value_usd_per_kwh)) for job in snap.site.jobs}
    return out | {tenant.name: as_array(np.full(n, tenant.price_usd_per_kwh)) for tenant in snap.site.tenants}


def gross(snap: Snapshot) -> Array:
    """Site power for a kW of load in each step of the plan (T,), by the outdoor temperature where it is known."""
    cooling, outdoor = snap.site.cooling, values(snap.plan.get("outdoor_c") or [])
    if not len(outdoor):
        return as_array(np.full(len(snap.plan["timestamp"]), 1.0 + cooling.kw_per_kw))
    return as_array(1.0 + cooling.heat_fraction / cooling.cop_at(outdoor))
