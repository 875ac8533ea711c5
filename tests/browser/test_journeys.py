"""What an operator does, in a real browser on the running console with its real pilot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from gridpilot.ledger.store import Ledger
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = pytest.mark.browser

STRIP = ".gp-strip"


@pytest.fixture
def own_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A console of its own, its replay standing still."""
    with serve(tmp_path_factory.mktemp("journey"), env={"GRIDPILOT_REPLAY_SPEED": "0"}) as server:
        yield server


def _said(page: Page, text: str) -> None:
    expect(page.locator(STRIP)).to_contain_text(text, timeout=WAIT_MS)


def test_journey__step_the_clock__the_next_hour_arrives(own_console: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = watched.open(own_console.url, ".js-plotly-plot .main-svg")
    _said(page, "24 Jun 2024 14:00")
    page.get_by_role("button", name="Step").click()
    _said(page, "24 Jun 2024 15:00")
    expect(page.get_by_text("P&L since")).to_be_visible(timeout=WAIT_MS)
    watched.clean()


def test_journey__override__selected_looked_at_operated_and_released(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/dispatch", "[data-testid='stDataFrame']")
    _select_gpus(page, 3, "anna")
    page.get_by_role("button", name="Operate").click()
    _said(page, "OVERRIDE")
    expect(page.get_by_text("In force: Machines: gpu 3")).to_be_visible(timeout=WAIT_MS)
    page.reload()
    page.locator("[data-testid='stDataFrame']").first.wait_for(timeout=WAIT_MS)
    page.get_by_role("button", name="Release").click()
    _said(page, "AUTO")
    watched.clean()


def _fill(page: Page, count: int, name: str) -> None:
    """Choose, and say who and why."""
    for label, text in (("Your name", name), ("Reason", "fan test in hall 2")):
        field = page.get_by_role("textbox", name=label)
        field.fill(text)
        field.press("Enter")
    gpu = page.get_by_label("gpu, of 12")
    gpu.fill(str(count))
    gpu.press("Enter")


def _select_gpus(page: Page, count: int, name: str) -> None:
    """The same, and look at the effect."""
    _fill(page, count, name)
    _select(page)


def _select(page: Page) -> None:
    page.get_by_role("button", name="Select").click()
    expect(page.get_by_text("Void in")).to_be_visible(timeout=WAIT_MS)


def test_F53_journey__two_tabs_double_clicks_and_reloads__each_command_once(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    first, second = new_page(), new_page()
    one = first.open(f"{own_console.url}/dispatch", "[data-testid='stDataFrame']")
    two = second.open(f"{own_console.url}/dispatch", "[data-testid='stDataFrame']")
    _fill(one, 3, "anna")
    _fill(two, 5, "bert")
    for page in (one, two):  # both are good for 30 s from here on
        _select(page)
    one.get_by_role("button", name="Operate").dblclick()
    expect(one.get_by_text("was accepted")).to_be_visible(timeout=WAIT_MS)
    expect(two.get_by_text("In force: Machines: gpu 3")).to_be_visible(timeout=WAIT_MS)  # nothing moves any more
    two.get_by_role("button", name="Operate").dblclick()
    expect(two.get_by_text("somebody acted in between").first).to_be_visible(timeout=WAIT_MS)
    for page in (one, two):
        page.reload()
        expect(page.get_by_text("In force: Machines: gpu 3")).to_be_visible(timeout=WAIT_MS)
    two.get_by_role("button", name="Release").dblclick()
    _said(two, "AUTO")
    expect(two.get_by_text("was released")).to_be_visible(timeout=WAIT_MS)
    with Ledger.open(f"sqlite:///{own_console.log_file.parent / 'gridpilot.db'}") as ledger:
        rows = [(row["author"], row["kind"], row["status"]) for row in ledger.commands() if row["kind"] != "clock"]
    assert rows == [("bert", "machines", "refused"), ("anna", "machines", "released")]
    first.clean()
    second.clean()


def test_F53_journey__selection_left_alone__void_after_half_a_minute(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/dispatch", "[data-testid='stDataFrame']")
    _select_gpus(page, 3, "anna")
    expect(page.get_by_text("void after 30 s")).to_be_visible(timeout=45_000)
    expect(page.get_by_role("button", name="Operate")).to_have_count(0, timeout=WAIT_MS)
    assert page.get_by_role("textbox", name="Reason").input_value() == "fan test in hall 2", "what was typed stays"
    watched.clean()


def test_journey__emergency_stop__one_press_from_any_page_and_two_steps_back(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/prices", ".js-plotly-plot .main-svg")
    page.get_by_role("button", name="Emergency stop").click()
    _said(page, "E-STOP")
    page.get_by_role("link", name="Dispatch").first.click()
    expect(page.get_by_text("Pressed by")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("0 machines on")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("textbox", name="Your name").fill("anna")
    why = page.get_by_role("textbox", name="Why it is safe to go on")
    why.fill("false alarm, hall checked")
    why.press("Enter")
    page.get_by_role("button", name="1. Request release").click()
    confirm = page.get_by_role("button", name="2. Confirm release")
    expect(confirm).to_be_enabled(timeout=WAIT_MS)
    confirm.click()
    _said(page, "AUTO")
    watched.clean()


def test_journey__ask_why__an_answer_with_its_facts(own_console: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/explain", "[data-testid='stChatInput']")
    box = page.locator("[data-testid='stChatInput'] textarea")
    box.fill("Why are the air miners off?")
    box.press("Enter")
    expect(page.locator("[data-testid='stChatMessage']")).to_have_count(2, timeout=WAIT_MS)
    expect(page.get_by_text("behind this")).to_be_visible(timeout=WAIT_MS)
    watched.clean()


def test_journey__reload_on_every_page__no_second_pilot_and_one_ledger(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    for name in ("", "plan", "dispatch", "health"):
        page = watched.open(f"{own_console.url}/{name}", STRIP)
        page.reload()
        _said(page, "AUTO")
    assert own_console.log().count("lease") == 0, "a second pilot would have said so"
    watched.clean()


def test_journey__backtest__runs_in_the_background_and_shows_the_money(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/backtest", ".st-key-backtest_run button")
    page.get_by_text("30 days", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("In 30 days the engine added")).to_be_visible(timeout=4 * WAIT_MS)
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=WAIT_MS)
    watched.clean()


def test_journey__what_if__another_plan_beside_the_one_in_force(
    own_console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{own_console.url}/plan", ".js-plotly-plot .main-svg")
    field = page.get_by_label("Spread of prices, %")
    field.fill("300")
    field.press("Enter")
    expect(page.get_by_text("Planning anew brings")).to_be_visible(timeout=WAIT_MS)
    watched.clean()
