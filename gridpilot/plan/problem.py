"""The planning problem, stated once: what the site may do over the outlook, and what that is worth.

Per step t of h_t hours, with all powers in kW and >= 0:

    import - export + discharge - charge = (1 + k_t) sum_i load_i          balance; k is cooling kW per kW
    e[t] = e[t-1] + h (eta_c charge - discharge / eta_d)                   stored energy, kWh
    maximise  sum_t h (price (export - import) - wear (charge + discharge) + sum_i value_i load_i)
              + terminal (e[T-1] - e_start) + the terms below

Energy is bought and sold at the same price. Loads are machine types or customers' shares of one (value from the hash
or token price), tenants (their standing bid) and jobs (`plan/loads.py`). Further terms, each there only where the site
asks for it (`plan/terms.py` has the formulas):

    jobs and service levels   most and least energy over a window, what is missing at a price
    demand charge             the month's highest import, at a price per kW
    reserve                   power and energy kept free, up and down, at a price
    ramp                      how fast the grid connection may change; more at a price
    minimum run times         machines that were switched stay so for a while
    wear by depth             deeper parts of the battery cost more to use
    room temperature          cooling earlier or later than its heat, within the room's limits
    risk                      the battery's first step as the scenarios want it

Where a plan was made before (`before_kw`, battery power, NaN where it said nothing), each kWh by which the battery
departs from it costs CHANGE_USD_PER_KWH in the search, so that a hair's difference in the forecast does not turn the
plan over. It is no money: the objective of a plan leaves it out, as it does what rules add and the prices of what is
softly forbidden (SOFT, SERVICE).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from gridpilot.domain import Battery, Plan, PriceOutlook, Reserve, Room, Site, SiteState
from gridpilot.plan.loads import Load, Run, site_loads, site_runs
from gridpilot.values import Array, as_array, to_utc

CHANGE_USD_PER_KWH = 1e-4  # a tenth of a dollar per MWh: below what a forecast can tell
TIE_BREAK = 1e-6  # above the solver's tolerance of 1e-7
SOFT = 10.0  # price of a kWh outside the SOC band for a step, in units of the largest price or value
SERVICE = 5.0  # price of a kWh of service, of reserve or of ramp that is missing, where it has none of its own


@dataclass(frozen=True, slots=True)
class Switching:
    """Minimum run times of a machine type: kW running before, and what was switched so many hours ago (age, kW)."""

    type: str
    on_h: float
    off_h: float
    installed_kw: float
    before_kw: float
    recent: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """All that an engine needs. `battery` is None where it must rest (no battery, or an unknown state).

    hours, price_usd_per_kwh, cooling_kw_per_kw (T,). `first_kw` is the battery power of the first step where it is
    chosen already (charging positive), NaN where it is free.
    """

    hours: Array
    price_usd_per_kwh: Array
    loads: tuple[Load, ...]
    runs: tuple[Run, ...]
    cooling_kw_per_kw: Array
    import_kw: Array  # (T,)
    export_kw: float
    battery: Battery | None
    start_kwh: float
    terminal_usd_per_kwh: float
    before_kw: Array = field(default_factory=lambda: as_array([]))
    ramp_kw: float = np.inf  # from one step (or block of steps) to the next
    grid_before_kw: float = np.nan
    demand_usd_per_kw: float = 0.0
    peak_kw: float = 0.0
    reserve: Reserve = field(default_factory=Reserve)
    switching: tuple[Switching, ...] = ()
    first_kw: float = np.nan
    room: Room = field(default_factory=Room)
    room_start_c: float = np.nan
    cop: Array = field(default_factory=lambda: as_array([]))
    clock_h: float = 0.0  # hours of the day (UTC) at the first step

    def __len__(self) -> int:
        return len(self.price_usd_per_kwh)

    @property
    def gross(self) -> Array:
        """Site power that a kW of load takes, with its cooling (T,)."""
        return as_array(1.0 + self.cooling_kw_per_kw)

    @property
    def plain(self) -> bool:
        """Whether no term couples steps but the battery and the windows of loads: quick to solve at any length."""
        more = np.isfinite(self.ramp_kw) or self.demand_usd_per_kw > 0.0 or self.reserve.wanted or self.room.planned
        return not (more or self.switching or self.depth_wear)

    @property
    def starts_h(self) -> Array:
        """Hours from the beginning to the start of each step (T,)."""
        return as_array(np.cumsum(self.hours) - self.hours)

    @property
    def scale(self) -> float:
        """The largest price or value [$/kWh], 1 where all are 0: the unit of money in the search."""
        tallest = [float(np.max(np.abs(self.price_usd_per_kwh))), abs(self.terminal_usd_per_kwh)]
        tallest += [float(np.max(np.abs(load.worth_usd_per_kwh))) for load in self.loads]
        return max(tallest) or 1.0

    @property
    def room_usd_per_c(self) -> float:
        """What a degree more at the end costs [$]: its cooling at the median price."""
        price = max(0.0, float(np.median(self.price_usd_per_kwh)))
        return price * self.room.kwh_per_c / float(self.cop[-1]) if self.room.planned else 0.0

    @property
    def room_soft(self) -> float:
        """Price of a degree outside the room's limits, in units of `scale`: SOFT for each kWh that cools it away."""
        heat_kwh = self.room.kwh_per_c + self.room.loss_kw_per_c * float(np.max(self.hours))
        return SOFT * max(1.0, heat_kwh / float(np.min(self.cop)))

    @property
    def depth_wear(self) -> tuple[float, ...]:
        """More wear for each deeper part of the band [$/kWh]; none where the state is outside its band."""
        battery = self.battery
        if battery is None:
            return ()
        inside = battery.soc_min <= self.start_kwh / battery.capacity_kwh <= battery.soc_max
        return battery.depth_wear_usd_per_kwh if inside and any(battery.depth_wear_usd_per_kwh) else ()


