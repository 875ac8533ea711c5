from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gridpilot.auction.bids import read_rows
from gridpilot.console import widgets
from gridpilot.console.format import DASH, MINUS, NBSP
from gridpilot.domain import DataFlag
from gridpilot.foreign import quoted


def test_inert__markdown_and_latex__shown_as_it_is() -> None:
    assert widgets.inert("a*b_c $1 [x](y)") == r"a\*b\_c \$1 \[x\]\(y\)"
    assert widgets.inert("two\n lines") == "two lines"


def test_inert__what_cannot_be_seen__a_mark_and_joiners_stay() -> None:
    assert widgets.inert("\u202egpu\u200b a\0\x1b[31mb") == "\ufffdgpu\ufffd a\ufffd\ufffd\\[31mb"
    assert widgets.inert("\u0915\u094d\u200d\u0937") == "\u0915\u094d\u200d\u0937"


FORMULAS = [
    "  =1",
    "\n=1",
    "\t=1",
    "\r+1a",
    "\u00a0=1",
    "\u2003-a",
    "\u200b@a",
    "\ufeff=1",
    "\u202e=1",
    "\uff1d1",
    "\u2003\uff20a",
]


def test_csv_text__formulas_after_any_blank__quoted_and_plain_numbers_not() -> None:
    assert [quoted(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    plain = ["-0.5", "+1", "-1e-3", ".5", "a=1", "a-b", "", "'tis", "5"]
    assert [quoted(text) for text in plain] == plain


def test_csv_text__read_back__the_same_bids() -> None:
    names = [
        *FORMULAS,
        "=cmd|'/c calc'!A0",
        "'=a",
        "''=a",
        "'tis",
        '"q"',
        "a,b",
        "a\rb",
        "a\r\nb",
        "\uff1da\n",
        "-0.5",
        "'-0.5",
    ]
    table = pd.DataFrame(
        {"bidder": names, "service": "x", "kw": "5", "price_usd_per_kwh": ["-0.5"] + ["1"] * (len(names) - 1)}
    )
    header, rows, refused = read_rows(io.StringIO(widgets.csv_text(table), newline=""), "b.csv", 100)
    assert (header, refused) == (list(table.columns), ())
    assert [row[0] for row in rows] == names
    assert rows == table.to_numpy().tolist()


def test_csv_text__formulas__quoted_and_numbers_kept() -> None:
    table = pd.DataFrame({"=name": ["=1+1", "+x", "-y", "@z", " =a", "plain"], "kw": [-1.5, 2, 3, 4, 5, 6]})
    lines = widgets.csv_text(table).splitlines()
    assert lines[0] == "'=name,kw"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'+x", "'-y", "'@z", "' =a", "plain"]
    assert lines[1].split(",")[1] == "-1.5"


@pytest.mark.parametrize(("value", "beyond"), [(41.0, False), (10.0, True), (95.0, True), (15.0, False), (90.0, False)])
def test_limit_bar__inside_and_outside__said_in_words(value: float, beyond: bool) -> None:
    text = widgets.limit_bar_html("State of charge", value, "%", (15.0, 90.0), (0.0, 100.0), "battery")
    assert ("outside its limits" in text) is beyond
    assert "limit 15 to 90 %" in text
    assert f"width:{value:.2f}%" in text


@pytest.mark.parametrize("value", [None, math.nan])
def test_limit_bar__unknown__a_dash_and_no_bar(value: float | None) -> None:
    text = widgets.limit_bar_html("CVaR", value, "USD", (None, 200.0), (0.0, 200.0))
    assert "<i " not in text
    assert "–" in text


def test_limit_bar__far_beyond_the_scale__stays_in_the_bar() -> None:
    text = widgets.limit_bar_html("Load", 5000.0, "kW", (None, 1000.0), (0.0, 1200.0))
    assert "width:100.00%" in text


def test_flags__markup_in_a_message__escaped_and_the_gravest_first() -> None:
    def script() -> None:
        from gridpilot.console import widgets
        from gridpilot.domain import DataFlag

        widgets.flags([DataFlag("GAP_FILLED", "one hour", "info"), DataFlag("SOC", "<b>lost</b>", "alarm", count=2)])

    app = AppTest.from_function(script).run()
    text = app.html[0].value
    assert text.index("SOC") < text.index("GAP_FILLED")
    assert "&lt;b&gt;lost" in text
    assert "2×" in text


def test_flags__more_than_the_limit__rest_counted() -> None:
    many = [DataFlag("X", str(i)) for i in range(15)]
    assert "and 3 more" in widgets.flags_html(many, 12)


def test_tile__value_with_reference__unit_apart_and_grey() -> None:
    def script() -> None:
        from gridpilot.console import format as fmt
        from gridpilot.console import widgets

        with widgets.tile_row(2):
            widgets.tile("P&L today", fmt.money(-1234.5), "+4.20 vs. do nothing", note="since midnight")
            widgets.tile("Price", fmt.price(float("nan")))

    app = AppTest.from_function(script).run()
    assert not app.exception
    assert app.metric[0].value == r"−1,234 :small[:gray[USD]]"
    assert app.metric[0].delta == r"\+4\.20 vs\. do nothing"
    assert app.metric[1].value == "–"


def test_empty_state__foreign_text__inert() -> None:
    def script() -> None:
        from gridpilot.console import widgets

        widgets.empty_state("No plan yet", "Wait for <the> first cycle.")

    app = AppTest.from_function(script).run()
    assert "&lt;the&gt;" in app.html[0].value


def test_download_csv__table__offered() -> None:
    def script() -> None:
        import pandas as pd

        from gridpilot.console import widgets

        widgets.download_csv(pd.DataFrame({"a": [1]}), "a.csv", key="csv")

    app = AppTest.from_function(script).run()
    assert not app.exception
    (button,) = app.get("bidi_component")
    assert all(part in str(button.proto) for part in ("gridpilot_download", "Download CSV", "a.csv"))


def test_live_chart__in_a_script__mounted_twice_without_complaint() -> None:
    def script() -> None:
        from gridpilot.console import live_chart, plots

        live_chart.show(plots.errors({"ridge": 8.1}, "USD/MWh", title="one"), key="one")
        live_chart.show(plots.errors({"ridge": 8.2}, "USD/MWh", title="two"), key="two")

    for _ in range(2):  # each AppTest is a server of its own
        app = AppTest.from_function(script).run()
        assert not app.exception


# --- tables --------------------------------------------------------------------------------------


def _written(rows: pd.DataFrame, columns: dict[str, Any] | None = None) -> pd.DataFrame:
    """The cells as they are read on the screen."""
    _, writers = widgets._columns(rows, columns or {})
    look: Any = widgets.styled(rows, writers)
    shown = look._translate(False, False)["body"]  # as Streamlit asks it
    cells = [[cell["display_value"] for cell in row if cell["type"] == "td"] for row in shown]
    return pd.DataFrame(cells, columns=rows.columns)


def test_sheet__numbers__thousands_apart_real_minus_and_a_dash() -> None:
    cells = _written(pd.DataFrame({"n": [1234, -5], "usd": [-1234.5, math.nan], "who": ["a-b", "c"]}))
    assert cells["n"].tolist() == ["1,234", f"{MINUS}5"]
    assert cells["usd"].tolist() == [f"{MINUS}1,234.50", DASH]
    assert cells["who"].tolist() == ["a-b", "c"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (0, "1,235"),
        (widgets.PERCENT, f"123,457{NBSP}%"),
        (st.column_config.NumberColumn(format="%.1f"), "1,234.6"),
        (st.column_config.NumberColumn(format="%.3g"), "1,230"),
        (st.column_config.NumberColumn(format="%.0f %%"), "1,235 %"),
        (st.column_config.NumberColumn(format="percent"), f"123,456.7{NBSP}%"),
        (st.column_config.NumberColumn(width="small"), "1,234.57"),
    ],
)
def test_sheet__column__is_written_as_asked(column: Any, expected: str) -> None:
    assert _written(pd.DataFrame({"x": [-1234.567]}), {"x": column})["x"].tolist() == [MINUS + expected]


def test_sheet__muted_column__is_grey_and_the_others_are_not() -> None:
    look: Any = widgets.styled(pd.DataFrame({"plan": [1], "sent": [0]}), {}, ["plan"])
    assert look.to_html().count(widgets.GREY) == 1


def test_sheet__many_cells__stay_numbers_without_a_style() -> None:
    rows = pd.DataFrame({"x": range(widgets.MOST_CELLS + 1)})
    assert widgets.styled(rows, {}) is rows
