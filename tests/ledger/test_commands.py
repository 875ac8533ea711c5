"""Many operators at once, on a SQLite file and on a real PostgreSQL server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gridpilot.dispatch import override
from gridpilot.dispatch.actor import local
from gridpilot.dispatch.override import Command
from gridpilot.errors import Conflict
from gridpilot.ledger.store import Ledger

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
THREADS, TRIES = 10, 20


def test_F52_submit__200_overrides_from_10_threads__one_winner_a_version_and_200_rows(ledger: Ledger) -> None:
    def work(thread: int) -> list[int]:
        won, who = [], local(f"operator {thread}")
        for n in range(TRIES):
            drawn_on, until = override.version(ledger), T0 + timedelta(hours=1)
            command = Command(T0, who.name, "all at once", "machines", {"hydro": n}, until, drawn_on)
            try:
                override.submit(ledger, command, who, wall=T0)
            except Conflict:
                continue
            won.append(drawn_on)
        return won

    with ThreadPoolExecutor(THREADS) as pool:
        winners = sorted(version for won in pool.map(work, range(THREADS)) for version in won)
    rows = ledger.commands(limit=1000)
    assert len(rows) == THREADS * TRIES
    assert winners == list(range(len(winners))), "each version has exactly one winner"
    assert override.version(ledger) == len(winners)
    counts = {status: sum(row["status"] == status for row in rows) for status in ("accepted", "superseded", "refused")}
    assert counts == {"accepted": 1, "superseded": len(winners) - 1, "refused": THREADS * TRIES - len(winners)}
    assert ledger.verify().ok
