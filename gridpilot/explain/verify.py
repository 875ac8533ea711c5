"""Verify, then show: which sentences of somebody else's text rest on the facts that they cite.

A sentence cites in square brackets: an id, or a declared sum, difference, ratio or share of two facts, in the words of
`combined`. Each number is held against the citation that follows it next (the last one, behind which none follows): by
value, unit and rounding. A sentence with one number that does not fit, with a citation that is no fact, with none at
all, with markup or an address in it, or that says it has acted, is withheld whole.

What this cannot see is a figure that is right and called by another name; so each citation opens its fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gridpilot.errors import DataError
from gridpilot.explain.fact import LONGEST, MINUS, Fact, inert
from gridpilot.explain.grounding import ungrounded

FIGURE = "a figure of it is not that of the cited fact"

_CITED = re.compile(r"\[([^\[\]]{1,400})\]")
_CLAUSE = re.compile(r"((?:[^\[\]])*)((?:\s*\[[^\[\]]{1,400}\])*)", re.DOTALL)
_MARKER = re.compile(r"^\s*(?:[-*•]\s+|\d{1,2}[.)]\s+)?")
_END = re.compile(r"(?m)(?<!^\d)(?<!^\d\d)[.!?](?:\s*\[[^\[\]]{1,400}\])*(?=\s+[A-Z\"“'(•*-]|\s*\n)|\n+")
_LIVE = re.compile(r"(?i)://|www\.|[<>`|{}]|javascript:|data:\S|@\w|:[a-z]\w*:|\bmailto\b")
_ACTED = re.compile(
    r"(?i)\b(?:i|we)(?:'ve|'ll| have| will| can| am going to| just| now)* "
    r"(?:dispatch|switch|turn|stopp?|start|set|send|sent|shut|charg|discharg|s[eo]l[dl]|b[ou]y|bought|releas|"
    r"overrid|kill|cancel|chang|increas|decreas|rais|lower|curtail|enabl|disabl|restart|reset|delet|writ|wrote|updat|activat|trip|reboot|execut|appl)\w*|"
    r"\b(?:command|override|request|action) (?:is |was |has been |successfully )*"
    r"(?:sent|issued|executed|applied|completed?|accepted)\b"
)
_OPERATION = re.compile(r"(\S+) ([+/%−-]) (\S+)")
WORDS = {"sum": "+", "difference": "-", "ratio": "/", "share": "%"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A sentence as it may be shown, with the facts behind it; or why it is withheld."""

    text: str  # without its brackets, inert in Markdown
    facts: tuple[Fact, ...] = ()
    withheld: str = ""
    loose: tuple[str, ...] = ()  # the figures that no cited fact has; not for a screen


def combined(operation: str, first: Fact, second: Fact) -> Fact:
    """A sum, difference, ratio ("times") or share (%) of two facts of one unit, as a fact whose id declares it.

    Raises DataError for facts that are not numbers of one unit, and for a division by zero.
    """
    if operation not in WORDS:
        raise DataError(f"operation is {operation!r}, expected one of {', '.join(WORDS)}")
    if isinstance(first.value, str) or isinstance(second.value, str):
        words = first if isinstance(first.value, str) else second
        raise DataError(f"{words.id} is a text, expected a number")
    if first.unit != second.unit:
        raise DataError(f"{first.id} is in {first.unit!r}, {second.id} in {second.unit!r}: expected one unit")
    sign, unit, a, b = WORDS[operation], first.unit, first.value, second.value
    if sign in "/%":
        if b == 0.0:
            raise DataError(f"{second.id} is 0: nothing can be divided by it")
        value, unit = (a / b, "times") if sign == "/" else (100.0 * a / b, "%")
    else:
        value = a + b if sign == "+" else a - b
    label = f"{operation} of {first.label} and {second.label}"
    sources = dict.fromkeys((first.source, second.source))
    return Fact(f"{first.id} {sign} {second.id}", label, value, unit, max(first.at, second.at), " and ".join(sources))


def cited(reference: str, facts: Mapping[str, Fact]) -> Fact | None:
    """The fact that a citation means; None where there is no such fact."""
    plain = reference.strip()
    match = _OPERATION.fullmatch(plain)
    if match is None:
        return facts.get(plain)
    first, sign, second = match.groups()
    word = next((word for word, own in WORDS.items() if own == sign.replace(MINUS, "-")), "")
    if first not in facts or second not in facts:
        return None
    try:
        return combined(word, facts[first], facts[second])
    except DataError:
        return None


def sentences(text: str, *, ended: bool) -> tuple[list[str], str]:
    """The whole sentences at the beginning of a text, and the rest; once the text has `ended`, none is left over."""
    out, start = [], 0
    for match in _END.finditer(text):
        out.append(text[start : match.end()])
        start = match.end()
    if ended:
        out.append(text[start:])
        start = len(text)
    return [one for one in (_MARKER.sub("", raw, count=1).strip() for raw in out) if one.strip(" .")], text[start:]


def check(sentence: str, facts: Mapping[str, Fact]) -> Checked:
    """Whether a sentence may be shown."""
    plain = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(_CITED.sub(" ", sentence).split()))
    shown = inert(plain)
    reason = f"it is longer than {LONGEST} characters" if len(plain) > LONGEST else _objection(sentence)
    if reason:
        return Checked(shown, withheld=reason)
    behind: dict[str, Fact] = {}
    clauses = list(_clauses(sentence))
    for _, references in clauses:
        for reference in references:
            fact = cited(reference, facts)
            if fact is None:
                return Checked(shown, withheld="it cites what is no fact")
            behind[reference] = fact
    if not behind:
        return Checked(shown, withheld="it cites no fact")
    for clause, references in clauses:
        near = [behind[reference] for reference in references]
        loose = ungrounded(clause, [*near, *_names(near, facts)], units=True)
        if loose:
            return Checked(shown, withheld=FIGURE, loose=loose)
    return Checked(shown, tuple({fact.id: fact for fact in behind.values()}.values()))


def _objection(sentence: str) -> str:
    """What no citation can make good."""
    if re.search(r"!\[|\]\(", sentence) or _LIVE.search(_CITED.sub("", sentence)):
        return "it holds markup or an address"
    if _ACTED.search(sentence):
        return "it speaks of acting, and nothing here can act"
    if "[" in _CITED.sub("", sentence) or "]" in _CITED.sub("", sentence):
        return "its citations cannot be read"
    return ""


def _clauses(sentence: str) -> Iterator[tuple[str, list[str]]]:
    """Each stretch of text with the citations that follow it; the end of a sentence belongs to its last ones."""
    found: list[tuple[str, list[str]]] = []
    for match in _CLAUSE.finditer(sentence):
        references = [part for group in _CITED.findall(match.group(2)) for part in re.split(r"[,;]", group)]
        if references:
            found.append((match.group(1), references))
        elif match.group(1).strip():
            found.append((match.group(1), found[-1][1] if found else []))
    yield from found


def _names(near: list[Fact], facts: Mapping[str, Fact]) -> list[Fact]:
    """The names of the members (machine, bidder, customer) that cited facts are about."""
    keys = (re.findall(r"(?:^|\s)([^\s.]+\.[^\s.]+)\.", fact.id) for fact in near)
    return [facts[f"{key}.name"] for found in keys for key in found if f"{key}.name" in facts]
