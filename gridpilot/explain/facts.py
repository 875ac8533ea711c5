"""Gather the facts of the newest decision from the ledger; nothing is decided and nothing is written.

An id reads `topic.figure`, `topic.name.figure` or `topic.figure@time` (UTC). What the ledger does not have is
left out, never guessed. Energy prices are in the source's own unit, money in `Units.money`; a price per kWh is
shown in money per kWh where the source counts in money per MWh, else in the source's unit. What stored energy and
site power are worth stands beside the energy price, so it is in that unit too.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.domain import MachineType
from gridpilot.explain.fact import Fact, Facts, inert
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision, market, revenue
from gridpilot.monitor.decision import Snapshot, Strike, next_changes, strikes, times, values
from gridpilot.monitor.health import ESTOP, PilotState, in_control
from gridpilot.monitor.health import KEY as PILOT
from gridpilot.monitor.standing import RuleStanding, curtailable, customer_standings, rule_standings
from gridpilot.plan.loads import available_kw
from gridpilot.values import Array, midnight, to_stamp, to_utc

__all__ = ["Book", "Fact", "Facts", "decided", "gather", "inert"]

RANK_DAYS = 30
LIVE_FORECASTS = 24  # newest recorded forecasts that are held against what came
STALE_STEPS = 2.0  # a whole interval is missing: the newest began two steps ago


def gather(ledger: Ledger, wall: datetime | None = None) -> Facts:
    """The facts of the newest decision; empty before the first one.

    With `wall`, the time now, ages go on after the decision; without it they are those of the decision itself.
    """
    snap = decision.load(ledger)
    if snap is None:
        return Facts()
    book = Book(snap)
    alive = wall is None or ledger.lease_holder("pilot", wall) is not None
    stale = _state(book, ledger, wall, alive)
    for topic in (_prices, _pnl, _forecast):
        topic(book, ledger)
    for figures in (
        _battery,
        _machines,
        _machine_counts,
        _curtail,
        _power,
        _money,
        _plan,
        _hours,
        _changes,
        _spreads,
        _auction,
        _risk,
    ):
        figures(book)
    return Facts(book.facts, snap.at.astimezone(book.zone), snap.cycle_id, stale)


def decided(snap: Snapshot) -> Facts:
    """What an earlier decision was and why: battery, machines, power and money as it saw them."""
    book = Book(snap)
    now, at = snap.cycle["prices"], datetime.fromisoformat(snap.cycle["price_at"])
    book.price("price.energy", "energy price", now["energy_usd_per_mwh"], at)
    book.put("dispatch.status", "what became of the set points", snap.dispatch["status"])
    book.put("dispatch.origin", "who made the set points", snap.dispatch["origin"])
    for figures in (_battery, _machines, _power, _money, _plan):
        figures(book)
    return Facts(book.facts, snap.at.astimezone(book.zone), snap.cycle_id)


class Book:
    """Facts as they come in; what is None, empty or not finite is left out."""

    def __init__(self, snap: Snapshot) -> None:
        self.snap = snap
        self.zone = ZoneInfo(snap.site.timezone)
        self.facts: dict[str, Fact] = {}
        units = snap.units
        self.money, self.rate, self.energy = units.money, f"{units.money}/h", units.energy
        self.per_mwh = units.energy == f"{units.money}/MWh"
        self.kind = "cycle"

    def put(
        self, fact_id: str, label: str, value: float | str | None, unit: str = "", at: datetime | None = None
    ) -> None:
        """Add a fact of the ledger entry `kind`."""
        if value is None or value == "" or (not isinstance(value, str) and not math.isfinite(value)):
            return
        moment = (at or self.snap.at).astimezone(self.zone)
        kept = value if isinstance(value, str) else float(value)
        self.facts[fact_id] = Fact(fact_id, label, kept, unit, moment, f"{self.kind} {self.snap.cycle_id}")

    def cite(self, fact_id: str, label: str, value: str, at: datetime, source: str) -> None:
        """Add a word of another ledger entry than this decision's."""
        self.facts[fact_id] = Fact(fact_id, label, value, "", at.astimezone(self.zone), source)

    def name(self, group: str, name: str) -> str:
        """Add the name fact of a group's member and return the short name that stands in ids."""
        short = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-").lower()[:40] or "unnamed"
        while f"{group}.{short}.name" in self.facts:
            short += "-x"
        self.put(f"{group}.{short}.name", f"name of this {group}", name)
        return short

    def price(self, fact_id: str, label: str, usd_per_mwh: float | None, at: datetime | None = None) -> None:
        """An energy price of the grid, in the source's unit."""
        shown = None if usd_per_mwh is None else float(self.snap.shown(usd_per_mwh))
        self.put(fact_id, label, shown, self.energy, at)

    def per_kwh(self, fact_id: str, label: str, usd_per_kwh: float | None, at: datetime | None = None) -> None:
        """A value of one kWh."""
        if usd_per_kwh is not None and not self.per_mwh:
            self.price(fact_id, label, usd_per_kwh * 1000.0, at)
            return
        self.put(fact_id, label, usd_per_kwh, f"{self.money}/kWh", at)

    def break_even(self, fact_id: str, label: str, price: float, unknown: str) -> None:
        """A price in the source's unit, or in words why it is not known."""
        self.put(fact_id, label, unknown or price, "" if unknown else self.energy)

    def worth(self, fact_id: str, label: str, usd_per_kwh: float | None, at: datetime | None = None) -> None:
        """What energy is worth, to be read beside its price."""
        self.price(fact_id, label, None if usd_per_kwh is None else usd_per_kwh * 1000.0, at)

    def age(self, fact_id: str, label: str, seconds: float) -> None:
        """A length of time in its one fitting unit, in whole units but for hours."""
        whole = max(0.0, seconds)
        for limit, size, unit in ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (172800.0, 3600.0, "h")):
            if whole < limit:
                self.put(fact_id, label, round(whole / size, 1 if unit == "h" else 0), unit)
                return
        self.put(fact_id, label, round(whole / 86400.0), "days")


