"""What a press calls runs to its end, though the whole page is asked for in the middle of it."""

from __future__ import annotations

import pytest
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.testing.v1 import AppTest

from gridpilot.console import server


def _page() -> None:
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    def press() -> None:
        context = get_script_run_ctx()
        assert context is not None and context.script_requests is not None
        context.script_requests.request_rerun(
            RerunData(query_string=context.query_string, page_script_hash=context.page_script_hash, widget_states=None)
        )
        st.session_state["begun"] += 1
        st.session_state["done"] += 1

    st.session_state.setdefault("begun", 0)
    st.session_state.setdefault("done", 0)
    st.button("Go", key="go", on_click=press)


def test_press__the_page_is_asked_for_meanwhile__done_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SafeSessionState, "on_script_will_rerun", SafeSessionState.on_script_will_rerun)
    server.see_through()
    app = AppTest.from_function(_page).run()
    app.button(key="go").click().run()
    assert not app.exception
    assert (app.session_state["begun"], app.session_state["done"]) == (1, 1)
