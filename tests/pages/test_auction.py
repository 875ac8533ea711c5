from __future__ import annotations

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import views
from gridpilot.console import auction_parts
from tests.pages.conftest import OpenPage, words

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`


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


def test_unserved__who_asked_and_lacks_most_first__nobody_who_asked_for_nothing() -> None:
    def row(bidder: str, asked_kw: float, kw: float) -> dict[str, object]:
        return {"bidder": bidder, "service": "x", "asked_kw": asked_kw, "kw": kw}

    auction = {
        "allocation": [
            row("gpu", 300.0, 300.0), row("cold-store", 40.0, 0.0), row("training", 0.0, 0.0),
            row("hydro", 200.0, 50.0), row("hydro", 10.0, 10.0), row("render-farm", 60.0, 0.0), row("grid", 0.0, 50.0),
        ],
        "rejected": [
            {"bidder": "training", "reason": "asks for 0 kW"},
            {"bidder": "cold-store", "reason": "bids 0.01 per kWh: below the reserve of 0.05"},
            {"bidder": "late", "reason": "uses cranes, of which nothing is for sale"},
        ],
    }  # fmt: skip
    assert auction_parts.unserved(auction).replace("\u00a0", " ") == (
        "hydro got 60.0 kW of 210 kW; render-farm got 0.0 kW of 60.0 kW; cold-store got 0.0 kW of 40.0 kW "
        "(bids 0.01 per kWh: below the reserve of 0.05); late: uses cranes, of which nothing is for sale"
    )


def test_auction__clear_the_recorded_bids__no_warning_of_who_asks_for_nothing(full: OpenPage) -> None:
    app = full("auction")
    snap = views.snapshot()
    assert snap is not None
    app.button(key="bids_clear").click().run()
    assert not [box.value for box in app.warning if "asks for 0 kW" in box.value.replace("\\", "")]
    short = auction_parts.unserved(snap.auction)
    assert words(app).count("Not served: ") == (2 if short else 0)
    assert "asks for 0 kW" not in words(app)


def tables(app: AppTest) -> list[pd.DataFrame]:
    """Tables of who got what: the recorded one, then the question's."""
    return [frame.value for frame in app.dataframe if "got, kW" in frame.value]


def test_auction__clear_the_same_bids__same_result_and_nothing_written(full: OpenPage) -> None:
    app = full("auction")
    before = views.ledger().head()
    app.button(key="bids_clear").click().run()
    assert not app.exception and not app.error
    snap = views.snapshot()
    assert snap is not None
    recorded, asked = (dict(zip(t["bidder"], t["got, kW"], strict=True)) for t in tables(app))
    recorded.pop("cooling")  # follows the loads that it cools
    assert asked == pytest.approx(recorded, abs=1e-3)
    assert views.ledger().head() == before


def test_auction__no_capacity__nobody_is_served(full: OpenPage) -> None:
    app = full("auction")
    app.number_input[0].set_value(0.0).run()
    app.button(key="bids_clear").click().run()
    assert tables(app)[-1]["got, kW"].sum() == 0.0


def test_auction__stale_ledger__still_answers(stale: OpenPage) -> None:
    app = stale("auction")
    assert not app.exception
    assert "Prices are stale" in words(app)


def test_auction__a_bid_told_lower__says_what_it_would_change(full: OpenPage) -> None:
    app = full("auction")
    app.selectbox(key="lie_of").set_value("gpu").run()
    app.number_input(key="lie_price").set_value(0.0).run()
    assert not app.exception and not app.error
    said = words(app).replace("\\", "")  # names and numbers stand escaped
    assert "By its bids gpu gets" in said and "told otherwise it gets 0.0 kW" in said and "it loses" in said


def test_auction__random_lies__none_pays(full: OpenPage) -> None:
    app = full("auction")
    app.button(key="lie_audit").click().run()
    assert not app.exception and not app.error
    assert [box.value for box in app.success] == ["200 lies tried, none paid."]


def test_auction__history__the_course_of_the_clearing_price(full: OpenPage) -> None:
    full("auction")
    held = views.auction_history()
    snap = views.snapshot()
    assert held is not None and snap is not None
    assert held.clearing_usd_per_kwh[-1] == pytest.approx(snap.auction["clearing_price"])
    assert held.revenue_usd_per_h[-1] == pytest.approx(snap.auction["revenue"])


HEADER = "bidder,service,kw,price_usd_per_kwh"


def uploaded(app: AppTest, text: str) -> AppTest:
    """The page with a file of bids."""
    app.file_uploader[0].set_value(("b.csv", text.encode(), "text/csv"))
    return app.run()


def test_F35_auction__row_longer_than_the_header__left_out_with_a_reason(full: OpenPage) -> None:
    app = uploaded(full("auction"), f"{HEADER}\nz,a,x,500,.1\nb,x,6,.2\n")
    assert not app.exception and not app.error
    assert [box.value.replace("\\", "") for box in app.warning] == ["z: row 1: 5 values: expected 4, as in the header"]
    app.button(key="bids_clear").click().run()
    assert tables(app)[-1][["bidder", "asked, kW"]].to_numpy().tolist() == [["b", 6.0]]


@pytest.mark.parametrize("header", ["_index," + HEADER, HEADER + ",kw", HEADER.replace(",", ";"), "a\0"])
def test_F35_auction__file_of_something_else__one_clear_line_and_the_editor_stays(full: OpenPage, header: str) -> None:
    app = uploaded(full("auction"), f"{header}\n1,a,x,5,.1\n")
    assert not app.exception and len(app.error) == 1 and "b\\.csv" in app.error[0].value
    app.button(key="bids_clear").click().run()
    assert not app.exception and len(tables(app)) == 2


def test_auction__hundreds_of_bids__another_bid_is_cleared_only_when_asked(full: OpenPage) -> None:
    rows = "".join(f"t{k % 50},x,{k % 7 + 1},0.{k % 80 + 10}\n" for k in range(300))
    app = uploaded(full("auction"), f"{HEADER}\n{rows}")
    assert not app.exception and "By its bids" not in words(app)
    app.button(key="lie_clear").click().run()
    assert "By its bids" in words(app)
    app.run()
    assert "By its bids" in words(app), "the answer stays while the question does"
    assert not [button for button in app.button if button.key == "lie_clear"]
    app.number_input(key="lie_price").set_value(10.0).run()
    assert "By its bids" not in words(app)


def test_F35_auction__many_refused_rows__the_first_ones_and_a_count(full: OpenPage) -> None:
    app = uploaded(full("auction"), f"{HEADER}\n" + "a,x,0,.1\n" * 1500)
    app.button(key="bids_clear").click().run()
    assert not app.exception and len(app.warning) == 22
    assert [box.value for box in app.warning[-2:]] == ["and 980 more.", "500 more bids take no part"]
