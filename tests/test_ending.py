"""A process that is asked to end by a signal, at whatever moment it comes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

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
