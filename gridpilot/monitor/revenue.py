"""Money day by day: what was earned and by whom, beside what perfect foresight and doing nothing would have earned.

All of it is of the ledger. A local day is closed once it is over, by an entry `day` that names the settlements it sums
up:

profit     what was settled, and the same by asset (`pnl.by_asset`)
nothing    the reference "always on" over the same time: nobody decides, machines that have work run, the battery rests
perfect    the plan that knows every price of the day beforehand, from the state that the day began with: whole machines
and
           interruptions left out, so that it is a bound; tenants pay in it what they paid
stored     what the battery holds more at the end than at the start, at the value that this plan gives to stored energy;
           `perfect` counts its own, so compare it with profit + stored
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gridpilot.config import site_from_json
from gridpilot.domain import Plan, PriceOutlook, Site, Units
from gridpilot.errors import MODEL_ERRORS, DataError
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import SITE, state_from_json
from gridpilot.monitor.pnl import Prices, rate
from gridpilot.plan.solve import plan as make_plan
from gridpilot.values import iso

ENTRY = "day"
MOST = 20_000  # settlements that are read at once


@dataclass(frozen=True, slots=True)
class Day:
    """A closed local day; see the module. `perfect_usd` and `stored_usd` are NaN where `why` says why there is none."""

    day: str  # local date, 2024-06-12
    start: datetime
    end: datetime
    hours: float  # settled
    profit_usd: float
    nothing_usd: float
    perfect_usd: float = math.nan
    stored_usd: float = math.nan
    assets: Mapping[str, float] = field(default_factory=dict)
    first_seq: int = 0  # of its settlements
    last_seq: int = 0
    why: str = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Day:
        """The inverse of `values.to_jsonable`."""
        moments = {name: datetime.fromisoformat(body[name]) for name in ("start", "end")}
        unknown = {name: math.nan for name in ("perfect_usd", "stored_usd") if body[name] is None}
        return cls(**{**body, **moments, **unknown})

    @property
    def of_perfect(self) -> float:
        """Profit with what was stored, as a share of perfect foresight's; NaN where that is none or nothing."""
        return (self.profit_usd + self.stored_usd) / self.perfect_usd if self.perfect_usd > 0.0 else math.nan


def days(ledger: Ledger, limit: int = 31) -> list[Day]:
    """The closed days, newest first."""
    return [Day.from_json(entry.body) for entry in ledger.entries(ENTRY, limit=limit)]


def settlements(ledger: Ledger, start: datetime, end: datetime | None = None) -> list[Entry]:
    """What was settled of the intervals that began from `start` to before `end` (up to the newest), oldest first."""
    until = None if end is None else end + timedelta(hours=1)  # an entry is of its interval's end
    rows = ledger.entries("settlement", since=start, until=until, limit=MOST, newest_first=False)
    began = ((datetime.fromisoformat(row.body["start"]), row) for row in rows)
    return [row for at, row in began if at >= start and (end is None or at < end)]


def close(ledger: Ledger, now: datetime) -> Day | None:
    """Close the newest day that is over and was not closed; None where there is none, or nothing was settled in it.

    `now` is the source's time. Takes a tenth of a second, once a day.
    """
    body = ledger.get_state(SITE).value
    if body is None:
        return None
    site = site_from_json(body)
    day = now.astimezone(ZoneInfo(site.timezone)).date() - timedelta(days=1)
    last = ledger.latest(ENTRY)
    if last is not None and last.body["day"] >= day.isoformat():
        return None
    start, end = (_midnight(site, day + timedelta(days=i)) for i in (0, 1))
    rows = settlements(ledger, start, end)
    if not rows:
        return None
    found = summed(day.isoformat(), rows)
    try:
        found = _with_perfect(ledger, site, found, rows)
    except MODEL_ERRORS as error:
        found = replace(found, why=f"perfect foresight could not be planned: {error}")
    ledger.append(ENTRY, found, at=now)
    return found


