"""What a question about the record is after, and of which time. Patterns and names alone: no figure is read here."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from gridpilot.explain.fact import Facts
from gridpilot.explain.when import Unclear, When, when
from gridpilot.values import midnight

MONEY: Final = (
    r"\bearn|\bmakes?\b|\bmade\b|\bmaking\b|\bmoney\b|profit|\bpnl\b|\bp ?& ?l\b|\bincome\b|revenue|\bbrings?\b|"
    r"\bbrought\b|\bworth it\b|\bworthwhile\b|\bpa(?:id|ys?|ying) off\b|\bgain|\blos(?:e|es|ing|s|t)\b|\bturnover\b"
)
# What is about the record of today where a question names no time.
RECORDED: Final = (
    rf"{MONEY}|\bhow (?:many|often|much|long)\b|\bpeak\b|\b(?:best|worst|highest|lowest|cheapest|dearest|average|mean|"
    r"max|min|most|maximum|minimum)\b|\bcosts?\b|\bcosting\b|\bpaid\b|\bbills?\b|\bspen[dt]|\bwear\b|\bexpens|"
    r"\bcredits?\b|\bcharges\b"
)
_DAY = (
    r"\b(today|tonight|day before yesterday|day after tomorrow|last night|this week|last week|"
    r"(?:yesterday|tomorrow|this)(?: (?:morning|afternoon|evening))|yesterday|tomorrow|"
    r"(?:last |next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
)
_PART = r"day|night|morning|afternoon|evening"
_WEEKDAY = re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b")
_BEFORE = rf"\b(?:(?:the|a) (?:{_PART}) (?:before|earlier)\b(?! yesterday)|previous (?:day|night)\b)"
_COMPARES = (
    r"\bcompar|\bversus\b|\bvs\b|\bthan\b|\bagainst\b|\bdiffer|"
    r"\b(?:better|worse|cheaper|dearer|more|less|higher|lower)\b.* or \b"
)

# Words that are often misspelled: one letter missing or doubled inside, or two changed places. A foreign letter would
# make charging of changing.
_SPELLED: Final = (
    "alarms", "auction", "average", "battery", "capacity", "charging", "clearing", "curtailment", "curtailed",
    "decision", "decisions", "discharge", "discharging", "electricity", "emergency", "expensive", "export", "forecast",
    "highest", "hydro", "import", "inference", "lowest", "machine", "machines", "negative", "override", "overrides",
    "payment", "price", "prices", "profit", "reserve", "revenue", "reference", "settled", "status", "stored", "tenant",
    "tenants", "today", "tomorrow", "tonight", "yesterday",
)  # fmt: skip


def spelled(question: str) -> str:
    """The question with its misspelled key words mended; a word keeps its first and last letter."""
    return re.sub(r"[A-Za-z]{5,}", lambda m: _slips().get(m.group().lower(), m.group()), question)


@functools.cache
def _slips() -> dict[str, str]:
    """Each misspelling with the word that is meant; what could be two words is left alone."""
    meant: dict[str, set[str]] = {}
    for word in _SPELLED:
        for wrong in _slips_of(word) - set(_SPELLED):
            meant.setdefault(wrong, set()).add(word)
    return {wrong: next(iter(words)) for wrong, words in meant.items() if len(words) == 1}


def _slips_of(word: str) -> set[str]:
    inner = range(1, len(word) - 1)
    out = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner}  # two letters changed places
    if len(word) > 5:
        out |= {word[:i] + word[i + 1 :] for i in inner}
        out |= {word[:i] + letter + word[i:] for i in inner for letter in (word[i], word[i - 1])}  # doubled
    return out - {word}


def named(facts: Facts, group: str, asked: str) -> list[str]:
    """Members of a group whose name is in the question."""
    words = f" {re.sub(r'[^a-z0-9]+', ' ', asked.lower())} "
    out = []
    for member in facts.members(group):
        name = re.sub(r"[^a-z0-9]+", " ", facts.word(f"{group}.{member}.name").lower()).strip()
        if name and re.search(rf" {re.escape(name)}s? ", words):
            out.append(member)
    return out


def turned(asked: str) -> int:
    """Which way a question says that the battery goes: 1 charging, -1 discharging, 0 where it does not say."""
    found = re.search(r"\b(dis)?charg(?:e|es|ed|ing)\b(?! (?:level|limit|rate|power|of))", asked, re.IGNORECASE)
    bill = r"\bdemand charg|\b(?:were|was|are|been|got|get|be) charged\b|\bcharg\w+ (?:us|me|you|them|tenants?)\b"
    billed = has(bill, asked) and not has(r"\bbatter", asked)
    return 0 if found is None or billed else -1 if found[1] else 1


def off(asked: str) -> bool | None:
    """Whether a question says that machines are off; None where it does not say."""
    no = has(r"\bnot\b|n't\b", asked)
    if has(r"\b(?:off|stopped|stop|idle|down)\b", asked):
        return not no
    return no if has(r"\b(?:on|ran|run|runs|running|mining|start(?:ed)?)\b", asked) else None


def has(pattern: str, asked: str) -> bool:
    """Whether the pattern is in the question."""
    return re.search(pattern, asked, re.IGNORECASE) is not None


def today(now: datetime) -> When:
    """The day so far."""
    return When(midnight(now), now, "today so far")


def past(question: str, now: datetime) -> When | None:
    """The stretch of the past that a question about the record is about: the one that it names, else today so far.

    None where it names a clock time, what still comes, or nothing that is certain.
    """
    found = when(question, now)
    if isinstance(found, Unclear) or (found is not None and (found.moment or not found.past(now))):
        return None
    return found if found is not None else today(now) if has(RECORDED + r"|\btoday\b", question) else None


def pair(question: str, now: datetime) -> tuple[When, When] | None:
    """The two days, or parts of days, that a question compares, of which some may be to come.

    The first is the one that it names first; "the day before" is that of the other, "the night before" that of a night.
    """
    asked = question.lower()
    names = list(dict.fromkeys(re.findall(_DAY, asked)))
    names = names or (["today"] if has(_BEFORE, asked) else [])
    if not has(_COMPARES, asked) or len(names) + has(_BEFORE, asked) != 2:
        return None
    found = [today(now) if name == "today" else _named_time(name, now) for name in names]
    said = (f"the {name}" if name.startswith("day") else _WEEKDAY.sub(lambda m: m[0].title(), name) for name in names)
    times = [replace(time, said=name) for time, name in zip(found, said, strict=True) if isinstance(time, When)]
    if len(times) == 1 and len(names) == 1:
        first, day = times[0], timedelta(days=1)
        end = first.start if first.end == now else first.end - day  # all of the day before a running one
        part = "".join(re.findall(_PART, names[0])[-1:])
        if not part or not has(rf"\b(?:day|{part}) (?:before|earlier)\b|\bprevious (?:day|{part})\b", asked):
            return None
        times.append(When(first.start - day, end, f"the {part} before"))
    return (times[0], times[1]) if len(times) == 2 else None


def _named_time(name: str, now: datetime) -> When | Unclear | None:
    ahead = has(r"\btomorrow\b|\btonight\b|\bnext\b", name)
    return when(f"{name} {'will' if ahead else 'was'}", now)
