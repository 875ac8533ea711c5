"""Which share of the site's power each of its services should have, by what it gains on average and in the worst cases.

An asset's P&L is (S,) in $ for each kW of site power given to it, over S equally likely courses of prices. Weights are
shares of the site's power; what is left earns nothing, the same on every course.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, hstack, vstack

from gridpilot.domain import Forecast, Plan, Site, value_usd_per_kwh
from gridpilot.errors import DataError, PlanError
from gridpilot.risk.scenarios import prices
from gridpilot.values import Array, as_array

WEIGHT = 0.5  # of the worst cases, where the operator gave none: as much as the mean


def mean_cvar(pnl: Array, alpha: float, weight: float, most: Array) -> Array:
    """Weights (n,) that make (1 - weight) x mean - weight x CVaR largest; 0 <= w <= most (n,), sum w <= 1.

    pnl (S, n). The linear program of Rockafellar and Uryasev (2000), J. Risk 2(3):
    CVaR = min over c of c + sum of max(-pnl w - c, 0) / ((1 - alpha) S). DataError for NaN or other shapes.
    """
    pnl, most = np.asarray(pnl, dtype=np.float64), np.asarray(most, dtype=np.float64)
    if pnl.ndim != 2 or most.shape != pnl.shape[1:] or not (np.isfinite(pnl).all() and np.isfinite(most).all()):
        raise DataError(f"P&L is {pnl.shape} and limits {most.shape}: expected numbers, (S, n) and (n,)")
    if not (0.0 < alpha < 1.0 and 0.0 <= weight <= 1.0):
        raise DataError(f"alpha is {alpha} and weight {weight}: expected above 0 and below 1, and 0 to 1")
    s, n = pnl.shape
    if not n:
        return as_array([])
    scale = float(np.abs(pnl).max()) or 1.0
    cost = np.concatenate(
        [-(1.0 - weight) * pnl.mean(axis=0) / scale, [weight], np.full(s, weight / ((1.0 - alpha) * s))]
    )
    each = np.arange(s)
    tail = coo_array((-np.ones(2 * s), (np.tile(each, 2), np.concatenate([np.zeros(s, int), 1 + each]))))
    sums = csr_array(np.concatenate([np.ones(n), np.zeros(1 + s)])[None, :])
    rows = vstack([hstack([csr_array(-pnl / scale), tail]), sums])
    bounds = [(0.0, float(limit)) for limit in np.clip(most, 0.0, 1.0)] + [(None, None)] + [(0.0, None)] * s
    found = linprog(cost, A_ub=rows, b_ub=np.concatenate([np.zeros(s), [1.0]]), bounds=bounds, method="highs")
    if found.status != 0:
        raise PlanError(f"no portfolio was found: {found.message}")
    return as_array(np.clip(found.x[:n], 0.0, 1.0) + 0.0)  # no -0


def service_shares(plan: Plan, forecast: Forecast, site: Site, alpha: float) -> Mapping[str, float]:
    """The share of the site's power for each service that bids in the plan's first interval.

    A load's P&L over the horizon, for a kW of site power, is what 1 / (1 + k) kW of it earns less what the kWh cost at
    the energy price, k being what its cooling takes. No load has more than it asks for.
    """
    k = 1.0 + site.cooling.kw_per_kw
    asked = [offer for offer in plan.offers if offer.kw > 0.0]
    if not asked or site.import_kw <= 0.0:
        return {}
    energy, hashes, tokens = (prices(plan, forecast, name) for name in ("energy", "hash", "token"))
    types = {machine.type: machine for machine in site.machines}
    worth = [
        value_usd_per_kwh(types[offer.name], plan.outlook.units, hashes, tokens)
        if offer.name in types
        else np.full_like(energy, offer.worth_usd_per_kwh)
        for offer in asked
    ]
    pnl = np.stack([((value / k - energy / 1000.0) * plan.outlook.step_h).sum(axis=1) for value in worth], axis=1)
    weight = WEIGHT if site.risk.weight is None else site.risk.weight
    weights = mean_cvar(pnl, alpha, weight, np.array([offer.kw * k / site.import_kw for offer in asked]))
    shares = dict.fromkeys((offer.service for offer in asked), 0.0)
    for offer, share in zip(asked, weights, strict=True):
        shares[offer.service] += float(share)
    return shares
