"""What all tests share: no settings of the shell reach a test, and how long the tests that repeat themselves run."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Side by side go whole files, so that what a file prepares is prepared once. Browser tests keep the cores busy, tests
# that kill and hang processes wait: the former all go to one worker, and there is one worker more than cores.
BROWSER = "browser"
ROUNDS = int(os.environ.get("GRIDPILOT_SOAK_ROUNDS", "3"))  # read here: a test sees no such variable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return (os.cpu_count() or 1) + 1


class _OneBrowser(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith("tests/browser/") else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _OneBrowser(config, log)


def pytest_collection_finish() -> None:
    """What is imported by now stays for good: the garbage collector need not look at it after every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("GRIDPILOT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    yield


@pytest.fixture
def rounds() -> int:
    """How often a fault or a kind of auction is tried: 3, and more in `make soak`."""
    return ROUNDS
