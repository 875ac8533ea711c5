"""The table of 104 engineered features, in the seven categories of the system that GridPilot grew out of.

A row belongs to an origin o (newest known interval) and a target t = o + h. Each feature is a function of prices up
to o and of the calendar of t; `known` says so for each. Windows are hours; with other steps they are as many
steps as make up those hours, at least one. Nothing is standardised here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gridpilot.forecast.days import is_holiday
from gridpilot.forecast.features import Series, days_back, local_offset_s, same_time
from gridpilot.values import Array, Index

AT_ORIGIN = "at the origin"
CALENDAR = "calendar: always"
LAGGED = "whole days before the target, known at the origin"
MIXED = "at the origin, times the calendar of the target"
PRICE, SHARE, FLAG, NUMBER = "price", "fraction", "0 or 1", "number"
WINDOWS_H = (3, 6, 12, 24, 48, 168)
LOOKBACK_H = 24 * 30  # hours before the first origin that the longest feature needs: four weeks and a clock change
KEEP = 30
TOO_ALIKE = 0.98  # two features with a higher correlation say the same


@dataclass(frozen=True, slots=True)
class Engineered:
    """One named feature."""

    name: str
    category: str
    formula: str
    unit: str
    known: str


def _table() -> tuple[Engineered, ...]:
    return (*_calendar_rows(), *_price_rows(), *_market_rows(), *_lag_rows(), *_volume_rows(), *_crossed_rows())


def _calendar_rows() -> list[Engineered]:
    calendar = {
        "hour": ("local hour of t", "h"), "day_of_week": ("0 = Monday", "day"), "day_of_month": ("1..31", "day"),
        "month": ("1..12", NUMBER), "quarter": ("1..4", NUMBER), "day_of_year": ("1..366", "day"),
        "week_of_year": ("ISO week", NUMBER), "hour_sin": ("sin(2 pi hour / 24)", NUMBER),
        "hour_cos": ("cos(2 pi hour / 24)", NUMBER), "day_sin": ("sin(2 pi weekday / 7)", NUMBER),
        "day_cos": ("cos(2 pi weekday / 7)", NUMBER), "month_sin": ("sin(2 pi month / 12)", NUMBER),
        "month_cos": ("cos(2 pi month / 12)", NUMBER), "is_weekend": ("Saturday or Sunday", FLAG),
        "is_peak_hours": ("weekday, 8 <= hour < 20", FLAG), "is_night": ("hour < 6", FLAG),
        "is_business_hours": ("weekday, 9 <= hour < 17", FLAG), "is_holiday": ("public holiday", FLAG),
    }  # fmt: skip
    return [Engineered(n, "temporal", f, u, CALENDAR) for n, (f, u) in calendar.items()]


def _price_rows() -> list[Engineered]:
    rows = []
    for kind, formula in (("ma", "mean"), ("volatility", "sd"), ("min", "least"), ("max", "greatest")):
        rows += [
            Engineered(f"price_{kind}_{w}h", "price", f"{formula} of the last {w} h", PRICE, AT_ORIGIN)
            for w in WINDOWS_H
        ]
    rows += [
        Engineered(f"price_return_{k}h", "price", f"(y[o] - y[o-{k}h]) / a, a = mean |y| of 168 h", SHARE, AT_ORIGIN)
        for k in (1, 3, 6, 24, 168)
    ]
    more = {
        "price_ma_gap_6h_24h": ("(mean of 6 h - mean of 24 h) / a", SHARE),
        "price_ma_gap_24h_168h": ("(mean of 24 h - mean of 168 h) / a", SHARE),
        "price_position_24h": ("(y[o] - min) / (max - min) of 24 h", SHARE),
        "price_range_24h": ("max - min of 24 h", PRICE),
        "price_zscore_168h": ("(y[o] - mean) / sd of 168 h", NUMBER),
        "price_ewm_12h": ("exponential mean, span 12 h", PRICE),
        "price_ewm_24h": ("exponential mean, span 24 h", PRICE),
    }
    return rows + [Engineered(n, "price", f, u, AT_ORIGIN) for n, (f, u) in more.items()]


def _market_rows() -> list[Engineered]:
    technical = {
        "rsi_14h": ("mean rise / (mean rise + mean fall), 14 h", SHARE), "rsi_24h": ("the same, 24 h", SHARE),
        "macd": ("exponential mean 12 h - 26 h", PRICE), "macd_signal": ("exponential mean of macd, 9 h", PRICE),
        "macd_histogram": ("macd - macd_signal", PRICE), "bb_upper": ("mean + 2 sd of 20 h", PRICE),
        "bb_lower": ("mean - 2 sd of 20 h", PRICE), "bb_width": ("4 sd of 20 h", PRICE),
        "bb_position": ("(y[o] - bb_lower) / bb_width", SHARE), "momentum_12h": ("y[o] - y[o-12h]", PRICE),
        "rate_of_change_24h": ("mean of 24 h - mean of the 24 h before", PRICE),
        "stochastic_24h": ("mean of price_position_24h over 3 h", SHARE),
    }  # fmt: skip
    rows = [Engineered(n, "technical", f, u, AT_ORIGIN) for n, (f, u) in technical.items()]
    regime = {
        "high_volatility_regime": ("sd of 24 h > 1.5 x sd of 168 h", FLAG),
        "low_volatility_regime": ("sd of 24 h < 0.5 x sd of 168 h", FLAG),
        "uptrend": ("mean of 24 h > mean of 168 h", FLAG), "downtrend": ("mean of 24 h < mean of 168 h", FLAG),
        "trend_strength": ("|mean of 24 h - mean of 168 h| / sd of 168 h", NUMBER),
        "volatility_ratio": ("sd of 24 h / sd of 168 h", NUMBER), "above_ma_168h": ("y[o] > mean of 168 h", FLAG),
        "spike_share_168h": ("share of the last 168 h above their mean + 2 sd", SHARE),
    }  # fmt: skip
    return rows + [Engineered(n, "regime", f, u, AT_ORIGIN) for n, (f, u) in regime.items()]


def _lag_rows() -> list[Engineered]:
    rows = [
        Engineered(f"price_lag_{k}h", "lag", f"y[o - {k - 1} h]: {k} h before the first target", PRICE, AT_ORIGIN)
        for k in (1, 2, 3, 6, 12)
    ]
    rows += [
        Engineered(f"price_same_hour_{d}d", "lag", f"t's hour on the {d}. newest known day", PRICE, LAGGED)
        for d in (1, 2, 3, 4, 5, 6, 7, 14)
    ]
    return [
        *rows,
        Engineered("same_hour_mean_7d", "lag", "mean of t's hour on seven days", PRICE, LAGGED),
        Engineered("same_hour_sd_7d", "lag", "sd of t's hour on seven days", PRICE, LAGGED),
        Engineered("same_hour_week_mean", "lag", "mean of the 7. and the 14. newest day", PRICE, LAGGED),
    ]


def _volume_rows() -> list[Engineered]:
    volume = {
        "volume_ma_24h": "mean of 24 h", "volume_ma_168h": "mean of 168 h", "volume_ratio": "v[o] / mean of 24 h",
        "price_volume_ratio": "y[o] / mean volume of 24 h", "volume_weighted_price": "sum v y / sum v of 24 h",
        "price_volume_correlation": "correlation of y and v over 168 h",
    }  # fmt: skip
    return [
        Engineered(n, "volume", f, "of the volume given", f"{AT_ORIGIN}; only with a volume") for n, f in volume.items()
    ]


def _crossed_rows() -> list[Engineered]:
    crossed = {
        "hour_price_interaction": "hour_sin x price_ma_24h", "volatility_peak": "is_peak_hours x price_volatility_24h",
        "weekend_price_interaction": "is_weekend x price_ma_24h",
        "peak_same_hour": "is_peak_hours x price_same_hour_1d",
        "trend_hour": "hour_cos x trend_strength", "volatility_weekend": "is_weekend x price_volatility_24h",
        "zscore_peak": "is_peak_hours x price_zscore_168h", "night_price": "is_night x price_ma_24h",
    }  # fmt: skip
    return [Engineered(n, "interaction", f, PRICE, MIXED) for n, f in crossed.items()]


FEATURES = _table()
NAMES = tuple(feature.name for feature in FEATURES)


def engineered(series: Series, origins: Index, horizon: int, volume: Array | None = None) -> Array:
    """All features (K, H, 104) in the order of FEATURES; the six of the volume are NaN without one.

    Origins need LOOKBACK_H hours before them. volume (N,) belongs to the same intervals as y.
    """
    per_h = series.per_hour
    known = _at_origin(series.y, per_h) | _volume(series.y, volume, per_h)
    later = _of_target(series, origins, horizon)
    shape = (len(origins), horizon)
    columns = {name: np.broadcast_to(values[origins][:, None], shape) for name, values in known.items()} | later
    for feature in FEATURES:
        if feature.category == "interaction":
            left, right = feature.formula.split(" x ")
            columns[feature.name] = columns[left] * columns[right]
    return np.stack([columns[name] for name in NAMES], axis=2)


def select(x: Array, y: Array, keep: int = KEEP) -> list[int]:
    """Columns of x (R, F) worth keeping for y (R,): those that vary and are known, by |correlation| with y.

    One that says the same as a better one (|correlation| above TOO_ALIKE) is passed over. Give training rows only.
    """
    usable = [i for i in range(x.shape[1]) if np.all(np.isfinite(x[:, i])) and np.ptp(x[:, i]) > 1e-9]
    if not usable or float(np.ptp(y)) == 0.0:
        return usable[:keep]
    z = x[:, usable] - x[:, usable].mean(axis=0)
    z /= np.sqrt(np.mean(z * z, axis=0))
    strength = np.abs(z.T @ (y - y.mean())) / (len(y) * float(np.std(y)))
    chosen: list[int] = []
    for i in np.argsort(-strength, kind="stable"):
        if len(chosen) == keep:
            break
        if not chosen or float(np.max(np.abs(z[:, chosen].T @ z[:, i]))) / len(y) <= TOO_ALIKE:
            chosen.append(int(i))
    return [usable[i] for i in chosen]


def _at_origin(y: Array, per_h: int) -> dict[str, Array]:
    """Features that look back from each interval (N,)."""
    p = pd.Series(y)
    rolling = {w: p.rolling(w * per_h, min_periods=1) for w in (*WINDOWS_H, 20)}
    mean = {w: r.mean() for w, r in rolling.items()}
    sd = {w: r.std(ddof=0) for w, r in rolling.items()}
    low, high = {w: rolling[w].min() for w in WINDOWS_H}, {w: rolling[w].max() for w in WINDOWS_H}
    size = p.abs().rolling(168 * per_h, min_periods=1).mean()
    ewm = {w: p.ewm(span=w * per_h).mean() for w in (12, 24, 26)}
    macd = ewm[12] - ewm[26]
    signal = macd.ewm(span=9 * per_h).mean()
    position = _over(p - low[24], high[24] - low[24])
    gap = mean[24] - mean[168]
    out = {f"price_ma_{w}h": mean[w] for w in WINDOWS_H} | {f"price_volatility_{w}h": sd[w] for w in WINDOWS_H}
    out |= {f"price_min_{w}h": low[w] for w in WINDOWS_H} | {f"price_max_{w}h": high[w] for w in WINDOWS_H}
    out |= {f"price_return_{k}h": _over(p.diff(k * per_h), size) for k in (1, 3, 6, 24, 168)}
    out |= {f"price_lag_{k}h": p.shift((k - 1) * per_h) for k in (1, 2, 3, 6, 12)}
    out |= {f"rsi_{w}h": _rsi(p, w * per_h) for w in (14, 24)}
    out |= {
        "price_ma_gap_6h_24h": _over(mean[6] - mean[24], size),
        "price_ma_gap_24h_168h": _over(gap, size),
        "price_position_24h": position,
        "price_range_24h": high[24] - low[24],
        "price_zscore_168h": _over(p - mean[168], sd[168]),
        "price_ewm_12h": ewm[12],
        "price_ewm_24h": ewm[24],
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": macd - signal,
        "bb_upper": mean[20] + 2.0 * sd[20],
        "bb_lower": mean[20] - 2.0 * sd[20],
        "bb_width": 4.0 * sd[20],
        "bb_position": _over(p - mean[20] + 2.0 * sd[20], 4.0 * sd[20]),
        "momentum_12h": p.diff(12 * per_h),
        "rate_of_change_24h": mean[24] - mean[24].shift(24 * per_h),
        "stochastic_24h": position.rolling(3 * per_h, min_periods=1).mean(),
        "high_volatility_regime": sd[24] > 1.5 * sd[168],
        "low_volatility_regime": sd[24] < 0.5 * sd[168],
        "uptrend": gap > 0.0,
        "downtrend": gap < 0.0,
        "trend_strength": _over(gap.abs(), sd[168]),
        "volatility_ratio": _over(sd[24], sd[168]),
        "above_ma_168h": p > mean[168],
        "spike_share_168h": (p > mean[168] + 2.0 * sd[168]).astype(float).rolling(168 * per_h, min_periods=1).mean(),
    }
    return {name: values.to_numpy(dtype=np.float64) for name, values in out.items()}


def _volume(y: Array, volume: Array | None, per_h: int) -> dict[str, Array]:
    names = [feature.name for feature in FEATURES if feature.category == "volume"]
    if volume is None:
        return dict.fromkeys(names, np.full(len(y), np.nan))
    p, v = pd.Series(y), pd.Series(volume)
    day, week = v.rolling(24 * per_h, min_periods=1).mean(), v.rolling(168 * per_h, min_periods=1)
    weighted = _over((p * v).rolling(24 * per_h, min_periods=1).mean(), day)
    ratios = [_over(v, day), _over(p, day), weighted, week.corr(p).fillna(0.0)]
    return {n: s.to_numpy(dtype=np.float64) for n, s in zip(names, [day, week.mean(), *ratios], strict=True)}


def _of_target(series: Series, origins: Index, horizon: int) -> dict[str, Array]:
    """Calendar and same-hour features of each target (K, H)."""
    times = series.extended(horizon)
    offset = local_offset_s(times, series.timezone)
    target = origins[:, None] + np.arange(1, horizon + 1)
    local = pd.DatetimeIndex((times.astype(np.int64) + offset)[target].ravel().astype("datetime64[s]"))
    hour = local.hour.to_numpy() + local.minute.to_numpy() / 60.0
    weekday, month = local.day_of_week.to_numpy(), local.month.to_numpy()
    holiday = np.zeros(len(local))
    if series.country:
        dates, which = np.unique(local.date, return_inverse=True)
        holiday = np.array([float(is_holiday(series.country, day)) for day in dates])[which]
    turn = 2.0 * np.pi
    flat: Mapping[str, npt.ArrayLike] = {
        "hour": hour, "day_of_week": weekday, "day_of_month": local.day, "month": month, "quarter": local.quarter,
        "day_of_year": local.day_of_year, "week_of_year": local.isocalendar().week.to_numpy(),
        "hour_sin": np.sin(turn * hour / 24), "hour_cos": np.cos(turn * hour / 24),
        "day_sin": np.sin(turn * weekday / 7), "day_cos": np.cos(turn * weekday / 7),
        "month_sin": np.sin(turn * month / 12), "month_cos": np.cos(turn * month / 12),
        "is_weekend": weekday >= 5, "is_peak_hours": (weekday < 5) & (hour >= 8) & (hour < 20), "is_night": hour < 6,
        "is_business_hours": (weekday < 5) & (hour >= 9) & (hour < 17), "is_holiday": holiday,
    }  # fmt: skip
    out = {name: np.asarray(values, dtype=np.float64).reshape(target.shape) for name, values in flat.items()}
    first = days_back(np.broadcast_to(origins[:, None], target.shape), target, offset, series.step_s)

    def back(day: int) -> Array:
        source = same_time(target, first + day - 1, offset, series.step_s)
        return series.y[np.clip(source, 0, origins[:, None])]

    same = {day: back(day) for day in (1, 2, 3, 4, 5, 6, 7, 14)}
    week = np.stack([same[day] for day in range(1, 8)])
    out |= {f"price_same_hour_{day}d": values for day, values in same.items()}
    out |= {
        "same_hour_mean_7d": week.mean(axis=0),
        "same_hour_sd_7d": week.std(axis=0),
        "same_hour_week_mean": 0.5 * (same[7] + same[14]),
    }
    return out


def _over(a: pd.Series, b: pd.Series) -> pd.Series:
    """a / b, 0 where b is 0."""
    safe = b.where(b != 0.0, 1.0)
    return (a / safe).where(b != 0.0, 0.0)


def _rsi(p: pd.Series, window: int) -> pd.Series:
    change = p.diff()
    rise = change.clip(lower=0.0).rolling(window, min_periods=1).mean()
    fall = (-change).clip(lower=0.0).rolling(window, min_periods=1).mean()
    return _over(rise, rise + fall)