def summed(day: str, rows: Sequence[Entry]) -> Day:
    """Settlements of one day added up; DataError for none."""
    if not rows:
        raise DataError(f"nothing was settled on {day}: wait for the first cycles of the day")
    bodies = [row.body for row in rows]
    assets: dict[str, float] = {}
    for body in bodies:
        for name, usd in body.get("assets", {}).items():
            assets[name] = assets.get(name, 0.0) + usd
    return Day(
        day=day,
        start=datetime.fromisoformat(bodies[0]["start"]),
        end=datetime.fromisoformat(bodies[-1]["end"]),
        hours=sum(body["hours"] for body in bodies),
        profit_usd=sum(body["profit_usd"] for body in bodies),
        nothing_usd=sum(body["always_on_usd"] for body in bodies),
        assets=assets,
        first_seq=rows[0].seq,
        last_seq=rows[-1].seq,
    )


def _midnight(site: Site, day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(site.timezone)).astimezone(UTC)


def _with_perfect(ledger: Ledger, site: Site, day: Day, rows: Sequence[Entry]) -> Day:
    """The day with perfect foresight's profit, and what the battery holds more, both at that plan's stored value."""
    first = ledger.cycle(str(rows[0].body["cycle_id"]))
    cycle, ends = first["cycle"].body, ledger.cycle(rows[-1].cycle_id)
    units, step_s = Units(**cycle["units"]), int(cycle["step_s"])
    outlook = _prices(ledger, cycle["source"], day, units, step_s)
    state = state_from_json(first["plan"].body["state"])
    best = make_plan(site, replace(state, at=day.start), outlook)
    if best.status != "optimal":
        return replace(day, why=f"perfect foresight could not be planned: {best.status}")
    tenants_usd = sum(row.body["money"]["tenants"] for row in rows)
    gain = _profit(site, best, units, tenants_usd / max(day.hours, 1e-9))
    worth = best.terminal_usd_per_mwh / 1000.0 * site.battery.capacity_kwh
    stored = worth * (float(best.soc_frac[-1]) - best.soc_start_frac)
    held = ends["cycle"].body["soc_frac"] if "cycle" in ends else None
    own = math.nan if held is None else worth * (held - best.soc_start_frac)
    return replace(day, perfect_usd=gain + stored, stored_usd=own)


def _prices(ledger: Ledger, source: str, day: Day, units: Units, step_s: int) -> PriceOutlook:
    """The day's prices as they came, from the interval of its first settlement to its last."""
    since = datetime.fromtimestamp(int(day.start.timestamp()) // step_s * step_s, day.start.tzinfo)
    rows = ledger.prices(source, since, day.end)
    n = math.ceil((day.end - since).total_seconds() / step_s)
    if len(rows) != n:
        raise DataError(f"{len(rows)} of the {n} prices from {iso(since)} on are on record: expected all of them")
    known = rows.energy_usd_per_mwh, rows.hash_price, rows.token_price
    return PriceOutlook(rows.timestamp, step_s, known[0], known[1], known[2], units=units, known=n)


def _profit(site: Site, plan: Plan, units: Units, tenants_usd_per_h: float) -> float:
    """What a plan earns at its own prices, by the formula of the settlement."""
    out = 0.0
    machines = {m.type: m.power_kw for m in site.machines}
    jobs, tenants = {job.name for job in site.jobs}, {tenant.name for tenant in site.tenants}
    seen = plan.outlook.energy_usd_per_mwh
    for t in range(len(plan)):
        prices = Prices(float(seen[t]), float(plan.outlook.hash_price[t]), float(plan.outlook.token_price[t]), units)
        kw = {name: float(values[t]) for name, values in plan.loads_kw.items()}
        earned = rate(
            site,
            prices,
            {name: kw.get(name, 0.0) / each for name, each in machines.items()},
            battery_kw=float(plan.charge_kw[t] - plan.discharge_kw[t]),
            jobs_kw={name: kw[name] for name in jobs if name in kw},
            tenants_kw={name: kw[name] for name in tenants if name in kw},
            tenants_usd_per_h=tenants_usd_per_h,
            room_kw=float(plan.room_kw[t]),
        )
        out += earned.profit_usd_per_h * plan.step_s / 3600.0
    return out + sum(plan.extras_usd.values())
