"""A site that is simulated: machines that take their time, a battery, heat, a meter, and faults to try.

Time is the caller's: `read` works out what the site does at a moment from what it was told and when, and writes
nothing. Heat is two stores. The room warms by the heat that cooling leaves in it; the hottest machine follows the room
and its own load with a lag of `lag_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.domain import Battery, Dispatch, Reading, Site
from gridpilot.domain.check import finite, require
from gridpilot.errors import Refused
from gridpilot.values import to_jsonable

SIMULATED = "simulated"  # name of the gateway
START_SOC = 0.5  # of the simulated battery, the first time it is used
NOMINAL_HZ = 50.0
STEP_S, MOST_STEPS = 30.0, 200  # of the heat's integration
Moving = tuple[str, int, datetime]  # type, machines on or (negative) off, when done
Load = Callable[[], Mapping[str, Any] | None]
Save = Callable[[dict[str, Any]], object]


def advance(battery: Battery, soc_frac: float, battery_kw: float, seconds: float) -> tuple[float, float]:
    """State of charge after `seconds` at `battery_kw` (positive: charging), and the mean kW really delivered.

    Stored energy changes by kW x efficiency_charge x h, or by kW / efficiency_discharge x h. Power is cut at the
    battery's limits and the state of charge at the physical 0..1 (not at soc_min and soc_max, which are the
    planner's). An unknown (NaN) state of charge stays unknown and delivers nothing.
    """
    hours = max(seconds, 0.0) / 3600.0
    power = min(max(battery_kw, -battery.discharge_kw), battery.charge_kw)
    if not math.isfinite(soc_frac):
        return math.nan, 0.0
    if battery.capacity_kwh <= 0.0:
        return soc_frac, 0.0
    if hours == 0.0:
        return soc_frac, power
    factor = battery.efficiency_charge if power >= 0.0 else 1.0 / battery.efficiency_discharge
    asked_kwh = power * factor * hours
    stored_kwh = min(max(asked_kwh, -soc_frac * battery.capacity_kwh), (1.0 - soc_frac) * battery.capacity_kwh)
    soc = min(max(soc_frac + stored_kwh / battery.capacity_kwh, 0.0), 1.0)
    return soc, power if stored_kwh == asked_kwh else stored_kwh / factor / hours


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the simulated site; nothing by default.

    `failed` machines stand still whatever they are told, `stuck` ones stay as they are. `heat_c` is added to the
    hottest machine; `cooling_frac` is the part of the cooling that works. `soc_frac` is what the battery's sensor says
    in place of the truth.
    """

    failed: Mapping[str, int] = field(default_factory=dict)
    stuck: Mapping[str, int] = field(default_factory=dict)
    heat_c: float = 0.0
    cooling_frac: float = 1.0
    soc_frac: float | None = None
    soc_lost: bool = False
    frequency_hz: float = NOMINAL_HZ
    import_kw: float | None = None  # what the site reports as the most that its connection may draw

    def __post_init__(self) -> None:
        for name in ("failed", "stuck"):
            for type_, count in getattr(self, name).items():
                require(type(count) is int and count >= 0, f"{name}.{type_} is {count!r}: expected a count from 0")
        finite("heat_c", self.heat_c)
        finite("cooling_frac", self.cooling_frac, 0.0, 1.0)
        finite("frequency_hz", self.frequency_hz, 0.0, 1000.0)


@dataclass(frozen=True, slots=True)
class _Site:
    """What the site was told, and what it did at `at`."""

    at: datetime
    told: Mapping[str, int] = field(default_factory=dict)
    on: Mapping[str, int] = field(default_factory=dict)
    moving: tuple[Moving, ...] = ()
    battery_kw: float = 0.0
    others_kw: float = 0.0  # jobs and tenants
    room_kw: float = 0.0
    soc_frac: float = START_SOC
    room_c: float | None = None  # None: at its set point
    hottest_c: float | None = None
    faults: Faults = field(default_factory=Faults)

    @classmethod
    def of(cls, body: Mapping[str, Any] | None, now: datetime) -> _Site:
        """From its JSON form; as new where there is none or an earlier version wrote it."""
        if not body or "told" not in body:
            return cls(now)
        moving = tuple((name, n, datetime.fromisoformat(done)) for name, n, done in body["moving"])
        at, faults = datetime.fromisoformat(body["at"]), Faults(**body["faults"])
        return cls(**{**body, "at": at, "moving": moving, "faults": faults})

    def to_json(self) -> dict[str, Any]:
        """For the ledger's state; times to the microsecond."""
        moving = [(name, n, done.isoformat()) for name, n, done in self.moving]
        return {**to_jsonable(self), "at": self.at.isoformat(), "moving": moving}


