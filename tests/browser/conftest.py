"""Fixtures of the browser tests: a real Chromium, and the console running with a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import ARGUMENTS, CHROMIUM, Watched

HARNESS = Path(__file__).parent / "harness"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed: the browser tests need Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """`new_page(width=1440, height=900, theme="light")`: a fresh, watched page in its own session.

    Nothing on it moves by itself, unless `motion`.
    """
    contexts = []

    def make(width: int = 1440, height: int = 900, theme: Any = "light", motion: bool = False) -> Watched:
        reduced: Any = "no-preference" if motion else "reduce"
        size: Any = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion=reduced)
        contexts.append(context)
        return Watched(context.new_page())

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The whole console, with its pilot, on the embedded replay."""
    with serve(tmp_path_factory.mktemp("console")) as server:
        yield server


@pytest.fixture(scope="session")
def chart_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page with one live chart."""
    with serve(tmp_path_factory.mktemp("chart"), HARNESS / "chart_app.py") as server:
        yield server
