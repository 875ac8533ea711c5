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
from gridpilot.dispatch import override, reconcile
from gridpilot.dispatch.gateway import MachineGateway, MaraGateway, SimulatedGateway
from gridpilot.dispatch.machines import to_dispatch
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
    Reading,
    RiskReport,
    Site,
    SiteState,
    Switched,
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
from gridpilot.monitor.promises import Promises
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
    gateway: MachineGateway
    ledger: Ledger
    previous: Plan | None = None
    site_flags: tuple[DataFlag, ...] = ()
    refitter: Refitter | None = None
    known: Prepared | None = None
    risk: RiskReport | None = None


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
        return Engine(site, source, gateway, ledger)
    client: MaraClient = source.client
    if settings.mara_api_key is None:
        client.create_site(site.name)
    site, flags = site_from_inventory(site, client.inventory())
    source.site = site
    return Engine(site, source, MaraGateway(client, site), ledger, site_flags=flags)


def run_cycle(engine: Engine, wall: datetime, *, token: int | None = None, dry_run: bool = False) -> CycleResult:
    """Settle, decide, write down, send. `token` is the fencing token of the pilot's lease.

    A dry run neither writes nor sends. Raises SourceError or DataError where there are no usable prices,
    LedgerError where the ledger can't be written (then nothing was sent).
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
    decision = _decide(engine, site, history, running, now, clock)
    flags = (*engine.site_flags, *settled_flags, *history.flags, *decision.forecast.flags, *decision.plan.flags)
    cycle_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    sent = replace(decision.dispatch, status="dry-run")
    if not dry_run:
        with clock.stage("ledger"):
            _record(engine, cycle_id, history, decision, settlement)
        with clock.stage("dispatch"):
            sent = reconcile.execute(
                engine.ledger, engine.gateway, decision.dispatch, now, cycle_id=cycle_id, token=token
            )
        engine.previous = decision.plan
        engine.risk = decision.risk if decision.risk.status == "ok" else None
    result = CycleResult(
        cycle_id,
        now,
        engine.source.name,
        flags,
        decision.forecast,
        decision.plan,
        decision.auction,
        decision.risk,
        sent,
        {**clock.ms, "total": (time.perf_counter() - started) * 1000.0},
    )
    if not dry_run:
        running = _running(running, decision, sent, cycle_id)
        meter = _meter(engine, history, now)
        planned = None if sent.origin == "plan" else report.dispatch_json(decision.planned)
        with engine.ledger.transaction() as work:
            work.put_state(settle.KEY, running.to_json())
            work.append(
                "cycle",
                {**_summary(engine, site, result, history, running, wall), "meter": meter, "planned": planned},
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
    dispatch: Dispatch
    planned: Dispatch  # without an operator's command


def _site_now(site: Site, history: PriceHistory) -> Site:
    """The site with the COP of the outdoor temperature now, where the source has one."""
    outdoor_c = history.columns.get(OUTDOOR)
    return site if outdoor_c is None else replace(site, cooling=site.cooling.at(float(outdoor_c[-1])))


def _decide(
    engine: Engine, site: Site, history: PriceHistory, running: settle.Running, now: datetime, clock: _Timings
) -> _Decision:
    """Everything between the prices and the set points; writes nothing."""
    with clock.stage("features"):
        prepared = prepare(history, site.timezone, country=site.country or None)
        engine.known = prepared
    with clock.stage("forecast"):
        fits = engine.refitter.current(prepared) if engine.refitter else {}
        outcome = forecast(prepared, HORIZON_S // history.step_s, fits=fits)
        if engine.refitter and not fits:
            outcome = replace(outcome, flags=(*outcome.flags, *engine.refitter.waiting(prepared.clock)))
    with clock.stage("plan"):
        reading = engine.gateway.read(now)
        needs = job_needs(site, history.last, HORIZON_S, running.jobs_kwh)
        state = _state(site, history, running, reading, needs, engine.gateway.name)
        outlook = _outlook(history, outcome)
        now_regime = limits.regime(history)
        limit_usd = limits.cvar_limit(site.risk, now_regime)
        paths = _scenarios(site, outlook, outcome)
        plan = make_plan(site, state, outlook, previous=engine.previous, scenarios=paths, cvar_limit_usd=limit_usd)
    with clock.stage("auction"):
        bids, auction = services.sell(site, plan, engine.risk)
    with clock.stage("risk"):
        risk = plan_risk(plan, outcome, site, alpha=site.risk.alpha, cap_usd=limit_usd)
        shares = service_shares(plan, outcome, site, site.risk.alpha) if site.auction.strategy == "portfolio" else {}
        risk = replace(risk, cvar_limit_usd=_nan(limit_usd), regime=now_regime.name, service_shares=shares)
    with clock.stage("dispatch"):
        valid_until = history.last + timedelta(seconds=2 * history.step_s)
        planned = to_dispatch(site, plan, auction, state, now, valid_until)
        price = float(history.energy_usd_per_mwh[-1])
        dispatch = override.in_force(engine.ledger, site, state, planned, now, price)
    return _Decision(site, state, outcome, plan, bids, auction, risk, dispatch, planned)


def _state(
    site: Site,
    history: PriceHistory,
    running: settle.Running,
    reading: Reading,
    needs: tuple[JobNeed, ...],
    source: str,
) -> SiteState:
    """The state that a plan starts from: what was read, and what is kept between cycles."""
    owed, now = running.promises, running.at
    load_kw = _load_kw(site, reading.machines, running)
    same_month = owed.peak_month == f"{now.astimezone(ZoneInfo(site.timezone)):%Y-%m}"
    return SiteState(
        now,
        running.soc_frac,
        reading.machines,
        running.battery_kw,
        needs,
        source,
        served=owed.served,
        switched=owed.switched,
        rules=rules.standing(site, history),
        grid_kw=load_kw + running.battery_kw if running.cycle_id else float("nan"),
        peak_kw=owed.peak_kw if same_month else 0.0,
        room_c=_nan(running.room_c),
    )


def _load_kw(site: Site, machines: Mapping[str, int], running: settle.Running) -> float:
    """What machines, jobs and tenants draw now, with their cooling [kW]."""
    it_kw = machine_kw(site, machines) + sum(running.jobs_kw.values()) + sum(running.tenants_kw.values())
    return it_kw * (1.0 + site.cooling.kw_per_kw) + running.room_kw


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


def _running(running: settle.Running, decision: _Decision, sent: Dispatch, cycle_id: str) -> settle.Running:
    """What is in force from now on. After an unknown outcome the site is taken to run what was asked."""
    if sent.status == "refused":
        return replace(running, at=decision.state.at)
    site = decision.site
    tenants = {tenant.name for tenant in site.tenants}
    paid = sum(p.usd_per_h for p in decision.auction.payments if p.bidder in tenants)
    return replace(
        running,
        at=decision.state.at,
        valid_until=sent.valid_until,
        battery_kw=sent.battery_kw,
        machines=dict(sent.machines),
        jobs_kw=dict(sent.jobs_kw),
        tenants_kw=dict(sent.tenants_kw),
        tenants_usd_per_h=paid if sent.tenants_kw else 0.0,
        cycle_id=cycle_id,
        promises=_promises(running, decision, sent),
        room_kw=sent.room_kw,
    )


def _promises(running: settle.Running, decision: _Decision, sent: Dispatch) -> Promises:
    """What the new set points owe: each customer's part of the power that its machines really get, and the reserve."""
    site, plan, kw = decision.site, decision.plan, {}
    for customer in site.customers:
        planned = float(plan.loads_kw[customer.type][0])
        given = sent.machines.get(customer.type, 0) * site.machine(customer.type).power_kw
        share = given / planned if planned > 0.0 else 0.0
        kw[customer.name] = float(plan.customers_kw[customer.name][0]) * share
    before = decision.state.machines
    moved = {m.type: sent.machines.get(m.type, 0) - before.get(m.type, 0) for m in site.machines}
    switched = tuple(Switched(name, decision.state.at, count) for name, count in moved.items() if count)
    planned_now = sent.origin == "plan"
    return replace(
        running.promises,
        customers_kw=kw,
        switched=(*running.promises.switched, *switched),
        reserve_up_kw=float(plan.reserve_up_kw[0]) if planned_now else 0.0,
        reserve_down_kw=float(plan.reserve_down_kw[0]) if planned_now else 0.0,
    )


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
    engine: Engine, site: Site, result: CycleResult, history: PriceHistory, running: settle.Running, wall: datetime
) -> dict[str, Any]:
    """The cycle's own entry: what was seen, what came of it, and what it costs and brings per hour."""
    prices = Prices.of(history)
    local_hour = result.at.astimezone(ZoneInfo(site.timezone)).hour
    earned, reference = running.rates(site, prices, local_hour, running.battery_kw)
    return {
        "at": iso(result.at),
        "wall": iso(wall),
        "source": engine.source.name,
        "simulated": engine.source.simulated,
        "site": site.name,
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
        "rate": {**to_jsonable(earned), "profit_usd_per_h": earned.profit_usd_per_h},
        "always_on": {**to_jsonable(reference), "profit_usd_per_h": reference.profit_usd_per_h},
        "flags": to_jsonable(result.flags),
        "timings_ms": dict(result.timings_ms),
    }
