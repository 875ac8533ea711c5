"""The globe: sites as columns on an offline map, and arcs of work that would have been cheaper elsewhere.

What deck.gl is to draw, as its JSON form; `live_globe` shows it. Its content stands in a table beside it on the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gridpilot.console import format as fmt
from gridpilot.console.server import LAND_PATH
from gridpilot.console.theme import Palette, hue, rgb

if TYPE_CHECKING:
    from gridpilot.views import FleetView, Move, SiteView

LAND_CREDIT: Final = "Land: Natural Earth (public domain)"

RADIUS_M: Final = 95_000  # seen from far away a real site would be no dot at all
LOW_M, HIGH_M = 200_000.0, 1_200_000.0
OCEAN: Final = {"light": (221, 227, 231), "dark": (29, 37, 43)}
COAST: Final = {"light": (182, 190, 196), "dark": (66, 77, 84)}
WHOLE: Final = 1.85  # zoom at which the globe fills the picture's height
STANDS: Final = {"ESTOP": "stopped", "FAILSAFE": "fail-safe", "HOLD": "on hold"}  # no plan is carried out
COLOURS: Final = {"earning": "battery", "losing": "warning", "stopped": "alarm", "fail-safe": "alarm"}
LEAST: Final = 0.02  # of the largest saving: a smaller one is counted, not drawn
# The whole world as one opaque ring, which hides the far side; stepped, because one side may not exceed half a turn.
_WORLD: Final = [[x, 89.9] for x in range(-180, 181, 10)] + [[x, -89.9] for x in range(180, -181, -10)]


def word(site: SiteView) -> str:
    """What a site does, in one word or two."""
    if not site.trouble and site.control in STANDS:
        return STANDS[site.control]
    if site.trouble or not fmt.known(site.margin_usd_per_h):
        return "no data"
    if abs(site.margin_usd_per_h) < 0.005:
        return "even"
    return "losing" if site.margin_usd_per_h < 0.0 else "earning"


def makes(site: SiteView) -> bool:
    """Whether a decision is carried out there, so that it has a margin."""
    return word(site) not in ("no data", *STANDS.values())


def columns(sites: Sequence[SiteView], palette: Palette) -> list[dict[str, Any]]:
    """One record a site: place, height by the size of its margin, colour by earning or losing, tooltip.

    Losing is the amber of a warning, earning the teal of the energy business, stopped and in fail-safe the red of an
    alarm; the tooltip and the table say it in words. A site whose margin is not known is low; one without a place is
    in the table only.
    """
    known = [abs(s.margin_usd_per_h) for s in sites if fmt.known(s.margin_usd_per_h)]
    largest = max(known, default=0.0) or 1.0
    records = []
    for site in sites:
        if not (fmt.known(site.latitude) and fmt.known(site.longitude)):
            continue
        said = word(site)
        share = abs(site.margin_usd_per_h) / largest if fmt.known(site.margin_usd_per_h) else 0.0
        colour = COLOURS.get(said, "muted")
        records.append(
            {
                "name": site.name,
                "position": [float(site.longitude), float(site.latitude)],
                "height": LOW_M + (HIGH_M - LOW_M) * share,
                "colour": [*rgb(palette[colour]), 255],
                "tip": tip(site),
            }
        )
    return records


def tip(site: SiteView) -> str:
    """What stands beside the pointer."""
    if word(site) == "no data":
        return f"{site.name}\n{site.trouble or 'no decision yet'}\n{site.prices}"
    lines = [
        site.name + (" (simulated machines)" if site.simulated else ""),
        word(site) + (f": {fmt.money(site.margin_usd_per_h, site.units.money, 'h')}" if makes(site) else ""),
        f"{fmt.price(site.price, site.units.energy)}: {site.prices}",
    ]
    if makes(site):
        lines.append(f"load {fmt.power(site.load_kw)} of {fmt.power(site.import_kw)}")
    if fmt.known(site.soc_frac):
        lines.append(f"battery {fmt.percent(site.soc_frac)}")
    lines.append(f"{fmt.count(site.alarms, 'alarm')}, decided {fmt.age(site.age_s)}")
    return "\n".join(lines)


def arcs(moves: Sequence[Move], sites: Sequence[SiteView], palette: Palette) -> list[dict[str, Any]]:
    """One record a move, from the dear site to the cheap one."""
    place = {s.name: [float(s.longitude), float(s.latitude)] for s in sites if fmt.known(s.latitude)}
    largest = max((move.usd_per_h for move in moves), default=0.0)
    return [
        {
            "from": place[move.origin],
            "to": place[move.target],
            "colour": [*rgb(hue("inference", palette)), 200],
            "width": 1.5 + 4.0 * move.usd_per_h / largest,
            "tip": saying(move),
        }
        for move in moves
        if move.origin in place and move.target in place and move.usd_per_h >= LEAST * largest
    ]


def saying(move: Move) -> str:
    """A move in words."""
    return (
        f"Inference from {move.origin} to {move.target}: would have saved {fmt.money(move.usd_per_h, 'USD', 'h')} "
        f"({fmt.power(move.frees_kw)} less there, {fmt.power(move.takes_kw)} more here)"
    )


def spec(fleet: FleetView, palette: Palette) -> dict[str, Any]:
    """The globe as deck.gl's JSON, turned to the middle of the sites. Nothing in it is fetched from outside."""
    quiet = {"pickable": False}
    layers: list[dict[str, Any]] = [
        {
            "@@type": "SolidPolygonLayer",
            "id": "ocean",
            "data": [{"polygon": _WORLD}],
            "getPolygon": "@@=polygon",
            "getFillColor": [*OCEAN[palette.name], 255],
            **quiet,
        },
        {
            "@@type": "GeoJsonLayer",
            "id": "land",
            "data": LAND_PATH,
            "getFillColor": [*rgb(palette["line"]), 255],
            "getLineColor": [*COAST[palette.name], 255],
            "lineWidthMinPixels": 0.8,
            **quiet,
        },
        {
            "@@type": "ArcLayer",
            "id": "moves",
            "data": arcs(fleet.moves, fleet.sites, palette),
            "getSourcePosition": "@@=from",
            "getTargetPosition": "@@=to",
            "getSourceColor": "@@=colour",
            "getTargetColor": "@@=colour",
            "getWidth": "@@=width",
            "getHeight": 0.35,
            "greatCircle": True,
            "pickable": True,
            "parameters": {"cullMode": "none"},
        },
        {
            "@@type": "ColumnLayer",
            "id": "sites",
            "data": columns(fleet.sites, palette),
            "getPosition": "@@=position",
            "getElevation": "@@=height",
            "getFillColor": "@@=colour",
            "radius": RADIUS_M,
            "diskResolution": 24,
            "extruded": True,
            "pickable": True,
            "autoHighlight": True,
            "highlightColor": [255, 255, 255, 70],
            "material": False,
        },
    ]
    view = {"@@type": "_GlobeView", "id": "globe", "controller": True}
    return {"views": [view], "initialViewState": middle(fleet.sites), "mapProvider": None, "layers": layers}


