"""A watched folder of price files (`*.csv`, in the form of `csv_file`), together one history, on the wall clock.

Each look takes what is new: files that came or changed since. A file counts when it ends with a line's end and did not
change while it was read; until then it is named as HALF_WRITTEN, and its rows of before stay. A file that can't be used
is flagged BAD_FILE, and the others go on. Of two files that say different things of one time, the one that was changed
later counts. Write a file under another name and rename it, and it is never seen half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from gridpilot.domain import DataFlag, PriceHistory, Site
from gridpilot.errors import DataError
from gridpilot.market.beside import Companion, overlay, site_beside
from gridpilot.market.csv_file import ENERGY, history_of, judged, read_rows, stat_of
from gridpilot.market.quality import Rows, known_at, staleness
from gridpilot.values import as_array, as_times

MOST_FILES = 1000
MOST_ROWS = 2_000_000  # of all files together


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was read last. `rows` is None where nothing of it was ever usable."""

    seen: tuple[int, int]  # when it was changed [ns], and its size
    rows: Rows | None
    flags: tuple[DataFlag, ...]


class FolderSource:
    """All price files of a folder as one source."""

    name = "folder"
    simulated = False

    def __init__(self, path: Path, site: Site, companion: Companion | None = None) -> None:
        self.path = path
        self.site = site_beside(site, companion)
        self.companion = companion
        self._files: dict[str, _File] = {}
        self._history: PriceHistory | None = None

    def present(self, wall: datetime) -> datetime:
        """The wall clock: who fills the folder keeps up with it."""
        return wall

    def fetch(self, now: datetime) -> PriceHistory:
        """The rows of all files up to `now`; DataError where there are none, STALE where they end before `now`."""
        if self._look() or self._history is None:
            self._history = self._together()
        history = overlay(judged(known_at(self._history, now)), self.companion, now)
        flag = staleness(history, now)
        return replace(history, flags=(*history.flags, flag)) if flag else history

    def _look(self) -> bool:
        """Read what is new in the folder; whether anything is."""
        try:
            found = {path.name: path for path in self.path.iterdir() if _counts(path)}
        except OSError as error:
            said = f"price folder {self.path} cannot be read: {error.strerror}"
            raise DataError(f"{said}; give the path of a folder of CSV files") from None
        if len(found) > MOST_FILES:
            raise DataError(f"{self.path} has {len(found)} price files, at most {MOST_FILES} are read; move old ones")
        changed = [name for name in self._files if name not in found]
        for name in changed:
            del self._files[name]
        for name, path in found.items():
            before = self._files.get(name)
            now = _read(path, before)
            if now != before:
                changed.append(name)
                self._files[name] = now
        return bool(changed)

    def _together(self) -> PriceHistory:
        """The rows of all files in the order in which the files were changed last."""
        order = sorted(self._files, key=lambda name: (self._files[name].seen, name))
        flags = tuple(flag for name in order for flag in self._files[name].flags)
        parts = [rows for name in order if (rows := self._files[name].rows) is not None]
        if not parts:
            said = "; ".join(flag.message for flag in flags) or "there is no file whose name ends in .csv"
            raise DataError(f"price folder {self.path} has no usable prices: {said}")
        total = sum(len(rows) for rows in parts)
        if total > MOST_ROWS:
            raise DataError(f"{self.path} has {total:,} rows, at most {MOST_ROWS:,} are read; move old files away")
        called = f"{self.path.name}: {len(parts)} {'file' if len(parts) == 1 else 'files'}"
        return history_of(_joined(parts), flags, self.name, called, self.site)


def _counts(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and not path.name.startswith((".", "~")) and path.is_file()


def _read(path: Path, before: _File | None) -> _File:
    """The file as it is now; as it was before where it did not change, or is being written."""
    kept, seen = (None, (0, 0)) if before is None else (before.rows, before.seen)
    try:
        now = stat_of(path)
        if before is not None and now == before.seen:
            return before
        if not _ends_with_a_line(path):
            said = f"{path.name} is empty or ends within a line: not read until it is whole"
            return _File(seen, kept, (DataFlag("HALF_WRITTEN", said, "warn"),))
        rows, flags = read_rows(path)
        if stat_of(path) != now:
            said = f"{path.name} changed while it was read: read again at the next look"
            return _File(seen, kept, (DataFlag("HALF_WRITTEN", said, "warn"),))
    except (DataError, OSError) as error:
        return _File(seen, kept, (DataFlag("BAD_FILE", f"{error}; the other files of the folder are used", "warn"),))
    return _File(now, rows, flags)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            return False
        file.seek(-1, 2)
        return file.read(1) in (b"\n", b"\r")


def _joined(parts: Sequence[Rows]) -> Rows:
    """One after the other; a series that a file does not have is unknown in its rows."""
    names = dict.fromkeys(name for rows in parts for name in rows.series)
    series = {
        name: as_array(np.concatenate([rows.series.get(name, np.full(len(rows), np.nan)) for rows in parts]))
        for name in names
    }
    times = as_times(np.concatenate([rows.timestamp for rows in parts]))
    return Rows(times, series, ENERGY, np.concatenate([rows.number for rows in parts]))
