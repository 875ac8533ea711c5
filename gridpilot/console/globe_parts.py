"""What stands beside the globe: the table of the sites, the moves in words, and how a fleet comes to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import streamlit as st

from gridpilot.console import format as fmt
from gridpilot.console import globe, widgets

if TYPE_CHECKING:
    from gridpilot.views import FleetView, SiteView

EXAMPLE: Final = """[[sites]]
name = "Odessa"
site = "odessa.toml"        # its site file
ledger = "odessa.db"        # or postgresql://...
source = "replay:ERCOT/HB_WEST"
"""
HOW: Final = (
    "A fleet file names sites with their ledgers. Set GRIDPILOT_FLEET to it and each one stands here, in the picker "
    "above and under its own address (?site=NAME). Ten example sites: .venv/bin/python -m gridpilot up --fleet "
    "gridpilot/data/fleet/ten.toml"
)
SUGGESTED: Final = (
    "A suggestion, nothing is sent. From decisions of one moment: what one more kWh is worth at each site, machines "
    "that stand still, the room of each connection. Not in it: the way there, its delay, what customers were promised."
)
_SHARE: Final = st.column_config.ProgressColumn(format="%.0f", min_value=0.0, max_value=100.0, width=84)
COLUMNS: Final[dict[str, Any]] = {
    "site": st.column_config.TextColumn(pinned=True),
    "data": st.column_config.TextColumn(width=225),
    **dict.fromkeys(("load, %", "SOC, %"), _SHARE),
    **dict.fromkeys(("alarms", "age, s"), 0),
}


def table(sites: Sequence[SiteView]) -> pd.DataFrame:
    """The sites, as on the globe and more."""
    units = sorted({s.units.energy for s in sites if globe.word(s) != "no data"})
    monies = sorted({s.units.money for s in sites if globe.word(s) != "no data"})
    unit, money = (found[0] if len(found) == 1 else "" for found in (units, monies))
    columns: dict[str, list[Any]] = {
        "site": [s.name for s in sites],
        "is": [globe.word(s) for s in sites],
        f"{money or 'money'}/h": [s.margin_usd_per_h for s in sites],
        unit or "price": [s.price for s in sites],
        "load, %": [100.0 * s.load_kw / s.import_kw if s.import_kw > 0.0 else None for s in sites],
        "SOC, %": [100.0 * s.soc_frac for s in sites],
        "alarms": [s.alarms if globe.word(s) != "no data" else None for s in sites],
        "age, s": [s.age_s for s in sites],
        "data": [_data(s) for s in sites],
    }
    if not unit:
        columns["units"] = ["" if globe.word(s) == "no data" else f"{s.units.money}, {s.units.energy}" for s in sites]
    return pd.DataFrame(columns)


def _data(site: SiteView) -> str:
    """Whose prices it goes by, or what it lacks; the whole of it is below the table (`said_of`)."""
    return (site.trouble.partition(":")[0] if globe.word(site) == "no data" else site.trouble) or site.prices


def show_table(rows: pd.DataFrame, sites: Sequence[SiteView]) -> str:
    """The table of these sites; the name of the one whose row was chosen."""
    event: Any = widgets.sheet(
        rows, COLUMNS, on_select="rerun", selection_mode="single-row", key="sites", height="content"
    )
    chosen = event.selection.rows
    return sites[chosen[0]].name if chosen else ""


def below_table(rows: pd.DataFrame, sites: Sequence[SiteView]) -> None:
    """What the table leaves open, and the button that saves it."""
    st.caption(widgets.inert(said_of(sites)))
    widgets.download_csv(rows, "sites.csv", key="globe_csv")


def said_of(sites: Sequence[SiteView]) -> str:
    """What sites without a decision need, and whose machines are simulated."""
    wanting: dict[str, list[str]] = {}
    for site in sites:
        if globe.word(site) == "no data":
            wanting.setdefault(site.trouble or "no decision yet", []).append(site.name)
    parts = [f"{', '.join(names)}: {why}." for why, names in wanting.items()]
    known = [s for s in sites if globe.word(s) != "no data"]
    alone = [s.name for s in known if globe.makes(s) and not s.pilot]
    if alone:
        parts.append(f"No pilot at work: {', '.join(alone)}: figures of the newest decision.")
    simulated = [s.name for s in known if s.simulated]
    if simulated:
        whose = "all other sites" if wanting else "all sites"
        parts.append(f"Simulated: {', '.join(simulated) if len(simulated) < len(known) else whose}.")
    return " ".join(parts)


def moves(fleet: FleetView) -> None:
    """Work that would have been cheaper elsewhere, or why none would."""
    widgets.finding(moves_title(fleet))
    least = globe.LEAST * max((move.usd_per_h for move in fleet.moves), default=0.0)
    large = [move for move in fleet.moves if move.usd_per_h >= least]
    rows = [f"- {widgets.inert(globe.saying(move))}" for move in large]
    if len(large) < len(fleet.moves):
        rows.append(f"- and {len(fleet.moves) - len(large)} that would have saved next to nothing")
    if rows:
        st.markdown("\n".join(rows))
    if fleet.later:
        names = ", ".join(fleet.later)
        st.caption(widgets.inert(f"Not compared, because their newest decision is of another moment: {names}."))
    st.caption(SUGGESTED)


def moves_title(fleet: FleetView) -> str:
    """The finding about work that could run elsewhere."""
    if fleet.moves:
        saved = fmt.money(sum(move.usd_per_h for move in fleet.moves), "USD", "h")
        return f"Moving inference would have saved {saved}"
    if len(fleet.compared) > 1:
        return "No inference would have been cheaper elsewhere"
    return "Fewer than two sites can be compared: no work to move"


def how() -> None:
    """What a fleet is, where there is none."""
    widgets.empty_state("One site so far", HOW)
    st.code(EXAMPLE, language=None, wrap_lines=True)
