"""Between two cycles: a real pilot on the simulated site, second by second."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridpilot.config import DATA, Settings
from gridpilot.control import Seen, within
from gridpilot.dispatch import curtailment, override, reconcile
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.machines import from_counts
from gridpilot.dispatch.override import Command
from gridpilot.dispatch.simulator import Faults, SimulatedGateway
from gridpilot.domain import GridLimit, Reading, Reserve
from gridpilot.evidence import replay
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import metering, settle
from gridpilot.monitor.curtailments import audit, find
from gridpilot.monitor.decision import load
from gridpilot.monitor.health import PilotState
from gridpilot.monitor.standing import customer_standings
from gridpilot.pilot import Pilot

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

WALL = datetime(2026, 1, 5, 12, tzinfo=UTC)
CUSTOMERS = """
[[customers]]
name = "steady"
type = "gpu"
share = 0.3
tier = 0
[[customers]]
name = "patient"
type = "gpu"
share = 0.3
tier = 1
[[customers]]
name = "flexible"
type = "gpu"
share = 0.4
tier = 2
"""


@dataclass
class Stage:
    """A pilot whose wall clock the test moves; the replay runs with it, second by second."""

    pilot: Pilot
    wall: datetime = WALL

    @property
    def now(self) -> datetime:
        assert self.pilot.engine is not None
        return self.pilot.engine.source.present(self.wall)

    @property
    def gateway(self) -> SimulatedGateway:
        assert self.pilot.engine is not None
        gateway = self.pilot.engine.gateway
        assert isinstance(gateway, SimulatedGateway)
        return gateway

    def pass_(self, seconds: float, step: float = 1.0) -> None:
        """Time goes on, a tick each `step` seconds."""
        end = self.wall + timedelta(seconds=seconds)
        while self.wall < end:
            self.wall = min(end, self.wall + timedelta(seconds=step))
            self.pilot.tick(self.wall)

    def read(self) -> Reading:
        return self.gateway.read(self.now)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def started(ledger: Ledger, folder: Path, more: str = "") -> Stage:
    """Noon of the default replay, after the first decision and with all machines at work; `more` is added to the
    default site's file."""
    site = folder / "site.toml"
    site.write_text((DATA / "site-default.toml").read_text() + more)
    settings = Settings(db_url=f"sqlite:///{folder / 'ledger.db'}", refit=False, replay_speed=1.0, site=site)
    out = Stage(Pilot(settings, ledger))
    out.pilot.tick(WALL)
    assert out.pilot.engine is not None
    source = out.pilot.engine.source
    assert isinstance(source, ReplaySource)
    source.clock = replace(source.clock, wall=WALL)
    out.pass_(30.0)
    return out


@pytest.fixture
def stage(ledger: Ledger, tmp_path: Path) -> Iterator[Stage]:
    out = started(ledger, tmp_path)
    yield out
    out.pilot.close(out.wall)


def alarms(ledger: Ledger) -> list[str]:
    return [entry.body["code"] for entry in ledger.entries("alarm", newest_first=False)]


def test_follow__nothing_happens__nothing_is_sent_and_a_reading_a_minute_is_kept(stage: Stage, ledger: Ledger) -> None:
    sent, readings = len(ledger.entries("intent")), len(ledger.entries(metering.KIND))
    stage.pass_(600.0, step=2.0)
    assert len(ledger.entries("intent")) == sent
    assert 9 <= len(ledger.entries(metering.KIND)) - readings <= 11
    assert alarms(ledger) == []


def test_F34_follow__machines_get_hot__less_load_until_they_are_cool_and_then_all_again(
    stage: Stage, ledger: Ledger
) -> None:
    full = stage.read().power_kw
    stage.gateway.inject(Faults(heat_c=25.0), stage.now)
    stage.pass_(900.0, step=5.0)
    hot = stage.read()
    assert hot.power_kw < 0.95 * full
    assert hot.hottest_c is not None and hot.hottest_c < 80.0
    guards = ledger.entries("guard")
    assert guards and guards[0].body["flags"][0]["code"] == "HOT"
    stage.gateway.inject(Faults(), stage.now)
    stage.pass_(1500.0, step=5.0)
    assert stage.read().power_kw == pytest.approx(full, rel=0.05)


