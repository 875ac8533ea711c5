"""A decision: the state it starts from, plan, auction, risk and set points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from gridpilot.domain.check import finite, require, shapes
from gridpilot.domain.contracts import GridLimit
from gridpilot.domain.prices import DataFlag, PriceOutlook
from gridpilot.values import Array, Times, as_array, as_times


@dataclass(frozen=True, slots=True)
class JobNeed:
    """What is left of one run of a job: at most `max_kw` between `release` and `deadline`."""

    name: str
    remaining_kwh: float
    max_kw: float
    value_usd_per_kwh: float
    release: datetime
    deadline: datetime
    shortfall_usd_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """What a customer's work has had so far in the window that began at `start`."""

    name: str
    start: datetime
    served_kwh: float
    asked_kwh: float


@dataclass(frozen=True, slots=True)
class Switched:
    """Machines of a type that were switched on (or, negative, off) at a moment."""

    type: str
    at: datetime
    machines: int


@dataclass(frozen=True, slots=True)
class RuleState:
    """Where a rule stands before the running interval: what it asks for, and how long prices have been so.

    `over` and `under` count the newest intervals in a row on that side of the strike; `kept` the intervals since the
    last change.
    """

    on: bool = True
    over: int = 0
    under: int = 0
    kept: int = 10**6


@dataclass(frozen=True, slots=True)
class SiteState:
    """What was read from the site. `battery_kw` is positive when charging; soc_frac may be NaN (reading lost).

    `grid_kw` is the import now (NaN: not known), `peak_kw` the highest one of the calendar month so far.
    """

    at: datetime
    soc_frac: float
    machines: Mapping[str, int] = field(default_factory=dict)
    battery_kw: float = 0.0
    jobs: tuple[JobNeed, ...] = ()
    source: str = "simulated"  # simulated, mara, or mara machines with a simulated battery
    served: tuple[Served, ...] = ()
    switched: tuple[Switched, ...] = ()
    rules: Mapping[str, RuleState] = field(default_factory=dict)
    grid_kw: float = float("nan")
    peak_kw: float = 0.0
    room_c: float = float("nan")  # of the IT room; NaN: at its set point
    limits: tuple[GridLimit, ...] = ()  # curtailment, and what the site itself reports

    def import_kw(self, site_kw: float) -> float:
        """The most that the grid connection may draw now, `site_kw` by itself [kW]."""
        return min([site_kw, *(limit.at(self.at) for limit in self.limits)])


