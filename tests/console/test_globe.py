from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gridpilot.console import component, globe, globe_parts
from gridpilot.console.server import LAND
from gridpilot.console.theme import DARK, LIGHT, Palette, rgb
from gridpilot.domain import Units
from gridpilot.views import FleetView, Move, SiteView
from gridpilot.views.fleet import prices_of

ROTTERDAM = SiteView(
    "Rotterdam", True, 51.92, 4.48, 96.4, 41.2, 780.0, 820.0, 0.4, Units(), True, "Dutch prices, replayed", age_s=30.0
)
AUSTIN = replace(
    ROTTERDAM, name="Austin", own=False, latitude=30.27, longitude=-97.74, margin_usd_per_h=-6.2, simulated=False
)
NEW = replace(
    ROTTERDAM,
    name="New",
    margin_usd_per_h=math.nan,
    price=math.nan,
    load_kw=math.nan,
    trouble="no decision yet: needs a pilot",
)


@cache
def outline() -> Any:
    return json.loads(LAND.read_text(encoding="utf-8"))


def test_land__file__small_and_inside_the_map() -> None:
    path = Path(LAND)
    assert path.stat().st_size <= 90_000
    polygons = outline()["geometry"]["coordinates"]
    points = [point for polygon in polygons for ring in polygon for point in ring]
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in points)
    assert all(ring[0] == ring[-1] and len(ring) >= 4 for polygon in polygons for ring in polygon)


def test_land__rings__none_runs_the_long_way_round() -> None:
    for polygon in outline()["geometry"]["coordinates"]:
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

    polygons = outline()["geometry"]["coordinates"]
    assert any(inside(outer) and not any(inside(h) for h in holes) for outer, *holes in polygons) is land


def test_columns__earning_losing_unknown__colour_height_and_tooltip() -> None:
    earning, losing, unknown = globe.columns([ROTTERDAM, AUSTIN, NEW], LIGHT)
    assert earning["colour"][:3] == list(rgb(LIGHT["battery"]))
    assert losing["colour"][:3] == list(rgb(LIGHT["warning"]))
    assert unknown["colour"][:3] == list(rgb(LIGHT["muted"]))
    assert earning["height"] == globe.HIGH_M
    assert globe.LOW_M < losing["height"] < globe.HIGH_M
    assert unknown["height"] == globe.LOW_M
    assert "earning: 41.20\xa0USD/h" in earning["tip"] and "Dutch prices, replayed" in earning["tip"]
    assert "simulated machines" in earning["tip"] and "simulated" not in losing["tip"]
    assert "losing: \u22126.20\xa0USD/h" in losing["tip"]
    assert unknown["tip"].splitlines()[1] == "no decision yet: needs a pilot"


@pytest.mark.parametrize(
    ("control", "said", "colour"),
    [("ESTOP", "stopped", "alarm"), ("FAILSAFE", "fail-safe", "alarm"), ("HOLD", "on hold", "muted")],
)
def test_columns__nothing_carried_out__low_without_a_margin(control: str, said: str, colour: str) -> None:
    site = replace(AUSTIN, control=control, margin_usd_per_h=math.nan, load_kw=math.nan)
    (column,) = globe.columns([site], LIGHT)
    assert column["height"] == globe.LOW_M and column["colour"][:3] == list(rgb(LIGHT[colour]))
    assert column["tip"].splitlines()[1] == said and "load" not in column["tip"]
    fleet = FleetView((ROTTERDAM, site), (), (), ())
    assert globe.finding(fleet).endswith(f"No plan is carried out at Austin ({said}).")
    assert globe.finding(FleetView((site,), (), (), ())) == f"No plan is carried out at Austin ({said})."


def test_table__no_pilot__figures_are_of_the_newest_decision() -> None:
    assert "No pilot at work: Rotterdam: figures of the newest decision." in globe_parts.said_of([ROTTERDAM])
    assert "No pilot" not in globe_parts.said_of([replace(ROTTERDAM, pilot=True)])


def test_columns__site_without_a_place__in_the_table_only() -> None:
    assert globe.columns([replace(NEW, latitude=math.nan, longitude=math.nan)], LIGHT) == []


def test_columns__breaks_even__neither_earning_nor_losing() -> None:
    even = replace(ROTTERDAM, margin_usd_per_h=0.001)
    assert globe.word(even) == "even"
    assert globe.columns([even], LIGHT)[0]["colour"][:3] == list(rgb(LIGHT["muted"]))


