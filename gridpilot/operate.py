"""What an operator does from the screens. Each act is a command row for the pilot; nothing is sent from here.

Every act takes the `Actor` who does it, and is refused, on record, where the role or the sign-in does not allow it.
Overrides are drawn on a version: where somebody else acted in between, the command is refused with Conflict
and the operator decides again on the present state. Only the console's own site is commanded: while another site of the
fleet is looked at, every act but the emergency stop is refused, and the stop is that of the own site. Commands act now:
while a past moment is looked at, none of them is taken but the stop. Alarms and the replay's clock, which are shown as
they are now whatever is looked at, can be acted on then too. Times of an override are in the source's clock (the
replay's, in a replay), which is the clock of the plan that it overrides. The emergency stop is in `halt`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from gridpilot import report, views
from gridpilot.dispatch import actor as people
from gridpilot.dispatch import curtailment, effects, override, stopfile
from gridpilot.dispatch.actor import APPROVER, OPERATOR, Actor
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.override import Command
from gridpilot.domain import Dispatch, SiteState
from gridpilot.errors import InputError
from gridpilot.halt import emergency_stop
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import alarms, metering
from gridpilot.monitor.alarms import Alarm
from gridpilot.monitor.health import PilotState
from gridpilot.monitor.pnl import Prices, rate
from gridpilot.values import to_stamp

__all__ = [
    "VALID",
    "Actor",
    "Foreseen",
    "Selected",
    "acknowledge",
    "approve",
    "approve_curtailment",
    "cancel_curtailment",
    "curtail",
    "effect",
    "emergency_stop",
    "foresee",
    "local",
    "operate",
    "release",
    "release_stop",
    "require_now",
    "require_words",
    "resume",
    "select",
    "set_replay_speed",
    "shelve",
    "sign_out",
    "signed_in",
    "signed_out",
    "step_replay",
    "unshelve",
]

VALID = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Selected:
    """A command that was looked at, not yet given: its effect, and the version that it was drawn on."""

    kind: str
    target: Mapping[str, Any]
    version: int
    selected_at: datetime  # wall clock: it is void after `VALID`
    before_kw: float  # grid import, negative when exporting
    after_kw: float
    before_usd_per_h: float
    after_usd_per_h: float
    violations: tuple[str, ...]
    second_person: bool = False  # it moves the connection by more than one operator may alone


# --- who acts --------------------------------------------------------------------------------


def local(name: str) -> Actor:
    """Whoever sits at a console without sign-in, by the name that they typed."""
    return people.local(name)


def signed_in(claims: Mapping[str, Any]) -> Actor:
    """The person that an identity token names, with the role that the settings give to their address."""
    settings = views.settings()
    return people.signed_in(claims, settings.people("operators"), settings.people("approvers"))


def signed_out(actor: Actor) -> bool:
    """Whether this sign-in was ended, in this tab or another."""
    return override.signed_out(views.own_ledger(), actor)


def sign_out(actor: Actor) -> None:
    """End a sign-in in every tab."""
    override.sign_out(views.own_ledger(), actor, wall=_wall())


# --- overrides -------------------------------------------------------------------------------


def select(kind: str, target: Mapping[str, Any]) -> Selected:
    """The effect of an override on what runs now. InputError before the first decision or for a bad target."""
    require_now()
    snap = views.newest()
    if snap is None:
        raise InputError("there is no decision to override yet: wait for the first cycle")
    effects.check_target(kind, target, snap.site)
    planned = snap.cycle.get("planned")  # what would be followed if the command in force ended
    return _selected(snap, kind, target, report.dispatch_from_json(planned or snap.dispatch))


def _selected(snap: views.Snapshot, kind: str, target: Mapping[str, Any], plan: Dispatch) -> Selected:
    """A target over `plan`, beside what runs now."""
    site, current = snap.site, report.dispatch_from_json(snap.dispatch)
    soc = snap.cycle["soc_frac"]
    state = SiteState(snap.at, float("nan") if soc is None else soc, current.machines, current.battery_kw)
    version = override.version(_ledger())
    after = effects.apply_override(site, state, plan, kind, target, snap.cycle["prices"]["energy_usd_per_mwh"])
    return Selected(
        kind,
        dict(target),
        version,
        _wall(),
        current.grid_kw,
        after.grid_kw,
        _worth(snap, current),
        _worth(snap, after),
        after.violations,
        site.operators.second_person(current.grid_kw, after.grid_kw),
    )


def require_words(actor: Actor, reason: str) -> None:
    """InputError where a command could not be given in this name and for this reason."""
    override.check_text(actor.name, reason)


def effect(command: Command) -> Selected:
    """What a proposed command would change by now."""
    return select(command.kind, command.target)


def operate(selected: Selected, actor: Actor, target: Mapping[str, Any], *, reason: str, minutes: float) -> Command:
    """Give a selected override for the coming minutes of source time; above the threshold, propose it.

    `target` is what the operator sees at the press. InputError where that is not what was selected, where the selection
    is older than 30 s, or where it breaks a limit; Forbidden where the actor may not; Conflict where somebody acted in
    between.
    """
    require_now()
    if selected.violations:
        raise InputError(f"it would break a limit: {selected.violations[0]}; choose another target")
    age, void = _wall() - selected.selected_at, ""
    if dict(target) != dict(selected.target):
        void = f"inconsistent: {_said(selected.target)} was selected, {_said(target)} operated: select it again"
    elif age > VALID:
        void = f"this was selected {age.total_seconds():.0f} s ago and is void after 30 s: select it again"
    now = _source_now()
    until = now + timedelta(minutes=minutes)
    command = Command(now, actor.name, reason, selected.kind, selected.target, until, selected.version)
    return override.submit(_ledger(), command, actor, wall=_wall(), propose=selected.second_person, void=void)


def approve(command_id: int, actor: Actor) -> Command:
    """The second person's word: the proposed command is in force from now on."""
    require_now()
    return override.approve(_ledger(), command_id, actor, now=_source_now(), wall=_wall())


