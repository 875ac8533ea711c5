"""A process is asked to end, by SIGTERM or SIGINT; one that belongs to another asks itself when that one is gone."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

RUNNING = ("pilot", "watchdog", "watch", "up", "demo", "mara-server")  # commands that run until they are stopped


def runs_until_stopped(words: Sequence[str]) -> bool:
    """Whether the command line is of one that does, not only looks at one (`--check`)."""
    return bool(words) and words[0] in RUNNING and not any(word.startswith("--c") for word in words)


def at_once() -> None:
    """From here on, and until an `Ending` takes over, both signals end the process with exit code 0: nothing is at
    work yet. One that the starting process ignores stays ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: os._exit(0))


def interrupt_once() -> None:
    """From here on the first signal is a KeyboardInterrupt, and those that follow do nothing to what cleans up."""

    interrupted = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def over() -> None:
    """From here on neither signal does anything: the process ends already, with an exit code of its own.

    On its way out the interpreter gives both their default back, by which the process would end; what is ignored stays.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


PARENT = "GRIDPILOT_PARENT"  # in the environment of a process that is kept: the number of the one that keeps it
LOOK_S = 0.5  # between two looks whether that one is still there


def end_with(parent: int) -> None:
    """From here on, SIGTERM to this process once its parent is not `parent` any more, however that one ended (SIGKILL).

    So all that belongs together ends as if its supervisor had been told to, the watchdog too: it finishes what it
    switches off just then, and else the machines keep their last set points. One that stayed would be a protection that
    nobody sees, starts again or ends. Who wants the site off when all the rest is gone runs a watchdog that is nobody's
    child, as a service or on another machine.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="parent", daemon=True).start()


def keeper() -> int | None:
    """The number of the process that keeps this one; None where none does."""
    said = os.environ.get(PARENT, "")
    return int(said) if said.isdecimal() else None


class Ending:
    """From here on, both signals only ask. Main thread alone.

    No threading.Event: its `set` takes a lock that `wait`, which the handler interrupts, may hold; the process would
    stand still for good. The interpreter writes to a pipe instead (signal.set_wakeup_fd), so none is missed either
    that arrives just before the wait.
    """

    def __init__(self, at_once: Callable[[], None] = lambda: None) -> None:
        """`at_once` is called by the handler, in the middle of whatever runs: at each signal."""
        self.asked = False
        self._at_once = at_once
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._at_once()

    def wait(self, seconds: float | None = None) -> None:
        """Sleep until it is asked, at the longest `seconds`. Another signal that has a handler may end it sooner."""
        if not self.asked and select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 4096)
