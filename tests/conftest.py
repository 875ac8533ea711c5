"""What all tests share: no settings of the shell reach a test, and how long the tests that repeat themselves run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

ROUNDS = int(os.environ.get("GRIDPILOT_SOAK_ROUNDS", "3"))  # read here: a test sees no such variable


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("GRIDPILOT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    yield


@pytest.fixture
def rounds() -> int:
    """How often a fault or a kind of auction is tried: 5, and more in `make soak`."""
    return ROUNDS
