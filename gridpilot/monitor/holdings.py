"""The site as a portfolio: how the energy of a plan is divided among its loads, and how it could be.

A load's P&L is what it would bring at full use on each of the recorded price courses, energy and cooling paid. Weights
are shares of the energy that the plan's loads draw from the site, cooling included, and sum to 1; none has more than it
could use, and in no step may all together draw more than the connection. The battery stays as planned, beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gridpilot.domain import Plan
from gridpilot.errors import DataError, PlanError
from gridpilot.monitor.decision import Snapshot, gross, values
from gridpilot.risk import allocation
from gridpilot.risk.allocation import Limits, Point
from gridpilot.risk.measures import cvar
from gridpilot.risk.scenarios import full_use
from gridpilot.values import Array, as_array

T = TypeVar("T")
POINTS = 12
BATTERY = "battery"
PLANNED, SAFEST, STEADIEST, EVEN, RICHEST = (
    "as planned, evenly over the hours",
    "least CVaR",
    "least variance",
    "equal parts of the risk",
    "highest mean",
)


@dataclass(frozen=True, slots=True)
class Holding:
    """A named division of the energy: share of each load, mean and CVaR [$]; `said` where there is none."""

    name: str
    point: Point | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Holdings:
    """The loads, the frontier of their divisions, some of these by name, and the plan itself, which follows prices."""

    names: tuple[str, ...]
    mean_kw: float  # of all loads as planned, cooling included
    frontier: tuple[Point, ...]
    named: tuple[Holding, ...]
    plan_mean: float
    plan_cvar: float


def holdings(snap: Snapshot, plan: Plan) -> Holdings:
    """The portfolio of a recorded decision. DataError where it has no risk figures, no state or no load in its plan."""
    state = snap.state
    recorded = snap.risk.get("full_usd") or {}
    if snap.risk["status"] != "ok" or state is None or not recorded:
        raise DataError("this decision was recorded without the P&L of each load: wait for the next one")
    site_kw = {name: kw * gross(snap) for name, kw in full_use(plan, snap.site, state).items()}
    planned = {name: float((plan.loads_kw.get(name, np.zeros(len(plan))) * gross(snap)).mean()) for name in site_kw}
    total = sum(planned.values())
    names = tuple(name for name, kw in site_kw.items() if kw.mean() > 0.0 and name in recorded)
    if total <= 0.0 or not names:
        raise DataError("the plan runs no load: there is no energy to divide")
    alpha = float(snap.risk["alpha"])
    pnl = np.stack([values(recorded[name]) * total / site_kw[name].mean() for name in names], axis=1)
    beside = values(recorded[BATTERY]) if BATTERY in recorded else np.zeros(len(pnl))
    most = as_array([site_kw[name].mean() / total for name in names])
    rows = np.stack([site_kw[name] * total / site_kw[name].mean() for name in names], axis=1)
    upto = as_array(np.full(len(plan), state.import_kw(snap.site.import_kw)))
    limits = Limits(as_array(np.zeros(len(names))), most, rows, upto, total=1.0)

    def point(weights: Array) -> Point:
        money = pnl @ weights + beside
        return Point(as_array(weights), float(money.mean()), cvar(money, alpha))

    now = as_array([planned[name] / total for name in names])
    curve = _tried(lambda: allocation.frontier(pnl, alpha, limits, POINTS, beside))
    tries: list[tuple[str, Callable[[], Array]]] = [
        (SAFEST, lambda: allocation.least_cvar(pnl, alpha, limits, beside=beside)),
        (STEADIEST, lambda: allocation.least_variance(np.atleast_2d(np.cov(pnl.T)), limits)),
        (EVEN, lambda: _parity(pnl, limits)),
    ]
    named = [Holding(PLANNED, point(now))]
    for name, make in tries:
        found = _tried(make)
        named.append(Holding(name, None, found) if isinstance(found, str) else Holding(name, point(found)))
    points = () if isinstance(curve, str) else tuple(curve)
    named.append(Holding(RICHEST, points[-1]) if points else Holding(RICHEST, None, str(curve)))
    return Holdings(names, total, points, tuple(named), float(snap.risk["expected"]), float(snap.risk["cvar"]))


def _parity(pnl: Array, limits: Limits) -> Array:
    """Equal parts of the risk over the loads; DataError where that does not fit the limits."""
    weights = allocation.risk_parity(np.atleast_2d(np.cov(pnl.T)))
    if np.any(weights > limits.most + 1e-9) or np.any(limits.rows @ weights > limits.upto + 1e-6):
        raise DataError("does not fit: a load would need more than it can use, or more than the connection")
    return weights


def _tried(make: Callable[[], T]) -> T | str:
    try:
        return make()
    except (DataError, PlanError) as error:
        return str(error)
