"""Facts of a day and of what happened last: sums of what was settled, and the newest of each kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gridpilot.explain import events, subject
from gridpilot.ledger.store import Ledger
from tests.explain.conftest import AT, Story, recalled, told

Make = Callable[..., Ledger]


@pytest.mark.parametrize(
    ("key", "value", "unit"),
    [
        ("past.profit", 212.7, "USD"),
        ("past.per_hour", 106.35, "USD/h"),
        ("past.income", 2 * (80.0 + 210.0 + 14.8 + 3.0), "USD"),
        ("past.money_import", 190.0, "USD"),
        ("past.used", 1140.0, "kWh"),
        ("past.peak_draw", 570.0, "kW"),
        ("asset.gpu.profit", 140.7, "USD"),
        ("past.price_negative", 0.0, "h"),
        ("past.price_hours", 20.0, "h"),  # from midnight to 19:00, the running hour included
    ],
)
def test_recall__day_so_far__sums_of_what_was_settled(ledger_of: Make, key: str, value: float, unit: str) -> None:
    fact = recalled(ledger_of(), "How much did gpu make today?")[key]
    assert fact.value == pytest.approx(value)
    assert fact.unit == unit


def test_recall__parts_of_the_profit__add_up_to_it(ledger_of: Make) -> None:
    facts = recalled(ledger_of(), "Which machine earns most today?")
    parts = sum(facts.number(f"asset.{name}.profit") for name in facts.members("asset"))
    assert parts == pytest.approx(facts.number("past.profit"))


@pytest.mark.parametrize(
    ("question", "said", "never"),
    [
        ("What did air earn today?", "is not on record for that time", "USD"),
        ("What did hydro earn yesterday?", "No money of that time is settled.", "60 USD"),
        ("monthly profit?", "a week at the most", "USD"),
        ("How much CO2 did hydro emit?", "no facts about that", "hydro"),
        ("What does google pay?", "no facts about that", "USD"),
        ("What is the electricity price in Germany?", "no facts about that", "USD"),
    ],
)
def test_answer__figure_that_is_not_on_record__said_so(ledger_of: Make, question: str, said: str, never: str) -> None:
    found = told(ledger_of(), question)
    assert said in found
    assert never not in found


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("When was the last override?", ["override"]),
        ("who ordered the stop", ["stop"]),
        ("Will we be curtailed tomorrow?", ["curtailment"]),
        ("How many alarms yesterday?", ["alarm"]),
        ("did anything go wrong last night", ["alarm", "stop"]),
        ("is the site curtailed?", ["curtailment"]),
        ("is there a curtailment coming?", ["curtailment"]),
        ("How much load could we curtail at once?", []),
        ("Why are the miners stopped?", []),
        ("When does the battery charge next?", []),
        ("What happened last night?", []),
    ],
)
def test_asked__question__the_events_that_it_is_about(question: str, kinds: list[str]) -> None:
    assert events.asked(question) == kinds


def _sent(ledger: Ledger, at: datetime, origin: str) -> None:
    ledger.append("result", {"desired": {"origin": origin}, "status": "applied"}, at=at, cycle_id=origin)


def test_answer__last_stop__since_when_until_when_and_what_was_before(ledger_of: Make) -> None:
    ledger = ledger_of()
    began = datetime(2024, 6, 24, 10, 0, tzinfo=UTC)
    ledger.append("alarm", {"message": "no prices", "code": "X"}, at=began - timedelta(minutes=20))
    for minutes in (0, 15, 30):
        _sent(ledger, began + timedelta(minutes=minutes), "failsafe")
    _sent(ledger, began + timedelta(hours=1), "plan")
    said = told(ledger, "When did the last stop happen?")
    assert "last sent off at 12:00, by the fail-safe state, and ran again from 13:00" in said
    assert "no operator ordered it, the alarm before it was: no prices" in said
    assert "sent off in that time: 1." in told(ledger, "How often did everything stop in the last 7 hours?")  # in it


def test_answer__last_override__who_gave_it_and_why(ledger_of: Make) -> None:
    ledger = ledger_of()
    row = {
        "created_at": AT - timedelta(hours=2), "author": "Ada", "reason": "test of the battery", "kind": "battery_kw",
        "target": {"battery_kw": 0.0}, "valid_until": AT, "base_version": 0, "status": "expired", "detail": "",
    }  # fmt: skip
    with ledger.transaction() as work:
        work.add_command(row)
        work.add_command({**row, "author": "Bob", "status": "refused"})
    said = told(ledger, "Who overrode the plan today?")
    assert "was given at 17:12 by Ada: test of the battery." in said.replace("\\", "")
    assert "No override by an operator is on record in that time." in told(ledger, "Who overrode the plan yesterday?")


@pytest.mark.parametrize(
    ("question", "meant"),
    [
        ("batery pirce", "battery price"),
        ("yesterdy proffit", "yesterday profit"),
        ("lower power planned", "lower power planned"),
        ("charged machines", "charged machines"),
    ],
)
def test_spelled__slip_of_a_key_word__mended_and_nothing_else(question: str, meant: str) -> None:
    assert subject.spelled(question) == meant


def test_answer__two_days__compared_by_the_settled_hour(ledger_of: Make) -> None:
    ledger = ledger_of()
    body = ledger.entries("settlement", limit=1)[0].body
    day_before = datetime(2024, 6, 23, 10, 0, tzinfo=UTC)
    earlier = {**body, "start": "2024-06-23T09:00:00Z", "end": "2024-06-23T10:00:00Z", "profit_usd": 90.0}
    ledger.append("settlement", earlier, at=day_before, cycle_id="before")
    said = told(ledger, "Is today better than yesterday?")
    assert said.startswith("By the settled hour today is better than yesterday: 106 USD/h against 90 USD/h")


def test_answer__named_machine_of_a_past_time__its_own_reason(ledger_of: Make) -> None:
    said = told(ledger_of(before=Story()), "Why was hydro on at 15:30?")
    assert "It said: Hydro: 40 of 40 machines on" in said
    assert "immersion" not in said.lower()


def test_answer__stop_after_the_newest_decision__of_this_day_too(ledger_of: Make) -> None:
    ledger = ledger_of()
    _sent(ledger, AT + timedelta(hours=3), "failsafe")
    said = told(ledger, "Were we in fail-safe today?")
    assert "Everything was last sent off at 22:12, by the fail-safe state" in said
    assert "ran again" not in said


@pytest.mark.parametrize("question", ["when is the lowest price today?", "are prices negative today?"])
def test_answer__price_of_today__of_the_hours_so_far_and_of_those_that_come(ledger_of: Make, question: str) -> None:
    found = told(ledger_of(), question)
    assert found.startswith("Today so far power has cost") and "For the rest of today the plan expects" in found


@pytest.mark.parametrize("word", ["changing", "cleaning", "extensive", "stated"])
def test_spelled__another_word__stays_as_it_is(word: str) -> None:
    assert subject.spelled(f"what is {word} now") == f"what is {word} now"
