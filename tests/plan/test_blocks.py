"""Long horizons in blocks: a plan for every step, safe, and worth nearly as much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gridpilot.domain import Customer, Reserve, Switched
from gridpilot.errors import PlanError
from gridpilot.plan import solve, terms
from gridpilot.plan.blocks import block_sizes, in_blocks, in_steps
from gridpilot.plan.loads import job_needs
from gridpilot.plan.problem import Problem, build_problem
from gridpilot.plan.result import Solution, objective
from gridpilot.plan.safety import check_plan
from tests.plan.test_terms import DEFAULT, START, outlook, state


def prices(seed: int) -> np.ndarray:
    """A day of 5 minutes with two peaks, and noise."""
    x = np.arange(288) / 12.0
    return 70.0 + 40.0 * np.sin(x / 6.0 * np.pi) + np.random.default_rng(seed).normal(0.0, 4.0, 288)


def test_block_sizes__a_day_of_five_minutes__is_58_blocks() -> None:
    sizes = block_sizes(build_problem(DEFAULT, state(DEFAULT), outlook(prices(0), 300)))
    assert (len(sizes), int(sizes.sum())) == (58, 288)
    assert sizes.tolist() == [1] * 24 + [3] * 16 + [12] * 18


def test_block_sizes__begun_within_an_hour__end_with_the_clock() -> None:
    ahead = outlook(prices(0), 300)
    later = replace(ahead, timestamp=ahead.timestamp + np.timedelta64(5 * 60 * 7, "s"))  # 12:35
    sizes = block_sizes(build_problem(DEFAULT, state(DEFAULT), later))
    ends = 12 * 60 + 35 + 5 * np.cumsum(sizes)
    assert int(sizes.sum()) == 288
    assert sizes[:24].tolist() == [1] * 24
    assert sizes[24] == 2  # 14:35 to 14:45
    assert all(end % 15 == 0 for end in ends[24:-1])
    assert all(end % 60 == 0 for end in ends[:-1] if end > 19 * 60)


def test_block_sizes__hours__stay_hours() -> None:
    assert block_sizes(build_problem(DEFAULT, state(DEFAULT), outlook([50.0] * 30))).tolist() == [1] * 30


def test_in_steps__a_block_for_each_step__is_the_solution_itself() -> None:
    problem = build_problem(DEFAULT, state(DEFAULT), outlook(prices(1)[:48], 300))
    ones = np.ones(48, dtype=np.int64)
    whole = terms.solve(problem, time_limit_s=5.0)
    found = in_steps(problem, ones, terms.solve(in_blocks(problem, ones), time_limit_s=5.0))
    assert objective(problem, found) == pytest.approx(objective(problem, whole), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_plan__many_terms_and_many_steps__blocks_are_safe_and_worth_nearly_as_much(seed: int) -> None:
    machines = tuple(replace(m, min_on_h=1.0, min_off_h=0.5) if m.type == "hydro" else m for m in DEFAULT.machines)
    site = replace(
        DEFAULT,
        machines=machines,
        battery=replace(DEFAULT.battery, depth_wear_usd_per_kwh=(0.0, 0.002)),
        reserve=Reserve(up_kw=50.0, up_usd_per_mw_h=5.0, hours=0.5),
        customers=(Customer("acme", "gpu", 0.5, 1),),
        demand_usd_per_kw=0.1,
        ramp_kw_per_min=40.0,
    )
    known = replace(
        state(site),
        jobs=job_needs(site, START, 86400.0, {}),
        machines={"hydro": 20},
        switched=(Switched("hydro", START, 4),),
    )
    ahead = outlook(prices(seed), 300)
    made = solve.plan(site, known, ahead)
    assert (made.status, made.method) == ("optimal", "linear program (HiGHS) in 58 blocks")
    assert check_plan(site, known, made) == ()
    whole = build_problem(site, known, ahead)
    best = objective(whole, terms.solve(whole, time_limit_s=10.0))
    assert 0.985 * best <= made.objective_usd <= best + 1e-6


def test_plan__binaries_that_take_too_long__are_decided_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(problem: Problem, **options: Any) -> Solution:
        if options.get("exclusive") and len(problem) > 100:
            raise PlanError("HiGHS ended with status Time limit reached, only optimal counts")
        return terms.solve(problem, **options)

    monkeypatch.setattr(solve, "ENGINES", {"HiGHS": impatient})
    site = replace(DEFAULT, machines=(), jobs=(), tenants=())
    ahead = outlook(np.random.default_rng(1).normal(-40.0, 60.0, 288), 300)
    made = solve.plan(site, state(site), ahead)
    assert made.method == "mixed-integer program (HiGHS) in 58 blocks"
    assert np.max(np.minimum(made.charge_kw, made.discharge_kw)) <= 1e-6
    assert check_plan(site, state(site), made) == ()
