"""What dispatch needs of a ledger. The ledger comes after dispatch, so it is handed in and not imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol


class Record(Protocol):
    """An entry of the ledger."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def cycle_id(self) -> str:
        """The cycle that wrote it."""

    @property
    def body(self) -> Mapping[str, Any]:
        """Its content."""


class StateReader(Protocol):
    """Small values by name."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""


class Journal(Protocol):
    """Entries are on disk when `append` returns; with a `token`, only the pilot that holds the lease may append."""

    def append(self, kind: str, body: Any, *, at: datetime, cycle_id: str = "", token: int | None = None) -> Record:
        """Add an entry."""

    def require_lease(self, token: int) -> None:
        """LeaseHeld unless `token` is that of the pilot that holds the lease."""

    def entries(self, kind: str | None = None, *, limit: int = 1000) -> Sequence[Record]:
        """The newest entries of a kind, newest first."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""

    def put_state(self, key: str, value: Any, expect_version: int | None = None) -> int:
        """Write a key; returns its new version."""


class CommandWork(Protocol):
    """Writes that happen together or not at all."""

    def append(self, kind: str, body: Any, *, at: datetime, cycle_id: str = "") -> Record:
        """Add an entry."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""

    def put_state(self, key: str, value: Any, expect_version: int | None = None) -> int:
        """Write a key; returns its new version."""

    def add_command(self, row: Mapping[str, Any]) -> int:
        """Insert a command; returns its id."""

    def set_command(self, command_id: int, status: str, detail: str) -> None:
        """Change a command's status and detail."""

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Commands, newest first."""


class CommandStore(Protocol):
    """Where operators' commands wait."""

    def transaction(self) -> AbstractContextManager[CommandWork]:
        """Begin work; it is committed when the block ends without an exception."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Commands, newest first."""
