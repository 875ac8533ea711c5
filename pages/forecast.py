"""Forecast: what will power cost, and how sure are we?"""

from __future__ import annotations

import numpy as np
import streamlit as st

from gridpilot import views
from gridpilot.console import forecast_parts, live_chart, price_parts, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure

REFRESH_S = 3.0
LIVE_DAYS = 7.0
EARLIER_H = 24.0
HOURS = (6, 12, 24)


@st.cache_data(max_entries=12, show_spinner=False)
def _figure(cycle_id: str, kind: str, model: str, hours: int) -> Figure | None:
    snap, prices = views.snapshot(cycle_id), views.prices(72.0)
    if snap is None or prices is None:
        return None
    return forecast_parts.forecast_figure(snap, prices, kind, views.forecast_of(EARLIER_H), model, hours)


@st.cache_data(max_entries=12, show_spinner="Holding the recorded forecasts against what came ...")
def _live(cycle_id: str, kind: str) -> list[views.LiveScore]:
    return views.live_scores(kind, LIVE_DAYS)


def _scores(snap: views.Snapshot, kind: str, live: list[views.LiveScore]) -> None:
    table, calibration = st.columns([3, 2], gap="medium")
    with table:
        widgets.finding(forecast_parts.error_title(snap, kind))
        errors = forecast_parts.error_table(snap, kind, live)
        days = fmt.number(snap.forecast["score_days"])
        if errors.empty:
            what = "No model was scored on this price and no forecast of it has come true: "
            widgets.empty_state("No errors to show", what + widgets.inert(snap.forecast["bands"][kind]["method"]) + ".")
        else:
            unit = price_parts.unit_of(snap, kind)
            names = (f"unseen days, {unit}", f"live, {unit}")
            config = {name: st.column_config.NumberColumn(format="%.3g") for name in names}
            widgets.table(errors, f"errors-{kind}", config, height="content")
            st.caption(forecast_parts.ERRORS_SAID.format(days=days, live=f"{LIVE_DAYS:.0f}"))
    with calibration:
        figure = forecast_parts.calibration_figure(snap, kind, live)
        if figure is None:
            what = "Whether the bands hold as many prices as they promise: when the first forecast has come true."
            widgets.empty_state("No calibration yet", what)
        else:
            title = forecast_parts.calibration_title(snap, kind, live)
            widgets.finding(title)
            live_chart.show(figure, f"forecast_calibration_{kind}", title)


def _models(snap: views.Snapshot, kind: str) -> None:
    """Each model day by day and, for energy, what the forecast is made of now."""
    if (daily := forecast_parts.daily_figure(snap, kind)) is not None:
        widgets.finding(forecast_parts.daily_title(snap, kind))
        live_chart.show(daily, f"forecast_daily_{kind}", forecast_parts.daily_title(snap, kind))
    drivers = forecast_parts.driver_figure(snap) if kind == "energy" else None
    if drivers is None:
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        widgets.finding(forecast_parts.driver_title(snap))
        live_chart.show(drivers, "forecast_drivers", forecast_parts.driver_title(snap))
        st.caption(forecast_parts.DRIVERS_SAID)
    with right:
        widgets.finding(f"Ensemble fitted up to {snap.forecast['version'].replace('T', ' ').replace('Z', ' UTC')}")
        numbers = st.column_config.NumberColumn(format="%.3g")
        members = forecast_parts.member_table(snap)
        config = dict.fromkeys(members.columns[2:], numbers)
        config["share of the mix"] = st.column_config.NumberColumn(format="%.0f %%")
        widgets.table(members, "members", config)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body(kind: str, model: str, hours: int) -> None:
    snap = views.snapshot()
    if snap is None:
        what = "Bands for the next 24 hours, what came of earlier ones, and the error of each model."
        todo = "They come with the pilot's first decision; the strip above says if no pilot runs."
        widgets.empty_state("No forecast yet", f"{what} {todo}")
        return
    if not np.isfinite(price_parts.shown(snap, kind, snap.forecast["bands"][kind]["point"])).any():
        widgets.empty_state(f"No {kind} price", "This source has no such price, so there is nothing to forecast.")
        return
    live = _live(snap.cycle_id, kind)
    forecast_parts.tiles(snap, kind, live, LIVE_DAYS)
    widgets.flags(flag for flag in snap.flags if flag.stage == "forecast" and _about(flag.message, kind))
    figure = _figure(snap.cycle_id, kind, model, hours)
    if figure is not None:
        title = forecast_parts.forecast_title(snap, kind)
        widgets.finding(title)
        live_chart.show(figure, f"forecast_{kind}_{hours}", title)
    _scores(snap, kind, live)
    _models(snap, kind)


def _about(message: str, kind: str) -> bool:
    others = [other for other in price_parts.KINDS if other != kind]
    return not message.startswith(tuple(others))


st.title("What will power cost, and how sure are we?")
with st.container(horizontal=True, vertical_alignment="center"):
    kinds = price_parts.KINDS
    chosen = widgets.choice("Price", tuple(kinds), "forecast_price", "energy", kinds.__getitem__)
    ahead = widgets.choice("Hours ahead", HOURS, "forecast_hours", 24, "{} h".format)
    options = forecast_parts.choices(chosen)
    model = st.selectbox("Model", options, key=f"forecast_model_{chosen}", label_visibility="collapsed", width=220)
_body(chosen, model, ahead)