# --- now -----------------------------------------------------------------------------------


def _state(book: Book, ledger: Ledger, wall: datetime | None, alive: bool) -> bool:
    """Who is in control, how old everything is, and what is wrong; True when the data are stale."""
    snap, cycle = book.snap, book.snap.cycle
    made = datetime.fromisoformat(cycle["wall"])
    price_at = datetime.fromisoformat(cycle["price_at"])
    present = snap.at
    pilot = PilotState.load(ledger) if ledger.get_state(PILOT).value else None
    if wall is not None and alive and pilot is not None and pilot.clock is not None:
        present = max(present, pilot.present(wall))
    elif wall is not None and not cycle["simulated"]:
        present += max(timedelta(), wall - made)
    price_age = (present - price_at).total_seconds()
    decision_age = 0.0 if wall is None else (wall - made).total_seconds()
    book.put("source.name", "price source", cycle["source"])
    book.put("source.credit", "where the prices come from", cycle["credit"])
    book.put("source.state", "where the site's readings come from", cycle["state_source"])
    book.put("site.name", "site", snap.site.name)
    book.put("price.at", "start of the newest price", f"{price_at:%Y-%m-%dT%H:%MZ}", "", price_at)
    book.age("age.price", "age of the newest price", price_age)
    if wall is not None:
        book.age("age.decision", "age of the decision", decision_age)
        book.put("pilot.running", "is a pilot running", "yes" if alive else "no")
    if pilot is not None:
        control = in_control(ledger, pilot)
        book.put("pilot.control", "who is in control", control)
        if control == ESTOP and pilot.control != ESTOP:
            book.put("pilot.stopping", "is the stop being carried out", "yes")
        book.put("pilot.message", "the pilot's message", pilot.message)
        book.put("pilot.alarm", "standing alarm", pilot.alarm, "", pilot.alarm_at)
        book.put("pilot.advice", "what to do about the alarm", pilot.advice)
    for i, flag in enumerate((f for f in snap.flags if f.severity != "info"), 1):
        book.put(f"flag.{i}.message", f"{flag.severity} {flag.code} from {flag.stage}", flag.message)
    head = ledger.head()
    book.put("ledger.entries", "number of the newest ledger entry", float(head.seq))
    book.put("ledger.head", "hash of the newest ledger entry", head.hash)
    book.put("dispatch.status", "what became of the set points", snap.dispatch["status"])
    book.put("dispatch.origin", "who made the set points", snap.dispatch["origin"])
    return price_age >= STALE_STEPS * snap.step_s or (not alive and decision_age >= STALE_STEPS * snap.step_s)


