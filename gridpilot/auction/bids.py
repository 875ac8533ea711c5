"""Bids from a table or a CSV file, with a reason for each row that is refused."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gridpilot.auction.book import POWER, Book, Bools
from gridpilot.domain import Bid
from gridpilot.errors import DataError
from gridpilot.foreign import lines, shown, unquoted
from gridpilot.values import Array, written_plainly

COLUMNS = ("bidder", "service", "kw", "price_usd_per_kwh")
OPTIONAL = ("divisible", "min_kw", "house")  # and uses_RESOURCE, what a kW of the row takes of it
USES = "uses_"
MAX_BYTES = 1_000_000_000
MAX_COLUMNS = 64
MAX_RESOURCES = 32
CHUNK = 50_000  # rows that are read at once
FEW = 500  # rows that are looked at one by one where one of them is not good at first sight
MOST_REASONS = 1000  # rows refused with a reason each; the others are counted
OTHERS = "others"  # the name of a row that only counts
Refusal = tuple[str, str]  # bidder (or row), reason
MIXED = "the bidder is the house in one row and not in another: say so in all of its rows or in none"
_YES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse_bids(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Bid, ...], tuple[Refusal, ...]]:
    """Bids of a table (bidder, service, kw, price_usd_per_kwh[, divisible, min_kw, house, uses_RESOURCE]).

    With them a reason for each bad row. Rows without any value are passed over.
    """
    bids: dict[int, Bid] = {}
    refused = _Refusals()
    for number, row in enumerate(rows, 1):
        if all(_blank(value) for value in row.values()):
            continue
        try:
            bids[number] = _bid(row)
        except DataError as error:
            refused.add(number, _name(row, number), str(error))
    both = {bid.bidder for bid in bids.values() if bid.house} & {bid.bidder for bid in bids.values() if not bid.house}
    for number in [n for n, bid in bids.items() if bid.bidder in both]:
        refused.add(number, bids.pop(number).bidder, MIXED)
    return tuple(bids.values()), refused.told()


def read_bids(path: Path) -> tuple[Book, tuple[Refusal, ...]]:
    """The book of a CSV file with a header, and why rows are refused; DataError for a file that is none.

    It is read some rows at a time into columns, so that millions of rows take tens of bytes each.
    """
    with _clear_errors(str(path)):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size / 1e6:.0f} MB: at most {MAX_BYTES / 1e6:.0f} MB are read")
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, reader = _opened(file, str(path))
            columns, number = _Columns(header), 1
            while rows := list(itertools.islice(reader, CHUNK)):
                columns.take(rows, number)
                number += len(rows)
            return columns.book()


def read_rows(file: TextIO, name: str, most: int) -> tuple[list[str], list[list[str]], tuple[Refusal, ...]]:
    """Header and rows of such a file as text, for a table that people edit; DataError where it has more than `most`.

    Only rows with more values than the header are refused here, the others by `parse_bids`.
    """
    rows: list[list[str]] = []
    refused = _Refusals()
    with _clear_errors(name):
        header, reader = _opened(file, name)
        for number, row in enumerate(reader, 1):
            if number > most:
                raise DataError(f"{name} has more than {most} rows: use the command line for more")
            cells = [unquoted(cell) for cell in row[: len(header)]]
            if len(row) > len(header):
                body = dict(zip(header, cells, strict=True))
                refused.add(number, _name(body, number), _too_many(row, header))
            elif row:
                rows.append(cells + [""] * (len(header) - len(row)))
    return header, rows, refused.told()


def listed(refused: Sequence[Refusal], unserved: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Rows that were refused and bids that took no part, some of the latter only counted where there are many."""
    room = max(MOST_REASONS - len(refused), 0)
    if len(unserved) <= room:
        return (*refused, *unserved)
    return (*refused, *unserved[:room], (OTHERS, f"{len(unserved) - room} more bids take no part"))


# --- files -----------------------------------------------------------------------------------


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name} does not exist: give the path of a CSV file of bids") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} is not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from None


