from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.console import format as fmt
from gridpilot.console.format import DASH, MINUS, NBSP

NOON = datetime(2024, 6, 12, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [
        (1234.5, 0, False, "1,234"),
        (-2.5, 1, False, f"{MINUS}2.5"),
        (2.5, 1, True, "+2.5"),
        (-0.04, 1, False, "0.0"),  # no minus before a zero
        (0.0, 2, True, "0.00"),
        (None, 1, False, DASH),
        (math.nan, 1, False, DASH),
        (-math.inf, 1, False, DASH),
    ],
)
def test_number__any_value__minus_thousands_and_dash(value: float | None, decimals: int, sign: bool, text: str) -> None:
    assert fmt.number(value, decimals, sign) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (96.43, "96.4"),
        (999.6, "1,000"),
        (9.996, "10.0"),
        (0.09996, "0.100"),
        (-0.01234, f"{MINUS}0.0123"),
        (123456.0, "123,000"),
        (0.0, "0"),
        (math.nan, DASH),
    ],
)
def test_significant__any_size__three_digits_without_exponent(value: float, text: str) -> None:
    assert fmt.significant(value) == text


@given(st.floats(min_value=1e-3, max_value=1e9))
@settings(deadline=None, max_examples=100)
def test_significant__positive__within_half_a_percent_and_no_exponent(value: float) -> None:
    text = fmt.significant(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_compact__exact_limits__no_trailing_zeros() -> None:
    assert [fmt.compact(v) for v in (15.0, 0.9, 1000.0, 1001.2, math.nan)] == ["15", "0.9", "1,000", "1,001", DASH]


@pytest.mark.parametrize(
    ("kw", "text"),
    [(782.4, "782 kW"), (0.25, "0.2 kW"), (999.7, "1.00 MW"), (-1250.0, f"{MINUS}1.25 MW"), (0.0, "0.0 kW")],
)
def test_power__small_and_large__in_kw_or_mw(kw: float, text: str) -> None:
    assert str(fmt.power(kw)) == text.replace(" ", NBSP)


def test_power__unknown__a_dash_without_unit() -> None:
    assert str(fmt.power(math.nan)) == DASH
    assert str(fmt.energy(412.0)) == f"412{NBSP}kWh"


def test_price__any_unit__kept_as_the_source_gives_it() -> None:
    assert str(fmt.price(96.4, "EUR/MWh")) == f"96.40{NBSP}EUR/MWh"
    assert str(fmt.price(-3740.2, "USD/MWh")) == f"{MINUS}3,740{NBSP}USD/MWh"
    assert fmt.price(0.0004137, "index").value == "0.000414"


def test_money__rate_and_index__unit_says_so() -> None:
    assert str(fmt.money(41.234, per="h")) == f"41.23{NBSP}USD/h"
    assert str(fmt.money(-1234.5, "index")) == f"{MINUS}1,234{NBSP}index"
    assert fmt.money(4.2, sign=True).value == "+4.20"
    assert fmt.money(None).value == DASH


def test_percent__fraction__in_percent() -> None:
    assert fmt.percent(0.413) == f"41{NBSP}%"
    assert fmt.percent(-0.056, 1) == f"{MINUS}5.6{NBSP}%"
    assert fmt.percent(math.nan) == DASH


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (120, "2 min"), (3 * 3600, "3 h"), (5040, "1 h 24 min"), (3659, "1 h"), (12.6 * 3600, "12 h"),
     (50 * 3600, "2 d"), (-5, "0 s")],
)  # fmt: skip
def test_duration__any_length__as_exact_as_it_is_read(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text.replace(" ", NBSP)


def test_age__known_and_unknown__a_phrase() -> None:
    assert fmt.age(130.0) == f"2{NBSP}min old"
    assert fmt.age(None) == "age not known"


def test_milliseconds__below_and_above_a_second__fitting_unit() -> None:
    assert fmt.milliseconds(13.04) == f"13.0{NBSP}ms"
    assert fmt.milliseconds(1403.0) == f"1.40{NBSP}s"


def test_local__summer_in_amsterdam__two_hours_ahead() -> None:
    assert fmt.local(NOON, "Europe/Amsterdam") == "Wed 12 Jun 14:00"
    assert fmt.local(NOON, "Europe/Amsterdam", with_date=False) == "14:00"
    assert fmt.local_date(NOON, "America/Chicago") == "12 Jun 2024 07:00"
    assert fmt.utc(NOON) == "12 Jun 12:00 UTC"
    assert fmt.local(None, "UTC") == fmt.utc(None) == DASH


def test_count__one_and_many__right_word() -> None:
    assert (fmt.count(1, "alarm"), fmt.count(0, "alarm"), fmt.count(2, "entry", "entries")) == (
        "1 alarm",
        "0 alarms",
        "2 entries",
    )


def test_span__within_a_day_and_over_midnight__the_second_date_only_where_it_differs() -> None:
    assert fmt.span(NOON, NOON.replace(hour=13), "UTC") == "Wed 12 Jun 12:00–13:00"
    assert fmt.span(NOON, NOON.replace(day=13), "UTC") == "Wed 12 Jun 12:00–Thu 13 Jun 12:00"
    assert fmt.day("2024-06-12") == "Wed 12 Jun"
