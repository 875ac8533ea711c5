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
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot import report
from gridpilot.auction import services
from gridpilot.config import Settings, load_site
from gridpilot.control import Control, Orders, Seen, in_force, rates, read_in, soc_now
from gridpilot.dispatch import override, reconcile
from gridpilot.dispatch.gateway import MachineGateway, MaraGateway
from gridpilot.dispatch.machines import to_dispatch
from gridpilot.dispatch.simulator import SimulatedGateway
from gridpilot.domain import (
    AuctionResult,
    Band,
    Bid,
    DataFlag,
    Dispatch,
    Forecast,
    JobNeed,
    Plan,
    PriceHistory,
    PriceOutlook,
    RiskReport,
    Site,
    SiteState,
)
from gridpilot.errors import GatewayError, SourceError
from gridpilot.forecast.ensemble import Prepared, forecast, prepare
from gridpilot.forecast.refit import Refitter
from gridpilot.ledger.store import Ledger
from gridpilot.market.mara import MaraClient, MaraSource, site_from_inventory
from gridpilot.market.source import PriceSource, open_source
from gridpilot.monitor import settle
from gridpilot.monitor.decision import SITE
from gridpilot.monitor.pnl import Prices, machine_kw, machine_revenue
from gridpilot.plan import rules
from gridpilot.plan.loads import job_needs
from gridpilot.plan.solve import plan as make_plan
from gridpilot.risk import limits
from gridpilot.risk.portfolio import service_shares
from gridpilot.risk.scenarios import plan_risk
from gridpilot.values import Array, as_array, iso, to_jsonable

if TYPE_CHECKING:
    from gridpilot.plan.hedging import Scenarios

HORIZON_S = 24 * 3600
OUTDOOR = "outdoor_c"  # a source's column of outdoor temperatures
STAGES = ("market", "features", "forecast", "plan", "auction", "risk", "dispatch", "ledger")


@dataclass(slots=True)
class Engine:
    """What a cycle needs. `previous` is the last plan of this process, for the planner's fallback.

    `refitter` holds the fitted forecasters, None where there are none; `known` are the prices of the last cycle, `risk`
    is its risk report where it has figures.
    """

    site: Site
    source: PriceSource
    control: Control
    previous: Plan | None = None
    site_flags: tuple[DataFlag, ...] = ()
    refitter: Refitter | None = None
    known: Prepared | None = None
    risk: RiskReport | None = None

    @property
    def gateway(self) -> MachineGateway:
        """The way to the machines."""
        return self.control.gateway

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
        gateway = SimulatedGateway(
            site,
            load=lambda: ledger.get_state("machines").value or {},
            save=lambda value: ledger.put_state("machines", value),
        )
        return Engine(site, source, Control(gateway, ledger))
    client: MaraClient = source.client
    if settings.mara_api_key is None:
        client.create_site(site.name)
    site, flags = site_from_inventory(site, client.inventory())
    source.site = site
    return Engine(site, source, Control(MaraGateway(client, site), ledger), site_flags=flags)


def run_cycle(engine: Engine, wall: datetime, *, token: int | None = None, dry_run: bool = False) -> CycleResult:
    """Settle, decide, write down, send. `token` is the fencing token of the pilot's lease.

    A dry run neither writes nor sends. Raises SourceError or DataError where there are no usable prices, GatewayError
    where the site can't be read, LedgerError where the ledger can't be written (then nothing was sent).
    """
    clock = _Timings()
    started = time.perf_counter()
    with clock.stage("market"):
        now = engine.source.present(wall)
        history = engine.source.fetch(now)
        _refuse_bad_data(history)
    with clock.stage("ledger"):
        before = settle.load(engine.ledger)
    site = _site_now(engine.site, history)
    running, settlement, settled_flags = settle.settle(site, history, before, now)
    with clock.stage("dispatch"):
        seen = engine.control.look(site, now, running, quiet=dry_run)
    running = read_in(running, seen.reading)
    decision = _decide(engine, site, history, running, seen, clock)
    flags = (*engine.site_flags, *settled_flags, *history.flags, *decision.forecast.flags, *decision.plan.flags)
    cycle_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    sent = replace(decision.dispatch, status="dry-run")
    if not dry_run:
        with clock.stage("ledger"):
            _record(engine, cycle_id, history, decision, settlement)
        with clock.stage("dispatch"):
            sent = engine.control.carry_out(replace(decision.orders, cycle_id=cycle_id), seen, now, token=token)
        engine.previous = decision.plan
        engine.risk = decision.risk if decision.risk.status == "ok" else None
    result = CycleResult(
        cycle_id,
        now,
        engine.source.name,
        (*flags, *decision.orders.flags),
        decision.forecast,
        decision.plan,
        decision.auction,
        decision.risk,
        sent,
        {**clock.ms, "total": (time.perf_counter() - started) * 1000.0},
    )
    if not dry_run:
        orders = replace(decision.orders, cycle_id=cycle_id)
        running = replace(in_force(running, orders, decision.state.machines, sent), at=now)
        meter = _meter(engine, history, now)
        with engine.ledger.transaction() as work:
            work.put_state(settle.KEY, running.to_json())
            work.append(
                "cycle",
                {**_summary(engine, orders, result, running, wall), "meter": meter},
                at=now,
                cycle_id=cycle_id,
            )
        override.note_sent(engine.ledger, sent, now)
    return result


