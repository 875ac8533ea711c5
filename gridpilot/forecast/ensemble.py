"""The issued forecast: members, their out-of-sample scores, their mix, its band and the joint paths.

For each price on its own: every model is fitted once on the data before the calibration window, forecasts
each origin in it from the series cut at that origin, and is scored there. The mix is the plain mean of the
members that did about as well as the best. Its errors at those origins give the band and the paths; the
models are then fitted on everything for the forecast itself. Errors of one origin stay together across
hours and across the three prices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from gridpilot.domain import Band, DataFlag, Forecast, PriceHistory, Trial
from gridpilot.errors import MODEL_ERRORS, DataError
from gridpilot.forecast import bands
from gridpilot.forecast.days import check_country, longest_day
from gridpilot.forecast.features import DAY_S, Series
from gridpilot.forecast.fitted import Fitted, checked, mean_of
from gridpilot.forecast.models import MODELS, Forecaster, LastValue
from gridpilot.values import Array, Index, to_utc

PRICES = ("energy", "hash", "token")
ENSEMBLE = "ensemble"  # the method in force where a fitted ensemble was used
CALIBRATION_DAYS = 56  # eight weeks: each weekday eight times, and still about the present
FEWEST_ORIGINS = 12  # fewer out-of-sample origins than this make no band
MOST_SHORT_ORIGINS = 40  # origins where they lie closer than a day apart
DAILY_FROM_DAYS = 42  # history from which calibration origins are a day apart
TRIAL_DAYS = 28  # past origins whose errors are kept one by one
MIX_WITHIN = 1.15  # a member joins the mix if its error is at most this many times the best one's

Registry = Mapping[str, Callable[[], Forecaster]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Checked series of the three prices; one that the source does not have is left out."""

    origin: datetime
    clock: Series  # the energy price: its grid is everyone's
    series: Mapping[str, Series]
    flags: tuple[DataFlag, ...] = ()

    def without(self, newest: int) -> Prepared:
        """As it was `newest` intervals ago."""
        series = {price: s.cut(len(s) - newest) for price, s in self.series.items() if len(s) > newest}
        clock = self.clock.cut(len(self.clock) - newest)
        return Prepared(to_utc(clock.timestamp[-1]), clock, series, self.flags)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The forecast of one price and what its paths are drawn from (one of the two, or neither)."""

    band: Band
    residuals: Array | None = None  # (K, H), newest last
    spacing: int = 0  # steps between the origins of the residuals
    walk: Array | None = None  # the values whose changes make a random walk
    scores: Mapping[str, float] = field(default_factory=dict)
    score_days: float = 0.0
    trial: Trial | None = None
    flags: tuple[DataFlag, ...] = ()


def forecast_prices(
    history: PriceHistory, horizon: int, *, timezone: str = "UTC", n_paths: int = 200, seed: int = 0
) -> Forecast:
    """The next `horizon` steps of energy, hash and token price, from `history` alone.

    Deterministic: the same input gives the same output. Finite input never raises and never gives NaN; a
    model that fails is left out with a flag. A price that the source does not have is NaN throughout.
    """
    return forecast(prepare(history, timezone), horizon, n_paths=n_paths, seed=seed)


def prepare(
    history: PriceHistory,
    timezone: str = "UTC",
    *,
    exog: Sequence[str] | None = None,
    country: str | None = None,
    horizon: int = 0,
) -> Prepared:
    """The series that the models see. Unknown values of hash and token price are carried forward, with a flag.

    `exog` names the columns that go with the energy price, None for those whose future the history holds; what
    is not known of them for the next `horizon` steps (a day at the least) is taken from a week before, with a flag.
    """
    check_zone(timezone)
    check_country(country)
    values = {"energy": history.energy_usd_per_mwh, "hash": history.hash_price, "token": history.token_price}
    names = tuple(history.ahead) if exog is None else tuple(exog)
    outside, more = _exogenous(history, names, horizon) if names else (np.empty((0, 0)), [])
    clock = Series(
        history.timestamp,
        history.step_s,
        values["energy"],
        timezone,
        outside,
        max(0, len(outside) - len(history)),
        country,
    )
    series, flags = {"energy": clock}, more
    for price in PRICES[1:]:
        y = values[price]
        known = np.isfinite(y)
        if not known.any():
            continue
        first = int(np.argmax(known))
        y, known = y[first:], known[first:]
        if not known.all():
            gaps = int(np.sum(~known))
            y = y[np.maximum.accumulate(np.where(known, np.arange(len(y)), 0))]
            message = f"{price} price unknown in {gaps} of {len(y)} intervals: the value before was carried forward"
            flags.append(DataFlag("GAP_FILLED", message, "warn", "forecast", gaps))
        series[price] = Series(history.timestamp[first:], history.step_s, y, timezone)
    return Prepared(history.last, clock, series, tuple(flags))


def check_zone(timezone: str) -> None:
    """DataError for a time zone that is not known."""
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(f"timezone is {timezone!r}: expected an IANA name like Europe/Amsterdam") from None


def _exogenous(history: PriceHistory, names: tuple[str, ...], horizon: int) -> tuple[Array, list[DataFlag]]:
    """Known and coming values (N + F, E), F a day or the horizon, whichever is longer."""
    day = max(1, round(DAY_S / history.step_s))
    n, steps, flags = len(history), max(longest_day(history.step_s), horizon), []
    asked = max(day, horizon)  # the 25th hour is read only where the clock goes back
    out = np.empty((n + steps, len(names)))
    for e, name in enumerate(names):
        if name not in history.columns:
            have = ", ".join(sorted(history.columns)) or "none"
            left_out = [flag.message for flag in history.flags if flag.message.startswith(f"column {name}")]
            if left_out:
                raise DataError(f"{left_out[0]}, so it is no exogenous series; fill it or forecast without it")
            raise DataError(f"no column {name!r} for the exogenous series; further columns are: {have}")
        known = history.ahead.get(name, np.empty(0))[:steps]
        values = np.concatenate([history.columns[name], known, np.full(steps - len(known), np.nan)])
        gaps = np.flatnonzero(np.isnan(values))
        for i in gaps:
            values[i] = values[max(i - 7 * day, i % day if i % day < n else 0)]
        count = int(np.sum(gaps < n + asked))
        if count:
            said = f"{name}: {count} of the next {asked} values unknown: those of a week before are used"
            flags.append(DataFlag("EXOG_FILLED", said, "info", "forecast", count))
        out[:, e] = values
    return out, flags


def forecast(
    prepared: Prepared,
    horizon: int,
    *,
    fits: Mapping[str, Fitted] | None = None,
    n_paths: int = 200,
    seed: int = 0,
    models: Registry = MODELS,
) -> Forecast:
    """The forecast from prepared series; see `forecast_prices`.

    `fits` are forecasters fitted beforehand, by price. For a price without one that serves this origin and horizon
    the quick models are fitted here.
    """
    if horizon < 1 or n_paths < 1:
        raise DataError(f"horizon is {horizon} and n_paths {n_paths}: expected 1 or more of each")
    outcomes = {
        price: _one_price(price, prepared.series[price], horizon, (fits or {}).get(price), models)
        if price in prepared.series
        else _Outcome(bands.flat(np.nan, horizon, "no price"))
        for price in PRICES
    }
    used = (fits or {}).get("energy") if outcomes["energy"].band.method == ENSEMBLE else None
    return Forecast(
        origin=prepared.origin,
        timestamp=prepared.clock.future(horizon),
        step_s=prepared.clock.step_s,
        energy=outcomes["energy"].band,
        hash=outcomes["hash"].band,
        token=outcomes["token"].band,
        paths=_paths(outcomes, horizon, n_paths, np.random.default_rng(seed)),
        scores={price: outcome.scores for price, outcome in outcomes.items() if outcome.scores},
        score_days=outcomes["energy"].score_days,
        flags=prepared.flags + tuple(flag for outcome in outcomes.values() for flag in outcome.flags),
        n_history=len(prepared.clock),
        version=used.version if used else "",
        weights=used.weights if used else {},
        drivers=used.drivers(prepared.clock) if used else {},
        trials={price: outcome.trial for price, outcome in outcomes.items() if outcome.trial is not None},
    )


def _one_price(price: str, series: Series, horizon: int, fitted: Fitted | None, models: Registry) -> _Outcome:
    if float(np.ptp(series.y)) == 0.0:
        text = f"{price} price has been {series.y[-1]:g} in all {len(series)} intervals: forecast without a band"
        flag = DataFlag("CONSTANT", text, "info", "forecast")
        return _Outcome(bands.flat(float(series.y[-1]), horizon, "constant"), flags=(flag,))
    flags = []
    if fitted is not None and fitted.lag(series) is not None:
        try:
            return _issued(price, fitted, series, horizon, models)
        except MODEL_ERRORS as error:
            text = f"{price} price: {fitted.method} of {fitted.version} left out: {error}"
            flags.append(DataFlag("MODEL_SKIPPED", text, "warn", "forecast"))
    if series.exog.shape[1]:
        series = series.without_exog()
        text = f"{price} price: the quick models use no exogenous series; the fitted ensemble does"
        flags.append(DataFlag("EXOG_UNUSED", text, "info", "forecast"))
    origins = calibration_origins(series, horizon)
    if len(origins) < FEWEST_ORIGINS:
        text = f"{price} price: {len(series)} intervals known, too few to score a model; last value, band from changes"
        flags.append(DataFlag("COLD_START", text, "info", "forecast"))
        band = bands.random_walk(series.y, horizon, "last value (cold start)")
        return _Outcome(band, walk=series.y, flags=tuple(flags))
    outcome = _issued(price, fit_quick(price, series, horizon, origins, models), series, horizon, models)
    return replace(outcome, flags=(*flags, *outcome.flags))


def _issued(price: str, fitted: Fitted, series: Series, horizon: int, models: Registry) -> _Outcome:
    """The forecast of a fit, with the band and the paths that its errors give.

    Further ahead than its errors reach (a day) it goes on from its own forecast, with the errors that the quick
    models made that far ahead.
    """
    point, members, errors = fitted.predict(series, horizon)
    days = len(errors) * fitted.spacing * series.step_s / DAY_S
    near = errors.shape[1]
    residuals = bands.rescaled(errors, series.per_hour)
    quantiles, sigma = bands.conformal(point[:near], residuals, neighbours=series.per_hour, days=days, fade=fitted.fade)
    if near < horizon:
        plain = series.without_exog()
        far = fit_quick(price, plain, horizon, calibration_origins(plain, horizon), models).errors
        later = bands.rescaled(far[:, near:], series.per_hour)
        more, spread = bands.conformal(point[near:], later, neighbours=series.per_hour, days=len(far))
        quantiles = {q: np.concatenate([quantiles[q], more[q]]) for q in quantiles}
        sigma = np.concatenate([sigma, spread])
        pairs = min(len(residuals) - 1, len(later))  # the day after an origin, and the next
        residuals = np.hstack([residuals[-pairs - 1 : -1], later[-pairs:]])
    return _Outcome(
        band=Band(point, quantiles[0.1], quantiles[0.9], sigma, quantiles, fitted.method, members),
        residuals=residuals,
        spacing=fitted.spacing,
        scores=fitted.scores,
        score_days=days,
        trial=fitted.trial,
        flags=fitted.flags,
    )


def calibration_origins(series: Series, horizon: int) -> Index:
    """Past origins (K,), ascending, whose H values are all known; empty where a day of history must come first.

    From six weeks of history: one a day, at the time of day of the series' end, in its newest third and at
    most eight weeks. Below that: evenly spread over the newest third.
    """
    n, season = len(series), series.season
    days_ahead = -(-horizon // season)
    days = n // season - days_ahead
    if days + days_ahead >= DAILY_FROM_DAYS and days // 3 >= FEWEST_ORIGINS:
        count = min(CALIBRATION_DAYS, days // 3)
        return n - 1 - season * (days_ahead + np.arange(count)[::-1])
    last = n - 1 - horizon
    first = max(season, 2 * last // 3)
    if last - first < FEWEST_ORIGINS:
        return np.arange(0)
    return np.arange(last, first - 1, -max(1, (last - first) // MOST_SHORT_ORIGINS))[::-1]


def fit_quick(price: str, series: Series, horizon: int, origins: Index, models: Registry) -> Fitted:
    """The quick models fitted on the series, and the plain mean of those that did about as well as the best.

    A model is scored at past `origins` (K,) by what it says when fitted before the first of them.
    """
    truth = series.y[origins[:, None] + np.arange(1, horizon + 1)]
    tried: dict[str, Array] = {}
    members: dict[str, Forecaster] = {}
    flags: list[DataFlag] = []
    for name, build in models.items():
        try:
            trial = _trial(build(), series, horizon, origins)
            if trial is not None:
                model = build()
                model.fit(series, horizon)
                checked(model.predict(series, horizon), (horizon,))
                members[name], tried[name] = model, trial
        except MODEL_ERRORS as error:
            text = f"{price} price: {name} left out: {error}"  # the others go on, and DRIFT tells if they do worse
            flags.append(DataFlag("MODEL_SKIPPED", text, "info", "forecast"))
    if not tried:
        flags.append(
            DataFlag("FALLBACK", f"{price} price: no model gave a forecast: last value used", "alarm", "forecast")
        )
        members = {LastValue.name: LastValue()}
        tried = {LastValue.name: np.repeat(series.y[origins][:, None], horizon, axis=1)}
    each = {name: truth - guess for name, guess in tried.items()}
    scores = {name: float(np.mean(np.abs(error))) for name, error in each.items()}
    chosen = [name for name in scores if scores[name] <= MIX_WITHIN * min(scores.values())]
    weights = dict.fromkeys(chosen, 1.0 / len(chosen))
    errors = truth - mean_of(tried, weights)
    return Fitted(
        method=chosen[0] if len(chosen) == 1 else f"mix of {', '.join(chosen)}",
        origin=to_utc(series.timestamp[-1]),
        members=members,
        weights=weights,
        errors=errors,
        spacing=int(origins[1] - origins[0]),
        scores={**scores, "mix": float(np.mean(np.abs(errors)))},
        flags=tuple(flags),
        trial=trial_of(series, origins, {**each, "mix": errors}, coverage=False),
    )


def trial_of(series: Series, origins: Index, errors: Mapping[str, Array], *, coverage: bool) -> Trial:
    """The record of past origins: errors model -> (K, H), "mix" among them; the newest TRIAL_DAYS are kept.

    With `coverage`, which takes a while, the bands of the newer half are made from the errors before each.
    """
    keep = slice(-TRIAL_DAYS, None)
    mix, neighbours = errors["mix"], series.per_hour
    lead = len(mix) // 2
    found = bands.rolling(mix, lead, neighbours) if coverage else None
    inside = {}
    if found is not None:
        for level, low, high in ((0.5, 0.25, 0.75), (0.8, 0.1, 0.9), (0.9, 0.05, 0.95)):
            inside[level] = float(np.mean((found.offsets[low] <= mix[lead:]) & (mix[lead:] <= found.offsets[high])))
    return Trial(
        origin=series.timestamp[origins[keep]],
        mae={name: np.abs(error[keep]).mean(axis=1) for name, error in errors.items()},
        coverage=inside,
        values=mix[lead:].size if inside else 0,
    )


def _trial(model: Forecaster, series: Series, horizon: int, origins: Index) -> Array | None:
    """Forecasts (K, H) from each origin by a model that was fitted before the first; None: too little to fit on."""
    before = series.cut(int(origins[0]) + 1)
    if len(before) < model.min_history(series.step_s, horizon):
        return None
    model.fit(before, horizon)
    return np.stack([checked(model.predict(series.cut(int(o) + 1), horizon), (horizon,)) for o in origins])


def _paths(outcomes: Mapping[str, _Outcome], horizon: int, n_paths: int, rng: np.random.Generator) -> dict[str, Array]:
    """Joint futures (S, H): prices whose errors come from the same origins share the draw of the origin.

    Each origin is used equally often (to within one). Short histories walk by bootstrapped changes, kept
    within `bands.walk_range`.
    """
    draws: dict[tuple[str, int, int], Index] = {}
    out: dict[str, Array] = {}
    for price, outcome in outcomes.items():
        point = outcome.band.point
        if outcome.residuals is not None:
            k = len(outcome.residuals)
            key = ("origin", k, outcome.spacing)
            if key not in draws:
                rounds = -(-n_paths // k)
                draws[key] = np.concatenate([rng.permutation(k) for _ in range(rounds)])[:n_paths]
            out[price] = point + outcome.residuals[draws[key]]
        elif outcome.walk is not None:
            steps = bands.changes(outcome.walk)
            key = ("walk", len(steps), 1)
            if key not in draws:
                draws[key] = rng.integers(0, len(steps), (n_paths, horizon))
            path = point + np.cumsum(steps[draws[key]], axis=1)
            out[price] = np.clip(path, *bands.walk_range(outcome.walk))
        else:
            out[price] = np.repeat(point[None, :], n_paths, axis=0)
    return out
