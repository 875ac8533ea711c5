"""Figures, tables and the bid editor of the Auction page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from gridpilot import report, views
from gridpilot.console import format as fmt
from gridpilot.console import plots, widgets
from gridpilot.console.charts import Figure
from gridpilot.errors import DataError, GridPilotError

BASE, ROUND, RESULT = "bids_base", "bids_round", "bids_result"
COLUMNS = ["bidder", "service", "kw", "price_usd_per_kwh", "divisible"]
MOST_BYTES = 2_000_000
MOST_ROWS = 2_000


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
    """The merit order of the recorded auction."""
    return figure(snap, snap.auction["bids"], snap.auction)


def figure(snap: views.Snapshot, bids: list[Any], auction: Mapping[str, Any]) -> Figure:
    """The merit order of bids with an auction's outcome; the title says who is at the margin."""
    won = {row["bidder"]: row["kw"] for row in auction["allocation"]}
    hues = {m.type: m.type for m in snap.site.machines} | {t.name: "tenants" for t in snap.site.tenants}
    hues |= {job.name: "jobs" for job in snap.site.jobs} | {"cooling": "cooling"}
    steps = []
    for bid in bids:
        kw = min(bid["kw"], won.get(bid["bidder"], 0.0))
        won[bid["bidder"]] = won.get(bid["bidder"], 0.0) - kw
        steps.append(
            plots.Step(bid["bidder"], bid["kw"], bid["price_usd_per_kwh"], kw, hues.get(bid["bidder"], "tenants"))
        )
    left = auction["capacity_kw"] - sum(row["kw"] for row in auction["allocation"])
    price = f"{fmt.compact(auction['clearing_price'])} {snap.units.money}/kWh"
    title = (
        f"Clears at {price}, with {fmt.power(left)} left" if left > 0.5 else f"Clears at {price}: all power is given"
    )
    return plots.merit_order(
        steps,
        auction["capacity_kw"],
        auction["clearing_price"],
        auction["reserve_usd_per_kwh"],
        title,
        snap.units.money,
    )


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


# --- the editor ------------------------------------------------------------------------------


def _reset(snap: views.Snapshot) -> None:
    """The bids of the newest auction, as the table that is edited."""
    st.session_state[BASE] = pd.DataFrame(snap.auction["bids"], columns=COLUMNS)
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
    st.session_state.pop(RESULT, None)


def _read(upload: Any) -> pd.DataFrame:
    """A CSV of bids, every cell as text: the engine refuses bad rows one by one."""
    raw = upload.getvalue()
    if len(raw) > MOST_BYTES:
        raise DataError(f"{upload.name} has {len(raw) / 1e6:.1f} MB: at most {MOST_BYTES / 1e6:.0f} MB are taken")
    try:
        table = pd.read_csv(io.BytesIO(raw), dtype=str, nrows=MOST_ROWS + 1, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{upload.name} is not a CSV file of bids: {error}") from None
    missing = [name for name in COLUMNS[:4] if name not in table]
    if missing:
        raise DataError(f"{upload.name}: no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    if len(table) > MOST_ROWS:
        raise DataError(f"{upload.name} has more than {MOST_ROWS} rows: use the command line for more")
    return table.reindex(columns=COLUMNS)


def editor(snap: views.Snapshot) -> None:
    """Other bids, another capacity: cleared as a question. Nothing from here is sent."""
    st.markdown("##### What if the bids were others?")
    st.caption("A question, not a command: nothing from here reaches the machines.")
    if BASE not in st.session_state:
        _reset(snap)
    upload = st.file_uploader("Bids from a CSV file", type="csv", key="bids_upload")
    base: pd.DataFrame = st.session_state[BASE]
    if upload is not None and st.session_state.get("bids_file") != upload.file_id:
        base = st.session_state[BASE] = _read(upload)
        st.session_state["bids_file"] = upload.file_id
        st.session_state[ROUND] += 1
    edited = st.data_editor(
        base, num_rows="dynamic", hide_index=True, key=f"bids_{st.session_state[ROUND]}", height=300
    )
    with st.grid(2, min_column_width=150, gap="small"):
        capacity = st.number_input("Capacity, kW", 0.0, 1e6, float(snap.auction["capacity_kw"]), step=50.0)
        label = f"Reserve, {snap.units.money}/kWh"
        reserve = st.number_input(label, 0.0, 1e9, float(snap.auction["reserve_usd_per_kwh"]), step=0.01, format="%.4f")
    with st.container(horizontal=True):
        asked = st.button("Clear these bids", key="bids_clear", type="primary")
        st.button("Back to the newest auction's bids", key="bids_reset", on_click=_reset, args=(snap,))
        widgets.download_csv(edited, "bids.csv", key="bids_csv", label="Download bids")
    if asked:
        rows = [{str(name): cell for name, cell in row.items()} for row in edited.to_dict("records")]
        try:
            with st.spinner("Clearing"):
                result = report.auction_json(views.clear_auction(rows, capacity, reserve))
            st.session_state[RESULT] = result
        except GridPilotError as error:
            st.session_state.pop(RESULT, None)
            st.error(widgets.inert(str(error)))
    if RESULT in st.session_state:
        _answer(snap, st.session_state[RESULT])


def _answer(snap: views.Snapshot, result: Mapping[str, Any]) -> None:
    """The outcome of the question beside the recorded auction."""
    money = snap.units.money
    with widgets.tile_row(3):
        for label, key, unit in (
            ("Clearing price", "clearing_price", f"{money}/kWh"),
            ("Welfare", "welfare", f"{money}/h"),
        ):
            was = fmt.compact(snap.auction[key])
            widgets.tile(label, fmt.quantity(result[key], unit), f"recorded {was}")
        exact = "exact" if result["exact"] else "not exact"
        widgets.tile("Method", exact, result["method"])
    table = result_table(result, money)
    st.dataframe(table, hide_index=True, column_config=numbers(table))
    for row in result["rejected"]:
        st.warning(widgets.inert(f"{row['bidder']}: {row['reason']}"))
