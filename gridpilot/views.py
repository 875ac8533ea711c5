"""What the screens ask. The only engine module that pages import; everything here comes from the ledger.

Reading never waits for the pilot and never computes a decision. What an operator wants goes the other way
as a command row, which the pilot picks up and checks again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gridpilot.auction.book import Supply
from gridpilot.config import Settings, load_settings, load_site, site_from_json
from gridpilot.dispatch import override, reconcile, stopfile
from gridpilot.dispatch.override import Command
from gridpilot.domain import Site, Units
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision, reading
from gridpilot.monitor.auctions import Held, Question, bid_rows, held
from gridpilot.monitor.decision import Change, Snapshot, Strike, load_values, next_changes, strikes, times, values
from gridpilot.monitor.health import ESTOP, PilotState
from gridpilot.monitor.latch import seen, silence
from gridpilot.monitor.reading import PlanParts, Reason, SeriesStats, Track, plan_parts, series_stats, why
from gridpilot.monitor.standing import curtailable, customer_standings, rule_standings
from gridpilot.values import Array, Times, as_array, to_utc

if TYPE_CHECKING:
    from gridpilot.explain.fact import Fact, Facts
    from gridpilot.explain.sentences import Sentence


__all__ = [
    "Change",
    "Command",
    "Held",
    "PlanParts",
    "Question",
    "Reason",
    "SeriesStats",
    "Snapshot",
    "Strike",
    "Supply",
    "Track",
    "bid_rows",
    "curtailable",
    "customer_standings",
    "load_values",
    "next_changes",
    "plan_parts",
    "rule_standings",
    "series_stats",
    "strikes",
    "times",
    "values",
    "why",
]

# --- the ledger behind every view ------------------------------------------------------------


@functools.cache
def settings() -> Settings:
    """The settings in force, for the life of the process."""
    return load_settings()


@functools.cache
def ledger() -> Ledger:
    """One ledger for the whole process: SQLAlchemy's pool serves all threads."""
    return Ledger.open(settings().database_url())


def reset() -> None:
    """Forget settings and ledger; for tests that change the environment."""
    settings.cache_clear()
    ledger.cache_clear()


def _wall() -> datetime:
    return datetime.now(UTC)


def moment(stamp: str) -> datetime:
    """One ISO time of a ledger body."""
    return datetime.fromisoformat(stamp)


# --- status ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """The status strip. `control` is AUTO, HOLD, OVERRIDE, FAILSAFE or ESTOP."""

    mode: str  # REPLAY, LIVE, FILE
    source: str
    simulated: bool
    at: datetime | None  # the source's time now
    price_age_s: float | None  # since the start of the newest price interval, in source time
    step_s: int
    control: str
    alarms: int
    site: str
    timezone: str
    speed: float | None  # of the replay clock
    pilot_alive: bool
    message: str
    proposals: int = 0  # commands that wait for a second person


MODES = {"replay": "REPLAY", "csv": "FILE"}


def status() -> Status:
    """Who is in control, how old the prices are, and what time it is at the source."""
    store, wall = ledger(), _wall()
    pilot = PilotState.load(store)
    cycle = store.latest("cycle")
    alive = store.lease_holder("pilot", wall) is not None
    site = current_site()
    runs_on = alive and not (cycle and cycle.body["source"] == "csv")  # a file's time is its newest row
    at = pilot.present(wall) if runs_on else (cycle.at if cycle else None)
    price_at = datetime.fromisoformat(cycle.body["price_at"]) if cycle else None
    source = cycle.body["source"] if cycle else settings().source.partition(":")[0]
    stop = stopped()
    return Status(
        mode=MODES.get(source, "LIVE"),
        source=source,
        simulated=bool(cycle.body["simulated"]) if cycle else source == "replay",
        at=at,
        price_age_s=max(0.0, (at - price_at).total_seconds()) if at and price_at else None,
        step_s=int(cycle.body["step_s"]) if cycle else 3600,
        control=ESTOP if stop else pilot.control,
        alarms=len(alarms()),
        site=site.name,
        timezone=site.timezone,
        speed=pilot.speed,
        pilot_alive=alive,
        message=pilot.message,
        proposals=len(override.proposals(store, at, wall)) if at and not stop else 0,
    )


