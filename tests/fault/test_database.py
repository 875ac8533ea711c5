"""F48, F49 where the ledger is a PostgreSQL server: it goes down under a pilot and a watchdog, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gridpilot.monitor.latch import LEAST_S, Latch
from tests.fault.rig import Site, process, until
from tests.ledger.postgres import MISSING, programs, serve

pytestmark = [pytest.mark.slow, pytest.mark.skipif(programs() is None, reason=MISSING)]


def test_F48_server__goes_down__nothing_sent_both_live_through_it_and_go_on(tmp_path: Path) -> None:
    with serve(durable=True) as server:
        url = server.url("postgres", head_file=str(tmp_path / "head"))
        with (
            Site.open(tmp_path, url, seed=3, speed=60.0) as site,
            process(site.ledger, "pilot", **site.settings) as pilot,
            process(site.ledger, "watchdog", **site.settings) as watchdog,
        ):
            until(site.ledger.heartbeat, "a good cycle")
            beat = site.ledger.heartbeat()
            server.stop("immediate")
            puts = len(site.puts)
            time.sleep(LEAST_S)  # two intervals
            assert (pilot.poll(), watchdog.poll(), len(site.puts)) == (None, None, puts)
            server.start()
            until(lambda: site.ledger.heartbeat() != beat, "a good cycle")
            assert "LEDGER" in [entry.body["code"] for entry in site.ledger.entries("alarm")]
            for running in (watchdog, pilot):
                running.terminate()
                assert running.wait(10) == 0
            assert site.ledger.verify().ok
            intents = [entry.seq for entry in site.ledger.entries("intent")]
            assert sorted(entry.body["intent"] for entry in site.ledger.entries("result")) == sorted(intents)


def test_F45_server__watchdog_on_a_shared_ledger__takes_the_lease_and_switches_off(tmp_path: Path) -> None:
    with serve() as server:
        url = server.url("postgres", head_file=str(tmp_path / "head"))
        with Site.open(tmp_path, url, seed=3, speed=300.0) as site:
            with process(site.ledger, "pilot", **site.settings) as pilot:
                until(site.ledger.heartbeat, "a good cycle")
                pilot.kill()
                pilot.wait()
            guards = [process(site.ledger, "watchdog", "--grace", "0.1", **site.settings) for _ in range(2)]
            with guards[0], guards[1]:
                until(lambda: (latch := Latch.load(site.ledger)) and latch.intent, "one of the two")
                time.sleep(2.0)  # the other one looks, too
            assert not any(site.machines.values())
            assert [e.body["desired"]["origin"] for e in site.ledger.entries("intent")].count("failsafe") == 1
