"""The site: what does not change from one interval to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from gridpilot.domain.check import clock, finite, require, twice
from gridpilot.domain.contracts import (
    AuctionTerms,
    CurtailmentTerms,
    Customer,
    FrequencyResponse,
    Operators,
    Reserve,
    RiskAppetite,
    Room,
    Rule,
    Simulation,
    StressCase,
)
from gridpilot.values import Array

OWN_NAMES = ("battery", "cooling", "grid")  # with which the site stands beside its loads in the auction
UNITS = {  # of prices in a user's own file
    "hash_unit": ("USD/h per rate", "USD/PH/day"),
    "token_unit": ("USD/h per rate", "USD/Mtok"),
}
LEAST_COP = 1.0  # below it a chiller would use more power than it moves heat


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery at its terminals. `wear_usd_per_kwh` is paid per kWh charged and per kWh discharged."""

    capacity_kwh: float = 1000.0
    charge_kw: float = 250.0
    discharge_kw: float = 250.0
    efficiency_charge: float = 0.94
    efficiency_discharge: float = 0.94
    soc_min: float = 0.15
    soc_max: float = 0.90
    wear_usd_per_kwh: float = 0.0002
    terminal_usd_per_mwh: float | None = None  # value of a stored MWh at the end; None: the planner's choice
    depth_wear_usd_per_kwh: tuple[float, ...] = ()  # more per kWh discharged, by equal parts of the band from the top

    def __post_init__(self) -> None:
        for name in ("capacity_kwh", "charge_kw", "discharge_kw", "wear_usd_per_kwh"):
            finite(f"battery.{name}", getattr(self, name), 0.0)
        for name in ("efficiency_charge", "efficiency_discharge"):
            finite(f"battery.{name}", getattr(self, name), 0.01, 1.0)
        finite("battery.soc_min", self.soc_min, 0.0, 1.0)
        finite("battery.soc_max", self.soc_max, self.soc_min, 1.0)
        for usd in self.depth_wear_usd_per_kwh:
            finite("battery.depth_wear_usd_per_kwh", usd, 0.0)
        rising = list(self.depth_wear_usd_per_kwh) == sorted(self.depth_wear_usd_per_kwh)
        require(
            rising, "battery.depth_wear_usd_per_kwh falls with depth: expected the same or more for each deeper part"
        )


@dataclass(frozen=True, slots=True)
class Cooling:
    """Cooling power = IT power x heat_fraction / COP. 0.15 as heat_fraction gives the seed's formula.

    With an outdoor temperature T [degrees C], COP = max(LEAST_COP, cop - cop_drop_per_c (T - rated_c)).
    """

    cop: float = 3.5
    heat_fraction: float = 1.0
    cop_drop_per_c: float = 0.0  # how much less COP for each degree that it is warmer outside; 0: the same all year
    rated_c: float = 15.0  # outdoor temperature at which `cop` holds

    def __post_init__(self) -> None:
        finite("cooling.cop", self.cop, 0.1, 100.0)
        finite("cooling.heat_fraction", self.heat_fraction, 0.0, 1.0)
        finite("cooling.cop_drop_per_c", self.cop_drop_per_c, 0.0, 10.0)
        finite("cooling.rated_c", self.rated_c, -60.0, 60.0)

    @property
    def kw_per_kw(self) -> float:
        """Cooling kW for each kW of IT load, at `cop`."""
        return self.heat_fraction / self.cop

    def cop_at(self, outdoor_c: Array) -> Array:
        """The COP at outdoor temperatures [degrees C], any shape; `cop` where one is NaN."""
        warmer = np.clip(np.nan_to_num(outdoor_c, nan=self.rated_c), -60.0, 60.0) - self.rated_c
        return np.maximum(min(LEAST_COP, self.cop), self.cop - self.cop_drop_per_c * warmer)

    def at(self, outdoor_c: float) -> Cooling:
        """Cooling with the COP of an outdoor temperature; itself where that is NaN."""
        if self.cop_drop_per_c == 0.0 or not math.isfinite(outdoor_c):
            return self
        cop = float(self.cop_at(np.array(outdoor_c)))
        return replace(self, cop=cop, rated_c=min(max(outdoor_c, -60.0), 60.0))


