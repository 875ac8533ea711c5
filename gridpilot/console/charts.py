"""The one grammar of every time chart: stacked panels, one time axis, one hover.

A figure here is a plain dict in Plotly's JSON form: equal data gives an equal dict, so a refresh
without news changes nothing on the screen. Figures are drawn in the LIGHT palette; `live_chart.show`
recolours them for a dark screen.

Time runs on the axis in the site's zone at ONE offset from UTC, the one in force at `now`, and the axis
says which. So the axis never runs backwards when the clocks change; the hover gives each interval's UTC,
and its local time where that differs from the axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gridpilot.console import format as fmt
from gridpilot.console.sun import nights
from gridpilot.console.theme import LIGHT, hue
from gridpilot.domain import Site
from gridpilot.values import Array, Times, to_utc

Figure = dict[str, Any]
Floats = npt.ArrayLike

MARGIN: Final = {"l": 44, "r": 14, "t": 36, "b": 56}
PANEL_GAP_PX: Final = 26
NOW: Final = "now"
NEAR_END: Final = 0.7  # of a time axis: there a chart's icons begin on a narrow screen
LEGEND_PX: Final = 30


# --- what a time chart is made of ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The shared time axis from `start` to `end` (aware). `nights` are UTC spans to shade."""

    start: datetime
    end: datetime
    timezone: str = "UTC"
    now: datetime | None = None
    nights: tuple[tuple[datetime, datetime], ...] = ()

    @classmethod
    def of(cls, site: Site, start: datetime, end: datetime, now: datetime | None = None) -> TimeAxis:
        """The axis of a site, with its nights."""
        return cls(start, end, site.timezone, now, nights(start, end, site.latitude, site.longitude))

    @property
    def offset(self) -> timedelta:
        """Offset from UTC at which the whole axis is drawn."""
        return (self.now or self.start).astimezone(ZoneInfo(self.timezone)).utcoffset() or timedelta(0)

    @property
    def label(self) -> str:
        """Zone and offset, as "Europe/Amsterdam (UTC+02:00)"."""
        minutes = int(self.offset.total_seconds() // 60)
        sign = "−" if minutes < 0 else "+"
        shift = f"UTC{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        return "UTC" if self.timezone == "UTC" else f"{self.timezone.replace('_', ' ')} ({shift})"

    def x(self, moment: datetime) -> str:
        """Place of one moment on the axis."""
        return (moment.astimezone(UTC) + self.offset).strftime("%Y-%m-%dT%H:%M:%S")

    def xs(self, times: Times) -> list[str]:
        """Places of UTC stamps (N,) on the axis."""
        shifted = np.asarray(times, dtype="datetime64[s]") + np.timedelta64(int(self.offset.total_seconds()), "s")
        return [str(stamp) for stamp in shifted]

    def clock(self, times: Times) -> list[str]:
        """UTC of each stamp (N,) for the hover, and local time where the clocks changed and the axis is off."""
        zone = ZoneInfo(self.timezone)
        out = []
        for stamp in times:
            there = to_utc(stamp)
            here = there.astimezone(zone)
            text = f"{there:%H:%M} UTC"
            out.append(text if here.utcoffset() == self.offset else f"{text}, {here:%H:%M %Z}")
        return out


@dataclass(frozen=True, slots=True)
class Series:
    """One thing over time. `values` (N,) hold for the interval that starts at `times` (N,), NaN where unknown.

    kind: line (steps), curve (points joined), dots (steps, dotted: a forecast), stack, bar, mark (a triangle on the
    middle of the interval).
    lower, upper (N,): a band, drawn behind and told in the hover; outer: a second, wider band.
    """

    name: str
    times: Times
    values: Array
    kind: str = "line"
    colour: str = ""  # empty: the hue of `name`
    width: float = 2.0
    lower: Array | None = None
    upper: Array | None = None
    outer: tuple[Array, Array] | None = None
    step_s: int = 3600  # length of the last interval, and of a single one
    legend: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One strip of the figure. `levels` are dashed limits (value -> short label); `low`/`high` fix the range."""

    title: str
    unit: str
    series: tuple[Series, ...]
    height_px: int = 150
    levels: Mapping[float, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    decimals: int = 1
    ticks: tuple[float, ...] = ()


# --- the panels that pages share -----------------------------------------------------------


def price_panel(past: Series | None, future: Series | None, unit: str, height_px: int = 170) -> Panel:
    """Price as an ink line: the past solid, the future dotted with its bands.

    Make the two with `settled(...)` and `expected(...)`.
    """
    series = tuple(s for s in (past, future) if s is not None and len(s.times))
    return Panel("Price", unit, series, height_px, decimals=1)


def settled(times: Times, values: Floats, step_s: int = 3600, name: str = "Price") -> Series:
    """Prices that are facts."""
    return Series(name, times, _array(values), "line", LIGHT["price"], step_s=step_s)


def expected(
    times: Times,
    point: Floats,
    lower: Floats,
    upper: Floats,
    step_s: int = 3600,
    outer: tuple[Floats, Floats] | None = None,
) -> Series:
    """A price forecast with its 80 % band, and a wider one where there is one."""
    wide = (_array(outer[0]), _array(outer[1])) if outer is not None else None
    return Series(
        "Forecast (80 % band)", times, _array(point), "dots", LIGHT["price"], 1.6, _array(lower), _array(upper), wide,
        step_s,
    )  # fmt: skip


def loads_panel(
    times: Times,
    loads_kw: Mapping[str, Floats],
    limit_kw: float | None = None,
    step_s: int = 3600,
    height_px: int = 190,
    hues: Mapping[str, str] | None = None,
) -> Panel:
    """Loads stacked in the order given, with the grid limit as a level. `hues`: load -> thing whose hue it takes."""
    like = hues or {}
    stack = tuple(
        Series(name.replace("_", " "), times, _array(kw), "stack", hue(like.get(name, name)), step_s=step_s)
        for name, kw in loads_kw.items()
    )
    total = np.sum([s.values for s in stack], axis=0) if stack else np.zeros(1)
    # The limit is drawn where it is near; far above the load it would only flatten the picture.
    near = limit_kw is not None and float(np.nanmax(total, initial=0.0)) > 0.5 * limit_kw
    levels = {limit_kw: "grid limit"} if near and limit_kw is not None else {}
    return Panel("Load", "kW", stack, height_px, levels, low=0.0, decimals=0)


def battery_panel(
    times: Times, charge_kw: Floats, discharge_kw: Floats, step_s: int = 3600, height_px: int = 110
) -> Panel:
    """Battery power: charging up (lighter), discharging down (darker)."""
    charge, discharge = _array(charge_kw), _array(discharge_kw)
    return Panel(
        "Battery power, charging up",
        "kW",
        (
            Series("Charging", times, _blank_zero(charge), "bar", LIGHT["charge"], step_s=step_s),
            Series("Discharging", times, _blank_zero(-discharge), "bar", LIGHT["discharge"], step_s=step_s),
        ),
        height_px,
        {0.0: ""},
        decimals=0,
    )


def soc_panel(
    times: Times,
    soc_frac: Floats,
    soc_start_frac: float,
    bounds: tuple[float, float],
    step_s: int = 3600,
    height_px: int = 110,
) -> Panel:
    """State of charge with its limits. `soc_frac` (N,) is at the END of each interval, as in a Plan."""
    start = np.asarray(times, dtype="datetime64[s]")
    ends = np.concatenate((start[:1], start + np.timedelta64(step_s, "s")))
    soc = 100.0 * np.concatenate(([soc_start_frac], _array(soc_frac)))
    low, high = (100.0 * b for b in bounds)
    return Panel(
        "State of charge",
        "%",
        (Series("State of charge", ends, soc, "curve", LIGHT["battery"], step_s=step_s),),
        height_px,
        {low: "min", high: "max"},
        0.0,
        100.0,
        0,
        tuple(sorted({0.0, low, 50.0, high, 100.0})),
    )


# --- the figure ----------------------------------------------------------------------------


def time_figure(
    axis: TimeAxis, panels: Sequence[Panel], title: str = "", marks: Sequence[tuple[datetime, str]] = ()
) -> Figure:
    """Panels under each other on one time axis with one hover; `title` is the finding, not the data's name.

    `marks` are what happened (when, what): a sign above the panels that tells it to the pointer.
    """
    gaps = PANEL_GAP_PX * (len(panels) - 1)
    inner = sum(p.height_px for p in panels) + gaps
    layout = base_layout(inner + MARGIN["b"] + LEGEND_PX, title)
    traces = _clock(axis, panels)
    layout["yaxis99"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    top = float(inner)
    for index, panel in enumerate(panels):
        name = "y" if index == 0 else f"y{index + 1}"
        bottom = top - panel.height_px
        domain = [max(0.0, bottom / inner), top / inner]
        layout["yaxis" + name[1:]] = _y_axis(panel, domain)
        layout["annotations"].append(_caption(panel, domain[1]))
        layout["shapes"] += [_level(value, name) for value in panel.levels]
        layout["shapes"] += _now(axis, domain)
        for series in panel.series:
            traces += _traces(axis, series, name, panel)
        top = bottom - PANEL_GAP_PX
    layout["xaxis"] = _x_axis(axis, "y" if len(panels) == 1 else f"y{len(panels)}")
    layout["legend"]["y"] = -MARGIN["b"] / inner
    _mark_time(axis, layout)
    layout["annotations"] += [_event(axis, *mark) for mark in marks if axis.start <= mark[0] <= axis.end]
    layout |= {"hovermode": "x unified", "hoversubplots": "axis", "barmode": "relative", "bargap": 0}
    return {"data": traces, "layout": layout}


def base_layout(height_px: float, title: str = "") -> dict[str, Any]:
    """What every figure shares: quiet surfaces, legend below, room for the title."""
    top = MARGIN["t"] + (26 if title else 0)
    layout: dict[str, Any] = {
        "height": int(height_px + top),
        "margin": {**MARGIN, "t": top},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": LIGHT["ink"]},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top", "font": {"size": 12}},
        "hoverlabel": {
            "bgcolor": LIGHT["background"],
            "bordercolor": LIGHT["line"],
            "font": {"color": LIGHT["ink"], "size": 12},
            "namelength": -1,
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": LIGHT["muted"],
            "activecolor": LIGHT["ink"],
        },
        "dragmode": "zoom",
        "uirevision": "keep",
        "annotations": [],
        "shapes": [],
    }
    if title:
        layout["title"] = {
            "text": escape(title), "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container",
            "yanchor": "top", "pad": {"t": 4}, "font": {"size": 15, "weight": 600},
        }  # fmt: skip
    return layout


def escape(text: str) -> str:
    """Foreign text for a Plotly label, which reads a few HTML tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(values: Floats) -> list[float | None]:
    """Numbers for a figure: seven significant digits, null where not finite."""
    return [float(f"{v:.7g}") if np.isfinite(v) else None for v in np.asarray(values, dtype=np.float64)]


def value_axis(**extra: Any) -> dict[str, Any]:
    """A quiet value axis."""
    return {
        "gridcolor": LIGHT["grid"],
        "zeroline": False,
        "showline": False,
        "separatethousands": True,
        "linecolor": LIGHT["line"],
        "tickfont": {"color": LIGHT["muted"], "size": 11},
        "title": {"font": {"color": LIGHT["muted"], "size": 11}},
        "automargin": True,
        **extra,
    }


def _x_axis(axis: TimeAxis, anchor: str) -> dict[str, Any]:
    span = [axis.x(axis.start), axis.x(axis.end)]
    return value_axis(
        type="date",
        range=span,
        minallowed=span[0],
        maxallowed=span[1],
        anchor=anchor,
        side="bottom",
        showgrid=False,
        showline=True,
        ticks="outside",
        ticklen=4,
        tickcolor=LIGHT["line"],
        tickformatstops=[
            {"dtickrange": [None, 43_200_000], "value": "%H:%M\n%a %-d %b"},
            {"dtickrange": [43_200_000, None], "value": "%-d %b\n%Y"},
        ],
        showspikes=True,
        spikemode="across",
        spikesnap="cursor",
        spikethickness=1,
        spikedash="solid",
        spikecolor=LIGHT["muted"],
        hoverformat="%a %-d %b %H:%M",
        title={"text": axis.label, "font": {"color": LIGHT["muted"], "size": 11}, "standoff": 4},
    )


def _y_axis(panel: Panel, domain: list[float]) -> dict[str, Any]:
    extra: dict[str, Any] = {"domain": domain, "fixedrange": True, "nticks": 5}
    if panel.low is not None and panel.high is not None:
        extra["range"] = [panel.low, panel.high]
    elif panel.low == 0.0:
        extra["rangemode"] = "tozero"
    if panel.ticks:
        extra["tickvals"] = list(panel.ticks)
    return value_axis(**extra)


def _caption(panel: Panel, top: float) -> dict[str, Any]:
    labels = ", ".join(f"{label} {value:,.0f}" for value, label in panel.levels.items() if label)
    text = f"<b>{escape(panel.title)}</b>, {escape(panel.unit)}" + (f" ({escape(labels)})" if labels else "")
    return {
        "text": text, "x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom",
        "align": "left", "borderpad": 0, "showarrow": False, "font": {"size": 11, "color": LIGHT["muted"]}, "yshift": 3,
    }  # fmt: skip


def _level(value: float, y: str) -> dict[str, Any]:
    line = {"color": LIGHT["muted"], "width": 1, "dash": "solid" if value == 0.0 else "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": y, "y0": value, "y1": value, "line": line}


def _mark_time(axis: TimeAxis, layout: dict[str, Any]) -> None:
    for begin, end in axis.nights:
        layout["shapes"].append(
            {
                "type": "rect", "xref": "x", "x0": axis.x(max(begin, axis.start)), "x1": axis.x(min(end, axis.end)),
                "yref": "paper", "y0": 0, "y1": 1, "fillcolor": LIGHT["night"], "line": {"width": 0}, "layer": "below",
            }
        )  # fmt: skip
    if axis.now is None or not _holds_now(axis):
        return
    late = axis.now - axis.start > NEAR_END * (axis.end - axis.start)
    place = (
        {"xanchor": "right", "yanchor": "top", "yshift": 2, "xshift": -3}  # beside the line: above are the icons
        if late else {"xanchor": "left", "yanchor": "bottom", "yshift": 14, "xshift": -2}
    )  # fmt: skip
    layout["annotations"].append(
        {
            "name": NOW, "text": NOW, "x": axis.x(axis.now), "xref": "x", "y": 1, "yref": "paper", "showarrow": False,
            "font": {"size": 11, "color": LIGHT["now"]}, **place,
        }
    )  # fmt: skip


def _event(axis: TimeAxis, at: datetime, what: str) -> dict[str, Any]:
    return {
        "text": "▼", "hovertext": escape(what), "x": axis.x(at), "xref": "x", "y": 1, "yref": "paper",
        "yanchor": "top", "showarrow": False, "font": {"size": 11, "color": LIGHT["ink"]}, "yshift": 3,
        "hoverlabel": {"bgcolor": LIGHT["background"], "font": {"color": LIGHT["ink"], "size": 12}},
    }  # fmt: skip


def _holds_now(axis: TimeAxis) -> bool:
    return axis.now is not None and axis.start <= axis.now <= axis.end


def _now(axis: TimeAxis, domain: list[float]) -> list[dict[str, Any]]:
    """The now-line of one panel: the titles between the panels stay free of it."""
    if axis.now is None or not _holds_now(axis):
        return []
    at = axis.x(axis.now)
    return [
        {
            "type": "line", "xref": "x", "x0": at, "x1": at, "yref": "paper", "y0": domain[0], "y1": domain[1],
            "line": {"color": LIGHT["now"], "width": 1.5},
        }
    ]  # fmt: skip


# --- traces --------------------------------------------------------------------------------


def _clock(axis: TimeAxis, panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """An invisible trace that tells the UTC of every interval in the hover."""
    steps = [s for panel in panels for s in panel.series if s.kind != "curve" and len(s.times)]
    if not steps:
        return []
    times = np.unique(np.concatenate([np.asarray(s.times, dtype="datetime64[s]") for s in steps]))
    x = axis.xs(times)
    return [
        {
            "type": "scatter", "mode": "lines", "x": x, "y": [0] * len(x), "yaxis": "y99", "name": "UTC",
            "customdata": axis.clock(times), "hovertemplate": "%{customdata}<extra></extra>", "showlegend": False,
            "line": {"color": "rgba(0,0,0,0)", "width": 0},
            "xperiod": 1000 * min(s.step_s for s in steps), "xperiod0": x[0], "xperiodalignment": "start",
        }
    ]  # fmt: skip


def _traces(axis: TimeAxis, series: Series, y: str, panel: Panel) -> list[dict[str, Any]]:
    times = np.asarray(series.times, dtype="datetime64[s]")
    if times.size == 0:
        return []
    colour = series.colour or hue(series.name)
    bands = [
        _ribbon(axis, series, low, high, fill, y)
        for low, high, fill in (
            *(((*series.outer, LIGHT["band_outer"]),) if series.outer else ()),
            *(((series.lower, series.upper, LIGHT["band"]),) if series.lower is not None else ()),
        )
        if low is not None and high is not None
    ]
    template = f"%{{y:,.{panel.decimals}f}} {escape(panel.unit)}"
    if series.lower is not None:
        template += f" (%{{customdata[0]:,.{panel.decimals}f}} to %{{customdata[1]:,.{panel.decimals}f}})"
    trace: dict[str, Any] = {
        "name": escape(series.name),
        "legendgroup": escape(series.name),
        "showlegend": series.legend,
        "xaxis": "x",
        "yaxis": y,
        "hovertemplate": template,
    }
    if series.lower is not None and series.upper is not None:
        trace["customdata"] = [list(pair) for pair in zip(plain(series.lower), plain(series.upper), strict=True)]
    if series.kind == "stack":
        trace["hovertemplate"] += "%{customdata}"
        trace["customdata"] = _shares(series, panel)
    if series.kind == "bar":
        return [*bands, trace | _bar(axis, series, times, colour)]
    if series.kind == "mark":
        return [trace | _mark(axis, series, times, colour)]
    return [*bands, trace | _path(axis, series, times, colour, y)]


def _bar(axis: TimeAxis, series: Series, times: Times, colour: str) -> dict[str, Any]:
    width = 1000 * (_edges(times, series.step_s)[1:] - times).astype(np.int64)
    return {
        "type": "bar",
        "x": axis.xs(times),
        "y": plain(series.values),
        "width": width.tolist(),
        "offset": 0,
        "marker": {"color": colour, "line": {"width": 0}},
    }


def _mark(axis: TimeAxis, series: Series, times: Times, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": axis.xs(times + np.timedelta64(series.step_s // 2, "s")),
        "y": plain(series.values),
        "marker": {"color": colour, "symbol": "triangle-down", "size": 9, "line": {"width": 1, "color": LIGHT["ink"]}},
    }


def _path(axis: TimeAxis, series: Series, times: Times, colour: str, y: str) -> dict[str, Any]:
    steps = series.kind != "curve"
    values = np.asarray(series.values, dtype=np.float64)
    if steps:  # the last interval is drawn to its end
        times, values = _edges(times, series.step_s), np.append(values, values[-1])
    out: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": axis.xs(times),
        "y": plain(values),
        "line": {"color": colour, "width": series.width, "shape": "hv" if steps else "linear"},
    }
    if steps:  # the pointer anywhere in an interval reads that interval
        out |= {"xperiod": 1000 * series.step_s, "xperiod0": out["x"][0], "xperiodalignment": "start"}
    if series.kind == "dots":
        out["line"]["dash"] = "dot"
    if series.kind == "stack":
        out["stackgroup"] = y
        out["fillcolor"] = colour
        out["line"] |= {"width": 0.6, "color": LIGHT["background"]}
    return out


def _ribbon(axis: TimeAxis, series: Series, low: Array, high: Array, fill: str, y: str) -> dict[str, Any]:
    times = np.asarray(series.times, dtype="datetime64[s]")
    if series.kind == "curve":  # from point to point; else each interval at its height
        edges, up, down = times, np.asarray(high), np.asarray(low)
    else:
        edges = np.repeat(_edges(times, series.step_s), 2)[1:-1]
        up, down = np.repeat(high, 2), np.repeat(low, 2)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": axis.xs(np.concatenate((edges, edges[::-1]))),
        "y": plain(np.concatenate((up, down[::-1]))),
        "fill": "toself",
        "fillcolor": fill,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "legendgroup": escape(series.name),
        "showlegend": False,
        "xaxis": "x",
        "yaxis": y,
    }


def _shares(series: Series, panel: Panel) -> list[str]:
    """What part of its stack each value is, for the hover; the last stands for the end of its interval too."""
    stack = [one.values for one in panel.series if one.kind == "stack" and len(one.times) == len(series.times)]
    whole = np.nansum(stack, axis=0)
    pairs = zip(series.values, whole, strict=True)
    parts = [f" ({fmt.percent(value / of)})" if of > 0.0 and value > 0.0 else "" for value, of in pairs]
    return [*parts, parts[-1]]


def _edges(times: Times, step_s: int) -> Times:
    """Interval starts (N,) and the end of the last (N+1,)."""
    return np.append(times, times[-1] + np.timedelta64(step_s, "s"))


def _array(values: Floats) -> Array:
    return np.asarray(values, dtype=np.float64)


def _blank_zero(values: Array) -> Array:
    """Zeros become unknown, so that they are neither drawn nor told."""
    return np.where(np.abs(values) < 1e-9, np.nan, values)
