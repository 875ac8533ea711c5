"""What was commanded: to the machines, and by operators; and what the site itself shows.

Logs and readings end at the moment looked at. What is in force, waits or is latched is always now: commands act now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gridpilot.dispatch import override, reconcile, stopfile
from gridpilot.dispatch.override import Command
from gridpilot.dispatch.reconcile import OFF
from gridpilot.ledger.chain import Entry
from gridpilot.monitor import metering
from gridpilot.monitor.decision import Snapshot
from gridpilot.views import base


@dataclass(frozen=True, slots=True)
class Sent:
    """One command to the machines: what was asked, what they showed afterwards."""

    at: datetime
    origin: str
    status: str
    desired: Mapping[str, int]
    actual: Mapping[str, int] | None
    detail: str


def machine_log(limit: int = 50) -> list[Sent]:
    """The newest commands to the machines with their outcome, newest first."""
    entries = base.records().entries("result", limit=limit)
    return [
        Sent(
            entry.at,
            entry.body["desired"]["origin"],
            entry.body["status"],
            entry.body["desired"]["machines"],
            entry.body["actual"],
            entry.body["detail"],
        )
        for entry in entries
    ]


def command_log(limit: int = 100) -> list[Command]:
    """Operators' commands, newest first; the replay clock's are left out."""
    kinds = [kind for kind in override.ACTS if kind != "clock"]
    return [Command(**row) for row in base.records().commands(kinds=kinds, limit=limit)]


def override_in_force() -> Command | None:
    """The override that holds now, whether a cycle has sent it yet or not; none is told of a past moment."""
    now = None if base.look().at else base.source_now()
    return override.active_override(base.ledger(), now) if now else None


def proposals() -> list[tuple[Command, datetime]]:
    """Commands that wait for a second person, newest first, each with the wall-clock time until when they do."""
    now = base.source_now()
    return override.proposals(base.ledger(), now, base.wall()) if now else []


def stopped() -> Mapping[str, Any] | None:
    """Who pressed the emergency stop, why and when; None while it is latched neither in the ledger nor in its file.

    LedgerError only where the ledger cannot be read and there is no file.
    """
    return stop_file() or override.stopped(base.ledger())


def off_since(decision: Snapshot | Entry) -> Entry | None:
    """The command that sent everything off since a decision, by the moment looked at; None where none did."""
    newest = base.records().entries("result", since=decision.at, limit=1)
    if not newest or newest[0].cycle_id == decision.cycle_id:
        return None
    return newest[0] if newest[0].body["desired"]["origin"] in OFF else None


def sent_off(snap: Snapshot) -> str:
    """By what everything was sent off since a decision, failsafe or estop; empty where it was not."""
    off = off_since(snap)
    return "" if off is None else str(off.body["desired"]["origin"])


def stop_file() -> Mapping[str, Any] | None:
    """The same where it was latched in a file, because the ledger could not be written."""
    return stopfile.pressed(base.here().database_url())


def on_hold() -> Mapping[str, Any] | None:
    """Why and since when the site is on hold after outside changes; None while it is not."""
    return reconcile.held(base.ledger())


@dataclass(frozen=True, slots=True)
class Shown:
    """What the site showed when it was last read; None where it has no such sensor."""

    at: datetime
    machines: Mapping[str, int]
    grid_kw: float | None
    soc_frac: float | None
    hottest_c: float | None
    frequency_hz: float | None


def shown() -> Shown | None:
    """The newest reading; None before the first one."""
    entry = base.records().latest(metering.KIND)
    if entry is None:
        return None
    named = ("machines", "grid_kw", "soc_frac", "hottest_c", "frequency_hz")
    return Shown(entry.at, **{name: entry.body[name] for name in named})


def charge(snap: Snapshot) -> tuple[float | None, datetime]:
    """The state of charge that was read last, and when: with a decision, or after it; None where it is not known."""
    seen = shown()
    if seen is None or seen.soc_frac is None or seen.at <= snap.at:
        return snap.cycle["soc_frac"], snap.at
    return seen.soc_frac, seen.at
