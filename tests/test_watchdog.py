"""The watchdog's rules, on a clock that the test moves, against real ledgers and sites; its size and its imports."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridpilot.config import DATA, Settings, load_site
from gridpilot.domain import Dispatch
from gridpilot.errors import LeaseHeld
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.monitor import settle
from gridpilot.monitor.health import AUTO, ESTOP, FAILSAFE, PilotState
from gridpilot.monitor.latch import LEAST_S, SEEN_EVERY_S, Latch, seen, silence
from gridpilot.patrol import patrol
from gridpilot.pilot import Pilot, one_cycle
from gridpilot.watchdog import Watchdog, _off

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 60.0


@dataclass
class Rig:
    """A pilot, a watchdog and a clock for both."""

    ledger: Ledger
    settings: Settings
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.pilot = Pilot(self.settings, self.ledger)
        self.dog = Watchdog(self.settings, self.ledger, grace_s=GRACE_S, clock=lambda: self.seconds)

    @property
    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def wait(self, seconds: float) -> None:
        """Time goes by, the watchdog looking on."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.seconds = min(end, self.seconds + 5.0)
            self.dog.tick(self.wall)

    @property
    def latch(self) -> Latch | None:
        return Latch.load(self.ledger)

    @property
    def on(self) -> bool:
        result = self.ledger.latest("result")
        return result is not None and any(result.body["actual"].values())

    def origins(self) -> list[str]:
        return [e.body["desired"]["origin"] for e in self.ledger.entries("intent", newest_first=False)]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        yield Rig(ledger, Settings(db_url=url, refit=False, replay_speed=60.0))  # a minute an interval


def test_watchdog__pilot_beats__does_nothing(rig: Rig) -> None:
    for _ in range(4):
        rig.pilot.tick(rig.wall)
        rig.wait(60)
    assert rig.latch is None
    assert set(rig.origins()) == {"plan"}
    assert seen(rig.ledger, rig.wall) and not seen(rig.ledger, rig.wall + timedelta(seconds=3 * SEEN_EVERY_S))


def test_watchdog__heartbeat_three_intervals_old__off_once_latched_and_the_lease_free(rig: Rig) -> None:
    rig.pilot.tick(rig.wall)
    assert rig.on
    rig.wait(180)
    assert rig.latch is None
    rig.wait(1)
    latch = rig.latch
    assert latch is not None and latch.latched and latch.intent
    assert latch.fenced.endswith(f":{os.getpid()}")
    assert not rig.on
    assert rig.origins() == ["plan", "failsafe"]
    result = rig.ledger.latest("result")
    assert result is not None and (result.body["status"], set(result.body["actual"].values())) == ("applied", {0})
    assert PilotState.load(rig.ledger).control == FAILSAFE
    assert "180 s are allowed" in PilotState.load(rig.ledger).alarm
    assert [e.body["code"] for e in rig.ledger.entries("alarm")] == ["WATCHDOG"]
    assert rig.ledger.lease_holder("pilot", rig.wall) is None
    running = settle.load(rig.ledger)
    assert running is not None and running.valid_until <= PilotState.load(rig.ledger).present(rig.wall)
    count = rig.ledger.count()
    rig.wait(600)
    assert rig.ledger.count() == count, "once"


def test_watchdog__a_pilot_that_wakes_up__writes_nothing_and_lets_nothing_go(rig: Rig) -> None:
    rig.pilot.tick(rig.wall)
    beat = rig.ledger.heartbeat()
    rig.wait(181)
    rig.pilot.renewed = float("inf")  # even where it does not look at its lease first
    with pytest.raises(LeaseHeld, match="stale"):
        rig.pilot.tick(rig.wall)
    assert rig.ledger.heartbeat() == beat
    assert rig.latch is not None and rig.latch.latched
    assert rig.origins() == ["plan", "failsafe"]


def test_watchdog__a_new_pilots_good_cycle__lets_go(rig: Rig) -> None:
    rig.pilot.tick(rig.wall)
    rig.wait(181)
    new = Pilot(rig.settings, rig.ledger)
    new.tick(rig.wall)
    assert rig.latch is not None and not rig.latch.latched
    assert PilotState.load(rig.ledger).control == AUTO
    assert rig.on
    said = [e.body["severity"] for e in rig.ledger.entries("alarm", newest_first=False)]
    assert said == ["alarm", "info"]
    rig.wait(170)
    assert rig.latch is not None and not rig.latch.latched
    rig.wait(20)
    assert rig.latch is not None and rig.latch.latched, "and it is on guard again"
    new.end_fits()


def test_watchdog__set_points_after_the_latch_and_no_good_cycle__off_again(rig: Rig) -> None:
    rig.pilot.tick(rig.wall)
    rig.wait(181)
    one_cycle(rig.settings, rig.wall)  # by hand: it gives no heartbeat, nor does a pilot that hangs after its RESULT
    assert rig.on
    rig.wait(180)
    assert rig.on
    rig.wait(10)
    assert not rig.on
    assert rig.origins() == ["plan", "failsafe", "plan", "failsafe"]


