"""The planner: the optimum of `problem.py`, checked by `safety.py`, or a fallback that says its name.

The order of the attempts: linear program; where it would charge and discharge at once (worth it only at
negative prices, and impossible) a mixed-integer program with a binary for those steps; the same stated in cvxpy; slope
merging, which needs no solver, where a merit order says all; the previous plan, shifted; the price-rank heuristic;
idle. Each is recorded with its status and reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gridpilot.domain import Attempt, DataFlag, Plan, PriceOutlook, Site, SiteState
from gridpilot.errors import PlanError
from gridpilot.plan import fallback, merged, model, safety, terms
from gridpilot.plan.blocks import block_sizes, in_blocks, in_steps, weather_fits
from gridpilot.plan.problem import Problem, build_problem
from gridpilot.plan.result import Solution, to_plan
from gridpilot.values import as_array

if TYPE_CHECKING:  # numba takes a second to import: only where there is something to hedge
    from gridpilot.plan.hedging import Scenarios

ENGINES: dict[str, Callable[..., Solution]] = {"HiGHS": terms.solve, "cvxpy, HiGHS": model.solve}
LP = "linear program ({})"
MILP = "mixed-integer program ({})"
MERGED = "slope merging"
SOC_SLACK = 0.005  # outside the band by so much is rounding of a sensor or a step, and no warning
BOTH_KW = 1e-6  # above this a step counts as charging (or discharging)
LONG = 96  # steps
ROUNDS = 4  # of naming steps that need a binary, before every step gets one


@dataclass(frozen=True, slots=True)
class _Candidate:
    method: str
    status: str  # of the plan, if it passes the check
    make: Callable[[], Plan]


def plan(
    site: Site,
    state: SiteState,
    outlook: PriceOutlook,
    *,
    previous: Plan | None = None,
    scenarios: Scenarios | None = None,
    cvar_limit_usd: float | None = None,
    time_limit_s: float = 5.0,
) -> Plan:
    """The best plan for the outlook that passes the independent safety check.

    With `scenarios`, and a risk weight in the site's appetite, the battery's first step is the one that is best over
    all of them by mean and CVaR (`hedging.py`), and the rest of the plan the best that follows it.

    Never raises for a state or prices that pass their own constructors: an unknown state of charge holds the
    battery, one outside its band is brought back, and what no engine can plan ends idle, with the reasons.
    """
    problem = build_problem(site, state, outlook, previous)
    flags = _flags(site, state)
    if scenarios is not None and site.risk.weight is not None:
        problem, hedge, said = _hedged(site, problem, outlook, scenarios, cvar_limit_usd, time_limit_s)
        flags = (*flags, *said)
    else:
        hedge = {}
    attempts: list[Attempt] = []
    candidates = [
        *(
            _Candidate(LP.format(name), "optimal", partial(_optimal, problem, outlook, state, time_limit_s, name))
            for name in ENGINES
        ),
        *([_Candidate(MERGED, "optimal", lambda: _merged(problem, outlook, state))] if merged.fits(problem) else []),
        _Candidate(fallback.SHIFTED, "held", lambda: fallback.shifted(problem, outlook, state, previous)),
        _Candidate(fallback.RANKED, "fallback", lambda: fallback.price_rank(problem, outlook, state)),
        _Candidate(fallback.IDLE, "idle", lambda: fallback.idle(problem, outlook, state)),
    ]
    for candidate in candidates:
        start = time.perf_counter()
        reason, made = "", None
        try:
            made = candidate.make()
            broken = safety.check_plan(site, state, made)
            reason = f"broke a limit: {broken[0]}" if broken else ""
        except PlanError as error:
            reason = str(error)
        ms = (time.perf_counter() - start) * 1000.0
        method = made.method if made else candidate.method
        attempts.append(Attempt(method, "rejected" if reason else candidate.status, reason, ms))
        if made is not None and not reason:
            if len(attempts) > 1:
                text = f"planned by {method}: {attempts[0].reason}"
                flags = (*flags, DataFlag("FALLBACK", text, "warn", "plan"))
            flags = (*flags, *made.flags)
            return replace(made, status=candidate.status, attempts=tuple(attempts), flags=flags, hedge=hedge)
    raise PlanError(f"not even standing still is safe here: {attempts[-1].reason}; check the site's limits")


def _hedged(
    site: Site,
    problem: Problem,
    outlook: PriceOutlook,
    scenarios: Scenarios,
    limit_usd: float | None,
    time_limit_s: float,
) -> tuple[Problem, dict[str, float], tuple[DataFlag, ...]]:
    """The problem with its first step hedged, by what, and what is to be said; unhedged where that fails."""
    from gridpilot.plan.hedging import hedged, with_first

    try:
        base = next(iter(ENGINES.values()))(problem, time_limit_s=time_limit_s)
        hedge = hedged(site, problem, base, outlook, scenarios, limit_usd)
    except PlanError as error:
        return problem, {}, (DataFlag("NOT_HEDGED", f"planned for the expected prices alone: {error}", "info", "plan"),)
    flags: tuple[DataFlag, ...] = ()
    if limit_usd is not None and -hedge.cvar_usd > limit_usd:
        text = f"CVaR would lose {-hedge.cvar_usd:,.2f}, the limit is {limit_usd:,.2f}: the battery alone can't do more"
        flags = (DataFlag("CVAR_LIMIT", text, "warn", "plan"),)
    return with_first(problem, hedge), {k: float(v) for k, v in asdict(hedge).items()}, flags


def _flags(site: Site, state: SiteState) -> tuple[DataFlag, ...]:
    soc, battery = state.soc_frac, site.battery
    if battery.capacity_kwh <= 0.0:
        return ()
    if not (np.isfinite(soc) and 0.0 <= soc <= 1.0):
        text = f"state of charge reads {soc:g}, expected a fraction from 0 to 1: the battery is held at 0 kW"
        return (DataFlag("SOC_UNKNOWN", text, "alarm", "plan"),)
    if not battery.soc_min - SOC_SLACK <= soc <= battery.soc_max + SOC_SLACK:
        text = f"state of charge is {soc:.1%}, outside {battery.soc_min:.0%} to {battery.soc_max:.0%}: brought back"
        return (DataFlag("SOC_OUTSIDE", text, "warn", "plan"),)
    return ()


def _merged(problem: Problem, outlook: PriceOutlook, state: SiteState) -> Plan:
    found = merged.solve(problem)
    return to_plan(problem, outlook, state, found, MERGED, found.solve_ms)


def _optimal(problem: Problem, outlook: PriceOutlook, state: SiteState, time_limit_s: float, engine: str) -> Plan:
    """The optimum; in blocks of steps where a long problem has many terms, or its binaries take too long."""
    long, sizes = len(problem) > LONG, block_sizes(problem)
    if not long or problem.plain or not weather_fits(problem, sizes):
        try:
            found, method, ms = _apart(problem, time_limit_s, engine)
            return to_plan(problem, outlook, state, found, method, ms)
        except PlanError:
            if not long or not weather_fits(problem, sizes):
                raise
    found, method, ms = _apart(in_blocks(problem, sizes), time_limit_s, engine)
    method = f"{method} in {len(sizes)} blocks"
    return to_plan(problem, outlook, state, in_steps(problem, sizes, found), method, ms)


def _apart(problem: Problem, time_limit_s: float, engine: str) -> tuple[Solution, str, float]:
    """The optimum without ever charging and discharging in one step, by which method, and the solver's ms."""
    solve = ENGINES[engine]
    deadline = time.perf_counter() + time_limit_s
    found = solve(problem, time_limit_s=time_limit_s)
    total_ms, method = found.solve_ms, LP.format(engine)
    exclusive: tuple[int, ...] = ()
    for attempt in range(ROUNDS + 1):
        both = np.flatnonzero((found.charge_kw > BOTH_KW) & (found.discharge_kw > BOTH_KW))
        if len(both) == 0:
            break
        every = attempt == ROUNDS - 1
        exclusive = tuple(range(len(problem))) if every else tuple(sorted({*exclusive, *(int(t) for t in both)}))
        left = deadline - time.perf_counter()
        if left <= 0.0 or attempt == ROUNDS:
            raise PlanError(f"charging and discharging could not be kept apart within {time_limit_s:g} s")
        found, method = solve(problem, time_limit_s=left, exclusive=exclusive), MILP.format(engine)
        total_ms += found.solve_ms
    if exclusive:
        found = _with_duals(solve, problem, found, exclusive, time_limit_s)
        total_ms += found.solve_ms
    return found, method, total_ms


def _with_duals(
    solve: Callable[..., Solution], problem: Problem, mixed: Solution, exclusive: tuple[int, ...], time_limit_s: float
) -> Solution:
    """The linear program with the direction of each exclusive step fixed as the MILP chose it."""
    chosen = np.zeros(len(problem), dtype=bool)
    chosen[list(exclusive)] = True
    charging = mixed.charge_kw >= mixed.discharge_kw
    return solve(
        problem,
        time_limit_s=time_limit_s,
        idle_charge=as_array(chosen & ~charging),
        idle_discharge=as_array(chosen & charging),
    )