def test_F33_follow__site_reports_a_lower_limit__under_it_within_five_seconds(stage: Stage) -> None:
    stage.gateway.inject(Faults(import_kw=300.0), stage.now)
    stage.pass_(1.0)
    stage.pass_(5.0)
    assert stage.read().grid_kw is not None and stage.read().grid_kw <= 300.0 + 1e-6
    stage.gateway.inject(Faults(), stage.now)
    stage.pass_(15.0)
    assert stage.read().grid_kw > 300.0


def test_F30_follow__charge_sensor_lost__battery_rests_until_it_is_back(stage: Stage, ledger: Ledger) -> None:
    before = settle.load(ledger)
    assert before is not None
    stage.gateway.inject(Faults(soc_lost=True), stage.now)
    stage.pass_(5.0)
    assert stage.read().battery_kw == 0.0
    stage.gateway.inject(Faults(), stage.now)
    stage.pass_(5.0)
    assert stage.read().battery_kw == before.battery_kw


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf, 68.7, -0.5])
def test_F30_charge_sensor_lies__battery_rests_and_the_decision_is_made_again_the_same(
    stage: Stage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, said: float
) -> None:
    read = stage.gateway.read
    monkeypatch.setattr(stage.gateway, "read", lambda now: replace(read(now), soc_frac=said))
    stage.pilot.interval = None
    stage.pass_(2.0)
    newest = ledger.latest("cycle")
    assert newest is not None and newest.body["dispatch"]["battery_kw"] == 0.0
    again = replay(ledger, newest.cycle_id)
    assert again.same, again.differences[0]


