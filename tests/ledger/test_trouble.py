"""Killed writers, rivals, and files that cannot be used: real processes, real files."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from gridpilot.dispatch import reconcile
from gridpilot.domain import Dispatch, Reading
from gridpilot.errors import LedgerError
from gridpilot.ledger.engine import WRITE_LOCK
from gridpilot.ledger.store import Ledger
from tests.ledger.conftest import Execute, child
from tests.ledger.postgres import connect

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)

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


@pytest.mark.slow
def test_append__killed_writer_loses_no_acknowledged_entry(url: str) -> None:
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


@pytest.mark.slow
def test_append__several_processes_at_once_one_unbroken_chain(url: str) -> None:
    Ledger.open(url).close()
    writers = [child(WRITER, url) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(15):
            writer.stdout.readline()
    for writer in writers:
        writer.kill()
        writer.communicate()
    with Ledger.open(url) as ledger:
        assert ledger.count() >= 45
        assert ledger.verify().ok


def test_acquire_lease__of_two_processes_one_wins(url: str) -> None:
    with child(RIVAL, url, "a") as first, child(RIVAL, url, "b") as second:
        for rival in (first, second):
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        said = sorted(rival.communicate()[0] for rival in (first, second))
    assert said[0].startswith("refused the pilot lease is held by")
    assert said[1] == "token 1\n"


def test_open__many_at_once_on_a_new_database_all_succeed(url: str) -> None:
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


# --- F48, F49: a database that cannot be written ----------------------------------------------


class Rig:
    """Machines that remember what they were told."""

    name = "rig"

    def __init__(self) -> None:
        self.puts: list[Dispatch] = []

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        self.puts.append(dispatch)

    def read(self, now: datetime) -> Reading:
        return Reading(now, self.puts[-1].machines if self.puts else {}, 0.0)


def nothing_is_sent(ledger: Ledger, said: str) -> None:
    """Neither an entry nor a dispatch goes through, and the reason is one clear line."""
    rig, before = Rig(), ledger.count()
    dispatch = Dispatch(
        T0, T0 + timedelta(minutes=5), "plan", {"hydro": 7}, 0.0, {}, {}, 0.0, 35.0, 35.0,
        payload={"long": "x" * 20_000}, constraints_satisfied=True,
    )  # fmt: skip
    for write in (
        lambda: ledger.append("reading", {"x": "y" * 20_000}, at=T0),
        lambda: reconcile.execute(ledger, rig, dispatch, T0, cycle_id="c" * 20_000),
        lambda: ledger.put_state("k", "y" * 20_000),
    ):
        with pytest.raises(LedgerError, match=said) as refused:
            write()
        assert "\n" not in str(refused.value)
    assert (rig.puts, ledger.count(), ledger.verify().ok) == ([], before, True)  # reading goes on


@pytest.fixture
def locked(url: str) -> Iterator[Callable[[], None]]:
    """Another program holds the database until it is told to let go."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        other: Any = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = connect(url)
        other.execute("BEGIN")
        other.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})".encode())
    with closing(other):
        yield lambda: other.execute("ROLLBACK")


@pytest.fixture
def made(url: str) -> str:
    """A ledger with one entry."""
    with Ledger.open(url) as ledger:
        ledger.append("reading", {}, at=T0)
    return url


def test_F48_append__locked_for_long__said_in_one_line_and_nothing_is_sent(
    made: str, locked: Callable[[], None]
) -> None:
    with Ledger.open(made, busy_timeout_s=0.2) as ledger:
        began = time.monotonic()
        nothing_is_sent(ledger, "locked by another process: close the program")
        assert time.monotonic() - began < 5.0
        locked()
        assert ledger.append("reading", {}, at=T0).seq == 2


@pytest.mark.slow
def test_F48_append__locked_for_two_seconds__is_waited_for(made: str, locked: Callable[[], None]) -> None:
    with Ledger.open(made) as ledger:
        free = threading.Timer(2.0, locked)
        free.start()
        assert ledger.append("reading", {}, at=T0).seq == 2
        free.join()


def test_F48_append__another_transaction_of_ours__is_waited_for(made: str) -> None:
    with Ledger.open(made) as one, Ledger.open(made) as two, ThreadPoolExecutor(1) as pool:
        with one.transaction() as work:
            work.append("reading", {"who": "one"}, at=T0)
            later = pool.submit(two.append, "reading", {"who": "two"}, at=T0)
            work.append("reading", {"who": "one"}, at=T0)
        assert later.result(timeout=10).seq == 4


@contextmanager
def no_more_room() -> Iterator[None]:
    """Every SQLite file that is opened in this block stays as long as it is: SQLite says that the disk is full."""

    def limit(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # no less than the file has

    event.listen(Pool, "connect", limit)
    try:
        yield
    finally:
        event.remove(Pool, "connect", limit)


def test_F49_append__full_database__nothing_is_appended_or_sent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        ledger.append("reading", {}, at=T0)
    with no_more_room(), Ledger.open(url) as ledger:
        nothing_is_sent(ledger, "has no room left on its disk: free some space, then try again")
    with Ledger.open(url) as ledger:
        assert ledger.append("reading", {"x": "y" * 20_000}, at=T0).seq == 2
        assert ledger.verify().ok


def test_F49_append__file_size_limit__is_said_and_the_chain_goes_on_afterwards(tmp_path: Path) -> None:
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


def test_F49_open__read_only_folder_is_said() -> None:
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


# --- F50: a database that is not what it should be --------------------------------------------


def test_F50_open__corrupt_file__is_said_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    letter = b"this is not a database, it is a letter " * 200
    path.write_bytes(letter)
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="is not a SQLite database: move the file away"):
            Ledger.open(f"sqlite:///{path}", read_only=read_only)
    assert path.read_bytes() == letter


