"""Nothing on a live page moves while its figures are renewed, nor when the next decision arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.harness.server import Server
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched, drag_over

pytestmark = [pytest.mark.browser, pytest.mark.long]

LIVE = [("overview", "prices", "auction", "dispatch"), ("forecast", "plan", "risk", "health")]  # each watched at once
DRAWN_OVER_TIME = ("overview", "forecast")
TICKS_MS = 10_000  # three refreshes of a page, five of the strip
AT_A_TICK = 0.01
AT_A_DECISION = 0.02  # a sentence more or less is a line more or less
SCROLLED = 150
WATCH = """
window.shifts = [];
const named = (node) => {
  const at = node && (node.nodeType === 1 ? node : node.parentElement);
  const key = at && at.closest("[class*=st-key-], [data-testid]");
  return key ? (key.dataset.testid || key.className) + ": " + key.textContent.slice(0, 60) : "gone";
};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    window.shifts.push([entry.value, entry.sources.map((source) => named(source.node)).join(" / ")]);
}).observe({ type: "layout-shift", buffered: false });
"""
# What a shift looks like: the page is pushed down, and let back.
PUSH = """
(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
  const wedge = document.createElement("div"), main = document.querySelector(".stMain");
  wedge.style.cssText = "height: 120px; flex: none";
  main.prepend(wedge);
  await frame();
  wedge.remove();
  await frame();
})()
"""
MOMENT = ".gp-strip > span:first-child"
TOP = "document.querySelector('.stMain').scrollTop"
CHARTS = """
[...document.querySelectorAll(".js-plotly-plot")].map((chart) => [
  chart.layout.xaxis && chart.layout.xaxis.autorange === true ? "whole" : JSON.stringify(chart._fullLayout.xaxis.range),
  chart._fullData.filter((trace) => trace.visible === "legendonly").map((trace) => trace.name).join(),
])
"""


def _moved(page: Page) -> tuple[float, list[Any]]:
    """How much has shifted since the last question, and what."""
    shifts = page.evaluate("window.shifts.splice(0)")
    return sum(value for value, _ in shifts), [shift for shift in shifts if shift[0] > 0.001]


def _zoom_and_hide(page: Page) -> Any:
    """Zoom into the first chart and take its last series away, as a viewer does."""
    drag_over(page, 0.5, 0.8)
    page.locator(".js-plotly-plot").first.locator(".legendtoggle").last.click()
    page.wait_for_timeout(800)  # a click in the legend waits whether another follows
    page.mouse.move(5, 5)
    chosen = page.evaluate(CHARTS)[0]
    assert chosen[1], "a series is hidden"
    return chosen


@pytest.mark.parametrize("names", LIVE, ids="-".join)
def test_live_pages__three_refreshes_and_a_decision__nothing_moves_and_what_was_set_stays(
    filled_console: Server, new_page: Callable[..., Watched], names: tuple[str, ...]
) -> None:
    tabs = {name: new_page() for name in names}
    for name, watched in tabs.items():
        watched.open(f"{filled_console.url}/{'' if name == 'overview' else name}", CONTENT[name])
    first = tabs[names[0]].page
    first.wait_for_timeout(2000)
    zoomed = _zoom_and_hide(first) if names[0] in DRAWN_OVER_TIME else None
    for watched in tabs.values():
        watched.page.evaluate(WATCH)
        watched.page.evaluate(PUSH)
        assert _moved(watched.page)[0] > AT_A_DECISION, "a shift is seen"
        watched.page.evaluate(f"document.querySelector('.stMain').scrollTo(0, {SCROLLED})")
    first.wait_for_timeout(1000)
    for watched in tabs.values():
        _moved(watched.page)
    scrolled = {name: watched.page.evaluate(TOP) for name, watched in tabs.items()}

    first.wait_for_timeout(TICKS_MS)
    moved = {name: _moved(watched.page) for name, watched in tabs.items()}
    assert {name: found for name, found in moved.items() if found[0] >= AT_A_TICK} == {}

    before = [watched.page.locator(MOMENT).inner_text() for watched in tabs.values()]
    first.get_by_role("button", name="Step").click()
    for watched, was in zip(tabs.values(), before, strict=True):
        expect(watched.page.locator(MOMENT)).not_to_have_text(was, timeout=WAIT_MS)
    first.wait_for_timeout(6000)  # the body follows the strip within a refresh
    moved = {name: _moved(watched.page) for name, watched in tabs.items()}
    print({name: round(found[0], 4) for name, found in moved.items()})
    assert {name: found for name, found in moved.items() if found[0] >= AT_A_DECISION} == {}

    for name, watched in tabs.items():
        assert watched.page.evaluate(TOP) == scrolled[name], name
        watched.clean()
    assert zoomed is None or first.evaluate(CHARTS)[0] == zoomed
