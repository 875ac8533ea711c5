"""The day in one picture (Overview) and the plan in one picture (Plan), with what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import charts
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT, hues_of
from gridpilot.domain import Site
from gridpilot.foreign import escape
from gridpilot.values import Array, Times, as_array, as_times, to_stamp, to_utc

Loads = Mapping[str, Array]


# --- figures -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """How the picture is drawn: hours back, heights of its panels in px, and if jobs and tenants stay single."""

    past_h: float
    price_px: int
    loads_px: int
    battery_px: int
    soc_px: int
    single: bool
    worth_px: int = 0  # of the panel with the marginal values; 0: not drawn


DAY: Final = Look(8.0, 88, 120, 48, 54, single=False)
PLAN: Final = Look(6.0, 95, 150, 60, 70, single=True)
PLAN_WITH_WORTH: Final = replace(PLAN, worth_px=80)


def day_figure(
    snap: views.Snapshot,
    prices: views.Prices,
    track: views.Track,
    look: Look,
    marks: Sequence[tuple[datetime, str]] = (),
) -> Figure:
    """Some hours back and the whole plan ahead: price, loads, battery, state of charge on one axis; what was done by
    hand is marked."""
    plan, plan_at, step = snap.plan, views.times(snap.plan["timestamp"]), snap.step_s
    start = snap.at - timedelta(hours=look.past_h)
    ahead = plan_at > track.timestamp[-1]
    stamps = np.concatenate([track.timestamp, plan_at[ahead]])

    def joined(past: Array, planned: Array) -> Array:
        return as_array(np.concatenate([past, planned[ahead]]))

    planned = {name: views.values(kw) for name, kw in plan["loads_kw"].items()}
    planned["cooling"] = views.values(plan["cooling_kw"])
    nothing = as_array(np.full(len(plan_at), np.nan))
    loads = {name: joined(track.loads_kw[name], planned.get(name, nothing)) for name in _order(snap.site)}
    battery = joined(track.battery_kw, as_array(views.values(plan["charge_kw"]) - views.values(plan["discharge_kw"])))
    grid = joined(track.grid_kw, as_array(views.values(plan["import_kw"]) - views.values(plan["export_kw"])))
    past = prices.timestamp >= to_stamp(start)
    settled = charts.settled(prices.timestamp[past], prices.energy[past], step)
    shown = loads if look.single else merged(snap.site, loads)
    panels = [
        charts.price_panel(settled, outlook(snap), snap.units.energy, look.price_px),
        _curtailed(snap, stamps, _loads(snap.site, stamps, shown, grid, step, look.loads_px)),
    ]
    if look.worth_px:
        panels.append(_worth_panel(snap, plan_at, look.worth_px))
    if snap.site.battery.capacity_kwh > 0.0:
        charge, discharge = np.clip(battery, 0.0, None), np.clip(-battery, 0.0, None)
        battery_panel = charts.battery_panel(stamps, charge, discharge, step, look.battery_px)
        panels.append(_unlisted(battery_panel))
        panels.append(_unlisted(_soc(snap, track, look.soc_px)))
    if look.single and plan.get("room_c"):
        panels.append(_room_panel(snap, plan_at))
    axis = TimeAxis.of(snap.site, start, to_utc(plan_at[-1]) + timedelta(seconds=step), snap.at)
    return charts.time_figure(axis, panels, marks=marks)


def outlook(snap: views.Snapshot) -> Series:
    """The forecast prices that the plan is made for, with their band."""
    at, band = views.times(snap.forecast["timestamp"]), snap.forecast["bands"]["energy"]
    inside = at <= views.times(snap.plan["timestamp"])[-1]
    point, lower, upper = (snap.shown(views.values(band[key]))[inside] for key in ("point", "lower", "upper"))
    return charts.expected(at[inside], point, lower, upper, snap.step_s)


def merged(site: Site, loads: Loads) -> dict[str, Array]:
    """Loads with all jobs and all tenants as one each, for a small picture."""
    groups = {"jobs": [j.name for j in site.jobs], "tenants": [t.name for t in site.tenants]}
    single = {m.type for m in site.machines}
    out = {name: kw for name, kw in loads.items() if name in single}
    for group, names in groups.items():
        if names:
            out[group] = as_array(np.sum([loads[name] for name in names if name in loads], axis=0))
    return out | {name: kw for name, kw in loads.items() if name == "cooling"}


def _order(site: Site) -> list[str]:
    """Loads from the bottom of the stack up: machines by their worth per kW, jobs, tenants, cooling."""
    machines = sorted(site.machines, key=lambda m: (m.product != "token", -m.rate / m.power_kw, m.type))
    return [*(m.type for m in machines), *(j.name for j in site.jobs), *(t.name for t in site.tenants), "cooling"]


def _loads(site: Site, at: Times, loads: Loads, grid: Array, step: int, height: int) -> Panel:
    """Stacked loads, the grid's import as a line, and the limit that holds for it."""
    drawn = {name: kw for name, kw in loads.items() if np.nanmax(kw, initial=0.0) > 0.05}
    panel = charts.loads_panel(at, drawn, site.import_kw, step, height, hues_of(site))
    line = Series("Grid import", at, as_array(grid), "line", LIGHT["grid_import"], 1.6, step_s=step)
    return replace(panel, series=(*panel.series, line), low=None if np.nanmin(grid, initial=0.0) < 0.0 else 0.0)


