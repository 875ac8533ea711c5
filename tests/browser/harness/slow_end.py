"""The console, whose strip leaves something behind that takes half a second to clear away.

A run that is asked for meanwhile is carried out by the thread that drew the strip.
"""

from __future__ import annotations

import runpy
import time
from typing import Any

from gridpilot.console import strip
from gridpilot.console.server import ROOT

drawn = getattr(strip.render_strip, "drawn", strip.render_strip)  # a module is the same for all runs


class Left:
    """Refers to itself, so that Streamlit's garbage collection after a run is what ends it."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0.5)


def render_strip(*args: Any) -> None:
    """The strip, and what it leaves behind."""
    drawn(*args)
    Left()


render_strip.drawn = drawn  # type: ignore[attr-defined]
strip.render_strip = render_strip
runpy.run_path(str(ROOT / "gridpilot" / "console" / "shell.py"))
