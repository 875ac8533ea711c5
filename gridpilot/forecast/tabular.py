"""Regression models on the engineered features: one row for each origin and step, one model for all steps.

The random forest and the linear regression are those of the system that GridPilot grew out of, XGBoost and the
plain Gaussian process of its advanced set. None sees outside series: their feature table has none.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np

from gridpilot.forecast.engineered import LOOKBACK_H, engineered, select
from gridpilot.forecast.features import DAY_S, Series
from gridpilot.values import Array, Index

TRAIN_DAYS = 730
FEWEST_DAYS = 14  # of training rows


class Regressor(Protocol):
    """Anything with scikit-learn's fit and predict."""

    def fit(self, x: Array, y: Array) -> object:
        """Learn from rows."""

    def predict(self, x: Array) -> Array:
        """One value a row."""


class Tabular:
    """A regressor on the 30 selected features. Trained on origins at the time of day of the series' end."""

    name = "tabular"
    train_days = TRAIN_DAYS
    most_rows = 200_000

    def __init__(self) -> None:
        self._model: Regressor | None = None
        self._chosen: list[int] = []
        self._fitted = (0, 0)

    def make(self) -> Regressor:
        """A fresh regressor."""
        raise TypeError(f"{type(self).__name__} names no regressor")

    def min_history(self, step_s: int, horizon: int) -> int:
        """What the features look back on, and two weeks of origins."""
        season = max(1, round(DAY_S / step_s))
        return LOOKBACK_H * 3600 // step_s + horizon + FEWEST_DAYS * season

    def serves(self, series: Series) -> bool:
        """Series of the fitted step that end at the fitted time of day."""
        return self._model is not None and self._fitted == _shape(series)

    def fit(self, series: Series, horizon: int) -> None:
        """Select features and learn from all origins a day apart whose targets are known."""
        origins = self.training_origins(series, horizon)
        x = engineered(series, origins, horizon)
        y = series.y[origins[:, None] + np.arange(1, horizon + 1)].ravel()
        flat = x.reshape(-1, x.shape[2])
        self._chosen = select(flat, y)
        if not self._chosen:
            raise ValueError("no feature varies in the training data")
        model = self.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hyperparameter at its bound is still a fit
            model.fit(flat[:, self._chosen], y)
        self._model, self._fitted = model, _shape(series)

    def predict(self, series: Series, horizon: int) -> Array:
        """The next `horizon` values (H,)."""
        if self._model is None or not self.serves(series):
            raise ValueError(f"{self.name} is not fitted for origins like the end of this series: call fit first")
        return np.asarray(self._model.predict(self.features_now(series, horizon)), dtype=np.float64)

    def features_now(self, series: Series, horizon: int) -> Array:
        """The selected features of the next `horizon` steps (H, F)."""
        recent = series.tail((LOOKBACK_H + 24) * 3600 // series.step_s)
        return np.asarray(engineered(recent, np.array([len(recent) - 1]), horizon)[0][:, self._chosen])

    def training_origins(self, series: Series, horizon: int) -> Index:
        """Origins (K,) a day apart, ascending."""
        last, season = len(series) - 1 - horizon, series.season
        last -= (last - (len(series) - 1)) % season  # the same time of day as the end
        days = max(1, min(self.train_days, self.most_rows // horizon))
        first = max(LOOKBACK_H * 3600 // series.step_s, last - (days - 1) * season)
        return np.arange(last, first - 1, -season)[::-1]


class Forest(Tabular):
    """100 trees, depth 15, at least 5 rows to split."""

    name = "forest"

    def make(self) -> Regressor:
        """scikit-learn's random forest with a fixed seed; threads would add its trees in any order."""
        from sklearn.ensemble import RandomForestRegressor

        model: Regressor = RandomForestRegressor(
            n_estimators=100, max_depth=15, min_samples_split=5, random_state=0, n_jobs=1
        )
        return model


class Linear(Tabular):
    """Ordinary least squares."""

    name = "linear"

    def make(self) -> Regressor:
        """scikit-learn's linear regression."""
        from sklearn.linear_model import LinearRegression

        model: Regressor = LinearRegression()
        return model


class XGBoost(Tabular):
    """Boosted trees (200, depth 6), each of several on a bootstrap sample of days; the mean is the forecast."""

    name = "xgboost"

    def make(self) -> Regressor:
        """A bagged booster."""
        return _Bootstrap()

    def uncertainty(self, series: Series, horizon: int) -> Array:
        """Standard deviation over the bootstrap samples (H,): the model's doubt, without the noise of prices."""
        if not isinstance(self._model, _Bootstrap):
            raise ValueError("xgboost is not fitted: call fit first")
        return np.asarray(self._model.each(self.features_now(series, horizon)).std(axis=0))


class _Bootstrap:
    """XGBoost on five bootstrap samples."""

    samples = 5

    def __init__(self) -> None:
        self._models: list[Any] = []

    def fit(self, x: Array, y: Array) -> None:
        """Each sample draws rows with replacement."""
        from xgboost import XGBRegressor

        rng = np.random.default_rng(0)
        self._models = []
        for seed in range(self.samples):
            rows = rng.integers(0, len(x), len(x))
            model = XGBRegressor(n_estimators=200, max_depth=6, learning_rate=0.05, random_state=seed, n_jobs=1)
            self._models.append(model.fit(x[rows], y[rows]))

    def each(self, x: Array) -> Array:
        """What each sample's model says (5, R)."""
        return np.stack([np.asarray(model.predict(x), dtype=np.float64) for model in self._models])

    def predict(self, x: Array) -> Array:
        """Their mean (R,)."""
        return np.asarray(self.each(x).mean(axis=0))


class PlainGaussianProcess(Tabular):
    """scikit-learn's Gaussian process on standardised features, the newest days only: it costs n^3."""

    name = "plain gp"
    most_rows = 700

    def make(self) -> Regressor:
        """Standardised inputs and target, squared exponential kernel and noise."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        kernel = ConstantKernel(1.0) * RBF(5.0, (0.5, 100.0)) + WhiteKernel(0.1, (1e-3, 10.0))
        model: Regressor = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))
        return model


def _shape(series: Series) -> tuple[int, int]:
    return series.step_s, int(series.timestamp[-1].astype(np.int64)) % DAY_S
