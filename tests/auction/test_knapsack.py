"""All-or-nothing bids: the core against brute force and against tables of every row, with ties."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from gridpilot.auction import knapsack, merit
from gridpilot.auction.book import Book, Ints, Problem, Supply, admit, problem
from gridpilot.auction.knapsack import Knapsack, Rest
from gridpilot.auction.mechanism import KNAPSACK, clear_book
from gridpilot.domain import Bid
from gridpilot.values import Array

ALL = 10**9


@pytest.fixture
def tiny_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first core of two rows and a look after each row, so that proofs matter where brute force is possible."""
    for name, number in {"FIRST": 1, "NEAR": 3, "MANY": 4, "PART": 1}.items():
        monkeypatch.setattr(knapsack, name, number)


def whole_problem(
    rng: np.random.Generator, n: int, bidders: int, *, steps: int = 0, divisible: float = 0.0, step_kw: float = 0.5
) -> Problem:
    """Rows of 0.5 to 6 kW by bidder; values of few `steps`, each exact in binary, have many ties."""
    value = rng.integers(1, steps + 1, n) / 4.0 if steps else rng.uniform(0.0, 1.0, n)
    kw = rng.integers(1, 13, n) * step_kw
    least = np.where(rng.random(n) < divisible, 0.0, kw)
    use = rng.choice([1.0, 1.0, 2.0, 0.0], n)[:, None] if rng.random() < 0.3 else np.ones((n, 1))
    capacity = np.array([float(rng.integers(0, int(kw.sum()) + 1)) + float(rng.choice([0.0, 0.25]))])
    return Problem(np.sort(rng.integers(0, bidders, n)), kw, value, use, capacity, least, ("power",))


def brute(p: Problem) -> tuple[float, Ints]:
    """The most value, and the all-or-nothing rows with it: of ties those whose last row is the earliest, and so on."""
    whole, rest = np.flatnonzero(p.whole), p.take(~p.whole)
    taken = np.array(list(itertools.product([False, True], repeat=len(whole))), dtype=bool)[:, ::-1]  # row 0 fastest
    left = p.capacity[0] - taken @ (p.kw * p.use[:, 0])[whole]
    by_density = sorted(range(len(rest)), key=lambda i: -rest.value[i] / rest.use[i, 0] if rest.use[i, 0] else -np.inf)
    value, room = taken @ (p.kw * p.value)[whole], left.copy()
    for i in by_density:
        share = np.minimum(1.0, np.maximum(room, 0.0) / (rest.kw[i] * rest.use[i, 0])) if rest.use[i, 0] else 1.0
        value = value + share * rest.kw[i] * rest.value[i]
        room = room - share * rest.kw[i] * rest.use[i, 0]
    value[left < -1e-12] = -1.0
    first = int(np.flatnonzero(value >= value.max() - 1e-12)[0])
    return float(value.max()), whole[taken[first]]


@pytest.mark.usefixtures("tiny_core")
@pytest.mark.parametrize("divisible", [0.0, 0.4])
@pytest.mark.parametrize("steps", [0, 2])
def test_knapsack__tiny_core__best_choice_ties_and_removal_of_each_winner_by_brute_force(
    divisible: float, steps: int
) -> None:
    rng = np.random.default_rng(steps)
    tried = 0
    for _ in range(150):
        p = whole_problem(rng, int(rng.integers(3, 12)), int(rng.integers(1, 9)), steps=steps, divisible=divisible)
        table = Knapsack(p)
        x = table.allocate()
        value, rows = brute(p)
        assert p.worth(x) == pytest.approx(value, abs=1e-9)
        assert x @ p.use[:, 0] <= p.capacity[0] + 1e-9
        assert np.array_equal(np.flatnonzero(p.whole & (x > 0.0)), rows)
        winners = np.unique(p.bidder[x > 0.0])
        without = [brute(p.without(int(b)))[0] for b in winners]
        assert table.removals(winners) == pytest.approx(without, abs=1e-9)
        tried += len(winners)
    assert tried > 300


