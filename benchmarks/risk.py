"""How fast risk is measured and portfolios are found, beside plain Python and skfolio.

    python benchmarks/risk.py                  one table: a plan of the default site on the replayed Dutch prices
    python benchmarks/risk.py --promise 180    the replay decided once a day: was VaR exceeded as often as it said?

A plan of 24 hours, and the same day in 288 steps, is valued on 10,000 drawn futures. The plain reference is a loop over
scenarios and steps on a hundredth of them, times 100. The history is a stretch without a negative hour, which three of
the processes need. All times are medians of warm calls in one process on this machine: compare within the table only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import skfolio.measures as oracle  # noqa: E402
from skfolio import RiskMeasure  # noqa: E402
from skfolio.datasets import load_sp500_dataset  # noqa: E402
from skfolio.optimization import MeanRisk, RiskBudgeting  # noqa: E402
from skfolio.preprocessing import prices_to_returns  # noqa: E402

from gridpilot import report  # noqa: E402
from gridpilot.config import DATA, Settings, load_site  # noqa: E402
from gridpilot.cycle import open_engine, run_cycle  # noqa: E402
from gridpilot.domain import Plan, PriceHistory, PriceOutlook, Site, SiteState  # noqa: E402
from gridpilot.ledger.store import Ledger  # noqa: E402
from gridpilot.market.replay import ReplayClock, ReplaySource  # noqa: E402
from gridpilot.monitor import exposure  # noqa: E402
from gridpilot.monitor.decision import load  # noqa: E402
from gridpilot.plan.loads import job_needs  # noqa: E402
from gridpilot.plan.solve import plan as make_plan  # noqa: E402
from gridpilot.risk import allocation, measures, parametric, stress  # noqa: E402
from gridpilot.risk.generators import PROCESSES, fit  # noqa: E402
from gridpilot.risk.heston import Heston  # noqa: E402
from gridpilot.risk.scenarios import Futures, money  # noqa: E402

FUTURES, ALPHA, RUNS, FEW = 10_000, 0.95, 9, 100
NOW = datetime(2022, 12, 15, 12, tzinfo=UTC)
POSITIVE_DAYS = 60
VARYING = Heston(0.0, 0.01, 0.0009, 0.003, -0.6, 0.0009)  # given: the variance of this stretch does not come back


def median_ms(run: Callable[[], Any], times: int = RUNS) -> float:
    """Of so many calls after a first one."""
    run()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        took.append(1000.0 * (time.perf_counter() - began))
    return float(np.median(took))


def problem() -> tuple[Site, SiteState, PriceHistory, PriceOutlook]:
    """The default site at noon of a winter's day, with the next day's prices as expected."""
    site = load_site(DATA / "site-default.toml")
    source = ReplaySource(site, ReplayClock(NOW, NOW, 0.0))
    history = source.fetch(NOW).tail(24 * POSITIVE_DAYS)
    stamps = history.timestamp[-1] + np.arange(24) * np.timedelta64(3600, "s")
    ahead = [history.energy_usd_per_mwh[-24:], history.hash_price[-24:], history.token_price[-24:]]
    outlook = PriceOutlook(stamps, 3600, *ahead, units=history.units)
    state = SiteState(NOW, 0.5, jobs=job_needs(site, NOW, 86_400.0, {}))
    return site, state, history, outlook


def stretched(plan: Plan, parts: int) -> Plan:
    """The same plan in shorter steps."""
    step_s = plan.step_s // parts
    stamps = plan.timestamp[0] + np.arange(len(plan) * parts) * np.timedelta64(step_s, "s")

    def longer(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, parts)

    known = plan.outlook
    outlook = PriceOutlook(
        stamps,
        step_s,
        longer(known.energy_usd_per_mwh),
        longer(known.hash_price),
        longer(known.token_price),
        known.units,
    )
    arrays = ("charge_kw", "discharge_kw", "soc_frac", "import_kw", "export_kw", "cooling_kw", "room_kw")
    arrays += ("marginal_value_usd_per_kwh", "power_price_usd_per_kwh", "reserve_up_kw", "reserve_down_kw")
    changed: dict[str, Any] = {name: longer(getattr(plan, name)) for name in arrays}
    loads = {name: longer(kw) for name, kw in plan.loads_kw.items()}
    return replace(plan, **changed, timestamp=stamps, step_s=step_s, loads_kw=loads, outlook=outlook, room_c=[])


def plain(plan: Plan, site: Site, futures: Futures) -> list[float]:
    """P&L of each scenario, one number after the other."""
    machines = {machine.type: machine for machine in site.machines}
    fixed = {t.name: t.price_usd_per_kwh for t in site.tenants} | {j.name: j.value_usd_per_kwh for j in site.jobs}
    out = []
    for s in range(len(futures)):
        total = 0.0
        for t in range(len(plan)):
            rate = (plan.export_kw[t] - plan.import_kw[t]) * futures.energy[s, t] / 1000.0
            rate -= site.battery.wear_usd_per_kwh * (plan.charge_kw[t] + plan.discharge_kw[t])
            for name, kw in plan.loads_kw.items():
                if name in machines:
                    machine = machines[name]
                    price = futures.hash[s, t] if machine.product == "hash" else futures.token[s, t]
                    factor = plan.outlook.units.hash_usd_per_h
                    factor = factor if machine.product == "hash" else plan.outlook.units.token_usd_per_h
                    rate += kw[t] * machine.rate * price * factor / machine.power_kw
                else:
                    rate += kw[t] * fixed[name]
            total += rate * plan.outlook.step_h
        out.append(total)
    return out


def whole(plan: Plan, body: dict[str, Any], site: Site, futures: Futures) -> tuple[float, ...]:
    """P&L of every future, VaR, CVaR, drawdowns, the two laws, and every stress case."""
    paths = money(plan, site, futures)
    pnl = paths.sum(axis=1)
    found = parametric.estimates(pnl, ALPHA)
    falls = measures.worst_falls(paths)
    sigma = {"energy": futures.energy.std(axis=0)}
    tried = stress.outcomes(body, site, plan.outlook.units, sigma)
    return (found[0].var, found[0].cvar, measures.value_at_risk(-falls, ALPHA), tried[-1].usd)


def row(what: str, ms: float, other: str = "", other_ms: float = float("nan")) -> None:
    """A line of the table."""
    beside = f"{other} {other_ms:,.2f} ms, {other_ms / ms:,.1f} x" if other else ""
    print(f"{what:<66}{ms:>10.2f} ms   {beside}")


def measured(site: Site, plan: Plan, history: PriceHistory) -> None:
    """The rows of one plan."""
    n, body = len(plan), report.plan_json(plan)
    rng = np.random.default_rng(0)
    generator = fit("Ornstein-Uhlenbeck", history)
    generator = replace(generator, step_h=plan.step_s / 3600.0)
    futures = generator.simulate(plan.outlook, FUTURES, rng)
    few = Futures(futures.energy[:FEW], futures.hash[:FEW], futures.token[:FEW])
    pnl = money(plan, site, futures).sum(axis=1)
    assert np.allclose(plain(plan, site, few), pnl[:FEW])
    for process in PROCESSES:
        made = generator if process == Heston.label else replace(fit(process, history), step_h=generator.step_h)
        made = replace(made, energy=VARYING) if process == Heston.label else made
        ms = median_ms(lambda g=made: g.simulate(plan.outlook, FUTURES, rng))
        row(f"{n} steps: draw {FUTURES:,} futures, {process}", ms)
    slow = FUTURES / FEW * median_ms(lambda: plain(plan, site, few), 3)
    row(f"{n} steps: P&L of {FUTURES:,} futures", median_ms(lambda: money(plan, site, futures)), "plain loop", slow)
    theirs = median_ms(lambda: (oracle.value_at_risk(pnl, ALPHA), oracle.cvar(pnl, ALPHA)))
    mine = median_ms(lambda: (measures.value_at_risk(pnl, ALPHA), measures.cvar(pnl, ALPHA)))
    row(f"{n} steps: VaR and CVaR of them", mine, "skfolio", theirs)
    row(
        f"{n} steps: P&L, VaR, CVaR, drawdown, both laws and all stress cases",
        median_ms(lambda: whole(plan, body, site, futures)),
    )
    drawn = median_ms(lambda: whole(plan, body, site, generator.simulate(plan.outlook, FUTURES, rng)))
    row(f"{n} steps: the same with the draw (Ornstein-Uhlenbeck)", drawn)


def portfolios() -> None:
    """Weights beside skfolio's, on two years of six of its stocks."""
    few = np.asarray(prices_to_returns(load_sp500_dataset()))[-504:, [0, 3, 7, 11, 15, 19]]
    limits, covariance = allocation.Limits.of(few.shape[1]), np.cov(few.T)
    pairs: list[tuple[str, Callable[[], Any], Any]] = [
        ("least variance", lambda: allocation.least_variance(covariance, limits), MeanRisk()),
        ("risk parity", lambda: allocation.risk_parity(covariance), RiskBudgeting()),
        (
            "least CVaR",
            lambda: allocation.least_cvar(few, ALPHA, limits),
            MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=ALPHA),
        ),
    ]
    for name, mine, theirs in pairs:
        row(f"{name}, 6 assets, 504 days", median_ms(mine), "skfolio", median_ms(lambda t=theirs: t.fit(few), 3))
    row("frontier of 12 points, 6 assets, 504 days", median_ms(lambda: allocation.frontier(few, ALPHA, limits)))


