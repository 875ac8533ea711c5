"""What the screens ask. The only engine module that pages import; everything here comes from the ledger.

Reading never waits for the pilot and never computes a decision. What an operator wants goes the other way
as a command row, which the pilot picks up and checks again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.config import Settings, load_settings, load_site, site_from_json
from gridpilot.domain import Array, DataFlag, Site, Times, Units, as_array, as_times, to_utc, value_usd_per_kwh
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.health import PilotState

if TYPE_CHECKING:
    from gridpilot.domain import AuctionResult


# --- the ledger behind every view ------------------------------------------------------------


@functools.cache
def _settings() -> Settings:
    return load_settings()


@functools.cache
def _ledger() -> Ledger:
    """One ledger for the whole process: SQLAlchemy's pool serves all threads."""
    return Ledger.open(_settings().database_url())


def reset() -> None:
    """Forget settings and ledger; for tests that change the environment."""
    _settings.cache_clear()
    _ledger.cache_clear()


def _wall() -> datetime:
    return datetime.now(UTC)


def times(stamps: Sequence[str]) -> Times:
    """ISO times of a ledger body as an array."""
    return as_times([stamp.rstrip("Z") for stamp in stamps])


def values(numbers: Sequence[float | None]) -> Array:
    """Numbers of a ledger body as an array; null is NaN."""
    return as_array([np.nan if number is None else number for number in numbers])


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


MODES = {"replay": "REPLAY", "csv": "FILE"}


def status() -> Status:
    """Who is in control, how old the prices are, and what time it is at the source."""
    ledger, wall = _ledger(), _wall()
    pilot = PilotState.load(ledger)
    cycle = ledger.latest("cycle")
    alive = ledger.lease_holder("pilot", wall) is not None
    site = current_site()
    at = pilot.present(wall) if alive else (cycle.at if cycle else None)
    price_at = datetime.fromisoformat(cycle.body["price_at"]) if cycle else None
    source = cycle.body["source"] if cycle else _settings().source.partition(":")[0]
    return Status(
        mode=MODES.get(source, "LIVE"),
        source=source,
        simulated=bool(cycle.body["simulated"]) if cycle else source == "replay",
        at=at,
        price_age_s=max(0.0, (at - price_at).total_seconds()) if at and price_at else None,
        step_s=int(cycle.body["step_s"]) if cycle else 3600,
        control=pilot.control,
        alarms=len(alarms()),
        site=site.name,
        timezone=site.timezone,
        speed=pilot.speed,
        pilot_alive=alive,
        message=pilot.message,
    )


def current_site() -> Site:
    """The site as the pilot last used it (with an API's inventory), or the site file before the first cycle."""
    body = _ledger().get_state("site").value
    return site_from_json(body) if body else load_site(_settings().site_file())


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
    ledger = _ledger()
    out = []
    pilot = PilotState.load(ledger)
    if pilot.alarm:
        out.append(Alarm(pilot.alarm_at or _wall(), "PILOT", "alarm", pilot.alarm, pilot.advice))
    cycle = ledger.latest("cycle")
    if cycle is not None:
        for flag in cycle.body["flags"]:
            if flag["severity"] != "info":
                out.append(Alarm(cycle.at, flag["code"], flag["severity"], flag["message"], ADVICE.get(flag["code"], "")))
    return out


ADVICE = {
    "STALE": "Check the price source on Health; the last safe set points hold meanwhile.",
    "SUSPECT": "Compare the price with another source before acting on it.",
    "FALLBACK": "The plan is not the optimum: see its attempts on Plan.",
    "SOC_UNKNOWN": "The battery is held at 0 kW until a state of charge is read.",
    "REPLAY_END": "Set GRIDPILOT_REPLAY_START and restart to replay again.",
}


# --- the decision ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One whole decision from the ledger: the entries of a cycle by kind, with the site it was made for."""

    cycle_id: str
    at: datetime
    site: Site
    units: Units
    cycle: Mapping[str, Any]
    forecast: Mapping[str, Any]
    plan: Mapping[str, Any]
    auction: Mapping[str, Any]
    risk: Mapping[str, Any]
    flags: tuple[DataFlag, ...]

    @property
    def dispatch(self) -> Mapping[str, Any]:
        """What was sent, and what became of it."""
        body: Mapping[str, Any] = self.cycle["dispatch"]
        return body

    @property
    def step_s(self) -> int:
        """Length of an interval."""
        return int(self.cycle["step_s"])

    def shown(self, energy_usd_per_mwh: Any) -> Any:
        """An energy price (or an array) in the unit that the source calls its own, `units.energy`."""
        return np.asarray(energy_usd_per_mwh, dtype=float) / self.units.energy_usd_per_mwh


