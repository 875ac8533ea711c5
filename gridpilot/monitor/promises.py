"""What the site owes beyond energy, kept between cycles: service, the month's peak, reserve, switched machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gridpilot.domain import Customer, Served, Site, Switched
from gridpilot.plan.loads import available_kw, job_needs, service_window
from gridpilot.values import iso

RESERVE, CREDITS, DEMAND = "reserve", "credits", "demand"
REMEMBERED = timedelta(hours=24)  # the longest minimum run time


@dataclass(frozen=True, slots=True)
class Promises:
    """customers_kw and the reserve are in force now; peak_kw is the highest import of `peak_month` (local) so far."""

    served: tuple[Served, ...] = ()
    switched: tuple[Switched, ...] = ()
    peak_kw: float = 0.0
    peak_month: str = ""
    customers_kw: Mapping[str, float] = field(default_factory=dict)
    reserve_up_kw: float = 0.0
    reserve_down_kw: float = 0.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Promises:
        """The inverse of `values.to_jsonable`."""
        served = tuple(Served(**{**row, "start": datetime.fromisoformat(row["start"])}) for row in body["served"])
        switched = tuple(Switched(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in body["switched"])
        return cls(**{**body, "served": served, "switched": switched})


def carried(
    site: Site, kept: Promises, draws: Sequence[tuple[datetime, float]], start: datetime, end: datetime, now: datetime
) -> tuple[Promises, dict[str, float]]:
    """What is owed at `now`, and the money of it since `start` [$]: reserve earned, credits and demand charge due.

    `draws` are the imports [kW] since `start` with their beginnings; the set points were in force until `end`.
    """
    money = {RESERVE: 0.0, CREDITS: 0.0, DEMAND: 0.0}
    hours = (end - start).total_seconds() / 3600.0
    paid = kept.reserve_up_kw * site.reserve.up_usd_per_mw_h + kept.reserve_down_kw * site.reserve.down_usd_per_mw_h
    money[RESERVE] = paid / 1000.0 * hours
    served = {row.name: row for row in kept.served}
    for customer in site.customers:
        kw = kept.customers_kw.get(customer.name, 0.0)
        served[customer.name], credits = _served(site, customer, kw, served.get(customer.name), start, end, now)
        money[CREDITS] += credits
    peak_kw, month = kept.peak_kw, kept.peak_month
    for moment, grid_kw in draws:
        local = f"{moment.astimezone(ZoneInfo(site.timezone)):%Y-%m}"
        peak_kw, month = (peak_kw, month) if local == month else (0.0, local)
        money[DEMAND] += site.demand_usd_per_kw * max(0.0, grid_kw - peak_kw)
        peak_kw = max(peak_kw, grid_kw)
    recent = tuple(switch for switch in kept.switched if now - switch.at < REMEMBERED)
    names = [customer.name for customer in site.customers]
    kept = replace(kept, served=tuple(served[n] for n in names), switched=recent, peak_kw=peak_kw, peak_month=month)
    return kept, money


def _served(
    site: Site, customer: Customer, kw: float, row: Served | None, start: datetime, end: datetime, now: datetime
) -> tuple[Served, float]:
    """A customer's window at `now`, and the credits of those that ended since `start` [$]."""
    machine, credits = site.machine(customer.type), 0.0
    for a, b in _hours(start, end, now):
        begun = service_window(site, customer.window_h, a)
        if row is None or row.start != begun:
            credits += _credit(customer, row)
            row = Served(customer.name, begun, 0.0, 0.0)
        hours = (b - a).total_seconds() / 3600.0
        asked_kw = customer.share * available_kw(site, machine, a)
        got_kw = min(kw, asked_kw) if a < end else 0.0
        row = replace(row, served_kwh=row.served_kwh + got_kw * hours, asked_kwh=row.asked_kwh + asked_kw * hours)
    return row or Served(customer.name, service_window(site, customer.window_h, now), 0.0, 0.0), credits


def _credit(customer: Customer, row: Served | None) -> float:
    """What the missing service of a window costs that is over [$]."""
    if row is None or not customer.short_usd_per_kwh:
        return 0.0
    short = (1.0 - customer.allowed_slowdown) * row.asked_kwh - row.served_kwh
    return max(0.0, short) * customer.short_usd_per_kwh


def _hours(start: datetime, end: datetime, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[start, now] cut at the quarters of an hour (every zone's hours begin on one) and at `end`."""
    at = start
    while at < now:
        whole = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15)
        stop = min(whole, now, *([end] if at < end else []))
        yield at, stop
        at = stop


def job_credits(site: Site, delivered: Mapping[str, float], start: datetime, end: datetime) -> float:
    """What is due for jobs whose deadline passed in (start, end] with energy missing [$]."""
    price = {job.name: job.shortfall_usd_per_kwh for job in site.jobs}
    energy = {job.name: job.energy_kwh for job in site.jobs}
    due = 0.0
    for need in job_needs(site, start, (end - start).total_seconds(), {}):
        if start < need.deadline <= end and price[need.name] > 0.0:
            had = delivered.get(f"{need.name}@{iso(need.deadline)}", 0.0)
            due += max(0.0, energy[need.name] - had) * price[need.name]
    return due
