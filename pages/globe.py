"""Globe: where are we making and losing money?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import globe, globe_parts, live_globe, looking, theme, widgets

REFRESH_S = 10.0
GO = "globe_go"
HOVER = "Hover for figures, click a column or choose a row to go into a site."
COLOURS = "Height: size of the margin. Teal earns, amber loses, grey has no data; green: work that would have paid."


def _go(name: str) -> None:
    """Into the site that was pressed or chosen, before anything more is drawn."""
    if name:
        st.session_state[GO] = name
        st.rerun()  # a fragment cannot change the page: the run of the whole one does


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body() -> None:
    fleet = views.fleet()
    sentence = globe.finding(fleet)
    widgets.finding(sentence)
    picture, numbers = st.columns([3, 4], gap="medium")
    with picture:
        light, dark = (globe.spec(fleet, palette) for palette in (theme.LIGHT, theme.DARK))
        _go(live_globe.show(light, dark, "globe", f"Globe of the sites. {sentence}"))
        st.caption(f"{HOVER} {COLOURS} {globe.LAND_CREDIT}.")
    with numbers:
        rows = globe_parts.table(fleet.sites)
        _go(globe_parts.show_table(rows, fleet.sites))
        globe_parts.below_table(rows, fleet.sites)
        if len(fleet.sites) > 1:
            globe_parts.moves(fleet)
        else:
            globe_parts.how()


if GO in st.session_state:
    looking.enter(st.session_state.pop(GO))
st.title("Where are we making and losing money?")
_body()
