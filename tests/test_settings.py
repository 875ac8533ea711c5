"""Settings that are wrong: one line that names the variable and what is expected, and no secret in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot.config import Settings, language_model, load_settings
from gridpilot.domain import Site
from gridpilot.errors import ConfigError
from gridpilot.market.http import Http
from gridpilot.market.source import open_source
from gridpilot.monitor.courier import receiver

ROOT = Path(__file__).resolve().parent.parent
BAD = (
    "htp://u:SECRETPW@127.0.0.1",
    "http://u:SECRETPW/PW@127.0.0.1:1",
    "http://u:12/SECRETPW@127.0.0.1",
    "http://u:SECRETPW@h:notaport",
    "http://u:SECRETPW@[::1",
    "http://u:SECRETPW@ho st",
    "SECRETPW",
    "",
)
SERVERS = (
    "GRIDPILOT_MARA_URL",
    "GRIDPILOT_ENERGY_CHARTS_URL",
    "GRIDPILOT_GRIDSTATUS_URL",
    "GRIDPILOT_MEMPOOL_URL",
)


@pytest.mark.parametrize("url", BAD)
@pytest.mark.parametrize("name", SERVERS)
def test_server__no_address__refused_by_name_and_not_repeated(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(ConfigError, match=f"^{name} is no address of a server: expected http://HOST or") as caught:
        load_settings()
    assert "SECRET" not in str(caught.value) and "PW" not in str(caught.value)


def test_server__password_in_its_address__taken_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://u:SECRETPW@relay.example:8443/mara"
    for name in SERVERS:
        monkeypatch.setenv(name, url)
    settings = load_settings()
    assert settings.mara_url == settings.mempool_url == url
    assert "SECRETPW" not in repr(settings) + repr(Http(url))


@pytest.mark.parametrize("url", BAD[:-1])
def test_webhook_and_language_model__no_address__not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Settings(alarm_webhook=SecretStr(url), alarm_webhook_secret=SecretStr("whsec_" + "a" * 32))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    for what, name in ((lambda: receiver(told), "GRIDPILOT_ALARM_WEBHOOK"), (lambda: language_model(told), "OPENAI")):
        with pytest.raises(ConfigError, match=f"^{name}.* is no (https )?address") as caught:
            what()
        assert "SECRET" not in str(caught.value) and "PW" not in str(caught.value)


@pytest.mark.parametrize("name", ["SOURCE", "SITE", "FLEET", "HEAD_FILE"])
def test_setting__empty__refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GRIDPILOT_{name}", " ")
    with pytest.raises(ConfigError, match=f"^GRIDPILOT_{name} is empty: give it a value, or unset it"):
        load_settings()


@pytest.mark.parametrize("at", ["9999-12-31T00:00:00Z", "0001-01-01T00:00:00+14:00", "2021-01-01T00:00:00Z"])
def test_replay_start__not_recorded__refused_by_name(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_REPLAY_START", at)
    with pytest.raises(ConfigError, match="GRIDPILOT_REPLAY_START"):
        open_source("replay", load_settings(), Site())


@pytest.mark.parametrize("spec", ["banana", "csv"])
def test_source__no_such_one__refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match="GRIDPILOT_SOURCE"):
        open_source(spec, Settings(), Site())


@pytest.mark.slow
def test_cycle__address_with_a_password_that_is_none__one_line_and_code_2(tmp_path: Path) -> None:
    told = {"GRIDPILOT_SOURCE": "mara", "GRIDPILOT_MARA_URL": BAD[1], "GRIDPILOT_DB_URL": f"sqlite:///{tmp_path}/a.db"}
    done = subprocess.run(
        [sys.executable, "-m", "gridpilot", "cycle", "--dry-run"],
        cwd=ROOT,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("gridpilot: GRIDPILOT_MARA_URL is no address")
    assert "PW" not in done.stderr
