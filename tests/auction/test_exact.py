"""Every mechanism against brute force: best allocation, payments by removal, no over-allocation, no lie that pays."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from gridpilot.auction import integer, knapsack, merit
from gridpilot.auction.book import Book, Problem, Supply, admit, problem
from gridpilot.auction.mechanism import CORE, GREEDY, INTEGER, KNAPSACK, LINEAR, MERIT, clear_book
from gridpilot.auction.proof import MOST_ROWS, audit, payments, probe
from gridpilot.domain import Bid
from gridpilot.errors import DataError
from gridpilot.values import Array

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`


def best(book: Book, supply: Supply, skip: int = -1) -> float:
    """The most value above the reserve: a linear program for each choice of the rows that can't be served in part."""
    value = book.price - supply.reserve_usd_per_kwh * book.uses[:, 0]
    alive = (book.kw > 0) & (book.price >= 0) & (value >= 0) & (book.bidder != skip)
    rows = [book.uses[:, k] for k in range(len(book.resources))]
    most = [supply.power_kw, *(supply.others[name] for name in book.resources[1:])]
    for service, kw in supply.caps_kw.items():
        rows.append(np.array([book.services[s] == service for s in book.service], dtype=float))
        most.append(kw)
    use, capacity = np.array(rows), np.array(most)
    lumpy = np.flatnonzero(alive & (book.least_kw > 0))
    found = 0.0
    for chosen in itertools.product((False, True), repeat=len(lumpy)):
        low, high = np.zeros(len(book)), np.where(alive & (book.least_kw <= 0), book.kw, 0.0)
        low[lumpy], high[lumpy] = book.least_kw[lumpy] * chosen, book.kw[lumpy] * chosen
        if np.any(use @ low > capacity + 1e-9):
            continue
        fine = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        bounds = list(zip(low, high, strict=True))
        solved = linprog(-value, A_ub=use, b_ub=capacity, bounds=bounds, method="highs", options=fine)
        if solved.status == 0:
            found = max(found, -solved.fun)
    return found


def random_auction(rng: np.random.Generator, kind: str) -> tuple[list[Bid], Supply]:
    n = int(rng.integers(1, 7 if kind in ("whole", "minima", "mixed") else 13))
    several, others, caps = kind in ("several", "mixed", "minima"), {}, {}
    if several and rng.random() < 0.8:
        others = {"gpus": float(rng.uniform(0, 20)), "cooling": float(rng.uniform(0, 20))}
    if several and (rng.random() < 0.5 or not others):
        caps = {"inference": float(rng.uniform(0, 10))}
    bids = []
    for _ in range(n):
        kw = float(rng.integers(0, 12)) * 0.5 if rng.random() < 0.7 else float(rng.uniform(0, 10))
        price = float(rng.integers(-1, 9)) / 20 if rng.random() < 0.5 else float(rng.uniform(-0.05, 0.5))
        uses = {"power": 1.25} | {name: float(rng.choice([0, 0.3, 1, 2])) for name in others}
        whole = kind in ("whole", "mixed") and rng.random() < 0.6
        least = kw * float(rng.choice([0, 0.5, 1])) if kind == "minima" and not whole else 0.0
        name, service = f"b{rng.integers(0, 5)}", str(rng.choice(["inference", "training"]))
        bids.append(Bid(name, service, kw, price, not whole, least, uses, house=name == "b4"))
    supply = Supply(float(rng.integers(0, 30)), float(rng.choice([0.0, 0.05, 0.1])), others, caps)
    return bids, supply


