"""The charts that are not over time: ladder, merit order, P&L histogram, week, duration curve, calibration, errors.

As in `charts`, a figure is a plain, deterministic dict in the LIGHT palette.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Floats, base_layout, escape, plain, value_axis
from gridpilot.console.theme import LIGHT, hue, translucent
from gridpilot.values import Array, as_array

ROW_PX: Final = 34
PLOT_PX: Final = 300
MOST_POINTS: Final = 1000  # of a curve


@dataclass(frozen=True, slots=True)
class Rung:
    """One bar of the ladder: `value` is the break-even price, NaN if not known; `hue` a thing whose colour it takes."""

    name: str
    value: float
    hue: str = ""


def ladder(rungs: Sequence[Rung], price_now: float, unit: str, title: str = "") -> Figure:
    """Break-even price of each consumer as a bar against the price now; what does not earn is pale."""
    ordered = sorted(rungs, key=lambda r: (-math.inf if math.isnan(r.value) else r.value, r.name))
    on = [r.value > price_now for r in ordered]
    names = [escape(r.name) for r in ordered]
    known = [r.value for r in ordered if not math.isnan(r.value)]
    top = _reach(known, price_now)
    colours = [hue(r.hue or r.name) for r in ordered]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": plain([min(r.value, top) for r in ordered]),
        "y": names,
        "customdata": plain([r.value for r in ordered]),
        "marker": {
            "color": [c if earns else translucent(c, 0.28) for c, earns in zip(colours, on, strict=True)],
            "line": {"width": 1, "color": colours},
        },
        "hovertemplate": f"%{{y}}: break-even %{{customdata:,.1f}} {escape(unit)}<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(ROW_PX * max(2, len(rungs)) + 70, title)
    layout |= {"bargap": 0.28, "hovermode": "closest"}
    low = min([*known, price_now, 0.0])
    span = (top - low) or 1.0
    layout["xaxis"] = value_axis(title=axis_title(unit), range=[low - 0.02 * span, top + 0.55 * span], fixedrange=True)
    layout["yaxis"] = value_axis(gridcolor="rgba(0,0,0,0)", fixedrange=True, tickfont={"color": LIGHT["ink"]})
    layout["annotations"] += [
        {
            "text": _told(r.value, price_now, top), "x": 1,
            "xref": "paper", "xanchor": "right", "y": escape(r.name), "yref": "y", "showarrow": False,
            "font": {"size": 12}, "bgcolor": LIGHT["background"],
        }
        for r in ordered
    ]  # fmt: skip
    mark_x(layout, price_now, f"price now {fmt.price(price_now, unit).value}", LIGHT["now"])
    return {"data": [bars], "layout": layout}


def _told(value: float, price_now: float, top: float) -> str:
    """What stands beside a bar."""
    if math.isnan(value):
        return "not known"
    word = "earns" if value > price_now else "does not earn"
    return f"{fmt.price(value).value} {word}" + (", bar cut" if value > top else "")


def _reach(values: Sequence[float], price_now: float) -> float:
    """Where the ladder's longest bar ends: one more than four times as far as all the rest is cut off."""
    ends = sorted(values)
    while ends and ends[-1] > 4.0 * max([*ends[:-1], price_now]) > 0.0:
        ends.pop()
    rest = max([*ends, price_now, 0.0])
    return rest if len(ends) == len(values) else 1.3 * rest


@dataclass(frozen=True, slots=True)
class Step:
    """One block of demand in the auction: `kw` wide, `price` high (in the figure's unit), `won_kw` of it served."""

    bidder: str
    kw: float
    price: float
    won_kw: float
    hue: str = ""


def merit_order(
    steps: Sequence[Step],
    capacity_kw: float,
    clearing: float,
    reserve: float,
    title: str = "",
    unit: str = "USD/MWh",
) -> Figure:
    """Bids from the dearest down, side by side, the served part solid; capacity, clearing point and reserve marked.

    Prices are in `unit`.
    """
    data: list[dict[str, Any]] = []
    seen: set[str] = set()
    at, low = 0.0, min((s.price for s in steps), default=0.0)
    for step in sorted(steps, key=lambda s: (-s.price, s.bidder)):
        lost_kw = max(0.0, step.kw - step.won_kw)
        for kw, share in ((step.won_kw, 1.0), (lost_kw, 0.28)):
            if kw <= 0.0:
                continue
            data.append(_block(step, at, (kw, share), step.bidder not in seen, unit))
            seen.add(step.bidder)
            at += kw
    layout = base_layout(PLOT_PX + 90, title)
    right = max(at, capacity_kw) * 1.03 or 1.0
    top = _cut(steps, max(p for p in (clearing, reserve, 0.0) if np.isfinite(p)), layout)
    layout |= {"barmode": "overlay", "hovermode": "closest"}
    layout["xaxis"] = value_axis(title=axis_title("kW, dearest bid first"), range=[0, right])
    layout["yaxis"] = value_axis(title=axis_title(escape(unit)), range=[min(0.0, low), top], fixedrange=True)
    layout["legend"]["y"] = -0.2
    mark_x(layout, capacity_kw, f"capacity {capacity_kw:,.0f} kW", LIGHT["now"])
    mark_y(layout, clearing, f"clearing {fmt.price(clearing, unit).value}", LIGHT["ink"])
    if 0.0 < reserve != clearing:
        mark_y(layout, reserve, f"reserve {fmt.price(reserve, unit).value}", LIGHT["muted"], above=False)
    return {"data": data, "layout": layout}


