"""Looking back: at every moment of a recorded day, no view tells anything that came later."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridpilot import operate, views
from gridpilot.config import Settings
from gridpilot.console import curtailment_panel
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch import curtailment, override
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.override import Command
from gridpilot.errors import LedgerError
from gridpilot.ledger.prune import prune
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import decision, market, revenue
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.monitor.past import Past, until
from gridpilot.values import iso, to_jsonable, to_utc
from gridpilot.views import Look, risk
from gridpilot.views.whereabouts import shown_from

pytestmark = pytest.mark.slow
CYCLES = 7
COPIED = (2, 4)  # after these decisions, and again at the end of their hour
PART = timedelta(seconds=15.4)  # a decision is rarely made at a whole second


def copy(path: Path, end: datetime) -> None:
    """The ledger as it is now, under the name of a moment."""
    with sqlite3.connect(path.parent / f"{end:%H%M%S%f}.copy") as target, sqlite3.connect(path) as whole:
        whole.backup(target)
    shutil.copy(path.with_name(f"{path.name}.head"), path.parent / f"{end:%H%M%S%f}.copy.head")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hourly decisions, each followed by readings, with a curtailment and a command between them."""
    path = tmp_path_factory.mktemp("past") / "ledger.db"
    wall = datetime.now(UTC)
    with Ledger.open(f"sqlite:///{path}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for hour in range(CYCLES):
            clock = source.clock.stepped(wall).with_speed(wall, 0.0)
            source.clock = dataclasses.replace(clock, replay=clock.replay + PART)
            run_cycle(engine, wall)
            now = source.present(wall)
            if hour in COPIED:
                copy(path, shown_from(now))
            if hour == 3:
                start = now + timedelta(minutes=5)
                event = Curtailment(
                    "c1", "operator", "anna", "test", start, start + timedelta(minutes=30), percent=20.0
                )
                curtailment.submit(ledger, event, now)
            for minutes in (10, 40):
                engine.control.follow(now + timedelta(minutes=minutes), token=None)
            if hour in COPIED:
                copy(path, now + timedelta(minutes=59))
        PilotState(AUTO, "", clock=source.clock).save(ledger)
        ledger.acquire_lease("pilot", "test:1", 3600.0, wall)
    return path


@pytest.fixture(scope="module")
def copies(day: Path) -> dict[datetime, Path]:
    """Moment -> the ledger as it was then."""
    whole = datetime(2024, 6, 24, tzinfo=UTC)
    found = {}
    for path in sorted(day.parent.glob("*.copy")):
        clock = datetime.strptime(path.stem, "%H%M%S%f")
        found[datetime.combine(whole, clock.time(), UTC)] = path
    return found


@pytest.fixture
def at_ledger(day: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{day}")
    views.reset()
    yield views.ledger()
    views.look_by(Look)
    views.ledger().close()
    views.reset()


def look(at: datetime | None) -> None:
    views.look_by(lambda: Look("", at))


def moments(ledger: Ledger) -> list[datetime]:
    """Of each decision, a little before the next one, and between."""
    decided = [entry.at for entry in reversed(ledger.entries("cycle"))]
    out = []
    for at in decided:
        out += [shown_from(at), at + timedelta(minutes=25), at + timedelta(minutes=59)]
    return out


# Every view that a page of the past asks: name -> what it gives.
VIEWS: dict[str, Any] = {
    "snapshot": views.snapshot,
    "track": views.track,
    "now_sentence": views.now_sentence,
    "spread_sentences": views.spread_sentences,
    "prices": views.prices,
    "price_reference": views.price_reference,
    "pnl_today": views.pnl_today,
    "live_scores": views.live_scores,
    "forecast_of": lambda: views.forecast_of(2.0),
    "auction_history": views.auction_history,
    "facts": lambda: dict(views.facts()),
    "ask": lambda: views.ask("What is the site doing, and why?"),
    "machine_log": views.machine_log,
    "command_log": views.command_log,
    "shown": views.shown,
    "sources": views.sources,
    "data_quality": views.data_quality,
    "curtailments": lambda: curtailment.events(views.records()),
    "risk_track": lambda: risk.track(_snap()),
    "risk_models": lambda: risk.models(_snap()),
    "risk_holdings": lambda: risk.holdings(_snap()),
    "head": lambda: views.records().head(),
}
NOT_AS_SHOWN = {"now_sentence", "facts", "ask", "sources", "command_log", "risk_track"}  # they tell ages by now
AS_SHOWN = set(VIEWS) - NOT_AS_SHOWN


def _snap() -> views.Snapshot:
    found = views.snapshot()
    assert found is not None
    return found


def plain(value: Any) -> str:
    """Any answer as text, to compare two of them."""
    return json.dumps(to_jsonable(value), sort_keys=True, default=str)


@pytest.mark.parametrize("name", VIEWS)
def test_view__looking_back__is_what_it_was_when_the_ledger_ended_there(
    at_ledger: Ledger, copies: dict[datetime, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The oracle: copies of the ledger that were made then, with nothing later in them."""
    answers = set()
    for end, path in copies.items():
        look(end)
        seen = plain(VIEWS[name]())
        answers.add(seen)
        with Ledger.open(f"sqlite:///{path}", read_only=True) as then, monkeypatch.context() as patch:
            patch.setattr("gridpilot.views.base.ledger", lambda store=then: store)
            patch.setattr("gridpilot.views.base.reader", lambda store=then: store)
            look(end)
            assert seen == plain(VIEWS[name]()), f"{name} at {end}"
            if name in AS_SHOWN:
                look(None)
                assert seen == plain(VIEWS[name]()), f"{name} at {end} is not what was shown then"
    assert len(answers) > 1 or name in ("command_log", "risk_track"), "a view that never changes tells nothing here"


def test_view__looking_back__no_time_that_had_been_is_later(at_ledger: Ledger) -> None:
    for end in moments(at_ledger):
        look(end)
        snap, prices, track = views.snapshot(), views.prices(), views.track()
        assert snap is not None and prices is not None and track is not None
        assert snap.at <= end < snap.at + timedelta(hours=1)
        assert to_utc(prices.timestamp[-1]) <= end
        assert to_utc(track.timestamp[-1]) <= end
        money = views.pnl_today()
        assert money is None or to_utc(money.timestamp[-1]) <= end
        log, shown = views.machine_log(), views.shown()
        assert log and all(row.at <= end for row in log)
        assert shown is None or shown.at <= end
        assert views.facts().at is not None and views.facts().at <= end
        assert np.isfinite(prices.energy).all()


def test_past__every_decision__is_whole_at_its_first_second(at_ledger: Ledger) -> None:
    for entry in at_ledger.entries("cycle"):
        past = Past(at_ledger, shown_from(entry.at))
        newest, result = past.latest("cycle"), past.latest("result")
        assert newest is not None and newest.cycle_id == entry.cycle_id
        assert result is not None and result.cycle_id == entry.cycle_id, "what became of it belongs to it"


def test_past__writing__is_refused(at_ledger: Ledger) -> None:
    past = until(at_ledger, moments(at_ledger)[0])
    with pytest.raises(LedgerError, match="reading only"):
        past.put_state("site", {})
    assert until(at_ledger, None) is at_ledger
    with pytest.raises(LedgerError, match="zone"):
        until(at_ledger, datetime(2024, 6, 24, 12))


def test_past__what_came_before_was_pruned__the_site_is_the_one_that_prune_kept(tmp_path: Path) -> None:
    wall = datetime.now(UTC)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        engine = open_engine(Settings(source="replay", refit=False), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for _ in range(7):
            clock = source.clock.with_speed(wall, 0.0)
            source.clock = dataclasses.replace(clock, replay=clock.replay + timedelta(hours=12))
            run_cycle(engine, wall)
        newest = decision.load(ledger)
        prune(ledger, 2, wall, tmp_path)
        kept = [entry.at for entry in ledger.entries("cycle")]
        assert newest is not None and 3 <= len(kept) < 7 and ledger.latest("site") is None
        for at in kept:
            seen = decision.load(until(ledger, shown_from(at)))
            assert seen is not None and seen.at == at and seen.site == newest.site


def test_past__state__is_what_entries_tell(at_ledger: Ledger) -> None:
    first, last = moments(at_ledger)[0], moments(at_ledger)[-1]
    assert Past(at_ledger, first).get_state("site").value == at_ledger.get_state("site").value
    assert Past(at_ledger, first).get_state("pilot").value is None, "the state has no history: not known"
    assert curtailment.events(Past(at_ledger, first)) == []
    assert [row.status for row in curtailment.events(Past(at_ledger, last))] == ["ended"]
    assert market.since(Past(at_ledger, first)) is None


def test_day_before__many_days_closed_since__is_the_newest_of_then(tmp_path: Path) -> None:
    """However far back: it is not looked for among the newest days of the whole record."""
    at = datetime(2024, 3, 1, tzinfo=UTC)
    with Ledger.open(f"sqlite:///{tmp_path / 'days.db'}") as ledger:
        for i in range(60):
            end = at + timedelta(days=i)
            day = revenue.Day(f"{end - timedelta(hours=1):%Y-%m-%d}", end - timedelta(days=1), end, 24.0, 1.0, 0.0)
            ledger.append(revenue.ENTRY, to_jsonable(day), at=end)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gridpilot.views.base.ledger", lambda: ledger)
            for moment, day_ in ((at + timedelta(days=2, hours=5), "2024-03-02"), (at - timedelta(days=1), None)):
                with views.looking(Look("", moment)):
                    found = views.day_before()
                assert (found and found.day) == day_


def test_marks__curtailment_asked_for_later__is_not_in_the_picture(at_ledger: Ledger) -> None:
    first, last = moments(at_ledger)[0], moments(at_ledger)[-1]
    look(first)
    assert curtailment_panel.begun() == []
    look(last)
    assert len(curtailment_panel.begun()) == 1


def test_past__commands__as_they_stood_then(day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop is written with the wall clock's time: what counts is its place before the next decision."""
    for file in day.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / day.name}")
    views.reset()
    operate.emergency_stop(operate.local("anna"))
    ledger = views.ledger()
    ends = moments(ledger)
    assert [row["kind"] for row in ledger.commands()] == ["estop"]
    assert Past(ledger, ends[0]).commands() == []
    assert [row["kind"] for row in Past(ledger, ends[-1]).commands()] == ["estop"]
    ledger.close()
    views.reset()


def test_past__commands__many_came_later__none_of_those_is_read(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in day.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    with Ledger.open(f"sqlite:///{tmp_path / day.name}") as ledger:
        first, *_, last = moments(ledger)
        clock, who = PilotState.load(ledger).clock, local("anna")
        assert clock is not None

        def command(reason: str, at: datetime) -> None:
            version = override.version(ledger)
            given = Command(at, who.name, reason, "machines", {"hydro": 1}, at + timedelta(hours=1), version)
            override.submit(ledger, given, who, wall=at)

        command("before", last)
        engine = open_engine(Settings(source="replay"), ledger)
        assert isinstance(engine.source, ReplaySource)
        wall = datetime.now(UTC)
        engine.source.clock = clock.stepped(wall).with_speed(wall, 0.0)
        run_cycle(engine, wall)
        for n in range(10):
            command(f"later {n}", engine.source.present(wall))
        assert len(ledger.entries("command")) > 10
        monkeypatch.setattr("gridpilot.monitor.past.MOST", 5)
        assert [row["reason"] for row in Past(ledger, last).commands()] == ["before"]
        assert Past(ledger, first).commands() == []
        with ledger.reading() as connection:
            asked = "SELECT * FROM entries WHERE kind = 'command' AND seq < 9 ORDER BY seq DESC LIMIT 5"
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}").all()
        assert "USING INDEX entries_kind (kind=? AND seq<?)" in str(plan)


def test_market__changed_later__is_the_one_of_then(at_ledger: Ledger, tmp_path: Path) -> None:
    at = datetime(2024, 6, 24, 12, tzinfo=UTC)
    with Ledger.open(f"sqlite:///{tmp_path / 'm.db'}") as ledger:
        for hour, source in enumerate(("a", "b", "b", "a")):
            now = at + timedelta(hours=hour)
            ledger.put_state(market.KEY, market.at(ledger, source, now).to_json())
            ledger.append("cycle", {"source": source}, at=now, cycle_id=str(hour))
        found = [market.load(Past(ledger, at + timedelta(hours=hour))) for hour in range(4)]
    assert [m and m.source for m in found] == ["a", "b", "b", "a"]
    assert [m and m.since for m in found] == [
        None, at + timedelta(hours=1), at + timedelta(hours=1), at + timedelta(hours=3)
    ]  # fmt: skip


def test_ask__of_the_past_and_the_market_changed_later__answers_as_then(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the whole ledger nothing before the change counts; at the moment looked at it had not come."""
    for file in day.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / day.name}")
    views.reset()
    ledger = views.own_ledger()
    ends = moments(ledger)
    look(ends[9])
    try:
        question = "What happened in the last 2 hours?"
        before = views.ask(question).text
        ledger.put_state(market.KEY, {"source": "replay", "since": iso(ends[-1])})
        assert views.ask(question).text == before
        assert "No decision" not in before
    finally:
        views.look_by(Look)
        ledger.close()
        views.reset()