def damage(path: Path, *, newest: bool) -> None:
    """Overwrite a page of the entries with bytes that mean nothing: one of its newest, or its root."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = path.read_bytes()
    where = content.rindex(b"y" * 500) // size if newest else page - 1
    with path.open("r+b") as file:
        file.seek(where * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("newest", [True, False])
def test_F50_open__damaged_page__refused_with_remedy(tmp_path: Path, newest: bool) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.append_many([("reading", {"x": "y" * 500})] * 100, at=T0)
    damage(path, newest=newest)
    kept = path.read_bytes()
    with Ledger.open(f"sqlite:///{path}", read_only=True) as ledger, pytest.raises(LedgerError, match="is damaged"):
        ledger.verify()
    with pytest.raises(LedgerError, match="is damaged: keep a copy of the file and restore a backup"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_bytes() == kept


def test_F50_open__newest_entries_do_not_hold_together__refused_with_remedy(made: str, tamper: Execute) -> None:
    with Ledger.open(made) as ledger:
        ledger.append_many([("reading", {"i": i}) for i in range(3)], at=T0)
    tamper("UPDATE entries SET body = '{}' WHERE seq = 3")
    with pytest.raises(LedgerError, match=r"is damaged: entry 3 was edited.* restore a backup"):
        Ledger.open(made)
    with Ledger.open(made, read_only=True) as reader:
        assert reader.verify().first_bad == 3


def test_F50_open__newer_schema__refused_with_remedy(made: str, execute: Execute) -> None:
    execute("UPDATE schema_info SET version = 99")
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="has schema 99, this GridPilot knows 3: upgrade"):
            Ledger.open(made, read_only=read_only)


def test_F50_open__schema_that_is_not_said__refused_with_remedy(made: str, execute: Execute) -> None:
    execute("DELETE FROM schema_info")
    with pytest.raises(LedgerError, match="does not say its schema: restore a backup"):
        Ledger.open(made)


def test_open__another_programs_database_is_refused(url: str, execute: Execute) -> None:
    execute("CREATE TABLE entries (x TEXT)")
    with pytest.raises(LedgerError, match="has tables but no ledger: name another database"):
        Ledger.open(url)


def test_F50_open__lost_wal_file__is_noticed(tmp_path: Path) -> None:
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


def test_F50_verify__body_that_is_no_text__damaged_and_its_content_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.append("reading", {"note": "CONTENT"}, at=T0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes().replace(b"CONTENT", b"CONT\xff\xfeT"))
    said = r"is damaged: keep a copy of the file and restore a backup \(docs/operations.md, Backups\)$"
    with Ledger.open(f"sqlite:///{path}", read_only=True) as ledger, pytest.raises(LedgerError, match=said) as caught:
        ledger.verify()
    assert "CONT" not in str(caught.value)


@pytest.mark.parametrize("read_only", [True, False])
def test_open__folder_or_device__said_what_it_is(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(LedgerError, match="is a folder, not a SQLite file: correct GRIDPILOT_DB_URL"):
        Ledger.open(f"sqlite:///{tmp_path}", read_only=read_only)
    with pytest.raises(LedgerError, match="is a device or a pipe, not a SQLite file"):
        Ledger.open("sqlite:////dev/null", read_only=read_only)
    with pytest.raises(LedgerError, match=r"cannot be opened \(File name too long\): correct GRIDPILOT_DB_URL"):
        Ledger.open(f"sqlite:///{tmp_path}/{'a' * 5000}", read_only=read_only)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "endless"])
def test_head_file__not_a_file_of_its_length__refused_at_once(kind: str, tmp_path: Path) -> None:
    url, head = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "head"
    with Ledger.open(url) as ledger:
        ledger.append("reading", {}, at=T0)
    if kind == "device":
        head = Path("/dev/full")
    elif kind == "pipe":
        os.mkfifo(head)
    elif kind == "folder":
        head.mkdir()
    else:
        with head.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(
        LedgerError, match=r"is not a regular file|\(Is a directory\)|does not hold a number and a hash"
    ):
        Ledger.open(f"{url}?head_file={head}")


def test_open__read_only_reads_and_never_writes(url: str) -> None:
    with pytest.raises(LedgerError, match=r"does not exist: run a cycle first|is empty: run a cycle first"):
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


def test_F51_ledger_emptied__its_head_is_still_published__said_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.append("reading", {"i": 1}, at=datetime(2024, 6, 12, 14, tzinfo=UTC))
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match=r"is empty, but ledger\.db\.head has entry 1 of it: restore a backup"):
        Ledger.open(f"sqlite:///{path}", read_only=True)
