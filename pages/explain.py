"""Explain: why?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.errors import GridPilotError

CHAT = "explain_chat"  # list of (question, views.Reply); the ledger is the truth, this is only the screen
LONGEST = 500


def _ask(question: str) -> None:
    try:
        reply = views.ask(question)
    except GridPilotError as error:
        reply = views.Reply(widgets.inert(str(error)), (), "error", False, "")
    st.session_state.setdefault(CHAT, []).append((question, reply))


def _clear() -> None:
    st.session_state[CHAT] = []


def _answer(number: int, question: str, reply: views.Reply) -> None:
    with st.chat_message("user"):
        st.text(question)
    with st.chat_message("assistant"):
        st.markdown(reply.text)
        if reply.facts:
            label = f"The {fmt.count(len(reply.facts), 'fact')} behind this"
            with st.expander(label, key=f"facts_{number}"):
                _facts(number, reply)


def _facts(number: int, reply: views.Reply) -> None:
    """Each cited figure with its source; foreign names stay text in a table."""
    table = pd.DataFrame(
        {
            "fact": [fact.label for fact in reply.facts],
            "value": [fact.text().replace("\\", "") for fact in reply.facts],
            "about": [f"{fact.at:%a %d %b %H:%M}" for fact in reply.facts],
            "ledger entry": [fact.source for fact in reply.facts],
            "id": [fact.id for fact in reply.facts],
        }
    )
    widgets.table(table, f"facts-{number}")
    if reply.age:
        st.caption(widgets.inert(reply.age))


def main() -> None:
    """Questions that are worth asking, the conversation, and the line to type in."""
    st.subheader("Why?")
    st.caption(
        "Offline explanation: answers from this site's ledger by template. No language model is connected, and "
        "nothing here can act."
    )
    if views.snapshot() is None:
        widgets.until_first_decision("Nothing to explain: there is no decision yet", "Questions and answers about it.")
        return
    chat: list[tuple[str, views.Reply]] = st.session_state.setdefault(CHAT, [])
    if not chat:
        _answer(0, "What is the site doing, and why?", views.ask("What is the site doing, and why?"))
    for number, (question, reply) in enumerate(chat, 1):
        _answer(number, question, reply)
    with st.container(horizontal=True, gap="small", key="suggestions"):
        for i, question in enumerate(views.suggestions()[1:] if not chat else views.suggestions()):
            st.button(question, key=f"suggested_{i}", on_click=_ask, args=(question,), type="secondary")
        if chat:
            st.button("Clear", key="clear_chat", on_click=_clear, type="tertiary")
    asked = st.chat_input("Ask about the newest decision", max_chars=LONGEST, key="question")
    if asked:
        _ask(asked)
        st.rerun()


try:
    main()
except GridPilotError as error:
    st.error(widgets.inert(str(error)))