def build_problem(site: Site, state: SiteState, outlook: PriceOutlook, previous: Plan | None = None) -> Problem:
    """The problem of a site in a state, for the prices of an outlook, not to depart idly from the `previous` plan."""
    price = as_array(outlook.energy_usd_per_mwh / 1000.0)
    known = bool(np.isfinite(state.soc_frac) and 0.0 <= state.soc_frac <= 1.0)
    usable = known and site.battery.capacity_kwh > 0.0
    cooling = cooling_kw_per_kw(site, outlook)
    loads = site_loads(site, state, outlook, cooling)
    return Problem(
        hours=as_array(np.full(len(outlook), outlook.step_h)),
        price_usd_per_kwh=price,
        loads=loads,
        runs=site_runs(site, state, outlook, loads),
        cooling_kw_per_kw=cooling,
        import_kw=import_limits(site, state, outlook),
        export_kw=site.export_kw,
        battery=site.battery if usable else None,
        start_kwh=state.soc_frac * site.battery.capacity_kwh if usable else 0.0,
        terminal_usd_per_kwh=terminal_value(site.battery, price),
        before_kw=as_array([]) if previous is None or not usable else at_times(previous.battery_kw, previous, outlook),
        ramp_kw=60.0 * site.ramp_kw_per_min * outlook.step_h or np.inf,
        grid_before_kw=state.grid_kw,
        demand_usd_per_kw=site.demand_usd_per_kw,
        peak_kw=state.peak_kw,
        reserve=site.reserve,
        switching=_switching(site, state),
        room=site.room,
        room_start_c=state.room_c if np.isfinite(state.room_c) else site.room.set_c,
        cop=_cop(site, outlook),
        clock_h=float(outlook.timestamp[0].astype(np.int64) % 86400) / 3600.0,
    )


def import_limits(site: Site, state: SiteState, outlook: PriceOutlook) -> Array:
    """The most that the grid connection may draw in each step (T,): the least of a step, and what holds now in the
    one that runs."""
    most = np.full(len(outlook), site.import_kw, dtype=float)
    if state.limits:
        step = timedelta(seconds=outlook.step_s)
        for t, stamp in enumerate(outlook.timestamp):
            start = to_utc(stamp)
            most[t] = min([most[t], *(limit.least(start, start + step) for limit in state.limits)])
        most[0] = state.import_kw(site.import_kw)
    return as_array(most)


def cooling_kw_per_kw(site: Site, outlook: PriceOutlook) -> Array:
    """Cooling power for a kW of load in each step (T,), by the outdoor temperature where it is known."""
    return as_array(site.cooling.heat_fraction / _cop(site, outlook))


def _cop(site: Site, outlook: PriceOutlook) -> Array:
    """The cooling's coefficient of performance in each step (T,)."""
    if not len(outlook.outdoor_c):
        return as_array(np.full(len(outlook), site.cooling.cop))
    return as_array(site.cooling.cop_at(outlook.outdoor_c))


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


def _switching(site: Site, state: SiteState) -> tuple[Switching, ...]:
    out = []
    for machine in site.machines:
        if max(machine.min_on_h, machine.min_off_h) <= 0.0:
            continue
        recent = tuple(
            ((state.at - switch.at).total_seconds() / 3600.0, switch.machines * machine.power_kw)
            for switch in state.switched
            if switch.type == machine.type
        )
        before_kw = state.machines.get(machine.type, 0) * machine.power_kw
        installed_kw = machine.count * machine.power_kw
        out.append(Switching(machine.type, machine.min_on_h, machine.min_off_h, installed_kw, before_kw, recent))
    return tuple(out)
