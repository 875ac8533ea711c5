"""Tables and files of bids are taken row by row; each bad one has its reason."""

from __future__ import annotations

import io
import itertools
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gridpilot.auction.bids import listed, parse_bids, read_bids, read_rows
from gridpilot.auction.book import Book
from gridpilot.domain import Bid
from gridpilot.errors import DataError
from gridpilot.foreign import unquoted


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
        ({"min_kw": 11}, "min_kw is 11: expected a number from 0 to 10"),
        ({"min_kw": "-1"}, "min_kw is -1"),
        ({"uses_gpus": "-2"}, "use of gpus is -2"),
        ({"uses_gpus": "two"}, "uses_gpus is 'two'"),
        ({"house": "perhaps"}, "house is 'perhaps'"),
    ],
)
def test_F35_parse_bids__bad_optional_value__its_own_reason(changes: dict[str, Any], said: str) -> None:
    _, refused = parse_bids([row(**changes)])
    assert said in refused[0][1]


# --- what an attack found ----------------------------------------------------------------------


def test_F35_parse_bids__house_in_one_row_only__each_row_of_that_name_refused() -> None:
    bids, refused = parse_bids([row(house="yes"), row(bidder="b"), row(), row(bidder="own", house=True)])
    assert [(bid.bidder, bid.house) for bid in bids] == [("b", False), ("own", True)]
    assert [reason.partition(":")[0] for _, reason in refused] == ["row 1", "row 3"]
    assert all("is the house in one row and not in another" in reason for _, reason in refused)


def test_F35_read_bids__house_in_one_row_only__nobody_gets_power_for_nothing(tmp_path: Path) -> None:
    rows = ["a,x,5,0.2,", "b,y,5,0.2,", "a,z,1,0.1,yes", "own,x,9,0.05,yes", "c,x,many,0.1,"]
    book, refused = read_bids(file_of(tmp_path, "\n".join([HEADER + ",house", *rows]) + "\n"))
    assert (book.bidders, book.services, book.house.tolist()) == (("b", "own"), ("x", "y"), [False, True])
    assert [reason.partition(":")[0] for _, reason in refused] == ["row 1", "row 3", "row 5"]
    assert [bid.bidder for bid in book.bids()] == ["b", "own"]


def test_F35_read_bids__one_house_row_for_a_name_of_many__the_rest_is_counted(tmp_path: Path) -> None:
    rows = ["a,x,5,0.2,"] * 3000 + ["a,x,5,0.2,yes", "b,x,5,0.2,"]
    book, refused = read_bids(file_of(tmp_path, "\n".join([HEADER + ",house", *rows]) + "\n"))
    assert book.bidders == ("b",) and len(book) == 1
    assert refused[0][1].startswith("row 1: ") and refused[-1] == (
        "others",
        "2001 more rows are refused; the first 1000 say why",
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER + ",kw", "column 'kw' is there 2 times"),
        (HEADER + ",divisble", "unknown column 'divisble'; expected bidder,service,kw,price_usd_per_kwh"),
        ("_index," + HEADER, "unknown column '_index'"),
        (HEADER + ",", "unknown column ''"),
        (HEADER + ",uses_", "unknown column 'uses_'"),
        (HEADER.replace(",", ";"), "has semicolons between its columns"),
        (HEADER.replace(",", "\t"), "has tabs between its columns"),
        (HEADER.replace("k", "k\0"), "has NUL bytes"),
        (HEADER + "".join(f",uses_r{k}" for k in range(33)), "has 33 columns of uses_: at most 32"),
        (HEADER + "".join(f",uses_r{k}" for k in range(1000)), "has 1004 columns: at most 64"),
    ],
)
def test_F35_read_bids__header_that_is_none__one_clear_line(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as raised:
        read_bids(file_of(tmp_path, f"{header}\na,x,1,0.1\n"))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("number", ["1_0", "\uff11\uff10", "\u0661", "1\u00a0"])
def test_F35_number__not_plainly_one__refused_in_a_table_and_in_a_file(tmp_path: Path, number: str) -> None:
    bids, refused = parse_bids([row(kw=number), row(price_usd_per_kwh=number)])
    assert bids == () and len(refused) == 2
    book, refused = read_bids(file_of(tmp_path, f"{HEADER}\na,x,{number},0.1\nb,x,1,0.1\n"))
    assert book.bidders == ("b",) and "expected a number" in refused[0][1]


def test_F35_read_bids__nul_byte_in_a_name__that_row_refused(tmp_path: Path) -> None:
    book, refused = read_bids(file_of(tmp_path, f"{HEADER}\na\0,x,1,0.1\nb,x,1,0.1\n"))
    assert book.bidders == ("b",) and "bidder has a NUL byte" in refused[0][1]


OPTIONS = HEADER + ",divisible,min_kw,house,uses_power,uses_gpus"
ODD = [
    "",
    ",,,,,,,,",
    "a,x,5,0.1,perhaps,,,,",
    "a,x,5,0.1,,6,,,",
    "a,x,5,0.1,,,,-1,",
    "'=a,x,5,0.1,,,,,",
    "a,x,1e1,0.1",
]


def test_read_bids__at_once_or_row_by_row__the_same_bids(tmp_path: Path) -> None:
    rng = random.Random(1)
    pick = rng.choice
    rows = [
        f"{pick('abc')},{pick('xy')},{pick(['5', ' 7.5', '0'])},{pick(['.1', '-2e-1'])},{pick(['', 'NO', 'true'])},"
        f"{pick(['', '0', '0.0'])},,{pick(['', '1.25'])},{pick(['', '3'])}"
        for _ in range(1200)
    ]
    rows += [f"own,x,5,.1,false,{pick(['', '5'])},yes,1,"] * 5 + ODD
    for shift in (0, 700):
        mixed = rows[shift:] + rows[:shift]
        book, refused = read_bids(file_of(tmp_path, "\n".join([OPTIONS, *mixed]) + "\n"))
        names = OPTIONS.split(",")
        table = [dict(itertools.zip_longest(names, map(unquoted, line.split(",")))) for line in mixed]
        bids, said = parse_bids(table)
        assert refused == said
        assert book.bids() == Book.of(bids).bids()


def test_F35_read_rows__more_values_than_the_header__left_out_with_a_reason() -> None:
    text = f"{HEADER}\nz,a,x,5,.1\nb,x,6,.2\n\nc,x\n'=1+1,x,1,.1\n"
    header, rows, refused = read_rows(io.StringIO(text, newline=""), "b.csv", 10)
    assert refused == (("z", "row 1: 5 values: expected 4, as in the header"),)
    assert header == HEADER.split(",")
    assert [(r[0], r[2]) for r in rows] == [("b", "6"), ("c", ""), ("=1+1", "1")]
    with pytest.raises(DataError, match="has more than 2 rows"):
        read_rows(io.StringIO(text, newline=""), "b.csv", 2)
    with pytest.raises(DataError, match="unknown column '_index'"):
        read_rows(io.StringIO("_index," + text, newline=""), "b.csv", 2)


def test_listed__many_that_take_no_part__a_thousand_and_a_count() -> None:
    many = [("a", "asks for 0 kW")] * 5000
    assert listed([("r", "x")], many[:999]) == (("r", "x"), *many[:999])
    out = listed([("r", "x")] * 600, many)
    assert len(out) == 1001 and out[-1] == ("others", "4600 more bids take no part")
