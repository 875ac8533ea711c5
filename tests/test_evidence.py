"""Past decisions made again from what is on record: the same to the last bit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from gridpilot import evidence
from gridpilot.config import Settings
from gridpilot.cycle import Engine, open_engine, run_cycle
from gridpilot.dispatch import curtailment, override
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.dispatch.override import Command
from gridpilot.dispatch.simulator import Faults, SimulatedGateway
from gridpilot.domain import STRATEGIES, AuctionTerms, Battery, Customer, Reserve, RiskAppetite, Rule
from gridpilot.errors import InputError
from gridpilot.evidence import replay
from gridpilot.forecast.ensemble import prepare
from gridpilot.forecast.refit import fit_prices
from gridpilot.ledger.prune import prune
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.market.replay import ReplaySource
from tests.pages.conftest import Fits

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

WALL = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def engine(ledger: Ledger) -> Engine:
    return open_engine(Settings(source="replay"), ledger)


def step(engine: Engine) -> None:
    source = engine.source
    assert isinstance(source, ReplaySource)
    source.clock = source.clock.stepped(WALL).with_speed(WALL, 0.0)


def decide_some(engine: Engine, count: int) -> list[str]:
    out = []
    for _ in range(count):
        out.append(run_cycle(engine, WALL).cycle_id)
        step(engine)
    return out


def test_replay__some_hours__each_the_same_to_the_last_bit(engine: Engine, ledger: Ledger) -> None:
    for cycle_id in decide_some(engine, 4):
        again = replay(ledger, cycle_id)
        assert again.differences == ()
        assert again.same and again.versions == {}
        assert again.compared > 1000


@pytest.mark.slow
def test_replay__site_with_everything__the_same(engine: Engine, ledger: Ledger) -> None:
    engine.site = replace(
        engine.site,
        customers=(Customer("steady", "gpu", 0.4, tier=1),),
        rules=(Rule("air", above=2, below=2),),
        reserve=Reserve(up_kw=50.0, most_up_kw=100.0, up_usd_per_mw_h=8.0),
        risk=RiskAppetite(0.5, cvar_limit_usd=500.0),
        demand_usd_per_kw=0.2,
        battery=Battery(depth_wear_usd_per_kwh=(0.0, 0.005, 0.01)),
    )
    for strategy in STRATEGIES:
        engine.site = replace(engine.site, auction=AuctionTerms(strategy))
        for cycle_id in decide_some(engine, 2):
            assert replay(ledger, cycle_id).differences == ()


def test_replay__override_curtailment_and_faults__the_same(engine: Engine, ledger: Ledger) -> None:
    run_cycle(engine, WALL)
    step(engine)
    now = engine.source.present(WALL)
    until = now + timedelta(hours=3)
    command = Command(now, "anna", "fan test", "battery_kw", {"battery_kw": 40.0}, until, override.version(ledger))
    override.submit(ledger, command, local("anna"), wall=WALL)
    curtailment.submit(ledger, Curtailment("e1", "utility", "grid", "peak", now, until, percent=30.0), now)
    gateway = engine.gateway
    assert isinstance(gateway, SimulatedGateway)
    gateway.inject(Faults(heat_c=25.0, soc_frac=0.31), now)
    for cycle_id in decide_some(engine, 2):
        again = replay(ledger, cycle_id)
        assert again.differences == ()
    gateway.inject(Faults(soc_lost=True), engine.source.present(WALL))
    override.submit(ledger, Command(now, "anna", "smoke", "estop", {}, now, 0), local("anna"), wall=WALL)
    for cycle_id in decide_some(engine, 1):
        assert replay(ledger, cycle_id).differences == ()


def test_replay__mara__the_same_though_its_prices_went_on(ledger: Ledger) -> None:
    with MaraServer(seed=3) as server:
        engine = open_engine(Settings(source="mara", mara_url=server.url), ledger)
        first = run_cycle(engine, datetime.now(UTC)).cycle_id
        second = run_cycle(engine, datetime.now(UTC)).cycle_id
    for cycle_id in (first, second):
        assert replay(ledger, cycle_id).differences == ()


@pytest.mark.slow
def test_replay__fitted_ensemble__is_fitted_again_and_the_same(
    engine: Engine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gridpilot.forecast.gp.STEPS", 2)
    monkeypatch.setattr("gridpilot.forecast.net.EPOCHS", 2)
    monkeypatch.setattr("gridpilot.forecast.refit.CALIBRATION_ROWS", 60)
    monkeypatch.setattr("gridpilot.market.replay.ReplaySource.fetch", short(ReplaySource.fetch))
    source = engine.source
    assert isinstance(source, ReplaySource)
    source.clock = source.clock.with_speed(WALL, 0.0)
    history = source.fetch(source.present(WALL))
    engine.refitter = Fits(fit_prices(prepare(history, engine.site.timezone, country=engine.site.country)))  # type: ignore[assignment]
    cycle_id = run_cycle(engine, WALL).cycle_id
    recorded = ledger.cycle(cycle_id)["forecast"].body
    assert recorded["method"] == "ensemble"
    ticks: list[str] = []
    with threadpool_limits(2):  # the pilot's worker fits on one thread: a replay must, too
        again = replay(ledger, cycle_id, lambda *args: ticks.append("fit"))
    assert again.differences == () and ticks


def short(fetch):  # type: ignore[no-untyped-def]
    """A source that knows 200 days, so that a fit takes seconds."""
    return lambda source, now: fetch(source, now).tail(200 * 24)


def test_replay__site_changed_since__is_made_for_the_site_of_then(engine: Engine, ledger: Ledger) -> None:
    first = decide_some(engine, 1)[0]
    engine.site = replace(engine.site, battery=Battery(capacity_kwh=2000.0))
    second = decide_some(engine, 1)[0]
    assert replay(ledger, first).same and replay(ledger, second).same


def test_replay__after_a_prune__the_site_of_then_is_kept_and_what_is_gone_is_said(
    engine: Engine, ledger: Ledger, tmp_path: Path
) -> None:
    source = engine.source
    assert isinstance(source, ReplaySource)
    decide_some(engine, 1)
    for days, keep in ((4, 2), (8, 3)):  # the second prune takes the entry of the first one with it
        source.clock = replace(source.clock, replay=source.clock.replay + timedelta(days=days))
        first, second = decide_some(engine, 2)
        assert prune(ledger, keep, WALL, tmp_path).removed > 0
        assert replay(ledger, second).same
        with pytest.raises(InputError, match=r"the decision before it, .*, was pruned"):
            replay(ledger, first)


def test_replay__prices_revised_since__are_those_of_then(engine: Engine, ledger: Ledger) -> None:
    first = decide_some(engine, 1)[0]
    source = engine.source
    history = source.fetch(source.present(WALL))
    ledger.record_prices(replace(history, energy_usd_per_mwh=history.energy_usd_per_mwh + 5.0), WALL)
    assert replay(ledger, first).differences == ()


def test_replay__plan_was_tampered_with__named_to_the_place(engine: Engine, ledger: Ledger, tmp_path: Path) -> None:
    cycle_id = decide_some(engine, 1)[0]
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("DROP TRIGGER entries_no_update")
        body = db.execute("SELECT body FROM entries WHERE kind = 'risk'").fetchone()[0]
        db.execute("UPDATE entries SET body = ? WHERE kind = 'risk'", (body.replace('"n":200', '"n":201'),))
    again = replay(ledger, cycle_id)
    assert not again.same
    assert again.differences == (("risk.n", 201, 200),)


def test_replay__other_versions__are_named(engine: Engine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle_id = decide_some(engine, 1)[0]
    now = evidence.versions()
    monkeypatch.setattr(evidence, "versions", lambda: {**now, "highspy": "9.9"})
    again = replay(ledger, cycle_id)
    assert again.same
    assert again.versions == {"highspy": f"{now['highspy']}, 9.9"}


@pytest.mark.parametrize("cycle_id", ["", "20240624T120000-nothing", "' OR 1=1"])
def test_replay__unknown_cycle__one_clear_line(ledger: Ledger, engine: Engine, cycle_id: str) -> None:
    with pytest.raises(InputError, match=r"is not in the ledger|before decisions kept"):
        replay(ledger, cycle_id)
