"""F44 to F46: a pilot that was away, that hangs, that is not alone; with the watchdog as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gridpilot.config import Settings
from gridpilot.errors import LeaseHeld
from gridpilot.monitor import settle
from gridpilot.monitor.health import AUTO, FAILSAFE, PilotState
from gridpilot.monitor.latch import LEAST_S, Latch
from gridpilot.pilot import Pilot
from gridpilot.values import iso
from tests.fault.rig import ROOT, Host, Site, environment, now, process, until

pytestmark = pytest.mark.slow

SPEED = 300.0  # an interval of the stand-in takes a second: the heartbeat is overdue after the least, 10 s


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site.open(tmp_path, seed=3) as opened:
        yield opened


def settings(site: Site) -> Settings:
    return Settings(refit=False, **site.settings)


def test_F44_pilot__two_hours_away__old_set_points_expired_all_off_then_a_fresh_plan(
    site: Site, tmp_path: Path
) -> None:
    with Host(tmp_path, site.ledger, **site.settings) as host:
        host.start("K4")  # the machines took it, and the pilot is gone before it knows
        host.wait()
    assert any(site.machines.values())
    site.server.tick(24)
    until_then = site.ledger.latest("intent")
    assert until_then is not None and until_then.body["desired"]["valid_until"] < iso(site.server.now())

    pilot = Pilot(settings(site), site.ledger)
    pilot.tick(now())
    pilot.close(now())
    entries = {kind: site.ledger.entries(kind, newest_first=False) for kind in ("intent", "result", "cycle")}
    assert [entry.body["status"] for entry in entries["result"]] == ["expired", "applied", "applied"]
    assert [entry.body["desired"]["origin"] for entry in entries["intent"]] == ["plan", "failsafe", "plan"]
    assert site.puts[-1].intent == entries["intent"][-1], "the old one is never sent again"
    assert len(entries["cycle"]) == 1


def test_F44_pilot__down_for_two_hours_with_set_points_in_force__all_off_before_the_fresh_plan(site: Site) -> None:
    first = Pilot(settings(site), site.ledger)
    first.tick(now())
    first.close(now())
    assert any(site.machines.values())
    site.server.tick(24)
    site.server.set_faults({"empty": True})  # there is no fresh plan yet

    again = Pilot(settings(site), site.ledger)
    again.tick(now())
    assert not any(site.machines.values())
    assert PilotState.load(site.ledger).control == FAILSAFE
    site.server.set_faults({})
    again.retry_at = 0.0
    again.tick(now())
    assert any(site.machines.values())
    assert PilotState.load(site.ledger).control == AUTO
    again.close(now())
    origins = [e.body["desired"]["origin"] for e in site.ledger.entries("intent", newest_first=False)]
    assert origins == ["plan", "failsafe", "plan"]


@pytest.mark.parametrize("point", ["H1", "H2"])
def test_F45_pilot__hangs_in_a_dispatch__off_within_three_intervals_and_the_sleeper_sends_nothing_on_waking(
    tmp_path: Path, point: str
) -> None:
    with (
        Site.open(tmp_path, seed=3, speed=SPEED) as site,
        Host(tmp_path, site.ledger, **site.settings) as host,
        process(site.ledger, "watchdog", "--grace", "0.1", **site.settings) as watchdog,
    ):
        # no good cycle yet: off from the start, and a good cycle lets it go
        until(lambda: (latch := Latch.load(site.ledger)) and latch.intent, "the watchdog at the start")
        sleeper = host.start()
        until(lambda: (latch := Latch.load(site.ledger)) and not latch.latched, "a good cycle")
        os.kill(sleeper, signal.SIGKILL)
        host.wait()
        sleeper = host.start(point)  # stops itself before INTENT, or between INTENT and PUT
        until(lambda: _state_of(sleeper) == "T", "the pilot to stop itself")
        beat = site.ledger.heartbeat()
        assert beat is not None and beat.every_s == pytest.approx(1.0)
        until(lambda: (latch := Latch.load(site.ledger)) and latch.latched and latch.intent, "the watchdog")
        assert (now() - beat.at).total_seconds() < LEAST_S + 3.0
        latch = Latch.load(site.ledger)
        assert latch is not None and latch.fenced.endswith(f":{sleeper}")
        assert not any(site.machines.values())
        assert PilotState.load(site.ledger).control == FAILSAFE
        assert site.ledger.heartbeat() == beat, "the heartbeat was not kicked"
        until(lambda: site.ledger.lease_holder("pilot", now()) is None, "the lease to be free for a new pilot")
        running, intents, puts = settle.load(site.ledger), len(site.ledger.entries("intent")), len(site.puts)
        assert running is not None and running.valid_until <= site.server.now()

        os.kill(sleeper, signal.SIGCONT)
        assert host.wait() == 1
        assert (len(site.ledger.entries("intent")), len(site.puts)) == (intents, puts)
        assert not any(site.machines.values())
        assert (latest := Latch.load(site.ledger)) is not None and latest.latched, "a sleeper lets nothing go"

        pilot = host.start()
        until(lambda: (latch := Latch.load(site.ledger)) and not latch.latched, "a good cycle of a new pilot")
        until(lambda: PilotState.load(site.ledger).control == AUTO, "control by the plan")
        assert any(site.machines.values())
        os.kill(pilot, signal.SIGTERM)
        assert host.wait() == 0
        watchdog.terminate()
        assert watchdog.wait(10) == 0
        assert site.ledger.verify().ok
        settled = [entry.body["intent"] for entry in site.ledger.entries("result")]
        assert sorted(settled) == sorted(entry.seq for entry in site.ledger.entries("intent"))
        codes = [e.body["message"] for e in site.ledger.entries("alarm") if e.body["code"] == "WATCHDOG"]
        assert len(codes) == 4, "two times off, two times over"


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_F45_watchdog__api_and_then_nothing_else_down__keeps_trying_until_the_machines_are_off(tmp_path: Path) -> None:
    with Site.open(tmp_path, seed=3, speed=SPEED) as site:
        pilot = Pilot(settings(site), site.ledger)
        pilot.tick(now())
        assert any(site.machines.values())
        site.server.set_faults({"status": 503})
        with process(site.ledger, "watchdog", "--grace", "0.1", **site.settings) as watchdog:
            until(lambda: (latch := Latch.load(site.ledger)) and latch.latched, "the watchdog")
            until(lambda: len([1 for verb, _ in site.server.requests if verb == "PUT"]) >= 3, "two tries")
            assert any(site.machines.values())
            site.server.set_faults({})
            until(lambda: (latch := Latch.load(site.ledger)) and latch.intent, "the machines off")
            assert not any(site.machines.values())
            assert watchdog.poll() is None


def test_F46_two_pilots__the_second_refuses_and_a_stale_token_sends_nothing(site: Site) -> None:
    first = Pilot(settings(site), site.ledger)
    first.tick(now())
    with process(site.ledger, "pilot", **site.settings) as second:
        _, said = second.communicate(timeout=30)
        assert second.returncode == 1 and "the pilot lease is held by" in said
    site.ledger.release_lease("pilot", first.token, now())
    other = Pilot(settings(site), site.ledger)
    site.next_interval(1.2)
    site.server.requests.clear()
    first.interval = None  # it believes that an interval begins
    with pytest.raises(LeaseHeld, match="stale"):
        first.tick(now() + timedelta(seconds=1))
    assert [call for call in site.server.requests if call[0] == "PUT"] == []
    other.tick(now())
    assert len([call for call in site.server.requests if call[0] == "PUT"]) == 1
    other.close(now())


def test_F45_pilot__own_watch__a_tick_that_never_ends_ends_the_process(site: Site) -> None:
    """Without a supervisor on the host: the process ends itself, and says where it hung."""
    code = "import time, gridpilot.pilot as p; p.HANG_S = 0.5; p.Pilot.tick = lambda *_: time.sleep(60); "
    code += "from gridpilot.config import load_settings; p.run_pilot(load_settings())"
    began = time.monotonic()
    hung = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(site.ledger, **site.settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert hung.returncode == 1 and time.monotonic() - began < 30
    assert "Timeout" in hung.stderr and "run_pilot" in hung.stderr
