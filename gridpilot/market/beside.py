"""The hash and the token price beside an energy price: a source's own, the site's figure, or a companion's.

A constant of the site file is flagged CONSTANT. A companion (`hash_source`) is asked instead of the site's figure,
never after it: where it fails, the price is a gap that the flags tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from gridpilot.domain import DataFlag, PriceHistory, Site
from gridpilot.market.http import Stats
from gridpilot.values import Array, Times, as_array

UNKNOWN = "PRICE_UNKNOWN"  # code of a flag
DOUBTFUL_USD_PER_KWH = 100.0  # a hundred times what GPUs earn: no machine is worth that
PER_RATE = "USD/h per rate"  # $/h of one machine = rate x price
PER_PH_DAY, PER_MTOK = "USD/PH/day", "USD/Mtok"
HASH_FACTORS = {PER_RATE: 1.0, PER_PH_DAY: 1.0 / (1000.0 * 24.0)}
TOKEN_FACTORS = {PER_RATE: 1.0, PER_MTOK: 3600.0 / 1e6}


@dataclass(frozen=True, slots=True)
class Service:
    """A hash or token price (N,) with its unit and its $/h factor; NaN where there is none."""

    price: Array
    unit: str
    factor: float
    flags: tuple[DataFlag, ...] = ()


class Companion(Protocol):
    """A source of hash prices alone, in USD/PH/day."""

    name: str
    trouble: str  # why the newest call failed; empty where it did not
    read_at: datetime | None  # when the newest good one was made

    @property
    def stats(self) -> Stats:
        """Counters of its calls."""
        ...

    def series(self, timestamp: Times, now: datetime) -> tuple[Array, tuple[DataFlag, ...]]:
        """The price of each interval (N,), NaN where it is not known, with what must be said. It never raises."""
        ...


def service(kind: str, given: Array | None, n: int, site: Site) -> Service:
    """A source's own prices (N,) in the site's unit, else the site's constant, else nothing. `kind`: hash or token."""
    is_hash = kind == "hash"
    unit, factors = (site.hash_unit, HASH_FACTORS) if is_hash else (site.token_unit, TOKEN_FACTORS)
    constant, its_unit = (site.hash_usd_per_ph_day, PER_PH_DAY) if is_hash else (site.token_usd_per_mtok, PER_MTOK)
    if given is not None:
        return Service(given, unit, factors[unit], _doubtful(kind, given, unit, factors, site))
    if constant <= 0:
        return Service(np.full(n, np.nan), unit, factors[unit], _unknown(kind, site))
    flag = DataFlag("CONSTANT", f"{kind} price: {constant:g} {its_unit} from the site file, the source has none")
    return Service(np.full(n, constant), its_unit, factors[its_unit], (flag,))


def _doubtful(kind: str, given: Array, unit: str, factors: Mapping[str, float], site: Site) -> tuple[DataFlag, ...]:
    """A warning where prices in the site's unit make a kWh of machine time worth more than any has ever been."""
    known = np.abs(given[np.isfinite(given)])
    price = float(np.median(known)) if len(known) else 0.0
    worth = {m.type: m.rate * price * factors[unit] / m.power_kw for m in site.machines if m.product == kind}
    if not worth or (most := max(worth.values())) <= DOUBTFUL_USD_PER_KWH:
        return ()
    dearest = max(worth, key=lambda name: worth[name])
    other = next(name for name in factors if name != unit)
    said = f"{kind} price: {price:g} {unit} makes {dearest} worth {most:,.0f} USD a kWh"
    remedy = f'if it is {other}, say {kind}_unit = "{other}" in [prices] of the site file'
    return (DataFlag("UNIT_DOUBTFUL", f"{said}: {remedy}", "warn"),)


def _unknown(kind: str, site: Site) -> tuple[DataFlag, ...]:
    """A warning where machines earn by a price that nobody gives."""
    machines = [machine.type for machine in site.machines if machine.product == kind]
    if not machines:
        return ()
    key = "hash_usd_per_ph_day" if kind == "hash" else "token_usd_per_mtok"
    other = ", or GRIDPILOT_HASH_SOURCE=mempool" if kind == "hash" else ""
    remedy = f"{key} in [prices] of the site file (GRIDPILOT_SITE){other}"
    text = f"{kind} price: not known, so {', '.join(machines)} count as worth nothing; set {remedy}"
    return (DataFlag(UNKNOWN, text, "warn"),)


def site_beside(site: Site, companion: Companion | None) -> Site:
    """The site as a source reads it: where a companion gives the hash price, without the site's own figure."""
    return site if companion is None else replace(site, hash_usd_per_ph_day=0.0)


def overlay(history: PriceHistory, companion: Companion | None, now: datetime) -> PriceHistory:
    """The history with the companion's hash price, where it has no hash price of its own."""
    if companion is None or np.isfinite(history.hash_price).any():
        return history
    price, flags = companion.series(history.timestamp, now)
    said = tuple(f for f in history.flags if not (f.code == UNKNOWN and f.message.startswith("hash")))
    units = replace(history.units, hash=PER_PH_DAY, hash_usd_per_h=HASH_FACTORS[PER_PH_DAY])
    return replace(history, hash_price=as_array(price), units=units, flags=(*said, *flags))
