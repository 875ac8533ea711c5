"""The settings, the ledger and the clocks behind every view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gridpilot.config import Settings, load_settings
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.past import until


@dataclass(frozen=True, slots=True)
class Look:
    """What a viewer looks at: a site of the fleet (empty: this console's own) and a moment (None: now)."""

    site: str = ""
    at: datetime | None = None


_provider: list[Callable[[], Look]] = [Look]


def look_by(provider: Callable[[], Look]) -> None:
    """Ask `provider` at every view what its viewer looks at; the console gives each session its own."""
    _provider[0] = provider


def look() -> Look:
    """What this viewer looks at."""
    return _provider[0]()


@functools.cache
def settings() -> Settings:
    """The settings in force, for the life of the process."""
    return load_settings()


@functools.cache
def ledger() -> Ledger:
    """One ledger for the whole process: SQLAlchemy's pool serves all threads."""
    return Ledger.open(settings().database_url())


@functools.cache
def reader() -> Ledger:
    """The same ledger through a handle that cannot write: SQLite's mode=ro, PostgreSQL's read-only transactions."""
    ledger()  # creates and migrates it
    return Ledger.open(settings().database_url(), read_only=True)


def records() -> Ledger:
    """The ledger as far as this viewer looks: as it stood at the moment looked at, all of it now."""
    return until(ledger(), look().at)


def records_to_read() -> Ledger:
    """The same through the handle that cannot write."""
    return until(reader(), look().at)


def reset() -> None:
    """Forget settings and ledger; for tests that change the environment."""
    settings.cache_clear()
    if reader.cache_info().currsize:
        reader().close()
    reader.cache_clear()
    ledger.cache_clear()


def wall() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def moment(stamp: str) -> datetime:
    """One ISO time of a ledger body."""
    return datetime.fromisoformat(stamp)