@pytest.mark.parametrize("kind", ["one", "whole", "several", "mixed", "minima"])
def test_clear_book__any_shape__best_allocation_and_payments_by_removal(kind: str, rounds: int) -> None:
    rng = np.random.default_rng(len(kind))
    methods = set()
    for _ in range(8 * rounds):
        bids, supply = random_auction(rng, kind)
        book = Book.of(bids)
        cleared = clear_book(book, supply)
        methods.add(cleared.method)
        used = book.uses.T @ cleared.kw
        assert used[0] <= supply.power_kw + 1e-9
        assert all(used[1 + k] <= supply.others[name] + 1e-9 for k, name in enumerate(book.resources[1:]))
        assert np.all((cleared.kw == 0.0) | (cleared.kw >= book.least_kw - 1e-9))
        assert np.all(cleared.kw <= book.kw)
        whole = best(book, supply)
        assert cleared.welfare == pytest.approx(whole, abs=1e-9)
        for b in np.flatnonzero(cleared.power > 0.0).tolist():
            if not book.house[b]:
                lost = best(book, supply, skip=b) - (whole - cleared.value[b])
                assert cleared.lost[b] == pytest.approx(lost, abs=1e-9)
        worth = np.bincount(book.bidder, weights=cleared.kw * book.price, minlength=len(book.bidders))
        assert np.all(cleared.pays <= worth + 1e-9) and np.all(cleared.pays >= 0.0)
        for payment in cleared.result().payments:
            assert sum(row[3] for row in payment.externality) == pytest.approx(payment.usd_per_h, abs=1e-8)
    wanted = {"one": {MERIT}, "whole": {MERIT, KNAPSACK, INTEGER}, "several": {MERIT, LINEAR}}
    assert methods == wanted[kind] if kind in wanted else INTEGER in methods


@pytest.mark.parametrize("kind", ["one", "whole", "several", "mixed", "minima"])
def test_audit__random_auctions_of_each_shape__no_lie_pays(kind: str, rounds: int) -> None:
    rng = np.random.default_rng(7)
    tried = 0
    for _ in range(3 * rounds):
        bids, supply = random_auction(rng, kind)
        found = audit(bids, supply, rng, tries=6)
        assert found.best_gain_usd_per_h == 0.0, found
        tried += found.tried
    assert tried >= 4 * 3 * rounds, "few auctions have bidders that could lie"


def test_audit__core_payments__a_lie_that_pays_is_found() -> None:
    """Of two small ones against a large one, the one that says less pays less."""
    bids = [Bid("a", "x", 50.0, 1.0, False), Bid("b", "x", 50.0, 1.0, False), Bid("big", "x", 100.0, 0.9, False)]
    vickrey, core = (audit(bids, Supply(100.0), np.random.default_rng(0), 40, core=core) for core in (False, True))
    assert vickrey.best_gain_usd_per_h == 0.0 and core.best_gain_usd_per_h > 1.0
    shaded = [Bid("a", "x", 50.0, 0.85, False)]
    honest, lying = probe(bids, Supply(100.0), "a", shaded, core=True)
    assert lying.gain_usd_per_h > honest.gain_usd_per_h + 1.0


def test_audit__the_dearest_and_largest_bids__lies_stay_what_a_bid_may_say() -> None:
    bids = [Bid("a", "x", 1e9, 1e6), Bid("b", "x", 1e9, -1e6)]
    assert audit(bids, Supply(10.0), np.random.default_rng(0), 60).tried == 60


