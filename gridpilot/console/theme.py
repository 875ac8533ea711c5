"""The colours of the console, in one place: one hue per thing, the same on every page and chart.

Figures are always drawn in the LIGHT palette and recoloured for a dark screen in the browser
(`live_chart`), so a figure does not depend on who looks at it. Every colour name therefore has one
light and one dark value, and no two names share a light value. `.streamlit/config.toml` repeats the
surfaces and the categorical colours for Streamlit's own elements; a test holds the two together.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gridpilot.domain import Site

SURFACE: Final[Mapping[str, tuple[str, str]]] = {
    # what is not a thing of the site: light, dark
    "background": ("#f6f7f8", "#15191c"),
    "panel": ("#e9ebed", "#20262a"),
    "ink": ("#20272c", "#e4e8ea"),
    "muted": ("#5f6a72", "#9aa5ac"),
    "line": ("#c9ced2", "#3b444a"),
    "grid": ("#dfe3e6", "#2a3136"),
    "now": ("#3d474e", "#c3cbd0"),
    "night": ("rgba(88,100,110,0.09)", "rgba(4,6,8,0.36)"),
    "band": ("rgba(92,103,111,0.20)", "rgba(172,183,190,0.20)"),
    "band_outer": ("rgba(92,103,111,0.10)", "rgba(172,183,190,0.11)"),
    "warning": ("#b26a00", "#e8a33a"),
    "alarm": ("#c4281c", "#f2685c"),
}

HUE: Final[Mapping[str, tuple[str, str]]] = {
    # one hue per thing: light, dark
    "price": ("#262d33", "#dde2e5"),
    "battery": ("#0f7f78", "#35b5ac"),
    "charge": ("#6cc0b7", "#8fdcd4"),
    "discharge": ("#0b5f5b", "#219087"),
    "air": ("#92bde6", "#bcd9f5"),
    "immersion": ("#4a86c5", "#6ea6e0"),
    "hydro": ("#1d4f91", "#3f74bd"),
    "gpu": ("#6fae58", "#93cf7c"),
    "asic": ("#2c7a3f", "#4b9c5b"),
    "jobs": ("#8b8626", "#bdb84f"),
    "cooling": ("#75869a", "#8d9fb3"),
    "grid_import": ("#80705f", "#a89581"),
    "grid_export": ("#b8a591", "#d3c3b1"),
    "tenants": ("#8a6aa6", "#b596d0"),
    "tenant_2": ("#bba3d1", "#dccbec"),  # the second and the third of a site, beside each other
    "tenant_3": ("#5f3f80", "#8a63b3"),
    "other_1": ("#9c4f78", "#cb86ab"),  # things that have no hue of their own
    "other_2": ("#5f56a6", "#8f87d6"),
    "other_3": ("#7d6276", "#b39aab"),
}

# Streamlit's own charts and any thing without a hue of its own draw from these, in this order.
CATEGORICAL: Final = (
    "hydro", "gpu", "battery", "jobs", "tenants", "immersion", "asic", "cooling", "grid_import", "air", "charge",
    "grid_export",
)  # fmt: skip

_LIKE: Final[Mapping[str, str]] = {
    "soc": "battery",
    "training": "jobs",
    "inference": "gpu",
    "mining": "immersion",
    "import": "grid_import",
    "export": "grid_export",
    "grid": "grid_import",
    "tenant": "tenants",
    "energy": "price",
    "reserve": "cooling",
}
_SPARE: Final = ("other_1", "other_2", "other_3")
_TENANTS: Final = ("tenants", "tenant_2", "tenant_3")  # in the order of the site file; a fourth is as the first


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme, by name (`palette["air"]`)."""

    name: str
    colours: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.colours[name]

    @property
    def categorical(self) -> tuple[str, ...]:
        """Colours of a chart whose series have no hue of their own."""
        return tuple(self.colours[name] for name in CATEGORICAL)


_ALL: Final = {**SURFACE, **HUE}
LIGHT: Final = Palette("light", {name: pair[0] for name, pair in _ALL.items()})
DARK: Final = Palette("dark", {name: pair[1] for name, pair in _ALL.items()})


def hue_name(thing: str) -> str:
    """Name of the hue of a machine type, load or series; an unknown thing keeps one spare hue for ever."""
    key = thing.strip().lower()
    if key in HUE:
        return key
    if key in _LIKE:
        return _LIKE[key]
    return _SPARE[zlib.crc32(key.encode()) % len(_SPARE)]


def hues_of(site: Site) -> dict[str, str]:
    """By the names of a site's jobs and tenants, which have no hue of their own: the thing whose hue each takes."""
    tenants = zip((tenant.name for tenant in site.tenants), cycle(_TENANTS), strict=False)
    return {job.name: "jobs" for job in site.jobs} | dict(tenants)


def hue(thing: str, palette: Palette = LIGHT) -> str:
    """Colour of a machine type, load or series."""
    return palette[hue_name(thing)]


