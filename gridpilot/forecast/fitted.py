"""A forecaster that has been fitted, with the errors it made before: all that a forecast needs, and nothing slow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gridpilot.domain import DataFlag, Trial
from gridpilot.forecast.dayahead import DayAhead, recent_days
from gridpilot.forecast.features import Series
from gridpilot.forecast.models import Forecaster
from gridpilot.values import Array, to_utc

OLDEST = timedelta(days=8)  # an older fit is not used any more


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fitted members and how they are mixed.

    `origin` is the newest value that was learnt from; weights (of the members in the mix) sum to 1; errors (K, H) are
    those of the mix at past origins `spacing` steps apart, newest last; scores are mean absolute errors there. An
    error counts `fade`^age in the band. No member goes outside `reach`.
    """

    method: str
    origin: datetime
    members: Mapping[str, Forecaster]
    weights: Mapping[str, float]
    errors: Array
    spacing: int
    scores: Mapping[str, float]
    fade: float = 1.0
    reach: tuple[float, float] = (-np.inf, np.inf)
    flags: tuple[DataFlag, ...] = ()
    trial: Trial | None = None
    cpu_s: float = 0.0
    digest: str = ""  # of the series that was learnt from

    @property
    def version(self) -> str:
        """Which fit this is: its newest value's time."""
        return f"{self.origin:%Y-%m-%dT%H:%MZ}"

    def lag(self, series: Series) -> int | None:
        """Steps of the series that came after the time of day of the fit, under an hour; None: it does not serve."""
        for lag in range(min(series.per_hour, len(series))):
            known = series.cut(len(series) - lag)
            age = to_utc(known.timestamp[-1]) - self.origin
            if timedelta(0) <= age <= OLDEST and all(m.serves(known) for m in self.members.values()):
                return lag
        return None

    def predict(self, series: Series, horizon: int) -> tuple[Array, dict[str, Array], Array]:
        """The mix (H,), what each member says, and the past errors (K, H') of the mix that far ahead, H' <= H.

        ValueError for anything but numbers. Of an hour that has begun, the steps already known correct the mix: by
        the regression of the errors that followed on the errors of those steps.
        """
        lag = self.lag(series)
        if lag is None:
            raise ValueError(f"the fit of {self.version} does not serve a series that ends then")
        known, reach, members = series.cut(len(series) - lag), horizon + lag, {}
        days = recent_days(known) if any(isinstance(m, DayAhead) for m in self.members.values()) else None
        for name, model in self.members.items():
            shared = {"days": days} if isinstance(model, DayAhead) else {}  # read once for all
            values = model.predict(known, reach, **shared)
            members[name] = np.clip(checked(values, (reach,)), *self.reach)
        point, errors = mean_of(members, self.weights), self.errors[:, :reach]
        if lag:
            errors = np.pad(errors, ((0, 0), (0, min(lag, reach - errors.shape[1]))), mode="edge")
            missed, before = float(np.mean(series.y[-lag:] - point[:lag])), errors[:, :lag].mean(axis=1)
            follows = before @ errors / max(float(before @ before), np.finfo(float).tiny)
            errors = errors - before[:, None] * follows
            point[: len(follows)] += missed * follows
        return np.clip(point[lag:], *self.reach), {name: m[lag:] for name, m in members.items()}, errors[:, lag:]

    def drivers(self, series: Series) -> dict[str, float]:
        """What each input adds to the next day's mean price; empty where no member can say."""
        known = series.cut(len(series) - (self.lag(series) or 0))
        for model in reversed(list(self.members.values())):  # the simplest that can say comes last
            if isinstance(model, DayAhead) and (found := model.drivers(known)):
                return found
        return {}


def digest(series: Series) -> str:
    """What a series says, in 64 hex digits."""
    parts = (series.timestamp.astype(np.int64), series.y, series.exog)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def mean_of(members: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The weighted mean of members of one shape."""
    return np.asarray(np.sum([weight * members[name] for name, weight in weights.items()], axis=0))


def checked(values: Array, shape: tuple[int, ...]) -> Array:
    """The values, or a ValueError that says what is wrong with them."""
    if np.shape(values) != shape or not np.all(np.isfinite(values)):
        finite = int(np.sum(np.isfinite(values)))
        raise ValueError(f"gave {finite} finite values in shape {np.shape(values)}, expected all finite in {shape}")
    return values