def test_audit__pay_as_bid__would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit can fail: with payments as bid, shading pays."""
    from gridpilot.auction import mechanism

    monkeypatch.setattr(
        mechanism.Cleared,
        "pays",
        property(lambda c: np.bincount(c.book.bidder, c.kw * c.book.price, len(c.book.bidders))),
    )
    bids = [Bid("a", "x", 10.0, 0.5), Bid("b", "x", 10.0, 0.1)]
    found = audit(bids, Supply(10.0), np.random.default_rng(0), tries=50)
    assert found.bidder == "a" and found.best_gain_usd_per_h >= 1.0


# --- large ones, against the plain statement --------------------------------------------------


def large(rng: np.random.Generator, n: int, *, whole: bool = False, resources: int = 1) -> Book:
    uses = rng.uniform(0, 1, (n, resources))
    uses[:, 0] = 1.0
    kw = rng.integers(1, 41, n) * 0.5
    names = sorted({f"b{i:06d}" for i in range(max(1, n // 3))})
    return Book.of_columns(
        (names, rng.integers(0, len(names), n)),
        (["x"], np.zeros(n, dtype=np.int64)),
        kw,
        rng.uniform(0, 0.5, n).round(4),
        least_kw=kw if whole else None,
        uses=uses,
        resources=("power", *(f"r{k}" for k in range(1, resources))),
    )


def optimum(book: Book, supply: Supply, skip: int = -1) -> float:
    keep = book.bidder != skip
    capacity = [supply.power_kw, *supply.others.values()]
    fine = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    bounds = np.column_stack([np.zeros(keep.sum()), book.kw[keep]])
    solved = linprog(-book.price[keep], A_ub=book.uses[keep].T, b_ub=capacity, bounds=bounds, options=fine)
    return float(-solved.fun)


@pytest.mark.slow
@pytest.mark.parametrize("resources", [1, 6])
@pytest.mark.parametrize("share", [0.003, 0.3])
def test_clear_book__twenty_thousand_rows__equal_the_whole_linear_program(resources: int, share: float) -> None:
    rng = np.random.default_rng(3)
    book = large(rng, 20_000, resources=resources)
    total = book.kw @ book.uses
    supply = Supply(float(share * total[0]), 0.0, {f"r{k}": float(share * total[k]) for k in range(1, resources)})
    if resources > 1 and share > 0.1:
        supply = replace(supply, power_kw=float(0.01 * total[0]))
    cleared = clear_book(book, supply)
    assert cleared.method == (MERIT if resources == 1 else LINEAR)
    value = optimum(book, supply)
    assert cleared.welfare == pytest.approx(value, rel=1e-11)
    winners = np.flatnonzero(cleared.power > 0.0)
    for b in winners[:: max(1, len(winners) // 3)].tolist():
        lost = optimum(book, supply, b) - (value - cleared.value[b])
        assert cleared.lost[b] == pytest.approx(lost, abs=1e-8 * max(1.0, value * 1e-4))


def tied(rng: np.random.Generator) -> tuple[Book, Supply]:
    """Bids of one, two or some prices on several resources, often more of them at the margin than a core holds."""
    n, resources = int(rng.integers(20, 900)), int(rng.integers(2, 5))
    uses = (
        rng.choice([0.0, 0.25, 0.5, 1.0, 1.5], (n, resources))
        if rng.random() < 0.5
        else rng.uniform(0, 2, (n, resources))
    )
    uses[:, 0] = 1.0
    prices = rng.choice([0.1, 0.2, 0.25, 0.3, 0.5], int(rng.integers(1, 4)))
    kw, names = rng.choice([1.0, 5.0, 7.5], n), [f"b{i}" for i in range(int(rng.integers(2, 12)))]
    book = Book.of_columns(
        (names, rng.integers(0, len(names), n)),
        (["x"], np.zeros(n, dtype=np.int64)),
        kw,
        rng.choice(prices, n),
        uses=uses,
        resources=("power", *(f"r{k}" for k in range(1, resources))),
    )
    most = rng.uniform(0.01, 0.6, resources) * (kw @ uses)
    return book, Supply(float(most[0]), 0.0, {f"r{k}": float(most[k]) for k in range(1, resources)})


def test_clear_book__many_ties_on_several_resources__within_the_capacities_and_paid_by_removal(rounds: int) -> None:
    rng = np.random.default_rng(17)
    for _ in range(8 * rounds):
        book, supply = tied(rng)
        cleared = clear_book(book, supply)
        used = book.uses.T @ cleared.kw
        most = np.array([supply.power_kw, *supply.others.values()])
        assert np.all(used <= most + 1e-9 * np.maximum(1.0, most))
        whole = optimum(book, supply)
        assert cleared.welfare == pytest.approx(whole, rel=1e-9, abs=1e-9)
        worth = np.bincount(book.bidder, weights=cleared.kw * book.price, minlength=len(book.bidders))
        assert np.all(cleared.pays <= worth + 1e-8) and np.all(cleared.pays >= 0.0)
        b = int(rng.integers(len(book.bidders)))
        if cleared.power[b] > 0.0:
            lost = optimum(book, supply, b) - (whole - cleared.value[b])
            assert cleared.lost[b] == pytest.approx(lost, abs=1e-7)


def test_clear_book__alike_on_several_resources__the_earlier_bidder_first_and_the_house_last() -> None:
    bids = [Bid(name, "x", 10.0, 0.2, uses={"gpus": 1.0}, house=name == "a") for name in ("d", "a", "c", "b")]
    result = clear_book(Book.of(bids), Supply(25.0, 0.0, {"gpus": 25.0 + 1e-3})).result()
    assert {row.bidder: row.kw for row in result.allocation} == {"b": 10.0, "c": 10.0, "d": 5.0, "a": 0.0}


def test_clear_book__asks_for_far_more_than_there_is__served_as_far_as_it_goes() -> None:
    for asked in (5e4, 5e8, 1e9):
        bids = [Bid("a", "x", asked, 0.5), Bid("b", "y", 100.0, 0.1), Bid("c", "y", 80.0, 0.2)]
        result = clear_book(Book.of(bids), Supply(100.0, 0.0, {}, {"x": 40.0})).result()
        assert {row.bidder: row.kw for row in result.allocation} == pytest.approx({"a": 40.0, "b": 0.0, "c": 60.0})
        assert result.welfare_usd_per_h == pytest.approx(32.0)


@pytest.mark.slow
def test_clear_book__compiled_and_plain__give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    for whole in (False, True):
        book, supply = large(rng, 30_000, whole=whole), Supply(400.0)
        fast = clear_book(book, supply)
        plain = {knapsack._loops: knapsack._recursion}
        monkeypatch.setattr(merit, "compiled", lambda function, plain=plain: plain.get(function, function))
        slow = clear_book(book, supply)
        monkeypatch.undo()
        assert np.array_equal(fast.kw, slow.kw)
        assert fast.pays == pytest.approx(slow.pays, abs=1e-9)


# --- when time is up -----------------------------------------------------------------------------


def test_clear_book__no_time__greedy_with_critical_values_and_said_so() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        bids, supply = random_auction(rng, "mixed")
        book = Book.of(bids)
        cleared = clear_book(book, supply, time_limit_s=0.0)
        if cleared.method != GREEDY:
            continue
        assert not cleared.exact and not cleared.result().exact
        worth = np.bincount(book.bidder, weights=cleared.kw * book.price, minlength=len(book.bidders))
        assert np.all(cleared.pays <= worth + 1e-9)
        assert cleared.welfare <= best(book, supply) + 1e-9


def odd(rng: np.random.Generator, n: int) -> Book:
    """All-or-nothing bids of sizes that have no common unit."""
    kw = rng.uniform(1.0, 20.0, n)
    names, one = [f"b{i:06d}" for i in range(n)], np.zeros(n, dtype=np.int64)
    return Book.of_columns((names, np.arange(n)), (["x"], one), kw, rng.uniform(0.0, 0.5, n), least_kw=kw)


@pytest.mark.slow
@pytest.mark.parametrize("n", [400, 20_000, 100_000, 250_000])
def test_clear_book__odd_sizes__end_within_the_time_limit_with_their_proofs(n: int) -> None:
    book = odd(np.random.default_rng(8), n)
    start = time.process_time()
    cleared = clear_book(book, Supply(float(book.kw.sum()) / 2.0), time_limit_s=2.0)
    result = cleared.result()
    assert time.process_time() - start < 12.0
    assert (cleared.method, result.exact) == (GREEDY, False)
    assert cleared.welfare <= cleared.bound < 1.001 * cleared.welfare or n < 1000
    assert len(result.payments) > n // 3
    assert not any(payment.externality for payment in result.payments)


def test_payments__no_time_or_no_table_left__stand_without_the_displaced_bids(monkeypatch: pytest.MonkeyPatch) -> None:
    bids = [Bid("a", "x", 10.0, 0.5, False), Bid("b", "x", 10.0, 0.2, False)]
    cleared = clear_book(Book.of(bids), Supply(10.0))
    assert payments(cleared, [0], integer.Deadline(0.0))[0].externality == ()
    assert payments(cleared, [0], integer.Deadline(0.0))[0].usd_per_h == pytest.approx(2.0)

    def too_large(_: Problem) -> None:
        raise knapsack.TooLarge("as large as it gets")

    monkeypatch.setattr(knapsack, "Knapsack", too_large)
    assert cleared.result().payments[0].externality == (("b", 10.0, 0.2, pytest.approx(2.0)),)


@pytest.mark.slow
def test_result__a_hundred_thousand_bids_and_thirty_thousand_winners__within_seconds() -> None:
    book = large(np.random.default_rng(3), 100_000)
    cleared = clear_book(book, Supply(float(book.kw.sum()) / 2.0))
    start = time.process_time()
    result = cleared.result()
    assert time.process_time() - start < 15.0
    proved = [payment for payment in result.payments if payment.externality]
    assert len(result.payments) > 20_000 and len(proved) == MOST_ROWS // 100_000
    for payment in proved:
        assert sum(row[3] for row in payment.externality) == pytest.approx(payment.usd_per_h, abs=1e-8)


def gain(kw: Array, price: Array, least: Array, use: Array, supply: Supply, factor: float) -> float:
    """What the first bidder gains by the greedy rule, telling `factor` of its price; NaN where nothing is scarce."""
    told = price * np.r_[factor, np.ones(len(price) - 1)]
    uses = [{"power": row[0], "gpus": row[1]} for row in use.tolist()]
    book = Book.of([Bid(f"b{i}", "x", kw[i], told[i], True, least[i], uses[i]) for i in range(len(kw))])
    p = problem(book, supply, admit(book, supply)[0])
    if not len(p.capacity):
        return float("nan")
    x, pays = integer.greedy(p, len(kw))
    return float(x[p.bidder == 0].sum() * price[0] - pays[0])


def test_greedy__one_bid_each__no_lie_pays() -> None:
    rng = np.random.default_rng(6)
    compared = 0
    for _ in range(150):
        n = int(rng.integers(2, 8))
        kw, price = rng.integers(1, 12, n).astype(float), rng.integers(1, 20, n) / 20
        least = kw * rng.choice([0.0, 0.5, 1.0], n)
        use = rng.choice([0.5, 1.0, 2.0], (n, 2))
        supply = Supply(float(rng.integers(3, 25)), 0.0, {"gpus": float(rng.integers(3, 25))})

        honest = gain(kw, price, least, use, supply, 1.0)
        assert not honest < -1e-9
        for factor in (0.3, 0.8, 0.95, 1.05, 1.5, 5.0):
            lie = gain(kw, price, least, use, supply, factor)
            if np.isfinite(lie) and np.isfinite(honest):
                compared += 1
                assert lie <= honest + 1e-9
    assert compared > 300


# --- core-selecting payments ----------------------------------------------------------------------


def test_core__two_small_against_one_large__they_pay_what_it_offered() -> None:
    bids = [Bid("a", "x", 50.0, 1.0, False), Bid("b", "x", 50.0, 1.0, False), Bid("big", "x", 100.0, 0.9, False)]
    vickrey, core = (clear_book(Book.of(bids), Supply(100.0), core=core) for core in (False, True))
    assert vickrey.pays.tolist() == pytest.approx([40.0, 40.0, 0.0])
    assert core.pays.tolist() == pytest.approx([45.0, 45.0, 0.0], abs=1e-6)
    assert CORE in core.method and CORE not in vickrey.method
    for payment in core.result().payments:
        assert sum(row[3] for row in payment.externality) == pytest.approx(payment.usd_per_h)


@pytest.mark.parametrize("kind", ["whole", "mixed", "minima"])
def test_core__random_auctions__no_coalition_could_offer_more(kind: str, rounds: int) -> None:
    rng = np.random.default_rng(11)
    raised = 0
    for _ in range(5 * rounds):
        bids, supply = random_auction(rng, kind)
        book = Book.of(bids)
        vickrey, core = (clear_book(book, supply, core=core) for core in (False, True))
        assert np.array_equal(vickrey.kw, core.kw)
        assert np.all(core.pays >= vickrey.pays - 1e-6)
        raised += bool(core.pays.sum() > vickrey.pays.sum() + 1e-6)
        gain = core.value - core.lost
        assert np.all(gain >= -1e-6)
        people = np.flatnonzero(~book.house).tolist()
        seller = core.lost[~book.house].sum() + core.value[book.house].sum()
        for size in range(len(people)):
            for out in itertools.combinations(people, size):
                inside = [bid for bid in bids if book.bidders.index(bid.bidder) not in out]
                offer = clear_book(Book.of(inside), supply).welfare
                kept = sum(gain[b] for b in people if b not in out)
                assert offer <= seller + kept + 1e-5
    assert raised or kind == "mixed", "some Vickrey payments are below the core"


@pytest.mark.parametrize("price", [1e-6, 1.0, 1e3])
def test_core__any_currency__the_same_payments_in_it(price: float) -> None:
    """Four divisible bids with a house among them: what rounding leaves of thousands of dollars is no better offer."""
    rows = [("b0", 2.230603802634729, 300, 0, False), ("b3", 4.530987340324756, 400, 1, False)]
    rows += [("b2", 2.7078280783333506, 350, 1, False), ("b4", 8.676887010712234, 150, 1.1, True)]
    bids = [Bid(name, "x", kw, p * price, uses={"power": u}, house=h) for name, kw, p, u, h in rows]
    book, supply = Book.of(bids), Supply(16.783374347050433, 100 * price)
    vickrey, core = (clear_book(book, supply, core=core, time_limit_s=5.0) for core in (False, True))
    assert core.pays == pytest.approx(vickrey.pays, abs=1e-7 * vickrey.welfare)
    bids = [Bid("a", "x", 50.0, price, False), Bid("b", "x", 50.0, price, False)]
    core = clear_book(Book.of([*bids, Bid("big", "x", 100.0, 0.9 * price, False)]), Supply(100.0), core=True)
    assert core.pays.tolist() == pytest.approx([45.0 * price, 45.0 * price, 0.0], abs=1e-5 * price)


def test_core__nothing_displaced_by_one_alone__the_payment_is_the_core_row() -> None:
    """Two of 50 kW against one of 100 kW at less than half the price, which is worth less than either of them."""
    bids = [Bid("a", "x", 50.0, 1.0, False), Bid("b", "x", 50.0, 1.0, False), Bid("big", "x", 100.0, 0.4, False)]
    core = clear_book(Book.of(bids), Supply(100.0), core=True)
    assert [payment.externality for payment in core.result().payments] == [
        (("core", 0.0, 0.0, pytest.approx(20.0, abs=1e-5)),)
    ] * 2


def test_core__too_many_bids__one_clear_line() -> None:
    with pytest.raises(DataError, match="for 5000 bids at the most: here are 6000"):
        clear_book(large(np.random.default_rng(0), 6000), Supply(10.0), core=True)


# --- edges ---------------------------------------------------------------------------------------


def test_probe__unknown_bidder__one_clear_line() -> None:
    with pytest.raises(DataError, match="no bid of 'z': expected one of a"):
        probe([Bid("a", "x", 1.0, 0.1)], Supply(1.0), "z", [])


def test_probe__a_lower_bid__loses_the_power_and_the_gain() -> None:
    bids = [Bid("a", "x", 10.0, 0.5), Bid("b", "x", 10.0, 0.2)]
    honest, lying = probe(bids, Supply(10.0), "a", [Bid("a", "x", 10.0, 0.1)])
    assert (honest.kw, honest.pays_usd_per_h, honest.gain_usd_per_h) == pytest.approx((10.0, 2.0, 3.0))
    assert (lying.kw, lying.gain_usd_per_h) == (0.0, 0.0)


def test_clear_book__resource_that_is_not_for_sale__refused_with_its_name() -> None:
    book = Book.of([Bid("a", "x", 1.0, 0.1, uses={"gpus": 2.0}), Bid("b", "x", 1.0, 0.1)])
    cleared = clear_book(book, Supply(5.0))
    assert [(book.bidders[book.bidder[r.row]], r.reason) for r in cleared.refused] == [
        ("a", "uses gpus, of which nothing is for sale")
    ]


def test_clear_book__house__loses_ties_pays_nothing_and_is_what_others_pay() -> None:
    bids = [Bid("a_house", "export", 100.0, 0.05, house=True), Bid("z", "x", 40.0, 0.05), Bid("y", "x", 20.0, 0.3)]
    result = clear_book(Book.of(bids), Supply(100.0)).result()
    assert {a.bidder: a.kw for a in result.allocation} == {"a_house": 40.0, "z": 40.0, "y": 20.0}
    assert {p.bidder: p.usd_per_h for p in result.payments} == pytest.approx({"z": 2.0, "y": 1.0})
    assert result.payments[0].externality[0][:3] == ("a_house", 20.0, 0.05)
    assert result.house == ("a_house",)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"others": {"gpus": -1.0}}, "capacity of gpus is -1"), ({"caps_kw": {"x": float("nan")}}, "cap of x is nan"),
     ({"others": {"power": 1.0}}, "'power' is the auction's first resource")],
)  # fmt: skip
def test_supply__impossible__one_clear_line(more: dict[str, dict[str, float]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Supply(1.0, 0.0, **more)


def test_book__bids_and_back__the_same() -> None:
    bids = [
        Bid("b", "x", 3.0, 0.2, False, 0.0, {"power": 1.0, "gpus": 2.0}),
        Bid("a", "y", 4.0, 0.1, True, 1.0, {"power": 1.5, "gpus": 0.0}, house=True),
    ]
    assert Book.of(bids).bids() == tuple(bids)
