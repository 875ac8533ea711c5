"""Prices: what was, what is expected, and what is known about both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from gridpilot.domain.check import require, shapes
from gridpilot.domain.site import MachineType
from gridpilot.values import Array, Times, as_array, as_times, to_utc

DAY_AHEAD = "day_ahead_price"  # column: what the day-ahead market had said, where the energy price is real time's


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
    known of them for the F intervals to come (F,), NaN where it is not. `filled` are the intervals whose values are
    not the source's.
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
    filled: Times = field(default_factory=lambda: as_times([]))

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        object.__setattr__(self, "filled", as_times(self.filled))
        for name in ("energy_usd_per_mwh", "hash_price", "token_price"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
        for name in ("columns", "ahead"):
            object.__setattr__(self, name, {k: as_array(v) for k, v in getattr(self, name).items()})
        n = len(self.timestamp)
        require(n > 0, f"{self.source}: no prices at all; expected at least one interval")
        shapes("PriceHistory", n, energy_usd_per_mwh=self.energy_usd_per_mwh)
        shapes("PriceHistory", n, hash_price=self.hash_price, token_price=self.token_price, **self.columns)
        require(self.step_s > 0, f"{self.source}: step is {self.step_s} s, expected more than 0")
        steps = np.diff(self.timestamp).astype(np.int64)
        require(bool(np.all(steps == self.step_s)), f"{self.source}: timestamps are not an even {self.step_s} s grid")
        require(bool(np.all(np.isfinite(self.energy_usd_per_mwh))), f"{self.source}: energy price has NaN or infinity")

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
        shapes("Band", n, lower=self.lower, upper=self.upper, sigma=self.sigma)
        ordered = not bool(np.any(self.lower > self.upper))  # NaN, a price that does not exist, passes
        require(ordered, f"{self.method}: lower band above upper band")


@dataclass(frozen=True, slots=True)
class Trial:
    """How models did at past origins that they had not seen: origin (K,), mae model -> (K,) over the steps of each.

    coverage band -> share of the `values` prices inside it, the band made from earlier origins only.
    """

    origin: Times
    mae: Mapping[str, Array]
    coverage: Mapping[float, float] = field(default_factory=dict)
    values: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", as_times(self.origin))
        object.__setattr__(self, "mae", {k: as_array(v) for k, v in self.mae.items()})


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
    drivers: Mapping[str, float] = field(default_factory=dict)  # input -> what it adds to the next day's mean price
    trials: Mapping[str, Trial] = field(default_factory=dict)  # price -> what its models said of past days

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        object.__setattr__(self, "paths", {k: as_array(v) for k, v in self.paths.items()})
        n = len(self.timestamp)
        for name in ("energy", "hash", "token"):
            band: Band = getattr(self, name)
            shapes(f"Forecast.{name}", n, point=band.point)
            require(self.paths[name].ndim == 2 and self.paths[name].shape[1] == n, f"paths[{name}] is not (S, {n})")

    def __len__(self) -> int:
        return len(self.timestamp)


@dataclass(frozen=True, slots=True)
class PriceOutlook:
    """The prices that a plan is made for: T steps, the first `known` of them settled facts.

    outdoor_c (T,) is the outdoor temperature in degrees C, or empty where it is not known.
    """

    timestamp: Times
    step_s: int
    energy_usd_per_mwh: Array
    hash_price: Array
    token_price: Array
    units: Units = field(default_factory=Units)
    known: int = 1
    outdoor_c: Array = field(default_factory=lambda: as_array([]))

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", as_times(self.timestamp))
        for name in ("energy_usd_per_mwh", "hash_price", "token_price", "outdoor_c"):
            object.__setattr__(self, name, as_array(getattr(self, name)))
        n = len(self.timestamp)
        require(n > 0, "the price outlook is empty: expected at least one interval")
        shapes("PriceOutlook", n, energy_usd_per_mwh=self.energy_usd_per_mwh)
        shapes("PriceOutlook", n, hash_price=self.hash_price, token_price=self.token_price)
        require(bool(np.all(np.isfinite(self.energy_usd_per_mwh))), "the price outlook has NaN or infinity")
        if len(self.outdoor_c):
            shapes("PriceOutlook", n, outdoor_c=self.outdoor_c)

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600.0
