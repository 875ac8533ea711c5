"""A day of faults: 288 intervals against the machines' stand-in over HTTP, each kind of fault in one of ten."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gridpilot.config import Settings
from gridpilot.dispatch import curtailment, override, reconcile
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.override import Command
from gridpilot.errors import Conflict, InputError
from gridpilot.mara_server import KEYS, LIMIT_W
from gridpilot.market.mara import MACHINE_KEYS
from gridpilot.monitor import settle
from gridpilot.monitor.health import ESTOP, FAILSAFE, PilotState
from gridpilot.pilot import LEASE, Pilot
from tests.fault.rig import Site, now

pytestmark = [pytest.mark.slow, pytest.mark.long]

INTERVALS, CHANCE = 288, 0.1
ANNA = local("anna")
WATTS = {"air": 3333, "hydro": 5000, "immersion": 10000, "gpu": 3333, "asic": 10000}


class Day:
    """The site, its pilot, and what may happen to them."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.ledger, self.rng = site, site.ledger, random.Random(seed)
        self.pilot = self.started()
        self.happened: Counter[str] = Counter()
        self.faults: dict[str, Callable[[], object]] = {
            "server error": lambda: site.server.set_faults({"status": 503, "status_times": 1}),
            "refused": lambda: site.server.set_faults({"status": 404, "status_times": 1}),
            "too many requests": lambda: site.server.set_faults(
                {"status": 429, "status_times": 2, "retry_after": 30.0}
            ),
            "web page": lambda: site.server.set_faults({"html": True}),
            "cut off": lambda: site.server.set_faults({"truncate": True}),
            "no prices": lambda: site.server.set_faults({"empty": True}),
            "lost acknowledgement": lambda: site.server.set_faults({"lost_ack": True}),
            "other state": lambda: site.server.set_faults({"other_state": True}),
            "changed from outside": self.outside,
            "killed": self.kill,
            "override": self.override,
            "stopped and released": self.stop,
            "curtailed": self.curtail,
            "resumed": self.resume,
        }

    def started(self) -> Pilot:
        return Pilot(Settings(refit=False, **self.site.settings), self.ledger)

    def kill(self) -> None:
        """The process is gone, and its lease with it; another one starts."""
        self.ledger.release_lease(LEASE, self.pilot.token, now())
        self.pilot = self.started()

    def outside(self) -> None:
        counts = {theirs: self.rng.randint(0, 20) for theirs in KEYS}
        site, put = self.site, type(self.site.server).__mro__[1].reply
        put(site.server, "PUT", "/machines", "fault-test", counts)

    def override(self) -> None:
        at = self.present()
        target = {"hydro": self.rng.randint(0, 150)}
        version = override.version(self.ledger) - (self.rng.random() < 0.2)
        until = at + timedelta(minutes=self.rng.choice([4, 12, 60]))
        try:
            override.submit(
                self.ledger, Command(at, "anna", "soak", "machines", target, until, version), ANNA, wall=now()
            )
        except (Conflict, InputError):
            self.happened["override not taken"] += 1

    def stop(self) -> None:
        at = now()
        override.submit(self.ledger, Command(at, "anna", "soak", "estop", {}, at, 0), ANNA, wall=at)
        self.tick()
        for step in ("request", "confirm"):
            version = override.version(self.ledger)
            command = Command(now(), "anna", "soak", "estop_release", {"step": step}, now(), version)
            override.submit(self.ledger, command, ANNA, wall=now())

    def curtail(self) -> None:
        at = self.present()
        ends = at + timedelta(minutes=15)
        name = f"e{self.happened['curtailed']}"
        curtailment.submit(self.ledger, Curtailment(name, "utility", "grid", "soak", at, ends, percent=40.0), at)

    def resume(self) -> None:
        if reconcile.held(self.ledger) is None:
            return
        command = Command(self.present(), "anna", "soak", "resume", {}, self.present(), override.version(self.ledger))
        override.submit(self.ledger, command, ANNA, wall=now())

    def present(self):  # type: ignore[no-untyped-def]
        return self.pilot.engine.source.present(now()) if self.pilot.engine else self.site.server.now()

    def tick(self) -> None:
        self.pilot.retry_at = self.pilot.look_at = 0.0
        self.pilot.tick(now())

    def interval(self) -> None:
        """Another interval begins, some things go wrong in it, and are over at its end."""
        self.site.next_interval(self.rng.uniform(1.0, 5.0))
        for name, cause in self.faults.items():
            if self.rng.random() < CHANCE:
                self.happened[name] += 1
                cause()
        self.tick()
        self.tick()
        self.site.server.set_faults({})

    def check(self) -> None:
        """What holds after every interval, whatever happened."""
        running, at = settle.load(self.ledger), self.present()  # as far as the pilot can know it
        control = PilotState.load(self.ledger).control
        held = reconcile.held(self.ledger) is not None
        live = [row for row in self.ledger.commands() if row["status"] in override.LIVE and row["kind"] == "machines"]
        assert len(live) <= 1
        reached = self.pilot.engine is not None  # a pilot that started while the API was down has no way to it yet
        if reached and running is not None and at > running.valid_until and not held:
            assert control in (FAILSAFE, ESTOP) or sum(self.site.machines.values()) == 0


def test_soak__a_day_of_faults__every_put_was_intended_within_the_limit_and_valid(tmp_path: Path) -> None:
    seed = 20261128
    print(f"seed {seed}")
    with Site.open(tmp_path, seed=3) as site:
        day = Day(site, seed)
        for _ in range(INTERVALS):
            day.interval()
            day.check()
        assert len(day.happened) >= len(day.faults)
        cycles = Counter(entry.body["dispatch"]["status"] for entry in site.ledger.entries("cycle", limit=2000))
        assert cycles["applied"] > INTERVALS / 4, cycles
        assert site.ledger.verify().ok

        intents = site.ledger.entries("intent", limit=20_000)
        results = [entry.body["intent"] for entry in site.ledger.entries("result", limit=20_000)]
        assert len(results) == len(set(results)) and set(results) <= {entry.seq for entry in intents}
        for put in site.puts:
            assert sum(WATTS[name] * count for name, count in put.machines.items()) <= LIMIT_W
            assert put.intent is not None
            desired = put.intent.body["desired"]
            assert {name: desired["machines"].get(name, 0) for name in MACHINE_KEYS} == put.machines
            assert put.at < datetime.fromisoformat(desired["valid_until"]) + timedelta(seconds=1), "on its way by then"
