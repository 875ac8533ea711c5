"""Small pieces that every page uses: tiles, limit bars, empty states, flags, foreign text, CSV export.

Text from outside (names, reasons, flags) is never read as Markdown or HTML: it goes through `inert`,
`st.text` or `html.escape`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import streamlit as st

from gridpilot.console import download
from gridpilot.console import format as fmt
from gridpilot.console.format import Quantity
from gridpilot.console.theme import HUE, hue_name
from gridpilot.domain import DataFlag
from gridpilot.errors import GridPilotError
from gridpilot.foreign import escape, line, quoted

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler
    from streamlit.delta_generator import DeltaGenerator

T = TypeVar("T")
Writer = Callable[[Any], str]  # a number, or what is not known

_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])")
_ADDRESS: Final = re.compile(r"(?i)\b(https?|www)(?=\\[:.])")  # as _MARKDOWN leaves it; a word joiner breaks it
HAIR: Final = 1e-4  # a value this far beyond its limit is on it: the tolerance of the safety check
PERCENT: Final = "percent"  # how a column of fractions is written
GREY: Final = "#7d888f"  # readable on both grounds
MOST_CELLS: Final = 8000
TOLD_S: Final = 15.0  # a success is shown for at least so long
_FORMAT: Final = re.compile(r"%\.(\d)([fg])((?: ?%%)?)")
_SEVERITY: Final = {"alarm": 0, "warn": 1, "info": 2}


# --- text ----------------------------------------------------------------------------------


def inert(text: str) -> str:
    """Text that Markdown shows as it is, for labels that cannot take `st.text`. An address becomes no link.

    What cannot be seen, or would turn the text around it, becomes a visible mark.
    """
    return _ADDRESS.sub("\\1\u2060", _MARKDOWN.sub(r"\\\1", line(text)))


@contextmanager
def saying_trouble() -> Iterator[None]:
    """Around a part of a page, or above its function: what goes wrong there is one line in its place."""
    try:
        yield
    except GridPilotError as error:
        st.error(inert(str(error)))


def finding(text: str) -> None:
    """The title of a wide chart, above it: it wraps on a narrow screen, which a title inside the chart cannot."""
    st.markdown(f"## {inert(text)}")


def choice(label: str, options: Sequence[T], key: str, default: T, written: Callable[[T], str]) -> T:
    """A row of options of which one is chosen; where the shell keeps its key, it outlives leaving the page."""
    st.session_state.setdefault(key, default)
    st.segmented_control(label, options, format_func=written, key=key, label_visibility="collapsed", required=True)
    chosen: T = st.session_state[key]
    return chosen


# --- figures -------------------------------------------------------------------------------


def tile_row(tiles: int, least_px: int = 165) -> DeltaGenerator:
    """A row for that many tiles (`with tile_row(5): tile(...)`); they wrap on a narrow screen, two to a row."""
    return st.grid(tiles, min_column_width=least_px, gap="small")


def tile(
    label: str,
    quantity: Quantity | str,
    reference: str = "",
    spark: Sequence[float] | None = None,
    note: str = "",
) -> None:
    """A tile: label, value with its unit smaller and muted, and the reference it is to be read against.

    `reference` is the whole phrase ("+4.20 vs. do nothing"); it is grey, because money is not red or green
    by its sign. `spark` is the recent course; `note` is the tooltip.
    """
    value = Quantity(quantity) if isinstance(quantity, str) else quantity
    text = inert(value.value)
    if value.unit and value.value != fmt.DASH:
        text += f" :small[:gray[{inert(value.unit)}]]"
    st.metric(
        inert(label),
        text,
        delta=inert(reference) if reference else None,
        delta_color="off",
        delta_arrow="off",
        help=inert(note) if note else None,
        border=True,
        chart_data=list(spark) if spark is not None and len(spark) > 1 else None,
        chart_type="line",
        height="stretch",
    )


def limit_bar(
    label: str,
    value: float | None,
    unit: str,
    limits: tuple[float | None, float],
    scale: tuple[float, float] | None = None,
    thing: str = "",
) -> None:
    """A value on a bar with its limits: SOC within 15-90 %, load under the grid limit, CVaR under its cap.

    `limits` are (lowest or None, highest); `scale` is the whole width, 0..highest when left out; `thing`
    gives the hue. Outside its limits the bar turns red and says so.
    """
    st.html(limit_bar_html(label, value, unit, limits, scale or (0.0, limits[1]), thing))


def limit_bar_html(
    label: str,
    value: float | None,
    unit: str,
    limits: tuple[float | None, float],
    scale: tuple[float, float],
    thing: str = "",
) -> str:
    """The bar as HTML."""
    low, high = limits
    shown = Quantity(fmt.compact(value), unit)
    far = value if value is not None and fmt.known(value) else high
    hair = max(HAIR, 0.005 * (scale[1] - scale[0]))  # what nobody sees on the bar
    beyond = far > high + hair or (low is not None and far < low - hair)
    state = " <span class='gp-chip gp-alarm'>outside its limits</span>" if beyond else ""
    span = f"{fmt.compact(low)} to " if low is not None else "at most "
    marks = [m for m in (low, high) if m is not None and scale[0] < m < scale[1]]
    ticks = "".join(f"<b style='left:{_place(m, scale):.2f}%'></b>" for m in marks)
    if scale[0] < 0.0 < scale[1]:  # a bar that goes both ways shows from where
        ticks += f"<b class='gp-zero' style='left:{_place(0.0, scale):.2f}%'></b>"
    fill = ""
    if value is not None and fmt.known(value):
        ends = sorted((_place(0.0, scale), _place(value, scale)))
        colour = "#c4281c" if beyond else f"light-dark({','.join(HUE[hue_name(thing or label)])})"
        fill = f"<i style='left:{ends[0]:.2f}%;width:{ends[1] - ends[0]:.2f}%;background:{colour}'></i>"
    return (
        f"<div class='gp-limit'><div class='gp-limit-row'><span>{escape(label)} <b>{escape(str(shown))}</b>{state}"
        f"</span><span class='gp-muted'>limit {span}{fmt.compact(high)} {escape(unit)}</span></div>"
        f"<div class='gp-bar'>{fill}{ticks}</div></div>"
    )


def _place(value: float, scale: tuple[float, float]) -> float:
    """Percent of the width, kept inside the bar."""
    width = scale[1] - scale[0]
    return min(100.0, max(0.0, 100.0 * (value - scale[0]) / width)) if width > 0.0 else 0.0


# --- states --------------------------------------------------------------------------------


def empty_state(title: str, what_to_do: str) -> None:
    """What will be here, and what to do to get it."""
    st.html(f"<div class='gp-empty'><strong>{escape(title)}</strong><span>{escape(what_to_do)}</span></div>")


@st.fragment(run_every=1.0)
def until_first_decision(title: str, what_comes: str) -> None:
    """The empty state of a page whose body is not live: it draws the page anew when the first decision is there."""
    from gridpilot import views

    if views.snapshot() is not None:
        st.rerun()
    empty_state(title, f"{what_comes} It comes with the pilot's first decision.")


def flags(items: Iterable[DataFlag], limit: int = 12) -> None:
    """Data flags, the gravest first; nothing at all when there are none."""
    ordered = sorted(items, key=lambda f: (_SEVERITY.get(f.severity, 1), f.stage, f.code))
    if ordered:
        st.html(flags_html(ordered, limit))


def flags_html(ordered: Sequence[DataFlag], limit: int) -> str:
    """The list as HTML."""
    look = {"alarm": " gp-alarm", "warn": " gp-warning"}
    rows = []
    for flag in ordered[:limit]:
        times = f" <span class='gp-muted'>({flag.count:,}×)</span>" if flag.count > 1 else ""
        chip = f"<span class='gp-chip{look.get(flag.severity, '')}'>{escape(flag.code)}</span>"
        rows.append(f"<li>{chip}<span>{escape(flag.message)}{times}</span></li>")
    if len(ordered) > limit:
        rows.append(f"<li class='gp-muted'>and {len(ordered) - limit:,} more</li>")
    return f"<ul class='gp-flags'>{''.join(rows)}</ul>"


# --- what became of a press ------------------------------------------------------------------


def say(key: str, kind: str, text: str) -> None:
    """Keep for `last_words` what became of a press: `kind` is success or error."""
    st.session_state[key] = (kind, text, time.monotonic())


def last_words(key: str) -> None:
    """What became of the last press. That it was carried out is dropped by a later run of the page, when the page shows
    what came of it; never by itself, which would move the buttons below. An error stays until the next press."""
    kind, text, said_s = st.session_state.get(key, ("", "", 0.0))
    if kind == "success" and time.monotonic() - said_s > TOLD_S:
        del st.session_state[key]
    elif kind:
        (st.error if kind == "error" else st.success)(inert(text))


# --- export --------------------------------------------------------------------------------


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV. Text that a spreadsheet would run as a formula gets a ' before it; numbers stay.

    `foreign.unquoted` takes it off again, so that bids that are read back are the same.
    """
    safe = table.map(lambda cell: quoted(cell) if isinstance(cell, str) else cell)
    safe.columns = [quoted(str(name)) for name in table.columns]
    return safe.to_csv(index=False, lineterminator="\r\n")  # as RFC 4180: a lone CR or LF in a name is quoted too


