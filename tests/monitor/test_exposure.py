"""Figures worked out again from the ledger: other models, VaR against what came, the portfolio, another appetite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot import report, views
from gridpilot.config import Settings
from gridpilot.cycle import Engine, open_engine, run_cycle
from gridpilot.domain import RiskAppetite, Tenant
from gridpilot.errors import DataError
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import exposure
from gridpilot.monitor.decision import Snapshot, load, times, values
from gridpilot.monitor.holdings import EVEN, PLANNED, RICHEST, SAFEST, STEADIEST, holdings
from gridpilot.monitor.recorded import recorded_prices
from gridpilot.monitor.whatif import weighed
from gridpilot.risk.generators import PROCESSES, fit, from_bands
from gridpilot.risk.measures import cvar, value_at_risk
from gridpilot.risk.scenarios import Futures, money
from gridpilot.values import to_stamp
from gridpilot.views import risk as asked

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY_S = 86_400
DAYS = 23


def advance(engine: Engine, seconds: int) -> None:
    source = engine.source
    assert isinstance(source, ReplaySource)
    source.clock = source.clock.stepped(WALL, seconds).with_speed(WALL, 0.0)


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One decision a day at the same hour, and one a step before the last."""
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('daily') / 'ledger.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        for _ in range(DAYS):
            run_cycle(engine, WALL)
            advance(engine, 3600)
            source = engine.source
            assert isinstance(source, ReplaySource)
            source.clock = replace(source.clock, replay=source.clock.replay + timedelta(hours=23))
        yield ledger


@pytest.fixture
def snap(daily: Ledger) -> Snapshot:
    found = load(daily)
    assert found is not None
    return found


def plan_of(snap: Snapshot):  # type: ignore[no-untyped-def]
    return report.plan_from_json(snap.plan, snap.units)


# --- VaR against what came -----------------------------------------------------------------------


def test_track__a_decision_a_day__each_plan_at_the_prices_that_came(daily: Ledger, snap: Snapshot) -> None:
    found = exposure.track(daily, snap)
    assert len(found.at) == len(found.var) == len(found.came) == len(found.cycles) == DAYS - 1
    assert np.all(np.diff(found.at) == np.timedelta64(DAY_S, "s"))
    rows = daily.prices(snap.cycle["source"])
    for at, var, came, cycle_id in zip(found.at, found.var, found.came, found.cycles, strict=True):
        then = load(daily, cycle_id)
        assert then is not None and to_stamp(then.at) == at
        assert var == then.risk["var"]
        plan = plan_of(then)
        row = np.searchsorted(rows.timestamp, plan.timestamp)
        real = (rows.energy_usd_per_mwh, rows.hash_price, rows.token_price)
        assert came == pytest.approx(money(plan, then.site, Futures(*(p[row][None, :] for p in real))).sum())  # type: ignore[arg-type]
    hits = -found.came > found.var
    assert found.verdict.status == "ok" and found.verdict.hits == hits.sum()
    assert found.verdict.n == DAYS - 1


def test_track__plan_whose_prices_have_not_all_come__does_not_count(daily: Ledger, snap: Snapshot) -> None:
    before = load(daily, exposure.track(daily, snap).cycles[-1])
    assert before is not None
    assert before.cycle_id not in exposure.track(daily, before).cycles
    assert len(exposure.track(daily, before).at) == DAYS - 2


