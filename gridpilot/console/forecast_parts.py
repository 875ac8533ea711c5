"""What the page Forecast draws: bands and what came, models day by day, calibration, drivers, and their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd

from gridpilot import views
from gridpilot.console import charts, plots, widgets
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.price_parts import KINDS, series_of, shown, unit_of
from gridpilot.console.theme import LIGHT
from gridpilot.errors import GridPilotError
from gridpilot.values import as_array, as_times, to_stamp, to_utc

MEMBER_HUES: Final = ("other_1", "other_2", "other_3", "tenants", "jobs", "cooling")
MODELS: Final = {"in force": "forecast in force", "mix": "forecast in force"}
IN_FORCE: Final = "Forecast in force"
ALL: Final = "All models"
PROMISED: Final = 0.8  # share of prices inside the band that is shown
NEAR: Final = 0.05  # of it
DAY_S: Final = 86_400
ERRORS_SAID: Final = (
    "Unseen days: mean absolute error of day-ahead forecasts on {days} past days, none of them seen in fitting. "
    "Live: forecasts that this console recorded in the last {live} days, at every distance ahead, against the "
    "prices that came. Seasonal naive repeats a like day."
)
DRIVERS_SAID: Final = (
    "How far the mean price of the next day would fall or rise were that input as on an average day, by one member "
    "of the ensemble. Effects overlap and need not add up."
)


def choices(kind: str) -> list[str]:
    """What the operator can look at: the forecast in force, all models, or one of them."""
    try:
        snap = views.snapshot()
    except GridPilotError:
        snap = None  # the page's body says what is wrong with the ledger
    members = list(snap.forecast["bands"][kind]["members"]) if snap else []
    return [IN_FORCE, *([ALL, *members] if len(members) > 1 else [])]


def tiles(snap: views.Snapshot, kind: str, live: Sequence[views.LiveScore], days_live: float) -> None:
    """The next price with its band, and how far off and how honest the forecast has been."""
    band, unit = snap.forecast["bands"][kind], unit_of(snap, kind)
    point, lower, upper = (shown(snap, kind, band[key]) for key in ("point", "lower", "upper"))
    scores = snap.forecast["scores"].get(kind, {})
    scale = snap.units.energy_usd_per_mwh if kind == "energy" else 1.0
    force = next((score for score in live if score.member == "in force"), None)
    with widgets.tile_row(4):
        reference = f"80 %: {fmt.price(float(lower[0]), unit).value} to {fmt.price(float(upper[0]), unit).value}"
        widgets.tile("Next interval", fmt.price(float(point[0]), unit), reference, note=f"Method: {band['method']}.")
        days = fmt.number(snap.forecast["score_days"])
        if "mix" in scores:
            naive = scores.get("seasonal naive")
            against = f"a like day repeated {fmt.significant(naive / scale)}" if naive is not None else ""
            note = f"Mean absolute error on {days} past days that no model had seen when it forecast them. A like day "
            note += "repeated is the seasonal naive, the model to beat."
            widgets.tile("Error on unseen days", fmt.quantity(scores["mix"] / scale, unit), against, note=note)
        else:
            widgets.tile("Error on unseen days", fmt.DASH, "no model was scored")
        if force is None:
            widgets.tile(f"Error live, {days_live:.0f} days", fmt.DASH, "no forecast has come true yet")
            widgets.tile("In the 80 % band, live", fmt.DASH, "no forecast has come true yet")
        else:
            against = f"of {fmt.count(force.intervals, 'interval')} that came"
            note = (
                f"{fmt.count(force.n, 'forecast value')} against the prices that came: each interval is forecast often."
            )
            widgets.tile(f"Error live, {days_live:.0f} days", fmt.quantity(force.mae, unit), against, note=note)
            inside = fmt.percent(force.coverage_frac).removesuffix(f"{fmt.NBSP}%")
            note = "Each interval is forecast many times, so a few surprises count often while the record is short."
            told = f"80 % promised; {verdict(force.coverage_frac, force.intervals)}"
            widgets.tile("In the 80 % band, live", fmt.Quantity(inside, "%"), told, note=note)


def forecast_figure(
    snap: views.Snapshot,
    prices: views.Prices,
    kind: str,
    earlier: Mapping[str, Any] | None,
    model: str = IN_FORCE,
    hours: int = 24,
) -> Figure:
    """Two days of what came, the forecast made a day before, and the bands ahead; `model` adds the lines of members."""
    body, step, unit = snap.forecast, snap.step_s, unit_of(snap, kind)
    ahead, band = views.times(body["timestamp"]), body["bands"][kind]
    n = min(len(ahead), max(1, hours * 3600 // step))
    ahead = as_times(ahead[:n])
    start = max(to_utc(prices.timestamp[0]), snap.at - timedelta(hours=48))
    past = prices.timestamp >= to_stamp(start)
    series = []
    if earlier is not None:
        series.append(_earlier(snap, kind, earlier))
    series += [
        Series(name, ahead, shown(snap, kind, path)[:n], "line", LIGHT[hue], 1.1 if model == ALL else 2.0, step_s=step)
        for (name, path), hue in zip(band["members"].items(), MEMBER_HUES, strict=False)
        if model in (ALL, name)
    ]
    series.append(charts.settled(prices.timestamp[past], series_of(prices, kind)[past], step, "Came"))
    q = {name: shown(snap, kind, path)[:n] for name, path in band["quantiles"].items()}
    forecast = charts.expected(
        ahead, shown(snap, kind, band["point"])[:n], q["0.1"], q["0.9"], step, (q["0.25"], q["0.75"])
    )
    series.append(replace(forecast, name="Forecast (80 % band, inside it 50 %)", width=2.0))
    panel = Panel(f"{KINDS[kind]} price", unit, tuple(series), 380, {0.0: ""} if kind == "energy" else {})
    end = to_utc(ahead[-1]) + timedelta(seconds=step)
    return charts.time_figure(TimeAxis.of(snap.site, start, end, snap.at), [panel])


def _earlier(snap: views.Snapshot, kind: str, earlier: Mapping[str, Any]) -> Series:
    at, band = views.times(earlier["timestamp"]), earlier["bands"][kind]
    point, low, high = (shown(snap, kind, band[key]) for key in ("point", "lower", "upper"))
    made = fmt.local(_moment(earlier), snap.site.timezone)
    now = at <= to_stamp(snap.at)
    return Series(
        f"Forecast of {made} (80 % band)", as_times(at[now]), point[now], "dots", LIGHT["battery"], 1.6,
        low[now], high[now], step_s=snap.step_s,
    )  # fmt: skip


def _moment(body: Mapping[str, Any]) -> Any:
    return to_utc(views.times([body["origin"]])[0])


def forecast_title(snap: views.Snapshot, kind: str) -> str:
    """The dearest interval ahead with its band."""
    band, unit = snap.forecast["bands"][kind], unit_of(snap, kind)
    at, point = views.times(snap.forecast["timestamp"]), shown(snap, kind, band["point"])
    if np.ptp(point) == 0.0:
        return f"Expected to stay at {fmt.price(float(point[0]), unit)}"
    high = int(np.argmax(point))
    when = fmt.local(to_utc(at[high]), snap.site.timezone)
    low, up = (fmt.price(float(shown(snap, kind, band[key])[high]), unit).value for key in ("lower", "upper"))
    return f"Dearest on {when}: {fmt.price(float(point[high]), unit)}, four times in five between {low} and {up}"


def error_table(snap: views.Snapshot, kind: str, live: Sequence[views.LiveScore]) -> pd.DataFrame:
    """Mean absolute error of each model: on past origins it had not seen, and live. NaN where there is none."""
    scale = snap.units.energy_usd_per_mwh if kind == "energy" else 1.0
    trial = {MODELS.get(k, k): v / scale for k, v in snap.forecast["scores"].get(kind, {}).items()}
    lived = {MODELS.get(s.member, s.member): s for s in live}
    names = sorted({*trial, *lived}, key=lambda name: (name not in MODELS.values(), trial.get(name, np.inf), name))
    unit = unit_of(snap, kind)
    return pd.DataFrame(
        {
            "model": names,
            f"unseen days, {unit}": [trial.get(name, np.nan) for name in names],
            f"live, {unit}": [lived[name].mae if name in lived else np.nan for name in names],
            "values compared live": [lived[name].n if name in lived else 0 for name in names],
        }
    )


def error_title(snap: views.Snapshot, kind: str) -> str:
    """How much better than repeating yesterday."""
    scores = snap.forecast["scores"].get(kind, {})
    naive, mix = scores.get("seasonal naive"), scores.get("mix")
    if not naive or mix is None:
        return "Mean error of each model"
    word = "less" if mix <= naive else "more"
    return f"The forecast errs {fmt.percent(abs(1.0 - mix / naive))} {word} than repeating a like day"


# --- models day by day -----------------------------------------------------------------------


def daily_figure(snap: views.Snapshot, kind: str) -> Figure | None:
    """Mean error of each model's day-ahead forecasts on past days that it had not seen; None without a record."""
    trial = snap.forecast.get("trials", {}).get(kind)
    if trial is None or len(trial["origin"]) < 2:
        return None
    at = as_times(views.times(trial["origin"]) + np.timedelta64(snap.step_s, "s"))
    step = int(np.diff(at).astype(np.int64).min())
    others = [name for name in trial["mae"] if name not in ("mix", "seasonal naive")]
    hues = {"seasonal naive": "line", "mix": "price"} | dict(zip(others, MEMBER_HUES, strict=False))
    order = [name for name in ("seasonal naive", *others, "mix") if name in trial["mae"] and name in hues]
    series = tuple(
        Series(
            MODELS.get(name, name), at, shown(snap, kind, trial["mae"][name]), "line", LIGHT[hues[name]],
            2.4 if name == "mix" else 1.1, step_s=step,
        )
        for name in order
    )  # fmt: skip
    start, end = to_utc(at[0]), to_utc(at[-1]) + timedelta(seconds=step)
    panel = Panel("Mean error of the day ahead", unit_of(snap, kind), series, 250, low=0.0)
    return charts.time_figure(TimeAxis(start, end, snap.site.timezone), [panel])


