from __future__ import annotations

import math

from gridpilot.console import plots


def test_ladder__one_rung_far_above_the_rest__cut_but_told() -> None:
    rungs = [plots.Rung("gpu", 1367.0), plots.Rung("hydro", 108.0), plots.Rung("air", 58.0)]
    figure = plots.ladder(rungs, 116.0, "USD/MWh")
    bar = figure["data"][0]
    assert bar["y"][-1] == "gpu"
    assert bar["x"][-1] < 200.0
    assert bar["customdata"][-1] == 1367.0
    assert "1,367 earns, bar cut" in [a["text"] for a in figure["layout"]["annotations"]]
    assert figure["layout"]["xaxis"]["range"][1] > 116.0


def test_ladder__price_far_above_every_rung__stays_in_the_picture() -> None:
    figure = plots.ladder([plots.Rung("hydro", 108.0), plots.Rung("air", 58.0)], 900.0, "USD/MWh")
    assert figure["layout"]["xaxis"]["range"][1] > 900.0
    assert figure["data"][0]["x"] == [58.0, 108.0]


def test_ladder__break_even_not_known__no_bar_and_said_so() -> None:
    figure = plots.ladder([plots.Rung("air", math.nan), plots.Rung("gpu", 200.0)], 116.0, "USD/MWh")
    assert (figure["data"][0]["y"], figure["data"][0]["x"]) == (["air", "gpu"], [None, 200.0])
    told = [a["text"] for a in figure["layout"]["annotations"]]
    assert "not known" in told and "200.0 earns" in told
    assert figure["layout"]["xaxis"]["range"][1] > 200.0