def promise(days: int) -> None:
    """Recorded VaR against what each plan, kept to its end, would have made: one decision a day of the replay."""
    wall = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{folder}/ledger.db") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for _ in range(days + 1):
            run_cycle(engine, wall)
            later = source.clock.replay + timedelta(days=1)
            source.clock = replace(source.clock, replay=later).with_speed(wall, 0.0)
        newest = load(ledger)
        assert newest is not None
        found = exposure.track(ledger, newest, days + 1).verdict
    print(f"{found.n} days, VaR {ALPHA:.0%}: {found.hits} losses beyond it, {found.expected:.1f} promised")
    for name, test in (
        ("Kupiec", found.unconditional),
        ("independence", found.independence),
        ("conditional coverage", found.conditional),
    ):
        print(f"{name}: LR {test.statistic:.2f}, p {test.p_value:.3f}")


def main() -> None:
    """Print the table, or the promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promise", type=int, default=0, metavar="DAYS")
    options = parser.parse_args()
    if options.promise:
        promise(options.promise)
        return
    site, state, history, outlook = problem()
    plan = make_plan(site, state, outlook)
    print(f"{site.name}, {NOW:%d %b %Y}: plan {plan.status}, {len(plan.loads_kw)} loads")
    for parts in (1, 12):
        measured(site, stretched(plan, parts) if parts > 1 else plan, history)
    portfolios()


if __name__ == "__main__":
    main()
