"""The check of the whole chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from gridpilot.ledger.chain import Head, entry_hash
from gridpilot.ledger.schema import entries


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of the whole chain found; `first_bad` is the lowest number that is wrong or missing."""

    ok: bool
    n: int
    head: Head
    first_bad: int | None = None
    reason: str = ""


def check_chain(connection: Connection, anchor: Head, published: Head | None) -> VerifyReport:
    """Recompute every hash, oldest first, and compare the end with both published heads.

    `anchor` is the head in the state table and must be the last entry; `published` is the head file's, which may
    lag behind but must be in the chain; None where there is no such file.
    """
    last, n, first_bad, reason = Head(), 0, None, ""
    met = published is None or published == Head()
    for row in connection.execute(select(entries).order_by(entries.c.seq).execution_options(yield_per=2000)):
        n += 1
        if first_bad is None:
            reason = _broken(row, last)
            first_bad = last.seq + 1 if reason else None
        last = Head(row.seq, row.hash)
        met = met or last == published
    if first_bad is None and last != anchor:
        first_bad, reason = _end(last, anchor, "the state table")
    if first_bad is None and not met and published is not None:
        first_bad, reason = _end(last, published, "the .head file")
    return VerifyReport(first_bad is None, n, last, first_bad, reason)


def _broken(row: Row[Any], last: Head) -> str:
    """What is wrong with an entry that follows `last`; empty when nothing is."""
    if row.seq != last.seq + 1:
        return f"entry {last.seq + 1} is missing: {last.seq} is followed by {row.seq}"
    if row.prev_hash != last.hash:
        return f"entry {row.seq} does not follow entry {last.seq}: it names another hash before it"
    if entry_hash(row.prev_hash, row.seq, row.at, row.kind, row.cycle_id, row.body) != row.hash:
        return f"entry {row.seq} was edited: its content does not give its hash"
    return ""


def _end(last: Head, published: Head, where: str) -> tuple[int, str]:
    if published.seq > last.seq:
        lost = f"entries {last.seq + 1} to {published.seq} are missing"
        return last.seq + 1, f"{lost}: {where} says that {published.seq} were written"
    if published.seq < last.seq:
        return published.seq + 1, f"entry {published.seq + 1} was added from outside: {where} ends at {published.seq}"
    return published.seq, f"entry {published.seq} was rewritten: {where} holds another hash"
