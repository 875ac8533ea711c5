"""Names and reasons that try to be more than text, in a real browser: shown as they are, and nothing is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from gridpilot.ledger.store import Ledger
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = pytest.mark.browser

PAGES = ("", "prices", "plan", "auction", "dispatch", "globe", "explain", "health")


class Beacon:
    """A server that remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        beacon = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                beacon.asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def beacon() -> Iterator[Beacon]:
    running = Beacon()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def hostile(beacon: Beacon, tmp_path: Path) -> Iterator[Server]:
    """A console whose site, machines, job and tenant have hostile names."""
    names = (
        f"![air]({beacon.url}/markdown.png)",
        f"<img src='{beacon.url}/tag.png' onerror='alert(1)'>",
        "=cmd|' /C calc'!A0",
        "\u202egpu\u200b",
    )
    machines = [
        f"[[machines]]\ntype = {json.dumps(name)}\ncount = 5\npower_w = 3000\nrate = 300\nproduct = 'hash'\n"
        for name in names
    ]
    job = f"[[jobs]]\nname = {json.dumps(f'[job]({beacon.url})')}\nenergy_kwh = 400\nmax_kw = 100\n"
    job += 'daily_deadline = "18:00"\nvalue_usd_per_kwh = 0.5\n'
    tenant = f"[[tenants]]\nname = {json.dumps('<script>alert(2)</script>')}\nservice = 'x'\nkw = 60\n"
    site = tmp_path / "site.toml"
    name = json.dumps(f"<b>site</b> ![s]({beacon.url}/site.png)")
    site.write_text(f"name = {name}\n{''.join(machines)}{job}{tenant}price_usd_per_kwh = 0.16\n")
    with serve(tmp_path, env={"GRIDPILOT_SITE": str(site), "GRIDPILOT_REPLAY_SPEED": "0"}) as server:
        yield server


def test_F57_hostile_names__on_every_page__inert(
    hostile: Server, beacon: Beacon, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    for name in PAGES:
        page = watched.open(f"{hostile.url}/{name}", ".gp-strip")
        expect(page.locator(".gp-site")).to_contain_text("<b>site</b>", timeout=WAIT_MS)
        page.wait_for_timeout(1500)
        expect(page.locator(f"[src*='{beacon.url}'], [href*='{beacon.url}']")).to_have_count(0, timeout=WAIT_MS)
    watched.clean()
    assert beacon.asked == []


def test_F57_hostile_reason__commanded_logged_and_shown_inert(
    hostile: Server, beacon: Beacon, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = watched.open(f"{hostile.url}/dispatch", "[data-testid='stDataFrame']")
    reason = f"=1+1 ![r]({beacon.url}/r.png) <img src={beacon.url}/t.png onerror=alert(3)> :red[x] $y$"
    for label, text in (("Your name", f"anna](({beacon.url})"), ("Reason", reason)):
        field = page.get_by_role("textbox", name=label)
        field.fill(text)
        field.press("Enter")
    page.locator(".st-key-override_kind").get_by_text("Hold").click()
    page.get_by_role("button", name="Select").click()
    expect(page.get_by_text("Void in")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Operate").dblclick()
    expect(page.get_by_text(reason, exact=False).first).to_be_visible(timeout=WAIT_MS)
    page.reload()
    expect(page.get_by_text(reason, exact=False).first).to_be_visible(timeout=WAIT_MS)
    page.wait_for_timeout(1000)
    expect(page.locator(f"[src*='{beacon.url}'], [href*='{beacon.url}']")).to_have_count(0, timeout=WAIT_MS)
    watched.clean()
    assert beacon.asked == []
    with Ledger.open(f"sqlite:///{hostile.log_file.parent / 'gridpilot.db'}") as ledger:
        rows = ledger.commands(kinds=("hold",))
    assert [row["reason"] for row in rows] == [reason], "one command, word for word"


@pytest.mark.parametrize(
    ("text", "said"), [("right\u202eleft", "invisible"), ("zero\u200bwidth", "invisible"), ("x" * 10_000, "empty")]
)
def test_F57_reason__invisible_or_endless__never_written(
    hostile: Server, new_page: Callable[..., Watched], text: str, said: str
) -> None:
    page = new_page().open(f"{hostile.url}/dispatch", "[data-testid='stDataFrame']")
    for label, value in (("Your name", "anna"), ("Reason", text)):
        field = page.get_by_role("textbox", name=label)
        field.fill(value)
        field.press("Enter")
    page.locator(".st-key-override_kind").get_by_text("Hold").click()
    page.get_by_role("button", name="Select").click()
    expect(page.get_by_text("Void in")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Operate").click()
    expected = "reason is empty" if said == "empty" else f"reason has control or {said} characters"
    expect(page.get_by_text(expected)).to_be_visible(timeout=WAIT_MS)
    with Ledger.open(f"sqlite:///{hostile.log_file.parent / 'gridpilot.db'}") as ledger:
        assert [len(row["reason"]) for row in ledger.commands(kinds=("hold",))] == []
