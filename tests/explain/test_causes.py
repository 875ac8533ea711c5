"""Why a time made what it made, two days beside each other, and what a tenant paid: sums that add up."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gridpilot.explain import subject
from gridpilot.explain.events import _together
from gridpilot.explain.record import CAUSES, COSTS, MOST_CAUSES
from gridpilot.ledger.store import Ledger
from tests.explain.conftest import AT, Story, money_of, profit_of, recalled, told

Make = Callable[..., Ledger]
LESS = "Why did we make less yesterday than the day before?"


# --- why ----------------------------------------------------------------------------------


def test_recall__difference_of_two_days__its_causes_add_up_to_it(ledger_of: Make) -> None:
    facts = recalled(ledger_of(days=3), LESS)
    names = [name for name in facts.members("effect") if name in CAUSES]
    sizes = [abs(facts.number(f"effect.{name}")) for name in names]
    profit = facts.number("effect.profit")
    assert profit == pytest.approx(24.0 * (profit_of(1) - profit_of(2)))
    assert sizes == sorted(sizes, reverse=True)
    assert math.fsum(facts.number(f"effect.{name}") for name in names) == pytest.approx(profit)
    told_ = [facts.number(f"effect.{name}") for name in (*names[:MOST_CAUSES], "rest")]
    assert math.fsum(told_) == pytest.approx(profit)
    both = facts.number("effect.paid_price") + facts.number("effect.drawn")
    assert both == pytest.approx(facts.number("effect.import"))
    assert facts.number("effect.import") == pytest.approx(24.0 * (money_of(2)["import"] - money_of(1)["import"]))


def test_why__less_than_the_day_before__largest_causes_first_with_their_signs(ledger_of: Make) -> None:
    said = told(ledger_of(days=3), LESS)
    assert said.startswith("Yesterday the site made −43.2 USD in 24 h settled, and the day before 619 USD in 24 h")
    assert "By cause, that is: hashing −480 USD, power from the grid −180 USD and battery wear −2.4 USD." in said
    assert "−180 USD by the price paid and 0 USD by how much was drawn: 12,000 kWh at 80 USD/MWh" in said


def test_why__more_where_it_was_less__denied_first(ledger_of: Make) -> None:
    ledger = ledger_of(days=3)
    assert told(ledger, LESS.replace("less", "more")).startswith("That is not so: yesterday the site made −43.2 USD")
    assert "not so" not in told(ledger, LESS)


def test_why__days_that_were_not_settled_for_equally_long__by_the_hour(ledger_of: Make) -> None:
    said = told(ledger_of(days=1), "Why is today better than yesterday?")
    assert "213 USD in 2 h settled, and yesterday −43.2 USD in 24 h settled: +108 USD/h by the settled hour" in said


def test_why__one_day__income_and_costs_that_add_up_to_its_profit(ledger_of: Make) -> None:
    ledger, asked = ledger_of(days=1), "Why did we lose money yesterday?"
    facts = recalled(ledger, asked)
    sums = (facts.number(f"past.money_{name}") * (-1.0 if name in COSTS else 1.0) for name in money_of(1))
    assert math.fsum(sums) == pytest.approx(facts.number("past.profit"))
    said = told(ledger, asked)
    assert "made −43.2 USD: hashing 480 USD, inference 240 USD and tenants 202 USD, less power from the grid" in said
    assert "not so" not in said


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("why was last night so expensive", "Last night power cost 92.9 USD/MWh on average"),
        (
            "why was the bill so high yesterday?",
            "power from the grid cost 960 USD: 12,000 kWh at 80 USD/MWh on average",
        ),
        ("why did yesterday cost more than the day before?", "in the profit that is −180 USD, −180 USD by the price"),
        ("why did the profit drop yesterday", "less power from the grid 960 USD"),
        ("why did we lose money this morning", "No money of that time is settled."),
        ("why is the price higher today than yesterday?", "I have the price, not its causes. By the mean price today"),
    ],
)
def test_why__bill_or_profit_of_a_stretch__what_is_on_record(ledger_of: Make, question: str, said: str) -> None:
    assert said.lower() in told(ledger_of(days=2), question).lower()


def test_why__stop_in_that_time__how_long_beside_the_money(ledger_of: Make) -> None:
    ledger = ledger_of(days=2)
    began = datetime(2024, 6, 23, 10, 0, tzinfo=UTC)
    for minutes, origin in ((0, "failsafe"), (15, "failsafe"), (45, "plan")):
        at = began + timedelta(minutes=minutes)
        ledger.append("result", {"desired": {"origin": origin}, "status": "applied"}, at=at, cycle_id=origin)
    assert "Yesterday everything was sent off for 45 min, first from 12:00 yesterday." in told(ledger, LESS)
    assert "sent off" not in told(ledger, "Why did we lose money today?")


# --- two days, of which one is to come ----------------------------------------------------


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("compare tomorrow's price with today's", ("tomorrow", "today")),
        ("will we make more tomorrow than yesterday?", ("tomorrow", "yesterday")),
        ("is it cheaper tonight or tomorrow", ("tonight", "tomorrow")),
        ("was yesterday better than the day before", ("yesterday", "the day before")),
        ("was this morning worse than yesterday morning?", ("this morning", "yesterday morning")),
        ("compare today with the day before yesterday", ("today", "the day before yesterday")),
        ("compare last night with the night before", ("last night", "the night before")),
        ("was yesterday worse than saturday?", ("yesterday", "Saturday")),
    ],
)
def test_pair__two_days_of_any_side__in_the_order_of_the_question(question: str, names: tuple[str, str]) -> None:
    found = subject.pair(question, _now())
    assert found is not None
    assert tuple(day.said for day in found) == names


def _now() -> datetime:
    """The decision's time at the site."""
    return AT.astimezone(ZoneInfo("Europe/Amsterdam"))


