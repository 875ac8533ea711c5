"""The ledger on real SQLite files and a real PostgreSQL server."""

from __future__ import annotations

import math
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridpilot.errors import Conflict, DataError, LeaseHeld, LedgerError
from gridpilot.ledger.chain import Head, entry_hash, to_text
from gridpilot.ledger.store import Beat, Ledger, Stored
from tests.ledger.conftest import Execute

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)


def fill(ledger: Ledger, n: int) -> None:
    ledger.append_many([("reading", {"i": i}) for i in range(n)], at=T0)


# --- entries ---------------------------------------------------------------------------------


def test_append__mapping_comes_back_as_given(ledger: Ledger) -> None:
    body = {"b": [1, 2.5, "x\n<b>", None, True], "a": {"kw": 0.1 + 0.2}}
    written = ledger.append("plan", body, at=T0, cycle_id="c1")
    assert ledger.entries() == [written]
    assert written.body == body
    assert (written.seq, written.at, written.kind, written.cycle_id) == (1, T0, "plan", "c1")


def test_append__dataclass_becomes_its_fields(ledger: Ledger) -> None:
    @dataclass
    class Seen:
        kw: float
        at: datetime

    assert ledger.append("reading", Seen(math.nan, T0), at=T0).body == {"kw": None, "at": "2024-06-12T14:00:00Z"}


def test_append__other_zone_is_stored_in_utc(ledger: Ledger) -> None:
    local = datetime(2024, 6, 12, 16, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    ledger.append("reading", {}, at=local)
    assert ledger.entries()[0].at == T0 + timedelta(milliseconds=250)


def test_append__naive_time_is_refused(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="has no zone"):
        ledger.append("reading", {}, at=datetime(2024, 6, 12))
    assert ledger.count() == 0


@pytest.mark.parametrize(("kind", "body"), [("", {}), ("two\nlines", {}), ("reading", {"x": object()})])
def test_append__what_is_not_data_is_refused(ledger: Ledger, kind: str, body: Any) -> None:
    with pytest.raises(LedgerError):
        ledger.append(kind, body, at=T0)
    assert ledger.count() == 0


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(
        st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)),
        min_size=1,
        max_size=6,
    )
)
def test_append__any_bodies_chain_verifies_and_floats_survive(ledger: Ledger, bodies: list[dict[str, Any]]) -> None:
    before = ledger.count()
    ledger.append_many([("any", body) for body in bodies], at=T0, cycle_id="é")
    assert [e.body for e in ledger.entries(limit=len(bodies))][::-1] == bodies
    report = ledger.verify()
    assert (report.ok, report.n, report.head) == (True, before + len(bodies), ledger.head())


def test_entries__filters_and_orders(ledger: Ledger) -> None:
    for i in range(6):
        kind = "plan" if i % 2 else "reading"
        ledger.append(kind, {"i": i}, at=T0 + timedelta(minutes=i), cycle_id=f"c{i // 2}")

    def seen(**options: Any) -> list[int]:
        return [e.body["i"] for e in ledger.entries(**options)]

    assert seen() == [5, 4, 3, 2, 1, 0]
    assert seen(kind="plan", newest_first=False) == [1, 3, 5]
    assert seen(cycle_id="c1") == [3, 2]
    assert seen(since=T0 + timedelta(minutes=2), until=T0 + timedelta(minutes=4)) == [3, 2]
    assert seen(limit=2) == [5, 4]


def test_latest__is_the_newest_of_its_kind(ledger: Ledger) -> None:
    assert ledger.latest("plan") is None
    fill(ledger, 3)
    latest = ledger.latest("reading")
    assert latest is not None
    assert latest.body == {"i": 2}


def test_cycle__gives_the_newest_of_each_kind(ledger: Ledger) -> None:
    ledger.append_many([("plan", {"i": 1}), ("risk", {"i": 2}), ("plan", {"i": 3})], at=T0, cycle_id="c1")
    ledger.append("plan", {"i": 4}, at=T0, cycle_id="c2")
    assert {kind: e.body["i"] for kind, e in ledger.cycle("c1").items()} == {"plan": 3, "risk": 2}
    assert ledger.cycle("nobody") == {}


def test_transaction__an_error_inside_leaves_nothing(ledger: Ledger) -> None:
    fill(ledger, 1)
    with pytest.raises(ZeroDivisionError), ledger.transaction() as work:
        work.append("plan", {}, at=T0)
        work.put_state("k", 1)
        _ = 1 / 0
    assert (ledger.count(), ledger.get_state("k"), ledger.verify().ok) == (1, Stored(None, 0), True)


def test_entries__database_itself_refuses_update_and_delete(ledger: Ledger, execute: Execute) -> None:
    fill(ledger, 2)
    for statement in ("UPDATE entries SET body = '{}'", "DELETE FROM entries WHERE seq = 2"):
        with pytest.raises((sqlite3.IntegrityError, psycopg.errors.RaiseException), match="append-only"):
            execute(statement)


