"""What no fact is about: it is said to be so, and no neighbouring figure stands in for it."""

from __future__ import annotations

import re

from gridpilot.explain.fact import Facts
from gridpilot.explain.sentences import Sentence
from gridpilot.explain.subject import has

UNKEPT = (
    "I have no facts about that: I read prices, forecasts, plans, set points, payments, money, risk and alarms, and "
    "make up nothing else."
)
NO_CAUSE = "Why the market's price is what it is, is not on record: I have the price, not its causes."

_UNKEPT = (
    r"\bco2\b|\bcarbon\b|\bemissions?\b|greenhouse|footprint|\brenewables?\b|\bsolar\b|\bwind(y|s)?\b|\bweather\b|"
    r"\brain|\bsun(ny|shine)\b|humidity|temperatures?\b|\bbitcoin price|\bbtc price|\bdifficulty\b|\bwater\b|"
    r"\bhow old (is|are) (the |our )?(batter|machine|miner|site|~)|\bcycles\b.*(~|batter)|\bnoise\b|\bhow (hot|cold|"
    r"warm)\b|\bstaff\b|\bemployees?\b|\bon shift\b|\blogged in\b|\bnews\b|\bcompetitors?\b|"
    r"\bneighbou?rs?\b|"
    r"\belsewhere\b|\bindustry\b|\b(other|another|rival)s? (compan|miners?\b|sites?\b|operators?\b|firms?\b|"
    r"data ?cent)|"
    r"\btax(es)?\b|\bvat\b|\bsalar|\bwages?\b|\binsurance\b|\bpay ?back\b|\bamorti|\bdepreciat|\broi\b|\bcapex\b|"
    r"\binvest|\b(my|a|the|electric) (car|house|home)\b|\b(gas|oil|coal|diesel|nuclear|hydrogen)\b|"
    r"\bhow much (does|do|is|are) (an?|new) [\w ]*\bcosts?\b|\bwill\b.*\b(grid|network) (fail|break)|"
    r"\bprices? of (?!power|energy|electric|hash|token|stored|site|to|yesterday|this|that|the|an? |last|next|\d|ex|im|"
    r"grid)|"
    r"\b(price|cost|power|electricity)s? in (?!the\b|th|an?\b|our|usd|eur|dollar|index|total|each|every|half|one|two|"
    r"three|four|five|six|seven|eight|nine|ten|eleven|twelve|general|detail|[mk]wh|advance|future|\d|which|jan|feb|mar|"
    r"apr|may|ju[nl]|aug|sep|oct|nov|dec)"
)
# Of whom money is asked.
_WHOSE = r"\bwhat (?:do|does|did|will) ([a-z][\w-]*) (?:pay|bid|cost|earn)s?\b"
_OURS = re.compile(
    r"we|i|it|they|you|us|every(?:body|one)|anyone|each|one|this|that|all|site|power|energy|electricity|batter(?:y|"
    r"ies)|"
    r"machines|miners|mining|tenants|bidders|customers|jobs|grid|imports?|exports?|cooling|hashing|inference|wear|"
    r"running|storing|charging|discharging|curtailment|reserve|overrides|stops|loads?"
)


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """What no fact is about; names of machines, bidders and the site may hold such a word."""
    names = [facts.word(f"{group}.{m}.name") for group in ("machine", "bidder") for m in facts.members(group)]
    rest = asked.lower()
    for name in sorted([facts.word("site.name"), *names], key=len, reverse=True):
        rest = rest.replace(name.lower(), "~") if name else rest
    who = re.search(_WHOSE, rest)
    stranger = who is not None and not _OURS.fullmatch(who[1])
    return [Sentence(UNKEPT)] if stranger or has(_UNKEPT, rest) else []
