"""Bids from a table or a CSV file, with a reason for each row that is refused."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gridpilot.auction.book import POWER, Book
from gridpilot.domain import Bid
from gridpilot.errors import DataError
from gridpilot.values import Array

COLUMNS = ("bidder", "service", "kw", "price_usd_per_kwh")
OPTIONAL = ("divisible", "min_kw", "house")  # and uses_RESOURCE, what a kW of the row takes of it
USES = "uses_"
MAX_BYTES = 1_000_000_000
MAX_LINE = 1_000_000  # characters
CHUNK = 50_000  # rows that are read at once
MOST_REASONS = 1000  # rows refused with a reason each; the others are counted
Refusal = tuple[str, str]  # bidder (or row), reason


def parse_bids(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Bid, ...], tuple[Refusal, ...]]:
    """Bids of a table (bidder, service, kw, price_usd_per_kwh[, divisible, min_kw, house, uses_RESOURCE]).

    With them a reason for each bad row. Rows without any value are passed over.
    """
    bids, refused = [], []
    for number, row in enumerate(rows, 1):
        if all(_blank(value) for value in row.values()):
            continue
        try:
            bids.append(_bid(row))
        except DataError as error:
            refused.append((_name(row, number), f"row {number}: {error}"))
    return tuple(bids), tuple(refused)


def read_bids(path: Path) -> tuple[Book, tuple[Refusal, ...]]:
    """The book of a CSV file with a header, and why rows are refused; DataError for a file that is none.

    It is read some rows at a time into columns, so that millions of rows take tens of bytes each.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size / 1e6:.0f} MB: at most {MAX_BYTES / 1e6:.0f} MB are read")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(file, path))
            header = next(reader, [])
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise DataError(f"{path}: no column {missing[0]!r}; the header is: {', '.join(header) or 'nothing'}")
            return _columns(header, reader)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the path of a CSV file of bids") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Lines, none of them longer than memory should hold."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise DataError(f"{path} has a line of more than {MAX_LINE} characters: expected one bid a line")
        yield line


@dataclass(slots=True)
class _Columns:
    """Good rows so far, names as numbers."""

    names: dict[str, int] = field(default_factory=dict)
    services: dict[str, int] = field(default_factory=dict)
    chunks: list[tuple[Any, Any, Array]] = field(default_factory=list)
    house: set[str] = field(default_factory=set)

    def add(self, bids: Sequence[Bid], resources: Sequence[str]) -> None:
        """Rows that were made one by one."""
        if not bids:
            return
        self.house |= {bid.bidder for bid in bids if bid.house}
        uses = [[bid.uses.get(name, float(name == POWER)) for name in resources] for bid in bids]
        numbers = [
            [bid.kw, bid.price_usd_per_kwh, bid.min_kw if bid.divisible else bid.kw, *more]
            for bid, more in zip(bids, uses, strict=True)
        ]
        self.put([bid.bidder for bid in bids], [bid.service for bid in bids], np.array(numbers, dtype=float))

    def put(self, bidder: Sequence[str], service: Sequence[str], numbers: Array) -> None:
        """Rows of (kw, price, least kw, uses ...), with their names."""
        who = np.array([self.names.setdefault(name, len(self.names)) for name in bidder], dtype=np.int32)
        what = np.array([self.services.setdefault(name, len(self.services)) for name in service], dtype=np.int32)
        self.chunks.append((who, what, numbers))


def _columns(header: list[str], reader: Iterator[list[str]]) -> tuple[Book, tuple[Refusal, ...]]:
    resources = [POWER, *sorted({n[len(USES) :] for n in header if n.startswith(USES)} - {POWER, ""})]
    columns, more, number = _Columns(), 0, 1
    refused: list[Refusal] = []
    plain = not any(name in header for name in OPTIONAL) and not any(name.startswith(USES) for name in header)
    at = [header.index(name) for name in COLUMNS]
    while rows := list(itertools.islice(reader, CHUNK)):
        numbers = _numbers(rows, at, len(header)) if plain else None
        if numbers is not None:
            columns.put([row[at[0]] for row in rows], [row[at[1]] for row in rows], numbers)
            number += len(rows)
            continue
        bids = []
        for row in rows:
            body: dict[str, Any] = dict(itertools.zip_longest(header, row[: len(header)]))
            try:
                if len(row) > len(header):
                    raise DataError(f"{len(row)} values: expected {len(header)}, as in the header")
                if any(not _blank(value) for value in row):
                    bids.append(_bid(body))
            except DataError as error:
                more += len(refused) >= MOST_REASONS
                if len(refused) < MOST_REASONS:
                    refused.append((_name(body, number), f"row {number}: {error}"))
            number += 1
        columns.add(bids, resources)
    if more:
        refused.append(("others", f"{more} more rows are refused; the first {MOST_REASONS} say why"))
    return _book(columns, tuple(resources)), tuple(refused)


def _numbers(rows: list[list[str]], at: list[int], width: int) -> Array | None:
    """(kw, price, least kw, use of power) of rows that are all good at first sight; None to look at each of them."""
    if any(len(row) != width or not row[at[0]].strip() or not row[at[1]].strip() for row in rows):
        return None
    try:
        kw, price = (np.array([float(row[i]) for row in rows]) for i in at[2:])
    except ValueError:
        return None
    good = (kw >= 0.0) & (kw <= 1e9) & (np.abs(price) <= 1e6)  # as Bid itself asks for; false for NaN
    return np.column_stack([kw, price, np.zeros(len(kw)), np.ones(len(kw))]) if good.all() else None


def _book(columns: _Columns, resources: tuple[str, ...]) -> Book:
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 3 + len(resources))))
    who, what, numbers = (np.concatenate(part) for part in zip(nothing, *columns.chunks, strict=True))
    return Book.of_columns(
        (list(columns.names), who),
        (list(columns.services), what),
        numbers[:, 0],
        numbers[:, 1],
        least_kw=numbers[:, 2],
        uses=numbers[:, 3:],
        resources=resources,
        house=columns.house,
    )


def _name(row: Mapping[str, Any], number: int) -> str:
    return f"row {number}" if _blank(row.get("bidder")) else str(row["bidder"])


def _bid(row: Mapping[str, Any]) -> Bid:
    for name in ("bidder", "service"):
        if _blank(row.get(name)):
            raise DataError(f"{name} is empty")
    kw, price = _number(row, "kw"), _number(row, "price_usd_per_kwh")
    least = 0.0 if _blank(row.get("min_kw")) else _number(row, "min_kw")
    named = [name for name in row if name.startswith(USES) and len(name) > len(USES) and not _blank(row[name])]
    return Bid(
        str(row["bidder"]),
        str(row["service"]),
        kw,
        price,
        divisible=_yes(row, "divisible", otherwise=True),
        min_kw=least,
        uses={name[len(USES) :]: _number(row, name) for name in named},
        house=_yes(row, "house", otherwise=False),
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{name} is {value!r}: expected a number") from None
    if not math.isfinite(number):
        raise DataError(f"{name} is {value!r}: expected a finite number")
    return number


def _yes(row: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    value = row.get(name)
    if _blank(value):
        return otherwise
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise DataError(f"{name} is {value!r}: expected true or false")
    return text in ("true", "1", "yes")


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""
