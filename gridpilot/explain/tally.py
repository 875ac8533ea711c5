"""Sentences about counts and extremes of a stretch of the past, and about when the plan meets a price or a charge."""

from __future__ import annotations

import math
import re
from typing import Final

from gridpilot.explain import subject
from gridpilot.explain.fact import Fact, Facts
from gridpilot.explain.money import TOO_OLD
from gridpilot.explain.sentences import Say, Sentence
from gridpilot.explain.subject import has
from gridpilot.explain.when import Unclear, When, when

_TOP = (
    r"\b(?:highest|lowest|cheapest|dearest|most expensive|least expensive|maximum|minimum|max|min|average|mean|peak)\b"
)
_PRICE = r"\bprices?\b|\bpower\b|\belectric|\bcheap|\bdear|\bexpensive|\benergy\b"
_BELOW: Final = r"\b(?:below|under|less than|cheaper than|lower than|negative|sub-?zero)\b|\bat zero\b"
_ABOVE: Final = r"\b(?:above|over|more than|higher than|exceeds?)\b"
_OTHER_UNIT: Final = r"\bcents?\b|\bct\b|\bkwh\b|\beur|€|\bpence\b"


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """What a question about a count or an extreme of the past is answered; empty where it is about something else."""
    span = None if facts.at is None else subject.past(asked, facts.at)
    if span is None or facts.at is None or has(r"\bwhy\b|forecast|predict|expect|\bwill\b|\bmeans? that\b", asked):
        return []
    top = has(r"\b(?:highest|maximum|max|most|top|biggest)\b.*\b(?:load|demand|draw|import|consumption)\b", asked)
    dated = has(r"\b(?:today|was|were|day|yesterday|week|night)\b", asked)
    if has(r"\bpeak\b(?! price)", asked) or (top and dated):
        return _peak(facts, asked, span)
    said: list[Sentence] = []
    if has(r"\bbatter", asked) and has(r"\bcycles\b", asked):
        return []
    if has(r"\bhow many (?:decisions|cycles)\b|\bnumber of (?:decisions|cycles)\b", asked):
        said = _decisions(facts, span)
    elif has(r"\bnegative\b|\b(?:below|under) zero\b", asked):
        counted = has(r"\bhow (?:many|often|long)\b|\b(?:was|were|did|hours)\b", asked)
        said = _negative(facts, span) if counted else _extreme(facts, asked, span) if has(r"\btoday\b", asked) else []
    elif has(r"\b(?:best|worst|most profitable|least profitable) (?:hour|day)s?\b", asked):
        said = _hour(facts, asked, span)
    elif has(
        r"\b(?:kwh|mwh|energy)\b.*\b(?:use|used|consum|draw|drew|import|export|deliver|from the grid)|\bconsum|"
        r"\bhow much\b.*\b(?:import|export|power|electricity)\w*\b.*\b(?:today|yesterday|week|night|day)\b|"
        r"\b(?:im|ex)ports?\b.*\b(?:im|ex)ports?\b|"
        r"\bhow (?:much|many)\b.*\b(?:did|have) we (?:use|draw|import|export|sell|buy)",
        asked,
    ) and not has(r"charg|cost|pa(?:y|id)", asked):
        said = _energy(facts, asked, span)
    elif has(_TOP, asked) and has(_PRICE + r"|\bit\b", asked) and has(r"\btoday\b", asked):
        said = _extreme(facts, asked, span)
    return [Sentence(TOO_OLD)] if said and span.too_old(facts.at) else said


def _unknown(what: str) -> list[Sentence]:
    return [Sentence(f"{what} of that time is on record.")]


def _peak(facts: Facts, asked: str, span: When) -> list[Sentence]:
    if has(r"\bprice", asked) or facts.at is None:
        return []
    say = Say(facts)
    if has(r"\bmonth\b", asked):
        if "past.peak_month" not in facts:
            return [Sentence("The month's peak is not on record: the site's settlement has not counted one yet.")]
        return [say.close(f"The highest draw from the grid of this month so far is {say('past.peak_month')}.")]
    if span.too_old(facts.at):
        return [Sentence(TOO_OLD)]
    if "past.peak_draw" not in facts or "past.peak_load" not in facts:
        return _unknown("No settled load")
    text = f"{span.said} the highest draw from the grid was {say('past.peak_draw')}, from {say.clock('past.peak_draw')}"
    text += f", and the highest load {say('past.peak_load')}, from {say.clock('past.peak_load')}"
    return [say.close(text + ": means of what was settled at once.")]


