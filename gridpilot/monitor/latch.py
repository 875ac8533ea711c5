"""The watchdog's latch: that it put the site into the fail-safe state, why, and what lets the site go on.

It is let go by a good cycle that ended after it; only a holder of the pilot lease can write one, and the watchdog
took the lease away from the pilot that was silent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from gridpilot.ledger.store import Beat
from gridpilot.values import iso

KEY = "watchdog"  # of the ledger's state
SEEN_KEY = "watchdog_seen"  # when a watchdog last looked, by the wall clock
SEEN_EVERY_S = 10.0
INTERVALS = 3.0  # a heartbeat older than so many of its intervals is overdue
LEAST_S = 10.0  # and not before: a replay's interval may be a second


class State(Protocol):
    """The ledger's small state, in a transaction or by itself."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""

    def put_state(self, key: str, value: Any, expect_version: int | None = None) -> int:
        """Write a key; returns its new version."""


class Work(State, Protocol):
    """A transaction of the ledger."""

    def append(self, kind: str, body: Any, *, at: datetime) -> object:
        """Add an entry."""


@dataclass(frozen=True, slots=True)
class Latch:
    """`at` is of the wall clock, `fenced` the owner whose lease was taken, `intent` the entry that switched all off."""

    latched: bool
    at: datetime
    reason: str
    fenced: str = ""
    intent: int = 0  # 0: not at the machines yet

    def save(self, store: State) -> None:
        """Write it down."""
        store.put_state(KEY, self)

    @classmethod
    def load(cls, store: State) -> Latch | None:
        """The newest latch, let go or not; None where there never was one."""
        body = store.get_state(KEY)[0]
        return cls(**{**body, "at": datetime.fromisoformat(body["at"])}) if body else None


def overdue_s(every_s: float) -> float:
    """How old a heartbeat may get that is good for `every_s` seconds."""
    return max(INTERVALS * every_s, LEAST_S)


def silence(beat: Beat | None, wall: datetime) -> str:
    """What to say of a heartbeat that is overdue by the wall clock; empty while it is not, or none ever was."""
    age = wall - beat.at if beat else timedelta(0)
    if beat is None or age <= timedelta(seconds=overdue_s(beat.every_s)):
        return ""
    return f"the last good cycle began {age.total_seconds():.0f} s ago, one is due every {beat.every_s:.0f} s"


def seen(store: State, wall: datetime) -> bool:
    """Whether a watchdog is at work."""
    at = store.get_state(SEEN_KEY)[0]
    return at is not None and wall - datetime.fromisoformat(at) < timedelta(seconds=3 * SEEN_EVERY_S)


def release(work: Work, wall: datetime, present: datetime) -> bool:
    """Let the latch go, if it holds; to be called with a good cycle's heartbeat, in one transaction with it."""
    latch = Latch.load(work)
    if latch is None or not latch.latched:
        return False
    replace(latch, latched=False).save(work)
    message = f"a good cycle ended at {iso(wall)}: the fail-safe state of {iso(latch.at)} is over"
    work.append("alarm", {"code": "WATCHDOG", "severity": "info", "stage": "watchdog", "message": message}, at=present)
    return True
