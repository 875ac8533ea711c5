"""INTENT, put, read back, RESULT: how a dispatch reaches the machines, and how a crash in between is settled.

An INTENT is on disk before anything is sent. What happened is what the machines say afterwards, not whether an
acknowledgement came. Targets are absolute, so sending one twice does no harm while it is still valid.

Entries: `intent` {desired}, `result` {intent, status, detail, desired, actual, difference, puts}, `refused`
{desired, violations}, `alarm` {code, message}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gridpilot.dispatch.gateway import MachineGateway
from gridpilot.dispatch.journal import Journal, Record
from gridpilot.domain import Dispatch
from gridpilot.errors import GatewayError, Refused, SafetyError
from gridpilot.values import iso

PUTS = 2  # the command, and once more when the machines show another state
LOOK_BACK = 50  # intents that a start looks at; more than one without a result is rare


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: str  # applied, recovered, mismatch, unknown, refused
    detail: str = ""
    actual: Mapping[str, int] | None = None
    puts: int = 0


def execute(
    ledger: Journal,
    gateway: MachineGateway,
    dispatch: Dispatch,
    now: datetime,
    *,
    cycle_id: str,
    token: int | None = None,
) -> Dispatch:
    """Send a dispatch and return it with what became of it as its status.

    applied: the machines show it; recovered: the acknowledgement was lost, but they show it; mismatch: they show
    another state after a second try; unknown: they cannot be read; refused: the other side said no.
    `token` is the pilot lease's (None: no lease is in use).
    Raises SafetyError (nothing is sent) for a dispatch that breaks a limit or has expired; LeaseHeld for a stale
    token and LedgerError for a ledger that cannot be written: then nothing is sent either.
    """
    violations = _reasons_not_to_send(dispatch, now)
    if violations:
        body = {"desired": _desired(dispatch), "violations": violations}
        ledger.append("refused", body, at=now, cycle_id=cycle_id)
        raise SafetyError(f"the dispatch was not sent: {'; '.join(violations)}; the machines stay as they are")
    desired = _desired(dispatch)
    intent = ledger.append(
        "intent", {"desired": desired, "gateway": gateway.name}, at=now, cycle_id=cycle_id, token=token
    )
    outcome = _send(gateway, dispatch, now)
    _record(ledger, intent, outcome, now)
    return replace(dispatch, status=outcome.status)


def recover(ledger: Journal, gateway: MachineGateway, now: datetime) -> tuple[str, ...]:
    """Settle every INTENT that has no RESULT, at the start of a pilot; returns a status for each, oldest first.

    recovered: the machines show it and it is still valid; expired: its time is over; mismatch: the machines show
    another state; unknown: they cannot be read; superseded: a later INTENT followed. Nothing is ever sent: the
    next cycle does that with a fresh plan.
    """
    settled = {record.body.get("intent") for record in ledger.entries("result", limit=LOOK_BACK)}
    intents = list(ledger.entries("intent", limit=LOOK_BACK))
    newest = intents[0].seq if intents else 0
    statuses = []
    for intent in reversed(intents):
        if intent.seq in settled:
            continue
        outcome = _look(gateway, intent, now) if intent.seq == newest else _Outcome("superseded")
        _record(ledger, intent, outcome, now)
        statuses.append(outcome.status)
    return tuple(statuses)


def _reasons_not_to_send(dispatch: Dispatch, now: datetime) -> list[str]:
    reasons = list(dispatch.violations)
    if not dispatch.constraints_satisfied and not reasons:
        reasons.append("constraints_satisfied is false")
    if now >= dispatch.valid_until:
        reasons.append(f"it expired at {iso(dispatch.valid_until)}, now is {iso(now)}")
    return reasons


def _send(gateway: MachineGateway, dispatch: Dispatch, now: datetime) -> _Outcome:
    lost, actual = "", None
    for put in range(1, PUTS + 1):
        lost = ""
        try:
            gateway.put(dispatch, now)
        except Refused as error:
            return _Outcome("refused", str(error), actual, put)
        except GatewayError as error:
            lost = str(error)
        try:
            actual = gateway.read(now).machines
        except GatewayError as error:
            return _Outcome("unknown", "; ".join(filter(None, (lost, str(error)))), None, put)
        if not difference(dispatch.machines, actual):
            return _Outcome("recovered" if lost else "applied", lost, actual, put)
    return _Outcome("mismatch", lost or "the machines show another state than asked", actual, PUTS)


def _look(gateway: MachineGateway, intent: Record, now: datetime) -> _Outcome:
    desired = intent.body["desired"]
    try:
        actual = gateway.read(now).machines
    except GatewayError as error:
        return _Outcome("unknown", str(error))
    if now >= datetime.fromisoformat(desired["valid_until"]):
        return _Outcome("expired", "found at start without a result; never sent again", actual)
    if difference(desired["machines"], actual):
        return _Outcome("mismatch", "found at start without a result; the machines show another state", actual)
    return _Outcome("recovered", "found at start without a result; the machines show it", actual)


def difference(desired: Mapping[str, int], actual: Mapping[str, int]) -> dict[str, int]:
    """Machines still to switch on (positive) or off, by type; a type that either side leaves out counts as 0."""
    gaps = {name: desired.get(name, 0) - actual.get(name, 0) for name in sorted({*desired, *actual})}
    return {name: gap for name, gap in gaps.items() if gap}


def _desired(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "at": dispatch.at,
        "valid_until": dispatch.valid_until,
        "origin": dispatch.origin,
        "machines": dict(dispatch.machines),
        "battery_kw": dispatch.battery_kw,
        "total_power_kw": dispatch.total_power_kw,
    }


def _record(ledger: Journal, intent: Record, outcome: _Outcome, now: datetime) -> None:
    desired = intent.body["desired"]
    body = {
        "intent": intent.seq,
        "status": outcome.status,
        "detail": outcome.detail,
        "desired": desired,
        "actual": outcome.actual,
        "difference": {} if outcome.actual is None else difference(desired["machines"], outcome.actual),
        "puts": outcome.puts,
    }
    ledger.append("result", body, at=now, cycle_id=intent.cycle_id)
    if outcome.status in ("mismatch", "unknown", "refused"):
        message = f"dispatch {outcome.status}: {outcome.detail}; desired {desired['machines']}, seen {outcome.actual}"
        alarm = {"code": outcome.status.upper(), "severity": "alarm", "stage": "dispatch", "message": message}
        ledger.append("alarm", alarm, at=now, cycle_id=intent.cycle_id)
