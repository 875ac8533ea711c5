"""The key of a MARA site that was created here. It is a secret, so it goes into no ledger, page or log.

It is kept in a file that only this user may read: the next pilot goes on with the same site, and the watchdog can
reach its machines. Beside a SQLite ledger the file has the ledger's name and ends in `.mara-key`; with another
database it is in the user's data folder. A key that is set in the environment goes before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from gridpilot.config import Settings
from gridpilot.errors import ConfigError, Refused
from gridpilot.market.mara import MaraClient


def key_file(settings: Settings) -> Path:
    """Where the key of this ledger's site is kept."""
    url = make_url(settings.database_url())
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database.removeprefix("file:"))
        return path.with_name(path.name + ".mara-key")
    name = hashlib.sha256(url.render_as_string(hide_password=True).encode()).hexdigest()[:12]
    return Path(platformdirs.user_data_dir("gridpilot")) / f"{name}.mara-key"


def known_key(settings: Settings) -> SecretStr | None:
    """The key that is set, or the one that was kept for this API; None where there is neither."""
    if settings.mara_api_key is not None:
        return settings.mara_api_key
    try:
        kept = json.loads(key_file(settings).read_text("utf-8"))
        return SecretStr(kept["api_key"]) if kept["url"] == settings.mara_url else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"{key_file(settings)} cannot be read ({type(error).__name__})"
        raise ConfigError(f"{said}: set GRIDPILOT_MARA_API_KEY, or delete it to have a new site created") from None


def join_site(client: MaraClient, settings: Settings, name: str) -> None:
    """Have the client use our site: that of the key in force, or a new one, whose key is kept."""
    if client.has_key:
        return
    kept = known_key(settings)
    if kept is not None:
        client.use(kept)
        try:
            client.site()
            return
        except Refused as error:
            if not error.credentials:
                raise
        client.use(None)  # the API knows it no longer: a stand-in that was started anew
    _keep(key_file(settings), lambda: {"url": settings.mara_url, "api_key": _created(client, name)})


def _created(client: MaraClient, name: str) -> str:
    key: SecretStr = client.create_site(name)["api_key"]
    return key.get_secret_value()


def _keep(path: Path, make: Callable[[], dict[str, str]]) -> None:
    """Write what `make` gives. The file is opened first: no site is created whose key could not be kept."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        said = f"{path} cannot be written ({error.strerror})"
        raise ConfigError(f"{said}: make its folder writable, or set GRIDPILOT_MARA_API_KEY") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(make(), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
