"""Overview: what is the site doing, and is that good?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import curtailment_panel, day_parts, live_chart, price_parts, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure
from gridpilot.console.format import Quantity
from gridpilot.errors import GridPilotError

REFRESH_S = 3.0
ALWAYS_ON = (
    "Always on: every machine with work runs whatever power costs, the battery rests, "
    "the same tenants and jobs are served."
)


@st.cache_data(max_entries=8, show_spinner=False)
def _picture(cycle_id: str) -> Figure | None:
    """The figure of a decision: the same bytes as long as there is no newer one."""
    look = day_parts.DAY
    snap, prices, track = views.snapshot(cycle_id), views.prices(look.past_h + 1.0), views.track(look.past_h)
    if snap is None or prices is None or track is None:
        return None
    return day_parts.day_figure(snap, prices, track, look)


def _tiles(snap: views.Snapshot) -> None:
    with widgets.tile_row(5):
        price = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
        widgets.tile("Price", fmt.price(price, snap.units.energy), price_parts.against(price, views.price_reference()))
        _load_tiles(snap)
        money, rate = snap.units.money, snap.cycle["rate"]["profit_usd_per_h"]
        gain = rate - snap.cycle["always_on"]["profit_usd_per_h"]
        reference = f"{fmt.money(gain, money, sign=True).value} vs. always on"
        widgets.tile("Margin per hour", fmt.money(rate, money, "h"), reference, note=ALWAYS_ON)
        today = views.pnl_today()
        if today is None:
            note = "What an interval brought is settled when the next one begins."
            widgets.tile("P&L today", fmt.DASH, "nothing settled yet today", note=note)
            return
        gain = today.profit_usd - today.always_on_usd
        since = fmt.local(today.since, snap.site.timezone, with_date=False)
        reference = f"{fmt.money(gain, money, sign=True).value} vs. always on"
        widgets.tile(f"P&L since {since}", fmt.money(today.profit_usd, money), reference, note=ALWAYS_ON)


def _load_tiles(snap: views.Snapshot) -> None:
    sent, battery, soc = snap.dispatch, snap.site.battery, snap.cycle["soc_frac"]
    side = "import" if sent["grid_kw"] >= 0.0 else "export"
    limit = curtailment_panel.most_kw(snap.site.import_kw) if side == "import" else snap.site.export_kw
    reference = f"{side} {fmt.number(abs(sent['grid_kw']))} of {fmt.number(limit)} kW"
    widgets.tile("Load", fmt.power(sent["total_power_kw"]), reference, note="With cooling, without the battery.")
    band = f"{fmt.number(100.0 * battery.soc_min)}–{fmt.number(100.0 * battery.soc_max)} %"
    if battery.capacity_kwh <= 0.0:
        widgets.tile("State of charge", fmt.DASH, "this site has no battery")
    elif soc is None:
        widgets.tile("State of charge", fmt.DASH, f"no reading, band {band}")
    else:
        text, stored = f"band {band}", f"{fmt.energy(soc * battery.capacity_kwh)} stored."
        widgets.tile("State of charge", Quantity(fmt.number(100.0 * soc, 1), "%"), text, note=stored)


def _beside(snap: views.Snapshot) -> None:
    grid, battery, soc = snap.dispatch["grid_kw"], snap.site.battery, snap.cycle["soc_frac"]
    scale = (-snap.site.export_kw, snap.site.import_kw)
    limits = (scale[0], curtailment_panel.most_kw(scale[1]))
    widgets.limit_bar("Grid", grid, "kW", limits, scale=scale, thing="import" if grid >= 0.0 else "export")
    if battery.capacity_kwh > 0.0:
        percent = None if soc is None else 100.0 * soc
        bounds = (100.0 * battery.soc_min, 100.0 * battery.soc_max)
        widgets.limit_bar("Charge", percent, "%", bounds, scale=(0.0, 100.0), thing="battery")
    st.markdown("##### Next changes", help="Money: what the change brings over its run, at the plan's prices.")
    day_parts.changes(snap)
    if views.look().at is not None:
        st.markdown("##### Said of this decision")
        widgets.flags(snap.flags)
        return
    st.markdown("##### Alarms")
    alarms = views.unseen()
    if alarms:
        st.html(day_parts.alarms_html(alarms))
    else:
        st.caption("None that nobody has seen.")


@st.fragment(run_every=REFRESH_S)
def _body() -> None:
    try:
        snap = views.snapshot()
        if snap is None:
            what = "Price, load, charge and money of the site, the next 24 hours, and what changes next."
            todo = "The first decision comes a few seconds after the pilot starts; the strip above says if none runs."
            widgets.empty_state("No decision yet", f"{what} {todo}")
            return
        st.markdown(f"**{views.now_sentence().text}**")
        _tiles(snap)
        picture, beside = st.columns([3, 1], gap="medium")
        with picture:
            figure = _picture(snap.cycle_id)
            if figure is not None:
                title = day_parts.day_title(snap)
                widgets.finding(title)
                live_chart.show(figure, "overview_day", title)
        with beside:
            _beside(snap)
    except GridPilotError as error:
        st.error(widgets.inert(str(error)))


st.caption("What is the site doing, and is that good?")
_body()
