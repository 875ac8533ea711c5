"""What the page Risk draws: fan of the money made, limit use, stress, frontier, other models, VaR against what came.

Each piece is worked out once for a decision and kept; all of it follows from the ledger's rows of that decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import charts, live_chart, plots, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT
from gridpilot.errors import GridPilotError
from gridpilot.risk.stress import CAP_USD_PER_MWH, NEGATIVE_USD_PER_MWH
from gridpilot.values import as_array, as_times, to_utc
from gridpilot.views import risk as asked

FAN: Final = ("0.05", "0.25", "0.5", "0.75", "0.95")
LOSS: Final = (
    "VaR and CVaR are losses: a positive figure is what may be lost, a negative one says that even the bad case "
    "brings that much. VaR is where the worst futures begin, CVaR their average."
)
APPLIES_NOT: Final = " does not apply: "
MARKS: Final = ("circle", "square", "diamond", "triangle-up", "x")


@dataclass(frozen=True, slots=True)
class BadCase:
    """A VaR or CVaR as the money that the plan then brings or loses, and the figure itself in words."""

    lost: bool
    amount: fmt.Quantity
    said: str


def bad_case(name: str, loss: float | None, money: str) -> BadCase:
    """One convention for the page: a loss is a positive figure, and a negative one means that money still comes in."""
    if loss is None or not fmt.known(loss):
        return BadCase(False, fmt.Quantity(fmt.DASH, money), "not known")
    said = f"{name} {fmt.compact(loss)}"
    if loss > 0.0:
        return BadCase(True, fmt.round_money(loss, money), f"a loss: {said}")
    return BadCase(False, fmt.round_money(-loss, money), f"no loss: {said}")


# --- the day -------------------------------------------------------------------------------------


@st.cache_data(max_entries=8, show_spinner=False)
def fan(cycle_id: str) -> tuple[Figure, str] | None:
    """The money made by the end of each step with its bands, and what it says; None where it is not on record."""
    snap = views.snapshot(cycle_id)
    if snap is None or not snap.risk.get("fan_usd"):
        return None
    money, zero = snap.units.money, np.zeros(1)
    rows = {level: np.concatenate([zero, views.values(snap.risk["fan_usd"][level])]) for level in FAN}
    start = views.times(snap.plan["timestamp"])
    ends = as_times(np.concatenate([start[:1], start + np.timedelta64(snap.step_s, "s")]))
    middle = Series(
        "Median (50 % and 90 % of futures)", ends, as_array(rows["0.5"]), "curve", LIGHT["price"], 2.0,
        as_array(rows["0.25"]), as_array(rows["0.75"]), (as_array(rows["0.05"]), as_array(rows["0.95"])), snap.step_s,
    )  # fmt: skip
    axis = TimeAxis.of(snap.site, to_utc(ends[0]), to_utc(ends[-1]), None)  # it begins now
    figure = charts.time_figure(axis, [Panel("Money made since the plan began", money, (middle,), 250, {0.0: ""})])
    ends_usd = [float(rows[level][-1]) for level in ("0.05", "0.95")]
    if math.isclose(snap.risk["alpha"], 0.95):  # the worst twentieth begins at VaR: one figure, by one rule
        ends_usd[0] = -float(snap.risk["var"])
    low, high = (fmt.round_money(usd, money) for usd in ends_usd)
    return figure, f"By the end of the plan nine futures in ten bring {low.value} to {high}"


# --- limits --------------------------------------------------------------------------------------


def limit_use(snap: views.Snapshot) -> None:
    """CVaR on a bar under its limit in this market, or how to set one."""
    limit, cvar, money = snap.risk.get("cvar_limit_usd"), snap.risk["cvar"], snap.units.money
    regime = snap.risk.get("regime") or "of an unknown kind"
    if limit is None:
        st.caption(f"No limit on CVaR is set (prices are {regime}). Give \\[risk\\] cvar_limit_usd in the site file.")
        return
    low = min(0.0, cvar) if cvar is not None else 0.0
    reach = max(limit, cvar or 0.0, 1e-9)
    widgets.limit_bar(f"CVaR, prices are {regime}:", cvar, money, (None, limit), (1.2 * low, 1.2 * reach), "other_2")


# --- stress --------------------------------------------------------------------------------------


def stress(snap: views.Snapshot) -> None:
    """Every case in money, beside the plan as expected."""
    cases = views.stress(snap)
    usual, money = cases[0][1], snap.units.money
    name, worst = min(cases, key=lambda case: case[1])
    if worst < usual:
        widgets.finding(f"Worst of {len(cases) - 1} cases: {name}, the plan {plots.brings(-worst, money)}")
    table = pd.DataFrame(
        {
            "what happens": [name for name, _ in cases],
            f"plan brings, {money}": [value for _, value in cases],
            f"change, {money}": [value - usual for _, value in cases],
        }
    )
    config: dict[str, Any] = dict.fromkeys(table.columns[1:], 0)
    config["what happens"] = st.column_config.TextColumn(width=190)
    widgets.table(table, "stress", config, height="content")
    said = "Set points are kept; the pilot would plan anew and do better. Off by 2 sigma: each price in each step "
    said += "against the plan. A trip loses all income, and what jobs then lack costs its price."
    if money != "index":
        cap, low = fmt.number(CAP_USD_PER_MWH), fmt.number(NEGATIVE_USD_PER_MWH)
        said += f" Cap and negative day: {cap} and {low} USD/MWh in every step."
    st.caption(widgets.inert(said))


# --- the frontier --------------------------------------------------------------------------------


@st.cache_data(max_entries=8, show_spinner=False)
def portfolio(cycle_id: str) -> tuple[Figure | None, str, pd.DataFrame | None]:
    """The frontier with the plan on it, what it says, and the named divisions of the energy as a table."""
    snap = views.snapshot(cycle_id)
    if snap is None:
        return None, "", None
    try:
        held = asked.holdings(snap)
    except GridPilotError as error:
        return None, str(error), None
    money, alpha = snap.units.money, fmt.percent(1.0 - snap.risk["alpha"])
    named = [(row.name, row.point) for row in held.named]
    table = pd.DataFrame(
        {
            "how the energy is divided": [row.name for row in held.named],
            f"mean, {money}": [np.nan if point is None else point.mean for _, point in named],
            f"CVaR, {money}": [np.nan if point is None else point.cvar for _, point in named],
            **{
                f"{load}, %": [np.nan if point is None else 100.0 * point.weights[i] for _, point in named]
                for i, load in enumerate(held.names)
            },
            "remark": [row.said for row in held.named],
        }
    )
    points = [("the plan itself", held.plan_mean, held.plan_mean + held.plan_cvar)]
    points += [(name, point.mean, point.deviation) for name, point in named if point is not None]
    curve = [(point.mean, point.deviation) for point in held.frontier]
    even = held.named[0].point
    gain = held.plan_mean - even.mean if even is not None else float("nan")
    title = f"Following the price hour by hour brings {fmt.money(gain, money)} more than the same shares all day"
    return _frontier(curve, points, money, alpha), title, table


def _frontier(
    curve: list[tuple[float, float]], points: list[tuple[str, float, float]], money: str, share: str
) -> Figure:
    """Mean (up) against how far the worst cases fall below it (right)."""
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": "frontier of fixed shares", "hoverinfo": "skip",
            "x": charts.plain([x for _, x in curve]), "y": charts.plain([y for y, _ in curve]),
            "line": {"color": LIGHT["muted"], "width": 2},
        }
    ] if len(curve) > 1 else []  # fmt: skip
    for i, (name, mean, apart) in enumerate(points):
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": charts.escape(name),
                "x": charts.plain([apart]), "y": charts.plain([mean]),
                "marker": {
                    "symbol": "star" if i == 0 else MARKS[(i - 1) % len(MARKS)], "size": 14 if i == 0 else 10,
                    "color": LIGHT["price"] if i == 0 else "rgba(0,0,0,0)",
                    "line": {"width": 2, "color": LIGHT["price"] if i < 2 else LIGHT["muted"]},
                },
                "hovertemplate": f"{charts.escape(name)}: mean %{{y:,.2f}}, %{{x:,.2f}} less in the worst cases"
                "<extra></extra>",
            }
        )  # fmt: skip
    layout = charts.base_layout(plots.PLOT_PX + 110)
    layout |= {"hovermode": "closest"}
    layout["legend"]["y"] = -0.24
    layout["xaxis"] = charts.value_axis(
        title=plots.axis_title(f"how much less the worst {share} bring than the mean, {charts.escape(money)}"),
    )
    layout["yaxis"] = charts.value_axis(title=plots.axis_title(f"mean, {charts.escape(money)}"), fixedrange=True)
    layout["margin"] = {**layout["margin"], "t": 16}
    return {"data": data, "layout": layout}


def holdings(snap: views.Snapshot) -> None:
    """The site as a portfolio of its loads."""
    figure, said, table = portfolio(snap.cycle_id)
    if figure is None or table is None:
        st.caption(widgets.inert(f"No frontier: {said}"))
        return
    widgets.finding(said)
    live_chart.show(figure, "risk_frontier", said)
    st.caption(
        "The energy that the plan's loads draw, divided otherwise and evenly over the hours, battery as planned, on "
        "the recorded price courses. The line has the least CVaR for each mean."
    )
    config: dict[str, Any] = dict.fromkeys(table.columns[1:3], 0) | dict.fromkeys(table.columns[3:-1], 1)
    with st.expander("Divisions as a table"):
        widgets.table(table, "holdings", config)


# --- other models, and whether VaR kept its promise ------------------------------------------------


@st.cache_data(max_entries=8, show_spinner="Drawing 10,000 futures for each process")
def model_table(cycle_id: str) -> tuple[pd.DataFrame, list[str]] | None:
    """VaR and CVaR of the plan by each model that applies, and why others do not."""
    snap = views.snapshot(cycle_id)
    if snap is None:
        return None
    every, money = asked.models(snap), snap.units.money
    found = [(model, model.estimate) for model in every if model.estimate is not None]
    table = pd.DataFrame(
        {
            "model": [model.name for model, _ in found],
            f"mean, {money}": [model.mean for model, _ in found],
            f"VaR: at least, {money}": [-estimate.var for _, estimate in found],
            f"CVaR: average, {money}": [-estimate.cvar for _, estimate in found],
            f"± of CVaR, {money}": [estimate.error for _, estimate in found],
            "from": [model.said for model, _ in found],
        }
    )
    return table, refused([model.said for model in every if model.estimate is None])


def refused(said: Sequence[str]) -> list[str]:
    """Why models do not apply, those with one reason together: "Merton jump diffusion and Heston do not apply: ..."."""
    why: dict[str, list[str]] = {}
    for text in said:
        name, _, reason = text.partition(APPLIES_NOT)
        why.setdefault(reason, []).append(name)
    out = []
    for reason, names in why.items():
        who = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        out.append(f"{who} {'do' if len(names) > 1 else 'does'} not apply: {reason}" if reason else who)
    return out


@st.cache_data(max_entries=8, show_spinner=False)
def kept(cycle_id: str) -> tuple[str, pd.DataFrame | None]:
    """Whether recorded VaR was exceeded as often as it said, in words, and each decision that counts."""
    snap = views.snapshot(cycle_id)
    if snap is None:
        return "", None
    track, money = asked.track(snap), snap.units.money
    found, zone = track.verdict, snap.site.timezone
    table = pd.DataFrame(
        {
            "decided": [fmt.local_date(to_utc(at), zone) for at in track.at],
            f"VaR: at least, {money}": -track.var,
            f"came, {money}": track.came,
            "beyond VaR": -track.came > track.var,
            "decision": track.cycles,
        }
    )
    if found.status != "ok":
        return f"No verdict yet ({found.status} plans have come true, each to the end of its horizon).", table
    seen = f"{fmt.count(found.hits, 'time')} beyond VaR in {found.n} plans, {fmt.number(found.expected, 1)} promised"
    tests = (("Kupiec", found.unconditional), ("independence", found.independence), ("both", found.conditional))
    told = ", ".join(f"{name} p = {fmt.number(test.p_value, 3)}" for name, test in tests)
    word = "keeps its promise" if found.conditional.passed else "does not keep its promise"
    return f"VaR {word}: {seen} ({told}).", table


@st.fragment
@widgets.saying_trouble()
def beside() -> None:
    """Other models and VaR against what came, of the decision that is the newest when the page is opened."""
    snap = views.snapshot()
    if snap is None or snap.risk["status"] != "ok":
        return
    st.markdown("## By other models")
    modelled = model_table(snap.cycle_id)
    if modelled is not None:
        table, others = modelled
        widgets.table(table, "models", dict.fromkeys(table.columns[1:5], 0), height="content")
        for said in others:
            st.caption(widgets.inert(f"{said[:1].upper()}{said[1:]}."))
    at = fmt.local(snap.at, snap.site.timezone)
    st.caption(
        widgets.inert(f"What the plan of {at} brings. ± is the standard error; each decision has its own draws.")
    )
    st.markdown("## Did VaR keep its promise?")
    said, past = kept(snap.cycle_id)
    st.markdown(widgets.inert(said))
    if past is not None and len(past):
        widgets.table(past, "var_kept", dict.fromkeys(past.columns[1:3], 0))
    st.caption("Each plan kept to its end, at the prices that came; one for each horizon, so that none overlap.")
