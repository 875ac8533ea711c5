"""The watch: a process of its own that looks at the ledger every two seconds and keeps the alarms.

It needs neither the pilot nor the console: it sees that the pilot is silent, that prices are old, that machines do not
answer, and tells a receiver outside. One watch is at work on a ledger, by a lease; others wait. Messages and the check
of the ledger's chain run beside the looks, so that a dead receiver or a long ledger delays none. It writes no set
points.
"""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gridpilot.config import Settings
from gridpilot.errors import GridPilotError, LeaseHeld, LedgerError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import alarms, conditions
from gridpilot.monitor.alarms import Change, Condition
from gridpilot.monitor.courier import Receiver, deliver, receiver
from gridpilot.patrol import patrol

log = logging.getLogger(__name__)

LEASE, LEASE_S, RENEW_S = "watch", 20.0, 5.0
POLL_S = 2.0
VERIFY_S = 600.0  # between two checks of the chain
RAISE_AFTER_S = {"NOT_FOLLOWED": 30.0, "STALE": 5.0, "SILENT": 2.0, "UNREADABLE": 5.0}  # others at once


class Watch:
    """`tick` looks once. GridPilotError: try again later."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.receiver: Receiver | None = receiver(settings)
        self._owner = f"watch@{socket.gethostname()}:{os.getpid()}"
        self._token: int | None = None
        self._renewed: datetime | None = None
        self._pending: dict[tuple[str, str], datetime] = {}  # conditions that do not hold for long enough yet
        self._seq: int | None = None  # entries up to this one were looked at
        self._verified: tuple[datetime, int] | None = None  # when, up to which entry
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="gridpilot-watch")
        self._running: dict[str, Future[None]] = {}

    def tick(self, wall: datetime) -> list[Change]:
        """One look; what has changed. Empty while another watch is at work."""
        if not self._at_work(wall):
            return []
        if self._seq is None:
            last = self.ledger.get_state(conditions.WATCH).value
            self._seq = last["seq"] if last else self.ledger.head().seq
        known = alarms.listed(self.ledger)
        open_ = {alarm.key for alarm in known if alarm.cleared_at is None}
        happened, self._seq = conditions.since(self.ledger, self._seq)
        found = [*self._settled(conditions.conditions(self.ledger, wall, open_), open_, wall), *happened]
        present = conditions.Look.at(self.ledger, wall).present
        changes = alarms.watch(self.ledger, found, wall, present, deliver=self.receiver is not None)
        if happened or self._renewed == wall:
            self.ledger.put_state(conditions.WATCH, {"at": wall, "seq": self._seq})
        self._errands(wall)
        return changes

    def close(self) -> None:
        """Give the lease back; what runs beside ends by itself."""
        self._beside.shutdown(wait=False, cancel_futures=True)
        if self._token is not None:
            with suppress(LedgerError):
                self.ledger.release_lease(LEASE, self._token, datetime.now(UTC))

    def _at_work(self, wall: datetime) -> bool:
        if self._token is not None and self._renewed is not None and wall - self._renewed < timedelta(seconds=RENEW_S):
            return True
        try:
            self._token = self.ledger.acquire_lease(LEASE, self._owner, LEASE_S, wall)
        except LeaseHeld:
            self._token = self._seq = None
            return False
        self._renewed = wall
        return True

    def _settled(self, found: list[Condition], open_: set[tuple[str, str]], wall: datetime) -> list[Condition]:
        """Without those that must hold for a while before they are raised, and do not yet."""
        found = [c for c in found if c.code != "WATCH"]  # here it is
        self._pending = {c.key: self._pending.get(c.key, wall) for c in found}
        return [
            c
            for c in found
            if c.key in open_ or wall - self._pending[c.key] >= timedelta(seconds=RAISE_AFTER_S.get(c.code, 0.0))
        ]

    # --- beside the looks ------------------------------------------------------------------

    def _errands(self, wall: datetime) -> None:
        """Start what is due and does not run; what went wrong with the last one is raised here."""
        for name in [name for name, future in self._running.items() if future.done()]:
            self._running.pop(name).result()
        if self.receiver is not None and "deliver" not in self._running:
            self._running["deliver"] = self._beside.submit(self._deliver, self.receiver, wall)
        if "verify" not in self._running and self._due(wall):
            self._running["verify"] = self._beside.submit(self._verify, wall)

    def _deliver(self, to: Receiver, wall: datetime) -> None:
        deliver(self.ledger, to, wall)

    def _due(self, wall: datetime) -> bool:
        if self._verified is None:
            return True
        at, seq = self._verified
        return wall - at >= timedelta(seconds=VERIFY_S) and self.ledger.head().seq != seq

    def _verify(self, wall: datetime) -> None:
        """Recompute the whole chain; the result is on record where it is news, and its time in any case."""
        seq, report = self.ledger.head().seq, self.ledger.verify()
        self.ledger.put_state(
            conditions.VERIFIED, {"at": wall, "ok": report.ok, "reason": report.reason, "entries": report.n, "seq": seq}
        )
        self._verified = wall, seq


def check(settings: Settings) -> None:
    """GridPilotError unless a watch is at work."""
    with Ledger.open(settings.database_url(), read_only=True) as ledger:
        if not conditions.watch_seen(ledger, datetime.now(UTC)):
            raise GridPilotError("no watch has looked for some time: start one")


def run_watch(settings: Settings) -> None:
    """Look every two seconds until SIGTERM or SIGINT (exit code 0).

    A ledger that is away is tried again, ever more seldom, up to twice a minute. ConfigError for a receiver that cannot
    be used.
    """
    receiver(settings)

    def start() -> Watch:
        return Watch(settings, Ledger.open(settings.database_url()))

    watch = patrol(start, POLL_S, log)
    if watch is not None:
        watch.close()
        watch.ledger.close()
