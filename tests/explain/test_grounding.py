"""Which numbers of a text rest on a cited fact."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.explain.fact import Fact, inert, written
from gridpilot.explain.grounding import ungrounded

AT = datetime(2024, 6, 24, 17, 0, tzinfo=UTC).astimezone(ZoneInfo("Europe/Amsterdam"))


def fact(value: float | str, unit: str = "kW") -> Fact:
    return Fact("x.y", "a figure", value, unit, AT, "plan 1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("load is 412.37 kW", 412.3675),
        ("load is 412 kW", 412.3675),
        ("1,234 kW", 1234.0),
        ("1,230 kW", 1234.0),
        ("about 0.118", 0.11849),
        ("−12.5 USD", -12.5),
        ("-12.5 USD", -12.5),
        ("it is +3.2", 3.2),
        ("1.2e3", 1200.0),
        ("45 machines", 45.0),
        ("at 19:00 it is 7", 7.0),
        ("on 24 Jun 2024 and 24 June, 2024-06-24T19:00", 1.0),
        ("range 15-15 kW", 15.0),
    ],
)
def test_ungrounded__rounding_of_the_fact__accepted(text: str, value: float) -> None:
    assert ungrounded(text, [fact(value)]) == ()


@pytest.mark.parametrize(
    ("text", "value", "loose"),
    [
        ("load is 413 kW", 412.3675, ("413",)),
        ("load is 412.38 kW", 412.3675, ("412.38",)),
        ("1,200 kW", 1234.0, ("1,200",)),
        ("12.5 USD", -12.5, ("12.5",)),
        ("−12.5 USD", 12.5, ("−12.5",)),
        ("0 kW", 0.4, ("0",)),
        ("0.1 kW", 0.14, ("0.1",)),
        ("20:00 or 19:30", 19.0, ("20:00", "19:30")),
        ("25 Jun and 24 Jul and 24 Jun 2025", 24.0, ("25 Jun", "24 Jul", "24 Jun 2025")),
        ("2024-06-25", 2024.0, ("2024-06-25",)),
        ("load 7 then 8", 7.0, ("8",)),
        ("USD5 and 5x", 1.0, ("5", "5")),
        ("½ of it, x²", 1.0, ("½", "x²")),
        ("٤٢ kW", 1.0, ("٤٢",)),
    ],
)
def test_ungrounded__no_such_fact__named(text: str, value: float, loose: tuple[str, ...]) -> None:
    assert ungrounded(text, [fact(value)]) == loose


def test_ungrounded__nothing_cited__every_number_named() -> None:
    assert ungrounded("At 19:00 it makes 5 USD", []) == ("19:00", "5")


def test_ungrounded__digits_of_a_cited_name__no_number() -> None:
    assert ungrounded("Tenant t7 and T7", [fact("t7", "")]) == ()
    assert ungrounded("Tenant t77", [fact("t7", "")]) == ("77",)
    assert ungrounded("Tenant t7", [fact(1.0)]) == ("7",)


def test_ungrounded__unit_with_a_digit__no_number() -> None:
    assert ungrounded("3 kg CO2", [fact(3.0, "kg CO2")]) == ()


@given(st.floats(-1e7, 1e7), st.integers(3, 6))
@settings(deadline=None, max_examples=200)
def test_written__any_value__is_grounded_by_itself(value: float, digits: int) -> None:
    assert ungrounded(f"it is {written(value, digits)} kW", [fact(value)]) == ()


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=200)
def test_inert__any_text__no_live_markup_and_one_line(text: str) -> None:
    shown = inert(text)
    assert len(shown) <= 700
    assert "\n" not in shown
    for i, char in enumerate(shown):
        if char in "*_[]()<>`$#|~&!{}":
            assert shown[i - 1] == "\\"
    assert "://" not in shown.replace(":// ", "").replace(r":/\/", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("render-farm", "render-farm"),
        ("at 19:00", "at 19:00"),
        ("https://a.b", "https:// a.b"),
        ("www.a.b", "www. a.b"),
        (":red[x]", r": red\[x\]"),
        ("a\u200bb\u202ec\nd", "a b c d"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_inert__markup_links_and_hidden_characters__shown_or_broken(text: str, shown: str) -> None:
    assert inert(text) == shown
