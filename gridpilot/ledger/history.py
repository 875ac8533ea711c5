"""Price history in the ledger: revisions are appended, and the newest row of a timestamp holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, func, insert, select

from gridpilot.domain import PriceHistory
from gridpilot.ledger import schema
from gridpilot.ledger.chain import to_text
from gridpilot.values import Array, Index, Times, as_array, as_times, to_jsonable


@dataclass(frozen=True, slots=True)
class StoredPrices:
    """Recorded prices of one source, oldest first: arrays (N,); NaN where the source has no such price.

    `columns` are its further columns, NaN where a row has no such column or no value in it.
    """

    timestamp: Times
    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.timestamp)


class _Rows(NamedTuple):
    """Rows as they are stored, the one that holds for each timestamp: (N,), (N, 3), and a text or None for each."""

    stamp: Index
    price: Array
    extra: list[str | None]


def read(
    connection: Connection, source: str, since: datetime | None, until: datetime | None, as_of_id: int | None = None
) -> StoredPrices:
    """Prices of [since, until), the newest revision of each timestamp up to the row `as_of_id`."""
    rows = _rows(connection, source, since, until, as_of_id)
    energy, hash_, token = (as_array(column) for column in rows.price.T)
    return StoredPrices(as_times(rows.stamp.astype("datetime64[s]")), energy, hash_, token, _columns(rows.extra))


def newest_id(connection: Connection, source: str, recorded_by: datetime | None = None) -> int:
    """Number of the source's newest row, of those recorded by a moment if one is given; 0 where it has none."""
    table = schema.prices.c
    same = table.source + "" == source  # no index helps here: the newest row of all is nearly always the source's
    query = select(table.id).where(same).order_by(table.id.desc()).limit(1)
    if recorded_by is not None:
        query = query.where(table.recorded_at <= to_text(recorded_by))
    return connection.execute(query).scalar() or 0


def span(connection: Connection, source: str) -> tuple[datetime | None, datetime | None]:
    """First and last recorded timestamp of a source."""
    stamp, own = schema.prices.c.timestamp, schema.prices.c.source == source
    ends = [select(end(stamp)).where(own).scalar_subquery() for end in (func.min, func.max)]  # each from the index
    first, last = connection.execute(select(*ends)).one()
    if first is None:
        return None, None
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)


def insert_new(connection: Connection, history: PriceHistory, at: datetime, since: datetime) -> int:
    """Insert the rows of `history` that are not recorded, or otherwise, since `since`; returns how many."""
    known = _rows(connection, history.source, since, None, None)
    stamps, extra = history.timestamp.astype(np.int64), _extra(history.columns, len(history))
    given = np.column_stack([history.energy_usd_per_mwh, history.hash_price, history.token_price])
    new = np.ones(len(stamps), dtype=bool)
    if len(known.stamp):
        place = np.searchsorted(known.stamp, stamps).clip(max=len(known.stamp) - 1)
        same = ((given == known.price[place]) | (np.isnan(given) & np.isnan(known.price[place]))).all(axis=1)
        same &= np.array([text == known.extra[i] for text, i in zip(extra, place.tolist(), strict=True)])
        new = (known.stamp[place] != stamps) | ~same
    recorded_at = to_text(at)
    rows = [
        {
            "source": history.source,
            "timestamp": int(stamps[i]),
            "energy_usd_per_mwh": float(given[i, 0]),
            "hash_price": None if np.isnan(given[i, 1]) else float(given[i, 1]),
            "token_price": None if np.isnan(given[i, 2]) else float(given[i, 2]),
            "recorded_at": recorded_at,
            "extra": extra[i],
        }
        for i in np.flatnonzero(new).tolist()
    ]
    if rows:
        connection.execute(insert(schema.prices), rows)
    return len(rows)


def _rows(
    connection: Connection, source: str, since: datetime | None, until: datetime | None, as_of_id: int | None
) -> _Rows:
    table = schema.prices.c
    query = select(table.timestamp, table.energy_usd_per_mwh, table.hash_price, table.token_price, table.extra)
    query = query.where(table.source == source).order_by(table.timestamp, table.id)
    if since is not None:
        query = query.where(table.timestamp >= int(since.timestamp()))
    if until is not None:
        query = query.where(table.timestamp < int(until.timestamp()))
    if as_of_id is not None:
        query = query.where(table.id <= as_of_id)
    rows = connection.execute(query).all()
    stamp = np.array([row[0] for row in rows], dtype=np.int64)
    price = np.array([row[1:4] for row in rows], dtype=np.float64).reshape(-1, 3)  # None becomes NaN
    newest = np.append(stamp[1:] != stamp[:-1], True)[: len(stamp)]
    return _Rows(stamp[newest], price[newest], [rows[i][4] for i in np.flatnonzero(newest).tolist()])


def _extra(columns: Mapping[str, Array], n: int) -> list[str | None]:
    """The further columns of each row as `chain.canonical` would write them, but quickly."""
    if not columns:
        return [None] * n
    cells = []
    for name in sorted(columns):
        key, values = json.dumps(name), to_jsonable(columns[name])
        cells.append([f"{key}:{value}" for value in json.dumps(values, separators=(",", ":"))[1:-1].split(",")])
    return [f"{{{','.join(row)}}}" for row in zip(*cells, strict=True)]


def _columns(extra: list[str | None]) -> dict[str, Array]:
    if not any(extra):
        return {}
    rows = json.loads(f"[{','.join(text or '{}' for text in extra)}]")
    names = sorted({name for row in rows for name in row})
    return {name: as_array([row.get(name) for row in rows]) for name in names}
