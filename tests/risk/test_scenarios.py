"""Money of fixed set points on price paths: aligned by time, in the plan's own units."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.domain import (
    Band,
    Battery,
    Forecast,
    Job,
    MachineType,
    Plan,
    PriceOutlook,
    Site,
    SiteState,
    Tenant,
    Units,
)
from gridpilot.errors import DataError
from gridpilot.risk import measures
from gridpilot.risk.measures import FACTOR_UNKNOWN
from gridpilot.risk.scenarios import Futures, forecast_futures, full_usd, money, plan_risk, pnl_paths

START = np.datetime64("2024-06-12T10:00:00", "s")
SITE = Site(
    battery=Battery(wear_usd_per_kwh=0.01),
    machines=(
        MachineType("air", 100, 1000.0, 100.0, "hash"),
        MachineType("gpu", 10, 10_000.0, 8000.0, "token"),
    ),
    jobs=(Job("training", 400.0, 100.0, 0.5, daily_deadline="18:00"),),
    tenants=(Tenant("farm", "inference", 60.0, 0.16),),
)
STEPS = 4


def times(n: int, step_s: int = 3600, first: int = 0) -> np.ndarray:
    return START + (first + np.arange(n)) * np.timedelta64(step_s, "s")


def make_forecast(n: int = 6, paths: int = 30, step_s: int = 3600, seed: int = 0) -> Forecast:
    rng = np.random.default_rng(seed)
    levels = {"energy": 50.0, "hash": 60.0, "token": 0.6}
    flat = {price: np.full(n, level) for price, level in levels.items()}
    bands = {price: Band(y, y, y, y * 0, {0.5: y}, "test") for price, y in flat.items()}
    futures = {price: level * (1 + 0.2 * rng.normal(size=(paths, n))) for price, level in levels.items()}
    origin = datetime(2024, 6, 12, 10, tzinfo=UTC)
    return Forecast(origin=origin, timestamp=times(n, step_s, 1), step_s=step_s, paths=futures, **bands)


def make_plan(step_s: int = 3600, known: int = 1, **loads: float) -> Plan:
    zero = np.zeros(STEPS)
    outlook = PriceOutlook(
        times(STEPS, step_s), step_s, [40.0, 50, 50, 50], [70.0, 60, 60, 60], [0.7, 0.6, 0.6, 0.6], Units(), known
    )
    load = {name: np.full(STEPS, kw) for name, kw in loads.items()}
    return Plan(
        status="optimal",
        method="test",
        objective_usd=0.0,
        timestamp=times(STEPS, step_s),
        step_s=step_s,
        soc_start_frac=0.5,
        charge_kw=zero,
        discharge_kw=zero,
        soc_frac=zero + 0.5,
        import_kw=zero + sum(loads.values()),
        export_kw=zero,
        cooling_kw=zero,
        loads_kw=load,
        marginal_value_usd_per_kwh=zero,
        power_price_usd_per_kwh=zero,
        terminal_usd_per_mwh=0.0,
        outlook=outlook,
    )


def test_pnl_paths__import_pays_the_path_and_now_pays_the_known_price() -> None:
    forecast = make_forecast()
    plan = dataclasses.replace(make_plan(), import_kw=np.array([100.0, 200, 300, 400]))
    pnl = pnl_paths(plan, forecast, SITE)
    assert pnl.shape == (30, STEPS)
    assert pnl[:, 0] == pytest.approx(np.full(30, -100 * 40 / 1000))
    expected = -np.array([200.0, 300, 400]) * forecast.paths["energy"][:, :3] / 1000
    assert pnl[:, 1:] == pytest.approx(expected)


def test_pnl_paths__export_earns_and_wear_costs_by_the_hour() -> None:
    forecast = make_forecast(step_s=900)
    plan = dataclasses.replace(make_plan(900), export_kw=np.full(STEPS, 80.0), discharge_kw=np.full(STEPS, 80.0))
    pnl = pnl_paths(plan, forecast, SITE)
    assert pnl[:, 0] == pytest.approx(np.full(30, 0.25 * (80 * 40 / 1000 - 80 * 0.01)))
    assert pnl[:, 2] == pytest.approx(0.25 * (80 * forecast.paths["energy"][:, 1] / 1000 - 80 * 0.01))


def test_pnl_paths__machines_earn_their_path_and_contracts_their_price() -> None:
    forecast = make_forecast()
    plan = make_plan(air=50.0, gpu=20.0, training=100.0, farm=60.0)
    pnl = pnl_paths(plan, forecast, SITE)
    hash_per_kwh = 100.0 * forecast.paths["hash"][:, 0] / 24_000.0  # 100 TH/s for each kW, price in $/PH/day
    token_per_kwh = 8000.0 * forecast.paths["token"][:, 0] * 0.0036 / 10.0
    income = 50 * hash_per_kwh + 20 * token_per_kwh + 100 * 0.5 + 60 * 0.16
    assert pnl[:, 1] == pytest.approx(income - 230 * forecast.paths["energy"][:, 0] / 1000)


def test_pnl_paths__published_steps_are_the_same_on_every_path() -> None:
    pnl = pnl_paths(make_plan(known=3, air=100.0), make_forecast(), SITE)
    assert np.all(np.ptp(pnl[:, :3], axis=0) == 0.0)
    assert np.ptp(pnl[:, 3]) > 0.0


def test_pnl_paths__older_plan_is_aligned_by_time_not_by_row() -> None:
    forecast = make_forecast()
    later = dataclasses.replace(forecast, timestamp=times(6, first=2))  # the plan's first two steps are past
    pnl = pnl_paths(make_plan(air=100.0), later, SITE)
    assert np.ptp(pnl[:, 1]) == 0.0
    expected = 100 * (100 * forecast.paths["hash"][:, 0] / 24_000 - forecast.paths["energy"][:, 0] / 1000)
    assert pnl[:, 2] == pytest.approx(expected)


def test_pnl_paths__price_that_the_forecast_lacks_is_the_outlooks() -> None:
    forecast = make_forecast()
    blind = dataclasses.replace(forecast, paths={**forecast.paths, "hash": np.full((30, 6), np.nan)})
    pnl = pnl_paths(make_plan(air=100.0), blind, SITE)
    expected = 100 * (100 * 60 / 24_000 - forecast.paths["energy"][:, :3] / 1000)
    assert pnl[:, 1:] == pytest.approx(expected)


def test_pnl_paths__run_of_a_daily_job_is_worth_its_job() -> None:
    one = pnl_paths(make_plan(**{"training 2024-06-12": 100.0}), make_forecast(), SITE)
    assert one == pytest.approx(pnl_paths(make_plan(training=100.0), make_forecast(), SITE))


@given(scale=st.floats(0.0, 20.0), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_pnl_paths__scaled_set_points_scale_the_money(scale: float, seed: int) -> None:
    forecast = make_forecast(seed=seed)
    once, scaled = make_plan(air=50.0, farm=10.0), make_plan(air=50.0 * scale, farm=10.0 * scale)
    assert pnl_paths(scaled, forecast, SITE) == pytest.approx(scale * pnl_paths(once, forecast, SITE), abs=1e-9)


def test_pnl_paths__forecast_that_ends_before_the_plan_is_refused() -> None:
    with pytest.raises(DataError, match="forecast every step"):
        pnl_paths(make_plan(air=1.0), make_forecast(n=2), SITE)


def test_pnl_paths__other_step_is_refused() -> None:
    with pytest.raises(DataError, match="steps of 3600 s"):
        pnl_paths(make_plan(air=1.0), make_forecast(step_s=300), SITE)


def test_pnl_paths__load_that_the_site_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match="'sauna'"):
        pnl_paths(make_plan(sauna=1.0), make_forecast(), SITE)


def test_plan_risk__sample_is_the_total_of_each_path() -> None:
    plan, forecast = make_plan(air=500.0), make_forecast(paths=200)
    result = plan_risk(plan, forecast, SITE, alpha=0.9, cap_usd=10.0)
    totals = pnl_paths(plan, forecast, SITE).sum(axis=1)
    assert result.status == "ok"
    assert result.pnl_usd.tolist() == totals.tolist()
    assert result.cvar == pytest.approx(-np.sort(totals)[:20].mean())
    assert result.expected == pytest.approx(totals.mean())


def test_plan_risk__drawdown_is_the_quantile_over_paths() -> None:
    plan, forecast = dataclasses.replace(make_plan(), import_kw=np.full(STEPS, 500.0)), make_forecast(paths=100)
    result = plan_risk(plan, forecast, SITE, alpha=0.95)
    losses = -pnl_paths(plan, forecast, SITE).sum(axis=1)  # nothing but costs: the path falls all the way
    assert result.max_drawdown == pytest.approx(np.sort(losses)[::-1][5])


def test_plan_risk__too_few_paths_says_so() -> None:
    result = plan_risk(make_plan(air=500.0), make_forecast(paths=10), SITE)
    assert result.status == "not enough data: 10 of 20"
    assert result.risk_adjustment_factor == FACTOR_UNKNOWN


# --- courses of any origin -----------------------------------------------------------------------


def plain_money(plan: Plan, futures: Futures, s: int) -> float:
    """P&L of one course, one step after the other."""
    total = 0.0
    for t in range(len(plan)):
        rate = (plan.export_kw[t] - plan.import_kw[t]) * futures.energy[s, t] / 1000.0
        rate -= 0.01 * (plan.charge_kw[t] + plan.discharge_kw[t])
        rate += plan.loads_kw["air"][t] * 100.0 * futures.hash[s, t] / 24_000.0
        rate += plan.loads_kw["gpu"][t] * 8000.0 * futures.token[s, t] * 0.0036 / 10.0
        rate += plan.loads_kw["farm"][t] * 0.16
        total += rate * plan.outlook.step_h
    return total


def test_money__many_courses__as_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    futures = Futures(*(rng.normal(50.0, 20.0, (40, STEPS)) for _ in range(3)))  # type: ignore[arg-type]
    plan = make_plan(900, air=50.0, gpu=20.0, farm=60.0)
    plan = dataclasses.replace(plan, charge_kw=np.full(STEPS, 10.0), export_kw=np.array([0.0, 5.0, 0.0, 9.0]))
    assert money(plan, SITE, futures).sum(axis=1) == pytest.approx([plain_money(plan, futures, s) for s in range(40)])


def test_money__price_that_is_not_known__earns_nothing() -> None:
    known = np.full((3, STEPS), 50.0)
    none = Futures(known, np.full((3, STEPS), np.nan), known)
    assert money(make_plan(air=50.0), SITE, none) == pytest.approx(np.full((3, STEPS), -50 * 50 / 1000))


def test_futures__courses_of_unlike_shape__refused() -> None:
    with pytest.raises(DataError, match=r"expected one shape \(S, T\)"):
        Futures(np.ones((3, 4)), np.ones((3, 4)), np.ones((3, 5)))


def test_full_usd__loads_at_full_use__energy_and_cooling_paid() -> None:
    state = SiteState(datetime(2024, 6, 12, 10, tzinfo=UTC), 0.5)
    forecast = make_forecast()
    plan = dataclasses.replace(make_plan(air=50.0), discharge_kw=np.full(STEPS, 20.0))
    futures = forecast_futures(plan, forecast)
    found = full_usd(plan, SITE, state, futures)
    assert set(found) == {"air", "gpu", "farm", "battery"}  # no run of the job is due
    gross = 1.0 + SITE.cooling.kw_per_kw
    assert found["air"] == pytest.approx(
        (100 * (100 * futures.hash / 24_000 - gross * futures.energy / 1000)).sum(axis=1)
    )
    assert found["farm"] == pytest.approx((60 * (0.16 - gross * futures.energy / 1000)).sum(axis=1))
    assert found["battery"] == pytest.approx((20 * futures.energy / 1000 - 0.01 * 20).sum(axis=1))


def test_plan_risk__with_the_state__has_fan_loads_and_drawdowns() -> None:
    plan, forecast = make_plan(air=500.0), make_forecast(paths=100)
    state = SiteState(datetime(2024, 6, 12, 10, tzinfo=UTC), 0.5)
    found, paths = plan_risk(plan, forecast, SITE, state=state), pnl_paths(plan, forecast, SITE)
    for level, path in found.fan_usd.items():
        assert path == pytest.approx(np.quantile(np.cumsum(paths, axis=1), level, axis=0))
    assert found.average_drawdown == pytest.approx(measures.average_drawdown(paths))
    assert found.cdar == pytest.approx(measures.cdar(paths, 0.95))
    assert set(found.full_usd) == {"air", "gpu", "farm", "battery"}
    assert not plan_risk(plan, forecast, SITE).full_usd
