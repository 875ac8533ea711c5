"""What all tests share: no settings of the shell reach a test, and how long the tests that repeat themselves run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Tests of the browser keep the cores busy, tests that kill and hang processes wait: the former go to one worker, one
# after the other, and there is one worker more than cores.
BROWSER = "browser"
ROUNDS = int(os.environ.get("GRIDPILOT_SOAK_ROUNDS", "3"))  # read here: a test sees no such variable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker(BROWSER):
            item.add_marker(pytest.mark.xdist_group(BROWSER))


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("GRIDPILOT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    yield


@pytest.fixture
def rounds() -> int:
    """How often a fault or a kind of auction is tried: 3, and more in `make soak`."""
    return ROUNDS
