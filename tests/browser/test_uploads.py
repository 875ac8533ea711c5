"""F58: files that are none, too large or too many rows: refused with one clear line, and nothing of them is kept."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.harness.server import ROOT, Server
from tests.browser.harness.watch import CONTENT, WAIT_MS, Watched

pytestmark = pytest.mark.browser

MB = 1024 * 1024
MOST_GROWTH_MB = 200
BOUND_S = 30.0  # generous: a refusal takes well under two seconds on a machine of its own
HEADER = "bidder,service,kw,price_usd_per_kwh"
GOOD = f"{HEADER}\nanna,x,5,0.2\n".encode()


class Bomb:
    """What would leave a file behind if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mknod, (str(self.path),)


def zipped() -> bytes:
    """200 MB of zeros in 0.2 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bids.csv", "w") as inside:
        for _ in range(200):
            inside.write(bytes(MB))
    return out.getvalue()


class Memory:
    """Growth of the server's largest resident size since it was made."""

    def __init__(self, server: Server) -> None:
        self._of = Path(f"/proc/{server.process.pid}")
        (self._of / "clear_refs").write_text("5")  # the mark starts anew
        self._before = self._now("VmRSS")

    def _now(self, what: str) -> float:
        line = next(line for line in (self._of / "status").read_text().splitlines() if line.startswith(what))
        return float(line.split()[1]) / 1024.0

    def grown_mb(self) -> float:
        return self._now("VmHWM") - self._before


def _files(server: Server) -> set[Path]:
    """Everything around the server that an upload might have written, but for what runs write anyway."""
    folder = server.log_file.parent
    around = [path for top in (folder, folder.parent) for path in top.iterdir()]
    inside = [path for top in ("gridpilot", "pages", "tests", ".streamlit") for path in (ROOT / top).rglob("*")]
    found = {path for path in (*around, *inside, *ROOT.iterdir()) if path.name not in ("__pycache__", "artifacts")}
    compiled = (".pyc", ".nbi", ".nbc")  # by Python, by numba
    return {path for path in found if not path.name.startswith(("gridpilot.db", ".")) and path.suffix not in compiled}


def _choose(page: Page, name: str, content: bytes | Path) -> None:
    files = page.locator(".st-key-bids_upload input[type=file]")
    given = {"name": name, "mimeType": "text/csv", "buffer": content}
    files.set_input_files(content if isinstance(content, Path) else given)


@pytest.fixture
def page(filled_console: Server, new_page: Callable[..., Watched]) -> Iterator[Page]:
    watched = new_page()
    yield watched.open(f"{filled_console.url}/auction", CONTENT["auction"])
    watched.clean()


def _cases(folder: Path) -> list[tuple[str, bytes | Path, str]]:
    rows = folder / "rows.csv"
    rows.write_bytes(b"1\n" * 5_000_000)
    return [
        ("bomb.csv", zipped(), "bomb.csv is not a CSV file in UTF-8"),
        ("pickle.csv", pickle.dumps(Bomb(folder / "executed")), "pickle.csv is not a CSV file in UTF-8"),
        ("latin.csv", f"{HEADER}\nJosé,x,5,0.2\n".encode("latin-1"), "latin.csv is not a CSV file in UTF-8"),
        ("wide.csv", f"{HEADER}\nanna,x,5,0.2\n".encode("utf-16"), "wide.csv is not a CSV file in UTF-8"),
        ("rows.csv", rows, "rows.csv has 10.0 MB: at most 2 MB are taken here"),
        ("many.csv", f"{HEADER}\n".encode() + b"a,x,5,.1\n" * 3000, "many.csv has more than 2000 rows"),
        ("../../x.csv", b"a,b\n1,2\n", "x.csv: unknown column"),
    ]


def test_F58_upload__not_a_file_of_bids__one_line_and_nothing_kept(
    page: Page, filled_console: Server, tmp_path: Path
) -> None:
    before, memory = _files(filled_console), Memory(filled_console)
    for name, content, said in _cases(tmp_path):
        began = time.monotonic()
        _choose(page, name, content)
        told = page.locator("[data-testid='stAlert']").filter(has_text=said)
        expect(told, name).to_have_count(1, timeout=WAIT_MS)
        took = time.monotonic() - began
        print(name, round(took, 2))
        assert took < BOUND_S
        assert "Traceback" not in filled_console.log()
    grown = memory.grown_mb()
    print("grown, MB", round(grown))
    assert grown < MOST_GROWTH_MB
    assert not (tmp_path / "executed").exists(), "a pickle was loaded"
    assert _files(filled_console) == before
    _choose(page, "good.csv", GOOD)
    expect(page.locator(".st-key-bids_upload")).to_contain_text("good.csv", timeout=WAIT_MS)
    expect(page.locator("[data-testid='stAlert']")).to_have_count(0, timeout=WAIT_MS)


def test_F58_upload__500_mb__refused_in_the_browser_and_by_the_server(
    page: Page, filled_console: Server, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(500 * MB)
    page.locator(".st-key-bids_upload input[type=file]").set_input_files(huge)
    expect(page.get_by_text("File must be 10.0MB or smaller")).to_be_visible(timeout=WAIT_MS)

    with page.expect_request(lambda request: request.method == "PUT") as sent:
        _choose(page, "good.csv", GOOD)
    url, token = sent.value.url, sent.value.headers["x-xsrftoken"]
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    before, memory = _files(filled_console), Memory(filled_console)

    def put(body: Any, **headers: str) -> int:
        began = time.monotonic()
        with requests.Session() as session:
            try:
                given = {"X-Xsrftoken": token, "Content-Type": "multipart/form-data; boundary=b", **headers}
                status = session.put(url, data=body, headers=given, cookies=cookies, timeout=BOUND_S).status_code
            except requests.ConnectionError:  # it may hang up on who still sends
                status = 413
        print("put, s", round(time.monotonic() - began, 2))
        return status

    def parts() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\n'
        for _ in range(500):
            yield bytes(MB)
        yield b"\r\n--b--\r\n"

    with huge.open("rb") as body:
        assert put(body) == 413, "by its length"
    assert put(parts()) == 413, "by what has come"
    assert put(b"x", **{"X-Xsrftoken": "made up"}) == 403
    grown = memory.grown_mb()
    print("grown, MB", round(grown))
    assert grown < MOST_GROWTH_MB
    assert _files(filled_console) == before
    assert requests.get(f"{filled_console.url}/healthz", timeout=BOUND_S).text == "ok"
