"""Explain: why?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import explain_parts as parts
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.errors import GridPilotError

CHAT = "explain_chat"  # look -> list of (question, Explanation, age): the ledger is the truth, this is the screen
ASKED = "explain_asked"  # views.Asking: the question that is being answered
TROUBLE = "explain_trouble"  # why the last question has no answer
FIRST = "What is the site doing, and why?"
LONGEST = 500
AT_ONCE_S = 0.3  # a refusal is there by then; the page, and the emergency stop on it, waits no longer for a model


def _ask(question: str) -> None:
    """Answered in a thread. By template that takes no time that anybody would see; a model is watched instead.

    It runs before the page: what goes wrong is said there, so that the strip and the emergency stop are drawn.
    """
    _file()
    try:
        st.session_state[ASKED] = asking = views.Asking(question)
        asking.wait(None if views.connection().model is None else AT_ONCE_S)
    except GridPilotError as error:
        st.session_state[TROUBLE] = str(error)


def _typed() -> None:
    """Asked before the page is drawn: nothing that runs before the line can lose it."""
    _ask(st.session_state["question"])


def _chat() -> list[tuple[str, views.Explanation, str]]:
    """The conversation about the moment looked at: what was said of another is not shown here."""
    return list(st.session_state.get(CHAT, {}).get(views.look(), ()))


def _file() -> None:
    """What is answered by now goes into the conversation that it was asked in."""
    asking: views.Asking | None = st.session_state.get(ASKED)
    if asking is None or not asking.over:
        return
    st.session_state[ASKED] = None
    if asking.found is not None:
        chats = st.session_state.setdefault(CHAT, {})
        chats.setdefault(asking.look, []).append((asking.question, asking.found, asking.age))
    else:
        st.session_state[TROUBLE] = asking.failure or "the explainer stopped: ask again"


def _clear() -> None:
    st.session_state.get(CHAT, {}).pop(views.look(), None)


def _who_answers() -> None:
    """Whether a language model is connected, and what becomes of its sentences."""
    link = views.connection()
    if link.trouble:
        st.caption(f"Offline explanation: {widgets.inert(link.trouble)}")
    elif link.model is None:
        st.caption(
            "Offline explanation: answers from this site's ledger by template. No language model is connected, and "
            "nothing here can act."
        )
    else:
        so_far = views.explained_so_far()
        st.caption(
            f"{widgets.inert(link.model.name)} at {widgets.inert(link.model.host)} answers from facts of this site's "
            "ledger, and a sentence with a figure that is not one of them is withheld "
            f"({fmt.count(so_far.withheld, 'sentence')} so far, in {fmt.count(so_far.by_model, 'answer')} of the model "
            f"and {so_far.by_template:,} without it). Nothing here can act."
        )


def _suggest(empty: bool) -> None:
    with st.container(horizontal=True, gap="small", key="suggestions"):
        for i, question in enumerate(views.suggestions()[1:] if empty else views.suggestions()):
            st.button(question, key=f"suggested_{i}", on_click=_ask, args=(question,), type="secondary")
        if not empty:
            st.button("Clear", key="clear_chat", on_click=_clear, type="tertiary")


def main() -> None:
    """The newest answer, the line to type in, questions that are worth asking, and earlier answers."""
    st.title("Why?")
    _file()
    trouble = st.session_state.pop(TROUBLE, "")
    if trouble:
        st.error(widgets.inert(trouble))
    _who_answers()
    if views.snapshot() is None:
        widgets.until_first_decision("Nothing to explain: there is no decision yet", "Questions and answers about it.")
        return
    asking: views.Asking | None = st.session_state.get(ASKED)
    chat = _chat()
    numbered = [*enumerate(chat, 1)]
    if asking is not None:
        parts.coming(asking)
    elif numbered:
        number, (question, found, age) = numbered.pop()
        parts.answer(number, question, found, age)
    else:
        parts.answer(0, FIRST, views.ask(FIRST), views.facts().age)
    # The line stands under the newest answer: at the window's end it would scroll the page to its bottom.
    with st.container(key="question_line"):
        asked = "now, the past week" if views.look().at is None else "this moment, the week before"
        st.chat_input(
            f"Ask about {asked} or the plan ahead", max_chars=LONGEST, key="question", on_submit=_typed,
            disabled=asking is not None,
        )  # fmt: skip
    if asking is None:
        _suggest(empty=not chat)
    if numbered:
        st.markdown("## Earlier questions")
    for number, (question, found, age) in reversed(numbered):
        parts.answer(number, question, found, age)


with widgets.saying_trouble():
    main()
