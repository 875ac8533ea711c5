"""Every page of the running console, with its pilot on the embedded replay, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.harness.server import ROOT, Server
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched

pytestmark = pytest.mark.browser

WIDTHS = {"wide": 1440, "phone": 420}


def test_console__pages_on_disk__all_have_a_content_to_wait_for() -> None:
    assert {path.stem for path in ROOT.glob("pages/*.py")} == set(CONTENT)


@pytest.fixture(scope="module")
def pictures() -> Path:
    """Kept for looking at: artifacts/ is not in the repository."""
    folder = ROOT / "artifacts" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _open(console: Server, watched: Watched, name: str) -> None:
    watched.open(f"{console.url}/{'' if name == 'overview' else name}", CONTENT[name])
    watched.page.wait_for_timeout(600)  # let what is drawn after the first element come


@pytest.mark.parametrize("name", list(CONTENT))
def test_page__deep_link__real_content_strip_and_no_error(
    console: Server, new_page: Callable[..., Watched], pictures: Path, name: str
) -> None:
    watched = new_page()
    _open(console, watched, name)
    page = watched.page
    expect(page.locator(".gp-strip")).to_contain_text("REPLAY", timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Emergency stop")).to_be_visible(timeout=WAIT_MS)
    date = page.get_by_text(re.compile(r"2[4-9] Jun 2024")).first
    expect(date, "the replayed date is beside the word").to_be_visible(timeout=WAIT_MS)
    page.screenshot(path=str(pictures / f"{name}.png"))
    watched.clean()


@pytest.mark.parametrize("name", list(CONTENT))
def test_page__phone_in_the_dark__fits_and_no_error(
    console: Server, new_page: Callable[..., Watched], pictures: Path, name: str
) -> None:
    watched = new_page(width=WIDTHS["phone"], theme="dark")
    _open(console, watched, name)
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= WIDTHS["phone"], f"{name} is {wide} px wide on a phone"
    watched.page.screenshot(path=str(pictures / f"{name}-phone-dark.png"), full_page=True)
    watched.clean()


@pytest.mark.parametrize("name", ["auction", "dispatch", "health", "explain"])
def test_F57_table__own_download_of_streamlit__hidden_and_ours_offered(
    console: Server, new_page: Callable[..., Watched], name: str
) -> None:
    """Streamlit's download writes formulas as they are; ours quotes them."""
    watched = new_page()
    _open(console, watched, name)
    tables = watched.page.locator("[data-testid='stDataFrame']:visible")
    if name == "explain":
        watched.page.get_by_text("behind this").first.click()
    tables.first.wait_for()
    for k in range(tables.count()):
        tables.nth(k).hover()
        tables.nth(k).locator("[aria-label^='Fullscreen']").wait_for()
        expect(tables.nth(k).locator("[aria-label^='Download as CSV']")).to_have_count(1, timeout=WAIT_MS)
    expect(watched.page.locator("[aria-label^='Download as CSV']:visible")).to_have_count(0, timeout=WAIT_MS)
    with watched.page.expect_download() as saved:
        watched.page.get_by_role("button", name="Download CSV").first.click()
    assert saved.value.suggested_filename.endswith(".csv")
    head = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()[0]
    assert head.count(",") >= 2, head
    watched.clean()
