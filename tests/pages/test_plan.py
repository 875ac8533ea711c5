from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gridpilot import views
from gridpilot.console import day_parts, plan_parts, promise_parts
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.standing import RuleStanding
from tests.pages.conftest import OpenPage, console, copied, url, words


def test_plan__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("plan")
    assert not app.exception
    assert "No plan yet" in words(app)


def test_plan__full_ledger__tiles_sentences_and_table(full: OpenPage) -> None:
    app = full("plan")
    assert not app.exception
    assert not app.error
    snap = views.snapshot()
    assert snap is not None
    assert len(app.metric) == 4
    assert app.metric[1].value == "optimal"
    for sentence in views.spread_sentences():
        assert sentence.text in words(app)
    limits, worth, table = (frame.value for frame in app.dataframe)
    assert (limits["one more, USD"] > 0.0).all()
    assert worth["USD"].iloc[:-1].sum() == pytest.approx(worth["USD"].iloc[-1])
    assert len(table) == len(snap.plan["timestamp"])
    assert list(day_parts.plan_table(snap)["timestamp"]) == snap.plan["timestamp"]  # what the file holds
    charge, discharge = (views.values(snap.plan[key]) for key in ("charge_kw", "discharge_kw"))
    assert table["battery, kW"].to_numpy() == pytest.approx(charge - discharge)
    assert "cooling" in table and len(table.columns) <= 16
    assert "What was tried" not in words(app)


def test_end_words__job_runs_dear_after_its_last_deadline__said(full: OpenPage) -> None:
    full("plan")
    snap = views.snapshot()
    assert snap is not None
    (job,) = snap.site.jobs
    n = len(snap.plan["timestamp"])
    price, kw = [10.0] * (n - 1) + [500.0], [0.0] * (n - 1) + [50.0]
    plan = {**snap.plan, "energy_usd_per_mwh": price, "loads_kw": {job.name: kw}}
    last = plan["timestamp"][-1]
    local = datetime.fromisoformat(last).astimezone(ZoneInfo(snap.site.timezone))
    for away, said in ((0, 1), (snap.step_s, 0)):  # the deadline is before that hour, or at the end of the plan
        ends = local + timedelta(seconds=away)
        site = replace(snap.site, jobs=(replace(job, daily_deadline=f"{ends:%H:%M}", deadline=None),))
        assert len(plan_parts.end_words(replace(snap, plan=plan, site=site))) == said
    quiet = {**plan, "loads_kw": {job.name: [0.0] * n}}
    assert plan_parts.end_words(replace(snap, plan=quiet)) == []


def test_plan_parts__real_plan__add_up_to_the_objective(full: OpenPage) -> None:
    full("plan")
    snap = views.snapshot()
    assert snap is not None
    parts = views.plan_parts(snap)
    assert math.fsum(parts.loads.values()) + parts.battery == pytest.approx(snap.plan["objective_usd"], rel=1e-9)


def test_plan__fallback__attempts_shown_and_no_shadow_prices(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(recorded, tmp_path)
    with Ledger.open(url(path)) as ledger:
        newest = ledger.latest("cycle")
        assert newest is not None
        entries = ledger.cycle(newest.cycle_id)
        tried = [
            {"method": "linear program", "status": "rejected", "reason": "time limit <b>", "ms": 5000.0},
            {"method": "price rank", "status": "fallback", "reason": "", "ms": 1.0},
        ]
        plan = {**entries["plan"].body, "status": "fallback", "method": "price rank", "attempts": tried}
        with ledger.transaction() as work:
            for kind, entry in entries.items():
                work.append(kind, plan if kind == "plan" else entry.body, at=entry.at, cycle_id="again")
    with console(path, monkeypatch) as open_page:
        app = open_page("plan")
    assert not app.exception
    assert app.metric[1].value == "fallback"
    assert [metric.value for metric in app.metric[2:]] == ["–", "–"]
    assert "What was tried" in words(app)
    assert list(app.dataframe[0].value["reason"]) == ["time limit <b>", ""]


def test_plan__stale_prices__strip_says_so_and_the_page_works(stale: OpenPage) -> None:
    app = stale("plan")
    assert not app.exception
    assert "Prices are stale" in words(app)
    assert len(app.metric) == 4


def test_plan__what_if__other_prices_give_another_plan_with_its_worth(full: OpenPage) -> None:
    app = full("plan")
    assert "Nothing is sent." in words(app)
    app.number_input(key="whatif_shift").set_value(-80.0).run()
    assert not app.exception
    assert not app.error
    said = words(app)
    assert "What if, planned anew" in said
    assert "Planning anew brings" in said
    assert any("what if: battery, kW" in frame.value.columns for frame in app.dataframe)
    app.number_input(key="whatif_battery").set_value(10.0).run()
    assert "plan in force: it moves the battery by" in words(app).replace("\\", "")


def test_plan__what_if__empty_ledger_has_no_panel(empty: OpenPage) -> None:
    app = empty("plan")
    assert not app.exception
    assert "planned anew" not in words(app)


def test_plan_and_auction__worth_of_power_and_clearing_price__each_says_why_they_differ(full: OpenPage) -> None:
    power = next(metric for metric in full("plan").metric if metric.label == "Worth of site power")
    price = next(metric for metric in full("auction").metric if metric.label == "Clearing price")
    assert "clearing price on Auction" in power.help and "whole plan" in power.help
    assert "worth of site power on Plan" in price.help and "asked in this interval" in price.help


def test_rules__no_hash_price__no_number_for_a_break_even_that_is_not_known(
    full: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    full("plan")
    snap = views.snapshot()
    assert snap is not None
    bare = replace(snap, cycle={**snap.cycle, "prices": {**snap.cycle["prices"], "hash": None}})
    rules = [RuleStanding(name, 80.0, name == "hydro", math.nan, True, 0, 1, None) for name in ("air", "hydro", "gpu")]
    monkeypatch.setattr(views, "rule_standings", lambda _: rules)
    strikes = promise_parts.rule_table(bare)["strike, USD/MWh"].tolist()
    assert strikes == ["break-even, not known", "80.00 (set)", "80.00 (break-even)"]
