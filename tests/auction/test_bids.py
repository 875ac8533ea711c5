"""Tables and files of bids are taken row by row; each bad one has its reason."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gridpilot.auction.bids import parse_bids, read_bids
from gridpilot.domain import Bid
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


HEADER = "bidder,service,kw,price_usd_per_kwh"


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bids.csv"
    path.write_text(text)
    return path


def test_read_bids__every_column__as_the_bids_of_a_table(tmp_path: Path) -> None:
    lines = [
        f"{HEADER},divisible,min_kw,house,uses_gpus,uses_power",
        "a,inference,10,0.30,,4,,2,1.25",
        "b,training,8,0.20,false,,,0,",
        "own,mining,50,0.05,true,0,yes,,1.25",
    ]
    book, refused = read_bids(file_of(tmp_path, "\n".join(lines) + "\n"))
    assert refused == ()
    assert book.bids() == (
        Bid("a", "inference", 10.0, 0.30, True, 4.0, {"power": 1.25, "gpus": 2.0}),
        Bid("b", "training", 8.0, 0.20, False, 0.0, {"power": 1.0, "gpus": 0.0}),
        Bid("own", "mining", 50.0, 0.05, True, 0.0, {"power": 1.25, "gpus": 0.0}, house=True),
    )


def test_read_bids__many_plain_rows_and_some_bad_ones__each_bad_one_with_its_row(tmp_path: Path) -> None:
    rows = [f"t{i % 700},x,{i % 9 + 1},0.{i % 90 + 10}" for i in range(120_000)]
    rows[60_001] = "t,x,many,0.1"
    rows[60_002] = "t,x,1,0.1,7,7"
    rows[60_003] = ",x,1,0.1"
    rows[60_004] = "t,x,1e308,0.1"
    rows[60_005] = "t,x"
    book, refused = read_bids(file_of(tmp_path, "\n".join([HEADER, *rows]) + "\n"))
    assert len(book) == 120_000 - 5
    assert [reason.partition(":")[0] for _, reason in refused] == [f"row {n}" for n in range(60_002, 60_007)]
    said = " | ".join(reason for _, reason in refused)
    for part in ("kw is 'many'", "6 values: expected 4", "bidder is empty", "kw is 1e+308", "kw is None"):
        assert part in said


def test_read_bids__all_rows_bad__the_first_thousand_say_why_and_the_rest_is_counted(tmp_path: Path) -> None:
    book, refused = read_bids(file_of(tmp_path, "\n".join([HEADER, *["a,x,nan,0.1"] * 5000]) + "\n"))
    assert len(book) == 0 and len(refused) == 1001
    assert refused[-1] == ("others", "4000 more rows are refused; the first 1000 say why")


def test_read_bids__one_endless_line__one_clear_line_and_little_memory(tmp_path: Path) -> None:
    path = file_of(tmp_path, HEADER + "\n" + "x" * 30_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="has a line of more than 1000000 characters"):
        read_bids(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_read_bids__many_rows__memory_bounded(tmp_path: Path) -> None:
    n = 300_000
    path = file_of(tmp_path, HEADER + "\n" + "tenant-1,inference,10.5,0.123\n" * n)
    tracemalloc.start()
    book, _ = read_bids(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(book) == n
    assert peak < 250 * n + 60_000_000, "columns and one chunk of rows, not objects"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"min_kw": 11}, "min_kw is 11.0: expected a number from 0 to 10"),
        ({"min_kw": "-1"}, "min_kw is -1.0"),
        ({"uses_gpus": "-2"}, "use of gpus is -2.0"),
        ({"uses_gpus": "two"}, "uses_gpus is 'two'"),
        ({"house": "perhaps"}, "house is 'perhaps'"),
    ],
)
def test_F35_parse_bids__bad_optional_value__its_own_reason(changes: dict[str, Any], said: str) -> None:
    _, refused = parse_bids([row(**changes)])
    assert said in refused[0][1]
