"""What the site's meter said: readings in the ledger, and their mean over a time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from gridpilot.domain import Reading
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.values import Array, Times, as_array, as_times

KIND = "reading"
REACH = timedelta(hours=2)  # before a time: a reading holds until the next one, for so long at the most
MOST = 20_000


def record(reading: Reading) -> dict[str, object]:
    """The body of a reading's entry. `raw` is left out: it is what was read, once more."""
    names = ("machines", "told", "power_kw", "battery_kw", "grid_kw", "soc_frac", "hottest_c", "room_c")
    return {name: getattr(reading, name) for name in (*names, "frequency_hz", "import_kw")}


def metered(ledger: Ledger, start: datetime, end: datetime) -> tuple[Times, Array]:
    """Moments of the readings of [start - REACH, end) and the grid power of each [kW], oldest first.

    Where the clock went back, a time that was lived twice has the readings of the second.
    """
    known: list[Entry] = []
    for row in ledger.entries(KIND, since=start - REACH, until=end, limit=MOST):
        if row.body.get("grid_kw") is not None and (not known or row.at <= known[-1].at):
            known.append(row)
    known.reverse()
    return as_times([row.at.replace(tzinfo=None) for row in known]), as_array([row.body["grid_kw"] for row in known])


def mean_kw(ledger: Ledger, start: datetime, end: datetime) -> float:
    """Mean grid power of [start, end) [kW], each reading holding until the next; NaN where none is known."""
    stamps, kw = metered(ledger, start, end)
    if not len(kw):
        return math.nan
    edges = np.append(stamps.astype(np.int64), int(end.timestamp())).clip(int(start.timestamp()))
    seconds = np.diff(edges).astype(np.float64)
    return float(seconds @ kw / seconds.sum()) if seconds.sum() > 0.0 else float(kw[-1])
