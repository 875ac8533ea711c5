"""Curtailment by a signed HTTP call from a utility or an aggregator.

    POST /api/curtailments           start, end or minutes, import_kw or percent, ramp_s, reason, author
    POST /api/curtailments/cancel    cancel (the id), reason, author
    GET  /api/curtailments/ID        the event, and what was metered so far

Calls are signed as Standard Webhooks are (`signing`). The id is the event's; the same call again changes nothing.
Without a secret (GRIDPILOT_CURTAIL_SECRET) there is no such door. Times are the source's, as everywhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from gridpilot import views
from gridpilot.config import load_settings
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.domain.check import twice
from gridpilot.errors import ConfigError, Conflict, GridPilotError, InputError, Unknown
from gridpilot.monitor.curtailments import audit, find
from gridpilot.monitor.health import PilotState
from gridpilot.signing import Unsigned, stamped, verify
from gridpilot.values import to_jsonable

MOST_BYTES: Final = 10_000
MOST_NUMBER: Final = 1e12
MOST_MINUTES: Final = 1e5
YEARS: Final = (1970, 9000)  # of a start or an end: no clock or sum of them leaves the calendar
FIELDS: Final = {"start", "end", "minutes", "import_kw", "percent", "ramp_s", "reason", "author"}


# --- what a call does ------------------------------------------------------------------------


def _submit(message_id: str, body: Mapping[str, Any]) -> Any:
    now = _now()
    _only(body, FIELDS)
    ledger = views.own_ledger()
    known = next((row for row in curtailment.events(ledger) if row.id == message_id), None)
    soon = known.start if known else now + PilotState.load(ledger).notice  # the same call again, the same start
    start, minutes = _moment(body, "start") or soon, _number(body, "minutes")
    lasts = None if minutes is None else timedelta(minutes=min(max(minutes, -MOST_MINUTES), MOST_MINUTES))
    end = _moment(body, "end") or (None if lasts is None else start + lasts)
    if end is None:
        raise InputError("give end, or minutes")
    if lasts is not None and body.get("end") is not None:
        raise InputError("end and minutes both say when it is over: give one of them")
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
    return to_jsonable(curtailment.submit(ledger, event, now))


def _cancel(message_id: str, body: Mapping[str, Any]) -> Any:
    _only(body, {"cancel", "reason", "author"})
    by, why = _text(body, "author", "utility"), _text(body, "reason", "signed call")
    done = curtailment.cancel(views.own_ledger(), _text(body, "cancel", ""), author=by, reason=why, now=_now())
    return to_jsonable(done)


def _report(event_id: str) -> Any:
    event = find(views.own_ledger(), event_id)
    found = audit(views.own_ledger(), event, _now())
    return {"event": to_jsonable(event), "audit": None if found is None else {**to_jsonable(found), "kept": found.kept}}


def _only(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise InputError(f"unknown field {unknown[0][:40]!r}: expected {', '.join(sorted(known))}")


def _now() -> datetime:
    """The source's time, which events are in."""
    at = views.source_now()
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

STATUS: Final = (
    (Unsigned, 401),
    (ConfigError, 503),
    (Unknown, 404),
    (InputError, 400),
    (Conflict, 409),
    (GridPilotError, 503),
)


async def answer(request: Request) -> Response:
    """One call, whichever of the three."""
    try:
        secret = load_settings().curtail_secret
        if secret is None:
            return JSONResponse({"detail": "no curtailment by HTTP: set GRIDPILOT_CURTAIL_SECRET"}, 404)
        stamped(request.headers, time.time())
        raw = b""
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MOST_BYTES:
                return JSONResponse({"detail": f"the body has more than {MOST_BYTES} bytes"}, 413)
        message_id = verify(secret.get_secret_value(), request.headers, raw, time.time(), "GRIDPILOT_CURTAIL_SECRET")
        return await anyio.to_thread.run_sync(_act, request, message_id, raw)
    except ClientDisconnect:  # in the middle of the body: nobody hears
        return Response(status_code=400)
    except GridPilotError as error:
        return JSONResponse({"detail": str(error)}, next(code for kind, code in STATUS if isinstance(error, kind)))


def _act(request: Request, message_id: str, raw: bytes) -> Response:
    with views.looking(views.Look()):  # the console's own site, whoever looks at another
        return _acted(request, message_id, raw)


def _acted(request: Request, message_id: str, raw: bytes) -> Response:
    if request.method == "GET":
        return JSONResponse(_report(request.path_params["event_id"]))
    if request.url.path.endswith("/cancel"):
        return JSONResponse(_cancel(message_id, _json(raw)))
    return JSONResponse(_submit(message_id, _json(raw)), 202)


def _json(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw or b"{}", object_pairs_hook=_once)
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise InputError("the body is not a JSON object")
    return body


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each of whose names is there once."""
    for name in twice(name for name, _ in pairs):
        raise InputError(f"{name[:40]!r} is given more than once: give it once")
    return dict(pairs)
