"""A browser that says what its page never would: a press of a button that is shown dead, or of one that is gone."""

from __future__ import annotations

import re

from playwright.sync_api import Page, WebSocket
from streamlit.proto.BackMsg_pb2 import BackMsg

KEEP = """
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...given) { super(...given); window.theSocket = this; }
  send(data) {
    if (window.muted) return;
    window.lastSent = Array.from(new Uint8Array(data));
    super.send(data);
  }
  forge(data) { super.send(data); }
};
"""


class Forger:
    """Watches a page's stream to the server. Make it before the page is opened."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._received = b""
        page.add_init_script(KEEP)
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._keep)

    def _keep(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            self._received += payload

    def mute(self) -> None:
        """From now on the page itself says nothing more, as a tab in the background that has fallen asleep."""
        self._page.evaluate("window.muted = true")

    def press(self, key: str) -> None:
        """Send the press of a button that the server has drawn, whatever the browser thinks of it."""
        found = re.findall(rb"\$\$ID-[0-9a-f]+-" + re.escape(key.encode()), self._received)
        assert found, f"the server never sent a button {key}"
        message = BackMsg()
        message.ParseFromString(bytes(self._page.evaluate("window.lastSent")))
        message.rerun_script.fragment_id = ""
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.trigger_value = found[-1].decode(), True
        self._page.evaluate("sent => window.theSocket.forge(new Uint8Array(sent))", list(message.SerializeToString()))