def daily_title(snap: views.Snapshot, kind: str) -> str:
    """On how many of the days the forecast beat repeating a like day."""
    mae = snap.forecast["trials"][kind]["mae"]
    mix, naive = views.values(mae["mix"]), mae.get("seasonal naive")
    if naive is None:
        return f"The last {len(mix)} days, each forecast from what was known before it"
    better = int(np.sum(mix < views.values(naive)))
    return f"Closer than repeating a like day on {better} of the last {len(mix)} days"


# --- what drives it --------------------------------------------------------------------------


def driver_figure(snap: views.Snapshot) -> Figure | None:
    """What each input adds to the mean energy price of the next day; None where no ensemble was in force."""
    found = {name: float(snap.shown(value)) for name, value in snap.forecast.get("drivers", {}).items()}
    return plots.drivers(found, unit_of(snap, "energy")) if found else None


def driver_title(snap: views.Snapshot) -> str:
    """The strongest push."""
    found = {name: float(snap.shown(value)) for name, value in snap.forecast["drivers"].items()}
    name = max(found, key=lambda key: abs(found[key]))
    word = "up" if found[name] > 0.0 else "down"
    return f"Most of all {name} push{'es' if name.startswith('the ') else ''} it {word}"


def member_table(snap: views.Snapshot) -> pd.DataFrame:
    """Each member's share of the mix and the mean of its next day, energy price."""
    band, weights, unit = snap.forecast["bands"]["energy"], snap.forecast.get("weights", {}), unit_of(snap, "energy")
    rows = [(name, weights.get(name), shown(snap, "energy", path)) for name, path in band["members"].items()]
    return pd.DataFrame(
        {
            "model": [name for name, _, _ in rows],
            "share of the mix": [np.nan if share is None else 100.0 * share for _, share, _ in rows],
            f"mean of its day, {unit}": [float(path.mean()) for _, _, path in rows],
            f"dearest, {unit}": [float(path.max()) for _, _, path in rows],
        }
    )


