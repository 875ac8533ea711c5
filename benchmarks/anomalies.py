"""Does the price watch find every spike, and how often does it cry for nothing?

    python benchmarks/anomalies.py --data FOLDER

FOLDER holds price files `*.csv.gz` (two columns: time of the interval's start in UTC, price). A price is a true spike
if it is above ten times the local median: the median of |price| over the seven days before it. It counts as found if
it, or the next price, is an anomaly (within one interval). A false alarm is an anomaly that is no true spike; its share
is of all prices that are no true spikes. Prices with less than a day before them are left out. The last columns judge
by hindsight, which no detector has: the median over the seven days around the price, 3.5 of them still to come.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.monitor.anomalies import DAY_S, TIMES, scan  # noqa: E402
from gridpilot.values import Array, Times  # noqa: E402


def load(path: Path) -> tuple[Times, Array]:
    """Times and prices of a file."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([row[0].rstrip("Z") for row in rows], dtype="datetime64[s]"), np.array([float(r[1]) for r in rows])


def medians(price: Array, day: int, ahead: int) -> Array:
    """Median of |price| over seven days of which `ahead` are still to come (N,)."""
    level, out = np.abs(price), np.full(len(price), np.nan)
    for i in range(day, len(price)):
        out[i] = np.median(level[max(0, i - 7 * day + ahead) : i + ahead])
    return out


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    files = sorted(parser.parse_args().data.glob("*.csv.gz"))
    print(
        f"{'file':36} {'prices':>7} {'spikes':>7} {'found':>6} {'false':>7} | {'hindsight':>9} {'found':>6} "
        f"{'us/price':>8}"
    )
    for path in files:
        stamps, price = load(path)
        step_s = int(np.median(np.diff(stamps).astype(np.int64)))
        day = DAY_S // step_s
        began = time.perf_counter()
        said = scan(stamps, price, step_s).anomaly
        us = (time.perf_counter() - began) / len(price) * 1e6
        soon = said.copy()
        soon[:-1] |= said[1:]
        judged = np.arange(len(price)) >= day
        true, later = (judged & (price > TIMES * medians(price, day, ahead)) for ahead in (0, 7 * day // 2))
        false = float(np.mean(said[judged & ~true]))
        print(
            f"{path.name:36} {judged.sum():7} {true.sum():7} {(soon & true).sum():6} {false:7.2%} | "
            f"{later.sum():9} {(soon & later).sum():6} {us:8.0f}"
        )


if __name__ == "__main__":
    main()
