"""The UI script: page configuration, navigation, the status strip, and then the page.

It is the only way into a page; `app.py` names it, so that a deep link cannot go around it.
"""

from __future__ import annotations

from typing import Final

import streamlit as st

from gridpilot.console.server import ROOT
from gridpilot.console.strip import render_failure, render_strip
from gridpilot.console.theme import STYLE
from gridpilot.errors import GridPilotError

TICK_S: Final = 2.0
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

    try:
        status = views.status()
    except GridPilotError as error:
        render_failure(str(error))
    else:
        render_strip(status)


def main() -> None:
    """One run of the console."""
    st.set_page_config(page_title="GridPilot", page_icon=ICON, layout="wide")
    st.html(STYLE)
    page = st.navigation(
        [
            st.Page(
                ROOT / "pages" / f"{path}.py", title=title, url_path=path, default=path == "overview", help=question
            )
            for path, (title, question) in PAGES.items()
        ],
        position="top",
    )
    with st.container(key="strip_bar"):
        _strip()
    page.run()


main()
