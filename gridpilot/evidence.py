"""What a decision depended on, written down with it; read back, and the decision made again.

The entry `inputs` of a cycle names the prices as they were known then, the site, what was read, what was owed, the
commands in force and the versions at work. Forecasters that were fitted behind the scenes are named by a digest of what
they learnt from, and are fitted again for a replay. What was decided then and what is decided now are compared value by
value; only times that something took are left out.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import gridpilot
from gridpilot import report
from gridpilot.config import site_from_json
from gridpilot.control import Seen
from gridpilot.decide import Decision, Inputs, decide
from gridpilot.dispatch.emergency import Heat
from gridpilot.dispatch.guard import Memory
from gridpilot.dispatch.override import Command, Standing
from gridpilot.domain import DataFlag, GridLimit, Plan, PriceHistory, Reading, RiskReport, Units
from gridpilot.errors import InputError
from gridpilot.forecast.days import Tick, silent
from gridpilot.forecast.ensemble import Prepared, prepare
from gridpilot.forecast.fitted import Fitted, digest
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.ledger.verify import PRUNED
from gridpilot.monitor import metering, settle
from gridpilot.monitor.decision import SITE, times, values
from gridpilot.monitor.drift import Drift
from gridpilot.values import iso, to_jsonable, to_utc

ENTRY = "inputs"
PACKAGES = ("numpy", "scipy", "highspy", "pandas", "scikit-learn", "numba", "cvxpy")  # that numbers come from
TIMINGS = ("solve_ms", "ms")
MOST_DIFFERENCES = 20


# --- writing -----------------------------------------------------------------------------------


def inputs_json(ledger: Ledger, known: Inputs) -> dict[str, Any]:
    """The body of the entry. The prices have to be on record already."""
    history, seen, standing = known.history, known.seen, known.standing
    return {
        "at": seen.reading.at.isoformat(),
        "prices": {
            "source": history.source,
            "first": iso(to_utc(history.timestamp[0])),
            "last": iso(history.last),
            "step_s": history.step_s,
            "price_id": ledger.price_id(history.source),
            "units": history.units,
            "columns": sorted(history.columns),
            "ahead": history.ahead,
            "filled": history.filled,
            "flags": history.flags,
        },
        "running": known.running.to_json(),
        "reading": metering.record(seen.reading),
        "lost": [name for name, value in metering.record(seen.reading).items() if _nan(value)],
        "limits": [_exact(limit) for limit in seen.limits],
        "ahead_s": seen.ahead_s,
        "memory": _exact(known.memory),
        "gateway": known.gateway,
        "previous": known.previous_id,
        "risk": None if known.risk is None else report.risk_json(known.risk),
        "fits": {price: {"version": fit.version, "digest": fit.digest} for price, fit in known.fits.items()},
        "fit_flags": known.fit_flags,
        "drift": known.drift,
        "standing": {
            "stopped": standing.stopped,
            "held": standing.held,
            "command": None if standing.command is None else _exact(standing.command),
        },
        "versions": versions(),
    }


def auction_record(decision: Decision) -> dict[str, Any]:
    """The auction with its bids, as it is on record."""
    return {**report.auction_json(decision.auction), "bids": to_jsonable(decision.bids)}


def versions() -> dict[str, str]:
    """What numbers come from."""
    out = {"gridpilot": gridpilot.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def _nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _exact(value: Any) -> Any:
    """As plain data, times to the microsecond."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _exact(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value.isoformat() if isinstance(value, datetime) else to_jsonable(value)


# --- reading back --------------------------------------------------------------------------------


def inputs_from(ledger: Ledger, cycle_id: str, tick: Tick = silent) -> tuple[Inputs, Mapping[str, str]]:
    """The inputs of a past decision, and the versions that were at work.

    Fits that were in force are made again, which takes a minute; `tick` is told how far that is. InputError where there
    is no such cycle, or it was recorded without its inputs.
    """
    parts = ledger.cycle(cycle_id)
    if ENTRY not in parts:
        seen = "is not in the ledger" if not parts else "was recorded before decisions kept their inputs"
        raise InputError(f"cycle {cycle_id!r} {seen}: take one of the newest, as `cycle --json` names them")
    entry = parts[ENTRY]
    body = entry.body
    site = site_from_json(_site_body(ledger, entry))
    history = _history(ledger, body["prices"], cycle_id)
    prepared = prepare(history, site.timezone, country=site.country or None)
    now, standing, before = datetime.fromisoformat(body["at"]), body["standing"], body["previous"]
    reading = Reading(now, **{**body["reading"], **dict.fromkeys(body["lost"], math.nan)})
    return Inputs(
        site=site,
        history=history,
        prepared=prepared,
        running=replace(settle.Running.from_json(body["running"]), at=now),
        seen=Seen(
            reading,
            tuple(GridLimit(**_times(row, "start", "end")) for row in body["limits"]),
            ahead_s=body["ahead_s"],
        ),
        gateway=body["gateway"],
        fits=_fits(prepared, body["fits"], tick),
        fit_flags=tuple(DataFlag(**flag) for flag in body["fit_flags"]),
        previous=_plan_before(ledger, before, history.units) if before else None,
        previous_id=before,
        risk=None if body["risk"] is None else _risk(body["risk"]),
        memory=_memory(body["memory"]),
        standing=Standing(
            standing["stopped"],
            standing["held"],
            None
            if standing["command"] is None
            else Command(**_times(standing["command"], "created_at", "valid_until")),
        ),
        drift=Drift.from_json(body.get("drift")),
    ), body["versions"]