def _decisions(facts: Facts, span: When) -> list[Sentence]:
    if "past.decisions" not in facts:
        return _unknown("No decision")
    say = Say(facts)
    return [say.close(f"{span.said}: decisions on record {say('past.decisions')}.")]


def _negative(facts: Facts, span: When) -> list[Sentence]:
    if "past.price_negative" not in facts:
        return _unknown("No price")
    say = Say(facts)
    text = f"{span.said} the price was below zero for {say('past.price_negative')}"
    text += f" of the {say('past.price_hours')} on record"
    if facts.number("past.price_negative") > 0.0:
        text += f", first from {say.clock('past.price_negative')}"
    return [say.close(f"{text}; the lowest was {say('past.price_lowest')} at {say.clock('past.price_lowest')}.")]


def _hour(facts: Facts, asked: str, span: When) -> list[Sentence]:
    if "past.hour_best" not in facts:
        return _unknown("No settled money")
    unit = "day" if has(r"\bdays?\b(?! so far)", asked) and not has(r"\bhours?\b", asked) else "hour"
    name, say = "worst" if has(r"worst|least", asked) else "best", Say(facts)
    key = f"past.{unit}_{name}"
    return [say.close(f"{span.said} the {name} settled {unit} began at {say.clock(key)}: it made {say(key)}.")]


def _energy(facts: Facts, asked: str, span: When) -> list[Sentence]:
    if "past.used" not in facts:
        return _unknown("No settled energy")
    say = Say(facts)
    text = f"{span.said}, in {say('past.hours')} settled, the loads used {say('past.used')}, cooling included; "
    text += f"{say('past.drawn')} came from the grid, and {say('past.delivered')} went to it"
    if "past.paid_mean" in facts and has(r"\bprices?\b|\bpaid\b", asked):
        text += f"; what came cost {say('past.paid_mean')} on average"
    return [say.close(text + ".")]


def _extreme(facts: Facts, asked: str, span: When) -> list[Sentence]:
    """The extremes of today: of its hours so far, and of those that the plan expects."""
    if "past.price_mean" not in facts:
        return _unknown("No price")
    say = Say(facts)
    low = f"{say.bare('past.price_lowest')} at {say.clock('past.price_lowest')}"
    high = f"{say('past.price_highest')} at {say.clock('past.price_highest')}"
    out = [say.close(f"{span.said} power has cost {say('past.price_mean')} on average, from {low} to {high}.")]
    rest = [fact for fact in _plan(facts, "price", None) if facts.at is not None and fact.at.date() == facts.at.date()]
    later = [fact for fact in rest if facts.at is not None and fact.at > facts.at]
    if later and not has(r"\bwas\b|\bwere\b|so far|\baverage\b|\bmean\b", asked):
        say = Say(facts)
        first, last = (pick(later, key=_value) for pick in (min, max))
        text = f"for the rest of today the plan expects {say.bare(first.id)} at {say.clock(first.id)}"
        text += f" to {say(last.id)} at {say.clock(last.id)}" if last.id != first.id else f" {first.unit}"
        out.append(say.close(text + "."))
    return out


# --- what the plan expects -------------------------------------------------------------------


def _plan(facts: Facts, figure: str, time: When | None) -> list[Fact]:
    """A figure of the plan's hours, in their order; those that begin within a time, where one is given."""
    rows = [fact for key, fact in facts.by_id.items() if key.startswith(f"plan.{figure}@")]
    inside = [f for f in rows if time is None or time.start <= f.at < time.end]
    return sorted(inside, key=lambda fact: fact.at)


def _value(fact: Fact) -> float:
    return fact.value if isinstance(fact.value, float) else 0.0


