"""A loopback server that answers as energy-charts, gridstatus.io and mempool.space do, with switchable faults.

The shapes are those of the real replies (field names, units, times, pages); the numbers are computed from the time.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

LICENCE = "CC BY 4.0 (creativecommons.org/licenses/by/4.0) from Bundesnetzagentur | SMARD.de"
KEY = "gs-3c1f9-planted-secret"
REAL_TIME_S = {"ercot_spp_real_time_15_min": 900}


@dataclass(slots=True)
class Faults:
    """Switchable misbehaviour; the default is none."""

    status: int = 0
    status_times: int = 0  # so many replies; 0: until cleared
    retry_after: float | None = None
    hang_s: float = 0.0  # send the headers, then wait
    html: bool = False
    truncate: bool = False
    empty: bool = False  # lists without rows
    pad_bytes: int = 0
    redirect: str = ""
    date_skew_s: float = 0.0
    naive: bool = False  # times of gridstatus without a zone
    unit: str = "EUR / MWh"
    body: Any = None  # exactly this
    echo_key: bool = False  # a refusal repeats the key


@dataclass(slots=True)
class MarketServer:
    """`step_s` of energy-charts, and the first and the newest time that have prices (None: any) can be set."""

    step_s: int = 3600
    begins: datetime = datetime(2015, 1, 1, tzinfo=UTC)
    published: datetime | None = None
    page_size: int = 10_000
    lost: str = ""  # a dataset that is not there
    usd: object = 100_000  # what a bitcoin costs
    faults: Faults = field(default_factory=Faults)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    together: threading.Barrier | None = None  # an answer waits until so many servers are asked at once
    changes: dict[int, float] = field(default_factory=dict)  # epoch seconds -> price, in place of the usual one
    _http: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> MarketServer:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No more answers: connections are refused from here on."""
        self._stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
            self._thread = None

    def price(self, stamp: int) -> float:
        """The price of an interval: two waves a day and a slow one, below zero at times."""
        hour = stamp / 3600.0
        usual = 60.0 + 45.0 * math.sin(hour * math.pi / 12.0) + 20.0 * math.sin(hour * math.pi / 84.0)
        return self.changes.get(stamp, round(usual, 2))

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and body."""
        if path == "/price":
            return self._energy_charts(query)
        if path.startswith("/v1/datasets/"):
            return self._gridstatus(path.split("/")[3], query, headers)
        if path == "/api/v1/prices":
            return 200, {"time": int(time.time()), "USD": self.usd, "EUR": 92_000}
        if path == "/api/v1/mining/hashrate/1y":
            return 200, self._hashrate()
        if path == "/api/v1/mining/blocks/rewards/1y":
            return 200, [] if self.faults.empty else self._rewards()
        return 404, {"detail": "Not Found"}

    def _times(self, since: datetime, until: datetime, step_s: int) -> list[int]:
        if self.faults.empty:
            return []
        end = until if self.published is None else min(until, self.published + timedelta(seconds=1))
        first = -(-int(max(since, self.begins).timestamp()) // step_s) * step_s
        return list(range(first, math.ceil(end.timestamp()), step_s))

    def _energy_charts(self, query: Mapping[str, str]) -> tuple[int, Any]:
        if query["bzn"] not in ("DE-LU", "NL"):
            return 404, {"detail": "no content available"}
        times = self._times(_moment(query["start"]), _moment(query["end"]), self.step_s)
        return 200, {
            "license_info": LICENCE,
            "unix_seconds": times,
            "price": [self.price(stamp) for stamp in times],
            "unit": self.faults.unit,
            "deprecated": False,
        }

    def _gridstatus(self, dataset: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        if headers.get("x-api-key") != KEY:
            return 401, {"detail": "Missing or invalid API key."}
        if dataset == self.lost:
            return 404, {"detail": "Dataset not found"}
        step_s = REAL_TIME_S.get(dataset, 300) if "real_time" in dataset else 3600
        column = "spp" if dataset.startswith("ercot") else "lmp"
        times = self._times(_moment(query["start_time"]), _moment(query["end_time"]), step_s)
        first = int(query["cursor"] or 0)
        size = min(int(query["page_size"]), self.page_size)
        zone = "" if self.faults.naive else "+00:00"
        rows = [
            [datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone, self.price(stamp)]
            for stamp in times[first : first + size]
        ]
        more = first + size < len(times)
        meta = {"page": first // size + 1, "limit": None, "page_size": size, "hasNextPage": more}
        meta["cursor"] = str(first + size) if more else None
        return 200, {"data": [["interval_start_utc", column], *rows], "meta": meta, "dataset_metadata": {"id": dataset}}

    def _hashrate(self) -> dict[str, Any]:
        today = int(time.time()) // 86400 * 86400
        days = [] if self.faults.empty else [today - 86400 * i for i in range(365, -1, -1)]
        return {
            "hashrates": [{"timestamp": day, "avgHashrate": 1.0e21} for day in days],
            "difficulty": [{"time": today, "height": 900_000, "difficulty": 1.4e14, "adjustment": 1.01}],
            "currentHashrate": 1.0e21,
            "currentDifficulty": 1.4e14,
        }

    def _rewards(self) -> list[dict[str, Any]]:
        now = int(time.time())
        return [
            {"avgHeight": 900_000 - 72 * i, "timestamp": now - 43_200 * i, "avgRewards": 315_000_000, "USD": 90_000 + i}
            for i in range(700, -1, -1)
        ]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None, f"asked for {text!r}, a time without a zone"
    return moment


def _handler(server: MarketServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            server.requests.append(self.path)
            server.headers.append(dict(self.headers.items()))
            try:
                self._send(parts.path, {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()})
            except (OSError, threading.BrokenBarrierError):
                return  # the client has left, or was alone

        def _send(self, path: str, query: dict[str, str]) -> None:
            faults, headers = server.faults, {"Content-Type": "application/json"}
            if server.together is not None:
                server.together.wait(timeout=5.0)
            status, body = server.answer(path, query, {k.lower(): v for k, v in self.headers.items()})
            text = json.dumps(body if faults.body is None else faults.body).encode()
            if faults.status:
                status = faults.status
                said = self.headers.get("x-api-key", "") if faults.echo_key else "so it was asked for"
                text = json.dumps({"detail": f"refused: {said}"}).encode()
                if faults.retry_after is not None:
                    headers["Retry-After"] = str(int(faults.retry_after))
                if faults.status_times:
                    faults.status_times -= 1
                    faults.status = faults.status if faults.status_times else 0
            if faults.redirect:
                status, headers["Location"] = 307, faults.redirect
            if faults.html:
                text = b"<!DOCTYPE html><html><body>maintenance</body></html>"
            text += b" " * faults.pad_bytes
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + timedelta(seconds=faults.date_skew_s), True))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if faults.hang_s:
                server._stopping.wait(faults.hang_s)
            self.wfile.write(text[: len(text) // 2] if faults.truncate else text)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
