"""What the Risk page asks, beside the recorded report: each from the ledger's rows of one decision, none of it sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from gridpilot import report
from gridpilot.domain import PriceHistory, RiskAppetite
from gridpilot.monitor.decision import Snapshot, values
from gridpilot.monitor.recorded import recorded_prices
from gridpilot.views.base import records

if TYPE_CHECKING:
    from gridpilot.monitor.exposure import Model, Track
    from gridpilot.monitor.holdings import Holdings
    from gridpilot.monitor.whatif import Weighed

COURSES = 200  # of a what-if: as many as the pilot weighs


def models(snap: Snapshot) -> list[Model]:
    """VaR and CVaR of a decision's plan by each model: Monte Carlo by four processes among them."""
    from gridpilot.monitor import exposure

    return exposure.models(snap, report.plan_from_json(snap.plan, snap.units), _history(snap))


def track(snap: Snapshot) -> Track:
    """Recorded VaR against what came, up to a decision."""
    from gridpilot.monitor import exposure

    return exposure.track(records(), snap)


def holdings(snap: Snapshot) -> Holdings:
    """The site as a portfolio of its loads, with the efficient frontier."""
    from gridpilot.monitor import holdings as portfolio

    return portfolio.holdings(snap, report.plan_from_json(snap.plan, snap.units))


def weighed(snap: Snapshot, weight: float, alpha: float) -> Weighed:
    """The plan of a decision by another risk weight and alpha, over futures drawn from its recorded forecast bands."""
    from gridpilot.monitor import exposure
    from gridpilot.monitor.whatif import weighed as decide
    from gridpilot.risk.generators import from_bands, persistence

    plan = report.plan_from_json(snap.plan, snap.units)
    bands = {name: _ahead(snap, band) for name, band in snap.forecast["bands"].items()}
    rng = np.random.default_rng(exposure.seed(snap.cycle_id))
    futures = from_bands(plan.outlook, bands, persistence(_history(snap)), COURSES, rng)
    return decide(snap, plan, RiskAppetite(weight, alpha, snap.site.risk.cvar_limit_usd), futures)


def _ahead(snap: Snapshot, band: dict[str, Any]) -> dict[float, Any]:
    """Recorded quantiles of the plan's steps after the running one."""
    steps = len(snap.plan["timestamp"]) - 1
    return {float(level): values(row)[:steps] for level, row in band["quantiles"].items()}


def _history(snap: Snapshot) -> PriceHistory:
    """The recorded prices up to a decision."""
    return recorded_prices(records(), until=snap.at + timedelta(seconds=1))[1]
