from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridpilot.errors import LedgerError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.explained import Tally, count, read


def test_count__several_at_once__all_on_record_and_no_entry_written(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert read(ledger) == Tally()
        head = ledger.head()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: count(ledger, by_model=i % 2 == 0, withheld=i), range(8)))
        assert read(ledger) == Tally(4, 4, sum(range(8)))
        assert ledger.head() == head


def test_count__handle_that_cannot_write__refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger.open(url).close()
    with Ledger.open(url, read_only=True) as ledger, pytest.raises(LedgerError, match="reading only"):
        count(ledger, by_model=True, withheld=0)
