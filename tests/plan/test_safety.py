"""The independent check finds every kind of breach, one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import Dispatch, Plan, PriceOutlook, Room, SiteState
from gridpilot.plan.safety import check_dispatch, check_plan
from gridpilot.plan.solve import plan

AT = datetime(2024, 6, 24, 12, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
STATE = SiteState(AT, 0.5)
STAMPS = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(3) * np.timedelta64(3600, "s")
OUTLOOK = PriceOutlook(STAMPS, 3600, np.array([20.0, 120.0, 60.0]), np.full(3, 55.0), np.full(3, 0.6))


@pytest.fixture(scope="module")
def good() -> Plan:
    return plan(SITE, STATE, OUTLOOK)


def moved(values: np.ndarray, step: int, by: float) -> np.ndarray:
    out = np.array(values)
    out[step] += by
    return out


def test_check_plan__an_optimal_plan__has_nothing_to_say(good: Plan) -> None:
    assert check_plan(SITE, STATE, good) == ()


@pytest.mark.parametrize(
    ("field", "by", "said"),
    [
        ("charge_kw", 400.0, "charge_kw is"),
        ("discharge_kw", 400.0, "discharge_kw is"),
        ("import_kw", 2000.0, "import_kw is"),
        ("export_kw", 2000.0, "export_kw is"),
        ("import_kw", 1.0, "power balance"),
        ("cooling_kw", -5.0, "cooling"),
        ("soc_frac", 0.1, "soc_frac - what the set points give"),
        ("charge_kw", float("nan"), "not finite"),
        ("export_kw", -500.0, "-export_kw is"),
    ],
)
def test_check_plan__one_set_point_off__named_with_its_limit(good: Plan, field: str, by: float, said: str) -> None:
    broken = replace(good, **{field: moved(getattr(good, field), 1, by)})
    assert any(said in line for line in check_plan(SITE, STATE, broken))


def test_check_plan__load_above_stock_or_unknown__named(good: Plan) -> None:
    over = replace(good, loads_kw={**good.loads_kw, "gpu": np.full(3, 500.0)})
    assert any(line.startswith("gpu kW is 500") for line in check_plan(SITE, STATE, over))
    strange = replace(good, loads_kw={**good.loads_kw, "mystery": np.zeros(3)})
    assert any("mystery: the site has no such load" in line for line in check_plan(SITE, STATE, strange))


def test_check_plan__true_state_lower_than_planned__discharge_below_the_band_found(good: Plan) -> None:
    assert any("soc_frac" in line for line in check_plan(SITE, SiteState(AT, 0.16), good))


def dispatch(**changes: Any) -> Dispatch:
    base = {
        "at": AT,
        "valid_until": AT + timedelta(hours=1),
        "origin": "plan",
        "machines": {"hydro": 10},
        "battery_kw": 0.0,
        "jobs_kw": {},
        "tenants_kw": {},
        "cooling_kw": 53.6 / 3.5,
        "machine_kw": 53.6,
        "total_power_kw": 53.6 * (1 + 1 / 3.5),
        "payload": {},
        "constraints_satisfied": True,
    }
    return Dispatch(**{**base, **changes})


def test_check_dispatch__ten_machines__nothing_to_say() -> None:
    assert check_dispatch(SITE, STATE, dispatch(), step_s=3600) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machines": {"hydro": 41}}, "the site has 40"),
        ({"machines": {"hydro": -1}}, "expected 0 or more"),
        ({"machines": {"hydro": 2.5}}, "expected a whole number"),
        ({"machines": {"hydro": True}}, "expected a whole number"),
        ({"machines": {"warp": 1}}, "the site has 0"),
        ({"battery_kw": 251.0}, "battery at 251"),
        ({"battery_kw": -251.0}, "battery at -251"),
        ({"battery_kw": float("inf")}, "not a finite number"),
        ({"cooling_kw": 0.0}, "cooling power"),
        ({"total_power_kw": 10.0}, "total power"),
        ({"tenants_kw": {"render-farm": 61.0}}, "expected 0 to 60"),
        ({"jobs_kw": {"training": -1.0}}, "expected 0 to 100"),
        ({"valid_until": AT}, "not after"),
    ],
)
def test_check_dispatch__one_thing_wrong__named(changes: dict[str, Any], said: str) -> None:
    assert any(said in line for line in check_dispatch(SITE, STATE, dispatch(**changes), step_s=3600))


def test_F32_check_dispatch__above_the_connection__named() -> None:
    machines = {m.type: m.count for m in SITE.machines}
    kw = sum(m.count * m.power_kw for m in SITE.machines)
    over = dispatch(machines=machines, machine_kw=kw, cooling_kw=kw / 3.5, total_power_kw=kw * (1 + 1 / 3.5))
    assert any("from the grid, limit 1,000 kW" in line for line in check_dispatch(SITE, STATE, over, step_s=3600))


@pytest.mark.parametrize("soc", [float("nan"), 1.7])
def test_F30_check_dispatch__battery_moved_with_an_unknown_state__refused(soc: float) -> None:
    lines = check_dispatch(SITE, SiteState(AT, soc), dispatch(battery_kw=100.0), step_s=3600)
    assert any("expected 0 kW" in line and "nan" not in line for line in lines)


@pytest.mark.parametrize(
    ("soc", "kw", "step_s", "said"),
    [
        (0.31, -250.0, 3600, "4.4 % after 1 h, band 15 to 90 %"),
        (0.31, -250.0, 5040, "after 1 h 24 min, band 15 to 90 %"),
        (0.152, -250.0, 60, "14.8 % after 60 s, band 15 to 90 %"),
        (0.152, -82.7, 90, "14.98 % after 90 s, band 15 to 90 %"),  # 15.0 would look as if it were inside
    ],
)
def test_check_dispatch__state_of_charge_outside__written_as_people_read(
    soc: float, kw: float, step_s: float, said: str
) -> None:
    (line,) = check_dispatch(SITE, SiteState(AT, soc), dispatch(battery_kw=kw), step_s=step_s)
    assert line.startswith("state of charge would be ") and line.endswith(said)


def test_check_dispatch__room_too_cold__written_as_people_read() -> None:
    room = Room(kwh_per_c=50.0, loss_kw_per_c=2.0, extra_kw=400.0)
    cold = dispatch(room_kw=300.0, cooling_kw=53.6 / 3.5 + 300.0, total_power_kw=53.6 * (1 + 1 / 3.5) + 300.0)
    (line,) = check_dispatch(replace(SITE, room=room), STATE, cold, step_s=900)
    assert line.endswith(" °C after 15 min, band 18 to 27 °C")


def test_check_dispatch__would_leave_the_band__named() -> None:
    lines = check_dispatch(SITE, SiteState(AT, 0.89), dispatch(battery_kw=250.0), step_s=3600)
    assert any("band 15 to 90 %" in line for line in lines)
    assert check_dispatch(SITE, SiteState(AT, 0.89), dispatch(battery_kw=250.0), step_s=100) == ()
