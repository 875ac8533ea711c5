"""The evaluation questions over fixed ledgers: how many are answered, grounded, refused.

    python benchmarks/explain.py            by the template alone, as without a key
    python benchmarks/explain.py --model    by the model that OPENAI_* and GRIDPILOT_LLM_MODEL name

A question counts as answered by the template when the answer holds what tests/explain/evaluation.toml asks for, a
refusal when it was refused. Of a model's words only the figures can be judged: there "answered" means that a verified
sentence was shown. `seconds` is the median until the answer, over the questions that a model was asked.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import LanguageModel, language_model, load_settings  # noqa: E402
from gridpilot.explain.desk import Desk  # noqa: E402
from gridpilot.explain.explainer import Explanation, explain  # noqa: E402
from gridpilot.explain.facts import gather  # noqa: E402
from gridpilot.explain.recall import recall  # noqa: E402
from tests.explain.evaluation import Judged, Question, judge, ledgers, questions  # noqa: E402


@dataclass(frozen=True)
class Row:
    """One question with what became of it."""

    question: Question
    judged: Judged
    found: Explanation
    seconds: float


def ask_all(model: LanguageModel | None) -> list[Row]:
    """Every question, one after the other."""
    rows, desk = [], Desk()
    with tempfile.TemporaryDirectory() as folder:
        fixed = ledgers(Path(folder))
        for question in questions():
            ledger, began = fixed[question.ledger], time.perf_counter()
            facts = recall(question.ask, gather(ledger), ledger)
            *_, found = explain(question.ask, facts, ledger, model, desk)
            assert isinstance(found, Explanation)
            rows.append(Row(question, judge(question, found, facts), found, time.perf_counter() - began))
        for made in fixed.values():
            made.close()
    return rows


def line(name: str, rows: list[Row]) -> str:
    """One line of the table."""
    answered, grounded = (sum(getattr(row.judged, key) for row in rows) for key in ("answered", "grounded"))
    by_model = [row for row in rows if row.found.model]
    withheld = sum(len(row.found.withheld) for row in rows)
    seconds = f"{statistics.median(row.seconds for row in by_model):8.1f}" if by_model else f"{'':8}"
    return f"{name:14} {len(rows):9} {answered:8} {grounded:8} {len(by_model):8} {withheld:8} {seconds}"


def main() -> None:
    """Print a line for each kind of question, then what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true", help="ask the language model that the environment names")
    model = language_model(load_settings()) if parser.parse_args().model else None
    if model is None and "--model" in sys.argv:
        parser.error("no model is connected: set OPENAI_BASE_URL or OPENAI_API_KEY (docs/explaining.md)")
    rows = ask_all(model)
    print(
        f"{'kind':14} {'questions':>9} {'answered':>8} {'grounded':>8} {'by model':>8} {'withheld':>8} {'seconds':>8}"
    )
    for kind in dict.fromkeys(row.question.kind for row in rows):
        print(line(kind, [row for row in rows if row.question.kind == kind]))
    print(line("all", rows))
    for row in rows:
        if not (row.judged.answered and row.judged.grounded):
            print(f"missed: {row.question.ask} ({row.question.ledger}): {row.found.text[:160]}")
        elif model is not None and row.found.reason:
            print(f"offline: {row.question.ask} ({row.question.ledger}): {row.found.reason}")


if __name__ == "__main__":
    main()
