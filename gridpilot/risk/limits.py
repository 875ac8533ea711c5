"""How much CVaR may lose, by how restless prices are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridpilot.domain import PriceHistory, RiskAppetite

DAYS = 30  # that today is compared with
FEWEST_DAYS = 7
CALM, RESTLESS, STORMY = "calm", "restless", "stormy"
# A day among the most volatile quarter halves nothing yet, one in twenty does: round shares, chosen, not fitted.
FACTORS = {CALM: 1.0, RESTLESS: 0.75, STORMY: 0.5}


@dataclass(frozen=True, slots=True)
class Regime:
    """How restless the energy price is: `share` of the last days whose prices changed less than in the newest one.

    `volatility` is the standard deviation of the change from one interval to the next, over the newest 24 h [$/MWh].
    """

    name: str
    share: float
    volatility: float
    days: int

    @property
    def factor(self) -> float:
        """What part of the calm limit holds."""
        return FACTORS[self.name]


def regime(history: PriceHistory) -> Regime:
    """The regime of the newest 24 h against the days before: restless above 75 % of them, stormy above 95 %.

    Calm where fewer than FEWEST_DAYS days are known.
    """
    per_day = 86400 // history.step_s
    days = min(DAYS, (len(history) - 1) // per_day)
    if days < FEWEST_DAYS:
        return Regime(CALM, float("nan"), float("nan"), days)
    change = np.diff(history.energy_usd_per_mwh[-(days * per_day + 1) :])
    volatility = change.reshape(days, per_day).std(axis=1)
    share = float(np.mean(volatility[:-1] < volatility[-1]))
    name = STORMY if share > 0.95 else RESTLESS if share > 0.75 else CALM
    return Regime(name, share, float(volatility[-1]), days)


def cvar_limit(appetite: RiskAppetite, now: Regime) -> float | None:
    """The loss that CVaR may reach over the horizon now [$]; None where the operator set no limit."""
    return None if appetite.cvar_limit_usd is None else appetite.cvar_limit_usd * now.factor