def download_csv(table: pd.DataFrame, file_name: str, key: str, label: str = "Download CSV") -> None:
    """A button that saves the table."""
    download.csv(csv_text(table), file_name, key, label)


def table(
    rows: pd.DataFrame, name: str, columns: Mapping[str, Any] | None = None, muted: Iterable[str] = (), **shape: Any
) -> None:
    """A table (as `sheet` draws it), with a button that saves it as `name`.csv."""
    sheet(rows, columns, muted, **shape)
    download_csv(rows, f"{name}.csv", key=f"{name}_csv")


def sheet(rows: pd.DataFrame, columns: Mapping[str, Any] | None = None, muted: Iterable[str] = (), **shape: Any) -> Any:
    """A table whose numbers are written as everywhere in the console, and sort as numbers.

    Thousands apart, a real minus, a dash where unknown. `columns` says how, by column: a number of decimals, PERCENT
    of a fraction, or a column of Streamlit's, of which a format like "%.2f" or "percent" is understood, that of a bar
    as it is. What it leaves out gets no decimals where it is whole, else two. The text of `muted` columns is grey.
    With `on_select` it gives what is selected.
    """
    config, writers = _columns(rows, columns or {})
    look = styled(rows, writers, muted)
    return st.dataframe(look, hide_index=True, placeholder=fmt.DASH, column_config=config or None, **shape)