def test_append__many_threads_one_unbroken_chain(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda i: ledger.append("reading", {"i": i}, at=T0).seq, range(40)))
    assert sorted(written) == list(range(1, 41))
    assert ledger.verify().ok


# --- verify ----------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["at", "kind", "cycle_id", "body", "hash", "prev_hash"])
def test_F51_verify__edited_row__is_named(ledger: Ledger, tamper: Execute, column: str) -> None:
    fill(ledger, 8)
    tamper(f"UPDATE entries SET {column} = {column} || ' ' WHERE seq = 5")
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, 5)
    assert "5" in report.reason


@pytest.mark.parametrize(("deleted", "first_bad"), [("seq = 3", 3), ("seq IN (4, 5, 6)", 4), ("seq < 3", 1)])
def test_F51_verify__rows_deleted_before_the_end__first_is_named(
    ledger: Ledger, tamper: Execute, deleted: str, first_bad: int
) -> None:
    fill(ledger, 8)
    tamper(f"DELETE FROM entries WHERE {deleted}")
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, first_bad)
    assert f"entry {first_bad} is missing" in report.reason


def test_F51_verify__row_put_in_between__is_named(ledger: Ledger, tamper: Execute) -> None:
    """The rows behind it are moved up, as an attacker would, who cannot give them new hashes unnoticed."""
    fill(ledger, 6)
    tamper(
        "UPDATE entries SET seq = -seq - 1 WHERE seq > 3",
        "UPDATE entries SET seq = -seq WHERE seq < 0",
        "INSERT INTO entries SELECT 4, at, kind, cycle_id, body, prev_hash, hash FROM entries WHERE seq = 3",
        """UPDATE state SET value = replace(value, '"seq":6', '"seq":7') WHERE key = 'ledger_head'""",
    )
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, 4)


def test_F51_verify__row_added_at_the_end__is_named(ledger: Ledger, tamper: Execute) -> None:
    """With a hash that fits: only the published heads know that it was not written by the ledger."""
    fill(ledger, 6)
    head = ledger.head()
    forged = entry_hash(head.hash, 7, to_text(T0), "command", "", "{}")
    values = f"7, '{to_text(T0)}', 'command', '', '{{}}', '{head.hash}', '{forged}'"
    tamper(f"INSERT INTO entries VALUES ({values})")
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, 7)
    assert "entry 7 was added from outside" in report.reason


def test_F51_verify__deleted_tail__is_found(ledger: Ledger, tamper: Execute) -> None:
    fill(ledger, 8)
    tamper("DELETE FROM entries WHERE seq > 6")
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, 7)
    assert "entries 7 to 8 are missing" in report.reason


def test_F51_verify__all_entries_deleted__is_found(ledger: Ledger, tamper: Execute) -> None:
    fill(ledger, 3)
    tamper("DELETE FROM entries")
    report = ledger.verify()
    assert (report.ok, report.first_bad, report.n) == (False, 1, 0)


def test_F51_verify__tail_deleted_together_with_the_state_row__is_found_by_the_head_file(
    ledger: Ledger, url: str, tamper: Execute
) -> None:
    fill(ledger, 6)
    older = ledger.head()
    fill(ledger, 2)
    value = f'{{"hash":"{older.hash}","seq":{older.seq}}}'
    tamper(
        "DELETE FROM entries WHERE seq > 6",
        f"UPDATE state SET value = '{value}' WHERE key = 'ledger_head'",
    )
    report = ledger.verify()
    assert (report.ok, report.first_bad) == (False, 7)
    assert ".head" in report.reason
    with pytest.raises(LedgerError, match="entry 8 was published"):
        Ledger.open(url)


def test_verify__missing_head_file_is_said(ledger: Ledger) -> None:
    fill(ledger, 2)
    ledger.head_file.unlink()
    report = ledger.verify()
    assert not report.ok
    assert f"{ledger.head_file} is missing" in report.reason


def test_verify__head_file_that_lags_behind_is_good(ledger: Ledger) -> None:
    """A kill between commit and publication leaves the file one step behind."""
    fill(ledger, 2)
    file = ledger.head_file
    before = file.read_bytes()
    fill(ledger, 1)
    file.write_bytes(before)
    assert ledger.verify().ok


def test_verify__empty_ledger_is_good(ledger: Ledger) -> None:
    report = ledger.verify()
    assert (report.ok, report.n, report.head) == (True, 0, Head())


def test_head_file__nonsense_is_refused_with_remedy(ledger: Ledger) -> None:
    ledger.head_file.write_text("hello")
    with pytest.raises(LedgerError, match="restore it, or delete it"):
        ledger.verify()


# --- state -----------------------------------------------------------------------------------


def test_put_state__versions_rise_and_values_survive(ledger: Ledger) -> None:
    assert ledger.get_state("soc") == Stored(None, 0)
    assert ledger.put_state("soc", {"frac": 0.1 + 0.2}) == 1
    assert ledger.put_state("soc", [1, "x"], expect_version=1) == 2
    assert ledger.get_state("soc") == Stored([1, "x"], 2)


