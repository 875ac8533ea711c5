"""From raw price rows to an even grid, and what a reader must know about it.

Pure functions, shared by every source that reads what others wrote. The rules, in the order they run:

1. a row whose time or energy price is not usable is dropped (DROPPED)
2. rows out of order are sorted (UNSORTED)
3. the same time twice: equal rows are merged (DUPLICATE), of conflicting ones the later arrival counts (CONFLICT)
4. the step is the most common difference; a row between the steps is dropped (DROPPED)
5. everything before a gap of more than one interval is set aside (GAP); where a reader allows it, gaps of up to
   `bridge_s` seconds are filled instead with the values of a day before, interpolated in the first day (GAP_FILLED)
6. holes in the other series are interpolated (GAP_FILLED); a series with too many holes is left out (DROPPED)
7. single missing intervals are interpolated in every series (GAP_FILLED)

More than a fifth of the rows dropped or filled is a DataError, and so is a long gap with too few rows after
it. Negative prices are prices. `plausibility` then looks at the newest value (SUSPECT, FLATLINE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.errors import DataError, SourceError
from gridpilot.values import Array, Times, iso, to_stamp, to_utc

MAX_BAD_FRAC = 0.20  # share of rows that may be dropped or filled
MAX_AHEAD_S = 14 * 86400  # exogenous values further ahead than this are not kept
LONGEST_S = 31 * 86400  # an interval longer than this is none of a market
MIN_AFTER_GAP = 48  # rows after a long gap that still make a history
WINDOW_S = 30 * 86400  # plausibility compares with the last 30 days
MIN_REFERENCE = 12  # values before plausibility says anything
SLIP = (300.0, 3000.0)  # a factor in this range is taken for a slip between units a thousand apart
FLAT_ROWS, FLAT_S = 6, 3 * 3600  # an energy price is flat when it repeats for both of these


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw rows in the order of arrival.

    timestamp (M,) UTC, NaT where unreadable; series name -> (M,), NaN where no usable number; `energy` names
    the series that a row can't do without; number (M,) is what a message calls a row.
    """

    timestamp: Times
    series: Mapping[str, Array]
    energy: str
    number: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.timestamp)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Rows:
        """The chosen rows, in that order."""
        series = {k: v[index] for k, v in self.series.items()}
        return Rows(self.timestamp[index], series, self.energy, self.number[index])


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows on an even ascending grid: timestamp (N,), series name -> (N,) finite values; `filled`: not the source's."""

    timestamp: Times
    step_s: int
    series: Mapping[str, Array]
    flags: tuple[DataFlag, ...]
    filled: Times


def regularise(
    rows: Rows, source: str, *, step_s: int | None = None, min_rows: int = MIN_AFTER_GAP, bridge_s: int = 0
) -> Grid:
    """Apply rules 1 to 7. `step_s` is used where a single row can't tell the step.

    Raises DataError where what is left is no usable history.
    """
    total = len(rows)
    if total == 0:
        raise DataError(f"{source}: no price rows at all; expected at least one")
    rows, flags = _drop_unusable(rows)
    rows, more = _sort(rows)
    flags += more
    rows, more = _merge(rows)
    flags += more
    if len(rows) == 0:
        raise DataError(f"{source}: none of {total} rows has a usable time and price; {_said(flags)}")
    step = _step(rows, source, step_s)
    rows, more = _drop_between(rows, step)
    flags += more
    _limit(sum(f.count for f in flags if f.code == "DROPPED"), total, "dropped", source, flags)
    rows, more = _after_long_gap(rows, step, source, min_rows, max(step, bridge_s))
    flags += more
    rows, more = _fill_holes(rows)
    flags += more
    timestamp, series, filled, repeated = _fill(rows, step, bridge_s)
    _limit(len(filled), len(timestamp), "missing", source, flags)
    for some, how in ((~repeated, "interpolated"), (repeated, "filled with the values of a day before")):
        if some.any():
            flags.append(_flag("GAP_FILLED", f"{_some(filled[some])} missing: {how}", "warn", int(some.sum())))
    return Grid(timestamp, step, series, tuple(flags), filled)


