"""What came of a curtailment, as a grid operator would audit it: from the readings on record alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.dispatch.curtailment import Curtailment, events
from gridpilot.errors import InputError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.metering import metered
from gridpilot.values import Array

TOLERANCE = 0.005  # of the target: what a revenue meter may be off
WINDOW = timedelta(minutes=5)  # a settlement interval
GRACE_S = 5.0  # from the end of the ramp until the target has to be reached


@dataclass(frozen=True, slots=True)
class Window:
    """A settlement interval: the mean that was metered, and the mean that was allowed [kW]."""

    start: datetime
    mean_kw: float
    allowed_kw: float

    @property
    def kept(self) -> bool:
        """Whether no more was drawn than allowed."""
        return self.mean_kw <= self.allowed_kw * (1.0 + TOLERANCE) + 0.05


@dataclass(frozen=True, slots=True)
class Audit:
    """A curtailment's record. Powers in kW, positive imports; NaN where nothing was metered.

    `reached_s` is how long after the end of the ramp the meter was at or under the target for good (0: by then), and
    `resolution_s` how long before that reading the one before it was: it may have been reached so much sooner.
    `delivered_frac` is the mean reduction over the promised one, from the end of the ramp on.
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
    def kept(self) -> bool:
        """Whether the target was reached in time and every settlement interval was kept."""
        return (
            self.samples > 0
            and self.reached_s - self.resolution_s <= GRACE_S
            and all(window.kept for window in self.windows)
        )


def find(ledger: Ledger, event_id: str) -> Curtailment:
    """The event of that id; InputError where it is not known."""
    rows = events(ledger)
    for event in rows:
        if event.id == event_id:
            return event
    seen = ", ".join(event.id for event in rows) or "none"
    raise InputError(f"no curtailment {event_id!r}: known are {seen}")


def audit(ledger: Ledger, event: Curtailment, now: datetime) -> Audit | None:
    """What was metered from the event's start to its end, or to `now` while it runs; None before its start."""
    until = min(event.end, now)
    if until <= event.start:
        return None
    stamps, kw = metered(ledger, event.start, until)
    baseline = math.nan if event.baseline_kw is None else event.baseline_kw
    limit = event.limit(baseline if math.isfinite(baseline) else 0.0)
    target = event.target_kw(baseline) if event.import_kw is not None or math.isfinite(baseline) else math.nan
    edges = np.append(stamps.astype(np.int64), int(until.timestamp())).clip(int(event.start.timestamp()))
    seconds = np.diff(edges).astype(np.float64)
    due = event.start + timedelta(seconds=event.ramp_s)
    after = edges[:-1] >= int(due.timestamp()) + GRACE_S
    held, weight = kw[after], seconds[after]
    mean = float(weight @ held / weight.sum()) if weight.sum() > 0.0 else math.nan
    promised = baseline - target
    return Audit(
        event,
        until,
        baseline,
        target,
        mean,
        float(held.max()) if len(held) else math.nan,
        *_reached_s(edges[:-1], kw, target, due, until),
        (baseline - mean) / promised if promised > 0.0 else math.nan,
        float(seconds @ (baseline - kw)) / 3600.0 if len(kw) else math.nan,
        int(np.sum(stamps.astype(np.int64) >= int(event.start.timestamp()))),
        tuple(_windows(edges, kw, due + timedelta(seconds=GRACE_S), until, limit.import_kw)),
    )


def _reached_s(begin: Array, kw: Array, target: float, due: datetime, until: datetime) -> tuple[float, float]:
    """Seconds from `due` to the reading from which on all are within the target, infinite where there is none; and from
    the reading before that one."""
    over = np.flatnonzero(kw > target * (1.0 + TOLERANCE) + 0.05)
    if not len(kw) or not math.isfinite(target):
        return math.nan, 0.0
    if not len(over):
        return 0.0, 0.0
    if over[-1] == len(kw) - 1:
        return math.inf, 0.0
    first = float(begin[over[-1] + 1])
    return max(0.0, first - due.timestamp()), first - max(float(begin[over[-1]]), due.timestamp())


def _windows(edges: Array, kw: Array, start: datetime, until: datetime, allowed_kw: float) -> list[Window]:
    """Settlement intervals from `start` on, by the clock; parts of one at the ends count as one."""
    out, at = [], start
    while at < until:
        whole = datetime.fromtimestamp(
            (at.timestamp() // WINDOW.total_seconds() + 1) * WINDOW.total_seconds(), at.tzinfo
        )
        stop = min(whole, until)
        inside = np.diff(edges.clip(at.timestamp(), stop.timestamp())).astype(np.float64)
        if inside.sum() > 0.0:
            out.append(Window(at, float(inside @ kw / inside.sum()), allowed_kw))
        at = stop
    return out