def _opened(file: TextIO, name: str) -> tuple[list[str], Iterator[list[str]]]:
    """The header, which must be one of bids, and the rows below it."""
    reader = csv.reader(lines(file, name, MAX_BYTES))
    header = [unquoted(cell) for cell in next(reader, [])]
    told = ", ".join(shown(column, 40) for column in header[:10]) or "nothing"
    expected = f"expected {','.join(COLUMNS)}[,{','.join(OPTIONAL)},{USES}RESOURCE,...]"
    if any("\0" in column for column in header):
        raise DataError(f"{name} has NUL bytes: save it as CSV in UTF-8")
    for mark, words in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise DataError(f"{name} has {words} between its columns: save it with commas; {expected}")
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{name} has {len(header)} columns: at most {MAX_COLUMNS} are read; {expected}")
    known = {*COLUMNS, *OPTIONAL}
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{name}: column {shown(column, 40)!r} is there {header.count(column)} times: give it once")
        if column not in known and not (column.startswith(USES) and column[len(USES) :].strip()):
            raise DataError(f"{name}: unknown column {shown(column, 40)!r}; {expected}")
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise DataError(f"{name}: no column {missing[0]!r}; the header is: {told}")
    if len(set(header) - known) > MAX_RESOURCES:
        raise DataError(f"{name} has {len(set(header) - known)} columns of {USES}: at most {MAX_RESOURCES} are read")
    return header, reader


def _too_many(row: Sequence[str], header: Sequence[str]) -> str:
    return f"{len(row)} values: expected {len(header)}, as in the header"


@dataclass(slots=True)
class _Refusals:
    """Rows that are refused: the first of them with a reason."""

    first: list[tuple[int, str, str]] = field(default_factory=list)
    more: int = 0

    def add(self, number: int, name: str, reason: str) -> None:
        if len(self.first) == MOST_REASONS:
            self.more += 1
            if number > self.first[-1][0]:
                return
            self.first.pop()
        bisect.insort(self.first, (number, name, reason))

    def told(self) -> tuple[Refusal, ...]:
        """By row."""
        out = [(name, f"row {number}: {reason}") for number, name, reason in self.first]
        if self.more:
            out.append((OTHERS, f"{self.more} more rows are refused; the first {MOST_REASONS} say why"))
        return tuple(out)


class _Columns:
    """Rows of a file so far, names as numbers."""

    def __init__(self, header: list[str]) -> None:
        self.header = header
        self.resources = (POWER, *sorted({n[len(USES) :] for n in header if n.startswith(USES)} - {POWER}))
        self.bidders: dict[str, int] = {}
        self.services: dict[str, int] = {}
        self.chunks: list[tuple[Any, ...]] = []  # arrays: bidder, service, row, house, (kw, price, least kw, uses ...)
        self.refused = _Refusals()

    def take(self, rows: list[list[str]], number: int) -> None:
        """Rows from the `number`th on: all at once where they are good at first sight, else one by one."""
        if self._at_once(rows, number):
            return
        if len(rows) > FEW:
            for k in range(0, len(rows), FEW):
                self.take(rows[k : k + FEW], number + k)
            return
        bids: dict[int, Bid] = {}
        for n, row in enumerate(rows, number):
            body = dict(itertools.zip_longest(self.header, map(unquoted, row[: len(self.header)])))
            try:
                if len(row) > len(self.header):
                    raise DataError(_too_many(row, self.header))
                if any(not _blank(value) for value in row):
                    bids[n] = _bid(body)
            except DataError as error:
                self.refused.add(n, _name(body, n), str(error))
        if bids:
            self._add(bids)

    def _at_once(self, rows: list[list[str]], number: int) -> bool:
        if any(len(row) != len(self.header) for row in rows):
            return False
        table: dict[str, Sequence[str]] = dict(zip(self.header, zip(*rows, strict=True), strict=True))
        n = len(rows)
        try:
            kw, price = _floats(table["kw"]), _floats(table["price_usd_per_kwh"])
            least = _floats(table["min_kw"], blank=0.0) if "min_kw" in table else np.zeros(n)
            divisible = _flags(table["divisible"], blank=True) if "divisible" in table else np.ones(n, bool)
            house = _flags(table["house"], blank=False) if "house" in table else np.zeros(n, bool)
            uses = [
                _floats(table[USES + name], blank=float(name == POWER))
                if USES + name in table
                else np.full(n, float(name == POWER))
                for name in self.resources
            ]
        except (KeyError, ValueError):
            return False
        good = (kw >= 0.0) & (kw <= 1e9) & (np.abs(price) <= 1e6) & (least >= 0.0) & (least <= kw)  # as Bid asks for
        for use in uses:
            good &= (use >= 0.0) & (use <= 1e6)  # false for NaN
        who, what = dict.fromkeys(table["bidder"]), dict.fromkeys(table["service"])
        if not good.all() or not all(_plain_name(name) for name in (*who, *what)):
            return False
        numbers = np.column_stack([kw, price, np.where(divisible, least, kw), *uses])
        self._put(table["bidder"], table["service"], np.arange(number, number + n, dtype=np.int32), house, numbers)
        return True

    def _add(self, bids: Mapping[int, Bid]) -> None:
        """Rows that were made one by one."""
        numbers = [
            [bid.kw, bid.price_usd_per_kwh, bid.min_kw if bid.divisible else bid.kw]
            + [bid.uses.get(name, float(name == POWER)) for name in self.resources]
            for bid in bids.values()
        ]
        self._put(
            [bid.bidder for bid in bids.values()],
            [bid.service for bid in bids.values()],
            np.array(list(bids), dtype=np.int32),
            np.array([bid.house for bid in bids.values()]),
            np.array(numbers, dtype=float),
        )

    def _put(self, bidder: Sequence[str], service: Sequence[str], row: Any, house: Bools, numbers: Array) -> None:
        who = np.array([self.bidders.setdefault(name, len(self.bidders)) for name in bidder], dtype=np.int32)
        what = np.array([self.services.setdefault(name, len(self.services)) for name in service], dtype=np.int32)
        self.chunks.append((who, what, row, house, numbers))

    def book(self) -> tuple[Book, tuple[Refusal, ...]]:
        """All good rows; those of a bidder that is the house in only some of them are none."""
        none = np.zeros(0, np.int32)
        nothing = (none, none, none, np.zeros(0, bool), np.zeros((0, 3 + len(self.resources))))
        who, what, row, house, numbers = (np.concatenate(part) for part in zip(nothing, *self.chunks, strict=True))
        bidders, services = list(self.bidders), list(self.services)
        own, other = (np.bincount(who[part], minlength=len(bidders)) > 0 for part in (house, ~house))
        if (own & other).any():
            mixed = (own & other)[who]
            for n, k in zip(row[mixed].tolist(), who[mixed].tolist(), strict=True):
                self.refused.add(n, bidders[k], MIXED)
            numbers = numbers[~mixed]
            (bidders, who), (services, what) = _used(bidders, who[~mixed]), _used(services, what[~mixed])
        book = Book.of_columns(
            (bidders, who),
            (services, what),
            numbers[:, 0],
            numbers[:, 1],
            least_kw=numbers[:, 2],
            uses=numbers[:, 3:],
            resources=self.resources,
            house={name for name, k in self.bidders.items() if own[k] and not other[k]},
        )
        return book, self.refused.told()


