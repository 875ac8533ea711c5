"""A process that is asked to end by a signal, at whatever moment it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridpilot.ledger.store import Ledger
from tests.browser.harness.server import free_port
from tests.fault.rig import environment, until

ROOT = Path(__file__).parents[1]

# its parent signals it again and again, at any point of a wait (a thread could not: it runs only where this one sleeps)
STORM = """
from gridpilot.ending import Ending

ending, woken = Ending(), 0
print("waits", flush=True)
while woken < 10_000:
    ending.asked = False
    ending.wait(0.00001)
    woken += ending.asked
print("ends", flush=True)
"""

WAITS = """
from gridpilot.ending import Ending

ending = Ending(lambda: print("at once", flush=True))
print("waits", flush=True)
while not ending.asked:
    ending.wait()
print("ends", flush=True)
"""


def test_ending__signals_at_any_point_of_a_wait__none_stands_still() -> None:
    with subprocess.Popen([sys.executable, "-c", STORM], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        over = time.monotonic() + 30.0
        while process.poll() is None and time.monotonic() < over:
            process.terminate()
            time.sleep(0.00002)  # the handler is to be through with one before the next
        process.kill()
        assert process.stdout.read() == "ends\n"


def test_ending__asked_in_a_wait_without_end__does_what_is_due_at_once_and_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.terminate()
        assert process.communicate(timeout=10)[0].split("\n") == ["at once", "ends", ""]
    assert process.returncode == 0


SLOW = "import time; print('imports', flush=True); time.sleep(60)"  # in place of a package that every command imports


@pytest.mark.parametrize(
    ("words", "number", "code", "said"),
    [
        *((command, signal.SIGINT, 0, "") for command in ("pilot", "watchdog", "watch", "up", "demo", "mara-server")),
        *((command, signal.SIGTERM, 0, "") for command in ("pilot", "up", "mara-server")),
        ("backtest", signal.SIGINT, 130, "gridpilot: ended by Ctrl-C before it was done\n"),
        ("watchdog --check pilot", signal.SIGINT, 130, "gridpilot: ended by Ctrl-C before it was done\n"),
        ("backtest", signal.SIGTERM, -signal.SIGTERM, ""),
    ],
)
def test_command__signalled_while_it_imports__ends_quietly(
    words: str, number: int, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "platformdirs.py").write_text(SLOW)
    done = _signalled(words, number, "imports\n", {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pilot", "watchdog", "watch", "demo"])
def test_command__signalled_again_and_again_until_it_is_gone__exit_code_0(name: str, tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        env = {**environment(ledger, replay_speed="0"), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        port = ["--port", str(free_port())] if name == "demo" else []
        at_work = {
            "pilot": ledger.heartbeat,
            "watchdog": lambda: ledger.get_state("watchdog_seen").value,
            "watch": lambda: ledger.get_state("watch").value,
            "demo": lambda: list(tmp_path.glob("gridpilot-demo-*/demo.db")),
        }[name]
        command = [sys.executable, "-m", "gridpilot", name, *port]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, cwd=ROOT, env=env, **pipes) as process:
            try:
                until(at_work, f"the {name} to be at work")
                over = time.monotonic() + 20.0
                while process.poll() is None and time.monotonic() < over:
                    process.terminate()
                    time.sleep(0.005)
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.005)
            finally:
                process.kill()
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0
    assert list(tmp_path.glob("gridpilot-demo-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_mara_server__signalled__exit_code_0(number: int) -> None:
    done = _signalled("mara-server --port 8796", number, "MARA stand-in on", {})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_study__ctrl_c_while_it_computes__one_line_and_130(tmp_path: Path) -> None:
    pnl = tmp_path / "pnl.csv"
    os.mkfifo(pnl)
    words = [sys.executable, "-m", "gridpilot", "risk", "--pnl", str(pnl)]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process,
        pnl.open("w"),  # it waits for rows
    ):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "gridpilot: ended by Ctrl-C before it was done\n")


def _signalled(words: str, number: int, after: str, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command that gets a signal once it has printed a line that begins so."""
    command = [sys.executable, "-m", "gridpilot", *words.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, env={**os.environ, **more}, **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(after)
            time.sleep(0.1)
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)
