"""What each kind of command makes of a planned dispatch."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.dispatch import effects
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Dispatch, Room, SiteState
from gridpilot.errors import InputError

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
SITE = load_site(DATA / "site-default.toml")
STATE = SiteState(T0, 0.5, {"air": 3, "immersion": 4, "hydro": 5, "gpu": 6}, 40.0)


def planned(battery_kw: float = -50.0, room_kw: float = 0.0, **counts: int) -> Dispatch:
    wanted = {"air": 0, "immersion": 20, "hydro": 30, "gpu": 6, **counts}
    others = ({"training": 40.0}, {"cold-store": 10.0})
    return from_counts(SITE, STATE, wanted, battery_kw, *others, T0, T0 + HOUR, "plan", room_kw=room_kw)


def test_apply_override__machines_named_are_set_and_others_follow_the_plan() -> None:
    after = effects.apply_override(SITE, STATE, planned(), "machines", {"hydro": 10})
    assert after.machines == {"air": 0, "immersion": 20, "hydro": 10, "gpu": 6}
    assert (after.battery_kw, after.origin) == (-50.0, "override")
    assert (dict(after.jobs_kw), dict(after.tenants_kw)) == ({"training": 40.0}, {"cold-store": 10.0})
    assert (after.at, after.valid_until) == (T0, T0 + HOUR)


def test_apply_override__battery_power_leaves_machines_to_the_plan() -> None:
    after = effects.apply_override(SITE, STATE, planned(), "battery_kw", {"battery_kw": 25})
    assert (after.battery_kw, after.machines) == (25.0, planned().machines)


def test_apply_override__hold_keeps_what_was_read_and_rests_the_battery() -> None:
    after = effects.apply_override(SITE, STATE, planned(), "hold", {})
    assert (after.machines, after.battery_kw, after.origin) == (STATE.machines, 0.0, "hold")


# --- curtailment -----------------------------------------------------------------------------


def test_curtail__above_what_is_drawn_changes_nothing_but_says_so() -> None:
    after = effects.apply_override(SITE, STATE, planned(), "curtail", {"import_kw": 900})
    assert after == replace(planned(), origin="override")


def test_curtail__whole_machines_fit_just_under_the_limit_least_efficient_off_first() -> None:
    before = planned(air=40)
    after = effects.apply_override(SITE, STATE, before, "curtail", {"import_kw": before.grid_kw - 100.0})
    one = 3.12 * (1 + 1 / 3.5)
    assert after.machines == {**before.machines, "air": 40 - math.ceil(100.0 / one)}
    assert before.grid_kw - 100.0 - one < after.grid_kw <= before.grid_kw - 100.0, "one machine more would not fit"
    assert (after.battery_kw, after.constraints_satisfied) == (-50.0, True)


def test_curtail__charging_goes_before_any_machine() -> None:
    before = planned(battery_kw=200.0)
    after = effects.apply_override(SITE, STATE, before, "curtail", {"import_kw": before.grid_kw - 150.0})
    assert (after.machines, after.battery_kw) == (before.machines, pytest.approx(50.0))


def test_curtail__percent_is_of_the_connection() -> None:
    after = effects.apply_override(SITE, STATE, planned(), "curtail", {"percent": 25})
    assert 250.0 - 10.2 * (1 + 1 / 3.5) < after.grid_kw <= 250.0
    nothing = effects.apply_override(SITE, STATE, planned(battery_kw=0.0), "curtail", {"percent": 0})
    assert (sum(nothing.machines.values()), nothing.grid_kw) == (0, pytest.approx(0.0))


def test_curtail__cooling_kept_back_does_not_hide_load() -> None:
    site = replace(SITE, room=Room(kwh_per_c=40.0, extra_kw=40.0))
    warm = replace(planned(battery_kw=0.0), room_kw=-30.0)
    before = replace(warm, cooling_kw=warm.cooling_kw - 30.0, total_power_kw=warm.total_power_kw - 30.0)
    after = effects.apply_override(site, STATE, before, "curtail", {"import_kw": before.grid_kw - 1.0})
    assert after.grid_kw <= before.grid_kw - 1.0


@given(
    limit=st.floats(0.0, 1000.0),
    battery=st.floats(-250.0, 250.0),
    counts=st.tuples(st.integers(0, 80), st.integers(0, 60), st.integers(0, 40), st.integers(0, 12)),
)
def test_curtail__any_plan_and_limit_never_draws_more_and_never_more_than_before(
    limit: float, battery: float, counts: tuple[int, int, int, int]
) -> None:
    before = planned(battery, **dict(zip(("air", "immersion", "hydro", "gpu"), counts, strict=True)))
    after = effects.apply_override(SITE, STATE, before, "curtail", {"import_kw": limit})
    assert after.grid_kw <= limit + 1e-9
    assert all(after.machines[name] <= before.machines[name] for name in before.machines)


# --- a price threshold -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "off"), [("all miners", {"air", "immersion", "hydro"}), ("hydro", {"hydro"}), ("gpu", {"gpu"})]
)
def test_threshold__at_the_price_or_above_these_machines_are_off(named: str, off: set[str]) -> None:
    for price in (80.0, 80.01, math.nan):
        after = effects.apply_override(
            SITE, STATE, planned(), "threshold", {"type": named, "energy_usd_per_mwh": 80}, price
        )
        assert {name for name, n in after.machines.items() if n == 0 and planned().machines[name]} == off - {"air"}
        assert after.origin == "override"


def test_threshold__below_the_price_the_plan_is_followed() -> None:
    target = {"type": "all miners", "energy_usd_per_mwh": 80}
    after = effects.apply_override(SITE, STATE, planned(), "threshold", target, 79.99)
    assert after == replace(planned(), origin="override")


# --- targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("battery_kw", {"battery_kw": math.nan}),
        ("battery_kw", {}),
        ("curtail", {}),
        ("curtail", {"import_kw": -1}),
        ("curtail", {"import_kw": math.inf}),
        ("curtail", {"percent": 101}),
        ("curtail", {"percent": True}),
        ("curtail", {"import_kw": 1, "percent": 1}),
        ("curtail", {"export_kw": 1}),
        ("threshold", {"type": "hydro"}),
        ("threshold", {"type": 3, "energy_usd_per_mwh": 80}),
        ("threshold", {"type": "hydro", "energy_usd_per_mwh": "80"}),
        ("threshold", {"type": "steam", "energy_usd_per_mwh": 80}),
        ("estop_release", {}),
        ("resume", {"now": True}),
        ("clock", {"speed": -1}),
        ("clock", {}),
    ],
)
def test_check_target__wrong_or_unknown__one_line_with_what_was_expected(kind: str, target: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"target of {kind} is .*: expected "):
        effects.check_target(kind, target, SITE)


# --- and the battery's charge ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("machines", {"hydro": 1}),
        ("curtail", {"import_kw": 100.0}),
        ("threshold", {"type": effects.MINERS, "energy_usd_per_mwh": 0.0}),
    ],
)
def test_apply_override__the_battery_may_do_in_an_interval_what_the_plan_says__so_it_may_beside_a_command(
    kind: str, target: dict[str, Any]
) -> None:
    low = replace(STATE, soc_frac=0.18)
    until = T0 + timedelta(minutes=10)  # the set points hold for two intervals should no decision follow
    plan = from_counts(SITE, low, {"hydro": 40, "gpu": 12}, -250.0, {}, {}, T0, until, "plan", 300.0)
    assert plan.constraints_satisfied
    after = effects.apply_override(SITE, low, plan, kind, target, 50.0)
    assert after.violations == () and after.battery_kw == -250.0
