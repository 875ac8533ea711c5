"""A Gaussian process over days, fitted on the error of the forecasts that it would have made.

One row a day. With K = L L' the covariance of all rows, the error of the forecast of row t from all earlier
rows is e_t = (L^-1 y)_t L_tt (the prediction decomposition of the likelihood; Rasmussen and Williams 2006,
section 5.4, and Dawid 1984 for the prequential view). One Cholesky factor thus holds a whole backtest with daily
recalibration, and the hyperparameters are found by descending the mean absolute error of exactly those
forecasts, in price units, on rows before the ones to forecast.

The row is cut into blocks of hours, each with its own kernel:

    k(d, d') = (a RQ(sum_g w_g |x_g - x'_g|^2) + sum_g v_g x_g.x'_g) (1/2 + exp(-|d - d'| / tau))
               + b exp(-|d - d'| / tau2) + c + noise

with RQ(r) = (1 + r / 2 alpha)^-alpha and one pair of weights w_g, v_g for each group of inputs (grouped ARD),
so that recent days count more, and level shifts are followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg

from gridpilot.forecast.days import DayTable, Tick, silent
from gridpilot.forecast.inputs import FIRST_ROW, Columns, Inputs, Scale
from gridpilot.values import Array, Index

FIT_ROWS = 900  # newest rows that the hyperparameters are fitted on
BURN_IN = 330  # the first of these make no error: they have too little before them
STEPS = 35
RATE = (0.15, 0.02)  # Adam's step, falling by a cosine
MOST_WEIGHT = 20.0  # of one error, times the mean: spikes must not rule
JITTER = 1e-8
SCALARS = 7  # log of a, alpha, tau, tau2, b, c, noise sd
START_SCALARS = (0.0, 0.0, 7.5, 5.5, -1.0, 0.0, -1.8)
ELSEWHERE = -4.0  # log weight at the start, where START says nothing
START = {  # log weights at the start: what usually matters most
    "price 1 d ago": -1.0,
    "price 1 d ago, other hours": -2.0,
    "exogenous": 0.0,
    "exogenous, other hours": -1.0,
    "linear forecast": 0.0,
    "residual load": -0.5,
    "residual load, other hours": -2.5,
    "holiday": -2.0,
    "time of year": -1.5,
}
SPLIT = (
    "price 1 d ago",
    "price 7 d ago",
    "exogenous",
    "residual load",
    "linear forecast",
)  # other hours are a group of their own
INSIDE = ("price 2 d ago", "price 3 d ago", "residual load, change")  # other hours are left out
MEANING = {  # what a driver is called where it is not the group's own name
    "price 1 d ago": "yesterday's prices",
    "last hours": "yesterday's prices",
    "yesterday's level": "yesterday's prices",
    "price 2 d ago": "prices 2 and 3 days ago",
    "price 3 d ago": "prices 2 and 3 days ago",
    "price 7 d ago": "prices a week ago",
    "week's level": "the week's level",
    "exogenous": "outside forecasts",
    "exogenous 1 d ago": "outside forecasts",
    "exogenous 7 d ago": "outside forecasts",
    "residual load": "outside forecasts",
    "residual load, change": "outside forecasts",
    "residual load, level": "outside forecasts",
    "linear forecast": "the linear trend of all inputs",
    "holiday": "public holiday",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A block of slots with the columns it uses: pick (C',) into the columns, group (C',) into names."""

    slots: slice
    pick: Index
    group: Index
    names: tuple[str, ...]
    width: Array  # columns of each group (G,)


@dataclass(frozen=True, slots=True)
class _Fitted:
    block: Block
    theta: Array
    alpha: Array  # K^-1 z of the rows known at the fit (R, S')
    square: Array  # weighted squared norm of these rows (R,)


