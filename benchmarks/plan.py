"""How fast plans are made, beside others, and what they earn.

    python benchmarks/plan.py [--peers [--install]]     one battery, 288 steps; with the peers, each in its environment
    python benchmarks/plan.py --data DIR [--markets NP,PJM,DE] [--ercot]     percent of perfect foresight

Peers are cvxpy (from this environment), emhass, energypylinear, linopy and PyPSA from PyPI, in virtual environments
under build/peers (--install makes them). emhass and energypylinear state a more general, mixed-integer problem; PyPSA
is made for whole power systems.
All times are medians of one run on this machine: compare within the table only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402

from benchmarks.forecast import MARKETS, read_market  # noqa: E402
from gridpilot.backtest import PROFILES, Backtest, Terms, backtest  # noqa: E402
from gridpilot.config import DATA, load_site  # noqa: E402
from gridpilot.domain import (  # noqa: E402
    Battery,
    MachineType,
    PriceHistory,
    PriceOutlook,
    Reserve,
    Room,
    Site,
    SiteState,
)
from gridpilot.forecast.ensemble import prepare  # noqa: E402
from gridpilot.plan import merge, model, terms  # noqa: E402
from gridpilot.plan.blocks import block_sizes, in_blocks, in_steps  # noqa: E402
from gridpilot.plan.loads import job_needs  # noqa: E402
from gridpilot.plan.problem import build_problem  # noqa: E402
from gridpilot.plan.result import objective  # noqa: E402
from gridpilot.plan.stochastic import Risk, hedge  # noqa: E402

PEERS = {"emhass": "emhass", "energypylinear": "energypylinear", "linopy": "linopy highspy", "pypsa": "pypsa highspy"}
ENVIRONMENTS = ROOT / "build" / "peers"
STEPS, STEP_S, RUNS = 288, 300, 5
BATTERY = Battery(
    efficiency_charge=0.9, efficiency_discharge=1.0, soc_min=0.0, soc_max=1.0, wear_usd_per_kwh=0.0
)  # what every peer can state
SOC = 0.5
SAME = 1e-6


def median_ms(run: Callable[[int], Any], times: int) -> float:
    """Of so many calls after a first one."""
    run(0)
    took = []
    for i in range(times):
        began = time.perf_counter()
        run(i + 1)
        took.append(1000.0 * (time.perf_counter() - began))
    return float(np.median(took))


def prices(steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """A day with two peaks and noise [$/kWh]."""
    day = 0.06 + 0.03 * np.sin(np.arange(steps) / STEPS * 4.0 * np.pi)
    return np.maximum(day + np.random.default_rng(seed).normal(0.0, 0.01, steps), 0.001)


def merged(price: np.ndarray) -> tuple[Callable[[int], Any], float]:
    """The shared problem by slope merging: to end below the start costs more than any price."""
    step_h = STEP_S / 3600.0
    store, start = merge.Store.of(BATTERY, step_h), SOC * BATTERY.capacity_kwh
    end = np.array([1e3, 0.0]), np.array([start, BATTERY.capacity_kwh - start])

    def run(i: int) -> merge.Found:
        what = merge.trade(price * (1.0 + 1e-6 * i), 1e4)
        return merge.solve(store, what, start, *end)

    return run, float(run(0).profit_usd.sum())


def shared(peers: bool) -> None:
    """The battery problem that all can state: 288 steps, to end as it began."""
    price = prices()
    run, money = merged(price)
    ours = median_ms(run, 200)
    rows = [("slope merging (gridpilot)", ours, None, money)]
    if peers:
        asked = {
            "price_usd_per_kwh": price.tolist(), "power_kw": BATTERY.charge_kw, "capacity_kwh": BATTERY.capacity_kwh,
            "efficiency_charge": BATTERY.efficiency_charge, "soc": SOC, "step_s": STEP_S, "runs": RUNS,
        }  # fmt: skip
        for name in ("cvxpy", *PEERS):
            python = ENVIRONMENTS / name / "bin" / "python" if name in PEERS else Path(sys.executable)
            if not python.exists():
                print(f"{name} is not installed: run with --install")
                continue
            script = ROOT / "benchmarks" / "peers" / f"{name}_peer.py"
            done = subprocess.run([python, script], input=json.dumps(asked), capture_output=True, text=True, check=True)
            found = json.loads(done.stdout[done.stdout.index('{"objective"') :])
            rows.append((name, found["again_ms"], found["first_ms"], found["objective"]))
    print(f"\none battery, {STEPS} steps of {STEP_S} s, to end as it began")
    print(f"{'':28}{'ms':>10}{'first, ms':>11}{'ratio':>10}{'objective, $':>15}")
    for name, ms, first, found_money in rows:
        said = "" if abs(found_money - money) <= SAME * abs(money) else "   differs"
        start = "" if first is None else f"{first:.0f}"
        print(f"{name:28}{ms:10.3f}{start:>11}{ms / ours:10.0f}{found_money:15.6f}{said}")


START = datetime(2024, 6, 24, 12, tzinfo=UTC)


def outlook(steps: int, step_s: int, price: np.ndarray) -> PriceOutlook:
    """Prices for the default site [$/kWh]."""
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(steps) * np.timedelta64(step_s, "s")
    return PriceOutlook(stamps, step_s, 1000.0 * price, np.full(steps, 55.0), np.full(steps, 0.6))


def full_site() -> Site:
    """All that a plan can hold: five machine types, three jobs, reserve, room, cooling by the weather."""
    site = load_site(DATA / "site-default.toml")
    (job,) = site.jobs
    jobs = (
        job,
        replace(job, name="tuning", daily_deadline="08:00"),
        replace(job, name="batch", daily_deadline="23:00"),
    )
    return replace(
        site,
        machines=(*site.machines, MachineType("asic", 20, 4000.0, 2000.0, "token")),
        jobs=tuple(replace(j, shortfall_usd_per_kwh=0.2) for j in jobs),
        cooling=replace(site.cooling, cop_drop_per_c=0.05),
        reserve=Reserve(up_kw=100.0, down_kw=50.0, most_up_kw=200.0, up_usd_per_mw_h=8.0, hours=0.5),
        room=Room(kwh_per_c=40.0, loss_kw_per_c=2.0, extra_kw=40.0),
    )


def site_model() -> None:
    """Two sites, everything changed from solve to solve."""
    print("\nnew prices, weather and state each time; ms of statement and solve, and in brackets of the solver alone")
    print(f"{'':40}{'24 h':>16}{'288 x 5 min':>16}{'58 blocks':>16}")
    default, full = load_site(DATA / "site-default.toml"), full_site()
    for name, site, solve in (
        ("default site, HiGHS held open", default, terms.solve),
        ("default site, cvxpy", default, model.solve),
        ("all terms, HiGHS held open", full, terms.solve),
        ("all terms, cvxpy", full, model.solve),
    ):
        cells = [solve_ms(site, solve, 24, 3600), solve_ms(site, solve, 288, 300)]
        cells.append(solve_ms(site, solve, 288, 300, blocks=True))
        print(f"{name:40}" + "".join(f"{f'{ms:.2f} ({inner:.2f})':>16}" for ms, inner in cells))
    problem = build_problem(full, SiteState(START, 0.5), outlook(288, 300, prices(288, 1)))
    whole, parted = terms.solve(problem, time_limit_s=10.0), block_sizes(problem)
    found = in_steps(problem, parted, terms.solve(in_blocks(problem, parted), time_limit_s=10.0))
    share = 100.0 * objective(problem, found) / objective(problem, whole)
    print(f"a plan in blocks is worth {share:.2f} % of the one in steps (all terms, one day, all of it kept)")


def solve_ms(site: Site, solve: Any, steps: int, step_s: int, *, blocks: bool = False) -> tuple[float, float]:
    """Median of statement and solve, and of the solver alone [ms]."""
    needs, inner = job_needs(site, START, steps * step_s, {}), []

    def run(i: int) -> None:
        state = SiteState(START, 0.3 + 0.02 * (i % 20), jobs=needs, room_c=21.0 + 0.1 * (i % 20))
        ahead = outlook(steps, step_s, prices(steps, i))
        hours = np.arange(steps) * step_s // 3600  # the weather is known by the hour
        warm = 15.0 + 8.0 * np.sin(hours / 12.0 * np.pi + i)
        problem = build_problem(site, state, replace(ahead, outdoor_c=warm))
        problem = in_blocks(problem, block_sizes(problem)) if blocks else problem
        inner.append(solve(problem, time_limit_s=10.0).solve_ms)

    ms = median_ms(run, 20)
    return ms, float(np.median(inner))


def scale() -> None:
    """Many steps, many sites, many re-solves."""
    store, step_h = merge.Store.of(Battery(), STEP_S / 3600.0), STEP_S / 3600.0
    end = merge.flat_end(store, 500.0, 0.05)
    year = prices(105_120)
    bound = median_ms(lambda i: merge.value_ahead(store, merge.trade(year, 1000.0 * step_h), *end), 5)
    whole = median_ms(lambda i: merge.solve(store, merge.trade(year, 1000.0 * step_h), 500.0, *end), 5)
    days = [merge.trade(prices(seed=i), 1000.0 * step_h) for i in range(1000)]

    def all_sites(_: int) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: [merge.solve(store, d, 500.0, *end) for d in part], (days[:500], days[500:])))

    sites = median_ms(all_sites, 3)
    everything = merge.trade(np.concatenate([year, year[:STEPS]]), 1000.0 * step_h)

    def rolling(_: int) -> None:
        energy = 500.0
        for t in range(105_120 // 12):  # a twelfth of the year
            ahead = merge.Uses(*(part[t : t + STEPS] for part in everything))
            energy = float(merge.solve(store, ahead, energy, *merge.flat_end(store, energy, 0.05)).stored[0])

    rolled = 12.0 * median_ms(rolling, 1)
    print("\nslope merging, 5-minute steps")
    print(f"perfect foresight of a year (105,120 steps): bound {bound:.0f} ms, plan {whole:.0f} ms")
    print(f"1,000 sites x 288 steps on two threads: {sites:.0f} ms")
    many = merge.trade(np.concatenate([prices(seed=i) for i in range(1000)]), 1000.0 * step_h)
    now, risk = merge.trade(year[:1], 1000.0 * step_h), Risk(0.3)
    hedged = median_ms(lambda i: hedge(store, now, many, 500.0, end, 1000, risk), 5)
    print(f"two-stage mean-CVaR, 1,000 scenarios x 288 steps: {hedged:.0f} ms")
    print(f"a year of re-planning each step, 288 ahead: {rolled / 1000.0:.1f} s (from a twelfth of it)")


def install() -> None:
    """Make the environments of the peers."""
    for name, packages in PEERS.items():
        folder = ENVIRONMENTS / name
        if not (folder / "bin" / "python").exists():
            print(f"installing {name} ...", flush=True)
            venv.create(folder, with_pip=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages.split()]
            subprocess.run(pip, check=True)


def market_history(folder: Path, market: str) -> tuple[PriceHistory, Any, date, date]:
    """A market of the open benchmark as a history and as forecasters see it, with its test period."""
    start, country = MARKETS[market]
    series = read_market(folder / "epf", market, country)
    nothing = np.full(len(series), np.nan)
    history = PriceHistory(market, series.timestamp, 3600, series.y, nothing, nothing)
    return history, series, start, date.fromordinal(start.toordinal() + 727)


def ercot_history(folder: Path) -> tuple[PriceHistory, Any, date, date]:
    """Real-time prices of the West load zone with day-ahead prices as the outside series; gaps filled and marked."""
    frames = [
        pd.read_csv(folder / "prices" / f"ercot_lz_west_{kind}_hourly_2024-26.csv.gz").set_index("timestamp_utc")
        for kind in ("rtm", "dam")
    ]
    both = pd.concat([frame["USD_per_MWh"] for frame in frames], axis=1, keys=["rtm", "dam"])
    both.index = pd.to_datetime(both.index, utc=True)
    grid = both.reindex(pd.date_range(both.index[0], both.index[-1], freq="h"))
    filled = grid.index[grid["rtm"].isna()].tz_localize(None).to_numpy()
    while grid["rtm"].isna().any():
        grid = grid.fillna(grid.shift(24))
    stamps, nothing = grid.index.tz_localize(None).to_numpy(), np.full(len(grid), np.nan)
    history = PriceHistory(
        "ercot", stamps, 3600, grid["rtm"].to_numpy(), nothing, nothing,
        columns={"dam": grid["dam"].to_numpy()}, filled=filled,
    )  # fmt: skip
    series = prepare(history, "America/Chicago", exog=["dam"]).clock
    series = replace(series, exog=series.exog[: len(series)], known_ahead=25)
    return history, series, date(2024, 4, 1), date(2026, 3, 16)


def value(folder: Path, markets: list[str], ercot: bool) -> None:
    """Percent of perfect foresight by what was known, for a battery alone with the grid."""
    battery = Battery(charge_kw=1000.0, discharge_kw=1000.0)
    for market in markets:
        history, series, start, end = market_history(folder, market)
        site = Site(battery=battery)
        found = backtest(site, history, series, start, end, Terms("ensemble", "blind"))
        gap = found.gap_usd
        one = 100.0 * (1.0 - (gap["horizon"] + gap["forecast"]) / found.perfect_usd)
        print(f"{market} blind, one schedule".ljust(28) + f"{one:8.1f} %")
        tell(f"{market} blind, {PROFILES} profiles", found)
        ideal = 100.0 * (1.0 - gap["horizon"] / found.perfect_usd)
        print(f"{market} true prices of the day".ljust(28) + f"{ideal:8.1f} %")
        later = backtest(site, history, series, start, end, Terms("seasonal naive", "published"))
        tell(f"{market} published", later)
    if ercot:
        history, series, start, end = ercot_history(folder)
        site = Site(battery=battery, timezone="America/Chicago")
        how = Terms("seasonal naive", "realtime")
        tell("ERCOT West real time", backtest(site, history, series, start, end, how))


def tell(title: str, found: Backtest) -> None:
    """One line."""
    print(
        f"{title:28}{found.percent_of_perfect:8.1f} %   persistence {found.persistence_percent_of_perfect:.1f} %"
        f"   {found.perfect_usd:,.0f} $ in {len(found.days)} days",
        flush=True,
    )


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="beside emhass, energypylinear, linopy and PyPSA")
    parser.add_argument("--install", action="store_true", help="install the peers first")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with epf/ and prices/")
    parser.add_argument("--markets", default="NP,PJM,DE")
    parser.add_argument("--ercot", action="store_true")
    options = parser.parse_args()
    if options.data:
        value(options.data, [m for m in options.markets.split(",") if m], options.ercot)
        return
    if options.install:
        install()
    shared(options.peers or options.install)
    site_model()
    scale()


if __name__ == "__main__":
    main()
