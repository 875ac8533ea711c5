"""Fixtures of the browser tests: a real Chromium, and the console running with a database of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, BrowserType, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from pydantic import SecretStr

from gridpilot.config import Settings
from scripts.screenshots import fill
from tests.browser.harness.server import ROOT, Server, serve
from tests.browser.harness.watch import ARGUMENTS, CHROMIUM, Watched

HOURS = 4
FAILED = pytest.StashKey[bool]()
HARNESS = Path(__file__).parent / "harness"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator[BrowserType]:
    """The browser to start."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed: the browser tests need Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def profile(chromium: BrowserType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One Chromium for all tests, with a profile on disk: it keeps compiled scripts."""
    folder = tmp_path_factory.mktemp("profile")
    context = chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=list(ARGUMENTS))
    yield context
    context.close()


@pytest.fixture(scope="session")
def browser(chromium: BrowserType) -> Iterator[Browser]:
    """Another Chromium, for the pages of a second person."""
    with chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS)) as found:
        yield found


def _keep(pages: list[Watched], name: str, kind: str) -> None:
    """A picture of where each page of a test ended, and what went wrong on it: artifacts/ is not in the repository."""
    folder = ROOT / "artifacts" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for number, watched in enumerate(pages):
        file = folder / f"{re.sub('[^A-Za-z0-9_-]+', '-', name)}{f'-{number + 1}' if number else ''}.png"
        with suppress(PlaywrightError):  # a page that is gone has no picture
            watched.page.screenshot(path=str(file), timeout=5000)
        if watched.errors:
            file.with_suffix(".txt").write_text("\n".join([watched.page.url, *watched.errors]))


def _forget(profile: BrowserContext) -> None:
    """Close what a test opened, and what its pages kept: the next test begins as a new visitor."""
    for page in profile.pages[1:]:  # the first is the one that a browser starts with
        with suppress(PlaywrightError):
            page.evaluate("localStorage.clear()")
        page.close()
    profile.clear_cookies()


@pytest.fixture
def new_page(profile: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Callable[..., Watched]]:
    """`new_page(width=1440, height=900, theme="light")`: a fresh, watched page of a new visitor.

    Nothing on it moves by itself, unless `motion`. `apart` is for another person, with cookies of their own.
    """
    pages: list[Watched] = []
    others: list[BrowserContext] = []

    def make(
        width: int = 1440, height: int = 900, theme: Any = "light", motion: bool = False, apart: bool = False
    ) -> Watched:
        if apart:
            others.append(request.getfixturevalue("browser").new_context())
        page = (others[-1] if apart else profile).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=theme, reduced_motion="no-preference" if motion else "reduce")
        pages.append(Watched(page))
        return pages[-1]

    yield make
    if request.node.stash.get(FAILED, False):
        _keep(pages, request.node.name, "failures")
    elif "journey" in request.node.name:
        _keep(pages, request.node.name, "journeys")
    _forget(profile)
    for context in others:
        context.close()


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The whole console, with its pilot, on the embedded replay."""
    with serve(tmp_path_factory.mktemp("console")) as server:
        yield server


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ledger with some hours of decisions, its replay standing still."""
    folder = tmp_path_factory.mktemp("recorded")
    fill(Settings(db_url=SecretStr(f"sqlite:///{folder / 'gridpilot.db'}")), HOURS)
    return folder


@pytest.fixture(scope="session")
def filled_console(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The whole console, with its pilot, going on from those decisions. For tests that give no command but a step."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copytree(recorded, folder, dirs_exist_ok=True)
    with serve(folder) as server:
        yield server


@pytest.fixture(scope="session")
def chart_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page with one live chart."""
    with serve(tmp_path_factory.mktemp("chart"), HARNESS / "chart_app.py") as server:
        yield server
