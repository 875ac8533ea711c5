"""Facts about the time that a question names: the decision in force at an earlier moment, or the course of a stretch
that is past (recorded prices, set points and settlements) or still comes (the plan in force).

`past.*` and `ahead.*` are added to the facts of the newest decision; those of an earlier decision have its time in
their ids and stand in `Facts.earlier`. Nothing is added where the ledger has nothing of that time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from gridpilot.explain import events, record, subject
from gridpilot.explain.fact import Facts
from gridpilot.explain.facts import Book, decided
from gridpilot.explain.when import Unclear, When, in_the_past, when
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision, market, reading
from gridpilot.monitor.decision import Snapshot, times, values
from gridpilot.monitor.lapse import lapse
from gridpilot.risk.stress import plan_course
from gridpilot.values import Array, Times, as_array, to_stamp, to_utc

ON: Final = 0.5  # of one machine's power; more is running
MOST_ENTRIES: Final = 5000
# What a question of today needs the decisions for.
COURSE: Final = r"\bdecisions?\b|\bcycles?\b|\bhours?\b|\bran\b|\brun|\bkwh\b|charg"
NO_LOADS: Final = ("battery", "cooling")  # bidders that nobody switches
SIDES: Final = (("past", "ahead"), ("before", "later"))  # of two days: the first, the second; on record, or planned
LEADS_H: Final = (12, 1)  # before a moment: the forecasts that are held against what came


def recall(question: str, facts: Facts, ledger: Ledger) -> Facts:
    """The facts, with those about the time that the question names, or about the record that it asks for."""
    asked = subject.spelled(question)
    time = None if facts.at is None else when(asked, facts.at)
    known = time is not None or bool(events.asked(asked)) or subject.has(subject.RECORDED + r"|\btoday\b", asked)
    snap = decision.load(ledger, facts.cycle_id) if known and facts.at is not None else None
    days = None if facts.at is None else subject.pair(asked, facts.at)
    if facts.at is None or snap is None:
        return facts
    if days is not None:
        return _compared(days, facts, ledger, snap)
    if isinstance(time, Unclear):
        return facts
    book = Book(snap)
    earlier = _of_time(book, ledger, asked, time, facts) if time is not None else None
    stretch = subject.past(asked, facts.at)
    if stretch is not None and not stretch.too_old(facts.at):
        _past(book, ledger, stretch, course=time is not None or subject.has(COURSE, asked))
        if subject.has(r"\bpa(?:id|y|ys|yments?)\b|\btenants?\b|\bbills?\b", asked):
            record.paid(book, ledger, stretch)
    if stretch is not None and subject.has(r"\bpeak\b.*\bmonth", asked):
        record.month(book, ledger)
    if kinds := events.asked(asked):
        events.add(book, ledger, kinds, None if time is None or time.moment or not time.past(facts.at) else time)
        loads = [name for group in ("machine", "bidder") for name in subject.named(facts, group, asked)]
        events.switched(book, ledger, [name for name in dict.fromkeys(loads) if name not in NO_LOADS], facts)
    found = dict(facts.by_id) | book.facts
    if earlier is not None and earlier.at is not None:
        found |= {dated(fact.id, earlier): replace(fact, id=dated(fact.id, earlier)) for fact in earlier.values()}
    return replace(facts, by_id=found, earlier=earlier)


def _of_time(book: Book, ledger: Ledger, question: str, asked: When, facts: Facts) -> Facts | None:
    """The facts of the time that is named; those of the decision in force then, where it is past."""
    _reach(book, ledger)
    now = book.snap.at if facts.at is None else facts.at
    if not over(question, asked, now):
        _ahead(book, asked)
    elif asked.moment:
        for lead_h in LEADS_H:
            _foreseen(book, ledger, asked.start - timedelta(hours=lead_h), asked)
        return _in_force(book, ledger, asked.start)
    elif not asked.too_old(now):
        _foreseen(book, ledger, asked.start, asked)
        if not ledger.entries("cycle", since=record.bounds(ledger, asked)[0], until=asked.end, limit=1):
            return _in_force(book, ledger, asked.start)
        if subject.has(r"\bwhy\b|\bhow come\b", question):
            return _such(book, ledger, question, asked, facts)
    return None


def _off(sent: Mapping[str, Any], kind: str) -> bool:
    return not sent["machines"].get(kind, 0)


def _such(book: Book, ledger: Ledger, question: str, asked: When, facts: Facts) -> Facts | None:
    """The newest decision of a stretch that did what the question asks the reason of: charged, or had a type off."""
    kinds = [facts.word(f"machine.{name}.name") for name in subject.named(facts, "machine", question)]
    sign, off = subject.turned(question), subject.off(question)
    if not sign and (not kinds or off is None):
        return None
    start, end = record.bounds(ledger, asked)
    for row in ledger.entries("cycle", since=start, until=end, limit=MOST_ENTRIES):
        sent = row.body["dispatch"]
        if sign * float(sent["battery_kw"]) > ON if sign else all(_off(sent, kind) == off for kind in kinds):
            snap = decision.load(ledger, row.cycle_id)
            return None if snap is None else decided(snap)
    return None


def over(question: str, asked: When, now: datetime) -> bool:
    """Whether a time is past: the clock time of this very moment is, where the question is about what has happened."""
    return asked.past(now) or (asked.moment and asked.start <= now and in_the_past(question))


def _compared(days: tuple[When, When], facts: Facts, ledger: Ledger, snap: Snapshot) -> Facts:
    """The facts of two days that are compared: what is on record of one, what is planned for one to come."""
    book = Book(snap)
    _reach(book, ledger)
    for (past, ahead), day in zip(SIDES, days, strict=True):
        if facts.at is not None and not day.past(facts.at):
            _ahead(book, day, ahead)
        elif facts.at is not None and not day.too_old(facts.at):
            _recorded(book, ledger, past, day)
    record.difference(book)
    return replace(facts, by_id=dict(facts.by_id) | book.facts)


def _recorded(book: Book, ledger: Ledger, side: str, asked: When) -> None:
    """Prices and settled money of a stretch of the past, and what had interrupted it."""
    start, end = record.bounds(ledger, asked)
    rows = ledger.prices(book.snap.cycle["source"], since=start, until=end)
    book.kind = "prices"
    record.prices(book, side, rows.timestamp, rows.energy_usd_per_mwh)
    book.kind = "cycle"
    record.settled(book, ledger, side, asked)
    events.interrupted(book, ledger, side, start, end)


def dated(fact_id: str, earlier: Facts) -> str:
    """The id of an earlier decision's fact beside those of the newest."""
    return fact_id if earlier.at is None else f"{fact_id}@{earlier.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _reach(book: Book, ledger: Ledger) -> None:
    """How far the ledger goes back, and the plan ahead."""
    oldest = ledger.entries("cycle", since=market.since(ledger), limit=1, newest_first=False)
    if oldest:
        book.put("record.first", "oldest decision on record", f"{oldest[0].at:%Y-%m-%dT%H:%MZ}", "", oldest[0].at)
    end = to_utc(times(book.snap.plan["timestamp"])[-1]) + timedelta(seconds=book.snap.step_s)
    book.put("plan.end", "end of the plan in force", f"{end:%Y-%m-%dT%H:%MZ}", "", end)


