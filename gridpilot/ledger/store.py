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
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Engine, Row, Select, func, insert, inspect, select, update

from gridpilot.domain import PriceHistory
from gridpilot.errors import Conflict, LedgerError
from gridpilot.ledger import history as price_rows
from gridpilot.ledger import lease as leases
from gridpilot.ledger import schema
from gridpilot.ledger.chain import (
    Entry,
    Head,
    HeadFile,
    canonical,
    entry_hash,
    from_text,
    to_text,
)
from gridpilot.ledger.engine import BUSY_TIMEOUT_S, WRITE, open_engine, protect_entries, said_plainly, snapshots
from gridpilot.ledger.history import StoredPrices
from gridpilot.ledger.lease import Lease
from gridpilot.ledger.verify import VerifyReport, check_chain
from gridpilot.values import to_utc

HEAD_KEY = "ledger_head"
HEARTBEAT_KEY = "heartbeat"
REVISED_WITHIN = timedelta(days=35)  # newest prices that are compared with what is recorded


class Stored(NamedTuple):
    """A value of the state table and how often it was written; (None, 0) where it never was."""

    value: Any
    version: int


class Transaction:
    """Several writes that happen together or not at all; made by `Ledger.transaction`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.head: Head | None = None  # of the entries appended so far, if any

    def append(self, kind: str, body: Any, *, at: datetime, cycle_id: str = "", token: int | None = None) -> Entry:
        """Add an entry. With a token, LeaseHeld unless it is the pilot lease's newest."""
        if not kind or "\n" in kind:
            raise LedgerError(f"kind of entry is {kind!r}: expected one word")
        if token is not None:
            leases.require(self.connection, leases.PILOT, token)
        head = self.head or self._stored_head()
        text, moment, seq, prev = canonical(body), to_text(at), head.seq + 1, head.hash
        hash_ = entry_hash(prev, seq, moment, kind, cycle_id, text)
        values = {"seq": seq, "at": moment, "kind": kind, "cycle_id": cycle_id, "body": text}
        self.connection.execute(insert(schema.entries).values(**values, prev_hash=prev, hash=hash_))
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

    def __init__(self, engine: Engine, name: str, published: HeadFile | None, read_only: bool) -> None:
        self._engine = engine
        self._reader = snapshots(engine)
        self._writer = engine.execution_options(**{WRITE: True})
        self._published = published
        self.name = name
        self.read_only = read_only

    # --- life ------------------------------------------------------------------------------

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the ledger at a SQLAlchemy URL; unless `read_only`, create what is missing.

        Raises LedgerError, with the remedy, for a ledger that cannot be opened, is damaged, was written by a
        newer version, or (writing) lacks entries whose hash was published.
        """
        engine, path = open_engine(url, read_only=read_only, busy_timeout_s=busy_timeout_s)
        name = str(path) if path else engine.url.render_as_string(hide_password=True)
        published = HeadFile(path.with_name(path.name + ".head")) if path else None
        ledger = cls(engine, name, published, read_only)
        try:
            ledger._prepare()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        with self._reading() as connection:
            version = self._version(connection)
        if version is None and self.read_only:
            raise LedgerError(f"ledger {self.name} is empty: run a cycle first")
        if version is None:
            with self.transaction() as work:
                if self._version(work.connection) is None:  # another process may have been faster
                    schema.metadata.create_all(work.connection)
                    protect_entries(work.connection)
                    work.connection.execute(insert(schema.schema_info).values(version=schema.SCHEMA_VERSION))
                    work.head = Head()
        elif version > schema.SCHEMA_VERSION:
            raise LedgerError(
                f"ledger {self.name} has schema {version}, this GridPilot knows {schema.SCHEMA_VERSION}: "
                "upgrade GridPilot, or name another ledger in GRIDPILOT_DB_URL"
            )
        if not self.read_only and self._published is not None:
            self._check_published(self._published)

    def _check_published(self, file: HeadFile) -> None:
        published = file.read()  # before the table is read: it may only lag behind
        if published is None or published.seq == 0:
            return
        with self._reading() as connection:
            query = select(schema.entries.c.hash).where(schema.entries.c.seq == published.seq)
            found = connection.execute(query).scalar_one_or_none()
        if found != published.hash:
            seen = "is missing" if found is None else "has another hash"
            raise LedgerError(
                f"ledger {self.name}: entry {published.seq} was published in {file.path.name}, but it {seen}: restore "
                "the file with its -wal file from a backup, or delete the .head file to go on without what was lost"
            )

    def _version(self, connection: Connection) -> int | None:
        tables = set(inspect(connection).get_table_names())
        if schema.schema_info.name in tables:
            return int(connection.execute(select(func.max(schema.schema_info.c.version))).scalar_one())
        if tables & set(schema.metadata.tables):
            raise LedgerError(f"{self.name} has tables but no ledger: name another file in GRIDPILOT_DB_URL")
        return None

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
            if self._published is not None and work.head is not None:
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
            since = to_utc(history.timestamp[0])
            known = price_rows.read(work.connection, history.source, since, None)
            return price_rows.insert_new(work.connection, history, at, known)

    def beat(self, at: datetime) -> None:
        """Say that a good cycle ended."""
        self.put_state(HEARTBEAT_KEY, to_text(at))

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
    def _reading(self) -> Iterator[Connection]:
        with said_plainly(self.name), self._reader.connect() as connection:
            yield connection

    def head(self) -> Head:
        """Number and hash of the newest entry, as published in the state table."""
        with self._reading() as connection:
            return _head(connection)

    def count(self) -> int:
        """How many entries there are."""
        with self._reading() as connection:
            return connection.execute(select(func.count()).select_from(schema.entries)).scalar_one()

    def entries(
        self,
        kind: str | None = None,
        *,
        cycle_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
        newest_first: bool = True,
    ) -> list[Entry]:
        """Entries of [since, until), at most `limit` of them counted from the newest (or the oldest)."""
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
        return self._entries(query)

    def latest(self, kind: str) -> Entry | None:
        """The newest entry of a kind."""
        return next(iter(self.entries(kind, limit=1)), None)

    def cycle(self, cycle_id: str) -> dict[str, Entry]:
        """The newest entry of each kind in one cycle."""
        query = select(schema.entries).where(schema.entries.c.cycle_id == cycle_id).order_by(schema.entries.c.seq)
        return {entry.kind: entry for entry in self._entries(query)}

    def _entries(self, query: Select[Any]) -> list[Entry]:
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [_entry(row) for row in rows]

    def get_state(self, key: str) -> Stored:
        """Value and version of a key; (None, 0) where it was never written."""
        with self._reading() as connection:
            return _get_state(connection, key)

    def last_beat(self) -> datetime | None:
        """When the newest good cycle ended."""
        text = self.get_state(HEARTBEAT_KEY).value
        return None if text is None else from_text(text)

    def lease_holder(self, name: str, now: datetime) -> Lease | None:
        """Who holds a lease at `now`."""
        with self._reading() as connection:
            held = leases.read(connection, name)
        return held if held is not None and held.expires_at > now else None

    def prices(self, source: str, since: datetime | None = None, until: datetime | None = None) -> StoredPrices:
        """Recorded prices of [since, until), the newest revision of each interval."""
        with self._reading() as connection:
            return price_rows.read(connection, source, since, until)

    def commands(
        self, *, kinds: Iterable[str] = (), statuses: Iterable[str] = (), limit: int = 200
    ) -> list[dict[str, Any]]:
        """Rows of the command log, newest first."""
        with self._reading() as connection:
            return _commands(connection, kinds, statuses, limit)

    def verify(self) -> VerifyReport:
        """Recompute the whole chain and compare its end with the published heads."""
        published = None if self._published is None else self._published.read()  # first: it may only lag behind
        with self._reading() as connection:
            anchor = _head(connection)
            report = check_chain(connection, anchor, published)
        if report.ok and report.n and self._published is not None and published is None:
            reason = f"{self._published.path} is missing, so a deleted end would not be seen: restore it"
            return replace(report, ok=False, reason=reason)
        return report


def _head(connection: Connection) -> Head:
    value = _get_state(connection, HEAD_KEY).value
    return Head() if value is None else Head(value["seq"], value["hash"])


def _get_state(connection: Connection, key: str, lock: bool = False) -> Stored:
    query = select(schema.state.c.value, schema.state.c.version).where(schema.state.c.key == key)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return Stored(None, 0) if row is None else Stored(json.loads(row.value), row.version)


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.seq, from_text(row.at), row.kind, row.cycle_id, json.loads(row.body), row.prev_hash, row.hash)


def _commands(
    connection: Connection, kinds: Iterable[str], statuses: Iterable[str], limit: int
) -> list[dict[str, Any]]:
    table = schema.commands.c
    query = select(schema.commands).order_by(table.id.desc()).limit(limit)
    if kinds:
        query = query.where(table.kind.in_(list(kinds)))
    if statuses:
        query = query.where(table.status.in_(list(statuses)))
    return [
        {
            **row,
            "created_at": from_text(row["created_at"]),
            "valid_until": from_text(row["valid_until"]),
            "target": json.loads(row["target"]),
        }
        for row in connection.execute(query).mappings()
    ]
