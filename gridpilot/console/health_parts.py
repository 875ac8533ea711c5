"""Parts of the Health page: tiles, latencies, processes and money by day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.foreign import escape
from gridpilot.monitor.drift import LIMIT_H

LOOK_AT = {
    "pilot": "decides and sends",
    "watchdog": "switches off when the pilot is silent",
    "watch": "keeps the alarms",
}


def tiles(health: views.Health, status: views.Status) -> None:
    """Is it well: what is wanted, service, latency, data, forecast, ledger."""
    service, drift = views.service_levels(), views.forecast_drift()
    with widgets.tile_row(6, 150):
        if service is None:
            widgets.tile("Availability", fmt.DASH, "no cycle yet")
            widgets.tile("Cycle, 95 %", fmt.DASH, "no cycle yet")
        else:
            note = "Intervals of the last seven days in which a decision was in force, of all since the first of them."
            served = f"{service.served:,} of {service.due:,} intervals"
            widgets.tile("Availability", fmt.percent(service.availability, 2), served, note=note)
            mid, most, worst = service.latency_ms["total"]
            note = f"99 % within {fmt.milliseconds(worst)}; {service.cycles:,} cycles of the last seven days."
            widgets.tile("Cycle, 95 %", fmt.milliseconds(most), f"median {fmt.milliseconds(mid)}", note=note)
        every = f"One comes every {fmt.duration(float(status.step_s))}; its age counts from its interval's start."
        widgets.tile("Newest price", fmt.age(status.price_age_s), status.source, note=every)
        share, in_force, note = _drift(drift)
        widgets.tile("Forecast errors", share, in_force, note=note)
        state, entries, note = _ledger(health)
        widgets.tile("Ledger", state, entries, note=note)
        at_work = [health.pilot != "", health.watchdog, health.watch]
        beat = "never" if health.heartbeat is None else fmt.age(health.heartbeat_age_s)
        note = f"Pilot, watchdog and watch. The last good cycle is {beat}."
        widgets.tile("Processes", f"{sum(at_work)} of 3", f"good cycle {beat}", note=note)


def _drift(drift: views.Drift) -> tuple[str, str, str]:
    """Value, reference and note."""
    if math.isnan(drift.share):
        return fmt.DASH, "none has come true yet", "The error of live forecasts, as a share of the one they promised."
    how = "Errors of the fitted forecast 1 to 24 h ahead, the last day's weighing most, over those that it promised. "
    how += "Forecast has the mean errors themselves, in the unit of the price."
    test = f"The drift test stands at {drift.level:.1f} of {LIMIT_H:.0f} h; there the seasonal naive takes over."
    if drift.fallback:
        since = fmt.utc(drift.since)
        test = f"The seasonal naive is used since {since}, until the test is at 0 h; it is at {drift.level:.1f} h."
    return f"{drift.share:.1f} ×", "naive in force" if drift.fallback else "the promised error", f"{how} {test}"


def _ledger(health: views.Health) -> tuple[str, str, str]:
    """Value, reference and note."""
    checked, entries = health.verified, fmt.count(health.entries, "entry", "entries")
    if checked is None:
        return fmt.DASH, entries, "Its chain was not checked by a watch yet."
    age = fmt.duration((datetime.now(UTC) - checked.at).total_seconds())
    return "whole" if checked.ok else "broken", entries, checked.reason or f"Its chain was checked {age} ago."


def processes_html(health: views.Health) -> str:
    """Who is at work."""
    up = {"pilot": bool(health.pilot), "watchdog": health.watchdog, "watch": health.watch}
    rows = []
    for name, does in LOOK_AT.items():
        word, look = ("at work", "") if up[name] else (f"NO {name.upper()}", " gp-alarm")
        more = f" ({health.pilot})" if name == "pilot" and health.pilot else ""
        rows.append(
            f"<li><span class='gp-chip{look}'>{word}</span><span><b>{name}</b>{escape(more)} "
            f"<span class='gp-muted'>{does}</span></span></li>"
        )
    if health.messages:
        waiting = fmt.count(health.messages, "message")
        rows.append(f"<li><span class='gp-chip gp-warning'>WAITING</span><span>{waiting} for the receiver</span></li>")
    return f"<ul class='gp-flags'>{''.join(rows)}</ul>"


def stages_table(health: views.Health) -> pd.DataFrame:
    """Where a cycle's time goes, stage by stage in their order."""
    quantiles = health.quantiles_ms((0.5, 0.95))
    return pd.DataFrame(
        {
            "stage": list(health.stage_ms),
            "last, ms": [float(ms[-1]) for ms in health.stage_ms.values()],
            "median, ms": [quantiles[name][0] for name in health.stage_ms],
            "95 %, ms": [quantiles[name][1] for name in health.stage_ms],
            "course": [ms[-40:].tolist() for ms in health.stage_ms.values()],
        }
    )


def stages(health: views.Health) -> None:
    """The same, drawn."""
    rows = stages_table(health)
    config = {**dict.fromkeys(rows.columns[1:4], 1), "course": st.column_config.LineChartColumn("last 40", y_min=0)}
    widgets.table(rows, "stages", config)


def money_table(days: Sequence[views.Day]) -> pd.DataFrame:
    """Profit by day beside its references, and by asset; what is not known is empty."""
    names = sorted({name for day in days for name in day.assets})
    rows: dict[str, list[str] | list[float]] = {
        "day": [day.day for day in days],
        "profit": [day.profit_usd for day in days],
        "against always on": [day.profit_usd - day.nothing_usd for day in days],
        "of perfect foresight": [day.of_perfect for day in days],
        "perfect foresight": [day.perfect_usd for day in days],
        "stored": [day.stored_usd for day in days],
        "hours": [day.hours for day in days],
    }
    return pd.DataFrame({**rows, **{name: [_cents(day.assets.get(name, math.nan)) for day in days] for name in names}})


def _cents(value: float) -> float:
    """Without the minus of what is less than half a cent."""
    return 0.0 if abs(value) < 0.005 else value


def money(currency: str) -> None:
    """Money day by day."""
    today = views.today()
    days = [*([today] if today else []), *views.closed_days()]
    if not days:
        st.caption("The first settlement comes with the second decision.")
        return
    rows = money_table(days)
    config = {"of perfect foresight": widgets.PERCENT, "hours": 1}
    widgets.table(rows, "money", config)
    st.caption(
        f"In {currency}, settled. Always on: every machine that has work runs, the battery rests. Perfect "
        "foresight: the plan that knows the day's prices, from the same start; it is made when the day is over. "
        "Stored: what the battery holds more, which counts towards it. After the hours: the profit by who made it."
    )
