"""The time that a question is about: a clock time, a day, a part of one, a stretch, or some hours back or ahead.

Plain patterns, no clock of their own: `now` is the decision's time at the site. A clock time without a day, and a date
without a year, is the last such one in a question about the past ("what happened at 20:00?"), else the next one.
What names a time but cannot be read with certainty is `Unclear`, so that nothing is answered of now in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from gridpilot.values import midnight

MOST_HOURS: Final = 24 * 7  # that a stretch may begin before now
MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
RELATIVE: Final = {"day before yesterday": -2, "day after tomorrow": 2, "yesterday": -1, "tomorrow": 1, "today": 0}
PARTS: Final = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (22, 30)}  # hours of the day
TONIGHT: Final = (18, 30)
NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
HOURS_OF: Final = {"m": 1.0 / 60.0, "h": 1.0, "d": 24.0, "w": 168.0}
DAYS_OF: Final = {"d": 1.0, "w": 7.0, "mo": 30.4375, "y": 365.25}
NAMED_HOURS: Final = {"noon": 12, "midday": 12, "midnight": 0}

NO_DAY: Final = "There is no such day in the calendar."
NO_CLOCK: Final = "There is no such time of day."
FAR: Final = "That time is out of reach: I look back a week, and ahead as far as the plan in force."
CHANGED: Final = "That hour is missing or comes twice, because the clock is changed then: give it in UTC."
TWO_WAYS: Final = "That date can be read in two ways."
SEVERAL: Final = "That names more than one time: ask about one of them."
NOT_READ: Final = "I do not understand which time that is about."
FORMS: Final = (
    "I understand: HH:MM, or an hour with am or pm; yesterday, a weekday, a day with its month, YYYY-MM-DD, "
    "YYYY-MM-DDTHH:MMZ in UTC; from one clock time to another; this morning, last night; some hours ago, in the last "
    "hours, in an hour."
)

_N = rf"(?P<n>\d{{1,9}}(?:\.\d+)?|half an?|an?|{'|'.join(NUMBERS)})"
_UNIT = r"(?P<unit>min(?:ute)?s?|h(?:ou)?rs?|h|days?|d|weeks?|months?|years?)\b"
_MONTH = (
    r"\b(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_NOT_UNIT = r"(?! ?(?:usd|eur|gbp|index|[$€£%]|[kmg]?w))"
_UTC = r" ?(?:z|utc|gmt)\b"
_ZONE = rf"(?P<zone>{_UTC}| (?:[cew]e(?:s?t)|[ecmp][sd]t|bst|ist|jst)\b)?"

_PAST = re.compile(
    r"\b(did|was|were|had|happened|been|ran|earned|so far|ago|last)\b|\bwho (?!need)(?:set|put|gave|\w+ed)\b"
)
_HINDSIGHT = re.compile(r"\b(was|were|been|did|had)\b.*\b(forecast|expect|predict|foresee|foresaw|foreseen|plan)\w*\b")
# of today: of its hours so far
_SO_FAR: Final = re.compile(r"\b(average|mean (?:price|load|draw|power)|highest|lowest|negative|cycles)\b")
_AHEAD = re.compile(r"\b(will|shall|going to|plan\w*|expect\w*|next|upcoming|ahead)\b")
_AWAY = re.compile(
    rf"\b(?P<in>in )?{_N} ?{_UNIT}(?(in)|(?= (?:ago|from now|ahead)\b))(?P<way> ago\b| from now\b| ahead\b)?"
)
_LONGER = re.compile(
    r"(?:\b(?:\w+t[ye]|\w+teen|hundred|thousand|minus|h|hours?(?: and)?|(?:\d+|\w+) or|\d+ to) |[-.,\d])$"
)
_SPAN = re.compile(rf"\b(?P<side>last|past|previous|next|coming) (?!day\b)(?:{_N} ?)?{_UNIT}(?!')")
_STAMP = re.compile(
    r"\b(?P<day>\d{4}-\d\d-\d\d)(?:t| (?:at )?)(?P<clock>\d\d:\d\d(?::\d\d)?)(?:\.\d+)?"
    rf"(?P<zone>{_UTC}|[+-]\d\d:?\d\d\b)?(?! ?[ap]\.?m\b)"
)
_CLOCK = re.compile(
    r"(?<![\d.:+])(?<! -)\b(?:(?P<hour>\d{1,2})(?:(?::|h(?=\d))(?P<minute>\d\d)(?::\d\d)?(?: ?(?P<half>[ap])\.?m\b\.?)?"
    rf"| ?(?P<half_>[ap])\.?m\b\.?)(?![\d:])|(?P<name>{'|'.join(NAMED_HOURS)})\b){_ZONE}{_NOT_UNIT}"
)
_RELATIVE = re.compile(rf"\b({'|'.join(RELATIVE)})\b")
_ISO = re.compile(r"\b(?P<year>\d{4})[-/](?P<m>\d\d?)[-/](?P<d>\d\d?)\b")
_DATES = (
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\.?(?: of)?[ -]?{_MONTH}(?:,?[ -](?P<year>\d{{4}})\b(?!:))?"),
    re.compile(
        rf"(?!(?<!on )may\b){_MONTH} (?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?![:.h]\d| ?[ap]\.?m\b)"
        r"(?:,? (?P<year>\d{4})\b(?!:))?"
    ),
)
_FIGURES = re.compile(r"\b(?P<a>\d{1,2})([/.-])(?P<b>\d{1,2})\2(?P<year>\d{4})\b")
_WEEKDAY = re.compile(rf"\b(?:(?P<which>last|next) )?(?P<day>{'|'.join(WEEKDAYS)})\b")
_CALENDAR = re.compile(
    r"\b(?P<side>last|this|next) (?P<unit>week|month|year)\b(?!')|"
    rf"\b(?:in|during|last) {_MONTH}(?: (?P<year>\d{{4}})\b(?!:)|(?! \d))|\bin (?P<alone>20\d\d)\b"
)
_RANGE = re.compile(r"\b(?:between|from)\b.*\b(?:and|to|until|till)\b|\d ?(?:[ap]\.?m\.? ?)?(?:-|–|to|until) ?\d")
_SOME_HOUR = rf"\.[0-5]\d\b{_NOT_UNIT}|(?: ?h| hours| o'clock)\b|(?= ?\W*$| (?:on|in the|this|last)\b)"
_HOUR = r"(?:[01]?\d|2[0-4])"
_LEFT = re.compile(  # what is about a time for certain, and was not read
    rf"\b(?:between|from) {_HOUR} (?:and|to|until|till) {_HOUR}\b(?! ?(?:[a-z]{{2,3}}/|[km]wh?\b|usd|eur|%|\$|index))|"
    rf"\bq[1-4]\b|\b(?:since|until|till) {_MONTH}\b|"
    r"\bago\b|\bweekend\b|\bthe other day\b|\bo'clock\b|\bhalf past\b|\bquarter (?:to|past)\b|"
    r"\b(?:last|next) (?:spring|summer|autumn|fall|winter|season|quarter|decade)\b|"
    r"\b(?:last|past|next|coming|previous) (?:\S+ ){0,2}(?:min(?:ute)?s?|hours?|days|weeks|months|years)\b(?!')|"
    r"\bon (?:the )?\d{1,2}(?:st|nd|rd|th)\b|\b(?:on|of|since) \d\d?(?:/\d\d?\b|\.\d\d?\.)|\b\d\d?/\d\d?,? at\b|"
    r"\b\d\d?([/.])\d\d?\1\d\d\b|"
    rf"\bat (?:{'|'.join(NUMBERS)})\b(?! of\b)|\bat [0-2]\d[0-5]\d(?= ~| hours\b)|"
    rf"\b(?:at|around) (?:[01]?\d|2[0-4])(?! ?%)(?:{_SOME_HOUR})"
)


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

    def too_old(self, now: datetime) -> bool:
        """Whether it began more than a week ago."""
        return self.start.astimezone(UTC) < now.astimezone(UTC) - timedelta(hours=MOST_HOURS)


@dataclass(frozen=True, slots=True)
class Unclear:
    """A time that is named and cannot be read with certainty, and why: a sentence without figures."""

    why: str


class _UnreadError(Exception):
    """Why a time cannot be read."""


def when(question: str, now: datetime) -> When | Unclear | None:
    """What time the question is about; None where it names none."""
    try:
        asked = " ".join(question.lower().split())
        found = _read(_plainly(asked), now)
        if found is not None:  # what follows counts in UTC, some days to either side
            found.start.astimezone(UTC) - timedelta(days=30), found.end.astimezone(UTC) + timedelta(days=30)
    except _UnreadError as error:
        return Unclear(str(error))
    except OverflowError:  # the year 1
        return Unclear(FAR)
    except ValueError:  # 31 Feb
        return Unclear(NO_DAY)
    return found


def _plainly(asked: str) -> str:
    """The night or the week that is meant where no other day is named."""
    ahead, dated = _AHEAD.search(asked), any(p.search(asked) for p in (_RELATIVE, _WEEKDAY, _ISO, *_DATES))
    night = "overnight" if dated or not (ahead or in_the_past(asked)) else r"overnight|(?:in|during|over) the night"
    asked = re.sub(rf"\b(?:{night})\b", "tonight" if ahead else "last night", asked)
    return re.sub(r"\bthe week\b(?=.* so far\b)", "this week", asked)


def in_the_past(question: str) -> bool:
    """Whether the question is about what has happened."""
    asked = question.lower()
    return bool(_PAST.search(asked)) and (not _AHEAD.search(asked) or bool(_HINDSIGHT.search(asked)))


class _Words:
    """A question; what was read of it is taken out."""

    def __init__(self, asked: str) -> None:
        self.left = asked

    def take(self, *patterns: re.Pattern[str]) -> list[re.Match[str]]:
        """All that the patterns find, in their order."""
        found = []
        for pattern in patterns:
            found += (here := list(pattern.finditer(self.left)))
            for match in here:
                self.left = self.left[: match.start()] + "~" * len(match.group()) + self.left[match.end() :]
        return found


def _read(asked: str, now: datetime) -> When | None:
    words, past = _Words(asked), in_the_past(asked)
    stretches = [_calendar(match, asked, now) for match in words.take(_CALENDAR)]
    stretches += [_span(match, now) for match in words.take(_SPAN)]
    stamps = [_stamp(match, now) for match in words.take(_STAMP)]
    days = _days(words, asked, now, past)
    moments = stamps + [
        _later(now, sign * _number(match) * HOURS_OF[match["unit"][0]])
        for match, sign in _away(words, asked, days, now)
    ]
    clocks = words.take(_CLOCK)
    if _LEFT.search(words.left) or re.search(r"(?<!\d)\d{1,2}:\d\d\b" + _NOT_UNIT, words.left):
        raise _UnreadError(NOT_READ)
    if len(days) > 1 or (stretches and (len(stretches) > 1 or moments or clocks or days)):
        raise _UnreadError(SEVERAL)
    if stretches:
        return stretches[0]
    part = _part_of_day(asked, next(iter(days), None), now)
    since = re.search(r"\bsince\b", asked) is not None
    times = moments + [_at(match, now, days, part, past or since) for match in clocks]
    if len(times) > 2 or (moments and (clocks or days)) or (len(times) == 2 and not _RANGE.search(asked)):
        raise _UnreadError(SEVERAL)
    if len(times) == 2:
        start, end = times
        if end <= start and clocks:  # 22:00 to 06:00
            start, end = (start, end + timedelta(days=1)) if days else (start - timedelta(days=1), end)
        if end <= start:
            raise _UnreadError(NOT_READ)
        return _side(past, (start, end), "in that time", now)
    if times:
        return When(times[0], now, "in that time") if since and times[0] < now else When(times[0], times[0])
    day = next(iter(days), None)
    if since and day is not None and day < now:
        return When(day, now, "in that time")
    return _stretch(asked, day, part, past, now)


# --- counted from now ------------------------------------------------------------------------


def _later(now: datetime, hours: float) -> datetime:
    return (now.astimezone(UTC) + timedelta(hours=hours)).astimezone(now.tzinfo)


def _number(match: re.Match[str]) -> float:
    n = match["n"] or "one"
    if n.startswith("half"):
        return 0.5
    return float(n) if n[0].isdigit() else 1.0 if n in ("a", "an") else NUMBERS.index(n) + 1.0


def _span(match: re.Match[str], now: datetime) -> When:
    """The last or the next hours."""
    unit = match["unit"]
    hours = _number(match) * (24.0 * DAYS_OF[_long(unit)] if _long(unit) in DAYS_OF else HOURS_OF[unit[0]])
    if not hours:
        raise _UnreadError(NOT_READ)
    back = match["side"] in ("last", "past", "previous")
    start, end = sorted((now, _later(now, -hours if back else hours)))
    return When(start, end, "in that time")


def _long(unit: str) -> str:
    """The key of a unit of days; empty for hours and minutes."""
    return unit[:2] if unit.startswith("mo") else unit[0] if unit[0] in DAYS_OF else ""


def _away(words: _Words, asked: str, days: list[datetime], now: datetime) -> list[tuple[re.Match[str], int]]:
    """Hours and minutes ago or ahead, with the side; whole days are added to the days."""
    out = []
    for match in words.take(_AWAY):
        way, number = (match["way"] or "").strip(), _number(match)
        if _LONGER.search(asked[: match.start("n")].removesuffix("in ") if match["in"] else asked[: match.start()]):
            raise _UnreadError(NOT_READ)
        if not number or (way == "ago" and match["in"]):
            raise _UnreadError(NOT_READ)
        sign = -1 if way == "ago" else 1
        if unit := _long(match["unit"]):
            away = number * DAYS_OF[unit]
            days.append(midnight(now) + timedelta(days=sign * round(away)))
        else:
            out.append((match, sign))
    return out


# --- clock times -----------------------------------------------------------------------------


def _stamp(match: re.Match[str], now: datetime) -> datetime:
    """A date with a time, in the site's zone where it names none."""
    zone = (match["zone"] or "").strip()
    if match["clock"] > "23:59:59" or match["clock"][3] > "5":
        raise _UnreadError(NO_CLOCK)
    at = datetime.fromisoformat(f"{match['day']}T{match['clock']}{zone if zone[:1] in ('+', '-') else ''}")
    if zone and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return _sure(at.replace(tzinfo=now.tzinfo)) if at.tzinfo is None else at.astimezone(now.tzinfo)


