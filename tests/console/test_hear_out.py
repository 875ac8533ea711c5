"""What a run drew reaches the browser, though the next request comes before the event loop has taken it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import app_session
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.script_data import ScriptData
from streamlit.runtime.scriptrunner import RerunData, ScriptRunnerEvent

from gridpilot.console import server


class Runner:
    """In place of Streamlit's: it has ended when it refuses, and its last words were sent before that."""

    made: list[Runner]

    def __init__(self, **given: Any) -> None:
        self.asked: list[RerunData] = [given["initial_rerun_data"]]
        self.ended = False
        self.on_event = MagicMock()
        self.made.append(self)

    def start(self) -> None:
        pass

    def request_stop(self) -> None:
        self.ended = True

    def request_rerun(self, request: RerunData) -> bool:
        if not self.ended:
            self.asked.append(request)
        return not self.ended


@pytest.fixture(autouse=True)
def _runners(monkeypatch: pytest.MonkeyPatch) -> None:
    Runner.made = []
    monkeypatch.setattr(app_session, "ScriptRunner", Runner)
    monkeypatch.setattr(AppSession, "_create_scriptrunner", AppSession._create_scriptrunner)
    server.hear_out()


@asynccontextmanager
async def _opened() -> AsyncIterator[AppSession]:
    session = AppSession(ScriptData("app.py", is_hello=False), MagicMock(), MagicMock(), None, {})
    try:
        yield session
    finally:
        session._script_event_loop.close()


def _drawn(text: str) -> ForwardMsg:
    message = ForwardMsg()
    message.delta.new_element.text.body = text
    return message


def _ends(session: AppSession, runner: Runner, text: str) -> None:
    """As its thread does, while the loop is busy."""
    session._on_scriptrunner_event(runner, ScriptRunnerEvent.ENQUEUE_FORWARD_MSG, _drawn(text))
    runner.ended = True
    session._on_scriptrunner_event(runner, ScriptRunnerEvent.SHUTDOWN, client_state=ClientState())


def _texts(session: AppSession) -> list[str]:
    return [message.delta.new_element.text.body for message in session._browser_queue.flush()]


def test_request__a_run_has_just_ended__what_it_drew_is_sent_and_both_requests_are_run() -> None:
    async def story() -> None:
        async with _opened() as session:
            session.request_rerun(ClientState(query_string="press"))
            (first,) = Runner.made
            _ends(session, first, "progress")
            session.request_rerun(ClientState(query_string="tick"))  # before the loop has taken what was drawn
            session.request_rerun(ClientState(query_string="another press"))
            await asyncio.sleep(0)
            assert _texts(session) == ["progress"]
            _, second = Runner.made
            assert [request.query_string for request in second.asked] == ["tick", "another press"]
            await asyncio.sleep(0)
            assert session._scriptrunner is second

    asyncio.run(story())


def test_request__nothing_runs_or_something_does__taken_at_once() -> None:
    async def story() -> None:
        async with _opened() as session:
            session.request_rerun(ClientState(query_string="press"))
            session.request_rerun(ClientState(query_string="tick"))
            (only,) = Runner.made
            assert [request.query_string for request in only.asked] == ["press", "tick"]

    asyncio.run(story())


def test_request__the_session_is_closed_meanwhile__nothing_runs() -> None:
    async def story() -> None:
        async with _opened() as session:
            session.request_rerun(ClientState(query_string="press"))
            _ends(session, Runner.made[0], "progress")
            session.request_rerun(ClientState(query_string="tick"))
            session.shutdown()
            await asyncio.sleep(0)
            assert len(Runner.made) == 1

    asyncio.run(story())