def snapshot(cycle_id: str = "") -> Snapshot | None:
    """A decision, the newest one by default; None before the first cycle."""
    ledger = _ledger()
    entry = ledger.latest("cycle") if not cycle_id else ledger.cycle(cycle_id).get("cycle")
    if entry is None:
        return None
    parts = ledger.cycle(entry.cycle_id)
    return Snapshot(
        cycle_id=entry.cycle_id,
        at=entry.at,
        site=current_site(),
        units=Units(**entry.body["units"]),
        cycle=entry.body,
        forecast=parts["forecast"].body,
        plan=parts["plan"].body,
        auction=parts["auction"].body,
        risk=parts["risk"].body,
        flags=tuple(DataFlag(**flag) for flag in entry.body["flags"]),
    )


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
    rows = _ledger().prices(snap.cycle["source"], since=snap.at - timedelta(hours=hours))
    energy = as_array(snap.shown(rows.energy_usd_per_mwh))
    return Prices(
        rows.timestamp, energy, rows.hash_price, rows.token_price, snap.units, snap.step_s, snap.cycle["credit"]
    )


@dataclass(frozen=True, slots=True)
class Strike:
    """The energy price at which a machine type just breaks even, cooling included, in the source's unit."""

    type: str
    product: str
    strike: float
    margin_usd_per_kwh: float  # earned per kWh of site power at the price now
    running: int
    count: int
    note: str


def strikes(snap: Snapshot) -> list[Strike]:
    """Break-even of each machine type at the hash and token price now, highest first."""
    now = snap.cycle["prices"]
    hash_price, token_price = (values([now[name]]) for name in ("hash", "token"))
    overhead = 1.0 + snap.site.cooling.kw_per_kw
    out = []
    for machine in snap.site.machines:
        value = float(value_usd_per_kwh(machine, snap.units, hash_price, token_price)[0]) / overhead
        running = int(snap.dispatch["machines"].get(machine.type, 0))
        out.append(
            Strike(
                machine.type,
                machine.product,
                float(snap.shown(value * 1000.0)),
                value - now["energy_usd_per_mwh"] / 1000.0,
                running,
                machine.count,
                machine.note,
            )
        )
    return sorted(out, key=lambda strike: -strike.strike)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the plan will do differently from an interval on."""

    at: datetime
    what: str  # battery, or a machine type, job or tenant
    before_kw: float
    after_kw: float
    energy_price: float  # of that interval, in the source's unit
    usd: float  # what the plan's new set point brings over its run, against the old one kept on


def next_changes(snap: Snapshot, n: int = 3, least_kw: float = 1.0) -> list[Change]:
    """The next planned changes of battery and loads, soonest first."""
    plan = snap.plan
    stamps = times(plan["timestamp"])
    price = values(plan["energy_usd_per_mwh"])
    series = {"battery": values(plan["charge_kw"]) - values(plan["discharge_kw"])}
    series |= {name: values(kw) for name, kw in plan["loads_kw"].items()}
    out = []
    for name, kw in series.items():
        for t in range(1, len(kw)):
            if abs(kw[t] - kw[t - 1]) < least_kw:
                continue
            end = next((u for u in range(t + 1, len(kw)) if abs(kw[u] - kw[t]) >= least_kw), len(kw))
            worth = _worth(snap, name, t, end, float(kw[t] - kw[t - 1]), price)
            out.append(
                Change(
                    to_utc(stamps[t]), name, float(kw[t - 1]), float(kw[t]), float(snap.shown(price[t])), worth
                )
            )
            break
    return sorted(out, key=lambda change: (change.at, -abs(change.after_kw - change.before_kw)))[:n]


def _worth(snap: Snapshot, name: str, start: int, end: int, kw: float, price: Array) -> float:
    """Money at the grid for `kw` more (or less) from step `start` to `end`: what the change itself moves.

    For the battery the bought or sold energy at the plan's prices; for a load its value less its energy and
    cooling.
    """
    hours = snap.step_s / 3600.0
    cost = float(np.sum(price[start:end])) / 1000.0 * hours
    if name == "battery":
        return -kw * cost
    value = load_values(snap).get(name)
    if value is None:
        return 0.0
    return kw * (float(np.sum(value[start:end])) * hours - cost * (1.0 + snap.site.cooling.kw_per_kw))


def load_values(snap: Snapshot) -> dict[str, Array]:
    """What a kWh brings in each load over the plan's steps [$/kWh]."""
    n = len(snap.plan["timestamp"])
    hash_price, token_price = values(snap.plan["hash_price"]), values(snap.plan["token_price"])
    out = {m.type: value_usd_per_kwh(m, snap.units, hash_price, token_price) for m in snap.site.machines}
    out |= {job.name: as_array(np.full(n, job.value_usd_per_kwh)) for job in snap.site.jobs}
    return out | {tenant.name: as_array(np.full(n, tenant.price_usd_per_kwh)) for tenant in snap.site.tenants}


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
    entries = _ledger().entries("settlement", since=since, limit=5000, newest_first=False)
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
    n: int
    coverage_frac: float  # of the 80 % band; NaN for a member without one


