"""A forecaster that has been fitted, with the errors it made before: all that a forecast needs, and nothing slow."""

from __future__ import annotations

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

    @property
    def version(self) -> str:
        """Which fit this is: its newest value's time."""
        return f"{self.origin:%Y-%m-%dT%H:%MZ}"

    def serves(self, series: Series, horizon: int) -> bool:
        """Whether it can forecast from the end of the series, and is recent enough to."""
        age = to_utc(series.timestamp[-1]) - self.origin
        fresh = timedelta(0) <= age <= OLDEST
        return fresh and horizon <= self.errors.shape[1] and all(m.serves(series) for m in self.members.values())

    def predict(self, series: Series, horizon: int) -> tuple[Array, dict[str, Array]]:
        """The mix (H,) and what each member says, from the end of the series. ValueError for anything but numbers."""
        members = {}
        days = recent_days(series) if any(isinstance(m, DayAhead) for m in self.members.values()) else None
        for name, model in self.members.items():
            if isinstance(model, DayAhead):
                values = model.predict(series, horizon, days)
            else:
                values = model.predict(series, horizon)
            members[name] = np.clip(checked(values, (horizon,)), *self.reach)
        return mean_of(members, self.weights), members

    def drivers(self, series: Series) -> dict[str, float]:
        """What each input adds to the next day's mean price; empty where no member can say."""
        for model in reversed(list(self.members.values())):  # the simplest that can say comes last
            if isinstance(model, DayAhead) and (found := model.drivers(series)):
                return found
        return {}


def mean_of(members: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The weighted mean of members of one shape."""
    return np.asarray(np.sum([weight * members[name] for name, weight in weights.items()], axis=0))


def checked(values: Array, shape: tuple[int, ...]) -> Array:
    """The values, or a ValueError that says what is wrong with them."""
    if np.shape(values) != shape or not np.all(np.isfinite(values)):
        finite = int(np.sum(np.isfinite(values)))
        raise ValueError(f"gave {finite} finite values in shape {np.shape(values)}, expected all finite in {shape}")
    return values