def _sure(at: datetime) -> datetime:
    """A time at the site that there is once."""
    if at.utcoffset() != at.replace(fold=1).utcoffset():
        raise _UnreadError(CHANGED)
    return at


def _at(
    match: re.Match[str], now: datetime, days: list[datetime], part: tuple[datetime, datetime] | None, past: bool
) -> datetime:
    """A clock time, of the day or the part of a day that is named, or of the nearest day that fits."""
    half, zone = match["half"] or match["half_"], (match["zone"] or "").strip()
    hour, minute = (NAMED_HOURS[match["name"]] if match["name"] else int(match["hour"])), int(match["minute"] or 0)
    end_of_day, hour = (hour, minute) == (24, 0), hour if (hour, minute) != (24, 0) else 0
    if hour > 23 or minute > 59 or (half and (hour > 12 or not hour)):
        raise _UnreadError(NO_CLOCK)
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    clock = time(hour, minute)
    days = [day + timedelta(days=int(end_of_day)) for day in days]
    if zone in ("z", "utc", "gmt"):
        here = now.astimezone(UTC)
        days = [here.replace(year=day.year, month=day.month, day=day.day) for day in days]
        return _nearest(clock, here, days, None, past, half=False).astimezone(now.tzinfo)
    in_doubt = part is not None and not half and not match["name"] and hour <= 12
    found = _sure(_nearest(clock, now, days, part, past, half=in_doubt))
    if zone and zone != (found.tzname() or "").lower():
        raise _UnreadError(NOT_READ)
    return found


