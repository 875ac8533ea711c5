"""What the page Backtest draws: money day by day against the references, and where the rest went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from gridpilot import views
from gridpilot.console import charts, plots
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT
from gridpilot.domain import DataFlag
from gridpilot.monitor.revenue import Day
from gridpilot.report import GAP_PARTS
from gridpilot.values import Array, as_array, as_times, to_utc

INFORMATION: Final = {
    "blind": "Forecasts only",
    "published": "Next day published at 13:00",
    "realtime": "Price of the running step",
}
SAID: Final = {
    "blind": "Each day is decided at its midnight from forecasts alone and offered as 24 mutually exclusive day "
    "profiles, of which the market takes the one worth most at its prices.",
    "published": "From 13:00 on the prices of the next day are known, and the next 24 hours are decided.",
    "realtime": "Each step is decided by its own price and by what waiting is worth; later prices are not known.",
}
FORECASTERS: Final = {
    "ridge": "Ridge (quick)", "ensemble": "Ensemble (minutes)", "seasonal naive": "Seasonal naive"
}  # fmt: skip
TAKES: Final = {
    "ridge": "about half a minute", "ensemble": "some minutes", "seasonal naive": "a few seconds"
}  # fmt: skip
SHARES: Final = (
    "What the engine added to a battery at rest, of what perfect foresight would have added in these days. Of perfect "
    "foresight: all money, that of the loads too, against all that perfect foresight would have made."
)
RECORD: Final = (
    "What was settled in the last week, less what the same time would have brought with every machine that has work "
    "on and the battery at rest. Energy left in the battery is not counted."
)
OLDER: Final = "A day has ended since this was asked: press Run again to take it in."
LINES: Final = (
    ("Perfect foresight", "perfect_usd", "line", 1.4),
    ("Persistence", "persistence_usd", "battery", 1.4),
    ("Engine", "revenue_usd", "price", 2.6),
)
STEP_S: Final = 86_400


def what_comes(days: int, forecaster: str) -> str:
    """What a backtest shows when it is through, and how long that takes."""
    return (
        f"Press Run: the newest {days} whole days of the recorded prices are traded again. You will see what the "
        "engine would have earned as a share of what perfect foresight could, its money day by day beside perfect "
        "foresight, persistence and a battery at rest, and where the gap comes from. That takes "
        f"{TAKES[forecaster]} on a usual machine, goes on in the background and can be stopped."
    )


def live_words(days: Sequence[Day], money: str) -> str:
    """What it has earned on record, before any backtest; empty before the first settlement."""
    hours = math.fsum(day.hours for day in days)
    if hours <= 0.0:
        return ""
    profit = math.fsum(day.profit_usd for day in days)
    more = profit - math.fsum(day.nothing_usd for day in days)
    side = f"{fmt.money(abs(more), money)} {'more' if more >= 0.0 else 'less'} than with every machine always on"
    spans = "hour" if fmt.compact(hours) == "1" else "hours"
    text = f"On record it earned {fmt.money(profit, money)} in {fmt.compact(hours)} settled {spans}, {side}"
    known = [day for day in days if math.isfinite(day.perfect_usd) and day.perfect_usd > 0.0]
    if not known:
        return text
    share = math.fsum(day.profit_usd + day.stored_usd for day in known) / math.fsum(day.perfect_usd for day in known)
    whole = fmt.count(len(known), "closed day")
    return f"{text}; over {whole} {fmt.percent(share)} of perfect foresight"


def _above(pnl: views.Pnl) -> Array:
    """Money above every machine always on, added up to each settled span's end (N,)."""
    return as_array(pnl.cumulative_usd - pnl.cumulative_always_on_usd)


