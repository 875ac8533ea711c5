"""Rules and promises on the Plan page: how they stand, and what could be curtailed at once."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.monitor.health import ALL_OFF
from gridpilot.monitor.standing import RuleStanding


def show(snap: views.Snapshot) -> None:
    """Rules, customers, reserve and peak, as far as the site has them; and the available-to-curtail figure."""
    st.markdown("## What could be curtailed at once")
    st.markdown(widgets.inert(curtail_text(snap)))
    for title, table in (("Rules", rule_table(snap)), ("Customers' service", customer_table(snap))):
        if not table.empty:
            st.markdown(f"## {title}")
            widgets.table(table, title.lower().replace(" ", "-"), height="content")
    lines = contract_lines(snap)
    if lines:
        st.markdown("## Contracts")
        for line in lines:
            st.markdown(widgets.inert(line))


def curtail_text(snap: views.Snapshot) -> str:
    """The available-to-curtail figure with its parts."""
    if views.control(snap) in ALL_OFF:
        return "Nothing: everything is off."
    found = views.curtailable(snap)
    parts = ", ".join(f"{name} {fmt.power(kw)}" for name, kw in sorted(found.parts_kw.items(), key=lambda i: -i[1]))
    text = f"{fmt.power(found.load_kw)} of load" + (f" ({parts})" if parts else "")
    if found.discharge_kw > 0.5:
        text += f", and the battery could deliver {fmt.power(found.discharge_kw)} more"
    if found.reserved_kw > 0.5:
        text += f"; {fmt.power(found.reserved_kw)} of this is sold as reserve"
    return text + ". No promise to a customer or a deadline would break."


def rule_table(snap: views.Snapshot) -> pd.DataFrame:
    """Each rule: its strike, how it stands, and what comes."""
    found, zone, unit = views.rule_standings(snap), snap.site.timezone, snap.units.energy
    unknown = {strike.type for strike in views.strikes(snap) if not strike.known}
    return pd.DataFrame(
        {
            "machines": [rule.type for rule in found],
            f"strike, {unit}": [_strike(rule, unit, rule.type not in unknown) for rule in found],
            f"at once over, {unit}": [
                fmt.DASH if math.isnan(rule.high) else fmt.price(rule.high, unit).value for rule in found
            ],
            "now": [
                ("runs" if rule.on else "curtailed")
                + (f", {min(rule.windows, rule.needed)} of {rule.needed} to change" if rule.windows else "")
                for rule in found
            ],
            "changes": ["not in this plan" if rule.turns is None else fmt.local(rule.turns, zone) for rule in found],
        }
    )


def _strike(rule: RuleStanding, unit: str, known: bool) -> str:
    """The price that a rule goes by; no number for the break-even of what nobody gives a price for."""
    price = fmt.price(rule.strike, unit).value
    if rule.manual:
        return f"{price} (set)"
    return f"{price} (break-even)" if known else "break-even, not known"


def customer_table(snap: views.Snapshot) -> pd.DataFrame:
    """Each customer's running window."""
    found, zone = views.customer_standings(snap), snap.site.timezone
    return pd.DataFrame(
        {
            "customer": [row.name for row in found],
            "machines": [row.type for row in found],
            "now": [str(fmt.power(row.kw)) for row in found],
            "slowed so far": [_percent(row.so_far_frac) for row in found],
            "by the plan": [_percent(row.planned_frac) for row in found],
            "allowed": [_percent(row.allowed_frac) for row in found],
            "window ends": [fmt.local(row.until, zone, with_date=False) for row in found],
        }
    )


def _percent(frac: float) -> str:
    return fmt.DASH if math.isnan(frac) else str(fmt.percent(max(0.0, frac)))


def contract_lines(snap: views.Snapshot) -> list[str]:
    """A sentence each for reserve, demand charge and ramp."""
    site, plan, out = snap.site, snap.plan, []
    if site.reserve.wanted:
        for word, sold in (("up", site.reserve.up_kw), ("down", site.reserve.down_kw)):
            given = views.values(plan[f"reserve_{word}_kw"])
            if max(float(given.max()), sold) < 0.5:
                continue
            low, high = (fmt.power(float(kw)) for kw in (given.min(), given.max()))
            span = str(high) if abs(given.max() - given.min()) < 0.5 else f"{low} to {high}"
            out.append(f"Reserve {word}: {span} kept free, {fmt.power(sold)} sold.")
    if site.demand_usd_per_kw > 0.0 and snap.state is not None:
        peak = max(snap.state.peak_kw, float(views.values(plan["import_kw"]).max()))
        charge = fmt.money(site.demand_usd_per_kw, snap.units.money)
        out.append(
            f"Demand charge: the month's highest import is {fmt.power(snap.state.peak_kw)}, with this plan "
            f"{fmt.power(peak)}, at {charge} a kW."
        )
    if plan.get("room_c"):
        room = views.values(plan["room_c"])
        ahead = max(0.0, float(views.values(plan["room_kw"]).max()))
        out.append(
            f"Room: {room.min():.1f} to {room.max():.1f} °C by the plan, allowed {site.room.low_c:g} to "
            f"{site.room.high_c:g} °C; cooling runs ahead of the heat by up to {fmt.power(ahead)}."
        )
    if site.ramp_kw_per_min > 0.0:
        out.append(f"Ramp: the connection changes by {fmt.power(site.ramp_kw_per_min)} a minute at the most.")
    return out
