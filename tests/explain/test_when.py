"""The time that a question names."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gridpilot.explain import when as module
from gridpilot.explain.when import Unclear, When, when

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
    ("What was expected for 18:00?", at(24, 18)),
    ("Was the forecast right at 20:00?", at(23, 20)),
    ("where will we be in an hour?", at(24, 20, 12)),
    ("what was it on 2024-06-20 at 05:00", at(20, 5)),
    ("what happened at 8:30 pm yesterday?", at(23, 20, 30)),
    ("what happened at 4:15 p.m.?", at(24, 16, 15)),
    ("what happened at 12:30 am?", at(24, 0, 30)),
    ("what happened at 24:00 on 20 Jun", at(21, 0)),
    ("Why was it discharging on June 23 at 20:00?", at(23, 20)),
    ("Why was it discharging on June 23rd, 2024 at 20:00?", at(23, 20)),
    ("what happened on the 1st of June at 20:00", at(1, 20)),
    ("what happened on 23/06/2024 at 20:00", at(23, 20)),
    ("what happened at 2024-06-24T15:00:00+00:00?", at(24, 17)),
    ("What did power cost on 2024-06-23T18:00Z?", at(23, 20)),
    ("what happened at 2024-06-23 20:00?", at(23, 20)),
    ("what happened at 18:00 UTC yesterday?", at(23, 20)),
    ("what happened at 20:00 CEST yesterday?", at(23, 20)),
    ("What did it cost two hours ago?", at(24, 17, 12)),
    ("what happened half an hour ago?", at(24, 18, 42)),
    ("what happened 90 minutes ago?", at(24, 17, 42)),
    ("what happened 2 days ago at 8 pm?", at(22, 20)),
    ("What did it cost 300 hours ago?", at(12, 7, 12)),
    ("What will the price be in 500 hours?", at(15 + 30, 15, 12)),
    ("what happened yesterday evening at 8:30?", at(23, 20, 30)),
    ("what happened last night at 2:30?", at(24, 2, 30)),
    ("what happened on 31 Dec at 20:00?", datetime(2023, 12, 31, 20, tzinfo=ZONE)),
    ("what will happen on 3 Jan at 20:00?", datetime(2025, 1, 3, 20, tzinfo=ZONE)),
    ("what happened on 29 Feb at 20:00?", datetime(2024, 2, 29, 20, tzinfo=ZONE)),
]
STRETCHES = [
    ("What happened yesterday?", at(23, 0), at(24, 0), "yesterday"),
    ("the day before yesterday?", at(22, 0), at(23, 0), "that day"),
    ("What happens tomorrow?", at(25, 0), at(26, 0), "tomorrow"),
    ("What happened this morning?", at(24, 6), at(24, 12), "this morning"),
    ("and tomorrow morning?", at(25, 6), at(25, 12), "tomorrow morning"),
    ("What has happened so far today?", at(24, 0), NOW, "today so far"),
    ("What will we do today?", NOW, at(25, 0), "today"),
    ("Will it discharge tonight?", NOW, at(25, 6), "tonight"),
    ("How was last night?", at(23, 22), at(24, 6), "last night"),
    ("What did I miss overnight?", at(23, 22), at(24, 6), "last night"),
    ("What will run overnight?", NOW, at(25, 6), "tonight"),
    ("What did it cost in the last 6 hours?", at(24, 13, 12), NOW, "in that time"),
    ("and in the next 3 hours", NOW, at(24, 22, 12), "in that time"),
    ("what happened on Friday?", at(21, 0), at(22, 0), "that day"),
    ("what will happen on Friday?", at(28, 0), at(29, 0), "that day"),
    ("what happened on Monday?", at(24, 0), NOW, "today so far"),
    ("what happened last Monday?", at(17, 0), at(18, 0), "that day"),
    ("what happened 2 days ago?", at(22, 0), at(23, 0), "that day"),
    ("what happened between 16:00 and 18:00 yesterday?", at(23, 16), at(23, 18), "in that time"),
    ("what happened from 4 pm to 6 pm?", at(24, 16), at(24, 18), "in that time"),
    ("what happened 22:00-06:00?", at(23, 22), at(24, 6), "in that time"),
    ("what happened from 2024-06-22T18:00Z to 2024-06-22T20:00Z", at(22, 20), at(22, 22), "in that time"),
    ("what will it do from 18:00 to 21:00?", NOW, at(24, 21), "in that time"),
    ("what happened since 8:00?", at(24, 8), NOW, "in that time"),
    ("What did it cost in the last two days?", at(22, 19, 12), NOW, "in that time"),
    ("What did it cost in the last 169 hours?", at(17, 18, 12), NOW, "in that time"),
    ("What did it cost in the past week?", at(17, 19, 12), NOW, "in that time"),
    ("What was the price last week?", at(17, 0), at(24, 0), "last week"),
    ("What did it earn this week?", at(24, 0), NOW, "this week"),
    ("What was the price last month?", datetime(2024, 5, 1, tzinfo=ZONE), at(1, 0), "last month"),
    (
        "What was the price in December?",
        datetime(2023, 12, 1, tzinfo=ZONE),
        datetime(2024, 1, 1, tzinfo=ZONE),
        "in that time",
    ),
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
        "How much money have we made today?", "What does power cost now?", "", "12:50 USD",
        "How does the load compare with last week's?", "is the price above 12.50?", "Is a price of 20.15 cheap?",
        "Why is the price over 21.30?", "how many of 12 decisions were made by hand?", "do they run 24/7?",
        "may 5 machines run?", "why are 40/40 machines on?", "when is power cheapest in the next day?",
    ],
)  # fmt: skip
def test_when__no_time__none(question: str) -> None:
    assert when(question, NOW) is None


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("on 31 Feb", module.NO_DAY),
        ("what did it cost on 2024-06-31?", module.NO_DAY),
        ("what did it cost on 40/40/2024?", module.NO_DAY),
        ("at 99:99", module.NO_CLOCK),
        ("what did it cost at 25:00?", module.NO_CLOCK),
        ("what did it cost at 13:30 am?", module.NO_CLOCK),
        ("what did it cost on 2024-06-20T25:00Z?", module.NO_CLOCK),
        ("what happened on 01/06/2024 at 20:00?", module.TWO_WAYS),
        ("what happened on 0001-01-01 at 00:00?", module.FAR),
        ("what happened on 9999-12-31 at 23:59?", module.FAR),
        ("what happened 999999999 hours ago?", module.FAR),
        ("what happened on 2024-03-31 at 02:30?", module.CHANGED),
        ("what happened on 2023-10-29 at 02:30?", module.CHANGED),
        ("what happened at 14:00 and at 16:00?", module.SEVERAL),
        ("was it cheaper yesterday than today?", module.SEVERAL),
        ("what happens between 6 and 8 tomorrow", module.NOT_READ),
        ("How much did we lose since January?", module.NOT_READ),
        ("what did we earn in Q1?", module.NOT_READ),
        ("what happened -3 hours ago?", module.NOT_READ),
        ("what happened twenty two hours ago?", module.NOT_READ),
        ("what happened 3 hours and 20 minutes ago?", module.NOT_READ),
        ("what happened a few hours ago?", module.NOT_READ),
        ("what happened in the last few hours?", module.NOT_READ),
        ("what happened at 20.15?", module.NOT_READ),
        ("what happened at 8?", module.NOT_READ),
        ("what happened at 18:00 EST?", module.NOT_READ),
        ("what happened at 8:30 pm on the 23rd?", module.NOT_READ),
        ("what happened last weekend?", module.NOT_READ),
        ("what was the price last summer?", module.NOT_READ),
        ("what happened at eight yesterday?", module.NOT_READ),
        ("what happened at half past eight yesterday?", module.NOT_READ),
        ("what happened at 2000 yesterday?", module.NOT_READ),
        ("what happened around 20 yesterday?", module.NOT_READ),
        ("what happened on 23.06. at 20:00?", module.NOT_READ),
        ("what happened 23/06 at 20:00?", module.NOT_READ),
        ("what happened on 24.6.24?", module.NOT_READ),
        ("why was it so dear in the evening?", module.NOT_READ),
    ],
)
def test_when__time_that_is_none_or_is_not_certain__unclear(question: str, why: str) -> None:
    assert when(question, NOW) == Unclear(why)


def test_when__day_of_the_clock_change__hours_count_as_they_pass() -> None:
    now = datetime(2024, 3, 31, 4, 0, tzinfo=ZONE)  # the clock went from 02:00 to 03:00
    found = when("what happened 3 hours ago", now)
    assert isinstance(found, When)
    assert found.start == datetime(2024, 3, 31, 0, 0, tzinfo=ZONE)


def test_past__moment_before_now__over() -> None:
    assert When(at(24, 18), at(24, 18)).past(NOW)
    assert not When(NOW, NOW).past(NOW)
    assert When(at(24, 18), NOW).past(NOW)


@pytest.mark.parametrize(
    ("question", "like"),
    [
        ("what happened in the night?", "what happened last night?"),
        ("was there an alarm during the night", "was there an alarm last night"),
        ("will we charge in the night?", "will we charge tonight?"),
        ("how did the week go so far", "how did this week go"),
    ],
)
def test_when__night_or_week_that_is_meant__as_if_named(question: str, like: str) -> None:
    assert when(question, NOW) == when(like, NOW)
    assert isinstance(when(question, NOW), When)
