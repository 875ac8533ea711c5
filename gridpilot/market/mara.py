"""The MARA Hackathon API: its client, its prices, its machines.

Its prices are index numbers: revenue = count x rate x price, cost = watts x energy_price, both rates at the
newest tick. So $/MWh = energy_price x 1e6 in index units, and the hash and token factors are 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import SecretStr

from gridpilot.domain import DataFlag, MachineType, PriceHistory, Site, Units
from gridpilot.errors import ConfigError, DataError, Refused
from gridpilot.market.http import Http, Policy, Reply, Stats
from gridpilot.market.kept import Kept, future_flag, number, skew_flag
from gridpilot.market.quality import Rows, known_at, plausibility, regularise
from gridpilot.values import YEARS, as_array, as_times, iso, run_on, to_stamp, usable

MACHINE_KEYS = {
    "air": "air_miners",
    "hydro": "hydro_miners",
    "immersion": "immersion_miners",
    "gpu": "gpu_compute",
    "asic": "asic_compute",
}
"""Our name of a machine type -> its key in PUT and GET /machines."""

UNITS = Units("index", "index/W", "index per hash rate", "index per token rate", 1e6, 1.0, 1.0)
PRICES = ("energy_price", "hash_price", "token_price")
STEP_S = 300
APART = 2.0  # the API's power of a machine and the site file's: beyond this factor one of them is wrong
GRACE_S = 60.0  # a tick may come this late before it is missed
FASTEST = 100_000.0  # of a stand-in's clock
TIME_HEADER = "X-Simulated-Time"  # sent by the local stand-in while its clock is not the world's


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """The clock of a stand-in: `shown` when ours said `wall`, running at `speed`."""

    shown: datetime
    wall: datetime
    speed: float

    def at(self, wall: datetime) -> datetime:
        """Its time when our clock says `wall`."""
        return run_on(self.shown, wall - self.wall, self.speed)


class MaraClient:
    """The API's calls. Only GETs are repeated; a PUT is absolute, so its caller may repeat it after reading back.

    Every method raises SourceError (Unreachable, RateLimited, Refused) or DataError. After an error other than
    Refused the outcome of a PUT is unknown: read the machines.
    """

    def __init__(self, base_url: str, api_key: SecretStr | None = None, policy: Policy | None = None) -> None:
        self._http = Http(base_url, policy or Policy())
        self.skew_s: float | None = None  # server's clock less ours, at the last reply
        self.clock: SimulatedClock | None = None
        self.stand_in = False  # the other side says that it is no real API
        self.use(api_key)

    @property
    def stats(self) -> Stats:
        """Calls, attempts, retries and failures so far."""
        return self._http.stats

    @property
    def has_key(self) -> bool:
        """Whether a key is known."""
        return self._key is not None

    def prices(self) -> list[Mapping[str, Any]]:
        """GET /prices: the rows as they came, newest first."""
        rows = self._json("GET", "/prices")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._http.wrong("/prices", "a list of objects", rows)
        for row in rows:
            if "timestamp" not in row or any(name not in row for name in PRICES):
                raise self._http.wrong("/prices", f"rows with timestamp, {', '.join(PRICES)}", row)
        return rows

    def inventory(self) -> Mapping[str, Any]:
        """GET /inventory: {"miners": {type: {"hashrate", "power"}}, "inference": {type: {"tokens", "power"}}}."""
        body = self._json("GET", "/inventory")
        if not isinstance(body, dict) or not all(isinstance(body.get(k), dict) for k in ("miners", "inference")):
            raise self._http.wrong("/inventory", "an object with miners and inference", body)
        return body

    def create_site(self, name: str) -> Mapping[str, Any]:
        """POST /sites; a client without a key uses the new one from here on. The key comes back as a SecretStr."""
        body = self._json("POST", "/sites", {"name": name}, retry=False)
        if not isinstance(body, dict) or not isinstance(body.get("api_key"), str):
            raise self._http.wrong("/sites", "an object with api_key", body)
        key = SecretStr(body["api_key"])
        if not self.has_key:
            self.use(key)
        return {**body, "api_key": key}

    def site(self) -> Mapping[str, Any]:
        """GET /sites: the site of our key."""
        return self._object("/sites", self._json("GET", "/sites", keyed=True))

    def machines(self) -> dict[str, Any]:
        """GET /machines: counts, power [W], revenue and cost at the newest tick."""
        return self._object("/machines", self._json("GET", "/machines", keyed=True))

    def put_machines(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """PUT /machines with all five keys; a type that `counts` leaves out is set to 0.

        `counts` is by type (air) or by the API's key (air_miners), whole numbers from 0.
        """
        return self._object("/machines", self._json("PUT", "/machines", payload(counts), keyed=True, retry=False))

    def _json(self, method: str, path: str, body: Any = None, *, keyed: bool = False, retry: bool = True) -> Any:
        headers = {"Accept": "application/json"}
        if keyed:
            if self._key is None:
                raise Refused(f"{method} {path} needs a key: set GRIDPILOT_MARA_API_KEY or create a site", 401)
            headers["X-Api-Key"] = self._key.get_secret_value()
        reply = self._http.call(method, path, body=body, headers=headers, retry=retry)
        self.skew_s = reply.skew_s
        self.clock = _simulated_clock(reply)
        self.stand_in = "X-Simulated" in reply.headers
        return self._http.json(path, reply)

    def _object(self, path: str, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise self._http.wrong(path, "an object", body)
        return body

    def use(self, key: SecretStr | None) -> None:
        """Speak with this key from here on; None: without one."""
        text = key.get_secret_value() if key is not None else ""
        if key is not None and not (text and text.isascii() and text.isprintable()):
            raise ConfigError(
                "GRIDPILOT_MARA_API_KEY is empty or has characters that can't be sent: correct or unset it"
            )
        self._key = self._http.secret = key


class MaraSource:
    """The API's prices, the last good ones kept for when it fails. `site` is not used by the prices."""

    name = "mara"

    def __init__(self, client: MaraClient, site: Site) -> None:
        self.client = client
        self.site = site
        self._kept = Kept("GRIDPILOT_MARA_API_KEY", GRACE_S)

    @property
    def stats(self) -> Stats:
        """Counters of the calls."""
        return self.client.stats

    @property
    def simulated(self) -> bool:
        """True where the API said that it is the local stand-in."""
        return self.client.stand_in

    def present(self, wall: datetime) -> datetime:
        """The wall clock; the stand-in's own clock while it says that it runs another one."""
        return self.client.clock.at(wall) if self.client.clock else wall

    def fetch(self, now: datetime) -> PriceHistory:
        """The whole history up to `now`. When the API fails: the last good one, flagged STALE, else the error."""
        return self._kept.fetch(now, self._read)

    def _read(self, now: datetime) -> tuple[PriceHistory, datetime]:
        rows = self.client.prices()
        if not rows:
            raise DataError("/prices: the list is empty, expected at least one tick")
        clock, flags = self.client.clock, list[DataFlag]()
        if clock is not None:  # its machines earn at its own newest tick, so its time counts
            now = clock.shown
            said = f"prices of a local stand-in whose own clock says {iso(now)} ({clock.speed:g}x)"
            flags.append(DataFlag("SIMULATED", said))
        elif skew := skew_flag(self.client.skew_s):
            flags.append(skew)
        grid = regularise(_rows(rows), self.name, step_s=STEP_S, min_rows=1)
        history = PriceHistory(
            source=self.name,
            timestamp=grid.timestamp,
            step_s=grid.step_s,
            energy_usd_per_mwh=grid.series["energy_price"] * UNITS.energy_usd_per_mwh,
            hash_price=grid.series.get("hash_price", np.full(len(grid.timestamp), np.nan)),
            token_price=grid.series.get("token_price", np.full(len(grid.timestamp), np.nan)),
            units=UNITS,
            credit="MARA Hackathon API",
        )
        known = known_at(history, now)
        if len(known) < len(history):
            flags.append(future_flag(history, len(history) - len(known), now))
        series = {name: values[: len(known)] for name, values in grid.series.items()}
        judged = plausibility(series, grid.step_s, "energy_price")
        return replace(known, flags=(*grid.flags, *flags, *judged)), now


