"""Sentences about a time that is past or still comes, from the facts that `recall` adds.

An earlier decision speaks with the sentences of the newest one, as it was recorded; what the ledger has nothing of
is said to be out of its reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from gridpilot.explain import sentences as tell
from gridpilot.explain.fact import Facts
from gridpilot.explain.money import NOT_SETTLED, TOO_OLD, prices
from gridpilot.explain.recall import dated, over
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When, in_the_past

ORIGINS = {
    "override": "an operator's override",
    "hold": "an operator's hold",
    "failsafe": "the fail-safe state",
    "estop": "the emergency stop",
}

LAPSED = {
    "failsafe": "the site was in its fail-safe state since",
    "estop": "the emergency stop had switched everything off at",
    "expired": "the set points of the last one had expired at",
}
# What one sort of figure answers, where a question is about nothing else.
PARTS: Final[Mapping[str, str]] = {
    "price": r"\bprices?\b|\bcosts?\b|\bcheap|\bdear|\bexpensive|\baverage\b",
    "battery": r"\bbatter|charg|\bsoc\b|state of charge",
    "machines": r"\bmachines?\b|\bminers?\b|\bran\b|\brun(?:s|ning)?\b",
    "grid": r"\b(?:im|ex)port|\b(?:from|to) the grid\b|\bconsum|\bkwh\b(?!.*charg)",
    "money": r"\bp ?& ?l\b|\bearn|\bmoney\b|profit|\bmade\b|\bmake\b|\bpnl\b|\balways on\b",
}
NOT_FORESEEN = "No forecast of that time with the prices that came then is on record."
NOT_YET = "That time has not come yet: nothing of it has happened."


def about(facts: Facts, question: str, asked: When, now: datetime, *, foreseen: bool = False) -> list[Sentence]:
    """What is on record, or planned, for that time; `foreseen` where the question is about what had been forecast."""
    if over(question, asked, now):
        if foreseen:
            return _foreseen(facts) or [Sentence(NOT_FORESEEN)]
        if asked.moment:
            return _decision(facts, question)
        return _past(facts, question, asked, now, _only(facts, question), _loads(facts, question))
    machines = _loads(facts, question)
    every = has(r"\bmachines\b|\bminers\b", question) and not machines
    loads = facts.members("machine") if every else machines
    said = (
        at_hour(facts, asked.start, loads, question)
        if asked.moment
        else _ahead(facts, asked, _only(facts, question), machines)
    )
    return [Sentence(NOT_YET), *said] if in_the_past(question) and asked.start > now else said


def _loads(facts: Facts, question: str) -> list[str]:
    """The machine types that the question names; where it names none, the tenants and jobs."""
    return named(facts, "machine", question) or [name for name in named(facts, "bidder", question) if name != "cooling"]


def _only(facts: Facts, question: str) -> str:
    """The one thing that a question about a stretch is about: prices, the battery, machines or money; else empty."""
    tenants = [name for name in _loads(facts, question) if name != "battery"]
    if tenants and not named(facts, "machine", question) and not has(PARTS["money"], question):
        return "machines"
    parts = {name for name, pattern in PARTS.items() if has(pattern, question)}
    if named(facts, "machine", question):
        parts = parts - {"price"} | {"machines"}
    if "money" in parts and not has(r"\bwhy\b", question):
        return "money"
    if has(r"\bwhy\b", question) and parts != {"price"}:  # a reason is all that was so
        return ""
    return next(iter(parts)) if len(parts) == 1 else ""


# --- the past --------------------------------------------------------------------------------


def _decision(facts: Facts, question: str = "") -> list[Sentence]:
    """The decision that was in force, with its own reasons; of what the question names alone, where it does."""
    then = facts.earlier
    if then is None or then.at is None:
        return [_not_on_record(facts)]
    told = replace(then, at=facts.at)  # its clock times are told from today's side
    say = Say(told)
    text = f"The decision of {say.clock('dispatch.status')}, as recorded"
    text += f": power cost {say('price.energy')}, the load was {say('load.total')}"
    text += f", and the site earned {say('rate.profit')}, {say('rate.gain')} against every machine always on"
    said = [say.close(text + ".")]
    if has(r"\bsoc\b|state of charge|\bfull\b|\bstored\b", question) and "battery.soc" in told:
        say = Say(told)
        said.append(say.close(f"The battery was at {say('battery.soc')}, with {say('battery.stored')}."))
    elif not (question and _only(facts, question) == "price" and not has(r"\bwhy\b", question)):
        machines = named(facts, "machine", question)
        reasons = [tell.machine_sentence(told, name) for name in machines] or [tell.now_sentence(told)]
        reasons[0] = replace(reasons[0], text=f"It said: {reasons[0].text}")
        said += reasons
    return [replace(one, citations=tuple(dated(key, then) for key in one.citations)) for one in said]


def _past(
    facts: Facts, question: str, asked: When, now: datetime, only: str, machines: Sequence[str]
) -> list[Sentence]:
    if asked.too_old(now):
        return [Sentence(TOO_OLD)]
    out = []
    if facts.earlier is not None and "past.decisions" in facts:  # the reason that is asked for, of one decision
        course = _set_points(facts, "past", "machines" if machines else "battery", asked.said, machines)
        return [*course, *_decision(facts, question)]
    if "past.price_mean" in facts and only in ("", "price"):
        out.append(prices(facts, "past", f"{asked.said} power {'has ' if asked.end == now else ''}cost"))
    if "past.decisions" not in facts:
        return [*out, *_decision(facts)] if only != "price" or not out else out
    if only == "price" and out:
        return out
    say = Say(facts)
    if "past.profit" in facts and only in ("", "money"):
        text = f"{'' if out else asked.said + ' '}the site made {say('past.profit')} in {say('past.hours')} settled"
        out.append(say.close(f"{text}, {say('past.gain')} against every machine always on."))
    if only == "money":
        return out or [Sentence(NOT_SETTLED)]
    out += _set_points(facts, "past", only, "" if out else asked.said, machines)
    if only and out:
        return out
    say = Say(facts)
    others = [f"{name} made {say.bare(f'past.{key}')}" for key, name in ORIGINS.items() if f"past.{key}" in facts]
    if others:
        text = f"Not every decision was the plan's: of {say.bare('past.decisions')} on record {listed(others)}"
        out.append(say.close(text + "."))
    return out


def _foreseen(facts: Facts) -> list[Sentence]:
    """Forecasts of that time against what came."""
    out = []
    for key in (f"foreseen.{i}" for i in facts.members("foreseen")):
        say = Say(facts)
        made = f"The forecast made at {say.clock(f'{key}.made')}"
        if f"{key}.point" in facts:
            said = f"expected {say(f'{key}.point')} from {say.clock(f'{key}.point')}"
            band = f"with a band of {say.bare(f'{key}.lower')} to {say(f'{key}.upper')}"
            out.append(say.close(f"{made} {said}, {band}: {say(f'{key}.came')} came, {say(f'{key}.held')} the band."))
        else:
            held = f"{say(f'{key}.inside')} of {say(f'{key}.n')} prices came inside its band"
            out.append(say.close(f"{made} missed by {say(f'{key}.error')} on average; {held}."))
    return out


def _not_on_record(facts: Facts) -> Sentence:
    say = Say(facts)
    if "lapse.why" in facts:
        say("lapse.why")
        text = f"No decision was in force then: {LAPSED[facts.word('lapse.why')]} {say.clock('lapse.why')}"
        text += f". The last decision before was that of {say.clock('lapse.decision')}"
        return say.close(
            f"{text}, the next was made at {say.clock('lapse.next')}." if "lapse.next" in facts else f"{text}."
        )
    text = "No decision of that time is on record"
    if "record.first" in facts:
        text += f": the oldest is of {say.clock('record.first')}"
    return say.close(text + ".")


# --- what comes ------------------------------------------------------------------------------


def at_hour(facts: Facts, moment: datetime, loads: Sequence[str] = (), question: str = "") -> list[Sentence]:
    """The plan at a clock time, with the loads that are asked about, and what stored energy is worth if that is."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    ids = [key for key in facts if key.startswith("plan.price@")]
    key = next((k for k in ids if facts[k].at.replace(minute=0, second=0, microsecond=0) == hour), "")
    if not key:
        return [_beyond(facts)]
    say, at = Say(facts), key.removeprefix("plan.price")
    battery = "the battery rests"
    for verb in ("charge", "discharge"):
        if facts.number(f"plan.{verb}{at}") >= 1.0:
            battery = f"the battery {verb}s {say(f'plan.{verb}{at}')}"
    text = f"From {say.clock(key)} power is expected at {say(key)}, {battery}, and the load is {say(f'plan.load{at}')}"
    worth = f"plan.marginal_value{at}"
    if worth in facts and has(r"\bmarginal\b|\bworth\b|\bvalue\b", question):
        text += f", stored energy is worth {say(worth)}"
    for name in loads:
        group = next((group for group in ("machine", "bidder") if f"{group}.{name}.name" in facts), "")
        if group and f"ahead.kw_{name}" in facts:
            text += f", {say.bare(f'{group}.{name}.name')} {say(f'ahead.kw_{name}')}"
    if "ahead.import" in facts and "ahead.export" in facts:
        way = "export" if facts.number("ahead.export") > 0.05 else "import"
        text += f", with {say(f'ahead.{way}')} {'to' if way == 'export' else 'from'} the grid"
    if f"plan.soc{at}" in facts:
        text += f"; the state of charge ends at {say(f'plan.soc{at}')}"
    if f"forecast.lower{at}" in facts:
        text += f"; the price band is {say.bare(f'forecast.lower{at}')} to {say(f'forecast.upper{at}')}"
    return [say.close(text + ".")]