def live_scores(price: str = "energy", days: float = 7.0) -> list[LiveScore]:
    """Mean absolute error of each member over the recorded forecasts of the last days, against what came."""
    snap = snapshot()
    if snap is None:
        return []
    ledger = _ledger()
    rows = ledger.prices(snap.cycle["source"], since=snap.at - timedelta(days=days + 2))
    came = {"energy": rows.energy_usd_per_mwh, "hash": rows.hash_price, "token": rows.token_price}[price]
    actual = dict(zip(rows.timestamp.tolist(), came.tolist(), strict=True))
    errors: dict[str, list[float]] = {}
    inside: list[bool] = []
    for entry in ledger.entries("forecast", since=snap.at - timedelta(days=days), limit=2000):
        band = entry.body["bands"][price]
        forecasts = {"in force": band["point"], **band["members"]}
        for i, stamp in enumerate(times(entry.body["timestamp"]).tolist()):
            value = actual.get(stamp)
            if value is None or np.isnan(value) or band["point"][i] is None:
                continue
            for member, path in forecasts.items():
                errors.setdefault(member, []).append(abs(path[i] - value))
            inside.append(band["lower"][i] <= value <= band["upper"][i])
    scale = snap.units.energy_usd_per_mwh if price == "energy" else 1.0
    return [
        LiveScore(
            member,
            float(np.mean(found)) / scale,
            len(found),
            float(np.mean(inside)) if member == "in force" else float("nan"),
        )
        for member, found in errors.items()
    ]


def forecast_of(hours_ago: float) -> Mapping[str, Any] | None:
    """The recorded forecast made that long before the newest decision, to hold beside what came."""
    snap = snapshot()
    if snap is None:
        return None
    entries = _ledger().entries("forecast", until=snap.at - timedelta(hours=hours_ago), limit=1)
    return entries[0].body if entries else None


# --- auction ---------------------------------------------------------------------------------


def clear_auction(rows: Sequence[Mapping[str, Any]], capacity_kw: float, reserve_usd_per_kwh: float) -> AuctionResult:
    """Clear a table of bids (bidder, service, kw, price_usd_per_kwh, divisible) as a question; nothing is sent."""
    from gridpilot.auction.bids import parse_bids
    from gridpilot.auction.mechanism import clear

    bids, refused = parse_bids(rows)
    result = clear(bids, capacity_kw, reserve_usd_per_kwh)
    return replace(result, rejected=(*refused, *result.rejected))


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
        return [
            SiteView(site.name, site.latitude, site.longitude, nan, nan, nan, site.import_kw, nan, Units(), True)
        ]
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
    verified: bool
    verify_reason: str
    pilot: str  # owner of the lease, or ""
    heartbeat: datetime | None
    alarm_log: tuple[Entry, ...]


def health(cycles: int = 200) -> Health:
    """Latencies of the last cycles, the ledger's chain, and who runs."""
    ledger = _ledger()
    found = list(reversed(ledger.entries("cycle", limit=cycles)))
    stages = list(found[-1].body["timings_ms"]) if found else []
    report = ledger.verify()
    head = ledger.head()
    holder = ledger.lease_holder("pilot", _wall())
    return Health(
        cycles=len(found),
        stage_ms={name: values([entry.body["timings_ms"].get(name) for entry in found]) for name in stages},
        timestamp=times([entry.body["at"] for entry in found]),
        wall=times([entry.body["wall"] for entry in found]),
        entries=ledger.count(),
        head_seq=head.seq,
        head_hash=head.hash,
        verified=report.ok,
        verify_reason=report.reason,
        pilot=holder.owner if holder else "",
        heartbeat=ledger.last_beat(),
        alarm_log=tuple(ledger.entries("alarm", limit=50)),
    )
