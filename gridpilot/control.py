"""What is in force at the site: decided by a cycle, guarded by the emergency protocols, followed by what is read.

A cycle decides once an interval. In between, each reading is looked at: whether the machines do what they were told,
whether somebody else changed them, and whether an emergency protocol or a curtailment asks for something else. What is
sent in between goes the same way as a cycle's: settled, checked, INTENT, put, read back, RESULT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from gridpilot import report
from gridpilot.dispatch import curtailment, reconcile
from gridpilot.dispatch.emergency import changed, failsafe
from gridpilot.dispatch.gateway import MachineGateway
from gridpilot.dispatch.guard import ORIGIN as EMERGENCY
from gridpilot.dispatch.guard import SETTLE_S, Memory, Terms, guard, same
from gridpilot.dispatch.simulator import advance
from gridpilot.domain import DataFlag, Dispatch, GridLimit, Plan, PriceHistory, Reading, Site, SiteState, Switched
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import metering, settle
from gridpilot.monitor.decision import GUARD
from gridpilot.monitor.pnl import Prices, machine_kw
from gridpilot.monitor.promises import Promises
from gridpilot.values import to_jsonable

FAR = timedelta(days=365)
HOLD = "hold"  # origin of a dispatch that leaves the machines as they are
RECORD_S = 60.0  # between two readings on record, while nothing happens; each one counts in a curtailment
LOOK_AHEAD_S = 120.0  # of the gap between two looks, at the most
SAMPLE_S = 10.0  # between two in a curtailment


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading, the limits of the connection that hold or will hold, and whether a curtailment began or ended.

    `ahead_s` is how soon something must be told to be done by the next look and in its own time.
    """

    reading: Reading
    limits: tuple[GridLimit, ...] = ()
    turned: bool = False
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What a cycle decided: `decided` by itself, `dispatch` within the emergency protocols, and why they differ."""

    site: Site
    state: SiteState
    plan: Plan
    decided: Dispatch
    dispatch: Dispatch
    flags: tuple[DataFlag, ...]
    memory: Memory
    history: PriceHistory
    paid_usd_per_h: float = 0.0  # by the tenants, for what `decided` gives them
    cycle_id: str = ""


@dataclass(slots=True)
class Control:
    """Keeps a site at what was decided, within what the moment allows."""

    gateway: MachineGateway
    ledger: Ledger
    orders: Orders | None = None
    sent: Dispatch | None = None
    memory: Memory = field(default_factory=Memory)
    followed: reconcile.Followed = field(default_factory=reconcile.Followed)
    recorded: Reading | None = None  # the last one
    looked_at: datetime | None = None
    reported_kw: float | None = None  # the newest limit of the connection that the site could tell
    untold: bool = False  # it can't tell any more, and that was said

    def look(self, site: Site, now: datetime, running: settle.Running | None, *, quiet: bool = False) -> Seen:
        """Read the site and bring curtailments to `now`; `quiet` writes nothing. GatewayError where it can't be read.

        Where the site has no meter, the import is what its machines and the set points of the rest draw.
        """
        reading = self.gateway.read(now)
        if reading.grid_kw is None and running is not None:
            load_kw = draw_kw(site, reading.machines, running)
            reading = replace(reading, grid_kw=load_kw + running.battery_kw)
        if quiet:
            rows = curtailment.events(self.ledger, curtailment.LIVE)
            turned, limits = False, tuple(row.limit(site.import_kw) for row in rows)
        else:
            mean_kw = partial(metering.mean_kw, self.ledger)
            turned, limits = curtailment.advance(self.ledger, site, now, mean_kw)
        reported_kw = self._reported(reading, now, quiet=quiet)
        if reported_kw is not None:
            limits = (*limits, GridLimit(now, now + FAR, max(0.0, reported_kw)))
        gap_s = 0.0 if self.looked_at is None else (now - self.looked_at).total_seconds()
        self.looked_at = now
        return Seen(reading, limits, turned, min(max(gap_s, 0.0), LOOK_AHEAD_S) + site.simulation.off_s)

    def _reported(self, reading: Reading, now: datetime, *, quiet: bool) -> float | None:
        """The limit that the site reports [kW]; the newest one goes on to hold while it can't tell (an alarm)."""
        if reading.import_kw is None or math.isfinite(reading.import_kw):
            self.reported_kw, self.untold = reading.import_kw, False
        elif not (self.untold or quiet):
            self.untold = True
            kept = "none was known" if self.reported_kw is None else f"{self.reported_kw:.1f} kW go on to hold"
            text = f"the site can't tell the limit of its connection any more: {kept}"
            body = {"code": "LIMIT_LOST", "severity": "alarm", "stage": "dispatch", "message": text}
            self.ledger.append("alarm", body, at=now)
        return self.reported_kw

    def carry_out(self, orders: Orders, seen: Seen, now: datetime, *, token: int | None) -> Dispatch:
        """Send a cycle's orders and keep to them from now on. Where the site is held, nothing is sent but what the
        emergency protocols ask for; the dispatch then says "held"."""
        self.record(seen.reading, now, orders.cycle_id)
        self.orders = orders
        if reconcile.held(self.ledger) is not None and orders.dispatch.origin == HOLD:
            self.memory, self.sent = orders.memory, replace(orders.dispatch, status="held")
            return self.sent
        return self._send(orders, seen, now, token)

    def _send(self, orders: Orders, seen: Seen, now: datetime, token: int | None) -> Dispatch:
        before = seen.reading.target
        sent = reconcile.execute(
            self.ledger, self.gateway, orders.dispatch, now, cycle_id=orders.cycle_id, token=token, before=before
        )
        self.memory = replace(orders.memory, sent_kw=sent.grid_kw, sent_at=now)
        self.followed = reconcile.sent(self.followed, now)
        self.sent = sent
        return sent

    def record(self, reading: Reading, now: datetime, cycle_id: str) -> None:
        """Put a reading on record."""
        self.ledger.append(metering.KIND, metering.record(reading), at=now, cycle_id=cycle_id)
        self.recorded = reading

    # --- between two cycles --------------------------------------------------------------------

    def follow(self, now: datetime, *, token: int | None) -> bool:
        """Look, and do what the moment asks for; whether a new decision is asked for.

        Nothing is done before the first decision and after the end of its set points.
        """
        orders, running = self.orders, settle.load(self.ledger)
        if orders is None or self.sent is None or running is None:
            return False
        seen = self.look(orders.site, now, running)
        if self._worth_recording(seen, now):
            self.record(seen.reading, now, orders.cycle_id)
        if seen.turned:
            return True
        if running.at <= now < orders.decided.valid_until:  # afterwards the fail-safe state is not somebody's change
            if self.sent.status in reconcile.SENT:
                self.followed = reconcile.follow(self.ledger, self.followed, self.sent, seen.reading, now)
            self._keep(orders, seen, running, now, token)
        return False

    def _worth_recording(self, seen: Seen, now: datetime) -> bool:
        """Once a minute and where machines have changed; more often in a curtailment, and with every look just after a
        command in one."""
        last = self.recorded
        if last is None or now < last.at or seen.reading.machines != last.machines:
            return True
        active = any(limit.at(now) < math.inf for limit in seen.limits)
        moved = active and self.memory.sent_at is not None and now - self.memory.sent_at <= timedelta(seconds=SETTLE_S)
        every_s = 0.0 if moved else SAMPLE_S if active else RECORD_S
        return now > last.at and now - last.at >= timedelta(seconds=every_s)

    def _keep(self, orders: Orders, seen: Seen, running: settle.Running, now: datetime, token: int | None) -> None:
        """Send again where the protocols ask for something else by now, or somebody else changed the machines."""
        reading, decided = seen.reading, orders.decided
        state = replace(
            orders.state,
            at=now,
            machines=reading.target,
            battery_kw=running.battery_kw,
            soc_frac=soc_now(orders.site, reading, running, now),
            limits=seen.limits,
        )
        left_s = min(decided.step_s, (decided.valid_until - now).total_seconds())
        decided_now = replace(decided, at=now, step_s=left_s)
        orders = within(replace(orders, state=state, decided=decided_now, memory=self.memory), seen)
        self.memory = replace(orders.memory, sent_kw=self.memory.sent_kw, sent_at=self.memory.sent_at)
        again = self.followed.resend
        unchanged = self.sent is not None and same(orders.dispatch, self.sent)
        quiet = reconcile.held(self.ledger) is not None and orders.dispatch.origin == decided.origin
        if quiet or (unchanged and not again):
            return
        running, settlement, _ = settle.settle(orders.site, orders.history, running, now)
        running = read_in(running, reading)
        with self.ledger.transaction() as work:
            work.put_state(settle.KEY, running.to_json())
            if settlement is not None:
                work.append("settlement", settlement, at=now, cycle_id=orders.cycle_id)
        sent = self._send(orders, seen, now, token)
        running = in_force(running, orders, reading.target, sent)
        body = {
            "flags": orders.flags,
            "again": again,
            "dispatch": report.dispatch_json(sent),
            **rates(orders, running, now),
        }
        with self.ledger.transaction() as work:
            work.put_state(settle.KEY, running.to_json())
            work.append(GUARD, body, at=now, cycle_id=orders.cycle_id)


