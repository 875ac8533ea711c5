"""Whether the whole page runs, or a fragment of it that ticks by itself.

A fragment that asks for the page anew (`st.rerun`) ends the run that it is in, and a press that a later part of the
page was to answer is lost with it. In a run of the whole page there is no need to: all that follows reads what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import streamlit as st

_WHOLE: Final = "runs_whole"


@contextmanager
def of_the_page() -> Iterator[None]:
    """Around a run of the whole page."""
    st.session_state[_WHOLE] = True
    try:
        yield
    finally:
        st.session_state[_WHOLE] = False


def is_of_the_page() -> bool:
    """Whether the whole page runs."""
    return bool(st.session_state.get(_WHOLE, False))
