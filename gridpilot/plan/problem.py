"""The planning problem, stated once: what the site may do over the outlook, and what that is worth.

Per step t of h hours, with all powers in kW and >= 0:

    import - export + discharge - charge = (1 + k) sum_i load_i            balance; k is cooling kW per kW
    e[t] = e[t-1] + h (eta_c charge - discharge / eta_d)                   stored energy, kWh
    maximise  sum_t h (price (export - import) - wear (charge + discharge) + sum_i value_i load_i)
              + terminal (e[T-1] - e_start)

Where a plan was made before (`before_kw`, battery power, NaN where it said nothing), each kWh by which the battery
departs from it costs CHANGE_USD_PER_KWH in the search, so that a hair's difference in the forecast does not turn the
plan over. It is no money: the objective of a plan leaves it out.

Energy is bought and sold at the same price. Loads are machine types (value from the hash or token price),
tenants (their standing bid) and jobs (a value for each kWh inside their window, an energy limit for each run).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.domain import Battery, JobNeed, MachineType, Plan, PriceOutlook, Site, SiteState, value_usd_per_kwh
from gridpilot.values import Array, as_array, iso, to_stamp, to_utc

CHANGE_USD_PER_KWH = 1e-4  # a tenth of a dollar per MWh: below what a forecast can tell
TIE_BREAK = 1e-6  # above the solver's tolerance of 1e-7


@dataclass(frozen=True, slots=True)
class Load:
    """Something that may take power: at most max_kw (T,), worth value_usd_per_kwh (T,) for each kWh of IT power."""

    name: str
    service: str
    max_kw: Array
    value_usd_per_kwh: Array


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: its load may use at most energy_kwh over the steps of `mask` (T,)."""

    load: str
    mask: Array
    energy_kwh: float


@dataclass(frozen=True, slots=True)
class Problem:
    """All that an engine needs. `battery` is None where it must rest (no battery, or an unknown state)."""

    step_h: float
    price_usd_per_kwh: Array
    loads: tuple[Load, ...]
    runs: tuple[Run, ...]
    cooling_kw_per_kw: float
    import_kw: float
    export_kw: float
    battery: Battery | None
    start_kwh: float
    terminal_usd_per_kwh: float
    before_kw: Array = field(default_factory=lambda: as_array([]))

    def __len__(self) -> int:
        return len(self.price_usd_per_kwh)


def build_problem(site: Site, state: SiteState, outlook: PriceOutlook, previous: Plan | None = None) -> Problem:
    """The problem of a site in a state, for the prices of an outlook, not to depart idly from the `previous` plan."""
    price = as_array(outlook.energy_usd_per_mwh / 1000.0)
    known = bool(np.isfinite(state.soc_frac) and 0.0 <= state.soc_frac <= 1.0)
    usable = known and site.battery.capacity_kwh > 0.0
    return Problem(
        step_h=outlook.step_h,
        price_usd_per_kwh=price,
        loads=_loads(site, state, outlook),
        runs=_runs(state, outlook),
        cooling_kw_per_kw=site.cooling.kw_per_kw,
        import_kw=site.import_kw,
        export_kw=site.export_kw,
        battery=site.battery if usable else None,
        start_kwh=state.soc_frac * site.battery.capacity_kwh if usable else 0.0,
        terminal_usd_per_kwh=terminal_value(site.battery, price),
        before_kw=as_array([]) if previous is None or not usable else at_times(previous.battery_kw, previous, outlook),
    )


def at_times(values: Array, previous: Plan, outlook: PriceOutlook) -> Array:
    """What a previous plan says of each interval of an outlook (T,); NaN where nothing, or with other steps."""
    if previous.step_s != outlook.step_s:
        return as_array(np.full(len(outlook), np.nan))
    place = {int(stamp): i for i, stamp in enumerate(previous.timestamp.astype(np.int64))}
    index = np.array([place.get(int(stamp), -1) for stamp in outlook.timestamp.astype(np.int64)])
    return as_array(np.where(index >= 0, values[index], np.nan))


