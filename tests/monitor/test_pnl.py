"""Money rates against figures worked out by hand, and against the MARA API's own formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import Units
from gridpilot.monitor.pnl import Prices, always_on, machine_revenue, rate

SITE = load_site(DATA / "site-default.toml")
MARA = load_site(DATA / "site-mara.toml")
INDEX = Units("index", "index/W", "index", "index", 1e6, 1.0, 1.0)
NOW = Prices(80.0, 55.0, 0.6, Units())


def test_machine_revenue__hydro_at_55_usd_per_ph_day__terahash_times_hashprice() -> None:
    # 335 TH/s = 0.335 PH/s, 55 $/PH/day: 18.425 $/day, 0.7677 $/h for each machine
    assert machine_revenue(SITE, NOW, {"hydro": 10})["hydro"] == pytest.approx(10 * 0.335 * 55 / 24)


def test_machine_revenue__gpu_at_60_cents_a_million__tokens_per_hour_times_price() -> None:
    assert machine_revenue(SITE, NOW, {"gpu": 1})["gpu"] == pytest.approx(8300 * 3600 / 1e6 * 0.60)


def test_machine_revenue__price_unknown__brings_nothing() -> None:
    prices = Prices(80.0, math.nan, math.nan, Units())
    assert set(machine_revenue(SITE, prices, {"hydro": 5, "gpu": 2}).values()) == {0.0}


def test_rate__mara_capture__equals_the_api_to_the_last_digit() -> None:
    # 100 ASIC at token price 1.119040184 and energy price 2.124722828696537: captured from the API
    site = replace(MARA, machines=tuple(replace(m, count=300) for m in MARA.machines))
    prices = Prices(2.124722828696537 * 1e6, 3.0, 559520.092055717 / 500000, INDEX)
    found = rate(site, prices, {"asic": 100})
    assert found.machines["asic"] == pytest.approx(559520.092055717, rel=1e-12)
    assert found.import_cost == pytest.approx(2124722.828696537, rel=1e-12)


def test_rate__charging__adds_import_and_wear_only() -> None:
    idle, charging = rate(SITE, NOW, {}), rate(SITE, NOW, {}, battery_kw=200.0)
    assert idle.profit_usd_per_h == 0.0
    assert charging.import_cost == pytest.approx(200 * 0.08)
    assert charging.wear == pytest.approx(200 * 0.0002)
    assert charging.profit_usd_per_h == pytest.approx(-16.04)


def test_rate__discharging_above_the_load__exports_at_the_same_price() -> None:
    found = rate(SITE, NOW, {}, battery_kw=-250.0)
    assert (found.export_income, found.import_cost) == (pytest.approx(20.0), 0.0)


def test_rate__cooling__is_part_of_the_load() -> None:
    found = rate(SITE, NOW, {"hydro": 10}, tenants_kw={"render-farm": 35.0})
    it_kw = 53.6 + 35.0
    assert found.load_kw == pytest.approx(it_kw * (1 + 1 / 3.5))


def test_always_on__never_looks_at_the_energy_price() -> None:
    cheap = always_on(SITE, NOW, 12, jobs_kw={}, tenants_kw={})
    dear = always_on(SITE, replace(NOW, energy_usd_per_mwh=900.0), 12, jobs_kw={}, tenants_kw={})
    assert cheap.load_kw == dear.load_kw
    assert cheap.load_kw <= SITE.import_kw
    assert dear.profit_usd_per_h < 0.0 < cheap.profit_usd_per_h


def test_always_on__gpu_demand_at_night__leaves_nodes_off() -> None:
    night, noon = (always_on(SITE, NOW, hour, jobs_kw={}, tenants_kw={}).machines["gpu"] for hour in (3, 12))
    assert 0 < night < noon
