"""Who may do what, by a real sign-in with a real OpenID Connect provider, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gridpilot.ledger.store import Ledger
from tests.browser.harness.forge import Forger
from tests.browser.harness.provider import Provider, provide
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = pytest.mark.browser

STRIP = ".gp-strip"
PEOPLE = {"GRIDPILOT_OPERATORS": "ola@site.example", "GRIDPILOT_APPROVERS": "ada@site.example, bea@site.example"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with provide() as running:
        yield running


@pytest.fixture
def signed(provider: Provider, tmp_path: Path) -> Iterator[Server]:
    """A console with sign-in, its replay standing still; more than 200 kW needs a second person."""
    secrets, site = tmp_path / "secrets.toml", tmp_path / "site.toml"
    secrets.write_text(provider.secrets_toml())
    site.write_text("[operators]\napprove_above_kw = 200\n")
    env = {"STREAMLIT_SECRETS_FILES": str(secrets), "GRIDPILOT_SITE": str(site), "GRIDPILOT_REPLAY_SPEED": "0"}
    with serve(tmp_path, env={**env, **PEOPLE}) as server:
        yield server


@pytest.fixture
def ledger(signed: Server) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{signed.log_file.parent / 'gridpilot.db'}") as opened:
        yield opened


def sign_in(page: Page, server: Server, person: str) -> Page:
    """Sign in as somebody, and go to Dispatch."""
    page.goto(f"{server.url}/dispatch")
    page.get_by_role("button", name="Sign in").click(timeout=WAIT_MS)
    page.get_by_role("link", name=f"{person}@site.example").click(timeout=WAIT_MS)
    page.locator(STRIP).wait_for(timeout=WAIT_MS)
    page.get_by_role("link", name="Dispatch").first.click()
    expect(page.get_by_text(f"You act as {person}@site.example")).to_be_visible(timeout=WAIT_MS)
    page.locator("[data-testid='stDataFrame']").first.wait_for(timeout=WAIT_MS)
    return page


def battery(page: Page, kw: int) -> None:
    """Choose a battery power, select, look, and press."""
    page.locator(".st-key-override_kind").get_by_text("Battery").click()
    field = page.get_by_label("Battery, kW (charging is positive)")
    field.fill(str(kw))
    field.press("Enter")
    why = page.get_by_role("textbox", name="Reason")
    why.fill("test of the inverter")
    why.press("Enter")
    page.get_by_role("button", name="Select").click()
    expect(page.get_by_text("Void in")).to_be_visible(timeout=WAIT_MS)
    page.locator(".st-key-override_operate button").click()


def test_gate__nobody_signed_in__nothing_but_the_way_in(signed: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = watched.page
    for path in ("", "dispatch", "health"):
        page.goto(f"{signed.url}/{path}")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
        page.wait_for_timeout(500)
        expect(page.locator(STRIP)).to_have_count(0, timeout=WAIT_MS)
        expect(page.get_by_role("button", name="Emergency stop")).to_have_count(0, timeout=WAIT_MS)
        assert "Rotterdam" not in page.content()
    assert watched.outside == []


def test_F55_viewer__sees_all_and_a_forced_press_does_nothing(
    signed: Server, ledger: Ledger, new_page: Callable[..., Watched]
) -> None:
    operator, viewer = new_page(), new_page(apart=True)
    sign_in(operator.page, signed, "ola")
    battery(operator.page, -50)
    expect(operator.page.locator(STRIP)).to_contain_text("OVERRIDE", timeout=WAIT_MS)

    forger = Forger(viewer.page)
    page = sign_in(viewer.page, signed, "via")
    expect(page.get_by_text("You act as via@site.example, viewer.")).to_be_visible(timeout=WAIT_MS)
    for name in ("Release", "Select"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_role("button", name="Step")).to_have_count(0, timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Emergency stop")).to_be_enabled()

    forger.press("override_release")
    forger.press("override_select")
    reason = page.get_by_role("textbox", name="Reason")
    reason.fill("a press of its own, after the forged ones")
    reason.press("Enter")
    page.locator(".st-key-override_kind").get_by_text("Grid limit").click()
    expect(page.get_by_text("At most, from the grid, in")).to_be_visible(timeout=WAIT_MS)
    assert [(row["author"], row["status"]) for row in ledger.commands()] == [("ola@site.example", "active")]
    expect(page.get_by_text("Void in")).to_have_count(0, timeout=WAIT_MS)


def test_approval__above_the_threshold__takes_effect_only_by_another_person(
    signed: Server, ledger: Ledger, new_page: Callable[..., Watched]
) -> None:
    operator, approver = new_page(), new_page(apart=True)
    page = sign_in(operator.page, signed, "ola")
    battery(page, -230)
    expect(page.get_by_text("was proposed; another person")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(STRIP)).to_contain_text("1 to approve", timeout=WAIT_MS)
    expect(page.locator(STRIP)).to_contain_text("AUTO")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_disabled()

    other = sign_in(approver.page, signed, "ada")
    expect(other.get_by_text("Waits for approval")).to_be_visible(timeout=WAIT_MS)
    other.get_by_role("button", name="Approve", exact=True).dblclick()
    expect(other.locator(STRIP)).to_contain_text("OVERRIDE", timeout=WAIT_MS)
    expect(other.get_by_text("was approved")).to_be_visible(timeout=WAIT_MS)
    given = ledger.commands(kinds=("battery_kw",))
    assert [(row["author"], row["detail"].startswith("sent for")) for row in given] == [("ola@site.example", True)]
    entries = [entry.body["detail"] for entry in ledger.entries("command")]
    assert entries.count("approved by ada@site.example") == 1, "a double click approves once"


def test_F55_sign_out__in_another_tab__what_this_one_still_says_is_refused_on_record(
    signed: Server, ledger: Ledger, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    forger = Forger(watched.page)
    first = sign_in(watched.page, signed, "ola")
    battery(first, -50)
    expect(first.locator(STRIP)).to_contain_text("OVERRIDE", timeout=WAIT_MS)
    expect(first.get_by_role("button", name="Release")).to_be_visible(timeout=WAIT_MS)
    forger.mute()

    second = first.context.new_page()
    second.goto(signed.url)
    second.locator(STRIP).wait_for(timeout=WAIT_MS)
    second.get_by_text("ola@site.example, operator").click()
    second.get_by_role("button", name="Sign out").click(timeout=WAIT_MS)
    expect(second.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)

    forger.press("override_release")
    expect(first.get_by_text("You have signed out.").first).to_be_visible(timeout=WAIT_MS)
    expect(first.get_by_role("button", name="Select")).to_have_count(0, timeout=WAIT_MS)
    rows = [(row["kind"], row["status"], row["detail"]) for row in ledger.commands()]
    assert rows[0] == ("release", "refused", "ola@site.example has signed out: sign in again")
    assert rows[1][:2] == ("battery_kw", "active")


def test_F56_emergency_stop__sign_in_expired__still_there_and_signed_so(
    signed: Server, ledger: Ledger, provider: Provider, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.page
    provider.lifetime_s = 12.0
    try:
        sign_in(page, signed, "via")
    finally:
        provider.lifetime_s = 3600.0
    expect(page.get_by_text("Your sign-in has expired.")).to_be_visible(timeout=2 * WAIT_MS)
    expect(page.get_by_text("Take over")).to_have_count(0, timeout=WAIT_MS)
    page.get_by_role("button", name="Emergency stop").click()
    page.wait_for_timeout(500)
    row = next(iter(ledger.commands(kinds=("estop",))))
    assert (row["author"], row["status"]) == ("via@site.example (sign-in expired)", "active")

    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="ola@site.example").click(timeout=WAIT_MS)
    expect(page.locator(STRIP)).to_contain_text("E-STOP", timeout=WAIT_MS)
