"""The hash chain: how an entry is written down, how it is hashed, and where the newest hash is published.

hash = sha256 of prev_hash, seq, at, kind, cycle_id and body, each on a line of its own, in UTF-8. A body is
canonical JSON and so has no line break. The chain shows an edited or missing entry, but not a missing end: for
that the newest hash is published outside the table: in the `state` table, and in a `.head` file beside a SQLite file
or in the user's data folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gridpilot.errors import DataError, LedgerError
from gridpilot.values import to_jsonable

GENESIS = "0" * 64
HEAD_LINE = 85  # bytes of a head file: 19 digits, a blank, 64 hex digits, a line end


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the newest entry; 0 and zeros where there is none."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    seq: int
    at: datetime
    kind: str
    cycle_id: str
    body: dict[str, Any]
    prev_hash: str
    hash: str


def canonical(body: Any) -> str:
    """JSON with sorted keys and no blanks; floats by repr, NaN as null. LedgerError for what is not data."""
    try:
        return json.dumps(to_jsonable(body), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"an entry cannot be recorded ({error}): expected numbers, text, times and lists") from None


def to_text(moment: datetime) -> str:
    """A time as it is stored: UTC, always with microseconds, so that text order is time order."""
    if moment.tzinfo is None:
        raise DataError(f"time {moment} has no zone: give it in UTC, as 2024-06-12T14:00:00Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The time behind `to_text`."""
    return datetime.fromisoformat(text)


def entry_hash(prev_hash: str, seq: int, at: str, kind: str, cycle_id: str, body: str) -> str:
    """sha256 in hex over the stored texts."""
    return hashlib.sha256("\n".join((prev_hash, str(seq), at, kind, cycle_id, body)).encode()).hexdigest()


class HeadFile:
    """The published head: one line of fixed length, replaced in place by one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Head | None:
        """The published head; None where nothing was published; LedgerError where it cannot be understood."""
        try:
            with self._opened(os.O_RDONLY) as handle:
                text = os.pread(handle, HEAD_LINE + 1, 0).decode("ascii")
            if not text:
                return None
            seq, hash_ = text.split()
            if len(hash_) != len(GENESIS) or len(text) > HEAD_LINE:
                raise ValueError(text)
            return Head(int(seq), hash_)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be read ({error.strerror}): make it readable") from None
        except ValueError:
            raise LedgerError(
                f"{self.path} does not hold a number and a hash: restore it, or delete it to publish anew"
            ) from None

    def publish(self, head: Head) -> None:
        """Write a newer head. An older one is ignored: two processes may arrive in either order."""
        line = f"{head.seq:019d} {head.hash}\n".encode("ascii")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened(os.O_RDWR | os.O_CREAT) as handle:
                if os.pread(handle, 19, 0) < line[:19]:
                    os.pwrite(handle, line, 0)
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be written ({error.strerror}): make it writable") from None

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """The file's descriptor. LedgerError for what is no file: a device has no end, a pipe waits for a reader."""
        handle = os.open(self.path, flags | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise LedgerError(f"head file {self.path} is not a regular file: correct GRIDPILOT_HEAD_FILE")
            yield handle
        finally:
            os.close(handle)
