"""Settlement: what the set points that were in force since the last cycle really did.

`Running` is the site's memory between cycles (kept in the ledger's state under "running"): what was set,
until when, the state of charge, and the energy that each job has had. `settle` carries it forward to `now`
over the prices that came, interval by interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gridpilot.dispatch.simulator import START_SOC, advance
from gridpilot.domain import DataFlag, PriceHistory, Site
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.pnl import Prices, Rate, SetPoints, always_on, by_asset, rate
from gridpilot.monitor.promises import CREDITS, DEMAND, RESERVE, Promises, carried, job_credits
from gridpilot.plan.loads import job_needs
from gridpilot.values import iso, to_jsonable, to_utc


@dataclass(frozen=True, slots=True)
class Running:
    """Set points in force since `at`, and the simulated battery's state at that moment."""

    at: datetime
    valid_until: datetime
    soc_frac: float = START_SOC
    battery_kw: float = 0.0
    machines: Mapping[str, int] = field(default_factory=dict)
    jobs_kw: Mapping[str, float] = field(default_factory=dict)
    tenants_kw: Mapping[str, float] = field(default_factory=dict)
    tenants_usd_per_h: float = 0.0
    jobs_kwh: Mapping[str, float] = field(default_factory=dict)  # "name@deadline" -> delivered so far
    cycle_id: str = ""
    promises: Promises = field(default_factory=Promises)
    room_kw: float = 0.0
    room_c: float | None = None  # of the simulated IT room; None: at its set point

    def rates(self, site: Site, prices: Prices, local_hour: int, battery_kw: float) -> tuple[Rate, Rate]:
        """Money per hour of these set points, and of the reference "always on", at these prices."""
        earned = rate(
            site,
            prices,
            self.machines,
            battery_kw=battery_kw,
            jobs_kw=self.jobs_kw,
            tenants_kw=self.tenants_kw,
            tenants_usd_per_h=self.tenants_usd_per_h,
            room_kw=self.room_kw,
        )
        base = always_on(
            site,
            prices,
            local_hour,
            jobs_kw=self.jobs_kw,
            tenants_kw=self.tenants_kw,
            tenants_usd_per_h=self.tenants_usd_per_h,
        )
        return earned, base

    def to_json(self) -> dict[str, Any]:
        """For the ledger's state."""
        body: dict[str, Any] = to_jsonable(self)
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Running:
        """The inverse of `to_json`."""
        times = {name: datetime.fromisoformat(body[name]) for name in ("at", "valid_until")}
        owed = {"promises": Promises.from_json(body["promises"])} if "promises" in body else {}
        return cls(**{**body, **times, **owed})


@dataclass(frozen=True, slots=True)
class Settlement:
    """Money and energy of the time between two cycles."""

    start: datetime
    end: datetime
    hours: float
    profit_usd: float
    always_on_usd: float
    money: Mapping[
        str, float
    ]  # income: hash, token, tenants, jobs, export, reserve; cost: import, wear, credits, demand
    consumed_kwh: float
    battery_kwh: float  # charged minus discharged, at the terminals
    cycle_id: str
    assets: Mapping[str, float] = field(default_factory=dict)  # the profit by who made it; adds up to it


KEY = "running"  # of the ledger's state


def load(ledger: Ledger) -> Running | None:
    """What is in force, as the last cycle left it."""
    body = ledger.get_state(KEY).value
    return Running.from_json(body) if body else None


def settle(
    site: Site, history: PriceHistory, running: Running | None, now: datetime
) -> tuple[Running, Settlement | None, tuple[DataFlag, ...]]:
    """Carry `running` forward to `now`. No settlement on the first cycle or where the clock went back."""
    if running is None:
        flag = DataFlag("SIMULATED_SOC", f"no battery reading yet: the simulated battery starts at {START_SOC:.0%}")
        return Running(now, now), None, (flag,)
    if now < running.at:
        flag = DataFlag(
            "CLOCK_BACK", f"source time went back from {iso(running.at)} to {iso(now)}: nothing settled", "warn"
        )
        return replace(running, at=now, valid_until=now, promises=Promises()), None, (flag,)
    flags: tuple[DataFlag, ...] = ()
    end = min(now, running.valid_until)
    if now > running.valid_until:
        text = (
            f"set points expired at {iso(running.valid_until)}, next cycle at {iso(now)}: site counted as off between"
        )
        flags = (DataFlag("EXPIRED", text, "warn", "dispatch"),)
    if end <= running.at:
        return replace(running, at=now), None, flags
    return (*_carry(site, history, running, end, now), flags)


