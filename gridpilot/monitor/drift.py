"""Whether the live forecasts still do what their calibration promised; where not, the seasonal naive takes over.

Each new energy price is a score: what the forecasts of 1, 6, 12 and 24 hours before had said of it, as a share x of the
mean absolute error that they were issued with (out of sample). x is 1 where all is as calibrated. The test is that of
Page and Hinkley with a known mean, reflected at zero:

    level <- clip(level + (min(x, 10) - 2) dt, 0, 24),   dt in hours, at most 1

It drifts where the level gets to 24: errors three times as large as promised for 24 hours, five times for 8 hours, and
never those twice as large. From then on the forecast of the energy price is the seasonal naive's, while the forecast
that drifted is still made and scored beside it (`WATCHED`); it comes back when the level is 0 again, after a day of
errors as promised. Two thresholds, 24 and 0, keep it from changing to and fro. The level is an input of the decision,
so a replay decides alike. Source: Page (1954), Biometrika 41; Hinkley (1971), Biometrika 58.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.domain.check import require
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import times, values
from gridpilot.values import iso

KEY = "drift"  # of the ledger's state
WATCHED = "on watch"  # in a recorded forecast: the one that drifted, and its promised error
LEADS_H = (1, 6, 12, 24)
TOLERANCE, MOST = 2.0, 10.0  # shares of the promised error: what is borne, and what one score counts at the most
LIMIT_H = 24.0
DAY_H = 24.0
LEAST_ERROR = 1e-9  # of a price that never moved


@dataclass(frozen=True, slots=True)
class Drift:
    """Where the test stands. `share` is the mean x of the last day (NaN before the first score), kept as an exponential
    mean of that length; `scored` the newest price that was scored; `recovered` whether it came back with this one."""

    level: float = 0.0
    fallback: bool = False
    since: datetime | None = None
    scored: datetime | None = None
    share: float = math.nan
    recovered: bool = False

    def __post_init__(self) -> None:
        require(0.0 <= self.level <= LIMIT_H, f"drift level is {self.level:g}: expected 0 to {LIMIT_H:g}")
        require(self.since is not None or not self.fallback, "a fallback has no beginning: give `since`")

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> Drift:
        """The inverse of `values.to_jsonable`; none on record is none so far."""
        if not body:
            return cls()
        moments = {k: None if body[k] is None else datetime.fromisoformat(body[k]) for k in ("since", "scored")}
        return cls(**{**body, **moments, "share": math.nan if body["share"] is None else body["share"]})

    def flag(self) -> DataFlag | None:
        """What a decision says of it: that the seasonal naive is in force, or that it is over."""
        if self.fallback and self.since is not None:
            seen = f"forecast errors are {self.share:.1f} times what was promised"
            return DataFlag(
                "DRIFT", f"{seen} (since {iso(self.since)}): the seasonal naive is used", "alarm", "forecast"
            )
        if self.recovered:
            return DataFlag(
                "DRIFT_OVER", "forecast errors are as promised again: the ensemble is used", "info", "forecast"
            )
        return None


@dataclass(frozen=True, slots=True)
class Score:
    """What came at `at`, against the forecasts before: mean absolute `error` and the one `promised` [$/MWh]."""

    at: datetime
    error: float
    promised: float

    @property
    def share(self) -> float:
        """x: the error as a share of what was promised."""
        return self.error / max(self.promised, LEAST_ERROR)


def load(ledger: Ledger) -> Drift:
    """Where the test stands by the ledger."""
    return Drift.from_json(ledger.get_state(KEY).value)


def score(ledger: Ledger, history: PriceHistory, since: datetime | None = None) -> Score | None:
    """The newest price against the forecasts on record; None where none of them spoke of it with a promise.

    Forecasts from before `since` were made of another market's prices.
    """
    at, came = history.timestamp[-1], float(history.energy_usd_per_mwh[-1])
    errors, promised = [], []
    for lead_h in LEADS_H:
        made_by = history.last - timedelta(hours=lead_h)
        entry = next(iter(ledger.entries("forecast", until=made_by + timedelta(seconds=history.step_s), limit=1)), None)
        if entry is None or (since is not None and entry.at < since):
            continue
        band, known = entry.body["bands"]["energy"], entry.body["scores"].get("energy", {})
        place = np.flatnonzero(times(entry.body["timestamp"]) == at)
        said = known.get(WATCHED, known.get("mix"))
        if len(place) and said is not None:
            path = band["members"].get(WATCHED, band["point"])
            errors.append(abs(float(values(path)[place[0]]) - came))
            promised.append(float(said))
    return Score(history.last, float(np.mean(errors)), float(np.mean(promised))) if errors else None


def follow(drift: Drift, found: Score | None, step_s: float) -> Drift:
    """The test after one more score; the same one again, or none, changes nothing. Where time went back it starts
    anew."""
    drift = replace(drift, recovered=False)
    if found is None or found.at == drift.scored:
        return drift
    if drift.scored is not None and found.at < drift.scored:
        drift = Drift()
    hours = min(1.0, step_s / 3600.0)
    x = min(found.share, MOST)
    level = min(max(drift.level + (x - TOLERANCE) * hours, 0.0), LIMIT_H)
    old = x if math.isnan(drift.share) else drift.share
    share = old + (x - old) * (1.0 - math.exp(-hours / DAY_H))
    begins = not drift.fallback and level >= LIMIT_H - 1e-9
    ends = drift.fallback and level <= 0.0
    return Drift(
        level=level,
        fallback=(drift.fallback or begins) and not ends,
        since=found.at if begins else None if ends else drift.since,
        scored=found.at,
        share=share,
        recovered=ends,
    )
