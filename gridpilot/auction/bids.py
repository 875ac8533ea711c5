"""Where bids come from: the site's own services and tenants, a table, a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gridpilot.domain import Bid, Offer, Plan, Site
from gridpilot.errors import DataError

COLUMNS = ("bidder", "service", "kw", "price_usd_per_kwh")
METER_KW = 0.001  # below what a meter can tell
HIGHEST = 1e6  # $/kWh, the most that a bid may say
MAX_BYTES = 100_000_000
Refusal = tuple[str, str]  # bidder (or row), reason


def auction_capacity_kw(site: Site, plan: Plan) -> float:
    """What all loads and their cooling may draw in the plan's first interval [kW]: the connection, less the battery's
    power and what is kept free as reserve down."""
    return max(0.0, site.import_kw - float(plan.battery_kw[0]) - float(plan.reserve_down_kw[0]))


def cooling_usd_per_kwh(site: Site, plan: Plan) -> float:
    """What cooling a kWh of load costs in the plan's first interval [$/kWh]: k x the plan's price of power.

    Bids are net of it, so a tenant pays it beside its auction payment: together never more than it bid.
    """
    return site.cooling.kw_per_kw * max(0.0, float(plan.power_price_usd_per_kwh[0]))


def site_bids(site: Site, plan: Plan) -> tuple[Bid, ...]:
    """The site's bids for the plan's first interval.

    A load bids what a kWh is worth to it (`Plan.offers`) less what cooling that kWh costs at the plan's price of
    power; so it is served where the plan serves it: worth > (1 + k) x price of power. Customers of a machine type are
    blocks of its demand. A load at the margin asks for what the plan gives it. Cooling bids what it makes possible:
    without it the planned load stops.
    """
    power = max(0.0, float(plan.power_price_usd_per_kwh[0]))
    bids, planned_usd_per_h = [], 0.0
    for offer in plan.offers:
        planned_kw = _planned_kw(plan, offer)
        worth = offer.worth_usd_per_kwh - cooling_usd_per_kwh(site, plan)
        tied = math.isclose(worth, power, rel_tol=1e-6)  # worth the price of power, but for the solver's rounding
        kw = planned_kw if tied or plan.status != "optimal" else offer.kw  # and no more than the plan has cooling for
        bids.append(Bid(offer.of, offer.service, kw, _within(power if tied else worth)))
        planned_usd_per_h += offer.worth_usd_per_kwh * planned_kw
    asked = {offer.of for offer in plan.offers}
    bids += [Bid(job.name, "training", 0.0, job.value_usd_per_kwh) for job in site.jobs if job.name not in asked]
    cooling_kw = float(plan.cooling_kw[0])
    if cooling_kw > METER_KW:
        highest = max([power, *(bid.price_usd_per_kwh for bid in bids)])
        bids.append(Bid("cooling", "cooling", cooling_kw, _within(max(planned_usd_per_h / cooling_kw, highest))))
    return tuple(bids)


def _within(usd_per_kwh: float) -> float:
    return min(max(usd_per_kwh, -HIGHEST), HIGHEST)


def _planned_kw(plan: Plan, offer: Offer) -> float:
    """What the plan gives the load of an offer in the first interval."""
    if offer.name in plan.customers_kw:
        return float(plan.customers_kw[offer.name][0])
    others = [other.name for other in plan.offers if other.of == offer.of and other.name != offer.name]
    return float(plan.loads_kw[offer.of][0]) - sum(float(plan.customers_kw[name][0]) for name in others)


def parse_bids(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Bid, ...], tuple[Refusal, ...]]:
    """Bids of a table (bidder, service, kw, price_usd_per_kwh[, divisible]), and a reason for each bad row.

    Rows without any value are passed over.
    """
    bids, refused = [], []
    for number, row in enumerate(rows, 1):
        if all(_blank(value) for value in row.values()):
            continue
        name = f"row {number}" if _blank(row.get("bidder")) else str(row["bidder"])
        try:
            bids.append(_bid(row))
        except DataError as error:
            refused.append((name, f"row {number}: {error}"))
    return tuple(bids), tuple(refused)


def read_bids(path: Path) -> tuple[tuple[Bid, ...], tuple[Refusal, ...]]:
    """Bids of a CSV file with a header; DataError for a file that is none."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size / 1e6:.0f} MB: at most {MAX_BYTES / 1e6:.0f} MB are read")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                seen = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"{path}: no column {missing[0]!r}; the header is: {seen}")
            return parse_bids(list(reader))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the path of a CSV file of bids") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _bid(row: Mapping[str, Any]) -> Bid:
    for name in ("bidder", "service"):
        if _blank(row.get(name)):
            raise DataError(f"{name} is empty")
    kw, price = _number(row, "kw"), _number(row, "price_usd_per_kwh")
    return Bid(str(row["bidder"]), str(row["service"]), kw, price, _divisible(row.get("divisible")))


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{name} is {value!r}: expected a number") from None
    if not math.isfinite(number):
        raise DataError(f"{name} is {value!r}: expected a finite number")
    return number


def _divisible(value: Any) -> bool:
    if _blank(value):
        return True
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise DataError(f"divisible is {value!r}: expected true or false")
    return text in ("true", "1", "yes")


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""