def _curtailed(snap: views.Snapshot, at: Times, panel: Panel) -> Panel:
    """The panel of loads with what a curtailment lets the connection draw, where the plan knows of one."""
    limits = snap.state.limits if snap.state is not None else ()
    step, most = timedelta(seconds=snap.step_s), snap.site.import_kw
    spans = [(start, start + step) for start in map(to_utc, at)]
    least = [min([most, *(limit.least(*span) for limit in limits)]) for span in spans]
    if min(least) >= most:
        return panel
    kw = as_array(
        [limit if limit < most and span[1] > snap.at else np.nan for limit, span in zip(least, spans, strict=True)]
    )
    line = Series("Curtailed to", at, kw, "line", LIGHT["warning"], 2.0, step_s=snap.step_s)
    return replace(panel, series=(*panel.series, line))


def _worth_panel(snap: views.Snapshot, at: Times, height: int) -> Panel:
    """What one more stored kWh, and one more of site power, is worth in each interval of the plan."""
    series = []
    if snap.site.battery.capacity_kwh > 0.0:
        kept = as_array(snap.shown(1000.0 * views.values(snap.plan["marginal_value_usd_per_kwh"])))
        series.append(Series("Worth of stored energy", at, kept, "line", LIGHT["battery"], 2.0, step_s=snap.step_s))
    power = as_array(snap.shown(1000.0 * views.values(snap.plan["power_price_usd_per_kwh"])))
    series.append(Series("Worth of site power", at, power, "line", LIGHT["grid_import"], 1.6, step_s=snap.step_s))
    return Panel("Marginal values", snap.units.energy, tuple(series), height)


def _room_panel(snap: views.Snapshot, at: Times) -> Panel:
    """The planned temperature of the IT room at each interval's end, between its limits."""
    room, step = snap.site.room, np.timedelta64(snap.step_s, "s")
    kept = views.values(snap.plan["room_c"])
    line = Series("Room temperature", as_times(at + step), kept, "curve", LIGHT["cooling"], 2.0, step_s=snap.step_s)
    limits = {room.low_c: "min", room.high_c: "max"}
    low, high = min(room.low_c, float(kept.min())) - 1.0, max(room.high_c, float(kept.max())) + 1.0
    return Panel("Room temperature", "°C", (replace(line, legend=False),), 60, limits, low, high, 0)


def _soc(snap: views.Snapshot, track: views.Track, height: int) -> Panel:
    """Measured (or simulated) charge at each past decision, then the planned one at each interval's end."""
    battery, step = snap.site.battery, np.timedelta64(snap.step_s, "s")
    panel = charts.soc_panel(
        track.timestamp[:1], [np.nan], np.nan, (battery.soc_min, battery.soc_max), snap.step_s, height
    )
    ahead = views.times(snap.plan["timestamp"]) + step
    at = np.concatenate([track.timestamp, ahead])
    soc = 100.0 * np.concatenate([track.soc_frac, plan_soc(snap)])
    low, high = 100.0 * battery.soc_min, 100.0 * battery.soc_max
    return replace(panel, series=(replace(panel.series[0], times=at, values=as_array(soc)),), ticks=(low, 50.0, high))


def _unlisted(panel: Panel) -> Panel:
    """Without a line in the legend: the panel's own title says it."""
    return replace(panel, series=tuple(replace(series, legend=False) for series in panel.series))