@dataclass(frozen=True, slots=True)
class Attempt:
    """One engine's try at a plan."""

    method: str
    status: str
    reason: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What a load asks of the site's power in the first interval, and what a kWh is worth to it there.

    The worth counts its own value and what service levels, minimum run times and rules make of it. `of` is the machine
    type that the power goes to, or the load's own name.
    """

    name: str
    of: str
    service: str
    kw: float
    worth_usd_per_kwh: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Set points over T steps; row 0 is the interval that is running now.

    charge_kw, discharge_kw, import_kw, export_kw, cooling_kw (T,) are >= 0; soc_frac (T,) is the state of
    charge at the END of each step; loads_kw maps machine types, jobs and tenants to (T,) IT kW, without
    cooling. marginal_value_usd_per_kwh (T,) is what one more stored kWh is worth; power_price_usd_per_kwh
    (T,) is what one more kW of site power would bring for an hour (the shadow price of the balance).
    objective_usd = export income - import cost - wear + load value + terminal value of the change in
    stored energy + what `extras_usd` lists (income of reserve; demand charge, shortfalls and wear by depth as minus).
    customers_kw (T,) is the part of a machine type's power that serves each customer; reserve_up_kw and
    reserve_down_kw (T,) are what is kept free. room_kw (T,) is cooling power beyond (or, negative, below) what the heat
    of the loads needs, and part of cooling_kw; room_c (T,) the temperature of the IT room at the end of each step.
    """

    status: str  # optimal, fallback, held, idle
    method: str
    objective_usd: float
    timestamp: Times
    step_s: int
    soc_start_frac: float
    charge_kw: Array
    discharge_kw: Array
    soc_frac: Array
    import_kw: Array
    export_kw: Array
    cooling_kw: Array
    loads_kw: Mapping[str, Array]
    marginal_value_usd_per_kwh: Array
    power_price_usd_per_kwh: Array
    terminal_usd_per_mwh: float
    outlook: PriceOutlook
    attempts: tuple[Attempt, ...] = ()
    flags: tuple[DataFlag, ...] = ()
    solve_ms: float = 0.0
    offers: tuple[Offer, ...] = ()
    customers_kw: Mapping[str, Array] = field(default_factory=dict)
    reserve_up_kw: Array = field(default_factory=lambda: as_array([]))
    reserve_down_kw: Array = field(default_factory=lambda: as_array([]))
    room_kw: Array = field(default_factory=lambda: as_array([]))
    room_c: Array = field(default_factory=lambda: as_array([]))  # empty where it is not planned
    extras_usd: Mapping[str, float] = field(default_factory=dict)
    hedge: Mapping[str, float] = field(default_factory=dict)  # weight, alpha, paths, mean_usd, cvar_usd, limit_usd

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        n = len(self.timestamp)
        for name in ("reserve_up_kw", "reserve_down_kw", "room_kw"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(n))
        for name in (
            "reserve_up_kw",
            "reserve_down_kw",
            "room_kw",
            "charge_kw",
            "discharge_kw",
            "soc_frac",
            "import_kw",
            "export_kw",
            "cooling_kw",
            "marginal_value_usd_per_kwh",
            "power_price_usd_per_kwh",
        ):
            object.__setattr__(self, name, as_array(getattr(self, name)))
            shapes("Plan", n, **{name: getattr(self, name)})
        object.__setattr__(self, "loads_kw", {k: as_array(v) for k, v in self.loads_kw.items()})
        shapes("Plan.loads_kw", n, **self.loads_kw)
        object.__setattr__(self, "customers_kw", {k: as_array(v) for k, v in self.customers_kw.items()})
        shapes("Plan.customers_kw", n, **self.customers_kw)
        require(
            self.status in ("optimal", "fallback", "held", "idle"),
            f"plan status {self.status!r}: expected optimal, fallback, held or idle",
        )

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def battery_kw(self) -> Array:
        """Charge minus discharge (T,)."""
        return as_array(self.charge_kw - self.discharge_kw)

    @property
    def it_kw(self) -> Array:
        """All loads without cooling (T,)."""
        return as_array(sum(self.loads_kw.values(), np.zeros(len(self))))


