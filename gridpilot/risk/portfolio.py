"""Which share of the site's power each of its services should have, by what it gains on average and in the worst cases.

An asset's P&L is (S,) in $ for each kW of site power given to it, over S equally likely courses of prices. Weights are
shares of the site's power; what is left earns nothing, the same on every course.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gridpilot.domain import Forecast, Plan, Site, value_usd_per_kwh
from gridpilot.risk.allocation import Limits, mean_cvar
from gridpilot.risk.scenarios import prices

WEIGHT = 0.5  # of the worst cases, where the operator gave none: as much as the mean


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
    most = np.minimum(1.0, [offer.kw * k / site.import_kw for offer in asked])
    limits = Limits(np.zeros(len(most)), most, rows=np.ones((1, len(most))), upto=np.ones(1))
    weights = mean_cvar(pnl, alpha, weight, limits)
    shares = dict.fromkeys((offer.service for offer in asked), 0.0)
    for offer, share in zip(asked, weights, strict=True):
        shares[offer.service] += float(share)
    return shares
