"""How well the system has served, by the ledger: in how many intervals there was a good decision, and what cycles
took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.dispatch.reconcile import SENT
from gridpilot.ledger.store import Ledger
from gridpilot.values import Array

DAYS = 7.0
MOST = 3000  # cycles: seven days of five minutes, and some between them
QUANTILES = (0.5, 0.95, 0.99)
GOOD = (*SENT, "held")  # what became of a decision that is in force


@dataclass(frozen=True, slots=True)
class Service:
    """Of the intervals from `since` to `until` (source's time) `due` had to have a decision in force, `served` had.

    latency_ms stage -> (50, 95, 99 %) quantiles of the `cycles` in them, "total" among the stages.
    """

    since: datetime
    until: datetime
    due: int
    served: int
    cycles: int
    latency_ms: Mapping[str, tuple[float, ...]]

    @property
    def availability(self) -> float:
        """Share of the intervals with a decision in force."""
        return self.served / self.due


def service(ledger: Ledger, present: datetime, days: float = DAYS) -> Service | None:
    """The service of the last days, counted from the first decision in them; None before the first one.

    An interval counts as served where a cycle in it had its set points taken by the machines, or an operator holds
    them. The interval that runs now counts only once it is served, or over.
    """
    rows = ledger.entries("cycle", since=present - timedelta(days=days), until=present + timedelta(days=1), limit=MOST)
    if not rows:
        return None
    step_s = int(rows[0].body["step_s"])

    def interval(moment: datetime) -> int:
        return int(moment.timestamp()) // step_s

    served = {interval(row.at) for row in rows if row.body["dispatch"]["status"] in GOOD}
    first, now = min(interval(row.at) for row in rows), max(interval(present), interval(rows[0].at))
    due = max(1, now - first + (now in served))
    names = list(rows[0].body["timings_ms"])
    latency = {name: _quantiles(np.array([row.body["timings_ms"].get(name, 0.0) for row in rows])) for name in names}
    since = datetime.fromtimestamp(first * step_s, present.tzinfo)
    return Service(since, present, due, len(served), len(rows), latency)


def _quantiles(ms: Array) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(ms, QUANTILES))