def _in_force(book: Book, ledger: Ledger, moment: datetime) -> Facts | None:
    """What the decision that was in force at a moment was made of; where none was, what had ended the last one.

    Who asks about 16:00 means the decision of 16:00:08, too.
    """
    first, until = market.since(ledger), (moment + timedelta(seconds=1 if moment.second else 60)).astimezone(UTC)
    newest = ledger.entries("cycle", since=first, until=until, limit=1)
    if not newest:
        return None
    over = lapse(ledger, newest[0], moment.astimezone(UTC))
    if over is None:
        snap = decision.load(ledger, newest[0].cycle_id)
        return None if snap is None else decided(snap)
    after = ledger.entries("cycle", since=until, limit=1, newest_first=False)
    told = [("decision", "last decision before that time", newest[0])]
    told += [("next", "next decision after it", entry) for entry in after]
    for name, label, entry in told:
        book.cite(f"lapse.{name}", label, f"{entry.at:%Y-%m-%dT%H:%MZ}", entry.at, f"cycle {entry.cycle_id}")
    source = f"{over.entry.kind} entry {over.entry.seq}"
    book.cite("lapse.why", "what had ended the last decision", over.why, over.since, source)
    return None


def _foreseen(book: Book, ledger: Ledger, made_by: datetime, asked: When) -> None:
    """The newest forecast made by a moment, held against the prices that came in that time.

    Of one price, point and band; of more, the mean error and how many lay in the band, as far as the forecast reached.
    """
    start, end, second = asked.start.astimezone(UTC), asked.end.astimezone(UTC), timedelta(seconds=1)
    first = market.since(ledger)
    found = ledger.entries("forecast", since=first, until=made_by.astimezone(UTC) + second, limit=1)
    if not found and not asked.moment:  # the record begins within that time
        found = ledger.entries("forecast", since=first, until=end, limit=1, newest_first=False)
    snap = decision.load(ledger, found[0].cycle_id) if found else None
    if snap is None:
        return
    begin = start - timedelta(seconds=snap.step_s - 1) if asked.moment else start  # of the interval that holds a moment
    rows = ledger.prices(book.snap.cycle["source"], since=begin, until=end + second)
    band = snap.forecast["bands"]["energy"]
    _, at, row = np.intersect1d(rows.timestamp, times(snap.forecast["timestamp"]), return_indices=True)
    came = rows.energy_usd_per_mwh[at]
    point, lower, upper = (values(band[name])[row] for name in ("point", "lower", "upper"))
    known, inside = np.isfinite(came) & np.isfinite(point), (lower <= came) & (came <= upper)
    if not known.any():
        return
    then, i = Book(snap), int(np.argmax(known))
    then.kind = "forecast"
    key, moment = f"foreseen.{snap.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", to_utc(rows.timestamp[at][i])
    then.put(f"{key}.made", "when the forecast was made", f"{snap.at:%Y-%m-%dT%H:%MZ}")
    if asked.moment:
        for name, label, series in (
            ("point", "price that was forecast", point), ("lower", "lower end of its band", lower),
            ("upper", "upper end of its band", upper), ("came", "price that came", came),
        ):  # fmt: skip
            then.price(f"{key}.{name}", label, float(series[i]), moment)
        then.put(f"{key}.held", "where the price lay to its band", "inside" if inside[i] else "outside", "", moment)
    else:
        then.price(f"{key}.error", "mean error of that forecast", float(np.mean(abs(point - came)[known])), moment)
        then.put(f"{key}.inside", "prices inside its band", float(inside[known].sum()), "", moment)
        then.put(f"{key}.n", "prices compared", float(known.sum()), "", moment)
    book.facts |= then.facts


