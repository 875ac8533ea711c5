"""Joint courses of prices around a forecast, drawn from a fitted process: Monte-Carlo scenarios, each set with a label.

The process is fitted to what the energy price did beside its own daily shape in the newest DAYS days (the mean of each
step of the day, UTC): the difference from it for Ornstein-Uhlenbeck, the ratio to it for the processes of positive
prices. It starts at the shape, and moves the forecast: forecast + difference, or forecast x ratio / expected ratio, so
that the mean of all courses is the forecast. Hash and token price move by geometric Brownian motion around theirs where
they have moved in those days, and stay where they have not. Shocks of the prices are correlated as their changes were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gridpilot.domain import PriceHistory, PriceOutlook
from gridpilot.errors import DataError
from gridpilot.risk.heston import Heston
from gridpilot.risk.scenarios import Futures
from gridpilot.risk.simulators import GeometricBrownian, MertonJump, OrnsteinUhlenbeck, Simulator
from gridpilot.values import Array, as_array

DAYS = 365
FEWEST_DAYS = 8
PROCESSES: Final[dict[str, Any]] = {
    OrnsteinUhlenbeck.label: OrnsteinUhlenbeck,
    GeometricBrownian.label: GeometricBrownian,
    MertonJump.label: MertonJump,
    Heston.label: Heston,
}


@dataclass(frozen=True, slots=True)
class Generator:
    """A fitted process of the energy price with what goes beside it; `simulate` draws from it."""

    energy: Simulator
    hash: GeometricBrownian | None
    token: GeometricBrownian | None
    correlation: Array  # (3, 3) of the shocks of energy, hash and token price
    step_h: float
    days: float  # of history behind it

    @property
    def label(self) -> str:
        """What the courses come from."""
        return f"{self.energy.label}, fitted to {self.days:.0f} days"

    def simulate(self, outlook: PriceOutlook, n: int, rng: np.random.Generator) -> Futures:
        """`n` courses (n, T) of the prices of an outlook; its settled steps are the same in all.

        DataError where the outlook has another step than the history, or a ratio meets a forecast that is not positive.
        """
        if abs(outlook.step_s / 3600.0 - self.step_h) > 1e-9:
            raise DataError(
                f"the outlook has steps of {outlook.step_s} s, the history {self.step_h * 3600:g} s: expected equal"
            )
        known, steps = outlook.known, len(outlook) - outlook.known
        hours = as_array(self.step_h * np.arange(1, steps + 1))
        prices = (outlook.energy_usd_per_mwh, outlook.hash_price, outlook.token_price)
        mix = np.linalg.cholesky(self.correlation)
        own: list[Array] = []  # independent shocks; a price that does not move has none
        out: list[Array] = []
        for process, price, row in zip((self.energy, self.hash, self.token), prices, mix, strict=True):
            own.append(np.zeros(1) if process is None else rng.standard_normal((steps, n)).T)
            if process is None or not steps:
                out.append(np.broadcast_to(price, (n, len(price))))
                continue
            shocks = sum(part * other for part, other in zip(row, own, strict=False) if part != 0.0)
            course = np.empty((len(price), n)).T  # a step's values side by side, as the processes go
            course[:, :known] = price[:known]
            course[:, known:] = _moved(process, price[known:], np.asarray(shocks), (self.step_h, hours), rng)
            out.append(course)
        return Futures(out[0], out[1], out[2], self.label)


def from_bands(
    outlook: PriceOutlook, bands: Mapping[str, Mapping[float, Array]], keep: float, n: int, rng: np.random.Generator
) -> Futures:
    """`n` courses (n, T) of the prices of an outlook whose every step has the distribution that a forecast said.

    bands: energy, hash, token -> level -> quantile (T - known,) of the steps after the settled ones. A standard normal
    z runs from step to step, z' = keep z + sqrt(1 - keep^2) shock (`keep` from 0 to 1), and becomes the price by the
    quantiles, straight between their levels on the scale of z and on in the same direction beyond them. The three
    prices move independently. A price without a band (NaN) is the outlook's.
    """
    if not 0.0 <= keep <= 1.0:
        raise DataError(f"what a step keeps of the one before is {keep}: expected 0 to 1")
    known, steps = outlook.known, len(outlook) - outlook.known
    out: list[Array] = []
    for name, price in (
        ("energy", outlook.energy_usd_per_mwh),
        ("hash", outlook.hash_price),
        ("token", outlook.token_price),
    ):
        course = np.repeat(price[None, :], n, axis=0)
        z = np.empty((n, steps))
        shocks = rng.standard_normal((n, steps))
        for t in range(steps):
            z[:, t] = shocks[:, t] if t == 0 else keep * z[:, t - 1] + math.sqrt(1.0 - keep * keep) * shocks[:, t]
        drawn = _by_quantiles(z, bands[name])
        course[:, known:] = np.where(np.isnan(drawn), course[:, known:], drawn)
        out.append(course)
    return Futures(out[0], out[1], out[2], "drawn from the forecast's bands")


def _by_quantiles(z: Array, band: Mapping[float, Array]) -> Array:
    """Prices (S, H) of standard normal values (S, H) by quantiles level -> (H,)."""
    from scipy.special import ndtri

    levels = sorted(band)
    at = np.array([float(ndtri(level)) for level in levels])
    height = np.stack([band[level] for level in levels])
    part = np.clip(np.searchsorted(at, z) - 1, 0, len(levels) - 2)
    step = np.arange(z.shape[1])
    low, high = height[part, step], height[part + 1, step]
    return np.asarray(low + (z - at[part]) / (at[part + 1] - at[part]) * (high - low))


def persistence(history: PriceHistory) -> float:
    """What a step's energy price keeps of the last one's difference from the daily shape: e^(-pull h) of `fit`.

    A history shorter than FEWEST_DAYS days has no daily shape: there it is the difference from the level. DataError as
    in `fit`.
    """
    step_h, per_day = history.step_s / 3600.0, 86400 // history.step_s
    days = min(DAYS, len(history) // per_day)
    energy = history.energy_usd_per_mwh
    moves = energy if days < FEWEST_DAYS else _beside(energy[-days * per_day :], per_day, False, "")
    return math.exp(-OrnsteinUhlenbeck.fit(moves, step_h).pull * step_h)


def fit(process: str, history: PriceHistory) -> Generator:
    """The process of that name (PROCESSES) fitted to a history.

    DataError, in one line, where there is no such process, the history is shorter than FEWEST_DAYS days, or the process
    does not apply (a price that was negative, no pull, no jumps, no clusters of variance).
    """
    if process not in PROCESSES:
        raise DataError(f"no process {process!r}: expected one of {', '.join(PROCESSES)}")
    per_day = 86400 // history.step_s
    days = min(DAYS, len(history) // per_day)
    if days < FEWEST_DAYS:
        raise DataError(f"{process} can't be fitted: {days} whole days of prices, expected {FEWEST_DAYS} or more")
    step_h, n = history.step_s / 3600.0, days * per_day
    energy = history.energy_usd_per_mwh[-n:]
    kind = PROCESSES[process]
    moves = _beside(energy, per_day, kind.positive, process)
    hashes, tokens = (_moving(price[-n:], step_h) for price in (history.hash_price, history.token_price))
    changes = [np.diff(moves), *(_changes(price[-n:]) for price in (history.hash_price, history.token_price))]
    return Generator(kind.fit(moves, step_h), hashes, tokens, _correlation(changes), step_h, float(days))


def _beside(energy: Array, per_day: int, ratio: bool, process: str) -> Array:
    """The price beside its daily shape (N,): less it, or over it."""
    table = energy.reshape(-1, per_day)
    shape = np.tile(table.mean(axis=0), len(table))
    if not ratio:
        return np.asarray(energy - shape)
    low = float(energy.min())
    if low <= 0.0:
        raise DataError(
            f"{process} does not apply: {int(np.sum(energy <= 0.0))} of {len(energy)} energy prices are 0 or negative, "
            f"the lowest {low:g} USD/MWh; expected positive prices; Ornstein-Uhlenbeck takes any"
        )
    return np.asarray(energy / shape)


def _moved(
    process: Simulator, price: Array, shocks: Array, steps: tuple[float, Array], rng: np.random.Generator
) -> Array:
    """Courses (S, H) around a forecast (H,)."""
    step_h, hours = steps
    if not process.positive:
        drawn = process.paths(0.0, shocks, step_h, rng)
        return np.asarray(price + drawn - process.mean(0.0, hours))
    if not np.all(price > 0.0):
        raise DataError(
            f"{process.label} does not apply: the forecast goes down to {price.min():g}, expected positive prices"
        )
    drawn = process.paths(1.0, shocks, step_h, rng)
    return np.asarray(price * drawn / process.mean(1.0, hours))


def _moving(price: Array, step_h: float) -> GeometricBrownian | None:
    """The motion of a hash or token price; None where it is not known, not positive throughout or never moved."""
    if not np.isfinite(price).all() or price.min() <= 0.0 or np.ptp(np.diff(np.log(price))) == 0.0:
        return None
    return GeometricBrownian.fit(price, step_h)


def _changes(price: Array) -> Array:
    return np.diff(price) if np.isfinite(price).all() else np.zeros(len(price) - 1)


def _correlation(changes: list[Array]) -> Array:
    """Correlation (3, 3) of changes; 0 with one that never moved."""
    out = np.eye(len(changes))
    for i, one in enumerate(changes):
        for j, other in enumerate(changes[:i]):
            if np.ptp(one) > 0.0 and np.ptp(other) > 0.0:
                out[i, j] = out[j, i] = float(np.corrcoef(one, other)[0, 1])
    return np.asarray(0.999 * out + 0.001 * np.eye(len(changes)))  # positive definite, whatever rounding did
