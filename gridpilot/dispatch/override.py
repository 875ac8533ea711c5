"""Operators' commands: select, see the effect, operate; each with a reason, an end and the version it was drawn on.

A page writes a command row; the pilot picks it up, checks it again and puts it over the plan. Commands are
absolute targets. Times of a command are in the clock that the cycles run on, except for the emergency stop, its
release and the replay clock, which are in wall-clock time.

kind            target                                         meaning
machines        {type: count, ...}                             these counts; other types follow the plan
battery_kw      {"battery_kw": kW, positive when charging}     this power; machines follow the plan
hold            {}                                             machines stay as they are, battery at rest
estop           {}                                             everything off now, until it is released
estop_release   {"step": "request"}, then {"step": "confirm"}  within 30 s
clock           {"speed": x} or {"step_s": s}                  the replay clock (not an override)

One override is in force at a time: a new one supersedes the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.dispatch.emergency import failsafe
from gridpilot.dispatch.journal import CommandStore, CommandWork
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Dispatch, Site, SiteState
from gridpilot.errors import Conflict, InputError
from gridpilot.values import iso

OVERRIDES = ("machines", "battery_kw", "hold")
KINDS = (*OVERRIDES, "estop", "estop_release", "clock")
LIVE = ("accepted", "active")  # accepted: waits for a cycle; active: a cycle has sent it
VERSION_KEY = "dispatch_version"  # its version rises with each override, release, expiry and emergency stop
ESTOP_KEY = "estop"
MAX_REASON = 500
MAX_VALID = timedelta(hours=24)
CONFIRM_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the command log."""

    created_at: datetime
    author: str
    reason: str
    kind: str
    target: Mapping[str, Any]
    valid_until: datetime
    base_version: int
    id: int = 0
    status: str = "pending"  # pending accepted refused active expired released superseded
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a command would change. Money is NaN where no value function was given."""

    dispatch: Dispatch
    before_kw: float
    after_kw: float
    before_usd_per_h: float = field(default=math.nan)
    after_usd_per_h: float = field(default=math.nan)
    violations: tuple[str, ...] = ()


# --- select ----------------------------------------------------------------------------------


def preview(
    site: Site,
    state: SiteState,
    current: Dispatch,
    kind: str,
    target: Mapping[str, Any],
    value: Callable[[Dispatch], float] | None = None,
) -> Preview:
    """The effect of a command on the present dispatch; `value` gives a dispatch's $/h.

    InputError for a target that its kind does not know.
    """
    after = apply_override(site, state, current, kind, target)
    money = (math.nan, math.nan) if value is None else (value(current), value(after))
    return Preview(after, current.grid_kw, after.grid_kw, *money, violations=after.violations)


def apply_override(site: Site, state: SiteState, planned: Dispatch, kind: str, target: Mapping[str, Any]) -> Dispatch:
    """A command's absolute target laid over a planned dispatch, and checked anew like any other."""
    _check_target(kind, target)
    if kind in ("estop", "estop_release", "clock"):
        return failsafe(site, state, planned.at, planned.valid_until, "estop") if kind == "estop" else planned
    machines, battery_kw = dict(planned.machines), planned.battery_kw
    if kind == "machines":
        machines.update({name: int(count) for name, count in target.items()})
    elif kind == "battery_kw":
        battery_kw = float(target["battery_kw"])
    else:
        machines, battery_kw = {m.type: int(state.machines.get(m.type, 0)) for m in site.machines}, 0.0
    origin = "hold" if kind == "hold" else "override"
    return from_counts(
        site,
        state,
        machines,
        battery_kw,
        planned.jobs_kw,
        planned.tenants_kw,
        planned.at,
        planned.valid_until,
        origin,
    )


# --- operate ---------------------------------------------------------------------------------


def version(ledger: CommandStore) -> int:
    """The version that a command drawn now must carry as its base_version."""
    return ledger.get_state(VERSION_KEY)[1]


def submit(ledger: CommandStore, command: Command) -> Command:
    """Write a command down and return it with its number and status.

    Raises InputError for a command that is incomplete or out of bounds (nothing is written), and Conflict, with
    the attempt on record as refused, for one that was drawn on an older version than the present one. The
    emergency stop needs no version and no end, and may be given any number of times.
    """
    _check(command)
    with ledger.transaction() as work:
        if command.kind == "clock":
            return _write(work, command, "pending")
        if command.kind == "estop":
            return _stop(work, command)
        present = work.get_state(VERSION_KEY)[1]
        fits = command.base_version == present
        if fits and command.kind == "estop_release":
            return _release_stop(work, command)
        if fits:
            _supersede(work, command)
            _bump(work, command)
            return _write(work, command, "accepted")
        seen = f"drawn on version {command.base_version}, the present one is {present}"
        _write(work, command, "refused", seen)
    raise Conflict(f"the command was {seen}: somebody acted in between; look at the present state and decide again")


