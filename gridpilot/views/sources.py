"""How each price source stood at the pilot's newest look, good or not, with its age by now."""

from __future__ import annotations

from dataclasses import replace

from gridpilot.market.watch import STATE, Standing
from gridpilot.views import base
from gridpilot.views.standing import present


def sources() -> tuple[Standing, ...]:
    """Every source in the order of the setting, a hash price's own last; empty before the first look.

    Where a moment is looked at, as the decision in force then recorded them.
    """
    at = present()
    if base.look().at is None:
        rows = base.ledger().get_state(STATE).value
    else:
        cycle = base.records().latest("cycle")
        rows = None if cycle is None else cycle.body.get("sources")
    found = [Standing.from_json(body) for body in rows or []]
    return tuple(
        found
        if at is None
        else [s if s.price_at is None else replace(s, age_s=max(0.0, (at - s.price_at).total_seconds())) for s in found]
    )
