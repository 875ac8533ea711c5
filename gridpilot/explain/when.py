"""The time that a question is about: a clock time, a part of a day, a day, or some hours back or ahead.

Plain patterns, no clock of their own: `now` is the decision's time at the site, and a clock time without a day is
the last such time in a question about the past ("what happened at 20:00?"), else the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

MOST_HOURS: Final = 24 * 7  # back or ahead
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARTS: Final = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (22, 30)}  # hours of the day
TONIGHT: Final = (18, 30)

_PAST = re.compile(r"\b(did|was|were|had|happened|been|ran|earned|so far|ago|last)\b")
_AHEAD = re.compile(r"\b(will|shall|going to|plan\w*|expect\w*|next|upcoming|ahead)\b")
_CLOCK = re.compile(r"\b([01]?\d|2[0-3])[:.h]([0-5]\d)\b(?! ?(?:usd|eur|gbp|index|[$€£%]|[kmg]?w))")
_HALVES = re.compile(r"\b(1[0-2]|[1-9]) ?([ap])\.?m\b")
_DATE = re.compile(rf"\b(\d{{1,2}})\.? ({'|'.join(MONTHS)})[a-z]*\.?(?: (\d{{4}}))?\b")
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_HOURS = re.compile(r"\b(?:(last|past|previous|next|coming) (\d{1,3}) ?h(?:ours?)?|(last|past|next|coming) (hour))\b")
_AGO = re.compile(r"\b(\d{1,3}|an?) ?h(?:ours?)? ago\b")
_IN = re.compile(r"\bin (\d{1,3}|an?) ?h(?:ours?)?\b")


@dataclass(frozen=True, slots=True)
class When:
    """From `start` to `end`, in the site's zone; one moment where they are the same. `said` names a stretch."""

    start: datetime
    end: datetime
    said: str = ""

    @property
    def moment(self) -> bool:
        """Whether it is a clock time."""
        return self.start == self.end

    def past(self, now: datetime) -> bool:
        """Whether all of it is over."""
        return self.end <= now and not (self.moment and self.end == now)


def when(question: str, now: datetime) -> When | None:
    """What time the question is about; None where it names none, or an impossible one."""
    asked = question.lower()
    try:
        return _hours(asked, now) or _clock(asked, now) or _stretch(asked, now)
    except (ValueError, OverflowError):  # 31 Feb
        return None


def _later(now: datetime, hours: float) -> datetime:
    return (now.astimezone(UTC) + timedelta(hours=hours)).astimezone(now.tzinfo)


def _hours(asked: str, now: datetime) -> When | None:
    """Hours counted from now."""
    for pattern, side in ((_AGO, -1), (_IN, 1)):
        if found := pattern.search(asked):
            n = int(found.group(1)) if found.group(1).isdigit() else 1
            at = _later(now, side * n)
            return When(at, at) if 0 < n <= MOST_HOURS else None
    if found := _HOURS.search(asked):
        word, n = found.group(1) or found.group(3), int(found.group(2) or 1)
        if not 0 < n <= MOST_HOURS:
            return None
        back = word in ("last", "past", "previous")
        start, end = sorted((now, _later(now, -n if back else n)))
        return When(start, end, "in that time")
    return None


def _clock(asked: str, now: datetime) -> When | None:
    """A clock time, of the day that is named or of the nearest day that fits."""
    if found := _CLOCK.search(asked):
        hour, minute = int(found.group(1)), int(found.group(2))
    elif found := _HALVES.search(asked):
        hour, minute = int(found.group(1)) % 12 + (12 if found.group(2) == "p" else 0), 0
    elif re.search(r"\bnoon\b", asked):
        hour, minute = 12, 0
    elif re.search(r"\bmidnight\b", asked):
        hour, minute = 0, 0
    else:
        return None
    day = _day(asked, now)
    if day is not None:
        at = day.replace(hour=hour, minute=minute)
        return When(at, at)
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if _past(asked):
        at -= timedelta(days=int(at > now))
    elif at.hour == now.hour:
        at = max(at, now)
    else:
        at += timedelta(days=int(at < now))
    return When(at, at)


def _stretch(asked: str, now: datetime) -> When | None:
    """A day or a part of one; of what has begun and is not over, the side of now that is asked about."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    part = next((name for name in PARTS if re.search(rf"\b{name}\b", asked)), "")
    if re.search(r"\btonight\b", asked):
        evening = midnight - timedelta(days=int(now.hour < TONIGHT[1] - 24))
        return _side(asked, _part(evening, TONIGHT), "tonight", now)
    if re.search(r"\blast night\b", asked):
        return When(*_part(midnight - timedelta(days=1), PARTS["night"]), "last night")
    day = _day(asked, now)
    if day is None and part and re.search(rf"\bthis {part}\b", asked):
        day = midnight
    if day is None:
        return None
    away = (day.date() - now.date()).days
    name = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(away, "that day")
    if part:
        said = f"this {part}" if away == 0 else f"{name} {part}" if away in (-1, 1) else f"that {part}"
        return _side(asked, _part(day, PARTS[part]), said, now)
    if away == 0 and not (_past(asked) or _AHEAD.search(asked)):
        return None  # "how much have we made today?" has answers of its own
    return _side(asked, _part(day, (0, 24)), name, now)


def _part(day: datetime, hours: tuple[int, int]) -> tuple[datetime, datetime]:
    """From one hour of the day to another; 30 is 06:00 of the next one."""
    return day + timedelta(hours=hours[0]), day + timedelta(hours=hours[1])


def _side(asked: str, stretch: tuple[datetime, datetime], said: str, now: datetime) -> When:
    """All of it, or the side of now that is asked about."""
    start, end = stretch
    if not start < now < end:
        return When(start, end, said)
    return When(start, now, said) if _past(asked) else When(now, end, said)


def _past(asked: str) -> bool:
    return bool(_PAST.search(asked)) and not _AHEAD.search(asked)


def _day(asked: str, now: datetime) -> datetime | None:
    """Midnight of the day that is named."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for words, away in (("day before yesterday", -2), ("day after tomorrow", 2), ("yesterday", -1), ("tomorrow", 1)):
        if words in asked:
            return midnight + timedelta(days=away)
    if re.search(r"\btoday\b", asked):
        return midnight
    if found := _ISO.search(asked):
        return midnight.replace(year=int(found.group(1)), month=int(found.group(2)), day=int(found.group(3)))
    if found := _DATE.search(asked):
        month = MONTHS.index(found.group(2)) + 1
        return midnight.replace(year=int(found.group(3) or now.year), month=month, day=int(found.group(1)))
    for i, name in enumerate(WEEKDAYS):
        if re.search(rf"\b{name}\b", asked):
            ahead = (i - now.weekday()) % 7
            return (
                midnight + timedelta(days=ahead or 7) if _AHEAD.search(asked) else midnight - timedelta(days=7 - ahead)
            )
    return None
