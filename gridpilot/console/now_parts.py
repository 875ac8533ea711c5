"""What stands around the picture of the day on Overview: the sentence, the next change, the tiles, the money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import streamlit as st

from gridpilot import views
from gridpilot.console import curtailment_panel, day_parts, price_parts, widgets
from gridpilot.console import format as fmt
from gridpilot.console.command_inputs import KINDS, words
from gridpilot.console.format import Quantity
from gridpilot.dispatch.reconcile import OFF
from gridpilot.foreign import escape

ALWAYS_ON: Final = (
    "Always on: every machine with work runs whatever power costs, the battery rests, "
    "the same tenants and jobs are served."
)
BEFORE: Final = {"ESTOP": "before the stop", "FAILSAFE": "before the fail-safe"}


# --- the sentence --------------------------------------------------------------------------


def sentence() -> None:
    """What the site does now and why: one sentence, its first clause in bold."""
    first, mark, rest = views.now_sentence().text.partition("; ")
    with st.container(key="sentence"):
        st.markdown(f"**{first}{mark.strip()}** {rest}" if rest else f"**{first}**")


def before(snap: views.Snapshot) -> str:
    """What a decision's figures are of, where the site was switched off after it; else empty."""
    return "" if snap.dispatch["origin"] in OFF else BEFORE.get(views.control(snap), "")


# --- the next change -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Next:
    """What changes, when, and why; `plan` for a change of the plan."""

    at: datetime
    what: str
    why: str
    worth: str = ""
    plan: bool = False


def upcoming(snap: views.Snapshot, now: datetime) -> Next | None:
    """The soonest of the plan's next change, the end of an override and a curtailment's start or end."""
    found = [
        Next(
            change.at,
            day_parts.change_words(change),
            day_parts.reason_words(snap, change),
            "" if not fmt.known(change.usd) else str(fmt.money(change.usd, snap.units.money, sign=True)),
            plan=True,
        )
        for change in views.next_changes(snap, 1)
    ]
    command = views.override_in_force()
    if command is not None:
        found.append(Next(command.valid_until, "the override ends", "then the plan is followed again"))
    found += [Next(at, what, "") for at, what in curtailment_panel.turns(now)]
    return min((one for one in found if one.at > now), key=lambda one: one.at, default=None)


def next_change(snap: views.Snapshot) -> Next | None:
    """The next change and in how long it comes, beside the sentence; what was shown."""
    now, still = views.present() or snap.at, views.halted(snap)
    if still:
        st.html(next_html("Next change", still, "", ""))
        return None
    one = upcoming(snap, now)
    if one is None:
        due = now >= snap.at + timedelta(seconds=snap.step_s)
        none = "It comes with the next decision, which is due." if due else "The plan changes nothing in its horizon."
        st.html(next_html("Next change", none, "", ""))
        return None
    when = fmt.local(one.at, snap.site.timezone, with_date=False)
    left = fmt.duration((one.at - now).total_seconds())
    st.html(next_html(f"Next change, in {left}", f"{when} {one.what}", one.worth, one.why, fmt.utc(one.at)))
    return one


def next_html(head: str, what: str, worth: str, why: str, hover: str = "") -> str:
    """The card's text."""
    money = f" <span class='gp-mono'>{escape(worth)}</span>" if worth else ""
    return (
        f"<div class='gp-next' title='{escape(hover)}'><div class='gp-muted'>{escape(head)}</div>"
        f"<b>{escape(what)}</b>{money}<div class='gp-muted'>{escape(why)}</div></div>"
    )


def by_hand(snap: views.Snapshot) -> tuple[tuple[datetime, str], ...]:
    """Commands and curtailments, each when it began by the site's time: the marks of the picture.

    A stop is timed by the wall clock, so that a replay's axis has no place for it.
    """
    live, out = views.status().mode == "LIVE", []
    for row in views.command_log(40):
        if row.status in ("refused", "proposed") or row.kind not in (*KINDS, "estop"):
            continue
        if live or row.kind != "estop":
            out.append((row.created_at, f"{words(snap, row.kind, row.target)}, by {row.author}: {row.reason}"))
    return (*out, *curtailment_panel.begun())


# --- tiles ---------------------------------------------------------------------------------