def _prices(book: Book, ledger: Ledger) -> None:
    snap, now = book.snap, book.snap.cycle["prices"]
    price_at = datetime.fromisoformat(snap.cycle["price_at"])
    book.price("price.energy", "energy price now", now["energy_usd_per_mwh"], price_at)
    book.put("price.hash", "hash price now", now["hash"], snap.units.hash, price_at)
    book.put("price.token", "token price now", now["token"], snap.units.token, price_at)
    past = ledger.prices(snap.cycle["source"], since=snap.at - timedelta(days=RANK_DAYS), until=snap.at)
    if len(past) < 2:
        return
    known, price = past.energy_usd_per_mwh, now["energy_usd_per_mwh"]
    days = len(past) * snap.step_s / 86400.0
    book.kind = "prices"
    book.put("price.rank", "share of the recent prices that were lower", 100.0 * float(np.mean(known < price)), "%")
    book.put("price.rank_days", "recorded prices behind the rank", days, "days")
    book.price("price.mean", "mean recent price", float(np.mean(known)))
    for name, i in (("lowest", int(np.argmin(known))), ("highest", int(np.argmax(known)))):
        book.price(f"price.{name}", f"{name} recent price", float(known[i]), to_utc(past.timestamp[i]))
    book.kind = "cycle"


def _battery(book: Book) -> None:
    snap, battery = book.snap, book.snap.site.battery
    if battery.capacity_kwh <= 0.0:
        return
    kw, soc = float(snap.dispatch["battery_kw"]), snap.cycle["soc_frac"]
    book.put("battery.capacity", "battery capacity", battery.capacity_kwh, "kWh")
    if soc is not None:
        book.put("battery.soc", "state of charge", 100.0 * soc, "%")
        book.put("battery.stored", "stored energy", soc * battery.capacity_kwh, "kWh")
    book.put("battery.soc_min", "lowest state of charge", 100.0 * battery.soc_min, "%")
    book.put("battery.soc_max", "highest state of charge", 100.0 * battery.soc_max, "%")
    book.put("battery.power", "battery power now, charging positive", kw, "kW")
    book.put("battery.charging", "charging power now", max(kw, 0.0), "kW")
    book.put("battery.discharging", "discharging power now", max(-kw, 0.0), "kW")
    book.put("battery.charge_limit", "charging limit", battery.charge_kw, "kW")
    book.put("battery.discharge_limit", "discharging limit", battery.discharge_kw, "kW")
    round_trip = 100.0 * battery.efficiency_charge * battery.efficiency_discharge
    book.put("battery.round_trip", "share of the energy charged that comes back", round_trip, "%")
    power = snap.plan["power_price_usd_per_kwh"][0]
    power = snap.cycle["prices"]["energy_usd_per_mwh"] / 1000.0 if power is None else power
    cost = (power + battery.wear_usd_per_kwh) / battery.efficiency_charge
    brings = (power - battery.wear_usd_per_kwh) * battery.efficiency_discharge
    worth = snap.plan["marginal_value_usd_per_kwh"][0]
    book.kind = "plan"
    book.worth("battery.cost", "cost of storing energy now, after losses and wear", cost)
    book.worth("battery.brings", "what stored energy brings now, after losses and wear", brings)
    if worth is not None:
        book.worth("battery.gap", "worth of stored energy above what it brings now", worth - brings)
    for name in ("charge", "discharge"):
        series = values(snap.plan[f"{name}_kw"])
        t = next((t for t in range(1, len(series)) if series[t] > 1.0), None)
        if t is not None:
            moment = to_utc(times(snap.plan["timestamp"])[t])
            book.put(f"battery.next_{name}", f"next planned {name}", float(series[t]), "kW", moment)
    book.kind = "cycle"