def _nearest(
    clock: time, now: datetime, days: list[datetime], part: tuple[datetime, datetime] | None, past: bool, *, half: bool
) -> datetime:
    """A clock time of the one day that fits; `half`: of a part of a day it may be one of twelve hours."""
    if part is not None:  # half past eight of an evening
        within = {part[0].date(), part[1].date()}
        read = [datetime.combine(day, clock, now.tzinfo) for day in within]
        read += [at + timedelta(hours=12) for at in read] if half else []
        fitting = [at for at in read if part[0] <= at < part[1]]
        if len(fitting) != 1:
            raise _UnreadError(NOT_READ)
        return fitting[0]
    if days:
        return datetime.combine(days[0], clock, now.tzinfo)
    at = datetime.combine(now, clock, now.tzinfo)
    if past:
        return at - timedelta(days=int(at > now))
    if at.hour == now.hour:
        return max(at, now)
    return at + timedelta(days=int(at < now))


# --- days ------------------------------------------------------------------------------------


def _days(words: _Words, asked: str, now: datetime, past: bool) -> list[datetime]:
    """Midnights of the days that are named."""
    today = midnight(now)
    out = [today + timedelta(days=RELATIVE[match[1]]) for match in words.take(_RELATIVE)]
    found = [date(int(m["year"]), int(m["m"]), int(m["d"])) for m in words.take(_ISO)]
    for match in words.take(_FIGURES):
        a, b, year = int(match["a"]), int(match["b"]), int(match["year"])
        read = {day for month, of in ((a, b), (b, a)) if (day := _date(year, month, of)) is not None}
        if len(read) != 1:
            raise _UnreadError(TWO_WAYS if read else NO_DAY)
        found += read
    for match in words.take(*_DATES):
        month, of = _month(match["month"]), int(match["d"])
        found.append(date(int(match["year"]), month, of) if match["year"] else _of_some_year(month, of, asked, now))
    out += [today.replace(year=day.year, month=day.month, day=day.day) for day in found]
    for match in words.take(_WEEKDAY):
        ahead = (WEEKDAYS.index(match["day"]) - now.weekday()) % 7
        forward = match["which"] == "next" or (not past and _AHEAD.search(asked) is not None)
        if match["which"] and not ahead:
            ahead = 7 if forward else 0
            out.append(today + timedelta(days=7 if forward else -7))
        else:
            out.append(today + timedelta(days=ahead if forward or not ahead else ahead - 7))
    return list(dict.fromkeys(out))


