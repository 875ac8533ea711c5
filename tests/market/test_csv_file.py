from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.domain import MachineType, Site, value_usd_per_kwh
from gridpilot.errors import DataError, SourceError
from gridpilot.market import csv_file
from gridpilot.market.csv_file import CsvSource, read_prices
from gridpilot.values import iso

START = datetime(2024, 3, 1, tzinfo=UTC)


def write(tmp_path: Path, text: str | bytes, name: str = "prices.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def hours(n: int, header: str = "timestamp,energy_price", cells: str = "{p}") -> str:
    rows = (f"{iso(START + timedelta(hours=i))},{cells.format(p=40 + i % 24, i=i)}\n" for i in range(n))
    return header + "\n" + "".join(rows)


def test_read__plain_file_gives_prices_in_usd_per_mwh(tmp_path: Path) -> None:
    history = read_prices(write(tmp_path, hours(72)), Site())
    assert len(history) == 72
    assert history.step_s == 3600
    assert history.last == START + timedelta(hours=71)
    assert history.energy_usd_per_mwh[:3].tolist() == [40, 41, 42]
    assert history.flags == ()
    assert np.isnan(history.hash_price).all()
    assert np.isnan(history.token_price).all()


def test_read__offsets_are_converted_and_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    text = "\ufefftimestamp,energy_price\n2024-03-01T01:00:00+01:00,1\n2024-03-01T01:00:00+00:00,2\n"
    history = read_prices(write(tmp_path, text), Site())
    assert history.timestamp.astype(str).tolist() == ["2024-03-01T00:00:00", "2024-03-01T01:00:00"]


def test_read__target_column_is_the_energy_price_and_the_rest_are_columns(tmp_path: Path) -> None:
    text = hours(5, "timestamp,energy_price,da,load,region", "{p},{i},7,north")
    history = read_prices(write(tmp_path, text), Site(), target="da")
    assert history.energy_usd_per_mwh.tolist() == [0, 1, 2, 3, 4]
    assert sorted(history.columns) == ["energy_price", "load"]
    assert [(f.code, f.message) for f in history.flags] == [("DROPPED", "column region holds no numbers: left out")]


@pytest.mark.parametrize(("unit", "per_h"), [("USD/h per rate", 50.0), ("USD/PH/day", 50.0 / 24_000)])
def test_read__hash_column_in_the_site_unit(tmp_path: Path, unit: str, per_h: float) -> None:
    path = write(tmp_path, hours(3, "timestamp,energy_price,hash_price", "1,50"))
    history = read_prices(path, replace(Site(), hash_unit=unit))
    machine = MachineType("m", 1, 1000.0, 100.0, "hash")
    worth = value_usd_per_kwh(machine, history.units, history.hash_price, history.token_price)
    assert worth == pytest.approx(100 * per_h)


def test_read__missing_service_columns_become_flagged_constants_of_the_site(tmp_path: Path) -> None:
    site = replace(Site(), hash_usd_per_ph_day=52.0, token_usd_per_mtok=0.6)
    history = read_prices(write(tmp_path, hours(4)), site)
    assert history.hash_price.tolist() == [52.0] * 4
    assert history.token_price.tolist() == [0.6] * 4
    assert (history.units.hash, history.units.token) == ("USD/PH/day", "USD/Mtok")
    assert history.units.token_usd_per_h == pytest.approx(0.0036)
    assert [f.code for f in history.flags] == ["CONSTANT", "CONSTANT"]


def test_site__unknown_unit__lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="token_unit is 'EUR/t': expected 'USD/h per rate' or 'USD/Mtok'"):
        replace(Site(), token_unit="EUR/t")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("timestamp,energy_price\n", "no rows"),
        ("time,price\n2024-03-01T00:00:00Z,1\n", "no column 'timestamp'"),
        ("timestamp,price\n2024-03-01T00:00:00Z,1\n", "no column 'energy_price'"),
        ("timestamp;energy_price\n2024-03-01T00:00:00Z;1\n", "no column 'timestamp'"),
        ("timestamp,energy_price,energy_price\n", "more than once"),
        ("timestamp,energy_price\n2024-03-01T00:00:00Z,1\n", "at least two"),
        ("timestamp,energy_price\n2024-03-01T00:00:00Z,x\n2024-03-01T01:00:00Z,y\n", "none of 2 rows"),
        ('timestamp,energy_price\n"2024-03-01T00:00:00Z,1\n', "is not a CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "is not UTF-8 text"),
        (hours(20).encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_read__useless_file_is_one_clear_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read_prices(write(tmp_path, content), Site())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "when",
    ["0001-01-01T00:00:00+14:00", "1969-12-31T23:00:00Z", "2199-12-31T23:00:00-01:00", "9999-12-31T22:00:00Z"],
)
def test_read__time_at_the_edge_of_the_calendar__refused_with_its_row_and_the_years(tmp_path: Path, when: str) -> None:
    with pytest.raises(DataError, match=r"row 74: time .* is not of the years 1970 to 2199") as caught:
        read_prices(write(tmp_path, f"{hours(72)}{when},40\n"), Site())
    assert when in str(caught.value)


@pytest.mark.parametrize("first", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 22, tzinfo=UTC)])
def test_read__first_and_last_hours_that_are_taken__read(tmp_path: Path, first: datetime) -> None:
    rows = "".join(f"{iso(first + timedelta(hours=i))},{i}\n" for i in range(2))
    assert read_prices(write(tmp_path, f"timestamp,energy_price\n{rows}"), Site()).last == first + timedelta(hours=1)