@pytest.mark.parametrize("expected", [0, 2])
def test_put_state__other_version_is_a_conflict(ledger: Ledger, expected: int) -> None:
    ledger.put_state("soc", 1)
    with pytest.raises(Conflict, match="soc is at version 1"):
        ledger.put_state("soc", 2, expect_version=expected)
    assert ledger.get_state("soc") == Stored(1, 1)


def test_put_state__two_hundred_at_once__one_winner_for_each_version_and_every_try_in_the_ledger(
    ledger: Ledger,
) -> None:
    """Ten threads, twenty versions: each thread draws on each version, in the same transaction as its entry."""
    together = threading.Barrier(10)

    def rounds(who: int) -> list[tuple[int, int]]:
        won = []
        for version in range(20):
            together.wait()
            try:
                with ledger.transaction() as work:
                    work.put_state("k", who, expect_version=version)
                    work.append("override", {"who": who, "version": version, "status": "accepted"}, at=T0)
                won.append((version, who))
            except Conflict:
                ledger.append("override", {"who": who, "version": version, "status": "conflict"}, at=T0)
            together.wait()
        return won

    with ThreadPoolExecutor(10) as pool:
        won = sorted(pair for pairs in pool.map(rounds, range(10)) for pair in pairs)
    assert [version for version, _ in won] == list(range(20))
    assert ledger.get_state("k") == Stored(won[-1][1], 20)
    tried = [entry.body for entry in ledger.entries("override", newest_first=False)]
    assert len(tried) == len({(body["who"], body["version"]) for body in tried}) == 200
    accepted = [(body["version"], body["who"]) for body in tried if body["status"] == "accepted"]
    assert accepted == won
    assert ledger.verify().ok


def test_beat__is_remembered_with_how_long_it_is_good_for(ledger: Ledger) -> None:
    assert (ledger.heartbeat(), ledger.last_beat()) == (None, None)
    ledger.beat(T0, 60.0)
    ledger.beat(T0, 1.5)
    assert ledger.heartbeat() == Beat(T0, 1.5, 2)
    assert ledger.last_beat() == T0


def test_heartbeat__of_an_earlier_version__still_read(ledger: Ledger) -> None:
    ledger.put_state("heartbeat", "2024-06-12T14:00:00.000000Z")
    assert ledger.heartbeat() == Beat(T0, 300.0, 1)


def test_beat__stale_token__refused(ledger: Ledger) -> None:
    stale = ledger.acquire_lease("pilot", "a", 30, T0)
    fresh = ledger.acquire_lease("pilot", "a", 30, T0)
    with pytest.raises(LeaseHeld, match="stale"):
        ledger.beat(T0, token=stale)
    assert ledger.heartbeat() is None
    ledger.beat(T0, token=fresh)
    assert ledger.last_beat() == T0


# --- lease -----------------------------------------------------------------------------------


def test_lease__second_owner_is_refused_until_it_expires(ledger: Ledger) -> None:
    first = ledger.acquire_lease("pilot", "a", 30, T0)
    with pytest.raises(LeaseHeld, match="held by a until 14:00:30"):
        ledger.acquire_lease("pilot", "b", 30, T0 + timedelta(seconds=29))
    second = ledger.acquire_lease("pilot", "b", 30, T0 + timedelta(seconds=30))
    assert second > first
    with pytest.raises(LeaseHeld, match="stale"):
        ledger.renew_lease("pilot", first, 30, T0)


def test_lease__stale_token_writes_nothing(ledger: Ledger) -> None:
    stale = ledger.acquire_lease("pilot", "a", 30, T0)
    fresh = ledger.acquire_lease("pilot", "b", 30, T0 + timedelta(minutes=1))
    with pytest.raises(LeaseHeld, match=f"token {stale}"):
        ledger.append("intent", {}, at=T0, token=stale)
    assert ledger.append("intent", {}, at=T0, token=fresh).seq == 1


def test_seize_lease__from_a_holder_that_is_at_work__its_token_is_stale(ledger: Ledger) -> None:
    with ledger.transaction() as work:
        first, before = work.seize_lease("pilot", "a", 30, T0)
    assert before == ""
    with ledger.transaction() as work:
        second, before = work.seize_lease("pilot", "b", 30, T0)
    assert (before, second) == ("a", first + 1)
    ledger.require_lease(second)
    with pytest.raises(LeaseHeld, match=f"token {first} of the pilot lease is stale"):
        ledger.require_lease(first)


def test_lease__renewed_and_released(ledger: Ledger) -> None:
    token = ledger.acquire_lease("pilot", "a", 30, T0)
    ledger.renew_lease("pilot", token, 60, T0)
    held = ledger.lease_holder("pilot", T0 + timedelta(seconds=59))
    assert held is not None
    assert (held.owner, held.token) == ("a", token)
    ledger.release_lease("pilot", token, T0 + timedelta(seconds=1))
    assert ledger.lease_holder("pilot", T0 + timedelta(seconds=2)) is None
    assert ledger.acquire_lease("pilot", "b", 30, T0 + timedelta(seconds=2)) == token + 1
