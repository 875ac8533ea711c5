"""A process is asked to end, by SIGTERM or SIGINT."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType


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
