"""The default day-ahead model: a weighted mean of members, with weights learnt only from errors already made.

For each row the weights are those convex weights on a grid that had the least exponentially fading mean
absolute error so far, plus a pull towards the start weights; so it begins near them and moves with evidence.
The naive is a member that starts at nothing: after a change of regime, when what was learnt misleads, it takes over.
"""

from __future__ import annotations

import itertools

import numpy as np

from gridpilot.errors import MODEL_ERRORS
from gridpilot.forecast.dayahead import DayModel
from gridpilot.forecast.days import DayTable, Tick, silent
from gridpilot.forecast.gp import GaussianProcess
from gridpilot.forecast.lear import Lear
from gridpilot.forecast.net import SmallNet
from gridpilot.values import Array

START_WEIGHTS = {"gp": 0.4, "gp whole": 0.15, "net": 0.3, "lear": 0.15, "like day": 0.0}
GRID = 10  # weights are tenths
FADE = 0.99  # of past errors, per day
PULL = 0.05  # towards the start weights, as a share of the mean error
BURN_IN = 14  # days of errors before weights move
CALIBRATION_ROWS = 182
REACH = 0.25  # a forecast goes at most so far beyond the range seen, in widths of that range


class LikeDay:
    """The seasonal naive as a `DayModel`: yesterday, or a week ago for Saturday, Sunday and Monday."""

    name = "like day"
    least_rows = 7

    def fit(self, days: DayTable) -> None:
        """Nothing to learn."""

    def predict(self, days: DayTable) -> Array:
        """The day to come (S,)."""
        return np.asarray(days.y[-7 if days.weekday[-1] in (5, 6, 0) else -1])

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of rows `first`.. (D, S); NaN before."""
        out = np.full(days.y.shape, np.nan)
        row = np.arange(first, len(days))
        out[first:] = days.y[row - np.where(np.isin(days.weekday[first:-1], (5, 6, 0)), 7, 1)]
        return out


class Stack:
    """Gaussian process with and without blocks, net, LEAR and the naive; a `DayModel`."""

    name = "ensemble"
    least_rows = 120

    def __init__(self) -> None:
        members: list[DayModel] = [
            GaussianProcess(), GaussianProcess("gp whole", (0, 24)), SmallNet(), Lear(), LikeDay()
        ]  # fmt: skip
        self._members = {member.name: member for member in members}
        self._weights = np.zeros(0)
        self._range = (-np.inf, np.inf)
        self.left_out: dict[str, str] = {}  # members that failed, and why
        self.member_rows: dict[str, Array] = {}  # what each said of the rows that were forecast (D, S)

    @property
    def members(self) -> dict[str, DayModel]:
        """The members that have not failed."""
        return dict(self._members)

    @property
    def reach(self) -> tuple[float, float]:
        """Lowest and highest value of the next forecast."""
        return self._range

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the members in the next forecast."""
        return dict(zip(self._members, self._weights.tolist(), strict=True))

    def fit(self, days: DayTable) -> None:
        """Members, and the weights that the newest half year of rows teaches."""
        self.rows(days, max(self.least_rows // 2, len(days) - CALIBRATION_ROWS))

    def predict(self, days: DayTable) -> Array:
        """The day to come (S,)."""
        guesses = [np.clip(member.predict(days), *self._range) for member in self._members.values()]
        return np.asarray(self._weights @ np.stack(guesses))

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of rows `first`.. (D, S), each with the weights of the rows before it; NaN before `first`.

        A member that fails, or gives anything but numbers, is left out; ValueError where none is left.
        """
        low, high = _reach(days.y)
        guesses, count = {}, len(self._members)
        for i, (name, member) in enumerate(list(self._members.items())):

            def part(share: float, done: int = i) -> None:
                tick((done + share) / count)

            try:
                guess = np.clip(member.rows(days, first, part), low[:-1, None], high[:-1, None])[first:]
                if not np.all(np.isfinite(guess)):
                    raise ValueError("gave no numbers")
                guesses[name] = guess
            except MODEL_ERRORS as error:
                self.left_out[name] = f"{type(error).__name__}: {error}"
                del self._members[name]
        if not guesses:
            raise ValueError(f"no member of the ensemble gave a forecast: {self.left_out}")
        start = np.array([START_WEIGHTS[name] for name in guesses])
        stacked = np.stack(list(guesses.values()))
        start = start if start.sum() > 0.0 else np.ones_like(start)
        weights = learnt_weights(stacked - days.y[first:], start / start.sum())
        before = np.full((first, days.y.shape[1]), np.nan)
        self.member_rows = {name: np.concatenate([before, guess]) for name, guess in guesses.items()}
        out = np.full(days.y.shape, np.nan)
        out[first:] = np.einsum("rm,mrs->rs", weights[:-1], stacked)
        self._weights, self._range = weights[-1], (float(low[-1]), float(high[-1]))
        return out


def _reach(y: Array) -> tuple[Array, Array]:
    """Lowest and highest forecast of each row and the next (D + 1,), from the rows before it."""
    low, high = np.minimum.accumulate(y.min(axis=1)), np.maximum.accumulate(y.max(axis=1))
    low, high = np.concatenate([low[:1], low]), np.concatenate([high[:1], high])
    more = REACH * (high - low)
    return low - more, high + more


def learnt_weights(errors: Array, start: Array) -> Array:
    """Weights (R + 1, M) for each row of errors (M, R, S) and the next, from the rows before it alone."""
    members, rows, _ = errors.shape
    grid = _convex(members)
    pull = PULL * np.sum((grid - start) ** 2, axis=1)
    out = np.empty((rows + 1, members))
    loss, count = np.zeros(len(grid)), 0.0
    for row in range(rows + 1):
        if row < BURN_IN:
            out[row] = start
        else:
            mean = loss / count
            out[row] = grid[int(np.argmin(mean + mean.mean() * pull))]
        if row < rows:
            loss = FADE * loss + np.mean(np.abs(grid @ errors[:, row]), axis=1)
            count = FADE * count + 1.0
    return out


def _convex(members: int) -> Array:
    """All weights in tenths that sum to one (C, M)."""
    cuts = itertools.combinations(range(GRID + members - 1), members - 1)
    edges = np.array([(-1, *cut, GRID + members - 1) for cut in cuts])
    return np.asarray((np.diff(edges, axis=1) - 1) / GRID)
