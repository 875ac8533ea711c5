"""Processes that belong together: started, started again when they end, ended together.

The console's server keeps pilot, watchdog and watch; `python -m gridpilot up` keeps the console too. A process
that ends is started again, at once at first, then ever more seldom, up to every ten seconds. A pilot whose lease the
watchdog took because it was silent, and that does not end by itself, is killed and started again.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gridpilot.ending import PARENT, Ending
from gridpilot.errors import ConfigError, GridPilotError

if TYPE_CHECKING:
    from gridpilot.fleetfile import FleetSite
    from gridpilot.ledger.store import Ledger

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[1]
POLL_S: Final = 0.2
LOOK_S: Final = 1.0  # between two looks at a process that may hang
RETRY_S: Final = 0.5  # before a process that ended is started again; doubled each time,
LONGEST_S: Final = 10.0  # up to this,
STEADY_S: Final = 30.0  # and back to the first after it ran for so long
JOIN_S: Final = 1.0  # a look at a ledger that does not answer is not waited for longer
STOP_WAIT_S: Final = 8.0  # from SIGTERM to SIGKILL: a pilot ends or leaves its cycle before


def _never(pid: int) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep: its command, what it has besides our environment, and what says that it hangs."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    hangs: Callable[[int], bool] = _never


class Supervisor:
    """Keeps programs running from `start` to `stop`. They end by themselves should this process be killed."""

    def __init__(self, programs: Sequence[Program], *, retry_s: float = RETRY_S) -> None:
        self._kept = [_Kept(program, retry_s) for program in programs]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, wait_s: float = STOP_WAIT_S) -> None:
        """Ask all to end (SIGTERM), end by force what still runs after `wait_s`, and start none again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        for kept in self._kept:
            kept.ask_to_end()
        deadline = time.monotonic() + wait_s
        for kept in self._kept:
            kept.end_by(deadline)

    def _watch(self) -> None:
        while not self._stop.is_set():
            for kept in self._kept:
                if not self._stop.is_set():
                    kept.look()
            self._stop.wait(POLL_S)


class _Kept:
    """One program's process, and when to start the next."""

    def __init__(self, program: Program, retry_s: float) -> None:
        self.program = program
        self._first_s = self._retry_s = retry_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next = self._looked = 0.0

    def look(self) -> None:
        """Start it where it is due, kill it where it hangs, and note that it ended."""
        now, process = time.monotonic(), self._process
        if process is None:
            if now >= self._next:
                self._begin(now)
            return
        status = process.poll()
        if status is not None:
            self._ended(status, now)
        elif now - self._looked > LOOK_S:
            self._looked = now
            if self.program.hangs(process.pid):
                log.error("the %s, process %d, hangs: killed", self.program.name, process.pid)
                process.kill()

    def _begin(self, now: float) -> None:
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
        environment = {**os.environ, **self.program.environment, "PYTHONPATH": path, PARENT: str(os.getpid())}
        self._process = subprocess.Popen(list(self.program.command), env=environment)  # noqa: S603 - our own command
        self._started = self._looked = now
        log.info("%s started, process %d", self.program.name, self._process.pid)

    def _ended(self, status: int, now: float) -> None:
        if now - self._started > STEADY_S:
            self._retry_s = self._first_s
        log.warning("the %s ended with status %d: next try in %g s", self.program.name, status, self._retry_s)
        self._process, self._next = None, now + self._retry_s
        self._retry_s = min(2.0 * self._retry_s, LONGEST_S)

    def ask_to_end(self) -> None:
        """SIGTERM, where it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end_by(self, deadline: float) -> None:
        """Wait for its end, and make it at the deadline (monotonic)."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("the %s did not end in time after SIGTERM: killed", self.program.name)
            self._process.kill()
            self._process.wait()


class Fenced:
    """Whether the watchdog took the pilot lease from a process of this host, by what the ledger says: that of a site of
    the fleet, or of the settings."""

    def __init__(self, site: FleetSite | None = None) -> None:
        self._site = site
        self._ledger: Ledger | None = None

    def __call__(self, pid: int) -> bool:
        """Whether that process was fenced; false where the ledger cannot be read."""
        from gridpilot.config import load_settings  # here, so that the console's server starts at once
        from gridpilot.ledger.store import Ledger
        from gridpilot.monitor.latch import Latch

        try:
            if self._ledger is None:
                ours = load_settings()
                of = ours if self._site is None else self._site.settings(ours)
                self._ledger = Ledger.open(of.database_url(), read_only=True)
            latch = Latch.load(self._ledger)
        except GridPilotError:
            return False
        return latch is not None and latch.latched and latch.fenced == f"{socket.gethostname()}:{pid}"


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def engine(site: FleetSite | None = None) -> tuple[Program, ...]:
    """Pilot, watchdog and watch: of a site of the fleet, or of the settings."""
    of, told = ("", {}) if site is None else (f" of {site.name}", site.environment())
    return tuple(
        Program(name + of, _python("gridpilot", name, "--exit-with-parent"), told, hangs)
        for name, hangs in (("pilot", Fenced(site)), ("watchdog", _never), ("watch", _never))
    )


def fleet(file: Path, port: int) -> tuple[Program, ...]:
    """Pilot, watchdog and watch of each site of a fleet that is to run here, and the console of the first of them."""
    from gridpilot.config import load_settings
    from gridpilot.fleetfile import load_fleet

    sites = [site for site in load_fleet(file) if site.run]
    if not sites:
        raise ConfigError(f"{file}: every site has run = false, so there is nothing to run here")
    ours = load_settings()
    if ours.head_file is not None:
        raise ConfigError("GRIDPILOT_HEAD_FILE is one ledger's, and a fleet has several: unset it")
    if ours.site is not None and any(site.site is None for site in sites):
        raise ConfigError("GRIDPILOT_SITE is one site's, and a site of the fleet without one would take it: unset it")
    first = console(port)
    shown = {**first.environment, **sites[0].environment(), "GRIDPILOT_FLEET": str(file.absolute())}
    return (replace(first, environment=shown), *(program for site in sites for program in engine(site)))


def console(port: int) -> Program:
    """The console's server, without a pilot of its own. ConfigError where its port is taken."""
    if not (ROOT / "app.py").is_file():
        raise ConfigError(f"{ROOT / 'app.py'} is missing: run `up` from a whole copy of the repository")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} cannot be used ({error.strerror}): give another --port") from None
    words = ("streamlit", "run", str(ROOT / "app.py"), "--server.port", str(port))
    return Program("console", _python(*words), {"GRIDPILOT_NO_PILOT": "1"})


def run(programs: Sequence[Program]) -> None:
    """Keep programs until SIGTERM or SIGINT, then end them all."""
    ending = Ending()
    supervisor = Supervisor(programs)
    supervisor.start()
    try:
        while not ending.asked:
            ending.wait()
    finally:
        supervisor.stop()
