"""When the console starts at all: on loopback, or with a sign-in that is set up whole."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
CODE = """
import json, sys
from streamlit import config
for name, value in json.loads(sys.argv[1]).items():
    config.set_option(name, value)
from gridpilot.console import signin
signin.require_safe_start()
"""
ANYWHERE = ".".join("0" * 4)
WHOLE = {
    "redirect_uri": "https://console.example/oauth2callback",
    "cookie_secret": "0123456789abcdef0123456789abcdef",
    "client_id": "gridpilot",
    "client_secret": "s",
    "server_metadata_url": "https://id.example/.well-known/openid-configuration",
}


def start(tmp_path: Path, auth: str | None = None, **options: Any) -> str:
    """What the start check says in a process of its own; empty where it lets the console start."""
    secrets = tmp_path / "secrets.toml"
    if auth is not None:
        secrets.write_text(auth)
    given = {"secrets.files": [str(secrets)], **{f"server.{name}": value for name, value in options.items()}}
    command = [sys.executable, "-c", CODE, json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def table(**changes: str | None) -> str:
    rows = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    return "[auth]\n" + "".join(f'{key} = "{value}"\n' for key, value in rows.items())


def test_config__as_shipped__loopback_and_closed() -> None:
    server = CONFIG["server"]
    assert server["address"] == "127.0.0.1"
    assert set(server["allowedHosts"]) == {"localhost", "127.0.0.1"}
    assert server["enableXsrfProtection"] is True and server["enableCORS"] is True
    assert server["enableAgentApi"] is False and server["enableStaticServing"] is False
    assert "trustedUserHeaders" not in server, "a header must not say who somebody is"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"address": "localhost"}, {"address": "127.0.0.2"}])
def test_start__loopback_without_sign_in__allowed(tmp_path: Path, options: dict[str, str]) -> None:
    assert start(tmp_path, **options) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"address": ANYWHERE}, {"address": ""}, {"address": "192.0.2.7"}, {"allowedHosts": ["localhost", "c.example"]}],
)
def test_start__reachable_from_outside_without_sign_in__refused_with_the_remedy(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    assert "without a sign-in: set one up in .streamlit/secrets.toml" in start(tmp_path, **options)


@pytest.mark.slow
def test_start__reachable_from_outside_with_sign_in__allowed(tmp_path: Path) -> None:
    assert start(tmp_path, table(), address=ANYWHERE) == ""
    named = table(client_id=None, client_secret=None, server_metadata_url=None)
    for name in ("plant", "guests"):
        named += f'[auth.{name}]\nclient_id = "a"\nclient_secret = "b"\nserver_metadata_url = "https://c.example"\n'
    assert start(tmp_path, named, address=ANYWHERE) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("auth", "said"),
    [
        (table(cookie_secret=None), "has no cookie_secret"),
        (table(cookie_secret="short"), "cookie_secret is shorter than 32 characters"),
        (table(redirect_uri=""), "has no redirect_uri"),
        (table(client_secret=None), "has no client_secret"),
        (table(client_id=None, client_secret=None, server_metadata_url=None), "has no client_id"),
        ("[auth\n", "cannot be read, so nobody could sign in"),
        ('auth = "on"\n', "is no table"),
    ],
)
def test_start__sign_in_half_set_up__refused_and_no_secret_said(tmp_path: Path, auth: str, said: str) -> None:
    line = start(tmp_path, auth)
    assert said in line
    assert WHOLE["cookie_secret"] not in line
