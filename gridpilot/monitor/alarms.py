"""Alarms: one for each thing that is wrong, with what to do about it, from its first sight until nothing is left to do.

What is wrong now is a `Condition` (`conditions.py` finds them). `watch` holds the conditions of a look against the
alarms that are listed and writes down what has changed, each change an entry of the ledger too. States, as in ISA-18.2
(2016):

state     condition holds   what is wanted
UNACK     yes               somebody's eye
ACKED     yes               nothing more: somebody has seen it
RETURNED  no                somebody's eye: it came and went unseen (severity `alarm` only; a `warn` goes by itself)
SHELVED   either            nothing until a given time, at most a day ahead, for a reason
NORMAL    no                it is over, and off the list

An alarm that was seen, and gets worse, comes again or outlives its shelf, is unacknowledged again. Nothing chatters:
one alarm for each code and subject, and a condition counts as gone after `CLEAR_S` seconds without it. Times are of the
wall clock; the entries in the ledger carry the source's time as all entries do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.domain.check import require
from gridpilot.errors import InputError
from gridpilot.ledger import alarm_rows
from gridpilot.ledger.chain import canonical
from gridpilot.ledger.store import Ledger, Transaction
from gridpilot.values import iso

ENTRY = "alarm-state"  # kind of the entry of each change
UNACK, ACKED, RETURNED, SHELVED, NORMAL = STATES = ("UNACK", "ACKED", "RETURNED", "SHELVED", "NORMAL")
WARN, ALARM = SEVERITIES = ("warn", "alarm")
CLEAR_S = 30.0  # without its condition, and an alarm is gone
NOTE_S = 10.0  # how often `last_seen` is written
LONGEST_SHELF = timedelta(hours=24)
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now: `code` names the kind, `subject` which of several; what happened, what to do."""

    code: str
    severity: str
    message: str
    advice: str
    subject: str = ""

    def __post_init__(self) -> None:
        require(self.severity in SEVERITIES, f"severity of {self.code} is {self.severity!r}: expected warn or alarm")
        require(bool(self.code and self.message), "a condition has no code or message: give both")
        require(bool(self.advice), f"{self.code} does not say what to do: give its advice")

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one alarm."""
        return self.code, self.subject


@dataclass(frozen=True, slots=True)
class Alarm:
    """A row of the list. `times` is how often it came while it was listed; see `state`."""

    code: str
    severity: str
    message: str
    advice: str
    first_seen: datetime
    last_seen: datetime
    subject: str = ""
    id: int = 0  # 0: not on the list yet
    listed: int = 1
    times: int = 1
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    shelved_until: datetime | None = None
    shelved_by: str | None = None
    shelved_why: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one alarm."""
        return self.code, self.subject

    def state(self, wall: datetime) -> str:
        """UNACK, ACKED, RETURNED, SHELVED or NORMAL."""
        if not self.listed:
            return NORMAL
        if self.shelved_until is not None and wall < self.shelved_until:
            return SHELVED
        if self.cleared_at is not None:
            return RETURNED
        return UNACK if self.acknowledged_at is None else ACKED

    def wants_an_eye(self, wall: datetime) -> bool:
        """Whether it is unacknowledged and not shelved: what the status strip counts."""
        return self.state(wall) in (UNACK, RETURNED)


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm as it is from now on, and what happened to it: raised, again, worse, unshelved, returned; "" where only
    its words or times are new."""

    alarm: Alarm
    event: str


# --- reading ---------------------------------------------------------------------------------


def listed(ledger: Ledger) -> list[Alarm]:
    """The alarms that are not over, the ones of severity `alarm` first, then the newest."""
    with ledger.reading() as connection:
        rows = [Alarm(**row) for row in alarm_rows.listed(connection)]
    return sorted(rows, key=lambda alarm: (alarm.severity != ALARM, -alarm.first_seen.timestamp()))


def history(ledger: Ledger, limit: int = 100) -> list[Alarm]:
    """All alarms ever, newest first."""
    with ledger.reading() as connection:
        return [Alarm(**row) for row in alarm_rows.history(connection, limit)]


# --- the watch -------------------------------------------------------------------------------


def changes(alarms: Iterable[Alarm], conditions: Iterable[Condition], wall: datetime) -> list[Change]:
    """What the conditions of a look change in the listed alarms. Of two conditions of one key the graver counts."""
    now: dict[tuple[str, str], Condition] = {}
    for condition in conditions:
        if condition.key not in now or condition.severity == ALARM:
            now[condition.key] = condition
    known = {alarm.key: alarm for alarm in alarms}
    out = [_raised(condition, wall) for key, condition in now.items() if key not in known]
    for key, alarm in known.items():
        change = _goes_on(alarm, now[key], wall) if key in now else _is_away(alarm, wall)
        if change is not None:
            out.append(change)
    return out


def _raised(condition: Condition, wall: datetime) -> Change:
    return Change(Alarm(**asdict(condition), first_seen=wall, last_seen=wall), "raised")


def _goes_on(alarm: Alarm, condition: Condition, wall: datetime) -> Change | None:
    new = replace(alarm, message=condition.message, advice=condition.advice, severity=condition.severity)
    if alarm.cleared_at is not None:
        return Change(replace(_unseen(new, wall), last_seen=wall, cleared_at=None, times=alarm.times + 1), "again")
    if condition.severity == ALARM and alarm.severity == WARN:
        return Change(replace(_unseen(new, wall), last_seen=wall), "worse")
    if _shelf_over(alarm, wall):
        return Change(replace(_unseen(new, wall), last_seen=wall), "unshelved")
    due = wall - alarm.last_seen >= timedelta(seconds=NOTE_S)
    return Change(replace(new, last_seen=wall), "") if due else None


def _is_away(alarm: Alarm, wall: datetime) -> Change | None:
    if alarm.cleared_at is not None:
        return Change(replace(alarm, listed=0), "") if _shelf_over(alarm, wall) else None
    if wall - alarm.last_seen < timedelta(seconds=CLEAR_S):
        return None
    unseen = alarm.acknowledged_at is None and alarm.severity == ALARM
    stays = unseen and alarm.state(wall) != SHELVED
    return Change(replace(alarm, cleared_at=wall, listed=int(stays)), "returned")


def _shelf_over(alarm: Alarm, wall: datetime) -> bool:
    return alarm.shelved_until is not None and wall >= alarm.shelved_until


def _unseen(alarm: Alarm, wall: datetime) -> Alarm:
    """Nobody has seen this yet; a shelf that is not over stays."""
    alarm = replace(alarm, acknowledged_at=None, acknowledged_by=None)
    return replace(alarm, shelved_until=None, shelved_by=None, shelved_why=None) if _shelf_over(alarm, wall) else alarm


def watch(
    ledger: Ledger, conditions: Sequence[Condition], wall: datetime, present: datetime, *, deliver: bool = False
) -> list[Change]:
    """One look: the listed alarms brought up to date; returns what happened. With `deliver` each event waits in
    the outbox from then on; of a shelved alarm only its end. Writes nothing where nothing has changed."""
    with ledger.reading() as connection:
        known = [Alarm(**row) for row in alarm_rows.listed(connection)]
    if not changes(known, conditions, wall):
        return []
    with ledger.transaction() as work:
        found = changes([Alarm(**row) for row in alarm_rows.listed(work.connection)], conditions, wall)
        return [_write(work, change, wall, present, deliver=deliver) for change in found]


def _write(
    work: Transaction, change: Change, wall: datetime, present: datetime, *, deliver: bool = False, by: str = ""
) -> Change:
    alarm = replace(change.alarm, id=alarm_rows.write(work.connection, asdict(change.alarm)))
    if change.event:
        body = _said(alarm, change.event, wall, by)
        work.append(ENTRY, body, at=present)
        if deliver and alarm.state(wall) != SHELVED:
            message = {"type": f"alarm.{change.event}", "timestamp": iso(wall), "data": body}
            row = {"id": 0, "created_at": wall, "body": canonical(message), "next_at": wall}
            alarm_rows.post(work.connection, {**row, "status": alarm_rows.WAITING, "tries": 0, "detail": ""})
    return Change(alarm, change.event)


def _said(alarm: Alarm, event: str, wall: datetime, by: str) -> dict[str, Any]:
    names = ("id", "code", "subject", "severity", "message", "advice", "times")
    more: Mapping[str, Any] = {"by": by, "until": alarm.shelved_until, "why": alarm.shelved_why}
    body = {"event": event, "state": alarm.state(wall), "wall": wall, **{name: getattr(alarm, name) for name in names}}
    return {**body, **{name: value for name, value in more.items() if value}}


# --- what operators do -----------------------------------------------------------------------


def acknowledge(ledger: Ledger, alarm_id: int, *, by: str, wall: datetime, present: datetime) -> Alarm:
    """Somebody has seen it; one that has returned is over with that. Seen twice is seen once. InputError where there is
    no such alarm on the list."""
    with ledger.transaction() as work:
        alarm = _find(work, alarm_id)
        if alarm.acknowledged_at is not None:
            return alarm
        seen = replace(alarm, acknowledged_at=wall, acknowledged_by=by, listed=int(alarm.cleared_at is None))
        return _write(work, Change(seen, "acknowledged"), wall, present, by=by).alarm


def shelve(
    ledger: Ledger, alarm_id: int, *, by: str, why: str, until: datetime, wall: datetime, present: datetime
) -> Alarm:  # fmt: skip
    """Nobody needs to look at it until then. InputError without a reason, without an end within a day, or where there
    is no such alarm on the list."""
    if not why.strip() or len(why) > MAX_TEXT or not why.isprintable():
        raise InputError(f"the reason is {why[:40]!r}: expected 1 to {MAX_TEXT} characters in one line")
    if not wall < until <= wall + LONGEST_SHELF:
        raise InputError(f"shelved until {iso(until)}: expected a time within 24 hours of now, {iso(wall)}")
    with ledger.transaction() as work:
        alarm = replace(_find(work, alarm_id), shelved_until=until, shelved_by=by, shelved_why=why.strip())
        return _write(work, Change(alarm, "shelved"), wall, present, by=by).alarm


def unshelve(ledger: Ledger, alarm_id: int, *, by: str, wall: datetime, present: datetime) -> Alarm:
    """Look at it again from now on. InputError where it is not shelved."""
    with ledger.transaction() as work:
        alarm = _find(work, alarm_id)
        if alarm.state(wall) != SHELVED:
            raise InputError(f"alarm {alarm_id} is not shelved: look at the list on Health")
        back = replace(_unseen(replace(alarm, shelved_until=wall), wall), listed=int(alarm.cleared_at is None))
        return _write(work, Change(back, "unshelved"), wall, present, by=by).alarm


def _find(work: Transaction, alarm_id: int) -> Alarm:
    row = alarm_rows.find(work.connection, alarm_id)
    if row is None or not row["listed"]:
        raise InputError(f"alarm {alarm_id} is not on the list: look at it on Health")
    return Alarm(**row)
