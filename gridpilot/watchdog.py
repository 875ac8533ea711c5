"""The watchdog: a small process of its own that switches the site off when the pilot is silent for too long.

A pilot writes a heartbeat with each good cycle and says for how long it is good. When it is older than three such
intervals the watchdog acts, once: it takes the pilot's lease, so that nothing a pilot that hangs may write on waking
up is accepted, latches, sends everything off through INTENT, PUT, read back and RESULT, and gives the lease back.
The latch is let go by the next good cycle. Should set points be sent after it and no good cycle follow, it acts again.

Nothing of the engine is imported here but the independent check: no forecast, planner, auction or risk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gridpilot.config import Settings, load_site
from gridpilot.dispatch import reconcile
from gridpilot.dispatch.way import open_gateway
from gridpilot.domain import Dispatch, Site, SiteState
from gridpilot.errors import ConfigError, DataError, GridPilotError, LeaseHeld, LedgerError, SourceError
from gridpilot.ledger.lease import PILOT
from gridpilot.ledger.store import HEARTBEAT_KEY, Beat, Ledger
from gridpilot.market.mara import MaraClient
from gridpilot.market.mara_key import known_key
from gridpilot.monitor import latch as latches
from gridpilot.monitor.health import ESTOP, FAILSAFE, PilotState
from gridpilot.monitor.latch import Latch
from gridpilot.patrol import patrol
from gridpilot.plan.safety import check_dispatch
from gridpilot.values import iso

log = logging.getLogger(__name__)

POLL_S = 0.5
GRACE_S = 60.0  # after its own start: a pilot that starts beside it has its first good cycle within
LEASE_S = 60.0  # for the sending: a PUT and a GET have 10 s each, twice
RETRY_S, LONGEST_S = 1.0, 30.0  # between two tries: doubled after each, up to the longest
VALID = timedelta(days=1)  # of the off state
Clock = Callable[[], float]  # seconds of a clock that nobody sets
RUNNING = "running"  # key of the ledger's state: what the last cycle left in force
CYCLE = "watchdog"  # stands in the entries where a cycle's number would


class Watchdog:
    """`tick` looks, and acts when it must. GridPilotError: try again later."""

    def __init__(
        self, settings: Settings, ledger: Ledger, *, grace_s: float = GRACE_S, clock: Clock = time.monotonic
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.grace_s = grace_s
        self._clock = clock
        self._owner = f"watchdog@{socket.gethostname()}:{os.getpid()}"
        self._begun = clock()
        self._beat = _Since(clock)
        self._later = _Since(clock)  # set points of somebody else after the fail-safe state
        self._shown = -latches.SEEN_EVERY_S
        self._tries, self._retry_at = 0, 0.0

    def tick(self, wall: datetime) -> None:
        """One look at heartbeat and latch."""
        if self._clock() - self._shown >= latches.SEEN_EVERY_S:
            self.ledger.put_state(latches.SEEN_KEY, wall)
            self._shown = self._clock()
        beat, latch = self.ledger.heartbeat(), Latch.load(self.ledger)
        before_s = max(0.0, (wall - beat.at).total_seconds()) if beat else 0.0
        age_s = self._beat.age_s(beat.number if beat else 0, before_s)
        if latch is not None and latch.latched:
            self._keep(latch, beat, wall)
        elif reason := self._overdue(beat, age_s):
            self._act(reason, beat, wall)

    def _overdue(self, beat: Beat | None, age_s: float) -> str:
        """Why the site must go off; empty while all is well."""
        if self._clock() - self._begun < self.grace_s:
            return ""
        if beat is None:
            return f"no good cycle has ended in the {self.grace_s:.0f} s since the watchdog's start"
        limit_s = latches.overdue_s(beat.every_s)
        if age_s <= limit_s:
            return ""
        return f"the last good cycle began at {iso(beat.at)}, {age_s:.0f} s ago: {limit_s:.0f} s are allowed"

    # --- acting ----------------------------------------------------------------------------

    def _act(self, reason: str, beat: Beat | None, wall: datetime) -> None:
        """Take the lease and latch in one step, unless a heartbeat came in between; then send."""
        present = self._present(None, wall)
        with self.ledger.transaction() as work:
            if work.get_state(HEARTBEAT_KEY).version != (beat.number if beat else 0):
                return
            token, fenced = work.seize_lease(PILOT, self._owner, LEASE_S, wall)
            latch = Latch(True, wall, reason, fenced)
            latch.save(work)
            body = {"code": "WATCHDOG", "severity": "alarm", "stage": "watchdog", "message": f"all off: {reason}"}
            work.append("alarm", body, at=present, cycle_id=CYCLE)
        log.error("all off: %s", reason)
        state = PilotState.load(self.ledger)
        replace(
            state,
            control=state.control if state.control == ESTOP else FAILSAFE,
            message="fail-safe by the watchdog: all off",
            alarm=reason,
            alarm_at=wall,
            advice="A pilot's next good cycle ends it: see that one runs, and its log.",
        ).save(self.ledger)
        self._tries = 0
        self._send(latch, token, wall)

    def _keep(self, latch: Latch, beat: Beat | None, wall: datetime) -> None:
        """While latched: send until it is at the machines, and act anew on what a pilot sent without a good cycle."""
        if not latch.intent:
            if self._clock() >= self._retry_at:
                with contextlib.suppress(LeaseHeld):  # a new pilot is at work
                    self._send(latch, self.ledger.acquire_lease(PILOT, self._owner, LEASE_S, wall), wall)
            return
        newest = self.ledger.latest("intent")
        if newest is None or newest.seq == latch.intent or _all_off(newest.body["desired"]):
            return
        limit_s = latches.overdue_s(beat.every_s) if beat else self.grace_s
        if self._later.age_s(newest.seq) > limit_s:
            self._act(f"set points were sent {limit_s:.0f} s ago and no good cycle has ended since", beat, wall)

    def _send(self, latch: Latch, token: int, wall: datetime) -> None:
        """Everything off, by INTENT, PUT, read back and RESULT; the lease is given back whatever comes of it."""
        self._retry_at = self._clock() + min(RETRY_S * 2.0**self._tries, LONGEST_S)
        self._tries += 1
        try:
            site, client = load_site(self.settings.site_file()), self._client()
            gateway = open_gateway(site, self.ledger, client)
            present = self._present(client, wall)
            off = _off(site, present)
            sent = reconcile.execute(self.ledger, gateway, off, present, cycle_id=CYCLE, token=token)
            if sent.status in ("applied", "recovered"):
                self._done(latch, present)
            else:
                log.error("the machines did not take the off state (%s): it is sent again", sent.status)
        except LedgerError:
            raise
        except GridPilotError as error:
            log.error("the off state was not sent: %s", error)
        finally:
            with contextlib.suppress(LedgerError):
                self.ledger.release_lease(PILOT, token, datetime.now(UTC))

    def _done(self, latch: Latch, present: datetime) -> None:
        """The machines show it: from here on nothing is in force, and nothing is earned."""
        newest = self.ledger.latest("intent")
        with self.ledger.transaction() as work:
            replace(latch, intent=newest.seq if newest else 0).save(work)
            running = work.get_state(RUNNING).value
            if running and datetime.fromisoformat(running["valid_until"]) > present:
                work.put_state(RUNNING, {**running, "valid_until": present})

    def _client(self) -> MaraClient | None:
        if self.settings.source != "mara":
            return None
        key = known_key(self.settings)
        if key is None:
            raise ConfigError("no key of a MARA site is known, so no machines can be reached: start a pilot first")
        client = MaraClient(self.settings.mara_url, key)
        with contextlib.suppress(SourceError, DataError):  # says what time it is there, should it be a stand-in
            client.machines()
        return client

    def _present(self, client: MaraClient | None, wall: datetime) -> datetime:
        """The source's time, as far as it can be known without the source."""
        if client is not None and client.clock is not None:
            return client.clock.at(wall)
        clock, cycle = PilotState.load(self.ledger).clock, self.ledger.latest("cycle")
        if clock is not None:
            return clock.at(wall)
        if cycle is None:
            return wall
        if cycle.body["source"] == "csv" and cycle.body["simulated"]:  # its time stands still between two rows
            return cycle.at
        return cycle.at + (wall - datetime.fromisoformat(cycle.body["wall"]))


