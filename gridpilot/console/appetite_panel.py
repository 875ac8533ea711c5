"""What another appetite for risk would make of the plan: two sliders, the plan that would follow, and its money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import streamlit as st

from gridpilot import report, views
from gridpilot.console import charts, live_chart, plots, whatif_panel, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure
from gridpilot.console.theme import LIGHT, translucent
from gridpilot.console.whatif_panel import NOW, THEN
from gridpilot.risk.measures import cvar, value_at_risk
from gridpilot.values import Array
from gridpilot.views import risk as asked

ALPHAS: Final = (0.8, 0.9, 0.95, 0.975, 0.99)
BINS: Final = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """The plan (`report.plan_json`) and what both bring on the same futures (S,)."""

    plan: dict[str, Any]
    then_usd: Array
    now_usd: Array
    label: str


@st.cache_data(max_entries=16, show_spinner="Planning with this appetite for risk")
def answer(cycle_id: str, weight: float, alpha: float) -> Answer | None:
    """The plan of a decision with another risk weight and alpha; kept, so that a slider moved back answers at once."""
    snap = views.snapshot(cycle_id)
    if snap is None:
        return None
    found = asked.weighed(snap, weight, alpha)
    return Answer(report.plan_json(found.plan), found.then_usd, found.now_usd, found.label)


def show() -> None:
    """The panel; nothing of it is sent."""
    what = "The plan that another risk weight would give."
    whatif_panel.framed("With another appetite for risk", _panel, "Nothing to weigh yet", what)


@st.fragment
@widgets.saying_trouble()
def _panel() -> None:
    snap = views.snapshot()
    if snap is None:
        return
    weight, alpha = _asked(snap)
    if (weight, alpha) == (snap.site.risk.weight or 0.0, snap.site.risk.alpha):
        st.caption("Move a slider to see the plan that would follow. Nothing is sent.")
        return
    found = answer(snap.cycle_id, weight, alpha)
    if found is None:
        return
    for flag in found.plan["flags"]:
        if flag["code"] in ("NOT_HEDGED", "CVAR_LIMIT"):
            st.warning(widgets.inert(flag["message"]))
    _tiles(snap, found, alpha)
    title = title_of(snap, found, alpha)
    widgets.finding(title)
    money, plans = st.columns(2, gap="medium")
    with money:
        live_chart.show(figure(found, alpha, snap.units.money), "risk_appetite", title)
    with plans:
        live_chart.show(whatif_panel.figure(snap, found.plan), "risk_appetite_plan", "Both plans over the day")
    st.caption(
        f"{len(found.then_usd)} futures {found.label}; both plans keep their set points, and stored energy counts "
        "at the plan's price of it. The weight decides the battery's next step; nothing is sent. To keep it, set "
        "\\[risk\\] weight and alpha in the site file."
    )
    st.caption(whatif_panel.beside(snap))


def _asked(snap: views.Snapshot) -> tuple[float, float]:
    """Weight and alpha on the sliders; those in force at first."""
    appetite = snap.site.risk
    left, right = st.columns(2, gap="medium")
    with left:
        now = 0 if appetite.weight is None else round(100.0 * appetite.weight)
        said = "not weighed" if appetite.weight is None else fmt.percent(appetite.weight)
        weight = st.slider(f"Weight of the worst futures, % ({said} now)", 0, 100, now, 5, key="risk_weight")
    with right:
        options = sorted({*ALPHAS, appetite.alpha})
        label = f"Alpha, the share of futures that are not the worst ({100.0 * appetite.alpha:g} % now)"
        alpha = st.select_slider(
            label, options, appetite.alpha, key="risk_alpha", format_func=lambda a: f"{100.0 * a:g} %"
        )
    return weight / 100.0, float(alpha)


def _tiles(snap: views.Snapshot, found: Answer, alpha: float) -> None:
    money, level = snap.units.money, f"{100.0 * alpha:g} %"
    mean = float(found.then_usd.mean()), float(found.now_usd.mean())
    tail = cvar(found.then_usd, alpha), cvar(found.now_usd, alpha)
    step = [plan["charge_kw"][0] - plan["discharge_kw"][0] for plan in (found.plan, snap.plan)]
    var = value_at_risk(found.then_usd, alpha), value_at_risk(found.now_usd, alpha)
    with widgets.tile_row(4):
        at_least, worst = (tuple(-loss for loss in pair) for pair in (var, tail))
        names = ("Mean", f"VaR {level}: at least", f"CVaR {level}: average")
        for name, (then, now) in zip(names, (mean, at_least, worst), strict=True):
            more = fmt.significant(round(then - now, 2), sign=True)
            widgets.tile(name, fmt.round_money(then, money), f"{more} vs. in force")
        note = "The step that the weight decides; charging is positive."
        widgets.tile("Battery now", fmt.power(step[0]), f"{fmt.power(step[1])} in force", note=note)


def title_of(snap: views.Snapshot, found: Answer, alpha: float) -> str:
    """What the appetite changes, and what it costs."""
    money = snap.units.money
    step = [plan["charge_kw"][0] - plan["discharge_kw"][0] for plan in (found.plan, snap.plan)]
    if abs(step[0] - step[1]) < 1.0:
        return "The battery's next step stays the same with this appetite"
    mean = round(float(found.then_usd.mean() - found.now_usd.mean()), 2)
    worst = round(cvar(found.now_usd, alpha) - cvar(found.then_usd, alpha), 2)
    told = f"{fmt.money(mean, money, sign=True).value} on average, {fmt.money(worst, money, sign=True)} in the worst"
    return f"The battery would go from {fmt.power(step[1])} to {fmt.power(step[0])} now: {told}"


def figure(found: Answer, alpha: float, money: str) -> Figure:
    """Both distributions over the same bins, with each one's CVaR."""
    both = np.concatenate([found.then_usd, found.now_usd])
    edges = np.histogram_bin_edges(both, bins=BINS)
    data: list[dict[str, Any]] = []
    for name, sample, fill, line in (
        (NOW, found.now_usd, translucent(LIGHT["muted"], 0.28), LIGHT["muted"]),
        (THEN, found.then_usd, "rgba(0,0,0,0)", LIGHT["battery"]),
    ):
        share = 100.0 * np.histogram(sample, edges)[0] / len(sample)
        data.append(
            {
                "type": "bar", "name": name, "x": charts.plain(edges[:-1]), "y": charts.plain(share),
                "width": charts.plain(np.diff(edges)), "offset": 0,
                "marker": {"color": fill, "line": {"width": 2 if name == THEN else 1, "color": line}},
                "hovertemplate": f"{name}: %{{y:.1f}} % of futures<extra></extra>",
            }
        )  # fmt: skip
    layout = charts.base_layout(plots.PLOT_PX + 110)
    layout |= {"hovermode": "closest", "barmode": "overlay", "bargap": 0}
    low, high = float(edges[0]), float(edges[-1])
    room = 0.05 * ((high - low) or 1.0)
    layout["xaxis"] = charts.value_axis(
        title=plots.axis_title(f"what the plan brings, {charts.escape(money)}"), range=[low - room, high + room]
    )
    layout["yaxis"] = charts.value_axis(title=plots.axis_title("futures, %"), rangemode="tozero", fixedrange=True)
    layout["legend"]["y"] = -0.24
    level = f"{100.0 * alpha:g} %"
    for row, (sample, colour, name) in enumerate(
        ((found.now_usd, LIGHT["muted"], "in force"), (found.then_usd, LIGHT["battery"], "what if"))
    ):
        tail = cvar(sample, alpha)
        plots.mark_x(layout, -tail, f"CVaR {level} {name}: {plots.brings(tail, money)}", colour, row=row)
    layout["margin"]["t"] += 18
    layout["height"] += 18
    return {"data": data, "layout": layout}
