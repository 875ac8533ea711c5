"""Globe: where are we making and losing money?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import globe, theme, widgets

sites = views.sites()
st.subheader("Where are we making and losing money?")
if views.newest() is None:
    widgets.until_first_decision("No site has reported yet", "Price, margin and load of each site, on a globe.")
    st.stop()

units = sites[0].units
table = pd.DataFrame(
    {
        "site": [s.name for s in sites],
        f"margin, {units.money}/h": [s.margin_usd_per_h for s in sites],
        f"price, {units.energy}": [s.price for s in sites],
        "load, kW": [s.load_kw for s in sites],
        "charge, %": [100.0 * s.soc_frac for s in sites],
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
            name: st.column_config.NumberColumn(format="%.0f" if name.startswith(("load", "charge")) else "%.2f")
            for name in table.columns
            if name not in ("site", "data")
        },
    )
    widgets.download_csv(table, "sites.csv", key="globe_csv")
