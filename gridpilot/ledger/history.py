"""Price history in the ledger: revisions are appended, and the newest row of a timestamp holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection, func, insert, select

from gridpilot.domain import PriceHistory
from gridpilot.ledger import schema
from gridpilot.ledger.chain import to_text
from gridpilot.values import Array, Times, as_array, as_times


@dataclass(frozen=True, slots=True)
class StoredPrices:
    """Recorded prices of one source, oldest first: four arrays (N,); NaN where the source has no such price."""

    timestamp: Times
    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array

    def __len__(self) -> int:
        return len(self.timestamp)


def read(connection: Connection, source: str, since: datetime | None, until: datetime | None) -> StoredPrices:
    """Prices of [since, until), the newest revision of each timestamp."""
    table = schema.prices.c
    query = select(table.timestamp, table.energy_usd_per_mwh, table.hash_price, table.token_price)
    query = query.where(table.source == source).order_by(table.timestamp, table.id)
    if since is not None:
        query = query.where(table.timestamp >= int(since.timestamp()))
    if until is not None:
        query = query.where(table.timestamp < int(until.timestamp()))
    rows = connection.execute(query).all()
    values = np.array([tuple(row)[1:] for row in rows], dtype=np.float64).reshape(-1, 3)  # None becomes NaN
    stamps = np.array([row[0] for row in rows], dtype=np.int64)
    newest = np.append(stamps[1:] != stamps[:-1], True)[: len(stamps)]
    stamps, values = stamps[newest], values[newest]
    return StoredPrices(
        as_times(stamps.astype("datetime64[s]")), as_array(values[:, 0]), as_array(values[:, 1]), as_array(values[:, 2])
    )


def span(connection: Connection, source: str) -> tuple[datetime | None, datetime | None]:
    """First and last recorded timestamp of a source."""
    table = schema.prices.c
    query = select(func.min(table.timestamp), func.max(table.timestamp)).where(table.source == source)
    first, last = connection.execute(query).one()
    if first is None:
        return None, None
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)


def insert_new(connection: Connection, history: PriceHistory, at: datetime, known: StoredPrices) -> int:
    """Insert the rows of `history` that `known` lacks or has with another value; returns how many."""
    stamps = history.timestamp.astype(np.int64)
    given = np.column_stack([history.energy_usd_per_mwh, history.hash_price, history.token_price])
    old = np.column_stack([known.energy_usd_per_mwh, known.hash_price, known.token_price])
    new = np.ones(len(stamps), dtype=bool)
    if len(known):
        place = np.searchsorted(known.timestamp.astype(np.int64), stamps).clip(max=len(known) - 1)
        same = (given == old[place]) | (np.isnan(given) & np.isnan(old[place]))
        new = (known.timestamp.astype(np.int64)[place] != stamps) | ~same.all(axis=1)
    recorded_at = to_text(at)
    rows = [
        {
            "source": history.source,
            "timestamp": int(stamp),
            "energy_usd_per_mwh": float(energy),
            "hash_price": None if np.isnan(hash_) else float(hash_),
            "token_price": None if np.isnan(token) else float(token),
            "recorded_at": recorded_at,
        }
        for stamp, (energy, hash_, token) in zip(stamps[new], given[new], strict=True)
    ]
    if rows:
        connection.execute(insert(schema.prices), rows)
    return len(rows)
