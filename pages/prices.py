"""Prices: what does power cost, and who earns at that price?"""

from __future__ import annotations

import numpy as np
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import live_chart, plots, price_parts, source_parts, widgets
from gridpilot.console.charts import Figure

REFRESH_S = 3.0
DAYS = 30


@st.cache_data(max_entries=8, show_spinner=False)
def _history(cycle_id: str, days: int) -> Figure | None:
    snap, prices = views.snapshot(cycle_id), views.prices(24.0 * days)
    return None if snap is None or prices is None else price_parts.history_figure(snap, prices, days)


def _tiles(snap: views.Snapshot, prices: views.Prices) -> None:
    now, unit = snap.cycle["prices"], snap.units.energy
    price = float(snap.shown(now["energy_usd_per_mwh"]))
    with widgets.tile_row(5):
        against = price_parts.against(price, views.price_reference())
        widgets.tile("Energy price now", fmt.price(price, unit), against, price_parts.day_spark(prices, "energy"))
        _place_tile(price, prices)
        for kind, label in (("hash", "Hash price"), ("token", "Token price")):
            said = [code.replace("_", " ").lower() for code in price_parts.flags_of(snap, kind)]
            if now[kind] is None:
                widgets.tile(label, fmt.DASH, "this source has none")
            else:
                value = fmt.price(now[kind], price_parts.unit_of(snap, kind))
                month = price_parts.day_spark(prices, kind, 24 * DAYS)
                widgets.tile(label, value, ", ".join(said) or "as traded", month)
        calm = views.restless(prices.timestamp, prices.energy, prices.step_s)
        regime = (snap.risk.get("regime") if calm is not None else None) or fmt.DASH
        note = f"Standard deviation of the changes in the newest 24 h, {unit}, against the days before. "
        note += "Restless: above 75 % of them; stormy: above 95 %. The CVaR limit follows."
        widgets.tile("Volatility regime", regime, price_parts.regime_words(calm, unit), note=note)


def _place_tile(price: float, prices: views.Prices) -> None:
    n = len(prices.energy)
    label = f"Place in the last {price_parts.span_words(prices)}"
    if n < 2:
        widgets.tile(label, fmt.DASH, "needs a second price")
        return
    lower = fmt.number(100.0 * float(np.mean(prices.energy < price)))
    median = fmt.price(float(np.median(prices.energy)), prices.units.energy)
    note = f"Share of the {n:,} recorded prices that were lower."
    widgets.tile(label, fmt.Quantity(lower, "% were cheaper"), f"median {median}", note=note)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body(days: int) -> None:
    snap, prices = views.snapshot(), views.prices(24.0 * DAYS)
    if snap is None or prices is None:
        what = "The price now, its history, and who earns at it."
        todo = "They come with the pilot's first decision; the strip above says if no pilot runs."
        widgets.empty_state("No prices yet", f"{what} {todo}")
        return
    _tiles(snap, prices)
    past, ladder = st.columns([3, 2], gap="medium")
    with past:
        figure = _history(snap.cycle_id, days)
        if figure is not None:
            title = price_parts.history_title(snap, prices, days)
            widgets.finding(title)
            live_chart.show(figure, f"prices_history_{days}", title)
    with ladder:
        title = price_parts.ladder_title(snap)
        widgets.finding(title)
        live_chart.show(price_parts.ladder_figure(snap), "prices_ladder", title)
        widgets.table(price_parts.strike_table(snap), "strikes", height="content")
    _when(snap, prices)
    _quality(snap, prices)


def _when(snap: views.Snapshot, prices: views.Prices) -> None:
    """The week by the hour, and the duration curve."""
    unit, week = snap.units.energy, views.week(prices.timestamp, prices.energy, snap.site.timezone)
    share, price = views.duration(prices.energy)
    if week is None or len(price) < 2:
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        title = price_parts.week_title(week, unit)
        widgets.finding(title)
        live_chart.show(plots.week_map(week.mean, unit), "prices_week", title)
    with right:
        title = price_parts.duration_title(price, unit)
        widgets.finding(title)
        now = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
        live_chart.show(plots.duration(share, price, now, unit), "prices_duration", title)


def _quality(snap: views.Snapshot, prices: views.Prices) -> None:
    st.markdown("## Data quality")
    span = price_parts.span_words(prices)
    st.caption(widgets.inert(f"Source: {snap.cycle['source']}. {prices.credit}. Figures of the last {span}."))
    source_parts.quality(snap, span)
    table = price_parts.stats_table(snap, prices)
    said = "Standard deviation of the change from one price to the next, in the price's unit."
    volatile = st.column_config.NumberColumn(format="%.2f", help=said)
    widgets.table(table, "price-quality", {"volatility of changes": volatile}, height="content")
    if any(unit.endswith("per rate") for unit in table["unit"]):
        st.caption(price_parts.RATE_SAID)
    widgets.flags(flag for flag in snap.flags if flag.stage == "market")


with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("What does power cost, and who earns at that price?", width="content")
    chosen = widgets.choice("History", (7, 30), "prices_days", 7, "{} days".format)
_body(chosen)
source_parts.show()