def _machines(book: Book) -> None:
    snap = book.snap
    ruled = {rule.type: rule for rule in rule_standings(snap)}
    for strike in strikes(snap):
        machine = snap.site.machine(strike.type)
        short = f"machine.{book.name('machine', strike.type)}"
        price_at = datetime.fromisoformat(snap.cycle["price_at"])
        available = round(available_kw(snap.site, machine, price_at) / machine.power_kw)
        book.put(f"{short}.running", f"{strike.type}: machines on", float(strike.running))
        book.put(f"{short}.count", f"{strike.type}: machines there are", float(strike.count))
        book.put(f"{short}.available", f"{strike.type}: machines that have work", float(available))
        book.put(f"{short}.product", f"{strike.type}: what it is paid for", strike.product)
        unknown = "" if strike.known else f"not known without a {strike.product} price"
        margin = strike.margin_usd_per_kwh if strike.known else None
        book.break_even(f"{short}.strike", f"{strike.type}: break-even energy price", strike.strike, unknown)
        book.per_kwh(f"{short}.margin", f"{strike.type}: margin at the price now", margin)
        if strike.type in ruled:
            _rule(book, short, ruled[strike.type], unknown)
        else:
            _turn(book, short, machine, strike)


def _machine_counts(book: Book) -> None:
    """Machines of all types together."""
    known = strikes(book.snap)
    count, running = (float(sum(getattr(row, name) for row in known)) for name in ("count", "running"))
    book.put("machines.count", "machines there are, of all types", count)
    book.put("machines.running", "machines on, of all types", running)
    book.put("machines.off", "machines off, of all types", count - running)


def _rule(book: Book, short: str, rule: RuleStanding, unknown: str) -> None:
    """How the operator's rule for a machine type stands; `unknown` is why its break-even is, where it is."""
    book.put(f"{short}.rule", f"{rule.type}: what its rule says", "runs" if rule.on else "curtailed")
    label = f"{rule.type}: strike price of its rule"
    book.break_even(f"{short}.rule_strike", label, rule.strike, "" if rule.manual else unknown)
    label = "intervals in a row that change its rule"
    book.put(f"{short}.rule_intervals", f"{rule.type}: {label}", float(rule.needed), "intervals")
    if rule.turns is not None:
        t = int(np.searchsorted(times(book.snap.plan["timestamp"]), to_stamp(rule.turns)))
        price = book.snap.plan["energy_usd_per_mwh"][t]
        book.price(f"{short}.rule_turns", f"{rule.type}: price when its rule changes", price, rule.turns)


def _curtail(book: Book) -> None:
    """What could be dropped at once, and customers' windows."""
    found = curtailable(book.snap)
    book.put("curtail.load", "load that could be curtailed at once", found.load_kw, "kW")
    book.put("curtail.battery", "discharge that the battery could add", found.discharge_kw, "kW")
    if found.reserved_kw > 0.0:
        book.put("curtail.reserved", "of what could be curtailed, sold as reserve", found.reserved_kw, "kW")
    for customer in customer_standings(book.snap):
        short = f"customer.{book.name('customer', customer.name)}"
        at = customer.until
        label = f"{customer.name}: slow-down of this window"
        book.put(f"{short}.allowed", f"{label}, allowed", 100.0 * customer.allowed_frac, "%", at)
        book.put(f"{short}.planned", f"{label}, planned", 100.0 * max(0.0, customer.planned_frac), "%", at)
        book.put(f"{short}.kw", f"{customer.name}: power now", customer.kw, "kW")


