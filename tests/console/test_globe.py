from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from gridpilot.console import globe
from gridpilot.console.theme import DARK, LIGHT, Palette, rgb
from gridpilot.domain import Units
from gridpilot.views import SiteView

ROTTERDAM = SiteView("Rotterdam", 51.92, 4.48, 96.4, 41.2, 780.0, 820.0, 0.4, Units(), True)
AUSTIN = replace(ROTTERDAM, name="Austin", latitude=30.27, longitude=-97.74, margin_usd_per_h=-6.2, simulated=False)
NEW = replace(ROTTERDAM, name="New", margin_usd_per_h=math.nan, price=math.nan, load_kw=math.nan)


def test_land__file__small_and_inside_the_map() -> None:
    path = Path(globe.LAND)
    assert path.stat().st_size <= 90_000
    polygons = globe.land()["geometry"]["coordinates"]
    points = [point for polygon in polygons for ring in polygon for point in ring]
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in points)
    assert all(ring[0] == ring[-1] and len(ring) >= 4 for polygon in polygons for ring in polygon)


def test_land__rings__none_runs_the_long_way_round() -> None:
    for polygon in globe.land()["geometry"]["coordinates"]:
        for ring in polygon:
            jumps = [(a, b) for a, b in itertools.pairwise(ring) if abs(a[0] - b[0]) > 180]
            assert all(a[1] == b[1] == -90 for a, b in jumps)  # along the pole itself it is no way at all


@pytest.mark.parametrize(
    ("x", "y", "land"),
    [(5, 52, True), (-98, 30, True), (135, -25, True), (0, -85, True), (-30, 30, False), (51, 42, False),
     (180, 0, False), (-175, 67, True), (175, 67, True)],
)  # fmt: skip
def test_land__known_places__on_land_or_at_sea(x: float, y: float, land: bool) -> None:
    def inside(ring: list[list[float]]) -> bool:
        crossings = [
            (a[1] > y) != (b[1] > y) and x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]
            for a, b in itertools.pairwise(ring)
        ]
        return sum(crossings) % 2 == 1

    polygons = globe.land()["geometry"]["coordinates"]
    assert any(inside(outer) and not any(inside(h) for h in holes) for outer, *holes in polygons) is land


def test_columns__earning_losing_unknown__colour_height_and_word() -> None:
    earning, losing, unknown = globe.columns([ROTTERDAM, AUSTIN, NEW], LIGHT)
    assert (earning["word"], losing["word"], unknown["word"]) == ("earning", "losing", "margin not known")
    assert earning["colour"][:3] == list(rgb(LIGHT["battery"]))
    assert losing["colour"][:3] == list(rgb(LIGHT["warning"]))
    assert earning["height"] == globe.HIGH_M
    assert globe.LOW_M < losing["height"] < globe.HIGH_M
    assert unknown["height"] == globe.LOW_M
    assert unknown["price"] == "–"


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda p: p.name)
@pytest.mark.parametrize("sites", [[], [ROTTERDAM, AUSTIN, NEW]])
def test_deck__either_theme__offline_with_named_layers(palette: Palette, sites: list[SiteView]) -> None:
    spec = json.loads(globe.deck(sites, palette).to_json())
    assert [layer["id"] for layer in spec["layers"]] == ["ocean", "land", "sites"]
    assert spec["views"][0]["@@type"] == "_GlobeView"
    assert "http" not in json.dumps(spec)
