"""The key of a site that was created here: kept where only its owner reads it, and used again."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot.config import Settings
from gridpilot.errors import ConfigError, Unreachable
from gridpilot.mara_server import MaraServer
from gridpilot.market.mara import MaraClient
from gridpilot.market.mara_key import join_site, key_file, known_key
from gridpilot.pilot import one_cycle


def settings_for(folder: Path, url: str, key: str | None = None) -> Settings:
    secret = None if key is None else SecretStr(key)
    return Settings(source="mara", mara_url=url, mara_api_key=secret, db_url=f"sqlite:///{folder / 'ledger.db'}")


def test_join_site__no_key_creates_one_site_and_the_next_start_goes_on_with_it(tmp_path: Path) -> None:
    with MaraServer(seed=1) as server:
        settings = settings_for(tmp_path, server.url)
        assert known_key(settings) is None
        for _start in range(3):
            client = MaraClient(settings.mara_url, settings.mara_api_key)
            join_site(client, settings, "Example")
            assert client.site()["name"] == "Example"
        assert server.requests.count(("POST", "/sites")) == 1
        path = key_file(settings)
        assert path == tmp_path / "ledger.db.mara-key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_join_site__api_knows_the_key_no_longer__another_site(tmp_path: Path) -> None:
    with MaraServer(seed=1) as server:
        settings, port = settings_for(tmp_path, server.url), int(server.url.rsplit(":", 1)[1])
        join_site(MaraClient(settings.mara_url), settings, "Example")
        first = known_key(settings)
    with MaraServer(seed=2, port=port):
        client = MaraClient(settings.mara_url)
        join_site(client, settings, "Example")
        assert known_key(settings) != first
        assert client.machines()["air_miners"] == 0


def test_join_site__key_is_set__used_and_nothing_kept(tmp_path: Path) -> None:
    with MaraServer(seed=1, api_key="mine") as server:
        settings = settings_for(tmp_path, server.url, "mine")
        join_site(MaraClient(settings.mara_url, settings.mara_api_key), settings, "Example")
        assert known_key(settings) == SecretStr("mine")
        assert list(tmp_path.iterdir()) == []
        assert ("POST", "/sites") not in server.requests


def test_join_site__api_down_or_folder_read_only__no_site_is_lost(tmp_path: Path) -> None:
    with MaraServer(seed=1) as server:
        settings = settings_for(tmp_path, server.url)
        server.set_faults({"status": 503})
        with pytest.raises(Unreachable):
            join_site(MaraClient(settings.mara_url), settings, "Example")
        assert list(tmp_path.iterdir()) == []
        server.set_faults({})
        server.requests.clear()
        (tmp_path / f"ledger.db.mara-key.{os.getpid()}").mkdir()  # in the way
        with pytest.raises(ConfigError, match=r"cannot be written .*GRIDPILOT_MARA_API_KEY"):
            join_site(MaraClient(server.url), settings, "Example")
        assert server.requests == []


def test_known_key__damaged_or_other_apis_file(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "http://127.0.0.1:1")
    key_file(settings).write_text('{"url": "http://127.0.0.1:2", "api_key": "x"}')
    assert known_key(settings) is None
    key_file(settings).write_text("nonsense")
    with pytest.raises(ConfigError, match=r"ledger\.db\.mara-key cannot be read"):
        known_key(settings)


def test_key_file__other_database__in_the_data_folder_and_without_its_password() -> None:
    first, second = (
        key_file(Settings(db_url=f"postgresql+psycopg://pilot:{word}@db/gridpilot")) for word in ("a", "b")
    )
    assert first == second
    assert first.parent.name == "gridpilot"


def test_F60_created_key__is_in_no_file_of_the_ledger(tmp_path: Path) -> None:
    with MaraServer(seed=1) as server:
        settings = settings_for(tmp_path, server.url)
        assert one_cycle(settings, datetime.now(UTC)).dispatch.status == "applied"
        key = known_key(settings)
        assert key is not None
        files = [p for p in tmp_path.iterdir() if p != key_file(settings)]
        assert files
        assert [p.name for p in files if key.get_secret_value().encode() in p.read_bytes()] == []