def current_site() -> Site:
    """The site as the pilot last used it (with an API's inventory), or the site file before the first cycle."""
    body = ledger().get_state("site").value
    return site_from_json(body) if body else load_site(settings().site_file())


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that wants an operator's eye."""

    at: datetime
    code: str
    severity: str  # warn or alarm
    message: str
    advice: str


def alarms() -> list[Alarm]:
    """What is wrong now: the pilot's standing alarm, and the flags of the newest decision that warn."""
    store = ledger()
    out = []
    pilot = PilotState.load(store)
    if pilot.alarm:
        out.append(Alarm(pilot.alarm_at or _wall(), "PILOT", "alarm", pilot.alarm, pilot.advice))
    if silent := silence(store.heartbeat(), _wall()):
        out.append(Alarm(_wall(), "SILENT", "alarm", silent, ADVICE["SILENT"]))
    cycle = store.latest("cycle")
    if cycle is not None:
        for flag in cycle.body["flags"]:
            if flag["severity"] != "info":
                out.append(
                    Alarm(cycle.at, flag["code"], flag["severity"], flag["message"], ADVICE.get(flag["code"], ""))
                )
    return out


STAGES = ("market", "features", "forecast", "plan", "auction", "risk", "dispatch", "ledger", "total")

ADVICE = {
    "STALE": "Check the price source on Health; the last safe set points hold meanwhile.",
    "SUSPECT": "Compare the price with another source before acting on it.",
    "FALLBACK": "The plan is not the optimum: see its attempts on Plan.",
    "SOC_UNKNOWN": "The battery is held at 0 kW until a state of charge is read.",
    "SILENT": "See whether a pilot runs, and in its log whether the ledger has room and can be written.",
    "REPLAY_END": "Set GRIDPILOT_REPLAY_START and restart to replay again.",
}


# --- the decision ----------------------------------------------------------------------------


def snapshot(cycle_id: str = "") -> Snapshot | None:
    """A decision, the newest one by default; None before the first cycle."""
    return decision.load(ledger(), cycle_id)


def track(hours: float = 8.0) -> Track | None:
    """What was set in the last hours, up to the running interval; None before the first cycle."""
    snap = snapshot()
    return None if snap is None else reading.track(ledger(), snap, hours)


def facts() -> Facts:
    """The facts of the newest decision, with their ages by now; empty before the first one."""
    from gridpilot.explain.facts import gather

    return gather(ledger(), _wall())


def now_sentence() -> Sentence:
    """What the site does and why, in one sentence; its text is ready for Markdown."""
    from gridpilot.explain.sentences import now_sentence as say

    return say(facts())


def spread_sentences() -> tuple[Sentence, ...]:
    """Each purchase of the plan with the sale that follows."""
    from gridpilot.explain.sentences import spread_sentences as say

    return say(facts())


@dataclass(frozen=True, slots=True)
class Prices:
    """Recorded prices, oldest first: energy in the source's own unit, hash and token too."""

    timestamp: Times
    energy: Array
    hash: Array
    token: Array
    units: Units
    step_s: int
    credit: str


def prices(hours: float = 24 * 30) -> Prices | None:
    """The recorded prices of the last hours; None before the first cycle."""
    snap = snapshot()
    if snap is None:
        return None
    rows = ledger().prices(snap.cycle["source"], since=snap.at - timedelta(hours=hours))
    energy = as_array(snap.shown(rows.energy_usd_per_mwh))
    return Prices(
        rows.timestamp, energy, rows.hash_price, rows.token_price, snap.units, snap.step_s, snap.cycle["credit"]
    )


@dataclass(frozen=True, slots=True)
class PriceReference:
    """What the energy price now is read against, in the source's unit."""

    name: str
    value: float
    day: Array  # prices of the last 24 h, the running interval last


