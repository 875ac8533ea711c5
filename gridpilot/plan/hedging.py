"""The battery's next step under risk: the live problem brought to the exact two-stage hedge of `stochastic.py`.

Loads that follow their price alone enter each scenario by merit order. What is shaped by something else (jobs, service
levels, rules, minimum run times) is taken as planned for the expected prices: its cost counts in every scenario, and
what it draws is not there for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gridpilot.domain import PriceOutlook, RiskAppetite, Site, value_usd_per_kwh
from gridpilot.errors import PlanError
from gridpilot.plan import merge
from gridpilot.plan.loads import Load
from gridpilot.plan.merge import Store
from gridpilot.plan.problem import Problem
from gridpilot.plan.result import Solution
from gridpilot.plan.stochastic import Hedged, Risk, hedge
from gridpilot.values import Array, as_array

HAIR_KWH = 1e-3  # a simulated state of charge ends so near to its band
STRICTER = (0.25, 0.5, 0.75, 1.0)  # weights that are tried, from the operator's up, until the CVaR limit holds


@dataclass(frozen=True, slots=True)
class Scenarios:
    """S equally likely courses of prices over the T steps of an outlook, (S, T): energy in $/MWh, others in their unit.

    The first step is the known one, the same in all.
    """

    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array

    def __len__(self) -> int:
        return len(self.energy_usd_per_mwh)

    @staticmethod
    def of(outlook: PriceOutlook, energy: Array, hashes: Array, tokens: Array) -> Scenarios:
        """Paths (S, H) of a forecast on an outlook's steps; a price without paths (NaN) is the outlook's."""

        def on_steps(paths: Array, known: Array) -> Array:
            ahead = np.concatenate([np.full((len(paths), 1), known[0]), paths[:, : len(known) - 1]], axis=1)
            return as_array(np.where(np.isnan(ahead), known, ahead))

        return Scenarios(
            on_steps(energy, outlook.energy_usd_per_mwh),
            on_steps(hashes, outlook.hash_price),
            on_steps(tokens, outlook.token_price),
        )


@dataclass(frozen=True, slots=True)
class Hedge:
    """The battery power of the first step [kW, charging positive], and what it was chosen by."""

    first_kw: float
    weight: float
    alpha: float
    paths: int
    mean_usd: float
    cvar_usd: float  # a profit: the mean of the worst outcomes
    limit_usd: float  # the loss that CVaR may reach; NaN: none


def hedged(
    site: Site, problem: Problem, base: Solution, outlook: PriceOutlook, scenarios: Scenarios, limit_usd: float | None
) -> Hedge:
    """The first step by mean and CVaR over the scenarios, with the operator's weight or, where the CVaR limit asks for
    it, a stricter one. `base` is the plan for the expected prices. PlanError where the battery is not in its band.
    """
    battery, appetite, h = problem.battery, site.risk, problem.hours
    if battery is None or appetite.weight is None or len(problem) < 2:
        raise PlanError("there is nothing to hedge: no battery, no risk weight or no step ahead")
    store = Store.of(battery, float(h[0]))
    start = min(max(problem.start_kwh, store.low), store.high)
    if abs(start - problem.start_kwh) > HAIR_KWH:
        raise PlanError("the state of charge is outside its band: it is brought back first")
    free = [load for load in problem.loads if _follows_price(problem, site, load)]
    drawn = sum((base.loads_kw[load.name] for load in problem.loads if load not in free), np.zeros(len(problem)))
    fixed_kwh = (problem.gross * drawn + (base.room_kw if len(base.room_kw) else 0.0)) * h
    room = np.maximum(problem.import_kw * h - fixed_kwh, 0.0), problem.export_kw * h + fixed_kwh

    def uses(price: Array, hashes: Array, tokens: Array, steps: slice) -> merge.Uses:
        count = len(price) // len(problem.price_usd_per_kwh[steps])
        gross = np.tile(problem.gross[steps], count)
        value = [_value(site, outlook, load, (hashes, tokens), steps, count) / gross for load in free]
        kwh = [np.tile((load.max_kw * problem.gross * h)[steps], count) for load in free]
        none = np.empty((len(price), 0))
        return merge.uses(
            price,
            price,
            np.tile(room[0][steps], count),
            np.tile(room[1][steps], count),
            np.stack(value, axis=1) if free else none,
            np.stack(kwh, axis=1) if free else none,
        )

    now, later = slice(0, 1), slice(1, None)
    price = scenarios.energy_usd_per_mwh / 1000.0
    first = uses(problem.price_usd_per_kwh[now], outlook.hash_price[now], outlook.token_price[now], now)
    services = [paths[:, later].ravel() for paths in (scenarios.hash_price, scenarios.token_price)]
    ahead = uses(price[:, later].ravel(), services[0], services[1], later)
    end = merge.flat_end(store, start, problem.terminal_usd_per_kwh)
    beside = _fixed_usd(site, outlook, problem, base, free, scenarios, price)

    def by(risk: Risk) -> Hedged:
        return hedge(store, first, ahead, start, end, (len(scenarios), beside), risk)

    worth = problem.terminal_usd_per_kwh * (start - store.low)  # the plan counts the change in stored energy alone
    found, weight = _strict_enough(by, appetite, None if limit_usd is None else limit_usd - worth)
    first_kw = -float(merge.terminal(store, np.array([found.out]))[0]) / float(h[0])
    return Hedge(
        first_kw,
        weight,
        appetite.alpha,
        len(scenarios),
        found.mean_usd - worth,
        found.cvar_usd - worth,
        float("nan") if limit_usd is None else limit_usd,
    )


def _strict_enough(
    solve: Callable[[Risk], Hedged], appetite: RiskAppetite, limit_usd: float | None
) -> tuple[Hedged, float]:
    """The hedge at the operator's weight; a stricter one while CVaR loses more than the limit."""
    weight = appetite.weight or 0.0
    found: Hedged = solve(Risk(weight, appetite.alpha))
    for stricter in STRICTER:
        if limit_usd is None or -found.cvar_usd <= limit_usd or stricter <= weight:
            continue
        weight = stricter
        found = solve(Risk(weight, appetite.alpha))
    return found, weight


