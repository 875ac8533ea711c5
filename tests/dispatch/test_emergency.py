"""Fail-safe, shedding and the battery's guard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.emergency import GRAIN_KW, MARGIN, battery_guard, failsafe, scale_down
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Battery, Dispatch, SiteState

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
STATE = SiteState(T0, 0.5)


def asked(
    counts: dict[str, int], battery_kw: float = 0.0, training_kw: float = 0.0, tenant_kw: float = 0.0
) -> Dispatch:
    jobs, tenants = {"training": training_kw}, {"cold-store": tenant_kw}
    machines = {m.type: counts.get(m.type, 0) for m in SITE.machines}
    return from_counts(SITE, STATE, machines, battery_kw, jobs, tenants, T0, T0 + timedelta(minutes=10), "plan")


@pytest.mark.parametrize("soc", [0.5, 0.0, float("nan")])
def test_failsafe__is_all_off_and_safe_whatever_is_known(soc: float) -> None:
    off = failsafe(SITE, SiteState(T0, soc), T0, T0 + timedelta(hours=1))
    assert set(off.machines) == {m.type for m in SITE.machines}
    assert (sum(off.machines.values()), off.battery_kw, off.total_power_kw) == (0, 0.0, 0.0)
    assert off.constraints_satisfied
    assert off.origin == "failsafe"


def test_scale_down__what_fits_is_left_alone() -> None:
    given_ = asked({"hydro": 10}, battery_kw=20.0)
    assert scale_down(SITE, STATE, given_, 100.0) == (given_, None)


def test_scale_down__least_efficient_miners_first_inference_last() -> None:
    given_ = asked({"air": 10, "hydro": 10, "gpu": 5}, training_kw=20.0)
    shed, flag = scale_down(SITE, STATE, given_, given_.total_power_kw - 20.0)
    assert shed.machines["air"] < 10
    assert (shed.machines["hydro"], shed.machines["gpu"], shed.jobs_kw["training"]) == (10, 5, 20.0)
    assert flag is not None
    assert (flag.code, flag.severity) == ("SHED", "alarm")


def test_scale_down__given_values_decide_the_order() -> None:
    given_ = asked({"air": 10, "hydro": 10, "gpu": 5})
    worth = {"air": 0.3, "hydro": 0.2, "gpu": 0.1}
    shed, _flag = scale_down(SITE, STATE, given_, given_.total_power_kw - 1.0, worth)
    assert shed.machines["gpu"] < 5
    assert shed.machines["air"] == 10


def test_scale_down__charging_goes_before_any_load() -> None:
    given_ = asked({"hydro": 10}, battery_kw=100.0)
    limit = given_.total_power_kw / (1.0 - MARGIN) + 5.0
    shed, flag = scale_down(SITE, STATE, given_, limit)
    assert shed.machines == given_.machines
    assert (1.0 - MARGIN) * limit - GRAIN_KW < shed.grid_kw <= (1.0 - MARGIN) * limit + 1e-6
    assert flag is not None


@settings(deadline=None, max_examples=60)
@given(
    air=st.integers(0, 80),
    hydro=st.integers(0, 45),
    gpu=st.integers(0, 12),
    battery_kw=st.floats(-250.0, 250.0),
    training_kw=st.floats(0.0, 100.0),
    tenant_kw=st.floats(0.0, 40.0),
    limit_kw=st.floats(0.0, 1000.0),
)
def test_scale_down__any_request_ends_within_the_limit(
    air: int, hydro: int, gpu: int, battery_kw: float, training_kw: float, tenant_kw: float, limit_kw: float
) -> None:
    given_ = asked({"air": air, "hydro": hydro, "gpu": gpu}, battery_kw, training_kw, tenant_kw)
    shed, flag = scale_down(SITE, STATE, given_, limit_kw)
    assert max(shed.total_power_kw, shed.grid_kw) <= limit_kw + 1e-6
    assert all(0 <= n <= given_.machines[name] for name, n in shed.machines.items())
    assert shed.battery_kw <= given_.battery_kw
    if flag is not None:
        assert max(shed.total_power_kw, shed.grid_kw) <= limit_kw * (1.0 - MARGIN) + 1e-6


@pytest.mark.parametrize(
    ("soc", "kw", "allowed", "code"),
    [
        (0.5, 200.0, 200.0, ""),
        (0.5, -200.0, -200.0, ""),
        (float("nan"), 200.0, 0.0, "SOC_UNKNOWN"),
        (68.7, -200.0, 0.0, "SOC_UNKNOWN"),
        (-0.1, 200.0, 0.0, "SOC_UNKNOWN"),
        (0.10, -200.0, 0.0, "SOC_LIMIT"),
        (0.10, 200.0, 200.0, ""),
        (0.95, 200.0, 0.0, "SOC_LIMIT"),
        (0.95, -200.0, -200.0, ""),
    ],
)
def test_battery_guard__only_toward_the_band(soc: float, kw: float, allowed: float, code: str) -> None:
    power, flag = battery_guard(Battery(), soc, kw)
    assert power == allowed
    assert (flag.code if flag else "") == code
