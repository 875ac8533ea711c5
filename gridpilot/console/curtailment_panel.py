"""Curtailments on the Dispatch page: what is asked for, how it is followed, and a form to give one."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
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
VERDICT: Final = timedelta(hours=1)  # how long after its end the page says whether a curtailment was kept
SO_FAR: Final = {"kept": "kept so far", "broken": "not kept", "unknown": "not metered throughout"}
WORDS: Final = {"broken": "no", "unknown": "not known"}
NOT_YET: Final = (
    "Percent are of what is drawn in the hour before it begins, which nobody knows yet: these figures take the hour "
    "until now."
)
PERCENT, KW = "% of the baseline less", "kW at the most"


def events(snap: views.Snapshot) -> None:
    """The newest curtailments, with what was metered of them. Drawn in a live fragment."""
    rows, now = curtailment.events(views.records()), views.present()
    if now is None:
        return
    if not rows:
        st.caption("No curtailment was asked for yet: by an operator, the site's schedule or a utility's signed call.")
        return
    shown = sorted(rows, key=lambda row: (row.status not in OPEN, -row.start.timestamp()))[:SHOWN]
    found = {row.id: audit(views.records(), row, now) for row in shown if row.status not in (PROPOSED, "cancelled")}
    widgets.table(_table(shown, found, snap.site.timezone, now), "curtailments", _NUMBERS)


def in_force(snap: views.Snapshot) -> None:
    """A line for each curtailment that holds now: its target, and whether it is kept; for an hour after its end,
    whether it was. Drawn in a live fragment."""
    now = views.present()
    if now is None:
        return
    for row in curtailment.events(views.records(), (*LIVE, "ended")):
        if row.start <= now < row.end:
            _progress(snap, row, audit(views.records(), row, now))
        elif row.end <= now < row.end + VERDICT:
            widgets.finding(verdict(audit(views.records(), row, now), row, snap.site.timezone))


def verdict(found: Audit | None, row: Curtailment, timezone: str) -> str:
    """Whether a curtailment that is over was kept, by the meter."""
    head = f"Curtailment {fmt.span(row.start, row.end, timezone)}"
    if found is None or found.verdict == "unknown":
        lost = "its baseline is not on record" if found is not None and not fmt.known(found.target_kw) else ""
        return f"{head}: {lost or 'not metered throughout'}, so that nobody knows whether it was kept"
    if found.verdict == "kept":
        drawn = f"{fmt.power(found.mean_kw)} on average" if fmt.known(found.mean_kw) else "never more than its ramp"
        return f"{head} was kept: {drawn} where at most {fmt.power(found.target_kw)} was asked for"
    if found.worst is None:
        reached = f"{fmt.duration(found.reached_s)} late" if math.isfinite(found.reached_s) else "never"
        return f"{head} was not kept: {fmt.power(found.target_kw)} was reached {reached}"
    when, allowed = fmt.local(found.worst.start, timezone, with_date=False), fmt.power(found.worst.allowed_kw)
    drawn = f"{fmt.power(found.worst.mean_kw)} in the five minutes of {when}"
    return f"{head} was not kept: {drawn}, where {allowed} was allowed"


def state_words(row: Curtailment, now: datetime) -> str:
    """Its state by now: what began a moment ago is active, though the pilot has yet to write so."""
    if row.status == PROPOSED:
        return "waits for approval"
    return "active" if row.status == "scheduled" and row.start <= now < row.end else row.status


def most_kw(site_kw: float) -> float:
    """The most that the connection may draw at the moment looked at, by itself `site_kw` [kW]."""
    now = views.present()
    rows = curtailment.events(views.records(), ("active",))
    return site_kw if now is None else min([site_kw, *(row.limit(site_kw).at(now) for row in rows)])


def begun() -> list[tuple[datetime, str]]:
    """When each curtailment that was not called off begins, and what it asks for."""
    rows = curtailment.events(views.records(), (*LIVE, "ended"))
    return [(row.start, f"Curtailment, {_asked(row)}, by {row.author}: {row.reason}") for row in rows]


def turns(now: datetime) -> list[tuple[datetime, str]]:
    """When a curtailment begins or ends from now on, and what then is so."""
    out = []
    for row in curtailment.events(views.records(), LIVE):
        if row.start > now:
            out.append((row.start, f"curtailed: {_asked(row)}"))
        elif row.end > now:
            out.append((row.end, "the curtailment ends"))
    return out


_NUMBERS: Final = {
    **dict.fromkeys(("baseline, kW", "target, kW", "mean, kW", "highest, kW", "reached in, s"), 0),
    "delivered": widgets.PERCENT,
}


def _progress(snap: views.Snapshot, row: Curtailment, found: Audit | None) -> None:
    """An active one: its target, and whether it is kept."""
    target = row.target_kw(row.baseline_kw if row.baseline_kw is not None else snap.site.import_kw)
    ends = fmt.local(row.end, snap.site.timezone, with_date=False)
    state = SO_FAR[found.verdict] if found is not None and found.samples else "begins"
    widgets.finding(f"Curtailed to {fmt.power(target)} until {ends}: {state}")


def _table(rows: list[Curtailment], found: dict[str, Audit | None], timezone: str, now: datetime) -> pd.DataFrame:
    def of(row: Curtailment, name: str) -> Any:
        audited = found.get(row.id)
        value = None if audited is None else getattr(audited, name)
        return None if isinstance(value, float) and not fmt.known(value) else value

    return pd.DataFrame(
        {
            "site time": [fmt.span(row.start, row.end, timezone) for row in rows],
            "asked": [_asked(row) for row in rows],
            "state": [state_words(row, now) for row in rows],
            "kept": [_kept(row, found.get(row.id)) for row in rows],
            "baseline, kW": [of(row, "baseline_kw") for row in rows],
            "target, kW": [of(row, "target_kw") for row in rows],
            "mean, kW": [of(row, "mean_kw") for row in rows],
            "highest, kW": [of(row, "highest_kw") for row in rows],
            "reached in, s": [of(row, "reached_s") for row in rows],
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
    return ("yes" if row.status == "ended" else "so far") if found.kept else WORDS[found.verdict]


# --- acts ------------------------------------------------------------------------------------


def _give() -> None:
    """With the values as they are at the press."""
    state = st.session_state

    def give(who: Actor) -> str:
        event = operate.curtail(
            who,
            target=_target(),
            in_minutes=float(state["curtailment_in"]),
            minutes=float(state["curtailment_minutes"]),
            ramp_s=60.0 * float(state["curtailment_ramp"]),
            reason=str(state["curtailment_reason"]),
        )
        if event.status == PROPOSED:
            return "It moves the connection by more than one person may: another one must approve it."
        if float(state["curtailment_in"]) <= 0.0:
            return "The curtailment begins now; the next decision follows it."
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
        st.markdown("## Curtailment")
        st.caption("Less from the grid for a time: the plan knows it ahead, the meter's readings prove it afterwards.")
        for event in curtailment.events(views.ledger(), OPEN):
            _open(event, snap.site.timezone, who)
        with st.expander("New curtailment", key="curtailment_new"):
            _form(snap)
        widgets.last_words(SAID)


def _open(event: Curtailment, timezone: str, who: Actor) -> None:
    """One that waits or is active, with its buttons."""
    when = f"{_clock(event.start, timezone)} to {_clock(event.end, timezone)}"
    waits = ", waits for approval" if event.status == PROPOSED else ""
    st.markdown(f"**{widgets.inert(_asked(event))}**, {when}{waits}")
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
        usual = float(round(0.75 * most))
        st.number_input(f"{KW}, of {fmt.power(most)}", 0.0, most, usual, step=10.0, key="curtailment_kw")
    with st.grid(3, min_column_width=110, gap="small"):
        st.number_input("Starts in, minutes", 0, 7 * 1440, 0, step=15, key="curtailment_in")
        st.number_input("Lasts, minutes", 5, 1440, 60, step=15, key="curtailment_minutes")
        st.number_input("Ramp, minutes", 0, 1440, 0, step=1, key="curtailment_ramp")
    st.text_input("Reason", key="curtailment_reason", max_chars=500)
    _preview(snap)
    st.button("Curtail", key="curtailment_give", on_click=_give, type="primary")


def _target() -> dict[str, float]:
    """What the form asks for; each unit has an amount of its own, so that 25 % never become 25 kW."""
    state = st.session_state
    if state["curtailment_unit"] == PERCENT:
        return {"percent": float(state["curtailment_amount"])}
    return {"import_kw": float(state["curtailment_kw"])}


def _preview(snap: views.Snapshot) -> None:
    """What it would change: the connection before and after, and the money where it begins at once."""
    state, money = st.session_state, snap.units.money
    seen = operate.foresee(_target(), float(state["curtailment_in"]), float(state["curtailment_minutes"]))
    if state["curtailment_unit"] == PERCENT and float(state["curtailment_in"]) > 0.0:
        st.caption(NOT_YET)
    with st.grid(2, min_column_width=150, gap="small"):
        moved = fmt.number(seen.after_kw - seen.before_kw, sign=True)
        after = fmt.Quantity(fmt.number(seen.after_kw), "kW")
        note = f"The highest import of its time by the plan, under a limit of {fmt.number(seen.limit_kw)} kW."
        widgets.tile("Highest import", after, f"{moved} from {fmt.number(seen.before_kw)}", note=note)
        if seen.now is None:
            less = f"{fmt.number(seen.less_kwh)} kWh less than planned"
            widgets.tile("Money", fmt.DASH, less, note="What it costs is known when the plan is made anew with it.")
            return
        was, then = seen.now.before_usd_per_h, seen.now.after_usd_per_h
        rate = f"{fmt.money(then - was, money, sign=True).value} from {fmt.money(was, money).value}"
        note = f"At once, at the prices now. In its whole time {fmt.number(seen.less_kwh)} kWh less than planned."
        widgets.tile("Money per hour", fmt.money(then, money, "h"), rate, note=note)
