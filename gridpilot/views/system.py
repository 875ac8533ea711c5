"""The system itself: stages, processes, ledger, alarms, service levels, drift, data quality; and money by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.ledger import alarm_rows
from gridpilot.ledger.chain import Entry
from gridpilot.market.metrics import Quality
from gridpilot.market.metrics import quality as measure
from gridpilot.monitor import alarms, conditions, decision, drift, revenue
from gridpilot.monitor.decision import times, values
from gridpilot.monitor.latch import seen
from gridpilot.monitor.revenue import Day
from gridpilot.monitor.service import Service, service
from gridpilot.values import Array, Times, midnight
from gridpilot.views import base
from gridpilot.views.standing import alarms as now_wrong
from gridpilot.views.standing import status

STAGES = ("market", "features", "forecast", "plan", "auction", "risk", "dispatch", "ledger", "total")
LOG = 50


@dataclass(frozen=True, slots=True)
class Verified:
    """The newest check of the whole chain, by the watch."""

    at: datetime  # wall clock
    ok: bool
    reason: str
    entries: int


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
    watch: bool  # and a watch
    messages: int  # about alarms, that the receiver has not taken yet
    verified: Verified | None
    alarm_log: tuple[Entry, ...]  # what happened to alarms, newest first

    def quantiles_ms(self, wanted: Iterable[float]) -> dict[str, tuple[float, ...]]:
        """Quantiles of each stage's latency; empty before the first cycle."""
        return {n: tuple(float(q) for q in np.quantile(ms, list(wanted))) for n, ms in self.stage_ms.items() if len(ms)}


def health(cycles: int = 200) -> Health:
    """Latencies of the last cycles, the ledger's head, and who runs."""
    store, wall = base.ledger(), base.wall()
    found = list(reversed(store.entries("cycle", limit=cycles)))
    stages = [name for name in STAGES if found and name in found[-1].body["timings_ms"]]
    head, beat = store.head(), store.last_beat()
    holder, checked = store.lease_holder("pilot", wall), store.get_state(conditions.VERIFIED).value
    with store.reading() as connection:
        messages = alarm_rows.waiting_count(connection)
    log = [entry for kind in ("alarm", alarms.ENTRY) for entry in store.entries(kind, limit=LOG)]
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
        watch=conditions.watch_seen(store, wall),
        messages=messages,
        verified=_verified(checked) if checked else None,
        alarm_log=tuple(sorted(log, key=lambda entry: -entry.seq)[:LOG]),
    )


def _verified(body: Mapping[str, object]) -> Verified:
    at, entries = str(body["at"]), body["entries"]
    return Verified(datetime.fromisoformat(at), bool(body["ok"]), str(body["reason"]), int(str(entries)))


def service_levels(days: float = 7.0) -> Service | None:
    """Availability and latency over the last days of the source's time; None before the first cycle."""
    at = status().at
    return None if at is None else service(base.ledger(), at, days)


def alarm_counts() -> dict[tuple[str, str], int]:
    """How many alarms are on the list, by severity and state; every pair that can be is there."""
    wall = base.wall()
    found = Counter((alarm.severity, alarm.state(wall)) for alarm in now_wrong())
    shown = [(severity, state) for severity in alarms.SEVERITIES for state in alarms.STATES if state != alarms.NORMAL]
    return {pair: found.get(pair, 0) for pair in shown}


def forecast_drift() -> drift.Drift:
    """Where the drift test of the forecast stands."""
    return drift.load(base.ledger())


def data_quality(hours: float = 24 * 30) -> Quality | None:
    """The quality of the recorded energy prices and what fetching them took; None before the first cycle.

    Prices are in the source's own unit. Latency is that of the market stage of the newest 200 cycles: with a source
    over the network that is its API.
    """
    store = base.records()
    snap = decision.load(store)
    if snap is None:
        return None
    rows = store.prices(snap.cycle["source"], since=snap.at - timedelta(hours=hours))
    if not len(rows):
        return None
    took = [entry.body["timings_ms"]["market"] for entry in store.entries("cycle", limit=200)]
    return measure(rows.timestamp, snap.shown(rows.energy_usd_per_mwh), took)


# --- money, day by day -----------------------------------------------------------------------


def closed_days(limit: int = 31) -> list[Day]:
    """Days that are over by now, newest first, beside perfect foresight and doing nothing."""
    return revenue.days(base.ledger(), limit)


def day_before() -> Day | None:
    """The newest day that was closed by the moment looked at; None before the first."""
    return next(iter(revenue.days(base.records(), 1)), None)


def today() -> Day | None:
    """The local day so far, without perfect foresight; None before its first settlement."""
    store, snap = base.ledger(), decision.load(base.ledger())
    if snap is None:
        return None
    start = midnight(snap.at, snap.site.timezone)
    rows = revenue.settlements(store, start)
    return revenue.summed(f"{start:%Y-%m-%d}", rows) if rows else None
