"""Starts a Streamlit server for a test, on a free loopback port, and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[3]
START_S = 60.0
STOP_S = 20.0


@dataclass(frozen=True)
class Server:
    """A running server: where it is, its process and what it wrote."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


_idle: list[int] = []  # ports of servers that have ended


def free_port(port: int = 0) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def _port() -> int:
    """A free port, if possible one that served before: the browser keeps compiled scripts by the address."""
    while _idle:
        with suppress(OSError):  # somebody else has it by now
            return free_port(_idle.pop())
    return free_port()


@contextmanager
def serve(folder: Path, script: Path = ROOT / "app.py", env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`script` (app.py: the console) with a database of its own in `folder`; no settings of the shell reach it.

    Give `env={"GRIDPILOT_NO_PILOT": "1"}` for a console without a pilot.
    """
    port = _port()
    log_file = folder / "server.log"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDPILOT_", "OPENAI_", "STREAMLIT_"))}
    environment = inherited | {
        "GRIDPILOT_DB_URL": f"sqlite:///{folder / 'gridpilot.db'}",
        "GRIDPILOT_REFIT": "0",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **(env or {}),
    }
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server = Server(f"http://localhost:{port}", process, log_file)
    try:
        _wait(server)
        yield server
    finally:
        stop(server)
        _idle.append(port)


def stop(server: Server) -> int:
    """Ends the server as a terminal's Ctrl-C or a service manager does (SIGTERM); its exit status."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
        raise AssertionError(f"the server did not end within {STOP_S:g} s of SIGTERM:\n{server.log()}") from None


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if requests.get(f"{server.url}/_stcore/health", timeout=2).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not answer within {START_S:g} s:\n{server.log()}")
