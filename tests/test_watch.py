"""The watch on real ledgers: what it raises, for how long it waits, and that it is one process at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot import views
from gridpilot.config import Settings
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch import reconcile
from gridpilot.domain import DataFlag
from gridpilot.errors import GridPilotError
from gridpilot.forecast.models import MODELS, Forecaster
from gridpilot.forecast.refit import Refitter
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import alarms, conditions
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.watch import Watch, check
from tests.ledger.conftest import UNLOCK
from tests.monitor.test_courier import SECRET, taker

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cycles of the replay, without the site's jobs, and its clock standing at the second."""
    folder = tmp_path_factory.mktemp("recorded")
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        engine.site = replace(engine.site, jobs=())
        source = engine.source
        assert isinstance(source, ReplaySource)
        for _ in range(2):
            source.clock = source.clock.stepped(T0).with_speed(T0, 0.0)
            run_cycle(engine, T0)
        engine.control.follow(source.present(T0) + timedelta(seconds=15), token=None)
        PilotState(AUTO, "", clock=source.clock).save(ledger)
    return folder


@pytest.fixture
def decided(recorded: Path, tmp_path: Path) -> Iterator[Ledger]:
    for file in recorded.iterdir():
        shutil.copy(file, tmp_path / file.name)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def next_hour(ledger: Ledger, refitter: Refitter | None = None) -> tuple[DataFlag, ...]:
    """The next decision of the replay; its flags."""
    engine = open_engine(Settings(source="replay"), ledger)
    engine.site, engine.refitter = replace(engine.site, jobs=()), refitter
    source, state = engine.source, PilotState.load(ledger)
    assert isinstance(source, ReplaySource) and state.clock is not None
    source.clock = state.clock.stepped(T0).with_speed(T0, 0.0)
    flags = run_cycle(engine, T0).flags
    engine.control.follow(source.present(T0) + timedelta(seconds=15), token=None)
    replace(state, clock=source.clock).save(ledger)
    return flags


def looked(watch: Watch, *seconds: float) -> list[tuple[str, str]]:
    return [(c.alarm.code, c.event) for s in seconds for c in watch.tick(at(s)) if c.event]


def idle(watch: Watch) -> None:
    """Wait for what runs beside the looks."""
    for future in list(watch._running.values()):
        future.result(20)


def reading(ledger: Ledger, **changed: Any) -> None:
    entry = ledger.latest("reading")
    assert entry is not None
    ledger.append("reading", {**entry.body, **changed}, at=entry.at)


def test_tick__all_well__nothing_and_it_is_seen(decided: Ledger) -> None:
    with pytest.raises(GridPilotError, match="no watch has looked"):
        check(Settings(db_url=f"sqlite:///{decided.name}"))
    watch = Watch(Settings(), decided)
    decided.beat(T0, 3600.0)
    assert looked(watch, 0, 2, 4) == []
    assert conditions.watch_seen(decided, at(5)) and not conditions.watch_seen(decided, at(60))
    idle(watch)
    assert decided.get_state(conditions.VERIFIED).value["ok"]


@pytest.mark.parametrize(
    ("changed", "back", "code"),
    [
        ({"soc_frac": 0.95}, {"soc_frac": 0.90}, "SOC_OUTSIDE"),
        ({"hottest_c": 73.5}, {"hottest_c": 70.0}, "WARM"),
        ({"grid_kw": 1050.0}, {"grid_kw": 1000.0}, "OVER_LIMIT"),
    ],
)
def test_tick__reading_beyond_a_limit__raised_at_once_and_ends_by_a_margin(
    decided: Ledger, changed: dict[str, float], back: dict[str, float], code: str
) -> None:
    watch = Watch(Settings(), decided)
    reading(decided, **changed)
    assert looked(watch, 0) == [(code, "raised")]
    for name, value in changed.items():
        reading(decided, **{name: (value + back[name]) / 2})  # within the margin
    assert looked(watch, 10, 50) == []
    reading(decided, **back)
    assert looked(watch, 60, 60 + alarms.CLEAR_S) == [(code, "returned")]


def test_tick__machines_told_to_run_do_not__raised_after_half_a_minute_with_which(decided: Ledger) -> None:
    watch = Watch(Settings(), decided)
    reading(decided, told={"air": 100, "gpu": 10}, machines={"air": 60, "gpu": 10})
    assert looked(watch, 0, 28) == []
    assert looked(watch, 30) == [("NOT_FOLLOWED", "raised")]
    (alarm,) = alarms.listed(decided)
    assert "of 110 machines that were told to run 70 do: 40 air missing" in alarm.message