def payload(counts: Mapping[str, int]) -> dict[str, int]:
    """The body of a PUT /machines: all five keys. DataError for an unknown name or a count that is none."""
    body = dict.fromkeys(MACHINE_KEYS.values(), 0)
    for name, count in counts.items():
        key = MACHINE_KEYS.get(name, name)
        if key not in body:
            raise DataError(f"machine type {name!r} is not known to the API: expected {', '.join(MACHINE_KEYS)}")
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
            raise DataError(f"count of {name} is {count!r}: expected a whole number from 0")
        body[key] = int(count)
    return body


def site_from_inventory(site: Site, inventory: Mapping[str, Any]) -> tuple[Site, tuple[DataFlag, ...]]:
    """The site with the API's power and rate in its machine types; the counts stay the site file's.

    A type that the API doesn't offer in a usable form gets count 0 and a flag; one that the site file doesn't
    name is not used, and flagged too. Where the two powers are far apart, the larger counts.
    """
    offers = _offers(inventory, {machine.type: machine.product for machine in site.machines})
    flags: list[DataFlag] = []
    machines: list[MachineType] = []
    for machine in site.machines:
        offer = offers.pop(machine.type, None)
        if offer is None or machine.type not in MACHINE_KEYS:
            said = f"{machine.type}: not in the API's inventory with a power and a rate, so none can run"
            flags.append(DataFlag("INVENTORY", said, "warn"))
            machines.append(replace(machine, count=0))
        else:
            product, power_w, rate = offer
            if not 1.0 / APART <= power_w / machine.power_w <= APART:  # too much power breaks no limit, too little does
                said = f"{machine.type}: {power_w:,.0f} W by the API, {machine.power_w:,.0f} W by the site file"
                flags.append(DataFlag("INVENTORY", f"{said}: the larger counts; correct the site file", "warn"))
                power_w = max(power_w, machine.power_w)
            machines.append(replace(machine, product=product, power_w=power_w, rate=rate))
    if offers:
        names = ", ".join(sorted(offers))
        flags.append(DataFlag("INVENTORY", f"{names}: offered by the API, not used; add to the site file to use"))
    return replace(site, machines=tuple(machines)), tuple(flags)


