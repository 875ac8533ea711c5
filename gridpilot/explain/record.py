"""Facts about a stretch of the past: its money by cause and by who made it, its energy, its extremes and its counts.

They are sums of the settlements that began in that time and of the recorded prices; what a ledger does not have is left
out. `past` is the time that a question is about, `before` the one that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from gridpilot.explain.facts import Book
from gridpilot.explain.when import When
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import market, revenue, settle
from gridpilot.monitor.revenue import Day
from gridpilot.values import Array, Times, midnight, to_utc

CAUSES: Final[Mapping[str, str]] = {
    "hash": "income from hashing", "token": "income from inference", "tenants": "paid by tenants",
    "jobs": "value of the jobs", "export": "income from power to the grid", "reserve": "income from reserve",
    "import": "cost of power from the grid", "wear": "battery wear", "credits": "credits due for missed promises",
    "demand": "demand charges",
}  # fmt: skip
COSTS: Final = ("import", "wear", "credits", "demand")
INCOME: Final = ("hash", "token", "tenants", "jobs", "export", "reserve")

EQUAL: Final = 0.01  # share by which two times may differ in length and still be compared as a whole
MOST_CAUSES: Final = 3  # of a difference that are told one by one
MOST_AUCTIONS: Final = 5000


def bounds(ledger: Ledger, asked: When) -> tuple[datetime, datetime]:
    """From when to when, in UTC; not before the prices that the ledger has now."""
    first, start = market.since(ledger), asked.start.astimezone(UTC)
    return start if first is None else max(first, start), asked.end.astimezone(UTC)


def prices(book: Book, side: str, stamps: Times, price: Array) -> None:
    """Mean and extremes of prices, and for how long they were below zero."""
    known = np.isfinite(price)
    if not known.any():
        return
    at, price = stamps[known], price[known]
    book.price(f"{side}.price_mean", "mean price of that time", float(np.mean(price)), to_utc(at[0]))
    for name, i in (("lowest", int(np.argmin(price))), ("highest", int(np.argmax(price)))):
        book.price(f"{side}.price_{name}", f"{name} price of that time", float(price[i]), to_utc(at[i]))
    hours = book.snap.step_s / 3600.0
    below = np.flatnonzero(price < 0.0)
    since = to_utc(at[below[0]] if len(below) else at[0])
    book.put(f"{side}.price_negative", "hours with a price below zero", len(below) * hours, "h", since)
    book.put(f"{side}.price_hours", "hours with a price on record", len(price) * hours, "h", to_utc(at[0]))


def settled(book: Book, ledger: Ledger, side: str, asked: When) -> None:
    """Money and energy of the settlements that began in that time."""
    start, end = bounds(ledger, asked)
    rows = revenue.settlements(ledger, start, end)
    if not rows:
        return
    day, bodies = revenue.summed(asked.said, rows), [row.body for row in rows]
    profit, always, hours, since = day.profit_usd, day.nothing_usd, day.hours, day.start
    book.kind = "settlement"
    book.put(f"{side}.profit", "settled profit in that time", profit, book.money, since)
    book.put(f"{side}.gain", "settled profit in that time above always on", profit - always, book.money, since)
    book.put(f"{side}.hours", "settled hours in that time", hours, "h", since)
    if hours > 0.0:
        book.put(f"{side}.per_hour", "settled profit of an hour of that time", profit / hours, book.rate, since)
    causes = {name for body in bodies for name in body["money"]}
    sums = {name: math.fsum(body["money"].get(name, 0.0) for body in bodies) for name in causes}
    for name, label in CAUSES.items():
        book.put(f"{side}.money_{name}", f"{label} in that time", sums.get(name), book.money, since)
    income = math.fsum(sums.get(name, 0.0) for name in INCOME)
    book.put(f"{side}.income", "income in that time, before costs", income, book.money, since)
    _energy(book, side, bodies, sums.get("import", 0.0), since)
    if side == "past":
        _assets(book, day)
        _hours(book, bodies)
    book.kind = "cycle"


def _assets(book: Book, day: Day) -> None:
    """The profit by who made it, where it was settled so."""
    for name, usd in sorted(day.assets.items(), key=lambda pair: -pair[1]):
        label = f"{name}: settled profit in that time, its power paid"
        book.put(f"asset.{book.name('asset', name)}.profit", label, usd, book.money, day.start)


def _energy(book: Book, side: str, bodies: Sequence[Mapping[str, Any]], cost: float, since: datetime) -> None:
    """Energy used, drawn and delivered, what was paid for it on average, and the highest draw."""
    used = [(body["consumed_kwh"], body["consumed_kwh"] + body["battery_kwh"], body) for body in bodies]
    book.put(f"{side}.used", "energy that the loads used", math.fsum(kwh for kwh, _, _ in used), "kWh", since)
    drawn, fed = (math.fsum(max(sign * net, 0.0) for _, net, _ in used) for sign in (1.0, -1.0))
    book.put(f"{side}.drawn", "energy from the grid", drawn, "kWh", since)
    book.put(f"{side}.delivered", "energy to the grid", fed, "kWh", since)
    if drawn > 0.0:
        book.price(f"{side}.paid_mean", "mean price paid for energy from the grid", 1000.0 * cost / drawn, since)
    means = [
        (net / body["hours"], kwh / body["hours"], body["start"]) for kwh, net, body in used if body["hours"] > 0.0
    ]
    for i, (name, label) in enumerate((("draw", "draw from the grid"), ("load", "load, cooling included"))):
        if means:
            top = max(means, key=lambda row: float(row[i]))
            at = datetime.fromisoformat(top[2])
            book.put(f"{side}.peak_{name}", f"highest {label}, mean of a settlement", float(top[i]), "kW", at)


def _hours(book: Book, bodies: Sequence[Mapping[str, Any]]) -> None:
    """The best and the worst hour of the clock, and day of the site."""
    for unit in ("hour", "day"):
        sums: dict[datetime, float] = {}
        for body in bodies:
            local = datetime.fromisoformat(body["start"]).astimezone(book.zone)
            at = midnight(local) if unit == "day" else local.replace(minute=0, second=0, microsecond=0)
            sums[at] = sums.get(at, 0.0) + body["profit_usd"]
        for name, pick in (("best", max), ("worst", min)):
            at = pick(sums, key=sums.__getitem__)
            book.put(f"past.{unit}_{name}", f"profit of the {name} {unit} of that time", sums[at], book.money, at)


def difference(book: Book) -> None:
    """By what the settled money of two times differs, `past` less `before`: the profit, and what each cause adds.

    Where they were not settled for equally long, all is of a settled hour. The causes stand by size; what is behind the
    first three is `effect.rest`, so that those and it add up to the profit's difference. That of power from the grid is
    `effect.paid_price` (at the mean of the two energies) and `effect.drawn` (at the mean of the two prices paid).
    """
    facts = book.facts
    if not all(f"{side}.hours" in facts for side in ("past", "before")):
        return

    def value(side: str, name: str) -> float:
        fact = facts.get(f"{side}.{name}")
        return fact.value if fact is not None and isinstance(fact.value, float) else 0.0

    hours = value("past", "hours"), value("before", "hours")
    if min(hours) <= 0.0:
        return
    alike = abs(hours[0] - hours[1]) < EQUAL * hours[1]
    per, unit = ((1.0, 1.0), book.money) if alike else (hours, book.rate)

    def less(name: str) -> float:
        return value("past", name) / per[0] - value("before", name) / per[1]

    at, book.kind = facts["past.hours"].at, "settlement"
    book.put("effect.profit", "by how much the profit differs", less("profit"), unit, at)
    causes = {name: (-1.0 if name in COSTS else 1.0) * less(f"money_{name}") for name in CAUSES}
    ordered = sorted((name for name in causes if abs(causes[name]) > 0.0), key=lambda name: -abs(causes[name]))
    for name in ordered:
        book.put(f"effect.{name}", f"what it adds to that: {CAUSES[name]}", causes[name], unit, at)
    rest = less("profit") - math.fsum(causes[name] for name in ordered[:MOST_CAUSES])
    book.put("effect.rest", "what all else adds to that", rest, unit, at)
    drawn, cost = ([value(side, name) / n for side, n in zip(("past", "before"), per, strict=True)] for name in (
        "drawn", "money_import"
    ))  # fmt: skip
    if min(drawn) > 0.0 and "import" in ordered:
        paid = [usd / kwh for usd, kwh in zip(cost, drawn, strict=True)]
        by_price = -(paid[0] - paid[1]) * 0.5 * (drawn[0] + drawn[1])
        label = "what it adds to that: power from the grid, by"
        book.put("effect.paid_price", f"{label} the price paid for it", by_price, unit, at)
        book.put("effect.drawn", f"{label} how much was drawn", causes["import"] - by_price, unit, at)
    book.kind = "cycle"


def paid(book: Book, ledger: Ledger, asked: When) -> None:
    """What each tenant paid in a time [money], and of it on each local day: its part of what tenants were settled to
    pay, by the payments of the auction in force. A settlement whose auction is not on record is left out.
    """
    start, end = bounds(ledger, asked)
    since = start - timedelta(days=1)  # the auction in force may have been held before
    entries = ledger.entries("auction", since=since, until=end, limit=MOST_AUCTIONS)
    held = {row.cycle_id: {p["bidder"]: float(p["usd_per_h"]) for p in row.body["payments"]} for row in entries}
    tenants = [tenant.name for tenant in book.snap.site.tenants]
    days: dict[datetime, dict[str, float]] = {}
    hours, book.kind = 0.0, "settlement"
    for body in (row.body for row in revenue.settlements(ledger, start, end)):
        pays = held.get(body["cycle_id"])
        if pays is None:
            continue
        of = math.fsum(pays.get(name, 0.0) for name in tenants)
        day = days.setdefault(
            midnight(datetime.fromisoformat(body["start"]), book.snap.site.timezone), dict.fromkeys(tenants, 0.0)
        )
        for name in tenants if of > 0.0 else ():
            day[name] += body["money"]["tenants"] * pays.get(name, 0.0) / of
        hours += body["hours"]
    for name in tenants if days else ():
        key, first = f"payer.{book.name('payer', name)}", min(days)
        book.put(
            f"{key}.paid",
            f"{name}: paid in that time",
            math.fsum(day[name] for day in days.values()),
            book.money,
            first,
        )
        book.put(f"{key}.hours", f"{name}: settled hours behind that", hours, "h", first)
        for at, day in sorted(days.items()):
            book.put(f"{key}.paid@{at:%Y-%m-%d}", f"{name}: paid on that day", day[name], book.money, at)
    book.kind = "cycle"


def month(book: Book, ledger: Ledger) -> None:
    """The month's peak so far, as the demand charge counts it."""
    running = settle.load(ledger)
    if running is not None and running.promises.peak_month == f"{book.snap.at.astimezone(book.zone):%Y-%m}":
        book.put("past.peak_month", "highest draw from the grid of this month so far", running.promises.peak_kw, "kW")


def foresight(book: Book, ledger: Ledger, asked: When) -> None:
    """What perfect foresight would have made of a day that is closed."""
    for day in revenue.days(ledger, 8):
        if (
            day.day == f"{asked.start:%Y-%m-%d}"
            and day.start <= asked.end <= day.end
            and math.isfinite(day.perfect_usd)
        ):
            book.kind = "day"
            book.put(
                "past.perfect", "what perfect foresight would have made of it", day.perfect_usd, book.money, day.start
            )
            book.put("past.stored", "of what the battery held more at its end", day.stored_usd, book.money, day.start)
            book.put("past.of_perfect", "share of perfect foresight", 100.0 * day.of_perfect, "%", day.start)
            book.kind = "cycle"


def decisions(book: Book, entries: list[Entry]) -> None:
    """How many decisions were made, and how many of them not by the plan."""
    book.put("past.decisions", "decisions on record in that time", float(len(entries)))
    for origin in ("override", "hold", "failsafe", "estop"):
        n = sum(entry.body["dispatch"]["origin"] == origin for entry in entries)
        if n:
            book.put(f"past.{origin}", f"of those decisions, by {origin}", float(n))