class _Since:
    """For how long a value has been the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._value: int | None = None
        self._since = 0.0

    def age_s(self, value: int, before_s: float = 0.0) -> float:
        """Seconds since the value changed; the first one ever seen is `before_s` old."""
        now = self._clock()
        if value != self._value:
            self._since = now - (before_s if self._value is None else 0.0)
            self._value = value
        return now - self._since


def _off(site: Site, at: datetime) -> Dispatch:
    """Everything off and the battery at rest, with the independent check's verdict."""
    bare = Dispatch(
        at=at,
        valid_until=at + VALID,
        origin="failsafe",
        machines={m.type: 0 for m in site.machines},
        battery_kw=0.0,
        jobs_kw={},
        tenants_kw={},
        cooling_kw=0.0,
        machine_kw=0.0,
        total_power_kw=0.0,
        payload={},
        constraints_satisfied=False,
    )
    violations = check_dispatch(site, SiteState(at, float("nan")), bare, step_s=VALID.total_seconds())
    return replace(bare, constraints_satisfied=not violations, violations=violations)


def _all_off(desired: Mapping[str, Any]) -> bool:
    return not any(desired["machines"].values()) and not desired["battery_kw"]


def check(settings: Settings, what: str) -> None:
    """GridPilotError unless the pilot's heartbeat is young, or (`what` is watchdog) a watchdog is at work."""
    wall = datetime.now(UTC)
    with Ledger.open(settings.database_url(), read_only=True) as ledger:
        beat = ledger.heartbeat()
        if what == "watchdog":
            said = "" if latches.seen(ledger, wall) else "no watchdog has looked for some time: start one"
        else:
            said = latches.silence(beat, wall) if beat else "no good cycle yet: see the pilot's log"
    if said:
        raise GridPilotError(said)


def run_watchdog(settings: Settings, *, grace_s: float = GRACE_S) -> None:
    """Look twice a second until SIGTERM or SIGINT (exit code 0).

    A ledger or an API that is down is tried again, ever more seldom, up to twice a minute.
    """

    def start() -> Watchdog:
        return Watchdog(settings, Ledger.open(settings.database_url()), grace_s=grace_s)

    dog = patrol(start, POLL_S, log)
    if dog is not None:
        dog.ledger.close()
