"""Error and coverage of the forecasts: on the open day-ahead benchmark, or on the shipped replay data.

    python benchmarks/forecast.py --data DIR [--markets NP,PJM,DE] [--models ensemble,...] [--json FILE]
    python benchmarks/forecast.py [--year 2024] [--models ensemble,ridge] [--json FILE]

With --data: 728 days of daily 24 h forecasts, the outside series known a day ahead, beside the published
results. DIR holds MARKET.csv.gz (Date, Price, Exogenous 1, Exogenous 2; one row for each of the 24 hours of a
day) and published.csv. Data and results: Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293.

Without: every day of a year of the replayed Dutch prices, in USD/MWh at the default site's rate, by the ensemble and by
the ridge that stands in until the ensemble is fitted.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from threadpoolctl import threadpool_limits  # noqa: E402
from tqdm import tqdm  # noqa: E402

from gridpilot.config import DATA, load_site  # noqa: E402
from gridpilot.forecast.ensemble import prepare  # noqa: E402
from gridpilot.forecast.evaluate import DEFAULT, evaluate  # noqa: E402
from gridpilot.forecast.features import Series  # noqa: E402
from gridpilot.forecast.registry import named  # noqa: E402
from gridpilot.market.replay import ReplayClock, ReplaySource  # noqa: E402

KEYS = ("mae", "rmae", "smape", "rmse", "crps", "coverage80", "kupiec_hours_passed", "kendall_tau", "fit_ms")
HORIZON = 24
TEST_DAYS = 728
MARKETS = {"NP": (date(2016, 12, 27), "NO"), "PJM": (date(2016, 12, 27), "US"), "DE": (date(2016, 1, 4), "DE")}


def read_market(folder: Path, market: str, country: str) -> Series:
    """The benchmark's days have 24 hours each, so they are read as if the clock were never changed."""
    frame = pd.read_csv(folder / f"{market}.csv.gz")
    stamps = pd.DatetimeIndex(pd.to_datetime(frame.iloc[:, 0]))
    values = frame.iloc[:, 1:].to_numpy(dtype=np.float64)
    return Series(stamps.to_numpy(), 3600, values[:, 0], "UTC", values[:, 1:], HORIZON, country)


def published(folder: Path, market: str) -> dict[str, float]:
    """Mean absolute errors of published methods, best first."""
    with (folder / "published.csv").open() as file:
        found = {row["model"]: float(row["mae"]) for row in csv.DictReader(file) if row["market"] == market}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def benchmark(folder: Path, markets: list[str], models: list[str], out: Path | None) -> None:
    """Each market: what was published, then what these models reach."""
    for market in markets:
        start, country = MARKETS[market]
        series, last = read_market(folder, market, country), start + timedelta(days=TEST_DAYS - 1)
        report(market, series, start, last, models, published(folder, market), out)


def report(
    title: str, series: Series, start: date, last: date, models: list[str], known: dict[str, float], out: Path | None
) -> None:
    """Evaluate and print, best first; `out` gathers the whole tables as JSON."""
    cpu = time.process_time()
    with tqdm(total=1.0, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}") as bar:

        def told(name: str, share: float) -> None:
            bar.set_description_str(f"{title} {name}", refresh=False)
            bar.n = share
            bar.refresh()

        found = evaluate(series, start, last, models, told)
    table = found.table()
    print(f"\n{title}: {len(found.truth)} days, {time.process_time() - cpu:.0f} CPU s")
    print("".ljust(30) + "".join(f"{key.replace('kupiec_hours_passed', 'kupiec')[:10]:>11}" for key in KEYS))
    for name, error in known.items():
        print(f"{'published: ' + name:<30}{error:>11.3f}")
    for name, scores in sorted(table.items(), key=lambda item: float(item[1]["mae"])):
        cells = ("–" if scores[key] is None else f"{scores[key]:.4g}" for key in KEYS)
        print(f"{name:<30}" + "".join(f"{cell:>11}" for cell in cells))
    for name, reason in found.failed.items():
        print(f"{name:<30} left out: {reason}")
    if out:
        before: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps({**before, title: table}, indent=1))


def replay(year: int, models: list[str], out: Path | None) -> None:
    """Every day of a year of the replayed prices, in the default site's zone, without outside series."""
    site = load_site(DATA / "site-default.toml")
    source = ReplaySource(site, ReplayClock(datetime.now(UTC), datetime(year, 12, 31, 12, tzinfo=UTC), 0.0))
    prepared = prepare(source.fetch(source.last), site.timezone, country=site.country)
    last = min(date(year, 12, 31), source.last.date() - timedelta(days=1))
    report(f"replayed prices of {year}, USD/MWh", prepared.clock, date(year, 1, 1), last, models, {}, out)


def main() -> None:
    """One or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--markets", default=",".join(MARKETS))
    parser.add_argument("--models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--year", type=int, default=2024)
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.data:
            models = named(options.models or ",".join(DEFAULT))
            benchmark(options.data, options.markets.split(","), models, options.json)
        else:
            replay(options.year, named(options.models or "ensemble,ridge"), options.json)


if __name__ == "__main__":
    main()
