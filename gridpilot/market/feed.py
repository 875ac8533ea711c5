"""Energy prices asked from a server over the internet: what is alike whichever server it is.

A `Feed` knows one server's calls and the shape of its replies. `FedSource` makes a price source of it: the first call
reads the whole lookback, later ones the newest days; rows go through `quality`, money is converted once, and the last
good prices are kept for when the server fails.

Day-ahead prices are published before their interval, so kept ones stay true while they last. Real-time prices come
after the fact: the newest one is carried to the running interval, marked as filled and flagged LATE, for up to
`LATE_STEPS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from gridpilot.domain import DAY_AHEAD, DataFlag, PriceHistory, Site, Units
from gridpilot.errors import DataError, SourceError
from gridpilot.market.beside import Companion, overlay, service, site_beside
from gridpilot.market.http import Http, Stats
from gridpilot.market.kept import Kept, future_flag, skew_flag
from gridpilot.market.quality import Grid, Rows, known_at, plausibility, regularise
from gridpilot.values import Array, Times, as_array, as_times, iso, to_stamp, to_utc

ENERGY = "energy_price"
AHEAD = timedelta(days=2)  # day-ahead prices reach to the end of tomorrow
OVERLAP = timedelta(days=1)  # a later call reads so much again: prices are corrected
OVERLAP_LATE = timedelta(hours=3)  # and of a real-time source
LATE_STEPS = 3  # a real-time price may come so late
BRIDGE_S = 6 * 3600  # gaps up to this are filled with the values of a day before, and flagged
POLL_S = 1800.0  # a day-ahead source that has the running interval is asked again after this


@dataclass(frozen=True, slots=True)
class Terms:
    """What a feed's numbers are. `usd` makes USD/MWh of one `unit`; `setting` is what holds its key."""

    name: str  # of the source: registry name, a colon, the place
    unit: str
    usd: float
    ahead: bool  # day-ahead, else real time
    lookback: timedelta
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in the feed's own unit (series `ENERGY`) in order of arrival, with whose they are."""

    rows: Rows
    credit: str
    skew_s: float | None = None  # the server's clock less ours
    flags: tuple[DataFlag, ...] = ()


class Feed(Protocol):
    """One server of energy prices."""

    terms: Terms
    http: Http

    def read(self, since: datetime, until: datetime) -> Batch:
        """The prices of [since, until) as far as they are known. SourceError or DataError where that fails."""
        ...


@dataclass(slots=True)
class FedSource:
    """A feed as a price source on the wall clock.

    `day_ahead` gives what the day-ahead market said of a real-time source's place: as the column `DAY_AHEAD`, in the
    source's own unit, and as what is known of it ahead. Without it the source goes on, with a flag.
    """

    feed: Feed
    site: Site
    companion: Companion | None = None
    day_ahead: FedSource | None = None
    kept: Kept = field(init=False)
    _rows: Rows | None = field(default=None, init=False)
    _credit: str = field(default="", init=False)
    _asked: datetime | None = field(default=None, init=False)
    simulated: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.kept = Kept(self.feed.terms.setting, ahead=self.feed.terms.ahead)
        self.site = site_beside(self.site, self.companion)

    @property
    def name(self) -> str:
        """Registry name and place."""
        return self.feed.terms.name

    @property
    def stats(self) -> Stats:
        """Counters of the calls."""
        return self.feed.http.stats

    def present(self, wall: datetime) -> datetime:
        """The wall clock."""
        return wall

    def fetch(self, now: datetime) -> PriceHistory:
        """The prices up to `now`. When the server fails: the last good ones, flagged, else the error."""
        history = self.kept.fetch(now, self._read)
        if not self.feed.terms.ahead:
            history = _carried(history, now)
        if self.day_ahead is not None:
            history = self._with_day_ahead(history, self.day_ahead, now)
        series = {ENERGY: history.energy_usd_per_mwh / self.feed.terms.usd}
        judged = plausibility(series, history.step_s, ENERGY)
        return overlay(replace(history, flags=(*history.flags, *judged)), self.companion, now)

    def _read(self, now: datetime) -> tuple[PriceHistory, datetime]:
        last, terms = self.kept.last, self.feed.terms
        if last is not None and self._covered(last, now):
            return last, now
        oldest = now - terms.lookback
        overlap = OVERLAP if terms.ahead else OVERLAP_LATE
        since = oldest if last is None else max(oldest, min(last.last, now) - overlap)
        batch = self.feed.read(since, now + AHEAD if terms.ahead else now)
        if not len(batch.rows):
            said = f"the list is empty for {iso(since)} and later"
            raise SourceError(f"{terms.name}: no price at or before {iso(now)}: {said}")
        rows = _merged(self._rows, batch.rows, oldest)
        flags = [flag for flag in (*batch.flags, skew_flag(batch.skew_s)) if flag]
        rows, more = same_step(rows, terms.name)
        grid = regularise(rows, terms.name, min_rows=1, bridge_s=BRIDGE_S)
        history = self._history(grid, (*grid.flags, *flags, *more), batch.credit)
        if not terms.ahead:
            history = _past(history, now)
            self.kept.grace_s = float(LATE_STEPS * history.step_s)
        self._rows, self._asked = rows, now
        return history, now

    def _with_day_ahead(self, history: PriceHistory, other: FedSource, now: datetime) -> PriceHistory:
        flags = history.flags
        if self._asked == now:  # where the server failed at this look it is not asked for more
            try:
                other.kept.fetch(now, other._read)
            except (SourceError, DataError) as error:
                flags = (
                    *flags,
                    DataFlag("DAY_AHEAD_GAP", f"day-ahead prices beside the real-time ones: {error}", "warn"),
                )
        known = other.kept.last
        if known is None:
            return replace(history, flags=flags)
        past, step_s = history.timestamp, history.step_s
        reach_s = int((known.timestamp[-1] - past[-1]).astype(np.int64)) + known.step_s
        coming = past[-1] + np.arange(step_s, max(reach_s, step_s), step_s) * np.timedelta64(1, "s")
        said = _said_of(known, np.concatenate([past, coming])) / other.feed.terms.usd
        column, ahead = said[: len(past)], said[len(past) :]
        if not np.isfinite(column).any():
            return replace(history, flags=flags)
        return replace(history, flags=flags, columns={DAY_AHEAD: column}, ahead={DAY_AHEAD: ahead})

    def _covered(self, last: PriceHistory, now: datetime) -> bool:
        """Whether what is kept holds the running interval, and was asked for just now."""
        if self._asked is None or not self.feed.terms.ahead or now >= last.last + timedelta(seconds=last.step_s):
            return False
        return now < self._asked + timedelta(seconds=POLL_S)

    def _history(self, grid: Grid, flags: tuple[DataFlag, ...], credit: str) -> PriceHistory:
        terms, n = self.feed.terms, len(grid.timestamp)
        hashes, tokens = (service(kind, None, n, self.site) for kind in ("hash", "token"))
        converted = "" if terms.usd == 1.0 else f"; {terms.unit[:3]} counted at {terms.usd:g} USD (site file)"
        return PriceHistory(
            source=terms.name,
            timestamp=grid.timestamp,
            step_s=grid.step_s,
            energy_usd_per_mwh=grid.series[ENERGY] * terms.usd,
            hash_price=hashes.price,
            token_price=tokens.price,
            units=Units("USD", terms.unit, hashes.unit, tokens.unit, terms.usd, hashes.factor, tokens.factor),
            flags=(*flags, *hashes.flags, *tokens.flags),
            credit=credit + converted,
            filled=grid.filled,
        )


