"""Who gets the power, and what each pays: the allocation of most value, with Vickrey-Clarke-Groves payments.

The shape of the bids chooses the mechanism, and the result names it:

divisible bids, one scarce resource         merit order, all payments in one pass          `merit`
all-or-nothing bids beside, sizes on a grid  dynamic programming                            `knapsack`
divisible bids, several scarce resources     linear program with warm removals              `linear`
everything else                              mixed-integer program, exact within its time;  `integer`
                                             else greedy with critical-value payments

A winner pays what the others (and the seller, at its reserve price) lose by its presence; so it never gains by
misstating its value, and never pays more than it (Vickrey 1961, Clarke 1971, Groves 1973). Such payments never stand on
an allocation that is not proved to be the best one. The site's own alternatives bid as `house` and pay nothing: what
they would have had is the opportunity cost that others pay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridpilot.auction import integer, knapsack, linear, merit
from gridpilot.auction.book import KW, POWER, Book, Bools, Ints, Problem, Refused, Supply, admit, each, problem, total
from gridpilot.domain import Allocation, AuctionResult, Bid
from gridpilot.errors import DataError
from gridpilot.values import Array

MERIT = "merit order, VCG payments"
KNAPSACK = "exact knapsack, VCG payments"
LINEAR = "linear program, VCG payments"
INTEGER = "mixed-integer program, VCG payments"
GREEDY = "greedy by value for its share of what is scarce, critical-value payments"
CORE = "core-selecting payments (not truthful)"
TIME_LIMIT_S = 20.0
MOST_LOSERS = 100_000  # demand curves; of more only those that got something become rows of a result


@dataclass(frozen=True, slots=True)
class Cleared:
    """An auction's outcome by the rows and bidders of its book.

    `lost` (B,) is what others lose by each bidder, above the reserve [$/h]; a bidder pays that and the reserve for what
    it takes. `bound` is the most value that any allocation could have.
    """

    book: Book
    supply: Supply
    taking_part: Bools  # (n,)
    refused: tuple[Refused, ...]
    problem: Problem
    kw: Array  # (n,)
    lost: Array  # (B,)
    method: str
    exact: bool
    bound: float
    clearing_price: float  # $/kWh of site power
    solve_ms: float
    left_s: float  # of the time limit, for the proofs

    @property
    def value(self) -> Array:
        """What each bidder got is worth to it, above the reserve, by its own bids (B,) [$/h]."""
        above = self.book.price - self.supply.reserve_usd_per_kwh * self.book.uses[:, 0]
        return total(self.book.bidder, self.kw * above, len(self.book.bidders))

    @property
    def power(self) -> Array:
        """Site power of each bidder (B,) [kW]."""
        return total(self.book.bidder, self.kw * self.book.uses[:, 0], len(self.book.bidders))

    @property
    def welfare(self) -> float:
        """Value of what was given, above the reserve [$/h]."""
        return float(self.value.sum())

    @property
    def pays(self) -> Array:
        """What each bidder pays (B,) [$/h]; the house pays nothing."""
        return np.where(self.book.house, 0.0, self.lost + self.supply.reserve_usd_per_kwh * self.power)

    def result(self) -> AuctionResult:
        """The outcome as objects, with the bids that the first winners displace, as far as time and the budget of
        `proof.payments` go: a thousand winners of up to 10,000 bids, ten of a million."""
        from gridpilot.auction.proof import payments

        winners = np.unique(self.book.bidder[self.kw > KW])
        paying = winners[~self.book.house[winners]].tolist()
        return AuctionResult(
            welfare_usd_per_h=self.welfare,
            allocation=_allocation(self),
            payments=payments(self, paying, integer.Deadline(self.left_s)),
            clearing_price_usd_per_kwh=self.clearing_price,
            reserve_usd_per_kwh=self.supply.reserve_usd_per_kwh,
            capacity_kw=self.supply.power_kw,
            method=self.method,
            exact=self.exact,
            house=tuple(name for name, own in zip(self.book.bidders, self.book.house, strict=True) if own),
            bound_usd_per_h=self.bound,
            rejected=tuple((self.book.bidders[self.book.bidder[r.row]], r.reason) for r in self.refused),
            solve_ms=self.solve_ms,
        )


def clear(bids: Sequence[Bid], capacity_kw: float, reserve_usd_per_kwh: float = 0.0) -> AuctionResult:
    """Clear one auction of site power. Ties go by bidder, service, and the order of the bids.

    A bid of zero kW, below zero or below the reserve gets nothing and is listed in `rejected`. DataError for a capacity
    or reserve that is negative or not finite.
    """
    return clear_book(Book.of(bids), Supply(capacity_kw, reserve_usd_per_kwh)).result()


def clear_book(book: Book, supply: Supply, *, time_limit_s: float = TIME_LIMIT_S, core: bool = False) -> Cleared:
    """Clear an auction of any size: the allocation, and the payment of every winner.

    The time limit holds for mixed-integer programs and core-selecting payments, and with them for the proofs of the
    result. With `core`, payments are core-selecting and named so: no group of bidders could better them, but a lie may
    pay. DataError where the auction is too large for them or not proved to be the best.
    """
    start, deadline = time.perf_counter(), integer.Deadline(time_limit_s)
    taking_part, refused = admit(book, supply)
    p = problem(book, supply, taking_part)
    found = _solve(p, book, deadline)
    kw = found.x
    if len(p) < len(book):
        kw = np.zeros(len(book))
        kw[taking_part] = found.x
    price = supply.reserve_usd_per_kwh + (_price(p, found.x) if found.price is None else found.price)
    ms = (time.perf_counter() - start) * 1000.0
    exact, method, lost = found.method != GREEDY, found.method, found.lost
    if core:
        lost, method = _core(p, book, found, deadline), method.replace("VCG payments", CORE)
        ms = (time.perf_counter() - start) * 1000.0
    return Cleared(
        book, supply, taking_part, tuple(refused), p, kw, lost, method, exact, found.bound, price, ms, deadline.left
    )


@dataclass(frozen=True, slots=True)
class _Solved:
    x: Array  # kW of each row that takes part
    lost: Array  # (B,)
    method: str
    bound: float
    price: float | None = None  # of power above the reserve, where the mechanism knows it


def _solve(p: Problem, book: Book, deadline: integer.Deadline) -> _Solved:
    """The mechanism that fits the shape of the bids."""
    n = len(book.bidders)
    scarce, lumpy = len(p.capacity), bool((p.least_kw > 0.0).any())
    if scarce == 0:
        return _Solved(p.kw, np.zeros(n), MERIT, p.worth(p.kw))
    if scarce == 1 and not lumpy:
        x, lost, margin = merit.clear(p, n)
        return _Solved(x, lost, MERIT, p.worth(x), margin if p.resources == (POWER,) else 0.0)
    try:
        if scarce == 1 and bool((p.whole | (p.least_kw <= 0.0)).all()):
            table = knapsack.Knapsack(p)
            x = table.allocate()
            winners = _winners(p, x, book)
            lost = _lost(p, x, winners, table.removals(winners), n)
            return _Solved(x, lost, KNAPSACK, p.worth(x))
        if not lumpy:
            x, prices = linear.allocate(p)
            winners = _winners(p, x, book)
            lost = _lost(p, x, winners, linear.removals(p, prices, winners), n)
            power = dict(zip(p.resources, prices.tolist(), strict=True)).get(POWER, 0.0)
            return _Solved(x, lost, LINEAR, p.worth(x), power)
    except (knapsack.TooLarge, linear.NotSolved):
        pass
    return _integer(p, book, deadline)


def _integer(p: Problem, book: Book, deadline: integer.Deadline) -> _Solved:
    """Exact where time allows it; else the greedy rule with the payments that fit it."""
    n = len(book.bidders)
    found = integer.allocate(p, deadline)
    if found.exact:
        winners = _winners(p, found.x, book)
        without = integer.removals(p, winners, deadline)
        if without is not None:
            return _Solved(found.x, _lost(p, found.x, winners, without, n), INTEGER, found.value)
    x, lost = integer.greedy(p, n)
    return _Solved(x, lost, GREEDY, found.bound)


def _core(p: Problem, book: Book, found: _Solved, deadline: integer.Deadline) -> Array:
    """Core-selecting payments above the reserve (B,)."""
    from gridpilot.auction.core import MOST_ROWS, payments

    if found.method == GREEDY:
        raise DataError("core-selecting payments need the best allocation, which was not found in time")
    if len(p) > MOST_ROWS:
        raise DataError(f"core-selecting payments are for {MOST_ROWS} bids at the most: here are {len(p)}")
    return payments(p, found.x, found.lost, book.house, deadline)


def _winners(p: Problem, x: Array, book: Book) -> Ints:
    """Bidders that got something and pay for it."""
    winners = np.unique(p.bidder[x > KW])
    return winners[~book.house[winners]]


def _lost(p: Problem, x: Array, winners: Ints, without: Array, n: int) -> Array:
    """The value of the others without each winner, less what they have with it; never below zero but for rounding."""
    got = np.flatnonzero(x > 0.0)
    worth = x[got] * p.value[got]
    lost = np.zeros(n)
    lost[winners] = np.maximum(without - (float(worth.sum()) - each(winners, p.bidder[got], worth)), 0.0)
    return lost


def _allocation(cleared: Cleared) -> tuple[Allocation, ...]:
    """One row for each bidder and service, in the order in which they first appear among the bids."""
    book = cleared.book
    key = book.bidder * max(len(book.services), 1) + book.service
    keys, first, place = np.unique(key, return_index=True, return_inverse=True)
    earliest = np.full(len(keys), np.iinfo(np.int64).max)
    np.minimum.at(earliest, place, book.row)
    sums = [np.bincount(place, weights=w, minlength=len(keys)) for w in (book.kw, cleared.kw, cleared.kw * book.price)]
    shown = np.argsort(earliest)
    if len(keys) > MOST_LOSERS:
        shown = shown[sums[1][shown] > 0.0]
    return tuple(
        Allocation(
            book.bidders[book.bidder[first[k]]],
            book.services[book.service[first[k]]],
            float(sums[0][k]),
            float(sums[1][k]),
            float(sums[2][k]),
        )
        for k in shown.tolist()
    )


def _price(p: Problem, x: Array) -> float:
    """The dearest kW of power above the reserve that a divisible bid did not get; 0 where power is left over."""
    if POWER not in p.resources:
        return 0.0
    use, most = p.use[:, p.resources.index(POWER)], float(p.capacity[p.resources.index(POWER)])
    rows = np.flatnonzero(p.least_kw <= 0.0)
    losing = rows[(x[rows] < p.kw[rows] - KW) & (use[rows] > 0.0)]
    if not len(losing) or float((x * use).sum()) < most - KW:
        return 0.0
    return float((p.value[losing] / use[losing]).max())
