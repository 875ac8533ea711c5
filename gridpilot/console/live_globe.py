"""Shows the globe: it turns slowly, rests under the pointer and for good once touched, and says which site was clicked.

`st.pydeck_chart` builds its chart anew when anything in it changes, so it cannot turn. This small component gives
deck.gl what changed. deck.gl and the land come from the installed packages by routes of `app.py`: nothing is fetched
from outside. Who asked their system for less motion sees it stand still, and so does who draws without a graphics
card: where frames come too slowly it stops by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from gridpilot.console.component import registered, to_json
from gridpilot.console.server import DECK_PATH
from gridpilot.console.theme import DARK, LIGHT

HEIGHT: Final = 520

_CSS = """
.gp-globe { position: relative; width: 100%; height: clamp(300px, 85vw, __HEIGHT__px); overflow: hidden; }
.gp-globe canvas { touch-action: pan-y !important; }
.gp-globe .gp-wait { opacity: 0.6; padding: 1rem 0; font-size: 0.9rem; }
""".replace("__HEIGHT__", str(HEIGHT))

_HTML = """
<div class="gp-globe" role="img"></div>
"""

_JS = """
const TIPS = __TIPS__;
const SWAY_DEG = 55, PERIOD_S = 100, FRAME_MS = 50, SLOW_MS = 150, STILL_PX = 6;
const globes = new WeakMap();

function deckgl() {
  if (window.createDeck) return Promise.resolve();
  if (!window.gridpilotDeck) {
    window.gridpilotDeck = new Promise((done, fail) => {
      const tag = document.createElement("script");
      tag.src = "__PATH__";
      tag.onload = () => done();
      tag.onerror = () => { window.gridpilotDeck = undefined; fail(new Error("deck.gl did not load")); };
      document.head.appendChild(tag);
    });
  }
  return window.gridpilotDeck;
}

function isDark(root) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(root).getPropertyValue("--st-background-color").trim() || "#ffffff";
  const hex = probe.fillStyle;
  const part = (i) => parseInt(hex.slice(i, i + 2), 16);
  return 0.299 * part(1) + 0.587 * part(3) + 0.114 * part(5) < 128;
}

function show(state, root, data) {
  const theme = isDark(root) ? "dark" : "light";
  const text = data[theme];
  if (state.deck && state.text === text) return;
  const spec = JSON.parse(text);
  if (state.deck && state.theme === theme) {
    state.text = text;
    delete spec.initialViewState;
    delete spec.views;
    window.updateDeck(spec, state.deck);
    return;
  }
  if (state.deck) { state.deck.finalize(); root.replaceChildren(); }
  state.text = text;
  state.theme = theme;
  const near = Math.log2(Math.max(100, Math.min(root.clientWidth, root.clientHeight)) / __HEIGHT__);
  state.home = state.home || { ...spec.initialViewState, zoom: spec.initialViewState.zoom + near };
  const view = state.view || state.home;
  state.view = view;
  state.deck = window.createDeck({
    container: root,
    jsonInput: { ...spec, initialViewState: view },
    tooltip: { text: "{tip}", style: TIPS[theme] },
    handleEvent: (kind, what) => {
      if (kind === "deck-hover-event") root.style.cursor = what && what.object && what.object.name ? "pointer" : "";
    },
  });
  root.gridpilot = state;
}

function turn(state, root, now) {
  if (state.gone) return;
  state.frame = requestAnimationFrame((then) => turn(state, root, then));
  const rests = state.held || state.touched || document.hidden || !state.deck || !state.seen;
  if (rests || now - state.last < FRAME_MS) { if (rests) state.last = now; return; }
  state.slow = state.last && now - state.last > SLOW_MS ? state.slow + 1 : 0;
  if (state.slow > 2) { state.touched = true; return; }
  state.turned += Math.min(now - state.last, 4 * FRAME_MS) / 1000;
  state.last = now;
  const swing = SWAY_DEG * Math.sin((2 * Math.PI * state.turned) / PERIOD_S);
  state.view = { ...state.home, longitude: ((state.home.longitude + swing + 540) % 360) - 180 };
  state.deck.setProps({ initialViewState: state.view });
}

// Not deck.gl's own click: that one is lost where a frame takes longer than a press may last.
function press(state, root, event) {
  const [x, y] = state.down || [event.clientX, event.clientY];
  if (!state.deck || Math.hypot(event.clientX - x, event.clientY - y) > STILL_PX) return;
  const box = root.getBoundingClientRect();
  const at = { x: event.clientX - box.left, y: event.clientY - box.top, radius: 2, layerIds: ["sites"] };
  const hit = state.deck.pickObject(at);
  if (hit && hit.object) state.clicked(hit.object.name);
}

function begin(root) {
  const state = { gone: false, held: false, touched: false, seen: true, turned: 0, last: 0, slow: 0 };
  globes.set(root, state);
  const touch = () => { state.touched = true; };
  root.addEventListener("pointerenter", () => { state.held = true; });
  root.addEventListener("pointerleave", () => { state.held = false; });
  root.addEventListener("pointerdown", (event) => { touch(); state.down = [event.clientX, event.clientY]; });
  root.addEventListener("click", (event) => press(state, root, event));
  root.addEventListener("wheel", touch, { passive: true });
  state.watcher = new IntersectionObserver((seen) => { state.seen = seen.at(-1).isIntersecting; });
  state.watcher.observe(root);
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    state.frame = requestAnimationFrame((now) => turn(state, root, now));
  }
  return state;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".gp-globe");
  if (!root || !data) return;
  const state = globes.get(root) || begin(root);
  state.clicked = (name) => setTriggerValue("site", name);
  root.setAttribute("aria-label", data.alt);
  deckgl().then(
    () => { if (!state.gone) show(state, root, data); },
    (error) => { root.textContent = error.message + ": reload the page. The table has the same."; });
  return () => {
    state.gone = true;
    cancelAnimationFrame(state.frame);
    state.watcher.disconnect();
    if (state.deck) state.deck.finalize();
  };
}
"""

_TIPS: Final = {
    palette.name: {
        "backgroundColor": palette["panel"],
        "color": palette["ink"],
        "fontSize": "13px",
        "borderRadius": "4px",
        "maxWidth": "320px",
        "whiteSpace": "pre-line",
    }
    for palette in (LIGHT, DARK)
}
_SCRIPT = _JS.replace("__TIPS__", json.dumps(_TIPS)).replace("__PATH__", DECK_PATH).replace("__HEIGHT__", str(HEIGHT))


def show(light: Mapping[str, Any], dark: Mapping[str, Any], key: str, alt: str) -> str:
    """Draw the globe in the theme of the screen; the name of the site that was just clicked, or nothing."""
    data = {"light": to_json(light), "dark": to_json(dark), "alt": alt}
    draw = registered("gridpilot_globe", _HTML, _CSS, _SCRIPT)
    result = draw(key=key, data=data, height="content", on_site_change=lambda: None)
    return str(getattr(result, "site", None) or "")