def _carry(
    site: Site, history: PriceHistory, running: Running, end: datetime, now: datetime
) -> tuple[Running, Settlement]:
    soc, battery_kwh, consumed = running.soc_frac, 0.0, 0.0
    money = dict.fromkeys(("hash", "token", "tenants", "jobs", "export", "import", "wear"), 0.0)
    draws = []
    assets: dict[str, float] = {}
    profit = reference = 0.0
    zone = ZoneInfo(site.timezone)
    for prices, start, hours in _pieces(history, running.at, end):
        soc, battery_kw = advance(site.battery, soc, running.battery_kw, hours * 3600.0)
        earned, base = running.rates(site, prices, start.astimezone(zone).hour, battery_kw)
        _add(money, site, earned, hours)
        ran = SetPoints(running.machines, battery_kw, running.jobs_kw, running.tenants_kw, running.room_kw)
        for name, usd in by_asset(site, prices, earned, ran).items():
            assets[name] = assets.get(name, 0.0) + usd * hours
        profit += earned.profit_usd_per_h * hours
        reference += base.profit_usd_per_h * hours
        battery_kwh += battery_kw * hours
        consumed += earned.load_kw * hours
        draws.append((start, earned.load_kw + battery_kw))
    jobs_kwh = _job_energy(site, running, end)
    promises, owed = carried(site, running.promises, draws, running.at, end, now)
    owed[CREDITS] += job_credits(site, jobs_kwh, running.at, end)
    money |= owed
    profit += owed[RESERVE] - owed[CREDITS] - owed[DEMAND]
    promised = {"reserve": owed[RESERVE], "credits": -owed[CREDITS], "demand": -owed[DEMAND]}
    assets |= {name: usd for name, usd in promised.items() if usd}
    settled = Settlement(
        running.at,
        end,
        (end - running.at).total_seconds() / 3600.0,
        profit,
        reference,
        money,
        consumed,
        battery_kwh,
        running.cycle_id,
        assets,
    )
    return replace(
        running, at=now, soc_frac=soc, jobs_kwh=jobs_kwh, promises=promises, room_c=_room_c(site, running, end, now)
    ), settled


def _room_c(site: Site, running: Running, end: datetime, now: datetime) -> float | None:
    """The room's temperature at `now`: moved by the cooling in force until `end`, then back towards its set point."""
    room = site.room
    if not room.planned:
        return None
    start = room.set_c if running.room_c is None else running.room_c
    hours = [(end - running.at).total_seconds() / 3600.0, (now - end).total_seconds() / 3600.0]
    return room.after(room.after(start, running.room_kw, site.cooling.cop, hours[0]), 0.0, site.cooling.cop, hours[1])


def _pieces(history: PriceHistory, start: datetime, end: datetime) -> list[tuple[Prices, datetime, float]]:
    """(prices, start, hours) of each price interval between two moments; the first price reaches back."""
    step = timedelta(seconds=history.step_s)
    first = to_utc(history.timestamp[0])
    out = []
    at = start
    while at < end:
        index = min(max(int((at - first) / step), 0), len(history) - 1)
        stop = min(end, first + (index + 1) * step) if index < len(history) - 1 else end
        out.append((Prices.of(history, index), at, (stop - at).total_seconds() / 3600.0))
        at = stop
    return out


def _add(money: dict[str, float], site: Site, now_rate: Rate, hours: float) -> None:
    for name, usd in now_rate.machines.items():
        money[site.machine(name).product] += usd * hours
    money["tenants"] += now_rate.tenants * hours
    money["jobs"] += now_rate.jobs * hours
    money["export"] += now_rate.export_income * hours
    money["import"] += now_rate.import_cost * hours
    money["wear"] += now_rate.wear * hours


def _job_energy(site: Site, running: Running, end: datetime) -> dict[str, float]:
    """Delivered energy by job run, with what was delivered since `running.at` added; old runs are forgotten."""
    hours = (end - running.at).total_seconds() / 3600.0
    out = dict(running.jobs_kwh)
    for need in job_needs(site, running.at, 0.0, running.jobs_kwh):
        key = f"{need.name}@{iso(need.deadline)}"
        out[key] = out.get(key, 0.0) + running.jobs_kw.get(need.name, 0.0) * hours
    oldest = end - timedelta(days=2)
    return {key: kwh for key, kwh in out.items() if datetime.fromisoformat(key.rsplit("@", 1)[1]) > oldest}