def release(command_id: int, actor: Actor, *, reason: str) -> None:
    """End an override before its time, or take a proposal back. One press, without a name too: the plan is safe."""
    require_now()
    override.release(_ledger(), command_id, _named(actor), reason=reason, now=_source_now(), wall=_wall())


def resume(actor: Actor, *, reason: str) -> Command:
    """End a hold after outside changes."""
    require_now()
    ledger = _ledger()
    return override.resume(
        ledger, actor, reason=reason, base_version=override.version(ledger), now=_source_now(), wall=_wall()
    )


def release_stop(step: str, actor: Actor, *, reason: str) -> Command:
    """Leave the emergency stop: `step` is request, then within 30 s confirm."""
    require_now()
    ledger, now = _ledger(), _wall()
    stopfile.absorb(ledger, views.settings().database_url())
    command = Command(now, actor.name, reason, "estop_release", {"step": step}, now + VALID, override.version(ledger))
    return override.submit(ledger, command, actor, wall=now)


# --- curtailments ----------------------------------------------------------------------------


def curtail(
    actor: Actor, *, target: Mapping[str, float], in_minutes: float, minutes: float, ramp_s: float, reason: str
) -> Curtailment:
    """A curtailment from `in_minutes` on: `target` is {"import_kw": x} or {"percent": p}. Above the threshold for one
    person it waits for another's approval."""
    require_now()
    now, ledger, snap = _source_now(), _ledger(), views.newest()
    _require(actor, OPERATOR, reason, now)
    if snap is None:
        raise InputError("there is no decision yet: wait for the first cycle")
    start = now + max(timedelta(minutes=in_minutes), PilotState.load(ledger).notice)
    end = start + timedelta(minutes=minutes)
    name = f"{actor.name[:40]} {_wall():%Y-%m-%d %H:%M:%S.%f}"
    asked = target.get("import_kw"), target.get("percent")
    event = Curtailment(name, "operator", actor.name, reason, start, end, *asked, ramp_s)
    alone = snap.site.operators
    propose = any(alone.second_person(kw, min(kw, event.target_kw(kw))) for kw in _drawn(snap, start, end))
    return curtailment.submit(ledger, event, now, propose=propose)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a curtailment would do by the newest plan, once its ramp is over."""

    limit_kw: float  # the most that may be drawn
    before_kw: float  # the most that is drawn in its time without it
    after_kw: float
    less_kwh: float  # left out of what is planned; what lies beyond the plan does not count
    now: Selected | None  # the effect on what runs, where it begins at once


def foresee(target: Mapping[str, float], in_minutes: float, minutes: float) -> Foreseen:
    """The effect of a curtailment that was not given. InputError before the first decision."""
    now, ledger, snap = _source_now(), _ledger(), views.newest()
    if snap is None:
        raise InputError("there is no decision yet: wait for the first cycle")
    start = now + timedelta(minutes=in_minutes)
    end = start + timedelta(minutes=minutes)
    event = Curtailment("", "operator", "", "", start, end, target.get("import_kw"), target.get("percent"))
    hour_kw = metering.mean_kw(ledger, now - curtailment.BASELINE, now)  # as the pilot expects it until the start
    limit = event.target_kw(hour_kw if math.isfinite(hour_kw) else snap.site.import_kw)
    at_once = in_minutes <= 0.0
    drawn = _drawn(snap, start, end)
    before = max(drawn if at_once else drawn[1:] or drawn)
    steps = views.times(snap.plan["timestamp"]).astype(np.int64)
    planned = np.subtract(views.values(snap.plan["import_kw"]), views.values(snap.plan["export_kw"]))
    inside = np.minimum(steps + snap.step_s, end.timestamp()) - np.maximum(steps, start.timestamp())
    less = float(np.maximum(inside, 0.0) @ np.maximum(planned - limit, 0.0)) / 3600.0
    if not at_once:
        return Foreseen(limit, before, min(before, limit), less, None)
    now_at = {"import_kw": min(limit, snap.site.import_kw)}  # it holds beside a command in force, over what runs
    effect = _selected(snap, "curtail", now_at, report.dispatch_from_json(snap.dispatch))
    return Foreseen(limit, before, min(before, limit), less, effect)


def _drawn(snap: views.Snapshot, start: datetime, end: datetime) -> list[float]:
    """What the connection may draw without a curtailment from `start` to `end`: now, in each step of the plan, and
    beyond the plan all that it can [kW]."""
    steps, step = views.times(snap.plan["timestamp"]), np.timedelta64(snap.step_s, "s")
    planned = np.subtract(views.values(snap.plan["import_kw"]), views.values(snap.plan["export_kw"]))
    meets = (steps < to_stamp(end)) & (steps + step > to_stamp(start))
    beyond = [snap.site.import_kw] if to_stamp(end) > steps[-1] + step else []
    return [float(snap.dispatch["grid_kw"]), *planned[meets].tolist(), *beyond]


def approve_curtailment(actor: Actor, event: Curtailment) -> Curtailment:
    """The second person's word on a proposed curtailment."""
    require_now()
    now, ledger = _source_now(), _ledger()
    own = people.same_person(actor.name, event.author)
    why = f"{actor.name} proposed it: another person must approve it" if own else ""
    act = f"approve curtailment {event.id}"
    _require(actor, APPROVER, act, now, forbidden=why)
    return curtailment.approve(ledger, event.id, author=actor.name, now=now)