def translucent(colour: str, alpha: float) -> str:
    """A `#rrggbb` colour with an opacity, as `rgba(...)`."""
    red, green, blue = rgb(colour)
    return f"rgba({red},{green},{blue},{alpha:g})"


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def recolouring() -> dict[str, str]:
    """What becomes what when a figure is shown on a dark screen: whole colours, and the start of `rgba(...)`."""
    pairs = dict(_ALL.values())
    solid = [pair for pair in _ALL.values() if pair[0].startswith("#")]
    return pairs | {_rgba_start(light): _rgba_start(dark) for light, dark in solid}


def _rgba_start(colour: str) -> str:
    return "rgba({},{},{},".format(*rgb(colour))


# Sizes and shapes that the theme options do not reach. Colours come from the theme (`currentColor`).
_STYLE: Final = """<style>
.stApp, .stApp * { font-variant-numeric: tabular-nums; }
[data-testid="stMainBlockContainer"] { padding-inline: 1.25rem; }
/* A page's question and its sections: their sizes are in config.toml, the room above them is here. */
.stApp .stMain h1 { padding-top: 0.5rem; }
.stApp .stMain h2 { padding-top: 0; }
.gp-muted { opacity: 0.68; }
.gp-mono { white-space: nowrap; }
.gp-chip {
  display: inline-block; padding: 0 0.4rem; border-radius: 0.25rem; font-weight: 600; font-size: 0.85em;
  line-height: 1.5; border: 1px solid color-mix(in srgb, currentColor 35%, transparent); white-space: nowrap;
}
.gp-chip.gp-warning { background: #f0b445; color: #241a02; border-color: #f0b445; }
.gp-chip.gp-alarm { background: #c4281c; color: #ffffff; border-color: #c4281c; }
/* The strip stays under the header; its direct wrapper is what can stick. */
*:has(> .st-key-strip_bar) {
  position: sticky; top: 3.75rem; z-index: 90; background: light-dark(__BACKGROUND__);
  border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); padding-bottom: 0.4rem;
}
@media (max-width: 640px) {
  .st-key-strip_bar { flex-direction: column; align-items: stretch; }
  .st-key-strip_bar > * { flex: 0 0 auto; }
}
.gp-alarm-row { display: flex; gap: 0.6rem; align-items: baseline; font-size: 0.9rem; line-height: 1.35; }
.gp-alarm-row .gp-chip { flex: none; }
.gp-alarm-row > div { min-width: 0; overflow-wrap: anywhere; }
.gp-todo { border-left: 3px solid color-mix(in srgb, currentColor 30%, transparent); padding-left: 0.5rem; }
.gp-strip { display: flex; align-items: center; gap: 0.35rem 0.9rem; min-height: 2.25rem; flex-wrap: wrap; }
.gp-strip > span { white-space: nowrap; }
.gp-strip .gp-site { overflow: hidden; text-overflow: ellipsis; max-width: 14rem; }
.st-key-strip_who button { max-width: 12rem; }
.st-key-strip_who button p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (min-width: 1400px) {  /* one line, whatever it says: site, note and name give way, the chips never */
  .st-key-strip { flex-wrap: nowrap; }
  .st-key-strip > :has(.gp-strip) { flex: 1 1 0; min-width: 0; }
  .gp-strip { flex-wrap: nowrap; column-gap: 0.6rem; }
  .gp-strip > span { flex: 0 0 auto; }
  .gp-strip .gp-site { flex: 0 1 auto; min-width: 3rem; }
  .gp-strip .gp-note { flex: 0 1000 auto; }
}
@media (max-width: 640px) {
  .gp-strip { font-size: 0.875rem; gap: 0.2rem 0.6rem; min-height: 0; }
  .gp-strip .gp-note { flex-basis: 100%; }
  .st-key-strip button { min-height: 2.25rem; padding-block: 0.2rem; }
  .st-key-strip_bar .st-key-strip { gap: 0.4rem; }
}
/* The sign of the menu on a narrow screen is two arrows: the word beside it says what they open. */
[data-testid="stExpandSidebarButton"] { width: auto; padding-inline: 0.5rem; }
[data-testid="stExpandSidebarButton"]::after { content: "Menu"; margin-left: 0.35rem; font-weight: 600; }
/* The decision in one sentence: the largest words of a page. Two lines or three take the same room, so that the next
   decision does not move the page. */
@media (min-width: 64rem) { .st-key-sentence { min-height: 5.6rem; } }
.st-key-sentence p { font-size: 1.25rem; line-height: 1.35; margin: 0.1rem 0 0.3rem; }
.st-key-sentence strong { font-weight: 600; }
@media (max-width: 640px) { .st-key-sentence p { font-size: 1.15rem; } }
.gp-next { border-left: 3px solid color-mix(in srgb, currentColor 45%, transparent); padding-left: 0.8rem;
  font-size: 0.875rem; line-height: 1.35; }
.gp-next b { font-size: 1.05rem; }
.gp-rows { width: 100%; border-collapse: collapse; font-size: 0.9rem; line-height: 1.4; }
.gp-rows td { padding: 0.12rem 0; vertical-align: baseline; }
.gp-rows td:last-child { text-align: right; white-space: nowrap; padding-left: 0.75rem; }
.gp-strip .gp-note { overflow: hidden; text-overflow: ellipsis; min-width: 0; flex: 0 1 auto; }
.st-key-strip_row { flex-wrap: nowrap; }
.st-key-strip_row > * { flex: 0 0 auto; width: auto; }
.st-key-strip_row > :has(.gp-strip) { flex: 1 1 0; min-width: 0; }
.st-key-strip_row > :is(.st-key-site_picker, :has(.st-key-site_picker)) { min-width: 9rem; }
@media (max-width: 640px) {  /* picker and Time side by side, the strip below */
  .st-key-strip_row:has(.st-key-site_picker) { flex-wrap: wrap; row-gap: 0.4rem; }
  .st-key-strip_row:has(.st-key-site_picker) > :has(.gp-strip) { order: 1; flex: 1 1 100%; }
}
.st-key-moment_bar { background: light-dark(__INK__); color: light-dark(__BACKGROUND__); border-radius: 0.4rem;
  padding: 0.25rem 0.4rem 0.25rem 0.8rem; }
.st-key-moment_bar button { background: transparent; color: inherit;
  border-color: color-mix(in srgb, currentColor 45%, transparent); }
.stApp .st-key-moment_now [data-testid="stBaseButton-primary"]:not(:disabled) { background: light-dark(__BACKGROUND__);
  color: light-dark(__INK__); font-weight: 700; }
/* What is drawn anew every few seconds does not fade meanwhile: the strip says how old it is. */
.stApp [data-stale="true"] { opacity: 1; transition: none; }
.st-key-guide { background: light-dark(__PANEL__); border-radius: 0.4rem; padding: 0.5rem 0.4rem 0.5rem 0.8rem; }
@media (min-width: 64rem) { .st-key-guide { flex-wrap: nowrap; } .st-key-guide > *:not(:first-child) { flex: none; } }
.gp-guide { line-height: 1.4; }
.st-key-strip_stop button {
  background: #c4281c; color: #ffffff; border: 1px solid #8f1710; font-weight: 700; min-width: 9.5rem;
}
.st-key-strip_stop button:hover, .st-key-strip_stop button:focus-visible {
  background: #9f1d13; color: #ffffff; border-color: #5f0d08;
}

.gp-bar { position: relative; height: 0.6rem; border-radius: 0.3rem; margin: 0.3rem 0 0.15rem;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.gp-bar i { position: absolute; top: 0; bottom: 0; border-radius: 0.3rem; display: block; }
.gp-bar b { position: absolute; top: -0.2rem; bottom: -0.2rem; width: 2px; margin-left: -1px;
  background: currentColor; opacity: 0.75; }
.gp-bar b.gp-zero { width: 1px; margin-left: -0.5px; }
.gp-limit { font-size: 0.875rem; line-height: 1.35; }
.gp-limit-row { display: flex; justify-content: space-between; gap: 0.75rem; }
.gp-empty { border: 1px dashed color-mix(in srgb, currentColor 35%, transparent); border-radius: 0.4rem;
  padding: 1.4rem 1.2rem; }
.gp-empty strong { display: block; margin-bottom: 0.25rem; }
/* A table's own download leaves formulas as they are; ours (`widgets.download_csv`) quotes them. */
[data-testid="stElementToolbarButton"]:has([aria-label^="Download as CSV"]) { display: none; }
/* Amber and red mean something here: a chat's faces are grey. */
[data-testid^="stChatMessageAvatar"] { background: color-mix(in srgb, currentColor 14%, transparent) !important;
  color: inherit !important; }
/* Streamlit's captions, its lit buttons in the dark and some of its focus marks are too faint to be seen (WCAG 1.4.3,
   2.4.7); the empty layer of a sparkline is a picture without a name (1.1.1). */
.stApp [data-testid="stCaptionContainer"] { color: light-dark(__MUTED__); opacity: 1; }
.stApp [data-testid="stBaseButton-primary"]:not(:disabled) { color: light-dark(#ffffff, #15191c); }
.stApp :is(.stMain, [data-testid="stTopNavLink"], [data-testid="stSidebarNavLink"], .modebar-btn,
  [data-testid="stBaseButton-elementToolbar"]):focus-visible { outline: 2px solid light-dark(__INK__);
  outline-offset: -2px; }
/* What a tile is read against wraps where the tile is narrow. */
[data-testid="stMetricDelta"] .stMarkdownEllipsis, [data-testid="stMetricDelta"] .stMarkdownEllipsis p {
  white-space: normal; overflow: visible; }
[data-testid="stMetricChart"] g[role="graphics-symbol"]:empty { display: none; }
.stApp ul.gp-flags { margin: 0; padding: 0; list-style: none; font-size: 0.9rem; }
.stApp ul.gp-flags li { margin: 0; padding: 0.2rem 0; display: flex; gap: 0.6rem; align-items: baseline; }
</style>"""
_PAIRS: Final = {f"__{name.upper()}__": ", ".join(SURFACE[name]) for name in ("background", "panel", "muted", "ink")}
STYLE: Final = re.sub("|".join(_PAIRS), lambda found: _PAIRS[found[0]], _STYLE)