def _ahead(facts: Facts, asked: When, only: str, machines: Sequence[str]) -> list[Sentence]:
    if "ahead.price_mean" not in facts:
        return [_beyond(facts)]
    out = [] if only not in ("", "price") else [prices(facts, "ahead", f"{asked.said} power is expected at")]
    if only == "grid" and "ahead.drawn" in facts:
        say = Say(facts)
        text = f"{asked.said} the plan draws {say('ahead.drawn')} from the grid, and delivers"
        out.append(say.close(f"{text} {say('ahead.delivered')} to it."))
    out += (
        []
        if only in ("price", "money", "grid")
        else _set_points(facts, "ahead", only, "" if out else asked.said, machines)
    )
    say = Say(facts)
    if only == "money" and machines:
        out.append(Sentence("What one of them brings ahead is not told apart: the plan counts the whole site."))
    if "ahead.brings" in facts and only in ("", "money"):
        when_ = "in that time" if out else asked.said
        text = f"The plan brings {say('ahead.brings')} {when_} at the prices that it expects"
        worth = ", with tenants' power at what they bid: they pay that at most" if facts.members("bidder") else ""
        out.append(say.close(f"{text}{worth}."))
    say = Say(facts)
    if "ahead.soc" in facts and only in ("", "battery"):
        out.append(say.close(f"The state of charge ends at {say('ahead.soc')}."))
    if "plan.end" in facts and facts["plan.end"].at < asked.end:
        say = Say(facts)
        out.append(say.close(f"The plan in force ends at {say.clock('plan.end')}: later hours are not planned yet."))
    return out


