from __future__ import annotations

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gridpilot import views
from gridpilot.console import appetite_panel, risk_parts
from gridpilot.monitor.decision import load
from gridpilot.risk.measures import cvar
from gridpilot.views import risk as asked
from tests.pages.conftest import OpenPage, words

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`


def table(app: AppTest, first: str):  # type: ignore[no-untyped-def]
    """The table whose first column has that name."""
    return next(element.value for element in app.dataframe if element.value.columns[0] == first)


def newest(full: OpenPage) -> views.Snapshot:
    """The newest decision, before any page has worked anything out of it."""
    full("health")
    st.cache_data.clear()
    snap = views.snapshot()
    assert snap is not None
    return snap


def test_risk__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("risk")
    assert not app.exception
    assert "No risk figure yet" in words(app)
    assert "Nothing to weigh yet" in words(app)


def test_risk__full_ledger__tiles_and_stress(full: OpenPage) -> None:
    app = full("risk")
    assert not app.exception and not app.error
    assert [metric.label.replace("\\", "").replace("\u00a0", " ") for metric in app.metric] == [
        "Expected, next 24 h",
        "VaR 95 %: at least",
        "CVaR 95 %: average",
        "Drawdown",
        "Risk allows",
    ]
    assert "no loss: VaR −" in words(app).replace("\\", "").replace("\u00a0", " ")
    stress = table(app, "what happens")
    assert stress["change, USD"].iloc[0] == 0.0
    assert stress["change, USD"].iloc[1] == pytest.approx(-stress["change, USD"].iloc[2])


def test_risk__full_ledger__each_figure_is_on_record_or_follows_from_it(full: OpenPage) -> None:
    app = full("risk")
    snap = views.snapshot()
    assert snap is not None
    models = table(app, "model").set_index("model")
    assert models["VaR: at least, USD"]["historical"] == -snap.risk["var"]
    assert models["CVaR: average, USD"]["historical"] == -snap.risk["cvar"]
    assert "Ornstein-Uhlenbeck" in models.index and "Heston" not in models.index
    assert "Merton jump diffusion and Heston do not apply" in words(app)  # for one reason, told once
    held = table(app, "how the energy is divided")
    shares = [name for name in held.columns if name.endswith(", %")]
    assert held[shares].iloc[0].sum() == pytest.approx(100.0)
    assert "No verdict yet (not enough data: 0 of 20 plans have come true" in words(app).replace("\\", "")
    fan = risk_parts.fan(snap.cycle_id)
    assert fan is not None
    var = risk_parts.bad_case("VaR", snap.risk["var"], "USD").amount.value
    assert f"nine futures in ten bring {var} to " in fan[1]
    assert next(metric.value for metric in app.metric if metric.label.startswith("VaR")).startswith(var)
    drawn = next(trace for trace in fan[0]["data"] if trace.get("name", "").startswith("Median"))
    assert drawn["y"][0] == 0.0
    assert drawn["y"][-1] == pytest.approx(np.median(views.values(snap.risk["pnl_usd"])), rel=1e-5)


def test_risk__slider_is_moved__the_plan_that_would_follow(full: OpenPage) -> None:
    app = full("risk")
    assert "Move a slider" in words(app) and not any(metric.label == "Battery now" for metric in app.metric)
    app.slider(key="risk_weight").set_value(80).run()
    app.select_slider(key="risk_alpha").set_value(0.9).run()
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    found = asked.weighed(snap, 0.8, 0.9)
    shown = {metric.label: str(metric.value) for metric in app.metric}
    (label,) = (name for name in shown if name.startswith("CVaR 90 %"))
    assert appetite_panel.fmt.compact(-cvar(found.then_usd, 0.9)) in shown[label].replace("\\", "")
    battery = found.plan.charge_kw[0] - found.plan.discharge_kw[0]
    assert appetite_panel.fmt.power(battery).value in shown["Battery now"].replace("\\", "")
    assert "Beside the plan of " + appetite_panel.fmt.local(snap.at, snap.site.timezone)[:-3] in words(app)
    assert load(views.ledger()) == snap  # nothing was decided


def test_appetite__title__what_changes_and_what_it_costs(full: OpenPage) -> None:
    full("risk")
    snap = views.snapshot()
    assert snap is not None
    plan = dict(snap.plan)
    usd = np.linspace(0.0, 100.0, 200)
    same = appetite_panel.Answer(plan, usd, usd, "test")
    assert "stays the same" in appetite_panel.title_of(snap, same, 0.95)
    moved = {**plan, "charge_kw": [77.0, *plan["charge_kw"][1:]], "discharge_kw": [0.0, *plan["discharge_kw"][1:]]}
    said = appetite_panel.title_of(snap, appetite_panel.Answer(moved, usd + 2.0, usd, "test"), 0.95)
    assert "to 77.0\u00a0kW now" in said and "+2.00 on average" in said and "+2.00\u00a0USD in the worst" in said


def test_risk__limit_is_set__on_a_bar(full: OpenPage) -> None:
    snap, ledger = newest(full), views.ledger()
    risk = {**snap.risk, "cvar_limit_usd": 250.0, "cvar": 300.0}
    ledger.append("risk", risk, at=snap.at, cycle_id=snap.cycle_id)
    app = full("risk")
    assert "limit at most 250 USD" in words(app) and "outside its limits" in words(app)


def test_F37_risk__no_figures__says_why_and_shows_none(full: OpenPage) -> None:
    snap, ledger = newest(full), views.ledger()
    nothing = dict.fromkeys(("var", "cvar", "max_drawdown", "volatility", "expected", "average_drawdown", "cdar"))
    said = "not enough data: 12 of 20"
    risk = {**snap.risk, **nothing, "status": said, "n": 12, "pnl_usd": [1.0] * 12, "fan_usd": {}, "full_usd": {}}
    ledger.append("risk", {**risk, "risk_adjustment_factor": 0.5}, at=snap.at, cycle_id=snap.cycle_id)
    app = full("risk")
    assert not app.exception and not app.error
    assert any(said.replace(":", "\\:") in str(warning.value) for warning in app.warning)
    assert "By other models" not in words(app) and "No frontier" in words(app)


def test_risk__decision_recorded_before_fan_and_loads__the_rest_stands(full: OpenPage) -> None:
    snap, ledger = newest(full), views.ledger()
    old = {k: v for k, v in snap.risk.items() if k not in ("fan_usd", "full_usd", "cdar", "average_drawdown")}
    ledger.append("risk", old, at=snap.at, cycle_id=snap.cycle_id)
    app = full("risk")
    assert not app.exception and not app.error
    assert "No frontier" in words(app) and "recorded without the P" in words(app)


def test_stress__as_expected__is_the_plan_without_the_value_of_stored_energy(full: OpenPage) -> None:
    full("risk")
    snap = views.snapshot()
    assert snap is not None
    plan = snap.plan
    stored = (plan["soc_frac"][-1] - plan["soc_start_frac"]) * snap.site.battery.capacity_kwh
    usual = views.stress(snap)[0][1]
    assert usual == pytest.approx(plan["objective_usd"] - stored * plan["terminal_usd_per_mwh"] / 1000.0)


def test_risk__stale_ledger__still_answers(stale: OpenPage) -> None:
    app = stale("risk")
    assert not app.exception
    assert "Prices are stale" in words(app)
    app.slider(key="risk_weight").set_value(50).run()
    assert not app.exception and not app.error
