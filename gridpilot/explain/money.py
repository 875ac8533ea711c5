"""Sentences about settled money: of a day or another stretch, by cause and by who made it, and of two days.

From the facts that `record` adds. What was not settled so is said not to be on record: the site's own profit never
stands in for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gridpilot.explain import subject, unkept
from gridpilot.explain.fact import Facts
from gridpilot.explain.record import INCOME
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When

TOO_OLD: Final = "I look back a week at the most: the Prices page and the ledger itself go further back."
NOT_BY_ASSET: Final = "What each of them made is not on record for that time: it was settled for the whole site alone."
ONE_TIME: Final = "Two times are compared for the whole site alone: ask about one of them at a time."
NOT_SETTLED: Final = "No money of that time is settled."

_WHO = (
    r"\b(?:per|each|by|which|every|what(?: do| does| did)?(?: the| our| all)?|all|our|the)\b(?: single)? "
    r"(?:machines?|assets?|miners?|mining|types?|loads?)\b"
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
    if costs and has(r"\bcooling\b", asked):
        return _cooling
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
    if (
        named(facts, "bidder", asked)
        and not own
        and has(r"\bpaid\b|\b(?:did|had)\b.*\bpay|\bbills?\b|\bspent\b", asked)
    ):
        return _cause
    if money and (
        own
        or has(_WHO, asked)
        or has(r"\b(?:who|where|what)\b.* (?:earns?|loses?|makes?|lose|make|earn)\b.*(?:most|least|money)", asked)
    ):
        return by_asset
    if has(r"\bpa(?:id|ys?) off\b|\bworth it\b|\bworthwhile\b", asked) and has(r"batter", asked):
        return by_asset
    if has(r"\brevenue|\bturnover|\bincome\b", asked):
        return _income
    paid = has(r"\bus\b|\bwe\b|\bspen|\bbill|\bexpenses?\b|\bour\b|\btotal\b|\bimports?\b", asked)
    if costs and paid and not has(r"\baverage\b", asked):
        return _spent
    return None


def _cooling(facts: Facts, asked: str, span: When) -> list[Sentence]:
    return [Sentence("What cooling costs is not settled by itself: each load pays for the cooling of its own heat.")]


def _has(span: When, facts: Facts, verb: str) -> str:
    """The verb as of a time that is over, or is still going on."""
    return f"has {verb}" if span.end == facts.at else verb


def _of(say: Say, span: When) -> str:
    return f"{span.said}, in {say('past.hours')} settled"


def _cause(facts: Facts, asked: str, span: When) -> list[Sentence]:
    out = []
    tenant = named(facts, "bidder", asked) and not has(r"\bwear\b", asked)
    each = has(r"\b(?:each|which|every|per|by) (?:tenant|customer)|\bwho\b|\bpayments\b", asked)
    payers = named(facts, "payer", asked) or (facts.members("payer") if each else [])
    if payers and not has(r"\bwear\b", asked):
        return [sentence for name in payers for sentence in _paid(facts, asked, name, span)]
    for cause, (pattern, told) in _CAUSES.items():
        if not (has(pattern, asked) or (cause == "tenants" and tenant)):
            continue
        say, key = Say(facts), f"past.money_{cause}"
        if key not in facts:
            out.append(Sentence(f"Of {told.rpartition(' ')[0]} nothing is on record for that time."))
            continue
        income = cause in INCOME and has(r"\bshare\b|\bper ?cent|%|\bpart\b|\bhow much of\b", asked)
        whole = f", of {say('past.income')} of income before costs" if income else ""
        out.append(say.close(f"{_of(say, span)}, {told} {say(key)}{whole}."))
        if cause == "tenants" and tenant:
            out.append(Sentence("What each of them paid then is not on record: what it pays now stands on Auction."))
        if cause in ("hash", "token"):
            out.append(Sentence("That is income, before its power is paid."))
    return out


def _paid(facts: Facts, asked: str, name: str, span: When) -> list[Sentence]:
    """What a tenant paid, and of it on each day."""
    say, key = Say(facts), f"payer.{name}"
    some = facts.number(f"{key}.hours") < facts.number("past.hours")
    hours = f"{say(f'{key}.hours')} of {say('past.hours')}" if some else say(f"{key}.hours")
    text = f"{span.said}, in {hours} settled, {say.bare(f'{key}.name')} paid {say(f'{key}.paid')}: its part of what "
    text += "all tenants were settled to pay, by the auctions in force"
    out = [say.close(f"{text}{'; those of the other hours are not on record' if some else ''}.")]
    days = sorted((fact for fact in facts.values() if fact.id.startswith(f"{key}.paid@")), key=lambda fact: fact.at)
    if len(days) > 1 or has(r"\b(?:by|per|each|every|which) days?\b|\bdaily\b", asked):
        say = Say(facts)
        each = listed(f"{say(fact.id)} on {fact.at.day} {fact.at:%b}" for fact in days)
        out.append(say.close(f"By day, {say.bare(f'{key}.name')} paid {each}."))
    return out


def by_asset(facts: Facts, asked: str, span: When) -> list[Sentence]:
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
            return [say.close(f"{_of(say, span)}, none of machines, tenants and battery lost money.")]
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
    paid_mean = f" ({say('past.paid_mean')} on average)" if "past.paid_mean" in facts and has(r"\bper\b", asked) else ""
    text = (
        f"{span.said} power from the grid {_has(span, facts, 'cost')} {say('past.money_import')}{paid_mean} and {wear}"
    )
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
    """Two days beside each other: what is on record, and of one to come what the plan in force holds."""
    days = None if facts.at is None else subject.pair(asked, facts.at)
    if days is None or facts.at is None:
        return []
    now = facts.at
    if any(day.past(now) and day.too_old(now) for day in days):
        return [Sentence(TOO_OLD)]
    if any(named(facts, group, asked) for group in ("machine", "bidder")):
        return [Sentence(ONE_TIME)]
    one, two = (
        _Side(before if day.past(now) else ahead, day, planned=not day.past(now), of=facts)
        for day, before, ahead in zip(days, ("past", "before"), ("ahead", "later"), strict=True)
    )
    sides, price, money = (one, two), has(_PRICED, asked), has(subject.MONEY, asked)
    out = [Sentence(unkept.NO_CAUSE)] if price and not money and has(r"\bwhy\b", asked) else []
    out += [] if price and not money else _by_money(one, two)
    if price or (one.comparable(two) and not (money and (one.planned or two.planned))):
        out += _by_price(one, two, alone=price and not money)
    for side in sides:
        end = facts.by_id.get("plan.end")
        if side.planned and not side.has("price_mean"):
            out.append(Sentence(f"{side.name} is beyond the plan in force: it is not planned yet."))
        elif side.planned and end is not None and end.at < side.day.end:
            say = Say(facts)
            text = f"The plan in force covers {say(f'{side.key}.covered')} of {side.said} and ends at "
            out.append(say.close(f"{text}{say.clock('plan.end')}: later hours are not planned yet."))
    return out


_PRICED = r"\bprices?\b|\bcheap|\bdear|\bexpensive|\bpower\b|\belectric|\bcosts?\b"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two days that are compared: its facts begin with `key`."""

    key: str
    day: When
    planned: bool
    of: Facts

    @property
    def said(self) -> str:
        """As in the middle of a sentence."""
        return self.day.said if self.day.end != self.of.at or "so far" in self.day.said else f"{self.day.said} so far"

    @property
    def name(self) -> str:
        return self.said[:1].upper() + self.said[1:]

    def has(self, figure: str) -> bool:
        return f"{self.key}.{figure}" in self.of

    def comparable(self, other: _Side) -> bool:
        """Whether money is known of both."""
        return self.has("per_hour") and other.has("per_hour")

    def number(self, figure: str) -> float:
        return self.of.number(f"{self.key}.{figure}")


