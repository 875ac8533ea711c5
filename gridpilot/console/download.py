"""A button that saves text as a file. The text is in the page already, so that a press needs no server.

`st.download_button` keeps a file on the server until the session's next run, fetches each new one to see if it is
there, and writes an error into the browser's console where a change of page was quicker.
"""

from __future__ import annotations

from gridpilot.console.component import registered

_HTML = """
<button type="button" class="gp-save"></button>
"""

_CSS = """
.gp-save { appearance: none; border: 0; border-radius: 4px; background: none; padding: 0.25rem 0; min-height: 2rem;
  font: inherit; font-size: 0.875rem; color: var(--st-text-color); cursor: pointer; }
.gp-save::before { content: "\\2193" / ""; margin-right: 0.4em; }
.gp-save:hover { color: var(--st-primary-color); }
.gp-save:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""

_JS = """
export default function (component) {
  const { data, parentElement } = component;
  const button = parentElement.querySelector(".gp-save");
  if (!button || !data) return;
  button.textContent = data.label;
  button.onclick = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([data.text], { type: "text/csv;charset=utf-8" }));
    link.download = data.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
}
"""


def csv(text: str, file_name: str, key: str, label: str) -> None:
    """The button, under `key`, unique on the page."""
    draw = registered("gridpilot_download", _HTML, _CSS, _JS)
    draw(key=key, data={"text": text, "name": file_name, "label": label})