@dataclass(frozen=True, slots=True)
class MachineType:
    """`count` equal machines. `rate` is TH/s (product hash) or tokens/s (product token) for each machine."""

    type: str
    count: int
    power_w: float
    rate: float
    product: str  # hash or token
    demand_by_hour: tuple[float, ...] = ()  # share of the machines that has work, by local hour; empty: all
    note: str = ""
    min_on_h: float = 0.0  # a machine that was switched on stays on so long
    min_off_h: float = 0.0

    def __post_init__(self) -> None:
        require(bool(self.type.strip()), "a machine type has no name: give `type`")
        require(self.count >= 0, f"machines {self.type}: count is {self.count}, expected 0 or more")
        finite(f"machines {self.type}: power_w", self.power_w, 1.0)
        finite(f"machines {self.type}: rate", self.rate, 0.0)
        finite(f"machines {self.type}: min_on_h", self.min_on_h, 0.0, 24.0)
        finite(f"machines {self.type}: min_off_h", self.min_off_h, 0.0, 24.0)
        require(
            self.product in ("hash", "token"),
            f"machines {self.type}: product is {self.product!r}, expected 'hash' or 'token'",
        )
        require(
            len(self.demand_by_hour) in (0, 24) and all(0.0 <= d <= 1.0 for d in self.demand_by_hour),
            f"machines {self.type}: demand_by_hour needs 24 fractions from 0 to 1",
        )

    @property
    def power_kw(self) -> float:
        """kW of one machine."""
        return self.power_w / 1000.0

    @property
    def service(self) -> str:
        """The auction's name of what it sells: mining or inference."""
        return "mining" if self.product == "hash" else "inference"


@dataclass(frozen=True, slots=True)
class Job:
    """A deadline-bound training job: once (`deadline`) or every day (`daily_deadline`, local "HH:MM")."""

    name: str
    energy_kwh: float
    max_kw: float
    value_usd_per_kwh: float
    deadline: datetime | None = None
    daily_deadline: str = ""
    shortfall_usd_per_kwh: float = 0.0  # what each kWh that is missing at the deadline costs, beside its lost value

    def __post_init__(self) -> None:
        finite(f"job {self.name}: shortfall_usd_per_kwh", self.shortfall_usd_per_kwh, 0.0)
        finite(f"job {self.name}: energy_kwh", self.energy_kwh, 0.0)
        finite(f"job {self.name}: max_kw", self.max_kw, 0.0)
        finite(f"job {self.name}: value_usd_per_kwh", self.value_usd_per_kwh)
        one = (self.deadline is None) != (not self.daily_deadline)
        require(one, f"job {self.name}: give either deadline or daily_deadline")
        require(self.deadline is None or self.deadline.tzinfo is not None, f"job {self.name}: deadline has no zone")
        if self.daily_deadline:
            said = f"job {self.name}: daily_deadline is {self.daily_deadline!r}, expected HH:MM"
            require(clock(self.daily_deadline), said)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An outside customer with a standing bid for the site's power."""

    name: str
    service: str
    kw: float
    price_usd_per_kwh: float

    def __post_init__(self) -> None:
        finite(f"tenant {self.name}: kw", self.kw, 0.0)
        finite(f"tenant {self.name}: price_usd_per_kwh", self.price_usd_per_kwh)