@dataclass(frozen=True, slots=True)
class Bid:
    """One step of a bidder's demand curve for a service. Prices are $/kWh, which over an hour is $/h per kW.

    Less than `min_kw` of it is of no use to the bidder, and less than `kw` where it is not `divisible`. `uses` is what
    a kW of it takes of the auction's resources (power: 1 kW unless said). A `house` bid is the site's own.
    """

    bidder: str
    service: str
    kw: float
    price_usd_per_kwh: float
    divisible: bool = True
    min_kw: float = 0.0
    uses: Mapping[str, float] = field(default_factory=dict)
    house: bool = False

    def __post_init__(self) -> None:
        require(bool(self.bidder.strip()), "a bid has no bidder")
        finite(f"bid of {self.bidder}: kw", self.kw, 0.0, 1e9)
        finite(f"bid of {self.bidder}: price_usd_per_kwh", self.price_usd_per_kwh, -1e6, 1e6)
        finite(f"bid of {self.bidder}: min_kw", self.min_kw, 0.0, self.kw)
        for name, amount in self.uses.items():
            finite(f"bid of {self.bidder}: use of {name}", amount, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one bidder asked and got for one service."""

    bidder: str
    service: str
    asked_kw: float
    kw: float
    value_usd_per_h: float  # by its own bids, for the kW it got


@dataclass(frozen=True, slots=True)
class Payment:
    """What one bidder pays: the welfare that the others (and the reserve) lose by its presence.

    usd_per_h = others_without_usd_per_h - others_with_usd_per_h; `externality` lists the displaced bids as
    (name, kW displaced, $/kWh, $/h), "reserve" among them, and sums to usd_per_h.
    """

    bidder: str
    usd_per_h: float
    others_without_usd_per_h: float
    others_with_usd_per_h: float
    externality: tuple[tuple[str, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class AuctionResult:
    """A cleared auction. Welfare counts value above the reserve price."""

    welfare_usd_per_h: float
    allocation: tuple[Allocation, ...]
    payments: tuple[Payment, ...]
    clearing_price_usd_per_kwh: float
    reserve_usd_per_kwh: float
    capacity_kw: float
    method: str
    exact: bool
    rejected: tuple[tuple[str, str], ...] = ()  # (bidder, reason)
    house: tuple[str, ...] = ()  # bidders that are the site's own alternatives and pay nothing
    bound_usd_per_h: float = float("nan")  # the most welfare that any allocation could have
    solve_ms: float = 0.0

    def kw(self, bidder: str) -> float:
        """All kW that a bidder got."""
        return sum(a.kw for a in self.allocation if a.bidder == bidder)


@dataclass(frozen=True, slots=True)
class RiskReport:
    """Risk of a P&L sample [$]. var and cvar are LOSSES: positive means money may be lost.

    risk_adjustment_factor in (0, 1] is how much of the plan's discretionary power the risk allows. Of a plan,
    fan_usd maps levels to that quantile (T,) of the money made by the end of each step, and full_usd maps each load
    to what it would bring (n,) on each price path if it ran all the time that it could.
    """

    status: str  # ok, or the reason why there are no figures ("not enough data: ...")
    alpha: float
    n: int
    var: float
    cvar: float
    max_drawdown: float
    volatility: float
    risk_adjustment_factor: float
    expected: float = float("nan")
    cvar_limit_usd: float = float("nan")  # NaN: none is set
    regime: str = ""  # how restless prices are: calm, restless, stormy
    service_shares: Mapping[str, float] = field(default_factory=dict)  # of the site's power, where it is sold by them
    average_drawdown: float = float("nan")
    cdar: float = float("nan")  # conditional drawdown at risk, at alpha
    pnl_usd: Array = field(default_factory=lambda: as_array([]))
    fan_usd: Mapping[float, Array] = field(default_factory=dict)
    full_usd: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pnl_usd", as_array(self.pnl_usd))
        for name in ("fan_usd", "full_usd"):
            object.__setattr__(self, name, {k: as_array(v) for k, v in getattr(self, name).items()})
        for name, usd in self.full_usd.items():
            shapes(f"RiskReport.full_usd[{name}]", len(self.pnl_usd), usd=usd)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The whole state to set for one interval: absolute targets, never changes.

    battery_kw is positive when charging; machine_kw is the machines' own power; total_power_kw adds tenants,
    jobs and cooling, and is what must stay within the site's limit. room_kw is the part of cooling_kw beyond (or,
    negative, below) what the heat needs.
    """

    at: datetime
    valid_until: datetime
    origin: str  # plan, override, hold, failsafe, estop
    machines: Mapping[str, int]
    battery_kw: float
    jobs_kw: Mapping[str, float]
    tenants_kw: Mapping[str, float]
    cooling_kw: float
    machine_kw: float
    total_power_kw: float
    payload: Mapping[str, Any]
    constraints_satisfied: bool
    violations: tuple[str, ...] = ()
    status: str = "prepared"  # prepared, dry-run, applied, mismatch, unknown, refused
    room_kw: float = 0.0
    step_s: float = 3600.0  # how long it is meant to be in force: so far ahead the state of charge is checked

    @property
    def grid_kw(self) -> float:
        """Import (positive) or export (negative) that the set points ask of the grid."""
        return self.total_power_kw + self.battery_kw


SENSORS = ("power_kw", "soc_frac", "battery_kw", "grid_kw", "hottest_c", "room_c", "frequency_hz", "import_kw")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the outside system reports; None for what it can't tell. Money rates are in its own unit.

    `machines` run now; `told` is what the system has taken over as its target, None where machines obey at once.
    battery_kw is positive when charging, grid_kw when importing. A sensor that is lost reads NaN, and one that says
    something infinite is lost.
    """

    at: datetime
    machines: Mapping[str, int]
    power_kw: float  # of the machines
    revenue_usd_per_h: float | None = None
    cost_usd_per_h: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, int] | None = None
    soc_frac: float | None = None
    battery_kw: float | None = None
    grid_kw: float | None = None
    hottest_c: float | None = None  # of the machines
    room_c: float | None = None
    frequency_hz: float | None = None
    import_kw: float | None = None  # the most that the connection may draw, as the site reports it

    def __post_init__(self) -> None:
        for name in SENSORS:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                object.__setattr__(self, name, math.nan)

    @property
    def target(self) -> Mapping[str, int]:
        """What the machines were told, as far as the outside system knows."""
        return self.machines if self.told is None else self.told
