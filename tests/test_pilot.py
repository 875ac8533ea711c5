"""The pilot as a real process: one writer, commands at once, kill and restart, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot.config import Settings
from gridpilot.dispatch import override, stopfile
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.override import Command
from gridpilot.errors import LeaseHeld
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.market.watch import STATE
from gridpilot.monitor import settle
from gridpilot.monitor.health import AUTO, ESTOP, FAILSAFE, HOLD, OVERRIDE, PilotState
from gridpilot.pilot import Pilot, one_cycle
from tests.market.market_server import KEY, MarketServer

pytestmark = pytest.mark.slow  # real processes, killed and started again

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 30.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@contextmanager
def pilot_process(url: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    env = {
        **os.environ,
        "GRIDPILOT_DB_URL": url,
        "GRIDPILOT_REFIT": "0",
        **{f"GRIDPILOT_{k.upper()}": v for k, v in settings.items()},
    }
    command = [sys.executable, "-m", "gridpilot", "pilot"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S:g} s for {what}"
        time.sleep(0.05)


def cycles(ledger: Ledger) -> int:
    return len(ledger.entries("cycle", limit=1000))


def give(ledger: Ledger, command: Command) -> Command:
    return override.submit(ledger, command, local(command.author), wall=datetime.now(UTC))


def estop(now: datetime) -> Command:
    return Command(now, "anna", "smoke in hall 2", "estop", {}, now, 0)


def test_pilot__process__cycles_obeys_a_stop_and_ends_cleanly(url: str) -> None:
    with Ledger.open(url) as ledger, pilot_process(url, replay_speed="0") as process:
        until(lambda: PilotState.load(ledger).control == AUTO, "the first cycle")
        running = settle.load(ledger)
        assert running is not None and sum(running.machines.values()) > 0

        give(ledger, estop(datetime.now(UTC)))
        until(lambda: PilotState.load(ledger).control == ESTOP and cycles(ledger) >= 2, "the emergency stop")
        stopped = ledger.latest("result")
        assert stopped is not None
        assert stopped.body["status"] == "applied"
        assert set(stopped.body["actual"].values()) == {0}

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert ledger.lease_holder("pilot", datetime.now(UTC)) is None
        assert ledger.verify().ok


def test_pilot__second_process__refuses_with_one_line(url: str) -> None:
    with Ledger.open(url) as ledger, pilot_process(url):
        until(lambda: cycles(ledger) >= 1, "the first cycle")
        with pilot_process(url) as second:
            _out, said = second.communicate(timeout=WAIT_S)
        assert second.returncode == 1
        assert said.startswith("gridpilot: ") and said.count("\n") == 1 and "lease" in said
        with pytest.raises(LeaseHeld):
            one_cycle(Settings(db_url=url), datetime.now(UTC))
        assert one_cycle(Settings(db_url=url), datetime.now(UTC), dry_run=True).dispatch.status == "dry-run"


def test_one_cycle__stop_latched_in_its_file__becomes_the_ledgers_and_nothing_is_on(url: str) -> None:
    settings = Settings(db_url=SecretStr(url), refit=False)
    assert sum(one_cycle(settings, datetime.now(UTC)).dispatch.machines.values()) > 0
    stopfile.press(url, author="anna", reason="smoke", at=datetime.now(UTC))
    assert sum(one_cycle(settings, datetime.now(UTC)).dispatch.machines.values()) == 0
    assert stopfile.pressed(url) is None
    with Ledger.open(url) as ledger:
        assert override.stopped(ledger) is not None


def test_pilot__clock_stands_still__beats_on_after_a_good_cycle_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridpilot.pilot.STILL_BEAT_S", 0.0)
    with Ledger.open(url) as ledger:
        pilot = Pilot(Settings(db_url=url, refit=False, replay_speed=0.0), ledger)
        pilot.tick(datetime.now(UTC))
        first = ledger.heartbeat()
        pilot.tick(datetime.now(UTC))
        second = ledger.heartbeat()
        assert first is not None and second is not None
        assert second.number > first.number and cycles(ledger) == 1
        pilot.beaten = None  # as after a cycle that was not good
        pilot.tick(datetime.now(UTC))
        assert ledger.heartbeat() == second
        pilot.close(datetime.now(UTC))


def test_pilot__heartbeat__is_good_for_an_interval_of_the_wall_clock_at_every_speed(url: str) -> None:
    with Ledger.open(url) as ledger:
        pilot = Pilot(Settings(db_url=url, refit=False, replay_speed=60.0), ledger)

        def every_s() -> float:
            pilot.tick(datetime.now(UTC))
            beat = ledger.heartbeat()
            assert beat is not None
            return beat.every_s

        assert every_s() == pytest.approx(60.0)
        for speed, expected_s in ((0.0, 5.0), (1.0, 3600.0), (3600.0, 1.0)):
            now = datetime.now(UTC)
            give(ledger, Command(now, "anna", "replay clock", "clock", {"speed": speed}, now, 0))
            assert every_s() == pytest.approx(expected_s)
        pilot.close(datetime.now(UTC))


def test_pilot__replay_clock__steps_and_speed_follow_commands_and_survive_a_restart(url: str) -> None:
    def command(target: dict[str, float]) -> Command:
        now = datetime.now(UTC)
        return Command(now, "anna", "replay clock", "clock", target, now, 0)

    with Ledger.open(url) as ledger:
        pilot = Pilot(Settings(db_url=url, refit=False, replay_speed=0.0), ledger)
        pilot.tick(datetime.now(UTC))
        first = ledger.latest("cycle")
        give(ledger, command({"step_s": 3600}))
        pilot.tick(datetime.now(UTC))
        second = ledger.latest("cycle")
        assert first is not None and second is not None
        assert second.at == datetime(2024, 6, 24, 13, tzinfo=UTC) > first.at
        for _ in range(2):  # pressed twice at once: no interval is passed over
            give(ledger, command({"step_s": 3600}))
        pilot.tick(datetime.now(UTC))
        pilot.tick(datetime.now(UTC))
        newest, *before = ledger.entries("cycle", limit=3)
        assert [entry.at.hour for entry in (newest, *before)] == [15, 14, 13]
        give(ledger, command({"speed": 60.0}))
        pilot.tick(datetime.now(UTC))
        assert PilotState.load(ledger).speed == 60.0
        pilot.close(datetime.now(UTC))

        # a day later in the world the replay goes on where it was, not 60 days later
        later = datetime.now(UTC) + timedelta(days=1)
        again = Pilot(Settings(db_url=url, refit=False, replay_speed=0.0), ledger)
        again.tick(later)
        assert again.engine is not None
        assert again.engine.source.present(later) - newest.at < timedelta(minutes=30)
        again.close(later)


def test_F54_pilot__override__is_followed_until_it_expires(url: str) -> None:
    with Ledger.open(url) as ledger:
        pilot = Pilot(Settings(db_url=url, refit=False, replay_speed=0.0), ledger)
        wall = datetime.now(UTC)
        pilot.tick(wall)
        assert pilot.engine is not None
        now = pilot.engine.source.present(wall)
        target = {"hydro": 3, "gpu": 2}
        until_ = now + timedelta(minutes=30)
        given = give(ledger, Command(now, "anna", "fan test", "machines", target, until_, override.version(ledger)))
        pilot.tick(wall)
        running = settle.load(ledger)
        assert running is not None
        assert (running.machines["hydro"], running.machines["gpu"]) == (3, 2)
        assert PilotState.load(ledger).control == OVERRIDE

        step = Command(datetime.now(UTC), "anna", "replay clock", "clock", {"step_s": 3600}, wall, 0)
        give(ledger, step)
        pilot.tick(datetime.now(UTC))
        pilot.tick(datetime.now(UTC))
        running = settle.load(ledger)
        assert running is not None and running.machines["hydro"] > 3
        assert PilotState.load(ledger).control == AUTO
        rows = {row["id"]: row["status"] for row in ledger.commands()}
        assert rows[given.id] == "expired"
        pilot.close(datetime.now(UTC))


def test_F08_pilot__api_down_at_the_start__fail_safe_and_recovers_by_itself(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gridpilot.pilot.RETRY_S", 0.0)
    with Ledger.open(url) as ledger:
        server = MaraServer(seed=5)
        with server:
            address = server.url
            server.set_faults({"status": 404, "status_times": 2})
            pilot = Pilot(Settings(db_url=url, refit=False, source="mara", mara_url=address), ledger)
            pilot.tick(datetime.now(UTC))
            state = PilotState.load(ledger)
            assert state.control == FAILSAFE
            assert "404" in state.alarm and state.advice
            until(lambda: pilot.tick(datetime.now(UTC)) is None and cycles(ledger) == 1, "a good cycle")
            assert PilotState.load(ledger).control == AUTO
            assert PilotState.load(ledger).alarm == ""
            pilot.close(datetime.now(UTC))


def test_F08_pilot__every_live_source_down_at_the_start__fail_safe_and_recovers_by_itself(url: str) -> None:
    with MarketServer() as texas, MarketServer() as europe, Ledger.open(url) as ledger:
        settings = Settings(
            db_url=url,
            refit=False,
            source="gridstatus:ercot/HB_NORTH, energy-charts:NL",
            gridstatus_url=f"{texas.url}/v1",
            gridstatus_api_key=SecretStr(KEY),
            energy_charts_url=europe.url,
        )
        texas.faults.status, europe.faults.html = 503, True
        pilot = Pilot(settings, ledger)
        pilot.tick(datetime.now(UTC))
        state = PilotState.load(ledger)
        assert state.control == FAILSAFE
        assert "no price source is usable" in state.alarm
        assert [row["role"] for row in ledger.get_state(STATE).value] == ["refused", "refused"]
        assert cycles(ledger) == 0
        europe.faults.html = False
        pilot.retry_at = 0.0
        pilot.tick(datetime.now(UTC))
        assert PilotState.load(ledger).control == AUTO
        assert ledger.latest("cycle").body["source"] == "energy-charts:NL"
        texas.faults.status = 0  # the first is wanted again after two good looks
        for hours in (1, 2):
            pilot.tick(datetime.now(UTC) + timedelta(hours=hours))
        assert ledger.latest("cycle").body["source"] == "gridstatus:ercot/HB_NORTH"
        assert [row["role"] for row in ledger.get_state(STATE).value] == ["in use", "standby"]
        pilot.close(datetime.now(UTC))


def test_F09_pilot__api_goes_away__holds_while_the_set_points_are_valid_then_everything_off(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gridpilot.pilot.RETRY_S", 0.0)
    with Ledger.open(url) as ledger, MaraServer(seed=5) as server:
        wall = datetime.now(UTC)
        pilot = Pilot(Settings(db_url=url, refit=False, source="mara", mara_url=server.url), ledger)
        pilot.tick(wall)
        good = settle.load(ledger)
        assert good is not None and sum(good.machines.values()) > 0
        assert pilot.engine is not None
        beat = ledger.last_beat()

        server.set_faults({"status": 503})
        pilot.interval = None  # an interval begins
        pilot.tick(good.valid_until - timedelta(seconds=1))
        assert PilotState.load(ledger).control == HOLD
        server.set_faults({})
        assert pilot.engine.gateway.read(wall).machines == good.machines

        server.set_faults({"empty": True})  # machines answer again, prices are gone for too long
        pilot.tick(wall + timedelta(minutes=20))
        assert PilotState.load(ledger).control == FAILSAFE
        assert sum(pilot.engine.gateway.read(wall).machines.values()) == 0
        assert ledger.last_beat() == beat, "the heartbeat is for good cycles"
        assert {entry.body["code"] for entry in ledger.entries("alarm")} == {"NO_DECISION", "UNREADABLE"}
        pilot.close(datetime.now(UTC))
