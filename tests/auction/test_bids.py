"""Tables and files of bids are taken row by row; each bad one has its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gridpilot.auction.bids import parse_bids, read_bids
from gridpilot.errors import DataError


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
