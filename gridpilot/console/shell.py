"""The UI script: page configuration, navigation, the status strip, and then the page.

It is the only way into a page; `app.py` names it, so that a deep link cannot go around it. The sign-in gate comes
before anything is drawn.
"""

from __future__ import annotations

from typing import Final

import streamlit as st
from streamlit.delta_generator_singletons import context_dg_stack, get_default_dg_stack_value

from gridpilot.console import runs
from gridpilot.console.server import ROOT
from gridpilot.console.strip import render_failure, render_stop_only, render_strip
from gridpilot.console.theme import STYLE
from gridpilot.console.widgets import inert
from gridpilot.errors import ConfigError, GridPilotError

TICK_S: Final = 2.0
IN_CONTROL: Final = "shell_in_control"
KEPT: Final = (  # choices that outlive leaving their page
    "backtest_days", "backtest_forecaster", "backtest_information", "forecast_price", "forecast_hours", "prices_days"
)  # fmt: skip
ICON: Final = ROOT / "gridpilot" / "data" / "icon.png"

# url path -> (title, the question that the page answers)
PAGES: Final[dict[str, tuple[str, str]]] = {
    "overview": ("Overview", "What is the site doing, and is that good?"),
    "prices": ("Prices", "What does power cost, and who earns at that price?"),
    "forecast": ("Forecast", "What will power cost, and how sure are we?"),
    "plan": ("Plan", "What will we do, and why is that the best?"),
    "auction": ("Auction", "Who gets the power, and what do they pay?"),
    "risk": ("Risk", "What could go wrong, and how much would it cost?"),
    "dispatch": ("Dispatch", "What is running, what will change, and how do I take over?"),
    "globe": ("Globe", "Where are we making and losing money?"),
    "backtest": ("Backtest", "Would this have earned money?"),
    "explain": ("Explain", "Why?"),
    "health": ("Health", "Is the system itself well?"),
}


@st.fragment(run_every=TICK_S)
def _strip() -> None:
    from gridpilot import views
    from gridpilot.console import looking, signin
    from gridpilot.console.strip import own_site

    who = signin.actor()
    if who is None or signin.over(who):
        st.rerun()  # the gate is in the page's body
    try:
        status = views.status()
    except GridPilotError as error:
        render_failure(looking.without_ledger() or str(error), who, own_site())
    else:
        render_strip(status, who, own_site())
        known = st.session_state.get(IN_CONTROL)
        st.session_state[IN_CONTROL] = given = (status.control, status.proposals)
        if known not in (None, given) and not runs.is_of_the_page():
            st.rerun()  # what one may do about it stands in the page's body, which is not live


def _gate() -> bool:
    """Whether who is here may see the console. Whose sign-in is over may still stop the site."""
    from gridpilot.console import signin

    try:
        signin.require_safe_start()
        who = signin.actor()
    except ConfigError as error:
        st.error(inert(str(error)))
        return False
    if who is None:
        signin.sign_in_page()
        return False
    why = signin.over(who)
    if why:
        with st.container(key="strip_bar"):
            render_stop_only(why, who)
        signin.sign_in_page(why)
    return not why


def main() -> None:
    """One run of the console."""
    # Where the thread that has just run a fragment goes on with the page, Streamlit would draw the page into that
    # fragment's container; the browser then meets a place that it does not know, and stays white.
    context_dg_stack.set(get_default_dg_stack_value())
    st.set_page_config(page_title="GridPilot", page_icon=ICON, layout="wide")
    st.html(STYLE)
    for key in KEPT:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]  # else Streamlit forgets it with the widget
    open_ = _gate()
    pages = {
        path: st.Page(
            ROOT / "pages" / f"{path}.py", title=title, url_path=path, default=path == "overview", help=question
        )
        for path, (title, question) in PAGES.items()
    }
    page = st.navigation(list(pages.values()), position="top" if open_ else "hidden")
    if not open_:
        return
    from gridpilot.console import guide, looking, moment_bar

    name = page.url_path or "overview"
    trouble = looking.follow()
    looking.arrive(name)
    guide.begin(name)
    with st.container(key="strip_bar"):
        with st.container(key="strip_row", horizontal=True, vertical_alignment="bottom", gap="small"):
            looking.picker()
            with st.container(width="stretch"):
                _strip()
            moment_bar.choose(more=lambda: guide.start_again(pages, name))
        moment_bar.show(name, led=guide.running())
    guide.show(pages, name)
    if trouble:
        st.warning(inert(trouble))
    if not looking.nothing_yet(name) and not moment_bar.nothing_then(name):
        page.run()


main()
