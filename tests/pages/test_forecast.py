from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gridpilot import views
from gridpilot.console import forecast_parts
from tests.pages.conftest import OpenPage, words


def test_forecast__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("forecast")
    assert not app.exception
    assert "No forecast yet" in words(app)


def test_forecast__full_ledger__errors_out_of_sample_and_live_are_told_apart(full: OpenPage) -> None:
    app = full("forecast")
    assert not app.exception
    assert not app.error
    snap = views.snapshot()
    assert snap is not None
    table = app.dataframe[0].value.set_index("model")
    scores = snap.forecast["scores"]["energy"]
    assert table.loc["ridge", "unseen days, USD/MWh"] == pytest.approx(scores["ridge"])
    live = {score.member: score for score in views.live_scores("energy")}
    assert table.loc["ridge", "live, USD/MWh"] == pytest.approx(live["ridge"].mae)
    assert table.loc["forecast in force", "values compared live"] == live["in force"].n
    assert "Unseen days:" in words(app)
    assert "Live:" in words(app)


def test_live_scores__hand_count__mean_error_and_share_inside(full: OpenPage) -> None:
    full("forecast")
    snap, prices = views.snapshot(), views.prices(48.0)
    assert snap is not None
    assert prices is not None
    came = dict(zip(prices.timestamp.tolist(), prices.energy.tolist(), strict=True))
    errors, inside = [], []
    for entry in views.ledger().entries("forecast"):
        band = entry.body["bands"]["energy"]
        for i, stamp in enumerate(views.times(entry.body["timestamp"]).tolist()):
            if stamp in came:
                errors.append(abs(band["point"][i] - came[stamp]))
                inside.append(band["lower"][i] <= came[stamp] <= band["upper"][i])
    score = next(score for score in views.live_scores("energy") if score.member == "in force")
    assert score.n == len(errors) == 10  # 4 + 3 + 2 + 1 of five hourly forecasts
    assert score.intervals == 4
    assert score.mae == pytest.approx(float(np.mean(errors)))
    assert score.coverage_frac == pytest.approx(float(np.mean(inside)))
    assert score.coverage[0.5] <= score.coverage[0.8] <= score.coverage[0.9]


@pytest.mark.parametrize("kind", ["hash", "token"])
def test_forecast__other_price__has_its_own_unit(full: OpenPage, kind: str) -> None:
    app = full("forecast")
    app.get("button_group")[-2].set_value(kind).run()
    assert not app.exception
    assert not app.error
    unit = {"hash": "USD/PH/day", "token": "USD/Mtok"}[kind]
    assert unit in app.metric[0].value.replace("\\", "")
    if kind == "token":
        assert app.metric[1].value == "–"
        assert "CONSTANT" in words(app)


@pytest.mark.slow
def test_forecast__fitted_ensemble__models_days_and_drivers_are_shown(fitted: OpenPage) -> None:
    app = fitted("forecast")
    assert not app.exception
    assert not app.error
    snap = views.snapshot()
    assert snap is not None
    assert snap.forecast["bands"]["energy"]["method"] == "ensemble"
    text = words(app)
    assert "of the last 28 days" in text
    assert "Most of all" in text
    assert "Ensemble fitted up to" in text
    members = app.dataframe[1].value
    assert set(members["model"]) == set(snap.forecast["weights"])
    assert members["share of the mix"].sum() == pytest.approx(100.0)
    app.selectbox(key="forecast_model_energy").set_value("gp").run()
    app.get("button_group")[-1].set_value(6).run()
    assert not app.exception


def test_forecast__horizon_and_model__cut_and_choose_the_lines(full: OpenPage) -> None:
    full("forecast")
    snap, prices = views.snapshot(), views.prices(72.0)
    assert snap is not None
    assert prices is not None
    lines = {}
    for model in forecast_parts.choices("energy"):
        figure = forecast_parts.forecast_figure(snap, prices, "energy", None, model, 6)
        lines[model] = {trace["name"]: len(trace["x"]) for trace in figure["data"] if trace.get("name")}
    members = set(snap.forecast["bands"]["energy"]["members"])
    assert members.isdisjoint(lines[forecast_parts.IN_FORCE])
    assert members <= set(lines[forecast_parts.ALL])
    assert members & set(lines["ridge"]) == {"ridge"}
    assert lines["ridge"]["ridge"] <= 2 * 6 + 2


def test_forecast__stale_prices__strip_says_so_and_the_page_works(stale: OpenPage) -> None:
    app = stale("forecast")
    assert not app.exception
    assert "Prices are stale" in words(app)
    assert len(app.metric) == 4


@pytest.mark.parametrize(
    ("inside", "n", "said"),
    [
        (1.0, 1, "too few to tell (1)"),
        (0.69, 40, "too few to tell (40)"),
        (0.8, 63, "too few to tell (63)"),
        (0.8, 64, "as promised"),
        (0.76, 672, "as promised"),
        (0.69, 168, "too narrow so far"),
        (1.0, 168, "too wide so far"),
    ],
)
def test_verdict__only_where_enough_prices_are_behind_it(inside: float, n: int, said: str) -> None:
    assert forecast_parts.verdict(inside, n) == said


def test_calibration__few_live_prices__names_its_span_and_gives_no_verdict(full: OpenPage) -> None:
    app = full("forecast")
    snap = views.snapshot()
    assert snap is not None
    live = views.live_scores("energy")
    score = next(score for score in live if score.member == "in force")
    bare = replace(snap, forecast={**snap.forecast, "trials": {}})
    title = forecast_parts.calibration_title(bare, "energy", live)
    assert title.startswith("Live, in 4 intervals, ") and title.endswith("80 % band: too few to tell (4)")
    tile = next(metric for metric in app.metric if metric.label == "In the 80 % band, live")
    assert tile.delta.replace("\\", "").endswith("too few to tell (4)") and score.intervals == 4
