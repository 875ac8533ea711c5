"""Retention on both databases: what is removed is in a file, what stays verifies, and a kill loses nothing."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from gridpilot.errors import InputError, LeaseHeld, LedgerError
from gridpilot.ledger.export import check_file
from gridpilot.ledger.prune import prune
from gridpilot.ledger.store import Ledger
from tests.ledger.conftest import Execute, child

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2024, 6, 1, tzinfo=UTC)
DAYS = 10
NOW = T0 + timedelta(days=DAYS)

PRUNER = """
import os, signal
from contextlib import contextmanager
from pathlib import Path
from gridpilot.ledger import prune as module
from gridpilot.ledger.chain import HeadFile

def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

lift = module.unprotected

@contextmanager
def before_the_protection(connection):
    with lift(connection):
        yield
        die()

@contextmanager
def before_the_commit(connection):
    with lift(connection):
        yield
    die()

point = sys.argv[3]
if point == "before the file":
    module.write = die
elif point == "after the file":
    module.check_file = die
elif point == "before the protection":
    module.unprotected = before_the_protection
elif point == "before the commit":
    module.unprotected = before_the_commit
with Ledger.open(sys.argv[1]) as ledger:
    if point == "after the commit":
        HeadFile.publish = die
    module.prune(ledger, 3, datetime(2024, 6, 11, tzinfo=UTC), Path(sys.argv[2]))
