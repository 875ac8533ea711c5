"""Operators' commands: select, see the effect, operate; each with a reason, an end and the version it was drawn on.

A page writes a command row; the pilot picks it up, checks it again and puts it over the plan. Commands are
absolute targets; `effects` has the kinds. One override is in force at a time: a new one supersedes the last. Times of
a command are in the clock that the cycles run on, except for the emergency stop, its release, the replay clock and a
proposal's time to be approved, which are in wall-clock time (`wall`).

Who acts is an `Actor`. The role is checked here, in the transaction that accepts the row, and what is refused is a row
of the log too.

status      meaning
pending     a clock command that waits for the pilot
proposed    waits for a second person's approval
accepted    waits for a cycle
active      a cycle has sent it
refused, expired, released, superseded: over
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.dispatch.actor import APPROVER, OPERATOR, Actor, same_person
from gridpilot.dispatch.effects import KINDS, OVERRIDES, apply_override, check_target, import_limit_kw
from gridpilot.dispatch.emergency import failsafe
from gridpilot.dispatch.journal import CommandStore, CommandWork
from gridpilot.dispatch.reconcile import ESTOP_KEY, HOLD_KEY, SENT, held
from gridpilot.domain import Dispatch, GridLimit, Site, SiteState
from gridpilot.errors import Conflict, Forbidden, InputError
from gridpilot.foreign import JOINERS, hidden
from gridpilot.values import iso

ACTS = (*KINDS, "approve", "release", "curtailment", "alarm")  # every kind of row: the last are written where refused
LIVE = ("accepted", "active")  # accepted: waits for a cycle; active: a cycle has sent it
PROPOSED = "proposed"
VERSION_KEY = "dispatch_version"  # its version rises with each override, release, expiry and emergency stop
PROPOSALS_KEY = "proposals"  # number of a proposed command -> by when it must be approved, wall clock
SIGNED_OUT_KEY = "signed_out"  # sign-in that was ended -> when its token would have expired by itself
MAX_TEXT = 500
MAX_VALID = timedelta(hours=24)
TURNED_BACK = MAX_VALID + timedelta(minutes=15)  # an end so far ahead means that; a tick may be late
CONFIRM_WITHIN = timedelta(seconds=30)
APPROVE_WITHIN = timedelta(minutes=10)


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
    status: str = "pending"
    detail: str = ""


# --- operate ---------------------------------------------------------------------------------


def version(ledger: CommandStore) -> int:
    """The version that a command drawn now must carry as its base_version."""
    return ledger.get_state(VERSION_KEY)[1]


def submit(
    ledger: CommandStore, command: Command, actor: Actor, *, wall: datetime, propose: bool = False, void: str = ""
) -> Command:
    """Write a command down and return it with its number and status.

    With `propose` it waits for a second person's approval. Raises InputError for a command that is incomplete or out of
    bounds (nothing is written). With the attempt on record as refused, it raises Forbidden where the actor may not do
    this, InputError where it is `void` (for the reason given) or the site is stopped or on hold, and Conflict where it
    was drawn on an older version than the present one. The emergency stop needs no role, version or end, and may be
    given any number of times.
    """
    _check(command, actor)
    with ledger.transaction() as work:
        if command.kind == "estop":
            return _stop(work, command, actor)
        refusal = _refusal(work, command, actor, wall, void)
        if refusal is None:
            return _accept(work, command, actor, wall, propose)
        _write(work, command, "refused", str(refusal), actor)
    raise refusal


def approve(ledger: CommandStore, command_id: int, actor: Actor, *, now: datetime, wall: datetime) -> Command:
    """The second person's word on a proposed command; it is in force from now on.

    Forbidden, on record, for who is no approver or has proposed it; Conflict where somebody acted since it was drawn;
    InputError where it no longer waits.
    """
    with ledger.transaction() as work:
        proposed = _find(work, command_id, (PROPOSED,), "does not wait for an approval")
        refusal = _not_approved(work, proposed, actor, now, wall)
        if refusal is None:
            _supersede(work, proposed)
            _bump(work, proposed)
            return _settle(work, proposed, "accepted", f"approved by {actor.name}", now, actor)
        if isinstance(refusal, Forbidden):
            _refuse(work, "approve", command_id, actor, str(refusal), now)
        else:
            _settle(work, proposed, "refused" if isinstance(refusal, Conflict) else "expired", str(refusal), now, actor)
    raise refusal


def release(ledger: CommandStore, command_id: int, actor: Actor, *, reason: str, now: datetime, wall: datetime) -> None:
    """End an override before its time, or take a proposal back; InputError when there is none of that number.

    Forbidden, on record, for who may not.
    """
    check_text(actor.name, reason)
    with ledger.transaction() as work:
        lacking = _lacks(work, actor, OPERATOR, wall)
        if not lacking:
            command = _find(work, command_id, (*LIVE, PROPOSED), "is not in force")
            _settle(work, command, "released", f"by {actor.name}: {reason}", now, actor)
            return
        _refuse(work, "release", command_id, actor, lacking, now)
    raise Forbidden(lacking)


def require(
    ledger: CommandStore, actor: Actor, role: str, attempt: Command, *, wall: datetime, forbidden: str = ""
) -> None:
    """Forbidden, on record, for who may not do something that is no command of its own: `attempt` says what.
    `forbidden` is another reason against it."""
    with ledger.transaction() as work:
        lacking = _lacks(work, actor, role, wall) or forbidden
        if lacking:
            present = work.get_state(VERSION_KEY)[1]
            _write(work, replace(attempt, base_version=present), "refused", lacking, actor)
    if lacking:
        raise Forbidden(lacking)


def resume(
    ledger: CommandStore, actor: Actor, *, reason: str, base_version: int, now: datetime, wall: datetime
) -> Command:
    """End a hold after outside changes: the plan, or the override in force, is followed again."""
    return submit(ledger, Command(now, actor.name, reason, "resume", {}, now, base_version), actor, wall=wall)


def expire(ledger: CommandStore, now: datetime, wall: datetime | None = None) -> tuple[int, ...]:
    """Mark the overrides and proposals whose time is over; returns their numbers."""
    statuses = (*LIVE, PROPOSED)
    deadlines = ledger.get_state(PROPOSALS_KEY)[0] or {}
    if not any(_over(row, now, deadlines, wall) for row in ledger.commands(kinds=OVERRIDES, statuses=statuses)):
        return ()
    with ledger.transaction() as work:
        rows = work.commands(kinds=OVERRIDES, statuses=statuses)
        over = [row for row in rows if _over(row, now, deadlines, wall)]
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


def sign_out(ledger: CommandStore, actor: Actor, *, wall: datetime) -> None:
    """End a sign-in everywhere: what is done with it from now on, in whatever tab, is refused."""
    if not actor.login or actor.valid_until is None:
        return
    with ledger.transaction() as work:
        ended = work.get_state(SIGNED_OUT_KEY)[0] or {}
        kept = {login: until for login, until in ended.items() if datetime.fromisoformat(until) > wall}
        work.put_state(SIGNED_OUT_KEY, {**kept, actor.login: actor.valid_until})
        work.append("sign-out", {"name": actor.name, "role": actor.role}, at=wall)


# --- what is in force ------------------------------------------------------------------------


def stopped(ledger: CommandStore) -> Mapping[str, Any] | None:
    """Who stopped the site, why and when; None while no emergency stop is latched."""
    value = ledger.get_state(ESTOP_KEY)[0]
    return value if value and value.get("latched") else None


def signed_out(ledger: CommandStore, actor: Actor) -> bool:
    """Whether this sign-in was ended, in this tab or another."""
    return bool(actor.login) and actor.login in (ledger.get_state(SIGNED_OUT_KEY)[0] or {})


def pending(ledger: CommandStore, kind: str) -> list[Command]:
    """Commands of a kind that nobody has acted on yet, oldest first."""
    return [Command(**row) for row in reversed(ledger.commands(kinds=(kind,), statuses=("pending",)))]


def proposals(ledger: CommandStore, now: datetime, wall: datetime) -> list[tuple[Command, datetime]]:
    """Commands that wait for approval, newest first, each with the wall-clock time until when they do."""
    deadlines = ledger.get_state(PROPOSALS_KEY)[0] or {}
    rows = ledger.commands(kinds=OVERRIDES, statuses=(PROPOSED,))
    waiting = [row for row in rows if str(row["id"]) in deadlines and not _over(row, now, deadlines, wall)]
    return [(Command(**row), datetime.fromisoformat(deadlines[str(row["id"])])) for row in waiting]


def active_override(ledger: CommandStore, now: datetime) -> Command | None:
    """The override in force at `now`, whether a cycle has sent it yet or not."""
    for row in ledger.commands(kinds=OVERRIDES, statuses=LIVE):
        if not _over(row, now):
            return Command(**row)
    return None


def in_force(
    ledger: CommandStore, site: Site, state: SiteState, planned: Dispatch, now: datetime, energy_usd_per_mwh: float
) -> Dispatch:
    """What is to be sent: the fail-safe state while stopped, a hold, the override in force, or the plan.

    Writes nothing. `energy_usd_per_mwh` is the price of the running interval. `note_sent` puts it on record where an
    override was not followed.
    """
    return laid_over(site, state, planned, Standing.of(ledger, now), energy_usd_per_mwh)


@dataclass(frozen=True, slots=True)
class Standing:
    """What operators have said: an emergency stop, a hold after outside changes, and the override in force."""

    stopped: bool = False
    held: bool = False
    command: Command | None = None

    @classmethod
    def of(cls, ledger: CommandStore, now: datetime) -> Standing:
        """As the ledger has it."""
        return cls(stopped(ledger) is not None, held(ledger) is not None, active_override(ledger, now))


def laid_over(
    site: Site, state: SiteState, planned: Dispatch, standing: Standing, energy_usd_per_mwh: float
) -> Dispatch:
    """The plan's set points with what operators have said; what would break a limit by now is not followed."""
    if standing.stopped:
        return failsafe(site, state, planned.at, planned.valid_until, "estop")
    if standing.held:
        return apply_override(site, state, planned, "hold", {})
    command = standing.command
    if command is None:
        return planned
    wanted = apply_override(site, state, planned, command.kind, command.target, energy_usd_per_mwh)
    return wanted if wanted.constraints_satisfied else planned


