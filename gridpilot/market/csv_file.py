"""A user's own price file: `timestamp,energy_price[,hash_price,token_price][,more]`, USD/MWh, UTC interval starts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from gridpilot.domain import DataFlag, PriceHistory, Site, Units
from gridpilot.errors import DataError
from gridpilot.foreign import lines
from gridpilot.market.beside import Companion, overlay, service, site_beside
from gridpilot.market.quality import Rows, known_ahead, known_at, on_grid, plausibility, regularise, staleness
from gridpilot.values import YEARS, Array, as_array, as_times, plain_number, usable

MAX_BYTES = 100_000_000
ENERGY = "energy_price"
HEADER = "timestamp,energy_price[,hash_price,token_price]"


def read_prices(path: Path | str, site: Site, *, target: str | None = None, bridge_s: int = 0) -> PriceHistory:
    """Read a price file whole. `target` is the column that is the energy price; None: `energy_price`.

    Other numeric columns go to `columns`; rows after the last price that hold only such go to `ahead`. Gaps of
    up to `bridge_s` are filled, see `quality`. Raises DataError with one line that names what is wrong and where.
    """
    path = Path(path)
    rows, flags = read_rows(path, ENERGY if target is None else target)
    return judged(history_of(rows, flags, "csv", path.name, site, bridge_s=bridge_s))


def history_of(
    rows: Rows, flags: tuple[DataFlag, ...], source: str, called: str, site: Site, *, bridge_s: int = 0
) -> PriceHistory:
    """The rows of price files as the history of `source`; messages and the credit call it `called`."""
    rows, later = known_ahead(rows)
    grid = regularise(rows, called, bridge_s=bridge_s)
    series = dict(grid.series)
    energy_usd_per_mwh = series.pop(rows.energy)
    n = len(energy_usd_per_mwh)
    ahead, dropped = on_grid(later, grid, tuple(series))
    hashes = service("hash", series.pop("hash_price", None), n, site)
    tokens = service("token", series.pop("token_price", None), n, site)
    return PriceHistory(
        source=source,
        timestamp=grid.timestamp,
        step_s=grid.step_s,
        energy_usd_per_mwh=energy_usd_per_mwh,
        hash_price=hashes.price,
        token_price=tokens.price,
        units=Units("USD", "USD/MWh", hashes.unit, tokens.unit, 1.0, hashes.factor, tokens.factor),
        flags=(*flags, *grid.flags, *dropped, *hashes.flags, *tokens.flags),
        columns=series,
        credit=called,
        ahead=ahead,
        filled=grid.filled,
    )


class CsvSource:
    """A price file as a source; read again whenever it has changed."""

    name = "csv"
    simulated = True  # its present is its newest row, and nothing real hangs on it

    def __init__(self, path: Path, site: Site, companion: Companion | None = None) -> None:
        self.path = path
        self.site = site_beside(site, companion)
        self.companion = companion
        self._seen: tuple[int, int] | None = None
        self._history: PriceHistory | None = None

    def present(self, wall: datetime) -> datetime:
        """Start of the newest row, whatever the wall clock says."""
        return self._read().last

    def fetch(self, now: datetime) -> PriceHistory:
        """The rows up to `now`; DataError for a file that can't be used, STALE where it ends before `now`."""
        whole = self._read()
        known = known_at(whole, now)
        history = overlay(whole if known is whole else judged(known), self.companion, now)
        flag = staleness(history, now)
        return replace(history, flags=(*history.flags, flag)) if flag else history

    def _read(self) -> PriceHistory:
        seen = stat_of(self.path)
        if self._history is None or seen != self._seen:
            self._history, self._seen = read_prices(self.path, self.site), seen
        return self._history


def judged(history: PriceHistory) -> PriceHistory:
    """The history with the flags on its newest value in place of those it had."""
    series = {"energy_price": history.energy_usd_per_mwh, "hash": history.hash_price, "token": history.token_price}
    kept = tuple(f for f in history.flags if f.code not in ("SUSPECT", "FLATLINE"))
    return replace(history, flags=(*kept, *plausibility(series, history.step_s, "energy_price")))


