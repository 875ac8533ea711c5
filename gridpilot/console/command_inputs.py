"""What a command may be set to: the inputs of each kind, the target that they show, and a command in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.dispatch.effects import MINERS

KINDS: Final = {
    "machines": "Machines",
    "battery_kw": "Battery",
    "curtail": "Grid limit",
    "threshold": "Price",
    "hold": "Hold",
}
ACTS: Final = {
    **KINDS,
    "estop": "Emergency stop",
    "estop_release": "Stop's release",
    "resume": "Resume",
    "approve": "Approve",
    "release": "Release",
    "curtailment": "Curtailment",
    "clock": "Replay clock",
}
BY_WALL: Final = ("estop", "estop_release")  # a stop is timed by the wall clock, not by the replay's
TIMES: Final = (
    "Site time is the clock of the plan, in a replay the replayed one. Clock is the wall clock: a stop has it."
)
WIDTHS: Final = {"number": st.column_config.NumberColumn(width="small", format="%.0f")}
KW, SHARE = "kW", "% of the connection"


def inputs(snap: views.Snapshot, kind: str, changed: Callable[[], None]) -> None:
    """The inputs of a kind; `changed` is called when one is."""
    if kind == "machines":
        _machines(snap, changed)
    elif kind == "battery_kw":
        battery = snap.site.battery
        low, high = -float(battery.discharge_kw), float(battery.charge_kw)
        now = min(max(float(snap.dispatch["battery_kw"]), low), high)
        key = _following("battery_kw", now)
        st.number_input("Battery, kW (charging is positive)", low, high, step=10.0, key=key, on_change=changed)
    elif kind == "curtail":
        _curtail(snap, changed)
    elif kind == "threshold":
        _threshold(snap, changed)
    else:
        st.caption("Machines stay as they are and the battery rests.")


def target(snap: views.Snapshot, kind: str) -> dict[str, Any]:
    """The target that the inputs show."""
    state = st.session_state
    if kind == "machines":
        counts = {m.type: int(state[f"count_{m.type}"]) for m in snap.site.machines}
        planned = snap.dispatch["machines"]
        changed = {name: count for name, count in counts.items() if count != planned.get(name, 0)}
        return changed or counts
    if kind == "battery_kw":
        return {"battery_kw": float(state["battery_kw"])}
    if kind == "curtail":
        share = state["curtail_unit"] == SHARE
        return {"percent": float(state["curtail_percent"])} if share else {"import_kw": float(state["curtail_kw"])}
    if kind == "threshold":
        price = float(state["threshold_price"]) * snap.units.energy_usd_per_mwh
        return {"type": str(state["threshold_type"]), "energy_usd_per_mwh": price}
    return {}


def words(snap: views.Snapshot, kind: str, wanted: Mapping[str, Any]) -> str:
    """A command in plain words."""
    if kind == "machines":
        return "Machines: " + ", ".join(f"{name} {count}" for name, count in wanted.items())
    if kind == "battery_kw":
        return f"Battery at {fmt.power(float(wanted['battery_kw']))}"
    if kind == "curtail":
        most = f"{wanted['percent']:g} % of the connection" if "percent" in wanted else fmt.power(wanted["import_kw"])
        return f"At most {most} from the grid"
    if kind == "threshold":
        price = f"{float(snap.shown(wanted['energy_usd_per_mwh'])):,.2f} {snap.units.energy}"
        return f"{wanted['type']} off while energy costs {price} or more"
    if kind == "hold":
        return "Machines as they are, battery at rest"
    said = ", ".join(f"{name} {value}" for name, value in wanted.items() if name != "step")
    return f"{ACTS.get(kind, kind)} {wanted.get('step', said)}".strip()


def log(snap: views.Snapshot, rows: Sequence[views.Command]) -> pd.DataFrame:
    """A table of commands, the newest first as given; a time is in the column of the clock that it was taken from."""
    timezone = snap.site.timezone
    live = views.status().mode == "LIVE"

    def told(row: views.Command, moment: datetime, by_wall: bool) -> str:
        return fmt.local(moment, timezone) if live or (row.kind in BY_WALL) == by_wall else ""

    return pd.DataFrame(
        {
            "number": [row.id for row in rows],
            "state": [row.status for row in rows],
            "site time": [told(row, row.created_at, False) for row in rows],
            "clock": [told(row, row.created_at, True) for row in rows],
            "by": [row.author for row in rows],
            "command": [words(snap, row.kind, row.target) for row in rows],
            "reason": [row.reason for row in rows],
            "until, site time": [told(row, row.valid_until, False) for row in rows],
            "detail": [row.detail for row in rows],
        }
    )


def _following(key: str, now: float) -> str:
    """The key of an input that shows what is so now for as long as nobody has changed it."""
    state, shown = st.session_state, f"{key}_now"
    if key not in state or (state[key] == state.get(shown) and state[key] != now):
        state[key] = now
    if state[key] == now:
        state[shown] = now
    return key


def _machines(snap: views.Snapshot, changed: Callable[[], None]) -> None:
    with st.grid(2, min_column_width=150, gap="small"):
        for machine in snap.site.machines:
            running = min(int(snap.dispatch["machines"].get(machine.type, 0)), machine.count)
            label = f"{widgets.inert(machine.type)}, of {machine.count}"
            key = _following(f"count_{machine.type}", running)
            st.number_input(label, 0, machine.count, key=key, on_change=changed)


def _curtail(snap: views.Snapshot, changed: Callable[[], None]) -> None:
    most = float(snap.site.import_kw)
    unit = st.segmented_control(
        "At most, from the grid, in", [KW, SHARE], default=KW, key="curtail_unit", required=True, on_change=changed
    )
    now = min(max(round(float(snap.dispatch["grid_kw"])), 0.0), most)
    if unit == SHARE:
        share = round(100.0 * now / most) if most > 0.0 else 0.0
        key = _following("curtail_percent", float(share))
        st.number_input(f"% of {fmt.power(most)}", 0.0, 100.0, step=5.0, key=key, on_change=changed)
    else:
        key = _following("curtail_kw", float(now))
        st.number_input(f"kW, of {fmt.power(most)}", 0.0, most, step=10.0, key=key, on_change=changed)


def _threshold(snap: views.Snapshot, changed: Callable[[], None]) -> None:
    types = [m.type for m in snap.site.machines]
    names = [MINERS, *types] if any(m.product == "hash" for m in snap.site.machines) else types
    st.selectbox("Off are", names, format_func=widgets.inert, key="threshold_type", on_change=changed)
    now = math.floor(100.0 * float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))) / 100.0
    label = f"while energy costs this or more, {widgets.inert(snap.units.energy)}"
    st.number_input(label, step=1.0, key=_following("threshold_price", now), on_change=changed)
    st.caption(f"It costs {now:,.2f} now. Below the threshold the plan is followed.")
