"""Signed curtailment calls against a real console server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.requests import Request

from gridpilot.config import Settings
from gridpilot.console import curtailment_api
from gridpilot.dispatch import curtailment
from gridpilot.errors import ConfigError
from gridpilot.ledger.store import Ledger
from gridpilot.pilot import one_cycle
from gridpilot.signing import SKEW_S, sign
from gridpilot.signing import headers as signed_headers
from tests.browser.harness.server import Server, serve

pytestmark = pytest.mark.slow  # a real server

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1ncmlkLW9wZXJhdG9y"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger with one decision of a replay whose clock stands."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    one_cycle(Settings(db_url=url, refit=False, replay_speed=0.0), datetime.now(UTC))
    return url


@pytest.fixture(scope="module")
def running(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {"GRIDPILOT_NO_PILOT": "1", "GRIDPILOT_CURTAIL_SECRET": SECRET, "GRIDPILOT_DB_URL": url}
    with serve(tmp_path_factory.mktemp("server"), env=env) as console:
        yield console


def call(
    running: Server, body: Any, *, id_: str = "e1", path: str = "", method: str = "POST", **changes: Any
) -> requests.Response:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    stamp = int(time.time() - changes.get("late_s", 0.0))
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(changes.get("secret", SECRET), id_, stamp, changes.get("signed", raw)),
    }
    headers = {name: value for name, value in headers.items() if name not in changes.get("without", ())}
    return requests.request(method, f"{running.url}/api/curtailments{path}", data=raw, headers=headers, timeout=20)


def test_call__signed__taken_over_once_reported_and_cancelled(running: Server, url: str) -> None:
    body = {"minutes": 60, "percent": 25, "reason": "evening peak", "author": "grid operator"}
    with Ledger.open(url, read_only=True) as ledger:
        first, again = call(running, body), call(running, body)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["id"] == again.json()["id"] == "e1"
        event = curtailment.events(ledger)[0]
        assert (event.origin, event.author, event.percent, event.status) == (
            "utility", "grid operator", 25.0, "scheduled",
        )  # fmt: skip
        assert event.end - event.start == timedelta(minutes=60)
        report = call(running, None, id_="any", path="/e1", method="GET")
        assert report.json()["event"]["id"] == "e1"
        done = call(running, {"cancel": "e1", "reason": "called off"}, id_="c1", path="/cancel")
        assert (done.status_code, done.json()["status"]) == (200, "cancelled")
        assert curtailment.events(ledger, curtailment.LIVE) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"without": ("webhook-signature",)},
        {"without": ("webhook-id",)},
        {"without": ("webhook-timestamp",)},
        {"secret": "whsec_d3JvbmctYnV0LWxvbmctZW5vdWdo"},
        {"signed": b'{"minutes": 5}'},
        {"late_s": SKEW_S + 60},
        {"late_s": -SKEW_S - 60},
    ],
)
def test_call__not_signed_as_it_should_be__refused_and_nothing_written(
    running: Server, url: str, changes: dict[str, Any]
) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        before = ledger.count()
        reply = call(running, {"minutes": 60, "percent": 25}, id_="forged", **changes)
        assert reply.status_code == 401
        assert SECRET not in reply.text and "v1," not in reply.text
        assert ledger.count() == before


def test_call__a_time_of_thousands_of_digits__refused_as_not_signed(running: Server) -> None:
    headers = {"webhook-id": "e9", "webhook-timestamp": "9" * 4000, "webhook-signature": "v1,AAAA"}
    reply = requests.post(f"{running.url}/api/curtailments", data=b"{}", headers=headers, timeout=20)
    assert (reply.status_code, "not signed" in reply.json()["detail"]) == (401, True)


def test_call__without_a_start_and_again_after_a_while__the_same_event(tmp_path: Path) -> None:
    moving = f"sqlite:///{tmp_path / 'ledger.db'}"
    one_cycle(Settings(db_url=moving, refit=False, replay_speed=60.0), datetime.now(UTC))
    env = {"GRIDPILOT_NO_PILOT": "1", "GRIDPILOT_CURTAIL_SECRET": SECRET, "GRIDPILOT_DB_URL": moving}
    with serve(tmp_path, env=env) as console:
        body = {"minutes": 60, "percent": 25}
        first = call(console, body)
        time.sleep(0.2)  # of a clock that runs sixty times as fast
        again = call(console, body)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["start"] == again.json()["start"]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "short"])
def test_sign__secret_that_anybody_could_guess__refused(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"GRIDPILOT_CURTAIL_SECRET has \d bytes: expected 16 or more"):
        sign(secret, "e1", 1, b"", "GRIDPILOT_CURTAIL_SECRET")


def test_call__a_report_s_signature__cancels_nothing(running: Server) -> None:
    call(running, {"minutes": 60, "import_kw": 100}, id_="e2")
    assert call(running, None, id_="e2", path="/cancel").status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"minutes": 60}, 400, "give either import_kw"),
        ({"percent": 25}, 400, "give end, or minutes"),
        ({"minutes": 60, "percent": "many"}, 400, "percent is 'many': expected a number"),
        ({"minutes": 60, "percent": True}, 400, "expected a number"),
        ({"minutes": 1e9, "percent": 25}, 400, "at most 24 hours"),
        ({"minutes": 60, "percent": 25, "start": "2024-06-24T12:00:00"}, 400, "ISO 8601 with a zone"),
        ({"minutes": 60, "percent": 25, "dispatch": 9999}, 400, "unknown field 'dispatch'"),
        (
            {"minutes": 60, "end": "2024-06-24T18:00:00Z", "percent": 25},
            400,
            "end and minutes both say when it is over",
        ),
        ({"minutes": 60, "percent": 0}, 400, "percent is 0, which leaves nothing out"),
        (b'{"minutes": 60, "percent": 25, "percent": 5}', 400, "'percent' is given more than once"),
        (b'[{"a": 1, "a": 2}]', 400, "'a' is given more than once"),
        ({"minutes": 60, "percent": 25, "author": "a\nb"}, 400, "in one line"),
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "not a JSON object"),
        (b'{"minutes": 60, "percent": NaN}', 400, "percent is 'nan': expected a number"),
        (b'{"minutes": NaN, "percent": 25}', 400, "minutes is 'nan': expected a number"),
        (b'{"minutes": 1e400, "percent": 25}', 400, "minutes is 'inf': expected a number"),
        (b'{"minutes": 1' + b"0" * 400 + b', "percent": 25}', 400, "expected a number"),
        ({"minutes": -1e11, "percent": 25}, 400, "expected more than 0"),
        ({"minutes": 0, "percent": 25}, 400, "expected more than 0"),
        ({"minutes": 60, "percent": 101}, 400, "percent is 101: expected 0 to 100"),
        ({"minutes": 60, "percent": 25, "start": "9999-12-31T23:59:59Z"}, 400, "ISO 8601 with a zone"),
        ({"minutes": 60, "percent": 25, "start": "0001-01-01T00:00:00+14:00"}, 400, "ISO 8601 with a zone"),
        (b"[" * 9000, 400, "not JSON"),
        (b" " * 10_001, 413, "more than 10000 bytes"),
    ],
)
def test_call__signed_but_wrong__one_clear_line(running: Server, body: Any, status: int, said: str) -> None:
    reply = call(running, body, id_="wrong")
    assert reply.status_code == status
    assert said in reply.json()["detail"]


def test_call__same_id_other_content__conflict(running: Server) -> None:
    assert call(running, {"minutes": 60, "percent": 25}, id_="e3").status_code == 202
    assert call(running, {"minutes": 60, "percent": 30}, id_="e3").status_code == 409


def test_call__unknown_event__one_clear_line(running: Server) -> None:
    reply = call(running, None, path="/nothing", method="GET")
    assert (reply.status_code, "no curtailment 'nothing'" in reply.text) == (404, True)


def test_call__no_secret_is_set__there_is_no_door(tmp_path: Path) -> None:
    with serve(tmp_path, env={"GRIDPILOT_NO_PILOT": "1"}) as console:
        assert call(console, {"minutes": 60, "percent": 25}).status_code == 404


def test_report__unknown_id__not_found_and_neither_repeated_nor_told_of_others(running: Server) -> None:
    assert call(running, {"minutes": 60, "import_kw": 100}, id_="one-of-ours").status_code == 202
    reply = call(running, None, id_="any", path=f"/{'x' * 20_000}", method="GET")
    assert reply.status_code == 404
    assert len(reply.text) < 200 and "one-of-ours" not in reply.text


def _asked(headers: dict[str, str], messages: Iterator[dict[str, Any]]) -> int:
    """The status of a call by its headers and what the server gets of its body."""
    scope = {"type": "http", "method": "POST", "path": "/api/curtailments", "query_string": b"", "headers": []}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> dict[str, Any]:
        return next(messages)

    return asyncio.run(curtailment_api.answer(Request(scope, receive))).status_code


def test_call__who_hangs_up_in_the_middle__no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_CURTAIL_SECRET", SECRET)
    half = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    signed = signed_headers(SECRET, "e1", int(time.time()), b"{")
    assert _asked(signed, iter(half)) == 400


def test_call__not_signed__refused_before_its_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_CURTAIL_SECRET", SECRET)
    assert _asked({"content-length": "9000"}, iter(())) == 401
