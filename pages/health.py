"""Health: is the system itself well?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import alarm_panel, health_parts, widgets

REFRESH_S = 5.0


def _verdict(health: views.Health, unseen: int) -> str:
    """The answer in one line."""
    wrong = []
    if unseen:
        wrong.append(f"{unseen} alarm{'s' if unseen > 1 else ''} nobody has acknowledged")
    at_work = {"pilot": health.pilot, "watchdog": health.watchdog, "watch": health.watch}
    gone = [name for name, up in at_work.items() if not up]
    if gone:
        wrong.append(f"no {' and no '.join(gone)} at work")
    if health.verified is not None and not health.verified.ok:
        wrong.append("the ledger's chain is broken")
    return f"Not quite: {', '.join(wrong)}." if wrong else "Yes: no alarm wants an eye, all processes are at work."


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _now() -> None:
    health, status = views.health(), views.status()
    st.markdown(f"**{widgets.inert(_verdict(health, len(views.unseen())))}**")
    health_parts.tiles(health, status)
    if not health.cycles:
        todo = "The pilot writes one each interval. If the strip says NO PILOT, restart the console."
        widgets.empty_state("No cycle yet", f"Service levels, latencies and data flags will be here. {todo}")


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _alarms() -> None:
    st.markdown("## Alarms")
    alarm_panel.alarm_list(views.status().timezone)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _processes() -> None:
    health = views.health()
    st.markdown("## Processes")
    st.html(health_parts.processes_html(health))
    if health.cycles:
        st.markdown("## Where a cycle's time goes")
        health_parts.stages(health)


def _below() -> None:
    """What does not tick: the data, the money, the log."""
    status, snap = views.status(), views.newest()
    if snap is not None:
        if snap.flags:
            st.markdown("## Said about the newest decision's data")
            widgets.flags(snap.flags)
        st.markdown("## Money, day by day")
        health_parts.money(snap.units.money)
    past, log = st.tabs(["Alarms so far", "Alarm log"])
    with past:
        alarms = views.alarm_history()
        if alarms:
            widgets.table(alarm_panel.history_table(alarms, status.timezone), "alarms")
        else:
            st.caption("No alarm was ever raised in this ledger.")
    with log:
        health = views.health(1)
        if health.alarm_log:
            widgets.table(alarm_panel.log_table(health, status.timezone), "alarm-log")
        else:
            st.caption("No alarm was ever written to this ledger.")


st.title("Is the system itself well?")
_now()
with widgets.saying_trouble():
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _alarms()
        alarm_panel.acting()
    with right:
        _processes()
    _below()
