"""The way to the machines: one protocol, and the MARA API. The simulated site is in `simulator.py`.

A gateway takes absolute targets, so that sending one twice does no harm. `put` says nothing about success: what
the machines do is what `read` says afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from gridpilot.domain import Dispatch, Reading, Site
from gridpilot.errors import ConfigError, DataError, GatewayError, Refused, SourceError
from gridpilot.market.mara import MACHINE_KEYS
from gridpilot.values import iso

MOST = 10_000_000  # machines of a type
LARGEST = 1e15  # watts, or index units per hour


class MachineGateway(Protocol):
    """Reads and sets a site's machines."""

    @property
    def name(self) -> str:
        """What it talks to, for screens and the ledger."""

    @property
    def look_s(self) -> float:
        """Seconds between two looks at the site, while nothing happens."""

    def read(self, now: datetime) -> Reading:
        """What the site does now; GatewayError when that cannot be known."""

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        """Ask for the state in `dispatch`.

        Refused when the other side said no (nothing was changed); GatewayError when the outcome is unknown.
        """


class MaraClient(Protocol):
    """The two calls of the MARA API that dispatch needs; counts by the API's own names."""

    def put_machines(self, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """PUT /machines."""

    def machines(self) -> Mapping[str, Any]:
        """GET /machines."""


class MaraGateway:
    """The machines of a MARA site. The API has no battery: that is simulated beside it."""

    name = "mara"
    look_s = 30.0  # a call over the internet

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
        if power_w is None or power_w < 0.0:
            raise GatewayError(
                f"GET /machines gave total_power_used = {_short(raw.get('total_power_used'))}: expected watts"
            )
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
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise GatewayError(f"GET /machines gave {key} = {_short(value)}: expected a whole number from 0 to {MOST:,}")
    return value


def _number(raw: Mapping[str, Any], key: str) -> float | None:
    value = raw.get(key)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if known else None  # type: ignore[arg-type]


def _short(value: object) -> str:
    return repr(value)[:80]
