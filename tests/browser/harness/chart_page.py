"""One live chart whose data change at the press of a button."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import streamlit as st

from gridpilot.console import charts, live_chart

start = datetime(2024, 6, 12, tzinfo=UTC)
times = np.datetime64("2024-06-12T00:00:00", "s") + np.arange(24) * np.timedelta64(3600, "s")
level = st.session_state.setdefault("level", 0)
prices = 50.0 + 10.0 * level + np.sin(np.arange(24.0))


def _more() -> None:
    st.session_state["level"] += 1


st.button("new data", on_click=_more)
panels = [
    charts.price_panel(charts.settled(times, prices), None, "USD/MWh"),
    charts.loads_panel(times, {"air": np.full(24, 200.0), "gpu": np.full(24, 100.0)}),
]
axis = charts.TimeAxis(start, start + timedelta(days=1), "Europe/Amsterdam", start + timedelta(hours=10))
live_chart.show(charts.time_figure(axis, panels, f"Level {level}"), key="chart")
