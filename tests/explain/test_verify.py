"""Which sentences of somebody else may be shown, sentence by sentence and number by number."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import DataError
from gridpilot.explain.fact import Fact, written
from gridpilot.explain.verify import check, cited, combined, sentences

AT = datetime(2024, 6, 24, 17, 0, tzinfo=UTC).astimezone(ZoneInfo("Europe/Amsterdam"))


def fact(key: str, value: float | str, unit: str = "") -> Fact:
    return Fact(key, key, value, unit, AT, f"cycle {key}")


FACTS = {
    one.id: one
    for one in (
        fact("price.energy", 96.04, "USD/MWh"),
        fact("price.rank", 87.4, "%"),
        fact("machine.air.strike", 59.4, "USD/MWh"),
        fact("machine.air.running", 0.0),
        fact("machine.air.count", 80.0),
        fact("machine.air.name", "air"),
        fact("load.total", 569.8, "kW"),
        fact("grid.limit", 1000.0, "kW"),
        fact("battery.soc_min", 15.0, "%"),
        fact("battery.soc_max", 90.0, "%"),
        fact("bidder.t7.kw", 60.0, "kW"),
        fact("bidder.t7.name", "t7"),
        fact("pnl.hours", 2.0, "h"),
        fact("pnl.profit", -12.5, "USD"),
        fact("plan.idle", 0.0, "kW"),
    )
}


@pytest.mark.parametrize(
    "sentence",
    [
        "Power costs 96 USD/MWh [price.energy].",
        "Power costs 96.0 USD/MWh [price.energy], more than 87.4 % of recent prices [price.rank].",
        "More than 87 percent of recent prices were lower [price.rank].",
        "Air: 0 of 80 machines run [machine.air.running, machine.air.count].",
        "Its limits are 15 to 90 % [battery.soc_min; battery.soc_max].",
        "The tenant t7 gets 60 kW [bidder.t7.kw].",
        "At 19:00 on 24 Jun power costs 96 USD/MWh [price.energy].",
        "That is 36.6 USD/MWh above it [price.energy - machine.air.strike].",
        "Together they are 1,570 kW [load.total + grid.limit].",
        "That is 1.62 times the break-even [price.energy / machine.air.strike].",
        "The load is 57 % of the limit [load.total % grid.limit].",
        "It has lost money in 2 hours: −12.5 USD [pnl.hours] [pnl.profit].",
        "Air is off [machine.air.name].",
        "Load is 570 kW [load.total] and the limit 1,000 kW [grid.limit] now.",
        "The dispatch was applied, and air is off [machine.air.running].",
    ],
)
def test_check__figures_of_the_cited_facts__shown_without_its_brackets(sentence: str) -> None:
    found = check(sentence, FACTS)
    assert found.withheld == ""
    assert "[" not in found.text
    assert found.facts


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("Power costs 95 USD/MWh [price.energy].", "95 is not"),
        ("Power costs 96 USD [price.energy].", "96 is not"),
        ("Power costs $96 [price.energy].", "96 is not"),
        ("Power costs 96 [price.energy] USD/MWh.", "96 is not"),
        ("The load is 0.57 MW [load.total].", "0.57 is not"),
        ("80 kW of machines [machine.air.count].", "80 is not"),
        ("80 % of machines [machine.air.count].", "80 is not"),
        ("0 of 80 kW [machine.air.running, machine.air.count].", "0 is not"),
        ("Load is 1,000 kW [load.total] and the limit 570 kW [grid.limit].", "1,000 is not"),
        ("The profit is 12.5 USD [pnl.profit].", "12.5 is not"),
        ("The tenant t7 pays [pnl.profit].", "7 is not"),
        ("It is twice the price [price.energy].", "twice is not"),
        ("Half of it [machine.air.count].", "Half is not"),
        ("On 25 Jun it was 96 USD/MWh [price.energy].", "25 Jun is not"),
        ("Power costs 96 USD/MWh [price.energie].", "no fact"),
        ("36.6 USD/MWh [price.energy - load.total].", "no fact"),
        ("It is 1 times that [load.total / plan.idle].", "no fact"),
        ("Power costs 96 USD/MWh.", "cites no fact"),
        ("All is well.", "cites no fact"),
        ("Power costs 96 USD/MWh [price.energy](http://x).", "markup"),
        ("See www.evil.example [price.energy].", "markup"),
        ("<b>Power</b> costs 96 USD/MWh [price.energy].", "markup"),
        ("Power [[price.energy]].", "cannot be read"),
        ("I turned air off [machine.air.name].", "act"),
        ("We will sell it [machine.air.name].", "act"),
        ("The command was executed [machine.air.name].", "act"),
        (f"Power{' very' * 200} [price.energy].", "longer than"),
    ],
)
def test_F62_check__anything_else__withheld_with_the_reason(sentence: str, why: str) -> None:
    found = check(sentence, FACTS)
    assert found.withheld
    assert why in (f"{found.loose[0]} is not" if found.loose else found.withheld)


@given(st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-3), st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-3))
@settings(deadline=None, max_examples=100)
def test_check__another_value__is_shown_only_where_it_is_written_alike(value: float, other: float) -> None:
    known = {"a.b": fact("a.b", value, "kW")}
    assert check(f"It is {written(value)} kW [a.b].", known).withheld == ""
    alike = abs(value - other) <= 0.01 * abs(value)
    assert alike or check(f"It is {written(other)} kW [a.b].", known).withheld != ""


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=200)
def test_F64_check__any_text__is_inert_or_withheld(text: str) -> None:
    found = check(f"{text} [price.energy].", FACTS)
    assert found.withheld or not any(live in found.text for live in ("://", "](", "<", "www."))


def test_sentences__stream_in_pieces__whole_ones_alone_with_their_citations() -> None:
    text = "Power costs 96.5 USD/MWh. [a.b] It is high [c.d].\n- Third one [e.f]\n2. Fourth"
    assert sentences(text, ended=False) == (
        ["Power costs 96.5 USD/MWh. [a.b]", "It is high [c.d].", "Third one [e.f]"],
        "2. Fourth",
    )
    assert sentences(text, ended=True)[0][-1] == "Fourth"
    for end in range(len(text)):
        whole, rest = sentences(text[:end], ended=False)
        assert whole == sentences(text, ended=False)[0][: len(whole)]
        assert text[:end].endswith(rest)


def test_combined__texts_units_and_zero__refused_in_one_line() -> None:
    price, load, idle, name = (FACTS[key] for key in ("price.energy", "load.total", "plan.idle", "machine.air.name"))
    with pytest.raises(DataError, match="expected one unit"):
        combined("sum", price, load)
    with pytest.raises(DataError, match="expected a number"):
        combined("sum", name, load)
    with pytest.raises(DataError, match="nothing can be divided"):
        combined("ratio", load, idle)
    with pytest.raises(DataError, match="expected one of sum"):
        combined("product", load, load)
    assert combined("sum", load, load).source == "cycle load.total"


def test_cited__declaration__is_the_fact_that_combined_makes() -> None:
    for word in ("sum", "difference", "ratio", "share"):
        made = combined(word, FACTS["load.total"], FACTS["grid.limit"])
        assert cited(made.id, FACTS) == made
