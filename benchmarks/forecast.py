"""Error and coverage of the forecast on the shipped replay data: rolling origins, nothing of the future seen.

    python benchmarks/forecast.py [--every 3] [--year 2024]

Every third day of the year at 12:00 UTC: 24 hours ahead from the 365 days before. USD/MWh at the default
site's rate. The reference is the seasonal naive (yesterday's hour; a week ago on Saturday to Monday).
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import DATA, load_site  # noqa: E402
from gridpilot.forecast.ensemble import forecast, prepare  # noqa: E402
from gridpilot.market.replay import ReplayClock, ReplaySource  # noqa: E402

HORIZON = 24


def main() -> None:
    """Forecast, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--year", type=int, default=2024)
    options = parser.parse_args()
    site = load_site(DATA / "site-default.toml")
    source = ReplaySource(site, ReplayClock(datetime.now(UTC), datetime(options.year, 1, 1, 12, tzinfo=UTC), 0.0))
    errors: dict[str, list[float]] = {}
    inside: list[bool] = []
    spent: list[float] = []
    origins = 0
    origin = datetime(options.year, 1, 1, 12, tzinfo=UTC)
    while origin + timedelta(hours=HORIZON) <= min(source.last, datetime(options.year + 1, 1, 1, tzinfo=UTC)):
        history = source.fetch(origin)
        came = source.fetch(origin + timedelta(hours=HORIZON)).energy_usd_per_mwh[-HORIZON:]
        start = time.perf_counter()
        band = forecast(prepare(history, site.timezone), HORIZON).energy
        spent.append((time.perf_counter() - start) * 1000.0)
        for name, path in {"in force": band.point, **band.members}.items():
            errors.setdefault(name, []).append(float(np.mean(np.abs(path - came))))
        inside += list((band.lower <= came) & (came <= band.upper))
        origins += 1
        origin += timedelta(days=options.every)
    reference = np.mean(errors["seasonal naive"])
    print(f"{origins} origins of {options.year}, {HORIZON} h ahead")
    print(f"{'model':<18}{'MAE USD/MWh':>12}{'rMAE':>8}")
    for name, found in errors.items():
        print(f"{name:<18}{np.mean(found):>12.2f}{np.mean(found) / reference:>8.3f}")
    print(f"80 % band covers {np.mean(inside):.1%}; all three prices take {np.median(spent):.0f} ms at the median")


if __name__ == "__main__":
    main()
