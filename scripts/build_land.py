"""Builds gridpilot/data/land.json, the land outline of the globe: `python scripts/build_land.py`.

Source: land-110m.json of the npm package world-atlas 2.0.2 (ISC, Michael Bostock), which is the
1:110m land of Natural Earth (public domain). The outline is decoded from TopoJSON, cut at the antimeridian
(a ring across it would be drawn the long way round the globe), rounded to 2 decimals (about 1 km) and
written as one GeoJSON MultiPolygon. Needs npm, and network for `npm pack`.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "world-atlas@2.0.2"
TARGET = Path(__file__).resolve().parents[1] / "gridpilot" / "data" / "land.json"
LIMIT_BYTES = 90_000
CREDIT = "Natural Earth 1:110m land (public domain), by way of world-atlas 2.0.2 (ISC, Michael Bostock)"

Point = tuple[float, float]
Ring = list[Point]


def fetch() -> dict[str, Any]:
    """land-110m.json out of the package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            member = archive.extractfile("package/land-110m.json")
            if member is None:
                raise FileNotFoundError(f"{PACKAGE} holds no land-110m.json")
            atlas: dict[str, Any] = json.load(member)
            return atlas


def decode_arcs(topology: dict[str, Any]) -> list[Ring]:
    """The shared lines: whole-number steps from point to point, scaled and moved to degrees."""
    (scale_x, scale_y), (move_x, move_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for deltas in topology["arcs"]:
        x = y = 0
        line = []
        for dx, dy in deltas:
            x, y = x + dx, y + dy
            line.append((x * scale_x + move_x, y * scale_y + move_y))
        arcs.append(line)
    return arcs


def join(numbers: list[int], arcs: list[Ring]) -> Ring:
    """One ring from its lines; ~n is line n backwards, and neighbours share a point."""
    ring: Ring = []
    for n in numbers:
        line = arcs[n] if n >= 0 else arcs[~n][::-1]
        ring += line if not ring else line[1:]
    return ring


def unwrap(ring: Ring) -> Ring:
    """Longitudes made continuous: a jump of more than half a turn is a step over the antimeridian."""
    out = [ring[0]]
    for x, y in ring[1:]:
        turns = round((x - out[-1][0]) / 360.0)
        out.append((x - 360.0 * turns, y))
    return out


def clip(ring: Ring, limit: float, keep_below: bool) -> Ring:
    """The part of a closed ring on one side of a meridian (Sutherland and Hodgman)."""
    out: Ring = []
    for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
        inside1, inside2 = (x1 <= limit, x2 <= limit) if keep_below else (x1 >= limit, x2 >= limit)
        if inside1:
            out.append((x1, y1))
        if inside1 != inside2:
            out.append((limit, y1 + (y2 - y1) * (limit - x1) / (x2 - x1)))
    return out


def around_pole(ring: Ring) -> Ring:
    """A ring that goes once round the pole (Antarctica), closed along the pole."""
    if abs(ring[-1][0] - ring[0][0]) < 180.0:
        return ring
    pole = -90.0 if ring[0][1] < 0 else 90.0
    return [*ring, (ring[-1][0], pole), (ring[0][0], pole)]


def cut(ring: Ring) -> list[Ring]:
    """The ring as pieces that lie between -180 and 180 degrees."""
    flat = around_pole(unwrap(ring))
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        moved = [(x + turn, y) for x, y in flat]
        piece = clip(clip(moved, 180.0, keep_below=True), -180.0, keep_below=False)
        if len(piece) >= 3:
            pieces.append(piece)
    return pieces


def tidy(ring: Ring) -> list[list[float]]:
    """Rounded, without repeated points, closed."""
    points: list[list[float]] = []
    for x, y in ring:
        point = [round(x, 2) + 0.0, round(y, 2) + 0.0]
        if not points or point != points[-1]:
            points.append(point)
    if points[0] != points[-1]:
        points.append(points[0])
    return points


def area(ring: list[list[float]]) -> float:
    """Area in square degrees (shoelace formula)."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))) / 2.0


def build(topology: dict[str, Any]) -> dict[str, Any]:
    """GeoJSON of all land. The only inner ring of this scale (the Caspian Sea) stays a hole."""
    arcs = decode_arcs(topology)
    polygons: list[list[list[list[float]]]] = []
    for geometry in topology["objects"]["land"]["geometries"]:
        for polygon in geometry["arcs"]:
            outer, *holes = (join(numbers, arcs) for numbers in polygon)
            pieces = [tidy(piece) for piece in cut(outer)]
            pieces = [piece for piece in pieces if len(piece) >= 4 and area(piece) > 0.01]
            inner = [tidy(hole) for hole in holes]
            mainland = max(pieces, key=area, default=None)  # the sea lies far from the antimeridian
            polygons += [[piece, *(inner if piece is mainland else [])] for piece in pieces]
    geometry = {"type": "MultiPolygon", "coordinates": polygons}
    return {"type": "Feature", "properties": {"credit": CREDIT}, "geometry": geometry}


def main() -> None:
    """Build and write the file."""
    text = json.dumps(build(fetch()), separators=(",", ":"))
    if len(text) > LIMIT_BYTES:
        raise ValueError(f"land.json would have {len(text):,} bytes; expected at most {LIMIT_BYTES:,}")
    TARGET.write_text(text + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
