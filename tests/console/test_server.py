from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
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


def test_healthz__running__ok(running: Server) -> None:
    assert requests.get(running.url + "/healthz", timeout=10).text == "ok"


def test_plotly__served_from_the_wheel__cached_and_asked_again_cheaply(running: Server) -> None:
    first = requests.get(running.url + "/assets/plotly.min.js", timeout=10)
    assert b"plotly.js v" in first.content[:200]
    assert "max-age" in first.headers["Cache-Control"]
    again = requests.get(
        running.url + "/assets/plotly.min.js", headers={"If-None-Match": first.headers["ETag"]}, timeout=10
    )
    assert (again.status_code, again.content) == (304, b"")


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
    came_from = f"Origin: {origin}:{port}\r\n" if "//" in origin else f"Origin: {origin}\r\n" if origin else ""
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"{came_from}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        assert connection.recv(100).split()[1] == status


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


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _writing(path: Path, then: str) -> list[str]:
    """A child that adds its process number to a file, and then does something."""
    code = f"import os, signal, time; open({str(path)!r}, 'a').write(f'{{os.getpid()}}\\n'); {then}"
    return [sys.executable, "-c", code]


def _pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_pilot_process__switched_off__starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDPILOT_NO_PILOT", "1")
    pilot = server.PilotProcess(_writing(tmp_path / "pids", ""), retry_s=0.05)
    pilot.start()
    pilot.stop()
    assert _pids(tmp_path / "pids") == []


def test_pilot_process__crashes__started_again_until_stopped(tmp_path: Path) -> None:
    pilot = server.PilotProcess(_writing(tmp_path / "pids", "os._exit(1)"), retry_s=0.05)
    pilot.start()
    _until(lambda: len(_pids(tmp_path / "pids")) >= 3)
    pilot.stop()
    count = len(_pids(tmp_path / "pids"))
    time.sleep(0.3)
    assert len(_pids(tmp_path / "pids")) == count


@pytest.mark.parametrize(
    ("then", "wait_s"),
    [("time.sleep(60)", 10.0), ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", 0.5)],
)
def test_pilot_process__stop__ends_the_child_willing_or_not(tmp_path: Path, then: str, wait_s: float) -> None:
    pilot = server.PilotProcess(_writing(tmp_path / "pids", then))
    pilot.start()
    _until(lambda: len(_pids(tmp_path / "pids")) == 1)
    time.sleep(0.2)
    pilot.stop(wait_s)
    assert _gone(_pids(tmp_path / "pids")[0])


def test_warm_up__done__heap_frozen() -> None:
    try:
        server.warm_up().join()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
