"""The ledger's tables as Parquet files, for analysis and for the archive.

Columns are as they are stored (`schema`), so that the chain can be checked from a file alone. Text is text in Parquet:
nothing in it is ever taken for a formula.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, Table, Text, func, select
from sqlalchemy.types import Double

from gridpilot.errors import InputError
from gridpilot.ledger import schema
from gridpilot.ledger.chain import Head, to_text
from gridpilot.ledger.verify import StoredEntry, VerifyReport, check_rows

if TYPE_CHECKING:
    from gridpilot.ledger.store import Ledger

BATCH = 5000  # rows that are in memory at once


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and is on disk."""

    file: str
    rows: int
    sha256: str


def export(ledger: Ledger, folder: Path, since: date | None = None, until: date | None = None) -> list[Exported]:
    """Write `entries.parquet`, `prices.parquet` and `commands.parquet` of one moment into a folder.

    With days, what lies in [since, until) of UTC; entries without a gap, so that their chain holds. InputError where
    the folder cannot be written, or there is no day between.
    """
    if since is not None and until is not None and since >= until:
        raise InputError(f"--since {since} is not before --until {until}: give days in their order")
    begin, end = (None if day is None else datetime.combine(day, time(), UTC) for day in (since, until))
    with ledger.reading() as connection:
        return [
            write(connection, _entries_between(connection, begin, end), schema.entries, folder / "entries.parquet"),
            write(connection, _prices_between(begin, end), schema.prices, folder / "prices.parquet"),
            write(connection, _commands_between(begin, end), schema.commands, folder / "commands.parquet"),
        ]


def write(connection: Connection, query: Select[Any], table: Table, path: Path) -> Exported:
    """The rows of a query as one file, which is on disk, whole, when this returns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = pa.schema([(column.name, _arrow_type(column.type)) for column in table.columns])
    rows = 0
    with _whole(path) as part, part.open("wb") as file:
        with (
            pq.ParquetWriter(file, fields, compression="zstd") as writer,
            connection.execute(query.execution_options(yield_per=BATCH)) as result,
        ):
            for batch in result.partitions():
                rows += len(batch)
                columns = [list(column) for column in zip(*batch, strict=True)]
                arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=fields))
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        return Exported(str(path), rows, hashlib.file_digest(file, "sha256").hexdigest())


def check_file(path: Path) -> VerifyReport:
    """Recompute the chain inside a file of entries. InputError where there is no such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def rows() -> Iterator[StoredEntry]:
        file = pq.ParquetFile(path)
        missing = [name for name in StoredEntry._fields if name not in file.schema_arrow.names]
        if missing:
            raise KeyError(f"it has no column {missing[0]}")
        for batch in file.iter_batches(BATCH, columns=list(StoredEntry._fields)):
            yield from map(StoredEntry, *(column.to_pylist() for column in batch.columns))

    try:
        first = next(rows(), None)
        return check_rows(rows(), Head() if first is None else Head(first.seq - 1, first.prev_hash))
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        reason = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())[:200]
        raise InputError(
            f"{path} is not a Parquet file of ledger entries ({reason}): give one that was exported"
        ) from None


def between(first: int, last: int) -> Select[Any]:
    """Entries from `first` to `last`, oldest first."""
    number = schema.entries.c.seq
    return select(schema.entries).where(number >= first, number <= last).order_by(number)


def _entries_between(connection: Connection, since: datetime | None, until: datetime | None) -> Select[Any]:
    at, number = schema.entries.c.at, schema.entries.c.seq
    query = select(func.min(number), func.max(number))
    if since is not None:
        query = query.where(at >= to_text(since))
    if until is not None:
        query = query.where(at < to_text(until))
    first, last = connection.execute(query).one()
    return between(first or 0, last or -1)


def _prices_between(since: datetime | None, until: datetime | None) -> Select[Any]:
    query, stamp = select(schema.prices).order_by(schema.prices.c.id), schema.prices.c.timestamp
    if since is not None:
        query = query.where(stamp >= int(since.timestamp()))
    return query if until is None else query.where(stamp < int(until.timestamp()))


def _commands_between(since: datetime | None, until: datetime | None) -> Select[Any]:
    query, at = select(schema.commands).order_by(schema.commands.c.id), schema.commands.c.created_at
    if since is not None:
        query = query.where(at >= to_text(since))
    return query if until is None else query.where(at < to_text(until))


def _arrow_type(kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(kind, Text):
        return pa.string()
    return pa.float64() if isinstance(kind, Double) else pa.int64()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end of the block: all of it, or nothing."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; give a folder with room in it") from None
    finally:
        with suppress(OSError):
            part.unlink()
