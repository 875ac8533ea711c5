"""Forks a pilot for each line of stdin; the line names the point of the next dispatch at which it kills itself.

K1 before INTENT, K2 after INTENT, K3 during PUT (there the test kills), K4 after PUT, K5 after GET, K6 after RESULT;
H1, H2: it stops itself (SIGSTOP) before INTENT, after it. An empty line is a pilot that is left alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import gridpilot.cycle  # noqa: F401 - imported once, before forking
from gridpilot.config import load_settings
from gridpilot.dispatch.gateway import MaraGateway
from gridpilot.domain import Dispatch, Reading
from gridpilot.errors import GridPilotError
from gridpilot.ledger.store import Ledger, Transaction
from gridpilot.pilot import run_pilot

transaction, append, put, read = Ledger.transaction, Ledger.append, MaraGateway.put, MaraGateway.read


def arm(point: str, acks: int) -> None:
    """Every acknowledged entry is written down, and the chosen point is deadly."""
    sent = False

    def at(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGSTOP if point.startswith("H") else signal.SIGKILL)

    @contextmanager
    def noting(self: Ledger) -> Iterator[Transaction]:
        with transaction(self) as work:
            yield work
        if work.head is not None:
            os.write(acks, f"{work.head.seq} {work.head.hash}\n".encode())

    def appending(self: Ledger, kind: str, body: Any, **named: Any) -> Any:
        if kind == "intent":
            at("K1")
            at("H1")
        entry = append(self, kind, body, **named)
        if kind == "intent":
            at("K2")
            at("H2")
        if kind == "result":
            at("K6")
        return entry

    def putting(self: MaraGateway, dispatch: Dispatch, now: datetime) -> None:
        nonlocal sent
        put(self, dispatch, now)
        sent = True
        at("K4")

    def reading(self: MaraGateway, now: datetime) -> Reading:
        found = read(self, now)
        if sent:
            at("K5")
        return found

    Ledger.transaction, Ledger.append = noting, appending  # type: ignore[method-assign]
    MaraGateway.put, MaraGateway.read = putting, reading  # type: ignore[method-assign]


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            arm(line.strip(), os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
            status = 1
            try:
                run_pilot(load_settings())
                status = 0
            except GridPilotError as error:
                sys.stderr.write(f"{error}\n")
            finally:
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


main()
