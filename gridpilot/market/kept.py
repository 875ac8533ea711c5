"""What every source that asks a server does alike: keep the last good prices, obey a 429, compare the clocks.

When the server fails, the last good prices are given again with a flag that says since when and why. Nothing is ever
put in the place of a price that did not come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.errors import DataError, RateLimited, Refused, SourceError
from gridpilot.market.quality import known_at, revision, staleness
from gridpilot.values import iso

SKEW_WARN_S, SKEW_ALARM_S = 5.0, 60.0
Read = Callable[[datetime], tuple[PriceHistory, datetime]]


@dataclass(slots=True)
class Kept:
    """The last good prices of one source, and how long it asked to be left alone."""

    setting: str = ""  # which one to look at when the server refuses the credentials
    grace_s: float = 0.0  # a price may come this late before it is missed
    ahead: bool = False  # prices are published before their interval begins, so that kept ones can be of now
    last: PriceHistory | None = None
    not_before: datetime | None = None  # a 429 asked us to wait

    def fetch(self, now: datetime, read: Read) -> PriceHistory:
        """The prices known at `now`: those that `read` gives with the time that counts, else the kept ones.

        Kept prices are flagged STALE, or UNREACHABLE while they still hold the running interval as it was published.
        The error of `read` (SourceError, DataError) where nothing was ever read.
        """
        try:
            self._let(now)
            history, present = read(now)
            known = known_at(history, present)
        except (SourceError, DataError) as error:
            if isinstance(error, RateLimited) and self.not_before is None:
                self.not_before = now + timedelta(seconds=error.retry_after_s)
            if isinstance(error, Refused) and error.credentials:
                error = Refused(f"{error}; check {self.setting or 'the key'}", error.status)
            if self.last is None:
                raise error from None
            return self._again(self.last, now, error)
        told = (revision(self.last, history) if self.last else None, staleness(known, present, grace_s=self.grace_s))
        self.last, self.not_before = history, None
        return replace(known, flags=(*known.flags, *(flag for flag in told if flag)))

    def _let(self, now: datetime) -> None:
        if self.not_before is not None and now < self.not_before:
            wait_s = (self.not_before - now).total_seconds()
            raise RateLimited(f"the API asked to wait until {iso(self.not_before)}: not asked again before", wait_s)
        self.not_before = None

    def _again(self, last: PriceHistory, now: datetime, error: SourceError | DataError) -> PriceHistory:
        known = known_at(last, now)
        flags = list(known.flags)
        if isinstance(error, Refused) and error.credentials:
            flags.append(DataFlag("CREDENTIALS", str(error), "alarm"))
        if self.ahead and (now - known.last).total_seconds() < known.step_s:
            said = f"{error}; the price of the running interval was published before"
            flags.append(DataFlag("UNREACHABLE", said, "warn"))
        elif stale := staleness(known, now, cause=str(error)):
            flags.append(stale)
        return replace(known, flags=tuple(flags))


def skew_flag(skew_s: float | None) -> DataFlag | None:
    """The HTTP Date header against our clock: over 5 s a warning, over 60 s an alarm."""
    if skew_s is None or abs(skew_s) <= SKEW_WARN_S:
        return None
    side = "ahead of" if skew_s > 0 else "behind"
    severity = "alarm" if abs(skew_s) > SKEW_ALARM_S else "warn"
    said = f"the API's clock is {abs(skew_s):.0f} s {side} ours: check the time of this machine"
    return DataFlag("CLOCK", said, severity)


def future_flag(history: PriceHistory, n: int, now: datetime) -> DataFlag:
    """FUTURE for `n` prices of a source that can't know them yet: over 60 s ahead an alarm."""
    ahead_s = (history.last - now).total_seconds()
    severity = "alarm" if ahead_s > SKEW_ALARM_S else "warn" if ahead_s > SKEW_WARN_S else "info"
    said = f"newest price is of {iso(history.last)}, {ahead_s:.0f} s after now: left out; check this machine's clock"
    return DataFlag("FUTURE", said, severity, count=n)


def number(value: Any) -> float:
    """A JSON number; NaN for anything else, text and null included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value) if abs(value) < 1e300 else math.nan
