"""Addresses in settings: of servers. A message about one names the setting, and never repeats the address."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from gridpilot.errors import ConfigError

SERVER = "http://HOST or https://HOST (a / or an @ within its password is written %2F or %40)"


def parts(url: str) -> SplitResult | None:
    """Its parts; None where it is no http or https address whose host and port can be read."""
    try:
        found = urlsplit(url)
        good = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        return None
    return found if good and url.isprintable() and " " not in url else None


def server(setting: str, url: str, expected: str = SERVER) -> str:
    """The address of a server; ConfigError where it is none, or where a part of a password stands in its path."""
    found = parts(url)
    if found is None or "@" in found.path:
        raise ConfigError(f"{setting} is no address of a server: expected {expected}")
    return url