@dataclass(frozen=True, slots=True)
class Site:
    """Everything about the site that does not change from one interval to the next."""

    name: str = "Default site"
    timezone: str = "UTC"
    country: str = ""  # ISO code: whose public holidays the forecast knows; empty: none
    latitude: float = 0.0
    longitude: float = 0.0
    import_kw: float = 1000.0
    export_kw: float = 1000.0
    battery: Battery = field(default_factory=Battery)
    cooling: Cooling = field(default_factory=Cooling)
    machines: tuple[MachineType, ...] = ()
    jobs: tuple[Job, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    customers: tuple[Customer, ...] = ()
    rules: tuple[Rule, ...] = ()
    curtailments: tuple[CurtailmentTerms, ...] = ()
    stress: tuple[StressCase, ...] = ()  # cases of the site's own, beside the built-in ones
    reserve: Reserve = field(default_factory=Reserve)
    room: Room = field(default_factory=Room)
    risk: RiskAppetite = field(default_factory=RiskAppetite)
    auction: AuctionTerms = field(default_factory=AuctionTerms)
    frequency: FrequencyResponse = field(default_factory=FrequencyResponse)
    simulation: Simulation = field(default_factory=Simulation)
    operators: Operators = field(default_factory=Operators)
    ramp_kw_per_min: float = 0.0  # how fast the grid connection may change; 0: as fast as it likes
    stagger_kw: float = 0.0  # of machines that may be starting at the same time; 0: all that are wanted
    demand_usd_per_kw: float = 0.0  # for each kW of the calendar month's highest import; 0: none
    usd_per_eur: float = 1.08  # the one conversion between a source in EUR and the screen
    token_usd_per_mtok: float = 0.0  # price of a million tokens where the source has no token price
    hash_usd_per_ph_day: float = 0.0  # hashprice where the source has none
    floor_usd_per_mwh: float | None = None  # of the market: an energy price below it is suspect; None: not known
    cap_usd_per_mwh: float | None = None  # and one above this
    hash_unit: str = "USD/h per rate"  # of a user's own price file; or "USD/PH/day" with rates in TH/s
    token_unit: str = "USD/h per rate"  # or "USD/Mtok" with rates in tokens/s

    def __post_init__(self) -> None:
        for name in ("import_kw", "export_kw", "token_usd_per_mtok", "hash_usd_per_ph_day"):
            finite(name, getattr(self, name), 0.0)
        finite("grid.ramp_kw_per_min", self.ramp_kw_per_min, 0.0)
        finite("grid.stagger_kw", self.stagger_kw, 0.0)
        finite("grid.demand_usd_per_kw", self.demand_usd_per_kw, 0.0)
        finite("usd_per_eur", self.usd_per_eur, 0.01, 100.0)
        for name in ("floor_usd_per_mwh", "cap_usd_per_mwh"):
            if getattr(self, name) is not None:
                finite(name, getattr(self, name))
        low, high = self.floor_usd_per_mwh, self.cap_usd_per_mwh
        ordered = low is None or high is None or low < high
        require(ordered, f"floor_usd_per_mwh is {low}, cap_usd_per_mwh {high}: expected the floor below the cap")
        for name, choices in UNITS.items():
            told = f"{name} is {getattr(self, name)!r}: expected {' or '.join(map(repr, choices))}"
            require(getattr(self, name) in choices, told)
        finite("latitude", self.latitude, -90.0, 90.0)
        finite("longitude", self.longitude, -180.0, 180.0)
        names = [m.type for m in self.machines] + [j.name for j in self.jobs] + [t.name for t in self.tenants]
        names += [c.name for c in self.customers]
        own = sorted(set(names) & set(OWN_NAMES))
        require(not own, f"{', '.join(own)}: a name that the site itself bids with; call the load something else")
        for what, used in (
            ("names used twice among machines, jobs, tenants and customers", names),
            ("stress cases with the same name", [case.name for case in self.stress]),
            ("curtailments with the same name", [terms.name for terms in self.curtailments]),
        ):
            require(not twice(used), f"{what}: {', '.join(twice(used))}")
        self._contracts()

    def _contracts(self) -> None:
        """Customers and rules name machine types that exist, and take no more of them than there is."""
        types = [m.type for m in self.machines]
        for what, name in [(f"customer {c.name}", c.type) for c in self.customers] + [
            ("rule", r.type) for r in self.rules
        ]:
            seen = ", ".join(types) or "none"
            require(name in types, f"{what}: type is {name!r}, expected one of the site's machines ({seen})")
        ruled = [rule.type for rule in self.rules]
        require(not twice(ruled), f"more than one rule for machines {', '.join(twice(ruled))}")
        for name in types:
            share = sum(c.share for c in self.customers if c.type == name)
            require(share <= 1.0 + 1e-9, f"customers of {name} have {share:.0%} of it: expected 100% at the most")
            served = [c.name for c in self.customers if c.type == name]
            both = f"machines {name} have a rule and customers ({', '.join(served)}): give them one or the other"
            require(not (served and name in ruled), both)

    def machine(self, type_: str) -> MachineType:
        """The machine type of that name; KeyError when there is none."""
        for machine in self.machines:
            if machine.type == type_:
                return machine
        raise KeyError(type_)
