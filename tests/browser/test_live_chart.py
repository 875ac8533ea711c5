"""The chart component in a real browser: what AppTest cannot see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from gridpilot.console.theme import DARK, LIGHT
from tests.browser.harness.server import Server
from tests.browser.harness.watch import Watched, drag_over

pytestmark = pytest.mark.browser

CHART = ".js-plotly-plot .main-svg"
PLOT = "document.querySelector('.js-plotly-plot')"


def _chart(page: Page, expression: str) -> Any:
    return page.evaluate(
        f"(() => {{ const chart = document.querySelector('.js-plotly-plot'); return {expression} }})()"
    )


def test_live_chart__new_data_after_a_zoom__zoom_and_hidden_series_stay(
    chart_server: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(chart_server.url, CHART)
    whole = _chart(page, "chart._fullLayout.xaxis.range")
    drag_over(page, 0.3, 0.6)
    watched.until(f"{PLOT}._fullLayout.xaxis.range[0] !== '{whole[0]}'")
    zoomed = _chart(page, "chart._fullLayout.xaxis.range")
    page.locator(".legendtoggle").last.click()
    watched.until(f"{PLOT}._fullData.at(-1).visible === 'legendonly'")

    page.get_by_role("button", name="new data").click()
    page.get_by_text("Level 1").wait_for()

    assert _chart(page, "chart._fullLayout.xaxis.range") == zoomed
    assert _chart(page, "chart._fullData.at(-1).visible") == "legendonly"
    assert _chart(page, "chart._fullData.find(t => t.name === 'Price').y[0]") == pytest.approx(60.0)
    watched.clean()


def test_live_chart__update__same_element_not_a_new_one(chart_server: Server, new_page: Callable[..., Watched]) -> None:
    page = new_page().open(chart_server.url, CHART)
    _chart(page, "chart.marked = true")
    page.get_by_role("button", name="new data").click()
    page.get_by_text("Level 1").wait_for()
    assert _chart(page, "chart.marked") is True


@pytest.mark.parametrize(("theme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_live_chart__either_theme__the_palette_of_that_theme(
    theme: str, palette: Any, chart_server: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page(theme=theme)
    page = watched.open(chart_server.url, CHART)
    watched.until(f"{PLOT}._fullData.some(t => t.fillcolor === '{palette['air']}')")
    assert _chart(page, "chart._fullData.find(t => t.name === 'Price').line.color") == palette["price"]
    watched.clean()


def test_live_chart__phone__inside_the_screen(chart_server: Server, new_page: Callable[..., Watched]) -> None:
    page = new_page(width=420).open(chart_server.url, CHART)
    box = page.locator(CHART).first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 420


def test_live_chart__hover__told_with_utc_and_units(chart_server: Server, new_page: Callable[..., Watched]) -> None:
    page = new_page().open(chart_server.url, CHART)
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    # 02:00 to 02:00 in Amsterdam over the whole width: 14.5 / 24 of it is 16:30 there, in the interval from 16:00
    page.mouse.move(box["x"] + 14.5 / 24 * box["width"], box["y"] + 20)
    page.locator(".hoverlayer .legend").wait_for()
    text = page.locator(".hoverlayer").text_content() or ""
    assert "Wed 12 Jun 16:00" in text
    assert "14:00 UTC" in text
    assert "USD/MWh" in text
    assert "200 kW" in text
