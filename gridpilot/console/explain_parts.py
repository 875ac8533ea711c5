"""Parts of the Explain page: an answer with its citations, who gave it, and an answer as it comes."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.foreign import line

if TYPE_CHECKING:
    from gridpilot.explain.explainer import Explanation
    from gridpilot.explain.fact import Fact

EXACT = 6  # significant digits of an opened fact: whoever follows a citation wants to see what was rounded


def answer(number: int, question: str, found: Explanation, age: str) -> None:
    """A question with its answer; each citation opens its fact."""
    with st.chat_message("user"):
        st.text(line(question))
    with st.chat_message("assistant"):
        st.markdown(_marked(found))
        _who(found)
        if found.facts:
            _citations(number, found.facts)
            with st.expander(f"The {fmt.count(len(found.facts), 'fact')} behind this", key=f"facts_{number}"):
                _table(number, found.facts, age)
        if found.sent:
            with st.expander("What was sent to the model", key=f"sent_{number}"):
                st.code(found.sent, language=None, wrap_lines=True)


@st.fragment(run_every=0.3)
def coming(asking: views.Asking) -> None:
    """The answer as it comes: what is looked up, and each sentence as soon as it is verified.

    A fragment that looks again, so that the page, and the emergency stop with it, waits for no model.
    """
    if asking.over:
        st.rerun()
    with st.chat_message("user"):
        st.text(line(asking.question))
    with st.chat_message("assistant"):
        if asking.draft:
            st.markdown(asking.draft)
        doing = widgets.inert(asking.doing)
        st.caption(f"{doing[:1].upper()}{doing[1:]} … {time.monotonic() - asking.began:.0f} s")


def _marked(found: Explanation) -> str:
    """The sentences, each with the numbers of its facts behind it."""
    place = {fact.id: i for i, fact in enumerate(found.facts, 1)}
    out = []
    for sentence in found.sentences:
        numbers = spans(sorted({place[key] for key in sentence.citations if key in place}))
        out.append(f"{sentence.text} :small[:gray[\\[{numbers}\\]]]" if numbers else sentence.text)
    return " ".join(out)


def spans(numbers: list[int]) -> str:
    """Ascending whole numbers as they are cited: 1-4, 7."""
    if not numbers:
        return ""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _who(found: Explanation) -> None:
    """Who answered, and what was withheld."""
    n = len(found.withheld)
    withheld = f"{fmt.count(n, 'sentence')} of the model withheld: {found.withheld[0]}" if n else ""
    withheld += " (and others)" if len(set(found.withheld)) > 1 else ""
    if found.model:
        text = f"Written by {widgets.inert(found.model)}, each figure verified against the ledger."
        st.caption(f"{text} {withheld}".strip())
    elif found.reason:
        st.caption(f"Offline explanation: {widgets.inert(found.reason)}. {withheld}".strip())


def _citations(number: int, facts: tuple[Fact, ...]) -> None:
    """The numbers of the cited facts; the chosen one is shown with its value, age and ledger entry."""
    chosen = st.pills(
        "Facts cited", range(1, len(facts) + 1), key=f"cited_{number}", help="Choose a number to open its fact."
    )
    if chosen is None or chosen > len(facts):
        return
    fact = facts[chosen - 1]
    snap = views.snapshot()
    entry = views.entry_of(fact)
    with st.container(border=True, key=f"fact_{number}"):
        st.markdown(f"**{widgets.inert(fact.label)}**: {fact.text(EXACT)}")
        about = f"about {fact.at:%a %d %b %Y %H:%M}"
        if snap is not None and fact.at <= snap.at:
            about += f", {fmt.age((snap.at - fact.at).total_seconds())} at the newest decision"
        where = f"ledger entry {entry.seq:,} ({fact.source}), hash {entry.hash[:12]}" if entry else fact.source
        st.caption(widgets.inert(f"{about}; {where}; id {fact.id}"))


def _table(number: int, facts: tuple[Fact, ...], age: str) -> None:
    """Each cited figure with its source; foreign names stay text in a table."""
    table = pd.DataFrame(
        {
            "no.": range(1, len(facts) + 1),
            "fact": [fact.label for fact in facts],
            "value": [fact.text(EXACT).replace("\\", "") for fact in facts],
            "about": [f"{fact.at:%a %d %b %H:%M}" for fact in facts],
            "ledger entry": [fact.source for fact in facts],
            "id": [fact.id for fact in facts],
        }
    )
    widgets.table(table, f"facts-{number}")
    if age:
        st.caption(widgets.inert(age))
