"""Sentences about why a stretch of the past made what it made: its settled money by cause, or that of two days.

The parts are those that were settled, and they add up; what is said beside them (prices, stops, curtailments) was so in
that time, and is not said to have caused it. Why the market's price was what it was is not on record.
"""

from __future__ import annotations

from typing import Final

from gridpilot.explain import subject, unkept
from gridpilot.explain.fact import MINUS, Facts
from gridpilot.explain.money import NOT_SETTLED, TOO_OLD, by_asset, prices
from gridpilot.explain.record import CAUSES, COSTS, MOST_CAUSES
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When

_ASKED: Final = (
    r"\bwhy\b|\bhow come\b|\bexplain\b|\bwhat (?:has )?(?:caused|made|changed|explains?)\b|\breasons?\b|\bbecause\b"
)
_BILL: Final = r"\bexpens|\bcosts?\b|\bcostly\b|\bbills?\b|\bcheap|\bdear|\bspen[dt]"
_NAMES: Final = {
    "hash": "hashing", "token": "inference", "tenants": "tenants", "jobs": "jobs", "export": "power to the grid",
    "reserve": "reserve", "import": "power from the grid", "wear": "battery wear", "credits": "credits",
    "demand": "demand charges", "rest": "all else",
}  # fmt: skip


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """Why a time made or cost what it did; empty where the question is about something else, or what is named alone."""
    if facts.at is None or not has(_ASKED, asked) or has(r"\bwill\b|\bperfect\b|\bforecast|\bmargins?\b", asked):
        return []
    bill, money, days = has(_BILL, asked), has(subject.MONEY, asked), subject.pair(asked, facts.at)
    money = money or (days is not None and has(r"\b(?:better|worse)\b", asked))
    if not (bill or money) or any(named(facts, group, asked) for group in ("machine", "bidder")):
        return []
    if days is not None:
        known = "effect.profit" in facts and all(day.past(facts.at) for day in days)
        return _two(facts, asked, *days, bill=bill and not money) if known else []
    span = subject.past(asked, facts.at)
    if span is None or has(r"\bnow\b|\bat the moment\b", asked) or not _over(asked):
        return []
    if span.too_old(facts.at):
        return [Sentence(TOO_OLD)]
    return _one(facts, asked, span, bill=bill and not money)


def _over(asked: str) -> bool:
    """Whether it is about what is over, and not about what power costs now."""
    return has(r"\b(?:was|were|did|lost|made|earned|has|have|yesterday|today|last|this|on)\b", asked)


# --- one stretch -----------------------------------------------------------------------------


def _one(facts: Facts, asked: str, span: When, *, bill: bool) -> list[Sentence]:
    out = [Sentence(unkept.NO_CAUSE)] if bill else []
    if "past.price_mean" in facts and bill:
        out += [prices(facts, "past", f"{span.said} power cost"), *_usual(facts)]
    if "past.profit" not in facts:
        return out if len(out) > 1 else [*out, Sentence(NOT_SETTLED)]
    if bill:
        return [*out, *_paid(facts, span), *_beside(facts, ("past", ""))]
    say = Say(facts)
    parts = [name for name in CAUSES if abs(facts.number(f"past.money_{name}")) >= 0.005]
    income, costs = (
        listed(f"{_NAMES[name]} {say(f'past.money_{name}')}" for name in parts if (name in COSTS) == cost)
        for cost in (False, True)
    )
    text = f"{span.said}, in {say('past.hours')} settled, the site made {say('past.profit')}: {income or 'no income'}"
    out.append(say.close(f"{text}{f', less {costs}' if costs else ''}."))
    out += by_asset(facts, asked, span) if facts.members("asset") else []
    if "past.price_mean" in facts:
        out += [prices(facts, "past", f"{span.said} power cost"), *_usual(facts)]
    return [*out, *_beside(facts, ("past", ""))]


def _usual(facts: Facts) -> list[Sentence]:
    """What prices are over a longer time."""
    if "price.mean" not in facts:
        return []
    say = Say(facts)
    return [say.close(f"The mean of the last {say('price.rank_days')} is {say('price.mean')}.")]


def _paid(facts: Facts, span: When) -> list[Sentence]:
    """The bill, and what it is made of."""
    say = Say(facts)
    text = f"{span.said}, in {say('past.hours')} settled, power from the grid cost {say('past.money_import')}"
    if "past.paid_mean" in facts:
        text += f": {say('past.drawn')} at {say('past.paid_mean')} on average"
    return [say.close(f"{text}.")]


# --- two -------------------------------------------------------------------------------------


def _two(facts: Facts, asked: str, one: When, two: When, *, bill: bool) -> list[Sentence]:
    say, figure = Say(facts), "money_import" if bill else "profit"
    made = [f"{say(f'{side}.{figure}')} in {say(f'{side}.hours')} settled" for side in ("past", "before")]
    does = "power from the grid cost" if bill else "the site made"
    text = f"{one.said} {does} {made[0]}, and {two.said} {made[1]}"
    if bill:
        out = [Sentence(unkept.NO_CAUSE), say.close(f"{text}.")]
    else:
        per = "" if facts["effect.profit"].unit == facts["past.profit"].unit else " by the settled hour"
        denied = "that is not so: " if _denied(facts, asked) else ""
        out = [say.close(f"{denied}{text}: {_signed(say, 'profit')}{per}.")]
        names = [name for name in facts.members("effect") if name in CAUSES][:MOST_CAUSES]
        names += ["rest"] if abs(facts.number("effect.rest")) >= 0.005 else []
        say = Say(facts)
        out.append(say.close(f"by cause, that is: {listed(f'{_NAMES[name]} {_signed(say, name)}' for name in names)}."))
    if "effect.paid_price" in facts:
        say = Say(facts)
        paid = [f"{say(f'{side}.drawn')} at {say(f'{side}.paid_mean')}" for side in ("past", "before")]
        parts = f"{_signed(say, 'paid_price')} by the price paid and {_signed(say, 'drawn')} by how much was drawn"
        text = f"in the profit that is {_signed(say, 'import')}" if bill else "of power from the grid"
        out.append(say.close(f"{text}, {parts}: {paid[0]} on average, against {paid[1]}."))
    return [*out, *_beside(facts, ("past", one.said), ("before", two.said))]


def _denied(facts: Facts, asked: str) -> bool:
    """Whether the question takes more for less or less for more, in all and by the hour."""
    less, more = has(r"\bless\b|\bworse\b|\blower\b", asked), has(r"\bmore\b|\bbetter\b|\bhigher\b", asked)
    fell = [facts.number(f"past.{name}") < facts.number(f"before.{name}") for name in ("profit", "per_hour")]
    return less != more and fell == [more, more]


def _signed(say: Say, name: str) -> str:
    """A part of a difference, with its sign."""
    text = say(f"effect.{name}")
    return text if text.startswith((MINUS, "0")) else f"+{text}"


# --- both ------------------------------------------------------------------------------------


def _beside(facts: Facts, *sides: tuple[str, str]) -> list[Sentence]:
    """What else is on record of that time: stops and curtailments, each of a side and as that is named."""
    out = []
    for figure, text in (("off", "everything was sent off for"), ("cut", "a curtailment was in force for")):
        for side, said in sides:
            if f"{side}.{figure}" in facts:
                say = Say(facts)
                begins = f"{said} {text}" if said else f"in that time {text}"
                since = say.clock(f"{side}.{figure}")
                out.append(say.close(f"{begins} {say(f'{side}.{figure}')}, first from {since}."))
    return out
