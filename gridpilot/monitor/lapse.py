"""Why a decision was in force no longer at a later moment: all was sent off, or its set points had expired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gridpilot.dispatch.reconcile import OFF
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger

EXPIRED = "expired"
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Lapse:
    """`why` is failsafe, estop or expired; `entry` is what tells it: the first command to send off, or the decision."""

    why: str
    since: datetime
    entry: Entry


def lapse(ledger: Ledger, decided: Entry, at: datetime) -> Lapse | None:
    """What ended a decision (a `cycle` entry) by `at`; None while it was in force."""
    off = None
    for sent in ledger.entries("result", since=decided.at, until=at + TICK):
        origin = sent.body["desired"]["origin"]
        if sent.cycle_id == decided.cycle_id or origin not in OFF or (off and off.body["desired"]["origin"] != origin):
            break
        off = sent  # what is off is sent off again and again
    if off is not None:
        return Lapse(str(off.body["desired"]["origin"]), off.at, off)
    until = datetime.fromisoformat(decided.body["dispatch"]["valid_until"])
    return Lapse(EXPIRED, until, decided) if until <= at else None