def _refuse_bad_data(history: PriceHistory) -> None:
    """Prices that carry an alarm (far too old, from the future, another clock) make no decision."""
    for flag in history.flags:
        if flag.severity == "alarm":
            raise SourceError(f"{flag.code}: {flag.message}; nothing new is sent")


@dataclass(frozen=True, slots=True)
class _Decision:
    site: Site  # with the cooling of the weather now
    state: SiteState
    forecast: Forecast
    plan: Plan
    bids: tuple[Bid, ...]
    auction: AuctionResult
    risk: RiskReport
    orders: Orders

    @property
    def dispatch(self) -> Dispatch:
        """What is to be sent."""
        return self.orders.dispatch


def _site_now(site: Site, history: PriceHistory) -> Site:
    """The site with the COP of the outdoor temperature now, where the source has one."""
    outdoor_c = history.columns.get(OUTDOOR)
    return site if outdoor_c is None else replace(site, cooling=site.cooling.at(float(outdoor_c[-1])))


def _decide(
    engine: Engine, site: Site, history: PriceHistory, running: settle.Running, seen: Seen, clock: _Timings
) -> _Decision:
    """Everything between the prices and the set points; writes nothing."""
    now = seen.reading.at
    with clock.stage("features"):
        prepared = prepare(history, site.timezone, country=site.country or None)
        engine.known = prepared
    with clock.stage("forecast"):
        fits = engine.refitter.current(prepared) if engine.refitter else {}
        outcome = forecast(prepared, HORIZON_S // history.step_s, fits=fits)
        if engine.refitter and not fits:
            outcome = replace(outcome, flags=(*outcome.flags, *engine.refitter.waiting(prepared.clock)))
    with clock.stage("plan"):
        needs = job_needs(site, history.last, HORIZON_S, running.jobs_kwh)
        state = _state(site, history, running, seen, needs, engine.gateway.name)
        outlook = _outlook(history, outcome)
        now_regime = limits.regime(history)
        limit_usd = limits.cvar_limit(site.risk, now_regime)
        paths = _scenarios(site, outlook, outcome)
        plan = make_plan(site, state, outlook, previous=engine.previous, scenarios=paths, cvar_limit_usd=limit_usd)
    today = replace(site, import_kw=state.import_kw(site.import_kw))  # the connection as it is now
    with clock.stage("auction"):
        bids, auction = services.sell(today, plan, engine.risk)
    with clock.stage("risk"):
        risk = plan_risk(plan, outcome, site, alpha=site.risk.alpha, cap_usd=limit_usd)
        shares = service_shares(plan, outcome, site, site.risk.alpha) if site.auction.strategy == "portfolio" else {}
        risk = replace(risk, cvar_limit_usd=_nan(limit_usd), regime=now_regime.name, service_shares=shares)
    with clock.stage("dispatch"):
        valid_until = history.last + timedelta(seconds=2 * history.step_s)
        planned = to_dispatch(today, plan, auction, state, now, valid_until)
        decided = override.in_force(engine.ledger, today, state, planned, now)
        if reconcile.held(engine.ledger) is not None and decided.origin != "estop":
            decided = override.apply_override(today, state, planned, "hold", {})
        tenants = {tenant.name for tenant in site.tenants}
        paid = sum(p.usd_per_h for p in auction.payments if p.bidder in tenants)
        orders = Orders(site, state, plan, decided, decided, (), engine.control.memory, history, paid)
        orders = engine.control.within(orders, seen)
    return _Decision(site, state, outcome, plan, bids, auction, risk, orders)


def _state(
    site: Site,
    history: PriceHistory,
    running: settle.Running,
    seen: Seen,
    needs: tuple[JobNeed, ...],
    source: str,
) -> SiteState:
    """The state that a plan starts from: what was read, and what is kept between cycles."""
    owed, now, reading = running.promises, running.at, seen.reading
    same_month = owed.peak_month == f"{now.astimezone(ZoneInfo(site.timezone)):%Y-%m}"
    return SiteState(
        now,
        soc_now(site, reading, running, now),
        reading.target,
        running.battery_kw,
        needs,
        source,
        served=owed.served,
        switched=owed.switched,
        rules=rules.standing(site, history),
        grid_kw=_nan(reading.grid_kw) if running.cycle_id else float("nan"),
        peak_kw=owed.peak_kw if same_month else 0.0,
        room_c=_nan(running.room_c),
        limits=seen.limits,
    )


def _outlook(history: PriceHistory, outcome: Forecast) -> PriceOutlook:
    """The known price of the running interval, then the forecast; hash and token hold where unknown."""

    def joined(known: Array, band: Band) -> Array:
        return as_array(np.concatenate([known[-1:], band.point[:-1]]))

    return PriceOutlook(
        timestamp=np.concatenate([history.timestamp[-1:], outcome.timestamp[:-1]]),
        step_s=history.step_s,
        energy_usd_per_mwh=joined(history.energy_usd_per_mwh, outcome.energy),
        hash_price=joined(history.hash_price, outcome.hash),
        token_price=joined(history.token_price, outcome.token),
        units=history.units,
        outdoor_c=_outdoor(history, len(outcome)),
    )


def _scenarios(site: Site, outlook: PriceOutlook, outcome: Forecast) -> Scenarios | None:
    """The forecast's joint price paths on the outlook's steps, where the operator wants the risk weighed."""
    if site.risk.weight is None:
        return None
    from gridpilot.plan.hedging import Scenarios

    return Scenarios.of(outlook, *(outcome.paths[name] for name in ("energy", "hash", "token")))


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _outdoor(history: PriceHistory, n: int) -> Array:
    """The outdoor temperature of the running interval, then that of the same time a day before; empty where unknown."""
    known = history.columns.get(OUTDOOR)
    day = 86400 // history.step_s
    if known is None or not np.isfinite(known[-1]):
        return as_array([])
    if len(known) < day:
        return as_array(np.full(n, known[-1]))
    ahead = np.concatenate([known[-1:], known[-day:][np.arange(n - 1) % day]])
    return as_array(np.where(np.isfinite(ahead), ahead, known[-1]))


def _record(
    engine: Engine,
    cycle_id: str,
    history: PriceHistory,
    decision: _Decision,
    settlement: settle.Settlement | None,
) -> None:
    """Write the decision down, before anything is sent."""
    ledger, now = engine.ledger, decision.state.at
    ledger.record_prices(history, now)
    site = to_jsonable(decision.site)
    if ledger.get_state(SITE).value != site:
        ledger.put_state(SITE, site)
    entries: list[tuple[str, Any]] = [
        ("forecast", report.forecast_record(decision.forecast)),
        ("plan", {**report.plan_json(decision.plan), "state": to_jsonable(decision.state)}),
        ("auction", _auction_record(decision)),
        ("risk", report.risk_json(decision.risk, sample=True)),
    ]
    if settlement is not None:
        entries.insert(0, ("settlement", to_jsonable(settlement)))
    ledger.append_many(entries, at=now, cycle_id=cycle_id)


def _auction_record(decision: _Decision) -> dict[str, Any]:
    return {**report.auction_json(decision.auction), "bids": to_jsonable(decision.bids)}


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
        "source": engine.source.name,
        "simulated": engine.source.simulated,
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
