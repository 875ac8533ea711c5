"""The database behind a ledger: how it is opened, and how its errors are said.

Everything that is particular to one kind of database is in this file.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from gridpilot.errors import LedgerError

BUSY_TIMEOUT_S = 5.0
WRITE = "gridpilot_write"  # execution option: the transaction is going to write

_REMEDIES = (
    ("locked", "is locked by another process: close the program that holds it, then try again"),
    ("readonly", "cannot be written: make the file and its folder writable for this user"),
    ("read-only", "cannot be written: make the file and its folder writable for this user"),
    ("disk is full", "has no room left on its disk: free some space, then try again"),
    ("disk i/o error", "cannot be written or read (disk I/O error): check the disk's free space and health"),
    ("unable to open", "cannot be opened: expected a file in an existing folder that this user may write"),
    ("not a database", "is not a SQLite database: move the file away or restore a backup"),
    ("malformed", "is damaged: keep a copy of the file and restore a backup"),
)


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite URL; None for another database; LedgerError for a database in memory."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or "memory" in url.query.get("mode", ""):
        raise LedgerError("a ledger in memory would keep nothing: give a file, as sqlite:////path/gridpilot.db")
    return Path(url.database.removeprefix("file:"))


def open_engine(url: str, *, read_only: bool, busy_timeout_s: float) -> tuple[Engine, Path | None]:
    """An engine for `url` and its SQLite file, if it is one.

    SQLite: WAL, synchronous FULL (an acknowledged commit survives a power cut), and BEGIN IMMEDIATE for every
    writing transaction, because a deferred one that reads and then writes fails at once after another's commit.
    """
    try:
        parsed = make_url(url)
        path = sqlite_path(parsed)
        if path is None:
            return create_engine(parsed, pool_pre_ping=True), None
        if read_only and not path.is_file():
            raise LedgerError(f"ledger {path} does not exist: run a cycle first, or correct GRIDPILOT_DB_URL")
        if read_only:
            parsed = parsed.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
        else:
            _switch_to_wal(path, busy_timeout_s)
        engine = create_engine(parsed, connect_args={"timeout": busy_timeout_s})
    except ArgumentError:
        raise LedgerError("GRIDPILOT_DB_URL is not a database URL: expected sqlite:////path/gridpilot.db") from None
    except ModuleNotFoundError as error:
        raise LedgerError(f"the driver {error.name} of the database is missing: install it with pip") from None
    _set_up_sqlite(engine)
    return engine, path


def _set_up_sqlite(engine: Engine) -> None:
    def connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver shall begin no transaction of its own
        dbapi_connection.execute("PRAGMA synchronous=FULL")

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)


def _switch_to_wal(path: Path, timeout_s: float) -> None:
    """The switch needs the file for itself and does not wait by itself; a file that is WAL already stays so."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=timeout_s)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.Error as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise _plain(str(path), str(error)) from error
            time.sleep(0.02)


def snapshots(engine: Engine) -> Engine:
    """The same database, read so that all queries of one transaction see one state; SQLite does so anyway."""
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def protect_entries(connection: Connection) -> None:
    """Have the database itself refuse to change or delete an entry."""
    said = "ledger entries are append-only"
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
        )


def _plain(name: str, text: str) -> LedgerError:
    text = " ".join(text.split())
    for seen, said in _REMEDIES:
        if seen in text.lower():
            return LedgerError(f"ledger {name} {said}")
    return LedgerError(f"ledger {name}: the database says {text[:200]!r}: check that it runs")


@contextmanager
def said_plainly(name: str) -> Iterator[None]:
    """Turn database errors inside the block into a LedgerError with the remedy, in one line."""
    try:
        yield
    except DBAPIError as error:
        raise _plain(name, str(error.orig)) from error
    except SQLAlchemyError as error:
        raise _plain(name, str(error).splitlines()[0]) from error
