"""Export to Parquet, from both databases, read back by another program's reader."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gridpilot.cli import main
from gridpilot.domain import PriceHistory
from gridpilot.errors import InputError
from gridpilot.ledger import export as module
from gridpilot.ledger.chain import GENESIS
from gridpilot.ledger.export import check_file, export
from gridpilot.ledger.store import Ledger
from tests.ledger.conftest import Execute

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
HOSTILE = '=cmd|"/c calc"!A1, é\n\x00\u202e'


def prices() -> PriceHistory:
    stamps = np.datetime64("2024-06-12T00:00:00", "s") + np.arange(48) * np.timedelta64(3600, "s")
    nothing = np.full(48, np.nan)
    return PriceHistory("test", stamps, 3600, np.arange(48.0), nothing, nothing, columns={"outdoor_c": np.arange(48.0)})


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Six entries of three days, two of each, 48 prices and a command."""
    for i in range(6):
        ledger.append("reading", {"i": i, "text": HOSTILE}, at=T0 + timedelta(days=i // 2), cycle_id=f"c{i // 2}")
    ledger.record_prices(prices(), T0)
    with ledger.transaction() as work:
        row = {"created_at": T0, "author": "=ann", "reason": "r", "kind": "hold", "target": {"kw": 0.1 + 0.2}}
        work.add_command({**row, "valid_until": T0, "base_version": 0, "status": "pending", "detail": ""})
    return ledger


def test_export__every_table_comes_back_as_it_is_stored(filled: Ledger, tmp_path: Path) -> None:
    written = export(filled, tmp_path / "out")
    assert [(Path(e.file).name, e.rows) for e in written] == [
        ("entries.parquet", 6), ("prices.parquet", 48), ("commands.parquet", 1)
    ]  # fmt: skip
    for exported in written:
        assert hashlib.sha256(Path(exported.file).read_bytes()).hexdigest() == exported.sha256
    entries, recorded, commands = (pd.read_parquet(e.file) for e in written)
    assert json.loads(entries["body"][5]) == {"i": 5, "text": HOSTILE}
    assert entries["hash"].tolist()[-1] == filled.head().hash
    assert entries["prev_hash"].tolist() == [GENESIS, *entries["hash"].tolist()[:-1]]
    assert pd.to_datetime(recorded["timestamp"], unit="s", utc=True)[1] == pd.Timestamp("2024-06-12T01:00:00Z")
    assert recorded["energy_usd_per_mwh"].tolist() == prices().energy_usd_per_mwh.tolist()
    assert recorded["hash_price"].isna().all()
    assert json.loads(recorded["extra"][3]) == {"outdoor_c": 3.0}
    assert (commands["author"][0], json.loads(commands["target"][0])) == ("=ann", {"kw": 0.1 + 0.2})
    assert {file.name for file in (tmp_path / "out").iterdir()} == {Path(e.file).name for e in written}


def test_check_file__chain_holds_from_the_file_alone(filled: Ledger, tmp_path: Path) -> None:
    report = check_file(Path(export(filled, tmp_path)[0].file))
    assert report == filled.verify()


def test_export__days_are_half_open_and_leave_no_gap(filled: Ledger, tmp_path: Path) -> None:
    filled.append("late", {}, at=T0 + timedelta(days=1))  # in its day, but behind the third day's entries
    filled.append("next", {}, at=T0 + timedelta(days=3))
    written = export(filled, tmp_path, date(2024, 6, 13), date(2024, 6, 14))
    assert [e.rows for e in written] == [5, 24, 0]
    report = check_file(tmp_path / "entries.parquet")
    assert (report.ok, report.n, report.start, report.head.seq) == (True, 5, 3, 7)
    assert [e.rows for e in export(filled, tmp_path, until=date(2024, 6, 13))] == [2, 24, 1]
    assert [e.rows for e in export(filled, tmp_path, since=date(2030, 1, 1))] == [0, 0, 0]
    assert check_file(tmp_path / "entries.parquet").n == 0


def test_export__several_batches_keep_the_order(
    filled: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    export(filled, tmp_path)
    assert check_file(tmp_path / "entries.parquet") == filled.verify()


@pytest.mark.parametrize(("column", "value"), [("body", "{}"), ("hash", "0" * 64), ("seq", 9)])
def test_F51_check_file__changed_row__is_named(filled: Ledger, tmp_path: Path, column: str, value: object) -> None:
    path = Path(export(filled, tmp_path)[0].file)
    table = pd.read_parquet(path)
    table.loc[2, column] = value
    table.to_parquet(path)
    report = check_file(path)
    assert (report.ok, report.first_bad) == (False, 3)


def test_check_file__what_is_no_such_file__is_said(filled: Ledger, tmp_path: Path) -> None:
    export(filled, tmp_path)
    letter = tmp_path / "letter.parquet"
    letter.write_text("a letter")
    for path in (letter, tmp_path / "prices.parquet", tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match=r"is not a Parquet file of ledger entries .*: give one that was exported"):
            check_file(path)


def test_export__folder_that_cannot_be_written__is_said_and_an_older_file_stays(
    filled: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execute: Execute
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*; give a folder"):
        export(filled, tmp_path / "file" / "out")
    folder = tmp_path / "out"
    export(filled, folder)
    before = (folder / "entries.parquet").read_bytes()
    filled.append("reading", {}, at=T0)
    (folder / "entries.parquet.part").mkdir()
    with pytest.raises(InputError, match=r"entries.parquet cannot be written"):
        export(filled, folder)
    assert (folder / "entries.parquet").read_bytes() == before


# --- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_commands__export_prune_and_verify__json_and_text(
    filled: Ledger, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", url)
    out = str(tmp_path / "out")
    assert main(["export-ledger", "--out", out, "--since", "2024-06-12", "--until", "2024-06-13", "--json"]) == 0
    assert [file["rows"] for file in json.loads(capsys.readouterr().out)["files"]] == [2, 24, 1]
    assert main(["export-ledger", "--out", out]) == 0
    assert "6 rows" in capsys.readouterr().out
    assert main(["verify-ledger", "--file", f"{out}/entries.parquet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["prune-ledger", "--keep-days", "1"]) == 2
    assert "--keep-days is 1: the newest 48 h are needed" in capsys.readouterr().err
    filled.append("reading", {}, at=T0 + timedelta(days=4))
    assert main(["prune-ledger", "--keep-days", "2", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["removed"], body["first"], body["last"]) == (4, 1, 4)
    assert main(["verify-ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["start"] == 5
    assert main(["verify-ledger", "--file", body["file"]]) == 0
    assert body["hash"] in capsys.readouterr().out
    pq.write_table(pq.read_table(body["file"]).slice(0, 3).take([0, 2]), body["file"])
    assert main(["verify-ledger", "--file", body["file"]]) == 1
    assert "does not verify: entry 2 is missing" in capsys.readouterr().err


def test_reports__are_what_they_say(filled: Ledger, tmp_path: Path) -> None:
    report = check_file(Path(export(filled, tmp_path)[0].file))
    assert replace(report, ok=False).head == filled.head()


def test_export__no_day_between__refused_and_nothing_written(filled: Ledger, tmp_path: Path) -> None:
    for until in (date(2024, 6, 12), date(2024, 6, 13)):
        with pytest.raises(InputError, match="--since 2024-06-13 is not before"):
            export(filled, tmp_path / "out", date(2024, 6, 13), until)
    assert not (tmp_path / "out").exists()
