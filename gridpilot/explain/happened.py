"""Sentences about what happened last and who ordered it, from the facts that `events` adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gridpilot.explain import events
from gridpilot.explain.fact import Facts
from gridpilot.explain.sentences import Say, Sentence
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When, when

Told = Callable[[Facts, str, bool], list[Sentence]]


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """What a question about an event is answered; empty where it is about something else, or a clock time."""
    kinds = events.asked(asked)
    time = when(asked, facts.at) if kinds and facts.at is not None else None
    if not kinds or "events.read" not in facts or (isinstance(time, When) and time.moment):
        return []
    inside = isinstance(time, When) and facts.at is not None and time.past(facts.at)
    machines = named(facts, "machine", asked)
    if machines:
        return [_switched(facts, name) for name in machines]
    others = [name for name in named(facts, "bidder", asked) if name not in ("battery", "cooling")]
    if others and kinds == ["switched"]:
        return [_powered(facts, name) for name in others]
    return [sentence for kind in kinds if kind in _TOLD for sentence in _TOLD[kind](facts, asked, inside)]


def _then(inside: bool) -> str:
    return " in that time" if inside else ""


def _switched(facts: Facts, name: str) -> Sentence:
    say, key = Say(facts), f"machine.{name}"
    parts = [
        f"last switched {way} at {say.clock(f'last.{way}_{name}')}, with power at {say(f'last.{way}_{name}')}"
        for way in ("off", "on")
        if f"last.{way}_{name}" in facts
    ]
    shown = say.bare(f"{key}.name")
    if not parts:
        return say.close(f"None of the newest decisions switched {shown} off or on.")
    state = "on" if facts.number(f"{key}.running") > 0.0 else "off"
    say(f"{key}.running")
    even = say(f"{key}.strike")
    even = f"what it earns is {even}" if facts.word(f"{key}.strike") else f"with its break-even at {even}"
    return say.close(f"{shown}: {' and '.join(parts)}; it is {state} now, {even}.")


def _powered(facts: Facts, name: str) -> Sentence:
    """When a tenant or a job last got its power, and lost it."""
    say = Say(facts)
    shown = say.bare(f"bidder.{name}.name")
    parts = [
        f"last {verb} power at {say.clock(f'last.{way}_{name}')}, with the price at {say(f'last.{way}_{name}')}"
        for way, verb in (("on", "got"), ("off", "lost"))
        if f"last.{way}_{name}" in facts
    ]
    if not parts:
        return say.close(f"In none of the newest decisions did {shown} get or lose power.")
    return say.close(f"{shown} {' and '.join(parts)}; it has {say(f'bidder.{name}.kw')} now.")


def _stop(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
    if "last.stop" not in facts:
        return [Sentence(f"No emergency stop and no fail-safe state is on record{_then(inside)}.")]
    say, out = Say(facts), []
    text = f"Everything was last sent off at {say.clock('last.stop')}, by {say('last.stop')}"
    text += f", and ran again from {say.clock('last.stop_end')}" if "last.stop_end" in facts else ""
    if facts.word("last.stop") == events.OFF["estop"] and "last.stop_author" in facts:
        text += f"; {say('last.stop_author')} gave it: {say('last.stop_reason')}"
    elif "last.stop_why" in facts:
        text += f"; no operator ordered it, the alarm before it was: {say('last.stop_why')}"
    out.append(say.close(text.rstrip(".") + "."))
    if has(r"\bhow (?:many|often)\b", asked):
        say = Say(facts)
        out.insert(0, say.close(f"Times that everything was sent off{_then(inside)}: {say('stops.n')}."))
    return out


def _command(kind: str, name: str) -> Told:
    def told(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
        key = f"last.{kind}"
        if f"{key}_author" not in facts:
            return [Sentence(f"No {name} by an operator is on record{_then(inside)}.")]
        say = Say(facts)
        text = f"The last {name} ({say(f'{key}_kind')}) was given at {say.clock(f'{key}_author')}"
        return [say.close(f"{text} by {say(f'{key}_author')}: {say(f'{key}_reason')}.")]

    return told


def _curtailment(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
    key, out = "curtailment", []
    if has(r"\bwill\b|\bgoing to\b|\bnext\b|\bplanned\b|\bscheduled\b|\bupcoming\b|\bcoming\b", asked):
        if f"coming.{key}" not in facts:
            return [Sentence("No curtailment is scheduled; whether one will be asked for, nobody has told the ledger.")]
        return [_one(facts, "coming", "The next curtailment is from")]
    if f"last.{key}" not in facts:
        return [Sentence(f"No curtailment is on record{_then(inside)}.")]
    if has(r"\bhow (?:many|often)\b", asked):
        say = Say(facts)
        out.append(say.close(f"Curtailments on record{_then(inside)}: {say('curtailments.n')}."))
    goes_on = facts.word(f"last.{key}_status") == "active"
    if not goes_on and not inside and has(r"\b(?:is|are|am)\b", asked):
        out.append(Sentence("No curtailment is in force now.", (f"last.{key}_status",)))
    out.append(_one(facts, "last", f"The {'curtailment in force is' if goes_on else 'last curtailment was'} from"))
    if f"last.{key}_mean" in facts:
        say = Say(facts)
        kept = f"it was {say(f'last.{key}_kept')}: " if f"last.{key}_kept" in facts else ""
        text = f"{kept}at most {say(f'last.{key}_target')} was to be drawn after the ramp"
        out.append(say.close(f"{text}, and {say(f'last.{key}_mean')} was metered on average."))
    if (
        f"last.{key}_baseline" in facts
        and f"last.{key}_kwh" in facts
        and has(r"\bhow much\b|\bbaseline\b|\breduc", asked)
    ):
        say = Say(facts)
        text = (
            f"Its baseline was {say(f'last.{key}_baseline')}, and {say(f'last.{key}_kwh')} less were drawn than by that"
        )
        out.append(say.close(text + "."))
    if has(r"\bcosts?\b|\bmoney\b", asked):
        out.append(Sentence("What a curtailment costs or brings is not settled by itself."))
    if has(r"\bapprov", asked):
        out.append(Sentence("Who approved a command stands on Dispatch, in the log of operators' commands."))
    return out


def _one(facts: Facts, side: str, begins: str) -> Sentence:
    say, key = Say(facts), f"{side}.curtailment"
    text = f"{begins} {say.clock(key)} to {say.clock(f'{key}_end')}, asked for by {say(f'{key}_author')}"
    return say.close(f"{text}: {say(key)}.")


def _alarm(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
    say, out = Say(facts), []
    if "alarms.listed" in facts and not inside:
        out.append(say.close(f"Alarms on the list now: {say('alarms.listed')}."))
    say = Say(facts)
    if "last.alarm" not in facts:
        return [*out, Sentence(f"No alarm was written to the ledger{_then(inside)}.")]
    text = f"Alarms written to the ledger{_then(inside)}: {say('alarms.n')}; the newest at {say.clock('last.alarm')}"
    return [*out, say.close(f"{text}: {say('last.alarm')}.")]


def _decision(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
    say = Say(facts)
    text = f"The newest decision was made at {say.clock('last.decision')}; the next one follows the price that begins"
    return [say.close(f"{text} at {say.clock('coming.decision')}.")]


def _turn(kind: str) -> Told:
    def told(facts: Facts, asked: str, inside: bool) -> list[Sentence]:
        if f"last.{kind}" not in facts:
            return [Sentence(f"None of the newest decisions{_then(inside)} set the battery to {kind}.")]
        say = Say(facts)
        return [
            say.close(f"The battery was last set to {kind} at {say.clock(f'last.{kind}')}, with {say(f'last.{kind}')}.")
        ]

    return told


_TOLD: Final[Mapping[str, Told]] = {
    "curtailment": _curtailment, "override": _command("override", "override"), "hold": _command("hold", "hold"),
    "stop": _stop, "alarm": _alarm, "decision": _decision, "discharge": _turn("discharge"), "charge": _turn("charge"),
    "command": _command("command", "command"),
}  # fmt: skip