def _offers(inventory: Mapping[str, Any], products: Mapping[str, str]) -> dict[str, tuple[str, float, float]]:
    """Type -> (product, power in W, rate) of every offer whose figures are usable; of a type that is offered for both
    products, the one for that of the site file."""
    offers: dict[str, tuple[str, float, float]] = {}
    for group, product, rate_key in (("miners", "hash", "hashrate"), ("inference", "token", "tokens")):
        entries = inventory.get(group)
        for name, entry in (entries if isinstance(entries, Mapping) else {}).items():
            if not isinstance(entry, Mapping):
                continue
            power, rate = number(entry.get("power")), number(entry.get(rate_key))
            twice = name in offers and products.get(name) != product
            if power >= 1.0 and rate >= 0.0 and not twice:
                offers[str(name)] = (product, power, rate)
    return offers


def _rows(raw: Sequence[Mapping[str, Any]]) -> Rows:
    """Oldest first, so that of two rows of one time the one that the API lists first counts."""
    ordered = raw[::-1]
    series = {name: as_array([number(row[name]) for row in ordered]) for name in PRICES}
    times = [_time(row["timestamp"]) for row in ordered]
    numbers = np.arange(len(ordered), 0, -1, dtype=np.int64)
    return Rows(as_times(times), series, "energy_price", numbers)


def _time(value: Any) -> np.datetime64:
    """An ISO 8601 time; the API's are naive and mean UTC. NaT for anything else, and for other years."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return np.datetime64("NaT")
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return to_stamp(moment) if usable(moment) else np.datetime64("NaT")


def _simulated_clock(reply: Reply) -> SimulatedClock | None:
    """The clock that a stand-in announces as `TIME; speed=X`; None for the real API."""
    text = reply.headers.get(TIME_HEADER, "")
    if not text:
        return None
    shown, _, speed = text.partition("; speed=")
    try:
        clock = SimulatedClock(datetime.fromisoformat(shown), reply.received, float(speed))
    except ValueError:
        clock = None
    if clock is None or clock.shown.tzinfo is None or not usable(clock.shown) or not 0.0 <= clock.speed <= FASTEST:
        expected = f"TIME; speed=NUMBER, a time with a zone in {YEARS} and a speed up to {FASTEST:,.0f}"
        raise DataError(f"header {TIME_HEADER} is {text[:80]!r}: expected {expected}")
    return clock
