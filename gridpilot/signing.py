"""HTTP calls that are signed as Standard Webhooks are (standardwebhooks.com), given and taken.

Headers `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature` = "v1," + base64(HMAC-SHA256(secret,
"id.timestamp.body")); several signatures may stand there, apart by blanks. A secret is "whsec_" and base64, or any
text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from gridpilot.errors import ConfigError, InputError

SKEW_S: Final = 300.0  # between the caller's clock and ours
LEAST_KEY: Final = 16  # bytes of a secret
LONGEST_STAMP: Final = 15  # digits of a time in seconds


class Unsigned(InputError):
    """The signature is missing, wrong or too old."""


def sign(secret: str, message_id: str, stamp: int, body: bytes, setting: str = "the secret") -> str:
    """The signature of a call, for the header; ConfigError, naming the `setting`, where the secret is none."""
    digest = hmac.new(_key(secret, setting), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(secret: str, message_id: str, stamp: int, body: bytes, setting: str = "the secret") -> dict[str, str]:
    """The three headers of a signed call."""
    signature = sign(secret, message_id, stamp, body, setting)
    return {"webhook-id": message_id, "webhook-timestamp": str(stamp), "webhook-signature": signature}


def verify(secret: str, given: Mapping[str, str], body: bytes, now: float, setting: str = "the secret") -> str:
    """The id of a call that is signed with the secret; Unsigned, without a word of what would have been right."""
    message_id, stamp, signatures = stamped(given, now)
    wanted = sign(secret, message_id, stamp, body, setting)
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in signatures):
        raise Unsigned("webhook-signature does not fit this call and the secret")
    return message_id


def stamped(given: Mapping[str, str], now: float) -> tuple[str, int, list[str]]:
    """Id, time and signatures of a call whose body is not read yet; Unsigned where it can be no signed one."""
    message_id, text = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    signatures = given.get("webhook-signature", "").split()
    if not (message_id and text.isascii() and text.isdigit() and len(text) <= LONGEST_STAMP and signatures):
        raise Unsigned("the call is not signed: give webhook-id, webhook-timestamp and webhook-signature")
    if abs(now - int(text)) > SKEW_S:
        raise Unsigned(f"webhook-timestamp is {abs(now - int(text)):.0f} s off: expected at most {SKEW_S:.0f} s")
    return message_id, int(text), signatures


def _key(secret: str, setting: str) -> bytes:
    """The key behind a secret: base64 after "whsec_", else the text itself. ConfigError where it is none."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ConfigError(f"{setting} is not base64 after whsec_: correct it") from None
    if len(key) < LEAST_KEY:
        raise ConfigError(f"{setting} has {len(key)} bytes: expected {LEAST_KEY} or more, that nobody knows")
    return key