# --- a stretch of time -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Course:
    """Set points in steps: timestamp and hours (N,), battery_kw (N,) charging positive, loads (N,) by name."""

    timestamp: Times
    hours: Array  # of each step, as much of it as lies in the time that is asked about
    battery_kw: Array
    loads_kw: Mapping[str, Array]


def _past(book: Book, ledger: Ledger, asked: When, *, course: bool) -> None:
    """What power cost, what it earned and how it was decided; with its `course`, what ran."""
    snap = book.snap
    start, end = record.bounds(ledger, asked)
    _recorded(book, ledger, "past", asked)
    record.foresight(book, ledger, asked)
    ends = end + timedelta(seconds=1) if end == snap.at else end  # the decision of this moment is one of them
    entries = ledger.entries("cycle", since=start, until=ends, limit=MOST_ENTRIES) if course else []
    if entries:
        record.decisions(book, entries)
        track = reading.track(ledger, snap, (snap.at - start).total_seconds() / 3600.0)
        hours = as_array(np.minimum(_overlap(track.timestamp, snap.step_s, start, end), track.known_h))
        _set_points(book, "past", _Course(track.timestamp, hours, track.battery_kw, track.loads_kw))


def _ahead(book: Book, asked: When, side: str = "ahead") -> None:
    """What the plan in force holds for that time, as far as it reaches."""
    snap: Snapshot = book.snap
    stamps = times(snap.plan["timestamp"])
    if asked.moment:
        _grid(book, asked)
        return
    hours = _overlap(stamps, snap.step_s, asked.start.astimezone(UTC), asked.end.astimezone(UTC))
    inside = hours > 0.0
    if not inside.any():
        return
    book.kind = "plan"
    record.prices(book, side, stamps[inside], values(snap.plan["energy_usd_per_mwh"])[inside])
    battery = values(snap.plan["charge_kw"]) - values(snap.plan["discharge_kw"])
    loads = {name: values(kw) for name, kw in snap.plan["loads_kw"].items()}
    _set_points(book, side, _Course(stamps, hours, battery, loads))
    brings = plan_course(snap.plan, snap.site, snap.units) * hours / (snap.step_s / 3600.0)
    label = "what the plan brings in that time at its own prices, tenants at their bids"
    book.put(f"{side}.brings", label, float(np.sum(brings[inside])), book.money, to_utc(stamps[inside][0]))
    covered = float(np.sum(hours))
    label = "what the plan brings in an hour of that time"
    book.put(f"{side}.per_hour", label, float(np.sum(brings[inside])) / covered, book.rate, to_utc(stamps[inside][0]))
    for name, way, label in (("drawn", "import", "from"), ("delivered", "export", "to")):
        kwh = float(np.sum(values(snap.plan[f"{way}_kw"]) * hours))
        book.put(
            f"{side}.{name}", f"planned energy {label} the grid in that time", kwh, "kWh", to_utc(stamps[inside][0])
        )
    soc = 100.0 * values(snap.plan["soc_frac"])[inside][-1]
    book.put(f"{side}.soc", "planned state of charge at its end", float(soc), "%", to_utc(stamps[inside][-1]))
    book.kind = "cycle"


