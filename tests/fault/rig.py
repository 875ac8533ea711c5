"""What the fault tests stand on: a stand-in of the machines that notes every PUT, and pilots that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer, Tick
from gridpilot.market.mara import MACHINE_KEYS

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0


def until(condition: Callable[[], object], what: str, wait_s: float = WAIT_S) -> None:
    """Wait for a condition; the test fails where it does not come true."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {wait_s:g} s for {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Put:
    """A PUT as the machines got it."""

    at: datetime  # by the site's clock
    machines: dict[str, int]  # asked, by our names
    changed: bool  # the state that was there before
    intent: Entry | None  # the newest in the ledger at that moment


@dataclass
class Site:
    """A MARA stand-in and its ledger. `on_put` is called with each PUT before it counts; true: it never does."""

    server: MaraServer
    ledger: Ledger
    puts: list[Put] = field(default_factory=list)
    on_put: Callable[[], bool] = lambda: False
    url: str = ""

    @classmethod
    @contextmanager
    def open(cls, folder: Path, url: str = "", **options: Any) -> Iterator[Self]:
        url = url or f"sqlite:///{folder / 'ledger.db'}"
        with Ledger.open(url) as ledger:
            site = cls(_Server(api_key="fault-test", **options), ledger, url=url)
            site.server.site = site  # type: ignore[attr-defined]
            with site.server:
                yield site

    @property
    def settings(self) -> dict[str, str]:
        return {"source": "mara", "mara_url": self.server.url, "mara_api_key": "fault-test", "db_url": self.url}

    @property
    def machines(self) -> dict[str, int]:
        raw = self.server.reply("GET", "/machines", "fault-test", None)
        return {ours: raw[theirs] for ours, theirs in MACHINE_KEYS.items()}

    def next_interval(self, hash_price: float) -> None:
        """The clock at the start of the next interval, with another price, so that other machines are worth it."""
        self.server.tick()
        self.server.set_newest(Tick(3.0, hash_price, 2.0))


class _Server(MaraServer):
    site: Site

    def reply(self, method: str, path: str, key: str | None, body: Any) -> Any:
        if (method, path) != ("PUT", "/machines"):
            return super().reply(method, path, key, body)
        before = self.site.machines
        intent = self.site.ledger.latest("intent")
        if self.site.on_put():
            raise ConnectionAbortedError
        machines = {ours: body[theirs] for ours, theirs in MACHINE_KEYS.items()}
        reply = super().reply(method, path, key, body)
        self.site.puts.append(Put(self.now(), machines, machines != before, intent))
        return reply


def environment(ledger: Ledger, **settings: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GRIDPILOT_DB_URL": f"sqlite:///{ledger.name}",
        "GRIDPILOT_REFIT": "0",
        **{f"GRIDPILOT_{name.upper()}": value for name, value in settings.items()},
    }


@contextmanager
def process(ledger: Ledger, *words: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m gridpilot WORDS` on this ledger; killed at the end, whatever state it is in."""
    command = [sys.executable, "-m", "gridpilot", *words]
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment(ledger, **settings), stderr=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


class Host:
    """A process that has imported the pilot and forks one for each round, which kills itself at a point of a dispatch.

    `start` gives the pilot's process number. Numbers and hashes of the entries that were acknowledged to it are in
    `acknowledged`.
    """

    def __init__(self, folder: Path, ledger: Ledger, **settings: str) -> None:
        self._acks = folder / "acknowledged"
        command = [sys.executable, str(Path(__file__).with_name("victim.py")), str(self._acks)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(ledger, **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()

    def start(self, point: str = "") -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{point}\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())
        return self._pid

    def wait(self) -> int:
        """The exit status of the pilot (negative: killed by that signal)."""
        assert self._process.stdout is not None
        status = int(self._process.stdout.readline())
        self._pid = 0
        return status

    def acknowledged(self) -> dict[int, str]:
        lines = self._acks.read_text().splitlines() if self._acks.exists() else []
        return {int(seq): hash_ for seq, hash_ in (line.split() for line in lines)}


def now() -> datetime:
    return datetime.now(UTC)


class Gate:
    """Holds PUTs up until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.reached.set()
        self.open.wait(WAIT_S)
        return False