def _turn(book: Book, short: str, machine: MachineType, strike: Strike) -> None:
    """When the plan switches a type on again, or all of it off."""
    planned = book.snap.plan["loads_kw"].get(strike.type)
    if planned is None:
        return
    on = values(planned) > 0.5 * machine.power_kw
    t = next((t for t in range(1, len(on)) if on[t] != (strike.running > 0)), None)
    if t is not None:
        moment = to_utc(times(book.snap.plan["timestamp"])[t])
        what, label = ("stops", "planned to stop") if strike.running else ("returns", "planned to run again")
        book.price(
            f"{short}.{what}", f"{strike.type}: {label}, price then", book.snap.plan["energy_usd_per_mwh"][t], moment
        )


def _power(book: Book) -> None:
    snap, sent = book.snap, book.snap.dispatch
    grid = float(sent["grid_kw"])
    book.put("load.total", "load now, cooling included", sent["total_power_kw"], "kW")
    book.put("load.cooling", "cooling now", sent["cooling_kw"], "kW")
    book.put("grid.import", "import from the grid now", max(grid, 0.0), "kW")
    book.put("grid.export", "export to the grid now", max(-grid, 0.0), "kW")
    limit_kw = snap.state.import_kw(snap.site.import_kw) if snap.state else snap.site.import_kw
    book.put("grid.import_limit", "grid limit of the moment, import", limit_kw, "kW")
    book.put("grid.export_limit", "grid limit, export", snap.site.export_kw, "kW")


def _money(book: Book) -> None:
    rate, reference = book.snap.cycle["rate"], book.snap.cycle["always_on"]
    book.put("rate.profit", "profit per hour", rate["profit_usd_per_h"], book.rate)
    book.put("rate.machines", "income of the machines", float(sum(rate["machines"].values())), book.rate)
    for name, label in (
        ("tenants", "paid by tenants"),
        ("jobs", "value of the jobs"),
        ("export_income", "export income"),
        ("import_cost", "import cost"),
        ("wear", "battery wear"),
    ):
        book.put(f"rate.{name}", label, rate[name], book.rate)
    book.put(
        "always_on.profit", "profit per hour with every machine always on", reference["profit_usd_per_h"], book.rate
    )
    gain = rate["profit_usd_per_h"] - reference["profit_usd_per_h"]
    book.put("rate.gain", "profit per hour above always on", gain, book.rate)


def _pnl(book: Book, ledger: Ledger) -> None:
    snap = book.snap
    bodies = [row.body for row in revenue.settlements(ledger, midnight(snap.at, snap.site.timezone))]
    if not bodies:
        return
    profit, reference, hours = (
        math.fsum(body[key] for body in bodies) for key in ("profit_usd", "always_on_usd", "hours")
    )
    book.kind = "settlement"
    book.put("pnl.profit", "settled profit today", profit, book.money)
    book.put("pnl.always_on", "the same with every machine always on", reference, book.money)
    book.put("pnl.gain", "settled profit today above always on", profit - reference, book.money)
    book.put("pnl.hours", "settled hours today", hours, "h")
    for name in bodies[0]["money"]:
        book.put(f"pnl.{name}", f"{name} today", math.fsum(body["money"][name] for body in bodies), book.money)
    book.kind = "cycle"


# --- what comes ----------------------------------------------------------------------------


def _plan(book: Book) -> None:
    snap, plan = book.snap, book.snap.plan
    stamps = times(plan["timestamp"])
    book.kind = "plan"
    book.put("plan.status", "status of the plan", plan["status"])
    book.put("plan.method", "method of the plan", plan["method"])
    book.put("plan.objective", "value of the plan", plan["objective_usd"], book.money)
    book.put("plan.hours", "hours planned ahead", len(stamps) * snap.step_s / 3600.0, "h")
    book.put("plan.solve_time", "time to solve the plan", plan["solve_ms"], "ms")
    worth = values(plan["marginal_value_usd_per_kwh"])
    if np.isfinite(worth).any():
        top = int(np.nanargmax(worth))
        book.worth("plan.marginal_value", "worth of stored energy now", plan["marginal_value_usd_per_kwh"][0])
        book.worth(
            "plan.marginal_value_max", "most that stored energy is worth", float(worth[top]), to_utc(stamps[top])
        )
    book.worth("plan.power_price", "worth of more site power now", plan["power_price_usd_per_kwh"][0])
    book.put("plan.import", "planned import now", plan["import_kw"][0], "kW")
    book.put("plan.export", "planned export now", plan["export_kw"][0], "kW")
    book.kind = "cycle"