def _month(name: str) -> int:
    return next(i for i, month in enumerate(MONTHS, start=1) if month.startswith(name[:3]))


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _of_some_year(month: int, day: int, asked: str, now: datetime) -> date:
    """The last such day in a question about the past, the next one in one about what comes, else the nearest."""
    today = now.date()
    near = [found for year in range(today.year - 8, today.year + 9) if (found := _date(year, month, day)) is not None]
    if in_the_past(asked):
        near = [found for found in near if found <= today]
    elif _AHEAD.search(asked):
        near = [found for found in near if found >= today]
    if not near:
        raise _UnreadError(NO_DAY)
    return min(near, key=lambda found: abs(found - today))


# --- stretches -------------------------------------------------------------------------------


def _calendar(match: re.Match[str], asked: str, now: datetime) -> When:
    """A week, a month or a year of the calendar; of the running one what is past, unless what comes is asked about."""
    side, past = match["side"] or "this", _AHEAD.search(asked) is None
    away, said = (
        {"last": -1, "this": 0, "next": 1}[side],
        f"{side} {match['unit']}" if match["unit"] else "in that time",
    )
    today = midnight(now)
    if match["unit"] == "week":
        start = today + timedelta(days=7 * away - now.weekday())
        return _side(past, (start, start + timedelta(days=7)), said, now)
    first = today.replace(day=1)
    if match["month"]:
        month = _month(match["month"])
        year = int(match["year"] or now.year - int(past and month > now.month))
        start, n = first.replace(year=year, month=month), 1
    elif match["alone"]:
        start, n = first.replace(year=int(match["alone"]), month=1), 12
    else:
        n = 12 if match["unit"] == "year" else 1
        start = _months(first.replace(month=1) if n == 12 else first, away * n)
    return _side(past, (start, _months(start, n)), said, now)


