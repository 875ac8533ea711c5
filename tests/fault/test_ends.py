"""F47 to F49: a pilot that is told to end, and a ledger that is locked, full or read-only."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gridpilot import views
from gridpilot.config import Settings
from gridpilot.errors import LedgerError
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.monitor.latch import silence
from gridpilot.pilot import one_cycle
from tests.fault.rig import Gate, Site, now, process, until

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site.open(tmp_path, seed=3) as opened:
        yield opened


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Site]:
    """Five seconds an interval, each with other prices."""
    with Site.open(tmp_path, seed=3, speed=60.0) as opened:
        yield opened


@pytest.mark.parametrize("answers", [True, False])
def test_F47_pilot__told_to_end_in_a_dispatch__finishes_or_leaves_it_and_ends_well(site: Site, answers: bool) -> None:
    gate = site.on_put = Gate()
    with process(site.ledger, "pilot", **site.settings) as pilot:
        assert gate.reached.wait(30)
        began = time.monotonic()
        pilot.send_signal(signal.SIGTERM)
        if answers:
            gate.open.set()
        assert pilot.wait(10) == 0
        took_s = time.monotonic() - began
    gate.open.set()
    print(f"SIGTERM in a PUT that {'comes back' if answers else 'hangs'}: ended after {took_s:.2f} s")
    assert site.ledger.lease_holder("pilot", now()) is None
    assert site.ledger.verify().ok
    results = site.ledger.entries("result")
    assert [entry.body["status"] for entry in results] == (["applied"] if answers else [])
    assert len(site.ledger.entries("cycle")) == len(results)
    site.on_put = lambda: False
    with process(site.ledger, "pilot", **site.settings) as again:
        until(site.ledger.heartbeat if not answers else lambda: len(site.ledger.entries("cycle")) == 2, "a good cycle")
        again.terminate()
        assert again.wait(10) == 0
    check(site)


def test_F47_pilot__told_to_end_while_the_ledger_is_locked__ends_well(site: Site) -> None:
    with process(site.ledger, "pilot", **site.settings) as pilot:
        until(site.ledger.heartbeat, "a good cycle")
        with locked(site.ledger):
            time.sleep(6.0)  # the pilot has met the lock, at the latest when it renews its lease
            began = time.monotonic()
            pilot.terminate()
            assert pilot.wait(10) == 0
            print(f"SIGTERM with a locked ledger: ended after {time.monotonic() - began:.2f} s")


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    with closing(sqlite3.connect(ledger.name, isolation_level=None, timeout=10.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_F48_ledger__locked_for_two_seconds__waited_for(quick: Site) -> None:
    with process(quick.ledger, "pilot", **quick.settings) as pilot:
        until(quick.ledger.heartbeat, "a good cycle")
        with locked(quick.ledger):
            time.sleep(2.0)
        before = len(quick.ledger.entries("cycle"))
        until(lambda: len(quick.ledger.entries("cycle")) >= before + 2, "the next cycles")
        assert codes(quick) == []
        assert pilot.poll() is None


def test_F48_ledger__locked_for_long__nothing_sent_alarm_afterwards_and_the_pilot_goes_on(
    quick: Site, rounds: int
) -> None:
    lock_s = 30.0 if rounds > 5 else 14.0  # more than the five seconds that a write waits, and than two intervals
    with process(quick.ledger, "pilot", **quick.settings) as pilot:
        until(quick.ledger.heartbeat, "a good cycle")
        with locked(quick.ledger):
            beat, puts = quick.ledger.heartbeat(), len(quick.puts)
            time.sleep(lock_s)
            assert pilot.poll() is None
            assert (quick.ledger.heartbeat(), len(quick.puts)) == (beat, puts)
        until(lambda: codes(quick) == ["LEDGER"], "the alarm")
        said = quick.ledger.entries("alarm")[0].body["message"]
        assert "locked by another process" in said and "nothing was sent meanwhile" in said
        until(lambda: quick.ledger.heartbeat() != beat, "a good cycle")
        pilot.terminate()
        assert pilot.wait(10) == 0
    check(quick)


def test_F49_ledger__disk_full__nothing_sent_alarm_on_screen_and_the_pilot_goes_on(
    quick: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(quick.ledger, "pilot", **quick.settings) as pilot:
        until(quick.ledger.heartbeat, "a good cycle")
        resource.prlimit(pilot.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        until(lambda: silence(quick.ledger.heartbeat(), now()), "silence")
        assert len(quick.puts) <= len(quick.ledger.entries("intent")), "nothing is sent that is not written down"
        assert pilot.poll() is None
        monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{quick.ledger.name}")
        views.reset()
        assert [alarm.code for alarm in views.alarms() if alarm.severity == "alarm"] == ["SILENT"]
        views.reset()
        beat = quick.ledger.heartbeat()
        resource.prlimit(pilot.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: quick.ledger.heartbeat() != beat, "a good cycle")
        assert codes(quick) == ["LEDGER"]
        pilot.terminate()
        assert pilot.wait(10) == 0
    check(quick)


def check(site: Site) -> None:
    assert site.ledger.verify().ok
    intents = [entry.seq for entry in site.ledger.entries("intent")]
    assert sorted(entry.body["intent"] for entry in site.ledger.entries("result")) == sorted(intents)


def codes(site: Site) -> list[str]:
    return [entry.body["code"] for entry in site.ledger.entries("alarm")]


def test_F49_ledger__read_only_folder__no_cycle_and_nothing_sent() -> None:
    with tempfile.TemporaryDirectory() as name, MaraServer(seed=3, api_key="k") as server:
        folder = Path(name)
        settings = Settings(
            db_url=f"sqlite:///{folder / 'ledger.db'}",
            refit=False,
            source="mara",
            mara_url=server.url,
            mara_api_key="k",  # type: ignore[arg-type]
        )
        one_cycle(settings, now())
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        server.requests.clear()
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)  # root may write everywhere
            with pytest.raises(LedgerError, match=r"cannot be (written|opened)"):
                one_cycle(settings, now())
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert server.requests == []
