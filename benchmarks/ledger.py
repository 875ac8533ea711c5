"""How fast the ledger is: appending, checking the chain, and the queries that pages make, on SQLite and PostgreSQL.

    python benchmarks/ledger.py [--entries 100000] [--keep-days 15]

The entries are those of real decisions of the built-in replay, five minutes apart, with all that a decision records:
5 kB each on average. PostgreSQL is measured where it is installed, on a server of its own that waits for its disk as
SQLite does. Queries are medians of 15, warm; compare runs made side by side only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import Settings  # noqa: E402
from gridpilot.cycle import open_engine, run_cycle  # noqa: E402
from gridpilot.domain import PriceHistory  # noqa: E402
from gridpilot.ledger.chain import Entry, canonical  # noqa: E402
from gridpilot.ledger.export import check_file, export  # noqa: E402
from gridpilot.ledger.prune import prune  # noqa: E402
from gridpilot.ledger.store import Ledger  # noqa: E402
from gridpilot.market.replay import ReplaySource  # noqa: E402
from tests.ledger.postgres import MISSING, programs, serve  # noqa: E402

T0 = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
Work = Callable[[], Any]


def decision(folder: Path) -> list[Entry]:
    """The entries of one real decision."""
    wall = datetime.now(UTC)
    with Ledger.open(f"sqlite:///{folder / 'real.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        assert isinstance(engine.source, ReplaySource)
        for _ in range(2):  # from the second on there is something to settle
            engine.source.clock = engine.source.clock.stepped(wall).with_speed(wall, 0.0)
            last = run_cycle(engine, wall).cycle_id
        return [entry for entry in ledger.entries(newest_first=False) if entry.cycle_id == last]


def fill(ledger: Ledger, entries: list[Entry], n: int) -> datetime:
    """n entries, in transactions of about a thousand; the time of the last."""
    at, done, intent = T0, 0, 0
    while done < n:
        with ledger.transaction() as work:
            while done < n:
                for entry in entries:
                    body = dict(entry.body)
                    if entry.kind == "settlement":
                        body |= {"start": at - STEP, "end": at}
                    if entry.kind == "result":
                        body["intent"] = intent
                    seq = work.append(entry.kind, body, at=at, cycle_id=f"{at:%Y%m%dT%H%M%S}").seq
                    intent = seq if entry.kind == "intent" else intent
                    done += 1
                at += STEP
                if done // len(entries) % 128 == 0:
                    break
    return at - STEP


def operators(ledger: Ledger, n: int = 2000) -> None:
    """Past commands."""
    with ledger.transaction() as work:
        for i in range(n):
            row = {"created_at": T0, "author": "ann", "reason": "r", "kind": "machines", "target": {"hydro": i}}
            work.add_command({**row, "valid_until": T0, "base_version": i, "status": "expired", "detail": ""})


def history(days: int = 60) -> PriceHistory:
    """Five-minute prices with a further column, up to now."""
    n, rng = days * 288, np.random.default_rng(0)
    stamps = np.datetime64("2024-01-01T00:00:00", "s") + np.arange(n) * np.timedelta64(300, "s")
    columns = {"outdoor_c": rng.normal(15.0, 5.0, n)}
    return PriceHistory(
        "bench", stamps, 300, rng.normal(80.0, 40.0, n), np.full(n, 50.0), np.full(n, 0.6), columns=columns
    )


def timed(work: Work) -> float:
    """Seconds that it takes once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_ms(work: Work, times: int = 15) -> float:
    """Median time, warm."""
    work()
    return statistics.median(timed(work) for _ in range(times)) * 1e3


