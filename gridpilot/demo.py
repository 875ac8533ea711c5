"""A demonstration: the most telling days of the built-in replay, decided by the real pilot into a ledger of their own.

Each decision, fail-safe state and curtailment is made by the code that makes them live: only the clock is moved by
hand. Two things are simulated and say so: the site (as always in a replay), and an outage in which the price source
does not answer. The chapters of the tour are written from what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from gridpilot.config import DATA, Settings
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.domain import PriceHistory
from gridpilot.errors import LedgerError, SourceError
from gridpilot.explain.fact import Facts, written
from gridpilot.explain.facts import gather
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import STEP_S, ReplayClock, ReplaySource
from gridpilot.monitor import curtailments, decision, tour
from gridpilot.monitor.decision import Snapshot
from gridpilot.monitor.past import Past
from gridpilot.monitor.tour import Chapter
from gridpilot.pilot import Pilot
from gridpilot.values import iso, to_jsonable

Progress = Callable[[int, int, datetime], None]  # hours done, hours in all, the hour

# Sunday 23 June 2024 in Rotterdam: power below zero from 11:00 to 17:00. Monday: 203 EUR/MWh at 20:00, the month's
# highest price. Tuesday morning: the outage at night, then a curtailment.
START: Final = datetime(2024, 6, 23, 6, tzinfo=UTC)
END: Final = datetime(2024, 6, 25, 12, tzinfo=UTC)
LOST: Final = (datetime(2024, 6, 24, 23, tzinfo=UTC), datetime(2024, 6, 25, 3, tzinfo=UTC))  # the source is silent
CURTAILED: Final = (datetime(2024, 6, 25, 8, 15, tzinfo=UTC), datetime(2024, 6, 25, 9, 15, tzinfo=UTC))
PERCENT: Final = 40.0  # of the baseline, that the curtailment leaves out
SPEED: Final = 60.0  # at which the replay goes on afterwards
HOUR: Final = timedelta(seconds=STEP_S)
OBEYED: Final = timedelta(minutes=3)  # after a decision: the machines have switched
RAMP: Final = timedelta(minutes=5)  # in which its limit falls
CLOSELY: Final = timedelta(seconds=5)  # between two looks while it does; a pilot looks four times a second
OFTEN: Final = timedelta(minutes=1)  # and until it ends
AUTHOR: Final = "grid operator (demo)"


class Silent(ReplaySource):
    """A replay whose source does not answer."""

    def fetch(self, now: datetime) -> PriceHistory:
        """SourceError, always."""
        raise SourceError("simulated outage: the price source does not answer")


def environment(folder: Path) -> dict[str, str]:
    """Settings of a demonstration for this process and those that it starts: a ledger in `folder`, nobody told outside.

    What else is set stays, a language model among it.
    """
    path = folder / "demo.db"
    ours = {
        "DB_URL": f"sqlite:///{path}",
        "HEAD_FILE": f"{path}.head",
        "SOURCE": "replay",
        "SITE": str(DATA / "site-default.toml"),
        "REPLAY_START": iso(START),
        "REPLAY_SPEED": f"{SPEED:g}",
        "ALARM_WEBHOOK": "",
        "ALARM_WEBHOOK_SECRET": "",
    }
    return {f"GRIDPILOT_{name}": value for name, value in ours.items()}


def settings_for(settings: Settings) -> Settings:
    """The settings of the recording: the replay from the first day on, its clock moved by hand, the quick models."""
    return settings.model_copy(
        update={"source": "replay", "replay_start": START, "replay_speed": 0.0, "refit": False, "site": None}
    )


def record(settings: Settings, progress: Progress = lambda done, total, at: None) -> tuple[Chapter, ...]:
    """Record the days into the ledger of the settings, which must be new; returns the tour through them."""
    from threadpoolctl import threadpool_limits

    with Ledger.open(settings.database_url()) as ledger, threadpool_limits(1):  # decisions are small: more only wait
        if ledger.count():
            raise LedgerError(f"ledger {ledger.name} is not empty: a demonstration is recorded into a new one")
        pilot = Pilot(settings_for(settings), ledger)
        try:
            pilot.tick(datetime.now(UTC))  # opens the engine and decides the first hour
            _live_through(_Hand(pilot), ledger, progress)
        finally:
            pilot.close(datetime.now(UTC))
        chapters = _chapters(ledger)
        ledger.append(tour.ENTRY, {"chapters": to_jsonable(chapters)}, at=END)
    return chapters


@dataclass(slots=True)
class _Hand:
    """Moves a pilot's clock, and has it look."""

    pilot: Pilot

    def tick(self, at: datetime) -> None:
        """What the pilot does at a moment; what it would wait for by the wall clock has passed."""
        wall = datetime.now(UTC)
        self.source.clock = ReplayClock(wall, at, 0.0)
        self.pilot.retry_at = self.pilot.look_at = 0.0
        self.pilot.tick(wall)

    @property
    def source(self) -> ReplaySource:
        """The price source of the pilot's engine."""
        engine = self.pilot.engine
        if engine is None or not isinstance(engine.source, ReplaySource):
            raise LedgerError("the pilot did not open its engine: look at the ledger's alarms")
        return engine.source

    def answer(self, silent: bool) -> None:
        """Whether the source is silent from now on."""
        engine, source = self.pilot.engine, self.source
        if engine is not None and isinstance(source, Silent) != silent:
            kind = Silent if silent else ReplaySource
            engine.source = kind(source.site, source.clock, source.lookback)

    def run_on(self, at: datetime) -> None:
        """Let the clock run as always, and say how long the last heartbeat is good for now."""
        wall = datetime.now(UTC)
        self.source.clock = ReplayClock(wall, at, SPEED)
        self.pilot.tick(wall)