class SimulatedGateway:
    """The way to a simulated site.

    `load` returns what `save` was last given (nothing at first), so that a restart goes on where it was.
    """

    name = SIMULATED
    look_s = 0.0  # it costs nothing

    def __init__(self, site: Site, load: Load, save: Save) -> None:
        self._site = site
        self._load = load
        self._save = save

    def read(self, now: datetime) -> Reading:
        """What the site does at `now`, as its meters and sensors say."""
        state, site = self._now(now), self._site
        faults = state.faults
        soc = state.soc_frac if faults.soc_frac is None else faults.soc_frac
        return Reading(
            now,
            {m.type: state.on.get(m.type, 0) for m in site.machines},
            sum(m.power_kw * state.on.get(m.type, 0) for m in site.machines),
            told={m.type: state.told.get(m.type, 0) for m in site.machines},
            soc_frac=math.nan if faults.soc_lost else soc,
            battery_kw=state.battery_kw,
            grid_kw=_load_kw(site, state) + state.battery_kw,
            hottest_c=state.hottest_c,
            room_c=state.room_c,
            frequency_hz=faults.frequency_hz,
            import_kw=faults.import_kw,
        )

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Tell the machines and the battery; Refused for a count that the site does not have."""
        for name, count in dispatch.machines.items():
            stock = self._stock(name)
            if not 0 <= count <= stock:
                raise Refused(f"{count} {name} machines were asked for, the site has {stock}: ask for fewer", 400)
        state, battery = self._now(now), self._site.battery
        moving = list(state.moving)
        for name in sorted(dispatch.machines):
            moving = self._switched(state, moving, name, dispatch.machines[name], now)
        told = replace(
            state,
            told={**state.told, **dispatch.machines},
            moving=tuple(moving),
            battery_kw=min(max(dispatch.battery_kw, -battery.discharge_kw), battery.charge_kw),
            others_kw=sum(dispatch.jobs_kw.values()) + sum(dispatch.tenants_kw.values()),
            room_kw=dispatch.room_kw,
        )
        self._save(told.to_json())

    def inject(self, faults: Faults, now: datetime) -> None:
        """From now on these faults and no others."""
        state = self._now(now)
        on = {name: min(n, max(0, self._stock(name) - faults.failed.get(name, 0))) for name, n in state.on.items()}
        self._save(replace(state, faults=faults, on=on).to_json())

    def outside(self, machines: Mapping[str, int], now: datetime) -> None:
        """Somebody else sets machines, past us."""
        state = self._now(now)
        told = {**state.told, **machines}
        self._save(replace(state, told=told, on=told, moving=()).to_json())

    def _stock(self, name: str) -> int:
        return next((m.count for m in self._site.machines if m.type == name), 0)

    def _switched(self, state: _Site, moving: list[Moving], name: str, wanted: int, now: datetime) -> list[Moving]:
        """What is under way once a type is told how many: machines that go the same way go on, others turn round."""
        on, stuck, most = state.on.get(name, 0), state.faults.stuck.get(name, 0), self._stock(name)
        most = max(0, most - state.faults.failed.get(name, 0))
        aim = min(max(wanted, min(on, stuck)), max(on, most - stuck))
        others, mine = [row for row in moving if row[0] != name], [row for row in moving if row[0] == name]
        change = aim - on - sum(n for _, n, _ in mine)
        if any(n * change < 0 for _, n, _ in mine):
            mine, change = [], aim - on
        if change:
            times = self._site.simulation
            mine.append((name, change, now + timedelta(seconds=times.on_s if change > 0 else times.off_s)))
        return others + mine

    def _now(self, now: datetime) -> _Site:
        """The site carried forward to a moment; as it was where the clock went back."""
        state = _Site.of(self._load(), now)
        for moment in (*sorted({when for *_, when in state.moving if when <= now}), now):
            state = _carried(self._site, state, moment)
        return state


def _carried(site: Site, state: _Site, moment: datetime) -> _Site:
    """The same load until a moment, and what is switched then."""
    seconds = max(0.0, (moment - state.at).total_seconds())
    soc, _ = advance(site.battery, state.soc_frac, state.battery_kw, seconds)
    room_c, hottest_c = _heat(site, state, seconds)
    on = dict(state.on)
    for name, n, done in state.moving:
        if done <= moment:
            on[name] = max(0, on.get(name, 0) + n)
    return replace(
        state,
        at=max(state.at, moment),
        on=on,
        moving=tuple(row for row in state.moving if row[2] > moment),
        battery_kw=state.battery_kw if 0.0 < soc < 1.0 else _rest(soc, state.battery_kw),
        soc_frac=soc,
        room_c=room_c,
        hottest_c=hottest_c,
    )


def _rest(soc_frac: float, battery_kw: float) -> float:
    """An empty battery delivers nothing, a full one takes nothing."""
    return max(battery_kw, 0.0) if soc_frac <= 0.0 else min(battery_kw, 0.0)


def _it_kw(site: Site, state: _Site) -> float:
    return sum(m.power_kw * state.on.get(m.type, 0) for m in site.machines) + state.others_kw


def _load_kw(site: Site, state: _Site) -> float:
    """What the site draws without its battery [kW]."""
    return max(0.0, _it_kw(site, state) * (1.0 + site.cooling.kw_per_kw) + state.room_kw)


def _heat(site: Site, state: _Site, seconds: float) -> tuple[float, float]:
    """Room and hottest machine after `seconds` of the same load [degrees C]."""
    sim, faults, it_kw = site.simulation, state.faults, _it_kw(site, state)
    room = (
        site.room if site.room.planned else replace(site.room, kwh_per_c=sim.kwh_per_c, loss_kw_per_c=sim.loss_kw_per_c)
    )
    left_kw = it_kw * site.cooling.heat_fraction * (1.0 - faults.cooling_frac)  # heat that no cooling takes
    extra_kw = state.room_kw * faults.cooling_frac - left_kw / site.cooling.cop
    share = it_kw / (sum(m.power_kw * m.count for m in site.machines) or 1.0)
    above = sim.rise_c * min(1.0, share) + faults.heat_c
    room_c = room.set_c if state.room_c is None else state.room_c
    hottest = room_c if state.hottest_c is None else state.hottest_c
    steps = max(1, min(MOST_STEPS, math.ceil(seconds / STEP_S)))
    kept = math.exp(-seconds / steps / sim.lag_s)
    for _ in range(steps if seconds > 0.0 else 0):
        room_c = room.after(room_c, extra_kw, site.cooling.cop, seconds / steps / 3600.0)
        hottest = room_c + above + (hottest - room_c - above) * kept
    return room_c, hottest