def within(orders: Orders, seen: Seen) -> Orders:
    """Orders with `decided` brought within the emergency protocols: always something that may be sent, everything off
    if need be. Writes nothing."""
    site, state, decided = orders.site, orders.state, orders.decided
    done = guard(site, state, decided, seen.reading, orders.memory, _terms(orders, seen.ahead_s))
    out = done.dispatch
    if not out.constraints_satisfied and out is not decided:
        rested = changed(site, state, decided, battery_kw=0.0, room_kw=0.0, origin=EMERGENCY)
        safer = (
            changed(site, state, out, battery_kw=0.0, room_kw=0.0),
            guard(site, state, rested, seen.reading, orders.memory, _terms(orders, seen.ahead_s)).dispatch,
            failsafe(site, state, out.at, out.valid_until),
        )
        out = next((d for d in safer if d.constraints_satisfied), out)
    return replace(orders, dispatch=out, flags=done.flags, memory=done.memory)


def _terms(orders: Orders, ahead_s: float) -> Terms:
    plan = orders.plan
    reserve = float(plan.reserve_up_kw[0]), float(plan.reserve_down_kw[0])
    worth = {offer.of: offer.worth_usd_per_kwh for offer in plan.offers}
    return Terms(reserve, worth or None, ahead_s)


def draw_kw(site: Site, machines: Mapping[str, int], running: settle.Running) -> float:
    """What machines, jobs and tenants draw now, with their cooling [kW]."""
    it_kw = machine_kw(site, machines) + sum(running.jobs_kw.values()) + sum(running.tenants_kw.values())
    return it_kw * (1.0 + site.cooling.kw_per_kw) + running.room_kw


