"""What may take power: machine types and customers' shares of them, tenants, and jobs with their runs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.domain import Customer, JobNeed, MachineType, PriceOutlook, Site, SiteState, value_usd_per_kwh
from gridpilot.plan import rules
from gridpilot.values import Array, as_array, iso, to_stamp, to_utc

HELD_MARGIN = 1e-3  # of the price: what a rule keeps on is worth a hair more than its power, above solvers' tolerance
JOB, CUSTOMER = "job shortfall", "service credits"


@dataclass(frozen=True, slots=True)
class Load:
    """Something that may take power: at most max_kw (T,), worth value_usd_per_kwh (T,) for each kWh of IT power.

    `of` is the machine type whose power it takes; `held_usd_per_kwh` (T,) what an operator rule adds to its value in
    the search, so that it runs where it would not by itself.
    """

    name: str
    service: str
    max_kw: Array
    value_usd_per_kwh: Array
    of: str = ""
    held_usd_per_kwh: Array = field(default_factory=lambda: as_array([]))

    @property
    def worth_usd_per_kwh(self) -> Array:
        """Value and what a rule adds (T,)."""
        return (
            as_array(self.value_usd_per_kwh + self.held_usd_per_kwh)
            if len(self.held_usd_per_kwh)
            else self.value_usd_per_kwh
        )

    @property
    def place(self) -> str:
        """What the power goes to: a machine type, a tenant, a job."""
        return self.of or self.name


@dataclass(frozen=True, slots=True)
class Run:
    """A window of a load: over the steps of `mask` (T,) at most `energy_kwh`, and at least `least_kwh`.

    What is missing of the least costs `short_usd_per_kwh`, of the money named `cause`; None: it has no price and is
    served if it can be.
    """

    load: str
    mask: Array
    energy_kwh: float = np.inf
    least_kwh: float = 0.0
    short_usd_per_kwh: float | None = 0.0
    cause: str = JOB


def available_kw(site: Site, machine: MachineType, moment: datetime) -> float:
    """IT power of the machines of a type that have work in the hour of `moment` (site time), whole machines."""
    return whole_machines(machine, moment.astimezone(ZoneInfo(site.timezone)).hour) * machine.power_kw


def whole_machines(machine: MachineType, hour: int) -> int:
    """Machines of a type that have work in an hour of the site's day."""
    return int(machine.count * (machine.demand_by_hour[hour] if machine.demand_by_hour else 1.0) + 1e-9)


def _local(site: Site, outlook: PriceOutlook) -> tuple[datetime, ...]:
    """The start of each step in the site's time."""
    first = int(outlook.timestamp[0].astype(np.int64))
    return _moments(site.timezone, first, len(outlook), outlook.step_s)


@functools.lru_cache(maxsize=8)
def _moments(timezone: str, first: int, count: int, step_s: int) -> tuple[datetime, ...]:
    zone = ZoneInfo(timezone)
    return tuple(datetime.fromtimestamp(first + i * step_s, zone) for i in range(count))


def site_loads(site: Site, state: SiteState, outlook: PriceOutlook, cooling_kw_per_kw: Array) -> tuple[Load, ...]:
    """All loads of a site over an outlook; a machine type with customers is parted among them."""
    n = len(outlook)
    machines = [load for machine in site.machines for load in _machine_loads(site, state, outlook, machine)]
    ruled = {rule.type: rule for rule in site.rules}
    for i, load in enumerate(machines):
        if load.place in ruled:
            machines[i] = _ruled(site, state, outlook, load, cooling_kw_per_kw)
    tenants = [
        Load(t.name, t.service, as_array(np.full(n, t.kw)), as_array(np.full(n, t.price_usd_per_kwh)))
        for t in site.tenants
    ]
    names = dict.fromkeys(need.name for need in state.jobs)
    jobs = [_job_load(name, [need for need in state.jobs if need.name == name], outlook) for name in names]
    return (*machines, *tenants, *jobs)


def _machine_loads(site: Site, state: SiteState, outlook: PriceOutlook, machine: MachineType) -> list[Load]:
    by_hour = [whole_machines(machine, hour) * machine.power_kw for hour in range(24)]
    most = as_array([by_hour[moment.hour] for moment in _local(site, outlook)])
    value = value_usd_per_kwh(machine, outlook.units, outlook.hash_price, outlook.token_price)
    whole = Load(machine.type, machine.service, most, value, machine.type)
    customers = [c for c in site.customers if c.type == machine.type]
    parts = [replace(whole, name=c.name, max_kw=as_array(c.share * most)) for c in customers]
    left = 1.0 - sum(c.share for c in customers)
    return [*parts, replace(whole, max_kw=as_array(left * most))] if left > 1e-9 or not parts else parts


