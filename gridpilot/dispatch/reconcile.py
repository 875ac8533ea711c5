"""INTENT, put, read back, RESULT: how a dispatch reaches the machines, and how a crash in between is settled.

An INTENT is on disk before anything is sent. What happened is what the machines say afterwards, not whether an
acknowledgement came. Targets are absolute, so sending one twice does no harm while it is still valid.

Afterwards each reading is compared with what was sent (`follow`): machines may take their time, but not for ever; and
where somebody else sets them, they are set once more, and the second time the site is held: nothing new is sent until
an operator says so.

Entries: `intent` {desired}, `result` {intent, status, detail, desired, actual, difference, puts}, `refused`
{desired, violations}, `alarm` {code, message}.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.dispatch.gateway import MachineGateway
from gridpilot.dispatch.journal import Journal, Record, StateReader
from gridpilot.domain import Dispatch, Reading
from gridpilot.errors import GatewayError, Refused, SafetyError
from gridpilot.values import iso

LATE_S = 60.0  # what is older is not sent: whoever decided it slept. Longer than four HTTP deadlines
PUTS = 2  # the command, and once more when the machines show another state
LOOK_BACK = 50  # intents that a start looks at; more than one without a result is rare
SENT = ("applied", "recovered", "partial")  # the set points are in force, or on their way
ESTOP_KEY = "estop"  # of the ledger's state: {latched, at, author, reason}
OFF = ("estop", "failsafe")  # origins of what switches all off, which may be sent while a stop is latched
HOLD_KEY = "hold"  # of the ledger's state: {reason, at} while nothing new may be sent, else null
LOOKS, LOOK_S = 3, 10.0  # so many looks, so far apart, until machines that lag behind are an alarm
OUTSIDE_WINDOW = timedelta(hours=24)  # in which a second change from outside holds the site


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: str  # applied, recovered, partial, mismatch, unknown, refused, expired
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
    before: Mapping[str, int] | None = None,
) -> Dispatch:
    """Send a dispatch and return it with what became of it as its status.

    applied: the machines show it; recovered: the acknowledgement was lost, but they show it; partial: after a second
    try they are on the way from `before` to it; mismatch: they show another state, and the site is held; unknown: they
    cannot be read; refused: the other side said no; expired: this process slept between INTENT and PUT, or an emergency
    stop was pressed meanwhile.
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
    begun = time.monotonic()

    def held_up() -> str:
        if token is not None:
            ledger.require_lease(token)
        stop = ledger.get_state(ESTOP_KEY)[0] or {}
        if stop.get("latched") and dispatch.origin not in OFF:
            return "an emergency stop was pressed after it was decided"
        return late(begun)

    outcome = _send(gateway, dispatch, now, held_up)
    if outcome.status == "mismatch" and _on_the_way(before, dispatch.machines, outcome.actual):
        outcome = replace(outcome, status="partial", detail="some machines follow later")
    _record(ledger, intent, outcome, now, token)
    if outcome.status == "mismatch":
        hold(ledger, f"the machines do not take the set points: {outcome.detail}", now)
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


def late(since: float) -> str:
    """Why what was decided `since` (monotonic) is too old to be sent; empty while it is not."""
    age_s = time.monotonic() - since
    return f"it was decided {age_s:.0f} s ago, at most {LATE_S:.0f} s are allowed" if age_s > LATE_S else ""


def _reasons_not_to_send(dispatch: Dispatch, now: datetime) -> list[str]:
    reasons = list(dispatch.violations)
    if not dispatch.constraints_satisfied and not reasons:
        reasons.append("constraints_satisfied is false")
    if now >= dispatch.valid_until:
        reasons.append(f"it expired at {iso(dispatch.valid_until)}, now is {iso(now)}")
    return reasons


def _send(gateway: MachineGateway, dispatch: Dispatch, now: datetime, held_up: Callable[[], str]) -> _Outcome:
    lost, actual = "", None
    for put in range(1, PUTS + 1):
        too_late = held_up()  # no API knows the token, so it is looked at as near to the PUT as can be
        if too_late and put == 1:
            return _Outcome("expired", too_late)
        if too_late:
            break
        lost = ""
        try:
            gateway.put(dispatch, now)
        except Refused as error:
            return _Outcome("refused", str(error), actual, put)
        except GatewayError as error:
            lost = str(error)
        try:
            actual = gateway.read(now).target
        except GatewayError as error:
            return _Outcome("unknown", "; ".join(filter(None, (lost, str(error)))), None, put)
        if not difference(dispatch.machines, actual):
            return _Outcome("recovered" if lost else "applied", lost, actual, put)
    return _Outcome("mismatch", lost or "the machines show another state than asked", actual, PUTS)


def _look(gateway: MachineGateway, intent: Record, now: datetime) -> _Outcome:
    desired = intent.body["desired"]
    try:
        actual = gateway.read(now).target
    except GatewayError as error:
        return _Outcome("unknown", str(error))
    if now >= datetime.fromisoformat(desired["valid_until"]):
        return _Outcome("expired", "found at start without a result; never sent again", actual)
    if difference(desired["machines"], actual):
        return _Outcome("mismatch", "found at start without a result; the machines show another state", actual)
    return _Outcome("recovered", "found at start without a result; the machines show it", actual)


