"""The override panel of the Dispatch page: select, see the effect, operate; approve, release, resume; end a stop.

Nothing here is in a live fragment but the seconds that a selection has left, and each button's callback consumes what
was selected, so that neither a reload nor a double click sends anything twice. Buttons that a role does not allow are
shown dead; the role is checked again where the act is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from gridpilot import operate, views
from gridpilot.console import command_inputs, signin, widgets
from gridpilot.console import format as fmt
from gridpilot.console.command_inputs import KINDS
from gridpilot.dispatch.actor import APPROVER, LOCAL, OPERATOR, same_person
from gridpilot.errors import GridPilotError
from gridpilot.operate import Actor

REASON, MINUTES, KIND = "override_reason", "override_minutes", "override_kind"
VOID = "The selection is void after 30 s: select again."
SELECTED, SAID, AUTHOR, DONE = "override_selected", "override_said", "operator_name", "override_done"
STOPPED = "override_stopped"  # whether the page drawn before showed a stop


# --- acts ------------------------------------------------------------------------------------


def _act_once(name: str, number: int, act: Callable[[Actor], str]) -> None:
    """An act on a command, which is not done again: the second press of a double click does nothing."""
    if st.session_state.get(DONE) == (name, number):
        return

    def once(who: Actor) -> str:
        text = act(who)
        st.session_state[DONE] = (name, number)
        return text

    signin.act(SAID, once)


def _select(snap: views.Snapshot) -> None:
    """What the inputs show at the press: a page that lags behind may know another kind. Its 30 s are for looking, so
    that name and reason come first."""
    kind, who = st.session_state[KIND], signin.actor()
    try:
        if who is not None:
            operate.require_words(who, str(st.session_state.get(REASON, "")))
        st.session_state[SELECTED] = operate.select(kind, command_inputs.target(snap, kind))
        st.session_state.pop(SAID, None)
    except KeyError:
        widgets.say(SAID, "error", "The inputs have just changed: select again.")
    except GridPilotError as error:
        widgets.say(SAID, "error", str(error))


def _operate(snap: views.Snapshot) -> None:
    """With target, reason and minutes as they are at the press: a page that lags behind may know older ones."""
    state = st.session_state
    selected = state.pop(SELECTED, None)
    if selected is None:  # the second press of a double click, or one that came too late
        if SAID not in state:
            widgets.say(SAID, "error", VOID)
        return
    kind, reason, minutes = state.get(KIND), str(state.get(REASON, "")), float(state.get(MINUTES, 60))

    def give(who: Actor) -> str:
        shown = command_inputs.target(snap, kind) if kind == selected.kind else {"kind": kind}
        given = operate.operate(selected, who, shown, reason=reason, minutes=minutes)
        if given.status == "proposed":
            return f"Command {given.id} was proposed; another person has 10 minutes to approve it."
        return f"Command {given.id} was accepted; the pilot puts it over the plan."

    signin.act(SAID, give)


def _drop() -> None:
    st.session_state.pop(SELECTED, None)


def _approve(number: int) -> None:
    def approve(who: Actor) -> str:
        operate.approve(number, who)
        return f"Command {number} was approved; the pilot puts it over the plan."

    _act_once("approve", number, approve)


def _release(number: int) -> None:
    def release(who: Actor) -> str:
        operate.release(number, who, reason="released on the Dispatch page")
        return f"Command {number} was released: the plan is followed."

    _act_once("release", number, release)


def _release_stop(step: str) -> None:
    def release(who: Actor) -> str:
        operate.release_stop(step, who, reason=str(st.session_state.get("stop_reason", "")))
        return "Confirm within 30 s." if step == "request" else "The emergency stop is released: the plan is followed."

    signin.act(SAID, release)


def _resume() -> None:
    def resume(who: Actor) -> str:
        operate.resume(who, reason=str(st.session_state.get("hold_reason", "")))
        return "The hold is ended: the plan is followed."

    signin.act(SAID, resume)


# --- the panel -------------------------------------------------------------------------------


def panel(snap: views.Snapshot | None) -> None:
    """Who acts, and what they can do: release a latched stop, resume, or override the plan."""
    who, other = signin.actor(), views.elsewhere()
    if who is None:
        return
    if other is not None:
        st.info(widgets.inert(f"Commands for {other.name} are given on its own console: this one only shows it."))
        return
    _identity(who)
    stop, hold = views.stopped(), views.on_hold()
    if stop is not None and not st.session_state.get(STOPPED):
        st.session_state.pop(SAID, None)  # what was said before the stop is over
    st.session_state[STOPPED] = stop is not None
    if stop is not None:
        _stop_panel(stop, who)
    elif hold is not None:
        _hold_panel(hold, who)
    elif snap is not None:
        _override_panel(snap, who)


def _may(who: Actor, role: str) -> bool:
    return not who.lacks(role, datetime.now(UTC))


def _identity(who: Actor) -> None:
    """Who acts, by the sign-in or by what they type."""
    if who.source == LOCAL:
        signin.name_field(AUTHOR, "It is written down with each command.", 60)
        return
    st.text(f"You act as {who.name}, {who.role}.", width="stretch")
    if not _may(who, OPERATOR):
        st.caption("Who may operate is in GRIDPILOT\\_OPERATORS and GRIDPILOT\\_APPROVERS.")


def _stop_panel(stop: Mapping[str, Any], who: Actor) -> None:
    """The latched emergency stop and its two-step release."""
    with st.container(border=True, key="stop_panel"):
        site = views.current_site()
        when = fmt.local(datetime.fromisoformat(stop["at"]), site.timezone)
        st.markdown("## Emergency stop")
        st.text(
            f"Pressed by {stop['author']} on {when} by the clock ({site.timezone}): {stop['reason']}", width="stretch"
        )
        if views.stop_file() is not None:
            st.warning("It is latched in a file beside the ledger, which could not be written.")
        st.text_input("Why it is safe to go on", key="stop_reason", max_chars=500)
        may = _may(who, OPERATOR)
        with st.container(horizontal=True):
            st.button(
                "1. Request release", key="stop_request", on_click=_release_stop, args=("request",), disabled=not may
            )
            asked = may and bool(stop.get("release_requested_at"))
            st.button(
                "2. Confirm release", key="stop_confirm", on_click=_release_stop, args=("confirm",), disabled=not asked
            )
        widgets.last_words(SAID)


def _hold_panel(hold: Mapping[str, Any], who: Actor) -> None:
    """A hold after outside changes, and its end."""
    with st.container(border=True, key="hold_panel"):
        site = views.current_site()
        when = fmt.local(datetime.fromisoformat(hold["at"]), site.timezone)
        st.markdown("## On hold")
        st.text(f"Since {when} ({site.timezone}): {hold['reason']}", width="stretch")
        st.caption("Machines stay as they are and the battery rests until an operator resumes.")
        st.text_input("Why it is safe to go on", key="hold_reason", max_chars=500)
        st.button("Resume", key="hold_resume", on_click=_resume, disabled=not _may(who, OPERATOR), type="primary")
        widgets.last_words(SAID)


def _override_panel(snap: views.Snapshot, who: Actor) -> None:
    """Choose a target, see its effect, give it."""
    with st.container(border=True, key="override_panel"):
        st.markdown("## Take over")
        local = "Local, no sign-in. " if who.source == LOCAL else ""
        st.caption(f"{local}An override is laid over the plan until it ends or is released.")
        with st.container():  # what is below keeps its place, and with it what is just being typed
            _live(snap, who)
            for command, by in views.proposals():
                _proposal(snap, command, by, who)
        kind = st.segmented_control(
            "What",
            list(KINDS),
            format_func=lambda k: KINDS[k],
            default="machines",
            key=KIND,
            required=True,
            on_change=_drop,
        )
        with st.container():
            command_inputs.inputs(snap, kind, _drop)
        st.text_input("Reason", key=REASON, max_chars=500)
        st.number_input("Ends after, minutes of site time", 5, 1440, 60, step=5, key=MINUTES)
        st.button("Select", key="override_select", on_click=_select, args=(snap,), disabled=not _may(who, OPERATOR))
        selected = st.session_state.get(SELECTED)
        if selected is not None:
            _preview(snap, selected)
        widgets.last_words(SAID)


def _preview(snap: views.Snapshot, selected: operate.Selected) -> None:
    """The effect, and the press that gives the command."""
    if datetime.now(UTC) - selected.selected_at > operate.VALID:
        _drop()
        widgets.say(SAID, "error", VOID)
        return
    _effect(snap, selected)
    if selected.second_person:
        most = fmt.power(snap.site.operators.approve_above_kw)
        st.info(widgets.inert(f"It moves the connection by more than {most}: another person must approve it."))
    _seconds_left(selected)
    with st.container(horizontal=True):
        st.button(
            "Propose" if selected.second_person else "Operate",
            key="override_operate",
            on_click=_operate,
            args=(snap,),
            type="primary",
            disabled=bool(selected.violations),
        )
        st.button("Drop", key="override_drop", on_click=_drop)


def _effect(snap: views.Snapshot, seen: operate.Selected) -> None:
    """What the connection and the money do, before and after: to the kW, however large the site is."""
    money = snap.units.money
    with st.grid(2, min_column_width=150, gap="small"):
        moved = fmt.number(seen.after_kw - seen.before_kw, sign=True)
        after = fmt.Quantity(fmt.number(seen.after_kw), "kW")
        note = "Import is positive, export negative."
        widgets.tile("Grid power", after, f"{moved} from {fmt.number(seen.before_kw)}", note=note)
        more = fmt.money(seen.after_usd_per_h - seen.before_usd_per_h, money, sign=True).value
        rate = f"{more} from {fmt.money(seen.before_usd_per_h, money).value}"
        widgets.tile("Money per hour", fmt.money(seen.after_usd_per_h, money, "h"), rate)
    for violation in seen.violations:
        st.error(widgets.inert(f"Breaks a limit: {violation}"))


@st.fragment(run_every=1.0)
def _seconds_left(selected: operate.Selected) -> None:
    left = (operate.VALID - (datetime.now(UTC) - selected.selected_at)).total_seconds()
    if left <= 0.0:
        st.rerun()
    st.caption(f"Void in {max(0, int(left))} s: then select again.")


def _live(snap: views.Snapshot, who: Actor) -> None:
    """The override in force, with the time it has left."""
    command = views.override_in_force()
    if command is None:
        return
    st.warning(widgets.inert(f"In force: {command_inputs.words(snap, command.kind, command.target)}"))
    _whose(snap, command)
    st.button(
        "Release",
        key="override_release",
        on_click=_release,
        args=(command.id,),
        disabled=not _may(who, OPERATOR),
    )


def _whose(snap: views.Snapshot, command: views.Command) -> None:
    """Its author, its reason, and until when it holds."""
    now = views.source_now()
    ends = fmt.local(command.valid_until, snap.site.timezone, with_date=False)
    left = "" if now is None else f" ({fmt.duration((command.valid_until - now).total_seconds())} left)"
    st.text(f"{command.author}: {command.reason}", width="stretch")
    st.caption(widgets.inert(f"Command {command.id}, until {ends}{left}"))


def _proposal(snap: views.Snapshot, command: views.Command, by: datetime, who: Actor) -> None:
    """A command that waits for a second person, with its effect by now."""
    with st.container(border=True, key=f"proposal_{command.id}"):
        st.markdown(
            f"**Waits for approval: {widgets.inert(command_inputs.words(snap, command.kind, command.target))}**"
        )
        _whose(snap, command)
        _effect(snap, operate.effect(command))
        left = fmt.duration((by - datetime.now(UTC)).total_seconds())
        st.caption(widgets.inert(f"To be approved within {left}, by another person"))
        own = same_person(who.name, command.author)
        with st.container(horizontal=True):
            st.button(
                "Approve",
                key=f"approve_{command.id}",
                on_click=_approve,
                args=(command.id,),
                type="primary",
                disabled=own or not _may(who, APPROVER),
            )
            st.button(
                "Take back" if own else "Reject",
                key=f"reject_{command.id}",
                on_click=_release,
                args=(command.id,),
                disabled=not _may(who, OPERATOR),
            )
