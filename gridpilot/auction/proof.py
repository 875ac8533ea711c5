"""Proof on demand: why a bidder pays what it pays, what another bid would have brought, and whether any lie pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridpilot.auction import integer, knapsack, linear, merit
from gridpilot.auction.book import KW, POWER, Book, Problem, Supply
from gridpilot.auction.mechanism import CORE, KNAPSACK, LINEAR, MERIT, Cleared, clear_book
from gridpilot.domain import Bid, Payment
from gridpilot.errors import DataError
from gridpilot.values import Array

MOST_PROOFS = 1000  # winners whose displaced bids are listed unasked
MOST_PRICE, MOST_KW = 1e6, 1e9  # $/kWh and kW that a bid may say
MOST_ROWS = 10_000_000  # of bids that are cleared anew for them, all together
Kind = tuple[str, tuple[float, ...]]  # a service and its use of the resources: kW of a kind can stand for each other


def payments(cleared: Cleared, bidders: Sequence[int], deadline: integer.Deadline) -> tuple[Payment, ...]:
    """Bidders' payments; of the first ones with the bids that each displaces: rows that add up to it.

    Rows need the best allocation without that bidder: they are listed for `MOST_PROOFS` bidders, `MOST_ROWS` rows of
    bids cleared anew in all and as long as time lasts, and only where both allocations are proved to be the best. The
    reserve counts as welfare of the seller, for the power that each side leaves to it.
    """
    book, reserve = cleared.book, cleared.supply.reserve_usd_per_kwh
    pays, value, power = cleared.pays, cleared.value, cleared.power
    welfare, most = float(value.sum()), min(MOST_PROOFS, MOST_ROWS // max(1, len(book))) if cleared.exact else 0
    out = []
    for k, b in enumerate(bidders):
        with_it = welfare - float(value[b]) + reserve * (cleared.supply.power_kw - float(power[b]))
        money = float(pays[b])
        listed = _displaced(cleared, b, float(power[b]), deadline) if k < most else None
        if listed is not None and CORE in cleared.method:
            above = money - sum(row[3] for row in listed)
            if above > 1e-9:  # what others together would have paid more than Vickrey asks
                listed = (*listed, ("core", 0.0, 0.0, above))
        out.append(Payment(book.bidders[b], money, with_it + money, with_it, listed or ()))
    return tuple(out)


def _displaced(
    cleared: Cleared, bidder: int, power: float, deadline: integer.Deadline
) -> tuple[tuple[str, float, float, float], ...] | None:
    """(name, kW more without it, $/kWh, $/h) of each bid that would have had more or less, and the reserve's part.

    None where that was not found out in time.
    """
    book, reserve = cleared.book, cleared.supply.reserve_usd_per_kwh
    mine = book.bidder == bidder
    found = _best(cleared.problem.without(bidder), cleared.method, deadline)
    if found is None:
        return None
    without = np.zeros(len(book))
    without[np.flatnonzero(cleared.taking_part & ~mine)] = found
    more = np.where(mine, 0.0, without - cleared.kw)
    out = []
    for i in _by_price(book, np.flatnonzero(np.abs(more) > KW)):
        kw, price = float(more[i]), float(book.price[i])
        out.append((book.bidders[book.bidder[i]], kw, price, kw * price))
        power -= kw * float(book.uses[i, 0])
    if abs(power) > KW and reserve > 0.0:
        out.append(("reserve", power, reserve, power * reserve))
    return tuple(out)


def _by_price(book: Book, rows: np.ndarray) -> list[int]:
    return [int(i) for i in rows[np.argsort(-book.price[rows], kind="stable")]]


def _best(p: Problem, method: str, deadline: integer.Deadline) -> Array | None:
    """The best allocation of a problem, by the engine that cleared the auction; None where time is up."""
    if deadline.left <= 0.0:
        return None
    if not len(p.capacity) or not len(p):
        return p.kw
    kind = method.replace(CORE, "VCG payments")
    try:
        if kind == MERIT:
            return merit.allocate(p)
        if kind == KNAPSACK:
            return knapsack.Knapsack(p).allocate()
        if kind == LINEAR:
            return linear.allocate(p)[0]
    except (knapsack.TooLarge, linear.NotSolved):  # where all were there, it was not
        pass
    found = integer.allocate(p, deadline)
    return found.x if found.exact else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bidder gets, pays and gains, by its true bids [kW, $/h]."""

    kw: float
    worth_usd_per_h: float
    pays_usd_per_h: float

    @property
    def gain_usd_per_h(self) -> float:
        """Worth less payment."""
        return self.worth_usd_per_h - self.pays_usd_per_h


