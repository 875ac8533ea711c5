"""Whose prices the decisions are made with, and since when.

Another source is another market: a forecast of one is never scored with the prices of another, so what is scored and
followed begins anew with a switch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gridpilot.ledger.store import Ledger

KEY = "market"  # of the ledger's state


@dataclass(frozen=True, slots=True)
class Market:
    """A price source in force, and since when: None where no other one was before."""

    source: str
    since: datetime | None = None

    def began(self, at: datetime) -> bool:
        """Whether it came into force at `at`."""
        return self.since == at

    def to_json(self) -> dict[str, Any]:
        """For the ledger's state, exact."""
        return {"source": self.source, "since": None if self.since is None else self.since.isoformat()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Market:
        """The inverse of `to_json`."""
        return cls(body["source"], None if body["since"] is None else datetime.fromisoformat(body["since"]))


def load(ledger: Ledger) -> Market | None:
    """The one of the newest decision; None before the first one."""
    body = ledger.get_state(KEY).value
    if body:
        return Market.from_json(body)
    cycle = ledger.latest("cycle")  # of a ledger that was begun before this was written down
    return None if cycle is None else Market(str(cycle.body["source"]))


def since(ledger: Ledger) -> datetime | None:
    """From when on all that is on record is of the market in force; None: from the beginning."""
    found = load(ledger)
    return None if found is None else found.since


def at(ledger: Ledger, source: str, now: datetime) -> Market:
    """The one that is in force when a decision at `now` has its prices from `source`."""
    before = load(ledger)
    if before is None:
        return Market(source)
    return before if before.source == source else Market(source, now)
