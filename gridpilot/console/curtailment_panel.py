"""Curtailments on the Dispatch page: what is asked for, how it is followed, and a form to give one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from gridpilot import operate, views
from gridpilot.console import format as fmt
from gridpilot.console import signin, widgets
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.actor import same_person
from gridpilot.dispatch.curtailment import LIVE, OPEN, PROPOSED, Curtailment
from gridpilot.monitor.curtailments import Audit, audit
from gridpilot.operate import Actor

SAID: Final = "curtailment_said"
SHOWN: Final = 8
PERCENT, KW = "% of the baseline less", "kW at the most"


def events() -> None:
    """The newest curtailments, with what was metered of them. Drawn in a live fragment."""
    snap, now = views.snapshot(), views.status().at
    rows = curtailment.events(views.ledger())
    if snap is None or now is None:
        return
    if not rows:
        st.caption("No curtailment was asked for yet: by an operator, the site's schedule or a utility's signed call.")
        return
    shown = sorted(rows, key=lambda row: (row.status not in OPEN, -row.start.timestamp()))[:SHOWN]
    found = {row.id: audit(views.ledger(), row, now) for row in shown if row.status not in (PROPOSED, "cancelled")}
    for row in shown:
        if row.status == "active":
            _progress(snap, row, found[row.id])
    widgets.table(_table(shown, found, snap.site.timezone), "curtailments", _NUMBERS)


def most_kw(site_kw: float) -> float:
    """The most that the connection may draw now, by itself `site_kw` [kW]."""
    now = views.status().at
    rows = curtailment.events(views.ledger(), ("active",))
    return site_kw if now is None else min([site_kw, *(row.limit(site_kw).at(now) for row in rows)])


_WHOLE: Final = st.column_config.NumberColumn(format="%.0f")
_NUMBERS: Final = {
    **dict.fromkeys(("baseline, kW", "target, kW", "mean, kW", "highest, kW", "reached within, s"), _WHOLE),
    "delivered": st.column_config.NumberColumn(format="percent"),
}


def _progress(snap: views.Snapshot, row: Curtailment, found: Audit | None) -> None:
    """An active one: its target, and whether it is kept."""
    target = row.target_kw(row.baseline_kw if row.baseline_kw is not None else snap.site.import_kw)
    ends = fmt.local(row.end, snap.site.timezone, with_date=False)
    kept = found is not None and found.kept
    state = "kept so far" if kept else "not kept" if found is not None and found.samples else "begins"
    widgets.finding(f"Curtailed to {fmt.power(target)} until {ends}: {state}")


def _table(rows: list[Curtailment], found: dict[str, Audit | None], timezone: str) -> pd.DataFrame:
    def of(row: Curtailment, name: str) -> Any:
        audited = found.get(row.id)
        value = None if audited is None else getattr(audited, name)
        return None if isinstance(value, float) and not fmt.known(value) else value

    return pd.DataFrame(
        {
            "from": [fmt.local(row.start, timezone) for row in rows],
            "until": [fmt.local(row.end, timezone) for row in rows],
            "asked": [_asked(row) for row in rows],
            "state": [row.status for row in rows],
            "kept": [_kept(row, found.get(row.id)) for row in rows],
            "baseline, kW": [of(row, "baseline_kw") for row in rows],
            "target, kW": [of(row, "target_kw") for row in rows],
            "mean, kW": [of(row, "mean_kw") for row in rows],
            "highest, kW": [of(row, "highest_kw") for row in rows],
            "reached within, s": [of(row, "reached_s") for row in rows],
            "delivered": [of(row, "delivered_frac") for row in rows],
            "by": [f"{row.author} ({row.origin})" for row in rows],
            "reason": [row.reason for row in rows],
        }
    )


def _asked(row: Curtailment) -> str:
    return f"{row.percent:g} % less" if row.import_kw is None else f"at most {row.import_kw:g} kW"


def _kept(row: Curtailment, found: Audit | None) -> str:
    if found is None or not found.samples:
        return ""
    return ("yes" if row.status == "ended" else "so far") if found.kept else "no"


# --- acts ------------------------------------------------------------------------------------


def _give() -> None:
    """With the values as they are at the press."""
    state = st.session_state

    def give(who: Actor) -> str:
        amount = float(state["curtailment_amount"])
        event = operate.curtail(
            who,
            target={"percent" if state["curtailment_unit"] == PERCENT else "import_kw": amount},
            in_minutes=float(state["curtailment_in"]),
            minutes=float(state["curtailment_minutes"]),
            ramp_s=60.0 * float(state["curtailment_ramp"]),
            reason=str(state["curtailment_reason"]),
        )
        if event.status == PROPOSED:
            return "It moves the connection by more than one person may: another one must approve it."
        return "The curtailment is scheduled; the plan knows it with its next decision."

    signin.act(SAID, give)


def _cancel(event_id: str) -> None:
    def cancel(who: Actor) -> str:
        operate.cancel_curtailment(who, event_id, reason="cancelled on the Dispatch page")
        return "The curtailment is cancelled."

    signin.act(SAID, cancel)


def _approve(event: Curtailment) -> None:
    def approve(who: Actor) -> str:
        operate.approve_curtailment(who, event)
        return "The curtailment is approved and scheduled."

    signin.act(SAID, approve)


def panel(snap: views.Snapshot | None) -> None:
    """Give one, approve one, cancel one."""
    who = signin.actor()
    if snap is None or who is None or views.elsewhere() is not None:
        return
    with st.container(border=True, key="curtailment_panel"):
        st.markdown("##### Curtail for a time")
        st.caption("The plan knows it ahead; the meter's readings prove it afterwards.")
        for event in curtailment.events(views.ledger(), OPEN):
            _open(event, snap.site.timezone, who)
        with st.expander("New curtailment", key="curtailment_new"):
            _form(snap)
        said = st.session_state.get(SAID)
        if said is not None:
            (st.error if said[0] == "error" else st.success)(widgets.inert(said[1]))


def _open(event: Curtailment, timezone: str, who: Actor) -> None:
    """One that waits or is active, with its buttons."""
    when = f"{_clock(event.start, timezone)} to {_clock(event.end, timezone)}"
    st.markdown(f"**{widgets.inert(_asked(event))}**, {when}, {event.status}")
    st.text(f"{event.author}: {event.reason}", width="stretch")
    own = same_person(who.name, event.author)
    with st.container(horizontal=True):
        if event.status == PROPOSED:
            st.button(
                "Approve",
                key=f"approve_curtailment_{event.id}",
                on_click=_approve,
                args=(event,),
                type="primary",
                disabled=own,
            )
        word = "Cancel" if event.status in LIVE else "Take back" if own else "Reject"
        st.button(word, key=f"cancel_curtailment_{event.id}", on_click=_cancel, args=(event.id,))


def _clock(moment: datetime, timezone: str) -> str:
    return fmt.local(moment, timezone, with_date=False)


def _form(snap: views.Snapshot) -> None:
    unit = st.segmented_control("By", [PERCENT, KW], default=PERCENT, key="curtailment_unit", required=True)
    most = float(snap.site.import_kw)
    if unit == PERCENT:
        st.number_input(PERCENT, 1.0, 100.0, 25.0, step=5.0, key="curtailment_amount")
    else:
        st.number_input(
            f"{KW}, of {fmt.power(most)}", 0.0, most, round(0.75 * most), step=10.0, key="curtailment_amount"
        )
    with st.grid(3, min_column_width=110, gap="small"):
        st.number_input("Starts in, minutes", 0, 7 * 1440, 0, step=15, key="curtailment_in")
        st.number_input("Lasts, minutes", 5, 1440, 60, step=15, key="curtailment_minutes")
        st.number_input("Ramp, minutes", 0, 1440, 0, step=1, key="curtailment_ramp")
    st.text_input("Why", key="curtailment_reason", max_chars=500)
    st.button("Curtail", key="curtailment_give", on_click=_give, type="primary")
