"""Backtests of the recorded prices, each in a process of its own, so that the console stays light and quick.

The server keeps the newest ones; every session sees the same. One runs at a time: asking for another ends it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import streamlit as st

from gridpilot import views

KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a backtest is to be of; `through` is the newest recorded day, so that a new day is a new backtest."""

    days: int
    forecaster: str
    information: str
    through: str
    site: str = ""  # of the fleet; empty: the console's own

    def command(self, folder: Path) -> list[str]:
        """The command line that does it."""
        words = ["backtest", "--json", "--days", str(self.days), "--forecaster", self.forecaster]
        words += ["--information", self.information, "--progress", str(folder / "progress")]
        return [sys.executable, "-m", "gridpilot", *words]


class Job:
    """One backtest: `share` done, `doing` what, and in the end a `result` or the `trouble`, one line."""

    def __init__(self, asked: Asked) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gridpilot-backtest-")
        self._path = Path(self._folder.name)
        self._began = time.monotonic()
        self.result: dict[str, Any] | None = None
        self.trouble = ""
        with (self._path / "out").open("wb") as out, (self._path / "err").open("wb") as err:
            self._process = subprocess.Popen(  # noqa: S603  # our own
                asked.command(self._path), stdout=out, stderr=err, env=views.environment()
            )

    @property
    def running(self) -> bool:
        """Whether it still works; reads the result when it has just ended."""
        code = self._process.poll()
        if code is None:
            return True
        if self.result is None and not self.trouble:
            if code == 0:
                self.result = json.loads((self._path / "out").read_text())
            else:
                said = (self._path / "err").read_text().strip().splitlines()
                self.trouble = said[-1].removeprefix("gridpilot: ") if said else f"it ended with exit code {code}"
            self._folder.cleanup()
        return False

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    def progress(self) -> tuple[float, str]:
        """The share that is done, and of what."""
        try:
            share, _, doing = (self._path / "progress").read_text().partition(" ")
            return min(1.0, max(0.0, float(share))), doing
        except (OSError, ValueError):  # not written yet, or just being written
            return 0.0, "starting"

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=10.0)
            self.trouble = "stopped"
            self._folder.cleanup()


class Jobs:
    """The newest backtests by what was asked."""

    def __init__(self) -> None:
        self._jobs: dict[Asked, Job] = {}

    def find(self, asked: Asked) -> Job | None:
        """The backtest of that, if it was ever started and not stopped."""
        return self._jobs.get(asked)

    def start(self, asked: Asked) -> Job:
        """Start it; one that is running ends."""
        for other, job in list(self._jobs.items()):
            if job.running:
                self.stop(other)
        self._jobs.pop(asked, None)
        while len(self._jobs) >= KEPT:
            self._jobs.pop(next(iter(self._jobs)))
        self._jobs[asked] = Job(asked)
        return self._jobs[asked]

    def stop(self, asked: Asked) -> None:
        """End it and forget it."""
        job = self._jobs.pop(asked, None)
        if job is not None:
            job.stop()


@st.cache_resource
def jobs() -> Jobs:
    """The server's backtests."""
    return Jobs()
