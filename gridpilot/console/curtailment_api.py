"""Curtailment by a signed HTTP call from a utility or an aggregator.

    POST /api/curtailments           start, end or minutes, import_kw or percent, ramp_s, reason, author
    POST /api/curtailments/cancel    cancel (the id), reason, author
    GET  /api/curtailments/ID        the event, and what was metered so far

Calls are signed as Standard Webhooks are (standardwebhooks.com): headers `webhook-id`, `webhook-timestamp` (Unix
seconds) and `webhook-signature` = "v1," + base64(HMAC-SHA256(secret, "id.timestamp.body")); several signatures may
stand there, apart by blanks. The id is the event's; the same call again changes nothing. Without a secret
(GRIDPILOT_CURTAIL_SECRET) there is no such door. Times are the source's, as everywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gridpilot import views
from gridpilot.config import load_settings
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.errors import ConfigError, Conflict, GridPilotError, InputError
from gridpilot.monitor.curtailments import audit, find
from gridpilot.monitor.health import PilotState
from gridpilot.values import to_jsonable

MOST_BYTES: Final = 10_000
SKEW_S: Final = 300.0  # between the caller's clock and ours
LEAST_KEY: Final = 16  # bytes of a secret
LONGEST_STAMP: Final = 15  # digits of a time in seconds
MOST_NUMBER: Final = 1e12
MOST_MINUTES: Final = 1e5
YEARS: Final = (1970, 9000)  # of a start or an end: no clock or sum of them leaves the calendar
FIELDS: Final = {"start", "end", "minutes", "import_kw", "percent", "ramp_s", "reason", "author"}


class Unsigned(InputError):
    """The signature is missing, wrong or too old."""


def sign(secret: str, message_id: str, stamp: int, body: bytes) -> str:
    """The signature of a call, for the header."""
    digest = hmac.new(_key(secret), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a call that is signed with the secret; Unsigned, without a word of what would have been right."""
    message_id, text = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split()
    if not (message_id and text.isascii() and text.isdigit() and len(text) <= LONGEST_STAMP and given):
        raise Unsigned("the call is not signed: give webhook-id, webhook-timestamp and webhook-signature")
    if abs(now - int(text)) > SKEW_S:
        raise Unsigned(f"webhook-timestamp is {abs(now - int(text)):.0f} s off: expected at most {SKEW_S:.0f} s")
    wanted = sign(secret, message_id, int(text), body)
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given):
        raise Unsigned("webhook-signature does not fit this call and the secret")
    return message_id


def _key(secret: str) -> bytes:
    """The key behind a secret: base64 after "whsec_", else the text itself. ConfigError where it is none."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ConfigError("GRIDPILOT_CURTAIL_SECRET is not base64 after whsec_: correct it") from None
    if len(key) < LEAST_KEY:
        raise ConfigError(
            f"GRIDPILOT_CURTAIL_SECRET has {len(key)} bytes: expected {LEAST_KEY} or more, that nobody knows"
        )
    return key


# --- what a call does ------------------------------------------------------------------------


def _submit(message_id: str, body: Mapping[str, Any]) -> Any:
    now = _now()
    _only(body, FIELDS)
    known = next((row for row in curtailment.events(views.ledger()) if row.id == message_id), None)
    soon = known.start if known else now + PilotState.load(views.ledger()).notice  # the same call again, the same start
    start, minutes = _moment(body, "start") or soon, _number(body, "minutes")
    lasts = None if minutes is None else timedelta(minutes=min(max(minutes, -MOST_MINUTES), MOST_MINUTES))
    end = _moment(body, "end") or (None if lasts is None else start + lasts)
    if end is None:
        raise InputError("give end, or minutes")
    event = Curtailment(
        message_id,
        "utility",
        _text(body, "author", "utility"),
        _text(body, "reason", "signed call"),
        start,
        end,
        _number(body, "import_kw"),
        _number(body, "percent"),
        _number(body, "ramp_s") or 0.0,
    )
    return to_jsonable(curtailment.submit(views.ledger(), event, now))


def _cancel(message_id: str, body: Mapping[str, Any]) -> Any:
    _only(body, {"cancel", "reason", "author"})
    by, why = _text(body, "author", "utility"), _text(body, "reason", "signed call")
    done = curtailment.cancel(views.ledger(), _text(body, "cancel", ""), author=by, reason=why, now=_now())
    return to_jsonable(done)


def _report(event_id: str) -> Any:
    event = find(views.ledger(), event_id)
    found = audit(views.ledger(), event, _now())
    return {"event": to_jsonable(event), "audit": None if found is None else {**to_jsonable(found), "kept": found.kept}}


def _only(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise InputError(f"unknown field {unknown[0][:40]!r}: expected {', '.join(sorted(known))}")


def _now() -> datetime:
    """The source's time, which events are in."""
    at = views.status().at
    if at is None:
        raise InputError("there is no decision yet: try again when the pilot runs")
    return at


def _moment(body: Mapping[str, Any], name: str) -> datetime | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not YEARS[0] <= moment.year <= YEARS[1]:
        raise InputError(f"{name} is {str(value)[:40]!r}: expected ISO 8601 with a zone, as 2024-06-12T14:00:00Z")
    return moment


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not -MOST_NUMBER <= value <= MOST_NUMBER:  # NaN neither
        raise InputError(f"{name} is {str(value)[:40]!r}: expected a number")
    return float(value)


def _text(body: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise InputError(f"{name} is {str(value)[:40]!r}: expected text")
    return value


# --- HTTP ------------------------------------------------------------------------------------

STATUS: Final = ((Unsigned, 401), (ConfigError, 503), (InputError, 400), (Conflict, 409), (GridPilotError, 503))


async def answer(request: Request) -> Response:
    """One call, whichever of the three."""
    try:
        secret = load_settings().curtail_secret
        if secret is None:
            return JSONResponse({"detail": "no curtailment by HTTP: set GRIDPILOT_CURTAIL_SECRET"}, 404)
        raw = b""
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MOST_BYTES:
                return JSONResponse({"detail": f"the body has more than {MOST_BYTES} bytes"}, 413)
        message_id = verify(secret.get_secret_value(), request.headers, raw, time.time())
        return await anyio.to_thread.run_sync(_act, request, message_id, raw)
    except GridPilotError as error:
        return JSONResponse({"detail": str(error)}, next(code for kind, code in STATUS if isinstance(error, kind)))


def _act(request: Request, message_id: str, raw: bytes) -> Response:
    if request.method == "GET":
        return JSONResponse(_report(request.path_params["event_id"]))
    if request.url.path.endswith("/cancel"):
        return JSONResponse(_cancel(message_id, _json(raw)))
    return JSONResponse(_submit(message_id, _json(raw)), 202)


def _json(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise InputError("the body is not a JSON object")
    return body
