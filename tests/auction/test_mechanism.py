"""The auction against brute force: what it allocates, what each pays, and that no lie pays."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.auction.mechanism import KNAPSACK, MERIT, clear
from gridpilot.domain import AuctionResult, Bid
from gridpilot.errors import DataError

PRICES = st.integers(0, 8).map(lambda n: n / 20)  # few values: ties are common
KWS = st.integers(1, 12).map(float)
BIDS = st.lists(
    st.builds(Bid, st.sampled_from("abcde"), st.sampled_from(["inference", "training"]), KWS, PRICES), max_size=8
)
MIXED_BIDS = st.lists(
    st.builds(Bid, st.sampled_from("abcd"), st.just("training"), KWS, PRICES, st.booleans()), max_size=6
)
CAPACITY = st.integers(0, 30).map(float)
RESERVE = st.integers(0, 4).map(lambda n: n / 20)


def value_of(result: AuctionResult, bids: list[Bid], bidder: str) -> float:
    return sum(a.value_usd_per_h for a in result.allocation if a.bidder == bidder)


def pays(result: AuctionResult, bidder: str) -> float:
    return sum(p.usd_per_h for p in result.payments if p.bidder == bidder)


def best_welfare(bids: list[Bid], capacity: float, reserve: float) -> float:
    """Most welfare above the reserve, by trying every set of all-or-nothing bids on a fine grid of orders."""
    usable = [b for b in bids if b.kw > 0 and b.price_usd_per_kwh >= reserve]
    whole = [b for b in usable if not b.divisible]
    best = 0.0
    for n in range(len(whole) + 1):
        for chosen in itertools.combinations(whole, n):
            left = capacity - sum(b.kw for b in chosen)
            if left < 0:
                continue
            money = sum(b.kw * (b.price_usd_per_kwh - reserve) for b in chosen)
            for b in sorted((b for b in usable if b.divisible), key=lambda b: -b.price_usd_per_kwh):
                kw = min(b.kw, left)
                left -= kw
                money += kw * (b.price_usd_per_kwh - reserve)
            best = max(best, money)
    return best


@settings(deadline=None, max_examples=150)
@given(bids=st.one_of(BIDS, MIXED_BIDS), capacity=CAPACITY, reserve=RESERVE)
def test_clear__any_bids__most_welfare_and_payments_are_externalities(
    bids: list[Bid], capacity: float, reserve: float
) -> None:
    result = clear(bids, capacity, reserve)
    assert result.exact
    assert sum(a.kw for a in result.allocation) <= capacity + 1e-9
    assert result.welfare_usd_per_h == pytest.approx(best_welfare(bids, capacity, reserve), abs=1e-9)
    for payment in result.payments:
        others = [b for b in bids if b.bidder != payment.bidder]
        without = best_welfare(others, capacity, reserve)
        taken = result.kw(payment.bidder)
        worth = value_of(result, bids, payment.bidder)
        with_it = result.welfare_usd_per_h - (worth - reserve * taken)
        assert payment.usd_per_h == pytest.approx(without - with_it + reserve * taken, abs=1e-9)
        assert -1e-9 <= payment.usd_per_h <= worth + 1e-9
        assert sum(row[3] for row in payment.externality) == pytest.approx(payment.usd_per_h, abs=1e-9)
        stated = payment.others_without_usd_per_h - payment.others_with_usd_per_h
        assert stated == pytest.approx(payment.usd_per_h, abs=1e-9)
        assert payment.usd_per_h >= reserve * taken - 1e-9, "nobody pays less than the reserve"


@settings(deadline=None, max_examples=150)
@given(
    bids=st.one_of(BIDS, MIXED_BIDS),
    mine=st.builds(Bid, st.just("me"), st.just("training"), KWS, PRICES, st.booleans()),
    lie_kw=KWS,
    lie_price=PRICES,
    capacity=CAPACITY,
    reserve=RESERVE,
)
def test_clear__a_misreport__never_gains(
    bids: list[Bid], mine: Bid, lie_kw: float, lie_price: float, capacity: float, reserve: float
) -> None:
    def gain(told: Bid) -> float:
        result = clear([*bids, told], capacity, reserve)
        got = result.kw("me")
        useful = min(got, mine.kw) if mine.divisible else (mine.kw if got >= mine.kw - 1e-9 else 0.0)
        return useful * mine.price_usd_per_kwh - pays(result, "me")

    assert gain(replace(mine, kw=lie_kw, price_usd_per_kwh=lie_price)) <= gain(mine) + 1e-9


@settings(deadline=None, max_examples=60)
@given(bids=BIDS, capacity=CAPACITY, seed=st.randoms(use_true_random=False))
def test_clear__order_of_the_bids__does_not_change_who_gets_what(bids: list[Bid], capacity: float, seed) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(bids)
    seed.shuffle(shuffled)
    one, two = clear(bids, capacity), clear(shuffled, capacity)
    names = {b.bidder for b in bids}
    assert {n: one.kw(n) for n in names} == pytest.approx({n: two.kw(n) for n in names})
    assert one.clearing_price_usd_per_kwh == two.clearing_price_usd_per_kwh


def test_clear__demand_blocks_of_one_bidder__never_displace_each_other() -> None:
    bids = [Bid("a", "x", 50.0, 0.30), Bid("a", "x", 50.0, 0.20), Bid("b", "x", 50.0, 0.10)]
    result = clear(bids, 80.0)
    assert (result.kw("a"), result.kw("b")) == (80.0, 0.0)
    assert pays(result, "a") == pytest.approx(50.0 * 0.10)  # b's 50 kW; its own losing 20 kW cost nothing


def test_clear__capacity_left__the_reserve_is_the_price_and_the_payment() -> None:
    result = clear([Bid("a", "x", 10.0, 0.30)], 100.0, 0.05)
    assert result.clearing_price_usd_per_kwh == 0.05
    assert result.payments[0].usd_per_h == pytest.approx(0.5)
    assert result.payments[0].externality == (("reserve", 10.0, 0.05, pytest.approx(0.5)),)
    assert result.welfare_usd_per_h == pytest.approx(10.0 * 0.25)


def test_F35_clear__nothing_to_sell_or_nobody_there__is_a_defined_result() -> None:
    for result in (clear([], 100.0), clear([Bid("a", "x", 10.0, 0.3)], 0.0)):
        assert result.payments == ()
        assert result.welfare_usd_per_h == 0.0
        assert sum(a.kw for a in result.allocation) == 0.0


def test_F35_clear__ties__first_by_name() -> None:
    bids = [Bid(name, "x", 10.0, 0.2) for name in ("c", "a", "b")]
    result = clear(bids, 15.0)
    assert {name: result.kw(name) for name in "abc"} == {"a": 10.0, "b": 5.0, "c": 0.0}


def test_F35_clear__zero_and_below_reserve__listed_with_the_reason() -> None:
    result = clear([Bid("a", "x", 0.0, 0.2), Bid("b", "x", 5.0, 0.01), Bid("c", "x", 5.0, -0.1)], 10.0, 0.05)
    assert dict(result.rejected) == {
        "a": "asks for 0 kW",
        "b": "bids 0.01 per kWh: below the reserve of 0.05",
        "c": "bids -0.1 per kWh: below zero",
    }


def test_clear__all_or_nothing__beats_merit_order_where_it_is_worth_more() -> None:
    bids = [Bid("small", "x", 10.0, 0.30), Bid("big", "x", 100.0, 0.25, divisible=False)]
    result = clear(bids, 100.0)
    assert result.method == KNAPSACK
    assert (result.kw("small"), result.kw("big")) == (0.0, 100.0)
    assert pays(result, "big") == pytest.approx(3.0)


def test_F35_clear__two_hundred_bids__divisible_and_exact() -> None:
    bids = [Bid(f"t{i:03d}", "x", 1.0 + i % 7, (i * 37 % 100) / 100) for i in range(200)]
    result = clear(bids, 300.0)
    assert (result.method, result.exact) == (MERIT, True)
    assert sum(a.kw for a in result.allocation) == pytest.approx(300.0)


@pytest.mark.parametrize(("capacity", "reserve"), [(-1.0, 0.0), (float("nan"), 0.0), (1.0, -0.1), (1.0, float("inf"))])
def test_clear__impossible_sale__one_clear_line(capacity: float, reserve: float) -> None:
    with pytest.raises(DataError, match="expected a number of 0 or more"):
        clear([Bid("a", "x", 1.0, 0.1)], capacity, reserve)
