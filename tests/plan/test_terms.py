"""Each further term of the problem, against the cvxpy statement and against what it promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import (
    Battery,
    Customer,
    Job,
    MachineType,
    PriceOutlook,
    Reserve,
    Room,
    Served,
    Site,
    SiteState,
    Switched,
)
from gridpilot.plan import model, solve, terms
from gridpilot.plan.loads import job_needs, service_window
from gridpilot.plan.problem import build_problem
from gridpilot.plan.result import objective
from gridpilot.plan.safety import check_plan

START = datetime(2024, 6, 24, 12, tzinfo=UTC)
DEFAULT = load_site(DATA / "site-default.toml")
ALONE = Site(battery=Battery(terminal_usd_per_mwh=40.0))
MINERS = MachineType("air", 10, 10000.0, 600.0, "hash")  # 100 kW, worth 0.1375 $/kWh at 55 $/PH/day


def outlook(prices: list[float] | np.ndarray, step_s: int = 3600, outdoor_c: list[float] | None = None) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(step_s, "s")
    known = np.asarray(outdoor_c or [], float)
    return PriceOutlook(stamps, step_s, np.asarray(prices, float), np.full(n, 55.0), np.full(n, 0.6), outdoor_c=known)


def state(site: Site, soc: float = 0.5, hours: float = 24.0) -> SiteState:
    return SiteState(START, soc, jobs=job_needs(site, START, hours * 3600.0, {}))


def everything(rng: np.random.Generator) -> tuple[Site, SiteState, PriceOutlook]:
    """A site that asks for a random choice of all terms, in a random state."""

    def maybe(value: float) -> float:
        return value if rng.random() < 0.6 else 0.0

    steps = int(rng.choice([6, 24]))
    battery = replace(DEFAULT.battery, depth_wear_usd_per_kwh=(0.0, 0.002, 0.004, 0.02) if rng.random() < 0.5 else ())
    machines = tuple(
        replace(m, min_on_h=maybe(3.0), min_off_h=maybe(2.0)) if m.type != "gpu" else m for m in DEFAULT.machines
    )
    customers = (Customer("acme", "gpu", 0.5, 1, window_h=3.0), Customer("beta", "gpu", 0.25, 3, short_usd_per_kwh=0.4))
    reserve = Reserve(maybe(50.0), maybe(40.0), 200.0, 150.0, maybe(8.0), maybe(6.0), 0.5)
    site = replace(
        DEFAULT,
        battery=battery,
        machines=machines,
        customers=customers if rng.random() < 0.6 else (),
        reserve=reserve,
        ramp_kw_per_min=maybe(5.0),
        demand_usd_per_kw=maybe(0.8),
        jobs=tuple(replace(job, shortfall_usd_per_kwh=maybe(0.7)) for job in DEFAULT.jobs),
        import_kw=float(rng.choice([300.0, 1000.0])),
        room=Room(maybe(60.0), maybe(3.0), extra_kw=40.0),
    )
    recent = (Switched("air", START - timedelta(hours=1), 20), Switched("hydro", START - timedelta(minutes=30), -5))
    known = replace(
        state(site, float(rng.choice([0.05, 0.3, 0.5, 0.9, 0.97]))),
        machines={"air": 30, "immersion": 20, "hydro": 10, "gpu": 3},
        switched=recent,
        grid_kw=float(rng.choice([float("nan"), 200.0])),
        peak_kw=float(rng.choice([0.0, 250.0])),
        room_c=float(rng.choice([float("nan"), 25.0, 28.0])),
        served=(Served("acme", service_window(site, 3.0, START), 30.0, 60.0),),
    )
    warm = list(rng.uniform(5.0, 35.0, steps)) if rng.random() < 0.5 else None
    return site, known, outlook(rng.normal(70.0, 50.0, steps).clip(1.0), 3600, warm)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
def test_terms__all_of_them_at_once__equal_the_cvxpy_statement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        site, known, ahead = everything(rng)
        problem = build_problem(site, known, ahead)
        ours, reference = (engine(problem, time_limit_s=10.0) for engine in (terms.solve, model.solve))
        assert objective(problem, ours) == pytest.approx(objective(problem, reference), rel=1e-5, abs=1e-5)
        made = solve.plan(site, known, ahead)
        assert made.status == "optimal", made.attempts
        assert check_plan(site, known, made) == ()


def total(values: np.ndarray) -> float:
    return float(np.sum(values))


def test_cooling__warmer_outside__costs_more_power_by_the_cop_of_each_hour() -> None:
    cooling = replace(DEFAULT.cooling, cop=4.0, cop_drop_per_c=0.1, rated_c=15.0)
    site = replace(ALONE, cooling=cooling, machines=(MINERS,))
    made = solve.plan(site, state(site), outlook([10.0] * 3, outdoor_c=[5.0, 15.0, 60.0]))
    assert made.loads_kw["air"] == pytest.approx([100.0] * 3)
    assert made.cooling_kw == pytest.approx([100.0 / 5.0, 100.0 / 4.0, 100.0 / 1.0])  # never below a COP of 1
    assert check_plan(site, state(site), made) == ()
    lied = replace(made, cooling_kw=np.full(3, 25.0), import_kw=made.import_kw + 25.0 - made.cooling_kw)
    assert any("cooling" in line for line in check_plan(site, state(site), lied))


def test_job__shortfall_has_a_price__it_runs_where_its_value_alone_would_not_pay() -> None:
    job = Job("run", 100.0, 50.0, 0.05, deadline=START + timedelta(hours=4))
    dear = outlook([300.0] * 4)
    idle = solve.plan(replace(ALONE, jobs=(job,)), state(replace(ALONE, jobs=(job,))), dear)
    assert total(idle.loads_kw["run"]) == pytest.approx(0.0)
    priced = replace(ALONE, jobs=(replace(job, shortfall_usd_per_kwh=1.0),))
    made = solve.plan(priced, state(priced), dear)
    assert total(made.loads_kw["run"]) == pytest.approx(100.0)
    assert made.extras_usd["job shortfall"] == pytest.approx(0.0)


def test_job__that_cannot_meet_its_deadline__is_planned_as_far_as_it_goes_and_said() -> None:
    job = Job("late", 500.0, 50.0, 0.5, deadline=START + timedelta(hours=4), shortfall_usd_per_kwh=0.1)
    site = replace(ALONE, jobs=(job,))
    made = solve.plan(site, state(site), outlook([50.0] * 6))
    assert total(made.loads_kw["late"]) == pytest.approx(200.0)
    assert made.extras_usd["job shortfall"] == pytest.approx(-30.0)
    assert [flag.code for flag in made.flags] == ["JOB_LATE"]
    assert made.flags[0].message == "late needs 500.0 kWh before its deadline: 200.0 kWh fit, 300.0 don't"


@pytest.mark.parametrize(("energy_kwh", "codes"), [(200.04, []), (200.06, ["JOB_LATE"])])
def test_job__lacks_less_than_is_shown__no_alarm(energy_kwh: float, codes: list[str]) -> None:
    job = Job("late", energy_kwh, 50.0, 0.5, deadline=START + timedelta(hours=4), shortfall_usd_per_kwh=0.1)
    site = replace(ALONE, jobs=(job,))
    made = solve.plan(site, state(site), outlook([50.0] * 6))
    assert [flag.code for flag in made.flags] == codes


GPU = MachineType("gpu", 10, 10000.0, 5000.0, "token")  # 100 kW, worth 1.08 $/kWh at 0.6 $/Mtok


@pytest.mark.parametrize(("tier", "least"), [(0, 600.0), (1, 540.0), (2, 450.0), (3, 300.0)])
def test_customer__dear_power__is_slowed_down_as_far_as_its_tier_allows(tier: int, least: float) -> None:
    site = replace(ALONE, machines=(GPU,), customers=(Customer("acme", "gpu", 1.0, tier),))
    made = solve.plan(site, state(site), outlook([9000.0] * 6))
    assert total(made.loads_kw["gpu"]) == pytest.approx(least)
    assert made.customers_kw["acme"] == pytest.approx(made.loads_kw["gpu"])
    assert made.flags == ()


def test_customer__dear_hours__takes_the_slow_down_there() -> None:
    site = replace(ALONE, machines=(GPU,), customers=(Customer("acme", "gpu", 1.0, 3),))
    made = solve.plan(site, state(site), outlook([1500.0, 1500.0, 1500.0, 8000.0, 8000.0, 8000.0]))
    assert made.loads_kw["gpu"] == pytest.approx([100.0, 100.0, 100.0, 0.0, 0.0, 0.0])


def test_customer__what_a_window_has_had_already__counts() -> None:
    site = replace(ALONE, machines=(GPU,), customers=(Customer("acme", "gpu", 1.0, 3),))
    had = (Served("acme", START, 240.0, 300.0),)  # of 600 kWh asked in the window, 300 must be served
    late = replace(state(site), served=had)
    made = solve.plan(site, late, outlook([9000.0] * 3))
    assert service_window(site, 6.0, START) == START
    assert total(made.loads_kw["gpu"]) == pytest.approx(0.5 * (300.0 + 300.0) - 240.0)


def test_customer__credits_cheaper_than_power__are_paid_and_said() -> None:
    cheap = Customer("acme", "gpu", 1.0, 0, short_usd_per_kwh=0.2)
    site = replace(ALONE, machines=(GPU,), customers=(cheap,))
    made = solve.plan(site, state(site), outlook([9000.0] * 6))
    assert total(made.loads_kw["gpu"]) == pytest.approx(0.0)
    assert made.extras_usd["service credits"] == pytest.approx(-0.2 * 600.0)
    assert [flag.code for flag in made.flags] == ["SERVICE_SHORT"]


def test_customer__rest_of_the_machines__follows_the_price_alone() -> None:
    site = replace(ALONE, machines=(GPU,), customers=(Customer("acme", "gpu", 0.3, 0),))
    made = solve.plan(site, state(site), outlook([9000.0] * 6))
    assert made.loads_kw["gpu"] == pytest.approx([30.0] * 6)
    offers = {offer.name: offer for offer in made.offers}
    assert offers["acme"].kw == pytest.approx(30.0)
    assert offers["acme"].worth_usd_per_kwh > 9.0 > offers["gpu"].worth_usd_per_kwh  # its service is worth the power


def test_demand_charge__flattens_the_peak_down_to_what_it_is_worth() -> None:
    job = Job("run", 300.0, 300.0, 1.0, deadline=START + timedelta(hours=6))
    bare = Site(battery=Battery(capacity_kwh=0.0), jobs=(job,))
    ahead = outlook([50.0, 10.0, 50.0, 50.0, 50.0, 50.0])
    free = solve.plan(bare, state(bare), ahead)
    assert np.max(free.import_kw) == pytest.approx(300.0 * (1 + 1 / 3.5))
    charged = replace(bare, demand_usd_per_kw=2.0)
    made = solve.plan(charged, state(charged), ahead)
    assert np.max(made.import_kw) == pytest.approx(50.0 * (1 + 1 / 3.5))  # even over the six hours
    assert made.extras_usd["demand charge"] == pytest.approx(-2.0 * np.max(made.import_kw))
    reached = replace(state(charged), peak_kw=500.0)
    again = solve.plan(charged, reached, ahead)
    assert np.max(again.import_kw) == pytest.approx(np.max(free.import_kw))  # the month has had a higher one
    assert again.extras_usd["demand charge"] == pytest.approx(0.0)


def test_ramp__grid_connection_changes_no_faster_and_from_where_it_is() -> None:
    site = replace(ALONE, ramp_kw_per_min=1.0)
    made = solve.plan(site, replace(state(site), grid_kw=0.0), outlook([20.0, 20.0, 300.0, 300.0]))
    grid = np.concatenate([[0.0], made.import_kw - made.export_kw])
    assert np.max(np.abs(np.diff(grid))) <= 60.0 + 1e-6
    assert made.flags == ()
    forced = solve.plan(replace(site, import_kw=100.0), replace(state(site), grid_kw=400.0), outlook([20.0] * 3))
    assert [flag.code for flag in forced.flags] == ["RAMP"]


def test_minimum_run_times__machines_that_start_stay_and_those_that_stopped_wait() -> None:
    machine = replace(MINERS, min_on_h=3.0, min_off_h=2.0)
    site = replace(Site(battery=Battery(capacity_kwh=0.0)), machines=(machine,))
    now = replace(state(site), machines={"air": 0})
    made = solve.plan(site, now, outlook([200.0, 60.0, 70.0, 70.0, 200.0, 60.0, 60.0, 60.0]))
    assert made.loads_kw["air"] == pytest.approx([0, 100, 100, 100, 0, 0, 100, 100], abs=1e-6)
    stopped = replace(now, switched=(Switched("air", START - timedelta(hours=1), -10),))
    waits = solve.plan(site, stopped, outlook([10.0] * 4))
    assert waits.loads_kw["air"] == pytest.approx([0, 100, 100, 100], abs=1e-6)
    started = replace(now, machines={"air": 10}, switched=(Switched("air", START - timedelta(hours=1), 10),))
    stays = solve.plan(site, started, outlook([500.0] * 4))
    assert stays.loads_kw["air"] == pytest.approx([100, 100, 0, 0], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_minimum_run_times__equal_machines__the_linear_optimum_is_in_whole_machines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    machine = replace(MINERS, min_on_h=float(rng.integers(1, 5)), min_off_h=float(rng.integers(1, 5)))
    site = replace(Site(battery=Battery(capacity_kwh=0.0)), machines=(machine,))
    now = replace(state(site), machines={"air": 4}, switched=(Switched("air", START - timedelta(minutes=30), 4),))
    made = solve.plan(site, now, outlook(rng.normal(64.0, 30.0, 24)))
    running = made.loads_kw["air"] / machine.power_kw
    assert running == pytest.approx(np.round(running), abs=1e-6)


def test_wear_by_depth__a_spread_that_pays_for_shallow_cycles_only__stays_shallow() -> None:
    prices = [50.0, 50.0, 50.0, 50.0, 80.0, 80.0, 80.0, 80.0]
    battery = replace(ALONE.battery, terminal_usd_per_mwh=50.0)
    plain = replace(ALONE, battery=battery)
    deep = replace(plain, battery=replace(battery, depth_wear_usd_per_kwh=(0.0, 0.0, 0.05)))
    free = solve.plan(plain, state(plain, 0.9), outlook(prices))
    made = solve.plan(deep, state(deep, 0.9), outlook(prices))
    assert np.min(free.soc_frac) == pytest.approx(0.15)
    assert np.min(made.soc_frac) == pytest.approx(0.15 + 0.25)  # the deepest third costs 5 cents more
    assert made.extras_usd["wear by depth"] == pytest.approx(0.0)
    forced = replace(deep, battery=replace(deep.battery, terminal_usd_per_mwh=0.0))
    emptied = solve.plan(forced, state(forced, 0.9), outlook(prices))
    assert emptied.extras_usd["wear by depth"] == pytest.approx(-0.05 * 250.0 * 0.94)


def test_reserve__sold__is_kept_free_in_power_and_energy() -> None:
    site = replace(ALONE, reserve=Reserve(up_kw=200.0, down_kw=100.0, hours=1.0))
    made = solve.plan(site, state(site), outlook([300.0] * 4 + [10.0] * 4))
    assert np.min(made.reserve_up_kw) == pytest.approx(200.0)
    assert np.min(made.reserve_down_kw) == pytest.approx(100.0)
    assert np.all(made.battery_kw - 200.0 >= -250.0 - 1e-6)
    assert np.min(made.soc_frac) >= 0.15 + 200.0 / 0.94 / 1000.0 - 1e-6
    assert np.max(made.soc_frac) <= 0.90 - 100.0 * 0.94 / 1000.0 + 1e-6
    assert check_plan(site, state(site), made) == ()
    lied = replace(made, reserve_up_kw=made.reserve_up_kw + 300.0)
    assert any("reserve up" in line for line in check_plan(site, state(site), lied))


def test_reserve__miners_that_run__give_up_what_they_draw() -> None:
    site = replace(Site(battery=Battery(capacity_kwh=0.0)), machines=(MINERS,))
    offered = replace(site, reserve=Reserve(most_up_kw=80.0, most_down_kw=50.0, up_usd_per_mw_h=20.0))
    made = solve.plan(offered, state(offered), outlook([10.0, 500.0]))
    assert made.reserve_up_kw == pytest.approx([80.0, 0.0])
    assert made.extras_usd["reserve"] == pytest.approx(80.0 * 0.020)


def test_reserve__more_than_there_is__is_planned_and_said() -> None:
    site = replace(ALONE, reserve=Reserve(up_kw=900.0))
    made = solve.plan(site, state(site), outlook([50.0] * 3))
    assert made.status == "optimal"
    assert [flag.code for flag in made.flags] == ["RESERVE_SHORT"]
    assert np.max(made.reserve_up_kw) <= 250.0 + 250.0 + 1e-6


def cooled(room: Room) -> Site:
    """A machine that always runs, without a battery, in a room."""
    cooling = replace(DEFAULT.cooling, cop=4.0)
    always = Customer("acme", "air", 1.0, 0)
    return Site(battery=Battery(capacity_kwh=0.0), cooling=cooling, machines=(MINERS,), customers=(always,), room=room)


def test_room__cheap_hours_before_dear_ones__cools_ahead_and_coasts() -> None:
    room = Room(kwh_per_c=20.0, extra_kw=30.0)
    site = cooled(room)
    made = solve.plan(site, state(site), outlook([10.0, 10.0, 300.0, 300.0, 300.0, 50.0, 50.0]))
    assert made.room_kw[0] + made.room_kw[1] == pytest.approx(
        20.0
    )  # 4 degrees down to 18: 80 kWh of cold at a COP of 4
    assert made.room_c[1] == pytest.approx(18.0)
    assert np.sum(made.room_kw[2:5]) == pytest.approx(-45.0)  # and up to 27 degrees in the dear hours
    assert made.cooling_kw == pytest.approx(25.0 + made.room_kw)
    assert np.max(made.room_c) <= 27.0 + 1e-6
    assert check_plan(site, state(site), made) == ()
    steady = solve.plan(replace(site, room=Room()), state(site), made.outlook)
    assert made.objective_usd > steady.objective_usd + 0.01 * 60.0
    assert steady.room_kw == pytest.approx(np.zeros(7))


def test_room__that_leaks__goes_back_to_its_set_point_by_itself() -> None:
    room = Room(kwh_per_c=20.0, loss_kw_per_c=10.0, extra_kw=30.0)
    assert room.after(26.0, 0.0, 4.0, 2.0) == pytest.approx(22.0 + 4.0 * np.exp(-1.0))
    assert room.after(22.0, 5.0, 4.0, 1e6) == pytest.approx(22.0 - 4.0 * 5.0 / 10.0)
    halves = room.after(room.after(25.0, 3.0, 4.0, 0.5), 3.0, 4.0, 0.5)
    assert room.after(25.0, 3.0, 4.0, 1.0) == pytest.approx(halves)  # exact for constant power


def test_room__warmer_than_allowed__is_brought_back_and_never_refused() -> None:
    site = cooled(Room(kwh_per_c=20.0, extra_kw=10.0))
    hot = replace(state(site), room_c=30.0)
    made = solve.plan(site, hot, outlook([100.0] * 6))
    assert made.status == "optimal"
    assert made.room_kw[0] == pytest.approx(10.0)
    assert made.room_c[-1] <= 27.0 + 1e-6
    assert check_plan(site, hot, made) == ()


def test_room__set_points_that_overheat_it__are_not_safe() -> None:
    site = cooled(Room(kwh_per_c=20.0, extra_kw=10.0))
    made = solve.plan(site, state(site), outlook([100.0] * 6))
    off = np.full(6, -25.0) - made.room_kw
    hot = replace(made, room_kw=np.full(6, -25.0), cooling_kw=np.zeros(6), import_kw=made.import_kw + off)
    assert any("room_c" in line for line in check_plan(site, state(site), hot))