def test_clear_book__capacity_finer_than_a_milliwatt__nothing_beyond_it_and_payments_as_by_hand() -> None:
    bids = [
        Bid("a", "x", 2.0, 0.35),
        Bid("b", "x", 1.0, 0.24, uses={"power": 0.5}),
        Bid("c", "y", 2.5, 0.38, False, uses={"power": 0.0}),
    ]
    cleared = clear_book(Book.of(bids), Supply(0.7355085942229755))
    assert cleared.method == KNAPSACK
    assert cleared.pays == pytest.approx([0.0, 0.175, 0.0], abs=1e-12)  # b takes 0.5 kW of a's power, c none


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_knapsack__any_capacity_of_kilowatts_or_of_milliwatts__exact_to_the_last_digits(scale: float) -> None:
    rng = np.random.default_rng(9)
    for _ in range(100):
        p = whole_problem(rng, int(rng.integers(3, 11)), 5, divisible=0.5, step_kw=0.5 * scale)
        p = replace(p, capacity=rng.uniform(0.05, 0.9, 1) * (p.kw @ p.use))
        table = Knapsack(p)
        x = table.allocate()
        assert x @ p.use[:, 0] <= p.capacity[0] + 1e-9
        winners = np.unique(p.bidder[x > 0.0])
        without = [brute(p.without(int(b)))[0] for b in winners]
        assert p.worth(x) == pytest.approx(brute(p)[0], abs=1e-9 * scale)
        assert table.removals(winners) == pytest.approx(without, abs=1e-9 * scale)


def every_row(monkeypatch: pytest.MonkeyPatch, p: Problem, winners: Ints) -> tuple[Array, Array]:
    """The allocation and the removals by tables of every row: a core that is never too narrow."""
    with monkeypatch.context() as patch:
        patch.setattr(knapsack, "FIRST", ALL)
        table = Knapsack(p)
        return table.allocate(), table.removals(winners)


SHAPES = ["random", "several rows", "few large bidders", "few prices", "value is size and a constant", "mixed"]


