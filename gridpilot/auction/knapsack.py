"""All-or-nothing bids on one resource (with divisible ones beside): dynamic programming over a small core, exact.

Let l be the density at the margin of the merit order, and gain_i = value_i kw_i - l amount_i. Whatever is chosen is
worth at most bound = l capacity + sum_i max(0, gain_i); leaving out a row of positive gain, or taking one of negative
gain, costs |gain_i| of that. So once a choice is known that is `gap` below the bound, each row with |gain_i| > gap is
settled: sure to be in every best choice, or in none. The others are the core (Balas, Zemel 1980). Without bidder b the
bound is lower by b's own positive gains, and the same holds. A first core is guessed and solved. Its value then proves
that it was wide enough, or says how wide it must be.

The core is solved by tables. Sizes are multiples of a unit; `table[c]` is the most value from c units, and each row of
size s and value v turns it into max(table[c], table[c - s] + v). Of each size only as many rows matter as fit. Winners
outside the core share one table: without b it is read at what the sure rows leave and b frees. The tables without one
winner of the core each come from halving: the table of all but a group gains one half of the group on the way to each
bidder of the other half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridpilot.auction import merit
from gridpilot.auction.book import Bools, Ints, Problem, each
from gridpilot.values import Array

STEP = 1e6  # sizes are read in millionths of the resource's unit: a kW in mW
TINY = 1e-3  # millionths: what rounding may make of a size or a capacity, and the most that is given beyond one
EPS = 4e-16  # of a number: how finely it is kept
MOST_UNITS = 2_000_000
MOST_CELLS = 300_000_000  # rows x units: bytes of the choices kept, and a second of work
COMPILE_CELLS = 10_000_000  # fewer are faster in numpy than numba is to import
FIRST = 40  # rows of the first core, of those `NEAR` the margin
NEAR = 200
MANY = 1000  # rows of a core for all winners together, unless the allocation took more; winners beyond it go one by one
MOST_ALONE = 200_000_000  # those winners x rows: some seconds
PART = 64  # rows between two looks at whether anything more could be gained


class TooLarge(Exception):
    """Sizes that have no common unit, or too many of them; caught in `mechanism`."""


class Knapsack:
    """One problem, and its core as far as it is known. TooLarge where tables would be."""

    def __init__(self, p: Problem) -> None:
        self.fits = p.kw * p.use[:, 0] <= float(p.capacity[0]) + TINY / STEP
        if not self.fits.all():
            self.fits |= ~p.whole
            p = p.take(self.fits)
        self.p, self.relaxed = p, Relaxed.of(p)
        self.core = Core(self.relaxed, self.relaxed.first)

    def allocate(self) -> Array:
        """kW of each row (n,): the most value, ties to the earlier row."""
        x = self.core.allocate()
        while (reach := self._reach(self.relaxed.bound - self.p.worth(x))) > self.core.reach:
            self.core = Core(self.relaxed, reach + self.relaxed.rounding)
            x = self.core.allocate()
        if len(x) == len(self.fits):
            return x
        every = np.zeros(len(self.fits))
        every[self.fits] = x
        return every

    def removals(self, bidders: Ints) -> Array:
        """The most value without each of `bidders` (sorted) [$/h].

        A bidder without which the margin is far away would make the core wide for all: it is solved alone.
        """
        if not len(bidders):
            return np.zeros(0)
        gain, rounding = self.relaxed.gain, self.relaxed.rounding
        rows = np.flatnonzero(gain > 0.0)
        bound = self.relaxed.bound - each(bidders, self.p.bidder[rows], gain[rows])
        without = self.core.removals(bidders, bound)
        gap = float((bound - without).max())
        reach = self._reach(gap)
        waste = gap + rounding - reach
        if reach > self.core.reach:
            many = max(MANY, 4 * len(self.core.open))
            self.core = Core(self.relaxed, reach + rounding)
            if len(self.core.open) > many:
                self.core = Core(self.relaxed, float(np.sort(np.abs(gain[self.core.open]))[many]))
            without = self.core.removals(bidders, bound)
        alone = np.flatnonzero(bound - without + rounding - waste > self.core.reach).tolist()
        if len(alone) * len(self.p) > MOST_ALONE:
            raise TooLarge(f"{len(alone)} large bidders among {len(self.p)} bids")
        for k in alone:
            others = self.p.without(int(bidders[k]))
            without[k] = others.worth(Knapsack(others).allocate())
        return without

    def _reach(self, gap: float) -> float:
        """The largest |gain| of a row in question, where the choice known is `gap` below the bound.

        What the rows' common unit leaves of the capacity is of no use to them, unless divisible rows can fill it.
        """
        reach = gap + self.relaxed.rounding
        if reach > self.core.reach and not len(self.relaxed.divisible):
            reach -= self.relaxed.margin * Core(self.relaxed, reach).waste
        return reach


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The problem as if every row were divisible, and what follows for its rows."""

    p: Problem
    whole: Bools  # (n,)
    divisible: Problem
    rest: Rest
    margin: float  # the density there
    gain: Array  # (n,) above the margin [$/h]
    bound: float  # value of the best allocation [$/h]
    rounding: float  # of sizes and sums [$/h]
    first: float  # reach of a first core: the largest |gain| in it

    @staticmethod
    def of(p: Problem) -> Relaxed:
        """By the merit order, somewhat deeper than the margin."""
        whole = p.whole
        divisible = p.take(~whole)
        stack = merit.stacked(p, 1e-3 * float(p.capacity[0]))
        margin = float(stack.density[stack.rows[stack.served]]) if stack.served < len(stack.rows) else 0.0
        gain = p.kw * (p.value - margin * p.use[:, 0])
        bound = p.worth(stack.x)
        rounding = margin / STEP + 1e-12 * bound
        near = np.abs(gain[stack.rows[max(0, stack.served - NEAR) : stack.served + NEAR]])
        first = float(np.sort(near)[: FIRST + 1].max(initial=0.0)) if len(p) > FIRST else np.inf
        return Relaxed(p, whole, divisible, Rest.of(divisible), margin, gain, bound, rounding, first + 2.0 * rounding)