def _live_through(hand: _Hand, ledger: Ledger, progress: Progress) -> None:
    hours = int((END - START) / HOUR)
    for done in range(hours + 1):
        at = START + done * HOUR
        progress(done, hours, at)
        hand.answer(LOST[0] <= at < LOST[1])
        hand.tick(at)
        if at == CURTAILED[0].replace(minute=0):
            _ask(ledger, at)
        for moment in _between(at) if done < hours else ():
            hand.tick(moment)
    hand.run_on(END)


def _between(at: datetime) -> Iterator[datetime]:
    """When to look at the site between a decision and the next one."""
    yield at + OBEYED
    moment = max(at + OBEYED + OFTEN, CURTAILED[0] - OBEYED)
    while moment < min(at + HOUR, CURTAILED[1] + OBEYED):
        yield moment
        ramping = CURTAILED[0] - OFTEN <= moment <= CURTAILED[0] + RAMP + OFTEN
        moment += CLOSELY if ramping else OFTEN


def _ask(ledger: Ledger, now: datetime) -> None:
    """What `python -m gridpilot curtail` does."""
    start, end = CURTAILED
    reason = f"{PERCENT:g} % less for an hour: congestion"
    event = Curtailment("demo-1", "operator", AUTHOR, reason, start, end, percent=PERCENT, ramp_s=RAMP.total_seconds())
    curtailment.submit(ledger, event, now)


# --- the tour ------------------------------------------------------------------------------


def _chapters(ledger: Ledger) -> tuple[Chapter, ...]:
    cycles = list(reversed(ledger.entries("cycle", limit=1000)))
    dearest = max(cycles, key=_price)
    cheapest = min((c for c in cycles if c.at < START + timedelta(hours=16)), key=_price)
    return (
        _before_the_spike(ledger, cycles, dearest),
        _the_spike(ledger, dearest),
        _why(ledger, dearest),
        _negative(ledger, cheapest),
        _outage(ledger, cycles),
        _curtailed(ledger),
        _live(ledger, cycles),
    )


def _price(cycle: Entry) -> float:
    return float(cycle.body["prices"]["energy_usd_per_mwh"])


def _then(ledger: Ledger, at: datetime) -> tuple[Snapshot, Facts]:
    """The decision in force at a moment, and its facts."""
    past = Past(ledger, at)
    snap = decision.load(past)
    if snap is None:
        raise LedgerError(f"nothing was decided by {at}: the recording failed, try again")
    return snap, gather(past)


def _said(facts: Facts, key: str) -> str:
    """A figure of the ledger with its unit; a tour is plain text."""
    fact = facts[key]
    value = written(fact.value) if isinstance(fact.value, float) else fact.value
    return f"{value} {fact.unit}".rstrip()


def _machines(snap: Snapshot) -> str:
    on, stock = sum(snap.dispatch["machines"].values()), sum(m.count for m in snap.site.machines)
    return f"{on} of {stock} machines run"


def _clock(snap: Snapshot, at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(snap.site.timezone)):%H:%M}"


def _named(snap: Snapshot, at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(snap.site.timezone)):%A %H:%M}"


