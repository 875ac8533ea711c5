"""The emergency protocols where two of them meet: battery and heat, reserve and state of charge, load and export."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.effects import apply_override
from gridpilot.dispatch.emergency import STEP_S, Heat, heat_step, respond
from gridpilot.dispatch.guard import SETTLE_S, Memory, Terms, guard
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Dispatch, GridLimit, Reading, Room, Site, SiteState

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
UNTIL = T0 + timedelta(minutes=10)
SITE = load_site(DATA / "site-default.toml")
NO_EXPORT = replace(SITE, export_kw=0.0)
FULL = {"air": 20, "immersion": 40, "hydro": 40, "gpu": 12}
HEAT = 1.0 + SITE.cooling.kw_per_kw


def decided(battery_kw: float, soc: float = 0.5, site: Site = SITE, machines: dict[str, int] | None = None) -> Dispatch:
    counts = FULL if machines is None else machines
    out = from_counts(site, SiteState(T0, soc), counts, battery_kw, {}, {}, T0, UNTIL, "plan", 300.0)
    assert out.constraints_satisfied, out.violations
    return out


def reading(machines: dict[str, int] | None = None, **seen: float | dict[str, int]) -> Reading:
    return Reading(T0, FULL if machines is None else machines, 0.0, **seen)  # type: ignore[arg-type]


def load_kw(dispatch: Dispatch) -> float:
    return dispatch.total_power_kw - dispatch.room_kw


# --- heat ------------------------------------------------------------------------------------


def test_F34_hot__while_the_battery_discharges__the_load_falls_all_the_same() -> None:
    out = decided(-250.0)
    done = guard(SITE, SiteState(T0, 0.5), out, reading(hottest_c=80.0), Memory())
    assert load_kw(done.dispatch) <= 0.9 * load_kw(out) + 1e-6
    assert done.dispatch.battery_kw == -250.0


def test_F34_hot__while_the_battery_charges__machines_go_and_not_the_charging() -> None:
    out = decided(250.0, machines={**FULL, "air": 0})
    done = guard(SITE, SiteState(T0, 0.5), out, reading(hottest_c=80.0), Memory())
    assert load_kw(done.dispatch) <= 0.9 * load_kw(out) + 1e-6
    assert done.dispatch.battery_kw == 250.0


def test_hot__the_meter_sees_more_than_is_known_of__extra_cooling_stays_under_the_limit_as_it_is_metered() -> None:
    site = replace(SITE, room=Room(kwh_per_c=20.0, loss_kw_per_c=2.0, extra_kw=200.0))
    out = decided(0.0, site=site)
    limit = GridLimit(T0 - timedelta(hours=1), UNTIL, 700.0)
    sent = Memory(sent_kw=690.0, sent_at=T0 - timedelta(seconds=2 * SETTLE_S))
    seen = reading(hottest_c=80.0, grid_kw=750.0)
    done = guard(site, SiteState(T0, 0.5, limits=(limit,)), out, seen, sent)
    assert done.memory.unseen_kw == pytest.approx(60.0)
    assert done.dispatch.grid_kw + 60.0 <= 700.0
    assert done.dispatch.room_kw > 0.0, "and there is some"


def test_heat__the_clock_goes_back__the_next_step_does_not_wait_for_it() -> None:
    before = Heat(False, 700.0, T0 + timedelta(hours=1))
    after = heat_step(before, 80.0, T0, 900.0, can_cool=False)
    assert after.cap_kw == pytest.approx(630.0)
    assert heat_step(after, 80.0, T0 + timedelta(seconds=STEP_S / 2), 900.0, can_cool=False) == after


# --- reserve ---------------------------------------------------------------------------------


@pytest.mark.parametrize("soc", [0.151, 0.156, 0.16, 0.165, 0.18, 0.5])
def test_frequency__low_and_little_is_left_in_the_battery__miners_give_what_it_cannot(soc: float) -> None:
    out = decided(0.0, soc)
    done = guard(SITE, SiteState(T0, soc), out, reading(frequency_hz=49.0), Memory(), Terms((250.0, 0.0)))
    assert done.dispatch.constraints_satisfied, done.dispatch.violations
    assert out.grid_kw - done.dispatch.grid_kw >= 250.0 - 1e-6


@pytest.mark.parametrize("soc", [0.5, 0.88, 0.89, 0.894, 0.899])
def test_frequency__high_and_the_battery_is_nearly_full__miners_take_what_it_cannot(soc: float) -> None:
    out = decided(0.0, soc, machines={"air": 0, "immersion": 0, "hydro": 0, "gpu": 12})
    up = respond(SITE, SiteState(T0, soc), out, -250.0)
    assert up.constraints_satisfied, up.violations
    assert up.grid_kw - out.grid_kw >= 250.0 - 1e-6


# --- export ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_kw", [0.0, 3.0, 10.0, 100.0])
def test_limit__a_site_that_may_not_export__sheds_to_it_and_keeps_what_the_battery_feeds(limit_kw: float) -> None:
    out = decided(-250.0, site=NO_EXPORT)
    state = SiteState(T0, 0.5, limits=(GridLimit(T0 - timedelta(hours=1), UNTIL, limit_kw),))
    done = guard(NO_EXPORT, state, out, reading(), Memory()).dispatch
    assert done.constraints_satisfied, done.violations
    assert done.total_power_kw > 240.0
    asked = apply_override(NO_EXPORT, state, out, "curtail", {"import_kw": limit_kw})
    assert asked.constraints_satisfied, asked.violations


def test_export__machines_that_are_starting_or_failed__the_battery_feeds_no_more_than_runs() -> None:
    out, told = decided(-200.0, site=NO_EXPORT), FULL
    for running in (0, 10, 20, 40):
        seen = reading({**FULL, "air": 0, "immersion": 0, "gpu": 0, "hydro": running}, told=told)
        done = guard(NO_EXPORT, SiteState(T0, 0.5), out, seen, Memory()).dispatch
        draws_kw = running * 5.36 * HEAT
        assert done.machines == FULL
        assert -draws_kw - 1e-6 <= done.battery_kw <= -min(200.0, draws_kw) + 5.0
    assert guard(NO_EXPORT, SiteState(T0, 0.5), out, reading(told=told), Memory()).dispatch is out


@settings(max_examples=300, deadline=None)
@given(
    battery_kw=st.floats(-250.0, 250.0),
    soc=st.floats(0.1, 0.95),
    running=st.fixed_dictionaries({name: st.integers(0, n) for name, n in FULL.items()}),
    hertz=st.floats(49.5, 50.5),
    limit_kw=st.floats(0.0, 1000.0),
    hottest_c=st.floats(20.0, 95.0),
    export_kw=st.sampled_from([0.0, 20.0, 1000.0]),
)
def test_F32_guard__whatever_meets__is_sent_and_neither_imports_nor_exports_too_much(
    battery_kw: float,
    soc: float,
    running: dict[str, int],
    hertz: float,
    limit_kw: float,
    hottest_c: float,
    export_kw: float,
) -> None:
    site = replace(SITE, export_kw=export_kw, stagger_kw=50.0)
    out = from_counts(site, SiteState(T0, 0.5), FULL, battery_kw, {}, {}, T0, UNTIL, "plan", 60.0)
    if not out.constraints_satisfied:
        return
    state = SiteState(T0, soc, limits=(GridLimit(T0 - timedelta(hours=1), UNTIL, limit_kw),))
    seen = reading(running, told=running, frequency_hz=hertz, hottest_c=hottest_c)
    done = guard(site, state, out, seen, Memory(), Terms((150.0, 150.0))).dispatch
    if done is not out:
        battery_at_edge = [v for v in done.violations if "state of charge" not in v]
        assert battery_at_edge == [], done.violations
    on = sum(site.machine(name).power_kw * min(n, done.machines[name]) for name, n in running.items()) * HEAT
    assert on + done.battery_kw >= -export_kw - 1e-3
