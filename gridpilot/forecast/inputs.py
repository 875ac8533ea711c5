"""The inputs of the day-ahead models: columns of a day table, scaled by what was known when the model was fitted.

Row d uses prices of rows before d, exogenous series of rows up to d (their day-ahead forecasts), and the
calendar. Prices enter relative to the level of their row, as z = asinh((p - level - median) / scale) of their slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridpilot.forecast.days import DayTable
from gridpilot.values import Array, Index, as_array

FIRST_ROW = 7  # rows before it have no day a week ago
LAST_SLOTS = 4  # the newest values before the origin, as a group of their own
RIDGE = 0.01  # on the residual-load direction
PENALTY = 60.0  # of the running ridge, in rows of standardised inputs
HALF_LIFE = 500.0  # rows; how fast the running ridge forgets
SOLVE_ROWS = 7  # its coefficients are renewed after as many rows
WARM_ROWS = 100  # before that it repeats the day before
LINEAR_GROUPS = (
    *(f"price {k} d ago" for k in (1, 2, 3, FIRST_ROW)),
    *("exogenous", "exogenous 1 d ago", "exogenous 7 d ago", "weekday", "holiday", "time of year"),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """x (D + 1, C); group (C,) index into `names`; slot (C,) of the day that a column belongs to, -1 for none."""

    x: Array
    group: Index
    slot: Index
    names: tuple[str, ...]

    def of(self, *names: str) -> Array:
        """The columns of some groups (D + 1, C')."""
        wanted = [self.names.index(name) for name in names if name in self.names]
        return self.x[:, np.isin(self.group, wanted)]

    def with_linear(self, forecast: Array) -> Columns:
        """With the running ridge's forecasts (D + 1, S) of each row as one more group."""
        count = forecast.shape[1]
        return Columns(
            x=np.concatenate([self.x, forecast], axis=1),
            group=np.concatenate([self.group, np.full(count, len(self.names))]),
            slot=np.concatenate([self.slot, np.arange(count)]),
            names=(*self.names, "linear forecast"),
        )

    def linear_inputs(self) -> Array:
        """The plain columns that linear models and nets see (D + 1, C')."""
        return self.of(*LINEAR_GROUPS)


@dataclass(frozen=True, slots=True)
class RunningRidge:
    """Ridge regression that forgets: z of row d from rows before d alone.

    beta = (sum_i g^(d-i) x_i x_i' + P I)^-1 sum_i g^(d-i) x_i z_i with g = 2^(-1 / HALF_LIFE), renewed weekly.
    """

    mean: Array
    sd: Array
    beta: Array  # of the newest renewal (C + 1, S); 0 before WARM_ROWS

    @classmethod
    def run(cls, x: Array, z: Array, until: int) -> tuple[RunningRidge, Array]:
        """The newest ridge and its forecasts (D + 1, S) of every row; scales are those of rows before `until`."""
        mean, sd = as_array(x[FIRST_ROW:until].mean(axis=0)), as_array(x[FIRST_ROW:until].std(axis=0) + 1e-6)
        ridge = cls(mean, sd, np.zeros((x.shape[1] + 1, z.shape[1])))
        rows = ridge._standard(x)
        keep = 0.5 ** (1.0 / HALF_LIFE)
        gram, moment = PENALTY * np.eye(rows.shape[1]), np.zeros_like(ridge.beta)
        out = _lag(z, 1, ahead=True)  # the day before, until there is a ridge
        for start in range(FIRST_ROW, len(rows), SOLVE_ROWS):
            stop = min(start + SOLVE_ROWS, len(rows))
            if start >= WARM_ROWS:
                ridge = cls(mean, sd, as_array(np.linalg.solve(gram, moment)))
                out[start:stop] = rows[start:stop] @ ridge.beta
            seen = slice(start, min(stop, len(z)))
            fade = keep ** np.arange(seen.stop - start - 1, -1, -1.0)[:, None]
            forget = keep ** (seen.stop - start)
            gram = forget * gram + rows[seen].T @ (fade * rows[seen]) + (1.0 - forget) * PENALTY * np.eye(len(gram))
            moment = forget * moment + rows[seen].T @ (fade * z[seen])
        return ridge, out

    def forecast(self, x: Array) -> Array:
        """z of rows of inputs (R, C) -> (R, S)."""
        return np.asarray(self._standard(x) @ self.beta)

    def _standard(self, x: Array) -> Array:
        scaled = np.clip((x - self.mean) / self.sd, -6.0, 6.0)
        return np.concatenate([scaled, np.ones((len(x), 1))], axis=1)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What turns a table of days into the columns of a model, as it was learnt."""

    scale: Scale
    ridge: RunningRidge

    @classmethod
    def learn(cls, days: DayTable, until: int) -> tuple[Inputs, Columns]:
        """Scales from rows before `until`, the ridge from all rows; with the columns of every row (D + 1)."""
        scale = Scale.learn(days, until)
        inputs = columns(days, scale)
        ridge, forecast = RunningRidge.run(inputs.linear_inputs(), scale.z(days.relative), until)
        return cls(scale, ridge), inputs.with_linear(forecast)

    def now(self, days: DayTable) -> Array:
        """The columns of the row to come (C,)."""
        inputs = columns(days, self.scale)
        ready = self.ridge.beta.any()
        linear = (
            self.ridge.forecast(inputs.linear_inputs()) if ready else _lag(self.scale.z(days.relative), 1, ahead=True)
        )
        return np.asarray(inputs.with_linear(linear).x[-1])


@dataclass(frozen=True, slots=True)
class Scale:
    """Robust level and spread of each slot, exogenous means and deviations, and how the price answers to them.

    median, spread (S,); mean, sd (E, S); answer (E, S): change of z for one sd of an exogenous series, divided
    by the deviation of their sum, so that the residual load has variance 1.
    """

    median: Array
    spread: Array
    mean: Array
    sd: Array
    answer: Array

    @classmethod
    def learn(cls, days: DayTable, until: int) -> Scale:
        """From rows before `until` alone."""
        y, exog = days.relative[:until], days.exog[:until]
        median = np.median(y, axis=0)
        spread = 1.4826 * np.median(np.abs(y - median), axis=0)
        usual = float(np.median(spread)) or float(np.std(y)) or 1.0
        spread = np.maximum(spread, 0.05 * usual)
        mean, sd = exog.mean(axis=0), exog.std(axis=0)
        sd = np.where(sd > 1e-9 * (1.0 + np.abs(mean)), sd, np.inf)
        scale = cls(median, spread, mean, sd, np.zeros_like(mean))
        return cls(
            median, spread, mean, sd, _answer(np.diff(scale.z(y), axis=0), np.diff(scale.standard(exog), axis=0))
        )

    def z(self, y: Array) -> Array:
        """Prices (..., S) to z."""
        return np.asarray(np.arcsinh((y - self.median) / self.spread))

    def price(self, z: Array, slots: slice = slice(None)) -> Array:
        """z (..., S') of some slots back to prices."""
        return np.asarray(self.median[slots] + self.spread[slots] * np.sinh(z))

    def slope(self, z: Array, slots: slice = slice(None)) -> Array:
        """dp/dz, what an error in z costs in price."""
        return np.asarray(self.spread[slots] * np.cosh(z))

    def standard(self, exog: Array) -> Array:
        """Exogenous series (..., E, S) in standard deviations, at most 6."""
        return np.asarray(np.clip((exog - self.mean) / self.sd, -6.0, 6.0))


def columns(days: DayTable, scale: Scale) -> Columns:
    """All inputs of all rows, the one to forecast included."""
    rows, width = len(days) + 1, days.y.shape[1]
    z = np.concatenate(
        [scale.z(days.relative), np.full((1, width), np.nan)]
    )  # row D is never read: every lag is 1 or more
    each, none = np.arange(width), np.full(8, -1)
    past = {k: _lag(z, k) for k in range(1, FIRST_ROW + 1)}
    parts: list[tuple[str, Array, Index]] = [(f"price {k} d ago", past[k], each) for k in (1, 2, 3, FIRST_ROW)]
    yesterday = past[1]
    parts.append(("last hours", yesterday[:, -LAST_SLOTS:], none[: min(LAST_SLOTS, width)]))
    shape = [yesterday.min(axis=1), yesterday.max(axis=1), yesterday.mean(axis=1), yesterday.std(axis=1)]
    parts.append(("yesterday's level", np.stack(shape, axis=1), none[:4]))
    week = np.mean([day.mean(axis=1) for day in past.values()], axis=0)
    parts.append(("week's level", week[:, None], none[:1]))
    if scale.mean.shape[0]:
        parts += _exogenous(scale.standard(days.exog), scale)
    parts.append(("weekday", np.eye(7)[days.weekday], none[:7]))
    if days.holiday.size:
        parts.append(("holiday", np.stack([days.holiday[i : i + rows] for i in range(3)], axis=1), none[:3]))
    parts.append(("time of year", np.stack([np.sin(days.season), np.cos(days.season)], axis=1), none[:2]))
    return Columns(
        x=np.concatenate([x for _, x, _ in parts], axis=1),
        group=np.concatenate([np.full(x.shape[1], i) for i, (_, x, _) in enumerate(parts)]),
        slot=np.concatenate([slot for _, _, slot in parts]),
        names=tuple(name for name, _, _ in parts),
    )


def _exogenous(standard: Array, scale: Scale) -> list[tuple[str, Array, Index]]:
    rows, series, width = standard.shape
    each, flat = np.arange(width), standard.reshape(rows, series * width)
    answer = np.sum(standard * scale.answer, axis=1)
    level = np.stack([answer.mean(axis=1), answer.max(axis=1), answer.min(axis=1)], axis=1)
    return [
        ("exogenous", flat, np.tile(each, series)),
        ("exogenous 1 d ago", _lag(flat, 1), np.tile(each, series)),
        ("exogenous 7 d ago", _lag(flat, FIRST_ROW), np.tile(each, series)),
        ("residual load", answer, each),
        ("residual load, change", answer - _lag(answer, 1), each),
        ("residual load, level", level, np.full(3, -1)),
    ]


def _lag(x: Array, k: int, *, ahead: bool = False) -> Array:
    """Row d gets row d - k; the first rows repeat the oldest. `ahead` adds the row after the last."""
    out = np.concatenate([np.repeat(x[:1], min(k, len(x)), axis=0), x if ahead else x[:-k]])
    return out[: len(x) + 1] if ahead else out[: len(x)]


def _answer(dz: Array, dx: Array) -> Array:
    """Ridge of day-to-day changes in z (R, S) on those of the exogenous series (R, E, S), slot by slot (E, S)."""
    _, series, width = dx.shape
    out = np.zeros((series, width))
    if series == 0 or len(dz) == 0:
        return out
    for s in range(width):
        gram = dx[:, :, s].T @ dx[:, :, s] + RIDGE * len(dz) * np.eye(series)
        out[:, s] = np.linalg.solve(gram, dx[:, :, s].T @ dz[:, s])
    return out