def queries(ledger: Ledger, now: datetime) -> dict[str, Work]:
    """What pages ask, by page."""
    day, kinds = now - timedelta(days=1), ["machines", "battery", "hold", "estop"]
    return {
        "every page: newest decision, its parts": lambda: ledger.cycle(_cycle_id(ledger)),
        "Dispatch: 50 newest results": lambda: ledger.entries("result", limit=50),
        "Dispatch: 100 newest commands": lambda: ledger.commands(kinds=kinds, limit=100),
        "Dispatch: the override in force": lambda: ledger.commands(kinds=kinds, statuses=["active", "pending"]),
        "Health: 200 newest decisions": lambda: ledger.entries("cycle", limit=200),
        "Health: 50 newest alarms, number of entries": lambda: (ledger.entries("alarm", limit=50), ledger.count()),
        "100 newest entries of any kind": lambda: ledger.entries(limit=100),
        "Overview: settlements of a day": lambda: ledger.entries("settlement", since=day, limit=5000),
        "Overview: decisions of 8 hours": lambda: ledger.entries("cycle", since=now - timedelta(hours=8), limit=5000),
        "Auction: auctions of a day": lambda: ledger.entries("auction", since=day, limit=5000, newest_first=False),
        "Forecast: the forecast a day ago": lambda: ledger.entries("forecast", until=day, limit=1),
        "Forecast: 200 newest forecasts": lambda: ledger.entries("forecast", since=now - timedelta(days=7), limit=200),
        "Prices: 30 days": lambda: ledger.prices("bench", since=T0 + timedelta(days=30)),
        "prices as they were known": lambda: ledger.prices("bench", as_of_id=5000),
        "number of the newest price": lambda: ledger.price_id("bench"),
    }


def _cycle_id(ledger: Ledger) -> str:
    newest = ledger.latest("cycle")
    return newest.cycle_id if newest else ""


def measure(url: str, entries: list[Entry], n: int, keep_days: int, folder: Path) -> dict[str, str]:
    """One column of the table."""
    with Ledger.open(url) as ledger:
        found = appending(ledger, entries)
        took = timed(lambda: fill(ledger, entries, n))
        found["in bulk [entries/s]"] = f"{n / took:,.0f}"
        newest = ledger.latest("cycle")
        assert newest is not None
        found |= {f"{name} [ms]": f"{median_ms(work):.1f}" for name, work in queries(ledger, newest.at).items()}
        count, report = ledger.count(), ledger.verify()
        assert report.ok, report.reason
        found["verify all [s]"] = f"{statistics.median(timed(ledger.verify) for _ in range(3)):.2f}"
        found["open for writing [ms]"] = f"{median_ms(lambda: Ledger.open(url).close(), 5):.0f}"
        found["export all to Parquet [s]"] = f"{timed(lambda: export(ledger, folder)):.1f}"
        found["check the file's chain [s]"] = f"{timed(lambda: check_file(folder / 'entries.parquet')):.1f}"
        found["prune [s]"] = f"{timed(lambda: prune(ledger, keep_days, datetime.now(UTC), folder)):.1f}"
        found["  entries removed"] = f"{count - ledger.count() + 1:,}"
    return found


def appending(ledger: Ledger, entries: list[Entry]) -> dict[str, str]:
    """What the pilot waits for."""
    small = {"kw": 1.0, "machines": {"hydro": 12}}
    parts = [(f"sample-{entry.kind}", entry.body) for entry in entries]
    prices = history()
    later = replace(prices, energy_usd_per_mwh=np.append(prices.energy_usd_per_mwh[:-1], 1.0))
    operators(ledger)
    times = {
        "one entry, on disk": median_ms(lambda: ledger.append("sample", small, at=T0), 200),
        "a decision's entries together, on disk": median_ms(lambda: ledger.append_many(parts, at=T0)),
        "prices: 60 days for the first time": timed(lambda: ledger.record_prices(prices, T0)) * 1e3,
        "prices: the same again": median_ms(lambda: ledger.record_prices(prices, T0), 5),
        "prices: one is new": timed(lambda: ledger.record_prices(later, T0)) * 1e3,
    }
    return {f"{name} [ms]": f"{ms:.1f}" for name, ms in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--keep-days", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        entries = decision(folder)
        size = statistics.mean(len(canonical(entry.body)) for entry in entries)
        print(f"{args.entries:,} entries of {size:,.0f} bytes on average, {len(entries)} a decision\n")
        urls = {"SQLite": f"sqlite:///{folder / 'ledger.db'}"}
        if programs() is None:
            print(f"{MISSING}\n")
        else:
            server = stack.enter_context(serve(durable=True))
            urls["PostgreSQL"] = server.url(server.database(), head_file=str(folder / "postgres.head"))
        columns = {}
        for database, url in urls.items():
            columns[database] = measure(url, entries, args.entries, args.keep_days, folder / database)
        print(f"{'':<52}" + "".join(f"{database:>12}" for database in columns))
        for row in columns["SQLite"]:
            print(f"{row:<52}" + "".join(f"{column[row]:>12}" for column in columns.values()))


if __name__ == "__main__":
    main()
