"""What an operator does from the screens. Each act is a command row for the pilot; nothing is sent from here.

Overrides are drawn on a version: where somebody else acted in between, the command is refused with Conflict
and the operator decides again on the present state. Times of an override are in the source's clock (the
replay's, in a replay), which is the clock of the plan that it overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gridpilot import report, views
from gridpilot.dispatch import override
from gridpilot.dispatch.override import Command
from gridpilot.domain import Dispatch, SiteState
from gridpilot.errors import InputError
from gridpilot.monitor.pnl import Prices, rate


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


VALID = timedelta(seconds=30)


def select(kind: str, target: Mapping[str, Any]) -> Selected:
    """The effect of an override on what runs now. InputError before the first decision or for a bad target."""
    snap = views.snapshot()
    if snap is None:
        raise InputError("there is no decision to override yet: wait for the first cycle")
    site, now = snap.site, snap.cycle["prices"]
    hash_price, token_price = (float("nan") if now[key] is None else now[key] for key in ("hash", "token"))
    prices = Prices(now["energy_usd_per_mwh"], hash_price, token_price, snap.units)
    current = report.dispatch_from_json(snap.dispatch)
    paid = snap.cycle["rate"]["tenants"]

    def worth(dispatch: Dispatch) -> float:
        return rate(
            site,
            prices,
            dispatch.machines,
            battery_kw=dispatch.battery_kw,
            jobs_kw=dispatch.jobs_kw,
            tenants_kw=dispatch.tenants_kw,
            tenants_usd_per_h=paid if dispatch.tenants_kw else 0.0,
        ).profit_usd_per_h

    soc = snap.cycle["soc_frac"]
    state = SiteState(snap.at, float("nan") if soc is None else soc, current.machines, current.battery_kw)
    version = override.version(views.ledger())
    seen = override.preview(site, state, current, kind, target, worth)
    return Selected(
        kind,
        dict(target),
        version,
        datetime.now(UTC),
        seen.before_kw,
        seen.after_kw,
        seen.before_usd_per_h,
        seen.after_usd_per_h,
        seen.violations,
    )


def operate(selected: Selected, *, author: str, reason: str, minutes: float) -> Command:
    """Give a selected override for the coming minutes of source time.

    InputError when it is older than 30 s or breaks a limit; Conflict when somebody acted in between.
    """
    age = datetime.now(UTC) - selected.selected_at
    if age > VALID:
        raise InputError(f"this was selected {age.total_seconds():.0f} s ago and is void after 30 s: select it again")
    if selected.violations:
        raise InputError(f"it would break a limit: {selected.violations[0]}; choose another target")
    now = _source_now()
    return override.submit(
        views.ledger(),
        Command(
            now, author, reason, selected.kind, selected.target, now + timedelta(minutes=minutes), selected.version
        ),
    )


def release(command_id: int, *, author: str, reason: str) -> None:
    """End an override before its time."""
    override.release(views.ledger(), command_id, author=author, reason=reason, now=_source_now())


def emergency_stop(author: str, reason: str = "emergency stop pressed") -> Command:
    """Everything off, now, until it is released in two steps. May be pressed any number of times."""
    now = datetime.now(UTC)
    return override.submit(views.ledger(), Command(now, author, reason, "estop", {}, now, 0))


def release_stop(step: str, *, author: str, reason: str) -> Command:
    """Leave the emergency stop: `step` is request, then within 30 s confirm."""
    now = datetime.now(UTC)
    ledger = views.ledger()
    target = {"step": step}
    return override.submit(
        ledger, Command(now, author, reason, "estop_release", target, now + VALID, override.version(ledger))
    )


def set_replay_speed(speed: float, author: str = "console") -> None:
    """Run the replay clock at `speed` replayed seconds per second; 0 stops it."""
    _clock({"speed": speed}, author)


def step_replay(author: str = "console") -> None:
    """Move the replay clock to the start of the next interval."""
    _clock({"step_s": views.status().step_s}, author)


def _clock(target: Mapping[str, Any], author: str) -> None:
    now = datetime.now(UTC)
    override.submit(views.ledger(), Command(now, author, "replay clock", "clock", target, now + VALID, 0))


def _source_now() -> datetime:
    return views.status().at or datetime.now(UTC)
