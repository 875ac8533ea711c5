from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gridpilot.config import load_site
from gridpilot.console import theme
from gridpilot.console.theme import DARK, LIGHT, Palette

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))


def _luminance(colour: str) -> float:
    parts = [c / 255 for c in theme.rgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda p: p.name)
def test_palette__text_and_marks__readable_on_the_background(palette: Palette) -> None:
    for name in ("ink", "muted", "price", "warning", "alarm"):
        least = 3.0 if name in ("warning", "alarm") else 4.5
        assert _contrast(palette[name], palette["background"]) >= least, name


def test_palette__light_values__each_used_once_so_that_recolouring_is_exact() -> None:
    light = list(LIGHT.colours.values())
    assert len(light) == len(set(light))
    assert theme.recolouring()[LIGHT["air"]] == DARK["air"]


def test_recolouring__translucent_colour__keeps_its_opacity() -> None:
    start = "rgba({},{},{},".format(*theme.rgb(LIGHT["air"]))
    assert theme.translucent(LIGHT["air"], 0.28).startswith(start)
    assert theme.recolouring()[start] == "rgba({},{},{},".format(*theme.rgb(DARK["air"]))


def test_hue__known_like_and_unknown__always_the_same() -> None:
    assert theme.hue("Hydro") == LIGHT["hydro"]
    assert theme.hue("training", DARK) == DARK["jobs"]
    assert theme.hue("render-farm") == theme.hue("render-farm")
    assert theme.hue_name("render-farm").startswith("other_")


def test_machines__three_blues__from_light_to_dark() -> None:
    lights = [_luminance(LIGHT[name]) for name in ("air", "immersion", "hydro")]
    assert lights == sorted(lights, reverse=True)
    assert _luminance(LIGHT["charge"]) > _luminance(LIGHT["discharge"])


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda p: p.name)
def test_config__colours__those_of_the_palette(palette: Palette) -> None:
    section = CONFIG["theme"][palette.name]
    assert tuple(section["chartCategoricalColors"]) == palette.categorical
    assert len(palette.categorical) >= 10
    expected = {"backgroundColor": "background", "secondaryBackgroundColor": "panel", "textColor": "ink"}
    expected |= {"borderColor": "line", "redColor": "alarm", "orangeColor": "warning", "grayColor": "muted"}
    assert {key: section[key] for key in expected} == {key: palette[name] for key, name in expected.items()}


def test_tenants__of_one_site__tell_apart_as_far_as_there_are_hues() -> None:
    hues = theme.hues_of(load_site(ROOT / "gridpilot" / "data" / "site-default.toml"))
    names = [hues["render-farm"], hues["cold-store"]]
    assert hues["training"] == "jobs" and len(set(names)) == 2
    for palette in (LIGHT, DARK):
        assert _contrast(palette[names[0]], palette[names[1]]) >= 1.4