def _beyond(facts: Facts) -> Sentence:
    say = Say(facts)
    text = "That is beyond the plan in force"
    if "plan.end" in facts:
        text += f", which ends at {say.clock('plan.end')}"
    return say.close(text + ": it is not planned yet.")


# --- both ------------------------------------------------------------------------------------


def _set_points(facts: Facts, side: str, only: str, said: str, machines: Sequence[str]) -> list[Sentence]:
    """What the battery did and who ran, or `only` one of the two; `said` names the time, `machines` some of them."""
    say, past, out = Say(facts), side == "past", []
    if f"{side}.charged" in facts and only != "machines":
        took = facts.number(f"{side}.charged") >= 0.5, facts.number(f"{side}.discharged") >= 0.5
        parts = [
            f"{verb} {say(f'{side}.{key}')}"
            for verb, key, some in zip(
                ("charged", "discharged") if past else ("charges", "discharges"), ("charged", "discharged"), took,
                strict=True,
            )
            if some
        ]  # fmt: skip
        if not parts:
            say(f"{side}.charged")
        begin = f"{said} the" if said else "the"
        out.append(say.close(f"{begin} battery {listed(parts) if parts else 'rested' if past else 'rests'}."))
    say = Say(facts)
    served = [name for name in machines if f"{side}.had_{name}" in facts]
    if served:
        has_ = listed(f"{say.bare(f'bidder.{name}.name')} {say(f'{side}.had_{name}')}" for name in served)
        begin = f"{said}, of" if said else "of"
        out.append(say.close(f"{begin} {say(f'{side}.covered')}, with power: {has_}."))
        return out
    names = [name for name in machines or facts.members("machine") if f"{side}.on_{name}" in facts]
    if names and only != "battery":
        runs = [f"{say.bare(f'machine.{name}.name')} {say(f'{side}.on_{name}')}" for name in names]
        verb = "ran" if past else "run"
        begin = f"{said}, of" if said and not out else "of"
        out.append(say.close(f"{begin} {say(f'{side}.covered')}, machines {verb}: {listed(runs)}."))
        made = [name for name in machines if f"asset.{name}.profit" in facts and past]
        if made:
            say = Say(facts)
            each = listed(f"{say.bare(f'asset.{name}.name')} made {say(f'asset.{name}.profit')}" for name in made)
            out.append(say.close(f"With power and cooling paid, {each}."))
    return out
