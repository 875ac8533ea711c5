"""The nouns that stages exchange: frozen, checked, with read-only arrays.

Units are in the names: kW, kWh, $/MWh, $/h, fractions 0..1. Times are UTC and mark the START of
an interval: scalars are tz-aware `datetime`, arrays are `datetime64[s]`. Importing, charging and
consuming are positive. `$` is the site's one currency (`Units.money` names it on screen).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from gridpilot.errors import DataError
from gridpilot.values import Array, Times, as_array, as_times, to_utc


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise DataError(message)


def _finite(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    ok = math.isfinite(value) and low <= value <= high
    _require(ok, f"{name} is {value}: expected a number from {low:g} to {high:g}")


def _shapes(owner: str, length: int, **arrays: Array | Times) -> None:
    for name, array in arrays.items():
        _require(array.shape == (length,), f"{owner}.{name} has shape {array.shape}: expected ({length},)")


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

    def __post_init__(self) -> None:
        for name in ("capacity_kwh", "charge_kw", "discharge_kw", "wear_usd_per_kwh"):
            _finite(f"battery.{name}", getattr(self, name), 0.0)
        for name in ("efficiency_charge", "efficiency_discharge"):
            _finite(f"battery.{name}", getattr(self, name), 0.01, 1.0)
        _finite("battery.soc_min", self.soc_min, 0.0, 1.0)
        _finite("battery.soc_max", self.soc_max, self.soc_min, 1.0)


@dataclass(frozen=True, slots=True)
class Cooling:
    """Cooling power = IT power x heat_fraction / COP. 0.15 as heat_fraction gives the seed's formula."""

    cop: float = 3.5
    heat_fraction: float = 1.0

    def __post_init__(self) -> None:
        _finite("cooling.cop", self.cop, 0.1, 100.0)
        _finite("cooling.heat_fraction", self.heat_fraction, 0.0, 1.0)

    @property
    def kw_per_kw(self) -> float:
        """Cooling kW for each kW of IT load."""
        return self.heat_fraction / self.cop


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

    def __post_init__(self) -> None:
        _require(bool(self.type.strip()), "a machine type has no name: give `type`")
        _require(self.count >= 0, f"machines {self.type}: count is {self.count}, expected 0 or more")
        _finite(f"machines {self.type}: power_w", self.power_w, 1.0)
        _finite(f"machines {self.type}: rate", self.rate, 0.0)
        _require(
            self.product in ("hash", "token"),
            f"machines {self.type}: product is {self.product!r}, expected 'hash' or 'token'",
        )
        _require(
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

    def __post_init__(self) -> None:
        _finite(f"job {self.name}: energy_kwh", self.energy_kwh, 0.0)
        _finite(f"job {self.name}: max_kw", self.max_kw, 0.0)
        _finite(f"job {self.name}: value_usd_per_kwh", self.value_usd_per_kwh)
        one = (self.deadline is None) != (not self.daily_deadline)
        _require(one, f"job {self.name}: give either deadline or daily_deadline")
        _require(self.deadline is None or self.deadline.tzinfo is not None, f"job {self.name}: deadline has no zone")
        if self.daily_deadline:
            try:
                datetime.strptime(self.daily_deadline, "%H:%M")
            except ValueError:
                raise DataError(f"job {self.name}: daily_deadline is {self.daily_deadline!r}, expected HH:MM") from None


@dataclass(frozen=True, slots=True)
class Tenant:
    """An outside customer with a standing bid for the site's power."""

    name: str
    service: str
    kw: float
    price_usd_per_kwh: float

    def __post_init__(self) -> None:
        _finite(f"tenant {self.name}: kw", self.kw, 0.0)
        _finite(f"tenant {self.name}: price_usd_per_kwh", self.price_usd_per_kwh)


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
    usd_per_eur: float = 1.08  # the one conversion between a source in EUR and the screen
    token_usd_per_mtok: float = 0.0  # price of a million tokens where the source has no token price
    hash_usd_per_ph_day: float = 0.0  # hashprice where the source has none
    hash_unit: str = "USD/h per rate"  # of a user's own price file; or "USD/PH/day" with rates in TH/s
    token_unit: str = "USD/h per rate"  # or "USD/Mtok" with rates in tokens/s

    def __post_init__(self) -> None:
        for name in ("import_kw", "export_kw", "token_usd_per_mtok", "hash_usd_per_ph_day"):
            _finite(name, getattr(self, name), 0.0)
        _finite("usd_per_eur", self.usd_per_eur, 0.01, 100.0)
        _finite("latitude", self.latitude, -90.0, 90.0)
        _finite("longitude", self.longitude, -180.0, 180.0)
        names = [m.type for m in self.machines] + [j.name for j in self.jobs] + [t.name for t in self.tenants]
        twice = sorted({n for n in names if names.count(n) > 1})
        _require(not twice, f"names used twice among machines, jobs and tenants: {', '.join(twice)}")

    def machine(self, type_: str) -> MachineType:
        """The machine type of that name; KeyError when there is none."""
        for machine in self.machines:
            if machine.type == type_:
                return machine
        raise KeyError(type_)


@dataclass(frozen=True, slots=True)
class Units:
    """What a source's numbers mean, and how they become $ per hour.

    revenue of one machine [$/h] = rate x hash_price x hash_usd_per_h      (or token)
    energy_usd_per_mwh           = shown energy price x energy_usd_per_mwh
    """

    money: str = "USD"
    energy: str = "USD/MWh"
    hash: str = "USD/PH/day"
    token: str = "USD/Mtok"
    energy_usd_per_mwh: float = 1.0
    hash_usd_per_h: float = 1.0 / (1000.0 * 24.0)  # TH/s x USD/PH/day
    token_usd_per_h: float = 3600.0 / 1e6  # tokens/s x USD/Mtok


@dataclass(frozen=True, slots=True)
class DataFlag:
    """One thing that a reader of the data must know; nothing is dropped, filled or clipped without one."""

    code: str  # STALE GAP_FILLED DROPPED DUPLICATE CONFLICT SUSPECT NAIVE_TIME INTERPOLATED CONSTANT ...
    message: str  # one line: what was seen, what was done
    severity: str = "info"  # info, warn, alarm
    stage: str = "market"
    count: int = 1


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """Prices on an even grid, oldest first, up to and including the interval that is running now.

    timestamp (N,) UTC interval starts; energy_usd_per_mwh (N,), finite; hash_price and token_price (N,)
    in the source's unit, NaN where the source has none; `columns` are exogenous series (N,), `ahead` what is
    known of them for the F intervals to come (F,), NaN where it is not.
    """

    source: str
    timestamp: Times
    step_s: int
    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array
    units: Units = field(default_factory=Units)
    flags: tuple[DataFlag, ...] = ()
    columns: Mapping[str, Array] = field(default_factory=dict)
    credit: str = ""
    ahead: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        for name in ("energy_usd_per_mwh", "hash_price", "token_price"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
        for name in ("columns", "ahead"):
            object.__setattr__(self, name, {k: as_array(v) for k, v in getattr(self, name).items()})
        n = len(self.timestamp)
        _require(n > 0, f"{self.source}: no prices at all; expected at least one interval")
        _shapes("PriceHistory", n, energy_usd_per_mwh=self.energy_usd_per_mwh)
        _shapes("PriceHistory", n, hash_price=self.hash_price, token_price=self.token_price, **self.columns)
        _require(self.step_s > 0, f"{self.source}: step is {self.step_s} s, expected more than 0")
        steps = np.diff(self.timestamp).astype(np.int64)
        _require(bool(np.all(steps == self.step_s)), f"{self.source}: timestamps are not an even {self.step_s} s grid")
        _require(bool(np.all(np.isfinite(self.energy_usd_per_mwh))), f"{self.source}: energy price has NaN or infinity")

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def last(self) -> datetime:
        """Start of the newest interval."""
        return to_utc(self.timestamp[-1])

    def tail(self, n: int) -> PriceHistory:
        """The newest `n` intervals."""
        return dataclasses.replace(
            self,
            timestamp=self.timestamp[-n:],
            energy_usd_per_mwh=self.energy_usd_per_mwh[-n:],
            hash_price=self.hash_price[-n:],
            token_price=self.token_price[-n:],
            columns={k: v[-n:] for k, v in self.columns.items()},
        )


def value_usd_per_kwh(machine: MachineType, units: Units, hash_price: Array, token_price: Array) -> Array:
    """What a kWh brings in this machine [$/kWh], shape of the prices; 0 where its price is unknown.

    rate x price x factor / kW of one machine.
    """
    money = hash_price * units.hash_usd_per_h if machine.product == "hash" else token_price * units.token_usd_per_h
    return as_array(np.nan_to_num(machine.rate * np.asarray(money) / machine.power_kw, nan=0.0))


@dataclass(frozen=True, slots=True)
class Band:
    """A forecast of one price: (H,) arrays in the price's own unit; lower and upper are the 10 and 90 % quantiles."""

    point: Array
    lower: Array
    upper: Array
    sigma: Array
    quantiles: Mapping[float, Array]
    method: str
    members: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("point", "lower", "upper", "sigma"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
        for name in ("quantiles", "members"):
            object.__setattr__(self, name, {k: as_array(v) for k, v in getattr(self, name).items()})
        n = len(self.point)
        _shapes("Band", n, lower=self.lower, upper=self.upper, sigma=self.sigma)
        ordered = not bool(np.any(self.lower > self.upper))  # NaN, a price that does not exist, passes
        _require(ordered, f"{self.method}: lower band above upper band")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Prices of the next H intervals after `origin` (the newest known interval).

    `paths` are S equally likely joint futures (S, H) for energy, hash and token, in their units.
    """

    origin: datetime
    timestamp: Times
    step_s: int
    energy: Band
    hash: Band
    token: Band
    paths: Mapping[str, Array]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # price -> member -> out-of-sample MAE
    score_days: float = 0.0  # the rolling origins behind `scores`, in days
    flags: tuple[DataFlag, ...] = ()
    n_history: int = 0
    version: str = ""  # of the fitted ensemble behind the energy price; empty where none was used
    weights: Mapping[str, float] = field(default_factory=dict)  # of its members

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        object.__setattr__(self, "paths", {k: as_array(v) for k, v in self.paths.items()})
        n = len(self.timestamp)
        for name in ("energy", "hash", "token"):
            band: Band = getattr(self, name)
            _shapes(f"Forecast.{name}", n, point=band.point)
            _require(self.paths[name].ndim == 2 and self.paths[name].shape[1] == n, f"paths[{name}] is not (S, {n})")

    def __len__(self) -> int:
        return len(self.timestamp)


@dataclass(frozen=True, slots=True)
class PriceOutlook:
    """The prices that a plan is made for: T steps, the first `known` of them settled facts."""

    timestamp: Times
    step_s: int
    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array
    units: Units = field(default_factory=Units)
    known: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        for name in ("energy_usd_per_mwh", "hash_price", "token_price"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
        n = len(self.timestamp)
        _require(n > 0, "the price outlook is empty: expected at least one interval")
        _shapes("PriceOutlook", n, energy_usd_per_mwh=self.energy_usd_per_mwh)
        _shapes("PriceOutlook", n, hash_price=self.hash_price, token_price=self.token_price)
        _require(bool(np.all(np.isfinite(self.energy_usd_per_mwh))), "the price outlook has NaN or infinity")

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600.0


@dataclass(frozen=True, slots=True)
class JobNeed:
    """What is left of one run of a job: at most `max_kw` between `release` and `deadline`."""

    name: str
    remaining_kwh: float
    max_kw: float
    value_usd_per_kwh: float
    release: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True)
class SiteState:
    """What was read from the site. `battery_kw` is positive when charging; soc_frac may be NaN (reading lost)."""

    at: datetime
    soc_frac: float
    machines: Mapping[str, int] = field(default_factory=dict)
    battery_kw: float = 0.0
    jobs: tuple[JobNeed, ...] = ()
    source: str = "simulated"  # simulated, mara, or mara machines with a simulated battery


@dataclass(frozen=True, slots=True)
class Attempt:
    """One engine's try at a plan."""

    method: str
    status: str
    reason: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Set points over T steps; row 0 is the interval that is running now.

    charge_kw, discharge_kw, import_kw, export_kw, cooling_kw (T,) are >= 0; soc_frac (T,) is the state of
    charge at the END of each step; loads_kw maps machine types, jobs and tenants to (T,) IT kW, without
    cooling. marginal_value_usd_per_kwh (T,) is what one more stored kWh is worth; power_price_usd_per_kwh
    (T,) is what one more kW of site power would bring for an hour (the shadow price of the balance).
    objective_usd = export income - import cost - wear + load value + terminal value of the change in
    stored energy.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        n = len(self.timestamp)
        for name in (
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
            _shapes("Plan", n, **{name: getattr(self, name)})
        object.__setattr__(self, "loads_kw", {k: as_array(v) for k, v in self.loads_kw.items()})
        _shapes("Plan.loads_kw", n, **self.loads_kw)
        _require(
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
    """One step of a bidder's demand curve for a service. Prices are $/kWh, which over an hour is $/h per kW."""

    bidder: str
    service: str
    kw: float
    price_usd_per_kwh: float
    divisible: bool = True

    def __post_init__(self) -> None:
        _require(bool(self.bidder.strip()), "a bid has no bidder")
        _finite(f"bid of {self.bidder}: kw", self.kw, 0.0, 1e9)
        _finite(f"bid of {self.bidder}: price_usd_per_kwh", self.price_usd_per_kwh, -1e6, 1e6)


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
    solve_ms: float = 0.0

    def kw(self, bidder: str) -> float:
        """All kW that a bidder got."""
        return sum(a.kw for a in self.allocation if a.bidder == bidder)


@dataclass(frozen=True, slots=True)
class RiskReport:
    """Risk of a P&L sample [$]. var and cvar are LOSSES: positive means money may be lost.

    risk_adjustment_factor in (0, 1] is how much of the plan's discretionary power the risk allows.
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
    pnl_usd: Array = field(default_factory=lambda: as_array([]))

    def __post_init__(self) -> None:
        object.__setattr__(self, "pnl_usd", as_array(self.pnl_usd))


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The whole state to set for one interval: absolute targets, never changes.

    battery_kw is positive when charging; machine_kw is the machines' own power; total_power_kw adds tenants,
    jobs and cooling, and is what must stay within the site's limit.
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

    @property
    def grid_kw(self) -> float:
        """Import (positive) or export (negative) that the set points ask of the grid."""
        return self.total_power_kw + self.battery_kw


@dataclass(frozen=True, slots=True)
class Reading:
    """Machines as the outside system reports them; money rates in its own unit, None where it has none."""

    at: datetime
    machines: Mapping[str, int]
    power_kw: float
    revenue_usd_per_h: float | None = None
    cost_usd_per_h: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