def terminal_value(battery: Battery, price_usd_per_kwh: Array) -> float:
    """What a stored kWh counts at the end of the horizon [$/kWh].

    The site file's figure; where it has none, the median price of the outlook as the battery would deliver
    it: after the discharging loss and the wear. The median, and not the mean, so that a single spike does not
    make the battery hoard; never below zero. A millionth is added, so that at flat prices keeping the energy is
    better than selling it by a hair, and the battery rests instead of switching to no purpose.
    """
    if battery.terminal_usd_per_mwh is not None:
        return battery.terminal_usd_per_mwh / 1000.0
    delivered = float(np.median(price_usd_per_kwh)) - battery.wear_usd_per_kwh
    return max(0.0, delivered * battery.efficiency_discharge) * (1.0 + TIE_BREAK)


def available_kw(site: Site, machine: MachineType, moment: datetime) -> float:
    """IT power of the machines of a type that have work in the hour of `moment` (site time), whole machines."""
    hour = moment.astimezone(ZoneInfo(site.timezone)).hour
    share = machine.demand_by_hour[hour] if machine.demand_by_hour else 1.0
    return int(machine.count * share + 1e-9) * machine.power_kw


def job_needs(site: Site, now: datetime, horizon_s: float, delivered: Mapping[str, float]) -> tuple[JobNeed, ...]:
    """The runs of all jobs that touch [now, now + horizon_s], with what is left of each.

    `delivered` maps "name@deadline" (ISO, UTC) to the kWh that a run has had. A daily job's run is released
    at the deadline of the run before it.
    """
    end = now + timedelta(seconds=horizon_s)
    needs = []
    for job in site.jobs:
        for release, deadline in _windows(site, job.deadline, job.daily_deadline, now, end):
            left = job.energy_kwh - delivered.get(f"{job.name}@{iso(deadline)}", 0.0)
            needs.append(JobNeed(job.name, max(0.0, left), job.max_kw, job.value_usd_per_kwh, release, deadline))
    return tuple(needs)


def _windows(
    site: Site, once: datetime | None, daily: str, now: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    if once is not None:
        return [(min(now, once), once)] if once > now else []
    zone = ZoneInfo(site.timezone)
    hour, minute = (int(part) for part in daily.split(":"))
    day = now.astimezone(zone).date()
    dues = [
        datetime(d.year, d.month, d.day, hour, minute, tzinfo=zone).astimezone(now.tzinfo)
        for d in (day + timedelta(days=i) for i in range(-1, int((end - now).days) + 3))
    ]
    return [(before, due) for before, due in itertools.pairwise(dues) if due > now and before <= end]


def _loads(site: Site, state: SiteState, outlook: PriceOutlook) -> tuple[Load, ...]:
    moments = [to_utc(stamp) for stamp in outlook.timestamp]
    n = len(outlook)
    machines = [
        Load(
            machine.type,
            machine.service,
            as_array([available_kw(site, machine, moment) for moment in moments]),
            value_usd_per_kwh(machine, outlook.units, outlook.hash_price, outlook.token_price),
        )
        for machine in site.machines
    ]
    tenants = [
        Load(t.name, t.service, as_array(np.full(n, t.kw)), as_array(np.full(n, t.price_usd_per_kwh)))
        for t in site.tenants
    ]
    names = dict.fromkeys(need.name for need in state.jobs)
    jobs = [_job_load(name, [need for need in state.jobs if need.name == name], outlook) for name in names]
    return (*machines, *tenants, *jobs)


def _job_load(name: str, needs: list[JobNeed], outlook: PriceOutlook) -> Load:
    max_kw = np.zeros(len(outlook))
    for need in needs:
        max_kw = np.maximum(max_kw, need.max_kw * _inside(need, outlook))
    return Load(name, "training", as_array(max_kw), as_array(np.full(len(outlook), needs[0].value_usd_per_kwh)))


def _runs(state: SiteState, outlook: PriceOutlook) -> tuple[Run, ...]:
    return tuple(Run(need.name, _inside(need, outlook), need.remaining_kwh) for need in state.jobs)


def _inside(need: JobNeed, outlook: PriceOutlook) -> Array:
    """1 for the steps that lie wholly before the deadline and do not start before the release, else 0."""
    starts = outlook.timestamp
    ends = starts + np.timedelta64(outlook.step_s, "s")
    return as_array((starts >= to_stamp(need.release)) & (ends <= to_stamp(need.deadline)))
