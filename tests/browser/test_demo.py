"""The guided tour in a real browser: every chapter, its playing, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect
from pydantic import SecretStr

from gridpilot import demo
from gridpilot.config import Settings
from gridpilot.values import iso
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The console on a recorded demonstration."""
    folder = tmp_path_factory.mktemp("demo")
    demo.record(Settings(db_url=SecretStr(f"sqlite:///{folder / 'gridpilot.db'}")))
    with serve(folder, env={"GRIDPILOT_REPLAY_START": iso(demo.START)}) as server:
        yield server


def test_tour__every_chapter__is_walked_through_without_an_error(
    shown: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(shown.url, ".gp-guide")
    guide, bar = page.locator(".gp-guide"), page.locator(".st-key-moment_bar")
    expect(guide).to_contain_text("1 of 7: Before the spike", timeout=WAIT_MS)
    expect(bar).to_contain_text("Mon 24 Jun 2024 17:00", timeout=WAIT_MS)

    page.get_by_role("button", name="Play to 20:00").click()
    expect(bar).to_contain_text("Mon 24 Jun 2024 20:00", timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Play to 20:00")).to_be_visible(timeout=WAIT_MS)
    for alike in ("Previous", "Play", "Next"):  # of the bar of a past moment
        expect(page.get_by_role("button", name=alike, exact=True)).to_have_count(0, timeout=WAIT_MS)

    told = ("2 of 7", "3 of 7", "4 of 7", "5 of 7", "6 of 7", "7 of 7")
    why = "What is the site doing, and why?"
    ready = ("Discharging", why, "Worth of stored energy", "Everything was sent off", "kept", "P&L since")
    for chapter, text in zip(told, ready, strict=True):
        page.get_by_role("button", name="Next chapter").click()
        expect(guide).to_contain_text(chapter, timeout=WAIT_MS)
        expect(page.get_by_text(text).first).to_be_visible(timeout=WAIT_MS)
        assert page.locator("[data-testid='stAlert']").count() == 0
    expect(bar).to_have_count(0, timeout=WAIT_MS)
    page.get_by_role("button", name="Previous chapter").click()
    expect(guide).to_contain_text("6 of 7", timeout=WAIT_MS)
    page.get_by_role("button", name="End tour").click()
    expect(guide).to_have_count(0, timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Time").click()
    page.get_by_role("button", name="Start the tour again").click()
    expect(guide).to_contain_text("1 of 7: Before the spike", timeout=WAIT_MS)
    expect(bar).to_contain_text("Mon 24 Jun 2024 17:00", timeout=WAIT_MS)
    watched.clean()


def test_tour__somebody_elses_link__is_followed_not_the_first_chapter(
    shown: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page(420, theme="dark")
    page = watched.open(f"{shown.url}/?at=2024-06-23T12:00Z", ".gp-guide")
    expect(page.locator(".st-key-moment_bar")).to_contain_text("Sun 23 Jun 2024 14:00", timeout=WAIT_MS)
    watched.clean()
