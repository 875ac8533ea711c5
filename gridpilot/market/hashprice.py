"""The hashprice from what mempool.space publishes of the bitcoin network: what a PH/s earns in a day.

    hashprice [USD/PH/day] = 144 x reward [BTC] x price [USD/BTC] / network hashrate [PH/s]

144 blocks a day is what the difficulty aims at; the reward of a block is its subsidy and its fees, as they were paid.
What a pool takes, stale shares and the wait for a payout are left out, and the hashrate is itself an estimate from the
blocks found. Three calls without a key, at most every `POLL_S` (https://mempool.space/docs/api/rest):

- `GET /api/v1/prices`: {"time": .., "USD": ..}
- `GET /api/v1/mining/hashrate/1y`: {"hashrates": [{"timestamp": .., "avgHashrate": ..}, ..], "currentHashrate": ..},
  in hashes a second
- `GET /api/v1/mining/blocks/rewards/1y`: [{"timestamp": .., "avgRewards": .., "USD": ..}, ..], means of some hours of
  blocks, in satoshi, with the price then

The price of now is today's price with the rewards of the newest day; the past is each mean reward with its price and
the hashrate of the day before. An interval that was seen keeps what was said then. Where the server fails, the
newest price is carried for `CARRY` with a flag; after that the hash price is unknown (NaN), never guessed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from gridpilot.config import MEMPOOL_URL as URL
from gridpilot.domain import DataFlag
from gridpilot.errors import DataError, RateLimited, SourceError
from gridpilot.market.http import Http, Policy, Stats
from gridpilot.market.kept import number
from gridpilot.values import Array, Times, as_array, as_times, iso, to_stamp

NAME = "mempool"
HASHRATE, REWARDS, PRICE = "/api/v1/mining/hashrate/1y", "/api/v1/mining/blocks/rewards/1y", "/api/v1/prices"
BLOCKS_PER_DAY = 144.0  # one in ten minutes, what the difficulty is set for every 2016 blocks
SATOSHI = 1e-8  # of a bitcoin
PETA = 1e15
DAY = np.timedelta64(1, "D")
POLL_S = 600.0  # the network's figures move slowly, and the server limits calls
RETRY_S = 60.0  # after a failure
CARRY = timedelta(hours=6)  # how old a hashprice may be: the hashrate moves by percents in that time
PLAUSIBLE = (0.1, 10_000.0)  # USD/PH/day; 2017-2025 it was 36 to 3,600
MOST_SEEN = 10_000


def hashprice(reward_btc: Any, usd_per_btc: Any, network_h_per_s: Any) -> Any:
    """USD/PH/day of the formula above, numbers or arrays (K,); NaN for NaN."""
    return BLOCKS_PER_DAY * reward_btc * usd_per_btc / (network_h_per_s / PETA)


@dataclass(frozen=True, slots=True)
class _Points:
    """(K,) ascending times and the hashprice from each on."""

    at: Times
    usd: Array

    def on(self, timestamp: Times) -> Array:
        """The price in force at each time (N,), NaN before the first point."""
        place = np.searchsorted(self.at, timestamp, side="right") - 1
        found = self.usd[place.clip(min=0)] if len(self.at) else np.full(len(timestamp), np.nan)
        return np.where(place >= 0, found, np.nan)


NOTHING = _Points(as_times([]), as_array([]))


@dataclass(slots=True)
class Mempool:
    """The companion `hash_source = "mempool"`."""

    url: str = URL
    policy: Policy = field(default_factory=lambda: Policy(deadline_s=4.0, attempt_s=2.0, attempts=2))
    name: str = field(default=NAME, init=False)
    http: Http = field(init=False)
    trouble: str = field(default="", init=False)  # why the newest call failed
    read_at: datetime | None = field(default=None, init=False)  # of the newest good one, in the source's time
    _past: _Points = field(default=NOTHING, init=False)
    _seen: _Points = field(default=NOTHING, init=False)
    _ask_at: datetime | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.http = Http(self.url, self.policy)

    @property
    def stats(self) -> Stats:
        """Counters of the calls."""
        return self.http.stats

    def series(self, timestamp: Times, now: datetime) -> tuple[Array, tuple[DataFlag, ...]]:
        """The hashprice of each interval (N,) in USD/PH/day, NaN where it is not known, and what must be said."""
        with self._lock:  # several sources may share it
            if self._ask_at is None or now >= self._ask_at:
                self._ask(now, timestamp[-1])
            return self._told(timestamp, now)

    def _told(self, timestamp: Times, now: datetime) -> tuple[Array, tuple[DataFlag, ...]]:
        past, seen = self._past.on(timestamp), self._seen.on(timestamp)
        prices = np.where(np.isnan(seen), past, seen)
        if self.read_at is not None:
            prices[timestamp > to_stamp(self.read_at + CARRY)] = np.nan
        return as_array(prices), self._flags(prices, now)

    def _ask(self, now: datetime, interval: np.datetime64) -> None:
        try:
            past, present = self._read()
        except (SourceError, DataError) as error:
            wait_s = max(RETRY_S, error.retry_after_s if isinstance(error, RateLimited) else 0.0)
            self.trouble, self._ask_at = str(error), now + timedelta(seconds=wait_s)
            return
        keep = self._seen.at < interval
        at = np.append(self._seen.at[keep], interval)[-MOST_SEEN:]
        usd = np.append(self._seen.usd[keep], present)[-MOST_SEEN:]
        self._past, self._seen = past, _Points(as_times(at), as_array(usd))
        self.trouble, self.read_at, self._ask_at = "", now, now + timedelta(seconds=POLL_S)

    def _flags(self, prices: Array, now: datetime) -> tuple[DataFlag, ...]:
        if np.isnan(prices[-1]):
            why = self.trouble or "nothing was published for it"
            return (DataFlag("HASH_GAP", f"hash price: unknown: {why}", "warn"),)
        if self.trouble and self.read_at is not None:
            age_min = (now - self.read_at).total_seconds() / 60.0
            said = f"hash price: of {iso(self.read_at)}, {age_min:.0f} min old, carried: {self.trouble}"
            return (DataFlag("HASH_STALE", said, "warn"),)
        unknown = int(np.sum(np.isnan(prices)))
        computed = DataFlag("COMPUTED", "hash price: from reward, bitcoin price and hashrate by mempool.space")
        if not unknown:
            return (computed,)
        return computed, DataFlag("HASH_PAST", f"hash price: unknown in the first {unknown} intervals", count=unknown)

    def _read(self) -> tuple[_Points, float]:
        """The past, and the hashprice now. SourceError or DataError where a call fails or a figure makes no sense."""
        end = time.monotonic() + self.policy.deadline_s
        rewards, network, price = (self._json(path, end) for path in (REWARDS, HASHRATE, PRICE))
        if not isinstance(rewards, list) or not rewards or not all(isinstance(row, Mapping) for row in rewards):
            raise self.http.wrong(REWARDS, "a list of objects with timestamp and avgRewards", rewards)
        days = network.get("hashrates") if isinstance(network, Mapping) else None
        if not isinstance(days, list) or not all(isinstance(row, Mapping) for row in days):
            raise self.http.wrong(HASHRATE, "an object with hashrates and currentHashrate", network)
        if not isinstance(price, Mapping) or "USD" not in price:
            raise self.http.wrong(PRICE, "an object with USD", price)
        at, reward, then = (_column(rewards, name) for name in ("timestamp", "avgRewards", "USD"))
        good = np.flatnonzero(np.isfinite(at) & np.isfinite(reward))
        if not len(good):
            raise self.http.wrong(REWARDS, "numbers as timestamp and avgRewards", rewards[0])
        order = good[np.argsort(at[good])]
        at, reward, then = at[order], reward[order] * SATOSHI, then[order]
        newest = float(np.mean(reward[at >= at[-1] - 86_400.0]))
        now = float(hashprice(newest, number(price["USD"]), number(network.get("currentHashrate")) or np.nan))
        if not PLAUSIBLE[0] <= now <= PLAUSIBLE[1]:
            low, high = PLAUSIBLE
            raise DataError(f"{self.name}: the hashprice comes out as {now:g} USD/PH/day, expected {low:g} to {high:g}")
        return _past(at, reward, then, days), now

    def _json(self, path: str, end: float) -> Any:
        return self.http.json(path, self.http.call("GET", path, headers={"Accept": "application/json"}, end=end))


def _column(rows: list[Mapping[str, Any]], name: str) -> Array:
    """A figure of each row (K,), NaN where it is no positive number."""
    values = np.array([number(row.get(name)) for row in rows])
    return as_array(np.where(values > 0.0, values, np.nan))


def _past(at: Array, reward: Array, then: Array, days: list[Mapping[str, Any]]) -> _Points:
    """The hashprice of each reward with the hashrate of the newest whole day before it, where all figures are known."""
    day, rate = _column(days, "timestamp"), _column(days, "avgHashrate")
    known = np.flatnonzero(np.isfinite(day) & np.isfinite(rate))
    order = known[np.argsort(day[known])]
    network = _Points(as_times(day[order].astype(np.int64)), rate[order])
    stamps = at.astype(np.int64).astype("datetime64[s]")
    usd = hashprice(reward, then, network.on(as_times(stamps - DAY)))
    good = np.isfinite(usd) & (usd >= PLAUSIBLE[0]) & (usd <= PLAUSIBLE[1])
    return _Points(as_times(stamps[good]), as_array(usd[good]))
