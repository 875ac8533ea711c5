"""Secrets that are planted in the configuration turn up nowhere: no page, no stream, no log, no ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect

from gridpilot.mara_server import MaraServer
from tests.browser.harness.provider import provide
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = pytest.mark.browser

API_KEY = "planted-api-key-4711"
PASSWORD = "planted-password-4712"
PAGES = ("", "prices", "forecast", "plan", "auction", "risk", "dispatch", "explain", "health")


class Ear:
    """Everything that a page is sent and shows."""

    def __init__(self, page: Page) -> None:
        self.heard = b""
        self._page = page
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._keep)

    def _keep(self, payload: bytes | str) -> None:
        self.heard += payload if isinstance(payload, bytes) else payload.encode()

    def look(self) -> None:
        self.heard += self._page.content().encode()


def found(secrets: Iterable[str], heard: bytes, server: Server, folder: Path) -> list[tuple[str, str]]:
    """(where, which) for each secret that got out."""
    places = {"page": heard, "log": server.log().encode()}
    places |= {path.name: path.read_bytes() for path in folder.glob("gridpilot.db*")}
    return [(name, secret) for name, content in places.items() for secret in secrets if secret.encode() in content]


def test_F60_secrets__of_api_and_sign_in__absent_from_pages_logs_and_ledger(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    with provide() as provider, MaraServer(seed=3, api_key=API_KEY) as mara:
        text = provider.secrets_toml()
        (tmp_path / "secrets.toml").write_text(text)
        cookie = next(line.split('"')[1] for line in text.splitlines() if line.startswith("cookie_secret"))
        env = {
            "STREAMLIT_SECRETS_FILES": str(tmp_path / "secrets.toml"),
            "GRIDPILOT_SOURCE": "mara",
            "GRIDPILOT_MARA_URL": mara.url,
            "GRIDPILOT_MARA_API_KEY": API_KEY,
            "GRIDPILOT_OPERATORS": "ola@site.example",
        }
        with serve(tmp_path, env=env) as server:
            page = new_page().page
            ear = Ear(page)
            page.goto(server.url)
            page.get_by_role("button", name="Sign in").click(timeout=WAIT_MS)
            ear.look()
            page.get_by_role("link", name="ola@site.example").click(timeout=WAIT_MS)
            for name in PAGES:
                page.goto(f"{server.url}/{name}")
                page.locator(".gp-strip").wait_for(timeout=WAIT_MS)
                page.wait_for_timeout(1000)
                ear.look()
            mara.set_faults({"status": 401})
            page.get_by_role("button", name="Emergency stop").click()
            expect(page.locator(".gp-strip")).to_contain_text("E-STOP", timeout=WAIT_MS)
            page.wait_for_timeout(3000)  # the pilot asks the API, which says no
            ear.look()
            secrets = (API_KEY, provider.client_secret, cookie)
            assert len(ear.heard) > 100_000
            assert found(secrets, ear.heard, server, tmp_path) == []


def test_F60_secrets__password_of_a_database_that_cannot_be_reached__absent_from_page_and_log(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    url = f"postgresql+psycopg://gridpilot:{PASSWORD}@127.0.0.1:1/gridpilot"
    with serve(tmp_path, env={"GRIDPILOT_DB_URL": url}) as server:
        page = new_page().page
        ear = Ear(page)
        for name in ("", "dispatch", "health"):
            page.goto(f"{server.url}/{name}")
            expect(page.locator(".gp-strip")).to_contain_text("NO DATA", timeout=WAIT_MS)
            page.wait_for_timeout(500)
            ear.look()
        assert found((PASSWORD,), ear.heard, server, tmp_path) == []
