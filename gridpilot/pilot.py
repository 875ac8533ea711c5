"""The long-running process: a cycle each interval, an operator's command at once, and a safe end to both.

One pilot writes set points: it holds a lease with a fencing token, and a second one ends with a clear
message. The heartbeat is written after good cycles only. Without usable prices the last set points hold
until they expire, and then the fail-safe state is sent, once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from gridpilot.config import Settings
from gridpilot.cycle import CycleResult, Engine, open_engine, run_cycle
from gridpilot.dispatch import emergency, override, reconcile
from gridpilot.domain import SiteState
from gridpilot.errors import GatewayError, GridPilotError, LeaseHeld, SafetyError
from gridpilot.forecast.refit import Refitter
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplayClock, ReplaySource
from gridpilot.monitor import settle
from gridpilot.monitor.health import AUTO, ESTOP, FAILSAFE, HOLD, OVERRIDE, PilotState
from gridpilot.values import iso

LEASE = "pilot"
LEASE_S = 30.0  # longer than the slowest cycle: three HTTP deadlines of 10 s fail before it ends
RENEW_S = 5.0
TICK_S = 0.25  # how soon a command is seen
RETRY_S = 10.0  # between two tries after a failure
REPLAY_START = "replay_start"  # key of the ledger's state
OFF_S = 15 * 60.0  # how long an off state is valid; it is sent again when that ends


def one_cycle(settings: Settings, wall: datetime, *, dry_run: bool = False) -> CycleResult:
    """A single cycle by hand. LeaseHeld while a pilot is at work, unless nothing is to be sent."""
    with Ledger.open(settings.database_url()) as ledger:
        owner = _owner()
        token = None if dry_run else _acquire(ledger, owner, wall)
        try:
            engine = open_engine(settings, ledger)
            _resume_clock(engine, settings, ledger, wall)
            result = run_cycle(engine, wall, token=token, dry_run=dry_run)
            if not dry_run:
                clock = engine.source.clock if isinstance(engine.source, ReplaySource) else None
                PilotState(AUTO, "", clock=clock).save(ledger)
            return result
        finally:
            if token is not None:
                ledger.release_lease(LEASE, token, datetime.now(UTC))


def run_pilot(settings: Settings, *, exit_with_parent: bool = False) -> None:
    """Run until SIGTERM or SIGINT (exit code 0), or until the starting process is gone."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    parent = os.getppid() if exit_with_parent else None
    with Ledger.open(settings.database_url()) as ledger:
        pilot = Pilot(settings, ledger)
        while not stop.is_set() and (parent is None or os.getppid() == parent):
            pilot.tick(datetime.now(UTC))
            stop.wait(TICK_S)
        pilot.close(datetime.now(UTC))


