"""Processes that are kept: started again, ended together, killed when they hang; real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from gridpilot import supervise
from gridpilot.ending import PARENT
from gridpilot.errors import ConfigError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.monitor.latch import Latch
from gridpilot.supervise import Fenced, Program, Supervisor, engine
from tests.browser.harness.server import free_port
from tests.browser.harness.session import Session
from tests.fault.rig import environment, now, until

pytestmark = pytest.mark.slow


def writing(path: Path, then: str) -> Program:
    """A program that adds its process number to a file, and then does something."""
    code = f"import os, signal, time; open({str(path)!r}, 'a').write(f'{{os.getpid()}}\\n'); {then}"
    return Program(path.name, [sys.executable, "-c", code])


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def supervised(*programs: Program, retry_s: float = 0.05) -> Iterator[Supervisor]:
    supervisor = Supervisor(programs, retry_s=retry_s)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def test_console__port_is_taken__one_line_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} cannot be used .*give another --port"):
            supervise.console(port)


def test_supervisor__program_crashes__started_again_ever_more_seldom_until_stopped(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    with supervised(writing(path, "os._exit(1)")):
        until(lambda: len(pids(path)) >= 4, "four starts")
    count = len(pids(path))
    time.sleep(0.5)
    assert len(pids(path)) == count


@pytest.mark.parametrize(
    ("then", "wait_s"),
    [("time.sleep(60)", 10.0), ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", 0.5)],
)
def test_supervisor__stop__ends_all_willing_or_not(tmp_path: Path, then: str, wait_s: float) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    with supervised(*(writing(path, f"open({str(path)!r} + '.up', 'w'); {then}") for path in paths)) as supervisor:
        until(lambda: all(Path(f"{path}.up").exists() for path in paths), "both to run")
        began = time.monotonic()
        supervisor.stop(wait_s)
        assert time.monotonic() - began < wait_s + 2.0
        assert all(gone(pids(path)[0]) for path in paths)


def test_supervisor__program_hangs__killed_and_started_again(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    program = writing(path, "time.sleep(60)")
    with supervised(Program("sleeper", program.command, hangs=lambda pid: pid == pids(path)[0])):
        until(lambda: len(pids(path)) == 2, "a second start")
        until(lambda: gone(pids(path)[0]), "the end of the first")


def test_fenced__only_the_process_that_the_latch_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    fenced, host = Fenced(), os.uname().nodename
    assert not fenced(7)  # there is no ledger yet
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert not fenced(7)
        Latch(True, now(), "silent", f"{host}:7").save(ledger)
        assert fenced(7) and not fenced(70)
        Latch(False, now(), "silent", f"{host}:7").save(ledger)
        assert not fenced(7)
        Latch(True, now(), "silent", "elsewhere:7").save(ledger)
        assert not fenced(7)


def test_F45_engine__pilot_stops_and_hangs__watchdog_switches_off_and_the_supervisor_starts_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        for name, value in environment(ledger, replay_speed="3600").items():
            monkeypatch.setenv(name, value)
        pilot, watchdog, _watch = engine()
        quick = Program("watchdog", [*watchdog.command, "--grace", "15"])
        with supervised(pilot, quick):
            until(ledger.heartbeat, "the first good cycle")
            first = ledger.lease_holder("pilot", now())
            assert first is not None
            os.kill(int(first.owner.rpartition(":")[2]), signal.SIGSTOP)
            stopped = time.monotonic()
            until(lambda: Latch.load(ledger), "the watchdog")
            print(f"latched after {time.monotonic() - stopped:.1f} s")
            latch = Latch.load(ledger)
            assert latch is not None and latch.fenced == first.owner
            until(lambda: (now_ := Latch.load(ledger)) and not now_.latched, "a good cycle of another pilot")
            print(f"good cycle after {time.monotonic() - stopped:.1f} s")
            second = ledger.lease_holder("pilot", now())
            assert second is not None and second.owner != first.owner and second.token > first.token
            until(lambda: gone(int(first.owner.rpartition(":")[2])), "the end of the pilot that hung")
            assert PilotState.load(ledger).control == AUTO
        assert ledger.lease_holder("pilot", now()) is None
        assert ledger.verify().ok


def all_at_work(ledger: Ledger, port: int) -> None:
    """Wait for what `up` keeps."""
    until(ledger.heartbeat, "the first good cycle")
    until(lambda: ledger.get_state("watchdog_seen").value, "the watchdog")
    until(lambda: ledger.get_state("watch").value, "the watch")
    until(lambda: answers(port), "the console")


def test_up__console_pilot_and_watchdog_by_one_command_and_one_signal_ends_them(tmp_path: Path) -> None:
    port = free_port()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        command = [sys.executable, "-m", "gridpilot", "up", "--port", str(port)]
        env = environment(ledger, replay_speed="0")
        with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as up:
            try:
                all_at_work(ledger, port)
                holder = ledger.lease_holder("pilot", now())
                assert holder is not None
                os.kill(int(holder.owner.rpartition(":")[2]), signal.SIGKILL)
                killed, beat = time.monotonic(), ledger.heartbeat()
                until(lambda: ledger.heartbeat() != beat, "a good cycle of the next pilot", 10.0)
                print(f"killed to the next good cycle {time.monotonic() - killed:.2f} s")
                assert answers(port)
            finally:
                began = time.monotonic()
                up.terminate()
                status = up.wait(20)
        assert (status, time.monotonic() - began < 10.0) == (0, True)
        assert ledger.lease_holder("pilot", now()) is None
        assert not answers(port)


def test_up__killed__all_that_it_keeps_ends_as_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        command = [sys.executable, "-m", "gridpilot", "up", "--port", str(port)]
        env = environment(ledger, replay_speed="0")
        with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as up:
            try:
                all_at_work(ledger, port)
                kept = children(up.pid)
                with Session.open(f"http://127.0.0.1:{port}") as session:
                    session.load()
                    up.kill()
                    killed = time.monotonic()
                    until(lambda: all(gone(pid) for pid in kept), "the end of all")
                print(f"killed to the end of all {time.monotonic() - killed:.2f} s")
            finally:
                up.kill()
        assert len(kept) == 4
        assert not answers(port)
        assert ledger.lease_holder("pilot", now()) is None  # given back: it was not killed
        assert ledger.verify().ok


@pytest.mark.parametrize("name", ["pilot", "watchdog", "watch"])
def test_engine__supervisor_gone_before_it_could_be_looked_for__ends(tmp_path: Path, name: str) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        env = environment(ledger, replay_speed="0")
    with subprocess.Popen([sys.executable, "-c", "pass"]) as short:
        short.wait()
    command = [sys.executable, "-m", "gridpilot", name, "--exit-with-parent"]
    ended = subprocess.run(command, cwd=tmp_path, env={**env, PARENT: str(short.pid)}, timeout=20, check=False)
    assert ended.returncode == 0


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2).text == "ok"
    except requests.RequestException:
        return False
