"""What surrounds the pages: the pilot's process, warm-up, own routes and security headers."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[2]
PILOT: Final = (sys.executable, "-m", "gridpilot", "pilot", "--exit-with-parent")
RETRY_S: Final = 10.0  # between two starts of a pilot that ends by itself
POLL_S: Final = 0.2
STOP_WAIT_S: Final = 10.0  # a pilot finishes the cycle it is in; a cycle takes seconds at the most
WARM: Final = (
    "pandas",
    "pydeck",
    "gridpilot.views",
    "gridpilot.operate",
    "gridpilot.console.live_chart",
    "gridpilot.console.widgets",
)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[None]]


# --- the pilot -----------------------------------------------------------------------------


class PilotProcess:
    """The pilot as a child of this server: started, started again when it ends by itself, stopped at the end.

    Where another pilot holds the lease the child says so and ends; it is tried again every `retry_s`, so
    this server takes over when the other one stops. The child ends by itself should this process be killed.
    """

    def __init__(self, command: Sequence[str] = PILOT, retry_s: float = RETRY_S) -> None:
        self._command = list(command)
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="pilot", daemon=True)

    def start(self) -> None:
        """Begin; nothing happens where GRIDPILOT_NO_PILOT is set."""
        if not os.environ.get("GRIDPILOT_NO_PILOT"):
            self._thread.start()

    def stop(self, wait_s: float = STOP_WAIT_S) -> None:
        """Ask the child to end (SIGTERM), end it by force after `wait_s`, and start no other."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            log.warning("the pilot did not end within %g s of SIGTERM: killed", wait_s)
            process.kill()
            process.wait()

    def _watch(self) -> None:
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
        environment = {**os.environ, "PYTHONPATH": path}  # the same folder, so that relative paths mean the same
        while not self._stop.is_set():
            self._process = subprocess.Popen(self._command, env=environment)  # noqa: S603 - our own command
            log.info("pilot started, process %d", self._process.pid)
            while self._process.poll() is None and not self._stop.wait(POLL_S):
                pass
            if not self._stop.is_set():
                log.warning("the pilot ended with status %d: next try in %g s", self._process.returncode, self._retry_s)
                self._stop.wait(self._retry_s)


# --- warm-up -------------------------------------------------------------------------------


def warm_up() -> threading.Thread:
    """Import in the background what the pages will need, then take it out of the garbage collector's sight.

    Streamlit collects after every script run, over everything that is imported: with the stack frozen a
    run costs a few milliseconds instead of some hundred.
    """
    thread = threading.Thread(target=_warm, name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm() -> None:
    for name in WARM:
        try:
            importlib.import_module(name)
        except ImportError as error:
            log.warning("warm-up: %s could not be imported (%s); its page will say so", name, error)
    gc.collect()
    gc.freeze()


# --- routes --------------------------------------------------------------------------------


def _plotly_js() -> Path:
    """The script inside the installed wheel, found without importing Plotly."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotly is not installed: run `make console`")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


async def _plotly(request: Request) -> Response:
    """Plotly's script. The address carries no version, so a stored copy is asked about after a day."""
    headers = {"Cache-Control": "public, max-age=86400", "ETag": f'"plotly-{version("plotly")}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return FileResponse(_plotly_js(), media_type="text/javascript", headers=headers)


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")


def routes() -> list[Route]:
    """`/healthz` (the server answers) and Plotly's script."""
    return [Route("/healthz", _health), Route("/assets/plotly.min.js", _plotly)]


# --- security headers ----------------------------------------------------------------------

# Streamlit sets style attributes and loads inline components from blob: addresses; everything else is
# our own. 'wasm-unsafe-eval' is for its table reader. Nothing outside may be asked, nor frame the console.
CSP: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' blob: 'unsafe-inline' 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data: ws: wss:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-src 'self' blob:",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


CLOSED: Final = ("/_stcore/metrics", "/_stcore/agent")  # what Streamlit serves to anyone, or describes
POLICY_VIOLATION: Final = 1008


class SecurityHeaders:
    """ASGI middleware: the headers above on every HTTP response, replacing any of the same name.

    Answers 404 for what is closed, and refuses a stream that no browser opened: those say where they come from.
    """

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Pass the request on, and the response back with the headers."""
        if scope["type"] == "websocket" and not any(name == b"origin" for name, _ in scope["headers"]):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                kept = [(n, v) for n, v in message.get("headers", []) if n.lower() not in ours]
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        app = PlainTextResponse("Not Found", 404) if scope["path"].startswith(CLOSED) else self.app
        await app(scope, receive, send_with_headers)
