"""The loop of a process that looks every so often and outlives its trouble."""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from gridpilot.ending import Ending
from gridpilot.errors import GridPilotError

LONGEST_S = 30.0  # between two tries
HANG_S = 120.0  # a look that takes longer ends this process, to be started again


class Looker(Protocol):
    """`tick` looks once. Whatever it raises: try again later."""

    def tick(self, wall: datetime) -> object:
        """One look."""


L = TypeVar("L", bound=Looker)


def patrol(start: Callable[[], L], poll_s: float, log: logging.Logger) -> L | None:
    """Look each `poll_s` until SIGTERM or SIGINT; who looked is returned to be closed, None where `start` never came to
    one.

    After trouble, of `start` or of a look, ever more seldom, up to LONGEST_S; each new one is logged once.
    """
    ending = Ending()
    looker: L | None = None
    failures, said = 0, ""
    while not ending.asked:
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            looker = looker or start()
            looker.tick(datetime.now(UTC))
            failures, said = 0, ""
        except Exception as error:  # who watches outlives what it did not expect, too
            failures += 1
            if str(error) != said:
                said = str(error)
                unexpected = not isinstance(error, GridPilotError)
                log.error("%s; trying again", said or repr(error), exc_info=unexpected)
        ending.wait(min(poll_s * 2.0 ** min(failures, 8), LONGEST_S))
    faulthandler.cancel_dump_traceback_later()
    return looker
