"""Where the sun is below the horizon: the light shading of the night in time charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

_SAMPLE_S = 600  # the night's edge is drawn to 10 minutes
_HORIZON_DEG = -0.833  # the sun's upper edge at the horizon, with refraction


def elevation_deg(epoch_s: npt.NDArray[np.float64], latitude: float, longitude: float) -> npt.NDArray[np.float64]:
    """Solar elevation (N,) in degrees at UTC epoch seconds (N,), to about half a degree.

    Declination and equation of time by the usual one-term and two-term approximations
    (P. I. Cooper 1969; Duffie and Beckman, Solar Engineering of Thermal Processes, section 1.5-1.6).
    """
    day = (epoch_s / 86400.0) % 365.2425
    b = 2.0 * np.pi * (day - 80.0) / 365.0
    equation_min = 9.87 * np.sin(2.0 * b) - 7.53 * np.cos(b) - 1.5 * np.sin(b)
    declination = np.radians(23.45) * np.sin(2.0 * np.pi * (day + 285.0) / 365.0)
    solar_h = (epoch_s % 86400.0) / 3600.0 + longitude / 15.0 + equation_min / 60.0
    hour_angle = np.radians(15.0 * (solar_h - 12.0))
    phi = np.radians(latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))), dtype=np.float64)


def nights(start: datetime, end: datetime, latitude: float, longitude: float) -> tuple[tuple[datetime, datetime], ...]:
    """The spans between `start` and `end` (aware) when the sun is down, in UTC, cut to the window."""
    times = np.arange(start.timestamp(), end.timestamp(), _SAMPLE_S, dtype=np.float64)
    if times.size == 0:
        return ()
    dark = elevation_deg(times, latitude, longitude) < _HORIZON_DEG
    edges = np.flatnonzero(np.diff(np.concatenate(([False], dark, [False])).astype(np.int8)))
    last = end.astimezone(UTC)
    return tuple(
        (_at(start, int(a)), min(last, _at(start, int(b)))) for a, b in zip(edges[::2], edges[1::2], strict=True)
    )


def _at(start: datetime, samples: int) -> datetime:
    return start.astimezone(UTC) + timedelta(seconds=samples * _SAMPLE_S)