def probe(
    bids: Sequence[Bid], supply: Supply, bidder: str, told: Sequence[Bid], *, core: bool = False
) -> tuple[Outcome, Outcome]:
    """What a bidder gets with its true bids, and with others told in their place; both valued by the true ones.

    `core`: with core-selecting payments, where a lie may pay.
    """
    true = [bid for bid in bids if bid.bidder == bidder]
    if not true:
        raise DataError(
            f"no bid of {bidder!r}: expected one of {', '.join(sorted({b.bidder for b in bids})) or 'none'}"
        )
    others = [bid for bid in bids if bid.bidder != bidder]
    honest, lying = (clear_book(Book.of([*others, *mine]), supply, core=core) for mine in (true, told))
    return _outcome(honest, bidder, true), _outcome(lying, bidder, true)


def _outcome(cleared: Cleared, bidder: str, true: Sequence[Bid]) -> Outcome:
    """What the bidder's kW of each kind are worth by its true bids, and what it pays."""
    book = cleared.book
    if bidder not in book.bidders:
        return Outcome(0.0, 0.0, 0.0)
    b = book.bidders.index(bidder)
    got: dict[Kind, float] = {}
    for i in np.flatnonzero((book.bidder == b) & (cleared.kw > 0.0)).tolist():
        kind = (book.services[book.service[i]], tuple(book.uses[i].tolist()))
        got[kind] = got.get(kind, 0.0) + float(cleared.kw[i])
    asked: dict[Kind, list[Bid]] = {}
    for bid in true:
        uses = tuple(bid.uses.get(name, float(name == POWER)) for name in book.resources)
        asked.setdefault((bid.service, uses), []).append(bid)
    worth = sum(_worth(asked.get(kind, []), kw) for kind, kw in got.items())
    return Outcome(sum(got.values()), worth, float(cleared.pays[b]))


def _worth(true: Sequence[Bid], kw: float) -> float:
    """The most that kW can be worth to the holder of some bids: whole blocks whole, the others dearest first."""
    usable = [bid for bid in true if bid.kw > 0.0 and bid.price_usd_per_kwh > 0.0]
    if not usable or kw <= KW:
        return 0.0
    alone = [replace(bid, bidder=f"{k}", uses={}, house=False) for k, bid in enumerate(usable)]
    return clear_book(Book.of(alone), Supply(kw * (1.0 + 1e-12))).welfare


@dataclass(frozen=True, slots=True)
class Audit:
    """Misreports tried, and the best gain over the truth that one of them brought [$/h]."""

    tried: int
    best_gain_usd_per_h: float
    bidder: str  # of the best one; empty: none gained
    told: tuple[Bid, ...]


def audit(
    bids: Sequence[Bid], supply: Supply, rng: np.random.Generator, tries: int = 100, *, core: bool = False
) -> Audit:
    """Sample lies (other prices, other amounts, blocks left out) of random bidders, and look whether one pays.

    Rounding of 1e-9 of the bidder's worth counts as nothing; with `core` payments that of their solvers, 1e-6.
    """
    who = sorted({bid.bidder for bid in bids if not bid.house})
    best = Audit(0, 0.0, "", ())
    if not who:
        return best
    honest = clear_book(Book.of(bids), supply, core=core)
    for n in range(1, tries + 1):
        name = who[int(rng.integers(len(who)))]
        true = [bid for bid in bids if bid.bidder == name]
        told = tuple(_lie(true, rng))
        lying = clear_book(Book.of([*(bid for bid in bids if bid.bidder != name), *told]), supply, core=core)
        truth = _outcome(honest, name, true)
        gain = _outcome(lying, name, true).gain_usd_per_h - truth.gain_usd_per_h
        best = replace(best, tried=n)
        rounding = (1e-6 if core else 1e-9) * max(1.0, truth.worth_usd_per_h)
        if gain > max(best.best_gain_usd_per_h, rounding):
            best = Audit(n, gain, name, told)
    return best


def _lie(true: Sequence[Bid], rng: np.random.Generator) -> list[Bid]:
    """Other prices or amounts for some blocks, as far as a bid may go, some left out."""
    told = []
    for bid in true:
        price, kw = bid.price_usd_per_kwh, bid.kw
        if rng.random() < 0.7:
            price *= float(rng.choice([0.0, 0.5, 0.8, 0.95, 0.99, 1.01, 1.05, 1.25, 2.0, 10.0]))
        if rng.random() < 0.3:
            kw *= float(rng.choice([0.25, 0.5, 0.9, 1.1, 2.0]))
        price, kw = float(np.clip(price, -MOST_PRICE, MOST_PRICE)), min(kw, MOST_KW)
        if len(true) == 1 or rng.random() > 0.1:
            told.append(replace(bid, kw=kw, price_usd_per_kwh=price, min_kw=min(bid.min_kw, kw)))
    return told
