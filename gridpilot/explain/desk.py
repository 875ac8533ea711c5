"""How many questions a model is asked at once: two are answered, a few wait, the others are told so at once."""

from __future__ import annotations

import threading

AT_ONCE = 2
WAITING = 4
WAIT_S = 20.0  # no longer; an answer without the model is better than a late one


class Desk:
    """Seats for questions, from any thread: `line_up`, then `sit` until True or `give_up`; `leave` in the end."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._free = at_once
        self._most = at_once + waiting
        self._here = 0  # seated or waiting
        self._changed = threading.Condition()

    @property
    def here(self) -> int:
        """How many questions are asked or wait now."""
        return self._here

    def line_up(self) -> bool:
        """Wait for a seat; False where too many do."""
        with self._changed:
            if self._here >= self._most:
                return False
            self._here += 1
            return True

    def sit(self, wait_s: float) -> bool:
        """Whether there was a seat within `wait_s` for somebody who waits."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free > 0, wait_s):
                return False
            self._free -= 1
            return True

    def give_up(self) -> None:
        """Wait no longer."""
        with self._changed:
            self._here -= 1

    def leave(self) -> None:
        """Give the seat back."""
        with self._changed:
            self._here -= 1
            self._free += 1
            self._changed.notify()
