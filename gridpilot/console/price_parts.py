"""What the page Prices draws, and what it shares with Forecast: units, history, break-even ladder, findings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import pandas as pd

from gridpilot import views
from gridpilot.console import charts, plots
from gridpilot.console import format as fmt
from gridpilot.console.charts import Figure, Panel, Series, TimeAxis
from gridpilot.console.theme import LIGHT
from gridpilot.market.metrics import quality
from gridpilot.values import Array, as_array, to_utc

KINDS: Final = {"energy": "Energy", "hash": "Hash", "token": "Token"}
RATE_SAID: Final = (
    "USD/h per rate: money an hour for each unit of a machine's rate in the site file, as TH/s or tokens/s."
)


def unit_of(snap: views.Snapshot, kind: str) -> str:
    """The source's unit of a price."""
    return {"energy": snap.units.energy, "hash": snap.units.hash, "token": snap.units.token}[kind]


def shown(snap: views.Snapshot, kind: str, numbers: Sequence[float | None]) -> Array:
    """Recorded numbers of a price, energy in the source's own unit."""
    found = views.values(numbers)
    return as_array(snap.shown(found)) if kind == "energy" else found


def series_of(prices: views.Prices, kind: str) -> Array:
    """One of the three recorded prices."""
    return {"energy": prices.energy, "hash": prices.hash, "token": prices.token}[kind]


def flags_of(snap: views.Snapshot, kind: str) -> list[str]:
    """Codes of the market's flags that speak of this price."""
    found = [f.code for f in snap.flags if f.stage == "market" and f.message.lower().startswith(kind)]
    return list(dict.fromkeys(found))


def span_words(prices: views.Prices) -> str:
    """How far the recorded prices reach back: "30 days" or "13 h"."""
    hours = len(prices.timestamp) * prices.step_s / 3600.0
    return f"{hours / 24.0:.0f} days" if hours >= 48.0 else f"{hours:.0f} h"


def against(price: float, reference: views.PriceReference | None) -> str:
    """ "+12.30 vs. yesterday 19:00" """
    if reference is None:
        return "no earlier price to compare"
    gap = fmt.price(abs(price - reference.value), "").value
    return f"{'+' if price >= reference.value else fmt.MINUS}{gap} vs. {reference.name}"


# --- Prices --------------------------------------------------------------------------------


def history_figure(snap: views.Snapshot, prices: views.Prices, days: int) -> Figure:
    """Recorded prices of some days; hours below zero are filled down from the zero line, what stood out is marked."""
    step, since = prices.step_s, prices.timestamp[-1] - np.timedelta64(days, "D")
    inside = prices.timestamp > since
    at, energy = prices.timestamp[inside], prices.energy[inside]
    ahead, odd = prices.day_ahead[inside], views.anomalies(prices, len(at))[inside]
    live = bool(np.isfinite(ahead).any())
    series = [charts.settled(at, energy, step, "Real time" if live else "Energy price")]
    if live:
        series.insert(0, Series("Day-ahead", at, ahead, "line", LIGHT["muted"], 1.2, step_s=step))
    if np.isfinite(odd).any():
        series.append(Series("Stands out", at, odd, "mark", LIGHT["warning"], step_s=step))
    if np.any(energy < 0.0):
        below = as_array(np.where(energy < 0.0, energy, np.nan))
        series.insert(0, Series("Below zero", at, below, "bar", LIGHT["muted"], step_s=step))
    panels = [Panel("Energy price", prices.units.energy, tuple(series), 230, {0.0: ""})]
    for kind in ("hash", "token"):
        found = series_of(prices, kind)[inside]
        if np.isfinite(found).any() and np.nanmin(found) < np.nanmax(found):  # a constant one is told by its tile
            said = ", ".join(flags_of(snap, kind)).lower().replace("_", " ")
            title = f"{KINDS[kind]} price" + (f" ({said})" if said else "")
            line = Series(f"{KINDS[kind]} price", at, found, "line", LIGHT["cooling"], 1.6, step_s=step)
            panels.append(Panel(title, unit_of(snap, kind), (line,), 54, decimals=2))
    start = to_utc(at[0])
    end = to_utc(at[-1]) + timedelta(seconds=step) + (to_utc(at[-1]) - start) / 25  # room for the word "now"
    axis = TimeAxis(start, end, snap.site.timezone, snap.at)
    return charts.time_figure(axis, panels)


def history_title(snap: views.Snapshot, prices: views.Prices, days: int) -> str:
    """How often below zero in the last days, and the dearest interval."""
    inside = prices.timestamp > prices.timestamp[-1] - np.timedelta64(days, "D")
    at, energy = prices.timestamp[inside], prices.energy[inside]
    high, unit = int(np.argmax(energy)), snap.units.energy
    when = fmt.local(to_utc(at[high]), snap.site.timezone)
    top = f"highest {fmt.price(float(energy[high]), unit)} on {when}"
    negative = int(np.sum(energy < 0.0))
    share = fmt.percent(negative / len(energy))
    ahead = prices.day_ahead[inside]
    both = np.isfinite(ahead) & np.isfinite(energy)
    if both.any():
        gap = float(np.mean(energy[both] - ahead[both]))
        top += f"; real time {fmt.price(abs(gap), unit)} {'above' if gap >= 0.0 else 'below'} day-ahead on average"
    return f"Below zero {share} of the time, {top}" if negative else f"Never below zero, {top}"