@pytest.mark.parametrize(
    "question",
    [
        "what happened yesterday and today?",
        "more than usual today",
        "tomorrow?",
        "was today worse than the night before?",
        "was this week better than the day before?",
    ],
)
def test_pair__what_is_not_compared__none(question: str) -> None:
    assert subject.pair(question, _now()) is None


def test_compare__price_of_tomorrow_with_today__forecast_and_record_named_and_how_far_it_is_planned(
    ledger_of: Make,
) -> None:
    said = told(ledger_of(), "Compare tomorrow's price with today's.")
    assert said.startswith(
        "By the mean price tomorrow is cheaper than today so far. Tomorrow power is forecast at 50.4"
    )
    assert "Today so far power cost 57.1 USD/MWh on average" in said
    assert "The plan in force covers 19 h of tomorrow and ends at 19:00 tomorrow: later hours are not planned" in said


def test_compare__money_of_tomorrow_with_yesterday__planned_and_settled_by_the_hour(ledger_of: Make) -> None:
    ledger, asked = ledger_of(days=1), "Will we make more tomorrow than yesterday?"
    facts, said = recalled(ledger, asked), told(ledger, asked)
    assert facts.number("ahead.per_hour") == pytest.approx(facts.number("ahead.brings") / 19.0)
    assert "planned (" in said and "in 19 h), against −1.8 USD/h settled (−43.2 USD in 24 h)." in said
    assert "with tenants' power at what they bid" in said


def test_compare__day_behind_the_plans_end__said_not_to_be_planned(ledger_of: Make) -> None:
    said = told(ledger_of(), "Compare tomorrow and the day after tomorrow")
    assert "The day after tomorrow is beyond the plan in force" in said


# --- a tenant's payments ------------------------------------------------------------------


def test_recall__payments_of_tenants__add_up_to_what_all_were_settled_to_pay(ledger_of: Make) -> None:
    facts = recalled(ledger_of(days=3), "What did render-farm pay on Saturday?")
    paid = {name: facts.number(f"payer.{name}.paid") for name in facts.members("payer")}
    assert paid["render-farm"] == pytest.approx(24 * 6.0)
    assert math.fsum(paid.values()) == pytest.approx(facts.number("past.money_tenants"))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What did render-farm pay yesterday?", "Yesterday, in 24 h settled, render-farm paid 144 USD"),
        ("how much did each tenant pay yesterday", "cold-store paid 57.6 USD"),
        ("what has render-farm paid since saturday, by day?", "paid 144 USD on 22 Jun and 144 USD on 23 Jun."),
        ("How much has render-farm paid in the last 3 days", "in 52 h of 54 h settled, render-farm paid 312 USD"),
        ("How much did render-farm pay today?", "What each of them paid then is not on record"),
    ],
)
def test_answer__payments_of_a_tenant__in_all_and_by_day(ledger_of: Make, question: str, said: str) -> None:
    assert said in told(ledger_of(days=3), question)


