"""The emergency protocols: each rule by itself, then all of them in their order."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.emergency import (
    COOL_C,
    CRITICAL_C,
    HOT_C,
    STEP_S,
    Heat,
    droop_kw,
    heat_step,
    respond,
    scale_down,
)
from gridpilot.dispatch.guard import ORIGIN, SETTLE_S, Guarded, Memory, Terms, guard, same
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Dispatch, FrequencyResponse, GridLimit, Reading, Room, Site, SiteState

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
UNTIL = T0 + timedelta(minutes=10)
SITE = load_site(DATA / "site-default.toml")
COOLED = replace(SITE, room=Room(kwh_per_c=20.0, loss_kw_per_c=2.0, extra_kw=60.0))
FULL = {"air": 20, "immersion": 40, "hydro": 40, "gpu": 12}


def decided(machines: dict[str, int] | None = None, battery_kw: float = 0.0, site: Site = SITE) -> Dispatch:
    counts = FULL if machines is None else machines
    out = from_counts(site, SiteState(T0, 0.5), counts, battery_kw, {"training": 50.0}, {}, T0, UNTIL, "plan", 300.0)
    assert out.constraints_satisfied, out.violations
    return out


def reading(**seen: object) -> Reading:
    return Reading(T0, FULL, 0.0, **{"grid_kw": None, "frequency_hz": 50.0, "hottest_c": 60.0, **seen})  # type: ignore[arg-type]


def run(
    out: Dispatch,
    seen: Reading,
    *,
    soc: float = 0.5,
    site: Site = SITE,
    memory: Memory | None = None,
    terms: Terms | None = None,
    limits: tuple[GridLimit, ...] = (),
) -> Guarded:
    return guard(site, SiteState(T0, soc, limits=limits), out, seen, memory or Memory(), terms)


def codes(done: Guarded) -> list[str]:
    return [flag.code for flag in done.flags]


def test_guard__nothing_is_wrong__the_decision_itself() -> None:
    out = decided()
    done = run(out, reading())
    assert done.dispatch is out and done.flags == ()


@pytest.mark.parametrize("origin", ["estop", "failsafe"])
def test_guard__everything_is_off__left_alone(origin: str) -> None:
    off = replace(decided({}), origin=origin)
    assert run(off, reading(hottest_c=99.0, frequency_hz=49.0), terms=Terms((100.0, 100.0))).dispatch is off


# --- frequency -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hertz", "share"),
    [(50.0, 0.0), (49.99, 0.0), (49.985, 0.026316), (49.9, 0.473684), (49.8, 1.0), (49.0, 1.0),
     (50.01, 0.0), (50.105, -0.5), (50.2, -1.0), (44.0, 0.0), (0.0, 0.0), (math.nan, 0.0)],
)  # fmt: skip
def test_droop__dead_band_then_in_proportion_then_all(hertz: float, share: float) -> None:
    assert droop_kw(FrequencyResponse(), hertz, 100.0, 100.0) == pytest.approx(100.0 * share, abs=1e-3)


def test_frequency__low__the_battery_delivers_the_promise_at_once() -> None:
    out = decided(battery_kw=100.0)
    done = run(out, reading(frequency_hz=49.8), terms=Terms((200.0, 0.0)))
    assert done.dispatch.battery_kw == pytest.approx(-100.0)
    assert done.dispatch.machines == out.machines
    assert (done.dispatch.origin, codes(done)) == (ORIGIN, ["FREQUENCY"])


def test_frequency__more_than_the_battery_has__miners_give_the_rest() -> None:
    out = decided(battery_kw=-200.0)
    done = run(out, reading(frequency_hz=49.8), terms=Terms((150.0, 0.0)))
    assert done.dispatch.battery_kw == pytest.approx(-250.0)
    shed = out.grid_kw - done.dispatch.grid_kw
    assert 150.0 <= shed < 150.0 + 3.78 * (1 + 1 / 3.5)
    assert done.dispatch.machines["gpu"] == out.machines["gpu"], "inference is no reserve"


def test_frequency__high__charges_and_brings_miners_on() -> None:
    out = decided({**FULL, "air": 0, "immersion": 0}, battery_kw=200.0)
    done = run(out, reading(frequency_hz=50.3), terms=Terms((0.0, 120.0)))
    assert done.dispatch.battery_kw == pytest.approx(250.0)
    assert 120.0 <= done.dispatch.grid_kw - out.grid_kw < 125.0


@pytest.mark.parametrize("hertz", [49.0, 51.0])
def test_frequency__nothing_promised__nothing_done(hertz: float) -> None:
    out = decided()
    assert run(out, reading(frequency_hz=hertz)).dispatch is out


def test_frequency__trembles_within_a_grain__sends_nothing_new() -> None:
    terms = Terms((200.0, 0.0))
    one, other = (run(decided(), reading(frequency_hz=hz), terms=terms).dispatch for hz in (49.9000, 49.9005))
    assert same(one, other)


@settings(deadline=None, max_examples=200)
@given(
    hertz=st.floats(49.0, 51.0),
    up=st.floats(0.0, 300.0),
    down=st.floats(0.0, 300.0),
    soc=st.floats(0.0, 1.0),
    battery=st.floats(-250.0, 200.0),
)
def test_respond__any_frequency__right_direction_within_the_promise_and_the_battery(
    hertz: float, up: float, down: float, soc: float, battery: float
) -> None:
    out = decided({**FULL, "air": 0}, battery_kw=battery)
    kw = droop_kw(SITE.frequency, hertz, up, down)
    answered = respond(SITE, SiteState(T0, soc), out, kw)
    moved = out.grid_kw - answered.grid_kw
    largest = 5.36 * (1 + 1 / 3.5)
    assert min(kw, 0.0) - largest <= moved <= max(kw, 0.0) + largest
    assert moved * kw >= -1e-6
    assert -250.0 <= answered.battery_kw <= 250.0
    assert soc > 0.155 or answered.battery_kw >= min(out.battery_kw, 0.0), "an empty battery delivers no more"
    assert soc < 0.895 or answered.battery_kw <= max(out.battery_kw, 0.0), "a full one takes no more"


# --- battery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("soc", [math.nan, 68.7, -0.2])
def test_F30_guard__impossible_state_of_charge__battery_rests(soc: float) -> None:
    done = run(decided(battery_kw=-100.0), reading(soc_frac=soc), soc=soc)
    assert (done.dispatch.battery_kw, codes(done)) == (0.0, ["SOC_UNKNOWN"])
    assert done.dispatch.constraints_satisfied


# --- limits ----------------------------------------------------------------------------------


def test_F33_guard__limit_falls_below_the_load__whole_machines_exactly_under_it() -> None:
    out = decided()
    limit = GridLimit(T0, UNTIL, 600.0)
    done = run(out, reading(), limits=(limit,))
    assert 600.0 - 3.12 * (1 + 1 / 3.5) < done.dispatch.grid_kw <= 600.0 + 1e-6
    assert done.dispatch.machines["gpu"] == 12 and done.dispatch.machines["air"] < 20
    assert done.dispatch.constraints_satisfied and codes(done) == ["CURTAILED"]


def test_guard__limit_with_discharge__the_import_alone_counts() -> None:
    out = decided(battery_kw=-200.0)
    done = run(out, reading(), limits=(GridLimit(T0, UNTIL, out.grid_kw + 1.0),))
    assert done.dispatch is out


def test_guard__limit_and_charging__the_battery_waits_before_any_load() -> None:
    out = decided({"hydro": 40}, battery_kw=200.0)
    done = run(out, reading(), limits=(GridLimit(T0, UNTIL, out.grid_kw - 150.0),))
    assert done.dispatch.battery_kw == pytest.approx(50.0)
    assert done.dispatch.machines == out.machines


def test_guard__limit_still_to_come__counts_so_far_ahead_as_machines_take() -> None:
    falls = GridLimit(T0, UNTIL, 0.0, from_kw=decided().grid_kw, ramp_s=100.0)
    done = run(decided(), reading(), limits=(falls,), terms=Terms(ahead_s=5.0))
    assert done.dispatch.grid_kw <= 0.95 * decided().grid_kw + 1e-6


def test_guard__meter_over_the_limit__sheds_a_tenth_below_it_by_what_is_unseen() -> None:
    out = decided()
    known = Memory(sent_kw=out.grid_kw, sent_at=T0 - timedelta(seconds=SETTLE_S))
    done = run(out, reading(grid_kw=1100.0), memory=known)
    unseen = 1100.0 - out.grid_kw
    assert done.memory.unseen_kw == pytest.approx(unseen)
    assert done.dispatch.grid_kw <= 0.9 * (1000.0 - unseen) + 1e-6
    assert codes(done) == ["UNSEEN_LOAD"]
    sent = replace(done.memory, sent_kw=done.dispatch.grid_kw, sent_at=known.sent_at)
    still = run(out, reading(grid_kw=950.0), memory=sent)
    assert still.memory.unseen_kw == pytest.approx(unseen), "kept while the meter disagrees with the set points"
    over = run(out, reading(grid_kw=500.0), memory=replace(sent, sent_kw=500.0))
    assert over.memory.unseen_kw == 0.0 and over.dispatch is out


def test_guard__meter_right_after_a_command__is_not_believed_yet() -> None:
    out = decided()
    fresh = Memory(sent_kw=out.grid_kw, sent_at=T0 - timedelta(seconds=SETTLE_S - 1.0))
    assert run(out, reading(grid_kw=1100.0), memory=fresh).dispatch is out


@settings(deadline=None, max_examples=200)
@given(
    limit=st.floats(0.0, 1200.0),
    battery=st.floats(-250.0, 100.0),
    soc=st.one_of(st.floats(0.0, 1.0), st.just(math.nan)),
    hertz=st.floats(48.0, 52.0),
    hot=st.floats(20.0, 110.0),
    meter=st.one_of(st.none(), st.floats(0.0, 1500.0)),
)
def test_F32_guard__whatever_is_read__never_over_the_limit_and_fit_to_be_sent(
    limit: float, battery: float, soc: float, hertz: float, hot: float, meter: float | None
) -> None:
    site = COOLED
    out = decided(battery_kw=battery, site=site)
    memory = Memory(Heat(cap_kw=500.0, at=T0 - timedelta(hours=1)), out.grid_kw, T0 - timedelta(minutes=1))
    seen = reading(frequency_hz=hertz, hottest_c=hot, grid_kw=meter)
    state = SiteState(T0, soc, limits=(GridLimit(T0, UNTIL, limit),))
    done = guard(site, state, out, seen, memory, Terms((150.0, 150.0), ahead_s=5.0))
    assert done.dispatch.grid_kw <= min(limit, site.import_kw) + 1e-4
    assert not [text for text in done.dispatch.violations if "state of charge" not in text], done.dispatch.violations


# --- transition ------------------------------------------------------------------------------


def test_transition__charging_waits_until_machines_are_off() -> None:
    on = {"air": 0, "immersion": 60, "hydro": 40, "gpu": 12}
    out = decided({**on, "immersion": 0}, battery_kw=250.0)
    seen = replace(reading(), machines=on, told=on)
    first = run(out, seen).dispatch
    drawn = from_counts(SITE, SiteState(T0, 0.5), on, 0.0, out.jobs_kw, {}, T0, UNTIL, "plan", 300.0).grid_kw
    assert first.machines == out.machines and first.origin == "plan"
    assert 0.0 < first.battery_kw <= 1000.0 - drawn + 0.01
    assert run(out, replace(seen, machines=out.machines)).dispatch is out


def test_transition__machines_wait_for_machines_and_all_comes_in_the_end() -> None:
    on = {"air": 78, "immersion": 60, "hydro": 40, "gpu": 3}
    out = decided({"air": 40, "immersion": 60, "hydro": 40, "gpu": 12})
    seen = replace(reading(), machines=on, told=on)
    first = run(out, seen).dispatch
    assert first.machines["air"] == 40 and 3 <= first.machines["gpu"] < 12
    assert run(out, replace(seen, machines={**on, "air": 40})).dispatch is out


def test_transition__machines_that_obey_at_once__nothing_waits() -> None:
    out = decided({"air": 0, "immersion": 0, "hydro": 40, "gpu": 12}, battery_kw=250.0)
    assert run(out, replace(reading(), machines={"air": 80, "immersion": 60, "hydro": 40, "gpu": 12})).dispatch is out


# --- stagger ---------------------------------------------------------------------------------


def test_stagger__machines_come_on_a_few_at_a_time_those_worth_most_first() -> None:
    site, off = replace(SITE, stagger_kw=40.0), dict.fromkeys(FULL, 0)
    terms = Terms(worth_usd_per_kwh={"gpu": 3.0, "hydro": 0.2, "immersion": 0.1, "air": 0.05})
    out, on, sent = decided(site=site), off, []
    while on != FULL:
        on = run(out, replace(reading(), machines=on, told=on), site=site, terms=terms).dispatch.machines
        sent.append(on)
        assert len(sent) < 40
    power = {m.type: m.power_kw for m in site.machines}
    steps = [{k: b[k] - a[k] for k in b} for a, b in zip([off, *sent], sent, strict=False)]
    assert all(sum(power[k] * n for k, n in step.items()) <= 40.0 + 1e-9 for step in steps)
    assert [next(k for k in ("gpu", "hydro", "immersion", "air") if step[k]) for step in (steps[0], steps[-1])] == [
        "gpu",
        "air",
    ]
    assert len(sent) >= sum(power[k] * n for k, n in FULL.items()) / 40.0


def test_stagger__one_machine_above_the_limit__starts_alone_and_what_goes_off_goes_at_once() -> None:
    site, on = replace(SITE, stagger_kw=0.5), {"air": 20, "immersion": 0, "hydro": 0, "gpu": 0}
    out = decided({"air": 0, "immersion": 2, "hydro": 2, "gpu": 2}, site=site)
    first = run(out, replace(reading(), machines=on), site=site, terms=Terms(worth_usd_per_kwh={"gpu": 1.0})).dispatch
    assert first.machines == {"air": 0, "immersion": 0, "hydro": 0, "gpu": 1}
    assert first.origin == "plan" and first.constraints_satisfied


def test_stagger__still_starting__no_more_are_told(site_kw: float = 40.0) -> None:
    site, off = replace(SITE, stagger_kw=site_kw), dict.fromkeys(FULL, 0)
    out = decided(site=site)
    first = run(out, replace(reading(), machines=off, told=off), site=site).dispatch
    assert (
        run(out, replace(reading(), machines=off, told=first.machines), site=site).dispatch.machines == first.machines
    )


# --- heat ------------------------------------------------------------------------------------


def test_F34_heat__first_cooling_then_less_load_step_by_step() -> None:
    now, heat = T0, Heat()
    heat = heat_step(heat, HOT_C + 0.1, now, 800.0, can_cool=True)
    assert heat == Heat(True, None, now)
    assert heat_step(heat, HOT_C + 1.0, now + timedelta(seconds=STEP_S - 1.0), 800.0, can_cool=True) == heat
    caps = []
    for _ in range(3):
        now += timedelta(seconds=STEP_S)
        heat = heat_step(heat, HOT_C + 1.0, now, 800.0, can_cool=True)
        caps.append(heat.cap_kw)
    assert caps == pytest.approx([720.0, 648.0, 583.2])
    assert heat_step(heat, (HOT_C + COOL_C) / 2.0, now + timedelta(hours=1), 800.0, can_cool=True) == heat


def test_F34_heat__critical__does_not_wait() -> None:
    heat = heat_step(Heat(), CRITICAL_C, T0, 800.0, can_cool=True)
    assert heat == Heat(True, 720.0, T0)
    assert heat_step(heat, CRITICAL_C, T0 + timedelta(seconds=1), 800.0, can_cool=True).cap_kw == pytest.approx(648.0)


def test_F34_heat__cool_again__load_comes_back_and_cooling_ends_last() -> None:
    now, heat = T0, Heat(True, 650.0, T0)
    steps = []
    for _ in range(5):
        now += timedelta(seconds=STEP_S)
        heat = heat_step(heat, 60.0, now, 800.0, can_cool=True)
        steps.append((heat.cooling, heat.cap_kw))
    assert steps[0] == (True, pytest.approx(722.2, abs=0.1))
    assert steps[1:3] == [(True, None), (False, None)]


@pytest.mark.parametrize("hottest", [None, math.nan])
def test_heat__no_reading__changes_nothing(hottest: float | None) -> None:
    heat = Heat(True, 500.0, T0)
    assert heat_step(heat, hottest, T0 + timedelta(hours=1), 800.0, can_cool=True) == heat


def test_F34_guard__hot_without_extra_cooling__miners_go_by_priority() -> None:
    out = decided()
    done = run(out, reading(hottest_c=76.0))
    assert done.dispatch.total_power_kw <= 0.9 * out.total_power_kw + 1e-6
    assert done.dispatch.machines["air"] < 20 and done.dispatch.machines["gpu"] == 12
    assert codes(done) == ["HOT"]


def test_F34_guard__hot_with_extra_cooling__cooling_first() -> None:
    out = decided({**FULL, "air": 0}, site=COOLED)
    done = run(out, reading(hottest_c=76.0), site=COOLED)
    assert done.dispatch.room_kw == pytest.approx(60.0)
    assert done.dispatch.machines == out.machines
    assert codes(done) == ["HOT_COOLING"] and done.dispatch.constraints_satisfied


def test_scale_down__no_margin__never_sheds_a_machine_too_many() -> None:
    out = decided()
    for limit in (0.0, 1.0, 4.0, 300.0, 555.5, out.grid_kw - 1e-3):
        shed, _ = scale_down(SITE, SiteState(T0, 0.5), out, limit, margin=0.0)
        assert shed.grid_kw <= limit + 1e-6
        back = next((m for m in SITE.machines if shed.machines[m.type] < out.machines[m.type]), None)
        if back is not None and back.type != "gpu":
            assert shed.grid_kw + 5.36 * (1 + 1 / 3.5) > min(limit, out.grid_kw) - 1e-6
