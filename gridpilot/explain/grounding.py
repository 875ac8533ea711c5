"""Is every number of a text one of the facts that it cites?

Numbers, clock times and dates count. A number is grounded when it is a cited fact's value, rounded as it is
written: to its last decimal, or to its last digit but zeros where three digits are left. Signs must agree. Names and
other text facts are taken out first, so a tenant called t7 needs no fact for the seven.

`ungrounded` is for sentences that this program writes itself, with the facts' own units. `ungrounded` with `units`
is for sentences of somebody else (see `verify`): there a number has its fact's unit behind it, or one that is shared
along a list ("15 to 90 %"), and a number in words is a number.
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


# A unit in words, beside the way that facts write it.
ALIASES = {
    "%": ("percent", "per cent"),
    "h": ("hours", "hour"),
    "min": ("minutes", "minute"),
    "s": ("seconds", "second"),
    "ms": ("milliseconds", "millisecond"),
    "days": ("day",),
    "intervals": ("interval",),
    "times": ("x", "×", "-fold", "fold"),
}
# What follows a count must be none of these.
UNITS = re.compile(
    r"(?i)(?:per ?cent|hours?|minutes?|seconds?|days?|weeks?|months?|years?|dollars?|cents?|euros?|times|fold)\b|"
    r"[%‰×$€£¥°]|"
    r"(?:[kmgt]?wh?|[kmgt]?va?|hz|ms|s|min|h|d|usd|eur|gbp|index|[ptez]h)(?:/\S+)?(?!\w)"
)
_LIST = re.compile(rf"\s*(?:to|and|or|of|,|[–—/-]|,? and|,? or)\s*(?=[-{MINUS}+]?\d)")
SPELLED = re.compile(
    r"(?i)\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|"
    r"dozen|half|halves|twice|thrice|doubled?|tripled?|quarter|third|tenth)s?\b"
)


def ungrounded(text: str, facts_cited: Iterable[Fact], *, units: bool = False) -> tuple[str, ...]:
    """The numbers, times and dates of `text` that match no cited fact, in their order."""
    cited = tuple(facts_cited)
    rest = _without_words(text, cited, every=units)
    out: list[tuple[int, str]] = []

    def check(pattern: re.Pattern[str], grounded: bool | None, source: str) -> str:
        def one(match: re.Match[str]) -> str:
            fitting = _with_unit(cited, text, match.end()) if units and pattern is _NUMBER else cited
            if not (_matches(pattern, match, fitting) if grounded is None else grounded):
                out.append((match.start(), match.group()))
            return " " * len(match.group())

        return pattern.sub(one, source)

    for pattern in (_ISO, _DATE, _CLOCK, _NUMBER):
        rest = check(pattern, None, rest)
    rest = check(re.compile(r"[^\W\d_]?(?:\d|[½¼¾²³¹])"), False, rest)
    if units:
        check(SPELLED, False, rest)
    return tuple(seen for _, seen in sorted(out))


def _with_unit(cited: tuple[Fact, ...], text: str, end: int) -> tuple[Fact, ...]:
    """Those of the cited facts whose unit stands behind the number that ends at `end`."""
    return tuple(f for f in cited if not isinstance(f.value, str) and _has_unit(f.unit, text, end))


def _has_unit(unit: str, text: str, end: int) -> bool:
    """Whether the unit, and for a count none, is behind the number or behind the list that it begins."""
    names = (unit, *ALIASES.get(unit, ())) if unit else ()
    while True:
        rest = text[end:].lstrip(" \u00a0\u202f")
        if any(re.match(rf"{re.escape(name)}(?![\w/%])", rest) for name in names):
            return True
        if not unit and UNITS.match(rest):
            return False
        joined = _LIST.match(text, end)
        number = _NUMBER.match(text, joined.end()) if joined else None
        if number is None:
            return not unit
        end = number.end()


def _without_words(text: str, cited: tuple[Fact, ...], every: bool) -> str:
    """Text facts (`every` one, else those with a digit) and units with a digit, blanked out; only whole words."""
    words = {w for f in cited if isinstance(f.value, str) for w in (f.value, inert(f.value))}
    units = {fact.unit for fact in cited}
    chosen = {w for w in words if every} | {w for w in words | units if any(c.isnumeric() for c in w)}
    for word in sorted(chosen, key=len, reverse=True):
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
