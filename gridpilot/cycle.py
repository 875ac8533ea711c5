"""ONE decision cycle: the only place where the order of the stages is written.

market -> features -> forecast -> plan -> auction -> risk -> dispatch -> ledger

A cycle first settles what ran since the last one (P&L, state of charge, job energy), then decides, writes
the decision down, and only then sends it. Anything that raises before dispatch leaves the site as it is:
the last set points hold until their `valid_until`, then the pilot sends the fail-safe state.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gridpilot import evidence, report
from gridpilot.config import Settings, load_site
from gridpilot.control import Control, Orders, Seen, in_force, rates, read_in
from gridpilot.decide import OUTDOOR, Decision, Inputs, decide
from gridpilot.dispatch import override, reconcile
from gridpilot.dispatch.gateway import MachineGateway
from gridpilot.dispatch.override import Standing
from gridpilot.dispatch.way import open_gateway
from gridpilot.domain import (
    AuctionResult,
    DataFlag,
    Dispatch,
    Forecast,
    Plan,
    PriceHistory,
    RiskReport,
    Site,
    Units,
)
from gridpilot.errors import DataError, GatewayError, SafetyError, SourceError
from gridpilot.forecast.ensemble import Prepared, prepare
from gridpilot.forecast.refit import Refitter
from gridpilot.ledger.store import Ledger
from gridpilot.market import quality
from gridpilot.market.failover import Failover
from gridpilot.market.mara import MaraClient, MaraSource, site_from_inventory
from gridpilot.market.mara_key import join_site
from gridpilot.market.source import PriceSource, open_source
from gridpilot.market.watch import IN_USE, REFUSED, STATE, Watch
from gridpilot.monitor import anomalies, drift, market, settle
from gridpilot.monitor.decision import SITE
from gridpilot.monitor.drift import Drift
from gridpilot.monitor.market import Market
from gridpilot.monitor.pnl import Prices, machine_kw, machine_revenue
from gridpilot.values import iso, to_jsonable

STAGES = ("market", "features", "forecast", "plan", "auction", "risk", "dispatch", "ledger")


@dataclass(slots=True)
class Engine:
    """What a cycle needs. `previous` is the last plan of this process, for the planner's fallback.

    `refitter` holds the fitted forecasters, None where there are none; `known` are the prices of the last cycle, `risk`
    is its risk report.
    """

    site: Site
    source: PriceSource
    control: Control
    previous: Plan | None = None
    site_flags: tuple[DataFlag, ...] = ()
    refitter: Refitter | None = None
    known: Prepared | None = None
    risk: RiskReport | None = None
    decided: str = ""  # the cycle that `previous` is from
    watch: Watch = field(default_factory=Watch)

    @property
    def gateway(self) -> MachineGateway:
        """The way to the machines."""
        return self.control.gateway

    @property
    def watched(self) -> Watch:
        """How each price source stands."""
        return self.source.watch if isinstance(self.source, Failover) else self.watch

    @property
    def ledger(self) -> Ledger:
        """Where everything is written down."""
        return self.control.ledger


@dataclass(frozen=True, slots=True)
class CycleResult:
    """A whole decision. `dispatch.status` says what became of it."""

    cycle_id: str
    at: datetime
    source: str
    units: Units
    flags: tuple[DataFlag, ...]
    forecast: Forecast
    plan: Plan
    auction: AuctionResult
    risk: RiskReport
    dispatch: Dispatch
    timings_ms: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The public form: `python -m gridpilot cycle --json`."""
        return {
            "cycle_id": self.cycle_id,
            "at": iso(self.at),
            "source": self.source,
            "flags": to_jsonable(self.flags),
            "forecast": report.forecast_json(self.forecast),
            "plan": report.plan_json(self.plan),
            "auction": report.auction_json(self.auction),
            "risk": report.risk_json(self.risk),
            "dispatch": report.dispatch_json(self.dispatch),
            "timings_ms": dict(self.timings_ms),
        }


@dataclass(slots=True)
class _Timings:
    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] += (time.perf_counter() - start) * 1000.0


def open_engine(settings: Settings, ledger: Ledger) -> Engine:
    """Source, site and gateway as the settings say. For MARA this asks the API for its inventory and site."""
    site = load_site(settings.site_file())
    source = open_source(settings.source, settings, site)
    if not isinstance(source, MaraSource):
        return Engine(site, source, Control(open_gateway(site, ledger, None), ledger))
    client: MaraClient = source.client
    join_site(client, settings, site.name)
    site, flags = site_from_inventory(site, client.inventory())
    source.site = site
    return Engine(site, source, Control(open_gateway(site, ledger, client), ledger), site_flags=flags)


