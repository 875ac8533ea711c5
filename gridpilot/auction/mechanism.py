"""Who gets the power, and what each pays: exact Vickrey-Clarke-Groves on one divisible resource.

Every step of every demand curve above the reserve price is served in merit order until the capacity is used
up; that maximises welfare, the sum of value above the reserve. A winner pays what the others lose by its
presence: the power it takes would have gone to the losing steps below it (never its own), best first, and
what none of them wants would have stayed with the seller at the reserve. So no bidder gains by misstating
its value (Vickrey 1961, Clarke 1971, Groves 1973).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gridpilot.domain import Allocation, AuctionResult, Bid, Payment
from gridpilot.errors import DataError

DIVISIBLE = "merit order, VCG payments"
MIXED = "exact search over all-or-nothing bids, VCG payments"
MOST_INDIVISIBLE = 12  # 4,096 subsets at the most, for each winner
KW = 1e-12  # below this an amount is rounding


@dataclass(frozen=True, slots=True)
class _Won:
    """kW of each bid (in the order given) and the welfare they bring above the reserve [$/h]."""

    kw: tuple[float, ...]
    welfare: float


def clear(bids: Sequence[Bid], capacity_kw: float, reserve_usd_per_kwh: float = 0.0) -> AuctionResult:
    """Clear one auction. Ties go by bidder, service, and the order of the bids.

    A bid of zero kW, below zero or below the reserve gets nothing and is listed in `rejected`. All-or-nothing
    bids are decided by exact search; of more than 12 the ones of least value are refused, and the result then
    says that it is not exact. DataError for a capacity or reserve that is negative or not finite.
    """
    start = time.perf_counter()
    for name, number in (("capacity", capacity_kw), ("reserve price", reserve_usd_per_kwh)):
        if not (math.isfinite(number) and number >= 0.0):
            raise DataError(f"{name} is {number:g}: expected a number of 0 or more")
    bids = tuple(bids)
    alive, rejected, exact = _admit(bids, reserve_usd_per_kwh)
    won = _best(bids, alive, capacity_kw, reserve_usd_per_kwh)
    bidders = sorted({bids[i].bidder for i in alive if won.kw[i] > KW})
    payments = tuple(_payment(name, bids, alive, won, capacity_kw, reserve_usd_per_kwh) for name in bidders)
    return AuctionResult(
        welfare_usd_per_h=won.welfare,
        allocation=_allocation(bids, won),
        payments=payments,
        clearing_price_usd_per_kwh=_clearing_price(bids, alive, won, capacity_kw, reserve_usd_per_kwh),
        reserve_usd_per_kwh=reserve_usd_per_kwh,
        capacity_kw=capacity_kw,
        method=DIVISIBLE if all(bids[i].divisible for i in alive) else MIXED,
        exact=exact,
        rejected=rejected,
        solve_ms=(time.perf_counter() - start) * 1000.0,
    )


def _admit(bids: tuple[Bid, ...], reserve: float) -> tuple[list[int], tuple[tuple[str, str], ...], bool]:
    """Bids that take part, the others with a reason, and whether nobody was left out for size."""
    alive, rejected = [], []
    for i, bid in enumerate(bids):
        reason = ""
        if bid.kw <= 0.0:
            reason = "asks for 0 kW"
        elif bid.price_usd_per_kwh < 0.0:
            reason = f"bids {bid.price_usd_per_kwh:g} $/kWh: below zero"
        elif bid.price_usd_per_kwh < reserve:
            reason = f"bids {bid.price_usd_per_kwh:.4g} $/kWh: below the reserve of {reserve:.4g}"
        if reason:
            rejected.append((bid.bidder, reason))
        else:
            alive.append(i)
    whole = sorted((i for i in alive if not bids[i].divisible), key=lambda i: -bids[i].kw * bids[i].price_usd_per_kwh)
    for i in whole[MOST_INDIVISIBLE:]:
        alive.remove(i)
        rejected.append(
            (bids[i].bidder, f"more than {MOST_INDIVISIBLE} all-or-nothing bids: the least valuable are left out")
        )
    return alive, tuple(rejected), len(whole) <= MOST_INDIVISIBLE


def _rank(bids: tuple[Bid, ...], alive: list[int]) -> list[int]:
    return sorted(alive, key=lambda i: (-bids[i].price_usd_per_kwh, bids[i].bidder, bids[i].service, i))


def _fill(bids: tuple[Bid, ...], order: list[int], capacity: float, reserve: float, kw: list[float]) -> float:
    """Serve divisible bids in merit order; writes their kW and returns the welfare."""
    welfare, left = 0.0, capacity
    for i in order:
        if left <= 0.0:
            break
        kw[i] = min(bids[i].kw, left)
        left -= kw[i]
        welfare += kw[i] * (bids[i].price_usd_per_kwh - reserve)
    return welfare


def _best(bids: tuple[Bid, ...], alive: list[int], capacity: float, reserve: float) -> _Won:
    """The allocation of most welfare: merit order, over every subset of the all-or-nothing bids."""
    order = _rank(bids, [i for i in alive if bids[i].divisible])
    whole = _rank(bids, [i for i in alive if not bids[i].divisible])
    best: _Won | None = None
    for subset in range(1 << len(whole)):
        chosen = [i for n, i in enumerate(whole) if subset >> n & 1]
        used = sum(bids[i].kw for i in chosen)
        if used > capacity:
            continue
        kw = [0.0] * len(bids)
        welfare = _fill(bids, order, capacity - used, reserve, kw)
        for i in chosen:
            kw[i] = bids[i].kw
            welfare += kw[i] * (bids[i].price_usd_per_kwh - reserve)
        if best is None or welfare > best.welfare:
            best = _Won(tuple(kw), welfare)
    return best or _Won((0.0,) * len(bids), 0.0)


def _payment(
    bidder: str, bids: tuple[Bid, ...], alive: list[int], won: _Won, capacity: float, reserve: float
) -> Payment:
    """What the others lose by this bidder, with the bids that it displaces."""
    mine = [i for i in alive if bids[i].bidder == bidder]
    taken = sum(won.kw[i] for i in mine)
    worth = sum(won.kw[i] * (bids[i].price_usd_per_kwh - reserve) for i in mine)
    without = _best(bids, [i for i in alive if bids[i].bidder != bidder], capacity, reserve)
    rows, displaced = [], 0.0
    for i in _rank(bids, [i for i in alive if bids[i].bidder != bidder]):
        more = without.kw[i] - won.kw[i]
        if abs(more) > KW:
            price = bids[i].price_usd_per_kwh
            rows.append((bids[i].bidder, more, price, more * price))
            displaced += more
    if abs(taken - displaced) > KW:  # negative: all-or-nothing losers would have needed more than it takes
        rows.append(("reserve", taken - displaced, reserve, (taken - displaced) * reserve))
    # the reserve counts as welfare of the seller, for the power that each side leaves to it
    others_with = won.welfare - worth + reserve * (capacity - taken)
    others_without = without.welfare + reserve * capacity
    return Payment(bidder, others_without - others_with, others_without, others_with, tuple(rows))


def _allocation(bids: tuple[Bid, ...], won: _Won) -> tuple[Allocation, ...]:
    """One row for each bidder and service, in the order in which they first appear."""
    rows: dict[tuple[str, str], Allocation] = {}
    for bid, kw in zip(bids, won.kw, strict=True):
        key = (bid.bidder, bid.service)
        row = rows.get(key, Allocation(bid.bidder, bid.service, 0.0, 0.0, 0.0))
        worth = kw * bid.price_usd_per_kwh
        rows[key] = replace(
            row, asked_kw=row.asked_kw + bid.kw, kw=row.kw + kw, value_usd_per_h=row.value_usd_per_h + worth
        )
    return tuple(rows.values())


def _clearing_price(bids: tuple[Bid, ...], alive: list[int], won: _Won, capacity: float, reserve: float) -> float:
    """The shadow price of capacity: what one kW less would cost; the reserve while some is left."""
    if sum(won.kw) < capacity - KW:
        return reserve
    losing = [bids[i].price_usd_per_kwh for i in alive if bids[i].divisible and won.kw[i] < bids[i].kw - KW]
    return max([reserve, *losing])
