"""Auction: who gets the power, and what do they pay?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import auction_editor, live_chart, widgets
from gridpilot.console import auction_parts as parts
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure

REFRESH_S = 3.0


@st.cache_data(max_entries=8, show_spinner=False)
def _figure(cycle_id: str) -> Figure | None:
    snap = views.snapshot(cycle_id)
    return None if snap is None else parts.recorded_figure(snap)


@st.cache_data(max_entries=8, show_spinner=False)
def _past(cycle_id: str) -> tuple[str, Figure] | None:
    snap, held = views.snapshot(cycle_id), views.auction_history()
    if snap is None or held is None or len(held.timestamp) < 2:
        return None
    return parts.history_title(held), parts.history_figure(snap, held)


def _tiles(snap: views.Snapshot) -> None:
    auction, money = snap.auction, snap.units.money
    sold = parts.sold_kw(snap)
    tenants = {tenant.name for tenant in snap.site.tenants}
    paid = snap.cycle["rate"]["tenants"]
    with widgets.tile_row(4):
        price = fmt.price(parts.per_kwh(snap, auction["clearing_price"]), snap.units.energy)
        energy = fmt.price(float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"])), snap.units.energy)
        note = "Worth of the dearest kW that asked in this interval and got none; the grid asks at the energy price. "
        note += "The worth of site power on Plan counts later intervals too, so it can be higher."
        widgets.tile("Clearing price", price, f"energy {energy.value}", note=note)
        widgets.tile("Power given", fmt.power(sold), f"of {fmt.power(auction['capacity_kw'])} on offer")
        note = "Welfare: the value of what was given, by the bidders' own bids, the site's alternatives among them."
        widgets.tile(
            "Worth to all", fmt.round_money(auction["welfare"], money, "h"), auction["method"].split(",")[0], note=note
        )
        note = "Auction payments. The site's own inference and jobs pay on paper only, its alternatives nothing."
        widgets.tile("Tenants pay", fmt.round_money(paid, money, "h"), fmt.count(len(tenants), "tenant"), note=note)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _result() -> None:
    snap = views.snapshot()
    if snap is None:
        return
    _tiles(snap)
    picture, table = st.columns([1, 1], gap="medium")
    with picture:
        widgets.finding(parts.recorded_title(snap))
        figure = _figure(snap.cycle_id)
        if figure is not None:
            live_chart.show(figure, "auction_merit", parts.recorded_title(snap))
    with table:
        rows = parts.result_table(snap.auction, snap.units.money)
        widgets.table(rows, "auction", parts.numbers(rows))
        st.caption("A payment covers the power of the cooling too. The site's own alternatives pay nothing.")
        if said := parts.unserved(snap.auction):
            st.caption("Not served: " + widgets.inert(said))


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _history() -> None:
    """Clearing prices of the last day."""
    snap = views.snapshot()
    if snap is None:
        return
    past = _past(snap.cycle_id)
    if past is None:
        st.caption("One auction so far: the course of the clearing price comes with the next ones.")
    else:
        widgets.finding(past[0])
        live_chart.show(past[1], "auction_history", past[0])


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _externality() -> None:
    """What one bidder's payment is made of."""
    snap = views.snapshot()
    if snap is None:
        return
    st.markdown("## What a payment is made of")
    payments = {payment["bidder"]: payment for payment in snap.auction["payments"]}
    if not payments:
        st.caption("Nobody pays in this interval.")
        return
    chosen = st.selectbox("Bidder", list(payments), key="payment_of")
    payment = payments[chosen]
    money = snap.units.money
    paid, without, with_it = (
        fmt.money(payment[key], money, "h")
        for key in ("usd_per_h", "others_without_usd_per_h", "others_with_usd_per_h")
    )
    text = f"{chosen} pays {paid}: without it the others would have {without} of value, with it they have {with_it}."
    st.markdown(widgets.inert(text))
    rows = parts.externality_table(snap, payment)
    widgets.table(rows, "payment", parts.numbers(rows))


st.title("Who gets the power, and what do they pay?")
with widgets.saying_trouble():
    newest = views.snapshot()
    if newest is None:
        widgets.until_first_decision("No auction yet", "Bids, allocation and payments of the running interval.")
    else:
        _result()
        _history()
        made_of, what_if = st.columns([2, 3], gap="large")
        with made_of:
            _externality()
        with what_if:
            auction_editor.editor(newest)
