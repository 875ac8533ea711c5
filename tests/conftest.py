"""What all tests share: no settings of the shell reach a test, and how long the tests that repeat themselves run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Whole pilots, pages, ledgers and processes: seconds each, so `make quick` leaves them out as it does the slow tests.
WHOLE = (
    "test_backtest.py", "test_cli.py", "test_control.py", "test_cycle.py", "test_evidence.py", "test_watch.py",
    "test_watchdog.py", "auction/test_exact.py", "explain/test_agent.py", "ledger/test_commands.py",
    "ledger/test_postgres.py", "ledger/test_prune.py", "ledger/test_store.py", "ledger/test_trouble.py",
    "market/test_failover.py", "market/test_faults.py", "market/test_feed_faults.py", "monitor/test_courier.py",
    "monitor/test_exposure.py", "monitor/test_revenue.py", "pages/test_auction.py", "pages/test_curtailment.py",
    "pages/test_dispatch.py", "pages/test_explain.py", "pages/test_risk.py",
)  # fmt: skip
HERE = Path(__file__).parent.as_posix()
ROUNDS = int(os.environ.get("GRIDPILOT_SOAK_ROUNDS", "5"))  # read here: a test sees no such variable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.as_posix().removeprefix(f"{HERE}/") in WHOLE:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("GRIDPILOT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    yield


@pytest.fixture
def rounds() -> int:
    """How often a fault or a kind of auction is tried: 5, and more in `make soak`."""
    return ROUNDS
