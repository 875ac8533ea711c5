"""The site's own bids agree with its plan; tables and files of bids are taken row by row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.auction.bids import auction_capacity_kw, parse_bids, read_bids, site_bids
from gridpilot.auction.mechanism import clear
from gridpilot.config import DATA, load_site
from gridpilot.domain import PriceOutlook, SiteState
from gridpilot.errors import DataError
from gridpilot.plan.loads import job_needs
from gridpilot.plan.solve import plan

AT = datetime(2024, 6, 24, 12, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")


def outlook(prices: list[float], hashprice: float = 55.0) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(3600, "s")
    return PriceOutlook(stamps, 3600, np.array(prices), np.full(n, hashprice), np.full(n, 0.6))


@settings(deadline=None, max_examples=60)
@given(
    prices=st.lists(st.floats(-80.0, 400.0), min_size=4, max_size=12),
    hashprice=st.floats(30.0, 110.0),
    soc=st.floats(0.15, 0.9),
)
def test_site_bids__any_prices__the_auction_gives_what_the_plan_planned(
    prices: list[float], hashprice: float, soc: float
) -> None:
    ahead = outlook(prices, hashprice)
    state = SiteState(AT, soc, jobs=job_needs(SITE, AT, len(prices) * 3600.0, {}))
    made = plan(SITE, state, ahead)
    reserve = max(0.0, float(made.power_price_usd_per_kwh[0]))
    result = clear(site_bids(SITE, made), auction_capacity_kw(SITE, made), reserve)
    got = {name: result.kw(name) for name in [*made.loads_kw, "cooling"]}
    planned = {name: float(kw[0]) for name, kw in made.loads_kw.items()} | {"cooling": float(made.cooling_kw[0])}
    worth = {m: got[m] - planned[m] for m in got}
    # at the margin a load, the battery and the grid may be worth the same: then kW may differ, money not
    off = {name: kw for name, kw in worth.items() if abs(kw) > 0.2}
    if off:
        price = {bid.bidder: bid.price_usd_per_kwh for bid in site_bids(SITE, made)}
        assert all(price[name] == pytest.approx(reserve, rel=1e-3, abs=1e-4) for name in off if name != "cooling")


def test_auction_capacity__charging_takes_room_and_discharging_gives_it() -> None:
    state = SiteState(AT, 0.5)
    cheap = plan(SITE, state, outlook([10.0, 10.0, 500.0, 500.0]))
    assert auction_capacity_kw(SITE, cheap) == pytest.approx(1000.0 - float(cheap.battery_kw[0]))


def row(**changes: Any) -> dict[str, Any]:
    return {"bidder": "a", "service": "x", "kw": 10, "price_usd_per_kwh": "0.2", **changes}


def test_parse_bids__good_rows_and_empty_ones__taken_and_passed_over() -> None:
    empty = {"bidder": None, "service": None, "kw": float("nan"), "price_usd_per_kwh": None, "divisible": None}
    bids, refused = parse_bids([row(), empty, row(bidder="b", divisible="false")])
    assert refused == ()
    assert [(b.bidder, b.kw, b.price_usd_per_kwh, b.divisible) for b in bids] == [
        ("a", 10.0, 0.2, True),
        ("b", 10.0, 0.2, False),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kw": "many"}, "kw is 'many': expected a number"),
        ({"kw": -1}, "expected a number from 0"),
        ({"kw": 1e308}, "kw is 1e+308"),
        ({"price_usd_per_kwh": "inf"}, "expected a finite number"),
        ({"price_usd_per_kwh": None}, "price_usd_per_kwh is None"),
        ({"bidder": "  "}, "bidder is empty"),
        ({"service": ""}, "service is empty"),
        ({"divisible": "maybe"}, "expected true or false"),
    ],
)
def test_F35_parse_bids__bad_row__its_own_reason_and_the_rest_goes_on(changes: dict[str, Any], said: str) -> None:
    bids, refused = parse_bids([row(**changes), row(bidder="good")])
    assert [bid.bidder for bid in bids] == ["good"]
    assert said in refused[0][1] and refused[0][1].startswith("row 1: ")


def test_parse_bids__hostile_name__is_kept_as_text() -> None:
    bids, _ = parse_bids([row(bidder="=cmd|'/c calc'!A0"), row(bidder="<script>alert(1)</script>")])
    assert [bid.bidder for bid in bids] == ["=cmd|'/c calc'!A0", "<script>alert(1)</script>"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'bidder'"),
        (b"bidder,kw\na,1\n", "no column 'service'"),
        (b"\xff\xfe\x00\x00", "not a CSV file in UTF-8"),
    ],
)
def test_read_bids__no_such_table__one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bids.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_bids(path)


def test_read_bids__a_folder__one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_bids(tmp_path)
