"""Overview: what is the site doing, and is that good?"""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from gridpilot import views
from gridpilot.console import day_parts, dispatch_parts, live_chart, now_parts, widgets
from gridpilot.console.charts import Figure

REFRESH_S = 3.0


@st.cache_data(max_entries=8, show_spinner=False)
def _picture(cycle_id: str, marks: tuple[tuple[datetime, str], ...]) -> Figure | None:
    """The figure of a decision: the same bytes as long as there is no newer one, and nobody acts."""
    look = day_parts.DAY
    snap, prices, track = views.snapshot(cycle_id), views.prices(look.past_h + 1.0), views.track(look.past_h)
    if snap is None or prices is None or track is None:
        return None
    return day_parts.day_figure(snap, prices, track, look, marks)


def _beside(snap: views.Snapshot, shown: now_parts.Next | None) -> None:
    past = views.look().at is not None
    alarms = [] if past else views.unseen()
    if alarms:
        st.markdown("## Alarms")
        st.html(day_parts.alarms_html(alarms[:2]))
        if len(alarms) > 2:
            st.caption(f"and {len(alarms) - 2} more: see Health")
    dispatch_parts.connection_bar(snap)
    if snap.site.battery.capacity_kwh > 0.0:
        dispatch_parts.charge_bar(snap)
    st.markdown("## Money", help="Against what would have been without a decision, and against knowing all prices.")
    now_parts.money(snap)
    if not views.halted(snap):
        st.markdown("## Then", help="Money: what the change brings over its run, at the plan's prices.")
        day_parts.changes(snap, first=1 if shown is not None and shown.plan else 0)
    if past:
        st.markdown("## Said of this decision")
        widgets.flags(snap.flags)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body() -> None:
    snap = views.snapshot()
    if snap is None:
        what = "Price, load, charge and money of the site, the next 24 hours, and what changes next."
        todo = "The first decision comes a few seconds after the pilot starts; the strip above says if none runs."
        widgets.empty_state("No decision yet", f"{what} {todo}")
        return
    said, ahead = st.columns([3, 1], gap="medium")
    with said:
        now_parts.sentence()
    with ahead:
        shown = now_parts.next_change(snap)
    now_parts.tiles(snap)
    picture, beside = st.columns([3, 1], gap="medium")
    with picture:
        figure = _picture(snap.cycle_id, now_parts.by_hand(snap))
        if figure is not None:
            title = day_parts.day_title(snap)
            widgets.finding(title)
            live_chart.show(figure, "overview_day", title)
    with beside:
        _beside(snap, shown)


_body()