# --- questions of a shift, a director, an analyst and a tenant ------------------------------


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Why did we charge the battery this afternoon?", "It said: Charging 200 kW, because an operator's override"),
        ("why was air off this afternoon", "It said: Air: 0 of 80 machines on"),
        ("who set the battery to charge at 15:30", "The decision of 15:12, as recorded"),
        ("why was hydro off between 15:12 and 17:00?", "That was not so: in that time hydro ran 1.8 h of 1.8 h"),
        ("why was air on between 15:12 and 17:00?", "That was not so: in that time air ran 0 h of 1.8 h"),
        (
            "why did the battery stay idle this afternoon?",
            "That was not so: this afternoon the battery charged 400 kWh",
        ),
        ("why did we discharge from 15:12 to 17:00", "That was not so: in that time the battery discharged 0 kWh"),
    ],
)
def test_why__what_ran_in_a_stretch__by_a_decision_that_did_so(ledger_of: Make, question: str, said: str) -> None:
    before = Story(battery_kw=200.0, marginal=0.15, origin="override")
    assert said in told(ledger_of(before=before), question)


def test_why__what_ran_in_a_stretch_as_asked__not_denied(ledger_of: Make) -> None:
    ledger = ledger_of(before=Story(battery_kw=200.0, marginal=0.15))
    for question in (
        "why was hydro on this afternoon?",
        "why wasn't air on this afternoon?",
        "why did we charge today?",
        "why was hydro off this afternoon?",  # it may have been, outside of the two hours on record
        "why did we discharge this afternoon?",
        "why were we charged so much between 15:12 and 17:00?",
    ):
        assert "not so" not in told(ledger, question)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("anything i should know before i take over?", "Nothing is flagged as wrong. At 20:00 the battery discharges"),
        ("what changed since last shift", "Holding 412 kWh"),
        ("is the battery worth it?", "battery made 2 USD"),
        ("how much more do we make than without gridpilot?", "15.2 USD/h against every machine always on"),
        ("How much does cooling cost us?", "is not settled by itself"),
        ("how many kwh did we buy yesterday and at what price", "what came cost 80 USD/MWh on average"),
        ("import vs export yesterday", "12,000 kWh came from the grid, and 0 kWh went to it"),
        ("how much did power cost yesterday in total and per kwh", "960 USD (80 USD/MWh on average)"),
        ("give me the profit by machine type today", "by who made it, with power and cooling paid: gpu 141 USD"),
        ("what share of revenue came from tenants yesterday", "202 USD, of 922 USD of income before costs"),
        ("what is the marginal value of storage at 20:00", "stored energy is worth 118 USD/MWh"),
        ("how much would render-farm pay if it bid less", "the Auction page tries other bids"),
        ("what was my bill yesterday, cold-store", "cold-store paid 57.6 USD"),
        ("was there an alarm in the night", "No alarm was written to the ledger in that time"),
        ("how did the week go so far", "This week power has cost"),
        ("anything curtailed this week?", "No curtailment is on record in that time"),
        ("how much would we lose in a bad case", "in the worst 5 % it brings −31.2 USD"),
        ("since when is air off", "None of the newest decisions switched air off or on."),
        ("did anybody stop the site today?", "No emergency stop and no fail-safe state is on record in that time"),
        ("what did the gpu earn today vs yesterday", "compared for the whole site alone"),
        ("show tenants payments for yesterday", "cold-store paid 57.6 USD"),
    ],
)
def test_answer__question_in_their_words__what_it_is_about(ledger_of: Make, question: str, said: str) -> None:
    assert said in told(ledger_of(days=1), question)


def test_together__spans_that_cover_each_other__counted_once() -> None:
    at = [datetime(2024, 6, 24, hour, tzinfo=UTC) for hour in range(8)]
    assert _together([(at[2], at[4]), (at[0], at[3]), (at[1], at[2]), (at[6], at[7])]) == timedelta(hours=5)
    assert _together([]) == timedelta(0)