def tiles(snap: views.Snapshot) -> None:
    """Price, load, charge, margin and the day's money, each against what it is to be read against."""
    with widgets.tile_row(5):
        price = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
        widgets.tile("Price", fmt.price(price, snap.units.energy), price_parts.against(price, views.price_reference()))
        _load(snap)
        _charge(snap)
        money, rate = snap.units.money, snap.cycle["rate"]["profit_usd_per_h"]
        gain = rate - snap.cycle["always_on"]["profit_usd_per_h"]
        reference = before(snap) or f"{fmt.money(gain, money, sign=True).value} vs. always on"
        widgets.tile("Margin per hour", fmt.money(rate, money, "h"), reference, note=ALWAYS_ON)
        _today(snap)


def _load(snap: views.Snapshot) -> None:
    sent = snap.dispatch
    side = "import" if sent["grid_kw"] >= 0.0 else "export"
    limit = curtailment_panel.most_kw(snap.site.import_kw) if side == "import" else snap.site.export_kw
    reference = f"{side} {fmt.number(abs(sent['grid_kw']))} of {fmt.number(limit)} kW"
    note = "With cooling, without the battery. Dispatch has what the meter reads."
    widgets.tile("Load, as sent", fmt.power(sent["total_power_kw"]), before(snap) or reference, note=note)


def _charge(snap: views.Snapshot) -> None:
    battery, (soc, at) = snap.site.battery, views.charge(snap)
    band = f"{fmt.number(100.0 * battery.soc_min)}–{fmt.number(100.0 * battery.soc_max)} %"
    if battery.capacity_kwh <= 0.0:
        widgets.tile("State of charge", fmt.DASH, "this site has no battery")
        return
    if soc is None:
        widgets.tile("State of charge", fmt.DASH, f"no reading, band {band}")
        return
    held = f"{fmt.energy(soc * battery.capacity_kwh)} of {fmt.energy(battery.capacity_kwh)} stored."
    read = Quantity(fmt.number(100.0 * soc, 1), "%")
    widgets.tile(
        "State of charge", read, f"{_clock(snap, at)}, band {band}", note=f"{held} It is as read at that time."
    )


def _today(snap: views.Snapshot) -> None:
    today, money = views.pnl_today(), snap.units.money
    if today is None:
        note = "What an interval brought is settled when the next one begins."
        widgets.tile("P&L today", fmt.DASH, "nothing settled yet today", note=note)
        return
    gain = fmt.money(today.profit_usd - today.always_on_usd, money, sign=True).value
    since = _clock(snap, today.since)
    note = f"{ALWAYS_ON} What was put into the battery is paid here and sold later: Money says what it is worth."
    widgets.tile(f"P&L since {since}", fmt.money(today.profit_usd, money), f"{gain} vs. always on", note=note)


def _clock(snap: views.Snapshot, moment: datetime) -> str:
    return fmt.local(moment, snap.site.timezone, with_date=False)


# --- money against the alternatives --------------------------------------------------------


def money(snap: views.Snapshot) -> None:
    """What today and the last closed day earned against their alternatives, and what waits in the battery."""
    rows = money_rows(snap)
    if not rows:
        st.caption("Nothing is settled yet: the first figures come with the second decision of the day.")
        return
    cells = "".join(
        f"<tr title='{escape(note)}'><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value, note in rows
    )
    st.html(f"<table class='gp-rows'>{cells}</table>")


def money_rows(snap: views.Snapshot) -> list[tuple[str, str, str]]:
    """(what, how much, how it is reckoned)."""
    unit, rows = snap.units.money, []
    today, stored = views.pnl_today(), views.stored_today()
    if today is not None:
        gain = fmt.money(today.profit_usd - today.always_on_usd, unit, sign=True)
        rows.append(("Today vs. always on", str(gain), ALWAYS_ON))
    if today is not None and stored is not None:
        more = f"{fmt.number(stored.kwh, sign=True)}{fmt.NBSP}kWh since {_clock(snap, today.since)}"
        each = fmt.price(float(snap.shown(1000.0 * stored.usd_per_kwh)), snap.units.energy)
        note = f"Charge now against the day's first decision, at what the plan says that stored energy is worth: {each}"
        rows.append((f"In the battery {more}", str(fmt.money(stored.usd, unit, sign=True)), note))
    day = views.day_before()
    if day is not None:
        gain, name = fmt.money(day.profit_usd - day.nothing_usd, unit, sign=True), fmt.day(day.day)
        rows.append((f"{name} vs. always on", str(gain), ALWAYS_ON))
        note = day.why or "With what was stored, as a share of the plan that knows the whole day's prices beforehand."
        rows.append((f"{name} of perfect foresight", fmt.percent(day.of_perfect), note))
    return rows