def limits(site: Site, standing: Standing, now: datetime) -> tuple[GridLimit, ...]:
    """The curtailment that is commanded, as a limit of the connection, for the plan to know ahead."""
    command = standing.command
    if command is None or command.kind != "curtail" or command.valid_until <= now:
        return ()
    return (GridLimit(min(command.created_at, now), command.valid_until, import_limit_kw(site, command.target)),)


def note_sent(ledger: CommandStore, sent: Dispatch, now: datetime, known: Command | None) -> None:
    """After a cycle: expire what is over, and say whether the override that it knew of was followed.

    One that was given while the cycle ran is left to the next.
    """
    expire(ledger, now)
    command = active_override(ledger, now)
    if command is None or known is None or command.id != known.id:
        return
    if sent.origin == "estop" or held(ledger) is not None:
        return
    if sent.origin == "plan":
        settle(ledger, command.id, "refused", "it would break a limit of the site: the plan was followed", now)
    elif command.status == "accepted" and sent.origin in ("override", "hold") and sent.status in SENT:
        settle(ledger, command.id, "active", f"sent for {iso(sent.at)}", now)


# --- whether it may be -----------------------------------------------------------------------


def _refusal(
    work: CommandWork, command: Command, actor: Actor, wall: datetime, void: str
) -> Forbidden | InputError | Conflict | None:
    """Why a command is not accepted; None where it is."""
    lacking = _lacks(work, actor, OPERATOR, wall)
    if lacking:
        return Forbidden(lacking)
    if void:
        return InputError(void)
    return None if command.kind == "clock" else _passed_over(work, command)