def record_figure(pnl: views.Pnl, prices: views.Prices, snap: views.Snapshot) -> Figure:
    """What came: prices, and the settled money above every machine always on, added up. Level where none is settled."""
    above = _above(pnl)
    times = np.column_stack([pnl.starts, pnl.timestamp]).ravel()
    line = np.column_stack([np.concatenate([[0.0], above[:-1]]), above]).ravel()
    more = Series("Above always on", as_times(times), as_array(line), "curve", LIGHT["price"], 2.6)
    past = charts.settled(prices.timestamp, prices.energy, prices.step_s)
    return charts.time_figure(
        TimeAxis.of(snap.site, pnl.since, snap.at, snap.at),
        [
            charts.price_panel(past, None, prices.units.energy, 110),
            Panel("Money above every machine always on", snap.units.money, (more,), 160, {0.0: ""}),
        ],
    )


def record_title(pnl: views.Pnl, snap: views.Snapshot) -> str:
    """The hour in which deciding brought most, against not deciding."""
    hours, place = np.unique(pnl.starts.astype("datetime64[h]"), return_inverse=True)
    gains = np.bincount(place, np.diff(_above(pnl), prepend=0.0))
    best = int(np.argmax(gains))
    if gains[best] < 0.005:
        return "No hour of the last week brought more than every machine always on"
    when, most = fmt.local(to_utc(hours[best]), snap.site.timezone), fmt.money(float(gains[best]), snap.units.money)
    return f"{when} was the best hour of the last week: {most} more than with every machine always on"


def money_figure(body: Mapping[str, Any], snap: views.Snapshot) -> Figure:
    """Cumulative money above that of a battery at rest: of perfect foresight, of persistence and of the engine."""
    days, zone = body["days"], ZoneInfo(snap.site.timezone)
    starts = [datetime.fromisoformat(day["date"]).replace(tzinfo=zone) for day in days]  # of local days
    series = tuple(
        Series(
            name,
            as_times([start.astimezone(UTC).replace(tzinfo=None) for start in starts]),
            np.cumsum([day[key] - day["resting_usd"] for day in days]),
            "line",
            LIGHT[hue],
            width,
            step_s=STEP_S,
        )
        for name, key, hue, width in LINES
    )
    axis = TimeAxis(starts[0], starts[-1] + timedelta(days=1), snap.site.timezone)  # months: no nights
    return charts.time_figure(axis, [Panel("Money above a battery at rest", snap.units.money, series, 300, {0.0: ""})])


def money_title(body: Mapping[str, Any], money: str) -> str:
    """What the engine added, and what could have been added."""
    resting, share = body["resting_usd"], body["percent_of_added"]
    if share is None:
        return "The battery could add nothing in these days"
    ours = fmt.money(body["revenue_usd"] - resting, money).value
    most = fmt.money(body["perfect_foresight_usd"] - resting, money)
    days = fmt.count(body["n_days"], "day")
    return f"In {days} the engine added {ours} of the {most} that perfect foresight would have added: {share:.0f} %"


def gap_figure(body: Mapping[str, Any], money: str) -> Figure | None:
    """What is missing to perfect foresight, by cause; to the left what was gained back."""
    parts = {GAP_PARTS[name]: usd for name, usd in body["gap_usd"].items() if abs(usd) >= 0.005}
    return plots.drivers(parts, money) if parts else None


def gap_title(body: Mapping[str, Any], money: str) -> str:
    """The whole of it."""
    missing = sum(body["gap_usd"].values())
    return f"{fmt.money(missing, money)} missing to perfect foresight"


def flags(body: Mapping[str, Any]) -> list[DataFlag]:
    """What a reader of the result must know."""
    return [DataFlag(**flag) for flag in body["flags"]]


def day_table(body: Mapping[str, Any], money: str) -> pd.DataFrame:
    """Every day, a row each."""
    days = body["days"]
    return pd.DataFrame(
        {
            "day": [day["date"] for day in days],
            f"engine, {money}": [day["revenue_usd"] for day in days],
            f"perfect foresight, {money}": [day["perfect_usd"] for day in days],
            f"persistence, {money}": [day["persistence_usd"] for day in days],
            f"battery at rest, {money}": [day["resting_usd"] for day in days],
            "full cycles": [day["cycles"] for day in days],
            "SOC at the end, %": [100.0 * day["soc_frac"] for day in days],
        }
    )