MOVE = Move("Austin", "Rotterdam", 200.0, 100.0, 90.0, 44.1)
SMALL = Move("Austin", "Rotterdam", 2.0, 1.0, 0.9, 0.1)


def test_arcs__moves__from_dear_to_cheap_and_none_that_is_a_hair() -> None:
    (arc,) = globe.arcs([MOVE, SMALL], [ROTTERDAM, AUSTIN], LIGHT)
    assert (arc["from"], arc["to"]) == ([-97.74, 30.27], [4.48, 51.92])
    assert "would have saved 44.10\xa0USD/h (100\xa0kW less there, 90.0\xa0kW more here)" in arc["tip"]
    assert globe.arcs([MOVE], [ROTTERDAM], LIGHT) == [], "a site that is nowhere has no arc"


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda p: p.name)
@pytest.mark.parametrize("sites", [[], [ROTTERDAM, AUSTIN, NEW]])
def test_spec__either_theme__offline_with_named_layers(palette: Palette, sites: list[SiteView]) -> None:
    text = component.to_json(globe.spec(FleetView(tuple(sites), (MOVE,), (), ()), palette))
    spec = json.loads(text)
    assert [layer["id"] for layer in spec["layers"]] == ["ocean", "land", "moves", "sites"]
    assert spec["views"][0]["@@type"] == "_GlobeView"
    assert "http" not in text
    assert spec["layers"][1]["data"] == "/assets/land.json"


def test_middle__sites_on_both_sides_of_the_date_line__between_them() -> None:
    tokyo, oahu = (replace(ROTTERDAM, longitude=x) for x in (140.0, -158.0))
    assert abs(globe.middle([tokyo, oahu])["longitude"]) == pytest.approx(171.0)


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([NEW], "No site has a decision yet."),
        ([ROTTERDAM], "Rotterdam makes 41.20\xa0USD/h at 96.40\xa0USD/MWh."),
        ([AUSTIN], "Austin loses 6.20\xa0USD/h at 96.40\xa0USD/MWh."),
        (
            [ROTTERDAM, AUSTIN, NEW],
            "2 sites make 35.00\xa0USD/h together: Rotterdam makes most (41.20\xa0USD/h); "
            "Austin loses most (6.20\xa0USD/h at 96.40\xa0USD/MWh). 1 of 3 have no decision to show.",
        ),
        (
            [ROTTERDAM, replace(AUSTIN, margin_usd_per_h=2.0)],
            "2 sites make 43.20\xa0USD/h together: Rotterdam makes most (41.20\xa0USD/h); "
            "none loses, Austin makes least (2.00\xa0USD/h).",
        ),
        (
            [ROTTERDAM, replace(AUSTIN, units=Units(money="index"))],
            "2 sites report in different moneys (USD, index): see each below.",
        ),
    ],
)
def test_finding__who_makes_and_loses__in_one_sentence(sites: list[SiteView], said: str) -> None:
    assert globe.finding(FleetView(tuple(sites), (), (), ())) == said


def test_table__one_unit__in_the_header_and_several__beside_the_price() -> None:
    assert list(globe_parts.table([ROTTERDAM, AUSTIN]).columns)[2:4] == ["USD/h", "USD/MWh"]
    euro = replace(AUSTIN, units=Units(energy="EUR/MWh", energy_usd_per_mwh=1.08))
    mixed = globe_parts.table([ROTTERDAM, euro])
    assert list(mixed.columns)[3] == "price" and mixed["units"].tolist() == ["USD, USD/MWh", "USD, EUR/MWh"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("replay", "Dutch prices, replayed"),
        ("replay:ERCOT/HB_WEST", "ERCOT HB_WEST prices, replayed"),
        ("energy-charts:DE-LU", "DE-LU prices, live"),
        ("gridstatus:caiso/TH_SP15_GEN-APND", "CAISO TH_SP15_GEN-APND prices, live"),
        ("gridstatus:ercot/HB_NORTH/real-time", "ERCOT HB_NORTH real-time prices, live"),
        ("mara", "MARA's index, live"),
        ("csv:/tmp/x.csv", "a price file"),
    ],
)
def test_prices_of__source__says_whose_prices_they_are(source: str, said: str) -> None:
    assert prices_of(source) == said
