"""What came of a curtailment, as a grid operator would audit it: from the readings on record alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from gridpilot.dispatch.curtailment import ENTRY, PROPOSED, Curtailment, events
from gridpilot.domain import GridLimit
from gridpilot.errors import Unknown
from gridpilot.foreign import shown
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.metering import metered
from gridpilot.values import Array

__all__ = ["TOLERANCE", "WINDOW", "Audit", "Curtailment", "Window", "audit", "events", "find"]

TOLERANCE = 0.005  # of the target: what a revenue meter may be off
WINDOW = timedelta(minutes=5)  # a settlement interval
GRACE_S = 5.0  # from the start until the limit has to be kept, and from the end of the ramp for the target
Verdict = Literal["kept", "broken", "unknown"]
HOLDS_S = WINDOW.total_seconds()  # how long a reading says what is drawn; after that nobody knows


@dataclass(frozen=True, slots=True)
class Window:
    """A settlement interval: the mean that was metered (NaN where some of it was not), and the mean that was allowed
    [kW]."""

    start: datetime
    mean_kw: float
    allowed_kw: float

    @property
    def over_kw(self) -> float:
        """How much more was drawn than a meter's tolerance allows; none below zero, NaN where nobody knows."""
        return self.mean_kw - self.allowed_kw * (1.0 + TOLERANCE) - 0.05


@dataclass(frozen=True, slots=True)
class Audit:
    """A curtailment's record. Powers in kW, positive imports; NaN where nothing was metered.

    `reached_s` is how long after the end of the ramp the meter was at or under the target for good (0: by then; NaN:
    the ramp is not over, or was cut short), and `resolution_s` how long before that reading the one before it was: it
    may have been reached so much sooner. `delivered_frac` is the mean reduction over the promised one, from the end of
    the ramp on.
    """

    event: Curtailment
    until: datetime
    baseline_kw: float
    target_kw: float
    mean_kw: float
    highest_kw: float
    reached_s: float
    resolution_s: float
    delivered_frac: float
    reduced_kwh: float
    samples: int
    windows: tuple[Window, ...]

    @property
    def worst(self) -> Window | None:
        """The settlement interval in which most was drawn above what was allowed; None where none is known to be
        broken."""
        broken = [window for window in self.windows if window.over_kw > 0.0]
        return max(broken, key=lambda window: window.over_kw, default=None)

    @property
    def verdict(self) -> Verdict:
        """Broken where one settlement interval is known to be, or the target was reached too late where it was due;
        unknown where the meter does not say of all that they were kept."""
        if self.worst is not None or self.reached_s - self.resolution_s > GRACE_S:
            return "broken"
        known = self.samples > 0 and math.isfinite(self.target_kw)
        return "kept" if known and all(math.isfinite(window.mean_kw) for window in self.windows) else "unknown"

    @property
    def kept(self) -> bool:
        """Whether that is known."""
        return self.verdict == "kept"


def find(ledger: Ledger, event_id: str) -> Curtailment:
    """The event of that id; Unknown where there is none."""
    for event in events(ledger):
        if event.id == event_id:
            return event
    raise Unknown(f"no curtailment {shown(event_id, 40)!r}: look at the list on Dispatch")


def audit(ledger: Ledger, event: Curtailment, now: datetime) -> Audit | None:
    """What was metered from the event's start to its end, or to `now` while it runs; None where it has not begun, or
    never did."""
    until = min(event.end, now)
    if until <= event.start or event.status == PROPOSED or (event.status == "cancelled" and not _began(ledger, event)):
        return None
    stamps, kw = metered(ledger, event.start, until)
    baseline = math.nan if event.baseline_kw is None else event.baseline_kw
    target = event.target_kw(baseline) if event.import_kw is not None or math.isfinite(baseline) else math.nan
    raw, first, last = stamps.astype(np.int64), int(event.start.timestamp()), int(until.timestamp())
    begin = raw.clip(first)
    end = np.minimum(np.append(raw[1:], last), raw + int(HOLDS_S)).clip(first, last)
    seconds = np.maximum(end - begin, 0).astype(np.float64)
    due = event.start + timedelta(seconds=event.ramp_s)
    after = begin >= int(due.timestamp()) + GRACE_S
    held, weight = kw[after], seconds[after]
    mean = float(weight @ held / weight.sum()) if weight.sum() > 0.0 else math.nan
    promised = baseline - target
    windows = _windows(begin, end, kw, event, until) if math.isfinite(target) else ()
    return Audit(
        event,
        until,
        baseline,
        target,
        mean,
        float(held.max()) if len(held) else math.nan,
        *_reached_s(begin, kw, target, due, until),
        (baseline - mean) / promised if promised > 0.0 else math.nan,
        float(seconds @ (baseline - kw)) / 3600.0 if len(kw) else math.nan,
        int(np.sum(raw >= first)),
        tuple(windows),
    )


def _began(ledger: Ledger, event: Curtailment) -> bool:
    """Whether it was active at some time, as its entries say."""
    rows = ledger.entries(ENTRY, since=event.start)
    return any(row.body["id"] == event.id and row.body["status"] == "active" for row in rows)


def _reached_s(begin: Array, kw: Array, target: float, due: datetime, until: datetime) -> tuple[float, float]:
    """Seconds from `due` to the reading from which on all are within the target, infinite where there is none; and from
    the reading before that one. NaN while it is not due yet, or where the last reading is from before that."""
    over = np.flatnonzero(kw > target * (1.0 + TOLERANCE) + 0.05)
    if not len(kw) or not math.isfinite(target) or until <= due + timedelta(seconds=GRACE_S):
        return math.nan, 0.0
    if not len(over):
        return 0.0, 0.0
    if over[-1] == len(kw) - 1:
        return math.inf if begin[-1] > due.timestamp() + GRACE_S else math.nan, 0.0
    last, first = (max(float(begin[i]), due.timestamp()) for i in (over[-1], over[-1] + 1))
    return first - due.timestamp(), first - last


def _windows(begin: Array, end: Array, kw: Array, event: Curtailment, until: datetime) -> list[Window]:
    """Settlement intervals from just after the start on, by the clock; parts of one at the ends count as one. While the
    baseline is not known, from the end of the ramp on: where the line began, nobody knows."""
    limit = event.limit(0.0 if event.baseline_kw is None else event.baseline_kw)
    known_from = event.start + timedelta(seconds=event.ramp_s if event.baseline_kw is None else 0.0)
    out, at = [], known_from + timedelta(seconds=GRACE_S)
    while at < until:
        whole = datetime.fromtimestamp(
            (at.timestamp() // WINDOW.total_seconds() + 1) * WINDOW.total_seconds(), at.tzinfo
        )
        stop = min(whole, until)
        first, last = at.timestamp(), stop.timestamp()
        inside = np.maximum(end.clip(first, last) - begin.clip(first, last), 0.0).astype(np.float64)
        whole_s = last - first
        mean = float(inside @ kw / inside.sum()) if inside.sum() >= whole_s - 1.0 and inside.sum() > 0.0 else math.nan
        out.append(Window(at, mean, _allowed_kw(limit, at, stop)))
        at = stop
    return out


def _allowed_kw(limit: GridLimit, start: datetime, stop: datetime) -> float:
    """The mean of a limit between two moments of its time [kW]."""
    bend = min(max(limit.start + timedelta(seconds=limit.ramp_s), start), stop)
    falling_kw = (limit.at(start) + limit.at(min(bend, limit.end - timedelta(microseconds=1)))) / 2.0
    falling, whole = bend - start, stop - start
    return falling_kw * (falling / whole) + limit.import_kw * (1.0 - falling / whole)
