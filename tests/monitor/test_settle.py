"""What ran between two cycles: energy, money and job progress over the prices that came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import PriceHistory
from gridpilot.monitor.settle import START_SOC, Running, settle

SITE = load_site(DATA / "site-default.toml")
T0 = datetime(2024, 6, 24, 12, tzinfo=UTC)


def history(prices: list[float]) -> PriceHistory:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(3600, "s")
    return PriceHistory("replay", stamps, 3600, np.array(prices), np.full(n, 55.0), np.full(n, 0.6))


def running(hours: float = 5.0, **changes: object) -> Running:
    given = {"at": T0, "valid_until": T0 + timedelta(hours=hours), "soc_frac": 0.5}
    return Running(**{**given, **changes})  # type: ignore[arg-type]


def test_settle__first_cycle__nothing_to_settle_and_the_state_is_said_to_be_assumed() -> None:
    kept, settlement, flags = settle(SITE, history([50.0]), None, T0)
    assert settlement is None
    assert kept.soc_frac == START_SOC
    assert [flag.code for flag in flags] == ["SIMULATED_SOC"]


def test_settle__across_two_prices__each_part_at_its_own_price() -> None:
    half_past = T0 + timedelta(minutes=30)
    _, settled, _ = settle(
        SITE, history([50.0, 100.0]), running(machines={"hydro": 10}, at=half_past), T0 + timedelta(hours=2)
    )
    assert settled is not None
    load = 10 * 5.36 * (1 + 1 / 3.5)
    assert settled.hours == pytest.approx(1.5)
    assert settled.consumed_kwh == pytest.approx(load * 1.5)
    assert settled.money["import"] == pytest.approx(load * (0.5 * 0.050 + 1.0 * 0.100))
    assert settled.money["hash"] == pytest.approx(10 * 335 / 1000 * 55 / 24 * 1.5)
    assert settled.profit_usd == pytest.approx(settled.money["hash"] - settled.money["import"])


def test_settle__charging__stores_less_than_it_takes() -> None:
    kept, settled, _ = settle(SITE, history([50.0, 50.0]), running(battery_kw=100.0), T0 + timedelta(hours=2))
    assert settled is not None
    assert settled.battery_kwh == pytest.approx(200.0)
    assert kept.soc_frac == pytest.approx(0.5 + 200 * 0.94 / 1000)


def test_settle__set_points_expired__the_site_counts_as_off_from_then_on() -> None:
    kept, settled, flags = settle(
        SITE, history([50.0] * 8), running(hours=1.0, battery_kw=100.0), T0 + timedelta(hours=6)
    )
    assert settled is not None
    assert settled.hours == pytest.approx(1.0)
    assert kept.soc_frac == pytest.approx(0.5 + 94 / 1000)
    assert [flag.code for flag in flags] == ["EXPIRED"]


def test_settle__clock_went_back__nothing_is_counted_and_said_so() -> None:
    kept, settled, flags = settle(SITE, history([50.0]), running(battery_kw=100.0), T0 - timedelta(hours=1))
    assert settled is None
    assert kept.soc_frac == 0.5
    assert [flag.code for flag in flags] == ["CLOCK_BACK"]


def test_settle__job_energy__is_counted_for_the_run_it_belongs_to() -> None:
    kept, settled, _ = settle(SITE, history([50.0] * 3), running(jobs_kw={"training": 100.0}), T0 + timedelta(hours=2))
    assert settled is not None
    assert settled.money["jobs"] == pytest.approx(200 * 0.5)
    assert dict(kept.jobs_kwh) == {"training@2024-06-24T17:00:00Z": pytest.approx(200.0)}  # due at 19:00 in Rotterdam


def test_running__json__comes_back_the_same() -> None:
    given = running(machines={"hydro": 3}, jobs_kwh={"training@2024-06-24T17:00:00Z": 10.0}, tenants_usd_per_h=1.5)
    assert Running.from_json(given.to_json()) == given