def release(ledger: CommandStore, command_id: int, *, author: str, reason: str, now: datetime) -> None:
    """End an override before its time; InputError when it is not in force."""
    _check_text(author, reason)
    with ledger.transaction() as work:
        row = next((r for r in work.commands(kinds=OVERRIDES, statuses=LIVE) if r["id"] == command_id), None)
        if row is None:
            raise InputError(f"command {command_id} is not in force: look at the command log")
        _settle(work, Command(**row), "released", f"by {author}: {reason}", now)


def expire(ledger: CommandStore, now: datetime) -> tuple[int, ...]:
    """Mark the overrides whose time is over; returns their numbers."""
    if not any(_over(row, now) for row in ledger.commands(kinds=OVERRIDES, statuses=LIVE)):
        return ()
    with ledger.transaction() as work:
        over = [row for row in work.commands(kinds=OVERRIDES, statuses=LIVE) if _over(row, now)]
        for row in over:
            _settle(work, Command(**row), "expired", f"valid until {iso(row['valid_until'])}, now {iso(now)}", now)
    return tuple(row["id"] for row in over)


def settle(ledger: CommandStore, command_id: int, status: str, detail: str, now: datetime) -> bool:
    """The pilot's word on a command: active, refused, or (a clock command that was done) released.

    False, and nothing is changed, where the command is over already: somebody may have been faster.
    """
    with ledger.transaction() as work:
        row = next((r for r in work.commands(statuses=("pending", *LIVE)) if r["id"] == command_id), None)
        if row is not None:
            _settle(work, Command(**row), status, detail, now)
    return row is not None


def _over(row: Mapping[str, Any], now: datetime) -> bool:
    """Past its end, or so far ahead of it that the replay clock was turned back in between."""
    ahead: timedelta = row["valid_until"] - now
    return not timedelta(0) < ahead <= MAX_VALID


# --- what is in force ------------------------------------------------------------------------


def stopped(ledger: CommandStore) -> Mapping[str, Any] | None:
    """Who stopped the site, why and when; None while no emergency stop is latched."""
    value = ledger.get_state(ESTOP_KEY)[0]
    return value if value and value.get("latched") else None


def pending(ledger: CommandStore, kind: str) -> list[Command]:
    """Commands of a kind that nobody has acted on yet, oldest first."""
    return [Command(**row) for row in reversed(ledger.commands(kinds=(kind,), statuses=("pending",)))]


def active_override(ledger: CommandStore, now: datetime) -> Command | None:
    """The override in force at `now`, whether a cycle has sent it yet or not."""
    for row in ledger.commands(kinds=OVERRIDES, statuses=LIVE):
        if not _over(row, now):
            return Command(**row)
    return None


def in_force(ledger: CommandStore, site: Site, state: SiteState, planned: Dispatch, now: datetime) -> Dispatch:
    """What is to be sent: the fail-safe state while stopped, the override in force, or the plan. Writes nothing.

    An override that would break a limit by now is not followed: the plan is. `note_sent` puts that on record.
    """
    return laid_over(site, state, planned, stopped(ledger) is not None, active_override(ledger, now))


def laid_over(site: Site, state: SiteState, planned: Dispatch, stop: bool, command: Command | None) -> Dispatch:
    """The fail-safe state while stopped, the override in force where it breaks no limit, or the plan."""
    if stop:
        return failsafe(site, state, planned.at, planned.valid_until, "estop")
    if command is None:
        return planned
    wanted = apply_override(site, state, planned, command.kind, command.target)
    return wanted if wanted.constraints_satisfied else planned


def note_sent(ledger: CommandStore, sent: Dispatch, now: datetime) -> None:
    """After a cycle: expire what is over, and say whether the override in force was followed."""
    expire(ledger, now)
    command = active_override(ledger, now)
    if command is None or sent.origin == "estop":
        return
    if sent.origin not in ("override", "hold"):
        settle(ledger, command.id, "refused", "it would break a limit of the site: the plan was followed", now)
    elif command.status == "accepted" and sent.status in ("applied", "recovered"):
        settle(ledger, command.id, "active", f"sent for {iso(sent.at)}", now)


# --- writing ---------------------------------------------------------------------------------


def _write(work: CommandWork, command: Command, status: str, detail: str = "") -> Command:
    row = {**asdict(command), "status": status, "detail": detail}
    del row["id"]
    given = replace(command, id=work.add_command(row), status=status, detail=detail)
    work.append(_entry_kind(command), given, at=command.created_at)
    return given


def _entry_kind(command: Command) -> str:
    return "clock" if command.kind == "clock" else "command"


