"""The time that a question names."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gridpilot.explain.when import When, when

ZONE = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2024, 6, 24, 19, 12, tzinfo=ZONE)  # a Monday


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2024, 6, 1, tzinfo=ZONE) + timedelta(days=day - 1, hours=hour, minutes=minute)


MOMENTS = [
    ("What happened at 20:00?", at(23, 20)),
    ("What happened at 18:30?", at(24, 18, 30)),
    ("What will happen at 20:00?", at(24, 20)),
    ("What does the plan do at 6h00", at(25, 6)),
    ("what happens at 14:00", at(25, 14)),
    ("and at 19:30?", at(24, 19, 30)),
    ("Why was air off yesterday at 8 pm?", at(23, 20)),
    ("what did it do at 6 a.m. on 20 Jun?", at(20, 6)),
    ("what happened at noon", at(24, 12)),
    ("what will happen at midnight?", at(25, 0)),
    ("What happened 3 hours ago?", at(24, 16, 12)),
    ("where will we be in an hour?", at(24, 20, 12)),
    ("what was it on 2024-06-20 at 05:00", at(20, 5)),
]
STRETCHES = [
    ("What happened yesterday?", at(23, 0), at(24, 0), "yesterday"),
    ("the day before yesterday?", at(22, 0), at(23, 0), "that day"),
    ("What happens tomorrow?", at(25, 0), at(26, 0), "tomorrow"),
    ("What happened this morning?", at(24, 6), at(24, 12), "this morning"),
    ("and tomorrow morning?", at(25, 6), at(25, 12), "tomorrow morning"),
    ("What has happened so far today?", at(24, 0), NOW, "today"),
    ("What will we do today?", NOW, at(25, 0), "today"),
    ("Will it discharge tonight?", NOW, at(25, 6), "tonight"),
    ("How was last night?", at(23, 22), at(24, 6), "last night"),
    ("What did it cost in the last 6 hours?", at(24, 13, 12), NOW, "in that time"),
    ("and in the next 3 hours", NOW, at(24, 22, 12), "in that time"),
    ("what happened on Friday?", at(21, 0), at(22, 0), "that day"),
    ("what will happen on Friday?", at(28, 0), at(29, 0), "that day"),
]


@pytest.mark.parametrize(("question", "moment"), MOMENTS, ids=[m[0] for m in MOMENTS])
def test_when__clock_time__the_nearest_that_fits_the_tense(question: str, moment: datetime) -> None:
    assert when(question, NOW) == When(moment, moment)


@pytest.mark.parametrize(("question", "start", "end", "said"), STRETCHES, ids=[s[0] for s in STRETCHES])
def test_when__stretch__the_side_of_now_that_is_asked_about(
    question: str, start: datetime, end: datetime, said: str
) -> None:
    assert when(question, NOW) == When(start, end, said)


@pytest.mark.parametrize(
    "question",
    [
        "How much money have we made today?", "What does power cost now?", "at 99:99", "on 31 Feb", "", "12:50 USD",
        "what happened in the last 900 hours", "How does the load compare with last week's?",
    ],
)  # fmt: skip
def test_when__no_time_or_an_impossible_one__none(question: str) -> None:
    assert when(question, NOW) is None


def test_when__day_of_the_clock_change__hours_count_as_they_pass() -> None:
    now = datetime(2024, 3, 31, 4, 0, tzinfo=ZONE)  # the clock went from 02:00 to 03:00
    found = when("what happened 3 hours ago", now)
    assert found is not None
    assert found.start == datetime(2024, 3, 31, 0, 0, tzinfo=ZONE)


def test_past__moment_before_now__over() -> None:
    assert When(at(24, 18), at(24, 18)).past(NOW)
    assert not When(NOW, NOW).past(NOW)
    assert When(at(24, 18), NOW).past(NOW)
