"""What our own components for the browser share: how they are registered, and how their data are written."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import streamlit as st


@functools.cache
def registered(name: str, html: str, css: str, js: str) -> Any:
    """The component, registered on first use, once a process: registering asks for Streamlit's running server."""
    return st.components.v2.component(name, html=html, css=css, js=js, isolate_styles=False)


def to_json(data: Mapping[str, Any]) -> str:
    """Data as text; equal data give equal text. A number that is not finite is a ValueError."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False)
