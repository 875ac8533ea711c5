"""The way to the machines: one protocol, a simulated site and the MARA API.

A gateway takes absolute targets, so that sending one twice does no harm. `put` says nothing about success: what
the machines do is what `read` says afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from gridpilot.domain import Battery, Dispatch, Reading, Site
from gridpilot.errors import ConfigError, DataError, GatewayError, Refused, SourceError
from gridpilot.market.mara import MACHINE_KEYS
from gridpilot.values import iso

Load = Callable[[], Mapping[str, Any] | None]
Save = Callable[[dict[str, Any]], object]


class MachineGateway(Protocol):
    """Reads and sets a site's machines."""

    @property
    def name(self) -> str:
        """What it talks to, for screens and the ledger."""

    def read(self, now: datetime) -> Reading:
        """What the site does now; GatewayError when that cannot be known."""

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Ask for the state in `dispatch`.

        Refused when the other side said no (nothing was changed); GatewayError when the outcome is unknown.
        """


# --- the simulated battery -------------------------------------------------------------------


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


# --- gateways --------------------------------------------------------------------------------


class SimulatedGateway:
    """A site whose machines obey at once.

    `load` returns what `save` was last given (nothing at first), so that a restart goes on where it was.
    """

    name = "simulated"

    def __init__(self, site: Site, load: Load, save: Save) -> None:
        self._site = site
        self._load = load
        self._save = save

    def read(self, now: datetime) -> Reading:
        """What the machines were last told."""
        saved = self._load() or {}
        counts = saved.get("machines", {})
        machines = {m.type: int(counts.get(m.type, 0)) for m in self._site.machines}
        power_kw = sum(m.power_kw * machines[m.type] for m in self._site.machines)
        return Reading(now, machines, power_kw, raw=dict(saved))

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Set the machines; Refused for a count that the site does not have."""
        for name, count in dispatch.machines.items():
            stock = next((m.count for m in self._site.machines if m.type == name), 0)
            if not 0 <= count <= stock:
                raise Refused(f"{count} {name} machines were asked for, the site has {stock}: ask for fewer", 400)
        self._save({"machines": dict(dispatch.machines), "battery_kw": dispatch.battery_kw, "at": iso(now)})


class MaraClient(Protocol):
    """The two calls of the MARA API that dispatch needs; counts by the API's own names."""

    def put_machines(self, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """PUT /machines."""

    def machines(self) -> Mapping[str, Any]:
        """GET /machines."""


class MaraGateway:
    """The machines of a MARA site. The API has no battery: that is simulated beside it."""

    name = "mara"

    def __init__(self, client: MaraClient, site: Site) -> None:
        strange = sorted({m.type for m in site.machines} - set(MACHINE_KEYS))
        if strange:
            raise ConfigError(
                f"machine type {strange[0]!r} is unknown to the MARA API: expected one of {', '.join(MACHINE_KEYS)}"
            )
        self._client = client

    def read(self, now: datetime) -> Reading:
        """All five counts and the money rates [index units per hour] at the API's newest prices."""
        try:
            raw = self._client.machines()
        except (SourceError, DataError) as error:
            raise GatewayError(f"the machines cannot be read: {error}") from error
        machines = {ours: _count(raw, theirs) for ours, theirs in MACHINE_KEYS.items()}
        power_w = _number(raw, "total_power_used")
        if power_w is None:
            raise GatewayError(f"GET /machines gave total_power_used = {raw.get('total_power_used')!r}: expected watts")
        return Reading(
            at=now,
            machines=machines,
            power_kw=power_w / 1000.0,
            revenue_usd_per_h=_number(raw, "total_revenue"),
            cost_usd_per_h=_number(raw, "total_power_cost"),
            raw=dict(raw),
        )

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Send all five counts, zero for a type that the dispatch does not name."""
        strange = sorted(set(dispatch.machines) - set(MACHINE_KEYS))
        if strange:
            raise Refused(f"machine type {strange[0]!r} is unknown to the MARA API: correct the site file", 400)
        counts = {theirs: int(dispatch.machines.get(ours, 0)) for ours, theirs in MACHINE_KEYS.items()}
        try:
            self._client.put_machines(counts)
        except Refused:
            raise
        except (SourceError, DataError) as error:
            raise GatewayError(f"PUT /machines at {iso(now)} has an unknown outcome: {error}") from error


def _count(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise GatewayError(f"GET /machines gave {key} = {value!r}: expected a whole number, 0 or more")
    return value


def _number(raw: Mapping[str, Any], key: str) -> float | None:
    value = raw.get(key)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None  # type: ignore[arg-type]
