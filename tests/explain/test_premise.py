"""What a "why" takes for granted: denied where the facts decide that it is not so, and never where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gridpilot.explain.facts import Facts, gather
from gridpilot.explain.template import answer
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.health import FAILSAFE, PilotState
from tests.explain.conftest import Story, told

Make = Callable[..., Ledger]

CHARGING: dict[str, Any] = {"battery_kw": 200.0, "marginal": 0.15}
FULL: dict[str, Any] = {"soc": 0.9}
RUN = {"gpu": 12, "hydro": 40, "immersion": 60, "air": 80}


@pytest.mark.parametrize(
    ("question", "story", "so"),
    [
        ("why is the battery at 100 %?", {}, "the state of charge is 41.2 %"),
        ("why is the battery at 20 %?", {}, "the state of charge is 41.2 %"),
        ("why battery at 80%", {}, "the state of charge is 41.2 %"),
        ("why is the battery full?", {}, "the battery is at 41.2 %"),
        ("why is the battery empty?", FULL, "the battery is at 90 %"),
        ("why are we discharging?", {}, "the battery is at rest, at 41.2 %"),
        ("why are we charging?", {"battery_kw": -250.0}, "the battery is discharging 250 kW"),
        ("why isn't the battery charging?", CHARGING, "the battery is charging 200 kW"),
        ("why is the battery idle?", CHARGING, "the battery is charging 200 kW"),
        ("why does the battery charge now", {}, "the battery is at rest"),
        ("why is it charging 50 kW?", CHARGING, "200 kW"),
        ("why are all miners off?", {}, "40 of 40 hydro, 0 of 60 immersion and 0 of 80 air machines are on"),
        ("why are all machines on?", {}, "10 of 12 gpu"),
        ("why are no machines running?", {}, "10 of 12 gpu"),
        ("why is everything off?", {}, "40 of 40 hydro"),
        ("why is hydro off?", {}, "40 of 40 hydro machines are on"),
        ("why isn't hydro on?", {}, "40 of 40 hydro machines are on"),
        ("why is air on?", {}, "0 of 80 air machines are on"),
        ("why is the price 500 USD/MWh?", {}, "power is at 96 USD/MWh"),
        ("why is the price above $100?", {}, "power is at 96 USD/MWh"),
        ("why is the power price negative?", {}, "power is at 96 USD/MWh"),
        ("why did the price go to 500 dollars?", {}, "the prices of the last 30 days went from 20 USD/MWh at"),
        ("why did power go up to 500 $ yesterday?", {}, "the prices of that time went from 20 USD/MWh at 13:00"),
        ("why was the price 5 dollars at 15:30", {"before": Story()}, "power was at 96 USD/MWh"),
        ("why was the battery discharging at 15:30", {"before": Story(**CHARGING)}, "was charging 200 kW"),
        ("why are we exporting?", {}, "the draw from the grid is 570 kW"),
        ("why do we import 900 kW", {}, "the import from the grid is 570 kW"),
        ("why are we curtailed?", {}, "no curtailment is in force"),
        ("why are we in override?", {}, "no override, hold or stop is in force"),
        ("why is the site in fail-safe?", {}, "no override, hold or stop is in force"),
        ("why is the site on hold?", {"origin": "override"}, "an operator's override is in force"),
        ("why do we lose money?", {}, "the profit is 166 USD/h"),
        ("why did we lose money today?", {}, "today so far the site made 213 USD in 2 h settled"),
        ("why does render-farm pay nothing?", {}, "render-farm pays 7.4 USD/h"),
        ("why does render-farm pay 9 USD/h?", {}, "the payment is 7.4 USD/h"),
        ("why is render-farm without power?", {}, "render-farm gets 60 kW"),
    ],
)  # fmt: skip
def test_why__what_is_not_so__denied_first_with_what_is(
    ledger_of: Make, question: str, story: dict[str, Any], so: str
) -> None:
    opens, _, rest = told(ledger_of(**story), question).partition(": ")
    assert opens in ("That is not so", "That was not so")
    assert so in rest.partition(". ")[0]
    assert rest.partition(". ")[2]  # and then the reason of what is


@pytest.mark.parametrize(
    ("question", "story"),
    [
        ("why is the battery at 41 %?", {}),
        ("why is the battery at 90 %?", FULL),
        ("why is the battery at 15 %?", {"soc": 0.15}),
        ("why is the battery full?", FULL),
        ("why is the battery limited to 90 %?", {}),
        ("why is the battery only used up to 90 %?", {}),
        ("why are we discharging?", {"battery_kw": -250.0}),
        ("why isn't it discharging?", {}),
        ("why is charging so expensive?", {}),
        ("why charge at 10:00?", {}),
        ("why does the battery charge at 10:00 tomorrow?", {}),
        ("why would we be discharging?", {}),
        ("why does the battery usually charge at night?", {}),
        ("why is air off?", {}),
        ("why are air and immersion off?", {}),
        ("why are the miners off?", {}),
        ("why are only some gpus on?", {}),
        ("why is gpu off?", {}),  # some are
        ("why isn't everything on?", {}),
        ("why are all machines on?", {"machines": RUN}),
        ("why is everything off?", {"pilot": PilotState(FAILSAFE, "x", "no prices")}),
        ("why is hydro off?", {"pilot": PilotState(FAILSAFE, "x", "no prices")}),
        ("why is hydro off?", {"sent": "mismatch"}),  # what runs is not certain
        ("why 12 machines?", {}),
        ("why was the price 500 USD/MWh?", {"scale": 10.0}),  # within what came
        ("why is the price 96 dollars?", {}),
        ("why is the price 100 $", {"scale": 1.03}),  # as people round
        ("why is power at 9.6 cents?", {}),  # of another unit than the source's
        ("why is the price 20.15?", {}),
        ("why is air off when the price is 40 dollars?", {}),
        ("why is the price so high at 20:00?", {}),
        ("why do we import so much", {}),
        ("why is the hash price 50 dollars?", {}),
        ("why does air stop at 59 USD/MWh?", {}),
        ("why are we in override?", {"origin": "override"}),
        ("why does the cold store pay nothing?", {}),
        ("why are we losing money on air?", {}),
        ("why are the miners on the list?", {}),
        ("why are we charging", {"price_at": datetime(2024, 6, 24, 14, 0, tzinfo=UTC)}),  # stale
        ("is the battery at 100 %?", {}),
        ("why not discharge now?", {}),
    ],
)  # fmt: skip
def test_why__what_is_so_or_is_not_certain__never_denied(ledger_of: Make, question: str, story: dict[str, Any]) -> None:
    assert "not so:" not in told(ledger_of(**story), question)


@pytest.mark.parametrize(
    "asked", ["why is power at -0.2 USD/MWh?", "why is the price −0.25 USD/MWh", "why is it negative"]
)
def test_why__price_rounded_as_written__not_denied(ledger_of: Make, asked: str) -> None:
    facts = gather(ledger_of())
    below = {**facts.by_id, "price.energy": replace(facts["price.energy"], value=-0.248)}
    assert "not so:" not in answer(asked, replace(facts, by_id=below)).text


def _statements(facts: Facts) -> tuple[list[str], list[str]]:
    """What is so of a decision, and what is not, as questions."""
    price, soc = facts.number("price.energy"), facts.number("battery.soc")
    charges, discharges = (facts.number(f"battery.{verb}ing") >= 0.05 for verb in ("charg", "discharg"))
    so = {
        "we charging": charges, "we not charging": not charges, "we discharging": discharges,
        "the battery idle": not charges and not discharges, "the power price negative": price < 0.0,
        "we exporting": facts.number("grid.export") > 0.05, "we losing money": facts.number("rate.profit") < 0.0,
        f"the price {price:.0f} USD/MWh": True, f"the price {price + 50.0:.0f} USD/MWh": False,
        f"the load {facts.number('load.total'):.0f} kW": True,
        "we in override": facts.word("dispatch.origin") == "override",
    }  # fmt: skip
    if math.isfinite(soc):
        so |= {f"the battery at {soc:.0f} %": True, f"the battery at {(soc + 30.0) % 100.0:.0f} %": False}
    for name in facts.members("machine"):
        on, count = (facts.number(f"machine.{name}.{key}") for key in ("running", "count"))
        so |= {f"{name} on": on > 0.0, f"{name} off": on < count, f"all {name} machines off": on == 0.0}
    return [f"why are {what}?" for what in so if so[what]], [f"why are {what}?" for what in so if not so[what]]


@pytest.mark.parametrize(
    "story",
    [
        {}, CHARGING, FULL, {"battery_kw": -250.0}, {"origin": "override", "battery_kw": 100.0}, {"soc": 0.15},
        {"machines": RUN}, {"machines": {}}, {"soc": None}, {"machines": {"hydro": 20}, "battery_kw": -900.0},
    ],
)  # fmt: skip
def test_why__all_that_is_so_and_not_so_of_a_decision__told_apart(ledger_of: Make, story: dict[str, Any]) -> None:
    facts = gather(ledger_of(**story))
    true, false = _statements(facts)
    assert [asked for asked in true if "not so:" in answer(asked, facts).text] == []
    assert [asked for asked in false if "not so:" not in answer(asked, facts).text] == []


MAYBE: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (  # all are so, or may be
    (
        {},
        (
            # another figure than the one that the words are of
            "why is power 10 USD/MWh cheaper than yesterday", "why did the price jump 60 dollars?",
            "why is the battery 5 % lower than yesterday?", "why does the battery drop 3 % each hour?",
            "why is the battery 1 MWh", "why is the price $0.10?", "why is the highest price 130 USD/MWh",
            "why is the forecast price 130 USD/MWh?", "why is stored energy at 118 USD/MWh?",
            "why do the machines draw 343 kW?", "why is the machine load 343 kW?", "why do tenants draw 100 kW",
            "why do the machines earn 214 USD/h?", "why do we make 34 USD/h from hashing",
            # another time
            "why was the price 300 USD/MWh on 3 March?", "why did the price go to 500 USD/MWh in 2022?",
            "why will the price be 130 USD/MWh?", "why did we lose money?", "why was the battery idle this afternoon?",
            "why is the price 130 USD/MWh today?", "why are we discharging today",
            # a rule, a habit, a word
            "why do we charge the battery to 90 %?", "why do we charge at the lowest price?",
            "why does the battery discharge?", "why do we sell power to the grid?", "why can we only import 800 kW?",
            "why does air run at 40 dollars", "why are there negative prices?", "why is there an emergency stop?",
            "why did the grid charge us today?", "why are we down?", "why is the battery on hold?",
            "why are the machines running at a loss",
            # nothing, none
            "why is no air running?", "why is neither air nor immersion on?", "why are 0 air machines on",
            "why are we exporting nothing?", "why are we exporting 0 kW?", "why is no override in force",
        ),
    ),
    (CHARGING, ("why is the battery at 55 %?", "why is it charging up to 250 kW", "why does the battery draw 200 kW?")),
    ({"machines": {}}, ("why is nobody mining?", "why is no hydro running?", "why are none of the miners on?")),
    (
        {"before": Story(**CHARGING)},
        ("why was the price 75 USD/MWh at 16:30", "why was the battery at 60 % at 16:30?"),
    ),
    ({"days": 1}, ("why have we been losing money?",)),
)  # fmt: skip


@pytest.mark.parametrize(("story", "questions"), MAYBE)
def test_why__words_of_people_that_may_be_so__never_denied(
    ledger_of: Make, story: dict[str, Any], questions: tuple[str, ...]
) -> None:
    ledger = ledger_of(**story)
    assert [asked for asked in questions if "not so:" in told(ledger, asked)] == []
