"""What the screens ask. The only engine package that pages import; everything here comes from the ledger.

Reading never waits for the pilot and never computes a decision. What an operator wants goes the other way
as a command row, which the pilot picks up and checks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gridpilot.auction.book import Supply
from gridpilot.dispatch.override import Command
from gridpilot.domain import DAY_AHEAD, Units
from gridpilot.fleet import Move
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision, market, reading, revenue
from gridpilot.monitor.alarms import Alarm
from gridpilot.monitor.anomalies import scan
from gridpilot.monitor.auctions import Held, Question, bid_rows, held
from gridpilot.monitor.decision import Change, Snapshot, Strike, next_changes, strikes, times, values
from gridpilot.monitor.drift import Drift
from gridpilot.monitor.health import ESTOP
from gridpilot.monitor.price_shape import Restless, Week, duration, restless, week
from gridpilot.monitor.reading import PlanParts, Reason, Track, plan_parts, why
from gridpilot.monitor.revenue import Day
from gridpilot.monitor.standing import curtailable, customer_standings, rule_standings
from gridpilot.values import Array, Times, as_array, midnight, to_utc
from gridpilot.views.asked import Asking, ask, connection, entry_of, explained_so_far, facts, suggestions
from gridpilot.views.base import (
    Look,
    elsewhere,
    environment,
    ledger,
    look,
    look_by,
    looking,
    moment,
    own_ledger,
    records,
    reset,
    settings,
    source_now,
)
from gridpilot.views.commanded import (
    Sent,
    Shown,
    charge,
    command_log,
    machine_log,
    on_hold,
    override_in_force,
    proposals,
    sent_off,
    shown,
    stop_file,
    stopped,
)
from gridpilot.views.fleet import FleetView, SiteView, fleet, nothing_yet, own_name, site_looked_at, site_names
from gridpilot.views.sources import sources
from gridpilot.views.standing import (
    Status,
    alarm_history,
    alarms,
    control,
    current_site,
    halted,
    present,
    status,
    unseen,
)
from gridpilot.views.system import (
    STAGES,
    Health,
    alarm_counts,
    closed_days,
    data_quality,
    day_before,
    forecast_drift,
    health,
    service_levels,
    today,
)
from gridpilot.views.tour import Chapter, tour
from gridpilot.views.whereabouts import Whereabouts, around, whereabouts

if TYPE_CHECKING:
    from gridpilot.explain.explainer import Explanation as Explanation
    from gridpilot.explain.sentences import Sentence


__all__ = [
    "STAGES",
    "Alarm",
    "Asking",
    "Change",
    "Chapter",
    "Command",
    "Day",
    "Drift",
    "FleetView",
    "Health",
    "Held",
    "Look",
    "Move",
    "PlanParts",
    "Question",
    "Reason",
    "Restless",
    "Sent",
    "Shown",
    "SiteView",
    "Snapshot",
    "Status",
    "Strike",
    "Supply",
    "Track",
    "Week",
    "Whereabouts",
    "alarm_counts",
    "alarm_history",
    "alarms",
    "around",
    "ask",
    "bid_rows",
    "charge",
    "closed_days",
    "command_log",
    "connection",
    "control",
    "current_site",
    "curtailable",
    "customer_standings",
    "data_quality",
    "day_before",
    "duration",
    "elsewhere",
    "entry_of",
    "environment",
    "explained_so_far",
    "facts",
    "fleet",
    "forecast_drift",
    "halted",
    "health",
    "ledger",
    "look",
    "look_by",
    "looking",
    "machine_log",
    "moment",
    "newest",
    "next_changes",
    "nothing_yet",
    "on_hold",
    "on_record",
    "override_in_force",
    "own_ledger",
    "own_name",
    "plan_parts",
    "present",
    "proposals",
    "records",
    "reset",
    "restless",
    "rule_standings",
    "sent_off",
    "service_levels",
    "settings",
    "shown",
    "site_looked_at",
    "site_names",
    "source_now",
    "sources",
    "status",
    "stop_file",
    "stopped",
    "strikes",
    "suggestions",
    "times",
    "today",
    "tour",
    "unseen",
    "values",
    "week",
    "whereabouts",
    "why",
]

# --- the decision ----------------------------------------------------------------------------


def snapshot(cycle_id: str = "") -> Snapshot | None:
    """A decision, by default the one in force at the moment looked at, now the newest; None before the first cycle."""
    return decision.load(records(), cycle_id)


def newest() -> Snapshot | None:
    """The newest decision whatever moment is looked at: for what is always now, and for every command."""
    return decision.load(ledger())


def track(hours: float = 8.0) -> Track | None:
    """What was set in the last hours, up to the running interval; None before the first cycle."""
    snap = snapshot()
    return None if snap is None else reading.track(records(), snap, hours)


def now_sentence() -> Sentence:
    """What the site does and why, in one sentence; its text is ready for Markdown. A stop that is latched now says
    nothing of a past moment."""
    from gridpilot.explain.sentences import STOPPING, Sentence
    from gridpilot.explain.sentences import now_sentence as say

    found, seen = facts(), shown()
    on = seen is not None and any(seen.machines.values())
    if look().at is None and stopped() and (on or found.word("pilot.control") != ESTOP):  # not all is off yet
        return Sentence(STOPPING)
    return say(found)


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
    day_ahead: Array  # of the same intervals, where energy is the real-time price; NaN where unknown

    def since(self, moment: np.datetime64) -> Prices:
        """Those after a moment."""
        inside = self.timestamp > moment
        names = ("timestamp", "energy", "hash", "token", "day_ahead")
        return replace(self, **{name: getattr(self, name)[inside] for name in names})


def prices(hours: float = 24 * 30) -> Prices | None:
    """The recorded prices of the last hours; None before the first cycle."""
    snap = snapshot()
    return None if snap is None else _prices(records(), snap, hours)


def _prices(store: Ledger, snap: Snapshot, hours: float) -> Prices:
    rows = store.prices(snap.cycle["source"], since=snap.at - timedelta(hours=hours))
    energy = as_array(snap.shown(rows.energy_usd_per_mwh))
    ahead = rows.columns.get(DAY_AHEAD, as_array(np.full(len(rows), np.nan)))
    return Prices(
        rows.timestamp, energy, rows.hash_price, rows.token_price, snap.units, snap.step_s, snap.cycle["credit"], ahead
    )


def anomalies(past: Prices, newest: int) -> Array:
    """Energy prices (N,) that stood out from what came before them, NaN elsewhere; of the `newest` only."""
    found = scan(past.timestamp, past.energy, past.step_s, newest)
    return as_array(np.where(found.anomaly, past.energy, np.nan))


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
    starts: Times  # of the settled spans
    timestamp: Times  # ends of the settled spans
    cumulative_usd: Array
    cumulative_always_on_usd: Array


def pnl_today() -> Pnl | None:
    """P&L of the site's local day so far; None before the first settlement of the day."""
    snap = snapshot()
    if snap is None:
        return None
    return pnl(midnight(snap.at, snap.site.timezone))


