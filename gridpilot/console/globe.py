"""The globe: sites as columns on an offline map. Its content stands in a table beside it on the page.

Drawn by deck.gl's globe view from our own land outline, with no map service: nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gridpilot.console import format as fmt
from gridpilot.console.theme import Palette, rgb

if TYPE_CHECKING:
    from gridpilot.views import SiteView

LAND: Final = Path(__file__).resolve().parents[1] / "data" / "land.json"
LAND_CREDIT: Final = "Land: Natural Earth (public domain)"

RADIUS_M: Final = 95_000  # seen from far away a real site would be no dot at all
LOW_M, HIGH_M = 250_000.0, 1_200_000.0
OCEAN: Final = {"light": (221, 227, 231), "dark": (29, 37, 43)}
COAST: Final = {"light": (182, 190, 196), "dark": (66, 77, 84)}
# The whole world as one opaque ring, which hides the far side; stepped, because one side may not exceed half a turn.
_WORLD: Final = [[x, 89.9] for x in range(-180, 181, 10)] + [[x, -89.9] for x in range(180, -181, -10)]


@cache
def land() -> dict[str, Any]:
    """The land outline (GeoJSON), read once."""
    out: dict[str, Any] = json.loads(LAND.read_text(encoding="utf-8"))
    return out


def columns(sites: Sequence[SiteView], palette: Palette) -> list[dict[str, Any]]:
    """One record a site: place, height by the size of its margin, colour by earning or losing, tooltip texts.

    Losing is the amber of a warning, earning the teal of the energy business; the tooltip and the table say
    it in words. A site whose margin is not known is grey and low.
    """
    known = [abs(s.margin_usd_per_h) for s in sites if fmt.known(s.margin_usd_per_h)]
    largest = max(known, default=0.0) or 1.0
    records = []
    for site in sites:
        margin = site.margin_usd_per_h
        sure = fmt.known(margin)
        height = LOW_M + (HIGH_M - LOW_M) * (abs(margin) / largest if sure else 0.0)
        colour = "muted" if not sure else "warning" if margin < 0 else "battery"
        records.append(
            {
                "name": site.name,
                "position": [float(site.longitude), float(site.latitude)],
                "height": height,
                "colour": [*rgb(palette[colour]), 255],
                "margin": str(fmt.money(margin, site.units.money, "h")),
                "word": "margin not known" if not sure else "losing" if margin < 0 else "earning",
                "price": str(fmt.price(site.price, site.units.energy)),
                "load": str(fmt.power(site.load_kw)),
                "data": "simulated" if site.simulated else "live",
            }
        )
    return records


def deck(sites: Sequence[SiteView], palette: Palette) -> Any:
    """The globe as a `pydeck.Deck` (which has no types), turned to the middle of the sites."""
    pdk: Any = import_module("pydeck")

    quiet = {"stroked": False, "pickable": False}
    layers = [
        pdk.Layer(
            "SolidPolygonLayer",
            id="ocean",
            data=[{"polygon": _WORLD}],
            get_polygon="polygon",
            get_fill_color=[*OCEAN[palette.name], 255],
            filled=True,
            **quiet,
        ),
        pdk.Layer(
            "GeoJsonLayer",
            id="land",
            data=land(),
            filled=True,
            get_fill_color=[*rgb(palette["line"]), 255],
            stroked=True,
            get_line_color=[*COAST[palette.name], 255],
            line_width_min_pixels=0.8,
            pickable=False,
        ),
        pdk.Layer(
            "ColumnLayer",
            id="sites",
            data=columns(sites, palette),
            get_position="position",
            get_elevation="height",
            get_fill_color="colour",
            radius=RADIUS_M,
            disk_resolution=24,
            extruded=True,
            pickable=True,
            auto_highlight=True,
            highlight_color=[255, 255, 255, 70],
            material=False,
        ),
    ]
    return pdk.Deck(
        layers=layers,
        views=[pdk.View(type="_GlobeView", controller=True)],
        initial_view_state=pdk.ViewState(**_middle(sites), zoom=1.3, min_zoom=0, max_zoom=6),
        map_provider=None,
        parameters={"cull": True},
        tooltip={
            "text": "{name} ({data})\n{word}: {margin}\nprice {price}, load {load}",
            "style": {"backgroundColor": palette["panel"], "color": palette["ink"], "fontSize": "13px"},
        },
    )


def _middle(sites: Sequence[SiteView]) -> dict[str, float]:
    """Mean place of the sites, good enough to have them in view; the Atlantic when there are none."""
    if not sites:
        return {"latitude": 25.0, "longitude": -20.0}
    latitude = sum(s.latitude for s in sites) / len(sites)
    longitude = sum(s.longitude for s in sites) / len(sites)
    return {"latitude": max(-50.0, min(50.0, latitude - 15.0)), "longitude": longitude}
