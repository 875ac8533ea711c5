"""Shows a figure and keeps the viewer's zoom and legend when its data change.

`st.plotly_chart` builds the chart anew whenever the figure differs; this small component gives the new
figure to `Plotly.react` instead. Plotly comes from the installed wheel by a route of `app.py`, so
nothing is fetched from outside. The colours of a figure are recoloured here for a dark screen.
"""

from __future__ import annotations

import json

from gridpilot.console import looking
from gridpilot.console.charts import NOW, Figure
from gridpilot.console.component import registered, to_json
from gridpilot.console.server import PLOTLY_PATH
from gridpilot.console.theme import recolouring

_CSS = """
.gp-chart { width: 100%; overflow: hidden; }
.gp-chart .gp-wait { opacity: 0.6; padding: 1rem 0; font-size: 0.9rem; }
"""

_HTML = """
<div class="gp-chart" role="figure"></div>
"""

_JS = """
const DARK = __DARK__;
const PATTERN = new RegExp(
  Object.keys(DARK).sort((a, b) => b.length - a.length)
    .map((c) => c.replace(/[.*+?^${}()|[\\]\\\\]/g, "\\\\$&")).join("|"), "g");
const AXIS = /^[xy]axis\\d*$/;
const charts = new WeakMap();

// Back to the figure's own ranges: Plotly's own way goes to those of the first figure that it drew.
function back(root) {
  const given = charts.get(root).given, all = {};
  for (const name of Object.keys(given)) all[name + ".range"] = [...given[name]];
  window.Plotly.relayout(root, all);
}

function config(Plotly) {
  const reset = { name: "reset", title: "Reset axes", icon: Plotly.Icons.home, click: back };
  return {
    displaylogo: false, responsive: false, doubleClick: false, scrollZoom: false, showTips: false,
    modeBarButtons: [["zoom2d", "pan2d", reset, "toImage"]],
  };
}

// A new decision moves the time axis, and Plotly keeps a viewer's zoom only where the figure's own range stays.
function keepZoom(state, root, layout) {
  const before = state.given, given = {};
  for (const [name, axis] of Object.entries(layout)) {
    if (!AXIS.test(name) || !axis.range) continue;
    given[name] = [...axis.range];
    const shown = root.layout && root.layout[name] && root.layout[name].range;
    if (before && before[name] && shown && String(shown) !== String(before[name])) axis.range = [...shown];
  }
  state.given = given;
}

function plotly() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  if (!window.gridpilotPlotly) {
    window.gridpilotPlotly = new Promise((done, fail) => {
      const tag = document.createElement("script");
      tag.src = "__PATH__";
      tag.onload = () => done(window.Plotly);
      tag.onerror = () => { window.gridpilotPlotly = undefined; fail(new Error("Plotly did not load")); };
      document.head.appendChild(tag);
    });
  }
  return window.gridpilotPlotly;
}

function isDark(style) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
  const hex = probe.fillStyle;
  const part = (i) => parseInt(hex.slice(i, i + 2), 16);
  return 0.299 * part(1) + 0.587 * part(3) + 0.114 * part(5) < 128;
}

function fitTitle(layout, width) {
  const text = layout.title && layout.title.text;
  if (!text) return;
  const room = Math.max(20, Math.floor(width / 6.8));
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1];
    if (line && line.length + 1 + word.length > room) lines.push(word);
    else lines[lines.length - 1] = line ? line + " " + word : word;
  }
  layout.title.text = lines.join("<br>");
  layout.margin.t += 18 * (lines.length - 1);
}

// A narrow screen takes the legend in more lines: the figure grows by them, so that the panels keep their height.
function fitLegend(figure, width) {
  const shown = figure.data.filter((trace) => trace.showlegend !== false && trace.name);
  if (shown.length < 2 || figure.layout.showlegend === false || figure.layout.legend.orientation !== "h") return;
  const room = width - figure.layout.margin.l - figure.layout.margin.r;
  let lines = 1, used = 0;
  for (const trace of shown) {  // the symbol, the words, the gap
    const wide = trace.name.length * 6.2 + 50;
    if (used > 0 && used + wide > room) { lines += 1; used = 0; }
    used += wide;
  }
  const more = 19 * (lines - 1);
  figure.layout.margin.b += more;
  figure.layout.height += more;
}

function render(Plotly, state, root, data) {
  const style = getComputedStyle(root);
  const dark = isDark(style);
  if (state.text === data.figure && state.dark === dark) return;
  state.text = data.figure;
  state.dark = dark;
  state.data = data;
  state.width = root.clientWidth;
  const text = dark ? data.figure.replace(PATTERN, (c) => DARK[c]) : data.figure;
  const figure = JSON.parse(text);
  figure.layout.font = { ...figure.layout.font, family: style.fontFamily };
  fitTitle(figure.layout, root.clientWidth);
  fitLegend(figure, root.clientWidth);
  root.style.height = figure.layout.height + "px";
  keepZoom(state, root, figure.layout);
  if (window.matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  const first = !root.data;
  Plotly.react(root, figure.data, figure.layout, config(Plotly)).then(() => {
    if (first) root.on("plotly_doubleclick", () => back(root));
    // The figure's label says what the picture shows; a reader is not led through its ticks. Its buttons stay.
    for (const svg of root.querySelectorAll("svg.main-svg")) svg.setAttribute("aria-hidden", "true");
  });
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".gp-chart");
  if (!root || !data) return;
  let state = charts.get(root);
  if (!state || state.gone) {  // what was unmounted may be mounted again in the same place
    state = { gone: false };
    charts.set(root, state);
    state.observer = new ResizeObserver(() => {
      if (!root.data || root.clientWidth === 0 || root.clientWidth === state.width) return;
      state.text = "";  // title and legend take other lines
      render(window.Plotly, state, root, state.data);
      window.Plotly.Plots.resize(root);
    });
    state.observer.observe(root);
  }
  root.setAttribute("aria-label", data.alt);
  if (!root.style.height) root.style.height = data.height + "px";
  plotly().then(
    (Plotly) => { if (!state.gone) render(Plotly, state, root, data); },
    (error) => { root.textContent = error.message + ": reload the page"; });
  return () => {
    state.gone = true;
    state.observer.disconnect();
    if (root.data) window.Plotly.purge(root);
  };
}
"""

_SCRIPT = _JS.replace("__DARK__", json.dumps(recolouring())).replace("__PATH__", PLOTLY_PATH)


def show(figure: Figure, key: str, alt: str = "") -> None:
    """Draw `figure` (from `charts` or `plots`) under `key`, unique on the page.

    A new figure under the same key keeps zoom and legend; give another key when the subject changes.
    `alt` says for a screen reader what the picture shows; empty: the figure's title.
    """
    layout = figure["layout"]
    if looking.current().at is not None:
        notes = [note | {"text": "then"} if note.get("name") == NOW else note for note in layout.get("annotations", ())]
        layout = {**layout, "annotations": notes}
        figure = {**figure, "layout": layout}
    label = alt or layout.get("title", {}).get("text", "") or key
    draw = registered("gridpilot_chart", _HTML, _CSS, _SCRIPT)
    draw(key=key, data={"figure": to_json(figure), "alt": label, "height": int(layout["height"])})
