"""A server with the console's routes and headers around one page with a chart."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from gridpilot.console import server

app = st.App(
    Path(__file__).parent / "chart_page.py",
    routes=server.routes(),
    middleware=[Middleware(server.SecurityHeaders)],
)
