"""Risk: what could go wrong, and how much would it cost?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import appetite_panel, live_chart, plots, risk_parts, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure

REFRESH_S = 3.0


@st.cache_data(max_entries=8, show_spinner=False)
def _figure(cycle_id: str) -> Figure | None:
    snap = views.snapshot(cycle_id)
    if snap is None or snap.risk["status"] != "ok":
        return None
    risk = snap.risk
    pnl = views.values(risk["pnl_usd"])
    return plots.pnl_histogram(pnl, risk["var"], risk["cvar"], risk["alpha"], snap.units.money)


def _finding(snap: views.Snapshot) -> str:
    worst = plots.brings(snap.risk["cvar"], snap.units.money)
    return f"In the worst {fmt.percent(1.0 - snap.risk['alpha'])} of futures the plan {worst} on average"


def _tiles(snap: views.Snapshot) -> None:
    risk, money = snap.risk, snap.units.money
    hours = fmt.number(len(snap.plan["timestamp"]) * snap.step_s / 3600.0)
    level = fmt.percent(risk["alpha"])
    with widgets.tile_row(5):
        mean = fmt.round_money(risk["expected"], money)
        widgets.tile(f"Expected, next {hours} h", mean, f"mean of {fmt.count(risk['n'], 'future')}")
        var, cvar = risk_parts.bad_case("VaR", risk["var"], money), risk_parts.bad_case("CVaR", risk["cvar"], money)
        widgets.tile(
            f"VaR {level}: {'may lose' if var.lost else 'at least'}", var.amount, var.said, note=risk_parts.LOSS
        )
        widgets.tile(
            f"CVaR {level}: {'loses' if cvar.lost else 'average'}", cvar.amount, cvar.said, note=risk_parts.LOSS
        )
        note = f"The {level} quantile over the futures of the largest fall of the money made so far."
        text = "largest fall on the way"
        if risk.get("cdar") is not None:
            text = f"mean of the worst {fmt.significant(risk['cdar'])}"
            note += f" The mean of the worst {fmt.percent(1.0 - risk['alpha'])} of falls at any moment is CDaR."
            text = text if risk["cdar"] >= 0.005 else "the money only grows"
        widgets.tile("Drawdown", fmt.round_money(risk["max_drawdown"], money), text, note=note)
        note = "How much of the plan's free power the risk allows: the risk adjustment factor. It is shown; the plan "
        note += "itself follows the risk weight."
        allowed = fmt.Quantity(fmt.number(_percent(risk["risk_adjustment_factor"])), "% of free power")
        widgets.tile("Risk allows", allowed, f"spread {fmt.round_money(risk['volatility'], money)}", note=note)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _appetite(snap: views.Snapshot) -> None:
    """How the operator's appetite for risk entered the decision."""
    money, hedge = snap.units.money, snap.plan.get("hedge")
    if not hedge:
        return
    weight, alpha = fmt.percent(hedge["weight"]), fmt.percent(hedge["alpha"])
    paths = fmt.count(int(hedge["paths"]), "future")
    mean, worst = fmt.money(hedge["mean_usd"], money), fmt.money(hedge["cvar_usd"], money)
    said = (
        f"The battery's next step weighs the worst futures by {weight} (CVaR {alpha}, {paths}): "
        f"{mean} on average and {worst} in the worst, if each future were then planned for as it comes."
    )
    st.markdown(widgets.inert(said))


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body() -> None:
    snap = views.snapshot()
    if snap is None:
        what = "The spread of the plan's money over many price futures, with its bad tail."
        widgets.empty_state("No risk figure yet", f"{what} It comes with the pilot's first decision.")
        return
    if snap.risk["status"] != "ok":
        st.warning(widgets.inert(f"No risk figures: {snap.risk['status']}"))
    _tiles(snap)
    if snap.risk["status"] == "ok":
        risk_parts.limit_use(snap)
    _appetite(snap)
    picture, cases = st.columns([3, 2], gap="medium")
    with picture:
        figure = _figure(snap.cycle_id)
        if figure is not None:
            widgets.finding(_finding(snap))
            live_chart.show(figure, "risk_pnl", _finding(snap))
        dark = f"The strong bars are the worst {fmt.percent(1.0 - snap.risk['alpha'])}. " if figure is not None else ""
        st.caption(
            f"{dark}Each future is the forecast with the errors that it made on one past day, in all prices "
            "together. Set points are kept; the value of energy left in the battery is not counted."
        )
    with cases:
        risk_parts.stress(snap)
    day, shares = st.columns(2, gap="medium")
    with day:
        fan = risk_parts.fan(snap.cycle_id)
        if fan is not None:
            widgets.finding(fan[1])
            live_chart.show(fan[0], "risk_fan", fan[1])
    with shares:
        risk_parts.holdings(snap)


st.title("What could go wrong, and how much would it cost?")
_body()
appetite_panel.show()
risk_parts.beside()