def price_reference() -> PriceReference | None:
    """The same interval yesterday, or else the median of the last 30 days; None without an earlier price."""
    snap, past = snapshot(), prices()
    if snap is None or past is None or len(past.timestamp) < 2:
        return None
    zone = ZoneInfo(snap.site.timezone)
    day = past.energy[past.timestamp > past.timestamp[-1] - np.timedelta64(1, "D")]
    same = np.flatnonzero(past.timestamp == past.timestamp[-1] - np.timedelta64(1, "D"))
    if len(same):
        at = to_utc(past.timestamp[same[0]]).astimezone(zone)
        return PriceReference(f"yesterday {at:%H:%M}", float(past.energy[same[0]]), day)
    hours = float((past.timestamp[-1] - past.timestamp[0]).astype(np.int64)) / 3600.0
    span = "30 days" if hours >= 24 * 29 else f"{hours:.0f} h"
    return PriceReference(f"median of {span}", float(np.median(past.energy)), day)


# --- money -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pnl:
    """Settled money since `since`, and the references it is measured against."""

    since: datetime
    profit_usd: float
    always_on_usd: float
    hours: float
    money: Mapping[str, float]  # by cause: hash, token, tenants, jobs, export; import and wear are costs
    timestamp: Times  # ends of the settled spans
    cumulative_usd: Array
    cumulative_always_on_usd: Array


