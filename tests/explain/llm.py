"""A scripted server that speaks OpenAI's chat API on a loopback port, well or badly: real HTTP, real event streams.

`script` is called with each request's body and gives a `Turn`. The server keeps the bodies and headers that it got.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Turn:
    """One answer of the model."""

    text: str = ""
    tools: tuple[tuple[str, str], ...] = ()  # (name, arguments as JSON text)
    finish: str | None = "stop"
    status: int = 200
    html: str = ""  # instead of anything
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the connection is closed before the stream has ended
    hold: threading.Event | None = None  # nothing is said until it is set
    drip_s: float = 0.0  # a comment line, again and again, with so much time between


def say(text: str) -> Turn:
    return Turn(text)


def call(*tools: tuple[str, dict[str, Any] | str]) -> Turn:
    given = tuple((name, args if isinstance(args, str) else json.dumps(args)) for name, args in tools)
    return Turn(tools=given, finish="tool_calls")


Script = Callable[[dict[str, Any]], Turn]


@dataclass
class ScriptedModel:
    """The running server."""

    script: Script
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    at_once: int = 0
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self) -> dict[str, Any]:
        """What the last request's user said: the question with its facts."""
        found: dict[str, Any] = json.loads(self.bodies[-1]["messages"][1]["content"])
        return found

    def tool_results(self) -> list[str]:
        """What the tools gave, as the last request has it."""
        return [message["content"] for message in self.bodies[-1]["messages"] if message["role"] == "tool"]


def in_turn(*turns: Turn) -> Script:
    """One turn after the other; the last one for ever."""
    left = list(turns)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def scripted(script: Script | Turn) -> Iterator[ScriptedModel]:
    """A server that answers as the script says."""
    model = ScriptedModel(script if callable(script) else in_turn(script))

    class Handler(_Handler):
        pass

    Handler.model = model
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    model: ScriptedModel

    def do_GET(self) -> None:
        self.model.requests += 1
        self._plain(404, "text/plain", "", {})

    def do_POST(self) -> None:
        self.model.requests += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = self.model
        with model.lock:
            model.bodies.append(body)
            model.headers.append({name.lower(): value for name, value in self.headers.items()})
            model.at_once += 1
            model.most_at_once = max(model.most_at_once, model.at_once)
            turn = model.script(body)
        try:
            self._answer(turn)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who asked has gone
        finally:
            with model.lock:
                model.at_once -= 1

    def _answer(self, turn: Turn) -> None:
        while turn.hold is not None and not turn.hold.wait(0.02) and not self.model.closing.is_set():
            pass
        if turn.status != 200:
            text = json.dumps({"error": {"message": f"no: {self.headers.get('Authorization')}", "code": "x"}})
            self._plain(turn.status, "application/json", text, turn.headers)
        elif turn.html:
            self._plain(200, "text/html", turn.html, turn.headers)
        else:
            self._stream(turn)

    def _plain(self, status: int, kind: str, text: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def _stream(self, turn: Turn) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while turn.drip_s and not self.model.closing.wait(turn.drip_s):
            self._chunk({"role": "assistant", "content": ""}, None)
        self._chunk({"role": "assistant", "content": ""}, None)
        for i, (name, arguments) in enumerate(turn.tools):
            head = {"index": i, "id": f"call{i}", "type": "function", "function": {"name": name, "arguments": ""}}
            self._chunk({"tool_calls": [head]}, None)
            self._chunk({"tool_calls": [{"index": i, "function": {"arguments": arguments}}]}, None)
        for start in range(0, len(turn.text), 12):
            self._chunk({"content": turn.text[start : start + 12]}, None)
        if turn.cut:
            return
        if turn.finish:
            self._chunk({}, turn.finish)
        self.wfile.write(b"data: [DONE]\n\n")

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
