"""A session without a browser, as `benchmarks/console.py` opens by the dozen, on a console without a pilot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import HARNESS
from tests.browser.harness.server import Server, serve
from tests.browser.harness.session import Session, sessions

pytestmark = pytest.mark.slow  # a real server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sessions"), env={"GRIDPILOT_NO_PILOT": "1"}) as console:
        yield console


def test_session__page_loaded__whole_script_heard_and_its_timers_known(running: Server) -> None:
    with Session.open(running.url) as session:
        run = session.load()
        assert run.says("No decision yet")
        assert sorted(session.fragments.values()) == [2.0, 3.0]  # the strip and the page


def test_session__fragment_asked_for__only_that_is_run(running: Server) -> None:
    with Session.open(running.url) as session:
        whole = session.load()
        strip, body = sorted(session.fragments, key=session.fragments.__getitem__)
        assert session.refresh(strip).says("NO PILOT YET")
        again = session.refresh(body)
        assert again.says("No decision yet") and not again.says("NO PILOT YET")
        assert again.messages < whole.messages


def test_session__page_of_its_own__kept_when_it_is_loaded_again(running: Server) -> None:
    with Session.open(running.url, "risk") as session:
        assert all(session.load().says("What could go wrong") for _ in range(2))


def test_sessions__several__each_has_its_own_page(running: Server) -> None:
    with sessions(running.url, 3, "health") as opened:
        assert all(session.load().says("Is the system itself well?") for session in opened)


def test_session__page_asked_for_as_the_strip_ends__whole_page_in_its_place(tmp_path: Path) -> None:
    with (
        serve(tmp_path, HARNESS / "slow_end.py", env={"GRIDPILOT_NO_PILOT": "1"}) as server,
        Session.open(server.url, "health") as session,
    ):
        place = session.load().blocks["strip_bar"]
        strip = min(session.fragments, key=session.fragments.__getitem__)
        session.refresh(strip)
        assert session.load().blocks["strip_bar"] == place
