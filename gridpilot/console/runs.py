"""Whether the whole page runs, or a fragment of it that ticks by itself.

A fragment that asks for the page anew (`st.rerun`) ends the run that it is in, and a press that a later part of the
page was to answer is lost with it. In a run of the whole page there is no need to: all that follows reads what is new.
"""

from __future__ import annotations

from streamlit.runtime.scriptrunner import get_script_run_ctx


def is_of_the_page() -> bool:
    """Whether the whole page runs."""
    context = get_script_run_ctx()
    return context is not None and not context.fragment_ids_this_run
