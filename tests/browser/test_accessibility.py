"""The console for who sees little, and for who has no mouse: axe-core on every page, and the keyboard alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.harness.axe import violations
from tests.browser.harness.provider import provide
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched

pytestmark = [pytest.mark.browser, pytest.mark.long]

DARK = "getComputedStyle(document.querySelector('.stApp')).colorScheme === 'dark'"
# The element that had the focus, where neither it nor what it stands in looks otherwise without it.
UNSEEN = """
(() => {
  const look = (at) => {
    const out = [];
    for (let up = 0; at && up < 4; up++, at = at.parentElement) {
      const style = getComputedStyle(at);
      out.push(style.outline, style.boxShadow, style.borderColor, style.backgroundColor);
    }
    return out.join();
  };
  document.getAnimations().forEach((a) => a.effect.getComputedTiming().endTime === Infinity || a.finish());
  const was = window.focused, one = document.activeElement;
  window.focused = { one, look: look(one) };
  const changed = !was || !was.one.isConnected || was.one === one || was.one.matches("body, canvas");
  return changed || look(was.one) !== was.look ? "" : was.one.outerHTML.slice(0, 300);
})()
"""


def _open(server: Server, watched: Watched, name: str) -> Page:
    page = watched.open(f"{server.url}/{'' if name == 'overview' else name}", CONTENT[name])
    page.wait_for_timeout(500)
    return page


@pytest.mark.parametrize("name", list(CONTENT))
def test_axe__page__light_dark_and_phone__no_violation(
    filled_console: Server, new_page: Callable[..., Watched], name: str
) -> None:
    watched = new_page()
    page = _open(filled_console, watched, name)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    watched.until(DARK)
    assert violations(page) == []
    page.set_viewport_size({"width": 420, "height": 900})
    page.wait_for_timeout(500)
    assert violations(page) == []
    labels = page.evaluate("[...document.querySelectorAll('.gp-chart')].map(chart => chart.ariaLabel)")
    assert [label for label in labels if len(label.split()) < 3] == [], "a chart says what it shows"
    watched.clean()


def test_axe__past_moment__no_violation_in_either_theme(
    filled_console: Server, new_page: Callable[..., Watched]
) -> None:
    for theme in ("light", "dark"):
        watched = new_page(theme=theme)
        page = watched.open(f"{filled_console.url}/?at=2024-06-24T14:00Z", ".st-key-moment_bar")
        page.locator(CONTENT["overview"]).first.wait_for(timeout=WAIT_MS)
        assert violations(page) == [], theme
        watched.clean()


def _tab_to(page: Page, name: str, most: int = 60, key: str = "Tab") -> None:
    """Tab until the focus is on what has this name; on the way each stop shows that it has the focus."""
    for _ in range(most):
        page.keyboard.press(key)
        page.wait_for_timeout(20)
        assert page.evaluate(UNSEEN) == "", f"on the way to {name} the focus could not be seen"
        label = page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")
        if label.startswith("Help"):
            continue
        if label.startswith(name) or label.endswith(name):  # an icon may be spelt before it
            return
    raise AssertionError(f"{name} is not reached within {most} tabs")


def test_keyboard__from_the_first_tab__past_the_navigation_and_to_a_page(
    filled_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = _open(filled_console, watched, "overview")
    _tab_to(page, "Skip to main content", 1)
    page.keyboard.press("Enter")
    _tab_to(page, "Emergency stop", 8)
    page.reload()
    page.locator(CONTENT["overview"]).first.wait_for()
    _tab_to(page, "Explain", 12)
    page.keyboard.press("Enter")
    page.locator(CONTENT["explain"]).first.wait_for(timeout=WAIT_MS)
    watched.clean()


def test_keyboard__a_question__asked_and_its_facts_opened(
    filled_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = _open(filled_console, watched, "explain")
    _tab_to(page, "Ask about now, the past week or the plan ahead")
    page.keyboard.type("Why are the air miners off?")
    page.keyboard.press("Enter")
    # The facts of the answer to this question: what stood there before had facts behind it too.
    page.locator(".st-key-facts_1 summary").wait_for(timeout=WAIT_MS)
    _tab_to(page, "behind this", key="Shift+Tab")
    page.keyboard.press("Enter")
    page.locator("[data-testid='stDataFrame']:visible").first.wait_for(timeout=WAIT_MS)
    _tab_to(page, page.locator(".st-key-cited_1 button").last.inner_text(), key="Shift+Tab")
    page.keyboard.press("Enter")
    page.locator(".st-key-fact_1").wait_for(timeout=WAIT_MS)
    assert violations(page) == []
    watched.clean()


def test_keyboard__override_and_emergency_stop__without_a_mouse_and_no_violation_on_the_way(
    recorded: Path, tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    with serve(tmp_path) as server:
        page = _open(server, watched, "dispatch")
        for name, text in (("Your name", "anna"), ("gpu, of 12", "3"), ("Reason", "fan test in hall 2")):
            _tab_to(page, name)
            page.keyboard.press("Control+A")
            page.keyboard.type(text)
        _tab_to(page, "Select", 12)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Void in")).to_be_visible(timeout=WAIT_MS)
        assert violations(page) == []
        _tab_to(page, "Operate", 12)
        page.keyboard.press("Enter")
        expect(page.locator(".gp-strip")).to_contain_text("OVERRIDE", timeout=WAIT_MS)

        page.keyboard.press("Control+Home")
        page.locator("[data-testid='stMain']").focus()
        _tab_to(page, "Emergency stop", 8)
        page.keyboard.press("Enter")
        expect(page.locator(".gp-strip")).to_contain_text("E-STOP", timeout=WAIT_MS)
        expect(page.get_by_role("button", name="1. Request release")).to_be_visible(timeout=WAIT_MS)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(500)
            assert violations(page) == []
        watched.clean()


def test_axe__sign_in_page_and_pages_without_a_decision__no_violation(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.page
    with provide() as provider:
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(provider.secrets_toml())
        env = {"STREAMLIT_SECRETS_FILES": str(secrets), "GRIDPILOT_NO_PILOT": "1"}
        with serve(tmp_path, env={**env, "GRIDPILOT_OPERATORS": "ola@site.example"}) as server:
            page.goto(server.url)
            page.get_by_role("button", name="Sign in").wait_for(timeout=WAIT_MS)
            for theme in ("dark", "light"):
                page.emulate_media(color_scheme=theme)
                page.wait_for_timeout(500)
                assert violations(page) == []
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("link", name="ola@site.example").click(timeout=WAIT_MS)
            page.locator(".gp-strip").wait_for(timeout=WAIT_MS)
            for name in CONTENT:
                page.goto(f"{server.url}/{name}")
                page.locator(".gp-strip").wait_for(timeout=WAIT_MS)
                page.wait_for_timeout(500)
                assert violations(page) == [], name
