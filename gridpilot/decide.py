"""The decision itself: from what was known to what is to be done. It reads and writes nothing, so it can be made again.

forecast -> plan -> auction -> risk -> set points, within operators' commands and the emergency protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.auction import services
from gridpilot.control import Orders, Seen, soc_now, within
from gridpilot.dispatch import override
from gridpilot.dispatch.guard import Memory
from gridpilot.dispatch.machines import to_dispatch
from gridpilot.dispatch.override import Standing
from gridpilot.domain import (
    AuctionResult,
    Band,
    Bid,
    DataFlag,
    Dispatch,
    Forecast,
    GridLimit,
    JobNeed,
    Plan,
    PriceHistory,
    PriceOutlook,
    RiskReport,
    Site,
    SiteState,
)
from gridpilot.forecast.ensemble import Prepared, forecast
from gridpilot.forecast.fitted import Fitted
from gridpilot.forecast.models import SeasonalNaive
from gridpilot.monitor import settle
from gridpilot.monitor.drift import WATCHED, Drift
from gridpilot.plan import program, rules
from gridpilot.plan.loads import job_needs
from gridpilot.plan.solve import plan as make_plan
from gridpilot.risk import limits
from gridpilot.risk.portfolio import service_shares
from gridpilot.risk.scenarios import plan_risk
from gridpilot.values import Array, as_array

if TYPE_CHECKING:
    from gridpilot.plan.hedging import Scenarios

HORIZON_S = 24 * 3600
OUTDOOR = "outdoor_c"  # a source's column of outdoor temperatures
Stage = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a decision depends on. `previous` and `risk` are those of the decision before; `fits` the fitted
    forecasters by price, with what is to be said where there are none."""

    site: Site  # with the cooling of the weather now
    history: PriceHistory
    prepared: Prepared
    running: settle.Running
    seen: Seen
    gateway: str
    fits: Mapping[str, Fitted] = field(default_factory=dict)
    fit_flags: tuple[DataFlag, ...] = ()
    previous: Plan | None = None
    previous_id: str = ""  # its cycle
    risk: RiskReport | None = None
    memory: Memory = field(default_factory=Memory)
    standing: Standing = field(default_factory=Standing)
    drift: Drift = field(default_factory=Drift)


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of it."""

    site: Site
    state: SiteState
    forecast: Forecast
    plan: Plan
    bids: tuple[Bid, ...]
    auction: AuctionResult
    risk: RiskReport
    planned: Dispatch  # without operators' commands and emergency protocols
    orders: Orders

    @property
    def dispatch(self) -> Dispatch:
        """What is to be sent."""
        return self.orders.dispatch


def decide(known: Inputs, stage: Stage = nullcontext) -> Decision:
    """The decision that follows from what is known: the same for the same. `stage` is told when each part begins."""
    site, history, running, seen = known.site, known.history, known.running, known.seen
    now = seen.reading.at
    with stage("forecast"):
        outcome = _forecast(known, HORIZON_S // history.step_s)
    with stage("plan"):
        program.forget()
        needs = job_needs(site, history.last, HORIZON_S, running.jobs_kwh)
        held = _while_suspect(history, seen)
        limits_now = (*seen.limits, *override.limits(site, known.standing, now), *held)
        state = _state(site, history, running, seen, needs, known.gateway, limits_now)
        outlook = _outlook(history, outcome)
        now_regime = limits.regime(history)
        limit_usd = limits.cvar_limit(site.risk, now_regime)
        paths = _scenarios(site, outlook, outcome)
        plan = make_plan(site, state, outlook, previous=known.previous, scenarios=paths, cvar_limit_usd=limit_usd)
        if held:
            kw = held[0].import_kw
            said = f"the price is suspect: no more than {kw:.0f} kW from the grid until a second reading confirms it"
            plan = replace(plan, flags=(*plan.flags, DataFlag("NOT_RAISED", said, "warn", "plan")))
    today = replace(site, import_kw=state.import_kw(site.import_kw))  # the connection as it is now
    with stage("auction"):
        bids, auction = services.sell(today, plan, known.risk)
    with stage("risk"):
        risk = plan_risk(plan, outcome, site, alpha=site.risk.alpha, cap_usd=limit_usd, state=state)
        shares = service_shares(plan, outcome, site, site.risk.alpha) if site.auction.strategy == "portfolio" else {}
        risk = replace(risk, cvar_limit_usd=_nan(limit_usd), regime=now_regime.name, service_shares=shares)
    with stage("dispatch"):
        valid_until = history.last + timedelta(seconds=2 * history.step_s)
        planned = to_dispatch(today, plan, auction, state, now, valid_until)
        decided = override.laid_over(today, state, planned, known.standing, float(history.energy_usd_per_mwh[-1]))
        tenants = {tenant.name for tenant in site.tenants}
        paid = sum(p.usd_per_h for p in auction.payments if p.bidder in tenants)
        orders = within(Orders(site, state, plan, decided, decided, (), known.memory, history, paid), seen)
    return Decision(site, state, outcome, plan, bids, auction, risk, planned, orders)


def _while_suspect(history: PriceHistory, seen: Seen) -> tuple[GridLimit, ...]:
    """Where a newest price is suspect, the connection draws no more than it does now until the next one: what is
    decided on such a price moves in the safe direction only. Where the import is not known, nothing is drawn."""
    if not any(flag.code == "SUSPECT" for flag in history.flags):
        return ()
    kw, now = seen.reading.grid_kw, seen.reading.at
    end = max(history.last, now) + timedelta(seconds=history.step_s)
    return (GridLimit(now, end, max(0.0, kw) if kw is not None and np.isfinite(kw) else 0.0),)


def _forecast(known: Inputs, horizon: int) -> Forecast:
    """The forecast in force: the ensemble's, or where that has drifted the seasonal naive's with it beside, on
    watch."""
    made = forecast(known.prepared, horizon, fits=known.fits)
    said = known.drift.flag()
    flags = (*made.flags, *known.fit_flags, *((said,) if said else ()))
    if not known.drift.fallback:
        return replace(made, flags=flags)
    plain = forecast(known.prepared, horizon, models={SeasonalNaive.name: SeasonalNaive})
    band, scores = plain.energy, dict(plain.scores.get("energy", {}))
    if "mix" in made.scores.get("energy", {}):
        scores[WATCHED] = made.scores["energy"]["mix"]
    return replace(
        made,
        energy=replace(band, members={**band.members, WATCHED: made.energy.point}),
        paths={**made.paths, "energy": plain.paths["energy"]},
        scores={**made.scores, "energy": scores},
        flags=flags,
        version="",
        weights={},
        drivers={},
    )


def _state(
    site: Site,
    history: PriceHistory,
    running: settle.Running,
    seen: Seen,
    needs: tuple[JobNeed, ...],
    source: str,
    limits_now: tuple[GridLimit, ...],
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
        limits=limits_now,
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
