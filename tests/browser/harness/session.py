"""A session of the console without a browser: Streamlit's own messages over a WebSocket.

It is what a browser's client says and hears, and nothing of what it draws: many of them load a server as people would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

WAIT_S = 60.0
WHOLE = ForwardMsg.FINISHED_SUCCESSFULLY
PART = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY


@dataclass
class Run:
    """One run of the script or of a fragment, as it was heard."""

    took_s: float
    messages: int
    size: int  # bytes
    text: bytes = field(repr=False, default=b"")
    blocks: dict[str, list[int]] = field(repr=False, default_factory=dict)  # key of a container -> its place

    def says(self, words: str) -> bool:
        """Whether some element of it has these words."""
        return words.encode() in self.text


class Session:
    """One person on one page. `fragments` are those that ask for a rerun by themselves: id -> seconds."""

    def __init__(self, socket: ClientConnection, page: str = "") -> None:
        self._socket = socket
        self._page = page
        self._hash = ""
        self.fragments: dict[str, float] = {}

    @classmethod
    @contextmanager
    def open(cls, url: str, page: str = "") -> Iterator[Self]:
        """Connected to a server, and gone at the end as a closed tab is; `page` is its path, empty for the first."""
        stream = f"ws://{urlsplit(url).netloc}/_stcore/stream"
        with connect(
            stream, origin=Origin(url), subprotocols=[Subprotocol("streamlit")], max_size=None, proxy=None
        ) as socket:
            yield cls(socket, page)

    def load(self) -> Run:
        """Run the whole script, as a page that opens does."""
        message = BackMsg()
        message.rerun_script.page_name = self._page
        message.rerun_script.page_script_hash = self._hash
        return self._run(message, WHOLE)

    def refresh(self, fragment: str) -> Run:
        """Run one fragment again, as its timer in the browser does."""
        message = BackMsg()
        message.rerun_script.fragment_id = fragment
        message.rerun_script.page_script_hash = self._hash
        message.rerun_script.is_auto_rerun = True
        return self._run(message, PART)

    def _run(self, message: BackMsg, end: int) -> Run:
        start, heard, size, texts = time.perf_counter(), 0, 0, []
        blocks: dict[str, list[int]] = {}
        self._socket.send(message.SerializeToString())
        while True:
            data = self._socket.recv(WAIT_S, decode=False)
            heard, size = heard + 1, size + len(data)
            said = ForwardMsg()
            said.ParseFromString(data)
            kind = said.WhichOneof("type")
            if kind == "new_session" and end == WHOLE:
                self.fragments.clear()
            elif kind == "navigation":
                self._hash = said.navigation.page_script_hash
            elif kind == "auto_rerun":
                self.fragments[said.auto_rerun.fragment_id] = said.auto_rerun.interval
            elif kind == "delta":
                texts.append(data)
                if key := said.delta.add_block.id.rpartition("-")[2]:
                    blocks[key] = list(said.metadata.delta_path)
            elif kind == "script_finished" and said.script_finished == end:
                return Run(time.perf_counter() - start, heard, size, b"".join(texts), blocks)


@contextmanager
def sessions(url: str, n: int, page: str = "") -> Iterator[list[Session]]:
    """So many people on one page, each of whom has loaded it."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Session.open(url, page)) for _ in range(n)]
        for session in opened:
            session.load()
        yield opened
