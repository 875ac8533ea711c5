"""What a site has promised and how its operator wants it run: customers, reserve, rules, appetite for risk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gridpilot.domain.check import clock, finite, require

STRATEGIES = ("marginal value", "risk-adjusted", "portfolio", "seed split", "seed bid")
TIERS = (0.0, 0.10, 0.25, 0.50)  # average slow-down of tiers 0 to 3: the job classes of arXiv 2507.00909


@dataclass(frozen=True, slots=True)
class Customer:
    """Someone whose work runs on a share of a machine type, with a service level.

    Over each window of `window_h` hours, counted from local midnight, at least (1 - slow-down) of the work at hand is
    served. What is missing costs `short_usd_per_kwh`; None: more than anything else, so it is served if it can be.
    """

    name: str
    type: str
    share: float  # of the machines of that type
    tier: int = 0
    slowdown_frac: float | None = None  # in place of the tier's
    window_h: float = 6.0
    short_usd_per_kwh: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "a customer has no name: give `name`")
        who = f"customer {self.name}"
        finite(f"{who}: share", self.share, 0.0, 1.0)
        require(0 <= self.tier < len(TIERS), f"{who}: tier is {self.tier}, expected 0 to {len(TIERS) - 1}")
        if self.slowdown_frac is not None:
            finite(f"{who}: slowdown_frac", self.slowdown_frac, 0.0, 1.0)
        whole = self.window_h in (1, 2, 3, 4, 6, 8, 12, 24)
        require(
            whole, f"{who}: window_h is {self.window_h:g}, expected whole hours that part a day, like 1, 3, 6 or 24"
        )
        if self.short_usd_per_kwh is not None:
            finite(f"{who}: short_usd_per_kwh", self.short_usd_per_kwh, 0.0)

    @property
    def allowed_slowdown(self) -> float:
        """The share of the work at hand in a window that need not be served."""
        return TIERS[self.tier] if self.slowdown_frac is None else self.slowdown_frac


@dataclass(frozen=True, slots=True)
class Reserve:
    """Regulation reserve: kW that the site can drop (up) or take (down) at once, and hold for `hours`.

    `up_kw` and `down_kw` are sold and must be there; up to `most_up_kw` and `most_down_kw` are offered where the price
    pays for them. The battery gives both, running miners give up, and miners that stand still give down.
    """

    up_kw: float = 0.0
    down_kw: float = 0.0
    most_up_kw: float = 0.0
    most_down_kw: float = 0.0
    up_usd_per_mw_h: float = 0.0
    down_usd_per_mw_h: float = 0.0
    hours: float = 1.0

    def __post_init__(self) -> None:
        for name in ("up_kw", "down_kw", "most_up_kw", "most_down_kw", "up_usd_per_mw_h", "down_usd_per_mw_h"):
            finite(f"reserve.{name}", getattr(self, name), 0.0)
        finite("reserve.hours", self.hours, 0.0, 24.0)

    @property
    def wanted(self) -> bool:
        """Whether there is any reserve to plan."""
        return max(self.up_kw, self.down_kw, self.most_up_kw, self.most_down_kw) > 0.0


@dataclass(frozen=True, slots=True)
class FrequencyResponse:
    """How the promised reserve follows the grid's frequency: nothing within `dead_band_hz`, all of it at `full_hz`.

    The defaults are those of Continental Europe's primary reserve (SO GL, Annex V): 10 mHz and 200 mHz of 50 Hz.
    """

    nominal_hz: float = 50.0
    dead_band_hz: float = 0.010
    full_hz: float = 0.200

    def __post_init__(self) -> None:
        finite("frequency.nominal_hz", self.nominal_hz, 1.0, 400.0)
        finite("frequency.dead_band_hz", self.dead_band_hz, 0.0, 1.0)
        wide = self.full_hz > self.dead_band_hz
        require(wide, f"frequency.full_hz is {self.full_hz:g}: expected more than the dead band, {self.dead_band_hz:g}")
        finite("frequency.full_hz", self.full_hz, 0.0, 5.0)


@dataclass(frozen=True, slots=True)
class Room:
    """The IT room as a store of cold: more cooling now, less later. `kwh_per_c` 0: its temperature is not planned.

    Cooling that just carries the heat away keeps it at set_c. With x kW of cooling power more (or less) than that, its
    temperature T moves by  kwh_per_c dT/dt = -COP x - loss_kw_per_c (T - set_c)  and stays between low_c and high_c.
    The defaults are the range that ASHRAE TC 9.9 recommends for IT equipment, 18 to 27 degrees C.
    """

    kwh_per_c: float = 0.0
    loss_kw_per_c: float = 0.0
    set_c: float = 22.0
    low_c: float = 18.0
    high_c: float = 27.0
    extra_kw: float = 0.0  # the most cooling power beyond what the heat needs

    def __post_init__(self) -> None:
        for name in ("kwh_per_c", "loss_kw_per_c", "extra_kw"):
            finite(f"room.{name}", getattr(self, name), 0.0)
        finite("room.low_c", self.low_c, -20.0, 60.0)
        finite("room.set_c", self.set_c, self.low_c, 60.0)
        finite("room.high_c", self.high_c, self.set_c, 60.0)

    @property
    def planned(self) -> bool:
        """Whether its temperature is planned."""
        return self.kwh_per_c > 0.0

    def kept(self, hours: float) -> float:
        """What part of a difference from set_c is left after so many hours."""
        return math.exp(-self.loss_kw_per_c * hours / self.kwh_per_c)

    def moved_c(self, hours: float) -> float:
        """Degrees that a kW of heat left in the room for so many hours adds by their end."""
        if self.loss_kw_per_c * hours < 1e-9 * self.kwh_per_c:
            return hours / self.kwh_per_c
        return (1.0 - self.kept(hours)) / self.loss_kw_per_c

    def after(self, room_c: float, cooling_kw: float, cop: float, hours: float) -> float:
        """The temperature after so many hours with `cooling_kw` more cooling power than the heat needs."""
        return self.set_c + (room_c - self.set_c) * self.kept(hours) - cop * cooling_kw * self.moved_c(hours)


@dataclass(frozen=True, slots=True)
class Rule:
    """When machines of a type run, by the energy price against a strike price. Prices in $/MWh.

    Over the strike for `above` intervals in a row they are curtailed, under it for `below` intervals they come back; at
    `high_usd_per_mwh` and over they are curtailed at once. A change holds for `hold_min` minutes. At most
    `ramp_machines` are switched in an interval (0: all), except at the high strike.
    """

    type: str
    strike_usd_per_mwh: float | None = None  # None: the break-even of the moment
    above: int = 1
    below: int = 1
    high_usd_per_mwh: float | None = None
    hold_min: float = 0.0
    ramp_machines: int = 0

    def __post_init__(self) -> None:
        who = f"rule for {self.type}"
        for name in ("above", "below"):
            require(1 <= getattr(self, name) <= 1000, f"{who}: {name} is {getattr(self, name)}, expected 1 to 1000")
        require(self.ramp_machines >= 0, f"{who}: ramp_machines is {self.ramp_machines}, expected 0 or more")
        finite(f"{who}: hold_min", self.hold_min, 0.0, 24 * 60.0)
        for name in ("strike_usd_per_mwh", "high_usd_per_mwh"):
            if getattr(self, name) is not None:
                finite(f"{who}: {name}", getattr(self, name))
        if self.strike_usd_per_mwh is not None and self.high_usd_per_mwh is not None:
            seen = f"{self.high_usd_per_mwh:g}, the strike {self.strike_usd_per_mwh:g}"
            require(self.high_usd_per_mwh >= self.strike_usd_per_mwh, f"{who}: high strike is {seen}: expected no less")


@dataclass(frozen=True, slots=True)
class RiskAppetite:
    """How much the worst price courses count when the battery's next step is chosen.

    `weight` None: the plan follows the expected prices alone. 0 is the mean over all courses, 1 the mean of the worst
    1 - alpha of them. `cvar_limit_usd` is the loss over the horizon that CVaR may reach in calm markets.
    """

    weight: float | None = None
    alpha: float = 0.95
    cvar_limit_usd: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None:
            finite("risk.weight", self.weight, 0.0, 1.0)
        finite("risk.alpha", self.alpha, 0.5, 0.999)
        if self.cvar_limit_usd is not None:
            finite("risk.cvar_limit_usd", self.cvar_limit_usd, 0.0)


@dataclass(frozen=True, slots=True)
class StressCase:
    """A course of prices, or a failure, that a plan is tried against with its set points kept.

    From `start_h` hours on, for `hours`: the energy price p of a step becomes `energy_usd_per_mwh` where that is given,
    else energy_factor x p + energy_shift_usd_per_mwh; hash and token price are multiplied. `sigma` moves every price by
    so many of the forecast's standard deviations, each step against the plan. `dearest_factor` multiplies the dearest
    step. In `trip` the connection is lost: nothing is bought, sold or earned.
    """

    name: str
    energy_usd_per_mwh: float | None = None
    energy_factor: float = 1.0
    energy_shift_usd_per_mwh: float = 0.0
    hash_factor: float = 1.0
    token_factor: float = 1.0
    dearest_factor: float = 1.0
    sigma: float = 0.0
    trip: bool = False
    start_h: float = 0.0
    hours: float = 24.0 * 365.0

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "a stress case has no name: give `name`")
        who = f"stress {self.name}"
        if self.energy_usd_per_mwh is not None:
            finite(f"{who}: energy_usd_per_mwh", self.energy_usd_per_mwh, -1e6, 1e6)
        finite(f"{who}: energy_shift_usd_per_mwh", self.energy_shift_usd_per_mwh, -1e6, 1e6)
        for name in ("energy_factor", "hash_factor", "token_factor", "dearest_factor"):
            finite(f"{who}: {name}", getattr(self, name), 0.0, 1e4)
        finite(f"{who}: sigma", self.sigma, 0.0, 100.0)
        finite(f"{who}: start_h", self.start_h, 0.0, 24.0 * 365.0)
        finite(f"{who}: hours", self.hours, 0.01, 24.0 * 365.0)
        require(isinstance(self.trip, bool), f"{who}: trip is {self.trip!r}, expected true or false")
        if self.energy_usd_per_mwh is not None:
            plain = self.energy_factor == 1.0 and self.energy_shift_usd_per_mwh == 0.0
            require(plain, f"{who}: give either energy_usd_per_mwh or a factor and shift")


@dataclass(frozen=True, slots=True)
class AuctionTerms:
    """How the site sells its power among its services and tenants.

    `strategy` says what its own loads bid: "marginal value" (what a kWh is worth in the plan), "risk-adjusted" (that,
    less by the risk of the last plan), "portfolio" (marginal values, within the share that the last risk report gives
    each service), "seed split" (marginal values, within fixed shares) or "seed bid" (95 % of the forecast energy price,
    within the fixed shares).
    """

    strategy: str = "marginal value"
    reserve_usd_per_kwh: float = 0.0  # nothing is sold below it, and nothing below the site's own alternatives
    caps_kw: Mapping[str, float] = field(default_factory=dict)  # the most that a service gets
    core: bool = False  # core-selecting payments; a bidder may then gain by a lie

    def __post_init__(self) -> None:
        require(
            self.strategy in STRATEGIES,
            f"auction.strategy is {self.strategy!r}: expected {', '.join(map(repr, STRATEGIES))}",
        )
        finite("auction.reserve_usd_per_kwh", self.reserve_usd_per_kwh, 0.0, 1e6)
        for service, kw in self.caps_kw.items():
            number = isinstance(kw, int | float) and not isinstance(kw, bool)
            require(number, f"auction.caps_kw.{service} is {kw!r}: expected a number of kW")
            finite(f"auction.caps_kw.{service}", kw, 0.0)


@dataclass(frozen=True, slots=True)
class GridLimit:
    """From `start` to `end` the grid connection may draw no more than `import_kw`.

    Over the first `ramp_s` seconds the limit falls to it in a straight line from `from_kw`.
    """

    start: datetime
    end: datetime
    import_kw: float
    from_kw: float = 0.0
    ramp_s: float = 0.0

    def __post_init__(self) -> None:
        require(self.start.tzinfo is not None and self.end.tzinfo is not None, "a grid limit's times have no zone")
        require(self.end > self.start, f"a grid limit ends at {self.end}, not after its start at {self.start}")
        for name in ("import_kw", "from_kw", "ramp_s"):
            finite(f"grid limit: {name}", getattr(self, name), 0.0)

    def at(self, moment: datetime) -> float:
        """The most that may be drawn at a moment [kW]; infinite outside its time."""
        if not self.start <= moment < self.end:
            return math.inf
        gone = (moment - self.start).total_seconds()
        left = max(0.0, 1.0 - gone / self.ramp_s) if self.ramp_s > 0.0 else 0.0
        return self.import_kw + max(0.0, self.from_kw - self.import_kw) * left

    def least(self, start: datetime, end: datetime) -> float:
        """The least of it between two moments [kW]."""
        if end <= self.start or start >= self.end:
            return math.inf
        return self.at(min(end, self.end) - timedelta(microseconds=1))


@dataclass(frozen=True, slots=True)
class Simulation:
    """How the simulated site behaves where it is not real.

    A machine is off `off_s` after it is told, and hashes `on_s` after. The hottest machine is `rise_c` above the room
    when all run, with a lag of `lag_s`. The room holds `kwh_per_c` of heat and loses `loss_kw_per_c` for each degree
    above its set point, where the site plans no room of its own.
    """

    on_s: float = 10.0  # firmware brings a miner back in 10 s and drops it in less than 5
    off_s: float = 4.0
    rise_c: float = 45.0
    lag_s: float = 120.0
    kwh_per_c: float = 2.0
    loss_kw_per_c: float = 4.0

    def __post_init__(self) -> None:
        for name in ("on_s", "off_s"):
            finite(f"simulation.{name}", getattr(self, name), 0.0, 3600.0)
        for name in ("rise_c", "loss_kw_per_c"):
            finite(f"simulation.{name}", getattr(self, name), 0.0)
        for name in ("lag_s", "kwh_per_c"):
            finite(f"simulation.{name}", getattr(self, name), 0.001)


@dataclass(frozen=True, slots=True)
class CurtailmentTerms:
    """A curtailment that comes again: at a local time, for some hours, on all or some days (Monday is 0).

    Either `import_kw`, the most that is drawn, or `percent` of the baseline that is left out.
    """

    name: str
    at: str  # local "HH:MM"
    hours: float
    import_kw: float | None = None
    percent: float | None = None
    ramp_s: float = 0.0
    days: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        who = f"curtailment {self.name}"
        require(bool(self.name.strip()), "a curtailment has no name: give `name`")
        require(clock(self.at), f"{who}: at is {self.at!r}, expected HH:MM")
        finite(f"{who}: hours", self.hours, 0.01, 24.0)
        one = (self.import_kw is None) != (self.percent is None)
        require(one, f"{who}: give either import_kw or percent")
        if self.import_kw is not None:
            finite(f"{who}: import_kw", self.import_kw, 0.0)
        if self.percent is not None:
            finite(f"{who}: percent", self.percent, 0.0, 100.0)
            require(self.percent > 0.0, f"{who}: percent is 0, which leaves nothing out: expected more")
        finite(f"{who}: ramp_s", self.ramp_s, 0.0, 3600.0 * self.hours)
        require(all(day in range(7) for day in self.days), f"{who}: days are {self.days}, expected 0 (Monday) to 6")

    def on(self, day: date) -> bool:
        """Whether it comes on a local day."""
        return not self.days or day.weekday() in self.days

    def start(self, day: date, zone: ZoneInfo) -> datetime:
        """When it starts on a local day, in UTC."""
        return datetime.combine(day, time.fromisoformat(self.at), zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Operators:
    """How far one operator may go alone: a command that moves the grid connection by more needs a second person."""

    approve_above_kw: float = 0.0  # 0: none does

    def __post_init__(self) -> None:
        finite("operators.approve_above_kw", self.approve_above_kw, 0.0)

    def second_person(self, before_kw: float, after_kw: float) -> bool:
        """Whether a command with this effect on the grid connection needs one."""
        return 0.0 < self.approve_above_kw < abs(after_kw - before_kw)
