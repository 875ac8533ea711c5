"""A real OpenID Connect provider on a loopback port: discovery, consent form, code with PKCE, signed identity token.

People sign in by pressing the button with their address, or by `login_hint`. It is for tests alone: it asks for no
password. `lifetime_s` is how long its tokens last.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

PEOPLE = ("via@site.example", "ola@site.example", "ada@site.example", "bea@site.example")


@dataclass
class Provider:
    """What it knows and was asked."""

    client_id: str = "gridpilot"
    client_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    lifetime_s: float = 3600.0
    unverified: tuple[str, ...] = ()
    url: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def secrets_toml(self, port: str = "{port}") -> str:
        """The `[auth]` table of a console that signs in here."""
        return (
            "[auth]\n"
            f'redirect_uri = "http://localhost:{port}/oauth2callback"\n'
            f'cookie_secret = "{secrets.token_hex(32)}"\n'
            f'client_id = "{self.client_id}"\n'
            f'client_secret = "{self.client_secret}"\n'
            f'server_metadata_url = "{self.url}/.well-known/openid-configuration"\n'
        )

    def code(self, email: str, query: Mapping[str, str]) -> str:
        """A code for one exchange."""
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**query, "email": email}
        return code

    def tokens(self, form: Mapping[str, str], client: tuple[str, str]) -> dict[str, Any] | None:
        """What a code is exchanged for; None where anything about it is wrong."""
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or client != (self.client_id, self.client_secret):
            return None
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked.get("code_challenge"):
            return None
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": hashlib.sha256(asked["email"].encode()).hexdigest()[:12],
            "aud": self.client_id,
            "iat": now,
            "exp": int(now + self.lifetime_s),
            "nonce": asked.get("nonce", ""),
            "email": asked["email"],
            "email_verified": asked["email"] not in self.unverified,
            "name": asked["email"].partition("@")[0].title(),
        }
        token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key)
        return {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": token}


@contextmanager
def provide(**options: Any) -> Iterator[Provider]:
    """A provider on a free port."""
    provider = Provider(**options)

    class Handler(_Handler):
        pass

    Handler.provider = provider
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        self.provider.asked.append(split.path)
        if split.path == "/.well-known/openid-configuration":
            self._json(self.provider.metadata())
        elif split.path == "/jwks":
            self._json({"keys": [self.provider.key.as_dict(private=False)]})
        elif split.path == "/authorize":
            self._authorize(query)
        elif split.path == "/end":
            self._redirect(query["post_logout_redirect_uri"])
        else:
            self._send(204, "text/plain", b"")

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        fields = {key: values[0] for key, values in parse_qs(form).items()}
        found = self.provider.tokens(fields, self._client(fields))
        self._json(found or {"error": "invalid_grant"}, 200 if found else 400)

    def _client(self, fields: Mapping[str, str]) -> tuple[str, str]:
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            name, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
            return unquote(name), unquote(secret)
        return fields.get("client_id", ""), fields.get("client_secret", "")

    def _authorize(self, query: dict[str, str]) -> None:
        if query.get("client_id") != self.provider.client_id or "openid" not in query.get("scope", ""):
            self._send(400, "text/plain", b"unknown client or scope")
            return
        email = query.get("login_hint")
        if email:
            answer = {"code": self.provider.code(email, query), "state": query["state"]}
            self._redirect(f"{query['redirect_uri']}?{urlencode(answer)}")
            return
        links = "".join(
            f"<p><a href='/authorize?{html.escape(urlencode({**query, 'login_hint': who}))}'>{who}</a></p>"
            for who in PEOPLE
        )
        self._send(200, "text/html", f"<!doctype html><title>Sign in</title>{links}".encode())

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, body: Any, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
