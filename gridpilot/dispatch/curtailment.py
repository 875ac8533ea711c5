"""Curtailment events: for a time the grid connection draws less, by a target in kW or in percent of the baseline.

An operator, the site's schedule, or a utility's signed call gives one. It is a row of the ledger's state, and each
change of it is an entry. From `start` on the limit falls in a straight line over `ramp_s` seconds, and holds until
`end`. The baseline is the mean of the metered import over the hour before the start; it is fixed then. Until then a
percentage is taken of the import as it was metered over the last hour. Where nothing was metered before the start, it
is one of the connection to the end: what is drawn in a curtailment says nothing of what would be without.

proposed (where a second person must approve) -> scheduled -> active -> ended; or cancelled, before or in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gridpilot.dispatch.journal import CommandStore, CommandWork
from gridpilot.domain import GridLimit, Site
from gridpilot.errors import Conflict, InputError
from gridpilot.foreign import shown
from gridpilot.values import iso, to_jsonable

KEY = "curtailments"  # of the ledger's state: the events that are not over, and the newest of those that are
ENTRY = "curtailment"
ORIGINS = ("operator", "schedule", "utility")
LIVE = ("scheduled", "active")
PROPOSED = "proposed"
OPEN = (PROPOSED, *LIVE)
BASELINE = timedelta(hours=1)  # before the start
LONGEST, AHEAD = timedelta(hours=24), timedelta(days=7)
MOST_LIVE, KEPT = 50, 50
MAX_TEXT = 500
Metered = Callable[[datetime, datetime], float]  # mean import between two moments [kW]; NaN where it is not known


@dataclass(frozen=True, slots=True)
class Curtailment:
    """One event. Either `import_kw`, the most to be drawn, or `percent` of the baseline that is left out."""

    id: str
    origin: str
    author: str
    reason: str
    start: datetime
    end: datetime
    import_kw: float | None = None
    percent: float | None = None
    ramp_s: float = 0.0
    status: str = "scheduled"
    baseline_kw: float | None = None

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Curtailment:
        """The inverse of `values.to_jsonable`."""
        return cls(**{**body, **{name: datetime.fromisoformat(body[name]) for name in ("start", "end")}})

    def target_kw(self, baseline_kw: float) -> float:
        """The most that may be drawn once the ramp is over [kW]."""
        if self.import_kw is not None:
            return self.import_kw
        return max(0.0, baseline_kw) * (1.0 - (self.percent or 0.0) / 100.0)

    def limit(self, expected_kw: float) -> GridLimit:
        """As a limit of the connection; `expected_kw` stands for the baseline until it is fixed."""
        baseline_kw = expected_kw if self.baseline_kw is None else self.baseline_kw
        return GridLimit(self.start, self.end, self.target_kw(baseline_kw), max(0.0, baseline_kw), self.ramp_s)


def check(event: Curtailment, now: datetime) -> None:
    """InputError for an event that can't be followed: what was seen, what was expected."""
    for name in ("id", "author", "reason"):
        text = getattr(event, name)
        if not text.strip() or len(text) > MAX_TEXT or any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise InputError(
                f"{name} of the curtailment is {text[:40]!r}: expected 1 to {MAX_TEXT} characters in one line"
            )
    if event.origin not in ORIGINS:
        raise InputError(f"origin is {event.origin!r}: expected one of {', '.join(ORIGINS)}")
    if (event.import_kw is None) == (event.percent is None):
        raise InputError("give either import_kw, the most to be drawn, or percent of the baseline that is left out")
    _within("import_kw", event.import_kw, 0.0, 1e9)
    _within("percent", event.percent, 0.0, 100.0)
    if event.percent == 0.0:
        raise InputError("percent is 0, which leaves nothing out: expected more than 0 and at most 100")
    if event.start.tzinfo is None or event.end.tzinfo is None:
        raise InputError("start and end have no zone: give them in UTC, as 2024-06-12T14:00:00Z")
    lasts = event.end - event.start
    if not timedelta(0) < lasts <= LONGEST:
        raise InputError(
            f"it lasts {lasts.total_seconds() / 60.0:g} minutes: expected more than 0 and at most 24 hours"
        )
    _within("ramp_s", event.ramp_s, 0.0, lasts.total_seconds())
    if event.end <= now:
        raise InputError(f"it ends at {iso(event.end)}, which is over: now is {iso(now)}")
    if event.start > now + AHEAD:
        raise InputError(f"it starts at {iso(event.start)}: expected at most {AHEAD.days} days ahead of {iso(now)}")


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name} is {value:g}: expected {low:g} to {high:g}")


def events(ledger: CommandStore, statuses: Iterable[str] = ()) -> list[Curtailment]:
    """The events that are kept, oldest start first."""
    wanted = tuple(statuses)
    rows = [Curtailment.from_json(row) for row in ledger.get_state(KEY)[0] or []]
    return [event for event in rows if not wanted or event.status in wanted]


