"""Messages to a real receiver over loopback HTTP: one that takes them, one that is dead, one that never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gridpilot.config import Settings
from gridpilot.errors import ConfigError
from gridpilot.ledger import alarm_rows
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import courier
from gridpilot.monitor.alarms import Condition, watch
from gridpilot.monitor.conditions import RECEIVER, conditions
from gridpilot.monitor.courier import Receiver, deliver, receiver
from gridpilot.signing import Unsigned, verify

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1ncmlkLW9wZXJhdG9y"
T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Taker(ThreadingHTTPServer):
    """Keeps what it is told, and answers with the given status; 0: never."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.free = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/hook/a-key-in-the-path"


class _Handler(BaseHTTPRequestHandler):
    server: Taker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if self.server.status == 0:
            self.server.free.wait(30)
            return
        self.send_response(self.server.status)
        if 300 <= self.server.status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def taker() -> Iterator[Taker]:
    server = Taker()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.free.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Taker]:
    with taker() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        for i in range(2):
            watch(opened, [Condition("HOT", "alarm", "80 C", "cool it", str(i))], T0, T0, deliver=True)
        yield opened


def to(url: str) -> Receiver:
    return Receiver(SecretStr(url), SecretStr(SECRET))


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def left(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.reading() as connection:
        return alarm_rows.waiting(connection, 50)


def test_deliver__receiver_takes_them__in_order_signed_and_once(ledger: Ledger, server: Taker) -> None:
    assert deliver(ledger, to(server.url), T0) == 2
    assert deliver(ledger, to(server.url), after(60)) == 0
    assert [path for path, _, _ in server.taken] == ["/hook/a-key-in-the-path"] * 2
    for i, (_, headers, body) in enumerate(server.taken):
        assert verify(SECRET, headers, body, T0.timestamp()).startswith(f"alarm-{i + 1}-")
        assert json.loads(body)["data"]["subject"] == str(i)
        assert headers["content-type"] == "application/json"
    with pytest.raises(Unsigned):
        verify(SECRET, server.taken[0][1], server.taken[0][2] + b" ", T0.timestamp())
    assert left(ledger) == []


def test_deliver__receiver_fails_then_recovers__waits_grow_id_stays_and_dead_is_seen(
    ledger: Ledger, server: Taker
) -> None:
    server.status = 500
    seconds = [0.0, 4.0, 5.0, 6.0, 35.0]
    tried = []
    for when in seconds:
        before = len(server.taken)
        deliver(ledger, to(server.url), after(when))
        tried.append(len(server.taken) - before)
    assert tried == [1, 1, 1, 0, 1]  # at 4 s the second message has its first try
    assert {c.code for c in conditions(ledger, after(35))} == {"WEBHOOK"}
    dead = next(c for c in conditions(ledger, after(35)))
    assert "4 messages in a row were not taken" in dead.message and "a-key-in-the-path" not in dead.message
    server.status = 200
    assert deliver(ledger, to(server.url), after(400)) == 2
    assert conditions(ledger, after(400)) == []
    ids = [headers["webhook-id"] for _, headers, _ in server.taken]
    assert ids[0] == ids[2] == ids[-2] and ids[1] == ids[-1]


def test_deliver__nobody_listens__on_record_and_nothing_raised(ledger: Ledger) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/key"
    assert deliver(ledger, to(url), T0) == 0
    said = ledger.get_state(RECEIVER).value
    assert said["failures"] == 1 and "connection refused" in said["detail"] and "/key" not in said["detail"]


def test_deliver__receiver_never_answers__ends_by_itself_and_the_ledger_was_free(
    ledger: Ledger, server: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "TRY_S", 0.3)
    server.status = 0
    thread = threading.Thread(target=deliver, args=(ledger, to(server.url), T0))
    thread.start()
    ledger.append("reading", {}, at=T0)  # no transaction is held meanwhile
    thread.join(10)
    assert not thread.is_alive()
    assert "reply within 0.3 s" in ledger.get_state(RECEIVER).value["detail"]


def test_deliver__redirect__is_not_followed(ledger: Ledger, server: Taker) -> None:
    server.status = 302
    assert deliver(ledger, to(f"{server.url}?key=abc"), T0) == 0
    said = ledger.get_state(RECEIVER).value["detail"]
    assert "not followed" in said
    assert "a-key-in-the-path" not in said and "abc" not in said


def test_deliver__not_taken_for_a_day__given_up_and_forgotten_after_a_week(ledger: Ledger, server: Taker) -> None:
    server.status = 503
    deliver(ledger, to(server.url), after(86_400))
    assert [row["id"] for row in left(ledger)] == [2]
    server.status = 204
    deliver(ledger, to(server.url), after(86_401))
    with ledger.transaction() as work:
        alarm_rows.forget(work.connection, T0 + timedelta(days=1))
        assert work.connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one() == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "ftp://hooks.example/x",
        "hooks.example",
        "https://user:pw@hooks.example/",
        "http://10.0.0.1/",
    ],
)
def test_receiver__not_https_nor_loopback__refused_without_the_address(url: str) -> None:
    with pytest.raises(ConfigError, match="GRIDPILOT_ALARM_WEBHOOK is no https address") as caught:
        receiver(Settings(alarm_webhook=url, alarm_webhook_secret=SECRET))
    assert "hooks.example" not in str(caught.value)


def test_receiver__secret_missing_or_no_base64__said() -> None:
    assert receiver(Settings()) is None
    assert receiver(Settings(alarm_webhook="")) is None
    with pytest.raises(ConfigError, match="set without GRIDPILOT_ALARM_WEBHOOK_SECRET"):
        receiver(Settings(alarm_webhook="https://hooks.example/x", alarm_webhook_secret=""))
    with pytest.raises(ConfigError, match="set without GRIDPILOT_ALARM_WEBHOOK_SECRET"):
        receiver(Settings(alarm_webhook="https://hooks.example/x"))
    with pytest.raises(Exception, match="GRIDPILOT_ALARM_WEBHOOK_SECRET is not base64"):
        receiver(Settings(alarm_webhook="https://hooks.example/x", alarm_webhook_secret="whsec_%%"))
