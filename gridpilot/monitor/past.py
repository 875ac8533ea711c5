"""The ledger as it stood at a moment of the source's time, for looking back: nothing later is in it.

Entries, prices (with the revisions known then) and commands end at the moment. Of the state, which has no history of
its own, there is what entries tell: the site, whose prices they are, and curtailments. All else is not known (None).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gridpilot.dispatch import curtailment
from gridpilot.errors import LedgerError
from gridpilot.ledger import history as price_rows
from gridpilot.ledger.chain import Entry, Head
from gridpilot.ledger.history import StoredPrices
from gridpilot.ledger.store import Ledger, Stored
from gridpilot.ledger.verify import PRUNED
from gridpilot.monitor import market
from gridpilot.monitor.decision import SITE
from gridpilot.values import iso

MOST: Final = 20_000  # entries that are gone through
_WHOLE: Final = timedelta(microseconds=1)  # ends are exclusive, and the moment itself is in it


class Past(Ledger):
    """A ledger that ends at `moment`. It shares the other's connections and cannot write."""

    def __init__(self, ledger: Ledger, moment: datetime) -> None:
        super().__init__(ledger.database, read_only=True)
        self.whole = ledger
        self.moment = moment
        self._end = moment + _WHOLE

    def head(self) -> Head:
        """Number and hash of the newest entry then."""
        newest = self.entries(limit=1)
        return Head(newest[0].seq, newest[0].hash) if newest else Head()

    def entries(
        self,
        kind: str | None = None,
        *,
        cycle_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int = 1000,
        newest_first: bool = True,
    ) -> list[Entry]:
        """Entries of [since, until) up to the moment."""
        end = self._end if until is None else min(until, self._end)
        span: dict[str, Any] = {"since": since, "until": end, "before": before}
        return super().entries(kind, cycle_id=cycle_id, **span, limit=limit, newest_first=newest_first)

    def cycle(self, cycle_id: str) -> dict[str, Entry]:
        """The newest entry of each kind in one cycle, as far as it had come."""
        found = self.entries(cycle_id=cycle_id, newest_first=False)
        return {entry.kind: entry for entry in found}

    def prices(
        self, source: str, since: datetime | None = None, until: datetime | None = None, *, as_of_id: int | None = None
    ) -> StoredPrices:
        """Recorded prices of intervals that had begun, as they were known then."""
        with self.reading() as connection:
            known = price_rows.newest_id(connection, source, self.moment)
        end = self._end + timedelta(seconds=1)  # prices are stored to the second
        end = end if until is None else min(until, end)
        return super().prices(source, since, end, as_of_id=known if as_of_id is None else min(known, as_of_id))

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Operators' commands as they stood then, newest first."""
        wanted, allowed, newest = set(kinds), set(statuses), {}
        for entry in reversed(self._entered("command")):
            newest[entry.body["id"]] = entry.body
        rows = [_row(body) for _, body in sorted(newest.items(), reverse=True)]
        kept = [r for r in rows if (not wanted or r["kind"] in wanted) and (not allowed or r["status"] in allowed)]
        return kept[:limit]

    def get_state(self, key: str) -> Stored:
        """What entries tell of a value, else (None, 0)."""
        recover = _RECOVERED.get(key)
        value = None if recover is None else recover(self)
        return Stored(value, 0 if value is None else 1)

    def _entered(self, kind: str) -> list[Entry]:
        """Entries of a kind that carry another clock than the source's, by their place before the next decision."""
        after = self.whole.entries("inputs", since=self._end, limit=1, newest_first=False)
        return self.whole.entries(kind, before=after[0].seq if after else None, limit=MOST)


def _row(body: Mapping[str, Any]) -> dict[str, Any]:
    moments = {name: datetime.fromisoformat(body[name]) for name in ("created_at", "valid_until")}
    return {**{name: value for name, value in body.items() if name != "actor"}, **moments}


def _site(past: Past) -> Any:
    newest = past.latest(SITE)
    if newest is not None:
        return newest.body
    pruned = past.whole.latest(PRUNED)  # its entry tells the site that the first decision that was kept had
    return None if pruned is None else pruned.body.get("site")


def _market(past: Past) -> Any:
    """Whose prices the decisions were made with then, and since when."""
    newest, now = past.latest("cycle"), past.whole.get_state(market.KEY).value
    if newest is None:
        return None
    source, since = str(newest.body["source"]), None
    if now and now["since"] is not None:  # it changed at some time: maybe after the moment
        switched = datetime.fromisoformat(now["since"])
        if switched <= past.moment and now["source"] == source:
            return now
        for row in past.entries("cycle", limit=MOST):
            if row.body["source"] != source:
                return {"source": source, "since": iso(since or past.moment)}
            since = row.at
    return {"source": source, "since": None}


def _curtailments(past: Past) -> Any:
    """The newest entry of each."""
    rows: dict[str, Any] = {}
    for entry in past.entries(curtailment.ENTRY, limit=MOST, newest_first=False):
        rows[entry.body["id"]] = {name: value for name, value in entry.body.items() if name != "said"}
    return sorted(rows.values(), key=lambda row: (row["start"], row["id"]))


_RECOVERED: Final[Mapping[str, Callable[[Past], Any]]] = {
    SITE: _site,
    market.KEY: _market,
    curtailment.KEY: _curtailments,
}


@functools.lru_cache(maxsize=16)  # one of each, so that what is read once of it stays read (`decision.load`)
def until(ledger: Ledger, moment: datetime | None) -> Ledger:
    """The ledger as it stood at a moment; itself where that is None."""
    if moment is not None and moment.tzinfo is None:
        raise LedgerError(f"moment {moment} has no zone: give it in UTC, as 2024-06-24T18:00Z")
    return ledger if moment is None else Past(ledger, moment)