def _cut(steps: Sequence[Step], level: float, layout: dict[str, Any]) -> float:
    """Top of the price axis: far dearer bids are cut, and their prices written at the top, so that the rest shows."""
    prices = sorted((s.price for s in steps), reverse=True)
    near = [p for p in prices if p <= 4.0 * level] if level > 0.0 else prices
    top = 1.15 * max([*(near or prices), level, 1e-3])
    cut = [s for s in steps if s.price > top]
    if cut:
        told = ", ".join(f"{escape(s.bidder)} {fmt.price(s.price).value}" for s in cut[:3])
        layout["annotations"].append(
            {
                "text": f"cut off: {told}{' ...' if len(cut) > 3 else ''}", "x": 0, "xref": "paper",
                "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 16, "showarrow": False,
                "font": {"size": 11, "color": LIGHT["muted"]},
            }
        )  # fmt: skip
    return top


def _block(step: Step, at: float, part: tuple[float, float], first: bool, unit: str) -> dict[str, Any]:
    kw, share = part
    colour = hue(step.hue or step.bidder)
    word = "served" if share == 1.0 else "not served"
    return {
        "type": "bar",
        "name": escape(step.bidder),
        "legendgroup": escape(step.bidder),
        "showlegend": first,
        "x": [at],
        "y": plain([step.price]),
        "width": [kw],
        "offset": 0,
        "marker": {
            "color": colour if share == 1.0 else translucent(colour, share),
            "line": {"width": 1, "color": LIGHT["background"] if share == 1.0 else colour},
        },
        "hovertemplate": f"{escape(step.bidder)}: {kw:,.0f} kW {word} at {fmt.price(step.price, unit)}<extra></extra>",
    }