def cancel_curtailment(actor: Actor, event_id: str, *, reason: str) -> Curtailment:
    """End a curtailment before its time, whoever gave it."""
    require_now()
    now, ledger = _source_now(), _ledger()
    _require(actor, OPERATOR, f"cancel curtailment {event_id}", now)
    return curtailment.cancel(ledger, event_id, author=actor.name, reason=reason, now=now)


# --- alarms ----------------------------------------------------------------------------------


def acknowledge(actor: Actor, alarm_id: int) -> Alarm:
    """Say that somebody has seen an alarm."""
    now = _source_now()
    _require(actor, OPERATOR, f"acknowledge alarm {alarm_id}", now, kind="alarm")
    return alarms.acknowledge(_ledger(), alarm_id, by=_named(actor).name, wall=_wall(), present=now)


def shelve(actor: Actor, alarm_id: int, *, minutes: float, reason: str) -> Alarm:
    """Put an alarm aside for a time, a day at the most; InputError without a reason."""
    now, wall = _source_now(), _wall()
    _require(actor, OPERATOR, f"shelve alarm {alarm_id}: {reason}", now, kind="alarm")
    if not 0.0 < minutes <= 24 * 60:
        raise InputError(f"shelved for {minutes:g} minutes: expected more than 0 and at most {24 * 60}")
    until = wall + timedelta(minutes=minutes)
    by = _named(actor).name
    return alarms.shelve(_ledger(), alarm_id, by=by, why=reason, until=until, wall=wall, present=now)


