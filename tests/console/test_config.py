"""F59: what `.streamlit/config.toml` pins is in force, and does what it is pinned for."""

from __future__ import annotations

import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.browser.harness.server import Server, serve

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))

HIDDEN = "global.minCachedMessageSize"  # `streamlit config show` leaves it out

# Each setting, its value, and why: the tests named in brackets see that it does so.
PINNED: dict[str, tuple[object, str]] = {
    "server.address": ("127.0.0.1", "nobody but this machine reaches it [server__answers]"),
    "server.allowedHosts": (["localhost", "127.0.0.1"], "no other name leads here [test_server.py: F59_stream]"),
    "server.headless": (True, "no browser is opened, no address asked for [server__starts_quietly]"),
    "server.enableXsrfProtection": (True, "no upload by another site [test_server.py: F59_cookies, F59_routes]"),
    "server.enableCORS": (True, "no stream to another site [test_server.py: F59_stream]"),
    "server.maxUploadSize": (10, "memory [tests/browser/test_uploads.py]"),
    "server.fileWatcherType": ("none", "a file that changes draws no half-written page [server__starts_quietly]"),
    "server.runOnSave": (False, "as above"),
    "server.enableStaticServing": (False, "no files but our own [routes__not_ours]"),
    "server.enableAgentApi": (False, "no act but through the console's own doors [routes__not_ours]"),
    "server.disconnectedSessionTTL": (120, "a session that is gone is forgotten after two minutes"),
    "browser.gatherUsageStats": (False, "nothing is told outside [every browser test: Watched.clean]"),
    "client.showErrorDetails": ("none", "no traceback on a screen [tests/browser/test_secrets.py: crash]"),
    "client.showErrorLinks": (False, "no question to a search engine [tests/browser/test_secrets.py: crash]"),
    "client.toolbarMode": ("minimal", "no menu to deploy or record [tests/browser/test_secrets.py: crash]"),
    HIDDEN: (1e12, "no session ends at a chart that its browser has forgotten [tests/browser/test_moment.py: back]"),
    "runner.magicEnabled": (False, "a bare value is not drawn [tests/browser/test_secrets.py: crash]"),
    "runner.fastReruns": (
        False,
        "no press is lost to another run of the page [tests/browser/test_journeys.py]",
    ),
}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in table.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


@pytest.fixture(scope="module")
def shown() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamlit", "config", "show"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_F59_config__each_setting__in_force_as_streamlit_reads_it(shown: subprocess.CompletedProcess[str]) -> None:
    assert "not a valid config option" not in shown.stdout + shown.stderr
    lines = [line for line in shown.stdout.splitlines() if not line.startswith("#")]
    read = tomllib.loads("\n".join(lines[lines.index("[global]") :]))
    assert _flat(read) == {name: value for name, value in _flat(CONFIG).items() if name != HIDDEN}


def test_F59_config__setting_that_is_not_shown__in_force_too() -> None:
    ask = f"from streamlit import config; config.get_config_options(); print(config.get_option({HIDDEN!r}))"
    told = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(told.stdout) == PINNED[HIDDEN][0]


def test_F59_config__what_is_not_of_the_theme__pinned_each_with_its_reason() -> None:
    settings = {name: value for name, value in _flat(CONFIG).items() if not name.startswith("theme.")}
    assert settings == {name: value for name, (value, _) in PINNED.items()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("config"), env={"GRIDPILOT_NO_PILOT": "1"}) as console:
        yield console


@pytest.mark.slow
def test_F59_server__answers__on_the_loopback_address_alone(running: Server) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    for address, open_ in (("127.0.0.1", True), ("127.0.0.2", False)):
        with socket.socket() as probe:
            probe.settimeout(5)
            assert (probe.connect_ex((address, port)) == 0) == open_, address


@pytest.mark.slow
def test_F59_server__starts_quietly__no_question_no_watcher_no_outside_address(running: Server) -> None:
    said = running.log()
    assert "127.0.0.1" in said
    for word in ("Email", "External URL", "Network URL", "watchdog"):
        assert word not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/app/static/config.toml"),
        ("GET", "/app/static/../.streamlit/config.toml"),
        ("GET", "/_stcore/agent/openapi.json"),
        ("POST", "/_stcore/agent/interact"),
        ("GET", "/_stcore/metrics"),
    ],
)
def test_F59_routes__not_ours__closed(running: Server, method: str, path: str) -> None:
    reply = requests.request(method, running.url + path, timeout=10)
    assert reply.status_code in (403, 404) or "<title>Streamlit</title>" in reply.text, "the empty shell of the console"
    assert "maxUploadSize" not in reply.text
