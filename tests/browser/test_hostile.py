"""Names and reasons that try to be more than text, in a real browser: shown as they are, and nothing is asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from playwright.sync_api import Page, expect

from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import INVENTORIES, MaraServer
from gridpilot.signing import headers
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched
from tests.explain.llm import say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.long]

PAGES = ("", *(name for name in CONTENT if name != "overview"))
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1ncmlkLW9wZXJhdG9y"
# What a hostile script would try if one ever ran: the policy of the page is the second line.
TRY = """
async (url) => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
  new Image().src = url + "/img.png";
  const add = (tag, what) => document.head.append(Object.assign(document.createElement(tag), what));
  add("style", { textContent: `body { background: url(${url}/css.png) }` });
  add("link", { rel: "stylesheet", href: url + "/link.css" });
  add("script", { src: url + "/script.js" });
  document.body.append(Object.assign(document.createElement("iframe"), { src: url + "/frame" }));
  const asks = [
    () => fetch(url + "/fetch"), () => new WebSocket(url.replace("http", "ws")), () => new EventSource(url)];
  for (const one of asks) try { await one(); } catch { /* refused */ }
  navigator.sendBeacon(url + "/beacon", "x");
  await new Promise((done) => setTimeout(done, 1000));
  return [...new Set(refused)].sort();
}
"""


class Beacon:
    """A server that remembers who asked, and who so much as connected."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        beacon = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                beacon.asked.append("connected")
                super().setup()

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
    requests.get(f"{running.url}/heard", timeout=5)
    assert running.asked == ["connected", "/heard"]
    running.asked.clear()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def hostile(beacon: Beacon, tmp_path: Path) -> Iterator[Server]:
    """A console whose site, machines, job and tenants have hostile names, and whose language model is hostile too."""
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
    style = f"<style>*{{background:url({beacon.url}/c.png)}}</style>"
    job += f"[[tenants]]\nname = {json.dumps(style)}\nservice = 'y'\nkw = 60\nprice_usd_per_kwh = 0.17\n"
    tenant = f"[[tenants]]\nname = {json.dumps('<script>alert(2)</script>')}\nservice = 'x'\nkw = 60\n"
    site = tmp_path / "site.toml"
    name = json.dumps(f"<b>site</b> ![s]({beacon.url}/site.png)")
    site.write_text(f"name = {name}\n{''.join(machines)}{job}{tenant}price_usd_per_kwh = 0.16\n")
    link = f"[press]({beacon.url}/press)"
    told = say(f"Look at ![x]({beacon.url}/model.png) and {link} [price.energy]. <img src={beacon.url}/tag.png>")
    env = {"GRIDPILOT_SITE": str(site), "GRIDPILOT_REPLAY_SPEED": "0", "GRIDPILOT_CURTAIL_SECRET": SECRET}
    with scripted(told) as model, serve(tmp_path, env={**env, "OPENAI_BASE_URL": model.url}) as server:
        yield server


def _inert(page: Page, beacon: Beacon) -> None:
    """Nothing on the page leads to the beacon, and nobody has asked it."""
    page.wait_for_timeout(1000)
    expect(page.locator(f"[src*='{beacon.url}'], [href*='{beacon.url}']")).to_have_count(0, timeout=WAIT_MS)
    assert beacon.asked == []


