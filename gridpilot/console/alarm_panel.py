"""Alarms on the Health page: the live list with what to do and an acknowledgement for each, and a shelf with an end.

The list is drawn in a live fragment: it holds buttons only. What is typed (who, why, how long) is outside of it, so
that nobody's words are lost when the list ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pandas as pd
import streamlit as st

from gridpilot import operate, views
from gridpilot.console import format as fmt
from gridpilot.console import signin, widgets
from gridpilot.dispatch.actor import LOCAL, OPERATOR
from gridpilot.errors import Forbidden
from gridpilot.foreign import escape, line
from gridpilot.monitor.alarms import ACKED, ALARM, NORMAL, RETURNED, SHELVED, UNACK
from gridpilot.operate import Actor

SAID: Final = "alarm_said"
AUTHOR: Final = "alarm_author"
WORDS: Final = {
    UNACK: "new",
    ACKED: "seen",
    RETURNED: "gone again, not seen yet",
    SHELVED: "shelved",
    NORMAL: "over",
}
HOURS: Final = {0.5: "30 min", 1.0: "1 h", 4.0: "4 h", 8.0: "8 h", 24.0: "24 h"}


# --- acts ------------------------------------------------------------------------------------


def _acknowledge(alarm_id: int) -> None:
    def seen(who: Actor) -> str:
        return f"{operate.acknowledge(who, alarm_id).code} is acknowledged."

    signin.act(SAID, seen)


def _unshelve(alarm_id: int) -> None:
    def back(who: Actor) -> str:
        return f"{operate.unshelve(who, alarm_id).code} is back on the list."

    signin.act(SAID, back)


def _shelve() -> None:
    """With the values as they are at the press."""
    state = st.session_state
    number, hours, why = state.get("shelve_which"), float(state["shelve_hours"]), str(state["shelve_why"])

    def aside(who: Actor) -> str:
        if number is None:
            raise Forbidden("no alarm is chosen: choose one of the list")
        alarm = operate.shelve(who, number, minutes=60.0 * hours, reason=why)
        return f"{alarm.code} is shelved for {HOURS[hours]}; it comes back by itself."

    signin.act(SAID, aside)


# --- the list --------------------------------------------------------------------------------


def alarm_list(timezone: str) -> None:
    """The alarms that are not over, the ones that want an eye first, and what became of the last press. Drawn in a live
    fragment."""
    _list(timezone)
    widgets.last_words(SAID)


def _list(timezone: str) -> None:
    wall, who = datetime.now(UTC), signin.actor()
    alarms = sorted(views.alarms(), key=lambda alarm: not alarm.wants_an_eye(wall))
    if not alarms:
        st.html("<div class='gp-empty'><strong>No alarm</strong><span>Nothing wants your eye.</span></div>")
        return
    may = who is not None and not who.lacks(OPERATOR, wall) and views.elsewhere() is None
    for i, alarm in enumerate(alarms):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"alarm_{i}"):
            st.html(row_html(alarm, alarm.state(wall), timezone), width="stretch")
            if may and alarm.id and alarm.wants_an_eye(wall):
                st.button("Acknowledge", key=f"ack_{alarm.id}", on_click=_acknowledge, args=(alarm.id,))
            if may and alarm.state(wall) == SHELVED:
                st.button("Unshelve", key=f"unshelve_{alarm.id}", on_click=_unshelve, args=(alarm.id,))
    if not any(alarm.id for alarm in alarms):
        st.caption("No watch is at work, so these cannot be acknowledged: they are what the ledger says now.")


def row_html(alarm: views.Alarm, state: str, timezone: str) -> str:
    """One alarm: how grave, what happened, what to do, since when and what became of it."""
    wants = state in (UNACK, RETURNED)
    look = ("gp-alarm" if alarm.severity == ALARM else "gp-warning") if wants else ""
    lasts = fmt.duration((datetime.now(UTC) - alarm.first_seen).total_seconds())
    since = f"first seen {lasts} ago" + (f", {alarm.times} times" if alarm.times > 1 else "")
    told = WORDS[state]
    if state == SHELVED:
        told += f" until {fmt.local(alarm.shelved_until, timezone)} by {alarm.shelved_by}: {alarm.shelved_why}"
    elif alarm.acknowledged_by:
        told += f" by {alarm.acknowledged_by}"
    word = "ALARM" if alarm.severity == ALARM else "WARNING"
    return (
        f"<div class='gp-alarm-row'><span class='gp-chip {look}'>{word}</span><div>"
        f"<b>{escape(alarm.code)}</b> {escape(alarm.message)}"
        f"<div><span class='gp-todo'>{escape(alarm.advice)}</span></div>"
        f"<div class='gp-muted'>{escape(told)}, {escape(since)}</div></div></div>"
    )


# --- the shelf -------------------------------------------------------------------------------


def acting() -> None:
    """Who acts, and a form that puts an alarm aside for a time."""
    who, wall, other = signin.actor(), datetime.now(UTC), views.elsewhere()
    if who is None:
        return
    if other is not None:
        st.caption(widgets.inert(f"Alarms of {other.name} are acknowledged and shelved on its own console."))
        return
    lacking = who.lacks(OPERATOR, wall)
    if lacking:
        st.caption(widgets.inert(f"To acknowledge and shelve alarms: {lacking}."))
        return
    if who.source == LOCAL:
        note = "It is written down with each alarm that you acknowledge or shelve."
        signin.name_field(AUTHOR, note, 80)
    with st.expander("Shelve an alarm", key="shelf"):
        known = {a.id: f"{a.code}: {a.message}"[:80] for a in views.alarms() if a.id and a.state(wall) != SHELVED}
        if not known:
            st.caption("There is no alarm to shelve.")
            return
        st.selectbox("Alarm", list(known), format_func=lambda number: line(known[number]), key="shelve_which")
        st.select_slider("For", list(HOURS), 1.0, format_func=lambda hours: HOURS[hours], key="shelve_hours")
        st.text_input("Reason", key="shelve_why", max_chars=500)
        st.button("Shelve", key="shelve_give", on_click=_shelve)


# --- the past --------------------------------------------------------------------------------


def history_table(alarms: Sequence[views.Alarm], timezone: str) -> pd.DataFrame:
    """Alarms that are over or not, newest first."""
    wall = datetime.now(UTC)
    return pd.DataFrame(
        {
            "first seen, clock": [fmt.local(a.first_seen, timezone) for a in alarms],
            "code": [a.code for a in alarms],
            "severity": [a.severity for a in alarms],
            "state": [WORDS[a.state(wall)] for a in alarms],
            "what": [a.message for a in alarms],
            "gone, clock": [fmt.local(a.cleared_at, timezone) if a.cleared_at else "" for a in alarms],
            "seen by": [a.acknowledged_by or "" for a in alarms],
            "times": [a.times for a in alarms],
        }
    )


def log_table(health: views.Health, timezone: str) -> pd.DataFrame:
    """What happened to alarms, as the ledger has it, newest first."""
    rows = health.alarm_log
    return pd.DataFrame(
        {
            "site time": [fmt.local(row.at, timezone) for row in rows],
            "entry": [row.seq for row in rows],
            "code": [row.body["code"] for row in rows],
            "event": [row.body.get("event", "said") for row in rows],
            "by": [row.body.get("by", row.body.get("stage", "")) for row in rows],
            "what": [row.body["message"] for row in rows],
        }
    )
