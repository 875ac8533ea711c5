"""How long a decision takes, by stage, and how soon the console shows its first one.

    python benchmarks/cycle.py [--cycles 40]

Prints medians and 95th percentiles on this machine; compare runs made side by side only.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import Settings  # noqa: E402
from gridpilot.cycle import open_engine, run_cycle  # noqa: E402
from gridpilot.dispatch.simulator import Faults, SimulatedGateway  # noqa: E402
from gridpilot.domain import Dispatch, Reading, Reserve  # noqa: E402
from gridpilot.errors import LedgerError  # noqa: E402
from gridpilot.forecast.ensemble import Prepared  # noqa: E402
from gridpilot.forecast.fitted import Fitted  # noqa: E402
from gridpilot.forecast.refit import Refitter, fit_prices  # noqa: E402
from gridpilot.ledger.store import Ledger  # noqa: E402
from gridpilot.market.replay import ReplaySource  # noqa: E402
from tests.browser.harness.server import free_port  # noqa: E402

WAIT_S = 60.0


class Held(Refitter):
    """One fit, made beforehand, for one time of day."""

    def __init__(self, fits: dict[str, Fitted]) -> None:
        super().__init__()
        self._held = fits

    def current(self, prepared: Prepared) -> dict[str, Fitted]:
        """The fit that was given."""
        return self._held


def warm_cycles(folder: Path, cycles: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Stage timings of cycles in one process, the first (cold) one left out: by quick models, by a fitted ensemble."""
    quick: dict[str, list[float]] = {}
    fitted: dict[str, list[float]] = {}
    with Ledger.open(f"sqlite:///{folder / 'warm.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        assert isinstance(engine.source, ReplaySource)
        for i in range(cycles + 1):
            wall = datetime.now(UTC)
            result = run_cycle(engine, wall)
            engine.source.clock = engine.source.clock.stepped(wall).with_speed(wall, 0.0)
            if i:
                for name, ms in result.timings_ms.items():
                    quick.setdefault(name, []).append(ms)
        assert engine.known is not None
        now = engine.known
        engine.refitter = Held(fit_prices(now.without(now.clock.season - 1)))
        for i in range(cycles + 1):
            result = run_cycle(engine, datetime.now(UTC))
            assert result.forecast.version
            if i:
                for name, ms in result.timings_ms.items():
                    fitted.setdefault(name, []).append(ms)
    return quick, fitted


class Timed:
    """A simulated site that notes when it was read and when it was told."""

    def __init__(self, site: SimulatedGateway) -> None:
        self._site = site
        self.name = site.name
        self.read_at = self.took_s = 0.0

    def read(self, now: datetime) -> Reading:
        """What the site shows."""
        if not self.took_s:
            self.read_at = time.perf_counter()
        return self._site.read(now)

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Tell the site; `took_s` is the time since the first reading."""
        self.took_s = self.took_s or time.perf_counter() - self.read_at
        self._site.put(dispatch, now)


def frequency_response(folder: Path, tries: int = 60) -> list[float]:
    """Milliseconds from a reading of 49.75 or 50 Hz to the command that answers it, with INTENT on disk in between."""
    with Ledger.open(f"sqlite:///{folder / 'frequency.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        engine.site = replace(engine.site, reserve=Reserve(up_kw=150.0, up_usd_per_mw_h=10.0))
        inner = engine.control.gateway
        assert isinstance(inner, SimulatedGateway)
        gateway = engine.control.gateway = Timed(inner)
        wall, times = datetime.now(UTC), []
        run_cycle(engine, wall)
        now = engine.source.present(wall)
        for i in range(tries):
            now += timedelta(seconds=20.0)
            inner.inject(Faults(frequency_hz=49.75 if i % 2 == 0 else 50.0), now)
            gateway.took_s = 0.0
            engine.control.follow(now, token=None)
            assert gateway.took_s > 0.0, "every change of the frequency is answered"
            times.append(1000.0 * gateway.took_s)
    return times


def one_command(folder: Path, tries: int = 5) -> list[float]:
    """Wall-clock ms of `python -m gridpilot cycle --json` in a new process, after one that warms the disk."""
    environment = {"GRIDPILOT_DB_URL": f"sqlite:///{folder / 'command.db'}", "PATH": "/usr/bin:/bin"}
    times = []
    for i in range(tries + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "gridpilot", "cycle", "--json"],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if i:
            times.append((time.perf_counter() - start) * 1000.0)
    return times


def first_decision(folder: Path) -> float:
    """Seconds from the start of the server to the first decision in its ledger, which the Overview then shows."""
    url = f"sqlite:///{folder / 'console.db'}"
    environment = {"GRIDPILOT_DB_URL": url, "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(free_port())]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            while time.perf_counter() - start < WAIT_S:
                with contextlib.suppress(LedgerError), Ledger.open(url, read_only=True) as ledger:
                    if ledger.latest("cycle") is not None:
                        return time.perf_counter() - start
                time.sleep(0.05)
            raise SystemExit(f"no decision within {WAIT_S:g} s")
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        quick, fitted = warm_cycles(folder, options.cycles)
        print(f"{'':<12}{'fitted ensemble':>24}{'quick models':>24}")
        print(f"{'stage':<12}" + f"{'median ms':>12}{'p95 ms':>12}" * 2)
        for name in quick:
            pairs = [f"{np.median(ms[name]):>12.1f}{np.percentile(ms[name], 95):>12.1f}" for ms in (fitted, quick)]
            print(f"{name:<12}" + "".join(pairs))
        ms = frequency_response(folder)
        print(f"\nfrequency read to command sent: median {np.median(ms):.0f} ms, worst of {len(ms)} {max(ms):.0f} ms")
        ms = one_command(folder)
        print(f"one `cycle --json` command, imports included: median {np.median(ms):.0f} ms")
        print(f"server start to the first decision in the ledger: {first_decision(folder):.1f} s")


if __name__ == "__main__":
    main()
