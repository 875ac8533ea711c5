"""Bands from out-of-sample errors (scaled conformal) and, for short histories, from observed changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gridpilot.domain import Band
from gridpilot.forecast.scores import crps_sample
from gridpilot.values import Array

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
NORMAL = (-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449)  # standard normal quantiles at LEVELS
HALF_LIFE = 14  # origins; how fast the scale forgets
FADE = 0.99  # weight of an error per day of age, where there is half a year of them
WINDOW = 182  # newest origins in a rolling band
FEWEST = 12  # errors before there is a band
BURN_IN = 7  # first origins, used for the scale only
FLOOR = 0.25  # least scale, as a share of the mean error: a surprise after calm days must not count without limit


def rescaled(errors: Array, neighbours: int) -> Array:
    """Out-of-sample errors (K, H) -> the same errors at today's scale (K', H).

    r[d] = e[d] / s[d] with the scales of `scales`; the result is r x s[newest]. Dividing by a scale known
    beforehand keeps the bands right when volatility moves. With few origins the errors stay as they are.
    """
    if len(errors) < 3 * BURN_IN:
        return errors
    known = scales(errors, neighbours, FLOOR * _smooth(np.abs(errors), neighbours).mean(axis=0))
    return np.asarray(standardised(errors, known)[BURN_IN:] * known[-1])


def scales(errors: Array, neighbours: int, floor: Array | None = None) -> Array:
    """What the size of an error was expected to be at each origin and the next (K + 1, H), from earlier errors.

    s[d] is an exponentially weighted mean of |e| per step, over origins before d and the neighbouring steps; the
    first BURN_IN rows hold the mean of these rows, which is not known beforehand: leave them out. `floor` (H,) is the
    least scale; None: a share of the mean error so far. NaN is not allowed.
    """
    size = _smooth(np.abs(errors), neighbours)
    burn = min(BURN_IN, len(errors))
    decay = 0.5 ** (1.0 / HALF_LIFE)
    out = np.empty((len(errors) + 1, errors.shape[1]))
    total = np.cumsum(size, axis=0)
    out[: burn + 1] = total[burn - 1] / burn if floor is None else np.maximum(total[burn - 1] / burn, floor)
    for d in range(burn, len(errors)):
        least = FLOOR * total[d] / (d + 1) if floor is None else floor
        out[d + 1] = np.maximum(decay * out[d] + (1.0 - decay) * size[d], least)
    return out


def standardised(errors: Array, known: Array) -> Array:
    """e / s (K, H), 0 where the scale is 0."""
    scale = known[: len(errors)]
    return np.divide(errors, scale, out=np.zeros_like(scale), where=scale > 0.0)


def pooled(ratio: Array, neighbours: int) -> Array:
    """Each step with its neighbours: (K, H) -> (H, K x (2 reach + 1)), origins in order within each neighbour."""
    horizon = ratio.shape[1]
    reach = min(neighbours, horizon - 1)
    index = np.clip(np.arange(horizon)[:, None] + np.arange(-reach, reach + 1), 0, horizon - 1)
    return np.asarray(ratio[:, index].transpose(1, 2, 0).reshape(horizon, -1))


def conformal(
    point: Array, residuals: Array, *, neighbours: int, days: float, fade: float = 1.0
) -> tuple[dict[float, Array], Array]:
    """Quantiles {level: (H,)} and sigma (H,) of a forecast with past errors `residuals` (K, H).

    Each step is pooled with `neighbours` steps to either side. The q-quantile of n errors is the one at rank
    q (n + 1), as split conformal prediction asks (Vovk, Gammerman and Shafer 2005), with n = 3 x `days`,
    since origins less than a day apart and neighbouring steps repeat each other. An error counts `fade`^age,
    age in origins. No band excludes the point. sigma is the root mean square error.
    """
    pool = pooled(residuals, neighbours)
    stretch = 1.0 + 1.0 / max(1.0, 3.0 * days)
    upper = np.minimum(1.0, np.maximum(LEVELS, np.subtract(1.0, LEVELS)) * stretch)
    levels = np.where(np.equal(LEVELS, 0.5), 0.5, np.where(np.greater(LEVELS, 0.5), upper, 1.0 - upper))
    if fade == 1.0:
        offsets = np.quantile(pool, levels, axis=1)
    else:
        sample, weight = weighted(residuals, neighbours, fade)
        offsets = quantiles_of(sample, weight, levels)
    quantiles = {q: _beyond(q, point, point + offset) for q, offset in zip(LEVELS, offsets, strict=True)}
    return quantiles, np.sqrt(np.mean(pool * pool, axis=1))


def weighted(errors: Array, neighbours: int, fade: float = FADE) -> tuple[Array, Array]:
    """Sorted sample and weights (H, n) out of past errors (K, H), each step pooled with its neighbours.

    An error counts fade^age, age in origins; the weights of a step sum to 1.
    """
    pool = pooled(errors, neighbours)
    share = np.tile(fade ** np.arange(len(errors) - 1, -1, -1.0), pool.shape[1] // len(errors))
    order = np.argsort(pool, axis=1, kind="stable")
    return np.take_along_axis(pool, order, axis=1), share[order] / share.sum()


def quantiles_of(sample: Array, weight: Array, levels: Array) -> Array:
    """Quantiles (L, H) of sorted weighted samples (H, n), as `weighted` gives them: each value at its mid-weight."""
    at = np.cumsum(weight, axis=1) - 0.5 * weight
    return np.stack([np.interp(levels, a, values) for a, values in zip(at, sample, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class Rolling:
    """Offsets level -> (K, H) to add to the point, and the score (K, H) of the whole distribution."""

    offsets: Mapping[float, Array]
    crps: Array


def rolling(errors: Array, lead: int, neighbours: int) -> Rolling | None:
    """Rolling scaled conformal distributions of origins lead.., each from the errors (K, H) of origins before it.

    Errors are divided by what their size was expected to be (`scales`), the newest WINDOW of them weighted by
    FADE^age, pooled with the neighbouring steps and multiplied by today's expected size. Before FEWEST errors are
    known the distribution of the first FEWEST is not honest, so None where an origin has fewer.
    """
    if lead < FEWEST + BURN_IN:
        return None
    known = scales(errors, neighbours)
    ratio = standardised(errors, known)
    k = len(errors) - lead
    offsets = {q: np.empty((k, errors.shape[1])) for q in LEVELS}
    crps = np.empty((k, errors.shape[1]))
    for i in range(k):
        now = lead + i
        sample, weight = weighted(ratio[max(BURN_IN, now - WINDOW) : now], neighbours)
        for q, values in zip(LEVELS, quantiles_of(sample, weight, np.array(LEVELS)), strict=True):
            offsets[q][i] = values * known[now]
        for h in range(errors.shape[1]):
            crps[i, h] = crps_sample(errors[now, h], sample[h] * known[now, h], weight[h])
    return Rolling(offsets, crps)


def walk_range(y: Array) -> tuple[float, float]:
    """Where a random walk is kept: the range seen so far and a tenth of its width on either side."""
    margin = 0.1 * float(np.ptp(y))
    return float(y.min()) - margin, float(y.max()) + margin


def random_walk(y: Array, horizon: int, method: str) -> Band:
    """Last value with a band of z_q x sd(changes) x sqrt(h), kept within `walk_range`. y (N,), N >= 2.

    Checked on 147 five-minute prices of a market without a season: the 80 % band held 82-83 % of the values
    1 to 36 steps ahead, 74 % at 60 steps.
    """
    point = np.full(horizon, y[-1])
    sigma = changes(y).std() * np.sqrt(np.arange(1, horizon + 1))
    low, high = walk_range(y)
    quantiles = {q: np.clip(point + z * sigma, low, high) for q, z in zip(LEVELS, NORMAL, strict=True)}
    return Band(point, quantiles[0.1], quantiles[0.9], sigma, quantiles, method, {"last value": point})


def flat(value: float, horizon: int, method: str) -> Band:
    """A band of zero width, or of NaN for a price that does not exist."""
    point = np.full(horizon, value)
    sigma = point * 0.0
    return Band(point, point, point, sigma, dict.fromkeys(LEVELS, point), method)


def changes(y: Array) -> Array:
    """Step changes around their mean, mirrored, so that they have no drift (2N - 2,)."""
    step = np.diff(y)
    return np.concatenate([step, -step])


def _beyond(q: float, point: Array, value: Array) -> Array:
    if q == 0.5:
        return value
    return np.minimum(point, value) if q < 0.5 else np.maximum(point, value)


def _smooth(size: Array, neighbours: int) -> Array:
    """Mean over the steps h - neighbours .. h + neighbours, as far as they exist. (K, H) -> (K, H)."""
    horizon = size.shape[1]
    total = np.concatenate([np.zeros((len(size), 1)), np.cumsum(size, axis=1)], axis=1)
    step = np.arange(horizon)
    low, high = np.maximum(step - neighbours, 0), np.minimum(step + neighbours + 1, horizon)
    return np.asarray((total[:, high] - total[:, low]) / (high - low))
