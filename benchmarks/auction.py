"""How long an auction takes, and how far its payments are from brute-force removal.

    python benchmarks/auction.py [--most 1000000] [--jobs pods.csv.gz]

Each row clears a random auction with the payment of every winner (median of five, warm), then takes some winners out
by a plain statement of the same problem: sort and fill, SciPy's linear program, HiGHS's mixed-integer program. `--jobs`
adds a trace of real cluster jobs as bids (Alibaba's GPU cluster trace of 2023, columns num_gpu, gpu_milli, cpu_milli,
memory_mib, qos). The trace has no prices: each class of service bids its own price, times a log-normal factor.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.auction.book import Book, Supply  # noqa: E402
from gridpilot.auction.mechanism import Cleared, clear_book  # noqa: E402

FINE = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
GPU_KW, CORE_KW = 0.4, 0.005  # an accelerator under load, and a core
QOS_USD_PER_KWH = {"LS": 0.60, "Guaranteed": 0.45, "Burstable": 0.30, "BE": 0.15}  # assumed: the trace has no prices
Plain = Callable[[Book, Supply, int], float]


def random_book(n: int, resources: int = 1, *, whole: bool = False, own: int = 3) -> Book:
    """n rows of 0.5 to 20 kW in steps of 0.5 kW, about `own` rows for each bidder."""
    rng = np.random.default_rng(n + resources)
    bidders = max(1, n // own)
    uses = rng.uniform(0.0, 1.0, (n, resources))
    uses[:, 0] = 1.0
    kw = rng.integers(1, 41, n) * 0.5
    return Book.of_columns(
        ([f"b{i:07d}" for i in range(bidders)], rng.integers(0, bidders, n)),
        (["x"], np.zeros(n, dtype=np.int64)),
        kw,
        rng.uniform(0.02, 0.5, n).round(4),
        least_kw=kw if whole else None,
        uses=uses,
        resources=("power", *(f"r{k}" for k in range(1, resources))),
    )


def filled(book: Book, supply: Supply, skip: int) -> float:
    """Value without a bidder: sort, and fill."""
    keep = book.bidder != skip
    order = np.argsort(-book.price[keep], kind="stable")
    kw, price = book.kw[keep][order], book.price[keep][order]
    before = np.cumsum(kw) - kw
    return float(np.clip(supply.power_kw - before, 0.0, kw) @ price)


def linear(book: Book, supply: Supply, skip: int) -> float:
    """Value without a bidder: SciPy's linear program of all rows."""
    keep = book.bidder != skip
    capacity = [supply.power_kw, *supply.others.values()]
    bounds = np.column_stack([np.zeros(int(keep.sum())), book.kw[keep]])
    found = linprog(-book.price[keep], A_ub=book.uses[keep].T, b_ub=capacity, bounds=bounds, options=FINE)
    return float(-found.fun)


