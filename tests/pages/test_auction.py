from __future__ import annotations

import pytest

from gridpilot import views
from tests.pages.conftest import OpenPage, words


def test_auction__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("auction")
    assert not app.exception
    assert "No auction yet" in words(app)


def test_auction__full_ledger__table_is_the_recorded_auction_and_adds_up(full: OpenPage) -> None:
    app = full("auction")
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    table = app.dataframe[0].value
    assert table["got, kW"].sum() == pytest.approx(sum(row["kw"] for row in snap.auction["allocation"]))
    gains = table["worth, USD/h"] - table["pays, USD/h"]
    assert table["gains, USD/h"].tolist() == pytest.approx(gains.tolist())
    assert (gains >= -1e-9).all()


def test_auction__chosen_bidder__rows_sum_to_its_payment(full: OpenPage) -> None:
    app = full("auction")
    snap = views.snapshot()
    assert snap is not None
    payment = snap.auction["payments"][-1]
    app.selectbox(key="payment_of").set_value(payment["bidder"]).run()
    rows = app.dataframe[1].value
    assert rows["adds, USD/h"].sum() == pytest.approx(payment["usd_per_h"], abs=1e-9)


def test_auction__clear_the_same_bids__same_result_and_nothing_written(full: OpenPage) -> None:
    app = full("auction")
    before = views.ledger().head()
    app.button(key="bids_clear").click().run()
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    recorded, asked = app.dataframe[0].value, app.dataframe[-1].value
    assert asked["got, kW"].tolist() == pytest.approx(recorded["got, kW"].tolist(), abs=1e-3)
    assert views.ledger().head() == before


def test_auction__no_capacity__nobody_is_served(full: OpenPage) -> None:
    app = full("auction")
    app.number_input[0].set_value(0.0).run()
    app.button(key="bids_clear").click().run()
    assert app.dataframe[-1].value["got, kW"].sum() == 0.0


def test_auction__stale_ledger__still_answers(stale: OpenPage) -> None:
    app = stale("auction")
    assert not app.exception
    assert "Prices are stale" in words(app)