def _before_the_spike(ledger: Ledger, cycles: list[Entry], dearest: Entry) -> Chapter:
    before = max((c for c in cycles if c.at <= dearest.at - 3 * HOUR), key=lambda c: c.at)
    snap, facts = _then(ledger, before.at)
    top = _said(_then(ledger, dearest.at)[1], "price.energy")
    says = f"Power costs {_said(facts, 'price.energy')} and will reach {top} at {_clock(snap, dearest.at)}. Read the "
    says += "sentence, press Play, and watch the battery and the miners answer."
    return Chapter(f"Before the spike, {_named(snap, before.at)}", says, "overview", before.at, dearest.at)


def _the_spike(ledger: Ledger, dearest: Entry) -> Chapter:
    snap, facts = _then(ledger, dearest.at)
    battery = f"the battery delivers {_said(facts, 'battery.discharging')}"
    gain = f"{_said(facts, 'rate.gain')} more than with everything always on"
    says = f"At {_said(facts, 'price.energy')} {battery}, {_machines(snap)}, and the site makes {gain}."
    return Chapter(f"The answer, {_named(snap, dearest.at)}", says, "overview", dearest.at)


def _why(ledger: Ledger, dearest: Entry) -> Chapter:
    snap, facts = _then(ledger, dearest.at)
    says = f"Ask why. The ledger holds {len(facts)} facts of this decision; each number under an answer opens one."
    return Chapter(f"Why, {_named(snap, dearest.at)}", says, "explain", dearest.at)


def _negative(ledger: Ledger, cheapest: Entry) -> Chapter:
    snap, facts = _then(ledger, cheapest.at)
    price, drawn, limit = (_said(facts, key) for key in ("price.energy", "grid.import", "grid.import_limit"))
    says = f"Power costs {price}: the site is paid to use it and draws {drawn} of {limit}; {_machines(snap)}."
    return Chapter(f"Below zero, {_named(snap, cheapest.at)}", says, "plan", cheapest.at)


def _outage(ledger: Ledger, cycles: list[Entry]) -> Chapter:
    held = max((c for c in cycles if c.at < LOST[0]), key=lambda c: c.at)
    back = min((c for c in cycles if c.at >= LOST[1]), key=lambda c: c.at)
    sent = ledger.entries("result", since=LOST[0], until=LOST[1], newest_first=False)
    off = next((row for row in sent if row.body["desired"]["origin"] == "failsafe"), None)
    if off is None:
        raise LedgerError("the outage did not lead to the fail-safe state: the recording failed, try again")
    (before, _), (after, _) = _then(ledger, held.at), _then(ledger, back.at)
    lost, decided, sent_off = (_clock(before, at) for at in (LOST[0], held.at, off.at))
    says = (
        f"Simulated outage: no prices from {lost} on. The set points of {decided} hold as long as they are valid; at "
    )
    says += (
        f"{sent_off} everything goes off. With prices back at {_clock(after, back.at)}, {_machines(after)}: press Play."
    )
    return Chapter(f"Outage, {_named(before, off.at)}", says, "dispatch", off.at + OBEYED, back.at)


def _curtailed(ledger: Ledger) -> Chapter:
    event = curtailments.find(ledger, "demo-1")
    at = event.end + OBEYED
    found = curtailments.audit(ledger, event, at)
    if found is None or event.status != "ended":
        raise LedgerError(f"the curtailment is {event.status}: the recording failed, try again")
    snap, _ = _then(ledger, at)
    baseline, target, mean = (f"{kw:,.0f} kW" for kw in (found.baseline_kw, found.target_kw, found.mean_kw))
    says = f"Asked for {PERCENT:g} % less for an hour: from {baseline} to at most {target}. Metered: {mean}, "
    says += f"{100.0 * found.delivered_frac:.0f} % of the promise; "
    says += f"{'' if found.kept else 'not '}kept in every settlement interval."
    says += " Play to its end for the audit."
    middle = event.start + (event.end - event.start) / 2
    return Chapter(f"Curtailed, {_named(snap, event.start)}", says, "dispatch", middle, at)


def _live(ledger: Ledger, cycles: list[Entry]) -> Chapter:
    says = (
        f"{len(cycles)} decisions and {ledger.head().seq:,} ledger entries so far, and the replay goes on, an hour a "
    )
    says += "minute. Override it, ask it, stop it: it is the real console."
    return Chapter("Now", says, "overview")