def test_tick__heartbeat_overdue_hold_and_latch__each_with_what_to_do(decided: Ledger) -> None:
    watch = Watch(Settings(), decided)
    decided.beat(T0, 60.0)
    reconcile.hold(decided, "somebody else changed the machines", T0)
    assert looked(watch, 0) == [("HOLD", "raised")]
    assert looked(watch, 200, 203) == [("SILENT", "raised")]
    for alarm in alarms.listed(decided):
        assert alarm.advice == conditions.ADVICE[alarm.code]


def test_tick__prices_old_by_the_sources_clock__warning_then_alarm(decided: Ledger) -> None:
    watch = Watch(Settings(), decided)
    state = PilotState.load(decided)
    assert state.clock is not None

    def later(hours: float) -> None:
        assert state.clock is not None
        replace(state, clock=replace(state.clock, replay=state.clock.replay + timedelta(hours=hours))).save(decided)

    later(2.1)
    assert looked(watch, 0, 6) == [("STALE", "raised")]
    later(3.1)
    assert looked(watch, 8) == [("STALE", "worse")]


def test_tick__something_that_happened_once__raised_and_stays_until_seen(decided: Ledger) -> None:
    watch = Watch(Settings(), decided)
    assert looked(watch, 0) == []
    body = {"code": "MISMATCH", "severity": "alarm", "stage": "dispatch", "message": "dispatch mismatch: 3 air"}
    decided.append("alarm", body, at=T0)
    assert looked(watch, 2, 4, 6 + alarms.CLEAR_S) == [("MISMATCH", "raised"), ("MISMATCH", "returned")]
    (alarm,) = alarms.listed(decided)
    assert alarm.state(at(60)) == alarms.RETURNED
    again = Watch(Settings(), decided)
    watch.close()
    assert looked(again, 70) == [], "a watch that starts anew tells nothing twice"


