"""Figures and tables of the Auction page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import charts, plots
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT
from gridpilot.values import to_utc

MOST_SHOWN = 20  # refusals


def numbers(table: pd.DataFrame) -> dict[str, Any]:
    """Two decimals for every number column, one for kW."""
    return {
        name: st.column_config.NumberColumn(
            format="%.1f" if name.endswith("kW") else "%.4f" if "kWh" in name else "%.2f"
        )
        for name in table.columns
        if pd.api.types.is_numeric_dtype(table[name])
    }


def recorded_figure(snap: views.Snapshot) -> Figure:
    """The merit order of the recorded auction, by site power."""
    auction, site = snap.auction, snap.site
    won: dict[str, float] = {}
    for row in auction["allocation"]:
        won[row["bidder"]] = won.get(row["bidder"], 0.0) + row["kw"]
    hues = {m.type: m.type for m in site.machines} | {t.name: "tenants" for t in site.tenants}
    hues |= {job.name: "jobs" for job in site.jobs} | {"battery": "charge", "grid": "grid"}
    steps = []
    for bid in sorted(views.bid_rows(auction), key=lambda row: -row["price_usd_per_kwh"] / row["uses_power"]):
        name, use = bid["bidder"], bid["uses_power"]
        kw = min(bid["kw"], won.get(name, 0.0))
        won[name] = won.get(name, 0.0) - kw
        price = bid["price_usd_per_kwh"] / use
        steps.append(plots.Step(name, bid["kw"] * use, price, kw * use, hues.get(name, "tenants")))
    return plots.merit_order(
        steps,
        auction["capacity_kw"],
        auction["clearing_price"],
        auction["reserve_usd_per_kwh"],
        money=snap.units.money,
    )


def recorded_title(snap: views.Snapshot) -> str:
    """Where the auction clears, and how much power nobody took."""
    auction = snap.auction
    price = f"{fmt.compact(auction['clearing_price'])} {snap.units.money}/kWh"
    left = auction["capacity_kw"] - sold_kw(snap)
    if left < 0.5:
        return f"Clears at {price}: all power is taken"
    return f"Clears at {price}; {fmt.power(left)} of {fmt.power(auction['capacity_kw'])} is left to the grid"


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
    return f"Power was scarce in {share} of {fmt.count(int(known.sum()), 'auction')}"


def result_table(auction: Mapping[str, Any], money: str) -> pd.DataFrame:
    """Who asked for what, got what, values it at what and pays what."""
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
        for row in auction["allocation"]
    ]
    return pd.DataFrame(rows)


def unserved(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Bids that took no part and why, the first of them."""
    first = "; ".join(f"{row['bidder']} {row['reason']}" for row in rejected[:MOST_SHOWN])
    return first + (f"; and {len(rejected) - MOST_SHOWN:,} more" if len(rejected) > MOST_SHOWN else "")


def externality_table(payment: Mapping[str, Any], money: str) -> pd.DataFrame:
    """The bids that a winner displaces, which add up to its payment."""
    rows = [
        {
            "without it": row["displaced"],
            "would have had, kW": row["kw"],
            f"worth, {money}/kWh": row["usd_per_kwh"],
            f"adds, {money}/h": row["usd_per_h"],
        }
        for row in payment["externality"]
    ]
    return pd.DataFrame(rows, columns=["without it", "would have had, kW", f"worth, {money}/kWh", f"adds, {money}/h"])