def test_read__two_rows_that_are_lifetimes_apart__no_interval(tmp_path: Path) -> None:
    text = "timestamp,energy_price\n1970-01-01T00:00:00Z,1\n2199-01-01T00:00:00Z,2\n"
    with pytest.raises(DataError, match="interval is 83,641 days, expected at most 31"):
        read_prices(write(tmp_path, text), Site())


@pytest.mark.parametrize("cell", ["1_000", "٣", "１"])
def test_read__number_not_written_plainly__dropped_and_named_as_text_is(tmp_path: Path, cell: str) -> None:
    text = hours(60) + f"{iso(START + timedelta(hours=60))},{cell}\n{iso(START + timedelta(hours=61))},50\n"
    history = read_prices(write(tmp_path, text), Site())
    assert [f.code for f in history.flags] == ["DROPPED", "GAP_FILLED"]
    assert history.flags[0].message.startswith("row 62:")
    assert history.energy_usd_per_mwh.max() < 100.0


def test_read__missing_file_folder_and_too_large_file_are_data_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_prices(tmp_path / "none.csv", Site())
    with pytest.raises(DataError, match="cannot be read"):
        read_prices(tmp_path, Site())
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(csv_file.MAX_BYTES + 1)
    with pytest.raises(DataError, match="at most 100 MB"):
        read_prices(huge, Site())


def test_read__row_with_a_thousands_comma_is_dropped_and_named(tmp_path: Path) -> None:
    text = hours(60) + f"{iso(START + timedelta(hours=60))},1,234\n{iso(START + timedelta(hours=61))},50\n"
    history = read_prices(write(tmp_path, text), Site())
    assert len(history) == 62
    assert [f.code for f in history.flags] == ["DROPPED", "GAP_FILLED"]
    assert history.flags[0].message.startswith("row 62:")


def test_source__grows_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, hours(50))
    source = CsvSource(path, Site())
    assert source.present(START) == START + timedelta(hours=49)
    write(tmp_path, hours(51))
    os.utime(path, ns=(1, 1))
    assert source.present(START) == START + timedelta(hours=50)


def test_source__after_its_last_row_is_stale_and_before_its_first_an_error(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path, hours(50)), Site())
    history = source.fetch(START + timedelta(hours=60))
    assert [(f.code, f.severity) for f in history.flags] == [("STALE", "alarm")]
    with pytest.raises(SourceError, match="no price at or before"):
        source.fetch(START - timedelta(hours=1))


def test_source__judges_the_newest_row_that_is_known_not_a_later_one(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path, hours(50) + f"{iso(START + timedelta(hours=50))},52000\n"), Site())
    assert [f.code for f in source.fetch(START + timedelta(hours=50)).flags] == ["SUSPECT"]
    assert source.fetch(START + timedelta(hours=49)).flags == ()


def test_read_prices__bridge__long_gap_repeats_the_day_before_with_a_flag(tmp_path: Path) -> None:
    lines = ["timestamp,energy_price"]
    for hour in range(24 * 10):
        stamp = f"2024-05-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines.append(f"{stamp},{hour if not 100 <= hour < 140 else ''}")
    file = tmp_path / "gap.csv"
    file.write_text("\n".join(lines))
    bridged = read_prices(file, Site(), bridge_s=2 * 86_400)
    assert len(bridged) == 240
    assert bridged.energy_usd_per_mwh[100:124].tolist() == list(range(76, 100))
    assert bridged.energy_usd_per_mwh[124:140].tolist() == list(range(76, 92))
    (said,) = (flag for flag in bridged.flags if flag.code == "GAP_FILLED")
    assert said.count == 40 and said.message.endswith("missing: filled with the values of a day before")
    cut = read_prices(file, Site())
    assert len(cut) == 100
    assert any(flag.code == "GAP" for flag in cut.flags)


def test_read_prices__bridge__what_has_no_day_before_is_said_to_be_interpolated(tmp_path: Path) -> None:
    lines = ["timestamp,energy_price"]
    lines += [f"2024-05-0{1 + h // 24}T{h % 24:02d}:00:00Z,{'' if h in (5, 6, 30) else h}" for h in range(72)]
    file = tmp_path / "early.csv"
    file.write_text("\n".join(lines))
    bridged = read_prices(file, Site(), bridge_s=2 * 86_400)
    assert bridged.energy_usd_per_mwh[[5, 6, 30]].tolist() == [5, 6, 6]
    said = [(flag.count, flag.message) for flag in bridged.flags if flag.code == "GAP_FILLED"]
    assert said == [
        (2, "2024-05-01T05:00:00Z, 2024-05-01T06:00:00Z missing: interpolated"),
        (1, "2024-05-02T06:00:00Z missing: filled with the values of a day before"),
    ]


def test_read_prices__rows_after_the_last_price_are_what_is_known_ahead(tmp_path: Path) -> None:
    lines = ["timestamp,energy_price,load"]
    lines += [f"2024-05-0{1 + h // 24}T{h % 24:02d}:00:00Z,{h},{2 * h}" for h in range(60)]
    lines += [f"2024-05-0{1 + h // 24}T{h % 24:02d}:00:00Z,,{2 * h if h != 62 else ''}" for h in range(60, 65)]
    lines += ["2024-09-01T00:00:00Z,,1"]
    file = tmp_path / "ahead.csv"
    file.write_text("\n".join(lines))
    history = read_prices(file, Site())
    assert len(history) == 60
    assert history.columns["load"][-1] == 118
    assert np.array_equal(history.ahead["load"], [120, 122, np.nan, 126, 128], equal_nan=True)
    assert any(flag.code == "DROPPED" and "14 days ahead" in flag.message for flag in history.flags)