def _hours(book: Book) -> None:
    """Plan and price band of each whole hour, as facts with their time in the id."""
    snap, plan, band = book.snap, book.snap.plan, book.snap.forecast["bands"]["energy"]
    book.kind = "plan"
    soc = 100.0 * values(plan["soc_frac"])
    for i, stamp in enumerate(times(plan["timestamp"])):
        moment = to_utc(stamp)
        if i and snap.step_s < 3600 and moment.minute:
            continue
        at = f"@{moment:%Y-%m-%dT%H:%MZ}"
        load = sum(kw[i] for kw in plan["loads_kw"].values()) + plan["cooling_kw"][i]
        book.price(f"plan.price{at}", "price in the plan", plan["energy_usd_per_mwh"][i], moment)
        book.put(f"plan.charge{at}", "planned charging", plan["charge_kw"][i], "kW", moment)
        book.put(f"plan.discharge{at}", "planned discharging", plan["discharge_kw"][i], "kW", moment)
        book.put(f"plan.load{at}", "planned load, cooling included", load, "kW", moment)
        book.put(f"plan.soc{at}", "planned state of charge at the end", float(soc[i]), "%", moment)
        worth = plan["marginal_value_usd_per_kwh"][i]
        book.worth(f"plan.marginal_value{at}", "worth of stored energy", worth, moment)
    book.kind = "forecast"
    for i, stamp in enumerate(times(snap.forecast["timestamp"])):
        moment = to_utc(stamp)
        if snap.step_s < 3600 and moment.minute:
            continue
        for name in ("lower", "upper"):
            book.price(f"forecast.{name}@{moment:%Y-%m-%dT%H:%MZ}", f"{name} end of the band", band[name][i], moment)
    book.kind = "cycle"


def _forecast(book: Book, ledger: Ledger) -> None:
    snap, body = book.snap, book.snap.forecast
    band, stamps = body["bands"]["energy"], times(body["timestamp"])
    point = values(band["point"])
    book.kind = "forecast"
    book.put("forecast.method", "forecast method", band["method"])
    book.put("forecast.hours", "hours forecast ahead", len(stamps) * snap.step_s / 3600.0, "h")
    book.put("forecast.level", "share of prices that the band is made to hold", 80.0, "%")  # 10 to 90 % quantile
    for name, i in (("lowest", int(np.argmin(point))), ("highest", int(np.argmax(point)))):
        moment = to_utc(stamps[i])
        book.price(f"forecast.{name}", f"{name} price forecast", float(point[i]), moment)
        for end in ("lower", "upper"):
            book.price(f"forecast.{name}_{end}", f"{end} end of the band there", band[end][i], moment)
    for member, error in body["scores"].get("energy", {}).items():
        short = "forecast.error" if member == "mix" else f"forecast.error_{member}"
        book.price(short, f"mean error of {member} out of sample", error)
    book.put("forecast.days", "days behind the out-of-sample error", body["score_days"], "days")
    source = snap.cycle["source"]
    errors, inside = _came_true(ledger, source, market.since(ledger), snap.at, ledger.price_id(source))
    if errors:
        book.price("forecast.live_error", "mean error of the recorded forecasts that came true", float(np.mean(errors)))
        book.put("forecast.live_inside", "share of those prices inside the band", 100.0 * float(np.mean(inside)), "%")
        book.put("forecast.live_n", "prices compared", float(len(errors)))
    book.kind = "cycle"


