"""Builds gridpilot/data/plotly.min.js.gz, what draws the charts: `python scripts/build_plotly.py`.

Source: plotly-cartesian.min.js of the npm package plotly.js-cartesian-dist-min (MIT, Plotly, Inc.), unchanged and
packed: charts on two axes alone, a third of the whole library, which costs a browser 0.7 s more to read. Its version
is that of the Python package's plotly.js, which checks the figures in tests. Needs npm, and network for `npm pack`.
"""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "plotly.js-cartesian-dist-min@4.1.1"
TARGET = Path(__file__).resolve().parents[1] / "gridpilot" / "data" / "plotly.min.js.gz"


def fetch() -> bytes:
    """The script out of the package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            member = archive.extractfile("package/plotly-cartesian.min.js")
            if member is None:
                raise FileNotFoundError(f"{PACKAGE} holds no plotly-cartesian.min.js")
            return member.read()


def main() -> None:
    """Fetch, pack and write the file."""
    TARGET.write_bytes(gzip.compress(fetch(), 9, mtime=0))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
