"""The long-running process: a cycle each interval, an operator's command at once, and a safe end to both.

One pilot writes set points: it holds a lease with a fencing token, and a second one ends with a clear
message. The heartbeat is written after good cycles only. Without usable prices the last set points hold
until they expire, and then the fail-safe state is sent, once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from gridpilot.config import Settings
from gridpilot.cycle import CycleResult, Engine, open_engine, run_cycle
from gridpilot.dispatch import emergency, override, reconcile, stopfile
from gridpilot.domain import SiteState
from gridpilot.ending import Ending, over
from gridpilot.errors import GatewayError, GridPilotError, LeaseHeld, LedgerError, SafetyError, SourceError
from gridpilot.forecast.refit import Refitter
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplayClock, ReplaySource
from gridpilot.monitor import latch, revenue, settle
from gridpilot.monitor.health import AUTO, ESTOP, FAILSAFE, HOLD, OVERRIDE, PilotState
from gridpilot.values import iso

log = logging.getLogger(__name__)

LEASE = "pilot"
LEASE_S = 30.0  # longer than the slowest cycle: three HTTP deadlines of 10 s fail before it ends
RENEW_S = 5.0
TICK_S = 0.25  # how soon a command is seen
RETRY_S = 10.0  # between two tries after a failure
STILL_BEAT_S = 5.0  # between two heartbeats while the source's clock stands still
REPLAY_START = "replay_start"  # key of the ledger's state
LEDGER_RETRY_S = 1.0  # where the ledger cannot be written; it waits for five seconds by itself
STOP_S = 4.0  # after SIGTERM a cycle may end, then it is left where it is; so may what closes the pilot
HANG_S = 120.0  # a tick that takes longer ends the process, with a traceback, to be started again
OFF_S = 15 * 60.0  # how long an off state is valid; it is sent again when that ends


def one_cycle(settings: Settings, wall: datetime, *, dry_run: bool = False) -> CycleResult:
    """A single cycle by hand. LeaseHeld while a pilot is at work, unless nothing is to be sent."""
    with Ledger.open(settings.database_url()) as ledger:
        owner = _owner()
        token = None if dry_run else _acquire(ledger, owner, wall)
        try:
            if not dry_run:
                stopfile.absorb(ledger, settings.database_url())
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


class _Left(BaseException):
    """A cycle did not end in time after SIGTERM. No Exception: nothing on the way may hold it up."""


def run_pilot(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT (exit code 0).

    On a signal the cycle that runs may end; one that does not within `STOP_S` is left, and the next start settles
    what it had sent.
    """
    due = math.inf  # when a cycle is left, by the monotonic clock

    def limit() -> None:
        nonlocal due
        if due == math.inf:  # the first of several counts
            due = time.monotonic() + STOP_S
            signal.setitimer(signal.ITIMER_REAL, STOP_S, STOP_S)

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise _Left

    with Ledger.open(settings.database_url()) as ledger:
        signal.signal(signal.SIGALRM, on_alarm)
        ending = Ending(limit)
        pilot = Pilot(settings, ledger)
        try:
            while not ending.asked:
                faulthandler.dump_traceback_later(HANG_S, exit=True)
                pilot.tick(datetime.now(UTC))
                ending.wait(TICK_S)
            pilot.close(datetime.now(UTC))
        except _Left:
            _leave(pilot, in_time=time.monotonic() < due + 0.5)
        finally:
            over()
            signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm on the way out would kill the process
            faulthandler.cancel_dump_traceback_later()
            pilot.end_fits()


def _leave(pilot: Pilot, *, in_time: bool) -> None:
    """End in the middle of a cycle: threads of HTTP calls that do not come back are not waited for.

    Nor is a ledger that held the signal up: then the lease ends by itself.
    """
    log.warning("the cycle did not end within %g s of the signal: left, the next start settles it", STOP_S)
    with contextlib.suppress(_Left):
        pilot.end_fits()
        if in_time:
            pilot.close(datetime.now(UTC))
    os._exit(0)


