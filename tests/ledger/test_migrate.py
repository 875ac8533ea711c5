"""Ledgers of every older version, built as that version built them, led to the present one."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import inspect

from gridpilot.domain import PriceHistory
from gridpilot.errors import LedgerError
from gridpilot.ledger import migrate, schema
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.alarms import Condition, listed, watch
from tests.ledger.conftest import Execute

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)

VERSION_1 = """
CREATE TABLE schema_info (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE entries (seq INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, cycle_id TEXT NOT NULL,
    body TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (seq));
CREATE INDEX entries_kind ON entries (kind, seq);
CREATE INDEX entries_cycle ON entries (cycle_id, seq);
CREATE INDEX entries_at ON entries (at);
CREATE TABLE prices (id SERIAL NOT NULL, source TEXT NOT NULL, timestamp BIGINT NOT NULL,
    energy_usd_per_mwh DOUBLE PRECISION NOT NULL, hash_price DOUBLE PRECISION, token_price DOUBLE PRECISION,
    recorded_at TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX prices_source ON prices (source, timestamp, id);
CREATE TABLE commands (id SERIAL NOT NULL, created_at TEXT NOT NULL, author TEXT NOT NULL, reason TEXT NOT NULL,
    kind TEXT NOT NULL, target TEXT NOT NULL, valid_until TEXT NOT NULL, base_version INTEGER NOT NULL,
    status TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX commands_status ON commands (status, id);
CREATE TABLE state (key TEXT NOT NULL, value TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (key));
CREATE TABLE lease (name TEXT NOT NULL, owner TEXT NOT NULL, token INTEGER NOT NULL, expires_at TEXT NOT NULL,
    PRIMARY KEY (name));
INSERT INTO schema_info VALUES (1)
"""
TRIGGERS_1 = {
    "sqlite": [
        "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
        "BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END",
        "CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries "
        "BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'ledger entries are append-only'; END $$",
        "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()",
    ],
}
AT = "2024-06-12T14:00:00.000000Z"
TO_2 = (  # what version 2 did to the tables of version 1
    "ALTER TABLE prices ADD COLUMN extra TEXT",
    "DROP INDEX entries_kind",
    "CREATE INDEX entries_kind ON entries (kind, seq, at)",
    "INSERT INTO schema_info VALUES (2)",
)
BODIES = ['{"i":0}', '{"kw":0.30000000000000004,"name":"\\u00e9"}', '{"desired":null}']


def rows_1() -> tuple[list[str], str]:
    """What a version 1 had written, and the line of its head file."""
    statements, prev = [], "0" * 64
    for seq, body in enumerate(BODIES, start=1):
        hash_ = hashlib.sha256(f"{prev}\n{seq}\n{AT}\nreading\nc1\n{body}".encode()).hexdigest()
        statements.append(f"INSERT INTO entries VALUES ({seq}, '{AT}', 'reading', 'c1', '{body}', '{prev}', '{hash_}')")
        prev = hash_
    columns = "source, timestamp, energy_usd_per_mwh, hash_price, token_price, recorded_at"
    for hours, price in ((0, 80.5), (1, -12.25), (0, 81.0)):  # the last is a revision of the first
        stamp = int(T0.timestamp()) + 3600 * hours
        statements.append(f"INSERT INTO prices ({columns}) VALUES ('test', {stamp}, {price}, 50.0, NULL, '{AT}')")
    columns = "created_at, author, reason, kind, target, valid_until, base_version, status, detail"
    statements += [
        f"INSERT INTO commands ({columns}) VALUES ('{AT}', 'ann', 'test', 'hold', '{{}}', '{AT}', 0, 'expired', '')",
        f"""INSERT INTO state VALUES ('ledger_head', '{{"hash":"{prev}","seq":3}}', 2)""",
        """INSERT INTO state VALUES ('soc', '{"frac":0.5}', 7)""",
        f"INSERT INTO lease VALUES ('pilot', 'host:1', 4, '{AT}')",
    ]
    return statements, f"{3:019d} {prev}\n"


@pytest.fixture
def version_1(url: str, execute: Execute, tmp_path: Path) -> str:
    """A ledger of version 1 in either database."""
    ddl, kind = VERSION_1, "postgresql"
    if url.startswith("sqlite"):
        ddl, kind = ddl.replace("SERIAL", "INTEGER").replace("DOUBLE PRECISION", "DOUBLE"), "sqlite"
        execute("PRAGMA journal_mode=WAL")
    rows, head = rows_1()
    execute(*ddl.strip().split(";\n"), *TRIGGERS_1[kind], *rows)
    (tmp_path / ("ledger.db.head" if kind == "sqlite" else "postgres.head")).write_text(head)
    return url


@pytest.fixture
def version_2(version_1: str, execute: Execute) -> str:
    """The same as version 2 left it."""
    execute(*TO_2)
    return version_1


def test_F50_open__version_2__gets_alarms_and_keeps_the_rest(version_2: str, tmp_path: Path) -> None:
    with Ledger.open(version_2) as ledger:
        assert ledger.verify().ok and ledger.count() == 3
        wrong = Condition("STALE", "warn", "old prices", "look at the source")
        assert [change.event for change in watch(ledger, [wrong], T0, T0)] == ["raised"]
        assert [alarm.code for alarm in listed(ledger)] == ["STALE"]
    assert (tmp_path / "ledger.db.v2.bak").exists() == version_2.startswith("sqlite")


def backup(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.v1.bak"


def test_F50_open__version_1__is_migrated_with_its_chain_and_its_data(version_1: str, tmp_path: Path) -> None:
    with Ledger.open(version_1) as ledger:
        report = ledger.verify()
        assert (report.ok, report.n, report.reason) == (True, 3, "")
        assert [json.dumps(entry.body, separators=(",", ":")) for entry in ledger.entries(newest_first=False)] == BODIES
        stored = ledger.prices("test")
        assert stored.energy_usd_per_mwh.tolist() == [81.0, -12.25]
        assert (stored.hash_price.tolist(), stored.columns) == ([50.0, 50.0], {})
        assert ledger.prices("test", as_of_id=2).energy_usd_per_mwh.tolist() == [80.5, -12.25]
        assert ledger.commands()[0]["author"] == "ann"
        assert ledger.get_state("soc") == ({"frac": 0.5}, 7)
        assert ledger.acquire_lease("pilot", "host:2", 30.0, T0 + timedelta(hours=1)) == 5
        assert ledger.append("reading", {}, at=T0).seq == 4
    assert backup(tmp_path).exists() == version_1.startswith("sqlite")
    with Ledger.open(version_1, read_only=True) as reader:
        assert reader.verify().ok


def test_F50_migrate__version_1__gets_the_tables_of_a_new_ledger(version_1: str, execute: Execute) -> None:
    def shape(connection: Any) -> dict[str, Any]:
        seen = inspect(connection)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(table)],
                sorted((i["name"] or "", tuple(i["column_names"])) for i in seen.get_indexes(table)),
                seen.get_pk_constraint(table)["constrained_columns"],
            )
            for table in seen.get_table_names()
        }

    with Ledger.open(version_1) as migrated, migrated.reading() as connection:
        old = shape(connection)
    migrated.head_file.unlink()
    execute(*(f"DROP TABLE {table}" for table in old))
    with Ledger.open(version_1) as made, made.reading() as connection:
        assert shape(connection) == old
        made.append("reading", {}, at=T0)
    assert set(old) == set(schema.metadata.tables)
    with pytest.raises(Exception, match="append-only"):
        execute("DELETE FROM entries")


def test_F50_migrate__every_older_version_has_its_step() -> None:
    assert sorted(migrate.STEPS) == list(range(1, schema.SCHEMA_VERSION))


def test_F50_open__version_1_for_reading_only__says_what_to_do_and_changes_nothing(
    version_1: str, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError, match="has schema 1, this GridPilot reads 3: start the pilot or the console once"):
        Ledger.open(version_1, read_only=True)
    assert not backup(tmp_path).exists()
    Ledger.open(version_1).close()


def test_F50_migrate__a_step_that_fails__leaves_version_1_as_it_was(
    version_1: str, monkeypatch: pytest.MonkeyPatch, execute: Execute
) -> None:
    def fails(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE prices ADD COLUMN extra TEXT")
        connection.exec_driver_sql("DROP TABLE entries")
        raise LedgerError("killed here")

    with monkeypatch.context() as patch, pytest.raises(LedgerError, match="killed here"):
        patch.setattr(migrate, "STEPS", {**migrate.STEPS, 1: fails})
        Ledger.open(version_1)
    with pytest.raises(LedgerError, match="has schema 1"):
        Ledger.open(version_1, read_only=True)
    with Ledger.open(version_1) as ledger:
        assert (ledger.verify().n, ledger.verify().ok) == (3, True)
    with pytest.raises(Exception, match="append-only"):
        execute("DELETE FROM entries")


def test_F50_open__version_1_by_many_at_once__is_migrated_once(version_1: str) -> None:
    together = threading.Barrier(4)

    def begin(i: int) -> None:
        together.wait()
        with Ledger.open(version_1) as ledger:
            ledger.append("reading", {"i": i}, at=T0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    with Ledger.open(version_1) as ledger, ledger.reading() as connection:
        assert ledger.verify().n == 7
        assert sorted(connection.exec_driver_sql("SELECT version FROM schema_info").scalars()) == [1, 2, 3]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_F50_open__copy_of_version_1__has_what_was_in_its_wal_file(version_1: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as other:  # an older program that is still running: nothing is checkpointed
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("UPDATE state SET version = 8 WHERE key = 'soc'")
        other.commit()
        assert Path(f"{path}-wal").stat().st_size > 0
        Ledger.open(version_1).close()
    with closing(sqlite3.connect(backup(tmp_path))) as copy:
        assert copy.execute("SELECT version FROM schema_info").fetchall() == [(1,)]
        assert copy.execute("SELECT version FROM state WHERE key = 'soc'").fetchall() == [(8,)]
        assert copy.execute("SELECT count(*) FROM entries").fetchall() == [(3,)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.db", "ledger.db.head", "ledger.db.v1.bak"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_F50_open__no_room_for_the_copy__nothing_is_migrated(version_1: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db.v1.bak.part").mkdir()
    with pytest.raises(LedgerError, match="no copy of the ledger could be kept"):
        Ledger.open(version_1)
    with pytest.raises(LedgerError, match="has schema 1"):
        Ledger.open(version_1, read_only=True)


def test_record_prices__after_the_migration__further_columns_are_a_revision(version_1: str) -> None:
    stamps = np.datetime64(T0.replace(tzinfo=None), "s") + np.arange(2) * np.timedelta64(3600, "s")
    prices = (np.array([81.0, -12.25]), np.array([50.0, 50.0]), np.full(2, np.nan))
    with Ledger.open(version_1) as ledger:
        assert ledger.record_prices(PriceHistory("test", stamps, 3600, *prices), T0) == 0
        columns = {"outdoor_c": [21.5, np.nan]}
        assert ledger.record_prices(PriceHistory("test", stamps, 3600, *prices, columns=columns), T0) == 2
        np.testing.assert_array_equal(ledger.prices("test").columns["outdoor_c"], [21.5, np.nan])
