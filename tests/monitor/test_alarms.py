"""The list of alarms, on both databases: its states, what operators do, and that nothing chatters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import DataError, InputError
from gridpilot.ledger import alarm_rows
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import alarms
from gridpilot.monitor.alarms import (
    ACKED,
    CLEAR_S,
    ENTRY,
    NORMAL,
    RETURNED,
    SHELVED,
    UNACK,
    Alarm,
    Condition,
    acknowledge,
    changes,
    history,
    listed,
    shelve,
    unshelve,
    watch,
)
from tests.ledger.conftest import ledger, postgres, postgres_url, url

__all__ = ["ledger", "postgres", "postgres_url", "url"]

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = datetime(2024, 6, 12, 14, tzinfo=UTC)  # the source's time
HOT = Condition("HOT", "alarm", "hottest machine at 80 C", "see that the cooling works")
OLD = Condition("STALE", "warn", "prices are old", "check the source")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def look(ledger: Ledger, seconds: float, *found: Condition, deliver: bool = False) -> list[str]:
    return [c.event for c in watch(ledger, found, at(seconds), AT, deliver=deliver) if c.event]


def states(ledger: Ledger, seconds: float) -> dict[str, str]:
    return {alarm.code: alarm.state(at(seconds)) for alarm in listed(ledger)}


def only(ledger: Ledger) -> Alarm:
    (alarm,) = listed(ledger)
    return alarm


def test_watch__alarm_comes_is_seen_and_goes__each_step_in_the_ledger(ledger: Ledger) -> None:
    assert look(ledger, 0, HOT) == ["raised"]
    assert states(ledger, 0) == {"HOT": UNACK}
    done = acknowledge(ledger, only(ledger).id, by="anna", wall=at(5), present=AT)
    assert (done.state(at(5)), done.acknowledged_by) == (ACKED, "anna")
    assert look(ledger, 20, HOT) == []
    assert look(ledger, 20 + CLEAR_S) == ["returned"]
    assert listed(ledger) == []
    (over,) = history(ledger)
    assert (over.state(at(60)), over.first_seen, over.last_seen) == (NORMAL, T0, at(20))
    rows = ledger.entries(ENTRY, newest_first=False)
    assert [row.body["event"] for row in rows] == ["raised", "acknowledged", "returned"]
    assert {row.at for row in rows} == {AT}
    assert rows[0].body["advice"] == HOT.advice
    assert rows[1].body["by"] == "anna"
    assert ledger.verify().ok


def test_watch__alarm_comes_and_goes_unseen__stays_until_somebody_has_seen_it(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    assert look(ledger, CLEAR_S) == ["returned"]
    assert states(ledger, CLEAR_S) == {"HOT": RETURNED}
    acknowledge(ledger, only(ledger).id, by="anna", wall=at(40), present=AT)
    assert listed(ledger) == []


def test_watch__warning_goes__is_over_by_itself(ledger: Ledger) -> None:
    look(ledger, 0, OLD)
    assert look(ledger, CLEAR_S) == ["returned"]
    assert listed(ledger) == []


def test_watch__flickering_condition__one_alarm_and_two_events(ledger: Ledger) -> None:
    told = [event for i in range(60) for event in look(ledger, 2 * i, *([HOT] if i % 3 == 0 else []))]
    assert told == ["raised"]
    assert look(ledger, 118 + CLEAR_S) == ["returned"]
    assert len(history(ledger)) == 1


def test_watch__comes_again_gets_worse__wants_an_eye_again(ledger: Ledger) -> None:
    look(ledger, 0, OLD)
    acknowledge(ledger, only(ledger).id, by="anna", wall=at(1), present=AT)
    assert look(ledger, 10, Condition("STALE", "alarm", "too old", "check the source")) == ["worse"]
    assert states(ledger, 10) == {"STALE": UNACK}
    assert look(ledger, 10 + CLEAR_S) == ["returned"]
    assert look(ledger, 50, OLD) == ["again"]
    assert (only(ledger).times, only(ledger).severity, states(ledger, 50)) == (2, "warn", {"STALE": UNACK})


def test_watch__two_conditions_of_one_key__the_graver_counts(ledger: Ledger) -> None:
    graver = Condition("STALE", "alarm", "too old", "check the source")
    look(ledger, 0, OLD, graver, OLD)
    assert (only(ledger).severity, only(ledger).message) == ("alarm", "too old")
    look(ledger, 1, Condition("STALE", "warn", "another source", "check it", subject="b"), graver)
    assert len(listed(ledger)) == 2


def test_shelve__until_its_end__wants_no_eye_and_is_back_afterwards(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    alarm = shelve(ledger, only(ledger).id, by="ola", why="fan is on order", until=at(600), wall=at(1), present=AT)
    assert alarm.state(at(599)) == SHELVED and not alarm.wants_an_eye(at(599))
    assert look(ledger, 300, HOT) == []
    assert look(ledger, 601, HOT) == ["unshelved"]
    assert states(ledger, 601) == {"HOT": UNACK}
    row = ledger.entries(ENTRY)[1].body
    assert (row["event"], row["by"], row["why"], row["until"][:19]) == (
        "shelved",
        "ola",
        "fan is on order",
        "2026-01-01T12:10:00",
    )


def test_shelve__condition_goes_meanwhile__is_over(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    shelve(ledger, only(ledger).id, by="ola", why="known", until=at(600), wall=at(1), present=AT)
    assert look(ledger, CLEAR_S) == ["returned"]
    assert listed(ledger) == []


def test_unshelve__before_its_end__wants_an_eye_at_once(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    number = only(ledger).id
    with pytest.raises(InputError, match="is not shelved"):
        unshelve(ledger, number, by="ola", wall=at(1), present=AT)
    shelve(ledger, number, by="ola", why="known", until=at(600), wall=at(1), present=AT)
    unshelve(ledger, number, by="ola", wall=at(2), present=AT)
    assert states(ledger, 2) == {"HOT": UNACK}


@pytest.mark.parametrize(
    ("why", "minutes", "said"),
    [("", 5, "the reason is ''"), ("two\nlines", 5, "in one line"), ("x", 0, "within 24 hours"), ("x", 1441, "within")],
)
def test_shelve__without_reason_or_end__refused_and_nothing_written(
    ledger: Ledger, why: str, minutes: int, said: str
) -> None:
    look(ledger, 0, HOT)
    with pytest.raises(InputError, match=said):
        shelve(ledger, only(ledger).id, by="ola", why=why, until=at(60 * minutes), wall=T0, present=AT)
    assert ledger.count() == 1


def test_acknowledge__twice_or_what_is_over__once_and_refused(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    number = only(ledger).id
    for by in ("anna", "ben"):
        assert acknowledge(ledger, number, by=by, wall=at(1), present=AT).acknowledged_by == "anna"
    look(ledger, CLEAR_S)
    for wrong in (number, 77):
        with pytest.raises(InputError, match=f"alarm {wrong} is not on the list"):
            acknowledge(ledger, wrong, by="anna", wall=at(60), present=AT)


def test_watch__delivers_what_comes_unless_it_is_shelved_and_what_goes_in_any_case(ledger: Ledger) -> None:
    look(ledger, 0, HOT, OLD, deliver=True)
    number = next(alarm.id for alarm in listed(ledger) if alarm.code == "HOT")
    shelve(ledger, number, by="ola", why="known", until=at(600), wall=at(1), present=AT)
    look(ledger, 10, Condition("HOT", "alarm", "hotter", "see"), deliver=True)
    look(ledger, 10 + CLEAR_S, deliver=True)
    with ledger.reading() as connection:
        bodies = [json.loads(row["body"]) for row in alarm_rows.waiting(connection, 50)]
    assert [body["type"] for body in bodies] == ["alarm.raised", "alarm.raised", "alarm.returned", "alarm.returned"]
    assert {body["data"]["code"] for body in bodies[2:]} == {"HOT", "STALE"}
    assert bodies[0]["timestamp"] == "2026-01-01T12:00:00Z"


def test_watch__nothing_new__writes_nothing(ledger: Ledger) -> None:
    look(ledger, 0, HOT)
    before = ledger.head()
    assert watch(ledger, [HOT], at(3), AT) == []
    assert ledger.head() == before


def test_condition__without_advice_or_with_another_severity__refused() -> None:
    with pytest.raises(DataError, match="does not say what to do"):
        Condition("X", "warn", "it happened", "")
    with pytest.raises(DataError, match="expected warn or alarm"):
        Condition("X", "info", "it happened", "do this")


@given(
    st.lists(st.sampled_from(["none", "warn", "alarm", "ack", "shelve"]), min_size=1, max_size=40), st.integers(1, 40)
)
@settings(deadline=None, max_examples=80)
def test_changes__whatever_happens__one_alarm_of_a_key_and_none_forgotten(acts: list[str], every_s: int) -> None:
    known: list[Alarm] = []
    events: list[str] = []
    for i, act in enumerate(acts):
        wall = at(i * every_s)
        if act == "ack":
            known = [alarms.replace(a, acknowledged_at=wall, acknowledged_by="x") for a in known]
        elif act == "shelve":
            known = [alarms.replace(a, shelved_until=wall + timedelta(seconds=60)) for a in known]
        found = [Condition("X", act, "m", "a")] if act in ("warn", "alarm") else []
        for change in changes(known, found, wall):
            known = [a for a in known if a.key != change.alarm.key]
            known += [change.alarm] if change.alarm.listed else []
            events += [change.event] if change.event else []
        assert len(known) <= 1
        if found:
            assert known, "what is wrong is on the list"
            assert known[0].state(wall) != NORMAL
    assert all(a != b for a, b in pairwise(events) if a in ("raised", "returned"))