# --- calibration -----------------------------------------------------------------------------


def calibration_figure(snap: views.Snapshot, kind: str, live: Sequence[views.LiveScore]) -> Figure | None:
    """Promised against actual share of prices inside each band; None before anything is known."""
    covered, values, _ = coverage(snap, kind, live)
    return plots.calibration(list(covered), list(covered.values()), values) if covered else None


def calibration_title(snap: views.Snapshot, kind: str, live: Sequence[views.LiveScore]) -> str:
    """Whether the 80 % band holds what it promises, as far as the prices behind it tell."""
    covered, n, whose = coverage(snap, kind, live)
    inside = covered.get(PROMISED, float("nan"))
    if not fmt.known(inside):
        return f"{whose}, it is not known how many of the prices came inside the 80 % band"
    return f"{whose}, {fmt.percent(inside)} of the prices came inside the 80 % band: {verdict(inside, n)}"


def verdict(inside: float, n: int) -> str:
    """What a share inside the 80 % band tells of the bands, n different prices being behind it.

    It fails where what was promised is further off than two standard errors; it holds where that is near and the
    errors are small, from 64 prices on.
    """
    gap, error = inside - PROMISED, float(plots.two_errors(as_array([PROMISED]), n)[0])
    if abs(gap) > max(error, NEAR):
        return f"too {'narrow' if gap < 0.0 else 'wide'} so far"
    return "as promised" if abs(gap) <= NEAR and error <= 2.0 * NEAR else f"too few to tell ({n:,})"


def coverage(
    snap: views.Snapshot, kind: str, live: Sequence[views.LiveScore]
) -> tuple[Mapping[float, float], int, str]:
    """Band -> share of prices inside, the values behind it, and whose they are.

    Past days of the fit, whose bands were made from days before them, until a week of live ones is known.
    """
    force = next((score for score in live if score.member == "in force" and score.coverage), None)
    trial = snap.forecast.get("trials", {}).get(kind)
    week = 7 * DAY_S // snap.step_s
    if trial and trial["coverage"] and (force is None or force.intervals < week):
        whose = f"On {fmt.count(len(trial['origin']), 'past day')}"
        return {float(band): share for band, share in trial["coverage"].items()}, int(trial["values"]), whose
    if force is not None and np.isfinite(force.coverage_frac):
        return force.coverage, force.intervals, f"Live, in {fmt.count(force.intervals, 'interval')}"
    return {}, 0, ""