def _not_approved(
    work: CommandWork, proposed: Command, actor: Actor, now: datetime, wall: datetime
) -> Forbidden | InputError | Conflict | None:
    """Why a proposal is not accepted by this person now; None where it is."""
    lacking = _lacks(work, actor, APPROVER, wall)
    if lacking:
        return Forbidden(lacking)
    if same_person(actor.name, proposed.author):
        return Forbidden(f"{actor.name} proposed command {proposed.id}: another person must approve it")
    by = (work.get_state(PROPOSALS_KEY)[0] or {}).get(str(proposed.id))
    if by is None or wall > datetime.fromisoformat(by):
        return InputError(f"command {proposed.id} had to be approved by {by}: propose it again")
    if _over(asdict(proposed), now):
        return InputError(f"command {proposed.id} was valid until {iso(proposed.valid_until)}: propose it again")
    return _passed_over(work, proposed)


def _passed_over(work: CommandWork, command: Command) -> InputError | Conflict | None:
    """Whether something happened since the command was drawn, or stands above it."""
    present = work.get_state(VERSION_KEY)[1]
    if command.base_version != present:
        seen = f"drawn on version {command.base_version}, the present one is {present}"
        return Conflict(
            f"the command was {seen}: somebody acted in between; look at the present state and decide again"
        )
    if command.kind not in OVERRIDES:
        return None
    if (work.get_state(ESTOP_KEY)[0] or {}).get("latched"):
        return InputError("the emergency stop is latched: release it first")
    hold = work.get_state(HOLD_KEY)[0]
    return InputError(f"the site is on hold ({hold.get('reason', '')}): resume first") if hold else None