def _by_money(one: _Side, two: _Side) -> list[Sentence]:
    """By the hour: settled, or what the plan brings."""
    facts = one.of
    if not all(side.planned or side.has("per_hour") for side in (one, two)):
        return [Sentence("One of the two has no settled money on record, so they cannot be compared.")]
    if not one.comparable(two):
        return []
    say = Say(facts)
    better = "better" if one.number("per_hour") > two.number("per_hour") else "worse"
    names = [side.said if one.planned or two.planned else side.day.said for side in (one, two)]
    is_ = "is" if one.planned or one.day.end == facts.at else "was"
    told = [_made(say, side, both=not (one.planned or two.planned)) for side in (one, two)]
    if one.planned or two.planned:
        text = f"by the hour {names[0]} {is_} {better} than {names[1]}: {told[0]}, against {told[1]}"
        return [say.close(text + "."), Sentence(AT_BIDS)]
    text = f"by the settled hour {names[0]} {is_} {better} than {names[1]}: "
    text += f"{say(f'{one.key}.per_hour')} against {say(f'{two.key}.per_hour')} ({told[0]}, and {told[1]})"
    return [say.close(text + ".")]


AT_BIDS: Final = "What is planned is at the prices that the plan expects, with tenants' power at what they bid."


def _made(say: Say, side: _Side, *, both: bool) -> str:
    if side.planned:
        hour, all_ = say(f"{side.key}.per_hour"), f"{say(f'{side.key}.brings')} in {say(f'{side.key}.covered')}"
        return f"{hour} planned ({all_})"
    all_ = f"{say(f'{side.key}.profit')} in {say(f'{side.key}.hours')}"
    return all_ if both else f"{say(f'{side.key}.per_hour')} settled ({all_})"


def _by_price(one: _Side, two: _Side, *, alone: bool) -> list[Sentence]:
    """By the mean price: on record, or what the plan expects."""
    facts = one.of
    if not (one.has("price_mean") and two.has("price_mean")):
        known = [side for side in (one, two) if side.has("price_mean")] if alone else []
        return [_range(side) for side in known]
    if not alone and not (one.planned or two.planned):
        say = Say(facts)
        means = f"{say(f'{one.key}.price_mean')} on average, and {say(f'{two.key}.price_mean')} {two.day.said}"
        return [say.close(f"Power cost {means}.")]
    say = Say(facts)
    word = "dearer" if one.number("price_mean") > two.number("price_mean") else "cheaper"
    is_ = "is" if one.planned or one.day.end == facts.at else "was"
    for side in (one, two):
        say(f"{side.key}.price_mean")
    return [say.close(f"by the mean price {one.said} {is_} {word} than {two.said}."), _range(one), _range(two)]


def _range(side: _Side) -> Sentence:
    """The prices of one of them, named as what they are."""
    return prices(side.of, side.key, f"{side.name} power {'is forecast at' if side.planned else 'cost'}")


def prices(facts: Facts, side: str, begins: str) -> Sentence:
    """Mean and extremes of the prices of a time; `begins` is the sentence up to them."""
    say, key = Say(facts), f"{side}.price"
    low = f"{say.bare(f'{key}_lowest')} at {say.clock(f'{key}_lowest')}"
    high = f"{say(f'{key}_highest')} at {say.clock(f'{key}_highest')}"
    return say.close(f"{begins} {say(f'{key}_mean')} on average, from {low} to {high}.")
