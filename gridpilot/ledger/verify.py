"""The check of the whole chain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, select

from gridpilot.ledger.chain import Head, entry_hash
from gridpilot.ledger.schema import entries

PRUNED = "pruned"  # kind of the entry that says which entries before it were removed, and where they went


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of the whole chain found; `first_bad` is the lowest number that is wrong or missing.

    `start` is the first entry that was to be there: those before it were pruned, and the chain names their last hash.
    """

    ok: bool
    n: int
    head: Head
    first_bad: int | None = None
    reason: str = ""
    start: int = 1


class StoredEntry(NamedTuple):
    """A row of `entries`: times and bodies as the texts that were hashed."""

    seq: int
    at: str
    kind: str
    cycle_id: str
    body: str
    prev_hash: str
    hash: str


def checkpoint(connection: Connection) -> Head:
    """The last entry that was pruned, as the newest entry of its kind says; number 0 where nothing was."""
    query = select(entries.c.body).where(entries.c.kind == PRUNED).order_by(entries.c.seq.desc()).limit(1)
    body = connection.execute(query).scalar_one_or_none()
    try:
        said = json.loads(body or "{}")
        return Head(said["seq"], said["hash"]) if said else Head()
    except (ValueError, KeyError, TypeError):
        return Head()  # it was edited: the check will say so, or miss what it hides


def check_chain(connection: Connection, anchor: Head, published: Head | None) -> VerifyReport:
    """Recompute every hash, oldest first, and compare the end with both published heads.

    `anchor` is the head in the state table and must be the last entry; `published` is the head file's, which may
    lag behind but must be in the chain; None where there is no such file.
    """
    start = checkpoint(connection)
    if published is not None and published.seq < start.seq:
        published = None  # it speaks of an entry that was pruned since
    query = select(entries).order_by(entries.c.seq).execution_options(yield_per=2000)
    with connection.execute(query) as rows:
        return check_rows((StoredEntry(*row) for row in rows), start, anchor, published)


def check_rows(
    rows: Iterable[StoredEntry], start: Head, anchor: Head | None = None, published: Head | None = None
) -> VerifyReport:
    """The same for any rows that follow `start`, oldest first."""
    last, n, first_bad, reason = start, 0, None, ""
    met = published is None or published == start
    for row in rows:
        n += 1
        if first_bad is None:
            reason = _broken(row, last)
            first_bad = last.seq + 1 if reason else None
        last = Head(row.seq, row.hash)
        met = met or last == published
    if first_bad is None and anchor is not None and last != anchor:
        first_bad, reason = _end(last, anchor, "the state table")
    if first_bad is None and published is not None and not met:
        first_bad, reason = _end(last, published, "the .head file")
    return VerifyReport(first_bad is None, n, last, first_bad, reason, start.seq + 1)


def _broken(row: StoredEntry, last: Head) -> str:
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
