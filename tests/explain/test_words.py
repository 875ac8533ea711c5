"""Terms in plain words, what the site has, and where something is done: no question of one is taken for another."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from gridpilot.explain.facts import gather
from gridpilot.explain.grounding import ungrounded
from gridpilot.explain.recall import recall
from gridpilot.explain.template import answer
from gridpilot.explain.words import WORDS, Word
from gridpilot.ledger.store import Ledger

Make = Callable[..., Ledger]


@pytest.mark.parametrize("word", WORDS, ids=[word.pattern[:20] for word in WORDS])
def test_words__each_one__a_plain_sentence_without_a_figure(word: Word) -> None:
    means = word.means
    assert not re.search(r"\d", means)
    assert not means.endswith(".")


@pytest.mark.parametrize(
    ("question", "topic", "said"),
    [
        ("What is a break even?", "word", "hydro 111 USD/MWh"),
        ("What's the break even of hydro?", "machine", "Hydro: 40 of 40 machines on"),
        ("what does SOC mean", "word", "how full the battery is"),
        ("What is the clearing price?", "auction", "clears at 123 USD/MWh"),
        ("what is a clearing price", "word", "the dearest kW that asked for power"),
        ("What is the difference between VaR and CVaR?", "word", "CVaR: how much is lost on average"),
        ("how does the auction work", "word", "who bids most for a kW gets it"),
        ("How many machines do we have?", "stock", "50 of 192 machines are on, 142 are off"),
        ("how many tenants are there", "stock", "Tenants of this site: 2"),
        ("battery capacity", "stock", "The battery holds 1,000 kWh, of which 15 to 90 % are used"),
        ("how efficient is the battery", "stock", "Of the energy charged 88.4 % comes back."),
        ("how do I stop the site?", "stock", "done on Dispatch"),
        ("where can I see the alarms", "stock", "stands on Health"),
        ("what is the margin of hydro", "stock", "Its margin is"),
        ("how much do I pay per kWh", "auction", "Render-farm pays 0.123 USD/kWh now: 7.4 USD/h for 60 kW."),
        ("who pays most", "auction", "From most to least, they pay: render-farm 7.4 USD/h"),
        ("who is in charge", "control", "what was sent is the plan's"),
        ("Hi, what do we earn per hour?", "money", "The site earns 166 USD/h now"),
        ("will hydro run at 20:00?", "at", "hydro 241 kW"),
        ("how many cycles did the battery do", "unkept", "no facts about that"),
        ("undo the last override", "act", "I can only explain"),
    ],
)
def test_answer__neighbouring_questions__each_its_own(ledger_of: Make, question: str, topic: str, said: str) -> None:
    ledger = ledger_of()
    facts = recall(question, gather(ledger), ledger)
    found = answer(question, facts)
    assert found.topic == topic
    assert said in found.text
    for sentence in found.sentences:
        assert ungrounded(sentence.text, [facts[key] for key in sentence.citations]) == ()