def _ruled(site: Site, state: SiteState, outlook: PriceOutlook, load: Load, cooling_kw_per_kw: Array) -> Load:
    """The load as its type's rule lets it run."""
    rule = next(rule for rule in site.rules if rule.type == load.place)
    machine = site.machine(load.place)
    even = load.value_usd_per_kwh / (1.0 + cooling_kw_per_kw)
    on, urgent = rules.signal(
        rule, state.rules.get(rule.type), outlook.energy_usd_per_mwh, 1000.0 * even, outlook.step_s
    )
    before_kw = state.machines[rule.type] * machine.power_kw if rule.type in state.machines else np.inf
    most = rules.allowed(on, urgent, load.max_kw, before_kw, rule.ramp_machines * machine.power_kw)
    price = outlook.energy_usd_per_mwh / 1000.0
    held = np.maximum(0.0, (1.0 + cooling_kw_per_kw) * price - load.value_usd_per_kwh)
    held = np.where((most > 0.0) & (held > 0.0), held + HELD_MARGIN * np.abs(price), 0.0)
    return replace(load, max_kw=most, held_usd_per_kwh=as_array(held))


# --- jobs ------------------------------------------------------------------------------------


def job_needs(site: Site, now: datetime, horizon_s: float, delivered: Mapping[str, float]) -> tuple[JobNeed, ...]:
    """The runs of all jobs that touch [now, now + horizon_s], with what is left of each.

    `delivered` maps "name@deadline" (ISO, UTC) to the kWh that a run has had. A daily job's run is released
    at the deadline of the run before it.
    """
    end = now + timedelta(seconds=horizon_s)
    needs = []
    for job in site.jobs:
        for release, deadline in _windows(site, job.deadline, job.daily_deadline, now, end):
            left = max(0.0, job.energy_kwh - delivered.get(f"{job.name}@{iso(deadline)}", 0.0))
            price = (job.value_usd_per_kwh, release, deadline, job.shortfall_usd_per_kwh)
            needs.append(JobNeed(job.name, left, job.max_kw, *price))
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


def _job_load(name: str, needs: list[JobNeed], outlook: PriceOutlook) -> Load:
    max_kw = np.zeros(len(outlook))
    for need in needs:
        max_kw = np.maximum(max_kw, need.max_kw * _between(need.release, need.deadline, outlook))
    return Load(name, "training", as_array(max_kw), as_array(np.full(len(outlook), needs[0].value_usd_per_kwh)))


def site_runs(site: Site, state: SiteState, outlook: PriceOutlook, loads: tuple[Load, ...]) -> tuple[Run, ...]:
    """The runs of jobs, and customers' windows of service."""
    end = to_utc(outlook.timestamp[-1]) + timedelta(seconds=outlook.step_s)
    runs = []
    for need in state.jobs:
        mask = _between(need.release, need.deadline, outlook)
        least = need.remaining_kwh if need.deadline <= end else 0.0
        runs.append(Run(need.name, mask, need.remaining_kwh, least, need.shortfall_usd_per_kwh))
    most = {load.name: load.max_kw for load in loads}
    for customer in site.customers:
        runs += _service(site, state, outlook, customer, most[customer.name])
    return tuple(runs)


def service_window(site: Site, window_h: float, moment: datetime) -> datetime:
    """When the window of service around a moment began: windows are counted from local midnight."""
    local = moment.astimezone(ZoneInfo(site.timezone))
    hour = int(local.hour // window_h * window_h)
    return local.replace(hour=hour, minute=0, second=0, microsecond=0).astimezone(moment.tzinfo)


def _service(site: Site, state: SiteState, outlook: PriceOutlook, customer: Customer, most_kw: Array) -> list[Run]:
    """A customer's windows that touch the outlook: served >= (1 - slow-down) asked, with what it has had already.

    A window that the outlook cuts off is asked for in proportion.
    """
    local = _local(site, outlook)
    hours = [moment.replace(minute=0, second=0) for moment in local]  # windows begin on hours
    window = {hour: service_window(site, customer.window_h, hour) for hour in dict.fromkeys(hours)}
    begun = [window[hour] for hour in hours]
    keep = 1.0 - customer.allowed_slowdown
    past = next((s for s in state.served if s.name == customer.name), None)
    out = []
    for start in dict.fromkeys(begun):
        mask = as_array([float(b == start) for b in begun])
        asked = outlook.step_h * float(mask @ most_kw)
        served = 0.0
        if past is not None and past.start == start:
            asked, served = asked + past.asked_kwh, past.served_kwh
        least = max(0.0, keep * asked - served)
        out.append(Run(customer.name, mask, np.inf, least, customer.short_usd_per_kwh, CUSTOMER))
    return out


def _between(release: datetime, deadline: datetime, outlook: PriceOutlook) -> Array:
    """1 for the steps that lie wholly before the deadline and do not start before the release, else 0."""
    starts = outlook.timestamp
    ends = starts + np.timedelta64(outlook.step_s, "s")
    return as_array((starts >= to_stamp(release)) & (ends <= to_stamp(deadline)))