def known_ahead(rows: Rows) -> tuple[Rows, Rows]:
    """Rows up to the newest energy price, and later rows, which hold what is known of other series in advance."""
    priced = np.isfinite(rows.series[rows.energy]) & ~np.isnat(rows.timestamp)
    if not priced.any():
        return rows, rows.take(np.zeros(len(rows), dtype=np.bool_))
    others = [np.isfinite(values) for name, values in rows.series.items() if name != rows.energy]
    some = np.any(others, axis=0) if others else np.zeros(len(rows), dtype=np.bool_)
    later = (rows.timestamp > rows.timestamp[priced].max()) & some
    return rows.take(~later), rows.take(later)


def on_grid(later: Rows, grid: Grid, names: tuple[str, ...]) -> tuple[dict[str, Array], tuple[DataFlag, ...]]:
    """Series of later rows on the intervals after the grid's last (F,), NaN where there is no number."""
    if not len(later):
        return {}, ()
    after = (later.timestamp - grid.timestamp[-1]).astype(np.int64)
    fits = (after % grid.step_s == 0) & (after <= MAX_AHEAD_S)
    place = after[fits] // grid.step_s - 1
    ahead: dict[str, Array] = {}
    flags: tuple[DataFlag, ...] = ()
    if not fits.all():
        said = f"{_some(later.timestamp[~fits])} off the {grid.step_s} s grid or over 14 days ahead: dropped"
        flags = (_flag("DROPPED", said, "warn", int(np.sum(~fits))),)
    for name in names:
        values = np.full(int(place.max(initial=-1)) + 1, np.nan)
        values[place] = later.series[name][fits]
        ahead[name] = values
    return ahead, flags


def plausibility(series: Mapping[str, Array], step_s: int, energy: str) -> tuple[DataFlag, ...]:
    """SUSPECT for a newest value that looks wrong beside its past, FLATLINE for an energy price that stands still."""
    flags = [flag for name, values in series.items() if (flag := suspect(name, values, step_s))]
    values = series[energy]
    changed = np.flatnonzero(values != values[-1])
    run = len(values) - (int(changed[-1]) + 1 if len(changed) else 0)
    if run >= FLAT_ROWS and run * step_s >= FLAT_S:
        hours = run * step_s / 3600
        flags.append(_flag("FLATLINE", f"{energy} has been {values[-1]:g} for {hours:g} h: used as it is", "warn"))
    return tuple(flags)


