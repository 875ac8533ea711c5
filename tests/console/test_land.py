from __future__ import annotations

import pytest

from scripts.build_land import area, build, clip, cut, decode_arcs, join, tidy, unwrap


def test_decode_and_join__tiny_topology__ring_in_degrees() -> None:
    topology = {
        "transform": {"scale": [1.0, 2.0], "translate": [10.0, 20.0]},
        "arcs": [[[0, 0], [2, 0], [0, 2]], [[0, 0], [0, 2], [2, 0]]],
        "objects": {"land": {"geometries": [{"arcs": [[[0, ~1]]]}]}},
    }
    arcs = decode_arcs(topology)
    assert arcs[0] == [(10.0, 20.0), (12.0, 20.0), (12.0, 24.0)]
    assert join([0, ~1], arcs)[-1] == (10.0, 20.0)
    (polygon,) = build(topology)["geometry"]["coordinates"]
    assert area(polygon[0]) == pytest.approx(8.0)


def test_cut__ring_over_the_antimeridian__two_pieces_of_the_same_area() -> None:
    ring = [(170.0, 0.0), (-170.0, 0.0), (-170.0, 10.0), (170.0, 10.0)]
    assert unwrap(ring)[1] == (190.0, 0.0)
    pieces = [tidy(piece) for piece in cut(ring)]
    assert len(pieces) == 2
    assert sum(area(piece) for piece in pieces) == pytest.approx(200.0)
    assert all(-180.0 <= x <= 180.0 for piece in pieces for x, _ in piece)


def test_cut__ring_around_the_pole__closed_along_it() -> None:
    ring = [(x, -70.0) for x in range(-180, 180, 10)] + [(179.9, -70.0)]
    assert sum(area(tidy(piece)) for piece in cut(ring)) == pytest.approx(360.0 * 20.0, rel=0.01)


def test_clip__triangle__cut_at_the_meridian() -> None:
    left = clip([(0.0, 0.0), (2.0, 0.0), (0.0, 2.0)], 1.0, keep_below=True)
    assert left == [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 2.0)]
