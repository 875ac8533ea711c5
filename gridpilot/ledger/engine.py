"""The database behind a ledger: how it is opened, what each kind needs, and how its errors are said.

Everything that is particular to one kind of database is in this file.
"""

from __future__ import annotations

import math
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from gridpilot.errors import LedgerError, NoLedger

BUSY_TIMEOUT_S = 5.0
ABANDONED_S = 30  # PostgreSQL ends a transaction whose process sleeps or is gone, so that its lock is free again
WRITE = "gridpilot_write"  # execution option: the transaction is going to write
WRITE_LOCK = 0x67726964_70696C74  # PostgreSQL's advisory lock that a writing transaction holds: "gridpilt"
HEAD_FILE = "head_file"  # key of the URL's query: where the head is published, if not at the usual place

SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRES = "postgresql+psycopg"
EXPECTED = f"expected sqlite:////path/gridpilot.db or {POSTGRES}://user:password@host/database"

DAMAGED = "is damaged: keep a copy of the file and restore a backup (docs/operations.md, Backups)"
_REMEDIES = (
    ("locked", "is locked by another process: close the program that holds it, then try again"),
    ("readonly", "cannot be written: make the file and its folder writable for this user"),
    ("read-only", "cannot be written: make the file and its folder writable for this user"),
    ("disk is full", "has no room left on its disk: free some space, then try again"),
    ("disk i/o error", "cannot be written or read (disk I/O error): check the disk's free space and health"),
    ("unable to open", "cannot be opened: expected a file in an existing folder that this user may write"),
    ("not a database", "is not a SQLite database: move the file away or restore a backup"),
    ("malformed", DAMAGED),
    ("could not decode", DAMAGED),  # its text has what stands in the file
)
_LOGIN = "refuses the user or the password: correct them in GRIDPILOT_DB_URL"
_NO_DATABASE = "has no such database or user: create it (createdb, createuser), or correct GRIDPILOT_DB_URL"
_STATES = {  # PostgreSQL's SQLSTATE
    "28P01": _LOGIN,
    "28000": _LOGIN,
    "3D000": _NO_DATABASE,
    "42501": "may not be used by this user: make the user the owner of the database",
    "25006": "cannot be written (a standby?): name the primary server in GRIDPILOT_DB_URL",
    "53100": "has no room left on its disk: free some space, then try again",
    "55P03": "is locked by another process: close the program that holds it, then try again",
    "25P03": f"ended a transaction that did nothing for {ABANDONED_S} s: try again",
}
_LOST = ("08", "57P")  # connection failures, a server that shuts down
_CONNECTING = (  # a refused connection has no SQLSTATE
    ("password", _LOGIN),
    ("authentication", _LOGIN),
    ("does not exist", _NO_DATABASE),
    ("too many", "has too many connections: close some, or raise its max_connections"),
)


@dataclass(frozen=True, slots=True)
class Database:
    """An opened database. `name` is for messages and holds no password; `path` is None unless it is a file."""

    engine: Engine
    name: str
    head: Path  # where the newest hash is published
    path: Path | None


def open_database(url: str, *, read_only: bool, busy_timeout_s: float) -> Database:
    """The database at a SQLAlchemy URL; LedgerError, without the URL's password, where there can be none."""
    parsed = parsed_url(url)
    head = parsed.query.get(HEAD_FILE)
    parsed = parsed.difference_update_query([HEAD_FILE])
    if parsed.drivername in SQLITE:
        path = sqlite_path(parsed)
        engine, name = _open_sqlite(parsed, path, read_only, busy_timeout_s), str(path)
        return Database(engine, name, Path(str(head)) if head else path.with_name(path.name + ".head"), path)
    engine, name = _open_postgres(parsed, busy_timeout_s)
    return Database(engine, name, Path(str(head)) if head else _usual_head(parsed), None)


def parsed_url(url: str, called: str = "GRIDPILOT_DB_URL") -> URL:
    """A SQLAlchemy URL that a ledger can have; LedgerError, without the URL, for another."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(f"{called} is not a database URL: {EXPECTED}") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername=POSTGRES)
    if parsed.drivername not in (*SQLITE, POSTGRES):
        raise LedgerError(f"{called} is not a database URL that a ledger knows: {EXPECTED}")
    if "@" in (parsed.host or ""):
        raise LedgerError(f"{called} has an @ inside its password: write it as %40")
    return parsed


def identity(url: URL) -> tuple[str, ...]:
    """What two URLs of one ledger have in common, however they spell it: the file, or server and database."""
    if url.drivername in SQLITE:
        return (str(sqlite_path(url).resolve()),)
    return (_host(url).lower(), str(url.port or 5432), url.database or "", str(url.query.get("options", "")))


# --- SQLite ----------------------------------------------------------------------------------


def sqlite_path(url: URL) -> Path:
    """The file of a SQLite URL; LedgerError for a database in memory."""
    if not url.database or url.database == ":memory:" or "memory" in url.query.get("mode", ""):
        raise LedgerError("a ledger in memory would keep nothing: give a file, as sqlite:////path/gridpilot.db")
    return Path(url.database.removeprefix("file:"))


def _open_sqlite(url: URL, path: Path, read_only: bool, busy_timeout_s: float) -> Engine:
    """WAL, synchronous FULL (an acknowledged commit survives a power cut), and BEGIN IMMEDIATE for every writing
    transaction, because a deferred one that reads and then writes fails at once after another's commit.
    """
    if not _is_there(path) and read_only:
        raise NoLedger(f"ledger {path} does not exist: run a cycle first, or correct GRIDPILOT_DB_URL")
    if read_only:
        url = url.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    else:
        _switch_to_wal(path, busy_timeout_s)
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    def connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver shall begin no transaction of its own
        dbapi_connection.execute("PRAGMA synchronous=FULL")

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _is_there(path: Path) -> bool:
    """Whether the file is; LedgerError for what is no file, or cannot be one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:  # a name too long, a NUL in it
        said = getattr(error, "strerror", None) or str(error)
        raise LedgerError(f"the ledger's file cannot be opened ({said}): correct GRIDPILOT_DB_URL") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise LedgerError(f"ledger {path} is {what}, not a SQLite file: correct GRIDPILOT_DB_URL")
    return True


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
                raise _plain(str(path), error) from error
            time.sleep(0.02)


