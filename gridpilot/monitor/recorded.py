"""The prices that the ledger has recorded, as a history that can be forecast and traded again."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from gridpilot.domain import PriceHistory, Site
from gridpilot.errors import DataError
from gridpilot.ledger.store import Ledger
from gridpilot.market.quality import Rows, regularise
from gridpilot.monitor import decision

BRIDGE_S = 10 * 86_400  # longer gaps cut the past off; shorter ones are filled and marked


def recorded_prices(ledger: Ledger, until: datetime | None = None) -> tuple[Site, PriceHistory]:
    """The newest decision's site and all prices of its source (before `until`), on an even grid.

    DataError before the first decision, or where there is no such price.
    """
    snap = decision.load(ledger)
    if snap is None:
        raise DataError("the ledger holds no decision yet: start the pilot, or give a price file with --prices")
    source = str(snap.cycle["source"])
    stored = ledger.prices(source, until=until)
    if not len(stored):
        raise DataError(f"the ledger holds no price of {source} before {until}: it was pruned")
    rows = Rows(
        stored.timestamp,
        {"energy": stored.energy_usd_per_mwh, "hash": stored.hash_price, "token": stored.token_price},
        "energy",
        np.arange(1, len(stored) + 1),
    )
    known = {name: values for name, values in rows.series.items() if np.isfinite(values).any()}
    grid = regularise(Rows(rows.timestamp, known, "energy", rows.number), source, step_s=snap.step_s, bridge_s=BRIDGE_S)
    nothing = np.full(len(grid.timestamp), np.nan)
    history = PriceHistory(
        source=source,
        timestamp=grid.timestamp,
        step_s=grid.step_s,
        energy_usd_per_mwh=grid.series["energy"],
        hash_price=grid.series.get("hash", nothing),
        token_price=grid.series.get("token", nothing),
        units=snap.units,
        flags=grid.flags,
        credit=str(snap.cycle["credit"]),
        filled=grid.filled,
    )
    return snap.site, history