@pytest.mark.parametrize("capacity", [60.0, 400.25])
@pytest.mark.parametrize("shape", SHAPES)
def test_knapsack__hundreds_of_rows__the_core_gives_what_every_row_gives(
    shape: str, capacity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(len(shape))
    bidders = {"several rows": 60, "few large bidders": 4, "mixed": 60}.get(shape, 400)
    steps = 4 if shape == "few prices" else 0
    p = whole_problem(rng, 400, bidders, steps=steps, divisible=0.4 if shape == "mixed" else 0.0)
    p = replace(p, capacity=np.array([capacity]))
    if shape == "value is size and a constant":
        p = replace(p, value=0.3 + 1.0 / p.kw)
    table = Knapsack(p)
    x = table.allocate()
    winners = np.unique(p.bidder[x > 0.0])
    without = table.removals(winners)
    plain, removed = every_row(monkeypatch, p, winners)
    assert p.worth(x) == pytest.approx(p.worth(plain), abs=1e-9)
    assert without == pytest.approx(removed, abs=1e-9)
    if shape in ("random", "several rows", "mixed"):
        assert np.array_equal(x, plain)
        assert len(table.core.open) < 200, "most rows are settled by the bound"


def test_knapsack__one_bidder_with_a_third_of_all__is_solved_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    p = whole_problem(np.random.default_rng(1), 600, 400)
    p = replace(p, bidder=np.where(np.arange(600) < 200, 0, p.bidder + 1), capacity=np.array([700.0]))
    solved = []
    monkeypatch.setattr(knapsack, "MANY", 50)
    monkeypatch.setattr(Problem, "without", lambda self, b: solved.append(b) or self.take(self.bidder != b))
    table = Knapsack(p)
    winners = np.unique(p.bidder[table.allocate() > 0.0])
    without = table.removals(winners)
    assert solved == [0]
    assert len(table.core.open) < 300
    assert without == pytest.approx(every_row(monkeypatch, p, winners)[1], abs=1e-9)


def test_knapsack__too_many_bidders_to_solve_alone__says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    p = replace(whole_problem(np.random.default_rng(1), 600, 6), capacity=np.array([700.0]))
    monkeypatch.setattr(knapsack, "MANY", 50)
    table = Knapsack(p)
    winners = np.unique(p.bidder[table.allocate() > 0.0])
    monkeypatch.setattr(knapsack, "MOST_ALONE", 600)
    with pytest.raises(knapsack.TooLarge, match="large bidders among 600 bids"):
        table.removals(winners)


def test_knapsack__more_units_than_a_table_of_every_row__few_in_the_core() -> None:
    """20,000 rows on half of what they ask for: 205,000 units, of which the core needs some hundreds."""
    rng = np.random.default_rng(2)
    n = 20_000
    kw = rng.integers(1, 41, n) * 0.5
    names = [f"b{i:05d}" for i in range(n)]
    price = rng.uniform(0.0, 0.5, n).round(4)
    book = Book.of_columns((names, np.arange(n)), (["x"], np.zeros(n, dtype=np.int64)), kw, price, least_kw=kw)
    supply = Supply(np.floor(kw.sum()) / 2.0 + 0.25)  # the quarter is of no use to steps of 0.5 kW
    cleared = clear_book(book, supply)
    assert cleared.method == KNAPSACK
    divisible = clear_book(replace(book, least_kw=np.zeros(n)), Supply(supply.power_kw - 0.25))
    assert divisible.welfare - 0.001 < cleared.welfare <= divisible.welfare
    winners = np.flatnonzero(cleared.power > 0.0)
    assert np.all(cleared.pays[winners] <= cleared.value[winners] + 1e-9)
    for b in winners[:: len(winners) // 4].tolist():
        p = problem(book, supply, admit(book, supply)[0]).without(b)
        lost = p.worth(Knapsack(p).allocate()) - (cleared.welfare - float(cleared.value[b]))
        assert cleared.lost[b] == pytest.approx(lost, abs=1e-9)


@pytest.mark.slow
def test_knapsack__compiled_and_plain_tables__give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    p = replace(whole_problem(np.random.default_rng(3), 3000, 2000), capacity=np.array([200.0]))
    monkeypatch.setattr(knapsack, "FIRST", ALL)
    found = []
    for cells, rows in ((ALL, ALL), (0, 0)):
        monkeypatch.setattr(knapsack, "COMPILE_CELLS", cells)
        monkeypatch.setattr(merit, "COMPILE_FROM", rows)
        table = Knapsack(p)
        x = table.allocate()
        found.append((x, table.removals(np.unique(p.bidder[x > 0.0]))))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-9)


def test_knapsack__ten_thousand_bids__nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    p = replace(whole_problem(rng, 10_000, 10_000), capacity=np.array([1000.0]))
    monkeypatch.setattr(merit, "compiled", lambda _: pytest.fail("numba takes a second to import"))
    table = Knapsack(p)
    x = table.allocate()
    assert np.all(table.removals(np.unique(p.bidder[x > 0.0])) <= p.worth(x) + 1e-9)


def test_rest__without_a_bidder__is_the_merit_order_of_the_others() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        p = whole_problem(rng, int(rng.integers(1, 15)), 4, divisible=1.0)
        capacity = np.linspace(0.0, float((p.kw * p.use[:, 0]).sum()) + 1.0, 7)
        for skip in (-1, 0, 1):
            others = p.without(skip)
            wanted = [brute(replace(others, capacity=np.array([most])))[0] for most in capacity]
            assert Rest.of(p).best(capacity, skip) == pytest.approx(wanted, abs=1e-9)
