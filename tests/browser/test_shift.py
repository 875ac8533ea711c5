"""A shift at the console: other bids, an override that ends by itself, a darker room, a phone in the hall."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gridpilot.console.theme import DARK, LIGHT
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched

pytestmark = pytest.mark.browser

PHONE = {"width": 420, "height": 900}
INK = "document.querySelector('.js-plotly-plot')._fullLayout.font.color"


@pytest.fixture(scope="module")
def site(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A console with some hours on record, for these journeys alone."""
    folder = tmp_path_factory.mktemp("shift")
    shutil.copytree(recorded, folder, dirs_exist_ok=True)
    with serve(folder) as server:
        yield server


def _said(page: Page, text: str) -> None:
    expect(page.locator(".gp-strip")).to_contain_text(text, timeout=WAIT_MS)


def test_journey__bids__edited_cleared_anew_and_taken_back(site: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = watched.open(f"{site.url}/auction", CONTENT["auction"])
    undo = page.locator(".st-key-bids_undo button")
    expect(undo).to_be_disabled(timeout=WAIT_MS)
    editor = page.locator("[class*='st-key-bids_'] [data-testid='data-grid-canvas']").first
    editor.scroll_into_view_if_needed()
    box = editor.bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 70, box["y"] + 52)  # the first bidder's name
    cell = page.locator("#portal :is(textarea, input)")
    cell.fill("newcomer")
    cell.press("Enter")
    expect(undo).to_be_enabled(timeout=WAIT_MS)
    page.get_by_label("Capacity, kW").fill("300")
    page.get_by_label("Capacity, kW").press("Enter")
    page.get_by_role("button", name="Clear these bids").click()
    expect(page.locator(".st-key-cleared_csv")).to_be_visible(timeout=WAIT_MS)
    undo.click()
    expect(undo).to_be_disabled(timeout=WAIT_MS)
    watched.clean()


def test_journey__theme__switched_while_open__charts_follow_without_a_reload(
    site: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{site.url}/plan", CONTENT["plan"])
    page.evaluate("window.sameDocument = true; document.querySelector('.js-plotly-plot').marked = true")
    for theme, palette in (("dark", DARK), ("light", LIGHT)):
        page.emulate_media(color_scheme=theme)
        watched.until(f"{INK} === '{palette['ink']}'")
        assert page.evaluate("window.sameDocument && document.querySelector('.js-plotly-plot').marked")
    page.emulate_media(color_scheme="dark")
    watched.until(f"{INK} === '{DARK['ink']}'")
    watched.clean()


def test_journey__phone__menu_leads_to_each_page__which_fits_with_the_stop_in_reach(
    site: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page(**PHONE)
    page = watched.open(site.url, CONTENT["overview"])
    for name in [name for name in CONTENT if name != "overview"]:
        page.get_by_test_id("stExpandSidebarButton").click()
        page.get_by_role("link", name=name.capitalize(), exact=True).click()
        expect(page).to_have_url(re.compile(name), timeout=WAIT_MS)
        page.get_by_test_id("stSidebarCollapseButton").locator("button").click()
        page.locator(CONTENT[name]).first.wait_for(timeout=WAIT_MS)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        expect(page.get_by_role("button", name="Emergency stop")).to_be_in_viewport(timeout=WAIT_MS)
        page.evaluate("document.querySelector('.stMain').scrollTo(0, 1e6)")
        expect(page.get_by_role("button", name="Emergency stop")).to_be_in_viewport(timeout=WAIT_MS)
    watched.clean()


def test_F54_journey__override__previewed_operated_and_ended_by_itself(
    site: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{site.url}/dispatch", CONTENT["dispatch"])
    for label, text in (
        ("Your name", "anna"),
        ("Reason", "fan test in hall 2"),
        ("gpu, of 12", "3"),
        ("Ends after, minutes of site time", "5"),
    ):
        field = page.get_by_role("textbox", name=label, exact=True).or_(page.get_by_role("spinbutton", name=label))
        field.fill(text)
        field.press("Enter")
    page.get_by_role("button", name="Select").click()
    expect(page.get_by_text("Grid power").first).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("Money per hour").first).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Operate").click()
    _said(page, "OVERRIDE")
    expect(page.get_by_text("In force: Machines: gpu 3")).to_be_visible(timeout=WAIT_MS)
    page.get_by_text("60×").click()
    _said(page, "AUTO")
    expect(page.get_by_text("In force: Machines: gpu 3")).to_have_count(0, timeout=WAIT_MS)
    page.get_by_text("Pause", exact=True).click()
    page.get_by_role("tab", name="Operators' commands").click()
    watched.clean()