@functools.lru_cache(maxsize=8)
def _came_true(
    ledger: Ledger, source: str, since: datetime | None, until: datetime, price_id: int
) -> tuple[list[float], list[bool]]:
    """Errors [$/MWh] of the newest recorded forecasts against the prices that came, and whether the band held.

    They stay the same until there is a newer decision or price: the screens ask every few seconds.
    """
    entries = ledger.entries("forecast", since=since, until=until, limit=LIVE_FORECASTS)
    if not entries:
        return [], []
    rows = ledger.prices(source, since=entries[-1].at, as_of_id=price_id)
    came = dict(zip(rows.timestamp.tolist(), rows.energy_usd_per_mwh.tolist(), strict=True))
    errors: list[float] = []
    inside: list[bool] = []
    for entry in entries:
        band = entry.body["bands"]["energy"]
        for i, stamp in enumerate(times(entry.body["timestamp"]).tolist()):
            if stamp in came and band["point"][i] is not None:
                errors.append(abs(band["point"][i] - came[stamp]))
                inside.append(band["lower"][i] <= came[stamp] <= band["upper"][i])
    return errors, inside


def _changes(book: Book) -> None:
    book.kind = "plan"
    stopped = book.snap.dispatch["origin"] == "estop"  # what was planned does not come
    for i, change in enumerate([] if stopped else next_changes(book.snap), 1):
        key, at = f"change.{i}", change.at
        book.put(f"{key}.what", "what changes", change.what, "", at)
        book.put(f"{key}.kind", "kind of change", _kind(change.what, change.before_kw, change.after_kw), "", at)
        book.put(f"{key}.before", "power before", abs(change.before_kw), "kW", at)
        book.put(f"{key}.after", "power after", abs(change.after_kw), "kW", at)
        book.put(f"{key}.price", "price then", change.energy_price, book.energy, at)
        side = "brings" if change.usd >= 0.0 else "costs"
        book.put(f"{key}.{side}", f"what it {side} over its run", abs(change.usd), book.money, at)
    book.kind = "cycle"


def _kind(what: str, before: float, after: float) -> str:
    if what != "battery":
        return "rises" if after > before else "falls"
    return "charges" if after > 0.5 else "discharges" if after < -0.5 else "rests"


def _spreads(book: Book) -> None:
    """Each time the plan charges and then discharges: mean price bought and sold at, and what is left of it."""
    snap, battery = book.snap, book.snap.site.battery
    stamps, price = times(snap.plan["timestamp"]), values(snap.plan["energy_usd_per_mwh"])
    charge, discharge = values(snap.plan["charge_kw"]), values(snap.plan["discharge_kw"])
    round_trip = battery.efficiency_charge * battery.efficiency_discharge
    book.kind = "plan"
    blocks = _blocks(charge, discharge)
    n = 0
    for (bought, first), (sold, second) in pairwise(blocks):
        if not (bought and not sold):
            continue
        n += 1
        buy = float(np.average(price[first], weights=charge[first]))
        sell = float(np.average(price[second], weights=discharge[second]))
        wear = 1000.0 * battery.wear_usd_per_kwh * (1.0 + 1.0 / round_trip)
        start, end = to_utc(stamps[first[0]]), to_utc(stamps[second[0]])
        hours = snap.step_s / 3600.0
        book.price(f"spread.{n}.buy", "mean price bought at", buy, start)
        book.price(f"spread.{n}.sell", "mean price sold at", sell, end)
        book.put(f"spread.{n}.bought", "energy bought", float(charge[first].sum()) * hours, "kWh", start)
        book.put(f"spread.{n}.sold", "energy sold", float(discharge[second].sum()) * hours, "kWh", end)
        book.price(f"spread.{n}.left", "left after losses and wear", sell - buy / round_trip - wear, end)
    book.kind = "cycle"


def _blocks(charge: Array, discharge: Array) -> list[tuple[bool, list[int]]]:
    """(is it charging, its steps) of each stretch between changes of direction; rest in between does not count."""
    out: list[tuple[bool, list[int]]] = []
    for t in range(len(charge)):
        if max(charge[t], discharge[t]) < 1.0:
            continue
        charging = bool(charge[t] > discharge[t])
        if not out or out[-1][0] != charging:
            out.append((charging, []))
        out[-1][1].append(t)
    return out


