"""A state machine over everything that can happen to a running site, and what must hold after each step.

Operators give commands, approve and stop; time passes; acknowledgements are lost; the pilot dies and another starts;
somebody else changes machines; prices fail; sensors lie; the grid operator curtails. The pilot and the ledger are real,
the site is the simulated one, and its time is the test's.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gridpilot.config import DATA, Settings
from gridpilot.dispatch import curtailment, override, reconcile
from gridpilot.dispatch.actor import APPROVER, OIDC, OPERATOR, VIEWER, Actor
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.override import Command
from gridpilot.dispatch.simulator import Faults, SimulatedGateway
from gridpilot.errors import Conflict, Forbidden, GatewayError, InputError, SourceError
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import settle
from gridpilot.monitor.health import FAILSAFE, PilotState
from gridpilot.pilot import LEASE, Pilot

WALL = datetime(2026, 1, 5, 12, tzinfo=UTC)
LOOK_S = 120
FAR = WALL + timedelta(days=30)
PEOPLE = {
    "anna": Actor("anna", OPERATOR, OIDC, FAR, "a"),
    "bert": Actor("bert", APPROVER, OIDC, FAR, "b"),
    "vera": Actor("vera", VIEWER, OIDC, FAR, "v"),
    "late": Actor("late", APPROVER, OIDC, WALL - timedelta(hours=1), "l"),
}
TARGETS = st.one_of(
    st.integers(0, 40).map(lambda n: ("machines", {"hydro": n})),
    st.integers(-250, 250).map(lambda kw: ("battery_kw", {"battery_kw": float(kw)})),
    st.integers(0, 1000).map(lambda kw: ("curtail", {"import_kw": float(kw)})),
    st.just(("threshold", {"type": "all miners", "energy_usd_per_mwh": 20.0})),
    st.just(("hold", {})),
)


class SiteMachine(RuleBasedStateMachine):
    """Seconds are the source's and the wall's alike."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        url = f"sqlite:///{self.folder / 'ledger.db'}"
        self.ledger = Ledger.open(url)
        site = self.folder / "site.toml"
        site.write_text((DATA / "site-default.toml").read_text())
        self.settings = Settings(db_url=url, refit=False, replay_speed=1.0, site=site)
        self.wall, self.outside_at = WALL, WALL - timedelta(days=1)

    # --- what happens ---------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        self.pilot = Pilot(self.settings, self.ledger)
        self.pilot.tick(self.wall)
        self.source.clock = replace(self.source.clock, wall=self.wall)
        self.advance(20)

    def tick(self) -> None:
        self.pilot.retry_at = self.pilot.look_at = 0.0
        self.pilot.tick(self.wall)

    @rule(seconds=st.sampled_from([5, 30, 600, 3600, 2 * 3600]))
    def advance(self, seconds: int) -> None:
        """Time passes, with a look every other minute, and some when machines have had their time."""
        for step in (*[LOOK_S] * (seconds // LOOK_S), seconds % LOOK_S, 6, 6):
            self.wall += timedelta(seconds=step)
            self.tick()

    @rule(
        who=st.sampled_from(sorted(PEOPLE)), command=TARGETS, minutes=st.sampled_from([1, 30, 90]), stale=st.booleans()
    )
    def operate(self, who: str, command: tuple[str, dict[str, Any]], minutes: int, stale: bool) -> None:
        """Somebody gives a command, at times on a state that is no longer the present one."""
        kind, target = command
        version = override.version(self.ledger) - stale
        given = Command(self.now, who, "test", kind, target, self.now + timedelta(minutes=minutes), version)
        before = len(self.ledger.commands(limit=10_000))
        try:
            row = override.submit(self.ledger, given, PEOPLE[who], wall=self.wall, propose=minutes == 90)
        except (Conflict, Forbidden, InputError):
            assert self.ledger.commands(limit=1)[0]["status"] == "refused"
        else:
            assert not stale and who in ("anna", "bert")
            assert row.status == ("proposed" if minutes == 90 else "accepted")
        assert len(self.ledger.commands(limit=10_000)) == before + 1, "every attempt is a row"
        self.tick()

    @rule(who=st.sampled_from(sorted(PEOPLE)))
    def approve(self, who: str) -> None:
        waiting = override.proposals(self.ledger, self.now, self.wall)
        if not waiting:
            return
        proposed = waiting[0][0]
        try:
            override.approve(self.ledger, proposed.id, PEOPLE[who], now=self.now, wall=self.wall)
        except (Conflict, Forbidden, InputError):
            assert self.ledger.commands(limit=1)[0]["kind"] != "" and proposed.status == "proposed"
        else:
            assert who == "bert" and proposed.author != "bert"
        self.tick()

    @rule()
    def stop(self) -> None:
        given = Command(self.wall, "vera", "smoke", "estop", {}, self.wall, 0)
        override.submit(self.ledger, given, PEOPLE["vera"], wall=self.wall)
        self.tick()
        self.tick()
        assert not any(self.read().target.values())

    @precondition(lambda self: override.stopped(self.ledger) is not None)
    @rule()
    def release_stop(self) -> None:
        for step in ("request", "confirm"):
            version = override.version(self.ledger)
            given = Command(self.wall, "anna", "clear", "estop_release", {"step": step}, self.wall, version)
            override.submit(self.ledger, given, PEOPLE["anna"], wall=self.wall)
        self.tick()

    @precondition(lambda self: reconcile.held(self.ledger) is not None)
    @rule()
    def resume(self) -> None:
        version, anna = override.version(self.ledger), PEOPLE["anna"]
        override.resume(self.ledger, anna, reason="seen to", base_version=version, now=self.now, wall=self.wall)
        self.tick()

    @rule()
    def crash(self) -> None:
        """The process is gone with all that it had in memory; the replay's time goes on."""
        clock = self.source.clock
        self.ledger.release_lease(LEASE, self.pilot.token, datetime.now(UTC))
        self.pilot = Pilot(self.settings, self.ledger)
        now = replace(clock, wall=self.wall, replay=clock.at(self.wall))
        replace(PilotState.load(self.ledger), clock=now).save(self.ledger)
        self.tick()

    @rule(counts=st.dictionaries(st.sampled_from(["air", "hydro", "gpu"]), st.integers(0, 8), min_size=1))
    def outside(self, counts: dict[str, int]) -> None:
        """Somebody else sets machines: fewer of them, so that no limit is theirs to break."""
        seen = self.read()  # of those that are just being switched, what they are told counts, too
        fewer = {n: min(count, seen.machines.get(n, 0), seen.target.get(n, 0)) for n, count in counts.items()}
        self.gateway.outside(fewer, self.now)
        self.outside_at = self.wall
        self.advance(5)

    @rule()
    def lose_acknowledgement(self) -> None:
        """The next command arrives, and nobody is told."""
        real = self.gateway.put

        def put(dispatch: Any, now: datetime) -> None:
            self.gateway.put = real  # type: ignore[method-assign]
            real(dispatch, now)
            raise GatewayError("the acknowledgement was lost")

        self.gateway.put = put  # type: ignore[method-assign]

    @rule()
    def prices_fail(self) -> None:
        real = self.source.fetch

        def fetch(now: datetime) -> Any:
            self.source.fetch = real  # type: ignore[method-assign]
            raise SourceError("no prices")

        self.source.fetch = fetch  # type: ignore[method-assign]
        self.pilot.interval = None
        self.tick()

    @rule(
        faults=st.builds(
            Faults,
            heat_c=st.sampled_from([0.0, 15.0, 40.0]),
            soc_lost=st.booleans(),
            import_kw=st.sampled_from([None, 0.0, 400.0]),
        )
    )
    def fault(self, faults: Faults) -> None:
        self.gateway.inject(faults, self.now)
        self.advance(5)

    @rule(percent=st.sampled_from([10.0, 50.0, 100.0]), minutes=st.sampled_from([5, 90]))
    def curtail(self, percent: float, minutes: int) -> None:
        ends = self.now + timedelta(minutes=minutes)
        if len(curtailment.events(self.ledger, curtailment.LIVE)) < 5:
            name = f"e{self.ledger.count()}"
            event = Curtailment(name, "utility", "grid", "test", self.now, ends, percent=percent)
            curtailment.submit(self.ledger, event, self.now)
        self.advance(5)

    # --- where things stand ---------------------------------------------------------------------

    @property
    def source(self) -> ReplaySource:
        assert self.pilot.engine is not None and isinstance(self.pilot.engine.source, ReplaySource)
        return self.pilot.engine.source

    @property
    def gateway(self) -> SimulatedGateway:
        assert self.pilot.engine is not None and isinstance(self.pilot.engine.gateway, SimulatedGateway)
        return self.pilot.engine.gateway

    @property
    def now(self) -> datetime:
        return self.source.present(self.wall)

    def read(self) -> Any:
        return self.gateway.read(self.now)

    @property
    def over(self) -> bool:
        """Whether nothing is in force any more."""
        running = settle.load(self.ledger)
        return running is None or self.now >= running.valid_until

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def power_is_within_the_limit(self) -> None:
        later = self.gateway.read(self.now + timedelta(seconds=5))  # what was told by now is done by then
        most = 1000.0 if later.import_kw is None else later.import_kw
        for event in curtailment.events(self.ledger, ("active",)):
            most = min(most, event.limit(1000.0).at(self.now))
        assert -1000.0 - 0.1 <= later.grid_kw <= most + 0.1 or (self.over and later.grid_kw <= 1000.1)

    @invariant()
    def charge_is_within_the_band(self) -> None:
        saved = self.ledger.get_state("machines").value
        assert saved is None or 0.15 - 0.01 <= saved["soc_frac"] <= 0.9 + 0.01

    @invariant()
    def what_is_in_effect_was_intended(self) -> None:
        intent = self.ledger.latest("intent")
        told = {name: count for name, count in self.read().target.items() if count}
        asked = {} if intent is None else {n: c for n, c in intent.body["desired"]["machines"].items() if c}
        theirs = reconcile.held(self.ledger) is not None or self.outside_at > self.wall - timedelta(hours=6)
        assert told == asked or theirs

    @invariant()
    def one_command_is_live_and_none_is_after_its_end(self) -> None:
        live = [row for row in self.ledger.commands(limit=1000) if row["status"] in override.LIVE]
        live = [row for row in live if row["kind"] in override.OVERRIDES]
        assert len(live) <= 1
        assert all(row["valid_until"] > self.now - timedelta(seconds=1) for row in live)

    @invariant()
    def the_site_is_safe_when_nothing_is_in_force(self) -> None:
        if self.over and reconcile.held(self.ledger) is None:
            assert PilotState.load(self.ledger).control == FAILSAFE or not any(self.read().target.values())

    def teardown(self) -> None:
        assert self.ledger.verify().ok
        settled = [entry.body["intent"] for entry in self.ledger.entries("result", limit=10_000)]
        assert len(settled) == len(set(settled))
        self.pilot.end_fits()
        self.ledger.close()
        shutil.rmtree(self.folder)


@pytest.mark.slow
def test_site__whatever_happens_in_whatever_order__stays_safe_and_on_record(rounds: int) -> None:
    run_state_machine_as_test(
        SiteMachine,
        settings=settings(
            max_examples=rounds,
            stateful_step_count=25,
            deadline=None,
            derandomize=rounds == 5,
            phases=(Phase.explicit, Phase.generate),  # shrinking takes many minutes
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
