"""What a recorded decision may lose, worked out again from its record: by other models, and VaR against what came.

Every figure follows from ledger rows: the plan, the forecast, the risk report and the prices. What is drawn at random
has a seed of its own, the same for the same decision.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.domain import Plan, PriceHistory
from gridpilot.errors import DataError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import SITE, Snapshot, times, values
from gridpilot.risk import parametric
from gridpilot.risk.coverage import Coverage, coverage
from gridpilot.risk.generators import PROCESSES, fit
from gridpilot.risk.parametric import Estimate
from gridpilot.risk.scenarios import money
from gridpilot.risk.stress import Path, plan_pnl
from gridpilot.values import Array, Times, as_array, as_times

DRAWS = 10_000
TRACK_DAYS = 60
EARNING = ("battery", "machines", "jobs", "tenants")  # the parts of a site that a plan's money depends on


def sigma(snap: Snapshot) -> dict[str, Array]:
    """The forecast's standard deviation of each price in each step of the plan (T,): 0 where it is settled, NaN where
    there is no such price."""
    ahead, steps = times(snap.forecast["timestamp"]), times(snap.plan["timestamp"])
    row, last = np.searchsorted(ahead, steps), len(ahead) - 1
    known = ahead[np.minimum(row, last)] == steps
    spread = {name: values(band["sigma"]) for name, band in snap.forecast["bands"].items()}
    return {name: as_array(np.where(known, s[np.minimum(row, last)], 0.0)) for name, s in spread.items()}


def seed(cycle_id: str) -> int:
    """The seed of all that is drawn for a decision."""
    return zlib.crc32(cycle_id.encode())


# --- other models --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """VaR and CVaR of the plan by one model; `estimate` is None where it does not apply, and `said` tells why."""

    name: str
    estimate: Estimate | None
    said: str
    mean: float = float("nan")


def models(snap: Snapshot, plan: Plan, history: PriceHistory, draws: int = DRAWS) -> list[Model]:
    """The recorded sample as it is, by a normal and a Student-t law; Monte Carlo by each process fitted to the history.

    `plan` is that of the snapshot, `history` the recorded prices up to it. All at the recorded alpha.
    """
    alpha, sample = float(snap.risk["alpha"]), values(snap.risk["pnl_usd"])
    out = [_sampled(name, sample, alpha) for name in (parametric.HISTORICAL, parametric.NORMAL, parametric.STUDENT)]
    rng = np.random.default_rng(seed(snap.cycle_id))
    for process in PROCESSES:
        try:
            drawn = fit(process, history).simulate(plan.outlook, draws, rng)
            pnl = money(plan, snap.site, drawn).sum(axis=1)
            out.append(
                Model(process, parametric.historical(pnl, alpha), f"{draws:,} draws, {drawn.label}", float(pnl.mean()))
            )
        except DataError as error:
            out.append(Model(process, None, str(error)))
    return out


def _sampled(name: str, sample: Array, alpha: float) -> Model:
    try:
        if name == parametric.STUDENT:
            law = parametric.student(sample)
            found, said = law.estimate(alpha), f"{law.freedom:.1f} degrees of freedom"
        elif name == parametric.NORMAL:
            found = parametric.normal(sample, alpha)
            said = f"standard deviation {found.parameters['sd']:,.2f}"
        else:
            found, said = parametric.historical(sample, alpha), f"{len(sample):,} forecast errors of past days"
    except DataError as error:
        return Model(name, None, str(error))
    return Model(name, found, said, float(sample.mean()))


# --- VaR against what came -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Track:
    """Recorded VaR beside what the plan, kept to the end, would have made at the prices that came (N,) [$].

    One decision for each horizon, so that no two overlap, oldest first.
    """

    at: Times
    var: Array
    came: Array
    cycles: tuple[str, ...]
    verdict: Coverage


def track(ledger: Ledger, snap: Snapshot, days: int = TRACK_DAYS) -> Track:
    """VaR of past decisions against what came, over the days before the newest one, and whether it kept its promise.

    A decision counts when every price of its plan is on record, its alpha is the newest one's, and the site had the
    loads and the battery that it has now.
    """
    horizon = timedelta(seconds=len(snap.plan["timestamp"]) * snap.step_s)
    rows = ledger.prices(snap.cycle["source"], since=snap.at - timedelta(days=days) - horizon)
    known = {
        int(at): i
        for i, at in enumerate(rows.timestamp.astype("datetime64[s]").astype(np.int64))
        if np.isfinite(rows.energy_usd_per_mwh[i])
    }
    moment, found = max(snap.at - timedelta(days=days), _same_since(ledger, snap.at)), []
    while True:
        entries = ledger.entries("risk", since=moment, until=snap.at, limit=1, newest_first=False)
        if not entries or entries[0].at + horizon > snap.at + timedelta(seconds=snap.step_s):
            break
        risk = entries[0]
        plan = ledger.cycle(risk.cycle_id)["plan"].body
        steps = times(plan["timestamp"]).astype(np.int64)
        told = risk.body["status"] == "ok" and risk.body["alpha"] == snap.risk["alpha"]
        if told and all(int(step) in known for step in steps):
            at = [known[int(step)] for step in steps]
            path = Path(
                rows.energy_usd_per_mwh[at],
                _held(rows.hash_price[at], plan["hash_price"]),
                _held(rows.token_price[at], plan["token_price"]),
                as_array(np.ones(len(at))),
            )
            found.append((risk.at, risk.body["var"], plan_pnl(plan, snap.site, snap.units, path), risk.cycle_id))
        moment = risk.at + horizon
    return _track(found, float(snap.risk["alpha"]))


def _same_since(ledger: Ledger, now: datetime) -> datetime:
    """When the site last got other loads or another battery; the record's first moment where it never did."""
    rows = ledger.entries(SITE, until=now + timedelta(seconds=1), limit=1000)
    since = now
    for row in rows:
        if any(row.body.get(name) != rows[0].body.get(name) for name in EARNING):
            break
        since = row.at
    return since


def _track(found: list[tuple[datetime, float, float, str]], alpha: float) -> Track:
    var, came = as_array([row[1] for row in found]), as_array([row[2] for row in found])
    at = as_times([row[0].replace(tzinfo=None) for row in found])
    return Track(at, var, came, tuple(row[3] for row in found), coverage((-came > var).astype(np.float64), alpha))


def _held(price: Array, planned: list[float | None]) -> Array:
    """A price that came; the plan's own where the source has none."""
    return as_array(np.where(np.isfinite(price), price, values(planned)))