def plan_soc(snap: views.Snapshot) -> Array:
    """State of charge at the end of each planned interval."""
    return views.values(snap.plan["soc_frac"])


# --- findings ------------------------------------------------------------------------------


def day_title(snap: views.Snapshot) -> str:
    """Dearest and cheapest interval from now on; while nothing of the plan is carried out, that it is not."""
    still = views.halted(snap)
    if still:
        return f"What lies ahead is planned, not done. {still}".rstrip(".")
    price = snap.shown(views.values(snap.plan["energy_usd_per_mwh"]))
    at, unit = views.times(snap.plan["timestamp"]), snap.units.energy
    high, low = int(np.argmax(price)), int(np.argmin(price))
    if price[high] == price[low]:
        return f"Power is expected to stay at {fmt.price(float(price[0]), unit)}"
    top, bottom = (f"{clock(snap, to_utc(at[i]))} ({fmt.price(float(price[i]), unit).value})" for i in (high, low))
    return f"Power in {unit} is dearest {top} and cheapest {bottom}"


def plan_title(snap: views.Snapshot) -> str:
    """What the battery adds over the plan."""
    if snap.site.battery.capacity_kwh <= 0.0:
        return day_title(snap)
    parts, money = views.plan_parts(snap), snap.units.money
    hours = fmt.number(len(snap.plan["timestamp"]) * snap.step_s / 3600.0)
    if abs(parts.battery) < 0.005:
        return f"The battery adds nothing to the {fmt.money(parts.total, money)} of the next {hours} h"
    word = "adds" if parts.battery >= 0.0 else "takes"
    return f"The battery {word} {fmt.money(abs(parts.battery), money)} of {fmt.money(parts.total, money)} in {hours} h"


def clock(snap: views.Snapshot, moment: datetime) -> str:
    """ "at 20:00", "tomorrow at 20:00", the date from then on, or "now" for the running interval."""
    if moment <= snap.at:
        return "now"
    zone = ZoneInfo(snap.site.timezone)
    days = (moment.astimezone(zone).date() - snap.at.astimezone(zone).date()).days
    if days > 1:
        return f"on {fmt.local(moment, snap.site.timezone)}"
    return ("tomorrow " if days else "") + f"at {fmt.local(moment, snap.site.timezone, with_date=False)}"


# --- next changes --------------------------------------------------------------------------

_WORDS: Final = {
    "under": "power under {limit}, where it pays",
    "over": "power over {limit}, where it stops paying",
    "work": "the work at hand changes with the hour",
    "deadline": "in the cheapest hours before its deadline",
    "room": "the connection is full: the room goes to what earns more",
    "rule": "by its rule, with the strike at {limit}",
    "empty": "it is at its lower limit",
    "full": "it is full",
    "later": "its energy is worth more later",
    "plan": "the plan as a whole earns more so",
}


def change_words(change: views.Change) -> str:
    """ "hydro starts, 214 kW" """
    before, after = change.before_kw, change.after_kw
    size = str(fmt.power(abs(after)))
    if change.what == "battery":
        return "battery rests" if abs(after) < 1.0 else f"battery {'charges' if after > 0 else 'discharges'} {size}"
    if before < 1.0:
        return f"{change.what} starts, {size}"
    if after < 1.0:
        return f"{change.what} stops, from {fmt.power(before)}"
    return f"{change.what} {'up' if after > before else 'down'} from {fmt.power(before)} to {size}"


def reason_words(snap: views.Snapshot, change: views.Change) -> str:
    """Why, with the price that decides it."""
    reason, unit = views.why(snap, change), snap.units.energy
    if reason.kind in ("under", "over") and not fmt.known(reason.limit):
        return f"power at {fmt.price(change.energy_price, unit)}"
    gap = change.energy_price - reason.limit
    if (reason.kind == "under" and gap >= 0.0) or (reason.kind == "over" and gap <= 0.0):
        return f"power about {fmt.price(reason.limit, unit)}, the edge: this or the other earns the same"
    text = _WORDS[reason.kind].format(limit=fmt.price(reason.limit, unit))
    if reason.kind == "over" and change.what == "battery":
        text = f"power over {fmt.price(reason.limit, unit)}, what keeping the energy is worth"
    if reason.kind in ("under", "over"):
        return f"{text} (expected: {fmt.price(change.energy_price, unit).value})"
    return text


