from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gridpilot.console import server
from tests.browser.harness.server import Server, serve, stop

pytestmark = pytest.mark.slow  # a real server and real child processes


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("server"), env={"GRIDPILOT_NO_PILOT": "1"}) as console:
        yield console


@pytest.mark.parametrize("path", ["/", "/healthz", "/assets/plotly.min.js", "/prices", "/_stcore/health"])
def test_headers__every_answer__protected(running: Server, path: str) -> None:
    reply = requests.get(running.url + path, timeout=10)
    assert reply.status_code == 200
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    policy = reply.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-eval'" not in policy
    assert "http" not in policy  # no outside address is allowed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////var/lib/gridpilot/gridpilot.db", "its ledger is /var/lib/gridpilot/gridpilot.db."),
        ("postgresql+psycopg://me:secret@db.example/odessa", "the database that GRIDPILOT_DB_URL names."),
    ],
)
def test_greeting__ledger__where_it_is_and_no_password(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", url)
    told = server.greeting(8502)
    assert said in told and "secret" not in told
    assert told.startswith("The console is at http://localhost:8502, ") and told.endswith("Ctrl-C ends it.")


def test_overview__by_its_name__leads_to_the_first_page_with_what_is_asked_there(running: Server) -> None:
    reply = requests.get(running.url + "/overview?site=Odessa&at=2024-06-24T20:00Z", timeout=10)
    assert reply.url == running.url + "/?site=Odessa&at=2024-06-24T20:00Z"
    assert reply.status_code == 200


def test_healthz__running__ok(running: Server) -> None:
    assert requests.get(running.url + "/healthz", timeout=10).text == "ok"


def test_plotly__served_packed_or_not__cached_and_asked_again_cheaply(running: Server) -> None:
    first = requests.get(running.url + "/assets/plotly.min.js", timeout=10)
    assert first.headers["Content-Encoding"] == "gzip"
    assert b"plotly.js v" in first.content[:200]
    assert "max-age" in first.headers["Cache-Control"]
    again = requests.get(
        running.url + "/assets/plotly.min.js", headers={"If-None-Match": first.headers["ETag"]}, timeout=10
    )
    assert (again.status_code, again.content) == (304, b"")
    plain = requests.get(running.url + "/assets/plotly.min.js", headers={"Accept-Encoding": "identity"}, timeout=10)
    assert "Content-Encoding" not in plain.headers
    assert plain.content == first.content


@pytest.mark.parametrize(("path", "told"), [("/", True), ("/prices", True), ("/healthz", False)])
def test_page__opened__browser_told_to_fetch_what_draws_its_charts(running: Server, path: str, told: bool) -> None:
    link = requests.get(running.url + path, timeout=10).headers.get("Link", "")
    assert link == (f"<{server.PLOTLY_PATH}>; rel=preload; as=script" if told else "")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", "http://localhost", b"101"),
        ("evil.example", "http://evil.example", b"403"),
        ("localhost", "http://evil.example", b"403"),
        ("localhost", "null", b"403"),
        ("localhost", "", b"403"),
    ],
)
def test_F59_stream__another_site_or_no_browser__refused(
    running: Server, host: str, origin: str, status: bytes
) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    assert status_of_stream(f"{host}:{port}", f"{origin}:{port}" if "//" in origin else origin) == status


def status_of_stream(host: str, origin: str) -> bytes:
    """What a server on this machine answers to who opens its stream: 101, or that it is refused."""
    came_from = f"Origin: {origin}\r\n" if origin else ""
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"{came_from}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(host.rsplit(":", 1)[1])), timeout=10) as connection:
        connection.sendall(request.encode())
        return connection.recv(100).split()[1]


def test_F59_stream__of_a_foreign_origin__refused_and_nobody_outside_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:  # as a proxy it would hear of any address that is asked for
        outside.settimeout(0.5)
        proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
        env = {name: proxy for scheme in ("http", "https") for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")}
        with serve(tmp_path, env={"GRIDPILOT_NO_PILOT": "1", "NO_PROXY": "", "no_proxy": "", **env}) as console:
            host = console.url.removeprefix("http://")
            assert status_of_stream(host, "http://evil.example") == b"403"
            assert status_of_stream(host, "http://203.0.113.7:8501") == b"403"
            assert status_of_stream(host, f"http://{host}") == b"101"
            with pytest.raises(TimeoutError):
                outside.accept()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/_stcore/upload_file/session/file", 403),  # no XSRF token
        ("DELETE", "/_stcore/upload_file/session/file", 403),
        ("GET", "/_stcore/metrics", 404),
        ("POST", "/_stcore/agent/interact", 404),
        ("POST", "/_stcore/agent/mcp", 404),
        ("GET", "/_stcore/agent/openapi.json", 404),
    ],
)
def test_F59_routes__not_for_strangers__closed(running: Server, method: str, path: str, status: int) -> None:
    reply = requests.request(method, running.url + path, files={"f": b"x"} if method == "PUT" else None, timeout=10)
    assert reply.status_code == status
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_F59_cookies__of_another_site__are_no_xsrf_token(running: Server) -> None:
    reply = requests.put(
        f"{running.url}/_stcore/upload_file/session/file",
        files={"f": b"x"},
        headers={"X-Xsrftoken": "made-up", "Cookie": "_streamlit_xsrf=another"},
        timeout=10,
    )
    assert reply.status_code == 403


def test_server__sigterm__ends_cleanly(tmp_path: Path) -> None:
    with serve(tmp_path, env={"GRIDPILOT_NO_PILOT": "1"}) as console:
        stop(console)
        assert console.process.returncode is not None
        assert "Traceback" not in console.log()


def test_hold_path__a_page_runs__the_path_stays_as_it_is_for_whoever_imports_just_then() -> None:
    code = (
        "import sys, app\n"
        "from gridpilot.console import server\n"
        "from streamlit.runtime.scriptrunner.exec_code import modified_sys_path\n"
        "before = list(sys.path)\n"
        "with modified_sys_path(str(server.SHELL)):\n"
        "    assert sys.path == before, sys.path[0]\n"
        "assert sys.path == before\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=server.ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_engine__switched_off__keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_NO_PILOT", "1")
    before = threading.active_count()
    engine = server.engine()
    engine.start()
    engine.stop()
    assert threading.active_count() == before


def test_warm_up__done__heap_frozen() -> None:
    try:
        server.warm_up().join()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