def _settle(work: CommandWork, command: Command, status: str, detail: str, now: datetime) -> None:
    work.set_command(command.id, status, detail)
    work.append(_entry_kind(command), replace(command, status=status, detail=detail), at=now)
    if command.kind in OVERRIDES and status not in LIVE:
        _bump(work, command)


def _bump(work: CommandWork, command: Command) -> None:
    work.put_state(VERSION_KEY, {"author": command.author, "kind": command.kind, "at": command.created_at})


def _supersede(work: CommandWork, command: Command) -> None:
    detail = f"by a command of {command.author}"
    for row in work.commands(kinds=OVERRIDES, statuses=LIVE):
        work.set_command(row["id"], "superseded", detail)
        old = replace(Command(**row), status="superseded", detail=detail)
        work.append("command", old, at=command.created_at)


def _stop(work: CommandWork, command: Command) -> Command:
    given = _write(work, command, "active")
    latched = work.get_state(ESTOP_KEY)[0] or {}
    if not latched.get("latched"):
        body = {"latched": True, "at": command.created_at, "author": command.author, "reason": command.reason}
        work.put_state(ESTOP_KEY, {**body, "command": given.id})
        _supersede(work, command)
        _bump(work, command)
    elif "release_requested_at" in latched:  # pressed again while somebody is about to release it
        work.put_state(ESTOP_KEY, {k: v for k, v in latched.items() if k != "release_requested_at"})
        _bump(work, command)
    return given


def _release_stop(work: CommandWork, command: Command) -> Command:
    latched = work.get_state(ESTOP_KEY)[0]
    if not (latched and latched.get("latched")):
        raise InputError("there is no emergency stop to release")
    if command.target["step"] == "request":
        work.put_state(ESTOP_KEY, {**latched, "release_requested_at": command.created_at})
        return _write(work, command, "accepted", "confirm within 30 s")
    asked = latched.get("release_requested_at")
    waited = None if asked is None else command.created_at - datetime.fromisoformat(asked)
    if waited is None or not timedelta(0) <= waited <= CONFIRM_WITHIN:
        seen = "was not requested" if waited is None else f"was requested {waited.total_seconds():.0f} s ago"
        raise InputError(f"the release {seen}: request it, then confirm within {CONFIRM_WITHIN.seconds} s")
    for row in work.commands(kinds=("estop", "estop_release"), statuses=LIVE):
        work.set_command(row["id"], "released", f"by {command.author}")
    work.put_state(ESTOP_KEY, {"latched": False, "at": command.created_at, "author": command.author})
    _bump(work, command)
    return _write(work, command, "released")


# --- checks ----------------------------------------------------------------------------------


def _check(command: Command) -> None:
    _check_text(command.author, command.reason)
    _check_target(command.kind, command.target)
    for name in ("created_at", "valid_until"):
        if getattr(command, name).tzinfo is None:
            raise InputError(f"{name} has no zone: give it in UTC")
    ahead = command.valid_until - command.created_at
    if command.kind in OVERRIDES and not timedelta(0) < ahead <= MAX_VALID:
        raise InputError(
            f"valid_until is {ahead.total_seconds() / 3600.0:.1f} h ahead: expected more than 0 and at most "
            f"{MAX_VALID.total_seconds() / 3600.0:.0f} h"
        )


def _check_text(author: str, reason: str) -> None:
    for name, text in (("author", author), ("reason", reason)):
        if not text.strip():
            raise InputError(f"the {name} is empty: say {'who acts' if name == 'author' else 'why'}")
        if len(text) > MAX_REASON:
            raise InputError(f"the {name} has {len(text)} characters: at most {MAX_REASON} are kept")
        if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise InputError(f"the {name} has control characters: write it in one line of plain text")


def _check_target(kind: str, target: Mapping[str, Any]) -> None:
    wrong = ""
    if kind == "machines":
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in target.values())
        wrong = "" if target and whole else "counts by machine type, whole numbers from 0"
    elif kind == "battery_kw":
        wrong = "" if set(target) == {"battery_kw"} and _finite(target["battery_kw"]) else '{"battery_kw": number}'
    elif kind == "estop_release":
        wrong = "" if target.get("step") in ("request", "confirm") else '{"step": "request" or "confirm"}'
    elif kind == "clock":
        known = set(target) <= {"speed", "step_s"} and all(_finite(v) and v >= 0 for v in target.values())
        wrong = "" if target and known else '{"speed": x} or {"step_s": seconds}, from 0'
    elif kind in ("hold", "estop"):
        wrong = "" if not target else "no target"
    else:
        raise InputError(f"kind of command is {kind!r}: expected one of {', '.join(KINDS)}")
    if wrong:
        raise InputError(f"target of {kind} is {dict(target)!r}: expected {wrong}")


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