def _site_body(ledger: Ledger, entry: Entry) -> dict[str, Any]:
    """The site as it was on record then; where that entry was pruned, as the prune says."""
    rows = ledger.entries(SITE, until=None, limit=1000)
    found = next((row.body for row in rows if row.seq < entry.seq), None)
    if found is None:
        pruned = ledger.latest(PRUNED)
        found = None if pruned is None else pruned.body.get("site")
    if found is None:
        raise InputError(f"the site of cycle {entry.cycle_id!r} was pruned: take a newer one")
    return dict(found)


def _plan_before(ledger: Ledger, cycle_id: str, units: Units) -> Plan:
    """The plan that was in force."""
    parts = ledger.cycle(cycle_id)
    if "plan" not in parts:
        raise InputError(f"the decision before it, {cycle_id!r}, was pruned, and its plan with it: take a newer one")
    return report.plan_from_json(parts["plan"].body, units)


def _history(ledger: Ledger, body: Mapping[str, Any], cycle_id: str) -> PriceHistory:
    first, last = times([body["first"], body["last"]])
    until = last + np.timedelta64(body["step_s"], "s")
    stored = ledger.prices(body["source"], to_utc(first), to_utc(until), as_of_id=body["price_id"])
    n = int((last - first).astype(np.int64)) // body["step_s"] + 1
    if len(stored) != n:
        raise InputError(f"cycle {cycle_id}: {len(stored)} of its {n} prices are still on record: they were pruned")
    return PriceHistory(
        source=body["source"],
        timestamp=stored.timestamp,
        step_s=body["step_s"],
        energy_usd_per_mwh=stored.energy_usd_per_mwh,
        hash_price=stored.hash_price,
        token_price=stored.token_price,
        units=Units(**body["units"]),
        flags=tuple(DataFlag(**flag) for flag in body["flags"]),
        columns={name: stored.columns[name] for name in body["columns"]},
        ahead={name: values(row) for name, row in body["ahead"].items()},
        filled=times(body["filled"]),
    )


def _fits(prepared: Prepared, body: Mapping[str, Mapping[str, str]], tick: Tick) -> Mapping[str, Fitted]:
    """The fits that were in force, made again from what they learnt from. InputError where that is not on record."""
    from gridpilot.forecast.refit import fit_prices

    if not body:
        return {}
    series = prepared.clock
    origin = np.datetime64(body["energy"]["version"].rstrip("Z"), "s")
    known = prepared.without(int(np.sum(series.timestamp > origin)))
    if digest(known.clock) != body["energy"]["digest"]:
        raise InputError(f"the prices that the ensemble of {body['energy']['version']} learnt from were revised since")
    made = fit_prices(known, tick)
    return {price: made[price] for price in body}


def _memory(body: Mapping[str, Any]) -> Memory:
    at = None if body["sent_at"] is None else datetime.fromisoformat(body["sent_at"])
    sent_kw = math.nan if body["sent_kw"] is None else body["sent_kw"]
    return Memory(**{**body, "heat": Heat.from_json(body["heat"]), "sent_at": at, "sent_kw": sent_kw})


def _risk(body: Mapping[str, Any]) -> RiskReport:
    """Without its sample, which no decision needs."""
    known = {f.name for f in dataclasses.fields(RiskReport)}
    read: dict[str, Any] = {k: math.nan if v is None else v for k, v in body.items() if k in known}
    return RiskReport(**read)


def _times(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**body, **{name: datetime.fromisoformat(body[name]) for name in names}}


# --- again ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision made again: `differences` are (where, recorded, now), the first of them."""

    cycle_id: str
    same: bool
    differences: tuple[tuple[str, Any, Any], ...]
    versions: Mapping[str, str]  # that were at work then and are others now: name -> "then, now"
    compared: int  # values


def replay(ledger: Ledger, cycle_id: str, tick: Tick = silent) -> Replayed:
    """Make a past decision again from its recorded inputs, and compare it bit for bit with what was recorded.

    InputError where the cycle or something that it depends on is not on record.
    """
    known, then = inputs_from(ledger, cycle_id, tick)
    decision = decide(known)
    parts = ledger.cycle(cycle_id)
    made = {
        "forecast": report.forecast_record(decision.forecast),
        "plan": {**report.plan_json(decision.plan), "state": to_jsonable(decision.state)},
        "auction": auction_record(decision),
        "risk": report.risk_json(decision.risk, sample=True),
        "dispatch": report.dispatch_json(replace(decision.dispatch, status="")),
    }
    recorded = {name: parts[name].body for name in ("forecast", "plan", "auction", "risk")}
    recorded["dispatch"] = {**parts["cycle"].body["dispatch"], "status": ""} if "cycle" in parts else made["dispatch"]
    count = 0
    found: list[tuple[str, Any, Any]] = []
    for where, old, new in _pairs("", recorded, made):
        count += 1
        if old != new and len(found) < MOST_DIFFERENCES:
            found.append((where, old, new))
    now = versions()
    others = {k: f"{then.get(k, 'none')}, {now.get(k, 'none')}" for k in {*then, *now} if then.get(k) != now.get(k)}
    return Replayed(cycle_id, not found, tuple(found), others, count)


def _pairs(where: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every value of two JSON forms, side by side; None where one has no such place. Times that something took are
    left out."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            if key not in TIMINGS:
                yield from _pairs(f"{where}.{key}".lstrip("."), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield f"{where} length", len(old), len(new)
        for i, (a, b) in enumerate(zip(old, new, strict=False)):
            yield from _pairs(f"{where}[{i}]", a, b)
    else:
        yield where, old, new
