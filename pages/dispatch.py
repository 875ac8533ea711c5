"""Dispatch: what is running, what will change, and how do I take over?"""

from __future__ import annotations

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

REFRESH_S = 2.0


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _running() -> None:
    snap, sent = views.snapshot(), views.machine_log(1)
    if snap is None:
        return
    if views.sent_off(snap):
        dispatch_parts.off(snap, sent)
        return
    dispatch_parts.verdict(snap, sent)
    curtailment_panel.in_force(snap)
    table, bars = st.columns([3, 2], gap="medium")
    with table:
        dispatch_parts.running(snap, sent)
    with bars:
        dispatch_parts.limits(snap)
        st.markdown("## What could be curtailed at once")
        st.markdown(widgets.inert(promise_parts.curtail_text(snap)))
        st.markdown("## Next changes", help="Money: what the change brings over its run, at the plan's prices.")
        day_parts.changes(snap)


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _log() -> None:
    snap = views.snapshot()
    if snap is None:
        return
    curtailments, commands, sent = st.tabs(["Curtailments", "Operators' commands", "Commands to the machines"])
    with curtailments:
        curtailment_panel.events(snap)
    with commands:
        rows = views.command_log()
        if rows:
            widgets.table(command_inputs.log(snap, rows), "commands", command_inputs.WIDTHS)
            st.caption(command_inputs.TIMES)
        else:
            st.caption("No operator has given a command yet.")
    with sent:
        widgets.table(dispatch_parts.machine_log_table(snap.site.timezone), "machine-commands")


st.title("What is running, what will change, and how do I take over?")
with widgets.saying_trouble():
    newest = views.snapshot()
    past = moment_bar.commands_act_now()
    now, take = (st.container(), None) if past else st.columns([5, 3], gap="large")
    with now:
        if newest is None:
            widgets.until_first_decision("Nothing was sent yet", "Machines, limits and the log will be here.")
        else:
            _running()
    if take is not None:
        with take:
            override_panel.panel(newest)
            curtailment_panel.panel(newest)
    if newest is not None:
        _log()
