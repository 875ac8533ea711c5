"""Killed writers, rivals, and files that cannot be used: real processes, real files."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridpilot.errors import LedgerError
from gridpilot.ledger.store import Ledger

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
ROOT = Path(__file__).parents[2]

PRELUDE = """
import sys
from datetime import UTC, datetime
from gridpilot.errors import LedgerError, LeaseHeld
from gridpilot.ledger.store import Ledger
now = datetime(2024, 6, 12, 14, tzinfo=UTC)
"""
WRITER = """
with Ledger.open(sys.argv[1]) as ledger:
    while True:
        print(ledger.append("reading", {"x": [0.1] * 20}, at=now).seq, flush=True)
"""
RIVAL = """
with Ledger.open(sys.argv[1]) as ledger:
    sys.stdin.readline()
    try:
        print("token", ledger.acquire_lease("pilot", sys.argv[2], 60.0, now), flush=True)
    except LeaseHeld as error:
        print("refused", error, flush=True)
"""
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Ledger.open(sys.argv[1]) as ledger:
    ledger.append("reading", {}, at=now)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    done = 1
    try:
        while done < 1000:
            ledger.append("reading", {"x": "y" * 10_000}, at=now)
            done += 1
    except LedgerError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ledger.append("reading", {}, at=now)
        print(done + 1, ledger.count(), ledger.verify().ok, error)
"""


def child(code: str, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PRELUDE + code, *args]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_append__killed_writer_loses_no_acknowledged_entry(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    rng = random.Random(7)
    acknowledged = 0
    for _round in range(4):
        with child(WRITER, url) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randint(3, 30)):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
            acknowledged = int(rest[-1]) if rest else acknowledged
        with Ledger.open(url) as ledger:
            assert acknowledged <= ledger.count() <= acknowledged + 1
            report = ledger.verify()
            assert (report.ok, report.reason) == (True, "")


def test_acquire_lease__of_two_processes_one_wins(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with child(RIVAL, url, "a") as first, child(RIVAL, url, "b") as second:
        for rival in (first, second):
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        said = sorted(rival.communicate()[0] for rival in (first, second))
    assert said[0].startswith("refused the pilot lease is held by")
    assert said[1] == "token 1\n"


def test_open__many_at_once_on_a_new_file_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    together, failures = threading.Barrier(5), []

    def begin(i: int) -> None:
        together.wait()
        try:
            with Ledger.open(url) as ledger:
                ledger.append("reading", {"i": i}, at=T0)
        except LedgerError as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Ledger.open(url) as ledger:
        assert ledger.count() == 5
        assert ledger.verify().ok


def test_append__locked_database_waits_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}", busy_timeout_s=0.2) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match="locked by another process: close the program"):
                ledger.append("reading", {}, at=T0)
            assert ledger.count() == 0  # reading goes on
            other.execute("ROLLBACK")
        ledger.append("reading", {}, at=T0)


def test_append__short_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with (
        Ledger.open(f"sqlite:///{path}") as ledger,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        free = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        free.start()
        assert ledger.append("reading", {}, at=T0).seq == 1
        free.join()


def test_append__full_disk_is_said_and_the_chain_goes_on_afterwards(tmp_path: Path) -> None:
    with child(FULL_DISK, f"sqlite:///{tmp_path / 'ledger.db'}") as writer:
        said = writer.communicate()[0]
    expected, count, ok, message = said.strip().split(" ", 3)
    assert (expected, ok) == (count, "True")
    assert "disk" in message


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere; nobody may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_open__read_only_folder_is_said() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ledger.db"
        with Ledger.open(f"sqlite:///{path}") as ledger:
            ledger.append("reading", {}, at=T0)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        try:
            with unprivileged(), pytest.raises(LedgerError, match=r"ledger.db cannot be (written|opened)"):
                Ledger.open(f"sqlite:///{path}")
            with unprivileged(), pytest.raises(LedgerError, match="cannot be opened: expected a file in an existing"):
                Ledger.open(f"sqlite:///{folder / 'new.db'}")
        finally:
            folder.chmod(0o755)


def test_open__corrupt_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, it is a letter " * 200)
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="is not a SQLite database: move the file away"):
            Ledger.open(f"sqlite:///{path}", read_only=read_only)


def test_verify__damaged_page_is_said(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.append_many([("reading", {"x": "y" * 500})] * 100, at=T0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with Ledger.open(f"sqlite:///{path}", read_only=True) as ledger, pytest.raises(LedgerError, match="is damaged"):
        ledger.verify()


def test_open__newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_info SET version = 99")
    with pytest.raises(LedgerError, match="has schema 99, this GridPilot knows 1: upgrade"):
        Ledger.open(f"sqlite:///{path}")


def test_open__another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE entries (x)")
    with pytest.raises(LedgerError, match="has tables but no ledger"):
        Ledger.open(f"sqlite:///{path}")


def test_open__lost_wal_file_is_noticed(tmp_path: Path) -> None:
    """A copy of the database file alone lacks what is still in its -wal file; the published head shows it."""
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.append("reading", {}, at=T0)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ledger.append("reading", {}, at=T0)
        copy.write_bytes(path.read_bytes())
        Path(f"{copy}.head").write_bytes(Path(f"{path}.head").read_bytes())
    with pytest.raises(LedgerError, match=r"entry 2 was published .* but it is missing: restore"):
        Ledger.open(f"sqlite:///{copy}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "is not a database URL"),
        ("nosuch://x/y", "is not a database URL"),
        ("sqlite://", "would keep nothing"),
        ("sqlite:///:memory:", "would keep nothing"),
    ],
)
def test_open__bad_url_is_said(url: str, said: str) -> None:
    with pytest.raises(LedgerError, match=said):
        Ledger.open(url)


def test_open__read_only_reads_and_never_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with pytest.raises(LedgerError, match="does not exist: run a cycle first"):
        Ledger.open(url, read_only=True)
    with Ledger.open(url) as ledger:
        ledger.append("reading", {"i": 1}, at=T0)
        with Ledger.open(url, read_only=True) as reader:
            ledger.append("reading", {"i": 2}, at=T0)
            assert [e.body["i"] for e in reader.entries()] == [2, 1]
            with pytest.raises(LedgerError, match="for reading only"):
                reader.append("reading", {}, at=T0)
    with Ledger.open(url, read_only=True) as reader:
        assert reader.verify().ok