def soc_now(site: Site, reading: Reading, running: settle.Running, now: datetime) -> float:
    """The state of charge as read; where the site has no such sensor, as it follows from the set points."""
    if reading.soc_frac is not None:
        return reading.soc_frac
    return advance(site.battery, running.soc_frac, running.battery_kw, (now - running.at).total_seconds())[0]


def read_in(running: settle.Running, reading: Reading) -> settle.Running:
    """With the state of charge and room temperature that were read, where there are such sensors and they are sane."""
    soc, room_c = reading.soc_frac, reading.room_c
    if soc is not None and math.isfinite(soc) and 0.0 <= soc <= 1.0:
        running = replace(running, soc_frac=soc)
    if room_c is not None and math.isfinite(room_c) and running.room_c is not None:
        running = replace(running, room_c=room_c)
    return running


def rates(orders: Orders, running: settle.Running, now: datetime) -> dict[str, Any]:
    """What the set points in force bring and cost an hour, and what "always on" would."""
    site, prices = orders.site, Prices.of(orders.history)
    hour = now.astimezone(ZoneInfo(site.timezone)).hour
    named = zip(("rate", "always_on"), running.rates(site, prices, hour, running.battery_kw), strict=True)
    return {name: {**to_jsonable(rate), "profit_usd_per_h": rate.profit_usd_per_h} for name, rate in named}


def in_force(running: settle.Running, orders: Orders, before: Mapping[str, int], sent: Dispatch) -> settle.Running:
    """What is in force from now on. After an unknown outcome the site is taken to run what was asked."""
    if sent.status in ("refused", "expired"):
        return running
    asked_kw = sum(orders.decided.tenants_kw.values())
    share = sum(sent.tenants_kw.values()) / asked_kw if asked_kw > 0.0 else 0.0
    return replace(
        running,
        valid_until=sent.valid_until,
        battery_kw=sent.battery_kw,
        machines=dict(sent.machines),
        jobs_kw=dict(sent.jobs_kw),
        tenants_kw=dict(sent.tenants_kw),
        tenants_usd_per_h=orders.paid_usd_per_h * share,
        cycle_id=orders.cycle_id,
        promises=_promises(running.promises, orders, before, sent),
        room_kw=sent.room_kw,
    )


def _promises(owed: Promises, orders: Orders, before: Mapping[str, int], sent: Dispatch) -> Promises:
    """What the new set points owe: each customer's part of the power that its machines really get, and the reserve."""
    site, plan, kw = orders.site, orders.plan, {}
    for customer in site.customers:
        planned = float(plan.loads_kw[customer.type][0])
        given = sent.machines.get(customer.type, 0) * site.machine(customer.type).power_kw
        share = given / planned if planned > 0.0 else 0.0
        kw[customer.name] = float(plan.customers_kw[customer.name][0]) * share
    moved = {m.type: sent.machines.get(m.type, 0) - before.get(m.type, 0) for m in site.machines}
    switched = tuple(Switched(name, sent.at, count) for name, count in moved.items() if count)
    promised = sent.origin in ("plan", EMERGENCY)  # reserve that is being delivered is still promised
    return replace(
        owed,
        customers_kw=kw,
        switched=(*owed.switched, *switched),
        reserve_up_kw=float(plan.reserve_up_kw[0]) if promised else 0.0,
        reserve_down_kw=float(plan.reserve_down_kw[0]) if promised else 0.0,
    )