def _lacks(work: CommandWork, actor: Actor, role: str, wall: datetime) -> str:
    if actor.login and actor.login in (work.get_state(SIGNED_OUT_KEY)[0] or {}):
        return f"{actor.name} has signed out: sign in again"
    return actor.lacks(role, wall)


def _over(
    row: Mapping[str, Any], now: datetime, deadlines: Mapping[str, str] | None = None, wall: datetime | None = None
) -> bool:
    """Past its end, or so far ahead of it that the replay clock was turned back in between; or approved too late."""
    ahead: timedelta = row["valid_until"] - now
    by = (deadlines or {}).get(str(row["id"])) if row["status"] == PROPOSED else None
    late = by is not None and wall is not None and wall > datetime.fromisoformat(by)
    return late or not timedelta(0) < ahead <= TURNED_BACK


# --- writing ---------------------------------------------------------------------------------


def _accept(work: CommandWork, command: Command, actor: Actor, wall: datetime, propose: bool) -> Command:
    if command.kind == "clock":
        return _write(work, command, "pending", "", actor)
    if command.kind == "estop_release":
        return _release_stop(work, command, actor)
    if command.kind == "resume":
        return _resume(work, command, actor)
    if propose:
        return _propose(work, command, actor, wall + APPROVE_WITHIN)
    _supersede(work, command)
    _bump(work, command)
    return _write(work, command, "accepted", "", actor)


def _find(work: CommandWork, command_id: int, statuses: tuple[str, ...], missing: str) -> Command:
    for row in work.commands(kinds=OVERRIDES, statuses=statuses):
        if row["id"] == command_id:
            return Command(**row)
    raise InputError(f"command {command_id} {missing}: look at the command log")


def _propose(work: CommandWork, command: Command, actor: Actor, by: datetime) -> Command:
    given = _write(work, command, PROPOSED, f"another person must approve it by {iso(by)}", actor)
    waiting = {str(row["id"]) for row in work.commands(kinds=OVERRIDES, statuses=(PROPOSED,))}
    kept = {key: until for key, until in (work.get_state(PROPOSALS_KEY)[0] or {}).items() if key in waiting}
    work.put_state(PROPOSALS_KEY, {**kept, str(given.id): by})
    return given


def _resume(work: CommandWork, command: Command, actor: Actor) -> Command:
    if not work.get_state(HOLD_KEY)[0]:
        raise InputError("the site is not on hold: there is nothing to resume")
    work.put_state(HOLD_KEY, None)
    _bump(work, command)
    return _write(work, command, "released", "the hold was ended", actor)


def _refuse(work: CommandWork, act: str, command_id: int, actor: Actor, why: str, now: datetime) -> None:
    """An act on a command that was refused, as a row of its own."""
    text = f"{act} command {command_id}"
    present = work.get_state(VERSION_KEY)[1]
    _write(work, Command(now, actor.name, text, act, {"command": command_id}, now, present), "refused", why, actor)


