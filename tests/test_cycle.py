"""Whole cycles on real parts: the replay, a real SQLite ledger, the MARA stand-in over loopback HTTP."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, Settings, load_site
from gridpilot.cycle import STAGES, Engine, open_engine, run_cycle
from gridpilot.dispatch.simulator import SimulatedGateway
from gridpilot.domain import STRATEGIES, AuctionTerms, PriceHistory
from gridpilot.errors import LedgerError, SourceError
from gridpilot.evidence import replay
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.market.quality import plausibility
from gridpilot.market.replay import ReplaySource
from gridpilot.market.watch import STATE
from gridpilot.monitor import drift, market, settle
from gridpilot.monitor.decision import load
from gridpilot.monitor.drift import Drift
from gridpilot.monitor.market import Market
from gridpilot.monitor.whatif import Change, what_if
from gridpilot.plan.safety import check_dispatch
from gridpilot.values import as_array
from tests.market.market_server import KEY, MarketServer
from tests.plan.test_anything import Dice, any_site

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)


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


def test_run_cycle__replay__decides_records_and_sends(engine: Engine) -> None:
    result = run_cycle(engine, WALL)
    assert result.plan.status == "optimal"
    assert result.dispatch.status == "applied"
    assert result.dispatch.constraints_satisfied
    assert result.dispatch.grid_kw <= engine.site.import_kw + 1e-6
    assert set(result.timings_ms) == {*STAGES, "total"}
    kinds = [entry.kind for entry in engine.ledger.entries(cycle_id=result.cycle_id, newest_first=False)]
    assert kinds == [
        "site", "inputs", "forecast", "plan", "auction", "risk", "reading", "intent", "result", "cycle",
    ]  # fmt: skip
    assert engine.ledger.verify().ok


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_run_cycle__each_auction_strategy__two_cycles_within_every_limit(engine: Engine, strategy: str) -> None:
    engine.site = replace(engine.site, auction=AuctionTerms(strategy))
    for _ in range(2):
        result = run_cycle(engine, WALL)
        assert (result.dispatch.status, result.dispatch.constraints_satisfied) == ("applied", True)
        assert result.auction.exact
        step(engine)
    shares = result.risk.service_shares
    assert bool(shares) is (strategy == "portfolio")
    assert all(share >= 0.0 for share in shares.values()) and sum(shares.values()) <= 1.0 + 1e-9
    assert load(engine.ledger, result.cycle_id).risk["service_shares"] == pytest.approx(shares)


def test_run_cycle__public_json__has_the_contract_keys_and_no_nan(engine: Engine) -> None:
    body = json.loads(json.dumps(run_cycle(engine, WALL, dry_run=True).to_json(), allow_nan=False))
    keys = ["cycle_id", "at", "source", "flags", "forecast", "plan", "auction", "risk", "dispatch", "timings_ms"]
    assert list(body) == keys
    assert list(body["dispatch"])[:5] == ["machines", "total_power_kw", "payload", "constraints_satisfied", "status"]
    assert set(body["timings_ms"]) == {*STAGES, "total"}
    wanted = (
        "method timestamp predicted_price lower_bound upper_bound quantiles sigma_energy sigma_hash sigma_token flags"
    )
    assert set(wanted.split()) <= set(body["forecast"])
    wanted = "status objective_usd solve_ms timestamp charge_kw discharge_kw soc_frac import_kw export_kw loads_kw"
    assert {*wanted.split(), "marginal_value_usd_per_kwh", "attempts"} <= set(body["plan"])
    assert {"welfare", "allocation", "payments", "clearing_price", "method", "exact", "solve_ms"} <= set(
        body["auction"]
    )
    assert {"var", "cvar", "max_drawdown", "volatility", "risk_adjustment_factor", "n"} <= set(body["risk"])


def test_run_cycle__dry_run__writes_and_sends_nothing(engine: Engine) -> None:
    result = run_cycle(engine, WALL, dry_run=True)
    assert result.dispatch.status == "dry-run"
    assert engine.ledger.count() == 0
    assert engine.gateway.read(WALL).power_kw == 0.0


@pytest.mark.slow
def test_run_cycle__a_day_of_steps__auction_follows_the_plan_and_money_adds_up(engine: Engine) -> None:
    for _ in range(24):
        result = run_cycle(engine, WALL)
        assert result.dispatch.constraints_satisfied
        assert check_dispatch(engine.site, _state_of(engine), result.dispatch, step_s=1.0) == ()
        for name, kw in result.plan.loads_kw.items():
            assert result.auction.kw(name) == pytest.approx(float(kw[0]), abs=0.2), name
        step(engine)
    entries = engine.ledger.entries("settlement", limit=100, newest_first=False)
    assert len(entries) == 23
    for before, after in itertools.pairwise(entries):
        assert before.body["end"] == after.body["start"]
    for entry in entries:
        money = entry.body["money"]
        income = sum(money[name] for name in ("hash", "token", "tenants", "jobs", "export"))
        assert entry.body["profit_usd"] == pytest.approx(income - money["import"] - money["wear"], abs=1e-9)
    running = settle.load(engine.ledger)
    assert running is not None
    assert engine.site.battery.soc_min - 1e-6 <= running.soc_frac <= engine.site.battery.soc_max + 1e-6


def _state_of(engine: Engine):  # type: ignore[no-untyped-def]
    from gridpilot.domain import SiteState

    running = settle.load(engine.ledger)
    assert running is not None
    return SiteState(running.at, running.soc_frac)


def test_run_cycle__battery_energy__matches_the_change_in_state_of_charge(engine: Engine) -> None:
    first = run_cycle(engine, WALL)
    before = settle.load(engine.ledger)
    step(engine)
    run_cycle(engine, WALL)
    after = settle.load(engine.ledger)
    entry = engine.ledger.latest("settlement")
    assert before is not None and after is not None and entry is not None
    assert first.dispatch.battery_kw > 0.0  # the replay starts with a cheap hour before a spike
    stored = (after.soc_frac - before.soc_frac) * engine.site.battery.capacity_kwh
    assert stored == pytest.approx(entry.body["battery_kwh"] * engine.site.battery.efficiency_charge)


def test_load__after_a_cycle__gives_the_decision_back(engine: Engine) -> None:
    assert load(engine.ledger) is None
    result = run_cycle(engine, WALL)
    snap = load(engine.ledger)
    assert snap is not None
    assert snap.site == engine.site
    assert (snap.cycle_id, snap.at) == (result.cycle_id, result.at.replace(microsecond=0))
    assert snap.plan["soc_frac"] == result.plan.soc_frac.tolist()


def test_run_cycle__ledger_that_cannot_be_written__sends_nothing(engine: Engine, tmp_path: Path) -> None:
    run_cycle(engine, WALL)
    running = engine.gateway.read(WALL).machines
    step(engine)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", read_only=True) as read_only:
        engine.control.ledger = read_only
        with pytest.raises(LedgerError):
            run_cycle(engine, WALL)
    assert engine.gateway.read(WALL).machines == running


# --- MARA ------------------------------------------------------------------------------------


def test_run_cycle__mara__api_money_equals_ours(ledger: Ledger) -> None:
    with MaraServer(seed=3) as server:
        engine = open_engine(Settings(source="mara", mara_url=server.url), ledger)
        for _ in range(3):
            result = run_cycle(engine, datetime.now(UTC))
            assert result.dispatch.status == "applied"
            assert result.dispatch.machine_kw <= 1000.0
            entry = ledger.latest("cycle")
            assert entry is not None
            meter = entry.body["meter"]
            assert meter["our_revenue_per_h"] == pytest.approx(meter["api_revenue_per_h"], rel=1e-9)
            assert meter["our_cost_per_h"] == pytest.approx(meter["api_cost_per_h"], rel=1e-9)
            rate = entry.body["rate"]
            assert sum(rate["machines"].values()) == pytest.approx(meter["api_revenue_per_h"], rel=1e-9)
            server.tick()


def test_run_cycle__mara__stock_limits_of_the_site_file_and_power_of_the_inventory(ledger: Ledger) -> None:
    with MaraServer(seed=3) as server:
        engine = open_engine(Settings(source="mara", mara_url=server.url), ledger)
    stock = load_site(DATA / "site-mara.toml")
    assert {m.type: m.count for m in engine.site.machines} == {m.type: m.count for m in stock.machines}
    assert engine.site.machine("hydro").rate == 10000


def test_F09_run_cycle__mara_gives_no_prices__stale_ones_then_no_decision(ledger: Ledger) -> None:
    with MaraServer(seed=3) as server:
        engine = open_engine(Settings(source="mara", mara_url=server.url), ledger)
        now = datetime.now(UTC)
        run_cycle(engine, now)
        server.set_faults({"empty": True})
        stale = run_cycle(engine, now + timedelta(minutes=8), dry_run=True)
        assert [flag.severity for flag in stale.flags if flag.code == "STALE"] == ["warn"]
        with pytest.raises(SourceError, match="STALE"):
            run_cycle(engine, now + timedelta(hours=1), dry_run=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 40, 81, 99, 108, 200, 241])  # from 81 on: each once broke a limit
def test_run_cycle__any_site__every_decision_is_sent(seed: int, tmp_path: Path) -> None:
    site = any_site(Dice(seed))
    url, wall = f"sqlite:///{tmp_path / 'ledger.db'}", datetime.now(UTC)
    with Ledger.open(url) as ledger:
        engine = open_engine(Settings(source="replay", db_url=url), ledger)
        assert isinstance(engine.source, ReplaySource)
        engine.site = site
        engine.control.gateway = SimulatedGateway(
            site,
            load=lambda: ledger.get_state("machines").value or {},
            save=lambda value: ledger.put_state("machines", value),
        )
        for _ in range(4):
            result = run_cycle(engine, wall)
            assert (result.dispatch.status, result.dispatch.violations) == ("applied", ())
            engine.source.clock = engine.source.clock.stepped(wall).with_speed(wall, 0.0)


@pytest.mark.slow
def test_run_cycle__ramp_and_minimum_run_times__kept_by_what_is_sent(engine: Engine) -> None:
    machines = tuple(replace(m, min_on_h=3.0, min_off_h=2.0) for m in engine.site.machines)
    site = engine.site = replace(engine.site, machines=machines, ramp_kw_per_min=3.0)
    engine.control.gateway = SimulatedGateway(
        site,
        load=lambda: engine.ledger.get_state("machines").value or {},
        save=lambda value: engine.ledger.put_state("machines", value),
    )
    sent = []
    for _ in range(72):
        sent.append(run_cycle(engine, WALL).dispatch)
        step(engine)
    changes = [abs(two.grid_kw - one.grid_kw) for one, two in itertools.pairwise(sent)]
    assert max(changes) <= 180.0 + 1e-3, "3 kW a minute, for an hour"
    assert sum(change > 179.0 for change in changes) > 5, "the limit is what holds it"
    for machine in site.machines:
        counts = [0, *(out.machines[machine.type] for out in sent)]
        moved = np.diff(counts)
        assert all(counts[t + 1] >= moved[max(0, t - 2) : t].clip(0).sum() for t in range(len(moved)) if moved[t] < 0)
        left_off = [
            machine.count - counts[t + 1] >= -moved[max(0, t - 1) : t].clip(None, 0).sum()
            for t in range(len(moved))
            if moved[t] > 0
        ]
        assert all(left_off)


def test_run_cycle__outdoor_temperature_in_the_prices__cooling_follows_it_in_plan_dispatch_and_ledger(
    tmp_path: Path,
) -> None:
    rows = ["timestamp,energy_price,hash_price,token_price,outdoor_c"]
    for hour in range(72):
        moment = datetime(2024, 6, 20, tzinfo=UTC) + timedelta(hours=hour)
        rows.append(f"{moment:%Y-%m-%dT%H:%M:%SZ},{40 + hour % 24},5,1,{20 + hour % 24}")
    prices, site = tmp_path / "prices.csv", tmp_path / "site.toml"
    prices.write_text("\n".join(rows) + "\n")
    site.write_text("[cooling]\ncop = 4.0\ncop_drop_per_c = 0.05\nrated_c = 20\n")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        engine = open_engine(Settings(source=f"csv:{prices}", db_url=url, site=site), ledger)
        result = run_cycle(engine, datetime.now(UTC))
        snap = load(ledger)
    assert snap is not None
    outdoor = result.plan.outlook.outdoor_c
    assert outdoor[0] == 20 + 23
    assert outdoor[1:4].tolist() == [20.0, 21.0, 22.0]  # the day before, hour by hour
    cop = 4.0 - 0.05 * (outdoor - 20.0)
    assert result.plan.cooling_kw == pytest.approx(result.plan.it_kw / cop)
    it_kw = result.dispatch.total_power_kw - result.dispatch.cooling_kw
    assert it_kw > 0.0
    assert result.dispatch.cooling_kw == pytest.approx(it_kw / cop[0])
    assert snap.site.cooling.cop == pytest.approx(cop[0])  # what the screens reckon with
    assert what_if(snap, Change()).cooling_kw == pytest.approx(result.plan.cooling_kw, abs=1e-3)


# --- several live sources ---


@pytest.fixture
def servers() -> Iterator[tuple[MarketServer, MarketServer]]:
    with MarketServer() as first, MarketServer() as second:
        yield first, second


@pytest.fixture
def live(ledger: Ledger, servers: tuple[MarketServer, MarketServer]) -> Engine:
    first, second = servers
    settings = Settings(
        source="gridstatus:ercot/HB_NORTH, energy-charts:NL",
        hash_source="mempool",
        gridstatus_url=f"{first.url}/v1",
        gridstatus_api_key=SecretStr(KEY),
        energy_charts_url=second.url,
        mempool_url=second.url,
    )
    return open_engine(settings, ledger)


def test_run_cycle__live_sources__each_ones_standing_is_on_record(live: Engine) -> None:
    wall = datetime.now(UTC)
    result = run_cycle(live, wall)
    assert result.source == "gridstatus:ercot/HB_NORTH"
    assert result.plan.status == "optimal"
    body = live.ledger.latest("cycle").body
    assert body["sources"] == live.ledger.get_state(STATE).value
    assert [(s["name"], s["role"], s["unit"], s["currency"]) for s in body["sources"]] == [
        ("gridstatus:ercot/HB_NORTH", "in use", "USD/MWh", "USD"),
        ("energy-charts:NL", "standby", "EUR/MWh", "EUR"),
        ("mempool", "beside", "USD/PH/day", "USD"),
    ]
    assert body["simulated"] is False
    assert body["prices"]["hash"] == pytest.approx(45.36)


def test_run_cycle__source_switches__markets_are_not_mixed_and_it_is_no_jump(
    live: Engine, servers: tuple[MarketServer, MarketServer]
) -> None:
    wall = datetime.now(UTC)
    run_cycle(live, wall)
    first_id = live.decided
    servers[0].faults.body = {"data": []}
    later = wall + timedelta(days=3)
    result = run_cycle(live, later)
    assert result.source == "energy-charts:NL"
    codes = {flag.code for flag in result.flags}
    assert {"FAILOVER", "SWITCHED"} <= codes
    assert "SUSPECT" not in codes
    inputs = {entry.cycle_id: entry.body for entry in live.ledger.entries("inputs", limit=10)}
    assert inputs[result.cycle_id]["previous"] == ""
    assert inputs[first_id]["prices"]["source"] == "gridstatus:ercot/HB_NORTH"
    assert inputs[result.cycle_id]["prices"]["units"]["energy"] == "EUR/MWh"
    texas, europe = (live.ledger.prices(name) for name in ("gridstatus:ercot/HB_NORTH", "energy-charts:NL"))
    assert len(texas) and len(europe)
    at = np.intersect1d(texas.timestamp, europe.timestamp)
    ratio = europe.energy_usd_per_mwh[np.isin(europe.timestamp, at)] / live.site.usd_per_eur
    assert ratio == pytest.approx(texas.energy_usd_per_mwh[np.isin(texas.timestamp, at)])  # both servers say the same
    assert replay(live.ledger, result.cycle_id).same


def test_run_cycle__after_a_switch__nothing_forecast_of_the_other_market_is_scored(
    live: Engine, servers: tuple[MarketServer, MarketServer]
) -> None:
    wall = datetime.now(UTC)
    run_cycle(live, wall)
    assert market.load(live.ledger) == Market("gridstatus:ercot/HB_NORTH", None)
    live.ledger.put_state(drift.KEY, Drift(level=24.0, fallback=True, since=wall, scored=wall, share=4.0))
    servers[0].faults.status = 403  # prices of tomorrow are known by now, but the key is refused
    later = wall + timedelta(hours=1)
    history = live.source.fetch(later)
    assert drift.score(live.ledger, history) is not None  # without a look at whose it was, it would count
    run_cycle(live, later)
    assert market.since(live.ledger) == later
    assert drift.score(live.ledger, history, later) is None
    assert drift.load(live.ledger) == Drift()
    run_cycle(live, later + timedelta(hours=1))
    assert market.since(live.ledger) == later


def test_run_cycle__no_source_is_usable__nothing_is_sent_and_the_reasons_are_on_record(
    live: Engine, servers: tuple[MarketServer, MarketServer]
) -> None:
    for server in servers:
        server.faults.status, server.faults.echo_key = 403, True
    with pytest.raises(SourceError, match="no price source is usable") as caught:
        run_cycle(live, datetime.now(UTC))
    assert live.ledger.latest("intent") is None
    found = live.ledger.get_state(STATE).value
    assert [standing["role"] for standing in found[:2]] == ["refused", "refused"]
    assert all("answered 403" in standing["error"] for standing in found[:2])
    assert KEY not in str(found) + str(caught.value)


def test_run_cycle__hash_price_unknown__a_visible_gap_and_mining_earns_nothing(
    live: Engine, servers: tuple[MarketServer, MarketServer]
) -> None:
    servers[1].usd = 0
    result = run_cycle(live, datetime.now(UTC))
    assert "HASH_GAP" in {flag.code for flag in result.flags if flag.severity == "warn"}
    assert live.ledger.latest("cycle").body["prices"]["hash"] is None
    hashing = {machine.type for machine in live.site.machines if machine.product == "hash"}
    assert not any(result.dispatch.machines.get(name) for name in hashing)
    beside = live.ledger.get_state(STATE).value[-1]
    assert beside["name"] == "mempool"
    assert "expected 0.1 to 10000" in beside["error"]


class Slipped:
    """The replay, with its newest price replaced and said to be suspect (or not any more)."""

    def __init__(self, source: ReplaySource) -> None:
        self.source = source
        self.name, self.simulated = source.name, source.simulated
        self.price: float | None = None
        self.suspect = True

    def present(self, wall: datetime) -> datetime:
        return self.source.present(wall)

    def fetch(self, now: datetime) -> PriceHistory:
        history = self.source.fetch(now)
        if self.price is None:
            return history
        energy = as_array([*history.energy_usd_per_mwh[:-1], self.price])
        flags = plausibility({"energy": energy}, history.step_s, "energy") if self.suspect else ()
        return replace(history, energy_usd_per_mwh=energy, flags=(*history.flags, *flags))


def test_F12_F20_cycle__suspect_price_that_would_pay_for_load__import_does_not_rise_until_confirmed(
    engine: Engine, ledger: Ledger
) -> None:
    assert isinstance(engine.source, ReplaySource)
    slipped = Slipped(engine.source)
    engine.site = replace(engine.site, jobs=(), tenants=())
    engine.source, slipped.price, slipped.suspect = slipped, 400.0, False
    low = run_cycle(engine, WALL)  # dear: little runs
    slipped.source.clock = slipped.source.clock.stepped(WALL).with_speed(WALL, 0.0)
    slipped.price, slipped.suspect = -60_000.0, True
    held = run_cycle(engine, WALL)
    assert {"SUSPECT", "NOT_RAISED"} <= {flag.code for flag in held.flags}
    assert held.dispatch.grid_kw <= max(0.0, low.dispatch.grid_kw) + 1e-6
    assert held.dispatch.constraints_satisfied
    assert replay(ledger, held.cycle_id).differences == ()
    slipped.source.clock = slipped.source.clock.stepped(WALL).with_speed(WALL, 0.0)
    slipped.suspect = False
    confirmed = run_cycle(engine, WALL)
    assert confirmed.dispatch.grid_kw > held.dispatch.grid_kw + 100.0


def test_F13_cycle__one_wild_price_and_then_the_usual_ones__down_only_and_one_command_an_interval(
    engine: Engine, ledger: Ledger
) -> None:
    assert isinstance(engine.source, ReplaySource)
    slipped = Slipped(engine.source)
    engine.source = slipped
    drawn = []
    for price in (None, 30_000.0, None, None):
        slipped.price = price
        drawn.append(run_cycle(engine, WALL).dispatch.grid_kw)
        slipped.source.clock = slipped.source.clock.stepped(WALL).with_speed(WALL, 0.0)
    assert drawn[1] <= max(0.0, drawn[0]) + 1e-6, "a suspect price moves the load down only"
    assert drawn[2] > drawn[1], "the usual price after it is believed at once"
    intents = [entry.cycle_id for entry in ledger.entries("intent")]
    assert len(intents) == len(set(intents)) == 4