class GaussianProcess:
    """The prequential Gaussian process; a `DayModel`.

    `edges` are the blocks' borders in twenty-fourths of the row.
    """

    least_rows = 60

    def __init__(self, name: str = "gp", edges: tuple[int, ...] = (0, 7, 12, 18, 24)) -> None:
        self.name = name
        self._edges = edges
        self._inputs: Inputs | None = None
        self._x = np.zeros((0, 0), dtype=np.float32)  # rows known at the fit
        self._names: tuple[str, ...] = ()
        self._groups: Index = np.zeros(0, dtype=np.int64)  # of the columns of x
        self._day = 0  # number of the day that came next
        self._fitted: tuple[_Fitted, ...] = ()

    def fit(self, days: DayTable) -> None:
        """Hyperparameters on the newest rows, then the weights of all known rows."""
        self.rows(days, len(days))

    def predict(self, days: DayTable) -> Array:
        """The day to come (S,), from the rows known at the fit and today's inputs."""
        scale, now, age = self._today(days)
        out = np.empty(days.y.shape[1])
        for fit in self._fitted:
            row = _cross(fit, self._x[:, fit.block.pick], now[fit.block.pick], age)
            out[fit.block.slots] = scale.price(row @ fit.alpha, fit.block.slots)
        return out + float(days.level[-1])

    def _today(self, days: DayTable) -> tuple[Scale, Array, Array]:
        """The scale, the inputs of the day to come and the age of each known row [days]."""
        if self._inputs is None:
            raise ValueError(f"{self.name} is not fitted: call fit first")
        age = days.number - self._day + np.arange(len(self._x), 0, -1.0)
        return self._inputs.scale, self._inputs.now(days), age

    def drivers(self, days: DayTable) -> dict[str, float]:
        """Input -> how far the next day's mean price would fall were that input as on an average known day.

        Prices of one day count as one input, other hours and last hours with it. Effects need not add up.
        """
        scale, now, age = self._today(days)
        usual = self._x.mean(axis=0, dtype=np.float64)
        inputs = dict.fromkeys(MEANING.get(name, name) for name in self._names)
        change = {name: np.zeros(days.y.shape[1]) for name in inputs}
        for fit in self._fitted:
            block, pick = fit.block, fit.block.pick
            of = np.array([MEANING.get(self._names[i], self._names[i]) for i in self._groups[pick]])
            x = self._x[:, pick]
            base = _cross(fit, x, now[pick], age) @ fit.alpha
            for name in inputs:
                other = _cross(fit, x, np.where(of == name, usual[pick], now[pick]), age) @ fit.alpha
                change[name][block.slots] = scale.price(base, block.slots) - scale.price(other, block.slots)
        return {name: float(values.mean()) for name, values in change.items()}

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of rows FIRST_ROW.. (D, S), each from all rows before it; hyperparameters from rows before `first`.

        Rows before `first` are out of sample except for the hyperparameters; rows before FIRST_ROW are NaN.
        """
        inputs, table = Inputs.learn(days, first)
        scale = inputs.scale
        target = scale.z(days.relative[FIRST_ROW:])
        known, slope = table.x[FIRST_ROW:-1], scale.slope(target)
        out, fitted, seen = np.full(days.y.shape, np.nan), [], first - FIRST_ROW
        whole = _blocks(table, days.y.shape[1], self._edges)
        for i, block in enumerate(whole):
            x, z = known[:, block.pick], target[:, block.slots]
            theta = _hyperparameters(x[:seen], z[:seen], slope[:seen, block.slots], block)
            factor = _factor(theta, x, block)
            white = linalg.solve_triangular(factor, z, lower=True, check_finite=False)
            forecast = np.tril(factor, -1) @ white  # z - e, without its own truth even in the rounding
            out[FIRST_ROW:, block.slots] = scale.price(forecast, block.slots)
            alpha = linalg.solve_triangular(factor, white, lower=True, trans="T", check_finite=False)
            fitted.append(_Fitted(block, theta, alpha, (x * x) @ _weights(theta, block)[0]))
            tick((i + 1) / len(whole))
        self._x = np.asarray(known, dtype=np.float32)  # many are kept, one for each time of day
        out += days.level[:-1, None]
        self._names, self._groups = table.names, table.group
        self._inputs, self._day, self._fitted = inputs, days.number, tuple(fitted)
        return out


def _hyperparameters(x: Array, z: Array, slope: Array, block: Block) -> Array:
    """Log weights and scalars that forecast the newest rows best; slope (R, S') is the price of an error in z."""
    x, z, slope = x[-FIT_ROWS:], z[-FIT_ROWS:], slope[-FIT_ROWS:]
    weight = np.minimum(slope / slope.mean(), MOST_WEIGHT)
    weight[: min(BURN_IN, len(x) // 3)] = 0.0
    return _descend(_start(block), _Problem(x, z, weight / np.count_nonzero(weight), block))


def _blocks(inputs: Columns, width: int, edges: tuple[int, ...]) -> tuple[Block, ...]:
    """The blocks of a row of `width` slots."""
    borders = sorted({round(width * edge / 24) for edge in edges})
    return tuple(_block(inputs, slice(a, b)) for a, b in pairwise(borders))


def _block(inputs: Columns, slots: slice) -> Block:
    outside = (inputs.slot >= 0) & ((inputs.slot < slots.start) | (inputs.slot >= slots.stop))
    names, group = list(inputs.names), inputs.group.copy()
    keep = np.ones(len(group), dtype=bool)
    for i, name in enumerate(inputs.names):
        other = outside & (inputs.group == i)
        if name in SPLIT and other.any():
            group[other] = len(names)
            names.append(f"{name}, other hours")
        elif name in INSIDE:
            keep &= ~other
    pick = np.flatnonzero(keep)
    width = np.bincount(group[pick], minlength=len(names))
    return Block(slots, pick, group[pick], tuple(names), np.maximum(width, 1).astype(np.float64))


def _start(block: Block) -> Array:
    weights = [START.get(name, ELSEWHERE) for name in block.names]
    return np.array([*weights, *weights, *START_SCALARS])


class _Parts(NamedTuple):
    """The covariance of all rows and what its gradient needs."""

    covariance: Array
    smooth: Array
    base: Array
    distance: Array
    slow: Array
    fade: Array
    trend: Array
    age: Array


def _weights(theta: Array, block: Block) -> tuple[Array, Array, Array]:
    """Weight of each column in the smooth and the linear part, and the scalars, out of their logarithms."""
    count = len(block.names)
    smooth, linear = np.exp(theta[:count]) / block.width, np.exp(theta[count : 2 * count]) / block.width
    return smooth[block.group], linear[block.group], np.exp(theta[2 * count :])


def _parts(theta: Array, x: Array, block: Block) -> _Parts:
    smooth_w, linear_w, (a, alpha, tau, tau2, b, c, noise) = _weights(theta, block)
    scaled = x * np.sqrt(smooth_w)
    square = np.sum(scaled * scaled, axis=1)
    distance = np.maximum(square[:, None] + square - 2.0 * (scaled @ scaled.T), 0.0)
    base = 1.0 + distance / (2.0 * alpha)
    smooth = a * np.exp(-alpha * np.log(base))
    both = smooth + (x * linear_w) @ x.T
    day = np.arange(len(x), dtype=np.float64)
    age = np.abs(day[:, None] - day)
    fade, trend = np.exp(-age / tau), np.exp(-age / tau2)
    covariance = both * (0.5 + fade) + b * trend + c
    covariance[np.diag_indices_from(covariance)] += noise * noise + JITTER
    return _Parts(covariance, smooth, base, distance, both, fade, trend, age)


def _factor(theta: Array, x: Array, block: Block) -> Array:
    """Lower Cholesky factor of the covariance of all rows."""
    return np.asarray(linalg.cholesky(_parts(theta, x, block).covariance, lower=True, check_finite=False))


def _cross(fit: _Fitted, x: npt.NDArray[np.float32], now: Array, age: Array) -> Array:
    """Covariance of one new row with the known ones (R,)."""
    smooth_w, linear_w, (a, alpha, tau, tau2, b, c, _) = _weights(fit.theta, fit.block)
    weighted = smooth_w * now
    distance = np.maximum(fit.square + now @ weighted - 2.0 * (x @ weighted), 0.0)
    both = a * (1.0 + distance / (2.0 * alpha)) ** -alpha + x @ (linear_w * now)
    return np.asarray(both * (0.5 + np.exp(-age / tau)) + b * np.exp(-age / tau2) + c)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Weighted absolute prequential error of rows x (R, C) with targets z (R, S'); weight (R, S')."""

    x: Array
    z: Array
    weight: Array
    block: Block

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Reverse mode through e = diag(L) L^-1 z, K = L L' and the kernel.

        The gradient of the Cholesky factor is that of Murray (2016), arXiv:1602.07527, eq. 10.
        """
        parts = _parts(theta, self.x, self.block)
        factor = linalg.cholesky(parts.covariance, lower=True, check_finite=False)
        inverse = np.tril(linalg.lapack.dtrtri(factor, lower=1)[0])
        diagonal, white = np.diag(factor), inverse @ self.z
        error = diagonal[:, None] * white
        signed = self.weight * np.sign(error)
        back = inverse.T @ (diagonal[:, None] * signed)
        to_factor = -np.tril(back @ white.T)
        to_factor[np.diag_indices_from(to_factor)] += np.sum(signed * white, axis=1)
        middle = np.tril(factor.T @ to_factor)
        middle[np.diag_indices_from(middle)] *= 0.5
        to_covariance = inverse.T @ middle @ inverse
        to_covariance = 0.5 * (to_covariance + to_covariance.T)
        return float(np.sum(self.weight * np.abs(error))), self._to_theta(theta, parts, to_covariance)

    def _to_theta(self, theta: Array, parts: _Parts, grad: Array) -> Array:
        """Gradient with respect to the logarithms, given that with respect to the covariance."""
        count, x = len(self.block.names), self.x
        smooth_w, linear_w, (_, alpha, tau, tau2, b, c, noise) = _weights(theta, self.block)
        shared = grad * (0.5 + parts.fade)
        curved = shared * parts.smooth
        by_distance = -0.5 * curved / parts.base
        by_column = 2.0 * (by_distance.sum(axis=1) @ (x * x) - np.sum(x * (by_distance @ x), axis=0))
        by_linear = np.sum(x * (shared @ x), axis=0)
        tilt = parts.distance / (2.0 * alpha) / parts.base - np.log(parts.base)
        scalars = [
            curved.sum(),
            alpha * np.sum(curved * tilt),
            np.sum(grad * parts.slow * parts.fade * parts.age) / tau,
            b * np.sum(grad * parts.trend * parts.age) / tau2,
            b * np.sum(grad * parts.trend),
            c * grad.sum(),
            2.0 * noise * noise * np.trace(grad),
        ]
        group = self.block.group
        smooth = np.bincount(group, by_column * smooth_w, count)
        linear = np.bincount(group, by_linear * linear_w, count)
        return np.concatenate([smooth, linear, scalars])


def _descend(theta: Array, problem: _Problem) -> Array:
    """Adam (Kingma and Ba 2015) with a falling step; the best point seen."""
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    best, best_loss = theta, np.inf
    for step in range(STEPS):
        loss, gradient = problem.loss_and_gradient(theta)
        if loss < best_loss:
            best, best_loss = theta, loss
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient * gradient
        rate = RATE[1] + (RATE[0] - RATE[1]) * 0.5 * (1.0 + np.cos(np.pi * step / STEPS))
        move = mean / (1.0 - 0.9 ** (step + 1)) / (np.sqrt(square / (1.0 - 0.99 ** (step + 1))) + 1e-12)
        theta = theta - rate * move
    return best