# --- the file ------------------------------------------------------------------------------


def stat_of(path: Path) -> tuple[int, int]:
    """Time of the last change [ns] and size [bytes]; DataError where it can't be read or is too large."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"price file {path} cannot be read: {error.strerror}; give the path of a CSV file") from None
    if stat.st_size > MAX_BYTES:
        raise DataError(f"{path} has {stat.st_size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read; cut it")
    return stat.st_mtime_ns, stat.st_size


def read_rows(path: Path, energy: str = ENERGY) -> tuple[Rows, tuple[DataFlag, ...]]:
    """The file's rows as numbers, in its order; which column is no number is told by a flag. DataError as above."""
    stat_of(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(lines(file, str(path), MAX_BYTES), strict=True)
            header = [name.strip() for name in next(rows, [])]
            _check_header(path, header, energy)
            return _columns(path, header, energy, rows)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as a CSV file in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file ({error}): expected the header {HEADER}") from None
    except OSError as error:
        raise DataError(f"price file {path} cannot be read: {error.strerror}; give the path of a CSV file") from None


def _check_header(path: Path, header: list[str], energy: str) -> None:
    if not any(header):
        raise DataError(f"{path} is empty: expected the header {HEADER} and rows")
    if energy == "timestamp":
        raise DataError(f"{path}: 'timestamp' is the time and no price: name another column by --target")
    missing = [name for name in ("timestamp", energy) if name not in header]
    if missing:
        seen = ",".join(header)[:80]
        raise DataError(f"{path} has no column {missing[0]!r}: its header is {seen!r}, expected {HEADER} or --target")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} more than once: rename one")


def _columns(
    path: Path, header: list[str], energy: str, rows: Iterator[list[str]]
) -> tuple[Rows, tuple[DataFlag, ...]]:
    """Row by row to arrays; a row with more or fewer cells than the header has no usable price."""
    when = header.index("timestamp")
    cells: dict[str, list[float]] = {name: [] for name in header if name and name != "timestamp"}
    where = {name: header.index(name) for name in cells}
    stamps: list[int | None] = []
    numbers: list[int] = []
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        whole = len(row) == len(header)
        stamps.append(_seconds(path, number, row[when]) if whole else None)
        numbers.append(number)
        for name, index in where.items():
            cells[name].append(_number(row[index]) if whole else np.nan)
    if not stamps:
        raise DataError(f"{path} has a header and no rows: expected at least two intervals")
    series, flags = _numeric({name: as_array(values) for name, values in cells.items()}, energy)
    times = np.array([np.datetime64("NaT") if s is None else np.datetime64(s, "s") for s in stamps])
    return Rows(as_times(times), series, energy, np.array(numbers, dtype=np.int64)), flags


def _numeric(columns: Mapping[str, Array], energy: str) -> tuple[dict[str, Array], tuple[DataFlag, ...]]:
    """Without the columns that hold no numbers at all; the energy price stays in any case."""
    text = [name for name, values in columns.items() if name != energy and not np.isfinite(values).any()]
    flags = [DataFlag("DROPPED", f"column {name} holds no numbers: left out") for name in text]
    return {name: values for name, values in columns.items() if name not in text}, tuple(flags)


def _seconds(path: Path, number: int, text: str) -> int | None:
    """Seconds since 1970 of an ISO 8601 time with a zone; None where it is no time. A naive time is refused, and one
    of other years than prices are of."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        raise DataError(
            f"{path} row {number}: time {text.strip()!r} has no zone; write UTC with a Z, as {moment.isoformat()}Z"
        )
    if not usable(moment):
        raise DataError(f"{path} row {number}: time {text.strip()!r} is not of {YEARS}; correct or drop the row")
    return int(moment.timestamp())


def _number(text: str) -> float:
    try:
        return plain_number(text)
    except ValueError:
        return np.nan
