"""One HTTP call that ends: a total deadline, few retries, a size cap, typed errors, no secret in any message.

`requests` bounds each wait of a call, not the call: name look-up, a header or a body that drips in have no
limit. So every attempt runs in a thread of its own that the caller leaves behind at the deadline.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from pydantic import SecretStr

from gridpilot import address
from gridpilot.errors import DataError, GridPilotError, RateLimited, Refused, Unreachable

CHUNK = 65_536
MAX_REDIRECTS = 3
_KEY = re.compile(r'("api_?key"\s*:\s*")[^"]*', re.IGNORECASE)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often. A call that must not be repeated has one attempt with the whole deadline."""

    deadline_s: float = 10.0  # the call with all its attempts and waits
    attempt_s: float = 3.0  # one attempt
    attempts: int = 3
    backoff_s: float = 0.25  # doubled after each attempt
    max_bytes: int = 5_000_000


@dataclass(slots=True)
class Stats:
    """Counters for the health page."""

    calls: int = 0
    attempts: int = 0
    retries: int = 0
    failures: int = 0
    last_s: float = 0.0  # how long the newest call took, waits included


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that came in whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: datetime  # our clock

    @property
    def skew_s(self) -> float | None:
        """How far the server's clock is ahead of ours, from its Date header (whole seconds); None without one."""
        date = _http_date(self.headers.get("Date", ""))
        return None if date is None else (date - self.received).total_seconds()


class _TryAgain(Exception):
    """An attempt failed in a way that may pass; the text says how."""


