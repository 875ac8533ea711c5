"""What if: the plan made again with other prices, another state of charge or other limits, beside the one in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import report, views
from gridpilot.console import charts, live_chart, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT
from gridpilot.monitor.whatif import Change, kept_usd, limits, misfit, what_if
from gridpilot.values import as_array, as_times, to_utc

NOW: Final = "Plan in force"
THEN: Final = "What if"
NOT_COMPARED: Final = (
    "What planning anew brings is the difference to keeping the plan in force. That one does not fit the change, so "
    "keeping it has no worth to compare with."
)
LEAST_USD: Final = 0.0005


@widgets.saying_trouble()
def framed(title: str, panel: Callable[[], None], nothing: str, what_comes: str) -> None:
    """A heading with its panel, as soon as there is a plan to ask about."""
    st.markdown(f"## {title}")
    if views.snapshot() is None:
        widgets.until_first_decision(nothing, what_comes)
    else:
        panel()


def show() -> None:
    """The panel; it changes only when the operator asks, and sends nothing."""
    framed("What if", _panel, "Nothing to change yet", "Another plan beside the one in force.")


@st.fragment
@widgets.saying_trouble()
def _panel() -> None:
    snap = views.snapshot()
    if snap is None:
        return
    change = _asked(snap)
    if change.nothing:
        st.caption("Change a figure to see the plan that would follow from it. Nothing is sent.")
        return
    plan = report.plan_json(what_if(snap, change))
    _tiles(snap, plan, change)
    title = title_of(snap, plan)
    widgets.finding(title)
    live_chart.show(figure(snap, plan), "plan_whatif", title)
    st.caption(beside(snap))
    with st.expander("The two plans as a table"):
        both = table(snap, plan)
        widgets.table(both, "what-if", dict.fromkeys(both.columns[1:], 1))


def limit_table(snap: views.Snapshot) -> pd.DataFrame | None:
    """The limits of the plan in force that cost something, and what one unit more would bring over the horizon."""
    every = limits(snap)
    if every is None:
        return None
    found = [limit for limit in every if limit.one_more_usd >= LEAST_USD]
    return pd.DataFrame(
        {
            "limit": [limit.name for limit in found],
            f"one more, {snap.units.money}": [limit.one_more_usd for limit in found],
            "now": [f"{fmt.number(limit.amount)} {limit.unit}".strip() for limit in found],
            "all used, intervals": [limit.binding for limit in found],
        }
    )


def _asked(snap: views.Snapshot) -> Change:
    """The figures that the operator has set; those of the plan in force at first."""
    battery, soc = snap.site.battery, snap.plan["soc_start_frac"]
    unit, scale = snap.units.energy, snap.units.energy_usd_per_mwh
    with st.container(horizontal=True):
        shift = st.number_input(f"All prices, {unit} more", -5000.0, 5000.0, 0.0, 10.0, key="whatif_shift", width=190)
        spread = st.number_input("Spread of prices, %", 0, 1000, 100, 10, key="whatif_spread", width=190)
        service = st.number_input("Hash and token price, %", 0, 1000, 100, 5, key="whatif_service", width=190)
        grid = _other("Grid limit, kW", snap.site.import_kw, 1e6, "whatif_grid")
        charge = power = None
        if battery.capacity_kwh > 0.0:
            known = None if soc is None else round(100.0 * float(soc), 1)
            charge = _other("State of charge, %", known, 100.0, "whatif_soc")
            power = _other("Battery power, kW", battery.charge_kw, 1e6, "whatif_battery")
    return Change(
        price_shift_usd_per_mwh=shift * scale,
        spread_factor=spread / 100.0,
        service_factor=service / 100.0,
        soc_frac=None if charge is None else charge / 100.0,
        battery_kw=power,
        grid_kw=grid,
    )


def _other(label: str, now: float | None, most: float, key: str) -> float | None:
    """A figure in place of the one now; None while the field is empty."""
    placeholder = "unknown now" if now is None else f"{now:g} now"
    return st.number_input(label, 0.0, most, None, key=key, placeholder=placeholder, width=190)


def _tiles(snap: views.Snapshot, plan: Mapping[str, Any], change: Change) -> None:
    money, force, then = snap.units.money, float(snap.plan["objective_usd"]), float(plan["objective_usd"])
    kept = kept_usd(snap, change, plan)
    with widgets.tile_row(3):
        widgets.tile("Plan in force is worth", fmt.round_money(force, money), f"{fmt.duration(_span_s(snap))} ahead")
        text = f"difference {fmt.money(then - force, money, sign=True).value}"
        widgets.tile(
            "What if, planned anew", fmt.round_money(then, money), text, note=f"{plan['status']}: {plan['method']}"
        )
        if kept is None:
            widgets.tile("Planning anew brings", fmt.DASH, f"plan in force: {misfit(snap, change)}", note=NOT_COMPARED)
        else:
            text = f"plan kept: {fmt.money(kept, money).value}"
            widgets.tile("Planning anew brings", fmt.money(then - kept, money, sign=True), text)


def _span_s(snap: views.Snapshot) -> float:
    return float(len(snap.plan["timestamp"]) * snap.step_s)


def beside(snap: views.Snapshot) -> str:
    """Of which plan it is: the panel stands still while decisions come."""
    at = fmt.local(snap.at, snap.site.timezone)
    return widgets.inert(f"Beside the plan of {at}. The next figure that you change is laid beside the newest.")


def title_of(snap: views.Snapshot, plan: Mapping[str, Any]) -> str:
    """What changes first."""
    if plan["status"] != "optimal":
        return f"No optimum: {plan['method']}"
    moved = _battery(plan) - _battery(snap.plan)
    loads = _load(plan) - _load(snap.plan)
    steps = np.flatnonzero((np.abs(moved) >= 1.0) | (np.abs(loads) >= 1.0))
    if not len(steps):
        return "The same set points are best"
    when = fmt.local(to_utc(views.times(plan["timestamp"])[steps[0]]), snap.site.timezone)
    first = "now" if steps[0] == 0 else f"from {when}"
    return f"Other set points {first}, in {fmt.count(len(steps), 'interval')} of {len(moved)}"


def figure(snap: views.Snapshot, plan: Mapping[str, Any]) -> Figure:
    """Price, battery power, load and state of charge of both plans on one axis."""
    at, step = views.times(snap.plan["timestamp"]), snap.step_s

    def pair(values: tuple[Any, Any], hue: str, kind: str = "line") -> tuple[Series, Series]:
        force, then = (as_array(v) for v in values)
        when = at if kind == "line" else as_times(at + np.timedelta64(step, "s"))  # a state holds at an interval's end
        old = Series(NOW, when, force, kind, LIGHT["line"], 1.6, step_s=step)
        return old, Series(THEN, when, then, kind, LIGHT[hue], 2.2, step_s=step)

    def both(key: str) -> tuple[Any, Any]:
        return views.values(snap.plan[key]), views.values(plan[key])

    prices = tuple(snap.shown(price) for price in both("energy_usd_per_mwh"))
    panels = [Panel("Price planned for", snap.units.energy, pair((prices[0], prices[1]), "price"), 110)]
    if snap.site.battery.capacity_kwh > 0.0:
        battery = pair((_battery(snap.plan), _battery(plan)), "battery")
        panels.append(Panel("Battery power, charging up", "kW", battery, 90, {0.0: ""}, decimals=0))
        soc = tuple(100.0 * values for values in both("soc_frac"))
        bounds = {100.0 * snap.site.battery.soc_min: "min", 100.0 * snap.site.battery.soc_max: "max"}
        panels.append(
            Panel("State of charge", "%", pair((soc[0], soc[1]), "battery", "curve"), 90, bounds, 0.0, 100.0, 0)
        )
    loads = pair((_load(snap.plan), _load(plan)), "jobs")
    panels.append(Panel("Load with cooling", "kW", loads, 100, {snap.site.import_kw: "limit"}, low=0.0, decimals=0))
    end = to_utc(at[-1]) + timedelta(seconds=step)
    return charts.time_figure(TimeAxis.of(snap.site, to_utc(at[0]), end, None), _once(panels))


def _once(panels: list[Panel]) -> list[Panel]:
    """The legend names the two plans once."""
    return [panels[0], *(replace(p, series=tuple(replace(s, legend=False) for s in p.series)) for p in panels[1:])]


def table(snap: views.Snapshot, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Set points of both plans, a row for each interval."""
    at = [fmt.local(to_utc(stamp), snap.site.timezone) for stamp in views.times(plan["timestamp"])]
    columns: dict[str, Any] = {"from": at}
    for name, body in ((NOW.lower(), snap.plan), (THEN.lower(), plan)):
        columns[f"{name}: battery, kW"] = _battery(body).round(1)
        columns[f"{name}: SOC, %"] = (100.0 * views.values(body["soc_frac"])).round(1)
        columns[f"{name}: load, kW"] = _load(body).round(1)
    return pd.DataFrame(columns)


def _battery(plan: Mapping[str, Any]) -> Any:
    return views.values(plan["charge_kw"]) - views.values(plan["discharge_kw"])


def _load(plan: Mapping[str, Any]) -> Any:
    return sum((views.values(kw) for kw in plan["loads_kw"].values()), views.values(plan["cooling_kw"]))
