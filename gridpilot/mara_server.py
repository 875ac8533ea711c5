"""A local stand-in of the MARA Hackathon API: a real HTTP server with its prices, machines and money.

Prices follow p' = clip(p (1 + U(-v, v))), v = 0.10 for energy and 0.25 for hash and token, hash kept in 1..5,
token at 0.5 or more, from 3.0 / 4.0 / 2.0. revenue = count x rate x price, cost = watts x energy_price, both
at the newest tick.

Where the real API's behaviour is not known, the choice here is: a missing key is 401 and a wrong one 403; an
omitted count keeps its value; above 1,000,000 W is 400; a count that is no whole number is 422; the energy
price stays at 0.1 or more, so that long runs don't fade to nothing (the real one went from 3.0 to 1.1).

Faults are set on `MaraServer.faults` or by `POST /_faults {"status": 500, "status_times": 2}`; `{}` clears them.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

LIMIT_W = 1_000_000
KEYS = {
    "air_miners": ("miners", "air", "hashrate"),
    "hydro_miners": ("miners", "hydro", "hashrate"),
    "immersion_miners": ("miners", "immersion", "hashrate"),
    "gpu_compute": ("inference", "gpu", "tokens"),
    "asic_compute": ("inference", "asic", "tokens"),
}
Inventory = Mapping[str, Mapping[str, Mapping[str, float]]]
INVENTORIES: dict[str, Inventory] = {
    "live": {
        "miners": {
            "air": {"hashrate": 1000, "power": 3333},
            "hydro": {"hashrate": 10000, "power": 5000},
            "immersion": {"hashrate": 5000, "power": 10000},
        },
        "inference": {"gpu": {"tokens": 1000, "power": 3333}, "asic": {"tokens": 5000, "power": 10000}},
    },
    "documented": {
        "miners": {
            "air": {"hashrate": 1000, "power": 3500},
            "hydro": {"hashrate": 5000, "power": 5000},
            "immersion": {"hashrate": 10000, "power": 10000},
        },
        "inference": {"gpu": {"tokens": 1000, "power": 5000}, "asic": {"tokens": 50000, "power": 15000}},
    },
}
"""What the API served in June 2025, and what its documentation shows."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The prices from one moment on, in the API's index units."""

    energy_price: float
    hash_price: float
    token_price: float


@dataclass(slots=True)
class Faults:
    """Switchable misbehaviour; the default is none."""

    latency_s: float = 0.0  # wait before the reply
    hang_s: float = 0.0  # send the headers, then wait
    status: int = 0  # answer with this status
    status_times: int = 0  # so many replies; 0: until cleared
    retry_after: float | None = None  # header beside `status`
    truncate: bool = False  # the body stops half-way
    html: bool = False  # 200 with a web page
    empty: bool = False  # /prices is []
    pad_bytes: int = 0  # /prices is that much longer
    redirect: str = ""  # 307 to there
    lost_ack: bool = False  # a PUT is applied, then the connection closes
    other_state: bool = False  # a PUT answers what was asked and stores half of it
    date_skew_s: float = 0.0  # the Date header is off
    prices: list[Any] | None = None  # /prices is exactly this


@dataclass(slots=True)
class _Site:
    id: int
    name: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    put_id: int = 0
    updated_at: str = ""


