"""All bids of an auction as columns, what is for sale, and who may take part.

A million bids are six arrays here, not a million objects. Rows stand in the order that breaks ties: bidder, service,
price (dearest first), then the order in which they were given.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gridpilot.domain import Bid
from gridpilot.errors import DataError
from gridpilot.values import Array

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Coded = tuple[Collection[str], NDArray[np.integer]]  # different names, and the number of each row's name among them
NOTHING = "asks for 0 kW"  # why such a row takes no part
POWER = "power"  # the resource that every auction sells: kW of site power
KW = 1e-9  # a millionth of a watt: below this an amount is rounding


@dataclass(frozen=True, slots=True)
class Supply:
    """What is for sale: power [kW], other resources in their own units, and the most that a service may take [kW]."""

    power_kw: float
    reserve_usd_per_kwh: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)
    caps_kw: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {"capacity": self.power_kw, "reserve price": self.reserve_usd_per_kwh}
        named |= {f"capacity of {name}": most for name, most in self.others.items()}
        named |= {f"cap of {name}": most for name, most in self.caps_kw.items()}
        for name, number in named.items():
            if not (math.isfinite(number) and number >= 0.0):
                raise DataError(f"{name} is {number:g}: expected a number of 0 or more")
        if POWER in self.others:
            raise DataError(f"{POWER!r} is the auction's first resource: give it as its capacity, not as another one")


@dataclass(frozen=True, slots=True)
class Book:
    """Bids as columns of n rows; `uses` (n, R) is what a kW of a row takes of each of `resources`, power first.

    `least_kw` (n,) is the least of a row that is of use: its kW where it is all or nothing, 0 where any part will do.
    `house` is by bidder: the site's own alternatives, which pay nothing. `row` is each row's place as given.
    """

    bidders: tuple[str, ...]
    services: tuple[str, ...]
    resources: tuple[str, ...]
    bidder: Ints
    service: Ints
    kw: Array
    price: Array
    least_kw: Array
    uses: Array
    house: Bools
    row: Ints

    def __len__(self) -> int:
        return len(self.kw)

    @staticmethod
    def of(bids: Sequence[Bid]) -> Book:
        """The book of some bids."""
        resources = (POWER, *sorted({name for bid in bids for name in bid.uses} - {POWER}))
        uses = [[bid.uses.get(name, float(name == POWER)) for name in resources] for bid in bids]
        return Book.of_columns(
            _coded([bid.bidder for bid in bids]),
            _coded([bid.service for bid in bids]),
            np.array([bid.kw for bid in bids], dtype=float),
            np.array([bid.price_usd_per_kwh for bid in bids], dtype=float),
            least_kw=np.array([bid.min_kw if bid.divisible else bid.kw for bid in bids], dtype=float),
            uses=np.array(uses, dtype=float).reshape(len(bids), len(resources)),
            resources=resources,
            house={bid.bidder for bid in bids if bid.house},
        )

    @staticmethod
    def of_columns(  # noqa: PLR0913 - a column each
        bidder: Coded,
        service: Coded,
        kw: Array,
        price: Array,
        *,
        least_kw: Array | None = None,
        uses: Array | None = None,
        resources: tuple[str, ...] = (POWER,),
        house: set[str] | frozenset[str] = frozenset(),
    ) -> Book:
        """The book of columns (n,) of finite numbers in any order; names come as (different names, number of each row).

        The house stands last, so that it loses ties.
        """
        n = len(kw)
        bidders = sorted(bidder[0], key=lambda name: (name in house, name))
        services = sorted(service[0])
        who, what = _renumbered(bidder, bidders), _renumbered(service, services)
        order = np.lexsort((-price, what, who))  # stable: rows that are alike stay as given
        return Book(
            tuple(bidders),
            tuple(services),
            resources,
            who[order],
            what[order],
            kw[order],
            price[order],
            np.zeros(n) if least_kw is None else least_kw[order],
            np.ones((n, 1)) if uses is None else uses[order],
            np.array([name in house for name in bidders], dtype=bool),
            order.astype(np.int64),
        )

    def bids(self) -> tuple[Bid, ...]:
        """The bids as objects, in the order given."""
        out = []
        for i in np.argsort(self.row).tolist():
            who, kw, least = int(self.bidder[i]), float(self.kw[i]), float(self.least_kw[i])
            whole = least >= kw > 0.0
            out.append(
                Bid(
                    self.bidders[who],
                    self.services[int(self.service[i])],
                    kw,
                    float(self.price[i]),
                    divisible=not whole,
                    min_kw=0.0 if whole else least,
                    uses=dict(zip(self.resources, self.uses[i].tolist(), strict=True)),
                    house=bool(self.house[who]),
                )
            )
        return tuple(out)


def total(bidder: Ints, amount: Array, n: int) -> Array:
    """Sum of an amount (rows,) for each of n bidders."""
    return np.asarray(np.bincount(bidder, weights=amount, minlength=n), dtype=np.float64)


def each(bidders: Ints, bidder: Ints, amount: Array) -> Array:
    """Sum of an amount (rows,) for each of some bidders (sorted)."""
    place = np.searchsorted(bidders, bidder)
    mine = np.flatnonzero(place < len(bidders))
    mine = mine[bidders[place[mine]] == bidder[mine]]
    return total(place[mine], amount[mine], len(bidders))


def _coded(names: Sequence[str]) -> Coded:
    place: dict[str, int] = {}
    return place.keys(), np.array([place.setdefault(name, len(place)) for name in names], dtype=np.int64)


def _renumbered(coded: Coded, names: Sequence[str]) -> Ints:
    """Each row's place in `names`."""
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[name] for name in coded[0]], dtype=np.int64)[coded[1]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of a book that takes no part, and why."""

    row: int  # in the book
    reason: str


def admit(book: Book, supply: Supply) -> tuple[Bools, list[Refused]]:
    """Which rows take part (n,), and the reason for each of the others."""
    power = book.uses[:, 0]
    floor = supply.reserve_usd_per_kwh * power
    missing = [i for i, name in enumerate(book.resources) if i and name not in supply.others]
    zero, negative, below = book.kw <= 0.0, book.price < 0.0, book.price < floor
    out = zero | negative | below
    if missing:
        out |= (book.uses[:, missing] > 0.0).any(axis=1)
    refused = []
    for i in np.flatnonzero(out).tolist():
        if zero[i]:
            reason = NOTHING
        elif negative[i]:
            reason = f"bids {book.price[i]:g} per kWh: below zero"
        elif below[i]:
            reason = f"bids {book.price[i]:.4g} per kWh: below the reserve of {floor[i]:.4g}"
        else:
            name = next(book.resources[k] for k in missing if book.uses[i, k] > 0.0)
            reason = f"uses {name}, of which nothing is for sale"
        refused.append(Refused(i, reason))
    return ~out, refused


@dataclass(frozen=True, slots=True)
class Problem:
    """Who takes part, by what is scarce. Rows keep the book's order; bidders are numbered as in the book.

    maximise sum_i value_i x_i  over  0 <= x_i <= kw_i,  sum_i use_ir x_i <= capacity_r,
    and x_i either 0 or at least `least_kw`_i, which is kw_i for a row that is all or nothing.
    """

    bidder: Ints  # (n,)
    kw: Array  # (n,)
    value: Array  # (n,) $/kWh above the reserve
    use: Array  # (n, R) of each scarce resource for each kW
    capacity: Array  # (R,)
    least_kw: Array  # (n,)
    resources: tuple[str, ...]  # (R,)

    def __len__(self) -> int:
        return len(self.kw)

    @property
    def whole(self) -> Bools:
        """Which rows are all or nothing (n,)."""
        return self.least_kw >= self.kw

    def worth(self, x: Array) -> float:
        """Value of an allocation (n,) [$/h]; by the rows that got something, as most of a million get nothing."""
        got = np.flatnonzero(x > 0.0)
        return float((x[got] * self.value[got]).sum())

    def without(self, bidder: int) -> Problem:
        """The same without one bidder."""
        return self.take(self.bidder != bidder)

    def take(self, rows: Bools) -> Problem:
        """Some of the rows only."""
        return Problem(
            self.bidder[rows],
            self.kw[rows],
            self.value[rows],
            self.use[rows],
            self.capacity,
            self.least_kw[rows],
            self.resources,
        )


def problem(book: Book, supply: Supply, rows: Bools) -> Problem:
    """The rows that take part, with the resources that can run out. Those that never do bind nobody."""
    names = list(book.resources) + [f"cap of {name}" for name in supply.caps_kw]
    capacity = [supply.power_kw, *(supply.others.get(name, 0.0) for name in book.resources[1:])]
    capacity += [float(most) for most in supply.caps_kw.values()]
    take: Bools | slice = slice(None) if rows.all() else rows  # all of a million rows need no copy
    use, kw = book.uses[take], book.kw[take]
    for name in supply.caps_kw:
        mine = np.array([service == name for service in book.services], dtype=float)
        use = np.column_stack([use, mine[book.service[take]] if len(mine) else np.zeros(len(use))])
    asked = np.einsum("i,ir->r", kw, use)  # not a product by BLAS, whose threads may take longer to wake
    scarce = [r for r, most in enumerate(capacity) if asked[r] > most]
    return Problem(
        book.bidder[take],
        _possible(kw, book.least_kw[take], use[:, scarce], np.array([capacity[r] for r in scarce])),
        book.price[take] - supply.reserve_usd_per_kwh * book.uses[take, 0],
        use if len(scarce) == use.shape[1] else use[:, scarce],
        np.array([capacity[r] for r in scarce]),
        book.least_kw[take],
        tuple(names[r] for r in scarce),
    )


def _possible(kw: Array, least_kw: Array, use: Array, capacity: Array) -> Array:
    """kW of each row (n,), a divisible one's no more than the capacities alone allow it: what is beyond changes nothing
    but how everything else is rounded."""
    if not len(kw) or not len(capacity) or bool(np.all(kw.max() * use.max(axis=0) <= capacity)):
        return kw
    most = np.min(np.divide(capacity, use, out=np.full(use.shape, np.inf), where=use > 0.0), axis=1)
    return np.where(least_kw < kw, np.maximum(np.minimum(kw, most), least_kw), kw)