def pnl_histogram(
    pnl_usd: Floats, var: float, cvar: float, alpha: float, money: str = "USD", title: str = ""
) -> Figure:
    """Distribution of the P&L over the futures, the worst ones stronger: those down to VaR, an edge of the bars.

    `var` and `cvar` are losses and stand at minus their value, which is also how they are told.
    """
    sample = as_array(pnl_usd)
    sample = as_array(sample[np.isfinite(sample)])
    edges = _edges(sample, -var)
    counts, _ = np.histogram(sample, edges)
    share = 100.0 * counts / max(1, sample.size)
    tail = edges[1:] <= np.nextafter(-var, np.inf)
    bars = {
        "type": "bar",
        "x": plain(edges[:-1]),
        "y": plain(share),
        "width": plain(np.diff(edges)),
        "offset": 0,
        "marker": {
            "color": [LIGHT["muted"] if t else LIGHT["line"] for t in tail.tolist()],
            "line": {"width": 1, "color": LIGHT["background"]},
        },
        "customdata": [[fmt.number(a, 1), fmt.number(b, 1)] for a, b in itertools.pairwise(edges)],
        "hovertemplate": f"%{{customdata[0]}} to %{{customdata[1]}} {escape(money)}: %{{y:.1f}} %<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(PLOT_PX + 60, title)
    layout |= {"hovermode": "closest", "bargap": 0}
    marks = [edges[0], edges[-1], -var, -cvar]
    low, high = float(np.nanmin(marks)), float(np.nanmax(marks))
    room = 0.05 * ((high - low) or 1.0)
    layout["xaxis"] = value_axis(
        title=axis_title(f"what the plan brings, {escape(money)}"), range=[low - room, high + room]
    )
    layout["yaxis"] = value_axis(title=axis_title("futures, %"), rangemode="tozero", fixedrange=True)
    level = fmt.percent(alpha)
    mark_x(layout, -cvar, f"CVaR {level}: {brings(cvar, money)} on average", LIGHT["ink"], row=1)
    mark_x(layout, -var, f"VaR {level}: {brings(var, money, ' up to', ' at least')}", LIGHT["muted"])
    layout["margin"]["t"] += 18
    layout["height"] += 18
    return {"data": [bars], "layout": layout}


def brings(loss: float, money: str, most: str = "", least: str = "") -> str:
    """A VaR or CVaR, which are losses, as what the plan brings: "brings at least 4,058 USD", "loses up to 320 USD"."""
    return f"{f'loses{most}' if loss > 0.0 else f'brings{least}'} {fmt.money(abs(loss), money)}"


def _edges(sample: Array, at: float) -> Array:
    """Even edges over the whole sample, one of them just above `at`, so that what is down to it has bars of its own."""
    if not sample.size:
        return as_array([0.0, 1.0])
    low, high = float(sample.min()), float(sample.max())
    bins = int(np.clip(np.sqrt(sample.size) * 1.5, 8, 40))
    if not (np.isfinite(at) and low <= at < high):
        return as_array(np.histogram_bin_edges(sample, bins))
    width, edge = (high - low) / bins, float(np.nextafter(at, np.inf))
    below, above = max(1, math.ceil((edge - low) / width)), max(1, math.ceil((high - edge) / width))
    edges = edge + width * np.arange(-below, above + 1)
    edges[below], edges[-1] = edge, max(edges[-1], high)
    return as_array(edges)


def calibration(nominal: Floats, covered: Floats, n: int, title: str = "") -> Figure:
    """Share of outcomes inside each band against the share promised (fractions), with two standard errors."""
    promised, came = np.asarray(nominal, dtype=np.float64), np.asarray(covered, dtype=np.float64)
    spread = two_errors(promised, n)
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": f"outcomes ({n:,})",
        "x": plain(100.0 * promised),
        "y": plain(100.0 * came),
        "error_y": {"type": "data", "array": plain(100.0 * spread), "color": LIGHT["muted"], "thickness": 1},
        "marker": {"color": LIGHT["price"], "size": 9},
        "hovertemplate": "promised %{x:.0f} %, came %{y:.1f} %<extra></extra>",
    }
    ideal = {
        "type": "scatter", "mode": "lines", "name": "perfect", "x": [0, 100], "y": [0, 100], "hoverinfo": "skip",
        "line": {"color": LIGHT["line"], "width": 1.5, "dash": "dash"},
    }  # fmt: skip
    layout = base_layout(PLOT_PX + 70, title)
    layout["hovermode"] = "closest"
    layout["legend"]["y"] = -0.2
    layout["xaxis"] = value_axis(title=axis_title("band promises, %"), range=[0, 100], fixedrange=True)
    layout["yaxis"] = value_axis(title=axis_title("outcomes inside, %"), range=[0, 102], fixedrange=True)
    return {"data": [ideal, points], "layout": layout}


def two_errors(promised: Array, n: int) -> Array:
    """Two standard errors of a share of n outcomes that keep what is promised (a fraction)."""
    return as_array(2.0 * np.sqrt(np.clip(promised * (1.0 - promised), 0.0, None) / max(1, n)))