def unshelve(actor: Actor, alarm_id: int) -> Alarm:
    """Look at a shelved alarm again."""
    now = _source_now()
    _require(actor, OPERATOR, f"unshelve alarm {alarm_id}", now, kind="alarm")
    return alarms.unshelve(_ledger(), alarm_id, by=_named(actor).name, wall=_wall(), present=now)


# --- the replay clock ------------------------------------------------------------------------


def set_replay_speed(speed: float, actor: Actor) -> None:
    """Run the replay clock at `speed` replayed seconds per second; 0 stops it."""
    _clock({"speed": speed}, actor)


def step_replay(actor: Actor) -> None:
    """Move the replay clock to the start of the next interval."""
    _clock({"step_s": views.status().step_s}, actor)


def _clock(target: Mapping[str, Any], actor: Actor) -> None:
    now, who = _wall(), _named(actor)
    command = Command(now, who.name, "replay clock", "clock", target, now + VALID, 0)
    override.submit(_ledger(), command, who, wall=now)


def _require(
    actor: Actor, role: str, act: str, now: datetime, *, forbidden: str = "", kind: str = "curtailment"
) -> None:
    """Forbidden, on record, for who may not do this."""
    attempt = Command(now, actor.name, act, kind, {}, now, 0)
    override.require(_ledger(), actor, role, attempt, wall=_wall(), forbidden=forbidden)


def _named(actor: Actor) -> Actor:
    """Whoever gave no name on a local console is the console."""
    return actor if actor.name else replace(actor, name=people.NO_NAME)


def require_now() -> None:
    """InputError for who looks at a past moment: a command given there would rest on what is no longer so."""
    if views.look().at is not None:
        raise InputError("commands act now, and a past moment is looked at: go back to now to give one")


# --- small parts -----------------------------------------------------------------------------


def _ledger() -> Ledger:
    """The one ledger that is written from here: the own site's. InputError while another site is looked at, so that no
    command can go to one site while the screen shows another."""
    other = views.elsewhere()
    if other is not None:
        raise InputError(f"commands for {other.name} are given on its own console: this one only shows it")
    return views.own_ledger()


def _worth(snap: views.Snapshot, dispatch: Dispatch) -> float:
    """What a dispatch brings at the prices now [$/h]."""
    now = snap.cycle["prices"]
    hash_price, token_price = (float("nan") if now[key] is None else now[key] for key in ("hash", "token"))
    return rate(
        snap.site,
        Prices(now["energy_usd_per_mwh"], hash_price, token_price, snap.units),
        dispatch.machines,
        battery_kw=dispatch.battery_kw,
        jobs_kw=dispatch.jobs_kw,
        tenants_kw=dispatch.tenants_kw,
        tenants_usd_per_h=snap.cycle["rate"]["tenants"] if dispatch.tenants_kw else 0.0,
    ).profit_usd_per_h


def _said(target: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in target.items()) or "as it is"


def _wall() -> datetime:
    return datetime.now(UTC)


def _source_now() -> datetime:
    return views.source_now() or _wall()