def test_F57_hostile_names__on_every_page__inert(
    hostile: Server, beacon: Beacon, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    for name in PAGES:
        page = watched.open(f"{hostile.url}/{name}", ".gp-strip")
        expect(page.locator(".gp-site")).to_contain_text("<b>site</b>", timeout=WAIT_MS)
        page.wait_for_timeout(500)
        _inert(page, beacon)
    watched.clean()


def _curtail(server: Server, reason: str) -> None:
    """A signed call of a utility, as it may come from outside."""
    body = json.dumps({"minutes": 60, "percent": 5, "reason": reason, "author": reason[:60]}).encode()
    stamped = headers(SECRET, "e1", int(time.time()), body)
    reply = requests.post(f"{server.url}/api/curtailments", data=body, headers=stamped, timeout=20)
    assert reply.ok, reply.text


def test_F57_calls_bids_answers_and_addresses__inert(
    hostile: Server, beacon: Beacon, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    text = f"![r]({beacon.url}/r.png) <img src={beacon.url}/t.png> <style>@import '{beacon.url}/i.css';</style>"
    page = watched.open(f"{hostile.url}/auction", CONTENT["auction"])
    _curtail(hostile, text)
    files = page.locator(".st-key-bids_upload input[type=file]")
    header = f"![c]({beacon.url}/c.png),<img src={beacon.url}/h.png>\n1,2\n"
    files.set_input_files({"name": "columns.csv", "mimeType": "text/csv", "buffer": header.encode()})
    expect(page.get_by_text("columns.csv: unknown column")).to_be_visible(timeout=WAIT_MS)
    _inert(page, beacon)
    bids = f"bidder,service,kw,price_usd_per_kwh\n{text[:60]},x,5,0.9\n=cmd|x,y,nan,1\n"
    upload = {"name": "![b](x).csv", "mimeType": "text/csv", "buffer": bids.encode()}
    files.set_input_files(upload)
    expect(page.get_by_text("![b](x).csv")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Clear these bids").click()
    expect(page.locator(".st-key-cleared_csv")).to_be_visible(timeout=WAIT_MS)
    _inert(page, beacon)

    page = watched.open(f"{hostile.url}/dispatch", "[data-testid='stDataFrame']")
    expect(page.get_by_text("No curtailment was asked for yet")).to_have_count(0, timeout=WAIT_MS)
    _inert(page, beacon)

    page = watched.open(f"{hostile.url}/explain", CONTENT["explain"])
    for question in ("What does power cost now?", text):
        page.get_by_test_id("stChatInputTextArea").fill(question)
        page.get_by_test_id("stChatInputTextArea").press("Enter")
        expect(page.get_by_text(question).first).to_be_visible(timeout=WAIT_MS)
        expect(page.get_by_text("behind this").last).to_be_visible(timeout=2 * WAIT_MS)
        _inert(page, beacon)

    page = watched.open(f"{hostile.url}/?{urlencode({'at': text, 'site': text})}", ".gp-strip")
    _inert(page, beacon)
    for name in PAGES:
        _inert(watched.open(f"{hostile.url}/{name}", ".gp-strip"), beacon)
    watched.clean()

    refused = page.evaluate(TRY, beacon.url)
    assert refused == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-elem"]
    asked = [path for path in beacon.asked if path != "connected"]  # Chromium may connect before it is refused
    assert asked == [], "and if a script ever ran, the page's policy would let nothing out"


def test_F57_api__hostile_machine_types_and_errors__inert_on_every_page(
    beacon: Beacon, tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    known = INVENTORIES["live"]
    evil = {
        f"![c]({beacon.url}/c.png)": {"hashrate": 9, "power": 9},
        f"<img src={beacon.url}/t.png>": known["miners"]["air"],
    }
    with MaraServer(seed=3, api_key="k1", inventory={**known, "miners": {**known["miners"], **evil}}) as mara:
        env = {"GRIDPILOT_SOURCE": "mara", "GRIDPILOT_MARA_URL": mara.url, "GRIDPILOT_MARA_API_KEY": "k1"}
        with serve(tmp_path, env=env) as server:
            watched = new_page()
            page = watched.open(f"{server.url}/prices", CONTENT["prices"])
            expect(page.get_by_text("offered by the API, not used").first).to_be_visible(timeout=WAIT_MS)
            for name in PAGES:
                _inert(watched.open(f"{server.url}/{name}", ".gp-strip"), beacon)
            watched.clean()


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
    expected = "reason is empty" if said == "empty" else f"reason has control or {said} characters"
    expect(page.get_by_text(expected)).to_be_visible(timeout=WAIT_MS)
    with Ledger.open(f"sqlite:///{hostile.log_file.parent / 'gridpilot.db'}") as ledger:
        assert [len(row["reason"]) for row in ledger.commands(kinds=("hold",))] == []
