"""A P&L file is read whole or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridpilot.errors import DataError
from gridpilot.risk.pnl_file import read_pnl


def test_read_pnl__values_in_file_order(tmp_path: Path) -> None:
    file = tmp_path / "pnl.csv"
    file.write_text("pnl_usd\n1.5\n-2\n\n3e2\n")
    assert read_pnl(file).tolist() == [1.5, -2.0, 300.0]


def test_read_pnl__spreadsheet_export_with_more_columns(tmp_path: Path) -> None:
    file = tmp_path / "pnl.csv"
    file.write_bytes("\ufeffday, pnl_usd\r\n2024-01-01,7\r\n2024-01-02,-8\r\n".encode())
    assert read_pnl(file).tolist() == [7.0, -8.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file; expected a header with one column pnl_usd"),
        (b"pnl\n1\n", "found pnl; expected"),
        (b"pnl_usd,pnl_usd\n1,2\n", "one column"),
        (b"pnl_usd\n", "no rows"),
        (b"pnl_usd\n1\ntwelve\n", "line 3: pnl_usd is 'twelve'"),
        (b"pnl_usd\n1_000\n", "line 2: pnl_usd is '1_000', expected a number"),
        ("pnl_usd\n٣\n".encode(), "line 2: pnl_usd is '٣', expected a number"),
        (b"pnl_usd\nnan\n", "line 2: pnl_usd is 'nan'"),
        (b"pnl_usd\n-inf\n", "line 2"),
        (b"day,pnl_usd\nmonday\n", "line 2: pnl_usd is None"),
        (b"pnl_usd\n1,50\n", "line 2: has more fields"),
        (b"pnl_usd\n\xff\xfe\n", "not a CSV text file"),
        (b'pnl_usd\n"1\n', "not a CSV text file"),
    ],
)
def test_read_pnl__bad_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "pnl.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_pnl(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_read_pnl__missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_pnl(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_pnl(tmp_path)
