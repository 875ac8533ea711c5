from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from gridpilot import views
from gridpilot.console import price_parts, source_parts
from gridpilot.console.widgets import inert
from gridpilot.ledger.store import Ledger
from gridpilot.market.watch import REFUSED, STATE, Standing
from tests.pages.conftest import OpenPage, console, url, words


def test_prices__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("prices")
    assert not app.exception
    assert "No prices yet" in words(app)


def test_prices__full_ledger__tiles_with_units_and_flags(full: OpenPage) -> None:
    app = full("prices")
    assert not app.exception
    assert not app.error
    shown = {metric.label: f"{metric.value} {metric.delta}".replace("\\", "") for metric in app.metric}
    assert "USD/MWh" in shown["Energy price now"]
    assert "USD/PH/day" in shown["Hash price"]
    assert "interpolated" in shown["Hash price"]
    assert "USD/Mtok" in shown["Token price"]
    assert "constant" in shown["Token price"]


def test_prices__full_ledger__place_is_the_share_of_cheaper_prices(full: OpenPage) -> None:
    app = full("prices")
    prices = views.prices()
    assert prices is not None
    share = round(100.0 * float(np.mean(prices.energy < prices.energy[-1])))
    place = next(metric for metric in app.metric if metric.label.startswith("Place"))
    assert place.value.startswith(f"{share} ")


def test_prices__selector__changes_the_span(full: OpenPage) -> None:
    app = full("prices")
    snap, prices = views.snapshot(), views.prices()
    assert snap is not None
    assert prices is not None
    week, month = (price_parts.history_title(snap, prices, days) for days in (7, 30))
    assert week != month
    assert inert(week) in words(app)
    app.get("button_group")[-1].set_value(30).run()
    assert not app.exception
    assert inert(month) in words(app)


def test_prices__full_ledger__credit_quality_and_ladder(full: OpenPage) -> None:
    app = full("prices")
    assert "Ember" in words(app)
    assert "GAP_FILLED" in words(app)
    ladder, quality, *_ = (table.value for table in app.dataframe)
    assert list(ladder["machines"]) == ["gpu", "hydro", "immersion", "air"]
    assert list(quality["price"]) == ["Energy", "Hash", "Token"]
    assert (quality["records"] + quality["missing"] == quality["records"].max()).all()


def test_prices__stale_prices__strip_says_so_and_the_page_works(stale: OpenPage) -> None:
    app = stale("prices")
    assert not app.exception
    assert "Prices are stale" in words(app)
    labels = [metric.label for metric in app.metric]
    assert labels[0] == "Energy price now" and labels[-5:] == [
        "Records",
        "Missing",
        "One every",
        "Volatility",
        "Source answers in",
    ]
    assert next(metric.value for metric in app.metric if metric.label == "Missing") == "0\\.00 %"


def test_prices__full_ledger__week_and_duration_say_what_was_recorded(full: OpenPage) -> None:
    app = full("prices")
    prices = views.prices()
    assert prices is not None
    found = views.week(prices.timestamp, prices.energy, "Europe/Amsterdam")
    assert found is not None
    assert inert(price_parts.week_title(found, "USD/MWh")) in words(app)
    assert inert(price_parts.duration_title(prices.energy, "USD/MWh")) in words(app)
    high = float(np.quantile(prices.energy, 0.9))
    assert abs(float(np.mean(prices.energy > high)) - 0.1) < 0.01
    calm = views.restless(prices.timestamp, prices.energy, prices.step_s)
    assert calm is not None and inert(price_parts.regime_words(calm, "USD/MWh")) in words(app)


def test_history__a_spike_and_day_ahead_prices__marked_and_drawn_beside(full: OpenPage) -> None:
    full("prices")
    snap, prices = views.snapshot(), views.prices()
    assert snap is not None and prices is not None
    plain = price_parts.history_figure(snap, prices, 7)
    assert "Day-ahead" not in [trace["name"] for trace in plain["data"]]
    energy, ahead = prices.energy.copy(), prices.energy - 10.0
    energy[-30] = 5000.0
    spiked = replace(prices, energy=energy, day_ahead=ahead)
    drawn = {trace["name"]: trace for trace in price_parts.history_figure(snap, spiked, 7)["data"]}
    assert {"Day-ahead", "Real time"} <= set(drawn)
    marks = drawn["Stands out"]
    assert max(y for y in marks["y"] if y is not None) == 5000.0
    assert "above day-ahead on average" in price_parts.history_title(snap, spiked, 7)