def pnl_today() -> Pnl | None:
    """P&L of the site's local day so far; None before the first settlement of the day."""
    snap = snapshot()
    if snap is None:
        return None
    midnight = snap.at.astimezone(ZoneInfo(snap.site.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return pnl(midnight.astimezone(UTC))


def pnl(since: datetime) -> Pnl | None:
    """P&L settled since a moment; None where nothing is."""
    entries = ledger().entries("settlement", since=since, limit=5000, newest_first=False)
    bodies = [entry.body for entry in entries if datetime.fromisoformat(entry.body["start"]) >= since]
    if not bodies:
        return None
    profit, reference = (np.array([body[key] for body in bodies]) for key in ("profit_usd", "always_on_usd"))
    return Pnl(
        since=datetime.fromisoformat(bodies[0]["start"]),
        profit_usd=float(profit.sum()),
        always_on_usd=float(reference.sum()),
        hours=float(sum(body["hours"] for body in bodies)),
        money={name: float(sum(body["money"][name] for body in bodies)) for name in bodies[0]["money"]},
        timestamp=times([body["end"] for body in bodies]),
        cumulative_usd=as_array(np.cumsum(profit)),
        cumulative_always_on_usd=as_array(np.cumsum(reference)),
    )


# --- forecasts that came true ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiveScore:
    """A member's error on forecasts of this ledger that have come true, in the price's shown unit."""

    member: str
    mae: float
    n: int  # forecast values compared
    coverage_frac: float  # of the 80 % band; NaN for a member without one
    intervals: int = 0  # different intervals behind n: each is forecast many times
    coverage: Mapping[float, float] = field(default_factory=dict)  # band -> share of prices inside


BANDS = {0.5: ("0.25", "0.75"), 0.8: ("0.1", "0.9"), 0.9: ("0.05", "0.95")}


def live_scores(price: str = "energy", days: float = 7.0) -> list[LiveScore]:
    """Mean absolute error of each member over the newest 200 forecasts of the last days, against what came."""
    snap = snapshot()
    if snap is None:
        return []
    store = ledger()
    rows = store.prices(snap.cycle["source"], since=snap.at - timedelta(days=days + 2))
    came = {"energy": rows.energy_usd_per_mwh, "hash": rows.hash_price, "token": rows.token_price}[price]
    known = np.isfinite(came)
    stamps, actual = rows.timestamp[known], came[known]
    errors: dict[str, list[Array]] = {}
    inside: dict[float, list[npt.NDArray[np.bool_]]] = {}
    seen: list[Times] = []
    for entry in store.entries("forecast", since=snap.at - timedelta(days=days), limit=200):
        band, ahead = entry.body["bands"][price], times(entry.body["timestamp"])
        point = values(band["point"])
        place = np.searchsorted(stamps, ahead).clip(max=max(0, len(stamps) - 1))
        true = np.isfinite(point) & (stamps[place] == ahead) if len(stamps) else np.zeros(len(ahead), dtype=bool)
        if not true.any():
            continue
        came_true = actual[place[true]]
        seen.append(ahead[true])
        for member, path in {"in force": band["point"], **band["members"]}.items():
            errors.setdefault(member, []).append(np.abs(values(path)[true] - came_true))
        for level, (low, high) in BANDS.items():
            lower, upper = (values(band["quantiles"][q])[true] for q in (low, high))
            inside.setdefault(level, []).append((lower <= came_true) & (came_true <= upper))
    scale = snap.units.energy_usd_per_mwh if price == "energy" else 1.0
    intervals = len(np.unique(np.concatenate(seen))) if seen else 0
    coverage = {level: float(np.mean(np.concatenate(found))) for level, found in inside.items()}
    return [_live_score(member, np.concatenate(found) / scale, intervals, coverage) for member, found in errors.items()]


def _live_score(member: str, errors: Array, intervals: int, coverage: Mapping[float, float]) -> LiveScore:
    own = coverage if member == "in force" else {}
    return LiveScore(member, float(np.mean(errors)), len(errors), own.get(0.8, float("nan")), intervals, own)


def forecast_of(hours_ago: float) -> Mapping[str, Any] | None:
    """The recorded forecast made that long before the newest decision, to hold beside what came."""
    snap = snapshot()
    if snap is None:
        return None
    entries = ledger().entries("forecast", until=snap.at - timedelta(hours=hours_ago, seconds=-1), limit=1)
    return entries[0].body if entries else None


# --- questions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with the facts that its numbers come from. `text` is ready for Markdown."""

    text: str
    facts: tuple[Fact, ...]
    topic: str
    refused: bool
    age: str


def ask(question: str) -> Reply:
    """Answer a question from the newest decision in the ledger, by template."""
    from gridpilot.explain.template import answer

    known = facts()
    found = answer(question, known)
    cited = tuple(known[fact_id] for fact_id in found.citations if fact_id in known)
    return Reply(found.text, cited, found.topic, found.refused, known.age)


def suggestions() -> tuple[str, ...]:
    """Questions that the explainer answers well."""
    from gridpilot.explain.template import SUGGESTIONS

    return SUGGESTIONS


# --- what was commanded ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One command to the machines: what was asked, what they showed afterwards."""

    at: datetime
    origin: str
    status: str
    desired: Mapping[str, int]
    actual: Mapping[str, int] | None
    detail: str


def machine_log(limit: int = 50) -> list[Sent]:
    """The newest commands to the machines with their outcome, newest first."""
    entries = ledger().entries("result", limit=limit)
    return [
        Sent(
            entry.at,
            entry.body["desired"]["origin"],
            entry.body["status"],
            entry.body["desired"]["machines"],
            entry.body["actual"],
            entry.body["detail"],
        )
        for entry in entries
    ]


def command_log(limit: int = 100) -> list[Command]:
    """Operators' commands, newest first; the replay clock's are left out."""
    kinds = [kind for kind in override.ACTS if kind != "clock"]
    return [Command(**row) for row in ledger().commands(kinds=kinds, limit=limit)]


def override_in_force() -> Command | None:
    """The override that holds now, whether a cycle has sent it yet or not."""
    now = status().at
    return override.active_override(ledger(), now) if now else None


def proposals() -> list[tuple[Command, datetime]]:
    """Commands that wait for a second person, newest first, each with the wall-clock time until when they do."""
    now = status().at
    return override.proposals(ledger(), now, _wall()) if now else []


def stopped() -> Mapping[str, Any] | None:
    """Who pressed the emergency stop, why and when; None while it is latched neither in the ledger nor in its file.

    LedgerError only where the ledger cannot be read and there is no file.
    """
    return stop_file() or override.stopped(ledger())


def stop_file() -> Mapping[str, Any] | None:
    """The same where it was latched in a file, because the ledger could not be written."""
    return stopfile.pressed(settings().database_url())


def on_hold() -> Mapping[str, Any] | None:
    """Why and since when the site is on hold after outside changes; None while it is not."""
    return reconcile.held(ledger())


# --- risk ------------------------------------------------------------------------------------


def stress(snap: Snapshot) -> list[tuple[str, float]]:
    """P&L of the newest plan, unchanged, if prices came otherwise [money of the source]: (what happens, P&L)."""
    from gridpilot.risk.stress import CASES, plan_pnl

    return [(name, plan_pnl(snap.plan, snap.site, snap.units, change)) for name, change in CASES.items()]


# --- auction ---------------------------------------------------------------------------------


def auction_history(hours: float = 24.0) -> Held | None:
    """The auctions of the last hours; None before the first one."""
    snap = snapshot()
    return None if snap is None else held(ledger(), snap, hours)


# --- fleet and health ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site on the globe, with its newest decision; NaN before the first one."""

    name: str
    latitude: float
    longitude: float
    price: float  # in `units.energy`
    margin_usd_per_h: float
    load_kw: float
    import_kw: float
    soc_frac: float
    units: Units
    simulated: bool


def sites() -> list[SiteView]:
    """The sites of this ledger: one, until a fleet is run."""
    snap, site = snapshot(), current_site()
    nan = float("nan")
    if snap is None:
        return [SiteView(site.name, site.latitude, site.longitude, nan, nan, nan, site.import_kw, nan, Units(), True)]
    soc = snap.cycle["soc_frac"]
    return [
        SiteView(
            site.name,
            site.latitude,
            site.longitude,
            float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"])),
            float(snap.cycle["rate"]["profit_usd_per_h"]),
            float(snap.dispatch["total_power_kw"]),
            site.import_kw,
            nan if soc is None else float(soc),
            snap.units,
            bool(snap.cycle["simulated"]),
        )
    ]


@dataclass(frozen=True, slots=True)
class Health:
    """The system itself: stages, ledger, processes."""

    cycles: int  # in the sample below
    stage_ms: Mapping[str, Array]  # stage -> latency of each recent cycle, oldest first
    timestamp: Times  # of those cycles, source time
    wall: Times  # and by the wall clock
    entries: int
    head_seq: int
    head_hash: str
    pilot: str  # owner of the lease, or ""
    heartbeat: datetime | None  # wall clock
    heartbeat_age_s: float | None
    watchdog: bool  # whether one looked within the last seconds
    alarm_log: tuple[Entry, ...]


def verify_ledger() -> tuple[bool, str]:
    """Whether the whole chain is intact, and why not. Takes 0.2 s for 20,000 entries."""
    found = ledger().verify()
    return found.ok, found.reason


def health(cycles: int = 200) -> Health:
    """Latencies of the last cycles, the ledger's head, and who runs."""
    store, wall = ledger(), _wall()
    found = list(reversed(store.entries("cycle", limit=cycles)))
    stages = [name for name in STAGES if found and name in found[-1].body["timings_ms"]]
    head, beat = store.head(), store.last_beat()
    holder = store.lease_holder("pilot", wall)
    return Health(
        cycles=len(found),
        stage_ms={name: values([entry.body["timings_ms"].get(name) for entry in found]) for name in stages},
        timestamp=times([entry.body["at"] for entry in found]),
        wall=times([entry.body["wall"] for entry in found]),
        entries=store.count(),
        head_seq=head.seq,
        head_hash=head.hash,
        pilot=holder.owner if holder else "",
        heartbeat=beat,
        heartbeat_age_s=(wall - beat).total_seconds() if beat else None,
        watchdog=seen(store, wall),
        alarm_log=tuple(store.entries("alarm", limit=50)),
    )