class Pilot:
    """The loop's body. `tick` never raises for what the world does; a lost lease ends the process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.token = _acquire(ledger, _owner(), datetime.now(UTC))
        self.engine: Engine | None = None
        self.interval: datetime | None = None  # the last one that was decided
        self.version = override.version(ledger)  # of the commands that the last decision knew
        self.renewed = time.monotonic()
        self.retry_at = 0.0
        self.off_until: datetime | None = None
        self.refitter = Refitter() if settings.refit else None

    def tick(self, wall: datetime) -> None:
        """Renew the lease, look for commands, and decide when an interval begins or a command asks for it."""
        if time.monotonic() - self.renewed > RENEW_S:
            self.ledger.renew_lease(LEASE, self.token, LEASE_S, wall)
            self.renewed = time.monotonic()
        asked = self._commands(wall)
        if time.monotonic() < self.retry_at and not asked:
            return
        try:
            if self.engine is None:
                self._open(wall)
            if self.engine is not None and (asked or self._due(wall)):
                self._cycle(wall)
            self.retry_at = 0.0
        except LeaseHeld:
            raise
        except GridPilotError as error:
            self.retry_at = time.monotonic() + RETRY_S
            self._trouble(str(error), wall)

    def close(self, wall: datetime) -> None:
        """Keep the replay's time, end the background fit and give the lease back."""
        if self.refitter is not None:
            self.refitter.close()
        if self.engine is not None and isinstance(self.engine.source, ReplaySource):
            self._anchor(self.engine.source, wall)
        self.ledger.release_lease(LEASE, self.token, wall)

    def _commands(self, wall: datetime) -> bool:
        """Carry out clock commands and an emergency stop; True when a new decision is asked for."""
        asked = False
        source = self.engine.source if self.engine else None
        for command in override.pending(self.ledger, "clock"):
            done = "no replay is running"
            if isinstance(source, ReplaySource):
                source.clock = _moved(source.clock, command.target, wall)
                self._anchor(source, wall)
                asked, done = asked or "step_s" in command.target, "done"
            override.settle(self.ledger, command.id, "released", done, wall)
        if source is not None:
            override.expire(self.ledger, source.present(wall), wall)
        version = override.version(self.ledger)
        if version != self.version:
            self.version, asked = version, True
            if override.stopped(self.ledger) is not None and source is not None:
                self._send_off("estop", source.present(wall))
                self._write(PilotState(ESTOP, "emergency stop", clock=self._clock(wall)))
        return asked

    # --- parts of a tick -------------------------------------------------------------------

    def _open(self, wall: datetime) -> None:
        engine = open_engine(self.settings, self.ledger)
        _resume_clock(engine, self.settings, self.ledger, wall)
        reconcile.recover(self.ledger, engine.gateway, engine.source.present(wall))
        engine.refitter = self.refitter
        self.engine = engine

    def _due(self, wall: datetime) -> bool:
        assert self.engine is not None  # noqa: S101 - for the type checker
        return self.interval is None or _floor(self.engine.source.present(wall), self.step_s) > self.interval

    @property
    def step_s(self) -> int:
        """Length of an interval: of the newest plan."""
        plan = self.engine.previous if self.engine else None
        return plan.step_s if plan else 300

    def _cycle(self, wall: datetime) -> None:
        assert self.engine is not None  # noqa: S101 - for the type checker
        result = run_cycle(self.engine, wall, token=self.token)
        if self.refitter is not None and self.engine.known is not None:
            self.refitter.offer(self.engine.known)
        self.interval = _floor(result.at, self.step_s)
        self.off_until = None
        control = {"override": OVERRIDE, "hold": HOLD, "estop": ESTOP}.get(result.dispatch.origin, AUTO)
        message = "" if result.plan.status == "optimal" else f"plan by {result.plan.method} ({result.plan.status})"
        alarm = ""
        if result.dispatch.status not in ("applied", "recovered"):
            alarm = f"the machines did not take the set points: {result.dispatch.status}"
        advice = "Look at desired, sent and actual on Dispatch." if alarm else ""
        self._write(PilotState(control, message, alarm, wall if alarm else None, advice, self._clock(wall)))
        if not alarm:
            self.ledger.beat(wall)

    def _trouble(self, reason: str, wall: datetime) -> None:
        """No decision: hold what runs while it is valid, then the fail-safe state."""
        present = self.engine.source.present(wall) if self.engine else wall
        before = PilotState.load(self.ledger)
        running = settle.load(self.ledger)
        held = running is not None and present < running.valid_until
        if not held and self.engine is not None:
            self._send_off("failsafe", present)
        if before.alarm != reason:
            body = {"code": "NO_DECISION", "severity": "alarm", "stage": "pilot", "message": reason}
            self.ledger.append("alarm", body, at=present)
        control = before.control if before.control == ESTOP else (HOLD if held else FAILSAFE)
        message = f"set points held until {iso(running.valid_until)}" if running and held else "fail-safe: all off"
        advice = "Check the price source and the machine API on Health; the pilot keeps trying."
        alarm_at = before.alarm_at if before.alarm == reason else wall
        self._write(PilotState(control, message, reason, alarm_at, advice, self._clock(wall)))

    def _send_off(self, origin: str, present: datetime) -> None:
        """Everything off, by whatever way is left. An API that is down is tried again at the next tick."""
        engine = self.engine
        if engine is None or (self.off_until is not None and present < self.off_until):
            return
        until = present + timedelta(seconds=OFF_S)
        dispatch = emergency.failsafe(engine.site, SiteState(present, float("nan")), present, until, origin)
        with contextlib.suppress(GatewayError, SafetyError):
            sent = reconcile.execute(self.ledger, engine.gateway, dispatch, present, cycle_id=origin, token=self.token)
            if sent.status in ("applied", "recovered"):
                self.off_until = until

    def _clock(self, wall: datetime) -> ReplayClock | None:
        source = self.engine.source if self.engine else None
        return (
            replace(source.clock, wall=wall, replay=source.present(wall)) if isinstance(source, ReplaySource) else None
        )

    def _anchor(self, source: ReplaySource, wall: datetime) -> None:
        """Write the replayed time down, so that a restart goes on from here."""
        source.clock = replace(source.clock, wall=wall, replay=source.present(wall))
        self._write(replace(PilotState.load(self.ledger), clock=source.clock))

    def _write(self, state: PilotState) -> None:
        if state != PilotState.load(self.ledger):
            state.save(self.ledger)


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _acquire(ledger: Ledger, owner: str, wall: datetime) -> int:
    """The lease; taken over at once from a process of this host that is gone."""
    try:
        return ledger.acquire_lease(LEASE, owner, LEASE_S, wall)
    except LeaseHeld:
        held = ledger.lease_holder(LEASE, wall)
        if held is None or not _gone(held.owner):
            raise
        ledger.release_lease(LEASE, held.token, wall)
        return ledger.acquire_lease(LEASE, owner, LEASE_S, wall)


def _gone(owner: str) -> bool:
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _moved(clock: ReplayClock, target: Mapping[str, Any], wall: datetime) -> ReplayClock:
    if "step_s" in target:
        clock = clock.stepped(wall, int(target["step_s"]))
    return clock.with_speed(wall, float(target["speed"])) if "speed" in target else clock


def _resume_clock(engine: Engine, settings: Settings, ledger: Ledger, wall: datetime) -> None:
    """Go on with the replay where it was, unless another start was asked for since."""
    source = engine.source
    if not isinstance(source, ReplaySource):
        return
    begun = ledger.get_state(REPLAY_START).value
    start = iso(source.clock.replay)
    saved = PilotState.load(ledger).clock
    if saved is not None and begun == start:
        source.clock = replace(saved, wall=wall, replay=min(saved.replay, source.last))
    else:
        ledger.put_state(REPLAY_START, start)


def _floor(moment: datetime, step_s: int) -> datetime:
    return datetime.fromtimestamp(int(moment.timestamp()) // step_s * step_s, UTC)