"""


def decide(ledger: Ledger, at: datetime, cycle_id: str, *, result: bool = True) -> None:
    """The entries of a decision, as a cycle writes them."""
    ledger.append_many([("forecast", {"at": at}), ("plan", {})], at=at, cycle_id=cycle_id)
    intent = ledger.append("intent", {"desired": {}}, at=at, cycle_id=cycle_id)
    if result:
        ledger.append("result", {"intent": intent.seq}, at=at, cycle_id=cycle_id)
    ledger.append("cycle", {}, at=at, cycle_id=cycle_id)


@pytest.fixture
def decided(ledger: Ledger) -> Ledger:
    """Five entries a day for ten days, the first at midnight."""
    for day in range(DAYS):
        decide(ledger, T0 + timedelta(days=day), f"c{day}")
    return ledger


def test_prune__old_entries_are_in_the_file_and_the_rest_verifies_from_there_on(
    decided: Ledger, url: str, tmp_path: Path, execute: Execute
) -> None:
    before = decided.entries(newest_first=False)
    pruned = prune(decided, 3, NOW, tmp_path / "archive")
    assert (pruned.removed, pruned.first, pruned.last, pruned.note) == (30, 1, 30, "")  # days 0 to 5 of 9
    report = decided.verify()
    assert (report.ok, report.n, report.start, report.head.seq) == (True, 21, 31, 51)
    assert [e.hash for e in decided.entries(newest_first=False)][:20] == [e.hash for e in before][30:]
    assert hashlib.sha256(Path(pruned.file).read_bytes()).hexdigest() == pruned.sha256
    assert (check_file(Path(pruned.file)).ok, check_file(Path(pruned.file)).head.hash) == (True, pruned.hash)
    assert pd.read_parquet(pruned.file)["hash"].tolist() == [e.hash for e in before][:30]
    said = decided.latest("pruned")
    assert said is not None
    assert said.body == {
        "first": 1, "seq": 30, "removed": 30, "hash": pruned.hash, "sha256": pruned.sha256,
        "file": "entries-0000000001-0000000030.parquet",
    }  # fmt: skip
    with pytest.raises(Exception, match="append-only"):
        execute("DELETE FROM entries WHERE seq = 40")
    assert decided.append("reading", {}, at=NOW).seq == 52
    with Ledger.open(url) as again, Ledger.open(url, read_only=True) as reader:
        assert again.verify() == reader.verify() == decided.verify()
        assert again.verify().ok


def test_prune__again__goes_on_from_there(decided: Ledger, tmp_path: Path) -> None:
    prune(decided, 6, NOW, tmp_path)
    second = prune(decided, 3, NOW, tmp_path)
    assert (second.first, second.last) == (16, 30)
    report = decided.verify()
    assert (report.ok, report.start) == (True, 31)
    files = sorted(tmp_path.glob("entries-*.parquet"))
    hashes = [check_file(file).head.hash for file in files]
    assert pd.read_parquet(files[1])["prev_hash"][0] == hashes[0]
    assert prune(decided, 3, NOW, tmp_path).removed == 0
    for day in range(DAYS, DAYS + 20):
        decide(decided, T0 + timedelta(days=day), f"c{day}")
    third = prune(decided, 2, NOW + timedelta(days=30), tmp_path)
    assert len(pd.read_parquet(third.file).query("kind == 'pruned'")) == 2
    assert (decided.verify().ok, decided.verify().start) == (True, third.last + 1)


def test_prune__default_folder_is_the_ledgers_archive(decided: Ledger) -> None:
    pruned = prune(decided, 3, NOW)
    assert Path(pruned.file).parent == decided.head_file.with_suffix(".archive")


def test_prune__replayed_past_beside_operators_of_today__counts_in_the_sites_time(ledger: Ledger) -> None:
    """In a replay decisions carry the replayed time, and an operator's emergency stop the wall clock's."""
    today = datetime(2026, 6, 1, tzinfo=UTC)
    for day in range(DAYS):
        decide(ledger, T0 + timedelta(days=day), f"c{day}")
        ledger.append("command", {}, at=today)
    assert prune(ledger, 3, today).last == 36
    assert ledger.verify().ok


def test_prune__whole_decisions__an_entry_of_the_first_kept_one_stays(ledger: Ledger) -> None:
    for hour in range(0, 24 * 5, 6):
        at = T0 + timedelta(hours=hour)
        ledger.append("forecast", {}, at=at - timedelta(hours=1), cycle_id=f"c{hour}")
        ledger.append("cycle", {}, at=at, cycle_id=f"c{hour}")
    pruned = prune(ledger, 3, NOW)
    assert pruned.last % 2 == 0
    first = ledger.entries(newest_first=False, limit=2)
    assert [entry.kind for entry in first] == ["forecast", "cycle"]
    assert first[1].at == T0 + timedelta(hours=24 * 5 - 6 - 72)


def test_prune__ledger_without_decisions__goes_by_the_time_of_its_entries(ledger: Ledger) -> None:
    for day in range(DAYS):
        ledger.append("reading", {}, at=T0 + timedelta(days=day))
    assert prune(ledger, 4, NOW).last == 5
    assert ledger.verify().ok


def test_prune__intent_without_result__stays_with_all_behind_it(ledger: Ledger) -> None:
    decide(ledger, T0, "c0")
    decide(ledger, T0 + timedelta(days=1), "c1", result=False)
    for day in range(2, DAYS):
        decide(ledger, T0 + timedelta(days=day), f"c{day}")
    pruned = prune(ledger, 3, NOW)
    assert (pruned.last, pruned.note[:38]) == (7, "entry 8 is an intent without a result:")
    assert [entry.kind for entry in ledger.entries(newest_first=False, limit=1)] == ["intent"]
    again = prune(ledger, 3, NOW)
    assert (again.removed, again.note) == (0, pruned.note)
    ledger.append("result", {"intent": 8}, at=NOW)
    assert prune(ledger, 3, NOW).last == 29


def test_prune__while_a_pilot_holds_the_lease__is_refused(decided: Ledger, tmp_path: Path) -> None:
    token = decided.acquire_lease("pilot", "host:1", 30.0, NOW)
    with pytest.raises(LeaseHeld, match="held by host:1: stop that pilot, then prune"):
        prune(decided, 3, NOW, tmp_path / "archive")
    assert (decided.count(), (tmp_path / "archive").exists()) == (50, False)
    decided.release_lease("pilot", token, NOW)
    assert prune(decided, 3, NOW, tmp_path).removed == 30


@pytest.mark.parametrize("days", [1, 0, -3])
def test_prune__newest_48_hours__are_kept(decided: Ledger, days: int) -> None:
    with pytest.raises(InputError, match="newest 48 h are needed to go on, give 2 or more"):
        prune(decided, days, NOW)
    assert decided.count() == 50


def test_prune__nothing_old_and_an_empty_ledger__say_so(ledger: Ledger) -> None:
    assert prune(ledger, 3, NOW).note == "no entry is as old as that"
    decide(ledger, T0, "c0")
    assert (prune(ledger, 3, NOW).removed, ledger.count()) == (0, 5)


def test_prune__folder_that_cannot_be_written__removes_nothing(decided: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        prune(decided, 3, NOW, tmp_path / "file" / "archive")
    assert (decided.count(), decided.verify().ok) == (50, True)


# --- what does not verify ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET body = '{}' WHERE seq = 6",
        "DELETE FROM entries WHERE seq = 10",
        "DELETE FROM entries WHERE seq = 1",
        "UPDATE entries SET prev_hash = 'x' WHERE seq = 31",
    ],
)
def test_F51_prune__old_entries_that_do_not_verify__stay(decided: Ledger, tamper: Execute, change: str) -> None:
    tamper(change)
    before = decided.count()
    with pytest.raises(LedgerError, match="nothing was removed: the entries to remove do not verify"):
        prune(decided, 3, NOW)
    assert decided.count() == before


def test_F51_verify__beginning_deleted_after_a_prune__is_named(decided: Ledger, tamper: Execute) -> None:
    prune(decided, 3, NOW)
    tamper("DELETE FROM entries WHERE seq IN (31, 32)")
    assert (decided.verify().ok, decided.verify().first_bad) == (False, 31)


@pytest.mark.parametrize("change", ["replace(body, '\"seq\":30', '\"seq\":32')", "'{}'", "'x'", "'[1]'"])
def test_F51_verify__edited_checkpoint__is_found(decided: Ledger, tamper: Execute, change: str) -> None:
    prune(decided, 3, NOW)
    tamper("DELETE FROM entries WHERE seq IN (31, 32)", f"UPDATE entries SET body = {change} WHERE kind = 'pruned'")
    assert not decided.verify().ok


def test_verify__head_file_of_a_host_that_wrote_long_ago__is_good(decided: Ledger, url: str) -> None:
    """It names an entry that was pruned since."""
    newest = decided.head_file.read_bytes()
    entry = decided.entries(newest_first=False, limit=5)[4]
    decided.head_file.write_text(f"{entry.seq:019d} {entry.hash}\n")
    stale = decided.head_file.read_bytes()
    prune(decided, 3, NOW)
    assert decided.head_file.read_bytes() > newest
    decided.head_file.write_bytes(stale)
    assert decided.verify().ok
    Ledger.open(url).close()


# --- killed in the middle ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "gone"),
    [
        ("before the file", False),
        ("after the file", False),
        ("before the protection", False),
        ("before the commit", False),
        ("after the commit", True),
    ],
)
def test_F43_prune__killed__loses_nothing(
    decided: Ledger, url: str, tmp_path: Path, execute: Execute, point: str, gone: bool
) -> None:
    hashes = [entry.hash for entry in decided.entries(newest_first=False)]
    folder = tmp_path / "archive"
    with child(PRUNER, url, str(folder), point) as pruner:
        pruner.communicate()
    assert pruner.returncode == -9
    with Ledger.open(url) as ledger:
        kept = [entry.hash for entry in ledger.entries(newest_first=False)][:50]
        report = ledger.verify()
        assert (report.ok, report.start) == (True, 31 if gone else 1)
        assert kept[: 20 if gone else 50] == hashes[30 if gone else 0 :]
        if gone:
            assert pd.read_parquet(next(folder.glob("*.parquet")))["hash"].tolist() == hashes[:30]
        with pytest.raises(Exception, match="append-only"):
            execute("DELETE FROM entries WHERE seq = 40")
        assert prune(ledger, 3, NOW, folder).removed == (0 if gone else 30)
        assert ledger.verify().ok