@dataclass(frozen=True, slots=True)
class Rest:
    """The divisible rows in merit order: `start` and `worth` (n + 1,) are what those before each add up to."""

    owner: Ints
    start: Array
    worth: Array

    @staticmethod
    def of(p: Problem) -> Rest:
        """The rows of a problem; those that take nothing of the resource first."""
        use = p.use[:, 0]
        order = np.argsort(-np.divide(p.value, use, out=np.full(len(use), np.inf), where=use > 0.0), kind="stable")
        amount, worth = (p.kw * use)[order], (p.kw * p.value)[order]
        return Rest(p.bidder[order], np.append(0.0, np.cumsum(amount)), np.append(0.0, np.cumsum(worth)))

    def best(self, capacity: Array, skip: int = -1) -> Array:
        """The most value from each capacity without one bidder: as far down as it goes, its own rows skipped."""
        mine = np.flatnonzero(self.owner == skip)
        amount = np.append(0.0, np.cumsum(self.start[mine + 1] - self.start[mine]))
        worth = np.append(0.0, np.cumsum(self.worth[mine + 1] - self.worth[mine]))
        passed = np.searchsorted(self.start[mine] - amount[:-1], capacity, side="right")
        return np.asarray(np.interp(capacity + amount[passed], self.start, self.worth) - worth[passed])


