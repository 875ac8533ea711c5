"""Rolling-origin evaluation, day-ahead: what each model would have said on each day, knowing only what came before.

Each local day of the test period is forecast from its midnight. A model starts up to half a year earlier, so
that its bands are calibrated, and its weights learnt, on errors that it really made. It is fitted before the
first origin and recalibrated every `refit_days` (1 for most). Bands are rolling scaled conformal: see `bands.rolling`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.errors import MODEL_ERRORS, DataError
from gridpilot.forecast import bands, scores
from gridpilot.forecast.dayahead import DayAhead
from gridpilot.forecast.features import Series
from gridpilot.forecast.models import Forecaster
from gridpilot.forecast.registry import REGISTRY, Entry
from gridpilot.values import Array, Index, Times, to_stamp

NAIVES = ("seasonal naive", "weekly naive")
DEFAULT = ("ensemble", *NAIVES)
LEAD_DAYS = 182  # days before the test period that calibrate bands and weights
KUPIEC_LEVEL = 0.05

Progress = Callable[[str, float], None]  # model, share done


@dataclass(frozen=True, slots=True)
class Trial:
    """What one model said: forecast (K, H) and quantiles level -> (K, H); crps (K, H), NaN before a band exists."""

    forecast: Array
    quantiles: Mapping[float, Array]
    crps: Array
    fit_ms: float
    predict_ms: float
    refit_days: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Trials of several models over the same K days: timestamp (K, H), truth (K, H); `failed` model -> reason."""

    timestamp: Times
    truth: Array
    trials: Mapping[str, Trial]
    failed: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> dict[str, dict[str, Any]]:
        """Model -> measures, errors in the price's unit. `rmae` is against the seasonal naive."""
        losses = {name: np.mean(np.abs(self.truth - t.forecast), axis=1) for name, t in self.trials.items()}
        tests = scores.against_best_other(losses)
        naive = {name: float(np.mean(losses[name])) for name in NAIVES}
        out = {}
        for name, trial in self.trials.items():
            out[name] = self._measures(trial, naive)
            if name in tests:
                out[name]["dm_against"], out[name]["dm_p"] = tests[name]
        return out

    def _measures(self, trial: Trial, naive: Mapping[str, float]) -> dict[str, Any]:
        truth, guess, quantiles = self.truth, trial.forecast, trial.quantiles
        own = scores.mae(truth, guess)
        body: dict[str, Any] = {
            "mae": own,
            "rmae": scores.ratio(own, naive["seasonal naive"]),
            "rmae_weekly_naive": scores.ratio(own, naive["weekly naive"]),
            "smape": scores.smape(truth, guess),
            "wape": scores.wape(truth, guess),
            "rmse": scores.rmse(truth, guess),
            "crps": None,
            "coverage80": None,
            "coverage90": None,
            "kupiec_hours_passed": None,
            "kendall_tau": scores.kendall_tau(truth, guess),
            "fit_ms": trial.fit_ms,
            "predict_ms": trial.predict_ms,
            "refit_days": trial.refit_days,
        }
        if quantiles:
            inside = (quantiles[0.1] <= truth) & (truth <= quantiles[0.9])
            p = [scores.kupiec(inside[:, h].astype(np.float64), 0.8) for h in range(truth.shape[1])]
            body |= {
                "crps": float(np.mean(trial.crps)),
                "coverage80": float(np.mean(inside)),
                "coverage90": scores.coverage(truth, quantiles[0.05], quantiles[0.95]),
                "kupiec_hours_passed": int(np.sum(np.array(p) >= KUPIEC_LEVEL)),
                "kupiec_p": p,
            }
        return body

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every forecast, a row each."""
        for name, trial in self.trials.items():
            for k, h in np.ndindex(self.truth.shape):
                row: dict[str, Any] = {
                    "timestamp": str(self.timestamp[k, h]) + "Z",
                    "model": name,
                    "step": h + 1,
                    "actual": self.truth[k, h],
                    "forecast": trial.forecast[k, h],
                }
                row |= {f"q{round(100 * q):02d}": values[k, h] for q, values in trial.quantiles.items()}
                yield row


def evaluate(
    series: Series, start: date, end: date, models: Sequence[str] = DEFAULT, progress: Progress | None = None
) -> Evaluation:
    """Forecast each local day from `start` to `end`, both included, by each model; the two naives always.

    Raises DataError where the days are not in the series or the history before them is too short for every model.
    """
    horizon = series.season
    origins = day_origins(series, start, end)
    truth = series.y[origins[:, None] + np.arange(1, horizon + 1)]
    trials, failed = {}, {}
    for name in dict.fromkeys((*models, *NAIVES)):
        entry = REGISTRY[name]
        need = entry.build().min_history(series.step_s, horizon)
        if int(origins[0]) + 1 < need:
            failed[name] = f"needs {need} values before {start}, there are {int(origins[0]) + 1}"
            continue
        try:
            trials[name] = _trial(series, origins, horizon, entry, need, partial(progress or _quiet, name))
        except MODEL_ERRORS as error:
            failed[name] = f"{type(error).__name__}: {error}"
    if any(name not in trials for name in NAIVES):
        raise DataError(f"{failed['weekly naive']}: start later or give a longer history")
    if not any(name in trials for name in models):
        raise DataError("; ".join(f"{name} {failed[name]}" for name in models))
    stamps = series.timestamp[origins[:, None] + np.arange(1, horizon + 1)]
    return Evaluation(stamps, truth, trials, failed)


def _quiet(name: str, share: float) -> None:
    """The progress of those who don't want to know."""


