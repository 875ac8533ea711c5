"""Sentences about a time that is past or still comes, from the facts that `recall` adds.

An earlier decision speaks with the sentences of the newest one, as it was recorded; what the ledger has nothing of
is said to be out of its reach.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gridpilot.explain import sentences as tell
from gridpilot.explain.fact import Facts
from gridpilot.explain.recall import dated
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.when import When

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
NOT_FORESEEN = "No forecast of that time with the prices that came then is on record."
NOT_YET = "That time has not come yet: nothing of it has happened."


def about(
    facts: Facts, asked: When, now: datetime, *, happened: bool = False, foreseen: bool = False
) -> list[Sentence]:
    """What is on record, or planned, for that time; `happened` where the question takes it for past, `foreseen` where
    it is about what had been forecast."""
    if asked.past(now):
        if foreseen:
            return _foreseen(facts) or [Sentence(NOT_FORESEEN)]
        return _decision(facts) if asked.moment else _past(facts, asked, now)
    said = at_hour(facts, asked.start) if asked.moment else _ahead(facts, asked)
    return [Sentence(NOT_YET), *said] if happened and asked.start > now else said


# --- the past --------------------------------------------------------------------------------


def _decision(facts: Facts) -> list[Sentence]:
    """The decision that was in force, with its own reasons."""
    then = facts.earlier
    if then is None or then.at is None:
        return [_not_on_record(facts)]
    told = replace(then, at=facts.at)  # its clock times are told from today's side
    say = Say(told)
    text = f"The decision of {say.clock('dispatch.status')}, as recorded"
    text += f": power cost {say('price.energy')}, the load was {say('load.total')}"
    text += f", and the site earned {say('rate.profit')}, {say('rate.gain')} against every machine always on"
    said = [say.close(text + "."), replace(what := tell.now_sentence(told), text=f"It said: {what.text}")]
    return [replace(one, citations=tuple(dated(key, then) for key in one.citations)) for one in said]


def _past(facts: Facts, asked: When, now: datetime) -> list[Sentence]:
    if asked.too_old(now):
        return [Sentence("I look back a week at the most: the Prices page and the ledger itself go further back.")]
    out = []
    if "past.price_mean" in facts:
        out.append(_prices(facts, "past", f"{asked.said} power cost"))
    if "past.decisions" not in facts:
        return [*out, *_decision(facts)]
    say = Say(facts)
    if "past.profit" in facts:
        text = f"The site made {say('past.profit')} in {say('past.hours')} settled"
        out.append(say.close(f"{text}, {say('past.gain')} against every machine always on."))
    out += _set_points(facts, "past")
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


def at_hour(facts: Facts, moment: datetime) -> list[Sentence]:
    """The plan at a clock time."""
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
    if f"plan.soc{at}" in facts:
        text += f"; the state of charge ends at {say(f'plan.soc{at}')}"
    if f"forecast.lower{at}" in facts:
        text += f"; the price band is {say.bare(f'forecast.lower{at}')} to {say(f'forecast.upper{at}')}"
    return [say.close(text + ".")]


def _ahead(facts: Facts, asked: When) -> list[Sentence]:
    if "ahead.price_mean" not in facts:
        return [_beyond(facts)]
    out = [_prices(facts, "ahead", f"{asked.said} power is expected at"), *_set_points(facts, "ahead")]
    say = Say(facts)
    if "ahead.brings" in facts:
        text = f"The plan brings {say('ahead.brings')} in that time at the prices that it expects"
        worth = ", with tenants' power at what they bid: they pay that at most" if facts.members("bidder") else ""
        out.append(say.close(f"{text}{worth}."))
    say = Say(facts)
    if "ahead.soc" in facts:
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


def _prices(facts: Facts, side: str, begins: str) -> Sentence:
    say, key = Say(facts), f"{side}.price"
    low = f"{say.bare(f'{key}_lowest')} at {say.clock(f'{key}_lowest')}"
    high = f"{say(f'{key}_highest')} at {say.clock(f'{key}_highest')}"
    return say.close(f"{begins} {say(f'{key}_mean')} on average, from {low} to {high}.")


def _set_points(facts: Facts, side: str) -> list[Sentence]:
    """What the battery did and who ran."""
    say, past, out = Say(facts), side == "past", []
    if f"{side}.charged" in facts:
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
        out.append(say.close(f"The battery {listed(parts) if parts else 'rested' if past else 'rests'}."))
    say = Say(facts)
    names = [name for name in facts.members("machine") if f"{side}.on_{name}" in facts]
    if names:
        runs = [f"{say.bare(f'machine.{name}.name')} {say(f'{side}.on_{name}')}" for name in names]
        verb = "ran" if past else "run"
        out.append(say.close(f"Of {say(f'{side}.covered')}, machines {verb}: {listed(runs)}."))
    return out
