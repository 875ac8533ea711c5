from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.console import charts, component, plots, sun
from gridpilot.console.theme import LIGHT
from gridpilot.domain import Site

START = datetime(2024, 6, 12, tzinfo=UTC)
TIMES = np.datetime64("2024-06-12T00:00:00", "s") + np.arange(24) * np.timedelta64(3600, "s")
ROTTERDAM = Site(timezone="Europe/Amsterdam", latitude=51.92, longitude=4.48)
RAMP = np.arange(24.0)


def _axis(**changes: Any) -> charts.TimeAxis:
    return charts.TimeAxis(START, START + timedelta(days=1), "Europe/Amsterdam", **changes)


def _panels() -> list[charts.Panel]:
    return [
        charts.price_panel(
            charts.settled(TIMES[:12], RAMP[:12]),
            charts.expected(TIMES[12:], RAMP[12:], RAMP[12:] - 5, RAMP[12:] + 5, outer=(RAMP[12:] - 9, RAMP[12:] + 9)),
            "EUR/MWh",
        ),
        charts.loads_panel(TIMES, {"air": RAMP * 20, "training": RAMP * 10}, 1000.0),
        charts.battery_panel(TIMES, np.where(RAMP < 6, 250.0, 0.0), np.where(RAMP > 18, 250.0, 0.0)),
        charts.soc_panel(TIMES, np.linspace(0.2, 0.9, 24), 0.2, (0.15, 0.9)),
    ]


def _figure() -> charts.Figure:
    return charts.time_figure(_axis(now=START + timedelta(hours=12)), _panels(), "Discharge at 19:00 earns 41 USD")


def _trace(figure: charts.Figure, name: str) -> dict[str, Any]:
    return next(t for t in figure["data"] if t.get("name") == name)


