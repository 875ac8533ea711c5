"""What all tests share: no settings of the shell reach a test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("GRIDPILOT_")]:
        monkeypatch.delenv(name)
    yield
