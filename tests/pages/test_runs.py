"""A press is answered, whatever else becomes new in the same run of the page."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gridpilot import views
from gridpilot.console import backtest_job, moment_bar
from tests.pages.conftest import OpenPage, words

IN_CONTROL = "shell_in_control"  # the mode that the strip saw last

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`


@pytest.fixture(autouse=True)
def _no_job_left() -> Iterator[None]:
    yield
    for asked in list(backtest_job.jobs()._jobs):
        backtest_job.jobs().stop(asked)
    backtest_job.jobs.clear()


def test_press__the_strip_sees_another_mode_in_the_same_run__not_lost(full: OpenPage) -> None:
    app = full("backtest")
    app.session_state[IN_CONTROL] = ("what it was a moment ago", 0)
    app.button(key="backtest_run").click().run()
    assert not app.exception
    assert len(backtest_job.jobs()._jobs) == 1


def test_press__while_decisions_play__not_lost_and_no_step_is_taken(full: OpenPage) -> None:
    app = full("backtest")
    first, *_ = views.ledger().entries("cycle", newest_first=False)
    app.query_params["at"] = then = f"{first.at:%Y-%m-%dT%H:%MZ}"
    app.run()
    app.session_state[moment_bar._PLAYING] = time.monotonic() - 60.0
    app.button(key="backtest_run").click().run()
    assert not app.exception
    assert len(backtest_job.jobs()._jobs) == 1
    assert app.query_params["at"] in (then, [then])


def test_question__the_strip_sees_another_mode_in_the_same_run__answered(full: OpenPage) -> None:
    app = full("explain")
    app.session_state[IN_CONTROL] = ("what it was a moment ago", 0)
    app.chat_input[0].set_value("What does power cost now?").run()
    assert not app.exception
    assert "What does power cost now?" in words(app)
