"""What the Dispatch page says is running: the verdict, the machines, the rest of the load, the limits, the log."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import curtailment_panel, widgets
from gridpilot.console import format as fmt

OUTCOMES = {
    "applied": "read back as asked",
    "recovered": "acknowledgement lost, read back as asked",
    "switching": "machines are still switching",
}
WHY_OFF = {"failsafe": "fail-safe", "estop": "emergency stop"}


def verdict(snap: views.Snapshot, sent: list[views.Sent]) -> None:
    """How many machines are on, whether that is what was asked, and until when it holds."""
    dispatch, zone, last, seen = snap.dispatch, snap.site.timezone, sent[0] if sent else None, views.shown()
    status = last.status if last else "nothing sent yet"
    if last and seen and seen.machines != last.desired and status in ("applied", "recovered"):
        status = "switching"
    count = sum(seen.machines.values()) if seen and seen.machines else 0
    since, until = (fmt.local(views.moment(dispatch[key]), zone, with_date=False) for key in ("at", "valid_until"))
    said = OUTCOMES.get(status, f"outcome: {status}")
    checked = "passed the safety check" if dispatch["constraints_satisfied"] else "did not pass the safety check"
    text = f"{fmt.count(count, 'machine')} on since {since}, {said}; {checked}; valid until {until} ({zone})."
    st.markdown(widgets.inert(text))


def off_text(snap: views.Snapshot, sent: views.Sent) -> str:
    """Everything was sent off since the decision: what that wanted is not what is. Ready for Markdown."""
    when, seen = fmt.local(sent.at, snap.site.timezone), views.shown()
    outcome = "read back as asked" if sent.status == "applied" else f"outcome: {sent.status}"
    text = f"Everything was sent off on {when} ({WHY_OFF.get(sent.origin, sent.origin)}), {outcome}."
    if seen is not None and seen.grid_kw is not None:
        text += f" The meter last showed {fmt.power(seen.grid_kw)} from the grid."
    return f"**{widgets.inert(text)}** The plan is not followed."


def off(snap: views.Snapshot, sent: list[views.Sent]) -> None:
    """What that is, and the machines."""
    st.markdown(off_text(snap, sent[0]))
    widgets.table(machines_table(snap, sent), "machines", {"kW of these": 0}, muted=["plan"])


def machines_table(snap: views.Snapshot, sent: list[views.Sent]) -> pd.DataFrame:
    """Planned, sent and actual counts of each machine type beside its stock, and why they differ."""
    types, last, seen = snap.site.machines, sent[0] if sent else None, views.shown()
    planned = (snap.cycle.get("planned") or snap.dispatch)["machines"]
    asked = [last.desired.get(m.type, 0) if last else None for m in types]
    actual = [None if seen is None or seen.machines is None else seen.machines.get(m.type, 0) for m in types]
    return pd.DataFrame(
        {
            "machines": [m.type for m in types],
            "plan": [int(planned.get(m.type, 0)) for m in types],
            "sent": asked,
            "actual": actual,
            "state": [state_words(*pair) for pair in zip(asked, actual, strict=True)],
            "kW of these": [None if n is None else n * m.power_kw for n, m in zip(actual, types, strict=True)],
            "stock": [m.count for m in types],
        }
    )


def state_words(asked: int | None, actual: int | None) -> str:
    """How what runs stands to what was asked."""
    if actual is None:
        return "no reading"
    if asked is None:
        return "nothing sent yet"
    if actual == asked:
        return "on, as sent" if asked else "off, as sent"
    return f"switching: {asked - actual} to start" if asked > actual else f"switching: {actual - asked} to stop"


def others_table(snap: views.Snapshot) -> pd.DataFrame:
    """Tenants, jobs and cooling: what they draw."""
    dispatch = snap.dispatch
    rows = {**dispatch["tenants_kw"], **dispatch["jobs_kw"], "cooling": dispatch["cooling_kw"]}
    return pd.DataFrame({"besides machines": list(rows), "kW, as sent": list(rows.values())})


def running(snap: views.Snapshot, sent: list[views.Sent]) -> None:
    """The two tables; the plan is grey while it is not what runs."""
    still = views.halted(snap)
    command = views.override_in_force()
    if still:
        st.caption(f"{still} The plan is grey.")
    elif command is not None:
        st.caption(widgets.inert(f"An override of {command.author} is laid over the plan."))
    widgets.table(machines_table(snap, sent), "machines", {"kW of these": 0}, muted=["plan"] if still else [])
    widgets.table(others_table(snap), "besides-machines", {"kW, as sent": 0})


def limits(snap: views.Snapshot) -> None:
    """Connection, battery and charge on bars with their limits, and what the meter says."""
    battery = snap.site.battery
    connection_bar(snap)
    _meter(snap)
    power = (-battery.discharge_kw, battery.charge_kw)
    widgets.limit_bar("Battery, as sent", snap.dispatch["battery_kw"], "kW", power, power, "battery")
    charge_bar(snap)


def connection_bar(snap: views.Snapshot) -> None:
    """What was sent for the connection, within its limits; a curtailment's among them."""
    scale = (-snap.site.export_kw, snap.site.import_kw)
    most_kw = curtailment_panel.most_kw(scale[1])
    widgets.limit_bar("Grid, as sent", snap.dispatch["grid_kw"], "kW", (scale[0], most_kw), scale, "grid")


def charge_bar(snap: views.Snapshot) -> None:
    """The state of charge as it was read last, in its band."""
    battery, (soc, at) = snap.site.battery, views.charge(snap)
    band = (100.0 * battery.soc_min, 100.0 * battery.soc_max)
    label = f"Charge at {fmt.local(at, snap.site.timezone, with_date=False)}"
    widgets.limit_bar(label, None if soc is None else 100.0 * soc, "%", band, (0.0, 100.0), "soc")


def _meter(snap: views.Snapshot) -> None:
    """What the connection draws by its meter; while machines switch it is on its way to what was sent."""
    seen = views.shown()
    if seen is None or seen.grid_kw is None:
        st.caption("No meter reading yet.")
        return
    at = fmt.local(seen.at, snap.site.timezone, with_date=False)
    text = f"The meter read {fmt.number(seen.grid_kw)} kW at {at}"
    if abs(seen.grid_kw - snap.dispatch["grid_kw"]) > max(5.0, 0.02 * snap.site.import_kw):
        text += ": it follows when all have switched"
    st.caption(widgets.inert(f"{text}."))


def machine_log_table(timezone: str) -> pd.DataFrame:
    """Commands to the machines, newest first."""
    rows = views.machine_log()
    return pd.DataFrame(
        {
            "site time": [fmt.local(row.at, timezone) for row in rows],
            "by": [row.origin for row in rows],
            "outcome": [row.status for row in rows],
            "asked": [_counts(row.desired) for row in rows],
            "read back": [_counts(row.actual or {}) for row in rows],
            "detail": [row.detail for row in rows],
        }
    )


def _counts(machines: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in machines.items())