def test_prices__full_ledger__where_the_prices_come_from(full: OpenPage) -> None:
    app = full("prices")
    (standing,) = views.sources()
    assert (standing.name, standing.role, standing.unit) == ("replay", "in use", "USD/MWh")
    table = app.dataframe[-1].value
    assert table["source"].tolist() == ["replay"]
    assert table["is"].tolist() == ["in use"]
    assert inert(f"replay: {standing.credit}") in words(app)


def test_prices__no_source_usable_at_the_start__each_one_with_its_reason_and_inert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "none.db"
    at = datetime(2026, 6, 10, 12, tzinfo=UTC)
    said = "answered 503: ![x](http://e.x/y)"
    refused = Standing("energy-charts:NL", REFUSED, "", said, error=said, error_at=at)
    with Ledger.open(url(path)) as ledger:
        ledger.put_state(STATE, [refused.to_json()])
    with console(path, monkeypatch) as open_page:
        app = open_page("prices")
        assert not app.exception
        assert "No prices yet" in words(app)
        table = app.dataframe[-1].value
        assert table["is"].tolist() == ["refused"]
        (trouble,) = table["trouble"].tolist()
        assert trouble.endswith(said) and trouble.count(said) == 1
        assert "http://e.x/y" not in words(app)


def test_sources__stale_ledger__age_is_by_now(stale: OpenPage) -> None:
    stale("prices")
    (standing,) = views.sources()
    assert standing.age_s == views.status().price_age_s
    assert standing.age_s is not None and standing.age_s >= 3 * 3600


def test_ladder__no_hash_price__said_as_not_known_and_not_as_worth_nothing(full: OpenPage) -> None:
    full("prices")
    snap = views.snapshot()
    assert snap is not None
    prices = {**snap.cycle["prices"], "hash": None, "energy_usd_per_mwh": 89.0}
    bare = replace(snap, cycle={**snap.cycle, "prices": prices})
    title = price_parts.ladder_title(bare).replace("\u00a0", " ")
    assert title == ("At 89.00 USD/MWh gpu earns; what air, immersion and hydro earn is not known without a hash price")
    table = price_parts.strike_table(bare).set_index("machines")
    assert (
        table.loc[["air", "immersion", "hydro"], ["break-even, USD/MWh", "margin now, USD/MWh"]].isna().to_numpy().all()
    )
    assert table.loc["gpu", "break-even, USD/MWh"] > 89.0
    dark = replace(snap, cycle={**snap.cycle, "prices": {**prices, "token": None}})
    assert price_parts.ladder_title(dark).endswith("is not known without a hash and token price")
    assert price_parts.ladder_title(dark).startswith("What ")


def test_standings__a_file_and_a_server__only_the_server_has_counts() -> None:
    at = datetime(2026, 6, 10, 12, tzinfo=UTC)
    file = Standing("csv", "in use", "USD/MWh", last_success=at, latency_ms=3.0)
    server = Standing("energy-charts:NL", "standby", "EUR/MWh", last_success=at, calls=4, retries=1)
    table = source_parts.standing_table([file, server], "Europe/Amsterdam").set_index("source")
    counts = ["calls", "retries", "failures"]
    assert table.loc["csv", counts].isna().all()
    assert table.loc["energy-charts:NL", counts].tolist() == [4.0, 1.0, 0.0]


def test_quality__full_ledger__one_span_for_all_its_figures(full: OpenPage) -> None:
    app = full("prices")
    prices = views.prices(24.0 * 30)
    assert prices is not None
    span = price_parts.span_words(prices)
    records = next(metric for metric in app.metric if metric.label == "Records")
    assert records.delta.endswith(f"in {span}")
    assert inert(f"Figures of the last {span}") in words(app)
    assert price_parts.RATE_SAID not in words(app)  # the replay's prices are in units of their own


def test_quality__price_file_without_a_hash_price__says_what_a_rate_is(
    full: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = price_parts.stats_table
    monkeypatch.setattr(price_parts, "stats_table", lambda *args: table(*args).assign(unit="USD/h per rate"))
    assert price_parts.RATE_SAID in words(full("prices"))