class _Refusal(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class MaraServer:
    """The API on a loopback port, as a context manager.

    `history` ticks exist at the start, the newest one being the interval of `start` (default: now). `speed`
    runs its clock faster; `tick()` moves it to the next interval. While its clock is not the world's, replies
    say so in a header (unless `announce` is false). `api_key`: a key that has a site from the start.
    """

    def __init__(  # noqa: PLR0913 - the knobs of a test server
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        speed: float = 1.0,
        history: int = 147,
        step_s: int = 300,
        inventory: str | Inventory = "live",
        api_key: str | None = None,
        start: datetime | None = None,
        announce: bool = True,
    ) -> None:
        self.inventory: Inventory = INVENTORIES[inventory] if isinstance(inventory, str) else inventory
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []  # (method, path) of every call but those to /_faults
        self.speed = speed
        self.step_s = step_s
        self.announce = announce
        self._random = random.Random(seed)
        self._keys = random.Random(f"keys {seed}")
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._offset = timedelta(0)  # of our clock, by ticks and by `start`
        self._started = datetime.now(UTC)
        if start is not None:
            self._offset = start - self._started
        newest = int(self.now().timestamp()) // step_s * step_s
        self.first = datetime.fromtimestamp(newest - (history - 1) * step_s, UTC)
        self._ticks = [Tick(3.0, 4.0, 2.0)]
        self._sites: dict[str, _Site] = {}
        self._put_id = 0
        if api_key is not None:
            self._sites[api_key] = _Site(1, "preset")
        self._http = _Server((host, port), self)
        self._thread: threading.Thread | None = None

    # --- the clock and the prices ---

    def now(self) -> datetime:
        """The time of this server's clock."""
        elapsed = datetime.now(UTC) - self._started
        return self._started + self._offset + elapsed * self.speed

    def tick(self, n: int = 1) -> None:
        """Move the clock to the start of the n-th interval from now."""
        with self._lock:
            seconds = (int(self.now().timestamp()) // self.step_s + n) * self.step_s
            self._offset += datetime.fromtimestamp(seconds, UTC) - self.now()

    @property
    def own_time(self) -> bool:
        """Whether the clock is another than the world's."""
        return self.speed != 1.0 or self._offset != timedelta(0)

    def ticks(self) -> list[tuple[datetime, Tick]]:
        """Every tick up to now, oldest first."""
        with self._lock:
            n = int((self.now() - self.first).total_seconds() // self.step_s) + 1
            while len(self._ticks) < n:
                self._ticks.append(self._next(self._ticks[-1]))
            return [(self.first + timedelta(seconds=i * self.step_s), t) for i, t in enumerate(self._ticks[:n])]

    def set_newest(self, tick: Tick) -> None:
        """Give the newest tick these prices; the walk goes on from there."""
        with self._lock:
            self._ticks[len(self.ticks()) - 1] = tick

    def _next(self, tick: Tick) -> Tick:
        energy, hashes, tokens = (1 + self._random.uniform(-v, v) for v in (0.10, 0.25, 0.25))
        return Tick(
            max(0.1, tick.energy_price * energy),
            min(5.0, max(1.0, tick.hash_price * hashes)),
            max(0.5, tick.token_price * tokens),
        )

    # --- the calls ---

    def reply(self, method: str, path: str, key: str | None, body: Any) -> Any:
        """The JSON reply of a call; raises _Refusal."""
        calls: dict[tuple[str, str], Callable[[], Any]] = {
            ("GET", "/prices"): self._get_prices,
            ("GET", "/inventory"): lambda: self.inventory,
            ("POST", "/sites"): lambda: self._post_site(body),
            ("GET", "/sites"): lambda: self._get_site(key),
            ("GET", "/machines"): lambda: self._get_machines(self._site(key)),
            ("PUT", "/machines"): lambda: self._put_machines(self._site(key), body),
        }
        call = calls.get((method, path))
        if call is None:
            known = any(path == p for _, p in calls)
            raise _Refusal(405 if known else 404, "Method Not Allowed" if known else "Not Found")
        with self._lock:
            return call()

    def _get_prices(self) -> list[Any]:
        if self.faults.prices is not None:
            return self.faults.prices
        if self.faults.empty:
            return []
        rows = [
            {
                "energy_price": tick.energy_price,
                "hash_price": tick.hash_price,
                "token_price": tick.token_price,
                "timestamp": at.replace(tzinfo=None).isoformat(),
            }
            for at, tick in self.ticks()
        ]
        return rows[::-1]

    def _post_site(self, body: Any) -> dict[str, Any]:
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            raise _Refusal(422, "name: a text is required")
        key = str(uuid.UUID(int=self._keys.getrandbits(128), version=4))
        self._sites[key] = _Site(len(self._sites) + 1, name)
        return {"api_key": key, "name": name, "power": LIMIT_W}

    def _site(self, key: str | None) -> _Site:
        if not key:
            raise _Refusal(401, "Missing X-Api-Key header")
        if key not in self._sites:
            raise _Refusal(403, "Invalid API key")
        return self._sites[key]

    def _get_site(self, key: str | None) -> dict[str, Any]:
        return {"api_key": key, "name": self._site(key).name, "power": LIMIT_W}

    def _put_machines(self, site: _Site, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise _Refusal(422, "body: an object is required")
        counts = {**site.counts, **{k: _count(k, body[k]) for k in KEYS if k in body}}
        watts = sum(self._power(counts).values())
        if watts > LIMIT_W:
            raise _Refusal(400, f"power {watts:.10g} W exceeds the site limit of {LIMIT_W} W")
        self._put_id += 1
        site.put_id, site.counts = self._put_id, counts
        site.updated_at = self.now().replace(tzinfo=None).isoformat()
        if self.faults.other_state:
            site.counts = {k: n // 2 for k, n in counts.items()}
        return {**counts, "id": site.put_id, "site_id": site.id, "updated_at": site.updated_at}

    def _get_machines(self, site: _Site) -> dict[str, Any]:
        tick = self.ticks()[-1][1]
        power = self._power(site.counts)
        price = {"miners": tick.hash_price, "inference": tick.token_price}
        revenue = {
            key: site.counts[key] * self._figure(key, rate) * price[group] for key, (group, _, rate) in KEYS.items()
        }
        watts = sum(power.values())
        return {
            "site_id": site.id,
            "id": site.put_id,
            **site.counts,
            "updated_at": site.updated_at,
            "total_power_used": watts,
            "total_power_cost": watts * tick.energy_price,
            "total_revenue": sum(revenue.values()),
            "power": power,
            "revenue": revenue,
        }

    def _power(self, counts: Mapping[str, int]) -> dict[str, float]:
        return {key: counts[key] * self._figure(key, "power") for key in KEYS}

    def _figure(self, key: str, name: str) -> float:
        group, kind, _ = KEYS[key]
        return self.inventory.get(group, {}).get(kind, {}).get(name, 0)

    def set_faults(self, body: Any) -> None:
        """Replace all faults; raises _Refusal for an unknown one."""
        known = {f.name for f in fields(Faults)}
        if not isinstance(body, dict) or not set(body) <= known:
            raise _Refusal(422, f"faults: expected an object with any of {', '.join(sorted(known))}")
        self.faults = Faults(**body)

    # --- running ---

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the server lives."""
        self._stopping.wait(seconds)

    def start(self) -> MaraServer:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="mara-server", daemon=True)
        self._thread.start()
        return self

    def serve_forever(self) -> None:
        """Serve in this thread until interrupted."""
        try:
            self._http.serve_forever()
        finally:
            self._http.server_close()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> MaraServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def serve(host: str, port: int, seed: int, speed: float, api_key: str | None = None) -> None:
    """Serve until interrupted; the error of a port in use is an OSError."""
    server = MaraServer(host=host, port=port, seed=seed, speed=speed, api_key=api_key)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


def _count(key: str, value: Any) -> int:
    """A whole number; text that holds one is taken, as the API does."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer() or number < 0:
        raise _Refusal(422, f"{key}: {value!r} is not a whole number from 0")
    return int(number)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], mara: MaraServer) -> None:
        self.mara = mara
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_GET  # noqa: N815 - likewise

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, off by the fault's seconds."""
        at = time.time() if timestamp is None else timestamp
        return format_datetime(datetime.fromtimestamp(at + self.server.mara.faults.date_skew_s, UTC), usegmt=True)

    def _handle(self) -> None:
        mara = self.server.mara
        path = self.path.partition("?")[0].rstrip("/") or "/"
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            self._send(422, {"detail": "the body is not JSON"})
            return
        if path == "/_faults":
            self._set_faults(body)
            return
        mara.requests.append((self.command, path))
        mara.wait(mara.faults.latency_s)
        if self._spoiled(mara.faults):
            return
        try:
            reply = mara.reply(self.command, path, self.headers.get("X-Api-Key"), body)
        except _Refusal as refusal:
            self._send(refusal.status, {"detail": refusal.detail})
            return
        if mara.faults.lost_ack and self.command == "PUT":
            self.close_connection = True
            return
        self._send(200, reply, spoil=True)

    def _set_faults(self, body: Any) -> None:
        try:
            self.server.mara.set_faults(body)
        except _Refusal as refusal:
            self._send(refusal.status, {"detail": refusal.detail})
            return
        self._send(200, {"ok": True})

    def _spoiled(self, faults: Faults) -> bool:
        """Whether a fault has answered already."""
        if faults.redirect:
            self._send(307, {"detail": "moved"}, {"Location": faults.redirect})
            return True
        if not faults.status:
            return False
        headers = {} if faults.retry_after is None else {"Retry-After": f"{faults.retry_after:g}"}
        self._send(faults.status, {"detail": HTTPStatus(faults.status).phrase}, headers)
        if faults.status_times:
            faults.status_times -= 1
            faults.status = faults.status if faults.status_times else 0
        return True

    def _send(self, status: int, body: Any, headers: Mapping[str, str] | None = None, *, spoil: bool = False) -> None:
        mara, faults = self.server.mara, self.server.mara.faults if spoil else Faults()
        content = json.dumps(body).encode() + b" " * faults.pad_bytes
        if faults.html:
            content = b"<!DOCTYPE html><html><body><h1>Service starting</h1></body></html>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if faults.html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if mara.announce:
            self.send_header("X-Simulated", "gridpilot mara-server")
        if mara.announce and mara.own_time:
            self.send_header("X-Simulated-Time", f"{mara.now().isoformat()}; speed={mara.speed:g}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        mara.wait(faults.hang_s)
        if faults.truncate:
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
