"""Plan: what will we do, and why is that the best?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import day_parts, live_chart, plan_parts, promise_parts, whatif_panel, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure

REFRESH_S = 3.0
WORTH_HELP = (
    "What one more stored kWh, and one more kWh of site power, would bring in each interval: the shadow prices."
)


@st.cache_data(max_entries=8, show_spinner=False)
def _figure(cycle_id: str, worth: bool) -> Figure | None:
    look = day_parts.PLAN_WITH_WORTH if worth else day_parts.PLAN
    snap, prices, track = views.snapshot(cycle_id), views.prices(look.past_h + 1.0), views.track(look.past_h)
    if snap is None or prices is None or track is None:
        return None
    return day_parts.day_figure(snap, prices, track, look)


@st.cache_data(max_entries=8, show_spinner=False)
def _limits(cycle_id: str) -> pd.DataFrame | None:
    snap = views.snapshot(cycle_id)
    return None if snap is None else whatif_panel.limit_table(snap)


def _tiles(snap: views.Snapshot) -> None:
    plan, money, unit = snap.plan, snap.units.money, snap.units.energy
    parts = views.plan_parts(snap)
    hours = fmt.number(len(plan["timestamp"]) * snap.step_s / 3600.0)
    with widgets.tile_row(4):
        text = f"battery {fmt.significant(round(parts.battery, 2), sign=True)} of it"
        note = (
            "Value of the loads less energy, cooling and wear, with the change in stored energy counted at its worth."
        )
        widgets.tile(f"Worth of the next {hours} h", fmt.round_money(parts.total, money), text, note=note)
        solved = f"{plan['method'].partition(' (')[0]}, {fmt.milliseconds(plan['solve_ms'])}"
        widgets.tile(
            "Plan", plan["status"], solved, note=f"How it was made and how long the solver took: {plan['method']}."
        )
        if plan["status"] != "optimal":
            for label in ("Worth of stored energy", "Worth of site power"):
                widgets.tile(label, fmt.DASH, "only an optimal plan has shadow prices")
            return
        kept, power = (
            float(snap.shown(1000.0 * plan[key][0]))
            for key in ("marginal_value_usd_per_kwh", "power_price_usd_per_kwh")
        )
        now = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
        label, text = "Worth of stored energy", f"power now {fmt.price(now, unit).value}"
        if snap.site.battery.capacity_kwh > 0.0:
            note = "Shadow price of the stored energy at the end of this interval: what one more would bring."
            widgets.tile(label, fmt.price(kept, unit), text, note=note)
        else:
            widgets.tile(label, fmt.DASH, "this site has no battery")
        scarce = power - now
        text = f"{fmt.price(scarce, unit).value} over the grid's price" if scarce > 0.005 else "as the grid's price"
        widgets.tile("Worth of site power", fmt.price(power, unit), text, note=plan_parts.POWER_HELP)


def _attempts(snap: views.Snapshot) -> None:
    """What was tried, where the plan is not the optimum."""
    tried = snap.plan["attempts"]
    if snap.plan["status"] == "optimal" and len(tried) < 2:
        return
    st.markdown("## What was tried")
    table = {name: [row[key] for row in tried] for name, key in (("method", "method"), ("outcome", "status"))}
    table |= {"reason": [row["reason"] for row in tried], "ms": [row["ms"] for row in tried]}
    widgets.table(pd.DataFrame(table), "plan-attempts", {"ms": 0}, height="content")
    widgets.flags(flag for flag in snap.flags if flag.stage == "plan")


def _worth(snap: views.Snapshot) -> None:
    """Sentences about the battery's trades, and where the money comes from."""
    trades, money = st.columns([3, 2], gap="medium")
    with trades:
        st.markdown("## Buy low, sell high")
        sentences = views.spread_sentences()
        for sentence in sentences:
            st.markdown(sentence.text)
        if not sentences:
            st.caption("The battery buys nothing that it sells again within this plan.")
        st.markdown("## What limits the plan")
        limits = _limits(snap.cycle_id)
        if limits is None:
            st.caption("Only an optimal plan, with its jobs recorded, can be asked for them.")
        elif limits.empty:
            st.caption("One kW, kWh or machine more would bring nothing.")
        else:
            config = {limits.columns[1]: st.column_config.NumberColumn(format="%.3g")}
            widgets.table(limits, "limits", config, height="content")
            st.caption("One kW, kWh or machine more, planned anew. What is not listed would bring nothing.")
    with money:
        st.markdown("## Where the worth comes from")
        table = day_parts.worth_table(snap)
        widgets.table(table, "worth", height="content")
        if snap.site.tenants:
            st.caption("Tenants and jobs count at their bids and values here; what tenants pay is on Auction.")


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body() -> None:
    snap = views.snapshot()
    if snap is None:
        what = "Battery, loads and money of the next 24 hours, with the reasons."
        todo = "They come with the pilot's first decision; the strip above says if no pilot runs."
        widgets.empty_state("No plan yet", f"{what} {todo}")
        return
    _tiles(snap)
    optimal, title, worth = snap.plan["status"] == "optimal", day_parts.plan_title(snap), False
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        widgets.finding(title)
        if optimal:
            worth = st.toggle("Marginal values", key="plan_worth", help=WORTH_HELP)
    figure = _figure(snap.cycle_id, worth)
    if figure is not None:
        live_chart.show(figure, f"plan_day_{worth}", title)
    for said in plan_parts.end_words(snap):
        st.caption(widgets.inert(said))
    _attempts(snap)
    _worth(snap)
    promise_parts.show(snap)
    st.markdown("## The plan")
    st.caption(
        "The first row runs now. Loads are in kW without cooling; the battery charges and the grid gives where "
        "positive. State of charge (SOC) is at the end of the interval. The file has every column, with UTC times."
    )
    short = plan_parts.plan_shown(snap)
    decimals = dict.fromkeys(short.columns[2:], 0) | {short.columns[1]: 1, "SOC, %": 1}
    widgets.sheet(short, decimals)
    widgets.download_csv(day_parts.plan_table(snap), f"plan-{snap.cycle_id}.csv", key="plan_csv")


st.title("What will we do, and why is that the best?")
_body()
whatif_panel.show()
