"""Proof on demand: why a bidder pays what it pays, what another bid would have brought, and whether any lie pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridpilot.auction import integer, knapsack, linear, merit
from gridpilot.auction.book import KW, POWER, Book, Problem, Supply
from gridpilot.auction.mechanism import CORE, INTEGER, KNAPSACK, LINEAR, TIME_LIMIT_S, Cleared, clear_book
from gridpilot.domain import Bid, Payment
from gridpilot.errors import DataError
from gridpilot.values import Array

Kind = tuple[str, tuple[float, ...]]  # a service and its use of the resources: kW of a kind can stand for each other


def payment(cleared: Cleared, bidder: int, *, rows: bool = True) -> Payment:
    """A bidder's payment with the bids that it displaces (`rows`): they add up to it.

    The reserve counts as welfare of the seller, for the power that each side leaves to it.
    """
    book, reserve = cleared.book, cleared.supply.reserve_usd_per_kwh
    pays = float(cleared.pays[bidder])
    mine = book.bidder == bidder
    others_with = float(cleared.value.sum() - cleared.value[bidder])
    others_with += reserve * (cleared.supply.power_kw - float(cleared.power[bidder]))
    listed = _displaced(cleared, bidder, mine) if rows and cleared.exact else ()
    above = pays - sum(money for *_, money in listed)
    if listed and CORE in cleared.method and abs(above) > 1e-9:
        listed = (*listed, ("core", 0.0, 0.0, above))  # what others together would have paid more than Vickrey asks
    return Payment(book.bidders[bidder], pays, others_with + pays, others_with, listed)


def _displaced(cleared: Cleared, bidder: int, mine: np.ndarray) -> tuple[tuple[str, float, float, float], ...]:
    """(name, kW more without it, $/kWh, $/h) of each bid that would have had more or less, and the reserve's part."""
    book, reserve = cleared.book, cleared.supply.reserve_usd_per_kwh
    without = np.zeros(len(book))
    rest = cleared.problem.without(bidder)
    rows = np.flatnonzero(cleared.taking_part & ~mine)
    without[rows] = _best(rest, cleared.method)
    more = np.where(mine, 0.0, without - cleared.kw)
    out, power = [], float(cleared.power[bidder])
    for i in _by_price(book, np.flatnonzero(np.abs(more) > KW)):
        kw, price = float(more[i]), float(book.price[i])
        out.append((book.bidders[book.bidder[i]], kw, price, kw * price))
        power -= kw * float(book.uses[i, 0])
    if abs(power) > KW and reserve > 0.0:
        out.append(("reserve", power, reserve, power * reserve))
    return tuple(out)


def _by_price(book: Book, rows: np.ndarray) -> list[int]:
    return [int(i) for i in rows[np.argsort(-book.price[rows], kind="stable")]]


def _best(p: Problem, method: str) -> Array:
    """The best allocation of a problem, by the engine that cleared the auction."""
    if not len(p.capacity) or not len(p):
        return p.kw
    kind = method.replace(CORE, "VCG payments")
    if kind == KNAPSACK:
        return knapsack.Knapsack(p).allocate()
    if kind == LINEAR:
        return linear.allocate(p)[0]
    if kind == INTEGER:
        return integer.allocate(p, integer.Deadline(TIME_LIMIT_S)).x
    return merit.allocate(p)


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


def probe(bids: Sequence[Bid], supply: Supply, bidder: str, told: Sequence[Bid]) -> tuple[Outcome, Outcome]:
    """What a bidder gets with its true bids, and with others told in their place; both valued by the true ones."""
    true = [bid for bid in bids if bid.bidder == bidder]
    if not true:
        raise DataError(
            f"no bid of {bidder!r}: expected one of {', '.join(sorted({b.bidder for b in bids})) or 'none'}"
        )
    others = [bid for bid in bids if bid.bidder != bidder]
    honest = clear_book(Book.of([*others, *true]), supply)
    lying = clear_book(Book.of([*others, *told]), supply)
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


def audit(bids: Sequence[Bid], supply: Supply, rng: np.random.Generator, tries: int = 100) -> Audit:
    """Sample lies (other prices, other amounts, blocks left out) of random bidders, and look whether one pays.

    Rounding of 1e-9 of the bidder's worth counts as nothing.
    """
    who = sorted({bid.bidder for bid in bids if not bid.house})
    best = Audit(0, 0.0, "", ())
    if not who:
        return best
    for n in range(1, tries + 1):
        name = who[int(rng.integers(len(who)))]
        told = tuple(_lie([bid for bid in bids if bid.bidder == name], rng))
        honest, lying = probe(bids, supply, name, told)
        gain = lying.gain_usd_per_h - honest.gain_usd_per_h
        best = replace(best, tried=n)
        if gain > max(best.best_gain_usd_per_h, 1e-9 * max(1.0, honest.worth_usd_per_h)):
            best = Audit(n, gain, name, told)
    return best


def _lie(true: Sequence[Bid], rng: np.random.Generator) -> list[Bid]:
    """Other prices or amounts for some blocks, some left out."""
    told = []
    for bid in true:
        price, kw = bid.price_usd_per_kwh, bid.kw
        if rng.random() < 0.7:
            price *= float(rng.choice([0.0, 0.5, 0.8, 0.95, 0.99, 1.01, 1.05, 1.25, 2.0, 10.0]))
        if rng.random() < 0.3:
            kw *= float(rng.choice([0.25, 0.5, 0.9, 1.1, 2.0]))
        if len(true) == 1 or rng.random() > 0.1:
            told.append(replace(bid, kw=kw, price_usd_per_kwh=price, min_kw=min(bid.min_kw, kw)))
    return told
