"""What surrounds the pages: pilot and watchdog, warm-up, own routes and security headers."""

from __future__ import annotations

import functools
import gc
import gzip
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gridpilot import supervise
from gridpilot.config import load_settings
from gridpilot.ending import end_with, keeper

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[2]
SHELL: Final = ROOT / "gridpilot" / "console" / "shell.py"
PLOTLY_PATH: Final = "/assets/plotly.min.js"
DECK_PATH: Final = "/assets/deck.js"
LAND_PATH: Final = "/assets/land.json"
LAND: Final = ROOT / "gridpilot" / "data" / "land.json"
# What the first paint needs, and what only some pages do: that comes when who opened the console at once is served.
WARM: Final = (
    "pandas",
    "PIL.Image",
    "gridpilot.views",
    "gridpilot.operate",
    "gridpilot.explain.sentences",
    "gridpilot.console.looking",
    "gridpilot.console.signin",
    "gridpilot.console.live_chart",
    "gridpilot.console.day_parts",
    "gridpilot.console.price_parts",
    "gridpilot.console.curtailment_panel",
)
LATER: Final = (
    "gridpilot.monitor.holdings",
    "gridpilot.monitor.exposure",
    "gridpilot.risk.coverage",
    "gridpilot.risk.generators",
    "gridpilot.explain.explainer",
)
LATER_S: Final = 3.0

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[None]]


def engine() -> supervise.Supervisor:
    """Keeps pilot and watchdog beside this server; nothing where GRIDPILOT_NO_PILOT is set."""
    return supervise.Supervisor(() if os.environ.get("GRIDPILOT_NO_PILOT") else supervise.engine())


def follow() -> None:
    """End with the supervisor that keeps this server, where one does."""
    if (keeps := keeper()) is not None:
        end_with(keeps)


def greeting(port: int) -> str:
    """What who starts the console is told: where it is, where its ledger is, how it ends. No password."""
    url = load_settings().database_url()
    file = url.removeprefix("sqlite:///").partition("?")[0]
    ledger = f"{Path(file).absolute()}" if file != url else "the database that GRIDPILOT_DB_URL names"
    return f"The console is at http://localhost:{port}, its ledger is {ledger}. Ctrl-C ends it."


def hold_path() -> None:
    """Keep the folder of the pages' script on `sys.path`.

    Else Streamlit puts it there for each run and takes it away afterwards, and a thread that imports something just
    then passes over a folder: "No module named ..." of a package that is installed.
    """
    if str(SHELL.parent) not in sys.path:
        sys.path.append(str(SHELL.parent))


def hear_out() -> None:
    """Hear out a run that has ended before another one of the same session begins.

    What a run draws waits in the server's event loop for its turn. Streamlit passes over all of it when the next
    request comes first: it makes a new runner, and ignores the one before. A tick of the strip just behind a press
    was enough: the press was answered, and the page went on showing that nothing had been pressed.
    """
    from streamlit.runtime.app_session import AppSession, AppSessionState
    from streamlit.runtime.scriptrunner import RerunData

    create = AppSession._create_scriptrunner
    if getattr(create, "hears_out", False):
        return

    def heard(session: AppSession, request: RerunData) -> None:
        runner = session._scriptrunner
        if session._state is AppSessionState.SHUTDOWN_REQUESTED or (runner and runner.request_rerun(request)):
            return
        create(session, request)

    def create_later(self: AppSession, initial_rerun_data: RerunData) -> None:
        if self._scriptrunner is None:
            create(self, initial_rerun_data)
        else:  # it has ended, and its last words stand in the queue already
            self._call_soon_on_event_loop(lambda: heard(self, initial_rerun_data))

    create_later.hears_out = True  # type: ignore[attr-defined]
    AppSession._create_scriptrunner = create_later  # type: ignore[method-assign]


def see_through() -> None:
    """What a press calls runs to its end, whatever is asked meanwhile.

    Streamlit looks for the next request whenever a callback reads or writes the session's state, gives the callback up
    for one that is of the whole page, and then runs the press once more on what the first half has left.
    """
    from streamlit.runtime.state.safe_session_state import SafeSessionState

    begin = SafeSessionState.on_script_will_rerun
    if getattr(begin, "sees_through", False):
        return

    def whole(self: SafeSessionState, *given: Any, **named: Any) -> None:
        runner: Any = getattr(
            self._yield_callback, "__self__", None
        )  # looks for requests only while it says that it runs
        if not getattr(runner, "_execing", False):
            begin(self, *given, **named)
            return
        runner._execing = False
        try:
            begin(self, *given, **named)
        finally:
            runner._execing = True

    whole.sees_through = True  # type: ignore[attr-defined]
    SafeSessionState.on_script_will_rerun = whole  # type: ignore[method-assign]


