"""Retention: old entries go into a Parquet file and leave the ledger, and what stays still verifies.

The file is on disk, and its chain checked, before anything is removed. Then one transaction lifts the database's
protection, removes the entries and appends a `pruned` entry, which names the last of them, its hash, the file and the
file's sha256: from there on the chain is checked. It keeps the site as it was then, so that the decisions that stay can
be replayed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from gridpilot.errors import InputError, LeaseHeld, LedgerError
from gridpilot.ledger import lease as leases
from gridpilot.ledger.chain import Head, from_text, to_text
from gridpilot.ledger.engine import unprotected
from gridpilot.ledger.export import between, check_file, write
from gridpilot.ledger.schema import entries
from gridpilot.ledger.store import Ledger
from gridpilot.ledger.verify import PRUNED, checkpoint

LEAST_DAYS = 2  # the entries of two days are needed to go on
SITE = "site"  # the entry of the site as the decisions after it used it, until the next one
DECISION = "cycle"  # the entry that ends a decision: its time is the site's


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: entries `first` to `last`, now in `file`; nothing where `removed` is 0."""

    removed: int
    first: int
    last: int
    hash: str
    file: str = ""
    sha256: str = ""
    note: str = ""


def prune(ledger: Ledger, keep_days: int, now: datetime, folder: Path | None = None) -> Pruned:
    """Move entries that are more than `keep_days` older than the newest decision into a file of `folder`.

    `now` is the wall clock's. InputError below two days; LeaseHeld while a pilot is at work; LedgerError where what
    would be removed does not verify: then nothing is.
    """
    if keep_days < LEAST_DAYS:
        raise InputError(f"--keep-days is {keep_days}: the newest 48 h are needed to go on, give {LEAST_DAYS} or more")
    folder = folder or ledger.head_file.with_name(ledger.head_file.name.removesuffix(".head") + ".archive")
    with ledger.reading() as connection:
        _refuse_while_held(connection, now)
        before = checkpoint(connection)
        last, note = _last_to_go(connection, timedelta(days=keep_days), now)
        if last <= before.seq:
            return Pruned(0, before.seq + 1, before.seq, before.hash, note=note or "no entry is as old as that")
        name = f"entries-{before.seq + 1:010d}-{last:010d}.parquet"
        exported = write(connection, between(before.seq + 1, last), entries, folder / name)
        follows = connection.execute(select(entries.c.prev_hash).where(entries.c.seq == last + 1)).scalar()
    found = check_file(folder / name)
    if not (found.ok and found.start == before.seq + 1 and found.head.seq == last and found.head.hash == follows):
        raise LedgerError(
            f"nothing was removed: the entries to remove do not verify ({found.reason}): verify the ledger"
        )
    pruned = Pruned(exported.rows, before.seq + 1, last, found.head.hash, exported.file, exported.sha256, note)
    _remove(ledger, pruned, before, now)
    return pruned


def _remove(ledger: Ledger, pruned: Pruned, before: Head, now: datetime) -> None:
    with ledger.transaction() as work:
        connection = work.connection
        _refuse_while_held(connection, now)
        old = entries.c.seq <= pruned.last
        present = connection.execute(select(func.count(), func.min(entries.c.seq)).where(old)).one()
        if checkpoint(connection) != before or tuple(present) != (pruned.removed, pruned.first):
            raise LedgerError("nothing was removed: the ledger changed meanwhile; try again")
        body = {"seq": pruned.last, "hash": pruned.hash, "first": pruned.first, "removed": pruned.removed}
        kept = {"file": Path(pruned.file).name, "sha256": pruned.sha256}
        site = _site(connection, pruned.last)
        kept |= {} if site is None else {"site": site}
        work.append(PRUNED, {**body, **kept}, at=now)
        with unprotected(connection):
            connection.execute(delete(entries).where(old))


def _site(connection: Connection, last: int) -> Any:
    """The site in force after the entry `last`, by an entry before it or the prune before; None: not known."""
    newest = select(entries.c.body).where(entries.c.seq <= last).order_by(entries.c.seq.desc()).limit(1)
    body = connection.execute(newest.where(entries.c.kind == SITE)).scalar()
    if body is not None:
        return json.loads(body)
    before = select(entries.c.body).where(entries.c.kind == PRUNED).order_by(entries.c.seq.desc()).limit(1)
    body = connection.execute(before).scalar()
    return None if body is None else json.loads(body).get("site")


def _refuse_while_held(connection: Connection, now: datetime) -> None:
    held = leases.read(connection, leases.PILOT)
    if held is not None and held.expires_at > now:
        raise LeaseHeld(f"the pilot lease is held by {held.owner}: stop that pilot, then prune")


def _last_to_go(connection: Connection, keep: timedelta, now: datetime) -> tuple[int, str]:
    """The last entry that may go, and what holds back more; age is counted in the site's time, in whole decisions."""
    number, at, kind = entries.c.seq, entries.c.at, entries.c.kind
    decided = connection.execute(select(func.max(number)).where(kind == DECISION)).scalar() is not None
    dated = kind == DECISION if decided else number > 0
    newest = connection.execute(select(at).where(dated).order_by(number.desc()).limit(1)).scalar()
    if newest is None:
        return 0, ""
    young = at >= to_text(min(from_text(newest), now) - keep)
    first = connection.execute(select(func.min(number)).where(dated, young)).scalar_one()
    if decided:  # with all that belongs to that decision
        cycle_id = select(entries.c.cycle_id).where(number == first).scalar_subquery()
        first = connection.execute(select(func.min(number)).where(entries.c.cycle_id == cycle_id)).scalar_one()
    waiting = _first_without_result(connection, first)
    if waiting is None:
        return first - 1, ""
    return waiting - 1, f"entry {waiting} is an intent without a result: start the pilot once, which settles it"


def _first_without_result(connection: Connection, before: int) -> int | None:
    results = connection.execute(select(entries.c.body).where(entries.c.kind == "result")).scalars()
    settled = {json.loads(body).get("intent") for body in results}
    intents = select(entries.c.seq).where(entries.c.kind == "intent", entries.c.seq < before)
    return min((seq for seq in connection.execute(intents).scalars() if seq not in settled), default=None)