def pnl(since: datetime) -> Pnl | None:
    """P&L settled since a moment; None where nothing is."""
    return _pnl(records(), since)


def on_record(snap: Snapshot, days: float = 7.0) -> tuple[Pnl, Prices] | None:
    """P&L settled in the days up to a decision, and the prices of that time, as the ledger has them now, whatever
    moment is looked at; None where nothing is settled."""
    found = _pnl(ledger(), snap.at - timedelta(days=days), snap.at)
    if found is None:
        return None
    return found, _prices(ledger(), snap, (snap.at - found.since) / timedelta(hours=1))


def _pnl(store: Ledger, since: datetime, until: datetime | None = None) -> Pnl | None:
    bodies = [entry.body for entry in revenue.settlements(store, since, until)]
    if not bodies:
        return None
    profit, reference = (np.array([body[key] for body in bodies]) for key in ("profit_usd", "always_on_usd"))
    return Pnl(
        since=datetime.fromisoformat(bodies[0]["start"]),
        profit_usd=float(profit.sum()),
        always_on_usd=float(reference.sum()),
        hours=float(sum(body["hours"] for body in bodies)),
        money={name: float(sum(body["money"][name] for body in bodies)) for name in bodies[0]["money"]},
        starts=times([body["start"] for body in bodies]),
        timestamp=times([body["end"] for body in bodies]),
        cumulative_usd=as_array(np.cumsum(profit)),
        cumulative_always_on_usd=as_array(np.cumsum(reference)),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What the battery holds more than at the start of the local day (less: negative), and what that is worth."""

    kwh: float
    usd_per_kwh: float  # the marginal value of stored energy in the newest plan
    usd: float


def stored_today() -> Stored | None:
    """The change in stored energy since the first interval that `pnl_today` counts; None where it is not known."""
    snap, today = snapshot(), pnl_today()
    if snap is None or today is None or snap.cycle["soc_frac"] is None:
        return None
    worth = snap.plan["marginal_value_usd_per_kwh"][0]
    first = records().entries("cycle", until=today.since + timedelta(seconds=1), limit=1)
    held = first[0].body["soc_frac"] if first else None
    if worth is None or held is None or snap.site.battery.capacity_kwh <= 0.0:
        return None
    kwh = (snap.cycle["soc_frac"] - held) * snap.site.battery.capacity_kwh
    return Stored(kwh, worth, kwh * worth)


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
    store = records()
    rows = store.prices(snap.cycle["source"], since=snap.at - timedelta(days=days + 2))
    came = {"energy": rows.energy_usd_per_mwh, "hash": rows.hash_price, "token": rows.token_price}[price]
    known = np.isfinite(came)
    stamps, actual = rows.timestamp[known], came[known]
    errors: dict[str, list[Array]] = {}
    inside: dict[float, list[npt.NDArray[np.bool_]]] = {}
    seen: list[Times] = []
    start = snap.at - timedelta(days=days)
    start = max(start, market.since(store) or start)  # what was said of another market's prices is no forecast of these
    for entry in store.entries("forecast", since=start, limit=200):
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
    entries = records().entries("forecast", until=snap.at - timedelta(hours=hours_ago, seconds=-1), limit=1)
    switched = market.since(records())
    return entries[0].body if entries and (switched is None or entries[0].at >= switched) else None


# --- risk ------------------------------------------------------------------------------------


def stress(snap: Snapshot) -> list[tuple[str, float]]:
    """P&L of a plan, unchanged, if prices came otherwise or the site failed [money of the source]: (what happens, P&L).

    Built-in cases first, "as expected" at the top, then the site file's.
    """
    from gridpilot.monitor.exposure import sigma
    from gridpilot.risk.stress import outcomes

    return [(row.name, row.usd) for row in outcomes(snap.plan, snap.site, snap.units, sigma(snap), snap.site.stress)]


# --- auction ---------------------------------------------------------------------------------


def auction_history(hours: float = 24.0) -> Held | None:
    """The auctions of the last hours; None before the first one."""
    snap = snapshot()
    return None if snap is None else held(records(), snap, hours)
