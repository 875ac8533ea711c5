"""Is every number of a text one of the facts that it cites?

Numbers, clock times and dates count. A number is grounded when it is a cited fact's value, rounded as it is
written: to its last decimal, or to its last digit but zeros where three digits are left. Signs must agree, units
are not read. Names and other text facts are taken out first, so a tenant called t7 needs no fact for the seven.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gridpilot.explain.fact import MINUS, Fact, inert

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SMALLEST = 1e-7  # of a value that must keep a leading digit; below it `fact.written` may round to zero

_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2})(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})?)?")
_DATE = re.compile(rf"(?i)(\d{{1,2}})\.? ({'|'.join(MONTHS)})[a-z]*\.?(?: (\d{{4}}))?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_NUMBER = re.compile(rf"(?:(?<![\w)])[-{MINUS}+])?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


def ungrounded(text: str, facts_cited: Iterable[Fact]) -> tuple[str, ...]:
    """The numbers, times and dates of `text` that match no cited fact, in their order."""
    cited = tuple(facts_cited)
    rest = _without_words(text, cited)
    out: list[tuple[int, str]] = []

    def check(pattern: re.Pattern[str], grounded: bool | None, source: str) -> str:
        def one(match: re.Match[str]) -> str:
            if not (_matches(pattern, match, cited) if grounded is None else grounded):
                out.append((match.start(), match.group()))
            return " " * len(match.group())

        return pattern.sub(one, source)

    for pattern in (_ISO, _DATE, _CLOCK, _NUMBER):
        rest = check(pattern, None, rest)
    check(re.compile(r"[^\W\d_]?(?:\d|[½¼¾²³¹])"), False, rest)
    return tuple(seen for _, seen in sorted(out))


def _without_words(text: str, cited: tuple[Fact, ...]) -> str:
    """Text facts and units that hold a digit, blanked out; longest first, and only as whole words."""
    words = {w for f in cited if isinstance(f.value, str) for w in (f.value, inert(f.value))}
    words |= {fact.unit for fact in cited}
    for word in sorted((w for w in words if any(c.isnumeric() for c in w)), key=len, reverse=True):
        text = re.sub(rf"(?i)(?<!\w){re.escape(word)}(?!\w)", lambda m: " " * len(m.group()), text)
    return text


def _matches(pattern: re.Pattern[str], match: re.Match[str], cited: tuple[Fact, ...]) -> bool:
    if pattern is _NUMBER:
        return any(_is(match.group(), f.value) for f in cited if not isinstance(f.value, str))
    parts = match.groups()
    if pattern is _CLOCK:
        return any((f.at.hour, f.at.minute) == (int(parts[0]), int(parts[1])) for f in cited) and not parts[2]
    if pattern is _DATE:
        month, year = MONTHS.index(parts[1].lower()) + 1, parts[2]
        return any(
            (f.at.day, f.at.month) == (int(parts[0]), month) and int(year or f.at.year) == f.at.year for f in cited
        )
    date = tuple(int(part) for part in parts[:3])
    clock = None if parts[3] is None else (int(parts[3]), int(parts[4]))
    return any((f.at.year, f.at.month, f.at.day) == date and clock in (None, (f.at.hour, f.at.minute)) for f in cited)


def _is(token: str, value: float) -> bool:
    """Is `token` a rounding of `value`?"""
    plain = token.replace(",", "").replace(MINUS, "-")
    number = float(plain)
    mantissa = re.split("[eE]", plain.lstrip("+-"))[0]
    whole, _, decimals = mantissa.partition(".")
    digits = (whole + decimals).lstrip("0")
    zeros = 0 if decimals or "e" in plain.lower() else len(whole) - len(whole.rstrip("0"))
    step = 10.0 ** (min(zeros, max(0, len(digits) - 3)) - len(decimals))
    if abs(number - value) > 0.5 * step + 1e-9 * max(1.0, abs(value)):
        return False
    return abs(number - value) <= 0.05 * abs(value) or abs(value) < SMALLEST