def day_origins(series: Series, start: date, end: date) -> Index:
    """Index (K,) of the newest value before each local midnight from `start` to `end`."""
    if end < start:
        raise DataError(f"--end {end} is before --start {start}")
    zone = ZoneInfo(series.timezone)
    days = [start + timedelta(days=k) for k in range((end - start).days + 1)]
    midnights = np.array([to_stamp(datetime(d.year, d.month, d.day, tzinfo=zone)) for d in days])
    first: Index = np.searchsorted(series.timestamp, midnights).astype(np.int64)
    whole = (first >= 1) & (first + series.season <= len(series))
    if not whole.all():
        known = f"{series.timestamp[0]}Z to {series.timestamp[-1]}Z"
        bad = days[int(np.argmin(whole))]
        raise DataError(f"{bad} is not wholly in the series, which has {known} and needs a value before it")
    return first - 1


def rolling(
    model: Forecaster, series: Series, origins: Index, horizon: int, refit_days: int, told: Callable[[float], None]
) -> Array:
    """Forecasts (K, H), each from the series cut at its origin, refitted every `refit_days` origins."""
    if isinstance(model, DayAhead):
        table = model.rolling(series, origins, horizon, told)
        if table is not None:
            return table
    out = np.empty((len(origins), horizon))
    for k, origin in enumerate(origins):
        known = series.cut(int(origin) + 1)
        if k % refit_days == 0:
            model.fit(known, horizon)
        out[k] = model.predict(known, horizon)
        told((k + 1) / len(origins))
    return out


def _trial(
    series: Series, origins: Index, horizon: int, entry: Entry, need: int, told: Callable[[float], None]
) -> Trial:
    lead = earlier_origins(series, origins, need)
    every, model = np.concatenate([lead, origins]), entry.build()
    start = time.perf_counter()
    guess = rolling(model, series, every, horizon, entry.refit_days, told)
    fit_ms = (time.perf_counter() - start) * 1000.0 / len(every)
    truth = series.y[every[:, None] + np.arange(1, horizon + 1)]
    found = bands.rolling(truth - guess, len(lead), series.per_hour)
    now = guess[len(lead) :]
    quantiles = {q: now + offset for q, offset in found.offsets.items()} if found else {}
    crps = found.crps if found else np.full_like(now, np.nan)
    return Trial(now, quantiles, crps, fit_ms, _predict_ms(model, series, every, horizon), entry.refit_days)


def earlier_origins(series: Series, origins: Index, need: int) -> Index:
    """Up to LEAD_DAYS origins a day apart before the first, as far as the history before them suffices."""
    room = (int(origins[0]) + 1 - need) // series.season - 1
    count = max(0, min(LEAD_DAYS, room))
    first = datetime.fromtimestamp(int(series.timestamp[origins[0] + 1].astype(np.int64)), ZoneInfo(series.timezone))
    if count == 0:
        return origins[:0]
    return day_origins(series, first.date() - timedelta(days=count), first.date() - timedelta(days=1))


def _predict_ms(model: Forecaster, series: Series, origins: Index, horizon: int) -> float:
    """Median time of a forecast by the fitted model, from the newest origins it serves."""
    times = []
    for origin in origins[-5:]:
        known = series.cut(int(origin) + 1)
        start = time.perf_counter()
        model.predict(known, horizon)
        times.append((time.perf_counter() - start) * 1000.0)
    return float(np.median(times))
