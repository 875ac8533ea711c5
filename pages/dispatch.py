"""Dispatch: what is running, what will change, and how do I take over?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import (
    command_inputs,
    curtailment_panel,
    day_parts,
    dispatch_parts,
    moment_bar,
    override_panel,
    promise_parts,
    widgets,
)
from gridpilot.console import format as fmt
from gridpilot.errors import GridPilotError

REFRESH_S = 2.0


def _machines(snap: views.Snapshot, sent: list[views.Sent]) -> pd.DataFrame:
    """Planned, sent and actual counts of each machine type beside its stock."""
    types, last, seen = snap.site.machines, sent[0] if sent else None, views.shown()
    planned = (snap.cycle.get("planned") or snap.dispatch)["machines"]
    actual = None if seen is None else seen.machines
    return pd.DataFrame(
        {
            "machines": [m.type for m in types],
            "plan": [int(planned.get(m.type, 0)) for m in types],
            "sent": [last.desired.get(m.type, 0) if last else None for m in types],
            "actual": [None if actual is None else actual.get(m.type, 0) for m in types],
            "stock": [m.count for m in types],
            "actual, kW": [None if actual is None else actual.get(m.type, 0) * m.power_kw for m in types],
        }
    )


def _others(snap: views.Snapshot) -> pd.DataFrame:
    """Tenants, jobs and cooling: what they draw."""
    dispatch = snap.dispatch
    rows = {**dispatch["tenants_kw"], **dispatch["jobs_kw"], "cooling": dispatch["cooling_kw"]}
    return pd.DataFrame({"besides machines": list(rows), "kW": list(rows.values())})


def _limits(snap: views.Snapshot) -> None:
    dispatch, site, battery = snap.dispatch, snap.site, snap.site.battery
    grid = (-site.export_kw, site.import_kw)
    most_kw = curtailment_panel.most_kw(site.import_kw)
    widgets.limit_bar("Grid", dispatch["grid_kw"], "kW", (grid[0], most_kw), grid, "grid")
    power = (-battery.discharge_kw, battery.charge_kw)
    widgets.limit_bar("Battery", dispatch["battery_kw"], "kW", power, power, "battery")
    soc = snap.cycle["soc_frac"]
    band = (100.0 * battery.soc_min, 100.0 * battery.soc_max)
    widgets.limit_bar("Charge", None if soc is None else 100.0 * soc, "%", band, (0.0, 100.0), "soc")


def _verdict(snap: views.Snapshot, sent: list[views.Sent]) -> None:
    dispatch, zone, last, seen = snap.dispatch, snap.site.timezone, sent[0] if sent else None, views.shown()
    status = last.status if last else "nothing sent yet"
    if last and seen and seen.machines != last.desired and status in ("applied", "recovered"):
        status = "switching"
    count = sum(seen.machines.values()) if seen and seen.machines else 0
    since, until = (fmt.local(views.moment(dispatch[key]), zone, with_date=False) for key in ("at", "valid_until"))
    outcome = {"applied": "read back as asked", "recovered": "acknowledgement lost, read back as asked"}
    said = outcome.get(status, "machines are still switching" if status == "switching" else f"outcome: {status}")
    checked = "passed the safety check" if dispatch["constraints_satisfied"] else "did not pass the safety check"
    text = f"{fmt.count(count, 'machine')} on since {since}, {said}; {checked}; valid until {until} ({zone})."
    st.markdown(widgets.inert(text))


@st.fragment(run_every=REFRESH_S)
def _running() -> None:
    try:
        snap, sent = views.snapshot(), views.machine_log(1)
        if snap is None:
            return
        if views.sent_off(snap):
            st.markdown(dispatch_parts.off_text(snap, sent[0]))
            widgets.table(_machines(snap, sent), "machines")
            return
        _verdict(snap, sent)
        table, bars = st.columns([3, 2], gap="medium")
        with table:
            numbers = st.column_config.NumberColumn(format="%.0f")
            config = {"actual, kW": numbers, "kW": numbers}
            widgets.table(_machines(snap, sent), "machines", config)
            st.dataframe(_others(snap), hide_index=True, placeholder=fmt.DASH, column_config=config)
        with bars:
            _limits(snap)
            st.markdown("##### What could be curtailed at once")
            st.markdown(widgets.inert(promise_parts.curtail_text(snap)))
            st.markdown("##### Next changes", help="Money: what the change brings over its run, at the plan's prices.")
            day_parts.changes(snap)
    except GridPilotError as error:
        st.error(widgets.inert(str(error)))


@st.fragment(run_every=REFRESH_S)
def _log() -> None:
    snap = views.snapshot()
    if snap is None:
        return
    timezone = snap.site.timezone
    curtailments, commands, sent = st.tabs(["Curtailments", "Operators' commands", "Commands to the machines"])
    with curtailments:
        curtailment_panel.events()
    with commands:
        rows = views.command_log()
        if rows:
            widgets.table(command_inputs.log(snap, rows), "commands")
        else:
            st.caption("No operator has given a command yet.")
    with sent:
        log = [
            {
                "when": fmt.local(row.at, timezone),
                "by": row.origin,
                "outcome": row.status,
                "asked": ", ".join(f"{n} {name}" for name, n in row.desired.items()),
                "read back": ", ".join(f"{n} {name}" for name, n in (row.actual or {}).items()),
                "detail": row.detail,
            }
            for row in views.machine_log()
        ]
        widgets.table(pd.DataFrame(log), "machine-commands")


st.subheader("What is running, what will change, and how do I take over?")
try:
    newest = views.snapshot()
    past = moment_bar.commands_act_now()
    now, beside = st.columns([4, 3] if past else [5, 3], gap="large")
    with now:
        if newest is None:
            widgets.until_first_decision("Nothing was sent yet", "Machines, limits and the log will be here.")
        else:
            _running()
    with beside if past else now:
        if newest is not None:
            _log()
    with beside:
        if not past:
            override_panel.panel(newest)
            curtailment_panel.panel(newest)
except GridPilotError as problem:
    st.error(widgets.inert(str(problem)))
