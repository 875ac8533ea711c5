"""Health: is the system itself well?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.errors import GridPilotError

REFRESH_S = 5.0


@st.cache_data(max_entries=4, show_spinner="Checking the ledger's chain")
def _verified(head_seq: int) -> tuple[bool, str]:
    """The chain up to a head; checked anew only when the ledger has grown."""
    return views.verify_ledger()


def _tiles(health: views.Health, status: views.Status) -> None:
    total = health.stage_ms.get("total")
    with widgets.tile_row(5):
        beat = "never" if health.heartbeat is None else fmt.age(health.heartbeat_age_s)
        guarded = "watchdog runs" if health.watchdog else "NO WATCHDOG"
        widgets.tile("Pilot", "running" if health.pilot else "not running", f"last good cycle {beat}; {guarded}")
        age = fmt.duration(status.price_age_s)
        widgets.tile("Prices", age, f"since the interval's start, {status.source}")
        if total is None or not len(total):
            widgets.tile("Cycle", fmt.DASH, "no cycle yet")
        else:
            slow = f"95 % within {fmt.milliseconds(float(np.percentile(total, 95)))}"
            widgets.tile("Cycle, median", fmt.milliseconds(float(np.median(total))), f"{slow}, {len(total)} cycles")
        widgets.tile(
            "Ledger",
            fmt.number(health.entries),
            f"head {health.head_hash[:12]}",
            note="Entries, and the hash of the newest.",
        )
        ok, reason = _verified(health.head_seq)
        widgets.tile("Chain", "whole" if ok else "broken", "every entry checked" if ok else reason)


def _stages(health: views.Health) -> None:
    st.markdown("##### Where a cycle's time goes")
    rows = {
        "stage": list(health.stage_ms),
        "last, ms": [float(ms[-1]) for ms in health.stage_ms.values()],
        "median, ms": [float(np.median(ms)) for ms in health.stage_ms.values()],
        "95 %, ms": [float(np.percentile(ms, 95)) for ms in health.stage_ms.values()],
        "course": [ms[-40:].tolist() for ms in health.stage_ms.values()],
    }
    numbers = {name: st.column_config.NumberColumn(format="%.1f") for name in list(rows)[1:4]}
    config = {**numbers, "course": st.column_config.LineChartColumn("last 40", y_min=0)}
    widgets.table(pd.DataFrame(rows), "stages", config)


def _alarms(health: views.Health, timezone: str) -> None:
    st.markdown("##### Wrong now")
    now = views.alarms()
    for alarm in now:
        box = st.error if alarm.severity == "alarm" else st.warning
        advice = f" What to do: {alarm.advice}" if alarm.advice else ""
        box(widgets.inert(f"{alarm.code}: {alarm.message}.{advice}"))
    if not now:
        st.caption("Nothing.")
    st.markdown("##### Alarm log")
    if not health.alarm_log:
        st.caption("No alarm was ever written to this ledger.")
        return
    table = {
        "when": [fmt.local(entry.at, timezone) for entry in health.alarm_log],
        "code": [entry.body["code"] for entry in health.alarm_log],
        "what": [entry.body["message"] for entry in health.alarm_log],
    }
    widgets.table(pd.DataFrame(table), "alarms")


@st.fragment(run_every=REFRESH_S)
def _body() -> None:
    try:
        health, status = views.health(), views.status()
        _tiles(health, status)
        if not health.cycles:
            todo = "The pilot writes one each interval. If the strip says NO PILOT, restart the console."
            widgets.empty_state("No cycle yet", f"Latencies and data flags will be here. {todo}")
        left, right = st.columns([1, 1], gap="medium")
        with left:
            if health.cycles:
                _stages(health)
        with right:
            _alarms(health, status.timezone)
            snap = views.snapshot()
            if snap is not None and snap.flags:
                st.markdown("##### Said about the newest decision's data")
                widgets.flags(snap.flags)
    except GridPilotError as error:
        st.error(widgets.inert(str(error)))


st.subheader("Is the system itself well?")
_body()
