"""Reading a P&L sample from a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from gridpilot.errors import DataError
from gridpilot.foreign import lines
from gridpilot.values import Array, as_array, plain_number

COLUMN = "pnl_usd"
MAX_BYTES = 100_000_000


def read_pnl(path: Path) -> Array:
    """The column pnl_usd of a CSV file with a header, (n,) in file order.

    DataError, with the line, for a file that cannot be read, has no such column, no rows, or text, NaN or
    infinity in it.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(lines(file, str(path), MAX_BYTES), strict=True)
            names = [name.strip() for name in rows.fieldnames or []]
            if names.count(COLUMN) != 1:
                seen = ", ".join(names) or "an empty file"
                raise DataError(f"{path}: found {seen}; expected a header with one column {COLUMN}")
            rows.fieldnames = names
            values = [_number(row, rows.line_num, path) for row in rows]
    except FileNotFoundError:
        raise DataError(f"P&L file {path} does not exist: give the path of a CSV file") from None
    except OSError as error:
        raise DataError(f"P&L file {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV text file in UTF-8: {error}") from None
    if not values:
        raise DataError(f"{path}: has a header and no rows; expected one {COLUMN} a line")
    return as_array(values)


def _number(row: dict[str | None, str | None], line: int, path: Path) -> float:
    text = row.get(COLUMN)
    if None in row:  # a decimal comma, for one, makes two fields of a number
        raise DataError(f"{path} line {line}: has more fields than the header; write numbers as 1234.56")
    try:
        value = plain_number(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path} line {line}: {COLUMN} is {text!r}, expected a number; correct or drop the line")
    return value
