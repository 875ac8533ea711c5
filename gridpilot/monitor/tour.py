"""The guided tour of a recorded demonstration: chapters, each a page, a moment and what to watch there.

The recorder writes them as an entry of the ledger, so that they go with the record that they are about; their figures
are that record's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gridpilot.ledger.store import Ledger

ENTRY: Final = "tour"


@dataclass(frozen=True, slots=True)
class Chapter:
    """`at` is the moment looked at, None for now; `play_until` where playing from there ends."""

    title: str
    says: str
    page: str
    at: datetime | None = None
    play_until: datetime | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Chapter:
        """The inverse of `values.to_jsonable`."""
        moments = {k: None if body[k] is None else datetime.fromisoformat(body[k]) for k in ("at", "play_until")}
        return cls(**{**body, **moments})


def load(ledger: Ledger) -> tuple[Chapter, ...]:
    """The newest tour; empty where none was recorded."""
    entry = ledger.latest(ENTRY)
    return () if entry is None else tuple(Chapter.from_json(body) for body in entry.body["chapters"])
