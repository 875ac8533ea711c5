"""Questions to the explainer: answered from a ledger handle that cannot write, by model or template, and counted."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridpilot.config import LanguageModel, language_model
from gridpilot.errors import ConfigError, GridPilotError, LedgerError
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import explained
from gridpilot.views import base

if TYPE_CHECKING:
    from gridpilot.explain.desk import Desk
    from gridpilot.explain.explainer import Event, Explanation
    from gridpilot.explain.fact import Fact, Facts

LONGEST_QUESTION = 500


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether a language model explains. At most one of the two is set."""

    model: LanguageModel | None = None
    trouble: str = ""  # why the settings name none that can be asked


@functools.cache
def desk() -> Desk:
    """One desk for the whole server."""
    from gridpilot.explain.desk import Desk

    return Desk()


def connection() -> Connection:
    """The model in force."""
    try:
        return Connection(language_model(base.settings()))
    except ConfigError as error:
        return Connection(trouble=str(error))


def facts() -> Facts:
    """The facts of the newest decision, with their ages by now; empty before the first one.

    Where a moment is looked at, those of the decision in force then, with the ages that it had.
    """
    from gridpilot.explain.facts import gather

    return gather(base.records_to_read(), None if base.look().at else base.wall())


def ask(question: str) -> Explanation:
    """Answer a question from the decision looked at, by template."""
    from gridpilot.explain.explainer import by_template
    from gridpilot.explain.recall import recall

    asked = question[:LONGEST_QUESTION]
    return by_template(asked, recall(asked, facts(), base.records_to_read()))


def _explained(question: str, known: Facts, store: Ledger) -> Iterator[Event]:
    """From these facts, and what else this ledger tells, by the model where one is connected: what happens meanwhile,
    the `Explanation` last."""
    from gridpilot.explain import explainer
    from gridpilot.explain.recall import recall

    link, asked = connection(), question[:LONGEST_QUESTION]
    if link.trouble:
        known = recall(asked, known, store)
        found = explainer.by_template(asked, known)
        yield found if found.refused else explainer.by_template(asked, known, link.trouble)
        return
    with closing(explainer.explain(asked, known, store, link.model, desk())) as events:
        for event in events:
            yield event
            if isinstance(event, explainer.Explanation):
                _count(event)


class Asking:
    """A question that is being answered in a thread of its own, so that no page waits: look at it again and again.

    It is about what its viewer looked at when it was asked; the thread itself knows no viewer.
    """

    def __init__(self, question: str) -> None:
        self.question = question
        self.look = base.look()
        self._facts, self._store = facts(), base.records_to_read()
        self.began = time.monotonic()
        self.doing = "reads the ledger"
        self.draft = ""  # verified sentences so far, ready for Markdown
        self.found: Explanation | None = None
        self.failure = ""
        self._thread = threading.Thread(target=self._answer, name="asking", daemon=True)
        self._thread.start()

    @property
    def age(self) -> str:
        """How old prices and decision were when it was asked."""
        return self._facts.age

    @property
    def over(self) -> bool:
        """Whether there is an answer, or a `failure` instead."""
        return not self._thread.is_alive()

    def wait(self, seconds: float | None) -> None:
        """Until it is over, but no longer than that."""
        self._thread.join(seconds)

    def _answer(self) -> None:
        from gridpilot.explain.explainer import Draft, Explanation

        try:
            for event in _explained(self.question, self._facts, self._store):
                if isinstance(event, Explanation):
                    self.found = event
                elif isinstance(event, Draft):
                    self.draft = event.text
                else:
                    self.doing = event.what
        except GridPilotError as error:
            self.failure = str(error)


def _count(found: Explanation) -> None:
    """On record in the state table, by the console's own handle: the explainer has none that writes."""
    if connection().model is None:
        return
    try:
        explained.count(base.own_ledger(), by_model=bool(found.model), withheld=len(found.withheld))
    except LedgerError as error:
        explained.missed(str(error))


def explained_so_far() -> explained.Tally:
    """How often the model answered, the template did instead, and how many sentences were withheld, ever."""
    return explained.read(base.own_ledger())


def entry_of(fact: Fact) -> Entry | None:
    """The ledger entry that a fact comes from; None where it is none of its own, as a price."""
    kind, _, cycle_id = fact.source.partition(" ")
    found = base.records_to_read().entries(kind, cycle_id=cycle_id, limit=1) if cycle_id and " " not in cycle_id else []
    return found[0] if found else None


def suggestions() -> tuple[str, ...]:
    """Questions that the explainer answers well."""
    from gridpilot.explain.template import SUGGESTIONS

    return SUGGESTIONS
