"""Sentences about settled money: of a day or another stretch, by cause and by who made it, and of two days.

From the facts that `record` adds. What was not settled so is said not to be on record: the site's own profit never
stands in for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gridpilot.explain import subject
from gridpilot.explain.fact import Facts
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When

TOO_OLD: Final = "I look back a week at the most: the Prices page and the ledger itself go further back."
NOT_BY_ASSET: Final = "What each of them made is not on record for that time: it was settled for the whole site alone."
NOT_SETTLED: Final = "No money of that time is settled."

_WHO = (
    r"\b(?:per|each|by|which|every|what(?: do| does| did)?(?: the| our| all)?|all|our|the)\b(?: single)? "
    r"(?:machines?|assets?|miners?|mining|types?|loads?)\b(?! type)"
)
_COST = r"\bcosts?\b|\bcosting\b|\bbills?\b|\bspen[dt]|\bspending\b|\bexpens(?:es|e)\b|\bpa(?:id|y)\b"
_HASH, _TOKEN = r"\bhash(?:ing|es)?\b|\bbitcoins?\b", r"\binference\b|\btokens?\b"
# cause -> (the words that ask for it, how its money is told)
_CAUSES: Final[Mapping[str, tuple[str, str]]] = {
    "wear": (r"\bwear\b", "battery wear cost"),
    "demand": (r"\bdemand charges?\b|\bpeak charges?\b", "demand charges cost"),
    "credits": (r"\bcredits?\b|\bpenalt", "credits for missed promises cost"),
    "reserve": (r"\breserve\b(?! price)", "reserve brought"),
    "export": (r"\bexport|\b(?:sold|selling|fed) (?:power |energy )?(?:in)?to the grid\b", "power to the grid brought"),
    "tenants": (r"\btenants?\b|\bcustomers?\b", "all tenants together paid"),
    "jobs": (r"\bjobs\b", "jobs were worth"),
    "token": (_TOKEN, "inference brought"),
    "hash": (_HASH, "hashing brought"),
}  # fmt: skip


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """What a question about money of the past is answered; empty where it is about something else."""
    if facts.at is None or has(
        r"\bwhy\b|\bwhen\b|\bwill\b|\bat (?:what|which)\b|\bperfect\b|\bmargins?\b|\bcould\b|\bper hour\b|\ban hour\b|"
        r"\bnow\b",
        asked,
    ):
        return []
    if has(r"\b(?:monthly|yearly|annual|quarterly)\b", asked) and has(subject.MONEY + "|" + _COST, asked):
        return [Sentence(TOO_OLD)]
    span = subject.past(asked, facts.at)
    tell = None if span is None else _teller(facts, asked)
    if span is None or tell is None:
        return []
    if span.too_old(facts.at):
        return [Sentence(TOO_OLD)]
    return tell(facts, asked, span) if "past.profit" in facts else [Sentence(NOT_SETTLED)]


Teller = Callable[[Facts, str, When], list[Sentence]]


def _teller(facts: Facts, asked: str) -> Teller | None:
    """What kind of money it is about; None where a topic of its own tells it."""
    recalled = "past.price_mean" in facts or "past.profit" in facts
    if not recalled:
        return None
    money = has(subject.MONEY, asked) and not has(r"\bmakes?\b.*\b(?:stop|run|start|go|turn|come)\b", asked)
    costs = has(_COST, asked)
    own = named(facts, "machine", asked) + named(facts, "asset", asked)
    if has(r"\b(?:reduce|save|cut|lower|less|optimi[sz]e)\b.*\b(?:costs?|bills?|money|spend)", asked):
        return _advice
    for cause, (pattern, _) in _CAUSES.items():
        dated = cause == "tenants" and has(r"\byesterday\b|\blast\b|\bthis week\b", asked)
        if has(pattern, asked) and (money or costs or dated or cause in ("wear", "demand", "credits")):
            return (
                None
                if cause == "tenants" and not (dated or has(r"\bpaid\b|\bdid\b|today|\bearn|\bmake\b", asked))
                else _cause
            )
    if named(facts, "bidder", asked) and not own and has(r"\bpaid\b|\bdid\b.*\bpay", asked):
        return _cause
    if money and (
        own
        or has(_WHO, asked)
        or has(r"\b(?:who|where|what)\b.* (?:earns?|loses?|makes?|lose|make|earn)\b.*(?:most|least|money)", asked)
    ):
        return _assets
    if has(r"\bpa(?:id|ys?) off\b", asked) and has(r"batter", asked):
        return _assets
    if has(r"\brevenue|\bturnover|\bincome\b", asked):
        return _income
    paid = has(r"\bus\b|\bwe\b|\bspen|\bbill|\bexpenses?\b|\bour\b|\btotal\b|\bimports?\b", asked)
    if costs and paid and not has(r"\baverage\b", asked):
        return _spent
    return None


def _has(span: When, facts: Facts, verb: str) -> str:
    """The verb as of a time that is over, or is still going on."""
    return f"has {verb}" if span.end == facts.at else verb


def _of(say: Say, span: When) -> str:
    return f"{span.said}, in {say('past.hours')} settled"


def _cause(facts: Facts, asked: str, span: When) -> list[Sentence]:
    out = []
    tenant = named(facts, "bidder", asked) and not has(r"\bwear\b", asked)
    for cause, (pattern, told) in _CAUSES.items():
        if not (has(pattern, asked) or (cause == "tenants" and tenant)):
            continue
        say, key = Say(facts), f"past.money_{cause}"
        if key not in facts:
            out.append(Sentence(f"Of {told.rpartition(' ')[0]} nothing is on record for that time."))
            continue
        out.append(say.close(f"{_of(say, span)}, {told} {say(key)}."))
        if cause == "tenants" and tenant:
            out.append(Sentence("What each of them paid is not added up: what it pays now stands on Auction."))
        if cause in ("hash", "token"):
            out.append(Sentence("That is income, before its power is paid."))
    return out


def _assets(facts: Facts, asked: str, span: When) -> list[Sentence]:
    """By who made it, its power and cooling paid."""
    names = facts.members("asset")
    if not names:
        return [Sentence(NOT_BY_ASSET)]
    chosen = named(facts, "asset", asked)
    say = Say(facts)
    if chosen:
        made = listed(f"{say.bare(f'asset.{name}.name')} made {say(f'asset.{name}.profit')}" for name in chosen)
        return [say.close(f"{_of(say, span)}, {made}, with power and cooling paid.")]
    if named(facts, "machine", asked):
        return [Sentence(NOT_BY_ASSET)]
    if has(r"\blos(?:e|es|ing|s|t)\b", asked):
        names = [name for name in names if facts.number(f"asset.{name}.profit") < -0.005]
        if not names:
            return [say.close(f"{_of(say, span)}, none of them lost money.")]
    made = listed(f"{say.bare(f'asset.{name}.name')} {say(f'asset.{name}.profit')}" for name in names)
    return [say.close(f"{_of(say, span)}, by who made it, with power and cooling paid: {made}.")]


def _income(facts: Facts, asked: str, span: When) -> list[Sentence]:
    say = Say(facts)
    causes = [
        c for c in ("hash", "token", "tenants", "jobs", "export", "reserve") if facts.number(f"past.money_{c}") > 0.005
    ]
    names = {"hash": "hashing", "token": "inference", "export": "power to the grid"}
    text = f"{_of(say, span)}, the income was {say('past.income')} before costs"
    parts = listed(f"{names.get(c, c)} {say(f'past.money_{c}')}" for c in causes)
    out = [say.close(f"{text}{': ' + parts if parts else ''}.")]
    say = Say(facts)
    return [*out, say.close(f"After costs the site made {say('past.profit')}.")]


def _spent(facts: Facts, asked: str, span: When) -> list[Sentence]:
    say = Say(facts)
    wear = f"battery wear {say('past.money_wear')}"
    text = f"{span.said} power from the grid {_has(span, facts, 'cost')} {say('past.money_import')} and {wear}"
    return [say.close(f"{text}; power to the grid {_has(span, facts, 'brought')} {say('past.money_export')}.")]


def _advice(facts: Facts, asked: str, span: When) -> list[Sentence]:
    """What costs most, and what a limit costs; what else could be done is tried on Plan."""
    say = Say(facts)
    out = _spent(facts, asked, span)
    if "plan.power_price" in facts and "price.energy" in facts:
        text = f"more site power would be worth {say('plan.power_price')} now, with power at {say('price.energy')}"
        out.append(say.close(f"{text}."))
    text = (
        "The plan already is what brings most at the prices that it expects; the what-if panel on the Plan page tries "
    )
    return [*out, Sentence(text + "another battery, connection or price.")]


def perfect(facts: Facts, asked: str) -> list[Sentence]:
    """A closed day against perfect foresight."""
    if not has(r"\bperfect\b|\bforesight\b|\bbest possible\b|\bat best\b.*\bmade\b", asked):
        return []
    if "past.perfect" not in facts or "past.profit" not in facts:
        return [Sentence("For that time nothing is on record of what perfect foresight would have made.")]
    say = Say(facts)
    text = f"With perfect foresight that day would have made {say('past.perfect')}; it made {say('past.profit')}"
    text += (
        f", and {say('past.of_perfect')} with what the battery held more at its end"
        if "past.of_perfect" in facts
        else ""
    )
    return [say.close(text + ".")]


def compare(facts: Facts, asked: str) -> list[Sentence]:
    """Two days beside each other, by the settled hour."""
    days = None if facts.at is None else subject.pair(asked, facts.at)
    if days is None or facts.at is None:
        return []
    if any(day.too_old(facts.at) for day in days):
        return [Sentence(TOO_OLD)]
    if not all(f"{side}.per_hour" in facts for side in ("past", "before")):
        return [Sentence("One of the two has no settled money on record, so they cannot be compared.")]
    say = Say(facts)
    one, two = (day.said for day in days)
    better = facts.number("past.per_hour") > facts.number("before.per_hour")
    text = (
        f"By the settled hour {one} {'was' if one != 'today' else 'is'} {'better' if better else 'worse'} than {two}: "
    )
    text += f"{say('past.per_hour')} against {say('before.per_hour')}"
    text += f" ({say('past.profit')} in {say('past.hours')}, and {say('before.profit')} in {say('before.hours')})"
    out = [say.close(text + ".")]
    if "past.price_mean" in facts and "before.price_mean" in facts:
        say = Say(facts)
        out.append(say.close(f"Power cost {say('past.price_mean')} on average, and {say('before.price_mean')} {two}."))
    return out