def crossing(facts: Facts, asked: str) -> list[Sentence]:
    """When the plan first expects a price under or over a bound, the battery full or empty, or least or most in it."""
    if facts.at is None or has(r"\bdid\b|\bwas\b|\bwere\b", asked):
        return []
    time = when(asked, facts.at)
    if isinstance(time, Unclear) or (time is not None and (time.moment or time.past(facts.at))):
        return []
    charge = has(r"\bsoc\b|\bstate of charge\b", asked)
    if charge and time is not None and has(r"\b(?:lowest|highest|min(?:imum)?|max(?:imum)?)\b", asked):
        return _least(facts, time, highest=has(r"\bhighest\b|\bmax", asked))
    if not has(r"\bwhen\b|\bwill\b|\bhow (?:long|soon)\b|\bexpect", asked):
        return []
    share = re.search(r"(\d+(?:\.\d+)?) ?(?:%|percent\b)", asked)
    if (charge or has(r"batter", asked)) and share is not None and not has(r"\bwhat if\b", asked):
        return _reaches(facts, time, float(share[1]))
    if (charge or has(r"batter", asked)) and has(r"\bfull\b|\bempty\b|\blasts?\b|\brun out\b", asked):
        return _charged(facts, time, full=has(r"\bfull\b", asked))
    below, above = has(_BELOW, asked), has(_ABOVE, asked)
    if below == above or not has(_PRICE + r"|\bit\b|\bcosts?\b", asked) or has(_OTHER_UNIT, asked):
        return []
    number = re.search(r"(?:below|under|than|above|over|exceeds?) (?:usd |\$ ?)?([-−]?\d+(?:\.\d+)?)\b", asked.lower())
    if number is None and not has(r"\bnegative\b|\bzero\b", asked):
        return []
    bound = 0.0 if number is None else float(number[1].replace("−", "-"))
    rows = _plan(facts, "price", time)
    if not rows:
        return []
    found = [fact for fact in rows if (_value(fact) < bound if below else _value(fact) > bound)]
    say = Say(facts)
    if found:
        return [say.close(f"The plan first expects that from {say.clock(found[0].id)}, at {say(found[0].id)}.")]
    near = (min if below else max)(rows, key=_value)
    side = "lowest" if below else "highest"
    return [say.close(f"The plan expects no such price: its {side} then is {say(near.id)}, from {say.clock(near.id)}.")]


def _reaches(facts: Facts, time: When | None, bound: float) -> list[Sentence]:
    """When the plan first brings the state of charge to a bound, from where it is now."""
    now, say = facts.number("battery.soc"), Say(facts)
    rows = _plan(facts, "soc", time)
    if not rows or math.isnan(now):
        return []
    at = next((f for f in rows if (_value(f) >= bound if now < bound else _value(f) <= bound)), None)
    if at is None:
        return [say.close(f"The plan does not bring it there: the battery is at {say('battery.soc')} now.")]
    text = f"The plan comes to {say(at.id)} by the end of the hour from {say.clock(at.id)}"
    return [say.close(f"{text}; the battery is at {say('battery.soc')} now.")]


def _least(facts: Facts, time: When, *, highest: bool) -> list[Sentence]:
    """The lowest or the highest state of charge that is planned in a time."""
    rows = _plan(facts, "soc", time)
    if not rows:
        return []
    near, say = (max if highest else min)(rows, key=_value), Say(facts)
    text = f"The plan's {'highest' if highest else 'lowest'} state of charge then is {say(near.id)}"
    return [say.close(f"{text}, at the end of the hour from {say.clock(near.id)}.")]


def _charged(facts: Facts, time: When | None, *, full: bool) -> list[Sentence]:
    """When the plan has the battery at its upper or lower limit."""
    limit = "battery.soc_max" if full else "battery.soc_min"
    rows = _plan(facts, "soc", time)
    if not rows or limit not in facts or "battery.soc" not in facts:
        return []
    bound, say = facts.number(limit), Say(facts)
    word = "full" if full else "empty"
    at = next((f for f in rows if (_value(f) >= bound - 0.1 if full else _value(f) <= bound + 0.1)), None)
    if at is None:
        near = (max if full else min)(rows, key=_value)
        text = f"The plan does not bring the battery to its limit of {say(limit)}: it comes to {say(near.id)}"
        return [say.close(f"{text} in the hour from {say.clock(near.id)}.")]
    text = (
        f"The plan has the battery {word}, at its limit of {say(limit)}, by the end of the hour from {say.clock(at.id)}"
    )
    return [say.close(f"{text}; it is at {say('battery.soc')} now.")]