def _months(first: datetime, n: int) -> datetime:
    years, month = divmod(first.month - 1 + n, 12)
    return first.replace(year=first.year + years, month=month + 1)


def _part_of_day(asked: str, day: datetime | None, now: datetime) -> tuple[datetime, datetime] | None:
    """All of the part of a day that is named."""
    today = midnight(now)
    if re.search(r"\btonight\b", asked):
        return _part(today - timedelta(days=int(now.hour < TONIGHT[1] - 24)), TONIGHT)
    if re.search(r"\blast night\b", asked):
        return _part(today - timedelta(days=1), PARTS["night"])
    part = _named_part(asked)
    if part and day is None and re.search(rf"\b(?:this|in the|at) {part}\b", asked):
        day = today
    return _part(day, PARTS[part]) if part and day is not None else None


def _named_part(asked: str) -> str:
    return next((name for name in PARTS if re.search(rf"\b{name}\b", asked)), "")


def _stretch(
    asked: str, day: datetime | None, part: tuple[datetime, datetime] | None, past: bool, now: datetime
) -> When | None:
    """A day or a part of one; of what has begun and is not over, the side of now that is asked about."""
    for name in ("tonight", "last night"):
        if part is not None and re.search(rf"\b{name}\b", asked):
            return _side(past, part, name, now)
    if part is not None and day is None and re.search(r"\b(?:in the|at) \w+\b", asked) and "this " not in asked:
        if past or _AHEAD.search(asked):
            raise _UnreadError(NOT_READ)
        return None  # "does it run at night?"
    day = day or (part[0].replace(hour=0) if part is not None else None)
    if day is None:
        return None
    away = (day.date() - now.date()).days
    name = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(away, "that day")
    if part is not None:
        word = _named_part(asked)
        said = f"this {word}" if away == 0 else f"{name} {word}" if away in (-1, 1) else f"that {word}"
        return _side(past, part, said, now)
    past = past or (away == 0 and _SO_FAR.search(asked) is not None and not _AHEAD.search(asked))
    if away == 0 and not (past or _AHEAD.search(asked)):
        return None  # "how much have we made today?" has answers of its own
    return _side(past, _part(day, (0, 24)), name, now)


def _part(day: datetime, hours: tuple[int, int]) -> tuple[datetime, datetime]:
    """From one hour of the day to another; 30 is 06:00 of the next one."""
    return day + timedelta(hours=hours[0]), day + timedelta(hours=hours[1])


def _side(past: bool, stretch: tuple[datetime, datetime], said: str, now: datetime) -> When:
    """All of it, or the side of now that is asked about."""
    start, end = stretch
    if not start < now < end:
        return When(start, end, said)
    return When(start, now, f"{said} so far" if said == "today" else said) if past else When(now, end, said)
