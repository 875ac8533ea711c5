"""One question, one explanation: by the model where one is connected and can be verified, else by the template.

Requests to act or to tell secrets are refused before any model is asked. Where data are stale their age comes first,
whoever answers. What the model wrote is shown sentence by sentence, each only when its figures are those of the facts
that it cites; if none is left, or anything fails, the template answers and the reason is told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from gridpilot.config import LanguageModel
from gridpilot.explain import agent
from gridpilot.explain.agent import Done, Looking, Wrote
from gridpilot.explain.desk import WAIT_S, Desk
from gridpilot.explain.fact import Fact, Facts
from gridpilot.explain.lookup import Lookup
from gridpilot.explain.recall import recall
from gridpilot.explain.sentences import Sentence, stale_sentence
from gridpilot.explain.template import Answer, answer
from gridpilot.explain.verify import Checked, check, sentences
from gridpilot.ledger.store import Ledger

BUSY = "other questions are being answered: ask again in a moment"
UNASKED = ("none", "when", "unkept")  # topics that no model can say more about


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer. Sentences are ready for Markdown; `facts` are those they cite, in order of appearance."""

    sentences: tuple[Sentence, ...]
    facts: tuple[Fact, ...]
    topic: str
    refused: bool = False
    model: str = ""  # who wrote it; empty: the template
    reason: str = ""  # why a model that is connected did not
    withheld: tuple[str, ...] = ()  # why each sentence of the model's that is not shown was withheld
    sent: str = ""  # what the model's server was sent, as JSON; empty where it was sent nothing

    @property
    def text(self) -> str:
        """All sentences in a row."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class Draft:
    """The sentences that are verified so far."""

    text: str


Event = Looking | Draft | Explanation


def by_template(question: str, facts: Facts, reason: str = "") -> Explanation:
    """The template's answer, and why no model answers where one is connected."""
    return _told(answer(question, facts), facts, reason)


def explain(
    question: str, facts: Facts, ledger: Ledger, model: LanguageModel | None, desk: Desk
) -> Generator[Event, None, None]:
    """What happens until the question is answered; the `Explanation` comes last, whatever fails.

    There is an event at least four times a second. Closing the generator gives the question up. `ledger` is only read:
    give a handle that was opened for reading.
    """
    facts = recall(question, facts, ledger)
    offline = answer(question, facts)
    if model is None or offline.refused or offline.topic in UNASKED or not question.strip():
        yield _told(offline, facts)
        return
    if not (yield from _seat(desk)):
        yield _told(offline, facts, BUSY)
        return
    lookup, shown = Lookup(facts, ledger), ""
    with closing(agent.run(question, offline.citations, lookup, model, desk.leave)) as steps:
        for step in steps:
            if isinstance(step, Looking):
                yield step
            elif isinstance(step, Done):
                yield _finished(step, offline, facts, lookup, model)
            elif (text := _draft(step, lookup)) != shown:
                shown = text
                yield Draft(text)


def _seat(desk: Desk) -> Generator[Event, None, bool]:
    """Wait for a seat at the desk; whether there was one. Nothing is given between the seat and the return."""
    if not desk.line_up():
        return False
    until = time.monotonic() + WAIT_S
    try:
        while not desk.sit(agent.TICK_S):
            if time.monotonic() > until:
                desk.give_up()
                return False
            yield Looking("waits until the questions before it are answered")
    except GeneratorExit:
        desk.give_up()
        raise
    return True


def _draft(written: Wrote, lookup: Lookup) -> str:
    """The verified ones of the whole sentences so far."""
    found = (check(one, lookup.facts) for one in sentences(written.text, ended=False)[0])
    return " ".join(one.text for one in found if not one.withheld)


def _finished(done: Done, offline: Answer, facts: Facts, lookup: Lookup, model: LanguageModel) -> Explanation:
    sent = _pretty(done.sent)
    if done.failure:
        return _told(offline, facts, done.failure, sent=sent)
    found = [check(one, lookup.facts) for one in sentences(done.text, ended=True)[0]]
    withheld = tuple(one.withheld for one in found if one.withheld)
    kept = [one for one in found if not one.withheld]
    if not kept:
        n = len(withheld)
        reason = f"none of the model's {n} sentence{'s' if n != 1 else ''} could be verified"
        return _told(offline, facts, reason, withheld, sent)
    return _verified(kept, facts, model, withheld, sent)


def _verified(
    kept: list[Checked], facts: Facts, model: LanguageModel, withheld: tuple[str, ...], sent: str
) -> Explanation:
    said = [Sentence(one.text, tuple(fact.id for fact in one.facts)) for one in kept]
    cited = {fact.id: fact for one in kept for fact in one.facts}
    if facts.stale:
        age = stale_sentence(facts)
        said.insert(0, age)
        cited = {key: facts[key] for key in age.citations} | cited
    return Explanation(tuple(said), tuple(cited.values()), "model", False, model.name, "", withheld, sent)


def _told(found: Answer, facts: Facts, reason: str = "", withheld: tuple[str, ...] = (), sent: str = "") -> Explanation:
    cited = tuple(facts[key] for key in found.citations if key in facts)
    return Explanation(found.sentences, cited, found.topic, found.refused, "", reason, withheld, sent)


def _pretty(sent: str) -> str:
    """The request's JSON, laid out; what a message holds as JSON text stays text, as it was sent."""
    return json.dumps(json.loads(sent), indent=1) if sent else ""