def _write(work: CommandWork, command: Command, status: str, detail: str, actor: Actor) -> Command:
    row = {**asdict(command), "status": status, "detail": detail}
    del row["id"]
    given = replace(command, id=work.add_command(row), status=status, detail=detail)
    _enter(work, given, command.created_at, actor)
    return given


def _settle(
    work: CommandWork, command: Command, status: str, detail: str, now: datetime, actor: Actor | None = None
) -> Command:
    work.set_command(command.id, status, detail)
    if command.kind in OVERRIDES and command.status in LIVE and status not in LIVE:
        _bump(work, command)
    settled = replace(command, status=status, detail=detail)
    _enter(work, settled, now, actor)
    return settled


def _enter(work: CommandWork, command: Command, at: datetime, actor: Actor | None) -> None:
    """The ledger's entry of a command, with who acted and by what right."""
    kind = "clock" if command.kind == "clock" else "command"
    who = {} if actor is None else {"actor": {"name": actor.name, "role": actor.role, "source": actor.source}}
    work.append(kind, {**asdict(command), **who}, at=at)


def _bump(work: CommandWork, command: Command) -> None:
    work.put_state(VERSION_KEY, {"author": command.author, "kind": command.kind, "at": command.created_at})


def _supersede(work: CommandWork, command: Command) -> None:
    detail = f"by a command of {command.author}"
    for row in work.commands(kinds=OVERRIDES, statuses=LIVE):
        work.set_command(row["id"], "superseded", detail)
        _enter(work, replace(Command(**row), status="superseded", detail=detail), command.created_at, None)


def _stop(work: CommandWork, command: Command, actor: Actor) -> Command:
    given = _write(work, command, "active", "", actor)
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


def _release_stop(work: CommandWork, command: Command, actor: Actor) -> Command:
    latched = work.get_state(ESTOP_KEY)[0]
    if not (latched and latched.get("latched")):
        raise InputError("there is no emergency stop to release")
    if command.target["step"] == "request":
        work.put_state(ESTOP_KEY, {**latched, "release_requested_at": command.created_at})
        return _write(work, command, "accepted", "confirm within 30 s", actor)
    asked = latched.get("release_requested_at")
    waited = None if asked is None else command.created_at - datetime.fromisoformat(asked)
    if waited is None or not timedelta(0) <= waited <= CONFIRM_WITHIN:
        seen = "was not requested" if waited is None else f"was requested {waited.total_seconds():.0f} s ago"
        raise InputError(f"the release {seen}: request it, then confirm within {CONFIRM_WITHIN.seconds} s")
    for row in work.commands(kinds=("estop", "estop_release"), statuses=LIVE):
        work.set_command(row["id"], "released", f"by {command.author}")
    work.put_state(ESTOP_KEY, {"latched": False, "at": command.created_at, "author": command.author})
    _bump(work, command)
    return _write(work, command, "released", "", actor)


# --- checks ----------------------------------------------------------------------------------


def _check(command: Command, actor: Actor) -> None:
    check_text(command.author, command.reason)
    if command.author != actor.name:
        raise InputError(f"the command is by {command.author!r}, given by {actor.name!r}: expected one name")
    check_target(command.kind, command.target)
    for name in ("created_at", "valid_until"):
        if getattr(command, name).tzinfo is None:
            raise InputError(f"{name} has no zone: give it in UTC")
    ahead = command.valid_until - command.created_at
    if command.kind in OVERRIDES and not timedelta(0) < ahead <= MAX_VALID:
        raise InputError(
            f"valid_until is {ahead.total_seconds() / 3600.0:.1f} h ahead: expected more than 0 and at most "
            f"{MAX_VALID.total_seconds() / 3600.0:.0f} h"
        )


def check_text(author: str, reason: str) -> None:
    """InputError where the author or the reason of a command is empty, too long or not plain text."""
    for name, text in (("author", author), ("reason", reason)):
        if not text.strip():
            raise InputError(f"the {name} is empty: say {'who acts' if name == 'author' else 'why'}")
        if len(text) > MAX_TEXT:
            raise InputError(f"the {name} has {len(text)} characters: at most {MAX_TEXT} are kept")
        allowed = JOINERS if name == "reason" else ""
        if any(hidden(c) and c not in allowed for c in text):
            raise InputError(f"the {name} has control or invisible characters: write it in one line of plain text")