def changes(snap: views.Snapshot, first: int = 0) -> None:
    """The next three planned changes, or those of them from `first` on; why there are none while nothing is done."""
    still = views.halted(snap)
    found = [] if still else views.next_changes(snap, 3)[first:]
    if found:
        st.html(changes_html(snap, found))
    else:
        st.caption(still or f"The plan changes nothing{' more' if first else ''} in its whole horizon.")


def changes_html(snap: views.Snapshot, changes: Sequence[views.Change]) -> str:
    """The next changes as a list: time (UTC on hover), what, money, reason."""
    rows = []
    for change in changes:
        when = fmt.local(change.at, snap.site.timezone, with_date=False)
        usd = fmt.money(change.usd, snap.units.money, sign=True) if fmt.known(change.usd) else ""
        rows.append(
            f"<li title='{escape(fmt.utc(change.at))}' style='display:block;margin:0 0 0.4rem'>"
            "<div style='display:flex;justify-content:space-between;gap:0.75rem'>"
            f"<span><b>{escape(when)}</b> {escape(change_words(change))}</span>"
            f"<span class='gp-mono'>{escape(str(usd))}</span></div>"
            f"<div class='gp-muted'>{escape(reason_words(snap, change))}</div></li>"
        )
    return f"<ul class='gp-flags'>{''.join(rows)}</ul>"


def alarms_html(alarms: Sequence[views.Alarm]) -> str:
    """Alarms with what to do about each."""
    rows = []
    for alarm in alarms:
        look = "alarm" if alarm.severity == "alarm" else "warning"
        code, message, advice = (escape(text) for text in (alarm.code, alarm.message, alarm.advice))
        rows.append(
            f"<li style='margin:0'><span class='gp-chip gp-{look}'>{code}</span>"
            f"<span>{message}<br><span class='gp-muted'>{advice}</span></span></li>"
        )
    return f"<ul class='gp-flags'>{''.join(rows)}</ul>"


# --- tables of the plan --------------------------------------------------------------------


def worth_table(snap: views.Snapshot) -> pd.DataFrame:
    """The plan's objective by cause, largest first; the rows add up to the last."""
    parts = views.plan_parts(snap)
    rows = sorted(parts.loads.items(), key=lambda item: (-item[1], item[0]))
    rows += [("battery: sold less bought", parts.trade), ("battery: wear", -parts.wear)]
    rows += [("battery: change in stored energy", parts.stored), *parts.extras.items(), ("together", parts.total)]
    return pd.DataFrame({"from": [name for name, _ in rows], snap.units.money: [usd for _, usd in rows]})


def plan_table(snap: views.Snapshot) -> pd.DataFrame:
    """The plan as rows: UTC stamp, site time, price, battery, grid, loads."""
    plan, unit = snap.plan, snap.units.energy
    at = [to_utc(stamp) for stamp in views.times(plan["timestamp"])]
    columns: dict[str, object] = {
        "timestamp": plan["timestamp"],
        "site time": [fmt.local(moment, snap.site.timezone) for moment in at],
        f"price, {unit}": snap.shown(views.values(plan["energy_usd_per_mwh"])),
        "charge, kW": views.values(plan["charge_kw"]),
        "discharge, kW": views.values(plan["discharge_kw"]),
        "state of charge, %": 100.0 * plan_soc(snap),
        "import, kW": views.values(plan["import_kw"]),
        "export, kW": views.values(plan["export_kw"]),
    }
    loads = plan["loads_kw"]
    columns |= {f"{name}, kW": views.values(loads[name]) for name in _order(snap.site) if name in loads}
    columns["cooling, kW"] = views.values(plan["cooling_kw"])
    columns |= {f"{name} (of its machines), kW": views.values(kw) for name, kw in plan.get("customers_kw", {}).items()}
    if snap.site.reserve.wanted and "reserve_up_kw" in plan:
        columns |= {f"reserve {way}, kW": views.values(plan[f"reserve_{way}_kw"]) for way in ("up", "down")}
    if plan.get("room_c"):
        columns["room, °C"] = views.values(plan["room_c"])
    if plan["status"] == "optimal":
        worth = views.values(plan["marginal_value_usd_per_kwh"])
        columns[f"worth of stored energy, {unit}"] = snap.shown(1000.0 * worth)
    return pd.DataFrame(columns)