class Pilot:
    """The loop's body. `tick` never raises for what the world does; a lost lease ends the process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self.url = settings.database_url()
        self.ledger = ledger
        self.stopped_by_file = False  # an emergency stop was carried out that only a file knows of
        self.token = _acquire(ledger, _owner(), datetime.now(UTC))
        self.engine: Engine | None = None
        self.interval: datetime | None = None  # the last one that was decided
        self.version = override.version(ledger)  # of the commands that the last decision knew
        self.renewed = time.monotonic()
        self.retry_at = 0.0
        self.look_at = 0.0
        self.blind = False  # the last look at the site failed
        self.off_until: datetime | None = None
        self.beaten: tuple[float, float] | None = None  # when (monotonic), and for how long; None: last cycle not good
        self.unwritten: tuple[datetime, str] | None = None  # since when the ledger cannot be written, and why
        self.refitter = Refitter() if settings.refit else None

    def tick(self, wall: datetime) -> None:
        """Renew the lease, look for commands, and decide when an interval begins or a command asks for it.

        While the ledger cannot be written nothing is sent; what happened is written down when it can be again.
        """
        self._stop_pressed(wall)
        if self.unwritten is not None and time.monotonic() < self.retry_at:
            return
        try:
            stopfile.absorb(self.ledger, self.url)
            self._tick(wall)
        except LeaseHeld:
            raise
        except LedgerError as error:
            self.retry_at = time.monotonic() + LEDGER_RETRY_S
            if self.unwritten is None:
                self.unwritten = wall, str(error)
                log.error("%s; nothing is sent until it can be written", error)

    def _stop_pressed(self, wall: datetime) -> None:
        """An emergency stop that could only be latched in a file: the machines first, and the ledger when it can."""
        pressed, engine = stopfile.pressed(self.url) is not None, self.engine
        if not pressed or engine is None or self.stopped_by_file:
            self.stopped_by_file = pressed and self.stopped_by_file
            return
        present = engine.source.present(wall)
        until = present + timedelta(seconds=OFF_S)
        off = emergency.failsafe(engine.site, SiteState(present, float("nan")), present, until, "estop")
        with contextlib.suppress(GatewayError, SourceError, LedgerError):  # tried again with the next tick
            engine.gateway.put(off, present)
            self.stopped_by_file = not any(engine.gateway.read(present).target.values())

    def _tick(self, wall: datetime) -> None:
        if time.monotonic() - self.renewed > RENEW_S or self.unwritten is not None:
            self.ledger.renew_lease(LEASE, self.token, LEASE_S, wall)
            self.renewed = time.monotonic()
        if self.unwritten is not None:
            self._written_again(*self.unwritten, wall)
        asked = self._commands(wall)
        asked = self._follow(wall) or asked
        if time.monotonic() < self.retry_at and not asked:
            return
        try:
            if self.engine is None:
                self._open(wall)
            if self.engine is not None and (asked or self._due(wall)):
                self._cycle(wall)
            self._beat_on(wall)
            self.retry_at = 0.0
        except LedgerError:
            raise
        except GridPilotError as error:
            self.retry_at = time.monotonic() + RETRY_S
            self._trouble(str(error), wall)

    def close(self, wall: datetime) -> None:
        """Keep the replay's time, end the background fit and give the lease back."""
        self.end_fits()
        if self.unwritten is not None:
            return
        with contextlib.suppress(LedgerError):  # the lease ends by itself
            if self.engine is not None and isinstance(self.engine.source, ReplaySource):
                self._anchor(self.engine.source, wall)
            self.ledger.release_lease(LEASE, self.token, wall)

    def end_fits(self) -> None:
        """End the background fit: this process would wait for it."""
        if self.refitter is not None:
            self.refitter.close()

    def _written_again(self, since: datetime, why: str, wall: datetime) -> None:
        """The ledger can be written: say since when it could not, and settle what was sent just before."""
        present = self.engine.source.present(wall) if self.engine else wall
        message = f"{why} (from {iso(since)} to {iso(wall)}): nothing was sent meanwhile"
        body = {"code": "LEDGER", "severity": "alarm", "stage": "pilot", "message": message}
        self.ledger.append("alarm", body, at=present)
        if self.engine is not None:
            reconcile.recover(self.ledger, self.engine.gateway, present)
        self.unwritten, self.retry_at = None, 0.0

    def _commands(self, wall: datetime) -> bool:
        """Carry out clock commands and an emergency stop; True when a new decision is asked for."""
        asked = False
        source = self.engine.source if self.engine else None
        for command in override.pending(self.ledger, "clock"):
            if asked:
                break  # each step has a decision of its own
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

    def _follow(self, wall: datetime) -> bool:
        """Between two cycles: look at the site, keep it safe; whether something asks for a new decision."""
        engine = self.engine
        if engine is None or time.monotonic() < self.look_at:
            return False
        self.look_at = time.monotonic() + engine.gateway.look_s
        present, stopped = engine.source.present(wall), override.stopped(self.ledger) is not None
        try:
            if stopped or self.off_until is not None:
                self._stay_off("estop" if stopped else "failsafe", present)
            asked = not stopped and engine.control.follow(present, token=self.token)
        except (GatewayError, SafetyError) as error:
            if not self.blind:
                body = {"code": "UNREADABLE", "severity": "alarm", "stage": "pilot", "message": str(error)}
                self.ledger.append("alarm", body, at=present)
            self.blind = True
            return False
        self.blind = False
        return asked

    def _stay_off(self, origin: str, present: datetime) -> None:
        """Where everything is to be off and somebody switches something on, it goes off again."""
        engine = self.engine
        assert engine is not None  # noqa: S101 - for the type checker
        if any(engine.gateway.read(present).target.values()):
            self.off_until = None
            self._send_off(origin, present)

    def _open(self, wall: datetime) -> None:
        engine = open_engine(self.settings, self.ledger)
        _resume_clock(engine, self.settings, self.ledger, wall)
        present, running = engine.source.present(wall), settle.load(self.ledger)
        reconcile.recover(self.ledger, engine.gateway, present)
        engine.refitter = self.refitter
        self.engine = engine
        if running is None or present >= running.valid_until:
            self._start_safe(present, wall)

    def _start_safe(self, present: datetime, wall: datetime) -> None:
        """Nothing is in force, or no longer: the fail-safe state until the first good plan."""
        assert self.engine is not None  # noqa: S101 - for the type checker
        with contextlib.suppress(GatewayError):
            if any(self.engine.gateway.read(present).machines.values()):
                self._send_off("failsafe", present)
        before = PilotState.load(self.ledger)
        if before.control != ESTOP:
            said = "fail-safe until the first decision: nothing was in force at the start"
            self._write(replace(before, control=FAILSAFE, message=said, clock=self._clock(wall)))

    def _due(self, wall: datetime) -> bool:
        assert self.engine is not None  # noqa: S101 - for the type checker
        present = _floor(self.engine.source.present(wall), self.step_s)
        return present != self.interval  # where the clock went back, too: what is in force knows of no such time

    @property
    def step_s(self) -> int:
        """Length of an interval: of the newest plan."""
        plan = self.engine.previous if self.engine else None
        return plan.step_s if plan else 300

    def _every_s(self, wall: datetime) -> float:
        """Length of an interval on the wall clock; infinite while the source's clock stands still."""
        assert self.engine is not None  # noqa: S101 - for the type checker
        present, soon = self.engine.source.present, wall + timedelta(minutes=1)  # a clock may have begun after `wall`
        second = present(soon + timedelta(seconds=1)) - present(soon)
        return self.step_s / second.total_seconds() if second else math.inf

    def _beat_on(self, wall: datetime) -> None:
        """Beat again after a good cycle where the clock stands still, or runs at another speed than it did."""
        if self.beaten is None:
            return
        (last, good_s), every_s = self.beaten, self._every_s(wall)
        still = math.isinf(every_s) and time.monotonic() - last > STILL_BEAT_S
        if still or not math.isclose(good_s, every_s, rel_tol=0.01):
            self._beat(wall, every_s)

    def _beat(self, wall: datetime, every_s: float) -> None:
        """The heartbeat, and with it the end of a fail-safe state that the watchdog latched."""
        assert self.engine is not None  # noqa: S101 - for the type checker
        with self.ledger.transaction() as work:
            work.beat(wall, STILL_BEAT_S if math.isinf(every_s) else every_s, self.token)
            latch.release(work, wall, self.engine.source.present(wall))
        self.beaten = time.monotonic(), every_s

    def _cycle(self, wall: datetime) -> None:
        assert self.engine is not None  # noqa: S101 - for the type checker
        self.beaten = None
        result = run_cycle(self.engine, wall, token=self.token)
        if self.refitter is not None and self.engine.known is not None:
            self.refitter.offer(self.engine.known)
        self.interval = _floor(result.at, self.step_s)
        self.off_until = None
        control = {"override": OVERRIDE, "hold": HOLD, "estop": ESTOP}.get(result.dispatch.origin, AUTO)
        message = "" if result.plan.status == "optimal" else f"plan by {result.plan.method} ({result.plan.status})"
        alarm = ""
        if result.dispatch.status not in (*reconcile.SENT, "held"):
            alarm = f"the machines did not take the set points: {result.dispatch.status}"
        advice = "Look at desired, sent and actual on Dispatch." if alarm else ""
        self._write(PilotState(control, message, alarm, wall if alarm else None, advice, self._clock(wall)))
        if not alarm:
            self._beat(wall, self._every_s(wall))
        revenue.close(self.ledger, result.at)

    def _trouble(self, reason: str, wall: datetime) -> None:
        """No decision: hold what runs while it is valid, then the fail-safe state."""
        self.ledger.renew_lease(LEASE, self.token, LEASE_S, wall)  # who slept and lost it says nothing
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
