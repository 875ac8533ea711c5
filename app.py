"""The console: `streamlit run app.py`.

A thin launcher. The pages are registered in `gridpilot/console/shell.py`; here are only the things that
live as long as the server: pilot, watchdog and watch, the warm-up, the routes and the security headers.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import streamlit as st
from starlette.middleware import Middleware

from gridpilot.console import server, signin
from gridpilot.errors import ConfigError


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """From the server's start to its end."""
    server.follow()
    engine = server.engine()
    engine.start()
    server.warm_up()
    sys.stderr.write(f"{server.greeting(st.get_option('server.port'))}\n")
    try:
        yield {}
    finally:
        await anyio.to_thread.run_sync(engine.stop)


try:
    signin.require_safe_start()
except ConfigError as problem:
    sys.exit(f"error: {problem}")

server.ask_nobody()
server.hold_path()
server.hear_out()
server.see_through()
app = st.App(
    server.SHELL,
    lifespan=lifespan,
    routes=server.routes(),
    middleware=[Middleware(server.SecurityHeaders)],
)