def test_track__other_loads_since__only_decisions_of_the_site_as_it_is(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        for number in range(3):
            if number == 1:
                engine.site = replace(engine.site, tenants=(Tenant("other", "inference", 20.0, 0.2),))
            run_cycle(engine, WALL)
            source = engine.source
            assert isinstance(source, ReplaySource)
            source.clock = replace(source.clock, replay=source.clock.replay + timedelta(days=1)).with_speed(WALL, 0.0)
        newest = load(ledger)
        assert newest is not None
        found = exposure.track(ledger, newest)
        assert len(found.at) == 1 and found.at[0] == to_stamp(newest.at - timedelta(days=1))
        assert found.verdict.status == "not enough data: 1 of 20"


# --- other models --------------------------------------------------------------------------------


def test_models__recorded_sample_and_draws__each_with_its_origin(daily: Ledger, snap: Snapshot) -> None:
    _, history = recorded_prices(daily)
    found = {model.name: model for model in exposure.models(snap, plan_of(snap), history, draws=4000)}
    assert list(found) == ["historical", "normal", "Student-t", *PROCESSES]
    sample, alpha = values(snap.risk["pnl_usd"]), snap.risk["alpha"]
    historical = found["historical"].estimate
    assert historical is not None
    assert (historical.var, historical.cvar) == (snap.risk["var"], snap.risk["cvar"])
    drawn = found["Ornstein-Uhlenbeck"].estimate
    assert drawn is not None and found["Ornstein-Uhlenbeck"].said.startswith("4,000 draws, Ornstein-Uhlenbeck, fitted")
    futures = fit("Ornstein-Uhlenbeck", history).simulate(
        plan_of(snap).outlook, 4000, np.random.default_rng(exposure.seed(snap.cycle_id))
    )
    assert drawn.cvar == cvar(money(plan_of(snap), snap.site, futures).sum(axis=1), alpha)
    assert found["historical"].mean == pytest.approx(sample.mean())
    for process in PROCESSES:
        if process != "Ornstein-Uhlenbeck":  # the Dutch prices were negative at times
            assert found[process].estimate is None
            assert "expected positive prices" in found[process].said


def test_F37_models__too_few_paths__every_sampled_model_says_so(daily: Ledger, snap: Snapshot) -> None:
    _, history = recorded_prices(daily)
    poor = replace(snap, risk={**snap.risk, "pnl_usd": snap.risk["pnl_usd"][:10]})
    found = exposure.models(poor, plan_of(snap), history, draws=100)[:3]
    assert [model.estimate for model in found] == [None] * 3
    assert all("not enough data: 10 of 20" in model.said for model in found)


def test_sigma__steps_of_the_plan__settled_one_is_sure(snap: Snapshot) -> None:
    found, ahead = exposure.sigma(snap), values(snap.forecast["bands"]["energy"]["sigma"])
    assert found["energy"][0] == 0.0
    assert found["energy"][1:].tolist() == ahead[: len(found["energy"]) - 1].tolist()


# --- the risk on record --------------------------------------------------------------------------


def test_record__fan_and_full_use__are_the_sample_over_time_and_by_load(snap: Snapshot) -> None:
    sample = values(snap.risk["pnl_usd"])
    for level, path in snap.risk["fan_usd"].items():
        assert values(path)[-1] == pytest.approx(np.quantile(sample, float(level)), rel=1e-6)
    full = {name: values(usd) for name, usd in snap.risk["full_usd"].items()}
    loads = [*(m.type for m in snap.site.machines), *(t.name for t in snap.site.tenants)]
    assert set(full) == {"battery", "training", *loads}
    assert all(len(usd) == len(sample) for usd in full.values())


# --- the portfolio -------------------------------------------------------------------------------


def test_holdings__recorded_plan__shares_limits_and_frontier(snap: Snapshot) -> None:
    found = holdings(snap, plan_of(snap))
    named = {row.name: row.point for row in found.named}
    assert list(named) == [PLANNED, SAFEST, STEADIEST, EVEN, RICHEST]
    assert (found.plan_mean, found.plan_cvar) == (snap.risk["expected"], snap.risk["cvar"])
    now, safe, rich = named[PLANNED], named[SAFEST], named[RICHEST]
    assert now is not None and safe is not None and rich is not None
    for point in (now, safe, rich, *found.frontier):
        assert point.weights.sum() == pytest.approx(1.0, abs=1e-6) and point.weights.min() >= 0.0
    assert safe.cvar <= min(point.cvar for point in (now, rich, *found.frontier)) + 1e-4
    assert rich.mean >= max(point.mean for point in (now, safe, *found.frontier)) - 1e-4
    gross = 1.0 + snap.site.cooling.kw_per_kw
    drawn = sum(values(kw) for kw in snap.plan["loads_kw"].values()) * gross
    assert found.mean_kw == pytest.approx(drawn.mean())
    shares = dict(zip(found.names, now.weights, strict=True))
    for name, share in shares.items():
        assert share == pytest.approx(values(snap.plan["loads_kw"][name]).mean() * gross / drawn.mean())
    for point in found.frontier:
        assert np.all(np.diff([p.mean for p in found.frontier]) > -1e-6)
        assert point.deviation >= found.frontier[0].deviation - 1e-4


def test_holdings__decision_recorded_without_the_loads__one_line(snap: Snapshot) -> None:
    old = replace(snap, risk={k: v for k, v in snap.risk.items() if k != "full_usd"})
    with pytest.raises(DataError, match="recorded without the P&L of each load"):
        holdings(old, plan_of(snap))


# --- another appetite ----------------------------------------------------------------------------


def courses(snap: Snapshot, n: int = 200, keep: float = 0.9) -> Futures:
    steps = len(snap.plan["timestamp"]) - 1
    bands = {
        name: {float(q): values(row)[:steps] for q, row in band["quantiles"].items()}
        for name, band in snap.forecast["bands"].items()
    }
    return from_bands(plan_of(snap).outlook, bands, keep, n, np.random.default_rng(0))


def test_from_bands__recorded_forecast__every_step_has_the_quantiles_that_it_said(snap: Snapshot) -> None:
    drawn = courses(snap, 20_000).energy
    for level, row in snap.forecast["bands"]["energy"]["quantiles"].items():
        below = np.mean(drawn[:, 1:] <= values(row)[: drawn.shape[1] - 1] + 1e-9, axis=0)
        assert np.all(np.abs(below - float(level)) < 5.0 * np.sqrt(0.25 / 20_000))
    assert np.all(drawn[:, 0] == snap.plan["energy_usd_per_mwh"][0])
    apart = courses(snap, 20_000, 0.0).energy
    assert np.corrcoef(drawn[:, 5], drawn[:, 6])[0, 1] > 0.8
    assert abs(np.corrcoef(apart[:, 5], apart[:, 6])[0, 1]) < 0.05


def test_weighed__no_weight__is_the_plan_in_force_on_the_same_futures(snap: Snapshot) -> None:
    futures = courses(snap)
    found = weighed(snap, plan_of(snap), RiskAppetite(None), futures)
    assert found.then_usd == pytest.approx(found.now_usd, abs=0.05)
    stored = (snap.plan["soc_frac"][-1] - snap.plan["soc_start_frac"]) * snap.site.battery.capacity_kwh
    plain = money(plan_of(snap), snap.site, futures).sum(axis=1)
    assert found.now_usd == pytest.approx(plain + stored * found.plan.terminal_usd_per_mwh / 1000.0)


def test_weighed__weight__is_hedged_as_the_pilot_would(snap: Snapshot) -> None:
    assert snap.plan["soc_start_frac"] > snap.site.battery.soc_max  # a day went by: it is brought back first
    back = weighed(snap, plan_of(snap), RiskAppetite(1.0, 0.9), courses(snap))
    assert not back.plan.hedge and "NOT_HEDGED" in [flag.code for flag in back.plan.flags]
    half = replace(snap, plan={**snap.plan, "state": {**snap.plan["state"], "soc_frac": 0.5}})
    found = weighed(half, plan_of(half), RiskAppetite(1.0, 0.9), courses(half))
    assert found.plan.status == "optimal" and found.label == "drawn from the forecast's bands"
    assert (found.plan.hedge["weight"], found.plan.hedge["alpha"], found.plan.hedge["paths"]) == (1.0, 0.9, 200.0)
    assert found.plan.battery_kw[0] == pytest.approx(found.plan.hedge["first_kw"], abs=1e-3)


def test_views__newest_decision__answers_from_the_ledger(
    daily: Ledger, snap: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "records", lambda: daily)
    one, other = asked.weighed(snap, 0.5, 0.95), asked.weighed(snap, 0.5, 0.95)
    assert np.array_equal(one.then_usd, other.then_usd) and len(one.then_usd) == asked.COURSES
    assert value_at_risk(one.then_usd, 0.95) <= cvar(one.then_usd, 0.95)
    assert asked.track(snap).cycles[-1] < snap.cycle_id
    assert [p.mean for p in asked.holdings(snap).frontier] == [p.mean for p in holdings(snap, plan_of(snap)).frontier]
    early = load(daily, asked.track(snap).cycles[0])
    assert early is not None
    drawn = {model.name: model for model in asked.models(early)}["Ornstein-Uhlenbeck"]
    _, known = recorded_prices(daily, until=early.at + timedelta(seconds=1))
    assert known.timestamp[-1] == times(early.plan["timestamp"])[0]  # nothing that came later
    assert drawn.estimate is not None and views.stress(snap)[0][0] == "as expected"
