"""How a ledger's tables come to be: made anew, or led from an older version to this one, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, func, insert, inspect, select

from gridpilot.errors import LedgerError
from gridpilot.ledger import schema
from gridpilot.ledger.engine import protect_entries


def version(connection: Connection, name: str) -> int | None:
    """The schema of the ledger in a database; None in an empty one, LedgerError in another program's or a newer one."""
    tables = set(inspect(connection).get_table_names())
    if schema.schema_info.name not in tables:
        if tables & set(schema.metadata.tables):
            raise LedgerError(f"{name} has tables but no ledger: name another database in GRIDPILOT_DB_URL")
        return None
    found = connection.execute(select(func.max(schema.schema_info.c.version))).scalar_one()
    if found is None:
        raise LedgerError(f"ledger {name} does not say its schema: restore a backup")
    if found > schema.SCHEMA_VERSION:
        raise LedgerError(
            f"ledger {name} has schema {found}, this GridPilot knows {schema.SCHEMA_VERSION}: "
            "upgrade GridPilot, or name another ledger in GRIDPILOT_DB_URL"
        )
    return int(found)


def create(connection: Connection) -> None:
    """All tables, at the newest version."""
    schema.metadata.create_all(connection)
    protect_entries(connection)
    connection.execute(insert(schema.schema_info).values(version=schema.SCHEMA_VERSION))


def upgrade(connection: Connection, present: int) -> None:
    """Every step from `present` on; the versions that a ledger once had stay in `schema_info`."""
    for step in range(present, schema.SCHEMA_VERSION):
        STEPS[step](connection)
        connection.execute(insert(schema.schema_info).values(version=step + 1))


def _to_2(connection: Connection) -> None:
    """Prices keep the source's further columns, and the newest entries of a kind are found by time."""
    connection.exec_driver_sql("ALTER TABLE prices ADD COLUMN extra TEXT")
    connection.exec_driver_sql("DROP INDEX entries_kind")
    connection.exec_driver_sql("CREATE INDEX entries_kind ON entries (kind, seq, at)")


def _to_3(connection: Connection) -> None:
    """Alarms with what operators did about them, and the messages about them that are still to be delivered."""
    key = "INTEGER NOT NULL" if connection.dialect.name == "sqlite" else "SERIAL NOT NULL"
    connection.exec_driver_sql(
        f"CREATE TABLE alarms (id {key}, code TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL, "
        "message TEXT NOT NULL, advice TEXT NOT NULL, listed INTEGER NOT NULL, times INTEGER NOT NULL, "
        "first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, cleared_at TEXT, acknowledged_at TEXT, "
        "acknowledged_by TEXT, shelved_until TEXT, shelved_by TEXT, shelved_why TEXT, PRIMARY KEY (id))"
    )
    connection.exec_driver_sql("CREATE INDEX alarms_listed ON alarms (listed, id)")
    connection.exec_driver_sql(
        f"CREATE TABLE outbox (id {key}, created_at TEXT NOT NULL, body TEXT NOT NULL, status TEXT NOT NULL, "
        "tries INTEGER NOT NULL, next_at TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (id))"
    )
    connection.exec_driver_sql("CREATE INDEX outbox_status ON outbox (status, id)")


# From each version to the next. A step is plain SQL of its time: the tables in `schema` go on changing.
STEPS: Mapping[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3}