def submit(ledger: CommandStore, event: Curtailment, now: datetime, *, propose: bool = False) -> Curtailment:
    """Take an event over; with `propose` it waits for a second person. The same one again changes nothing; Conflict for
    another one under the same id."""
    check(event, now)
    event = replace(event, status=PROPOSED if propose else "scheduled", baseline_kw=None)
    with ledger.transaction() as work:
        rows = _rows(work)
        known = next((row for row in rows if row.id == event.id), None)
        if known is not None:
            if replace(known, status=event.status, baseline_kw=None) != _stored(event):
                raise Conflict(f"curtailment {event.id!r} is known with other content: give the new one another id")
            return known
        if sum(row.status in OPEN for row in rows) >= MOST_LIVE:
            raise InputError(f"{MOST_LIVE} curtailments are waiting already: cancel some first")
        _write(work, [*rows, event], [event], now)
    return event


def approve(ledger: CommandStore, event_id: str, *, author: str, now: datetime) -> Curtailment:
    """The second person's word on a proposed event; InputError where it does not wait for one, or its time is over."""
    with ledger.transaction() as work:
        rows = _rows(work)
        found = next((row for row in rows if row.id == event_id and row.status == PROPOSED), None)
        if found is None or found.end <= now:
            raise InputError(f"curtailment {event_id!r} does not wait for an approval: look at the list on Dispatch")
        done = replace(found, status="scheduled")
        _write(work, [done if row is found else row for row in rows], [done], now, f"approved by {author}")
    return done


def cancel(ledger: CommandStore, event_id: str, *, author: str, reason: str, now: datetime) -> Curtailment:
    """End an event before its time; InputError where it is not waiting or active."""
    with ledger.transaction() as work:
        rows = _rows(work)
        found = next((row for row in rows if row.id == event_id and row.status in OPEN), None)
        if found is None:
            seen = shown(event_id, 40)
            raise InputError(f"curtailment {seen!r} is neither scheduled nor active: look at the list on Dispatch")
        end = now if found.status == "active" else found.end
        done = replace(found, status="cancelled", end=max(end, found.start + timedelta(seconds=1)))
        _write(work, [done if row is found else row for row in rows], [done], now, f"{author}: {reason}")
    return done


def advance(ledger: CommandStore, site: Site, now: datetime, metered: Metered) -> tuple[bool, tuple[GridLimit, ...]]:
    """Bring the events to `now`: add what the site's schedule brings within a day, start and end what is due.

    Returns whether one started or ended, and the limits of those that are not over.
    """
    rows = events(ledger)
    known = {row.id for row in rows}
    due = [row for row in scheduled(site, now) if row.id not in known]
    turned = [row for row in rows if (row.status, now >= row.start, now >= row.end) in _DUE]
    if due or turned:
        rows = _turn(ledger, due, now, metered)
    live = [row for row in rows if row.status in LIVE]
    hour_kw = metered(now - BASELINE, now) if any(row.status == "scheduled" for row in live) else math.nan
    hour_kw = hour_kw if math.isfinite(hour_kw) else site.import_kw
    expected_kw = {"scheduled": hour_kw, "active": site.import_kw}
    return bool(turned), tuple(row.limit(expected_kw[row.status]) for row in live)


_DUE = {("scheduled", True, False), *((status, True, True) for status in OPEN)}  # status, begun, over


def _turn(ledger: CommandStore, due: Sequence[Curtailment], now: datetime, metered: Metered) -> list[Curtailment]:
    with ledger.transaction() as work:
        rows = [*_rows(work), *due]
        changed = list(due)
        for i, row in enumerate(rows):
            if row.status == "scheduled" and now >= row.start and row.end > now:
                baseline = metered(row.start - BASELINE, row.start)
                rows[i] = replace(row, status="active", baseline_kw=baseline if math.isfinite(baseline) else None)
            elif row.status in OPEN and now >= row.end:
                rows[i] = replace(row, status="cancelled" if row.status == PROPOSED else "ended")
            if rows[i] is not row:
                changed.append(rows[i])
        _write(work, rows, changed, now)
    return rows


def scheduled(site: Site, now: datetime) -> list[Curtailment]:
    """The events of the site's schedule that are running or begin within a day."""
    out, zone = [], ZoneInfo(site.timezone)
    today = now.astimezone(zone).date()
    for terms in site.curtailments:
        for day in (today + timedelta(days=n) for n in (-1, 0, 1)):
            start = terms.start(day, zone)
            end = start + timedelta(hours=terms.hours)
            if terms.on(day) and end > now and start <= now + timedelta(days=1):
                out.append(
                    Curtailment(
                        f"{terms.name} {day}",
                        "schedule",
                        "site file",
                        terms.name,
                        start,
                        end,
                        terms.import_kw,
                        terms.percent,
                        terms.ramp_s,
                    )
                )
    return out


def _rows(work: CommandWork) -> list[Curtailment]:
    return [Curtailment.from_json(row) for row in work.get_state(KEY)[0] or []]


def _stored(event: Curtailment) -> Curtailment:
    """As it reads after it was stored: times to the second."""
    return Curtailment.from_json(to_jsonable(event))


def _write(
    work: CommandWork, rows: Sequence[Curtailment], changed: Sequence[Curtailment], now: datetime, said: str = ""
) -> None:
    """Keep what is not over and the newest of what is, and put each change on record."""
    over = [row for row in rows if row.status not in OPEN][-KEPT:]
    kept = [row for row in rows if row.status in OPEN or row in over]
    work.put_state(KEY, sorted(kept, key=lambda row: (row.start, row.id)))
    for row in changed:
        work.append(ENTRY, {**to_jsonable(row), "said": said}, at=now)
