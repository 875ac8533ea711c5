from __future__ import annotations

import pytest

from gridpilot import views
from gridpilot.console import globe_parts, widgets
from tests.pages.conftest import OpenPage, words


def test_globe__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("globe")
    assert not app.exception
    assert "No site has a decision yet" in words(app).replace("\\", "")
    assert app.dataframe[0].value["data"][0] == "no decision yet"
    assert "no decision yet: needs a pilot" in words(app).replace("\\", "")


def test_globe__full_ledger__table_repeats_the_site_with_its_newest_decision(full: OpenPage) -> None:
    app = full("globe")
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    row = app.dataframe[0].value.iloc[0]
    assert row["site"] == "Rotterdam"
    assert row["USD/MWh"] == pytest.approx(snap.cycle["prices"]["energy_usd_per_mwh"])
    assert row["USD/h"] == pytest.approx(snap.cycle["rate"]["profit_usd_per_h"])


def test_globe__stale_ledger__still_drawn(stale: OpenPage) -> None:
    app = stale("globe")
    assert not app.exception
    assert "Prices are stale" in words(app)


def test_globe__numbers__are_written_as_in_every_table(full: OpenPage) -> None:
    full("globe")
    rows = globe_parts.table(views.fleet().sites).assign(**{"USD/MWh": 1024.16, "age, s": 4567.8})
    config, writers = widgets._columns(rows, globe_parts.COLUMNS)
    assert writers["USD/MWh"](1024.16) == "1,024.16"
    assert writers["USD/h"](-1024.16) == "−1,024.16"
    assert writers["age, s"](4567.8) == "4,568"
    assert config["load, %"]["type_config"]["format"] == "%.0f", "a bar keeps its own"