def run_cycle(engine: Engine, wall: datetime, *, token: int | None = None, dry_run: bool = False) -> CycleResult:
    """Settle, decide, write down, send. `token` is the fencing token of the pilot's lease.

    A dry run neither writes nor sends. Raises SourceError or DataError where there are no usable prices, GatewayError
    where the site can't be read, LedgerError where the ledger can't be written (then nothing was sent).
    """
    clock = _Timings()
    started, began = time.perf_counter(), time.monotonic()
    with clock.stage("market"):
        now = engine.source.present(wall)
        history = _prices(engine, now, quiet=dry_run)
    with clock.stage("ledger"):
        before = settle.load(engine.ledger)
    site = _site_now(engine.site, history)
    running, settlement, settled_flags = settle.settle(site, history, before, now)
    with clock.stage("dispatch"):
        seen = engine.control.look(site, now, running, quiet=dry_run)
    known = _inputs(engine, site, history, read_in(running, seen.reading), seen, clock)
    decision = decide(known, clock.stage)
    stands_out = anomalies.newest_flag(history)
    seen_flags = (*history.flags, *((stands_out,) if stands_out else ()))
    flags = (*engine.site_flags, *settled_flags, *seen_flags, *decision.forecast.flags, *decision.plan.flags)
    cycle_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    sent = replace(decision.dispatch, status="dry-run")
    if not dry_run:
        with clock.stage("ledger"):
            _record(engine, cycle_id, known, decision, settlement)
        if late := reconcile.late(began):
            raise SafetyError(f"the decision was not sent: {late}")
        with clock.stage("dispatch"):
            sent = engine.control.carry_out(replace(decision.orders, cycle_id=cycle_id), seen, now, token=token)
        engine.previous = decision.plan
        engine.risk = decision.risk
        engine.decided = cycle_id
    result = CycleResult(
        cycle_id,
        now,
        history.source,
        history.units,
        (*flags, *decision.orders.flags),
        decision.forecast,
        decision.plan,
        decision.auction,
        decision.risk,
        sent,
        {**clock.ms, "total": (time.perf_counter() - started) * 1000.0},
    )
    if not dry_run:
        _remember(engine, known, decision, result, wall, token)
    return result


def _remember(
    engine: Engine, known: Inputs, decision: Decision, result: CycleResult, wall: datetime, token: int | None
) -> None:
    """What is in force from now on, and the cycle's own entry."""
    now, sent, orders = result.at, result.dispatch, replace(decision.orders, cycle_id=result.cycle_id)
    running = replace(in_force(known.running, orders, decision.state.machines, sent), at=now)
    meter = _meter(engine, known.history, now)
    planned = None if sent.origin == "plan" else report.dispatch_json(decision.planned)
    with engine.ledger.transaction() as work:
        work.put_state(settle.KEY, running.to_json())
        work.put_state(STATE, _standings(engine, now))
        body = {**_summary(engine, orders, result, running, wall), "meter": meter, "planned": planned}
        work.append("cycle", body, at=now, cycle_id=result.cycle_id, token=token)
    override.note_sent(engine.ledger, sent, now, known.standing.command)


def _prices(engine: Engine, now: datetime, *, quiet: bool) -> PriceHistory:
    """What is known at `now`; how each source stands is written down where nothing is, unless `quiet`."""
    watch, source = engine.watched, engine.source
    try:
        history = source.fetch(now) if isinstance(source, Failover) else watch.fetch(source, now)
        if not isinstance(source, Failover):
            watch.judge(source.name, IN_USE)
        odd = quality.beyond_market(history, engine.site.floor_usd_per_mwh, engine.site.cap_usd_per_mwh)
        history = replace(history, flags=(*history.flags, *odd))
        _refuse_bad_data(history)
    except (SourceError, DataError) as error:
        if not isinstance(source, Failover):
            watch.judge(source.name, REFUSED, str(error))
        if not quiet:
            engine.ledger.put_state(STATE, _standings(engine, now))
        raise
    return history


def _market(engine: Engine, history: PriceHistory, now: datetime) -> Market:
    """Whose prices these are. After a switch, what was planned, measured and learnt with the others does not go on."""
    found = market.at(engine.ledger, history.source, now)
    if found.began(now):
        engine.previous, engine.decided, engine.risk = None, "", None
        if engine.refitter is not None:
            engine.refitter.forget()
    return found


def _standings(engine: Engine, now: datetime) -> list[dict[str, Any]]:
    return [standing.to_json() for standing in engine.watched.standings(now)]


def _refuse_bad_data(history: PriceHistory) -> None:
    """Prices that carry an alarm (far too old, from the future, another clock) make no decision."""
    for flag in history.flags:
        if flag.severity == "alarm":
            raise SourceError(f"{flag.code}: {flag.message}; nothing new is sent")


