"""Rows of the alarms and of the outbox: what `monitor` keeps of them, read and written through a connection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from gridpilot.ledger.chain import from_text, to_text
from gridpilot.ledger.schema import alarms, outbox

WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"


def listed(connection: Connection) -> list[dict[str, Any]]:
    """Alarms that are not over, oldest first; times as datetime."""
    return _rows(connection, select(alarms).where(alarms.c.listed == 1).order_by(alarms.c.id))


def history(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """All alarms, newest first."""
    return _rows(connection, select(alarms).order_by(alarms.c.id.desc()).limit(limit))


def find(connection: Connection, alarm_id: int) -> dict[str, Any] | None:
    """One alarm; None where there is none of that number."""
    return next(iter(_rows(connection, select(alarms).where(alarms.c.id == alarm_id))), None)


def write(connection: Connection, row: Mapping[str, Any]) -> int:
    """Insert an alarm (its `id` is 0) or write one anew; returns its number."""
    return _write(connection, alarms, row)


def waiting(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Messages that are still to be delivered, oldest first."""
    return _rows(connection, select(outbox).where(outbox.c.status == WAITING).order_by(outbox.c.id).limit(limit))


def waiting_count(connection: Connection) -> int:
    """How many messages are still to be delivered."""
    query = select(func.count()).select_from(outbox).where(outbox.c.status == WAITING)
    return int(connection.execute(query).scalar_one())


def post(connection: Connection, row: Mapping[str, Any]) -> int:
    """Insert a message (its `id` is 0) or write one anew; returns its number."""
    return _write(connection, outbox, row)


def forget(connection: Connection, before: datetime) -> None:
    """Drop messages that were delivered or given up and are older than that."""
    old = (outbox.c.status != WAITING) & (outbox.c.created_at < to_text(before))
    connection.execute(delete(outbox).where(old))


def _write(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    values = {k: to_text(v) if isinstance(v, datetime) else v for k, v in row.items() if k != "id"}
    if row["id"]:
        connection.execute(update(table).where(table.c.id == row["id"]).values(values))
        return int(row["id"])
    key = connection.execute(insert(table).values(values)).inserted_primary_key
    return int(key[0]) if key is not None else 0


MOMENTS = frozenset(
    ("first_seen", "last_seen", "cleared_at", "acknowledged_at", "shelved_until", "created_at", "next_at")
)


def _rows(connection: Connection, query: Any) -> list[dict[str, Any]]:
    return [
        {k: from_text(v) if k in MOMENTS and v is not None else v for k, v in row.items()}
        for row in connection.execute(query).mappings()
    ]
