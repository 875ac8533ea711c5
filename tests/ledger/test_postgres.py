"""What is particular to a ledger on PostgreSQL: its address, its errors, its server's crashes."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from gridpilot.config import Settings
from gridpilot.errors import LedgerError
from gridpilot.ledger import engine
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision
from gridpilot.pilot import one_cycle
from tests.ledger.conftest import Execute
from tests.ledger.postgres import PASSWORD, Server, serve

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)


@pytest.fixture
def url(postgres_url: str) -> str:
    """What `execute` and `ledger` work on."""
    return postgres_url


@pytest.fixture
def own_server(postgres: Server) -> Iterator[Server]:
    """A server that a test may stop. It waits for the disk."""
    with serve(durable=True) as server:
        yield server


# --- address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_open__every_usual_scheme_is_psycopg(postgres_url: str, scheme: str) -> None:
    url = postgres_url.replace("postgresql+psycopg", scheme)
    with Ledger.open(url) as ledger:
        ledger.append("reading", {}, at=T0)
        assert ledger.verify().ok


@pytest.mark.parametrize("url", ["postgresql+psycopg2://u:pw9@h/d", "mysql://u:pw9@h/d", "postgres://u:pw9@h:port/d"])
def test_open__another_driver_or_database_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(LedgerError, match=r"is not a database URL.*expected sqlite") as refused:
        Ledger.open(url)
    assert "pw9" not in "".join(traceback.format_exception(refused.value))


def test_open__password_with_an_at_sign_is_explained_without_it() -> None:
    with pytest.raises(LedgerError, match="write it as %40") as refused:
        Ledger.open("postgresql://user:pw@pw9@localhost/db")
    assert "pw9" not in str(refused.value)


def test_open__missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"driver psycopg is missing: pip install 'psycopg\[binary\]'"):
        Ledger.open("postgresql://user@localhost/db")


def test_head_file__without_a_setting_lies_in_the_users_folder(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    database = postgres.database()
    with Ledger.open(postgres.url(database)) as ledger:
        entry = ledger.append("reading", {}, at=T0)
        assert ledger.head_file == tmp_path / "data" / "gridpilot" / f"127.0.0.1-{postgres.port}-{database}.head"
    assert entry.hash in ledger.head_file.read_text()
    ledger.head_file.unlink()
    with Ledger.open(postgres.url(database), read_only=True) as reader:
        assert "a deleted end would not be seen" in reader.verify().reason
    with Ledger.open(postgres.url(database)) as another_host:
        assert another_host.verify().ok


def test_open__search_path_gives_each_schema_a_ledger_of_its_own(postgres: Server, tmp_path: Path) -> None:
    database = postgres.database()
    with postgres.connect(database) as connection:
        connection.execute("CREATE SCHEMA one")
        connection.execute("CREATE SCHEMA two")
    for count, schema in enumerate(("one", "two"), start=1):
        url = postgres.url(database, options=f"-csearch_path%3D{schema}", head_file=str(tmp_path / schema))
        with Ledger.open(url) as ledger:
            ledger.append_many([("reading", {})] * count, at=T0)
            assert (ledger.count(), ledger.verify().ok) == (count, True)


# --- errors ----------------------------------------------------------------------------------


def test_F60_password__is_in_no_name_message_trace_or_log(
    postgres: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = postgres.database()
    settings = Settings(db_url=postgres.url(database), head_file=tmp_path / "a head")
    assert PASSWORD not in repr(settings)
    with Ledger.open(settings.database_url()) as ledger:
        assert ledger.name == f"postgresql://gridpilot@127.0.0.1:{postgres.port}/{database}"
        assert ledger.head_file == tmp_path / "a head"
        ledger.append("reading", {}, at=T0)
    said = []
    for url in (
        postgres.url("postgres", password="wr0ng-pw"),
        postgres.url("no_such_database"),
        f"postgresql://gridpilot:{PASSWORD}@127.0.0.1:1/postgres",
        f"postgresql://gridpilot@127.0.0.1:1/postgres?password={PASSWORD}",
    ):
        with pytest.raises(LedgerError) as refused:
            Ledger.open(url)
        assert "\n" not in str(refused.value)
        said += ["".join(traceback.format_exception(refused.value)), str(refused.value)]
    assert "refuses the user or the password: correct them in GRIDPILOT_DB_URL" in said[1]
    assert "has no such database or user: create it" in said[3]
    assert "cannot be reached" in said[5]
    assert "start its server, or correct GRIDPILOT_DB_URL" in said[5]
    everything = "".join(said) + caplog.text
    assert PASSWORD not in everything
    assert "wr0ng-pw" not in everything


def test_open__user_without_rights_is_said(postgres: Server) -> None:
    database = postgres.database()
    with postgres.connect(database) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(LedgerError, match="may not be used by this user: make the user the owner"):
        Ledger.open(postgres.url(database, password="guest").replace("gridpilot:", "guest:"))


@pytest.mark.parametrize(
    ("state", "said"),
    [("53100", "has no room left on its disk: free some space"), ("25006", "name the primary server in GRIDPILOT")],
)
def test_F49_append__full_or_read_only_server_is_said_and_nothing_is_appended(
    postgres_url: str, execute: Execute, state: str, said: str
) -> None:
    with Ledger.open(postgres_url) as ledger:
        ledger.append("reading", {}, at=T0)
        execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON entries EXECUTE FUNCTION refuse()",
        )
        with pytest.raises(LedgerError, match=said):
            ledger.append("reading", {}, at=T0)
        execute("DROP TRIGGER refuse ON entries")
        assert (ledger.count(), ledger.append("reading", {}, at=T0).seq, ledger.verify().ok) == (1, 2, True)


def test_append__text_that_the_database_cannot_hold_is_said(postgres_url: str) -> None:
    with Ledger.open(postgres_url) as ledger:
        with pytest.raises(LedgerError, match="NUL"):
            ledger.append("reading", {}, at=T0, cycle_id="a\x00b")
        assert ledger.append("reading", {"text": "a\x00b"}, at=T0).seq == 1
        assert ledger.verify().ok


# --- a server that stops ---------------------------------------------------------------------


@pytest.mark.slow
def test_append__crashed_server_loses_nothing_and_the_ledger_goes_on(own_server: Server, tmp_path: Path) -> None:
    url = own_server.url(own_server.database(), head_file=str(tmp_path / "head"))
    acknowledged: list[int] = []
    failed = threading.Event()
    with Ledger.open(url) as ledger:

        def write() -> None:
            try:
                while True:
                    acknowledged.append(ledger.append("reading", {"x": [0.1] * 20}, at=T0).seq)
            except LedgerError:
                failed.set()

        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 50:
            failed.wait(0.01)
        own_server.stop("immediate")
        assert failed.wait(10)
        writer.join()
        with pytest.raises(LedgerError, match="cannot be reached"):
            ledger.append("reading", {}, at=T0)
        with pytest.raises(LedgerError, match="cannot be reached"):
            ledger.entries()
        own_server.start()
        assert acknowledged[-1] <= ledger.count() <= acknowledged[-1] + 1
        ledger.append("reading", {}, at=T0)
        report = ledger.verify()
        assert (report.ok, report.reason) == (True, "")


def test_transaction__that_sleeps_is_ended_and_another_goes_on(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped in the middle must not hold the others up for ever."""
    monkeypatch.setattr(engine, "ABANDONED_S", 0.2)
    with Ledger.open(postgres_url) as sleeper, Ledger.open(postgres_url) as other:
        with pytest.raises(LedgerError, match=r"cannot be reached|did nothing"), sleeper.transaction() as work:
            work.append("reading", {"who": "sleeper"}, at=T0)
            assert other.append("reading", {"who": "other"}, at=T0).seq == 1
            work.append("reading", {"who": "sleeper"}, at=T0)
        assert [entry.body["who"] for entry in other.entries()] == ["other"]
        assert sleeper.append("reading", {"who": "sleeper"}, at=T0).seq == 2
        assert other.verify().ok


def test_F64_reader__the_database_itself_refuses_a_write(postgres_url: str) -> None:
    Ledger.open(postgres_url).close()
    with (
        Ledger.open(postgres_url, read_only=True) as reader,
        reader.reading() as connection,
        pytest.raises(DBAPIError, match="read-only transaction"),
    ):
        connection.exec_driver_sql("UPDATE state SET version = 9")


# --- the whole engine on it -------------------------------------------------------------------


def test_cycle__on_postgres__decides_sends_and_is_read_back(postgres_url: str) -> None:
    result = one_cycle(Settings(source="replay", db_url=postgres_url, refit=False), datetime.now(UTC))
    assert result.dispatch.status == "applied"
    with Ledger.open(postgres_url, read_only=True) as ledger:
        snap = decision.load(ledger)
        assert snap is not None
        assert snap.plan["status"] == "optimal"
        parts = set(ledger.cycle(result.cycle_id))
        decided = {"site", "inputs", "forecast", "plan", "auction", "risk"}
        assert parts == decided | {"reading", "intent", "result", "cycle"}
        assert ledger.price_id("replay") == len(ledger.prices("replay"))
        assert ledger.verify().ok