def _site_now(site: Site, history: PriceHistory) -> Site:
    """The site with the COP of the outdoor temperature now, where the source has one."""
    outdoor_c = history.columns.get(OUTDOOR)
    return site if outdoor_c is None else replace(site, cooling=site.cooling.at(float(outdoor_c[-1])))


def _inputs(
    engine: Engine, site: Site, history: PriceHistory, running: settle.Running, seen: Seen, clock: _Timings
) -> Inputs:
    """All that the decision depends on."""
    now, ledger = seen.reading.at, engine.ledger
    with clock.stage("features"):
        whose = _market(engine, history, now)
        prepared = prepare(history, site.timezone, country=site.country or None)
        engine.known = prepared
        began = Drift() if whose.began(now) else drift.load(ledger)
        drifted = drift.follow(began, drift.score(ledger, history, whose.since), history.step_s)
    fits = engine.refitter.current(prepared) if engine.refitter else {}
    waiting = engine.refitter.waiting(prepared.clock) if engine.refitter and not fits else ()
    return Inputs(
        site=site,
        history=history,
        prepared=prepared,
        running=running,
        seen=seen,
        gateway=engine.gateway.name,
        fits=fits,
        fit_flags=waiting,
        previous=engine.previous,
        previous_id=engine.decided,
        risk=engine.risk,
        memory=engine.control.memory,
        standing=Standing.of(ledger, now),
        drift=drifted,
    )


def _record(
    engine: Engine, cycle_id: str, known: Inputs, decision: Decision, settlement: settle.Settlement | None
) -> None:
    """Write the decision down with all that it depended on, before anything is sent."""
    ledger, now, history = engine.ledger, decision.state.at, known.history
    ledger.record_prices(history, now)
    ledger.put_state(drift.KEY, known.drift)
    ledger.put_state(market.KEY, market.at(ledger, history.source, now).to_json())
    site = to_jsonable(decision.site)
    entries: list[tuple[str, Any]] = []
    before = ledger.latest(SITE)
    if before is None or before.body != site:
        ledger.put_state(SITE, site)
        entries.append((SITE, site))
    entries += [
        (evidence.ENTRY, evidence.inputs_json(ledger, known)),
        ("forecast", report.forecast_record(decision.forecast)),
        ("plan", {**report.plan_json(decision.plan), "state": to_jsonable(decision.state)}),
        ("auction", evidence.auction_record(decision)),
        ("risk", report.risk_json(decision.risk, sample=True)),
    ]
    if settlement is not None:
        entries.insert(0, ("settlement", to_jsonable(settlement)))
    ledger.append_many(entries, at=now, cycle_id=cycle_id)


def _meter(engine: Engine, history: PriceHistory, now: datetime) -> dict[str, Any] | None:
    """The outside system's own money beside ours for the machines it reports; None where it has none.

    A tick between our price and its reading shows as a difference: `api` is priced at its newest tick.
    """
    try:
        reading = engine.gateway.read(now)
    except GatewayError as error:
        return {"error": str(error)}
    if reading.revenue_usd_per_h is None or reading.cost_usd_per_h is None:
        return None
    prices = Prices.of(history)
    revenue = sum(machine_revenue(engine.site, prices, reading.machines).values())
    cost = machine_kw(engine.site, reading.machines) * prices.energy_usd_per_mwh / 1000.0
    return {
        "api_revenue_per_h": reading.revenue_usd_per_h,
        "api_cost_per_h": reading.cost_usd_per_h,
        "our_revenue_per_h": revenue,
        "our_cost_per_h": cost,
    }


def _summary(
    engine: Engine, orders: Orders, result: CycleResult, running: settle.Running, wall: datetime
) -> dict[str, Any]:
    """The cycle's own entry: what was seen, what came of it, and what it costs and brings per hour."""
    history, prices = orders.history, Prices.of(orders.history)
    return {
        "at": iso(result.at),
        "wall": iso(wall),
        "source": history.source,
        "simulated": engine.source.simulated,
        "sources": _standings(engine, result.at),
        "site": orders.site.name,
        "credit": history.credit,
        "step_s": history.step_s,
        "units": to_jsonable(history.units),
        "price_at": iso(history.last),
        "prices": {
            "energy_usd_per_mwh": prices.energy_usd_per_mwh,
            "hash": prices.hash_price,
            "token": prices.token_price,
        },
        "soc_frac": running.soc_frac,
        "state_source": engine.gateway.name,
        "dispatch": report.dispatch_json(result.dispatch),
        **rates(orders, running, result.at),
        "flags": to_jsonable(result.flags),
        "timings_ms": dict(result.timings_ms),
    }
