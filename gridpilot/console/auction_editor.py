"""The bid editor of the Auction page: other bids, cleared as a question; nothing from here is sent."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from gridpilot import report, views
from gridpilot.auction.bids import OTHERS, Refusal, read_rows
from gridpilot.auction.book import NOTHING
from gridpilot.auction.proof import Outcome
from gridpilot.console import auction_parts as parts
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.errors import DataError, GridPilotError

BASE, LAST, PAST, ROUND, RESULT = "bids_base", "bids_last", "bids_past", "bids_round", "bids_result"
FILE, LEFT_OUT, OTHERWISE = "bids_file", "bids_left_out", "bids_otherwise"
MOST_BYTES = 2_000_000
MOST_ROWS = 2_000
MOST_UNDO = 50
MOST_UNASKED = 200  # rows: more are cleared with another bid only when asked
TRIES = 200


def _show(table: pd.DataFrame) -> None:
    """Put a table into the editor, which starts anew with it."""
    st.session_state[BASE] = st.session_state[LAST] = table
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
    for key in (RESULT, LEFT_OUT):
        st.session_state.pop(key, None)


def _remember() -> None:
    past = st.session_state.setdefault(PAST, [])
    past.append(st.session_state[LAST])
    del past[:-MOST_UNDO]


def _reset(snap: views.Snapshot) -> None:
    """The bids of the newest auction, as the table that is edited."""
    _remember()
    _show(pd.DataFrame(views.bid_rows(snap.auction)))


def _undo() -> None:
    past = st.session_state.get(PAST, [])
    if past:
        _show(past.pop())


def _read(upload: Any) -> tuple[pd.DataFrame, Sequence[Refusal]]:
    """A CSV of bids, every cell as text, and the rows that fit no table; the engine refuses others one by one."""
    raw = upload.getvalue()
    if len(raw) > MOST_BYTES:
        raise DataError(
            f"{upload.name} has {len(raw) / 1e6:.1f} MB: at most {MOST_BYTES / 1e6:.0f} MB are taken here; "
            "`.venv/bin/python -m gridpilot auction` takes more"
        )
    with io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", newline="") as file:
        header, rows, left_out = read_rows(file, upload.name, MOST_ROWS)
    return pd.DataFrame(rows, columns=header, dtype=str), left_out


def _table(snap: views.Snapshot) -> pd.DataFrame:
    """The editor, with a way back from each change."""
    base: pd.DataFrame = st.session_state[BASE]
    edited = st.data_editor(
        base, num_rows="dynamic", hide_index=True, key=f"bids_{st.session_state[ROUND]}", height=300,
        column_config=parts.bid_columns(snap),
    )  # fmt: skip
    if not edited.equals(st.session_state[LAST]):
        _remember()
        st.session_state[LAST] = edited
        st.session_state.pop(RESULT, None)
    return edited


def _upload() -> None:
    upload = st.file_uploader("Bids from a CSV file", type="csv", key="bids_upload")
    if upload is not None and st.session_state.get(FILE) != upload.file_id:
        try:
            table, left_out = _read(upload)
        except DataError as error:
            st.error(widgets.inert(str(error)))
            return
        st.session_state[FILE] = upload.file_id
        _remember()
        _show(table)
        st.session_state[LEFT_OUT] = left_out
    _warn(st.session_state.get(LEFT_OUT, ()))


def _warn(refused: Sequence[Refusal]) -> None:
    """Rows that are refused, the first of them with their reasons."""
    counted = [reason for name, reason in refused[-1:] if name == OTHERS]
    told = refused[: len(refused) - len(counted)]
    for name, reason in told[: parts.MOST_SHOWN]:
        st.warning(widgets.inert(f"{name}: {reason}"))
    if len(told) > parts.MOST_SHOWN:
        st.warning(f"and {len(told) - parts.MOST_SHOWN:,} more.")
    for reason in counted:
        st.warning(widgets.inert(reason))


def _supply(snap: views.Snapshot) -> views.Supply:
    """What is on offer in the question; other resources and caps as in the site file."""
    with st.grid(2, min_column_width=150, gap="small"):
        capacity = st.number_input("Capacity, kW", 0.0, 1e6, float(snap.auction["capacity_kw"]), step=50.0)
        label, now = f"Reserve, {snap.units.energy}", parts.per_kwh(snap, snap.auction["reserve_usd_per_kwh"])
        reserve = st.number_input(label, 0.0, 1e9, now, step=10.0)
    usd_per_kwh = reserve * snap.units.energy_usd_per_mwh / 1000.0
    return views.Supply(capacity, usd_per_kwh, {}, dict(snap.site.auction.caps_kw))


def editor(snap: views.Snapshot) -> None:
    """Other bids, another capacity: cleared as a question. Nothing from here is sent."""
    st.markdown("## What if the bids were others?")
    st.caption(widgets.inert(f"A question: nothing from here reaches the machines. {parts.unit_words(snap)}"))
    if BASE not in st.session_state:
        _show(pd.DataFrame(views.bid_rows(snap.auction)))
    try:
        _upload()
        edited = _table(snap)
        supply = _supply(snap)
        with st.container(horizontal=True, vertical_alignment="center"):
            asked = st.button("Clear these bids", key="bids_clear", type="primary")
            none = not st.session_state.get(PAST)
            st.button("Undo", key="bids_undo", on_click=_undo, disabled=none, icon=":material/undo:")
            st.button("Back to the newest auction's bids", key="bids_reset", on_click=_reset, args=(snap,))
            widgets.download_csv(edited, "bids.csv", key="bids_csv", label="Download bids")
        rows = [{str(name): cell for name, cell in row.items()} for row in edited.to_dict("records")]
        question = views.Question.of(rows, supply)
        if asked:
            with st.spinner("Clearing"):
                st.session_state[RESULT] = report.auction_json(question.clear())
        if RESULT in st.session_state:
            _answer(snap, st.session_state[RESULT])
        _otherwise(snap, question)
    except GridPilotError as error:
        st.error(widgets.inert(str(error)))


def _answer(snap: views.Snapshot, result: Mapping[str, Any]) -> None:
    """The outcome of the question beside the recorded auction."""
    money = snap.units.money
    with widgets.tile_row(3):
        price, was = (parts.per_kwh(snap, body["clearing_price"]) for body in (result, snap.auction))
        widgets.tile("Clearing price", fmt.price(price, snap.units.energy), f"recorded {fmt.price(was).value}")
        recorded = f"recorded {fmt.compact(snap.auction['welfare'])}"
        widgets.tile("Worth to all", fmt.round_money(result["welfare"], money, "h"), recorded)
        exact = "exact" if result["exact"] else "not exact"
        widgets.tile("Method", exact, result["method"])
    table = parts.result_table(result, money)
    widgets.table(table, "cleared", parts.numbers(table))
    if said := parts.unserved({**result, "rejected": ()}):
        st.caption("Not served: " + widgets.inert(said))
    # why bids take no part, but not of who asks for nothing in the recorded auction either
    idle = {(row["bidder"], NOTHING) for row in views.bid_rows(snap.auction) if row["kw"] <= 0.0}
    _warn([told for row in result["rejected"] if (told := (row["bidder"], row["reason"])) not in idle])


def _otherwise(snap: views.Snapshot, question: views.Question) -> None:
    """Would another bid have paid? One by hand, or many at random."""
    st.markdown("## What if I had bid otherwise?")
    if not question.bidders:
        st.caption("Nobody here pays for power.")
        return
    with st.grid(3, min_column_width=140, gap="small"):
        who = st.selectbox("Bidder", question.bidders, key="lie_of")
        price = st.number_input("Its prices, %", 0.0, 1000.0, 80.0, step=5.0, key="lie_price")
        kw = st.number_input("Its kW, %", 0.0, 1000.0, 100.0, step=5.0, key="lie_kw")
    asked = (question, who, price, kw)
    known, answer = st.session_state.get(OTHERWISE, (None, None))
    if known != asked:
        many = len(question.bids)
        if many > MOST_UNASKED and not st.button(f"Clear the {many:,} bids with and without it", key="lie_clear"):
            answer = None
        else:
            with st.spinner("Clearing both"):
                answer = question.otherwise(who, price / 100.0, kw / 100.0)
            st.session_state[OTHERWISE] = (asked, answer)
    if answer is not None:
        _verdict(snap, who, *answer)
    if st.button(f"Try {TRIES} random lies", key="lie_audit"):
        with st.spinner("Clearing each of them"):
            found = question.audit(TRIES)
        if found.best_gain_usd_per_h > 0.0:
            gain = fmt.money(found.best_gain_usd_per_h, snap.units.money, "h")
            st.warning(widgets.inert(f"One of {found.tried} lies paid: {found.bidder} gained {gain}."))
        else:
            st.success(f"{found.tried} lies tried, none paid.")


def _verdict(snap: views.Snapshot, who: str, honest: Outcome, lying: Outcome) -> None:
    """What a bidder gets by its bids, and told otherwise."""
    money = snap.units.money
    more = lying.gain_usd_per_h - honest.gain_usd_per_h
    if abs(more) < 0.005:
        verdict = "nothing changes for it"
    else:
        verdict = f"it {'gains' if more > 0 else 'loses'} {fmt.money(abs(more), money, 'h')}"
    st.markdown(
        widgets.inert(
            f"By its bids {who} gets {fmt.power(honest.kw)} and pays {fmt.money(honest.pays_usd_per_h, money, 'h')}; "
            f"told otherwise it gets {fmt.power(lying.kw)} and pays {fmt.money(lying.pays_usd_per_h, money, 'h')}: "
            f"{verdict}, by what the power is worth to it."
        )
    )
