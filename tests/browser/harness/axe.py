"""axe-core on an open page: what breaks WCAG 2.0 to 2.2, levels A and AA, one line each."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
# (rule, part of the selector): what Streamlit draws and no option, style or component of ours reaches, with the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {}
SETTLED = """
  document.querySelectorAll('[data-stale="true"], [data-testid="stSkeleton"]').length === 0
  && document.getAnimations().every(
    (one) => one.playState !== "running" || one.effect.getComputedTiming().endTime === Infinity)
"""
# Inside a chart's drawing axe can measure nothing (text over a picture); the chart's own label is looked at.
RUN = """
  (tags) => axe.run({ exclude: [".main-svg"] }, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] })
"""


def settle(page: Page) -> None:
    """Wait until nothing is dimmed by a rerun, and nothing moves: either would be read as too faint."""
    for _ in range(200):
        if page.evaluate(SETTLED):
            return
        page.wait_for_timeout(50)
    raise AssertionError("the page never came to rest")


def violations(page: Page) -> list[str]:
    """What axe finds, but for the known exceptions. Its script comes by the debugger: the page's policy takes none."""
    settle(page)
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: dict[str, Any] = page.evaluate(RUN, list(TAGS))
    assert len(found["passes"]) > 10, "axe looked at a page"
    return [
        f"{rule['id']}: {selector} {node['html'][:160]} ({node['failureSummary'][:300]})"
        for rule in found["violations"]
        for node in rule["nodes"]
        for selector in [" ".join(map(str, node["target"]))]
        if not any(rule["id"] == known and part in selector for known, part in EXCEPTIONS)
    ]