def styled(rows: pd.DataFrame, writers: Mapping[str, Writer], muted: Iterable[str] = ()) -> pd.DataFrame | Styler:
    """The table with the writing of its numbers; one of many cells stays as it is, because styling would take long."""
    if rows.size > MOST_CELLS or not (rows.index.is_unique and rows.columns.is_unique):
        return rows
    look = rows.style.format({name: writer for name, writer in writers.items() if name in rows}, na_rep=fmt.DASH)
    grey: list[Any] = [name for name in muted if name in rows]
    return look.set_properties(subset=grey, **{"color": GREY}) if grey else look


def _columns(rows: pd.DataFrame, columns: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Writer]]:
    """What Streamlit draws itself, and how the cells of the others are written."""
    config: dict[str, Any] = {}
    writers: dict[str, Writer] = {
        str(name): _decimals(0 if kind in "iu" else 2)
        for name, kind in ((name, dtype.kind) for name, dtype in rows.dtypes.items())
        if kind in "iuf"
    }
    for name, wanted in columns.items():
        if isinstance(wanted, int):
            writers[name] = _decimals(wanted)
            continue
        if wanted == PERCENT:
            writers[name] = fmt.percent
            continue
        kind = dict((wanted or {}).get("type_config") or {})
        writer = None if kind.get("type") == "progress" else _written(str(kind.get("format") or ""))
        if writer is None:
            config[name] = wanted
        else:
            writers[name] = writer
            config[name] = {**wanted, "type_config": {**kind, "format": None}}
    return config, writers


def _decimals(places: int) -> Writer:
    return lambda value: fmt.number(value, places)


def _written(text: str) -> Writer | None:
    """How a format of Streamlit's is written here; None for one that is not of a plain number."""
    if text == PERCENT:
        return lambda value: fmt.percent(value, 1)
    found = _FORMAT.fullmatch(text)
    if found is None:
        return None
    places, kind, unit = int(found[1]), found[2], found[3].replace("%%", "%")
    write = fmt.significant if kind == "g" else fmt.number
    return lambda value: fmt.DASH if not fmt.known(value) else f"{write(value, places)}{unit}"