# --- when it is cheap ------------------------------------------------------------------------


def week_title(found: views.Week, unit: str) -> str:
    """The cheapest and the dearest hour of the week."""
    (low_day, low_hour), (high_day, high_hour) = found.cheapest, found.dearest
    low, high = (fmt.price(float(found.mean[at]), unit) for at in (found.cheapest, found.dearest))
    cheap = f"Cheapest {plots.DAYS[low_day]} {low_hour:02d}:00 ({low.value})"
    return f"{cheap}, dearest {plots.DAYS[high_day]} {high_hour:02d}:00 ({high}) on average"


def duration_title(price: Array, unit: str) -> str:
    """What a tenth of the time is dearer than, and what a tenth is cheaper than."""
    low, high = np.quantile(price, [0.1, 0.9])
    return f"A tenth of the time above {fmt.price(float(high), unit)}, a tenth below {fmt.price(float(low), unit)}"


def regime_words(found: views.Restless | None, unit: str) -> str:
    """How much prices changed in a day, against what is usual."""
    if found is None:
        return "known after a week of prices"
    now, usual = (fmt.price(value, unit).value for value in (found.now, found.median))
    return f"{now} vs. usual {usual}"


def day_spark(prices: views.Prices, kind: str, hours: int = 24) -> list[float]:
    """The last hours of a price, for a tile; empty where it did not change."""
    recent = series_of(prices, kind)[-max(2, hours * 3600 // prices.step_s) :]
    known = recent[np.isfinite(recent)]
    return known.tolist() if len(known) > 1 and known.min() < known.max() else []


def ladder_figure(snap: views.Snapshot) -> Figure:
    """Break-even of each machine type against the price now."""
    now = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
    rungs = [plots.Rung(s.type, s.strike if s.known else np.nan) for s in views.strikes(snap)]
    return plots.ladder(rungs, now, snap.units.energy)


def ladder_title(snap: views.Snapshot) -> str:
    """Who would burn money at the price now, and of whom that is not known."""
    every = views.strikes(snap)
    found, unknown = [s for s in every if s.known], [s.type for s in every if not s.known]
    if not unknown:
        return _earn_words(snap, found)
    now = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
    earning, losing = [s.type for s in found if s.strike > now], [s.type for s in found if s.strike <= now]
    parts = [f"{_listed(earning)} earn{'s' if len(earning) == 1 else ''}"] if earning else []
    parts += [f"{_listed(losing)} would burn money"] if losing else []
    told = f"At {fmt.price(now, snap.units.energy)} {', '.join(parts)}" if parts else ""
    price = " and ".join(sorted({s.product for s in every if not s.known}))
    said = f"what {_listed(unknown)} earn{'s' if len(unknown) == 1 else ''} is not known without a {price} price"
    return f"{told}; {said}" if told else f"{said[:1].upper()}{said[1:]}"


def _earn_words(snap: views.Snapshot, found: Sequence[views.Strike]) -> str:
    """Who would burn money at the price now, where every break-even is known."""
    now = float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"]))
    losing, price = [s.type for s in found if s.strike <= now], fmt.price(now, snap.units.energy)
    if not found:
        return "This site has no machines"
    if not losing:
        return f"Every machine type earns at {price}"
    if len(losing) == len(found):
        return f"No machine type earns at {price}"
    return f"At {price} {_listed(losing)} would burn money"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def strike_table(snap: views.Snapshot) -> pd.DataFrame:
    """Who earns and who burns, by machine type; NaN where the price of what it makes is not known."""
    found, unit = views.strikes(snap), snap.units.energy
    return pd.DataFrame(
        {
            "machines": [s.type for s in found],
            f"break-even, {unit}": [s.strike if s.known else np.nan for s in found],
            f"margin now, {unit}": [
                float(snap.shown(1000.0 * s.margin_usd_per_kwh)) if s.known else np.nan for s in found
            ],
            "on": [f"{s.running} of {s.count}" for s in found],
        }
    )


def stats_table(snap: views.Snapshot, prices: views.Prices) -> pd.DataFrame:
    """The three recorded prices by the measure of `metrics.quality`, and where they lie."""
    kept = {kind: np.isfinite(series_of(prices, kind)) for kind in KINDS}
    series = [as_array(series_of(prices, kind)[kept[kind]]) for kind in KINDS]
    found = [quality(prices.timestamp[kept[kind]], known) for kind, known in zip(KINDS, series, strict=True)]
    return pd.DataFrame(
        {
            "price": list(KINDS.values()),
            "unit": [unit_of(snap, kind) for kind in KINDS],
            "records": [q.records for q in found],
            "missing": [q.expected - q.records for q in found],
            "below zero": [int(np.sum(known < 0.0)) for known in series],
            **{
                name: [float(figure(known)) if len(known) else np.nan for known in series]
                for name, figure in (("lowest", np.min), ("mean", np.mean), ("highest", np.max))
            },
            "volatility of changes": [q.volatility for q in found],
        }
    )
