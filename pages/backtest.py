"""Backtest: would this have earned money?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from gridpilot import views
from gridpilot.console import backtest_job, backtest_parts, live_chart, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure
from gridpilot.errors import GridPilotError
from gridpilot.values import midnight

POLL_S = 1.0
REFRESH_S = 10.0
DAYS = (30, 90, 180, 365)


def _result(result: Mapping[str, Any], snap: views.Snapshot, key: str) -> None:
    money = snap.units.money
    share, added = result["percent_of_perfect"], result["percent_of_added"]
    with widgets.tile_row(4):
        text = "nothing to earn" if share is None else f"{share:.1f} % of perfect foresight"
        value = fmt.DASH if added is None else fmt.Quantity(f"{added:.0f}", "%")
        widgets.tile("Of what could be added", value, text, note=backtest_parts.SHARES)
        earned = fmt.money(result["revenue_usd"], money)
        rest = fmt.money(result["resting_usd"], money).value
        widgets.tile("Earned", earned, f"battery at rest {rest}", note="Loads less energy bought, plus energy sold.")
        widgets.tile("Perfect foresight", fmt.money(result["perfect_foresight_usd"], money), "cannot be reached")
        cycles = fmt.number(result["cycles"], 1)
        each = fmt.number(result["cycles"] / result["n_days"], 2)
        widgets.tile("Full cycles of the battery", fmt.Quantity(cycles, ""), f"{each} a day")
    widgets.flags(backtest_parts.flags(result))
    title = backtest_parts.money_title(result, money)
    widgets.finding(title)
    live_chart.show(backtest_parts.money_figure(result, snap), f"backtest_money_{key}", title)
    gap = backtest_parts.gap_figure(result, money)
    if gap is not None:
        widgets.finding(backtest_parts.gap_title(result, money))
        live_chart.show(gap, f"backtest_gap_{key}", backtest_parts.gap_title(result, money))
    st.markdown("## Day by day")
    table = backtest_parts.day_table(result, money)
    widgets.table(table, "backtest", dict.fromkeys(table.columns[1:5], 0) | {table.columns[-1]: 0})


@st.fragment(run_every=POLL_S)
def _running(asked: backtest_job.Asked) -> None:
    job = backtest_job.jobs().find(asked)
    if job is None or not job.running:
        st.rerun()
    share, doing = job.progress()
    st.progress(share, f"{widgets.inert(doing)}, {fmt.duration(job.elapsed_s)} so far")


def _record() -> None:
    """What it did earn: the first answer, before anything is run."""
    try:
        snap = views.newest()
        days = [*filter(None, [views.today()]), *views.closed_days()]
        said = backtest_parts.live_words(days, snap.units.money) if snap is not None else ""
    except GridPilotError:
        return  # the body says what is wrong
    if said:
        widgets.finding(said)


@st.cache_data(max_entries=8, show_spinner=False)
def _picture(cycle_id: str, _snap: views.Snapshot) -> tuple[Figure, str] | None:
    """What came up to a decision, and its finding: the same bytes until the next one."""
    found = views.on_record(_snap)
    if found is None:
        return None
    return backtest_parts.record_figure(*found, _snap), backtest_parts.record_title(found[0], _snap)


@st.fragment(run_every=REFRESH_S)
def _what_came() -> None:
    """The record as a picture, below what a backtest says."""
    try:
        snap = views.newest()
        drawn = _picture(snap.cycle_id, snap) if snap is not None else None
    except GridPilotError:
        return
    if drawn is not None:
        figure, title = drawn
        widgets.finding(title)
        live_chart.show(figure, "backtest_record", title)
        st.caption(backtest_parts.RECORD)


@widgets.saying_trouble()
def _body(days: int, forecaster: str, information: str) -> None:
    snap = views.newest()
    if snap is None:
        what = "What the engine would have earned on the recorded prices, against perfect foresight."
        widgets.until_first_decision("No prices yet", what)
        return
    other = views.elsewhere()
    through = f"{midnight(snap.at, snap.site.timezone):%Y-%m-%d}"
    asked = backtest_job.Asked(days, forecaster, information, through, other.name if other else "")
    st.caption(backtest_parts.SAID[information])
    job = backtest_job.jobs().find(asked)
    label = "Run again" if job is not None else "Run"
    if st.button(label, key="backtest_run", type="primary", disabled=job is not None and job.running):
        job = backtest_job.jobs().start(asked)
    if job is None:
        widgets.empty_state("Not run yet", backtest_parts.what_comes(days, forecaster))
    elif job.running:
        if st.button("Stop", key="backtest_stop"):
            backtest_job.jobs().stop(asked)
            st.rerun()
        _running(asked)
    elif job.trouble:
        st.error(widgets.inert(job.trouble))
    elif job.result is not None:
        if job.asked.through != through:
            st.caption(backtest_parts.OLDER)
        _result(job.result, snap, f"{days}_{forecaster}_{information}")


st.title("Would this have earned money?")
_record()
with st.container(horizontal=True, vertical_alignment="center"):
    span = widgets.choice("Days", DAYS, "backtest_days", 90, "{} days".format)
    by = st.selectbox(
        "Forecast", list(backtest_parts.FORECASTERS), format_func=backtest_parts.FORECASTERS.__getitem__,
        key="backtest_forecaster", label_visibility="collapsed", width=220,
    )  # fmt: skip
    knowing = st.selectbox(
        "What is known", list(backtest_parts.INFORMATION), format_func=backtest_parts.INFORMATION.__getitem__,
        key="backtest_information", label_visibility="collapsed", width=260,
    )  # fmt: skip
_body(span, by, knowing)
_what_came()
