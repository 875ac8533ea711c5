"""A page that remembers everything a test must not overlook: errors in the browser, requests to elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request

CHROMIUM = "/usr/bin/chromium"
WAIT_MS = 20_000  # for what a rerun of a page brings, on a busy machine
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHART = ".js-plotly-plot .main-svg"
# page -> something that is there only when a decision was read and drawn
CONTENT = {
    "overview": CHART,
    "prices": CHART,
    "forecast": CHART,
    "plan": CHART,
    "auction": CHART,
    "risk": CHART,
    "dispatch": "[data-testid='stDataFrame']",
    "globe": ".gp-globe canvas",
    "backtest": ".st-key-backtest_run button",
    "explain": "[data-testid='stChatInput']",
    "health": "[data-testid='stMetric']",
}
# On a deep link Streamlit's client first looks for its server under the page's own path, and says so.
PROBES = ("/_stcore/health", "/_stcore/host-config")


def drag_over(page: Page, start: float, end: float) -> None:
    """Zoom into a part of the first chart's width, as a viewer does."""
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=8)
    page.mouse.up()


@dataclass
class Watched:
    """A page and what went wrong on it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error.stack or error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        probe = message.location.get("url", "").endswith(PROBES)
        if message.type == "error" and not probe:
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        here = ("http://localhost:", "http://127.0.0.1:", "ws://localhost:", "ws://127.0.0.1:", "data:", "blob:")
        if not request.url.startswith(here):
            self.outside.append(request.url)

    def open(self, url: str, ready: str) -> Page:
        """Go to `url` and wait for the element `ready` (a selector) to be seen."""
        self.page.goto(url)
        self.page.locator(ready).first.wait_for(timeout=30_000)
        return self.page

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true (the page's own policy forbids Playwright's way of waiting)."""
        deadline = time.monotonic() + 15.0
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"never came true: {expression}")
            self.page.wait_for_timeout(50)

    def clean(self) -> None:
        """Fails where an exception showed, the browser complained or something outside was asked for."""
        assert self.page.locator('[data-testid="stException"]').count() == 0
        assert self.errors == []
        assert self.outside == []