def middle(sites: Sequence[SiteView]) -> Mapping[str, float]:
    """Where to look from: above the middle of the sites, the whole globe in sight."""
    placed = [s for s in sites if fmt.known(s.latitude) and fmt.known(s.longitude)]
    if not placed:
        return {"latitude": 25.0, "longitude": -20.0, "zoom": 1.6, "minZoom": 0, "maxZoom": 6}
    east = [math.radians(s.longitude) for s in placed]
    x, y = sum(map(math.cos, east)), sum(map(math.sin, east))
    longitude = math.degrees(math.atan2(y, x))  # the mean of directions, good on both sides of the date line
    latitude = sum(s.latitude for s in placed) / len(placed)
    latitude = max(-50.0, min(50.0, latitude - 4.0))
    zoom = WHOLE + math.log2(math.cos(math.radians(latitude)))  # deck.gl draws the globe larger away from the equator
    return {"latitude": latitude, "longitude": longitude, "zoom": zoom, "minZoom": 0, "maxZoom": 6}


def finding(fleet: FleetView) -> str:
    """Where we make and lose money, in one sentence."""
    known = [s for s in fleet.sites if makes(s)]
    still = [f"{s.name} ({word(s)})" for s in fleet.sites if word(s) in STANDS.values()]
    silent = len(fleet.sites) - len(known) - len(still)
    rest = f" No plan is carried out at {', '.join(still)}." if still else ""
    if not known:
        return rest.strip() or "No site has a decision yet."
    rest += f" {silent} of {len(fleet.sites)} have no decision to show." if silent else ""
    monies = {s.units.money for s in known}
    best, worst = (pick(known, key=lambda s: s.margin_usd_per_h) for pick in (max, min))
    if len(known) == 1:
        rate = fmt.money(abs(best.margin_usd_per_h), best.units.money, "h")
        verb = "makes" if best.margin_usd_per_h >= 0.0 else "loses"
        return f"{best.name} {verb} {rate} at {fmt.price(best.price, best.units.energy)}.{rest}"
    if len(monies) > 1:
        return f"{len(known)} sites report in different moneys ({', '.join(sorted(monies))}): see each below.{rest}"
    money, total = monies.pop(), sum(s.margin_usd_per_h for s in known)
    losing = [s for s in known if s.margin_usd_per_h < 0.0]
    verb = "make" if total >= 0.0 else "lose"
    most = f"{best.name} makes most ({fmt.money(best.margin_usd_per_h, money, 'h')})"
    if losing:
        at = fmt.price(worst.price, worst.units.energy)
        least = f"{worst.name} loses most ({fmt.money(-worst.margin_usd_per_h, money, 'h')} at {at})"
    else:
        least = f"none loses, {worst.name} makes least ({fmt.money(worst.margin_usd_per_h, money, 'h')})"
    return f"{len(known)} sites {verb} {fmt.money(abs(total), money, 'h')} together: {most}; {least}.{rest}"
