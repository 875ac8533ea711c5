"""Figures and tables of the Auction page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.auction.book import NOTHING
from gridpilot.console import charts, plots
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT, hues_of
from gridpilot.values import to_utc

MOST_SHOWN = 20  # refusals
REST = ("grid", "cooling")  # of an allocation: what nobody took, and what goes to those who got power


def numbers(table: pd.DataFrame) -> dict[str, Any]:
    """Two decimals for every number column, one for kW."""
    kinds = pd.api.types
    return {n: 1 if n.endswith("kW") else 2 for n in table.columns if kinds.is_numeric_dtype(table[n])}


def recorded_figure(snap: views.Snapshot) -> Figure:
    """The merit order of the recorded auction, by site power."""
    auction, site = snap.auction, snap.site
    won: dict[str, float] = {}
    for row in auction["allocation"]:
        won[row["bidder"]] = won.get(row["bidder"], 0.0) + row["kw"]
    hues = {m.type: m.type for m in site.machines} | hues_of(site) | {"battery": "charge", "grid": "grid"}
    steps = []
    for bid in sorted(views.bid_rows(auction), key=lambda row: -row["price_usd_per_kwh"] / row["uses_power"]):
        name, use = bid["bidder"], bid["uses_power"]
        kw = min(bid["kw"], won.get(name, 0.0))
        won[name] = won.get(name, 0.0) - kw
        price = per_kwh(snap, bid["price_usd_per_kwh"] / use)
        steps.append(plots.Step(name, bid["kw"] * use, price, kw * use, hues.get(name, "tenants")))
    clearing, reserve = (per_kwh(snap, auction[key]) for key in ("clearing_price", "reserve_usd_per_kwh"))
    return plots.merit_order(steps, auction["capacity_kw"], clearing, reserve, unit=snap.units.energy)


def per_kwh(snap: views.Snapshot, usd_per_kwh: float) -> float:
    """A price per kWh of site power in the page's one unit, that of the energy price."""
    return float(snap.shown(1000.0 * usd_per_kwh))


def recorded_title(snap: views.Snapshot) -> str:
    """Where the auction clears, who gets power, and how much nobody took."""
    auction = snap.auction
    price = fmt.price(per_kwh(snap, auction["clearing_price"]), snap.units.energy)
    who = list(dict.fromkeys(r["bidder"] for r in auction["allocation"] if r["kw"] >= 0.5 and r["bidder"] not in REST))
    got = ", ".join(who[:3]) + (f" and {len(who) - 3} more" if len(who) > 3 else "") if who else "nobody"
    left = auction["capacity_kw"] - sold_kw(snap)
    if left < 0.5:
        return f"At {price} all power is taken, by {got}"
    rest = f"{fmt.power(left)} of {fmt.power(auction['capacity_kw'])} is left to the grid"
    return f"At {price} power goes to {got}; {rest}"


def sold_kw(snap: views.Snapshot) -> float:
    """Site power that loads, their cooling and the battery got."""
    return math.fsum(row["kw"] for row in snap.auction["allocation"] if row["bidder"] != "grid")


def history_figure(snap: views.Snapshot, held: views.Held) -> Figure:
    """Clearing prices of the last day beside what energy cost, in the source's unit."""
    step = snap.step_s
    clearing, energy = (snap.shown(1000.0 * p) for p in (held.clearing_usd_per_kwh, held.energy_usd_per_kwh))
    lines = (
        Series("Energy price", held.timestamp, energy, "line", LIGHT["muted"], 1.4, step_s=step),
        Series("Clearing price", held.timestamp, clearing, "line", LIGHT["ink"], step_s=step),
    )
    start, last = to_utc(held.timestamp[0]), to_utc(held.timestamp[-1])
    axis = TimeAxis.of(snap.site, start, last + timedelta(seconds=step), snap.at)
    panel = Panel("Clearing price of site power", snap.units.energy, lines, 170, decimals=1)
    return charts.time_figure(axis, [panel])


def history_title(held: views.Held) -> str:
    """How often power was scarce: dearer than the energy itself."""
    known = np.isfinite(held.energy_usd_per_kwh)
    scarce = held.clearing_usd_per_kwh[known] > np.maximum(held.energy_usd_per_kwh[known], 0.0) * (1.0 + 1e-6) + 1e-6
    if not known.any():
        return "What energy cost is not on record"
    share = fmt.percent(float(scarce.mean()))
    last = fmt.count(int(known.sum()), "auction")
    return f"Power was scarce, dearer than energy from the grid, in {share} of the last {last}"


