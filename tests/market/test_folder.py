from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.domain import DataFlag, PriceHistory, Site
from gridpilot.errors import DataError
from gridpilot.market import folder
from gridpilot.market.folder import FolderSource
from gridpilot.values import iso

T0 = datetime(2026, 6, 10, 0, tzinfo=UTC)
HEADER = "timestamp,energy_price\n"


def write(path: Path, first: int, prices: list[float], *, age_s: float = 0.0, header: str = HEADER) -> None:
    """Hours from `first` on; changed `age_s` before now."""
    rows = "".join(f"{iso(T0 + timedelta(hours=first + i))},{price}\n" for i, price in enumerate(prices))
    path.write_text(header + rows)
    if age_s:
        then = path.stat().st_mtime - age_s
        os.utime(path, (then, then))


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def flag(history: PriceHistory, code: str) -> DataFlag:
    return next(f for f in history.flags if f.code == code)


def codes(history: PriceHistory) -> list[str]:
    return [f.code for f in history.flags]


def test_fetch__new_files_are_noticed_and_old_ones_read_once(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "a.csv", 0, [10, 11, 12])
    assert source.fetch(at(2.5)).energy_usd_per_mwh.tolist() == [10, 11, 12]
    write(tmp_path / "b.csv", 3, [13, 14])
    history = source.fetch(at(4.5))
    assert history.energy_usd_per_mwh.tolist() == [10, 11, 12, 13, 14]
    assert codes(history) == []
    assert history.credit.endswith(": 2 files")
    (tmp_path / "a.csv").unlink()
    assert source.fetch(at(4.5)).energy_usd_per_mwh.tolist() == [13, 14]


def test_fetch__half_written_file_is_not_read_until_it_is_whole(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "a.csv", 0, [10, 11, 12])
    half = tmp_path / "b.csv"
    half.write_text(f"{HEADER}{iso(at(3))},13\n{iso(at(4))},1")  # the price is 14
    history = source.fetch(at(3.5))
    assert history.energy_usd_per_mwh.tolist() == [10, 11, 12]
    assert "b.csv is empty or ends within a line" in flag(history, "HALF_WRITTEN").message
    assert flag(history, "STALE").severity == "warn"
    with half.open("a") as file:
        file.write("4\n")
    history = source.fetch(at(4.5))
    assert history.energy_usd_per_mwh.tolist() == [10, 11, 12, 13, 14]
    assert codes(history) == []


def test_fetch__file_that_grows_by_half_a_line_keeps_its_rows_of_before(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    path = tmp_path / "a.csv"
    write(path, 0, [10, 11, 12])
    source.fetch(at(2))
    with path.open("a") as file:
        file.write(f"{iso(at(3))},9")
    history = source.fetch(at(2))
    assert history.energy_usd_per_mwh.tolist() == [10, 11, 12]
    assert codes(history) == ["HALF_WRITTEN"]
    with path.open("a") as file:
        file.write("9\n")
    assert source.fetch(at(3)).energy_usd_per_mwh.tolist() == [10, 11, 12, 99]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,price\n1,2\n", "no column 'timestamp'"),
        (f"{HEADER}2026-06-10T03:00:00,5\n", "has no zone"),
        (HEADER, "no rows"),
        ('timestamp,energy_price\n"2026', "ends within a line"),
    ],
)
def test_fetch__bad_file_is_a_flag_and_the_others_go_on(tmp_path: Path, text: str, says: str) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "a.csv", 0, [10, 11, 12])
    (tmp_path / "bad.csv").write_text(text)
    (tmp_path / "worse.csv").write_bytes(b"\xff\xfe\x00\n")
    for _ in range(2):
        history = source.fetch(at(2))
        assert history.energy_usd_per_mwh.tolist() == [10, 11, 12]
        told = [f.message for f in history.flags if f.code in ("BAD_FILE", "HALF_WRITTEN")]
        assert len(told) == 2
        assert says in " ".join(told)
    write(tmp_path / "bad.csv", 3, [13])
    assert source.fetch(at(3)).energy_usd_per_mwh.tolist() == [10, 11, 12, 13]


def test_fetch__two_files_say_different_things__the_one_changed_later_counts(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "b.csv", 0, [10, 11, 12], age_s=60)
    write(tmp_path / "a.csv", 2, [22, 23])
    history = source.fetch(at(3))
    assert history.energy_usd_per_mwh.tolist() == [10, 11, 22, 23]
    assert codes(history) == ["CONFLICT"]


def test_fetch__columns_of_one_file_are_unknown_in_the_others(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site(hash_usd_per_ph_day=40.0))
    write(tmp_path / "a.csv", 0, [10.0] * 10, age_s=60)
    rows = "".join(f"{iso(at(10 + i))},{20 + i},55,{i}\n" for i in range(60))
    (tmp_path / "b.csv").write_text("timestamp,energy_price,hash_price,load\n" + rows)
    history = source.fetch(at(69))
    assert set(history.columns) == {"load"}
    assert np.isfinite(history.hash_price).all()
    assert "column hash_price: 10 missing values interpolated" in flag(history, "GAP_FILLED").message


def test_fetch__other_names_are_left_alone(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "a.csv", 0, [10, 11, 12])
    for name in ("b.csv.part", ".b.csv", "~b.csv", "notes.txt"):
        (tmp_path / name).write_text("half a li")
    (tmp_path / "folder.csv").mkdir()
    assert codes(source.fetch(at(2))) == []


def test_fetch__nothing_usable_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no usable prices: there is no file whose name ends in \.csv"):
        FolderSource(tmp_path, Site()).fetch(T0)
    (tmp_path / "bad.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"no usable prices: .*bad\.csv has no column 'timestamp'"):
        FolderSource(tmp_path, Site()).fetch(T0)
    with pytest.raises(DataError, match="give the path of a folder"):
        FolderSource(tmp_path / "missing", Site()).fetch(T0)
    monkeypatch.setattr(folder, "MOST_FILES", 0)
    with pytest.raises(DataError, match="at most 0 are read; move old ones"):
        FolderSource(tmp_path, Site()).fetch(T0)


def test_fetch__ends_before_now__stale_by_the_wall_clock(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, Site())
    write(tmp_path / "a.csv", 0, [10, 11, 12])
    assert source.present(at(9)) == at(9)
    assert flag(source.fetch(at(4)), "STALE").severity == "warn"
    assert flag(source.fetch(at(9)), "STALE").severity == "alarm"