def _used(names: Sequence[str], number: Any) -> tuple[list[str], Any]:
    """Only the names that a row has, numbered anew."""
    used, place = np.unique(number, return_inverse=True)
    return [names[k] for k in used.tolist()], place


def _floats(texts: Sequence[str], blank: float | None = None) -> Array:
    """Numbers of a column; ValueError where one is not plainly a number."""
    if not written_plainly("".join(texts)):
        raise ValueError("not plain")
    return np.array([float(text) for text in texts] if blank is None else [float(text or blank) for text in texts])


def _flags(texts: Sequence[str], *, blank: bool) -> Bools:
    """True or false of a column; KeyError where one is neither."""
    known = {text: _YES[text.strip().lower()] if text.strip() else blank for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=bool)


def _plain_name(name: str) -> bool:
    return bool(name.strip()) and "\0" not in name and not name.startswith("'")


# --- rows ------------------------------------------------------------------------------------


def _name(row: Mapping[str, Any], number: int) -> str:
    return f"row {number}" if _blank(row.get("bidder")) else str(row["bidder"])


def _bid(row: Mapping[str, Any]) -> Bid:
    for name in ("bidder", "service"):
        if _blank(row.get(name)):
            raise DataError(f"{name} is empty")
        if "\0" in str(row[name]):
            raise DataError(f"{name} has a NUL byte: expected text")
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
        number = float(value) if written_plainly(str(value)) else None  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise DataError(f"{name} is {_short(value)}: expected a number")
    if not math.isfinite(number):
        raise DataError(f"{name} is {value!r}: expected a finite number")
    return number


def _yes(row: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    value = row.get(name)
    if _blank(value):
        return otherwise
    said = _YES.get(str(value).strip().lower())
    if said is None:
        raise DataError(f"{name} is {_short(value)}: expected true or false")
    return said


def _short(value: Any) -> str:
    """A value for a reason, however long it is."""
    return repr(shown(value, 60)) if isinstance(value, str) else repr(value)


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""