def test_tick__a_model_less__no_alarm_but_one_where_the_ensemble_cannot_be_fitted(
    decided: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Forecaster:
        raise RuntimeError("it fails")

    watch = Watch(Settings(), decided)
    with monkeypatch.context() as patch:
        patch.setitem(MODELS, "broken", broken)
        said = next_hour(decided)
    assert [flag.severity for flag in said if flag.code == "MODEL_SKIPPED"] == ["info", "info"]
    assert looked(watch, 0, 2) == []
    refitter = Refitter()
    refitter.trouble = "BrokenProcessPool: the worker was killed"
    next_hour(decided, refitter)
    assert looked(watch, 4) == [("MODEL_SKIPPED", "raised")]
    (alarm,) = alarms.listed(decided)
    assert "the worker was killed" in alarm.message and "memory" in alarm.advice
    next_hour(decided)
    assert looked(watch, 6, 6 + alarms.CLEAR_S) == [("MODEL_SKIPPED", "returned")]
    assert alarms.listed(decided) == [], "a warning that nobody has seen goes by itself"


def test_tick__slow_cycles__names_the_stage_that_takes_the_time(decided: Ledger) -> None:
    entry = decided.latest("cycle")
    assert entry is not None
    slow = {**entry.body, "timings_ms": {**entry.body["timings_ms"], "plan": 2900.0, "total": 3100.0}}
    for _ in range(conditions.SLOW_OVER):
        decided.append("cycle", slow, at=entry.at, cycle_id=entry.cycle_id)
    assert looked(Watch(Settings(), decided), 0) == [("SLOW", "raised")]
    assert alarms.listed(decided)[0].message == "a cycle takes 3.1 s, 2.9 s of it in plan"


def test_F51_tick__entry_edited__ledger_alarm_with_its_number(decided: Ledger) -> None:
    with decided.transaction() as work:
        for statement in UNLOCK["sqlite"]:
            work.connection.exec_driver_sql(statement)
        work.connection.exec_driver_sql("UPDATE entries SET body = '{}' WHERE seq = 3")
    watch = Watch(Settings(), decided)
    watch.tick(T0)
    idle(watch)
    assert looked(watch, 2) == [("LEDGER_BROKEN", "raised")]
    assert "3" in alarms.listed(decided)[0].message


def test_tick__another_watch_at_work__waits_and_takes_over(decided: Ledger) -> None:
    first, second = Watch(Settings(), decided), Watch(Settings(), decided)
    second._owner = "watch@elsewhere:1"
    reconcile.hold(decided, "changed", T0)
    assert looked(first, 0) == [("HOLD", "raised")]
    assert looked(second, 1) == []
    decided.put_state(reconcile.HOLD_KEY, None)
    assert looked(second, 30, 62) == [("HOLD", "returned")]
    assert looked(first, 63) == []


def test_tick__dead_receiver__looks_go_on_and_it_is_an_alarm_of_its_own(decided: Ledger) -> None:
    with taker() as server:
        server.status = 0  # takes the call and never answers
        watch = Watch(Settings(alarm_webhook=server.url, alarm_webhook_secret=SECRET), decided)
        reconcile.hold(decided, "changed", T0)
        assert looked(watch, 0) == [("HOLD", "raised")]
        looked(watch, 2, 4, 6)
        assert not watch._running["deliver"].done(), "the first try still waits for its answer"
        server.free.set()
        server.status = 500
        told = []
        for seconds in (10, 60, 300, 302):
            idle(watch)
            told += looked(watch, seconds)
        assert ("WEBHOOK", "raised") in told


def test_advice__every_code_that_the_engine_flags__says_what_to_do() -> None:
    import re

    root = Path(__file__).resolve().parents[1] / "gridpilot"
    text = "\n".join(path.read_text() for path in root.rglob("*.py"))
    codes = set(re.findall(r'(?:DataFlag|_flag|_said|_alarm)\(\s*(?:ledger, )?"([A-Z_]+)"[^)]*?"(?:warn|alarm)"', text))
    codes |= set(re.findall(r'"code": "([A-Z_]+)", "severity": "(?:warn|alarm)"', text))
    assert {"SUSPECT", "HOT", "JOB_LATE", "UNREADABLE"} <= codes
    left_out = {"NO_DECISION", "JOBS_LEFT_OUT", "TERMS_LEFT_OUT", "DAYS_LEFT_OUT"}  # shown as PILOT; of a backtest
    assert sorted(codes - set(conditions.ADVICE) - left_out) == []


@pytest.mark.slow
def test_process__until_sigterm__keeps_the_list_and_ends_well(decided: Ledger, tmp_path: Path) -> None:
    reconcile.hold(decided, "changed", T0)
    env = {"GRIDPILOT_DB_URL": f"sqlite:///{decided.name}", "PATH": "/usr/bin", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "gridpilot", "watch"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: "HOLD" in [alarm.code for alarm in alarms.listed(decided)])
        check(Settings(db_url=env["GRIDPILOT_DB_URL"]))
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
    assert decided.lease_holder("watch", datetime.now(UTC)) is None


@pytest.mark.slow
def test_process__receiver_that_cannot_be__one_line_and_exit_code_2(decided: Ledger, tmp_path: Path) -> None:
    env = {
        "GRIDPILOT_DB_URL": f"sqlite:///{decided.name}",
        "GRIDPILOT_ALARM_WEBHOOK": "http://hooks.example/secret",
        "GRIDPILOT_ALARM_WEBHOOK_SECRET": "s",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "gridpilot", "watch"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "GRIDPILOT_ALARM_WEBHOOK is no https address" in done.stderr
    assert "hooks.example" not in done.stderr


def test_views__without_a_watch__what_is_wrong_now_is_shown_all_the_same(
    decided: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile.hold(decided, "changed", T0)
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{decided.name}")
    views.reset()
    try:
        assert [alarm.code for alarm in views.alarms()] == ["HOLD"]
        assert views.status().alarms == 1
        watch = Watch(Settings(), decided)
        watch.tick(datetime.now(UTC))
        (alarm,) = [alarm for alarm in views.alarms() if alarm.code == "HOLD"]
        assert alarm.id > 0
        alarms.acknowledge(decided, alarm.id, by="anna", wall=datetime.now(UTC), present=T0)
        assert [alarm.code for alarm in views.unseen()] == [a.code for a in views.alarms() if a.code != "HOLD"]
    finally:
        views.ledger().close()
        views.reset()


def until(ready: Callable[[], bool]) -> None:
    for _ in range(200):
        if ready():
            return
        threading.Event().wait(0.1)
    pytest.fail("it did not come within 20 s")