def test_F33_limit_sensor_lost__the_last_limit_holds_until_the_site_tells_another(
    stage: Stage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.gateway.inject(Faults(import_kw=300.0), stage.now)
    stage.pass_(6.0)
    with monkeypatch.context() as lost:
        read = stage.gateway.read
        lost.setattr(stage.gateway, "read", lambda now: replace(read(now), import_kw=math.nan))
        stage.gateway.inject(Faults(), stage.now)
        stage.pass_(30.0)
        drawn = stage.read().grid_kw
        assert drawn is not None and drawn <= 300.0 + 1e-6
        assert alarms(ledger) == ["LIMIT_LOST"]
    stage.pass_(15.0)
    drawn = stage.read().grid_kw
    assert drawn is not None and drawn > 300.0


def test_F42_follow__changed_from_outside__put_back_once_then_held_until_resumed(stage: Stage, ledger: Ledger) -> None:
    ours = stage.read().machines
    stage.gateway.outside({"hydro": 1}, stage.now)
    stage.pass_(15.0)
    assert stage.read().machines == ours
    assert alarms(ledger) == ["OUTSIDE_CHANGE"]

    stage.gateway.outside({"hydro": 2}, stage.now)
    stage.pass_(60.0)
    assert stage.read().machines["hydro"] == 2, "held: nothing is sent against whoever it is"
    assert alarms(ledger) == ["OUTSIDE_CHANGE", "HOLD"]
    intents = len(ledger.entries("intent"))
    stage.pass_(3600.0, step=60.0)  # a new interval is decided, and nothing is sent
    newest = ledger.latest("cycle")
    assert newest is not None and newest.body["dispatch"]["status"] == "held"
    assert len(ledger.entries("intent")) == intents

    ledger.put_state(reconcile.HOLD_KEY, None)
    stage.pass_(3600.0, step=60.0)
    assert stage.read().machines["hydro"] > 2
    newest = ledger.latest("cycle")
    assert newest is not None and newest.body["dispatch"]["status"] == "applied"


def test_held__machines_over_the_limit__still_made_safe(stage: Stage, ledger: Ledger) -> None:
    reconcile.hold(ledger, "test", stage.now)
    stage.gateway.inject(Faults(import_kw=200.0), stage.now)
    stage.pass_(8.0)
    assert stage.read().grid_kw <= 200.0 + 1e-6


def test_F41_follow__machines_that_do_not_obey__one_alarm_and_the_plan_goes_on(stage: Stage, ledger: Ledger) -> None:
    stage.gateway.inject(Faults(failed={"hydro": 4}), stage.now)
    stage.pass_(120.0, step=5.0)
    assert alarms(ledger) == ["NOT_FOLLOWED"]
    assert reconcile.held(ledger) is None


def test_frequency__within_the_reserve__command_at_the_next_look_and_undone_after(stage: Stage, ledger: Ledger) -> None:
    engine = stage.pilot.engine
    assert engine is not None
    engine.site = replace(engine.site, reserve=Reserve(up_kw=150.0, up_usd_per_mw_h=10.0))
    stage.pilot.interval = None
    stage.pass_(30.0)
    before = stage.read()
    stage.gateway.inject(Faults(frequency_hz=49.75), stage.now)
    stage.pass_(6.0)
    low = stage.read()
    assert before.grid_kw is not None and low.grid_kw is not None
    assert before.grid_kw - low.grid_kw >= 150.0 - 1e-6
    stage.gateway.inject(Faults(), stage.now)
    stage.pass_(15.0)
    assert stage.read().grid_kw == pytest.approx(before.grid_kw)
    owed = settle.load(ledger)
    assert owed is not None and owed.promises.reserve_up_kw == pytest.approx(150.0)


def test_stop__pressed_while_something_else_is_about_to_be_sent__only_off_is_sent_after_it(
    stage: Stage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = stage.gateway
    gateway.inject(Faults(import_kw=300.0), stage.now)
    read, puts = gateway.read, []

    def pressed(now: datetime) -> Reading:
        if override.stopped(ledger) is None:
            given = Command(stage.wall, "anna", "smoke", "estop", {}, stage.wall, 0)
            override.submit(ledger, given, local("anna"), wall=stage.wall)
        return read(now)

    put = gateway.put
    monkeypatch.setattr(gateway, "read", pressed)
    monkeypatch.setattr(gateway, "put", lambda sent, now: (puts.append(dict(sent.machines)), put(sent, now)))
    stage.pass_(2.0)
    assert puts and not any(any(machines.values()) for machines in puts)
    assert not any(stage.read().target.values())
    results = [entry.body["status"] for entry in ledger.entries("result", limit=3)]
    assert "expired" in results, "what was decided before the stop is on record as not sent"


def test_F17_clock__goes_back_half_an_hour__decided_anew_at_once_and_the_protocols_go_on(
    stage: Stage, ledger: Ledger
) -> None:
    stage.pass_(3600.0, step=300.0)
    stage.wall -= timedelta(minutes=30)
    before = len(ledger.entries("cycle"))
    stage.pass_(2.0)
    assert len(ledger.entries("cycle")) == before + 1
    stage.gateway.inject(Faults(import_kw=300.0), stage.now)
    stage.pass_(5.0)
    told = stage.read().target
    assert sum(m.power_kw * told[m.type] for m in stage.pilot.engine.site.machines) < 300.0  # type: ignore[union-attr]


def test_F30_charge_lower_than_planned_for__in_a_curtailment_that_counts_on_it__machines_go_for_the_battery_and_not_all(
    stage: Stage,
) -> None:
    engine = stage.pilot.engine
    assert engine is not None and engine.control.orders is not None
    orders, site, now = engine.control.orders, engine.site, stage.now
    until = now + timedelta(seconds=300)
    state = replace(orders.state, at=now, soc_frac=0.156, limits=(GridLimit(now, until, 300.0),))
    was = replace(state, soc_frac=0.5, limits=())
    on = orders.decided.machines
    decided = from_counts(site, was, on, -250.0, {}, {}, now, until, "plan", 300.0)
    seen = replace(stage.read(), at=now, soc_frac=0.156)
    sent = within(replace(orders, state=state, decided=decided), Seen(seen, state.limits)).dispatch
    assert sent.constraints_satisfied
    assert sent.battery_kw == 0.0 and 250.0 < sent.grid_kw <= 300.0


def event(stage: Stage, minutes: float, hours: float, **target: float) -> Curtailment:
    start = stage.now + timedelta(minutes=minutes)
    return Curtailment("e1", "utility", "grid operator", "peak", start, start + timedelta(hours=hours), **target)


@pytest.mark.slow
def test_curtailment__a_quarter_for_three_hours__reached_in_five_seconds_kept_and_no_service_broken(
    ledger: Ledger, tmp_path: Path
) -> None:
    stage = started(ledger, tmp_path, CUSTOMERS)
    stage.pass_(45 * 60.0, step=30.0)
    given = curtailment.submit(ledger, event(stage, 20.0, 3.0, percent=25.0), stage.now)
    stage.pass_(20 * 60.0 - 1.0, step=30.0)
    stage.pass_(20.0, step=0.5)
    broken = []
    while stage.now < given.end + timedelta(minutes=5):
        stage.pass_(60.0, step=10.0)
        snap = load(ledger)
        assert snap is not None
        standings = customer_standings(snap)
        assert [s.name for s in standings] == ["steady", "patient", "flexible"]
        broken += [s for s in standings if s.planned_frac > s.allowed_frac + 1e-6]
    assert broken == []

    found = audit(ledger, find(ledger, "e1"), stage.now)
    assert found is not None
    assert found.baseline_kw > 500.0 and found.target_kw == pytest.approx(0.75 * found.baseline_kw)
    assert found.reached_s <= 5.0
    assert found.kept and len(found.windows) >= 36
    assert found.highest_kw <= found.target_kw * 1.005
    assert found.delivered_frac >= 1.0
    assert [e.body["status"] for e in ledger.entries(curtailment.ENTRY, newest_first=False)] == [
        "scheduled", "active", "ended",
    ]  # fmt: skip
    assert alarms(ledger) == []
    newest = load(ledger)
    assert newest is not None and newest.plan["state"]["limits"] == [], "and the plan is free again"
    stage.pilot.close(stage.wall)


@pytest.mark.slow
@pytest.mark.parametrize("percent", [30.0, 60.0, 100.0])
def test_curtailment__any_target_without_notice__reached_within_five_seconds(
    stage: Stage, ledger: Ledger, percent: float
) -> None:
    stage.pass_(120.0, step=10.0)
    curtailment.submit(ledger, event(stage, 0.0, 0.5, percent=percent), stage.now)
    stage.pass_(0.5, step=0.5)
    stage.pass_(60.0, step=0.5)
    found = audit(ledger, find(ledger, "e1"), stage.now)
    assert found is not None and found.reached_s <= 5.0
    assert found.highest_kw <= found.target_kw * 1.005 + 0.05


@pytest.mark.slow
def test_curtailment__ramp__followed_down_in_whole_machines(stage: Stage, ledger: Ledger) -> None:
    stage.pass_(120.0, step=10.0)
    given = replace(event(stage, 1.0, 1.0, import_kw=200.0), ramp_s=300.0)
    curtailment.submit(ledger, given, stage.now)
    stage.pass_(60.0)
    limit = curtailment.events(ledger)[0].limit(0.0)
    while stage.now < given.start + timedelta(seconds=330.0):
        stage.pass_(2.0)
        seen = stage.read()
        assert seen.grid_kw is not None and seen.grid_kw <= limit.at(stage.now) + 1e-6, stage.now
    assert stage.read().grid_kw > 150.0, "no more is shed than asked"
    assert audit(ledger, find(ledger, "e1"), stage.now).reached_s == 0.0  # type: ignore[union-attr]


def test_stagger__the_connection_comes_back__all_machines_come_back_a_few_at_a_time_past_those_that_fail(
    stage: Stage, ledger: Ledger
) -> None:
    engine = stage.pilot.engine
    assert engine is not None
    wanted = dict(stage.read().machines)
    engine.site = replace(engine.site, stagger_kw=60.0)
    stage.pilot.interval = None  # decided anew, for that site
    stage.pass_(5.0)
    failed = {"hydro": 14}  # more than may start at a time
    stage.gateway.inject(Faults(failed=failed, import_kw=0.0), stage.now)
    stage.pass_(20.0)
    assert sum(stage.read().machines.values()) == 0
    begun = len(ledger.entries("intent"))
    stage.gateway.inject(Faults(failed=failed), stage.now)
    seen = [stage.read()]
    for _ in range(240):
        stage.pass_(1.0)
        seen.append(stage.read())
    power = {m.type: m.power_kw for m in engine.site.machines}
    for one, two in itertools.pairwise(seen):
        rise_kw = sum(power[k] * max(0, two.machines[k] - one.machines[k]) for k in power)
        assert rise_kw <= 60.0 + 1e-9
    orders = engine.control.orders
    assert orders is not None and seen[-1].target == orders.decided.machines
    assert sum(seen[-1].machines.values()) > sum(wanted.values()) / 2
    assert len(ledger.entries("intent")) > begun + 3


# --- rows of the fault table that concern a whole pilot ----------------------------------------


def test_F31_site_without_machines__battery_alone_and_nothing_divides_by_zero(ledger: Ledger, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("machines = []\n[battery]\ncapacity_kwh = 0\n")
    pilot = Pilot(Settings(db_url=f"sqlite:///{tmp_path / 'ledger.db'}", refit=False, site=site), ledger)
    pilot.tick(WALL)
    newest = ledger.latest("cycle")
    assert newest is not None
    assert (newest.body["dispatch"]["status"], newest.body["dispatch"]["total_power_kw"]) == ("applied", 0.0)
    pilot.close(WALL)


def test_F31_machines_disappear__planned_over_what_exists(stage: Stage, ledger: Ledger) -> None:
    engine = stage.pilot.engine
    assert engine is not None
    engine.site = replace(engine.site, machines=tuple(m for m in engine.site.machines if m.type != "hydro"))
    engine.control.gateway = SimulatedGateway(engine.site, stage.gateway._load, stage.gateway._save)
    stage.pilot.interval = None
    stage.pass_(30.0)
    newest = ledger.latest("cycle")
    assert newest is not None and "hydro" not in newest.body["dispatch"]["machines"]
    assert newest.body["dispatch"]["status"] == "applied"


def test_F36_auction__no_capacity__nobody_is_served_and_nothing_raises(stage: Stage, ledger: Ledger) -> None:
    stage.gateway.inject(Faults(import_kw=0.0), stage.now)
    stage.pilot.interval = None
    stage.pass_(30.0)
    newest = ledger.latest("auction")
    assert newest is not None
    assert all(row["kw"] <= 0.3 for row in newest.body["allocation"] if row["bidder"] not in ("battery", "grid"))
    assert stage.read().grid_kw <= 1e-6


def test_F54_override__expires_while_the_pilot_is_down__not_applied_when_it_returns(
    stage: Stage, ledger: Ledger
) -> None:
    until, version = stage.now + timedelta(minutes=10), override.version(ledger)
    given = Command(stage.now, "anna", "fan test", "machines", {"hydro": 1}, until, version)
    override.submit(ledger, given, local("anna"), wall=stage.wall)
    stage.pass_(2.0)
    assert stage.read().target["hydro"] == 1
    stage.pilot.close(stage.wall)
    state = PilotState.load(ledger)
    assert state.clock is not None
    stage.wall += timedelta(minutes=30)
    later = replace(state.clock, wall=stage.wall, replay=state.clock.replay + timedelta(minutes=30))
    replace(state, clock=later).save(ledger)
    stage.pilot = Pilot(stage.pilot.settings, ledger)
    stage.pass_(20.0)
    assert ledger.commands(kinds=("machines",))[0]["status"] == "expired"
    assert stage.read().target["hydro"] > 1