class Core:
    """The rows in question (`open`), and tables of what they are worth in what the `sure` ones leave."""

    def __init__(self, of: Relaxed, reach: float) -> None:
        self.of, self.p, self.reach = of, of.p, reach
        p, rows = of.p, np.flatnonzero(of.gain >= -reach)
        rows = rows[of.whole[rows]]
        exact = p.kw[rows] * p.use[rows, 0] * STEP
        size = np.rint(exact).astype(np.int64)
        off = np.abs(exact - size)
        if float(off.sum()) > TINY + EPS * float(exact.sum()):
            raise TooLarge("sizes finer than a milliwatt")
        sure = of.gain[rows] > reach
        self.sure, self.open = rows[sure], rows[~sure]
        self.unit = _common(size) if len(rows) else max(1, int(float(p.capacity[0]) * STEP))
        self.freed, self.size = size[sure] // self.unit, size[~sure] // self.unit
        self.owner, self.worth = p.bidder[self.open], p.kw[self.open] * p.value[self.open]
        self.sure_worth = p.kw[self.sure] * p.value[self.sure]
        left = float(p.capacity[0]) * STEP - float(size[sure].sum())
        units = int((left + TINY + EPS * float(p.capacity[0]) * STEP) // self.unit)
        self.waste = max(0.0, left - units * self.unit) / STEP  # of the capacity [its unit]
        self.units = min(units, int(self.size.sum()))
        self.spare = (left - self.units * self.unit) / STEP  # that only divisible rows can use
        # Nothing is gained beyond the bound, less the waste and rounding; divisible rows come too late for such a look.
        self.short = -np.inf if len(of.divisible) else of.margin * self.waste + 1e-14 * of.bound

    def allocate(self) -> Array:
        """kW of each row (n,): the most value, ties to the earlier row."""
        x, p, divisible = np.zeros(len(self.p)), self.p, self.of.divisible
        for chosen in (self.sure, self._choose()):
            x[chosen] = p.kw[chosen]
        if len(divisible):
            left = max(0.0, float(p.capacity[0]) - float((x * p.use[:, 0]).sum()))
            x[~self.of.whole] = merit.allocate(replace(divisible, capacity=np.array([left])))
        return x

    def removals(self, bidders: Ints, bound: Array) -> Array:
        """The most value without each of `bidders` (sorted) [$/h], which is no more than `bound`."""
        owner = self.p.bidder[self.sure]
        without = float(self.sure_worth.sum()) - each(bidders, owner, self.sure_worth)
        at = self.units + each(bidders, owner, self.freed.astype(float)).astype(np.int64)
        top = int(at.max())
        _limit(0, top)
        enough = np.full(top + 1, -np.inf)
        np.maximum.at(enough, at, bound - self.short - without)
        inside = each(bidders, self.owner, np.ones(len(self.owner))) > 0.0
        groups = [self._fit(np.flatnonzero(self.owner == b), top) for b in bidders[inside]]
        groups.append(np.zeros(0, dtype=np.int64))  # winners outside the core
        places = [*np.flatnonzero(inside)[:, None], np.flatnonzero(~inside)]
        others = self._fit(np.flatnonzero(~np.isin(self.owner, bidders[inside])), top)
        for k, table in self._without_each(groups, self._add(np.zeros(top + 1), others, enough), enough):
            if len(self.of.divisible):
                for i in places[k].tolist():
                    rest = self._rest(int(at[i]), int(bidders[i]))
                    without[i] += float((table[: at[i] + 1] + rest[::-1]).max())
            else:
                without[places[k]] += table[at[places[k]]]
        return without

    def _without_each(self, groups: Sequence[Ints], table: Array, enough: Array) -> Iterator[tuple[int, Array]]:
        """The table with the rows of all groups but one, for each of them."""
        pending = [(0, len(groups), table)]
        while pending:  # the table of all but the groups low..high: halve, adding the other half's rows
            low, high, others = pending.pop()
            if high - low == 1:
                yield low, others
                continue
            half = (low + high) // 2
            pending.append((low, half, self._add(others, np.concatenate(groups[half:high]), enough)))
            pending.append((half, high, self._add(others, np.concatenate(groups[low:half]), enough)))

    def _rest(self, units: int, skip: int = -1) -> Array:
        """The divisible rows alone, in the rest that 0, 1, ... units add to (units + 1,)."""
        return self.of.rest.best(self.spare + self.unit / STEP * np.arange(units + 1.0), skip)

    def _fit(self, rows: Ints, units: int) -> Ints:
        """Of each size the best rows that fit together, in the order given."""
        if len(rows) <= 1:
            return rows
        if len(rows) > merit.COMPILE_FROM:
            rows = rows[merit.compiled(_best_of_each)(self.size[rows], self.worth[rows], units)]
        size = self.size[rows]
        order = np.lexsort((rows, -self.worth[rows], size))
        ranked = size[order]
        new = np.r_[True, ranked[1:] != ranked[:-1]]
        rank = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        most = np.where(ranked > 0, units // np.maximum(ranked, 1), len(order))
        return np.asarray(np.sort(rows[order[rank < most]]), dtype=np.int64)

    def _add(self, table: Array, rows: Ints, enough: Array) -> Array:
        """The table with these rows to choose from beside."""
        table = table.copy()
        self._run(table, rows, enough, np.zeros((0, 0), dtype=np.bool_))
        return table

    def _choose(self) -> Ints:
        """The rows in question that are in the best choice."""
        rows = self._fit(np.arange(len(self.open)), self.units)
        _limit(len(rows), self.units)
        enough = np.full(self.units + 1, -np.inf)
        enough[-1] = self.of.bound - self.short - float(self.sure_worth.sum())
        taken = np.zeros((len(rows), self.units + 1), dtype=np.bool_)
        self._run(self._rest(self.units), rows, enough, taken)
        c, chosen = self.units, np.zeros(len(rows), dtype=np.bool_)
        for k in range(len(rows) - 1, -1, -1):
            chosen[k] = taken[k, c]
            c -= int(self.size[rows[k]]) * int(chosen[k])
        return self.open[rows[chosen]]

    def _run(self, table: Array, rows: Ints, enough: Array, taken: Bools) -> None:
        """Give the table these rows to choose from, in place, until it is `enough`."""
        _limit(len(rows), len(table) - 1)
        run = merit.compiled(_loops) if len(rows) * len(table) > COMPILE_CELLS else _recursion
        for k in range(0, len(rows), PART):
            if np.all(table >= enough):
                return
            part = rows[k : k + PART]
            run(table, self.size[part], self.worth[part], taken[k : k + PART])


def _limit(rows: int, units: int) -> None:
    if units > MOST_UNITS or rows * (units + 1) > MOST_CELLS:
        raise TooLarge(f"{rows} bids of {units} units")


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
