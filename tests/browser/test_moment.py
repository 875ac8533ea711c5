"""Looking back in a real browser: a deep link, on by a decision, play, the stop meanwhile, and back to now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect
from pydantic import SecretStr

from gridpilot.config import Settings
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch import override
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.pilot import REPLAY_START
from gridpilot.values import iso
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CYCLES = 5


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A console on some decisions, its clock standing at the last one; and its ledger."""
    folder = tmp_path_factory.mktemp("moment")
    url, wall = f"sqlite:///{folder / 'gridpilot.db'}", datetime.now(UTC)
    with Ledger.open(url) as ledger:
        engine = open_engine(Settings(db_url=SecretStr(url)), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        ledger.put_state(REPLAY_START, iso(source.clock.replay))
        for _ in range(CYCLES):
            run_cycle(engine, wall)
            source.clock = source.clock.stepped(wall).with_speed(wall, 0.0)
        PilotState(AUTO, "", clock=source.clock).save(ledger)
    with serve(folder) as server:
        yield server, url


def test_moment__deep_link_next_play_stop_and_back__all_work(
    recorded: tuple[Server, str], new_page: Callable[..., Watched]
) -> None:
    server, url = recorded
    watched = new_page()
    page = watched.open(f"{server.url}/plan?at=2024-06-24T13:00Z", ".st-key-moment_bar")
    bar = page.locator(".st-key-moment_bar")
    expect(bar).to_contain_text("Looking back: Mon 24 Jun 2024 15:00", timeout=WAIT_MS)
    expect(page.locator(".gp-chart .main-svg").first).to_be_visible(timeout=WAIT_MS)
    line = page.locator(".gp-chart .annotation-text", has_text=re.compile("^(now|then)$"))
    expect(line).to_have_text("then", timeout=WAIT_MS)
    page.evaluate("document.querySelector('.gp-chart').dataset.kept = 'yes'")

    page.get_by_role("button", name="Next", exact=True).click()
    expect(bar).to_contain_text("16:00", timeout=WAIT_MS)
    assert "at=2024-06-24T14:00Z" in page.url.replace("%3A", ":")

    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_role("button", name="Emergency stop").click()
    expect(page.get_by_role("button", name="Stopped")).to_be_visible(timeout=WAIT_MS)
    expect(bar).to_contain_text("the newest decision", timeout=WAIT_MS)
    assert page.evaluate("document.querySelector('.gp-chart').dataset.kept") == "yes", "the chart was mounted anew"
    with Ledger.open(url, read_only=True) as ledger:
        assert override.stopped(ledger) is not None

    page.get_by_role("link", name="Dispatch").click()
    expect(page.get_by_text("Commands act now: go back to now to give one.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Back to now").click()
    expect(bar).to_have_count(0, timeout=WAIT_MS)
    expect(page.locator(".st-key-stop_panel")).to_be_visible(timeout=WAIT_MS)
    assert page.url == f"{server.url}/dispatch?at=now", "an address that was copied now is one of now"
    page.get_by_role("link", name="Plan").click()
    expect(line).to_have_text("now", timeout=WAIT_MS)
    watched.clean()


def test_moment__slider_and_field__lead_into_the_past_and_back_to_now(
    recorded: tuple[Server, str], new_page: Callable[..., Watched]
) -> None:
    server, _ = recorded
    watched = new_page(420)
    page = watched.open(f"{server.url}/plan", ".gp-strip")
    page.get_by_role("button", name="Time").click()
    body, bar = page.locator("[data-testid='stPopoverBody']"), page.locator(".st-key-moment_bar")
    slider = body.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuetext", "now", timeout=WAIT_MS)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(bar).to_contain_text("Looking back: Mon 24 Jun", timeout=WAIT_MS)
    expect(slider).not_to_have_attribute("aria-valuetext", "now")
    page.locator(".gp-chart .annotation-text", has_text=re.compile("^then$")).wait_for(timeout=WAIT_MS)
    slider.focus()
    page.keyboard.press("End")
    expect(bar).to_have_count(0, timeout=WAIT_MS)

    hour = body.get_by_role("spinbutton", name="hour")
    hour.click()
    page.keyboard.type("14")
    page.keyboard.press("Enter")
    expect(bar).to_contain_text("Looking back: Mon 24 Jun 2024 14:", timeout=WAIT_MS)
    expect(body.locator("code", has_text="/plan?at=2024-06-24T12:")).to_be_visible(timeout=WAIT_MS)
    watched.clean()


def test_moment__link__gives_the_page_and_the_moment(
    recorded: tuple[Server, str], new_page: Callable[..., Watched]
) -> None:
    server, _ = recorded
    watched = new_page(420)
    page = watched.open(f"{server.url}/prices?at=2024-06-24T13:00Z", ".st-key-moment_bar")
    page.get_by_role("button", name="Time").click()
    expect(page.locator("[data-testid='stPopoverBody'] code")).to_have_text(
        f"{server.url}/prices?at=2024-06-24T13:00Z", timeout=WAIT_MS
    )
    watched.clean()