def errors(values: Mapping[str, float], unit: str, reference: str = "", title: str = "") -> Figure:
    """Mean error of each method as a bar, smallest on top; `reference` (a key) is the one to beat."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": plain([v for _, v in ordered]),
        "y": [escape(name) for name, _ in ordered],
        "marker": {"color": [LIGHT["line"] if name == reference else LIGHT["muted"] for name, _ in ordered]},
        "text": [fmt.significant(v) for _, v in ordered],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": f"%{{y}}: %{{x:.3~f}} {escape(unit)}<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(ROW_PX * max(2, len(ordered)) + 70, title)
    layout |= {"bargap": 0.3, "hovermode": "closest"}
    top = max(values.values(), default=1.0)
    layout["xaxis"] = value_axis(title=axis_title(unit), range=[0, 1.15 * top], fixedrange=True)
    layout["yaxis"] = value_axis(gridcolor="rgba(0,0,0,0)", fixedrange=True, tickfont={"color": LIGHT["ink"]})
    if reference in values:
        mark_x(layout, values[reference], f"to beat: {reference}", LIGHT["now"])
    return {"data": [bars], "layout": layout}


DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def week_map(mean: Floats, unit: str) -> Figure:
    """Mean price of each hour (across) of each weekday (down), the dearer the darker; `mean` (7, 24), NaN unknown."""
    cells = np.asarray(mean, dtype=np.float64)
    heat = {
        "type": "heatmap",
        "x": list(range(24)),
        "y": list(DAYS),
        "z": [plain(row) for row in cells],
        "customdata": [[f"{day} {hour:02d}:00" for hour in range(24)] for day in DAYS],
        "hovertemplate": f"%{{customdata}}: %{{z:,.1f}} {escape(unit)}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0.0, LIGHT["panel"]], [0.5, LIGHT["muted"]], [1.0, LIGHT["price"]]],
        "colorbar": {
            "title": {"text": escape(unit), "side": "right", "font": {"color": LIGHT["muted"], "size": 11}},
            "thickness": 10,
            "outlinewidth": 0,
            "tickfont": {"color": LIGHT["muted"], "size": 11},
            "nticks": 5,
        },
    }
    layout = base_layout(PLOT_PX + 48)
    layout |= {"hovermode": "closest"}
    layout["xaxis"] = value_axis(
        title=axis_title("hour of the day"), tickvals=[0, 6, 12, 18, 23], showgrid=False, fixedrange=True
    )
    layout["yaxis"] = value_axis(
        autorange="reversed", showgrid=False, fixedrange=True, tickfont={"color": LIGHT["ink"]}
    )
    return {"data": [heat], "layout": layout}


def duration(share: Floats, price: Floats, now: float, unit: str) -> Figure:
    """The duration curve: prices (n,), highest first, over the share (n,) of the intervals that were dearer."""
    part, level = np.asarray(share, dtype=np.float64), np.asarray(price, dtype=np.float64)
    if len(part) > MOST_POINTS:
        keep = np.unique(np.linspace(0, len(part) - 1, MOST_POINTS).round().astype(int))
        part, level = part[keep], level[keep]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": plain(100.0 * part),
        "y": plain(level),
        "line": {"color": LIGHT["price"], "width": 2},
        "hovertemplate": f"%{{x:.0f}} % of the time above %{{y:,.1f}} {escape(unit)}<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(PLOT_PX + 20)
    layout |= {"hovermode": "closest"}
    layout["margin"] = {**layout["margin"], "t": 8}
    layout["xaxis"] = value_axis(title=axis_title("share of the time, %"), range=[0, 100], fixedrange=True)
    layout["yaxis"] = value_axis(title=axis_title(escape(unit)), fixedrange=True)
    mark_y(layout, now, f"now {fmt.price(now, unit).value}", LIGHT["now"])
    return {"data": [line], "layout": layout}


def axis_title(text: str) -> dict[str, Any]:
    """The quiet title of an axis."""
    return {"text": text, "font": {"color": LIGHT["muted"], "size": 11}, "standoff": 4}


def mark_x(layout: dict[str, Any], at: float, text: str, colour: str, row: int = 0) -> None:
    """A vertical line with its label on top, on the side where there is room."""
    if not np.isfinite(at):
        return
    layout["shapes"].append(
        {
            "type": "line", "xref": "x", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"color": colour, "width": 2},
        }
    )  # fmt: skip
    low, high = layout["xaxis"].get("range", [0.0, 2.0 * at])
    right = at > (low + high) / 2
    layout["annotations"].append(
        {
            "text": escape(text), "x": at, "xref": "x", "y": 1, "yref": "paper", "yanchor": "bottom",
            "xanchor": "right" if right else "left", "yshift": 2 + 16 * row, "showarrow": False,
            "font": {"size": 11, "color": colour},
        }
    )  # fmt: skip


def mark_y(layout: dict[str, Any], at: float, text: str, colour: str, above: bool = True) -> None:
    """A horizontal line with its label at the right end."""
    if not np.isfinite(at):
        return
    layout["shapes"].append(
        {
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": at, "y1": at,
            "line": {"color": colour, "width": 1.5, "dash": "dash"},
        }
    )  # fmt: skip
    layout["annotations"].append(
        {
            "text": escape(text), "x": 1, "xref": "paper", "xanchor": "right", "y": at, "yref": "y",
            "yanchor": "bottom" if above else "top", "showarrow": False, "font": {"size": 11, "color": colour},
            "bgcolor": LIGHT["background"],
        }
    )  # fmt: skip


def drivers(values: Mapping[str, float], unit: str, title: str = "") -> Figure:
    """What each input adds (to the right) or takes away, as a bar from zero, strongest on top."""
    ordered = sorted(values.items(), key=lambda item: (abs(item[1]), item[0]))
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": plain([v for _, v in ordered]),
        "y": [escape(name) for name, _ in ordered],
        "marker": {"color": [LIGHT["price"] if v >= 0.0 else LIGHT["battery"] for _, v in ordered]},
        "text": [f"{'+' if v >= 0.0 else fmt.MINUS}{fmt.significant(abs(v))}" for _, v in ordered],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": f"%{{y}}: %{{x:+.3~f}} {escape(unit)}<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(ROW_PX * max(2, len(ordered)) + 70, title)
    layout |= {"bargap": 0.3, "hovermode": "closest"}
    reach = 1.6 * max((abs(v) for v in values.values()), default=1.0) or 1.0
    low = -reach if any(v < 0.0 for v in values.values()) else 0.0
    layout["xaxis"] = value_axis(title=axis_title(unit), range=[low, reach], fixedrange=True)
    layout["yaxis"] = value_axis(gridcolor="rgba(0,0,0,0)", fixedrange=True, tickfont={"color": LIGHT["ink"]})
    return {"data": [bars], "layout": layout}