FIGURES = {
    "time": _figure,
    "ladder": lambda: plots.ladder([plots.Rung("air", 72.0), plots.Rung("gpu", 218.0)], 96.0, "USD/MWh", "t"),
    "merit": lambda: plots.merit_order(
        [plots.Step("gpu", 100, 1700.0, 100), plots.Step("air", 300, 100.0, 50)], 150, 100.0, 40.0
    ),
    "pnl": lambda: plots.pnl_histogram(np.random.default_rng(1).normal(0, 100, 300), 150.0, 190.0, 0.95),
    "calibration": lambda: plots.calibration([0.5, 0.8], [0.52, 0.77], 200),
    "errors": lambda: plots.errors({"ridge": 8.1, "naive": 10.4}, "USD/MWh", "naive"),
    "empty ladder": lambda: plots.ladder([], 96.0, "USD/MWh"),
    "empty merit": lambda: plots.merit_order([], 0.0, float("nan"), 0.0),
    "empty pnl": lambda: plots.pnl_histogram([], float("nan"), float("nan"), 0.95),
    "empty errors": lambda: plots.errors({}, "USD/MWh"),
    "empty time": lambda: charts.time_figure(_axis(), [charts.price_panel(None, None, "USD/MWh")]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure__any_kind__valid_for_plotly_and_the_same_each_time(name: str) -> None:
    go.Figure(FIGURES[name]())  # raises for a property that Plotly does not know
    assert component.to_json(FIGURES[name]()) == component.to_json(FIGURES[name]())


@pytest.mark.parametrize("name", FIGURES)
def test_figure__any_kind__only_colours_that_can_be_recoloured(name: str) -> None:
    text = component.to_json(FIGURES[name]())
    known = {c for c in LIGHT.colours.values() if c.startswith("#")}
    used = {text[i : i + 7] for i in range(len(text)) if text[i] == "#"}
    assert used <= known


def test_time_figure__panels__share_one_axis_and_one_hover() -> None:
    layout = _figure()["layout"]
    assert {t["xaxis"] for t in _figure()["data"] if "xaxis" in t} == {"x"}
    assert (layout["hovermode"], layout["hoversubplots"]) == ("x unified", "axis")
    domains = [layout[name]["domain"] for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert all(low > next_high for (low, _), (_, next_high) in itertools.pairwise(domains))
    assert layout["uirevision"]


def test_time_figure__interval_values__steps_drawn_to_the_end_of_the_last() -> None:
    price = _trace(_figure(), "Price")
    assert price["line"]["shape"] == "hv"
    assert price["x"][0] == "2024-06-12T02:00:00"  # midnight UTC is two o'clock there
    assert price["x"][-1] == "2024-06-12T14:00:00"
    assert price["y"][-1] == price["y"][-2]


def test_time_figure__stack__the_hover_tells_each_load_and_its_part_of_all() -> None:
    panel = charts.loads_panel(TIMES[:3], {"air": np.array([30.0, 0.0, 5.0]), "gpu": np.array([10.0, 0.0, np.nan])})
    air, gpu = charts.time_figure(_axis(), [panel])["data"][1:3]  # the first is the axis' clock
    assert air["hovertemplate"].endswith(" kW%{customdata}")
    assert air["customdata"] == [" (75\u00a0%)", "", " (100\u00a0%)", " (100\u00a0%)"]
    assert gpu["customdata"] == [" (25\u00a0%)", "", "", ""]
    assert len(air["customdata"]) == len(air["y"])


def test_time_figure__future__dotted_with_bands_in_the_hover() -> None:
    future = _trace(_figure(), "Forecast (80 % band)")
    assert future["line"]["dash"] == "dot"
    assert future["customdata"][0] == [7.0, 17.0]
    fills = [t["fillcolor"] for t in _figure()["data"] if t.get("fill") == "toself"]
    assert fills == [LIGHT["band_outer"], LIGHT["band"]]


def test_time_figure__now__one_line_through_each_panel_and_its_word() -> None:
    layout = _figure()["layout"]
    lines = [s for s in layout["shapes"] if s["type"] == "line" and s["xref"] == "x"]
    assert {line["x0"] for line in lines} == {"2024-06-12T14:00:00"}
    domains = [axis["domain"] for name, axis in layout.items() if name.startswith("yaxis") and "domain" in axis]
    assert [[line["y0"], line["y1"]] for line in lines] == domains  # not through the titles between the panels
    assert "now" in [a["text"] for a in layout["annotations"]]


def test_time_figure__now_outside_the_window__no_line() -> None:
    figure = charts.time_figure(_axis(now=START - timedelta(hours=1)), _panels())
    assert "now" not in [a["text"] for a in figure["layout"]["annotations"]]


def test_time_figure__foreign_name__no_markup() -> None:
    panel = charts.loads_panel(TIMES, {"<img src=x>": RAMP})
    assert "<img" not in component.to_json(charts.time_figure(_axis(), [panel]))


def test_battery_panel__idle_hours__neither_drawn_nor_told() -> None:
    charging = _trace(_figure(), "Charging")
    assert charging["y"][:6] == [250.0] * 6
    assert set(charging["y"][6:]) == {None}
    assert min(v for v in _trace(_figure(), "Discharging")["y"] if v is not None) == -250.0


def test_soc_panel__end_of_interval_values__start_at_the_measured_one() -> None:
    soc = _trace(_figure(), "State of charge")
    assert len(soc["x"]) == 25
    assert soc["y"][0] == 20.0
    assert soc["line"]["shape"] == "linear"


def test_loads_panel__far_below_the_grid_limit__no_level_to_flatten_it() -> None:
    assert charts.loads_panel(TIMES, {"air": RAMP}, 1000.0).levels == {}
    assert charts.loads_panel(TIMES, {"air": RAMP * 30}, 1000.0).levels == {1000.0: "grid limit"}


def test_axis__clocks_changed__hover_tells_the_true_local_time() -> None:
    start = datetime(2024, 10, 26, 12, tzinfo=UTC)
    axis = charts.TimeAxis(start, start + timedelta(days=1), "Europe/Amsterdam")
    times = np.array(["2024-10-26T20:00:00", "2024-10-27T01:00:00"], dtype="datetime64[s]")
    assert axis.label == "Europe/Amsterdam (UTC+02:00)"
    assert axis.clock(times) == ["20:00 UTC", "01:00 UTC, 02:00 CET"]
    assert axis.xs(times) == ["2024-10-26T22:00:00", "2024-10-27T03:00:00"]


def test_axis__nights_of_a_site__cut_to_the_window_and_shaded() -> None:
    axis = charts.TimeAxis.of(ROTTERDAM, START, START + timedelta(days=1))
    (first, second) = axis.nights
    assert first[0] == START
    assert first[1] < second[0]
    assert second[1] == START + timedelta(days=1)
    figure = charts.time_figure(axis, _panels())
    assert sum(s["type"] == "rect" for s in figure["layout"]["shapes"]) == 2


@pytest.mark.parametrize(
    ("day", "latitude", "longitude", "rise", "fall"),
    [
        # sunrise and sunset in UTC hours from the NOAA solar calculator
        (datetime(2024, 6, 12, tzinfo=UTC), 51.92, 4.48, 3.35, 20.03),
        (datetime(2024, 12, 21, tzinfo=UTC), 51.92, 4.48, 7.78, 15.53),
        (datetime(2024, 3, 20, tzinfo=UTC), 0.0, 0.0, 6.07, 18.18),
    ],
)
def test_nights__known_places__within_a_quarter_of_an_hour(
    day: datetime, latitude: float, longitude: float, rise: float, fall: float
) -> None:
    (morning, evening) = sun.nights(day, day + timedelta(days=1), latitude, longitude)
    assert (morning[1] - day).total_seconds() / 3600 == pytest.approx(rise, abs=0.25)
    assert (evening[0] - day).total_seconds() / 3600 == pytest.approx(fall, abs=0.25)


def test_nights__polar_summer_and_winter__none_and_all() -> None:
    june, december = datetime(2024, 6, 21, tzinfo=UTC), datetime(2024, 12, 21, tzinfo=UTC)
    assert sun.nights(june, june + timedelta(days=1), 78.0, 15.0) == ()
    (span,) = sun.nights(december, december + timedelta(days=1), 78.0, 15.0)
    assert span == (december, december + timedelta(days=1))


@given(
    st.lists(st.tuples(st.floats(0.1, 500), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0.01, 1),
)
@settings(deadline=None, max_examples=40)
def test_merit_order__any_bids__blocks_lie_side_by_side(
    rows: list[tuple[float, float, float]], clearing: float
) -> None:
    steps = [plots.Step(f"b{i}", kw, price, kw * share) for i, (kw, price, share) in enumerate(rows)]
    data = plots.merit_order(steps, 1000.0, clearing, 0.0)["data"]
    at = 0.0
    for block in data:
        assert block["x"][0] == pytest.approx(at)
        at += block["width"][0]
    assert at == pytest.approx(sum(s.kw for s in steps))


def test_merit_order__one_bid_far_above__cut_and_told() -> None:
    steps = [plots.Step("gpu", 100, 1700.0, 100), plots.Step("air", 300, 90.0, 50)]
    layout = plots.merit_order(steps, 150, 90.0, 40.0)["layout"]
    assert layout["yaxis"]["range"][1] < 200.0
    assert "cut off: gpu 1,700" in [a["text"] for a in layout["annotations"]]


def test_pnl_histogram__sample__all_of_it_counted_and_losses_marked() -> None:
    figure = plots.pnl_histogram([-3.0, -1.0, 0.0, 2.0, float("nan")], 1.0, 3.0, 0.95)
    assert sum(figure["data"][0]["y"]) == pytest.approx(100.0)
    marked = {s["x0"] for s in figure["layout"]["shapes"]}
    assert {-1.0, -3.0} <= marked
    assert {"VaR 95\u00a0%: loses up to 1.00\u00a0USD", "CVaR 95\u00a0%: loses 3.00\u00a0USD on average"} <= {
        a["text"] for a in figure["layout"]["annotations"]
    }


@pytest.mark.parametrize("n", [20, 200, 1000])
def test_pnl_histogram__any_sample__dark_bars_are_the_tail_down_to_var(n: int) -> None:
    sample = np.random.default_rng(n).normal(100.0, 30.0, n)
    var = -float(np.sort(sample)[n // 20 - 1])
    (bars,) = plots.pnl_histogram(sample, var, var - 1.0, 0.95)["data"]
    dark = [y for y, colour in zip(bars["y"], bars["marker"]["color"], strict=True) if colour == LIGHT["muted"]]
    assert sum(bars["y"]) == pytest.approx(100.0)
    assert sum(dark) == pytest.approx(5.0)


def test_ladder__price_above_a_rung__pale_and_told() -> None:
    figure = FIGURES["ladder"]()
    assert figure["data"][0]["y"] == ["air", "gpu"]
    assert figure["data"][0]["marker"]["color"][0].startswith("rgba(")
    assert "72.00 does not earn" in [a["text"] for a in figure["layout"]["annotations"]]


def test_to_json__not_a_number__refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        component.to_json({"data": [{"y": [float("nan")]}], "layout": {}})


def test_time_figure__marks__in_the_window_only_and_as_text() -> None:
    marks = [(START + timedelta(hours=2), "<b>eva</b>: off"), (START - timedelta(days=2), "long ago")]
    layout = charts.time_figure(_axis(), _panels(), marks=marks)["layout"]
    assert [a["hovertext"] for a in layout["annotations"] if "hovertext" in a] == ["&lt;b&gt;eva&lt;/b&gt;: off"]
