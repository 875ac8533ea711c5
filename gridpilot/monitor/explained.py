"""How often a language model explained, and how many of its sentences were withheld: a small state of the ledger."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from gridpilot.ledger.store import Ledger

KEY = "explained"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tally:
    """Questions since the ledger began, where a model was connected."""

    by_model: int = 0  # answered by it
    by_template: int = 0  # answered without it
    withheld: int = 0  # its sentences that could not be verified


def read(ledger: Ledger) -> Tally:
    """The counts so far."""
    value = ledger.get_state(KEY).value
    return Tally() if value is None else Tally(**value)


def count(ledger: Ledger, *, by_model: bool, withheld: int) -> Tally:
    """Add one answered question; several consoles may count at once."""
    with ledger.transaction() as work:
        value = work.get_state(KEY).value
        was = Tally() if value is None else Tally(**value)
        now = Tally(was.by_model + by_model, was.by_template + (not by_model), was.withheld + withheld)
        work.put_state(KEY, asdict(now))
    return now


def missed(reason: str) -> None:
    """A count that could not be written: said in the server's log, the answer is not held up for it."""
    log.warning("an explanation could not be counted: %s", reason)