def result_table(auction: Mapping[str, Any], money: str) -> pd.DataFrame:
    """Who asked for what, got what, values it at what and pays what; who got most stands first."""
    paid = {payment["bidder"]: payment["usd_per_h"] for payment in auction["payments"]}
    rows = [
        {
            "bidder": row["bidder"],
            "service": row["service"],
            "asked, kW": row["asked_kw"],
            "got, kW": row["kw"],
            f"worth, {money}/h": row["value_usd_per_h"],
            f"pays, {money}/h": paid.get(row["bidder"], 0.0),
            f"gains, {money}/h": row["value_usd_per_h"] - paid.get(row["bidder"], 0.0),
        }
        for row in sorted(auction["allocation"], key=lambda row: (row["bidder"] in REST, -row["kw"], -row["asked_kw"]))
    ]
    return pd.DataFrame(rows)


def unserved(auction: Mapping[str, Any]) -> str:
    """Who asked for power and got none or less, who lacks most first, and why where its bid took no part."""
    why = {row["bidder"]: row["reason"] for row in auction["rejected"] if row["reason"] != NOTHING}
    asked: dict[str, float] = {}
    got: dict[str, float] = {}
    for row in auction["allocation"]:
        if row["bidder"] not in REST:
            asked[row["bidder"]] = asked.get(row["bidder"], 0.0) + row["asked_kw"]
            got[row["bidder"]] = got.get(row["bidder"], 0.0) + row["kw"]
    short = sorted((n for n in asked if asked[n] - got[n] >= 0.05), key=lambda name: got[name] - asked[name])
    said = [
        f"{name} got {fmt.power(got[name])} of {fmt.power(asked[name])}" + (f" ({why[name]})" if name in why else "")
        for name in short
    ]
    said += [f"{name}: {reason}" for name, reason in why.items() if name not in asked]
    more = f"; and {len(said) - MOST_SHOWN:,} more" if len(said) > MOST_SHOWN else ""
    return "; ".join(said[:MOST_SHOWN]) + more


def externality_table(snap: views.Snapshot, payment: Mapping[str, Any]) -> pd.DataFrame:
    """The bids that a winner displaces, which add up to its payment."""
    worth, adds = f"worth, {snap.units.energy}", f"adds, {snap.units.money}/h"
    rows = [
        {
            "without it": row["displaced"],
            "would have had, kW": row["kw"],
            worth: per_kwh(snap, row["usd_per_kwh"]),
            adds: row["usd_per_h"],
        }
        for row in payment["externality"]
    ]
    return pd.DataFrame(rows, columns=["without it", "would have had, kW", worth, adds])


def bid_columns(snap: views.Snapshot) -> dict[str, Any]:
    """What the columns of a bids file mean."""
    column = st.column_config
    money = snap.units.money
    return {
        "kw": column.NumberColumn("kW"),
        "price_usd_per_kwh": column.NumberColumn(
            f"price, {money}/kWh", format="%.4f", help="By kWh that the bidder itself uses, as in a file of bids."
        ),
        "divisible": column.CheckboxColumn("divisible", help="Takes a part of its kW too."),
        "min_kw": column.NumberColumn("least kW"),
        "house": column.CheckboxColumn("site's own", help="The site's own alternative: it pays nothing."),
        "uses_power": column.NumberColumn(
            "site kW per kW", format="%.4f", help="Power at the connection for one kW of its own: cooling comes on top."
        ),
    }


def unit_words(snap: views.Snapshot) -> str:
    """How a bid's price becomes the chart's, by the first bid that pays."""
    own = (
        "Prices of bids are by kWh of the bidder's own, as in a file of bids; all others here are by the site's power."
    )
    bids = [row for row in views.bid_rows(snap.auction) if not row["house"] and row["uses_power"] > 0.0]
    if not bids:
        return own
    bid = bids[0]
    shown = fmt.price(per_kwh(snap, bid["price_usd_per_kwh"] / bid["uses_power"]), snap.units.energy)
    own += f" {bid['bidder']} offers {fmt.compact(bid['price_usd_per_kwh'])} {snap.units.money}/kWh and takes"
    return (
        f"{own} {fmt.compact(bid['uses_power'])} kW of site power for each kW, cooling included: {shown} in the chart."
    )
