from __future__ import annotations

import math
from pathlib import Path

import pytest

from gridpilot import views
from gridpilot.ledger.store import Ledger
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
    assert list(table["timestamp"]) == snap.plan["timestamp"]
    assert "What was tried" not in words(app)


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
    assert "it does not fit the change" in words(app)


def test_plan__what_if__empty_ledger_has_no_panel(empty: OpenPage) -> None:
    app = empty("plan")
    assert not app.exception
    assert "planned anew" not in words(app)
