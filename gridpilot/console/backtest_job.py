"""Backtests of the recorded prices, each in a process of its own, so that the console stays light and quick.

The server keeps the newest ones; every session sees the same. One runs at a time: asking for another ends it, and
the page of the one that was ended says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Any, Final

import streamlit as st

from gridpilot import views
from gridpilot.console import backtest_parts
from gridpilot.ending import PARENT

KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a backtest is to be of. One that was asked a day earlier is the same: its page says that it is older."""

    days: int
    forecaster: str
    information: str
    through: str = field(compare=False)  # the day that was running when it was asked
    site: str = ""  # of the fleet; empty: the console's own

    def words(self) -> str:
        """What is asked, as its page calls it."""
        by = backtest_parts.FORECASTERS.get(self.forecaster, self.forecaster)
        knowing = backtest_parts.INFORMATION.get(self.information, self.information)
        return ", ".join(filter(None, (self.site, f"{self.days} days", by, knowing)))

    def command(self, progress: IO[bytes]) -> list[str]:
        """The command line that does it, for a process that inherits the file."""
        words = ["backtest", "--json", "--days", str(self.days), "--forecaster", self.forecaster]
        words += ["--information", self.information, "--progress", f"/dev/fd/{progress.fileno()}"]
        return [sys.executable, "-m", "gridpilot", *words]


class Job:
    """One backtest: `share` done, `doing` what, and in the end a `result` or the `trouble`, one line."""

    def __init__(self, asked: Asked) -> None:
        # Files without a name: nothing of them is left, whoever is killed.
        self._out, self._err, self._progress = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115 - closed in `_close`
        self._began = time.monotonic()
        self._lock = threading.Lock()  # of the sessions that look at the same one
        self.asked = asked
        self.result: dict[str, Any] | None = None
        self.trouble = ""
        self._process = subprocess.Popen(  # noqa: S603  # our own
            asked.command(self._progress),
            stdout=self._out,
            stderr=self._err,
            pass_fds=[self._progress.fileno()],
            env={**views.environment(), PARENT: str(os.getpid())},
        )

    @property
    def running(self) -> bool:
        """Whether it still works; reads the result when it has just ended."""
        with self._lock:
            code = self._process.poll()
            if code is None:
                return True
            if self.result is None and not self.trouble:
                if code == 0:
                    self.result = json.loads(_read(self._out))
                else:
                    said = _read(self._err).strip().splitlines()
                    self.trouble = said[-1].removeprefix("gridpilot: ") if said else f"it ended with exit code {code}"
                self._close()
            return False

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    def progress(self) -> tuple[float, str]:
        """The share that is done, and of what."""
        try:
            with self._lock:  # or another session closes it meanwhile
                share, _, doing = _read(self._progress).splitlines()[-1].partition(" ")
            return min(1.0, max(0.0, float(share))), doing
        except (IndexError, ValueError):  # not written yet, just being written, or over
            return 0.0, "starting"

    def stop(self, why: str) -> None:
        """End it, whatever it is doing."""
        with self._lock:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(timeout=10.0)
                self.trouble = why
                self._close()

    def _close(self) -> None:
        for file in (self._out, self._err, self._progress):
            file.close()


def _read(file: IO[bytes]) -> str:
    """All of it, wherever the process that writes it is."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


class Jobs:
    """The newest backtests by what was asked."""

    def __init__(self) -> None:
        self._jobs: dict[Asked, Job] = {}
        self._lock = threading.Lock()

    def find(self, asked: Asked) -> Job | None:
        """The newest backtest of that, if it was ever started and nobody pressed Stop."""
        return self._jobs.get(asked)

    def start(self, asked: Asked) -> Job:
        """Start it, unless it runs; another one that is running ends, and is kept to say why."""
        with self._lock:
            for other, job in self._jobs.items():
                if job.running:
                    if other == asked:
                        return job
                    job.stop(f"Ended: another backtest was asked for ({asked.words()}), and one runs at a time.")
            self._jobs.pop(asked, None)
            while len(self._jobs) >= KEPT:
                self._jobs.pop(next(iter(self._jobs)))
            self._jobs[asked] = job = Job(asked)
            return job

    def stop(self, asked: Asked) -> None:
        """End it and forget it."""
        with self._lock:
            job = self._jobs.pop(asked, None)
            if job is not None:
                job.stop("Stopped.")


@st.cache_resource
def jobs() -> Jobs:
    """The server's backtests."""
    return Jobs()
