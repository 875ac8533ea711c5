"""Arrays, times and plain JSON values: the few conversions that every module shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gridpilot.errors import DataError

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
YEARS = "the years 1970 to 2199"


def usable(moment: datetime) -> bool:
    """Whether an aware time is of the years in which prices are taken: what is computed around it is a time, too."""
    return EARLIEST <= moment < LATEST


def run_on(moment: datetime, elapsed: timedelta, speed: float) -> datetime:
    """What a clock that showed an aware `moment` shows after `elapsed` at `speed`; at the end of the usable years it
    stands still, however far away ours has been set."""
    try:
        shown = moment + elapsed * speed
    except OverflowError:
        shown = LATEST if elapsed > timedelta(0) else EARLIEST
    return min(max(shown, EARLIEST), LATEST - timedelta(seconds=1))


def written_plainly(text: str) -> bool:
    """Whether a number is written as people do, not as Python reads it too: 1_000, or digits of other scripts, which a
    spreadsheet would take for text."""
    return text.isascii() and "_" not in text


def plain_number(text: str) -> float:
    """A number written plainly; ValueError for anything else."""
    if not written_plainly(text):
        raise ValueError(f"{text!r} is not a plain number")
    return float(text)


def midnight(moment: datetime, timezone: str = "") -> datetime:
    """The start of the local day that an aware moment is of, at a place's zone; without one at the moment's own."""
    here = moment.astimezone(ZoneInfo(timezone)) if timezone else moment
    return here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def as_array(values: Any) -> Array:
    """A read-only float64 copy of `values`."""
    out = np.array(values, dtype=np.float64)
    out.setflags(write=False)
    return out


def as_times(values: Any) -> Times:
    """A read-only datetime64[s] copy of `values` (naive means UTC here; adapters refuse naive input)."""
    out = np.array(values, dtype="datetime64[s]")
    out.setflags(write=False)
    return out


def to_utc(stamp: np.datetime64) -> datetime:
    """One element of a time array as an aware datetime."""
    return datetime.fromtimestamp(int(stamp.astype("datetime64[s]").astype(np.int64)), tz=UTC)


def to_stamp(moment: datetime) -> np.datetime64:
    """An aware datetime as an element of a time array; a naive one is refused."""
    if moment.tzinfo is None:
        raise DataError(f"time {moment} has no zone: give it in UTC, as 2024-06-12T14:00:00Z")
    return np.datetime64(int(moment.timestamp()), "s")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_jsonable(value: Any) -> Any:
    """Plain JSON types of any domain object; NaN and infinity become null."""
    kind = type(value)
    if kind is float:
        return value if isfinite(value) else None
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        if np.issubdtype(value.dtype, np.datetime64):
            return [iso(to_utc(t)) for t in value]
        return to_jsonable(value.tolist())
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [v if type(v) is float and isfinite(v) else to_jsonable(v) for v in value]  # most are plain numbers
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    return value
