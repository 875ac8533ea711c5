"""LEAR: LASSO-estimated autoregression, one lasso for each hour of the day, averaged over calibration windows.

Source: Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293, section 4.1. Departures: the penalty
is chosen by BIC every four weeks (not by AIC with LARS every day) and warm-started coordinate descent on the
Gram matrix follows it day by day.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridpilot.forecast.days import DayTable, Tick, silent
from gridpilot.forecast.inputs import FIRST_ROW, Scale, columns
from gridpilot.values import Array

WINDOWS = (84, 364)  # rows; those longer than the history are left out, the shortest always counts
PENALTY_ROWS = 28  # the penalty is chosen again after as many rows
PENALTIES = np.logspace(-0.5, -3.2, 12)  # of columns and targets with sd 1
REACH = 1.0  # a forecast goes at most so far, in z, beyond what was seen


@dataclass(slots=True)
class _Window:
    """The lassos of one window: penalty (S,), coefficients (S, C) and the affine map of the newest solution."""

    rows: int
    penalty: Array
    coefficients: Array
    mean: Array
    sd: Array
    level: Array
    spread: Array

    def at(self, x: Array) -> Array:
        """z of a row of inputs x (C,) -> (S,)."""
        return np.asarray(self.level + self.spread * (self.coefficients @ ((x - self.mean) / self.sd)))


class Lear:
    """Lassos over several windows; a `DayModel`."""

    name = "lear"
    least_rows = 60

    def __init__(self) -> None:
        self._scale: Scale | None = None
        self._windows: list[_Window] = []
        self._reach = (-np.inf, np.inf)

    def fit(self, days: DayTable) -> None:
        """Penalties and coefficients on the newest rows."""
        self.rows(days, len(days))

    def predict(self, days: DayTable) -> Array:
        """The day to come (S,)."""
        scale, x, _ = self._inputs(days)
        return np.asarray(self._mean(x[-1], scale) + days.level[-1])

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of rows `first`.. (D, S), each from coefficients on the rows before it; NaN before `first`."""
        self._scale = Scale.learn(days, first)
        scale, x, z = self._inputs(days)
        out = np.full((len(days) + 1, z.shape[1]), np.nan)
        for row in range(first, len(days) + 1):
            sizes = _windows(row)
            if (row - first) % PENALTY_ROWS == 0 or len(sizes) != len(self._windows):
                self._windows = [_choose(x[:row], z[:row], rows) for rows in sizes]
            else:
                for window in self._windows:
                    _follow(window, x[:row], z[:row])
            self._reach = (float(z[:row].min()) - REACH, float(z[:row].max()) + REACH)
            out[row] = self._mean(x[row], scale) + days.level[row]
            tick((row + 1 - first) / (len(days) + 1 - first))
        return out[:-1]

    def _inputs(self, days: DayTable) -> tuple[Scale, Array, Array]:
        if self._scale is None:
            raise ValueError("lear is not fitted: call fit first")
        return self._scale, columns(days, self._scale).linear_inputs(), self._scale.z(days.relative)

    def _mean(self, x: Array, scale: Scale) -> Array:
        z = np.clip([window.at(x) for window in self._windows], *self._reach)
        return np.asarray(np.mean(scale.price(z), axis=0))


def _windows(rows: int) -> list[int]:
    """Windows that `rows` known rows fill; the shortest in any case."""
    return [size for size in WINDOWS if size + FIRST_ROW <= rows] or [WINDOWS[0]]


def _moments(x: Array, z: Array, rows: int) -> tuple[_Window, Array, Array]:
    """Standardised inputs and targets of the newest rows, and an empty window for them."""
    start = max(FIRST_ROW, len(z) - rows)
    x, z = x[start : len(z)], z[start:]
    mean, sd = x.mean(axis=0), x.std(axis=0)
    sd = np.where(sd > 1e-9, sd, np.inf)
    level, spread = z.mean(axis=0), z.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    empty = _Window(rows, np.zeros(z.shape[1]), np.zeros((z.shape[1], x.shape[1])), mean, sd, level, spread)
    return empty, (x - mean) / sd, (z - level) / spread


def _path(x: Array, z: Array, gram: Array, moment: Array, **options: Any) -> Array:
    """Lasso coefficients (C, P) of one slot for each penalty; not quite converged to 1e-3 is good enough."""
    from sklearn.linear_model import lasso_path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(lasso_path(x, z, precompute=gram, Xy=moment.copy(), tol=1e-3, **options)[1])


def _choose(x: Array, z: Array, rows: int) -> _Window:
    """Penalty of each slot by BIC = n log(RSS / n) + df log n along the path, df = columns in use."""
    window, x, z = _moments(x, z, rows)
    n, gram, moment = len(x), x.T @ x, x.T @ z
    for s in range(z.shape[1]):
        path = _path(x, z[:, s], gram, moment[:, s], alphas=PENALTIES, max_iter=400)
        used = np.count_nonzero(path, axis=0)
        rss = np.mean((z[:, [s]] - x @ path) ** 2, axis=0)
        bic = np.where(used > 0.6 * n, np.inf, n * np.log(rss + 1e-12) + used * np.log(n))
        best = int(np.argmin(bic))
        window.penalty[s], window.coefficients[s] = PENALTIES[best], path[:, best]
    return window


def _follow(window: _Window, x: Array, z: Array) -> None:
    """Move the window to the newest rows with its penalties as they are."""
    moved, x, z = _moments(x, z, window.rows)
    gram, moment = x.T @ x, x.T @ z
    for s in range(z.shape[1]):
        path = _path(
            x, z[:, s], gram, moment[:, s], alphas=window.penalty[s : s + 1], max_iter=200,
            coef_init=window.coefficients[s],
        )  # fmt: skip
        window.coefficients[s] = path[:, 0]
    window.mean, window.sd, window.level, window.spread = moved.mean, moved.sd, moved.level, moved.spread