def _auction(book: Book) -> None:
    body = book.snap.auction
    book.kind = "auction"
    book.worth("auction.price", "clearing price of site power", body["clearing_price"])
    book.worth("auction.reserve", "reserve price of site power", body["reserve_usd_per_kwh"])
    book.put("auction.capacity", "power offered", body["capacity_kw"], "kW")
    book.put("auction.welfare", "value above the reserve price", body["welfare"], book.rate)
    payments = {payment["bidder"]: payment for payment in body["payments"]}
    tenants = {tenant.name for tenant in book.snap.site.tenants}
    book.put("site.tenants", "tenants of this site", float(len(tenants)))
    for bidder in dict.fromkeys(row["bidder"] for row in body["allocation"]):
        rows = [row for row in body["allocation"] if row["bidder"] == bidder]
        key = f"bidder.{book.name('bidder', bidder)}"
        for name, label, field, unit in (
            ("kw", "power got", "kw", "kW"),
            ("asked", "power asked", "asked_kw", "kW"),
            ("value", "worth to it, by its own bid", "value_usd_per_h", book.rate),
        ):
            book.put(f"{key}.{name}", f"{bidder}: {label}", math.fsum(row[field] for row in rows), unit)
        if bidder in tenants:
            book.put(f"{key}.is", f"{bidder}: what it is", "tenant")
        _payment(book, key, bidder, payments.get(bidder))
        kw, pays = (
            book.facts[f"{key}.{name}"].value if f"{key}.{name}" in book.facts else 0.0 for name in ("kw", "pays")
        )
        if isinstance(kw, float) and isinstance(pays, float) and kw > 0.05 and pays > 0.0:
            book.per_kwh(f"{key}.per_kwh", f"{bidder}: pays for a kWh of its power", pays / kw)
    book.kind = "cycle"


def _payment(book: Book, key: str, bidder: str, payment: dict[str, Any] | None) -> None:
    if payment is None:
        return
    book.put(f"{key}.pays", f"{bidder}: pays, for the power of its cooling too", payment["usd_per_h"], book.rate)
    if payment["externality"]:
        most = max(payment["externality"], key=lambda row: row["usd_per_h"])
        book.put(f"{key}.displaced", f"{bidder}: who mostly would have had its power", most["displaced"])
        book.put(f"{key}.displaced_kw", f"{bidder}: power that it keeps from there", most["kw"], "kW")
        book.put(f"{key}.displaced_value", f"{bidder}: what that power was worth there", most["usd_per_h"], book.rate)


def _risk(book: Book) -> None:
    body = book.snap.risk
    book.kind = "risk"
    book.put("risk.status", "status of the risk figures", body["status"])
    book.put("risk.paths", "price paths simulated", float(body["n"]))
    if body["status"] == "ok" and None not in (body["var"], body["cvar"], body["risk_adjustment_factor"]):
        book.put("risk.level", "share of the paths that VaR covers", 100.0 * body["alpha"], "%")
        book.put("risk.tail_share", "share of the paths beyond VaR", 100.0 * (1.0 - body["alpha"]), "%")
        book.put("risk.expected", "expected result of the plan", body["expected"], book.money)
        for name, label in (("var", "VaR, a loss when positive"), ("cvar", "CVaR, a loss when positive")):
            book.put(f"risk.{name}", label, body[name], book.money)
        book.put("risk.floor", "result that the VaR share reaches at least", -body["var"], book.money)
        book.put("risk.tail", "mean result beyond VaR", -body["cvar"], book.money)
        book.put("risk.drawdown", "largest drawdown", body["max_drawdown"], book.money)
        book.put(
            "risk.allowed", "discretionary power that the risk allows", 100.0 * body["risk_adjustment_factor"], "%"
        )
    book.kind = "cycle"
