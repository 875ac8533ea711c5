"""All-or-nothing bids on one resource (with divisible ones beside): dynamic programming, exact.

Sizes are multiples of a unit. `table[c]` is the most value from capacity `slack + c unit`; it starts as the merit order
of the divisible rows alone, and each all-or-nothing row of size s and value v turns it into
max(table[c], table[c - s] + v). Of each size only as many rows matter as fit. The tables without one winner each come
from halving: the table of all but a group gains one half of the group on the way to each bidder of the other half.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from gridpilot.auction import merit
from gridpilot.auction.book import Bools, Ints, Problem
from gridpilot.values import Array

STEP = 1e6  # sizes are read in millionths of the resource's unit: a kW in mW
MOST_UNITS = 2_000_000
MOST_CELLS = 300_000_000  # rows x units: bytes of the choices kept, and a second of work


class TooLarge(Exception):
    """Sizes that have no common unit, or too many of them; caught in `mechanism`."""


class Knapsack:
    """One problem's sizes in units, and what follows from them. TooLarge where the table would be.

    Raised on building where the sizes have no common unit, later where too many rows matter.
    """

    def __init__(self, p: Problem) -> None:
        self.p, self.whole = p, np.flatnonzero(p.whole)
        self.divisible = p.take(~p.whole)
        capacity = float(p.capacity[0])
        exact = p.kw * p.use[:, 0] * STEP
        size = np.rint(exact)
        if np.abs(exact - size)[self.whole].max(initial=0.0) > 1e-3:
            raise TooLarge("sizes finer than a milliwatt")
        fits = self.whole[size[self.whole] <= capacity * STEP + 0.5]
        self.unit = _common(size[fits].astype(np.int64)) if len(fits) else max(1, int(capacity * STEP))
        self.units = int((capacity * STEP + 0.5) // self.unit)
        if self.units > MOST_UNITS:
            raise TooLarge(f"{self.units} units")
        self.whole = fits
        self.size = (size / self.unit).astype(np.int64)
        self.worth = p.kw * p.value

    def allocate(self) -> Array:
        """kW of each row (n,): the most value, ties to the earlier row."""
        x = np.zeros(len(self.p))
        chosen = self._choose(self._fit(self.whole))
        x[chosen] = self.p.kw[chosen]
        if len(self.divisible):
            left = max(0.0, float(self.p.capacity[0]) - float(x @ self.p.use[:, 0]))
            x[~self.p.whole] = merit.allocate(replace(self.divisible, capacity=np.array([left])))
        return x

    def removals(self, bidders: Ints) -> Array:
        """The most value without each of `bidders` (sorted) [$/h]."""
        divides = np.isin(bidders, self.divisible.bidder)
        without = np.zeros(len(bidders))
        for k in np.flatnonzero(divides).tolist():
            rest = Knapsack(self.p.without(int(bidders[k])))
            without[k] = float(rest._add(rest._start(), rest._fit(rest.whole))[-1])
        simple = bidders[~divides]
        place = np.flatnonzero(~divides)
        mine = np.isin(self.p.bidder[self.whole], simple)
        losers, theirs = self.whole[~mine], self.whole[mine]  # rows stand by bidder
        edges = np.searchsorted(self.p.bidder[theirs], np.append(simple, np.iinfo(np.int64).max))
        rows = [self._fit(theirs[a:b]) for a, b in itertools.pairwise(edges.tolist())]
        pending = [(0, len(rows), self._add(self._start(), self._fit(losers)))] if rows else []
        while pending:  # the table of all but the bidders low..high: halve, adding the other half's rows
            low, high, others = pending.pop()
            if high - low == 1:
                without[place[low]] = float(others[-1])
                continue
            half = (low + high) // 2
            pending.append((low, half, self._add(others, np.concatenate(rows[half:high]))))
            pending.append((half, high, self._add(others, np.concatenate(rows[low:half]))))
        return without

    def _start(self) -> Array:
        """The divisible rows alone, at each capacity (units + 1,)."""
        rest, use = self.divisible, self.divisible.use[:, 0]
        at = np.maximum(float(self.p.capacity[0]) - self.unit / STEP * np.arange(self.units, -1, -1), 0.0)
        free = float(rest.kw[use == 0.0] @ rest.value[use == 0.0])
        rows = np.flatnonzero(use > 0.0)
        rows = rows[np.argsort(-rest.value[rows] / use[rows], kind="stable")]
        amount = np.concatenate([[0.0], np.cumsum(rest.kw[rows] * use[rows])])
        worth = np.concatenate([[0.0], np.cumsum(rest.kw[rows] * rest.value[rows])])
        return np.asarray(free + np.interp(at, amount, worth))

    def _fit(self, rows: Ints) -> Ints:
        """Of each size the best rows that fit together, in the order given."""
        if len(rows) <= 1:
            return rows
        if len(rows) > merit.COMPILE_FROM:
            best = merit.compiled(_best_of_each)(self.size[rows], self.worth[rows], self.units)
            rows = rows[best]
        size = self.size[rows]
        order = np.lexsort((rows, -self.worth[rows], size))
        ranked = size[order]
        new = np.r_[True, ranked[1:] != ranked[:-1]]
        rank = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        most = np.where(ranked > 0, self.units // np.maximum(ranked, 1), len(order))
        kept = np.sort(rows[order[rank < most]])
        if len(kept) * (self.units + 1) > MOST_CELLS:
            raise TooLarge(f"{len(kept)} bids of {self.units} units")
        return np.asarray(kept, dtype=np.int64)

    def _add(self, table: Array, rows: Ints) -> Array:
        """The table with these rows to choose from beside."""
        return self._run(table.copy(), rows, np.zeros((0, 0), dtype=np.bool_))

    def _choose(self, rows: Ints) -> Ints:
        """The rows of the best choice."""
        taken = np.zeros((len(rows), self.units + 1), dtype=np.bool_)
        self._run(self._start(), rows, taken)
        c, chosen = self.units, []
        for k in range(len(rows) - 1, -1, -1):
            if taken[k, c]:
                chosen.append(int(rows[k]))
                c -= int(self.size[rows[k]])
        return np.array(chosen[::-1], dtype=np.int64)

    def _run(self, table: Array, rows: Ints, taken: Bools) -> Array:
        big = len(self.p) > merit.COMPILE_FROM or len(rows) * (self.units + 1) > 10_000_000
        run = merit.compiled(_loops) if big else _recursion
        run(table, self.size[rows], self.worth[rows], taken)
        return table


def _common(sizes: Ints) -> int:
    """The largest unit that measures them all."""
    unit = int(np.gcd.reduce(sizes[:1000]))
    odd = sizes[sizes % unit != 0] if unit > 0 else sizes
    return max(1, int(np.gcd.reduce(np.append(odd, unit))))


def _best_of_each(size: Ints, value: Array, units: int) -> Ints:
    """Rows that are among the best units // size of their size: one bounded heap for each size."""
    widest = size.max()
    count = np.zeros(widest + 1, dtype=np.int64)
    for i in range(len(size)):
        count[size[i]] += 1
    first = np.zeros(widest + 2, dtype=np.int64)
    for s in range(widest + 1):
        most = units // s if s > 0 else count[s]
        first[s + 1] = first[s] + min(count[s], most)
    heap = np.zeros(first[-1], dtype=np.int64)
    filled = np.zeros(widest + 1, dtype=np.int64)
    for i in range(len(size)):
        s = size[i]
        at, room, n = first[s], first[s + 1] - first[s], filled[s]
        if n < room:
            k = n
            filled[s] += 1
            while k > 0:
                up = (k - 1) // 2
                if value[heap[at + up]] <= value[i]:
                    break
                heap[at + k] = heap[at + up]
                k = up
            heap[at + k] = i
        elif room > 0 and value[i] > value[heap[at]]:
            k = 0
            while 2 * k + 1 < room:
                down = 2 * k + 1
                if down + 1 < room and value[heap[at + down + 1]] <= value[heap[at + down]]:
                    down += 1
                if value[heap[at + down]] >= value[i]:
                    break
                heap[at + k] = heap[at + down]
                k = down
            heap[at + k] = i
    return heap


def _recursion(table: Array, size: Ints, value: Array, taken: Bools) -> None:
    """table[c] <- max(table[c], table[c - size] + value), row by row; `taken` (rows, c) notes where that was better."""
    n = len(table)
    for k in range(len(size)):
        s = size[k]
        with_it = table[: n - s] + value[k]
        if len(taken):
            taken[k, s:] = with_it > table[s:]
        table[s:] = np.maximum(table[s:], with_it)


def _loops(table: Array, size: Ints, value: Array, taken: Bools) -> None:
    """The same as `_recursion`, written out for numba to turn into vector instructions."""
    n = len(table)
    with_it = np.empty(n)
    for k in range(len(size)):
        s = size[k]
        for c in range(n - s):
            with_it[c] = table[c] + value[k]
        if len(taken) > 0:
            for c in range(n - s):
                taken[k, c + s] = with_it[c] > table[c + s]
        for c in range(n - s):
            table[c + s] = with_it[c] if with_it[c] > table[c + s] else table[c + s]
