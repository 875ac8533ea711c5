"""Globe: where are we making and losing money?"""

from __future__ import annotations

import streamlit as st

from gridpilot import views
from gridpilot.console import globe, globe_parts, live_globe, looking, theme, widgets

REFRESH_S = 10.0
HOVER = "Hover for figures, click a column or choose a row to go into a site."
COLOURS = "Height: size of the margin. Teal earns, amber loses, grey has no data; green: work that would have paid."


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def _body() -> None:
    fleet = views.fleet()
    sentence = globe.finding(fleet)
    widgets.finding(sentence)
    picture, numbers = st.columns([2, 3], gap="medium")
    with picture:
        light, dark = (globe.spec(fleet, palette) for palette in (theme.LIGHT, theme.DARK))
        looking.aim(live_globe.show(light, dark, "globe", f"Globe of the sites. {sentence}"))
        st.caption(f"{HOVER} {COLOURS} {globe.LAND_CREDIT}.")
    with numbers:
        rows = globe_parts.table(fleet.sites)
        looking.aim(globe_parts.show_table(rows, fleet.sites))
        globe_parts.below_table(rows, fleet.sites)
        if len(fleet.sites) > 1:
            globe_parts.moves(fleet)
        else:
            globe_parts.how()


st.title("Where are we making and losing money?")
_body()