def _follows_price(problem: Problem, site: Site, load: Load) -> bool:
    """Whether nothing but its price decides when a load runs."""
    shaped = {run.load for run in problem.runs} | {s.type for s in problem.switching} | {r.type for r in site.rules}
    return load.name not in shaped and load.place not in shaped


def _value(
    site: Site, outlook: PriceOutlook, load: Load, services: tuple[Array, Array], steps: slice, count: int
) -> Array:
    """What a kWh brings in a load at these hash and token prices [$/kWh]."""
    if not load.of:
        return np.tile(load.value_usd_per_kwh[steps], count)
    return value_usd_per_kwh(site.machine(load.of), outlook.units, *services)


def _fixed_usd(
    site: Site,
    outlook: PriceOutlook,
    problem: Problem,
    base: Solution,
    free: list[Load],
    scenarios: Scenarios,
    price: Array,
) -> Array:
    """What the loads that are taken as planned earn in each scenario (S,) [$]."""
    total = np.zeros(len(scenarios))
    for load in problem.loads:
        if load in free:
            continue
        value = np.broadcast_to(load.value_usd_per_kwh, price.shape)
        if load.of:
            value = value_usd_per_kwh(site.machine(load.of), outlook.units, scenarios.hash_price, scenarios.token_price)
        total = total + (value - problem.gross * price) @ (problem.hours * base.loads_kw[load.name])
    return total


def with_first(problem: Problem, hedge: Hedge) -> Problem:
    """The problem with the battery's first step as hedged, within what it may do."""
    battery = problem.battery
    assert battery is not None  # noqa: S101  # there was something to hedge
    return replace(problem, first_kw=float(np.clip(hedge.first_kw, -battery.discharge_kw, battery.charge_kw)))