def keep_copy(path: Path, target: Path) -> None:
    """Copy a SQLite file with what is still in its -wal file; `target` is replaced whole or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        part.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"no copy of the ledger could be kept at {target} ({error}): make room for it") from error


# --- PostgreSQL ------------------------------------------------------------------------------


def _open_postgres(url: URL, busy_timeout_s: float) -> tuple[Engine, str]:
    """One writing transaction at a time, as in SQLite: each holds an advisory lock of the database.

    So whoever has looked decides on what is still true, numbers rise in the order of commits, and nothing deadlocks.
    """
    arguments: dict[str, Any] = {"application_name": "gridpilot", "connect_timeout": max(2, math.ceil(busy_timeout_s))}
    arguments = {key: value for key, value in arguments.items() if key not in url.query}
    try:
        engine = create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=arguments)
    except ModuleNotFoundError as error:
        raise LedgerError(f"the database's driver {error.name} is missing: pip install 'psycopg[binary]'") from None

    def connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.execute(
            f"SET lock_timeout = {max(1, round(busy_timeout_s * 1000))}; "
            f"SET idle_in_transaction_session_timeout = {round(ABANDONED_S * 1000)}; "
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
        dbapi_connection.commit()

    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITE, False):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine, _postgres_name(url)


def _postgres_name(url: URL) -> str:
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{user}{_host(url)}{port}/{url.database or ''}"


def _host(url: URL) -> str:
    return str(url.host or url.query.get("host", ""))


def _usual_head(url: URL) -> Path:
    """A file of this user for each server and database (and schema, where the URL has a search path)."""
    parts = (_host(url) or "local", str(url.port or ""), url.database or "", str(url.query.get("options", "")))
    name = re.sub(r"[^\w.-]+", "_", "-".join(part for part in parts if part))
    return Path(platformdirs.user_data_dir("gridpilot")) / f"{name}.head"


def snapshots(engine: Engine) -> Engine:
    """The same database, read so that all queries of one transaction see one state; SQLite does so anyway."""
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


# --- append-only -----------------------------------------------------------------------------


def protect_entries(connection: Connection) -> None:
    """Have the database itself refuse to change or delete an entry."""
    said = "ledger entries are append-only"
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    connection.exec_driver_sql(
        "CREATE OR REPLACE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    )
    connection.exec_driver_sql(
        "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
    )


@contextmanager
def unprotected(connection: Connection) -> Iterator[None]:
    """Lift that for a block inside a transaction, whose end makes both visible at once, or neither."""
    sqlite = connection.dialect.name == "sqlite"
    names = ("entries_no_update", "entries_no_delete") if sqlite else ("entries_append_only ON entries",)
    for name in names:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    yield
    protect_entries(connection)


# --- errors ----------------------------------------------------------------------------------


def _plain(name: str, error: BaseException) -> LedgerError:
    """One line for an error of SQLAlchemy or of SQLite's own module."""
    orig = getattr(error, "orig", None) or error
    state, text = getattr(orig, "sqlstate", None), " ".join(str(orig).split())[:200]
    if state in _STATES:
        return LedgerError(f"ledger {name} {_STATES[state]}")
    postgres = name.startswith("postgresql://")
    for seen, said in () if state else _CONNECTING if postgres else _REMEDIES:
        if seen in text.lower():
            return LedgerError(f"ledger {name} {said}")
    if postgres and (state or "08").startswith(_LOST) and isinstance(error, OperationalError):
        return LedgerError(f"ledger {name} cannot be reached ({text}): start its server, or correct GRIDPILOT_DB_URL")
    return LedgerError(f"ledger {name}: the database says {text!r}: check that it runs")


@contextmanager
def said_plainly(name: str) -> Iterator[None]:
    """Turn database errors inside the block into a LedgerError with the remedy, in one line."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _plain(name, error) from error
