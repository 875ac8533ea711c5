"""Globe: where are we making and losing money?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import globe, theme, widgets

sites = views.sites()
st.subheader("Where are we making and losing money?")
if not sites:
    widgets.empty_state("No site has reported yet", "Each site appears here after its first decision; see Health.")
    st.stop()

table = pd.DataFrame(
    {
        "site": [s.name for s in sites],
        "margin $/h": [s.margin_usd_per_h for s in sites],
        "price $/MWh": [s.price for s in sites],
        "load kW": [s.load_kw for s in sites],
        "data": ["simulated" if s.simulated else "live" for s in sites],
    }
)
picture, numbers = st.columns([3, 2], gap="medium")
with picture:
    st.pydeck_chart(globe.deck(sites, theme.active()), height=560, key="globe")
    st.caption(f"Height: size of the margin. Teal earns, amber loses. {globe.LAND_CREDIT}.")
with numbers:
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "margin $/h": st.column_config.NumberColumn(format="%.2f"),
            "price $/MWh": st.column_config.NumberColumn(format="%.2f"),
            "load kW": st.column_config.NumberColumn(format="%.0f"),
        },
    )
    widgets.download_csv(table, "sites.csv", key="globe_csv")