def ask_nobody() -> None:
    """Whose address this machine has outside is not asked for.

    Streamlit asks a server of Amazon's before it refuses a stream of another origin, for a second or two in which it
    serves nobody, in case the origin is that address. Who comes by it has it in the Host header, and is let in by that;
    other names stand in `server.corsAllowedOrigins`.
    """
    from streamlit import net_util

    net_util.get_external_ip = lambda: None


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
    _import(WARM)
    _packed(_plotly_js())
    time.sleep(LATER_S)
    ours = (path.stem for path in Path(__file__).parent.glob("*.py"))
    _import((*LATER, *(f"gridpilot.console.{name}" for name in sorted(ours) if name not in ("__init__", "shell"))))


def _import(names: Iterable[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            log.warning("warm-up: %s could not be imported (%s); its page will say so", name, error)
    gc.collect()
    gc.freeze()


# --- routes --------------------------------------------------------------------------------


@functools.cache
def _packed(path: Path) -> tuple[bytes, bytes]:
    """A file as it is, and packed once for all visitors."""
    data = path.read_bytes()
    return data, gzip.compress(data, 6, mtime=0)


async def _asset(request: Request, path: Path, tag: str, kind: str) -> Response:
    """A file that the browser keeps. Its address carries no version, so a stored copy is asked about after a day."""
    headers = {"Cache-Control": "public, max-age=86400", "ETag": f'"{tag}"', "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    plain, packed = await anyio.to_thread.run_sync(_packed, path)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type=kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(plain, media_type=kind, headers=headers)


def _shipped(package: str, *path: str) -> Path:
    """A file inside an installed wheel, found without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed: run `make console`")
    return Path(spec.origin).parent.joinpath(*path)


def _plotly_js() -> Path:
    return _shipped("plotly", "package_data", "plotly.min.js")


async def _plotly(request: Request) -> Response:
    """Plotly's script, as its wheel ships it."""
    return await _asset(request, _plotly_js(), f"plotly-{version('plotly')}", "text/javascript")


async def _deck(request: Request) -> Response:
    """deck.gl's script, as pydeck's wheel ships it."""
    js = _shipped("pydeck", "nbextension", "static", "index.js")
    return await _asset(request, js, f"pydeck-{version('pydeck')}", "text/javascript")


async def _land(request: Request) -> Response:
    """The land outline of the globe."""
    return await _asset(request, LAND, f"land-{LAND.stat().st_mtime_ns}", "application/json")


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _overview(request: Request) -> Response:
    """The first page has no path of its own in Streamlit, which would say that there is no such page."""
    return RedirectResponse(f"./?{request.url.query}" if request.url.query else "./")


async def _curtailment(request: Request) -> Response:
    from gridpilot.console import curtailment_api  # what it needs of the engine is imported with the first call

    return await curtailment_api.answer(request)


async def _metrics(request: Request) -> Response:
    from gridpilot.console import metrics_api

    return await metrics_api.answer(request)


_CURTAILMENTS: Final = (
    Route("/api/curtailments", _curtailment, methods=["POST"]),
    Route("/api/curtailments/cancel", _curtailment, methods=["POST"]),
    Route("/api/curtailments/{event_id}", _curtailment, methods=["GET"]),
)


def routes() -> list[Route]:
    """`/healthz` (the server answers), `/metrics` for Prometheus, what charts and globe are drawn with, and signed
    curtailment calls."""
    plain = (
        Route("/healthz", _health),
        Route("/overview", _overview),
        Route("/metrics", _metrics),
        Route(PLOTLY_PATH, _plotly),
    )
    globe = (Route(DECK_PATH, _deck), Route(LAND_PATH, _land))
    return [*plain, *globe, *_CURTAILMENTS]


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
        "connect-src 'self' blob: data:",
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


PRELOAD: Final = ((b"link", f"<{PLOTLY_PATH}>; rel=preload; as=script".encode()),)
CLOSED: Final = ("/_stcore/metrics", "/_stcore/agent")  # what Streamlit serves to anyone, or describes
POLICY_VIOLATION: Final = 1008


class SecurityHeaders:
    """ASGI middleware: the headers above on every HTTP response, replacing any of the same name.

    With a page the browser is told what its charts will need, so that it is fetched beside Streamlit's own scripts.
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
                html = any(n.lower() == b"content-type" and v.startswith(b"text/html") for n, v in kept)
                message["headers"] = [*kept, *HEADERS, *(PRELOAD if html else ())]
            await send(message)

        app = PlainTextResponse("Not Found", 404) if scope["path"].startswith(CLOSED) else self.app
        await app(scope, receive, send_with_headers)