def suspect(name: str, values: Array, step_s: int) -> DataFlag | None:
    """A flag when the newest of `values` (N,) is far outside the last 30 days, or a factor 1000 off.

    The range is [q01 - 5 (q50 - q01) - pad, q99 + 5 (q99 - q50) + pad] with pad = |q50| / 2. A value outside it
    is confirmed, and no longer suspect, when the one before lies outside on the same side. A slip of units is
    not confirmed by a second reading: it stays suspect until it fills 1 % of the window.
    """
    reference = values[-1 - max(MIN_REFERENCE, WINDOW_S // step_s) : -1]
    if len(reference) < MIN_REFERENCE or not np.all(np.isfinite(reference)):
        return None
    new, before = float(values[-1]), float(values[-2])
    q01, q50, q99 = (float(q) for q in np.quantile(reference, (0.01, 0.5, 0.99)))
    usual, largest = float(np.median(np.abs(reference))), max(abs(q01), abs(q99))
    up = usual > 0 and SLIP[0] <= abs(new) / usual <= SLIP[1] and abs(new) > 20 * largest
    down = q01 > 0 and new > 0 and SLIP[0] <= usual / new <= SLIP[1] and 20 * new < q01
    if up or down:
        factor = f"{abs(new) / usual:.0f} times" if up else f"1/{usual / new:.0f} of"
        return _flag("SUSPECT", f"{name} is {new:g}, {factor} its usual {usual:g}: a slip of units?", "warn")
    pad = 0.5 * abs(q50)
    low, high = q01 - 5 * (q50 - q01) - pad, q99 + 5 * (q99 - q50) + pad
    if (new > high and before <= high) or (new < low and before >= low):
        seen = f"{name} is {new:g}, far outside {low:.4g}..{high:.4g}"
        return _flag("SUSPECT", f"{seen}: wait for a second reading", "warn")
    return None


def beyond_market(history: PriceHistory, floor: float | None, cap: float | None) -> tuple[DataFlag, ...]:
    """SUSPECT where the newest energy price is one that the market cannot have: under its floor or over its cap
    [$/MWh]."""
    price = float(history.energy_usd_per_mwh[-1])
    low, high = (-np.inf if floor is None else floor), (np.inf if cap is None else cap)
    if low <= price <= high:
        return ()
    seen = f"energy price is {price:g} $/MWh, the market allows {low:g} to {high:g}"
    return (_flag("SUSPECT", f"{seen}: wait for a second reading", "warn"),)


def known_at(history: PriceHistory, now: datetime) -> PriceHistory:
    """The rows whose interval has begun at `now`. SourceError when there is none."""
    n = int(np.searchsorted(history.timestamp, to_stamp(now), side="right"))
    if n == 0:
        first = iso(to_utc(history.timestamp[0]))
        raise SourceError(f"{history.source}: no price at or before {iso(now)}; the first one is of {first}")
    if n == len(history):
        return history
    return replace(
        history,
        timestamp=history.timestamp[:n],
        energy_usd_per_mwh=history.energy_usd_per_mwh[:n],
        hash_price=history.hash_price[:n],
        token_price=history.token_price[:n],
        columns={k: v[:n] for k, v in history.columns.items()},
        ahead={},
    )


def staleness(history: PriceHistory, now: datetime, cause: str = "", grace_s: float = 0.0) -> DataFlag | None:
    """STALE when the newest interval ended more than `grace_s` ago, or when there is a cause to say so.

    Age counts from the start of the newest interval: an alarm beyond three steps, a warning before.
    """
    age_s = (now - history.last).total_seconds()
    if not cause and age_s < history.step_s + grace_s:
        return None
    severity = "alarm" if age_s > 3 * history.step_s else "warn"
    why = cause or "nothing newer has come"
    return _flag("STALE", f"newest price is of {iso(history.last)}, {_age(age_s)} old: {why}", severity)


def revision(old: PriceHistory, new: PriceHistory) -> DataFlag | None:
    """REVISED when the energy price of an interval that both know is another one now; filled ones are not known."""
    times, i, j = np.intersect1d(old.timestamp, new.timestamp, assume_unique=True, return_indices=True)
    told = ~np.isin(times, old.filled) & ~np.isin(times, new.filled)
    changed = times[told & (old.energy_usd_per_mwh[i] != new.energy_usd_per_mwh[j])]
    if not len(changed):
        return None
    said = f"{_some(changed)}: the source has changed its price since it was last read"
    return _flag("REVISED", said, "warn", len(changed))


# --- the steps -----------------------------------------------------------------------------


def _drop_unusable(rows: Rows) -> tuple[Rows, list[DataFlag]]:
    no_time = np.isnat(rows.timestamp)
    bad = no_time | ~np.isfinite(rows.series[rows.energy])
    if not bad.any():
        return rows, []
    numbers = ", ".join(str(n) for n in rows.number[bad][:3])
    more = ", ..." if bad.sum() > 3 else ""
    what = f"row {numbers}{more}: no usable {'time or ' if no_time.any() else ''}{rows.energy}, dropped"
    return rows.take(~bad), [_flag("DROPPED", what, "warn", int(bad.sum()))]


def _sort(rows: Rows) -> tuple[Rows, list[DataFlag]]:
    late = np.flatnonzero(np.diff(rows.timestamp).astype(np.int64) < 0)
    if not len(late):
        return rows, []
    order = np.argsort(rows.timestamp, kind="stable")
    where = f"row {rows.number[late[0] + 1]} is earlier than the one before it"
    return rows.take(order), [_flag("UNSORTED", f"{where}: all rows were sorted by time", "info", len(late))]


def _merge(rows: Rows) -> tuple[Rows, list[DataFlag]]:
    """Of sorted rows with one time, keep the last: a stable sort leaves it the latest arrival."""
    keep = np.ones(len(rows), dtype=np.bool_)
    keep[:-1] = rows.timestamp[1:] != rows.timestamp[:-1]
    if keep.all():
        return rows, []
    gone = np.flatnonzero(~keep)
    winner = np.flatnonzero(keep)[np.searchsorted(np.flatnonzero(keep), gone)]
    equal = np.ones(len(gone), dtype=np.bool_)
    for values in rows.series.values():
        equal &= (values[gone] == values[winner]) | (np.isnan(values[gone]) & np.isnan(values[winner]))
    flags = []
    if equal.any():
        when = _some(rows.timestamp[gone[equal]])
        flags.append(_flag("DUPLICATE", f"{when} given more than once: merged", "info", int(equal.sum())))
    if not equal.all():
        when = _some(rows.timestamp[gone[~equal]])
        said = f"{when} given with different prices: the later row counts"
        flags.append(_flag("CONFLICT", said, "warn", int((~equal).sum())))
    return rows.take(keep), flags


def _step(rows: Rows, source: str, given: int | None) -> int:
    if len(rows) < 2:
        if given is None:
            raise DataError(f"{source}: one usable row alone does not tell the interval; give at least two")
        return given
    steps, counts = np.unique(np.diff(rows.timestamp).astype(np.int64), return_counts=True)
    step = int(steps[np.argmax(counts)])
    if step > LONGEST_S:
        raise DataError(f"{source}: its interval is {step / 86400:,.0f} days, expected at most 31; give nearer times")
    return step


def _drop_between(rows: Rows, step: int) -> tuple[Rows, list[DataFlag]]:
    phase = rows.timestamp.astype(np.int64) % step
    phases, counts = np.unique(phase, return_counts=True)
    off = phase != phases[np.argmax(counts)]
    if not off.any():
        return rows, []
    what = f"{_some(rows.timestamp[off])} between the steps of {step} s: dropped"
    return rows.take(~off), [_flag("DROPPED", what, "warn", int(off.sum()))]


def _after_long_gap(rows: Rows, step: int, source: str, min_rows: int, bridge_s: int) -> tuple[Rows, list[DataFlag]]:
    missing = np.diff(rows.timestamp).astype(np.int64) // step - 1
    long = np.flatnonzero(missing * step > bridge_s)
    if not len(long):
        return rows, []
    first = int(long[-1]) + 1
    gap = f"{missing[first - 1]} intervals missing after {iso(to_utc(rows.timestamp[first - 1]))}"
    if len(rows) - first < min_rows:
        raise DataError(
            f"{source}: {gap} and {len(rows) - first} rows after them, expected at least {min_rows}; fill the gap"
        )
    flag = _flag("GAP", f"{gap}: the {first} rows before the gap were set aside", "warn", first)
    return rows.take(np.arange(first, len(rows))), [flag]


def _fill_holes(rows: Rows) -> tuple[Rows, list[DataFlag]]:
    """Values that are no number in the other series, where their row is there: interpolated, held at the ends."""
    series: dict[str, Array] = {}
    flags: list[DataFlag] = []
    for name, values in rows.series.items():
        hole = ~np.isfinite(values)
        n = int(hole.sum())
        if n > MAX_BAD_FRAC * len(values):
            said = f"column {name}: {n} of {len(values)} values are no number: left out"
            flags.append(_flag("DROPPED", said, "warn"))
            continue
        if n:
            flags.append(_flag("GAP_FILLED", f"column {name}: {n} missing values interpolated", "warn", n))
        at = rows.timestamp.astype(np.int64)
        series[name] = np.interp(at, at[~hole], values[~hole]) if n else values
    return Rows(rows.timestamp, series, rows.energy, rows.number), flags


def _fill(rows: Rows, step: int, bridge_s: int) -> tuple[Times, dict[str, Array], Times, npt.NDArray[np.bool_]]:
    """The full grid, every series on it, linear over the missing times, those times, and which of them repeat.

    With a bridge, missing times repeat the values of a day before where there are such.
    """
    at = rows.timestamp.astype("datetime64[s]").astype(np.int64)
    grid = np.arange(at[0], at[-1] + 1, step)
    times = grid.astype("datetime64[s]")
    series = {name: np.interp(grid, at, values) for name, values in rows.series.items()}
    missing = np.flatnonzero(~np.isin(grid, at))
    day = round(86_400 / step)
    repeated = (missing >= day) & (bridge_s > 0)
    for i in missing[repeated]:  # ascending: a bridge of two days repeats its first
        for values in series.values():
            values[i] = values[i - day]
    return times, series, times[missing], repeated


def _limit(n: int, total: int, what: str, source: str, flags: Sequence[DataFlag]) -> None:
    if n > MAX_BAD_FRAC * total:
        raise DataError(f"{source}: {n} of {total} rows {what}, at most {MAX_BAD_FRAC:.0%} may be; {_said(flags)}")


def _flag(code: str, message: str, severity: str, count: int = 1) -> DataFlag:
    return DataFlag(code, message, severity, count=count)


def _said(flags: Sequence[DataFlag]) -> str:
    return "; ".join(f.message for f in flags) or "correct the input"


def _some(times: Times) -> str:
    shown = ", ".join(iso(to_utc(t)) for t in times[:3])
    return shown if len(times) <= 3 else f"{shown} and {len(times) - 3} more"


def _age(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
