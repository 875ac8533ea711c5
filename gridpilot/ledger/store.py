"""The ledger: everything that happened, append-only and hash-chained, with the small state beside it.

Each write is one transaction: it is on disk when the call returns, or it did not happen. Every method may be
called from any thread; several processes may share one ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update

from gridpilot.domain import PriceHistory
from gridpilot.errors import Conflict, LedgerError, NoLedger
from gridpilot.ledger import history as price_rows
from gridpilot.ledger import lease as leases
from gridpilot.ledger import migrate, schema
from gridpilot.ledger.chain import (
    Entry,
    Head,
    HeadFile,
    canonical,
    entry_hash,
    from_text,
    to_text,
)
from gridpilot.ledger.engine import (
    BUSY_TIMEOUT_S,
    WRITE,
    Database,
    keep_copy,
    open_database,
    said_plainly,
    snapshots,
)
from gridpilot.ledger.history import StoredPrices
from gridpilot.ledger.lease import Lease
from gridpilot.ledger.verify import StoredEntry, VerifyReport, check_chain, check_rows, checkpoint
from gridpilot.values import to_utc

HEAD_KEY = "ledger_head"
HEARTBEAT_KEY = "heartbeat"
REVISED_WITHIN = timedelta(days=35)  # newest prices that are compared with what is recorded
CHECKED_AT_START = 100  # newest entries whose chain is checked when a ledger is opened for writing
EVERY_S = 300.0  # how long a heartbeat is good for, where it does not say


class Stored(NamedTuple):
    """A value of the state table and how often it was written; (None, 0) where it never was."""

    value: Any
    version: int


class Beat(NamedTuple):
    """A heartbeat: when a good cycle ended, for how many seconds of the wall clock it is good, and its number."""

    at: datetime
    every_s: float
    number: int


class Transaction:
    """Several writes that happen together or not at all; made by `Ledger.transaction`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.head: Head | None = None  # of the entries appended so far, if any

    def append(self, kind: str, body: Any, *, at: datetime, cycle_id: str = "", token: int | None = None) -> Entry:
        """Add an entry. With a token, LeaseHeld unless it is the pilot lease's newest."""
        if not kind or "\n" in kind:
            raise LedgerError(f"kind of entry is {kind!r}: expected one word")
        self.require_lease(token)
        head = self.head or self._stored_head()
        text, moment, seq, prev = canonical(body), to_text(at), head.seq + 1, head.hash
        hash_ = entry_hash(prev, seq, moment, kind, cycle_id, text)
        row = StoredEntry(seq, moment, kind, cycle_id, text, prev, hash_)
        self.connection.execute(insert(schema.entries), row._asdict())
        self.head = Head(seq, hash_)
        return Entry(seq, from_text(moment), kind, cycle_id, json.loads(text), prev, hash_)

    def _stored_head(self) -> Head:
        value = self.get_state(HEAD_KEY).value  # locks it: appenders come one after another
        if value is None:
            raise LedgerError("the ledger's head is missing from its state table: restore a backup")
        return Head(value["seq"], value["hash"])

    def get_state(self, key: str) -> Stored:
        """Value and version of a key, locked until the transaction ends."""
        return _get_state(self.connection, key, lock=True)

    def put_state(self, key: str, value: Any, expect_version: int | None = None) -> int:
        """Write a key and return its new version; Conflict when it is not at `expect_version` (0: absent)."""
        present = self.get_state(key).version
        if expect_version is not None and expect_version != present:
            raise Conflict(
                f"{key} is at version {present}, the change was drawn on version {expect_version}: "
                "look at the present state and decide again"
            )
        values = {"value": canonical(value), "version": present + 1}
        if present:
            self.connection.execute(update(schema.state).where(schema.state.c.key == key).values(values))
        else:
            self.connection.execute(insert(schema.state).values(key=key, **values))
        return present + 1

    def beat(self, at: datetime, every_s: float, token: int | None = None) -> None:
        """Say that a good cycle ended. With a token, LeaseHeld unless it is the pilot lease's newest."""
        self.require_lease(token)
        self.put_state(HEARTBEAT_KEY, {"at": to_text(at), "every_s": every_s})

    def require_lease(self, token: int | None) -> None:
        """LeaseHeld unless `token` is the pilot lease's newest; None asks for nothing."""
        if token is not None:
            leases.require(self.connection, leases.PILOT, token)

    def seize_lease(self, name: str, owner: str, ttl_s: float, now: datetime) -> tuple[int, str]:
        """Take a lease whoever holds it; the new token, and who had it last ("" where nobody ever did)."""
        held = leases.read(self.connection, name, lock=True)
        return leases.seize(self.connection, name, owner, ttl_s, now), held.owner if held else ""

    def add_command(self, row: Mapping[str, Any]) -> int:
        """Insert a row into `commands` and return its id; times as datetime, target as data."""
        values = {
            **row,
            "created_at": to_text(row["created_at"]),
            "valid_until": to_text(row["valid_until"]),
            "target": canonical(row["target"]),
        }
        key = self.connection.execute(insert(schema.commands).values(values)).inserted_primary_key
        return int(key[0]) if key is not None else 0

    def set_command(self, command_id: int, status: str, detail: str) -> None:
        """Change status and detail of a command; LedgerError when there is no such command."""
        table = schema.commands
        change = update(table).where(table.c.id == command_id).values(status=status, detail=detail)
        if self.connection.execute(change).rowcount != 1:
            raise LedgerError(f"there is no command {command_id}: look at the command log for its number")

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Commands, newest first."""
        return _commands(self.connection, kinds, statuses, limit)


class Ledger:
    """A ledger in one database. Use as a context manager, or call `close`."""

    def __init__(self, database: Database, read_only: bool) -> None:
        self._database = database
        self._reader = snapshots(database.engine)
        self._writer = database.engine.execution_options(**{WRITE: True})
        self._published = HeadFile(database.head)
        self.name = database.name
        self.read_only = read_only

    # --- life ------------------------------------------------------------------------------

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the ledger at a SQLAlchemy URL; unless `read_only`, create what is missing and migrate what is old.

        Raises LedgerError, with the remedy, for a ledger that cannot be opened, is damaged, was written by a
        newer version, or (writing) lacks entries whose hash was published.
        """
        ledger = cls(open_database(url, read_only=read_only, busy_timeout_s=busy_timeout_s), read_only)
        try:
            ledger._prepare()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database(self) -> Database:
        """The connections, for another view of the same ledger."""
        return self._database

    @property
    def head_file(self) -> Path:
        """Where the newest hash is published."""
        return self._published.path

    def _prepare(self) -> None:
        with self.reading() as connection:
            version = migrate.version(connection, self.name)
        if version is None and self.read_only:
            published = self._published.read()
            if published is not None and published.seq:
                raise LedgerError(
                    f"ledger {self.name} is empty, but {self._published.path.name} has entry {published.seq} of it: "
                    "restore a backup (a file with its -wal file)"
                )
            raise NoLedger(f"ledger {self.name} is empty: run a cycle first")
        if version != schema.SCHEMA_VERSION and self.read_only:
            raise LedgerError(
                f"ledger {self.name} has schema {version}, this GridPilot reads {schema.SCHEMA_VERSION}: start the "
                "pilot or the console once, which migrates it"
            )
        if version != schema.SCHEMA_VERSION:
            with self.transaction() as work:
                self._migrate(work)
        if not self.read_only:
            self._check_end()

    def _migrate(self, work: Transaction) -> None:
        version = migrate.version(work.connection, self.name)  # another process may have been faster
        if version is None:
            migrate.create(work.connection)
            work.head = Head()
        elif version != schema.SCHEMA_VERSION:
            path = self._database.path
            if path is not None:  # nobody else can write now, so the copy is what is migrated
                keep_copy(path, path.with_name(f"{path.name}.v{version}.bak"))
            migrate.upgrade(work.connection, version)

    def _check_end(self) -> None:
        """Refuse a ledger that lacks its published entry, or whose newest entries do not hold together."""
        file = self._published
        published = file.read()  # before the table is read: it may only lag behind
        newest = select(schema.entries).order_by(schema.entries.c.seq.desc()).limit(CHECKED_AT_START)
        with self.reading() as connection:
            head, rows = _head(connection), [StoredEntry(*row) for row in connection.execute(newest)][::-1]
            known = select(schema.entries.c.hash).where(schema.entries.c.seq == (published or head).seq)
            found = connection.execute(known).scalar_one_or_none()
            pruned = checkpoint(connection)
        if published is None:
            file.publish(head)
        elif published.seq > pruned.seq and found != published.hash:
            seen = "is missing" if found is None else "has another hash"
            raise LedgerError(
                f"ledger {self.name}: entry {published.seq} was published in {file.path.name}, but it {seen}: restore "
                "a backup (a file with its -wal file), or delete the .head file to go on without what was lost"
            )
        start = Head(rows[0].seq - 1, rows[0].prev_hash) if rows else pruned
        report = check_rows(rows, start, head)
        if not report.ok:
            raise LedgerError(f"ledger {self.name} is damaged: {report.reason}; keep a copy and restore a backup")

    # --- writing ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several writes that happen together or not at all; the lock is held until the block ends."""
        if self.read_only:
            raise LedgerError(f"ledger {self.name} was opened for reading only: open it for writing")
        with said_plainly(self.name):
            with self._writer.begin() as connection:
                work = Transaction(connection)
                yield work
                if work.head is not None:
                    work.put_state(HEAD_KEY, work.head)
            if work.head is not None:
                self._published.publish(work.head)

    def append(self, kind: str, body: Any, *, at: datetime, cycle_id: str = "", token: int | None = None) -> Entry:
        """Add one entry (a mapping or a dataclass); it is on disk when this returns.

        With a token only the present holder of the pilot lease may write: LeaseHeld otherwise.
        """
        with self.transaction() as work:
            return work.append(kind, body, at=at, cycle_id=cycle_id, token=token)

    def append_many(self, items: Iterable[tuple[str, Any]], *, at: datetime, cycle_id: str = "") -> list[Entry]:
        """Add (kind, body) pairs in one transaction."""
        with self.transaction() as work:
            return [work.append(kind, body, at=at, cycle_id=cycle_id) for kind, body in items]

    def put_state(self, key: str, value: Any, expect_version: int | None = None) -> int:
        """Write a small mutable value; returns its new version. Conflict when not at `expect_version`."""
        with self.transaction() as work:
            return work.put_state(key, value, expect_version)

    def record_prices(self, history: PriceHistory, at: datetime) -> int:
        """Record the rows that are new or changed since they were last recorded; returns how many.

        Where the whole span has been recorded before, only its newest weeks are compared: prices are revised soon.
        """
        with self.transaction() as work:
            first, last = price_rows.span(work.connection, history.source)
            start = history.last - REVISED_WITHIN
            if first is not None and last is not None and first <= to_utc(history.timestamp[0]) and last >= start:
                history = history.tail(int(REVISED_WITHIN.total_seconds()) // history.step_s + 1)
            return price_rows.insert_new(work.connection, history, at, to_utc(history.timestamp[0]))

    def beat(self, at: datetime, every_s: float = EVERY_S, token: int | None = None) -> None:
        """Say that a good cycle ended, and for how many seconds that is good; LeaseHeld for a stale token."""
        with self.transaction() as work:
            work.beat(at, every_s, token)

    def acquire_lease(self, name: str, owner: str, ttl_s: float, now: datetime) -> int:
        """Take a lease; returns its fencing token. LeaseHeld while another owner's has not expired."""
        with self.transaction() as work:
            return leases.acquire(work.connection, name, owner, ttl_s, now)

    def renew_lease(self, name: str, token: int, ttl_s: float, now: datetime) -> None:
        """Hold a lease for another `ttl_s`; LeaseHeld when somebody else took it."""
        with self.transaction() as work:
            leases.extend(work.connection, name, token, now + timedelta(seconds=ttl_s))

    def release_lease(self, name: str, token: int, now: datetime) -> None:
        """Give a lease back; LeaseHeld when somebody else took it."""
        with self.transaction() as work:
            leases.extend(work.connection, name, token, now)

    # --- reading ---------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose queries all see one state, for what reads more than the methods below give."""
        with said_plainly(self.name), self._reader.connect() as connection:
            yield connection

    def head(self) -> Head:
        """Number and hash of the newest entry, as published in the state table."""
        with self.reading() as connection:
            return _head(connection)

    def count(self) -> int:
        """How many entries there are."""
        with self.reading() as connection:
            return connection.execute(select(func.count()).select_from(schema.entries)).scalar_one()

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
        """Entries of [since, until), numbered below `before`: at most `limit`, from the newest (or the oldest)."""
        table = schema.entries.c
        query = select(schema.entries).order_by(table.seq.desc() if newest_first else table.seq).limit(limit)
        if kind is not None:
            query = query.where(table.kind == kind)
        if cycle_id is not None:
            query = query.where(table.cycle_id == cycle_id)
        if since is not None:
            query = query.where(table.at >= to_text(since))
        if until is not None:
            query = query.where(table.at < to_text(until))
        if before is not None:
            query = query.where(table.seq < before)
        return self._entries(query)

    def latest(self, kind: str) -> Entry | None:
        """The newest entry of a kind."""
        return next(iter(self.entries(kind, limit=1)), None)

    def cycle(self, cycle_id: str) -> dict[str, Entry]:
        """The newest entry of each kind in one cycle."""
        query = select(schema.entries).where(schema.entries.c.cycle_id == cycle_id).order_by(schema.entries.c.seq)
        return {entry.kind: entry for entry in self._entries(query)}

    def _entries(self, query: Select[Any]) -> list[Entry]:
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return [_entry(row) for row in rows]

    def get_state(self, key: str) -> Stored:
        """Value and version of a key; (None, 0) where it was never written."""
        with self.reading() as connection:
            return _get_state(connection, key)

    def heartbeat(self) -> Beat | None:
        """The newest heartbeat."""
        value, number = self.get_state(HEARTBEAT_KEY)
        if value is None:
            return None
        if isinstance(value, str):  # as earlier versions wrote it
            return Beat(from_text(value), EVERY_S, number)
        return Beat(from_text(value["at"]), value["every_s"], number)

    def last_beat(self) -> datetime | None:
        """When the newest good cycle ended."""
        beat = self.heartbeat()
        return None if beat is None else beat.at

    def require_lease(self, token: int) -> None:
        """LeaseHeld unless `token` is the pilot lease's newest."""
        with self.reading() as connection:
            leases.require(connection, leases.PILOT, token, lock=False)

    def lease_holder(self, name: str, now: datetime) -> Lease | None:
        """Who holds a lease at `now`."""
        with self.reading() as connection:
            held = leases.read(connection, name)
        return held if held is not None and held.expires_at > now else None

    def prices(
        self, source: str, since: datetime | None = None, until: datetime | None = None, *, as_of_id: int | None = None
    ) -> StoredPrices:
        """Recorded prices of [since, until), the newest revision of each interval.

        With `as_of_id` what was known when `price_id` gave that number.
        """
        with self.reading() as connection:
            return price_rows.read(connection, source, since, until, as_of_id)

    def price_id(self, source: str) -> int:
        """Number of the source's newest recorded row, for `prices(..., as_of_id=...)`; 0 where it has none."""
        with self.reading() as connection:
            return price_rows.newest_id(connection, source)

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Rows of the command log, newest first."""
        with self.reading() as connection:
            return _commands(connection, kinds, statuses, limit)

    def verify(self) -> VerifyReport:
        """Recompute the whole chain and compare its end with the published heads."""
        published = self._published.read()  # first: it may only lag behind
        with self.reading() as connection:
            report = check_chain(connection, _head(connection), published)
        if report.ok and report.n and published is None:
            reason = f"{self._published.path} is missing, so a deleted end would not be seen: restore it"
            return replace(report, ok=False, reason=reason)
        return report


def _head(connection: Connection) -> Head:
    value = _get_state(connection, HEAD_KEY).value
    return Head() if value is None else Head(value["seq"], value["hash"])


# The pilot asks these several times a second: built once, SQLAlchemy finds what it compiled from them at once.
_STATE = select(schema.state.c.value, schema.state.c.version).where(schema.state.c.key == bindparam("key"))
_STATE_LOCKED = _STATE.with_for_update()


def _get_state(connection: Connection, key: str, lock: bool = False) -> Stored:
    row = connection.execute(_STATE_LOCKED if lock else _STATE, {"key": key}).one_or_none()
    return Stored(None, 0) if row is None else Stored(json.loads(row.value), row.version)


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.seq, from_text(row.at), row.kind, row.cycle_id, json.loads(row.body), row.prev_hash, row.hash)


def _commands(
    connection: Connection, kinds: Iterable[str], statuses: Iterable[str], limit: int
) -> list[dict[str, Any]]:
    query = _commands_query(tuple(kinds), tuple(statuses), limit)
    return [
        {
            **row,
            "created_at": from_text(row["created_at"]),
            "valid_until": from_text(row["valid_until"]),
            "target": json.loads(row["target"]),
        }
        for row in connection.execute(query).mappings()
    ]


@lru_cache(maxsize=64)
def _commands_query(kinds: tuple[str, ...], statuses: tuple[str, ...], limit: int) -> Select[Any]:
    table = schema.commands.c
    query = select(schema.commands).order_by(table.id.desc()).limit(limit)
    if kinds:
        query = query.where(table.kind.in_(kinds))
    if statuses:
        query = query.where(table.status.in_(statuses))
    return query
