"""Ask why, and follow a citation: by template, and by a model whose server is scripted."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gridpilot.ledger.store import Ledger
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched
from tests.explain.llm import Turn, call, say, scripted

pytestmark = pytest.mark.browser

KEY = "planted-model-key-4715"
EVIL = "![x](https://evil.example/p.png)"


def why(body: dict[str, Any]) -> Turn:
    """Looks facts up once, then tells two of them, a wrong one and an image."""
    results = [json.loads(m["content"]) for m in body["messages"] if m["role"] == "tool"]
    if not results:
        return call(("list_facts", {"topic": "price"}), ("list_facts", {"topic": "load"}))
    value = {fact["id"]: fact["value"] for result in results for fact in result["facts"]}
    return say(
        f"Power costs {value['price.energy']} [price.energy]. The site draws {value['load.total']} [load.total]. "
        f"Tomorrow it costs 4,711 USD/MWh [price.energy]. Look at {EVIL} [price.energy]."
    )


def _ask(watched: Watched, server: Server, question: str) -> None:
    page = watched.open(f"{server.url}/explain", "[data-testid='stChatInput']")
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.get_by_test_id("stChatInputTextArea").press("Enter")


def test_journey__ask_why_by_template__a_citation_opens_its_fact(
    console: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    _ask(watched, console, "What does power cost now?")
    answer = watched.page.get_by_test_id("stChatMessage").nth(1)
    expect(answer).to_contain_text("Power costs", timeout=WAIT_MS)
    answer.get_by_role("radio", name="1", exact=True).click()
    expect(answer).to_contain_text("energy price now:", timeout=WAIT_MS)
    expect(answer).to_contain_text(re.compile(r"ledger entry \d+ \(cycle "), timeout=WAIT_MS)
    watched.clean()


def test_F62_journey__ask_why_of_a_model__verified_cited_and_the_rest_withheld(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    with scripted(why) as model:
        env = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": KEY, "GRIDPILOT_LLM_MODEL": "scripted-1"}
        with serve(tmp_path, env={**env, "GRIDPILOT_REPLAY_SPEED": "0"}) as server:
            watched = new_page()
            _ask(watched, server, "Is power dear, and how much do we draw?")
            page = watched.page
            answer = page.get_by_test_id("stChatMessage").nth(1)
            expect(answer).to_contain_text("Written by scripted-1", timeout=3 * WAIT_MS)  # LangChain is imported first
            expect(answer).to_contain_text("The site draws")
            expect(answer).to_contain_text("2 sentences of the model withheld")
            expect(answer).not_to_contain_text("4,711")
            expect(page.get_by_text("(2 sentences so far, in 1 answer of the model and 0 without it)")).to_be_visible()
            answer.get_by_role("radio", name="2", exact=True).click()
            expect(answer).to_contain_text("load now, cooling included:", timeout=WAIT_MS)
            answer.get_by_text("What was sent to the model").click()
            expect(answer.get_by_test_id("stCode")).to_contain_text("scripted-1", timeout=WAIT_MS)
            shown = page.content()
            log = server.log()
            watched.clean()
        with Ledger.open(f"sqlite:///{tmp_path / 'gridpilot.db'}", read_only=True) as ledger:
            assert ledger.commands() == []
    assert page.locator("img[src*='evil']").count() == 0
    for place in (shown, log, *(path.read_bytes().decode(errors="replace") for path in tmp_path.glob("gridpilot.db*"))):
        assert KEY not in place


def test_F61_journey__model_does_not_answer__emergency_stop_is_not_held_up(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    with scripted(Turn(hold=threading.Event())) as model:
        env = {"OPENAI_BASE_URL": model.url, "GRIDPILOT_LLM_BUDGET_S": "300", "GRIDPILOT_REPLAY_SPEED": "0"}
        with serve(tmp_path, env=env) as server:
            watched = new_page()
            _ask(watched, server, "Is power dear?")
            expect(watched.page.get_by_text("Asks gpt")).to_be_visible(timeout=WAIT_MS)
            watched.page.get_by_role("button", name="Emergency stop").click()
            expect(watched.page.locator(".gp-strip")).to_contain_text("E-STOP", timeout=WAIT_MS)
            watched.clean()
