"""The settings, the ledger and the clocks behind every view."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gridpilot.config import Settings, load_settings
from gridpilot.errors import LedgerError
from gridpilot.fleetfile import FleetSite, load_fleet
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.engine import identity, parsed_url
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.health import PilotState
from gridpilot.monitor.past import until

RETRY_S = 5.0  # before a ledger of another site that could not be opened is tried again


@dataclass(frozen=True, slots=True)
class Look:
    """What a viewer looks at: a site of the fleet (empty: this console's own) and a moment (None: now)."""

    site: str = ""
    at: datetime | None = None


_provider: list[Callable[[], Look]] = [Look]
_pinned: ContextVar[Look | None] = ContextVar("look", default=None)


def look_by(provider: Callable[[], Look]) -> None:
    """Ask `provider` at every view what its viewer looks at; the console gives each session its own."""
    _provider[0] = provider


def look() -> Look:
    """What this viewer looks at."""
    return _pinned.get() or _provider[0]()


@contextmanager
def looking(at: Look) -> Iterator[None]:
    """Look at that meanwhile, in this thread: another one has no viewer whom `look` could ask."""
    token = _pinned.set(at)
    try:
        yield
    finally:
        _pinned.reset(token)


# --- the console's own site ------------------------------------------------------------------


@functools.cache
def settings() -> Settings:
    """The console's own settings, for the life of the process."""
    return load_settings()


@functools.cache
def own_ledger() -> Ledger:
    """The ledger of the console's own site, the only one that it writes: SQLAlchemy's pool serves all threads."""
    return Ledger.open(settings().database_url())


@functools.cache
def _own_reader() -> Ledger:
    own_ledger()  # creates and migrates it
    return Ledger.open(settings().database_url(), read_only=True)


# --- the site looked at ----------------------------------------------------------------------


@functools.cache
def fleet() -> tuple[FleetSite, ...]:
    """The sites of the fleet file; none without one."""
    file = settings().fleet
    return () if file is None else load_fleet(file)


def is_own(site: FleetSite) -> bool:
    """Whether a site of the fleet is the console's own: the one whose ledger it writes."""
    theirs, ours = (identity(parsed_url(url)) for url in (site.ledger.get_secret_value(), settings().database_url()))
    return theirs == ours


@functools.cache
def _elsewhere(name: str) -> FleetSite | None:
    return next((site for site in fleet() if site.name == name and not is_own(site)), None)


def elsewhere() -> FleetSite | None:
    """The site looked at where it is another one than the console's own, which nothing here commands."""
    name = look().site
    return _elsewhere(name) if name else None


def here() -> Settings:
    """The settings of the site looked at."""
    other = elsewhere()
    return settings() if other is None else other.settings(settings())


def environment() -> dict[str, str]:
    """The environment of a command on the site looked at. It has secrets: never shown."""
    other = elsewhere()
    if other is None:
        return dict(os.environ)
    own = ("GRIDPILOT_DB_URL", "GRIDPILOT_SITE", "GRIDPILOT_HEAD_FILE")
    return {k: v for k, v in os.environ.items() if k not in own} | other.environment()


def ledger() -> Ledger:
    """The ledger of the site looked at. That of another site than the console's own cannot be written through it."""
    other = elsewhere()
    return own_ledger() if other is None else ledger_of(other)


def reader() -> Ledger:
    """The same ledger through a handle that cannot write: SQLite's mode=ro, PostgreSQL's read-only transactions."""
    other = elsewhere()
    return _own_reader() if other is None else ledger_of(other)


def records() -> Ledger:
    """The ledger as far as this viewer looks: as it stood at the moment looked at, all of it now."""
    return until(ledger(), look().at)


def records_to_read() -> Ledger:
    """The same through the handle that cannot write."""
    return until(reader(), look().at)


@dataclass(slots=True)
class _Handle:
    """Another site's ledger: opened once, or why it could not be, for a while."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ledger: Ledger | None = None
    trouble: tuple[type[LedgerError], str] = (LedgerError, "")
    tried: float = float("-inf")

    def open(self, site: FleetSite) -> Ledger:
        with self.lock:
            if self.ledger is None:
                if time.monotonic() - self.tried > RETRY_S:
                    try:
                        self.ledger = Ledger.open(site.settings(settings()).database_url(), read_only=True)
                        return self.ledger
                    except LedgerError as error:
                        self.trouble, self.tried = (type(error), str(error)), time.monotonic()
                kind, said = self.trouble
                raise kind(said)
            return self.ledger


_handles: dict[str, _Handle] = {}


def ledger_of(site: FleetSite) -> Ledger:
    """A read-only handle of a site of the fleet; LedgerError where it cannot be opened."""
    return _handles.setdefault(site.name, _Handle()).open(site)


def reset() -> None:
    """Forget settings and ledgers; for tests that change the environment."""
    if _own_reader.cache_info().currsize:
        _own_reader().close()
    for handle in _handles.values():
        if handle.ledger is not None:
            handle.ledger.close()
    _handles.clear()
    for cached in (settings, own_ledger, _own_reader, fleet, _elsewhere):
        cached.cache_clear()


def wall() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def source_now() -> datetime | None:
    """What time it is at the source; None before the first decision where no pilot runs."""
    store, now = ledger(), wall()
    alive = store.lease_holder("pilot", now) is not None
    return source_time(PilotState.load(store), store.latest("cycle"), alive, now)


def of_file(cycle: Entry | None) -> bool:
    """Whether a decision is of a price file that stands still: its time is that of its newest row."""
    return bool(cycle and cycle.body["source"] == "csv" and cycle.body["simulated"])


def source_time(pilot: PilotState, cycle: Entry | None, alive: bool, now: datetime) -> datetime | None:
    """The same from what was read: the clock of a pilot that is at work, else the newest decision's time."""
    if alive and not of_file(cycle):
        return pilot.present(now)
    return cycle.at if cycle else None


def moment(stamp: str) -> datetime:
    """One ISO time of a ledger body."""
    return datetime.fromisoformat(stamp)