def _grid(book: Book, asked: When) -> None:
    """What the plan draws from the grid, or delivers to it, at a clock time."""
    stamps = times(book.snap.plan["timestamp"])
    i = int(np.searchsorted(stamps, to_stamp(asked.start), side="right")) - 1
    if i < 0 or asked.start >= to_utc(stamps[i]) + timedelta(seconds=book.snap.step_s):
        return
    book.kind = "plan"
    for way, label in (("import", "planned draw from the grid"), ("export", "planned delivery to the grid")):
        book.put(f"ahead.{way}", label, book.snap.plan[f"{way}_kw"][i], "kW", to_utc(stamps[i]))
    machines = {machine.type for machine in book.snap.site.machines}
    for name, kw in book.snap.plan["loads_kw"].items():
        short = book.name("machine" if name in machines else "bidder", name)
        book.put(f"ahead.kw_{short}", f"{name}: planned power", kw[i], "kW", to_utc(stamps[i]))
    book.kind = "cycle"


def _overlap(stamps: Times, step_s: int, start: datetime, end: datetime) -> Array:
    """Hours of each step that lie between start and end."""
    first = stamps.astype("datetime64[s]").astype(np.int64)
    inside = np.minimum(first + step_s, end.timestamp()) - np.maximum(first, start.timestamp())
    return as_array(np.clip(inside, 0.0, None) / 3600.0)


def _set_points(book: Book, side: str, course: _Course) -> None:
    """Energy through the battery, and how long each machine type ran."""
    covered = float(course.hours.sum())
    if covered <= 0.0:
        return
    start = to_utc(course.timestamp[int(np.argmax(course.hours > 0.0))])
    book.put(f"{side}.covered", "hours that this is about", covered, "h", start)
    if book.snap.site.battery.capacity_kwh > 0.0:
        for name, sign in (("charged", 1.0), ("discharged", -1.0)):
            kwh = float(np.sum(np.clip(sign * course.battery_kw, 0.0, None) * course.hours))
            book.put(f"{side}.{name}", f"energy {name} in that time", kwh, "kWh", start)
    site = book.snap.site
    for name in (*(tenant.name for tenant in site.tenants), *(job.name for job in site.jobs)):
        kw = course.loads_kw.get(name)
        if kw is not None:
            had = float(np.sum(course.hours[kw > ON]))
            key = f"{side}.had_{book.name('bidder', name)}"
            book.put(key, f"{name}: hours with power in that time", had, "h", start)
    for machine in book.snap.site.machines:
        kw = course.loads_kw.get(machine.type)
        if kw is not None:
            short = book.name("machine", machine.type)
            ran = float(np.sum(course.hours[kw > ON * machine.power_kw]))
            book.put(f"{side}.on_{short}", f"{machine.type}: hours on in that time", ran, "h", start)