def _on_the_way(before: Mapping[str, int] | None, desired: Mapping[str, int], actual: Mapping[str, int] | None) -> bool:
    """Whether some of the way was gone, and none of it the wrong way."""
    if before is None or actual is None:
        return False
    start, left = difference(desired, before), difference(desired, actual)
    forward = all(0 < gap / start[name] <= 1 if start.get(name) else False for name, gap in left.items())
    return forward and left != start


# --- afterwards --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Followed:
    """How the last dispatch is being followed. `resend`: somebody else changed the machines, set them once more."""

    looks: int = 0
    looked_at: datetime | None = None
    alarmed: bool = False
    resend: bool = False
    outside: tuple[datetime, ...] = ()


def sent(followed: Followed, now: datetime) -> Followed:
    """A dispatch was sent: look anew."""
    return Followed(looked_at=now, outside=followed.outside)


def follow(ledger: Journal, followed: Followed, dispatch: Dispatch, reading: Reading, now: datetime) -> Followed:
    """Compare a reading with the dispatch that was sent last; alarms go into the ledger."""
    if followed.resend or held(ledger) is not None:
        return followed
    elsewhere = difference(dispatch.machines, reading.target)
    if elsewhere and dispatch.status != "partial":
        return _outside(ledger, followed, elsewhere, now)
    remaining = difference(dispatch.machines, reading.machines)
    if not remaining:
        return replace(followed, looks=0, looked_at=now)
    if followed.looked_at is not None and now - followed.looked_at < timedelta(seconds=LOOK_S):
        return followed
    looks = followed.looks + 1
    if looks >= LOOKS and not followed.alarmed:
        _alarm(
            ledger,
            "NOT_FOLLOWED",
            f"machines to be switched (negative: off) after {looks} looks: {_counted(remaining)}",
            now,
        )
    return replace(followed, looks=looks, looked_at=now, alarmed=looks >= LOOKS)


def _outside(ledger: Journal, followed: Followed, elsewhere: Mapping[str, int], now: datetime) -> Followed:
    times = (*(t for t in followed.outside if timedelta(0) <= now - t < OUTSIDE_WINDOW), now)
    text = f"somebody else changed the machines; to put back (negative: off): {_counted(elsewhere)}"
    if len(times) < 2:
        _alarm(ledger, "OUTSIDE_CHANGE", f"{text}; they are set once more", now)
        return replace(followed, resend=True, outside=times)
    hold(ledger, f"{text}, for the second time", now)
    return replace(followed, outside=())


def hold(ledger: Journal, reason: str, now: datetime) -> None:
    """Send nothing new until an operator says so; what makes the site safer still goes out."""
    ledger.put_state(HOLD_KEY, {"reason": reason, "at": iso(now)})
    _alarm(ledger, "HOLD", f"{reason}; the site is held until an operator resumes", now)


def held(ledger: StateReader) -> Mapping[str, Any] | None:
    """Why and since when the site is held; None where it is not."""
    value: Mapping[str, Any] | None = ledger.get_state(HOLD_KEY)[0]
    return value or None


def _alarm(ledger: Journal, code: str, message: str, now: datetime, cycle_id: str = "") -> None:
    body = {"code": code, "severity": "alarm", "stage": "dispatch", "message": message}
    ledger.append("alarm", body, at=now, cycle_id=cycle_id)


def difference(desired: Mapping[str, int], actual: Mapping[str, int]) -> dict[str, int]:
    """Machines still to switch on (positive) or off, by type; a type that either side leaves out counts as 0."""
    gaps = {name: desired.get(name, 0) - actual.get(name, 0) for name in sorted({*desired, *actual})}
    return {name: gap for name, gap in gaps.items() if gap}


def _counted(machines: Mapping[str, int] | None) -> str:
    """Machines for a sentence: "12 gpu, 40 hydro"."""
    if machines is None:
        return "nothing, they can't be read"
    return ", ".join(f"{count} {name}" for name, count in sorted(machines.items())) or "no machines"


def _desired(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "at": dispatch.at,
        "valid_until": dispatch.valid_until,
        "origin": dispatch.origin,
        "machines": dict(dispatch.machines),
        "battery_kw": dispatch.battery_kw,
        "total_power_kw": dispatch.total_power_kw,
    }


def _record(ledger: Journal, intent: Record, outcome: _Outcome, now: datetime, token: int | None = None) -> None:
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
    ledger.append("result", body, at=now, cycle_id=intent.cycle_id, token=token)
    if outcome.status in ("mismatch", "unknown", "refused"):
        told = f"desired {_counted(desired['machines'])}, seen {_counted(outcome.actual)}"
        message = f"dispatch {outcome.status}: {outcome.detail}; {told}"
        _alarm(ledger, outcome.status.upper(), message, now, intent.cycle_id)