def _merged(old: Rows | None, new: Rows, oldest: datetime) -> Rows:
    """What was read before and what came now; of one time, what came now. Nothing older than `oldest`."""
    if old is None:
        return new
    keep = ~np.isin(old.timestamp, new.timestamp) & (old.timestamp >= to_stamp(oldest))
    series = {ENERGY: as_array(np.concatenate([old.series[ENERGY][keep], new.series[ENERGY]]))}
    times = as_times(np.concatenate([old.timestamp[keep], new.timestamp]))
    order = np.argsort(times, kind="stable")
    return Rows(times, series, ENERGY, np.arange(1, len(times) + 1)).take(order)


def same_step(rows: Rows, source: str) -> tuple[Rows, tuple[DataFlag, ...]]:
    """The rows since the interval's length changed last (an hour to a quarter), with a flag; all where it never did.

    Eight rows or more in a row at another distance than the usual one of the newest 96 make a change.
    """
    if len(rows) < 16 or np.any(np.isnat(rows.timestamp)):
        return rows, ()
    steps = np.diff(np.sort(rows.timestamp).astype("datetime64[s]").astype(np.int64))
    sizes, counts = np.unique(steps[-96:], return_counts=True)
    other = steps != sizes[np.argmax(counts)]
    runs = np.convolve(other, np.ones(8, dtype=np.int64), "valid") == 8
    if not runs.any():
        return rows, ()
    first = int(np.flatnonzero(runs)[-1]) + 8  # of the rows that have the step of now
    when = np.sort(rows.timestamp)[first]
    said = f"{source}: intervals have {sizes[np.argmax(counts)]} s since {iso(to_utc(when))}"
    flag = DataFlag("STEP_CHANGED", f"{said}; the {first} rows of another length before were set aside", count=first)
    return rows.take(rows.timestamp >= when), (flag,)


def _past(history: PriceHistory, now: datetime) -> PriceHistory:
    """Without prices of the time after `now`, which a real-time source can't know; flagged where there are such."""
    known = known_at(history, now)
    n = len(history) - len(known)
    return replace(known, flags=(*known.flags, future_flag(history, n, now))) if n else known


def _said_of(known: PriceHistory, times: Times) -> Array:
    """The energy price [USD/MWh] of the interval of `known` that each time (M,) lies in, NaN outside of them."""
    place = np.searchsorted(known.timestamp, times, side="right") - 1
    inside = (place >= 0) & (times < known.timestamp[-1] + np.timedelta64(known.step_s, "s"))
    return np.where(inside, known.energy_usd_per_mwh[place.clip(min=0)], np.nan)


def _carried(history: PriceHistory, now: datetime) -> PriceHistory:
    """The newest price carried to the running interval, where it is at most `LATE_STEPS` behind."""
    behind = int((now - history.last).total_seconds() // history.step_s)
    if not 1 <= behind <= LATE_STEPS:
        return history
    times = history.timestamp[-1] + np.arange(1, behind + 1) * np.timedelta64(history.step_s, "s")
    said = f"newest price published is of {iso(history.last)}: carried to the running interval"

    def longer(values: Array) -> Array:
        return as_array(np.append(values, np.repeat(values[-1], behind)))

    return replace(
        history,
        timestamp=as_times(np.append(history.timestamp, times)),
        energy_usd_per_mwh=longer(history.energy_usd_per_mwh),
        hash_price=longer(history.hash_price),
        token_price=longer(history.token_price),
        filled=as_times(np.append(history.filled, times)),
        flags=(*history.flags, DataFlag("LATE", said, count=behind)),
    )
