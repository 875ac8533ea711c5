"""Operator rules: when machines of a type run, by the price against a strike. Pure, and a function of prices alone.

A rule stands on or off. On, it goes off once the price has been over the strike for `above` intervals in a row, or at
once at the high strike; off, it comes back once the price has been at or under the strike for `below` intervals. After
a change it holds for `hold_min` minutes, but for the high strike. As its past is the recorded prices, a rule needs no
memory of its own and can be followed again at any time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gridpilot.domain import PriceHistory, Rule, RuleState, Site, value_usd_per_kwh
from gridpilot.values import Array, as_array

REMEMBERED = 2000  # intervals: a week of 5 minutes
Flags = npt.NDArray[np.bool_]


def follow(rule: Rule, state: RuleState, price: float, even: float, step_s: int) -> RuleState:
    """Where the rule stands in an interval with this price and break-even [$/MWh], given how it stood before."""
    strike = even if rule.strike_usd_per_mwh is None else rule.strike_usd_per_mwh
    over = state.over + 1 if price > strike else 0
    under = state.under + 1 if price <= strike else 0
    urgent = rule.high_usd_per_mwh is not None and price >= rule.high_usd_per_mwh
    free = state.kept * step_s >= 60.0 * rule.hold_min
    on = state.on
    if urgent or (on and free and over >= rule.above):
        on = False
    elif not on and free and under >= rule.below:
        on = True
    return RuleState(on, over, under, state.kept + 1 if on == state.on else 1)


def standing(site: Site, history: PriceHistory) -> dict[str, RuleState]:
    """How each rule of a site stands before the newest interval of a price history, from its newest REMEMBERED rows."""
    out = {}
    if site.rules:
        history = history.tail(REMEMBERED)
    for rule in site.rules:
        value = value_usd_per_kwh(site.machine(rule.type), history.units, history.hash_price, history.token_price)
        even = 1000.0 * value / (1.0 + site.cooling.kw_per_kw)
        state = RuleState()
        for price, breaks in zip(history.energy_usd_per_mwh[:-1].tolist(), even[:-1].tolist(), strict=True):
            state = follow(rule, state, price, breaks, history.step_s)
        out[rule.type] = state
    return out


def signal(
    rule: Rule, state: RuleState | None, price_usd_per_mwh: Array, even_usd_per_mwh: Array, step_s: int
) -> tuple[Flags, Flags]:
    """On or off in each coming interval (T,), and where the high strike is reached (T,)."""
    stand, on, urgent = state or RuleState(), [], []
    for price, even in zip(price_usd_per_mwh.tolist(), even_usd_per_mwh.tolist(), strict=True):
        stand = follow(rule, stand, price, even, step_s)
        on.append(stand.on)
        urgent.append(rule.high_usd_per_mwh is not None and price >= rule.high_usd_per_mwh)
    return np.array(on), np.array(urgent)


def allowed(on: Flags, urgent: Flags, most_kw: Array, before_kw: float, ramp_kw: float) -> Array:
    """What machines may (and, where they are on or on their way off, shall) take in each interval [kW], (T,).

    With a ramp, they leave and come back by that much an interval, from `before_kw` on; all at once at the high strike.
    """
    if ramp_kw <= 0.0:
        return as_array(np.where(on, most_kw, 0.0))
    out, now = np.zeros(len(on)), before_kw
    for t in range(len(on)):
        if on[t]:
            now = min(most_kw[t], now + ramp_kw)
        else:
            now = 0.0 if urgent[t] else min(most_kw[t], max(0.0, now - ramp_kw))
        out[t] = now
    return as_array(out)