def whole(book: Book, supply: Supply, skip: int) -> float:
    """Value without a bidder: HiGHS's mixed-integer program, to a gap of zero."""
    keep = book.bidder != skip
    rows = book.kw[keep] * book.uses[keep].T
    capacity = [supply.power_kw, *supply.others.values()]
    found = milp(
        -book.kw[keep] * book.price[keep],
        constraints=LinearConstraint(rows, -np.inf, capacity),
        integrality=np.ones(int(keep.sum())),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    return float(book.kw[keep][found.x > 0.5] @ book.price[keep][found.x > 0.5])


def error(cleared: Cleared, plain: Plain, winners: int) -> float:
    """The largest difference of some winners' payments from removal by the plain statement [$/h]."""
    book, supply = cleared.book, cleared.supply
    everything = plain(book, supply, -1)
    paying = np.flatnonzero(cleared.power > 0.0)
    worst = abs(cleared.welfare - everything)
    for b in paying[:: max(1, len(paying) // winners)][:winners].tolist():
        lost = plain(book, supply, b) - (everything - float(cleared.value[b]))
        worst = max(worst, abs(float(cleared.lost[b]) - lost))
    return worst


def row(name: str, book: Book, supply: Supply, plain: Plain | None, winners: int = 5) -> None:
    """One line of the table."""
    cleared = clear_book(book, supply)  # warm
    times = []
    for _ in range(5):
        start = time.perf_counter()
        cleared = clear_book(book, supply)
        times.append((time.perf_counter() - start) * 1e3)
    off = "-" if plain is None else f"{error(cleared, plain, winners):.1e}"
    served = int((cleared.power > 0.0).sum())
    method = cleared.method.split(",")[0]
    print(f"{name:<38} {len(book):>9,} {served:>9,} {statistics.median(times):>9.1f} {off:>9}  {method}", flush=True)


def random_rows(most: int) -> None:
    """Random auctions of each shape, up to a number of rows."""
    sizes = [n for n in (100, 1_000, 10_000, 100_000, 1_000_000) if n <= most]
    for n in sizes:
        book = random_book(n)
        row("divisible, 1 MW", book, Supply(min(1000.0, 0.5 * book.kw.sum())), filled)
        if n >= 100_000:
            row("divisible, half of what is asked", book, Supply(0.5 * float(book.kw.sum())), filled)
    for n in sizes:
        book = random_book(n, whole=True, own=1)
        plain = whole if n <= 1_000 else None  # the mixed-integer program takes minutes beyond
        row("all or nothing, 1 MW", book, Supply(min(1000.0, 0.5 * book.kw.sum())), plain, winners=3)
        if n >= 100_000:
            row("all or nothing, half of what is asked", book, Supply(0.5 * float(book.kw.sum())), None)
    for n in (n for n in sizes if n <= 100_000):
        book = random_book(n, 6)
        power = min(1000.0, 0.5 * float(book.kw.sum()))
        supply = Supply(power, 0.0, {f"r{k}": 0.45 * power for k in range(1, 6)})
        row("six resources", book, supply, linear if n <= 10_000 else None)
    for n in (20, 100):
        book = random_book(n, 3, whole=True)
        power = 0.3 * float(book.kw.sum())
        row("three resources, all or nothing", book, Supply(power, 0.0, {"r1": 0.4 * power, "r2": 0.4 * power}), whole)


def job_book(path: Path, *, divisible: bool) -> Book:
    """Jobs of a trace as bids: power rounded up to 0.1 kW, with GPUs, cores and memory as resources."""
    pods = pd.read_csv(path)
    gpus = (pods["num_gpu"] * pods["gpu_milli"] / 1000.0).to_numpy(dtype=float)
    cores = pods["cpu_milli"].to_numpy(dtype=float) / 1000.0
    memory = pods["memory_mib"].to_numpy(dtype=float) / 1024.0
    kw = np.ceil((gpus * GPU_KW + cores * CORE_KW) * 10.0) / 10.0
    rng = np.random.default_rng(0)
    price = pods["qos"].map(QOS_USD_PER_KWH).fillna(0.15).to_numpy(dtype=float) * rng.lognormal(0.0, 0.5, len(pods))
    uses = np.column_stack([np.ones(len(pods)), *(amount / kw for amount in (gpus, cores, memory))])
    return Book.of_columns(
        (pods["name"].tolist(), np.arange(len(pods))),
        (["job"], np.zeros(len(pods), dtype=np.int64)),
        kw,
        price.round(4),
        least_kw=None if divisible else kw,
        uses=uses if divisible else None,
        resources=("power", "gpus", "cores", "gib") if divisible else ("power",),
    )


def job_rows(path: Path) -> None:
    """The trace on 500 kW: all or nothing by power; divisible with 800 GPUs, 9,000 cores and 40,000 GiB beside."""
    row("cluster jobs, 500 kW", job_book(path, divisible=False), Supply(500.0), None)
    supply = Supply(500.0, 0.0, {"gpus": 800.0, "cores": 9_000.0, "gib": 40_000.0})
    row("cluster jobs, four resources", job_book(path, divisible=True), supply, linear)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of the largest auction")
    parser.add_argument("--jobs", type=Path, help="a trace of cluster jobs (CSV, may be gzipped)")
    args = parser.parse_args()
    print(f"{'auction':<38} {'bids':>9} {'winners':>9} {'ms':>9} {'error $/h':>9}  mechanism")
    random_rows(args.most)
    if args.jobs:
        job_rows(args.jobs)


if __name__ == "__main__":
    main()