@dataclass(slots=True)
class Http:
    """Calls to one server. `secret` is blanked wherever a server's words enter a message."""

    base_url: str = field(repr=False)  # it may have a password
    policy: Policy = field(default_factory=Policy)
    secret: SecretStr | None = None
    stats: Stats = field(default_factory=Stats)

    def __post_init__(self) -> None:
        address.server("the API's address", self.base_url)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        end: float | None = None,
    ) -> Reply:
        """A reply with status 2xx. `body` goes out as JSON, bytes as they are.

        Raises Unreachable (no connection, timeout, 5xx), RateLimited (429), Refused (another 4xx, or a redirect
        elsewhere), DataError (too long, cut short). `retry` only where repeating the call is harmless. Several calls
        that share one deadline name its `end` on the monotonic clock.
        """
        self.stats.calls += 1
        began = time.monotonic()
        until = began + self.policy.deadline_s if end is None else end
        try:
            return self._call(method, path, body, headers or {}, (self.policy.attempts if retry else 1, until))
        except GridPilotError:
            self.stats.failures += 1
            raise
        finally:
            self.stats.last_s = time.monotonic() - began

    def _call(self, method: str, path: str, body: Any, headers: Mapping[str, str], allowed: tuple[int, float]) -> Reply:
        attempts, end = allowed
        backoff_s = self.policy.backoff_s
        for attempt in range(1, attempts + 1):
            left_s = end - time.monotonic()
            self.stats.attempts += 1
            self.stats.retries += attempt > 1
            wait_s = backoff_s * 2 ** (attempt - 1)
            failure: GridPilotError
            try:
                reply = self._in_time(method, path, body, headers, left_s if attempts == 1 else self._share(left_s))
            except _TryAgain as error:
                failure = Unreachable(f"{method} {self._shown(path)}: {error}{_tries(attempt)}")
            else:
                if 200 <= reply.status < 300:
                    return reply
                failure = self._failure(method, path, reply, attempt)
                if isinstance(failure, Refused):
                    raise failure
                wait_s = max(wait_s, _retry_after_s(reply) or 0.0)
            if attempt == attempts or wait_s >= end - time.monotonic():
                raise failure
            time.sleep(wait_s)
        raise Unreachable(f"{method} {self._shown(path)}: no attempt was allowed")

    def _share(self, left_s: float) -> float:
        return max(0.001, min(self.policy.attempt_s, left_s))

    def _in_time(self, method: str, path: str, body: Any, headers: Mapping[str, str], seconds: float) -> Reply:
        pool = ThreadPoolExecutor(1, thread_name_prefix="gridpilot-http")
        try:
            return pool.submit(self._attempt, method, path, body, headers, seconds).result(timeout=seconds)
        except TimeoutError:
            raise _TryAgain(f"no complete reply within {seconds:.1f} s") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _attempt(self, method: str, path: str, body: Any, headers: Mapping[str, str], seconds: float) -> Reply:
        """One exchange, redirects on the same server included; the errors of the libraries become ours."""
        end = time.monotonic() + seconds
        url = self.base_url.rstrip("/") + path
        try:
            with requests.Session() as session:
                session.trust_env = urlsplit(url).hostname not in LOOPBACK  # no proxy to ourselves
                for _ in range(MAX_REDIRECTS + 1):
                    with session.request(
                        method,
                        url,
                        json=None if isinstance(body, bytes) else body,
                        data=body if isinstance(body, bytes) else None,
                        headers=dict(headers),
                        timeout=seconds,
                        stream=True,
                        allow_redirects=False,
                    ) as response:
                        if response.is_redirect or response.is_permanent_redirect:
                            url = self._redirected(method, url, response)
                            continue
                        content = self._read(response, path, end)
                        return Reply(response.status_code, response.headers, content, datetime.now(UTC))
        except (requests.exceptions.SSLError, urllib3.exceptions.SSLError):
            said = "the TLS certificate or handshake is not valid; check the address"
            raise Unreachable(f"{method} {self._shown(path)}: {said}") from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise _TryAgain(f"no reply within {seconds:.1f} s") from None
        except (requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError) as error:
            raise _TryAgain(_cause(error)) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Unreachable(f"{method} {self._shown(path)}: {type(error).__name__}; check the address") from None
        except ValueError:  # of requests, for a redirect to http://[::1
            said = "redirects to what is no address; check the address"
            raise Unreachable(f"{method} {self._shown(path)} {said}") from None
        raise Refused(f"{method} {self._shown(path)}: more than {MAX_REDIRECTS} redirects; check the address", 310)

    def _read(self, response: requests.Response, path: str, end: float) -> bytes:
        content = bytearray()
        try:
            while chunk := response.raw.read1(CHUNK, decode_content=True):
                content += chunk
                if len(content) > self.policy.max_bytes:
                    cap = f"longer than {self.policy.max_bytes / 1e6:g} MB"
                    raise DataError(f"{self._shown(path)}: body is {cap}, starts with {self.excerpt(content)}")
                if time.monotonic() > end:
                    raise _TryAgain("the body was still coming at the deadline")
        except urllib3.exceptions.ProtocolError as error:
            if not any(isinstance(arg, http.client.IncompleteRead) for arg in error.args):
                raise
            raise DataError(f"{self._shown(path)}: body is cut short: {self.excerpt(content)}") from None
        except urllib3.exceptions.DecodeError:
            raise DataError(f"{self._shown(path)}: body can't be decompressed; expected JSON") from None
        return bytes(content)

    def _redirected(self, method: str, url: str, response: requests.Response) -> str:
        """Where a redirect may lead: GET only, same host and port, never from https to http."""
        target = urljoin(url, response.headers.get("Location", ""))
        old, new = urlsplit(url), urlsplit(target)
        if method != "GET" or old.netloc != new.netloc or new.scheme not in (old.scheme, "https"):
            there = f"{new.scheme}://{new.netloc.rpartition('@')[2]}"  # without a password
            said = f"redirects to {there}, which is not followed; check the address"
            raise Refused(f"{method} {self._shown(old.path)} {said}", response.status_code)
        return target

    def _failure(self, method: str, path: str, reply: Reply, attempt: int) -> GridPilotError:
        what = f"{method} {self._shown(path)} answered {reply.status}: {self._detail(reply.body)}"
        if reply.status == 429:
            after_s = _retry_after_s(reply) or 0.0
            return RateLimited(f"{what}; asked to wait {after_s:.0f} s{_tries(attempt)}", after_s)
        if reply.status >= 500 or reply.status == 408:
            return Unreachable(what + _tries(attempt))
        return Refused(what, reply.status)

    def _detail(self, body: bytes) -> str:
        """The server's own words: under detail, error or message, else how the body starts."""
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            return self.excerpt(body)
        if isinstance(told, dict):
            for key in ("detail", "error", "message"):
                if told.get(key):
                    return self.excerpt(str(told[key]).encode(errors="replace"))
        return self.excerpt(body)

    def json(self, path: str, reply: Reply) -> Any:
        """The body of a reply to `path`; DataError where it is no JSON."""
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise DataError(f"{path.partition('?')[0]}: body is not JSON: {self.excerpt(reply.body)}") from None

    def wrong(self, path: str, expected: str, seen: Any) -> DataError:
        """The error for a body that is JSON of another shape."""
        shown = self.excerpt(json.dumps(seen).encode())
        return DataError(f"{path.partition('?')[0]}: expected {expected}, got {shown}")

    def excerpt(self, body: bytes | bytearray) -> str:
        """The first 80 characters on one line, the secret blanked, and any key that the body gives."""
        text = _KEY.sub(r"\1***", bytes(body[:2000]).decode("utf-8", errors="replace"))
        if self.secret is not None and self.secret.get_secret_value():
            text = text.replace(self.secret.get_secret_value(), "***")
        return repr(text[:80]) if text else "an empty body"

    def _shown(self, path: str) -> str:
        """Host and path, without what was asked for."""
        parts = urlsplit(self.base_url)
        host = parts.hostname or ""
        return f"{host}{f':{parts.port}' if parts.port else ''}{path.partition('?')[0]}"


def _cause(error: Exception) -> str:
    """What went wrong with a connection, without the library's text (it may hold headers)."""
    text = str(error)
    if "NameResolution" in text:
        return "the host name is not known"
    if "refused" in text:
        return "connection refused"
    return "the connection broke"


def _tries(attempt: int) -> str:
    return f" (after {attempt} attempts)" if attempt > 1 else ""


def _retry_after_s(reply: Reply) -> float | None:
    """Seconds of a Retry-After header, given as a number or a date; None without a usable one."""
    text = reply.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    date = _http_date(text)
    return None if date is None else max(0.0, (date - reply.received).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
