"""Error and coverage of the forecasts: on the open day-ahead benchmark, or on the shipped replay data.

    python benchmarks/forecast.py --data DIR [--markets NP,PJM,DE] [--models ensemble,...] [--json FILE]
    python benchmarks/forecast.py [--every 3] [--year 2024]

With --data: 728 days of daily 24 h forecasts, the outside series known a day ahead, beside the published
results. DIR holds MARKET.csv.gz (Date, Price, Exogenous 1, Exogenous 2; one row for each of the 24 hours of a
day) and published.csv. Data and results: Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293.

Without: every third day of the year at 12:00 UTC, 24 hours ahead, on the replayed Dutch prices in USD/MWh at the
default site's rate, by the quick models that stand in until the ensemble is fitted and by the ensemble.
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
from gridpilot.forecast.ensemble import forecast, prepare  # noqa: E402
from gridpilot.forecast.evaluate import DEFAULT, evaluate  # noqa: E402
from gridpilot.forecast.features import Series  # noqa: E402
from gridpilot.forecast.refit import fit_prices  # noqa: E402
from gridpilot.forecast.registry import named  # noqa: E402
from gridpilot.market.replay import ReplayClock, ReplaySource  # noqa: E402

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
    results: dict[str, Any] = {}
    for market in markets:
        start, country = MARKETS[market]
        series = read_market(folder, market, country)
        cpu = time.process_time()
        with tqdm(total=1.0, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}") as bar:

            def told(name: str, share: float, bar: Any = bar, market: str = market) -> None:
                bar.set_description_str(f"{market} {name}", refresh=False)
                bar.n = share
                bar.refresh()

            found = evaluate(series, start, start + timedelta(days=TEST_DAYS - 1), models, told)
        results[market] = found.table()
        print(f"\n{market}: {len(found.truth)} days, {time.process_time() - cpu:.0f} CPU s")
        keys = ("mae", "rmae", "smape", "rmse", "crps", "coverage80", "kupiec_hours_passed", "kendall_tau", "fit_ms")
        print("".ljust(30) + "".join(f"{key.replace('kupiec_hours_passed', 'kupiec')[:10]:>11}" for key in keys))
        for name, error in published(folder, market).items():
            print(f"{'published: ' + name:<30}{error:>11.3f}")
        for name, scores in sorted(results[market].items(), key=lambda item: float(item[1]["mae"])):
            cells = ("–" if scores[key] is None else f"{scores[key]:.4g}" for key in keys)
            print(f"{name:<30}" + "".join(f"{cell:>11}" for cell in cells))
        for name, reason in found.failed.items():
            print(f"{name:<30} left out: {reason}")
        if out:
            out.write_text(json.dumps(results, indent=1))


def replay(every: int, year: int) -> None:
    """The quick models and the ensemble at origins of the replay."""
    site = load_site(DATA / "site-default.toml")
    origin = datetime(year, 1, 1, 12, tzinfo=UTC)
    source = ReplaySource(site, ReplayClock(datetime.now(UTC), origin, 0.0))
    errors: dict[str, list[float]] = {}
    inside: dict[str, list[bool]] = {"quick": [], "ensemble": []}
    spent: dict[str, list[float]] = {"quick": [], "ensemble": []}
    fits: Any = {}
    fitted_at = origin - timedelta(days=365)
    end = min(source.last, datetime(year + 1, 1, 1, tzinfo=UTC))
    days = range(0, (end - origin).days, every)
    for day in tqdm(days, leave=False):
        now = origin + timedelta(days=day)
        if now.astimezone(UTC) + timedelta(hours=HORIZON) > end:
            break
        prepared = prepare(source.fetch(now), site.timezone, country=site.country)
        came = source.fetch(now + timedelta(hours=HORIZON)).energy_usd_per_mwh[-HORIZON:]
        if now - fitted_at >= timedelta(days=7) or not fits["energy"].serves(prepared.clock, HORIZON):
            fits, fitted_at = fit_prices(prepared), now  # the clock change moves the local time of day
        for kind, used in (("quick", None), ("ensemble", fits)):
            start = time.perf_counter()
            band = forecast(prepared, HORIZON, fits=used).energy
            spent[kind].append((time.perf_counter() - start) * 1000.0)
            for name, path in {kind: band.point, **band.members}.items():
                errors.setdefault(name, []).append(float(np.mean(np.abs(path - came))))
            inside[kind] += list((band.lower <= came) & (came <= band.upper))
    reference = np.mean(errors["seasonal naive"])
    print(f"{len(spent['quick'])} origins of {year}, {HORIZON} h ahead; the ensemble is fitted again every week")
    print(f"{'model':<18}{'MAE USD/MWh':>12}{'rMAE':>8}")
    for name, values in errors.items():
        print(f"{name:<18}{np.mean(values):>12.2f}{np.mean(values) / reference:>8.3f}")
    for kind, hits in inside.items():
        took = np.median(spent[kind])
        print(f"{kind}: 80 % band covers {np.mean(hits):.1%}; all three prices take {took:.1f} ms at the median")


def main() -> None:
    """One or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--markets", default=",".join(MARKETS))
    parser.add_argument("--models", default=",".join(DEFAULT))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--year", type=int, default=2024)
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.data:
            benchmark(options.data, options.markets.split(","), named(options.models), options.json)
        else:
            replay(options.every, options.year)


if __name__ == "__main__":
    main()