def test_watchdog__no_good_cycle_ever__off_after_the_grace(rig: Rig) -> None:
    rig.wait(GRACE_S - 1)
    assert rig.latch is None
    rig.wait(2)
    assert rig.latch is not None and "no good cycle has ended in the 60 s" in rig.latch.reason
    assert rig.origins() == ["failsafe"]


def test_watchdog__starts_beside_a_pilot_after_a_long_time_off__waits_for_its_first_cycle(rig: Rig) -> None:
    rig.ledger.beat(rig.wall - timedelta(hours=2), 60.0)
    rig.wait(GRACE_S - 1)
    assert rig.latch is None
    rig.wait(2)
    assert rig.latch is not None and "7261 s ago" in rig.latch.reason


def test_watchdog__wall_clock_jumps__does_not_act(rig: Rig) -> None:
    rig.ledger.beat(rig.wall, 60.0)
    rig.wait(100)
    rig.start += timedelta(hours=3)
    rig.wait(70)
    assert rig.latch is None
    rig.start -= timedelta(hours=6)
    rig.wait(12)
    assert rig.latch is not None


def test_watchdog__short_interval__not_before_the_least(rig: Rig) -> None:
    rig.wait(0.5)
    rig.ledger.beat(rig.wall, 1.0)
    rig.seconds += GRACE_S
    rig.ledger.beat(rig.wall, 1.0)
    rig.wait(LEAST_S)
    assert rig.latch is None
    rig.wait(6)
    assert rig.latch is not None


def test_watchdog__emergency_stop__stays_one(rig: Rig) -> None:
    rig.pilot.tick(rig.wall)
    PilotState(ESTOP, "emergency stop").save(rig.ledger)
    rig.wait(181)
    assert PilotState.load(rig.ledger).control == ESTOP


def test_watchdog__mara_machines__reached_by_the_key_that_the_pilot_was_given(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger, MaraServer(seed=3) as server:
        rig = Rig(ledger, Settings(db_url=url, refit=False, source="mara", mara_url=server.url))
        rig.pilot.tick(rig.wall)
        assert rig.pilot.engine is not None
        assert any(rig.pilot.engine.gateway.read(rig.wall).machines.values())
        rig.wait(900)  # three intervals of five minutes
        assert rig.latch is None
        rig.wait(1)
        assert not any(rig.pilot.engine.gateway.read(rig.wall).machines.values())
        assert server.requests.count(("POST", "/sites")) == 1


def test_watchdog__mara_and_no_key__says_so_and_keeps_trying(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        rig = Rig(ledger, Settings(db_url=url, refit=False, source="mara", mara_url="http://127.0.0.1:9"))
        rig.pilot.close(rig.wall)
        rig.wait(GRACE_S + 120)
        assert rig.latch is not None and rig.latch.latched and not rig.latch.intent
        tries = [r.getMessage() for r in caplog.records if "no key of a MARA site is known" in r.getMessage()]
        assert 5 <= len(tries) <= 10, "ever more seldom"


def test_silence__only_when_overdue(rig: Rig) -> None:
    assert silence(None, rig.wall) == ""
    rig.ledger.beat(rig.wall, 60.0)
    assert silence(rig.ledger.heartbeat(), rig.wall + timedelta(seconds=180)) == ""
    assert "181 s ago" in silence(rig.ledger.heartbeat(), rig.wall + timedelta(seconds=181))


def test_off__is_checked_like_any_dispatch() -> None:
    for name in ("site-default.toml", "site-mara.toml"):
        off = _off(load_site(DATA / name), datetime.now(UTC))
        assert isinstance(off, Dispatch) and off.constraints_satisfied and off.violations == ()


def test_watchdog__process__imports_no_engine_and_stays_small() -> None:
    code = (
        "import time; began = time.perf_counter(); import json, sys, gridpilot.cli, gridpilot.watchdog; "
        "took = time.perf_counter() - began; rss = open('/proc/self/statm').read().split()[1]; "
        "print(json.dumps([took, int(rss) * 4 / 1024, sorted(sys.modules)]))"
    )
    seen_ = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    took_s, mb, modules = json.loads(seen_.stdout)
    engine = ("forecast", "plan", "auction", "risk", "cycle", "pilot", "backtest", "explain", "views", "console")
    found = [m for m in modules if m.startswith(tuple(f"gridpilot.{name}" for name in engine))]
    assert found == ["gridpilot.plan", "gridpilot.plan.safety"], "the independent check alone"
    heavy = {"scipy", "pandas", "cvxpy", "highspy", "numba", "sklearn", "streamlit", "prophet"}
    assert heavy & set(modules) == set()
    assert mb < 120
    print(f"watchdog: imports in {took_s:.2f} s, {mb:.0f} MB")


def test_patrol__what_nobody_expected_is_raised__looked_again_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    looks = []

    class Odd:
        def tick(self, wall: datetime) -> None:
            looks.append(wall)
            if len(looks) == 1:
                raise OverflowError("a number that no code was written for")
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        patrol(Odd, 0.01, logging.getLogger("odd"))
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
        signal.set_wakeup_fd(-1)
    assert len(looks) == 2
    assert "no code was written for; trying again" in caplog.text
