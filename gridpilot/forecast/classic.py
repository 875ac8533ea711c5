"""Time-series models of the system that GridPilot grew out of and its advanced set: Prophet, GARCH, Kalman, wavelet."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from typing import Any

import numpy as np

from gridpilot.forecast.features import DAY_S, Series
from gridpilot.forecast.models import SeasonalNaive
from gridpilot.forecast.tabular import Forest, Linear
from gridpilot.values import Array

LEVEL = 4  # of the wavelet decomposition
WAVELET = "db4"
GARCH_DAYS = 365
KALMAN_DAYS = 56
HARMONICS = 4


class Prophet:
    """Prophet: daily and weekly season, additive, changepoint prior scale 0.05, 80 % interval.

    Source: Taylor and Letham (2018), The American Statistician 72. Its own band is not used: conformal ones are.
    """

    name = "prophet"
    max_days = 730

    def __init__(self) -> None:
        self._model: Any = None

    def min_history(self, step_s: int, horizon: int) -> int:
        """Two weeks."""
        return 14 * max(1, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Stan's maximum a posteriori fit."""
        import pandas as pd

        logging.getLogger("cmdstanpy").disabled = True
        logging.getLogger("prophet").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from prophet import Prophet as Model

            model = Model(
                daily_seasonality=True, weekly_seasonality=True, seasonality_mode="additive",
                changepoint_prior_scale=0.05, interval_width=0.8, uncertainty_samples=0,
            )  # fmt: skip
            known = series.tail(self.max_days * series.season)
            self._model = model.fit(pd.DataFrame({"ds": pd.DatetimeIndex(known.timestamp), "y": known.y}))

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,); what came after the fit is not used."""
        import pandas as pd

        if self._model is None:
            raise ValueError("prophet is not fitted: call fit first")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = self._model.predict(pd.DataFrame({"ds": pd.DatetimeIndex(series.future(horizon))}))
        return np.asarray(out["yhat"], dtype=np.float64)

    def serves(self, series: Series) -> bool:
        """Any series, once fitted."""
        return self._model is not None


class SeedEnsemble:
    """The plain mean of Prophet, random forest and linear regression."""

    name = "seed ensemble"

    def __init__(self) -> None:
        self._members = (Prophet(), Forest(), Linear())

    def min_history(self, step_s: int, horizon: int) -> int:
        """What the members need."""
        return max(member.min_history(step_s, horizon) for member in self._members)

    def fit(self, series: Series, horizon: int) -> None:
        """Fit all three."""
        for member in self._members:
            member.fit(series, horizon)

    def predict(self, series: Series, horizon: int) -> Array:
        """The mean of the three (H,)."""
        return np.asarray(np.mean([member.predict(series, horizon) for member in self._members], axis=0))

    def serves(self, series: Series) -> bool:
        """Where all three do."""
        return all(member.serves(series) for member in self._members)


class Garch:
    """The day before plus an AR(1) of its change, with GARCH(1,1) variance and Student-t noise (package arch).

    d[t] = y[t] - y[t - 1 day]; d[t] = c + phi d[t-1] + e[t], e[t] = s[t] u[t],
    s[t]^2 = w + a e[t-1]^2 + b s[t-1]^2. Source: Bollerslev (1986), J. Econometrics 31.
    """

    name = "garch"

    def __init__(self) -> None:
        self._parameters: Array | None = None
        self._scale = 1.0

    def min_history(self, step_s: int, horizon: int) -> int:
        """Three weeks."""
        return 21 * max(1, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Maximum likelihood on the newest year."""
        change = self._change(series.tail(GARCH_DAYS * series.season))
        self._scale = float(np.std(change))
        if self._scale == 0.0:
            raise ValueError("the price repeats itself day by day: there is no variance to model")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._parameters = np.asarray(self._model(change).fit(disp="off", show_warning=False).params)

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,)."""
        return self._forecast(series, horizon)[0]

    def volatility(self, series: Series, horizon: int) -> Array:
        """Standard deviation of each step's noise (H,), in the price's unit."""
        return self._forecast(series, horizon)[1]

    def serves(self, series: Series) -> bool:
        """Any series, once fitted."""
        return self._parameters is not None

    def _forecast(self, series: Series, horizon: int) -> tuple[Array, Array]:
        if self._parameters is None:
            raise ValueError("garch is not fitted: call fit first")
        recent = series.tail(28 * series.season)
        fixed = self._model(self._change(recent)).fix(self._parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ahead = fixed.forecast(horizon=horizon, reindex=False)
        mean = np.asarray(ahead.mean)[-1] * self._scale
        spread = np.sqrt(np.maximum(np.asarray(ahead.residual_variance)[-1], 0.0)) * self._scale
        season, base = recent.season, recent.y
        out = np.empty(horizon)
        for h in range(horizon):  # beyond a day the forecast of the day before is the base
            out[h] = (base[h - season] if h < season else out[h - season]) + mean[h]
        return out, spread

    def _change(self, series: Series) -> Array:
        return np.asarray(series.y[series.season :] - series.y[: -series.season])

    def _model(self, change: Array) -> Any:
        from arch import arch_model

        return arch_model(change / self._scale, mean="AR", lags=1, vol="GARCH", p=1, q=1, dist="t", rescale=False)


class Kalman:
    """Level, damped trend and a daily season of four harmonics as the state of a Kalman filter.

    Noise shares come from the one-step errors of the fit's data, on a small grid. Source: Harvey (1989),
    Forecasting, Structural Time Series Models and the Kalman Filter, chapter 4.
    """

    name = "kalman"

    def __init__(self) -> None:
        self._noise: tuple[float, float] | None = None

    def min_history(self, step_s: int, horizon: int) -> int:
        """A week."""
        return 7 * max(1, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """The noise shares with the least squared error a day ahead."""
        known = series.tail(KALMAN_DAYS * series.season)
        trials = []
        for level in (1e-3, 1e-2, 1e-1):
            for season in (1e-5, 1e-4, 1e-3):
                trials.append((self._run(known, (level, season))[1], (level, season)))
        self._noise = min(trials)[1]

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,)."""
        if self._noise is None:
            raise ValueError("kalman is not fitted: call fit first")
        recent = series.tail(KALMAN_DAYS * series.season)
        state, _ = self._run(recent, self._noise)
        move, out = self._move(series.season), np.empty(horizon)
        for h in range(horizon):
            state = move @ state
            out[h] = state[0] + state[2::2].sum()
        return np.asarray(out * self._size(recent) + recent.y.mean())

    def serves(self, series: Series) -> bool:
        """Any series, once fitted."""
        return self._noise is not None

    @staticmethod
    def _size(series: Series) -> float:
        return float(np.std(series.y)) or 1.0

    @staticmethod
    def _move(season: int) -> Array:
        """How the state goes on: level and trend, then a rotation for each harmonic."""
        move = np.zeros((2 + 2 * HARMONICS, 2 + 2 * HARMONICS))
        move[0, :2], move[1, 1] = (1.0, 1.0), 0.9
        for k in range(HARMONICS):
            angle, i = 2.0 * np.pi * (k + 1) / season, 2 + 2 * k
            move[i : i + 2, i : i + 2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        return move

    def _run(self, series: Series, noise: tuple[float, float]) -> tuple[Array, float]:
        """The filtered state and the mean squared one-step error over the second half."""
        y = (series.y - series.y.mean()) / self._size(series)
        move = self._move(series.season)
        width = len(move)
        added = np.diag([noise[0], noise[0] * 0.01, *[noise[1]] * (width - 2)])
        seen = np.zeros(width)
        seen[0], seen[2::2] = 1.0, 1.0
        state, spread, total = np.zeros(width), np.eye(width), 0.0
        for t, value in enumerate(y):
            state, spread = move @ state, move @ spread @ move.T + added
            gain = spread @ seen
            error = value - seen @ state
            gain = gain / (seen @ gain + 0.1)
            state, spread = state + gain * error, spread - np.outer(gain, seen @ spread)
            total += error * error if t >= len(y) // 2 else 0.0
        return state, total / max(1, len(y) - len(y) // 2)


class Wavelet:
    """The like days of a denoised past: Daubechies 4, four levels, soft threshold.

    What is denoised is the deviation from the mean day, or the threshold would cut the day itself. The past is cut
    at the origin before it is denoised, so nothing later enters. Threshold: s sqrt(2 log n) with s from the finest
    details (Donoho and Johnstone 1994, Biometrika 81).
    """

    name = "wavelet"
    days = 28

    def min_history(self, step_s: int, horizon: int) -> int:
        """Eight days."""
        return 8 * max(1, round(DAY_S / step_s))

    def fit(self, series: Series, horizon: int) -> None:
        """Nothing to learn."""

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,)."""
        recent = series.tail(self.days * series.season)
        days = len(recent) // recent.season
        whole = recent.y[-days * recent.season :].reshape(days, recent.season).mean(axis=0)
        usual = np.resize(whole[::-1], len(recent))[::-1]  # whole days counted from the end
        clean = dataclasses.replace(recent.without_exog(), y=usual + self.denoised(recent.y - usual))
        like = [SeasonalNaive().predict(clean.cut(len(clean) - k * series.season), horizon) for k in range(2)]
        return np.asarray(0.75 * like[0] + 0.25 * like[1])

    def serves(self, series: Series) -> bool:
        """Any series."""
        return True

    def denoised(self, y: Array) -> Array:
        """y (N,) without what looks like noise."""
        import pywt

        level = min(LEVEL, pywt.dwt_max_level(len(y), WAVELET))
        parts = pywt.wavedec(np.array(y), WAVELET, level=level)
        noise = float(np.median(np.abs(parts[-1]))) / 0.6745 if level else 0.0
        limit = noise * np.sqrt(2.0 * np.log(len(y)))
        kept = [parts[0], *(pywt.threshold(part, limit, "soft") for part in parts[1:])] if limit > 0.0 else parts
        return np.asarray(pywt.waverec(kept, WAVELET)[: len(y)], dtype=np.float64)
