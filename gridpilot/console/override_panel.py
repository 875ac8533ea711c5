"""The override panel of the Dispatch page: select, look at the effect, operate; and the stop's release.

Nothing here is in a live fragment, and each button's callback consumes what was selected, so that neither a
reload nor a double click sends anything twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from gridpilot import operate, views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.errors import GridPilotError

REASON, MINUTES = "override_reason", "override_minutes"
SELECTED, SAID, AUTHOR = "override_selected", "override_said", "operator_name"
KINDS = {"machines": "Machines", "battery_kw": "Battery", "hold": "Hold"}


def author() -> str:
    """Who acts: what the operator typed. There is no sign-in yet."""
    return str(st.session_state.get(AUTHOR, "")).strip()


def _say(kind: str, text: str) -> None:
    st.session_state[SAID] = (kind, text)


def _target(snap: views.Snapshot, kind: str) -> dict[str, Any]:
    """The target that the inputs show."""
    if kind == "machines":
        counts = {m.type: int(st.session_state[f"count_{m.type}"]) for m in snap.site.machines}
        planned = snap.dispatch["machines"]
        changed = {name: count for name, count in counts.items() if count != planned.get(name, 0)}
        return changed or counts
    return {"battery_kw": float(st.session_state["battery_kw"])} if kind == "battery_kw" else {}


def _select(snap: views.Snapshot, kind: str) -> None:
    try:
        st.session_state[SELECTED] = operate.select(kind, _target(snap, kind))
        st.session_state.pop(SAID, None)
    except GridPilotError as error:
        _say("error", str(error))


def _operate() -> None:
    """With the reason and the minutes as they are at the press: a page that lags behind may know older ones."""
    selected = st.session_state.pop(SELECTED, None)
    if selected is None:
        return
    reason, minutes = str(st.session_state.get(REASON, "")), float(st.session_state.get(MINUTES, 60))
    try:
        given = operate.operate(selected, author=author(), reason=reason, minutes=minutes)
        _say("success", f"Command {given.id} was accepted; the pilot puts it over the plan.")
    except GridPilotError as error:
        _say("error", str(error))


def _drop() -> None:
    st.session_state.pop(SELECTED, None)


def _release(command_id: int) -> None:
    try:
        operate.release(command_id, author=author() or "console", reason="released on the Dispatch page")
        _say("success", f"Command {command_id} was released: the plan is followed again.")
    except GridPilotError as error:
        _say("error", str(error))


def _release_stop(step: str) -> None:
    try:
        operate.release_stop(step, author=author(), reason=str(st.session_state.get("stop_reason", "")))
        text = "Confirm within 30 s." if step == "request" else "The emergency stop is released: the plan is followed."
        _say("success", text)
    except GridPilotError as error:
        _say("error", str(error))


def panel(snap: views.Snapshot | None) -> None:
    """Who acts, and what they can do: release a latched stop, or override the plan."""
    st.text_input("Your name", key=AUTHOR, max_chars=60, help="It is written down with each command.")
    stop = views.stopped()
    if stop is not None:
        _stop_panel(stop)
    elif snap is not None:
        _override_panel(snap)


def _stop_panel(stop: Mapping[str, Any]) -> None:
    """The latched emergency stop and its two-step release."""
    with st.container(border=True, key="stop_panel"):
        site = views.current_site()
        when = fmt.local(datetime.fromisoformat(stop["at"]), site.timezone)
        st.markdown("##### Emergency stop")
        st.text(f"Pressed by {stop['author']} on {when} ({site.timezone}): {stop['reason']}", width="stretch")
        st.text_input("Why it is safe to go on", key="stop_reason", max_chars=500)
        with st.container(horizontal=True):
            st.button("1. Request release", key="stop_request", on_click=_release_stop, args=("request",))
            asked = bool(stop.get("release_requested_at"))
            st.button(
                "2. Confirm release", key="stop_confirm", on_click=_release_stop, args=("confirm",), disabled=not asked
            )
        _last_words()


def _override_panel(snap: views.Snapshot) -> None:
    """Choose a target, see its effect, give it."""
    with st.container(border=True, key="override_panel"):
        st.markdown("##### Take over")
        st.caption("Local, no sign-in. An override is laid over the plan until it ends or is released.")
        _live(snap)
        kind = st.segmented_control(
            "What", list(KINDS), format_func=lambda k: KINDS[k], default="machines", key="override_kind", required=True
        )
        _inputs(snap, kind)
        st.button("Select", key="override_select", on_click=_select, args=(snap, kind), type="secondary")
        selected = st.session_state.get(SELECTED)
        if selected is not None:
            _preview(snap, selected)
        _last_words()


def _inputs(snap: views.Snapshot, kind: str) -> None:
    if kind == "machines":
        with st.grid(2, min_column_width=150, gap="small"):
            for machine in snap.site.machines:
                running = int(snap.dispatch["machines"].get(machine.type, 0))
                label = f"{widgets.inert(machine.type)}, of {machine.count}"
                st.number_input(label, 0, machine.count, running, key=f"count_{machine.type}")
    elif kind == "battery_kw":
        battery = snap.site.battery
        low, high = -float(battery.discharge_kw), float(battery.charge_kw)
        now = min(max(float(snap.dispatch["battery_kw"]), low), high)
        st.number_input("Battery, kW (charging is positive)", low, high, now, step=10.0, key="battery_kw")
    else:
        st.caption("Machines stay as they are and the battery rests.")


def _preview(snap: views.Snapshot, selected: operate.Selected) -> None:
    money = snap.units.money
    with st.grid(2, min_column_width=150, gap="small"):
        kw = f"now {fmt.power(selected.before_kw)}"
        widgets.tile("Grid power", fmt.power(selected.after_kw), kw, note="Import is positive, export negative.")
        rate = f"now {fmt.money(selected.before_usd_per_h, money)}"
        widgets.tile("Money per hour", fmt.money(selected.after_usd_per_h, money, "h"), rate)
    for violation in selected.violations:
        st.error(widgets.inert(f"Breaks a limit: {violation}"))
    st.text_input("Reason", key=REASON, max_chars=500)
    st.number_input("Ends after, minutes of site time", 5, 1440, 60, step=5, key=MINUTES)
    left = operate.VALID - (datetime.now(UTC) - selected.selected_at)
    st.caption(f"Void in {max(0, int(left.total_seconds()))} s: then select again.")
    with st.container(horizontal=True):
        st.button(
            "Operate",
            key="override_operate",
            on_click=_operate,
            type="primary",
            disabled=bool(selected.violations),
        )
        st.button("Drop", key="override_drop", on_click=_drop)


def _live(snap: views.Snapshot) -> None:
    """The override in force, with the time it has left."""
    command = views.override_in_force()
    now = views.status().at
    if command is None or now is None:
        return
    left = fmt.duration((command.valid_until - now).total_seconds())
    ends = fmt.local(command.valid_until, snap.site.timezone, with_date=False)
    wanted = ", ".join(f"{name} {value}" for name, value in command.target.items()) or "as it was"
    st.warning(widgets.inert(f"In force: {KINDS[command.kind]}, {wanted}, until {ends} ({left} left)"))
    st.text(f"{command.author}: {command.reason}", width="stretch")
    st.button("Release", key="override_release", on_click=_release, args=(command.id,))


def _last_words() -> None:
    said = st.session_state.get(SAID)
    if said is not None:
        kind, text = said
        (st.error if kind == "error" else st.success)(widgets.inert(text))
