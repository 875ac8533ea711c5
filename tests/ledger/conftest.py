"""Ledgers on both databases: a real SQLite file, and a real PostgreSQL server where it is installed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gridpilot.ledger.store import Ledger
from tests.ledger.postgres import MISSING, Server, connect, programs, serve

ROOT = Path(__file__).parents[2]
PRELUDE = """
import sys
from datetime import UTC, datetime
from gridpilot.errors import LedgerError, LeaseHeld
from gridpilot.ledger.store import Ledger
now = datetime(2024, 6, 12, 14, tzinfo=UTC)
"""

Execute = Callable[..., None]
UNLOCK = {
    "sqlite": ("DROP TRIGGER IF EXISTS entries_no_update", "DROP TRIGGER IF EXISTS entries_no_delete"),
    "postgresql": ("DROP TRIGGER IF EXISTS entries_append_only ON entries",),
}


def child(code: str, *args: str) -> subprocess.Popen[str]:
    """A process of its own that may be killed; `sys.argv[1:]` are `args`."""
    command = [sys.executable, "-W", "error", "-c", PRELUDE + code, *args]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for all tests of this process; skips, and says so, where PostgreSQL is not installed."""
    if programs() is None:
        pytest.skip(MISSING)
    with serve() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Server, tmp_path: Path) -> str:
    """A new, empty schema of its database."""
    path = f"-csearch_path%3D{postgres.schema()}"
    return postgres.url("postgres", options=path, head_file=str(tmp_path / "postgres.head"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a new ledger, in either database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


@pytest.fixture
def execute(url: str) -> Execute:
    """Run statements in the ledger's database as another program would."""

    def run(*statements: str) -> None:
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
                for statement in statements:
                    connection.execute(statement)
            return
        with connect(url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    return run


@pytest.fixture
def tamper(url: str, execute: Execute) -> Execute:
    """The same as an attacker, who first takes the triggers away."""

    def run(*statements: str) -> None:
        execute(*UNLOCK[url.partition(":")[0].partition("+")[0]], *statements)

    return run
