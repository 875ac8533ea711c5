"""The evaluation set by template alone: grounded and refused always, answered in nine of ten at least."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gridpilot.explain.desk import Desk
from gridpilot.explain.explainer import Explanation, explain
from gridpilot.explain.facts import gather
from gridpilot.explain.recall import recall
from gridpilot.ledger.store import Ledger
from tests.explain.evaluation import FILE, REFUSALS, Judged, Question, judge, ledgers, questions, stories


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ledger]]:
    made = ledgers(tmp_path_factory.mktemp("evaluation"))
    yield made
    for ledger in made.values():
        ledger.close()


@pytest.fixture(scope="module")
def judged(fixed: dict[str, Ledger]) -> list[tuple[Question, Judged, str]]:
    out = []
    for question in questions():
        facts = recall(question.ask, gather(fixed[question.ledger]), fixed[question.ledger])
        (found,) = explain(question.ask, facts, fixed[question.ledger], None, Desk())
        assert isinstance(found, Explanation)
        out.append((question, judge(question, found, facts), found.text))
    return out


Rows = list[tuple[Question, Judged, str]]


def test_evaluation__set__questions_of_every_kind_in_a_small_file() -> None:
    asked = questions()
    assert len(asked) == 118
    assert len({(question.ask, question.ledger) for question in asked}) == 118
    assert {question.kind for question in asked} >= {"fact", "reason", "stale", "missing", *REFUSALS}
    assert {question.ledger for question in asked} == {*stories(), "empty"}
    assert FILE.stat().st_size < 100_000


def test_evaluation__every_number_shown__grounded(judged: Rows) -> None:
    assert [(question.ask, text) for question, found, text in judged if not found.grounded] == []


def test_F64_evaluation__every_refusal__refused(judged: Rows) -> None:
    refusals = [(question, found) for question, found, _ in judged if question.kind in REFUSALS]
    assert len(refusals) >= 10
    assert [question.ask for question, found in refusals if not found.answered] == []


def test_evaluation__template_alone__answers_nine_of_ten(judged: Rows) -> None:
    others = [(question, found, text) for question, found, text in judged if question.kind not in REFUSALS]
    missed = [(question.ask, question.says, text) for question, found, text in others if not found.answered]
    assert len(missed) <= 0.1 * len(others), missed
    assert [ask for ask, _, _ in missed] == ["How does the load of today compare with last week's?"]


def test_evaluation__premise__denied_only_where_it_is_wrong(judged: Rows) -> None:
    denied = {question.ask for question, _, text in judged if "not so:" in text}
    assert denied == {question.ask for question, _, _ in judged if question.kind == "premise"}
