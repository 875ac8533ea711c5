"""The engine over a price history: what it would have earned, knowing at each moment only what was known then.

Three kinds of information about the prices of a day:

- `blind`: forecasts only. At local midnight the whole day is decided, and sold in an auction as one of several
  mutually exclusive day profiles (price-quantity bids): the auction takes the one that is worth most at its prices.
- `published`: from 13:00 on the prices of the next day are known; the next 24 hours are decided then.
- `realtime`: the price of each step is known when the step is decided, later ones are not.

Money is that of the site: loads less energy bought, plus energy sold, less wear, plus what the stored energy that is
left at the end is worth at the median price.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gridpilot.domain import Battery, DataFlag, PriceHistory, PriceOutlook, Reserve, Site, SiteState
from gridpilot.errors import MODEL_ERRORS, DataError
from gridpilot.forecast import bands
from gridpilot.forecast.evaluate import LEAD_DAYS, day_origins, earlier_origins, rolling
from gridpilot.forecast.features import Series
from gridpilot.forecast.models import SeasonalNaive
from gridpilot.forecast.registry import REGISTRY
from gridpilot.plan import merge, worth
from gridpilot.plan.gridded import LEVELS, best_plan
from gridpilot.plan.merge import Store, Uses
from gridpilot.plan.problem import build_problem
from gridpilot.values import Array, Index, Times, to_jsonable, to_stamp, to_utc

INFORMATION = ("blind", "published", "realtime")
PROFILES = 24  # mutually exclusive day profiles that are offered
MOST_PROFILES = 100
PUBLISHED_HOUR = 13  # local hour from which the next day's prices are known
MISS_FADE = 0.97  # weight of the error of a forecast a day later
RECENT_DAYS = 7  # past days that stand for the day after the horizon

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a day is traded: by which forecaster, knowing what, with how many profiles to choose from (1: none)."""

    forecaster: str = "ensemble"
    information: str = "blind"
    profiles: int = PROFILES

    def __post_init__(self) -> None:
        if self.information not in INFORMATION:
            raise DataError(f"information is {self.information!r}: expected {', '.join(INFORMATION)}")
        if not 1 <= self.profiles <= MOST_PROFILES:
            raise DataError(f"profiles is {self.profiles}: expected 1 to {MOST_PROFILES}")


@dataclass(frozen=True, slots=True)
class Day:
    """One local day: money of the engine, of perfect foresight, of persistence, of a battery at rest; cycles; SOC."""

    date: date
    revenue_usd: float
    perfect_usd: float
    persistence_usd: float
    resting_usd: float
    cycles: float
    soc_frac: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """What came of it. `gap_usd` splits what is missing to perfect foresight; its parts sum to the whole."""

    revenue_usd: float
    perfect_usd: float
    persistence_usd: float
    perfect_exact: bool
    days: tuple[Day, ...]
    gap_usd: dict[str, float]
    stored_usd: float  # of the revenue: the change in stored energy, at the median price
    timestamp: Times
    price: Array
    stored_kwh: Array
    battery_kw: Array
    information: str = ""
    forecaster: str = ""
    flags: tuple[DataFlag, ...] = ()

    @property
    def percent_of_perfect(self) -> float:
        """Revenue as a share of perfect foresight's [%]; NaN where there was nothing to earn."""
        return _percent(self.revenue_usd, self.perfect_usd)

    @property
    def persistence_percent_of_perfect(self) -> float:
        """The same with the persistence forecast."""
        return _percent(self.persistence_usd, self.perfect_usd)

    @property
    def percent_of_added(self) -> float:
        """What the engine added to a battery at rest, as a share of what perfect foresight adds [%]."""
        resting = sum(day.resting_usd for day in self.days)
        return _percent(self.revenue_usd - resting, self.perfect_usd - resting)

    def to_json(self) -> dict[str, Any]:
        """The public form: `python -m gridpilot backtest --json`."""
        return {
            "information": self.information,
            "forecaster": self.forecaster,
            "start": self.days[0].date.isoformat(),
            "end": self.days[-1].date.isoformat(),
            "n_days": len(self.days),
            "revenue_usd": self.revenue_usd,
            "perfect_foresight_usd": self.perfect_usd,
            "persistence_usd": self.persistence_usd,
            "resting_usd": sum(day.resting_usd for day in self.days),
            "percent_of_perfect": to_jsonable(self.percent_of_perfect),
            "persistence_percent_of_perfect": to_jsonable(self.persistence_percent_of_perfect),
            "percent_of_added": to_jsonable(self.percent_of_added),
            "cycles": sum(day.cycles for day in self.days),
            "stored_usd": self.stored_usd,
            "gap_usd": self.gap_usd,
            "perfect_foresight_exact": self.perfect_exact,
            "days": [{**to_jsonable(day), "date": day.date.isoformat()} for day in self.days],
            "flags": to_jsonable(self.flags),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every step, a row each."""
        for i, stamp in enumerate(self.timestamp):
            yield {
                "timestamp": f"{stamp}Z",
                "energy_usd_per_mwh": self.price[i],
                "battery_kw": self.battery_kw[i],
                "stored_kwh": self.stored_kwh[i],
            }


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole > 0.0 else float("nan")


@dataclass(frozen=True, slots=True)
class _Market:
    """What the site can do with energy in every step of the history: values (N, L), energies at the meter (N, L)."""

    store: Store
    battery: Battery
    price: Array  # $/kWh (N,)
    value: Array
    kwh: Array
    import_kwh: float
    export_kwh: float

    def uses(self, price: Array, value: Array, kwh: Array) -> Uses:
        """The merit order at prices (n,)."""
        n = len(price)
        limits = np.full(n, self.import_kwh), np.full(n, self.export_kwh)
        return merge.uses(price, price, *limits, value, kwh)

    def real(self, rows: Index) -> Uses:
        """The merit order that really came."""
        return self.uses(self.price[rows], self.value[rows], self.kwh[rows])

    def expected(self, rows: Index, price: Array) -> Uses:
        """The merit order at a forecast of the price; loads' values are the last ones known before."""
        known = self.value[max(0, int(rows[0]) - 1)]
        kwh = self.kwh[np.minimum(rows, len(self.kwh) - 1)]
        return self.uses(price, np.tile(known, (len(price), 1)), kwh)

    def earned(self, rows: Index, what: Uses, out: Array) -> Array:
        """What steps really earned (n,) when battery and loads did as planned with `what`."""
        moved = merge.terminal(self.store, out)
        loads = merge.loads_kwh(what, moved)
        bought = loads.sum(axis=1) - moved
        wear = self.store.wear * np.abs(moved)
        return np.asarray(np.sum(self.value[rows] * loads, axis=1) - self.price[rows] * bought - wear)


@dataclass(frozen=True, slots=True)
class _Trade:
    """What one way of trading did: money (n,), energy out of the battery (n,), stored at the end of each step (n,)."""

    usd: Array
    out: Array
    stored: Array


def backtest(
    site: Site,
    history: PriceHistory,
    series: Series,
    start: date,
    end: date,
    terms: Terms | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Trade each local day from `start` to `end`, both included. `series` is the history's price as forecasters see it.

    Days with prices that were filled in are left out, with a flag. DataError where the days are not in the history.
    """
    terms, told = terms or Terms(), progress or (lambda _name, _share: None)
    market, flags = _market(site, history)
    origins = day_origins(series, start, end)
    guess, name, more = _forecasts(
        series, origins, terms.forecaster, lambda share: told(f"forecast by {terms.forecaster}", share)
    )
    run = _Run(market, series, origins, guess, *_whole_days(history, series, origins))
    told("trading", 0.0)
    best = best_plan(market.store, market.real(run.steps), run.begin, *run.end)
    own = {"blind": lambda: run.blind(terms.profiles), "published": run.published, "realtime": run.realtime}
    ways: dict[str, Callable[[], _Trade]] = {
        "persistence": lambda: run.blind(1, run.persistence()),
        "ideal": lambda: run.blind(1, run.truth()),
    }
    if terms.information == "blind":
        ways["fixed"] = lambda: run.blind(1)
    ways["own"] = own[terms.information]
    trades = {}
    for k, (who, trade) in enumerate(ways.items(), 1):
        told("trading", k / (len(ways) + 1))
        trades[who] = trade()
    told("trading", 1.0)
    flags += [*more, *run.flags]
    if not best.exact:
        text = (
            f"at prices far below zero perfect foresight is the best plan on {LEVELS} levels of energy, not proven best"
        )
        flags.append(DataFlag("NOT_PROVEN", text, "info", "plan"))
    return replace(run.result(best, trades), information=terms.information, forecaster=name, flags=tuple(flags))


def default_days(series: Series, forecaster: str) -> tuple[date, date]:
    """From the first day that the forecaster can do, with four weeks to spare (or from the middle), to the last."""
    zone, season = ZoneInfo(series.timezone), series.season
    need = REGISTRY[forecaster].build().min_history(series.step_s, season) + 28 * season
    first = min(need, len(series) // 2)
    start = to_utc(series.timestamp[first]).astimezone(zone).date() + timedelta(days=1)
    last = to_utc(series.timestamp[-1]) + timedelta(seconds=series.step_s)
    return start, last.astimezone(zone).date() - timedelta(days=1)


def _plain(site: Site) -> tuple[Site, list[str]]:
    """The site without what a merit order can't say, and the names of what that was."""
    asked = {
        "operator rules": site.rules,
        "customers' service levels": site.customers,
        "reserve": site.reserve.wanted,
        "demand charge": site.demand_usd_per_kw,
        "room temperature": site.room.planned,
        "ramp limit": site.ramp_kw_per_min,
        "minimum run times": any(max(m.min_on_h, m.min_off_h) > 0.0 for m in site.machines),
        "wear by depth": any(site.battery.depth_wear_usd_per_kwh),
    }
    plain = replace(site, rules=(), customers=(), reserve=Reserve(), demand_usd_per_kw=0.0, ramp_kw_per_min=0.0)
    machines = tuple(replace(m, min_on_h=0.0, min_off_h=0.0) for m in site.machines)
    battery = replace(site.battery, depth_wear_usd_per_kwh=())
    return replace(plain, machines=machines, battery=battery), [name for name, there in asked.items() if there]


def _market(site: Site, history: PriceHistory) -> tuple[_Market, list[DataFlag]]:
    """Loads and limits of every step; jobs with deadlines have no place in the merit order."""
    n, step_h = len(history), history.step_s / 3600.0
    outlook = PriceOutlook(
        history.timestamp,
        history.step_s,
        history.energy_usd_per_mwh,
        history.hash_price,
        history.token_price,
        history.units,
        known=n,
    )
    first = to_utc(history.timestamp[0])
    plain, left_out = _plain(site)
    problem = build_problem(plain, SiteState(first, 0.5 * (site.battery.soc_min + site.battery.soc_max)), outlook)
    gross = problem.gross
    value = np.stack([load.value_usd_per_kwh / gross for load in problem.loads], axis=1) if problem.loads else None
    kwh = np.stack([load.max_kw * gross * step_h for load in problem.loads], axis=1) if problem.loads else None
    flags = []
    if site.jobs:
        names = ", ".join(job.name for job in site.jobs)
        text = f"jobs with deadlines are not part of a backtest: {names}"
        flags.append(DataFlag("JOBS_LEFT_OUT", text, "warn", "plan"))
    if left_out:
        flags.append(DataFlag("TERMS_LEFT_OUT", f"not part of a backtest: {', '.join(left_out)}", "warn", "plan"))
    market = _Market(
        store=Store.of(site.battery, step_h),
        battery=site.battery,
        price=np.asarray(history.energy_usd_per_mwh / 1000.0),
        value=np.empty((n, 0)) if value is None else value,
        kwh=np.empty((n, 0)) if kwh is None else kwh,
        import_kwh=site.import_kw * step_h,
        export_kwh=site.export_kw * step_h,
    )
    return market, flags


def _forecasts(
    series: Series, origins: Index, forecaster: str, told: Callable[[float], None]
) -> tuple[tuple[Array, Array, Index], str, list[DataFlag]]:
    """Forecasts (K, H) and those of up to half a year before (L, H) with their origins; simpler where history is short.

    Forecasters are recalibrated daily, as `evaluate` does.
    """
    flags, horizon = [], series.season
    for name in dict.fromkeys((forecaster, "ridge", "seasonal naive")):
        entry = REGISTRY[name]
        need = entry.build().min_history(series.step_s, horizon)
        if int(origins[0]) + 1 < need:
            text = f"{name} needs {need} values before the first day, there are {int(origins[0]) + 1}"
            flags.append(DataFlag("MODEL_SKIPPED", text, "warn", "forecast"))
            continue
        lead = earlier_origins(series, origins, need)
        every = np.concatenate([lead, origins])
        try:
            guess = rolling(entry.build(), series, every, horizon, entry.refit_days, told)
        except MODEL_ERRORS as error:
            text = f"{name} failed, a simpler one stands in: {type(error).__name__}: {error}"
            flags.append(DataFlag("MODEL_SKIPPED", text, "warn", "forecast"))
            continue
        return (guess[len(lead) :], guess[: len(lead)], lead), name, flags
    raise DataError("; ".join(flag.message for flag in flags) + ": start later")


def _whole_days(history: PriceHistory, series: Series, origins: Index) -> tuple[list[Index], tuple[DataFlag, ...]]:
    """The steps of each day; an empty row for a day with prices that were filled in."""
    edges = np.append(origins, _next_midnight(series, int(origins[-1])))
    made_up, zone = np.isin(history.timestamp, history.filled), ZoneInfo(series.timezone)
    rows, left_out = [], []
    for a, b in itertools.pairwise(edges):
        steps = np.arange(a + 1, b + 1)
        if made_up[steps].any():
            left_out.append(str(to_utc(series.timestamp[a + 1]).astimezone(zone).date()))
            steps = steps[:0]
        rows.append(steps)
    if not left_out:
        return rows, ()
    shown = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
    text = f"{len(left_out)} days with prices that were filled in are left out: {shown}"
    return rows, (DataFlag("DAYS_LEFT_OUT", text, "warn", "market", len(left_out)),)


def _next_midnight(series: Series, origin: int) -> int:
    """The newest value before the local midnight a day after the one that follows `origin`."""
    zone = ZoneInfo(series.timezone)
    first = to_utc(series.timestamp[origin + 1]).astimezone(zone)
    after = first.date() + timedelta(days=1)
    stamp = to_stamp(datetime(after.year, after.month, after.day, tzinfo=zone))
    return int(np.searchsorted(series.timestamp, stamp)) - 1


class _Run:
    """The days to trade, and the ways to trade them."""

    def __init__(
        self,
        market: _Market,
        series: Series,
        origins: Index,
        guess: tuple[Array, Array, Index],
        rows: list[Index],
        flags: tuple[DataFlag, ...],
    ) -> None:
        self.market, self.series, self.origins, self.rows, self.flags = market, series, origins, rows, flags
        self.guess, self.before, self.lead = guess
        self.steps: Index = np.concatenate(rows)
        if not len(self.steps):
            raise DataError("no day is left to trade: every one has prices that were filled in")
        self.first = int((self.lead if len(self.lead) else origins - self.series.season)[0]) + 1
        self.begin = 0.5 * (market.store.low + market.store.high)
        self.worth = worth.flat_worth(market.battery, market.price[self.steps])
        self.end = merge.flat_end(market.store, self.begin, self.worth)

    def persistence(self) -> Array:
        """Yesterday repeated, or for Saturday, Sunday and Monday the day a week ago (K, H)."""
        naive, horizon = SeasonalNaive(), self.series.season
        return np.stack([naive.predict(self.series.cut(int(o) + 1), horizon) for o in self.origins])

    def truth(self) -> Array:
        """The prices that came (K, H)."""
        season = self.series.season
        steps = np.minimum(self.origins[:, None] + np.arange(1, season + 1), len(self.series) - 1)
        return np.asarray(self.series.y[steps])

    def blind(self, profiles: int, guess: Array | None = None) -> _Trade:
        """Each day decided at its midnight by a forecast (K, H), with so many profiles to choose from."""
        parts: list[_Trade] = []
        energy = self.begin
        errors = self._errors() if profiles > 1 else None
        for k, rows in enumerate(self.rows):
            if not len(rows):
                continue
            row = self._fit(self.guess[k] if guess is None else guess[k], len(rows))
            end = self._end(k, row, rows)
            offers = [row, *(() if errors is None else self._others(errors, k, row, profiles - 1))]
            chosen = self._auction(rows, offers, energy, end)
            parts.append(chosen)
            energy = float(chosen.stored[-1])
        return _joined(parts)

    def published(self) -> _Trade:
        """From 13:00 on the next day is known: from then to the next 13:00 as is best for all that is known."""
        market, parts, energy = self.market, [], self.begin
        zone = ZoneInfo(self.series.timezone)
        hours = np.array([to_utc(s).astimezone(zone).hour for s in self.series.timestamp[self.steps]])
        fresh = np.flatnonzero((hours >= PUBLISHED_HOUR) & (np.concatenate([[0], hours[:-1]]) < PUBLISHED_HOUR))
        cuts = np.unique(np.concatenate([[0], fresh, [len(self.steps)]]))
        midnights = np.cumsum([0, *(len(rows) for rows in self.rows)])
        for a, b in itertools.pairwise(cuts):
            later = midnights[midnights > a]
            reach = int(later[min(1, len(later) - 1)]) if a in fresh else int(later[0])
            known = self.steps[a : max(reach, b)]
            day = int(np.searchsorted(self.origins, known[-1]) - 1)
            end = self._end(day, self.market.price[known[-self.series.season :]] * 1000.0, known[-self.series.season :])
            found = best_plan(market.store, market.real(known), energy, *end)
            out, stored = found.out[: b - a], found.stored[: b - a]
            now = self.steps[a:b]
            parts.append(_Trade(merge.step_profit(market.store, market.real(now), out), out, stored))
            energy = float(stored[-1])
        return _joined(parts)

    def realtime(self) -> _Trade:
        """Each step decided by its own price and what waiting is worth while the price wanders from its forecast."""
        parts, energy, season = [], self.begin, self.series.season
        bases = self._bases()
        miss = [self._miss(base, self.lead) for base in bases]
        states = [self._first_states(base) for base in bases]
        for k, rows in enumerate(self.rows):
            if not len(rows):
                continue
            best = int(np.argmin(miss))
            day = self._fit(bases[best][rows[0] : rows[0] + season], len(rows))
            for i, base in enumerate(bases):
                known = slice(self.first, int(rows[0]))
                chain = worth.learn_chain(self.series.y[known], base[known], states[i][known], season)
                states[i][rows] = chain.states(self.series.y[rows], base[rows])
                if i == best:
                    waiting = self._waiting(chain, rows, day)
                miss[i] = MISS_FADE * miss[i] + (1.0 - MISS_FADE) * self._miss(base, self.origins[k : k + 1])
            real = self.market.real(rows)
            out, stored = worth.walk(self.market.store, real, states[best][rows], waiting, energy)
            parts.append(_Trade(merge.step_profit(self.market.store, real, out), out, stored))
            energy = float(stored[-1])
        return _joined(parts)

    def _first_states(self, base: Array) -> Index:
        """The states (N,) of the days before the first, by a chain learnt from all of them; 0 from then on."""
        states, early = np.zeros(len(self.series), dtype=np.int64), slice(self.first, int(self.origins[0]) + 1)
        price, forecast = self.series.y[early], base[early]
        chain = worth.learn_chain(price, forecast, states[early], self.series.season)
        states[early] = chain.states(price, forecast)
        return states

    def _waiting(self, chain: worth.Chain, rows: Index, day: Array) -> Array:
        """What stored energy is worth after each step of the day, by state, the day being expected to come twice."""
        market, count = self.market, len(chain.moves)
        prices = chain.prices(np.concatenate([day, day])).ravel() / 1000.0
        values = np.tile(market.value[max(0, int(rows[0]) - 1)], (len(prices), 1))
        what = market.uses(prices, values, market.kwh[np.repeat(np.concatenate([rows, rows]), count)])
        end = np.full(worth.CELLS, worth.flat_worth(market.battery, day / 1000.0))
        return worth.waiting_worth(market.store, chain, merge.curves(market.store, what), end)[: len(rows)]

    def _bases(self) -> list[Array]:
        """What may be taken as the forecast of every step (N,): the model's, or an outside series as it is."""
        season, model = self.series.season, self.series.y.copy()
        rows = np.concatenate([self.before, self.guess])
        for origin, row in zip(np.concatenate([self.lead, self.origins]), rows, strict=True):
            steps = np.arange(origin + 1, min(origin + 1 + season, len(model)))
            model[steps] = row[: len(steps)]
        return [model, *(np.asarray(column[: len(model)]) for column in self.series.exog.T)]

    def _miss(self, base: Array, origins: Index) -> float:
        """Mean absolute error of the days after these origins."""
        steps = np.minimum(origins[:, None] + np.arange(1, self.series.season + 1), len(self.series) - 1)
        return float(np.mean(np.abs(self.series.y[steps] - base[steps]))) if len(steps) else 0.0

    def _errors(self) -> Array:
        """Errors of the forecasts of the days before the first and of the test days (L + K, H)."""
        every = np.concatenate([self.lead, self.origins])
        steps = np.minimum(every[:, None] + np.arange(1, self.series.season + 1), len(self.series) - 1)
        return np.asarray(self.series.y[steps] - np.concatenate([self.before, self.guess]))

    def _others(self, errors: Array, k: int, row: Array, count: int) -> Iterator[Array]:
        """Days as they might come: the forecast with errors of the past half year, at today's scale."""
        past = errors[max(0, len(self.lead) + k - LEAD_DAYS) : len(self.lead) + k]
        if len(past) < 2:
            return
        scaled = bands.rescaled(past, self.series.per_hour)
        for i in np.unique(np.linspace(0, len(scaled) - 1, count).astype(int)):
            yield row + self._fit(scaled[i], len(row))

    def _auction(self, rows: Index, offers: Sequence[Array], energy: float, end: tuple[Array, Array]) -> _Trade:
        """Of the best plans for each offered course of prices the one worth most at the prices that came."""
        market = self.market
        edges = np.concatenate([[0.0], np.cumsum(end[1])])
        left = np.concatenate([[0.0], np.cumsum(end[0] * end[1])])
        best: tuple[float, _Trade] | None = None
        for course in offers:
            what = market.expected(rows, course / 1000.0)
            found = best_plan(market.store, what, energy, *end)
            usd = market.earned(rows, what, found.out)
            total = float(usd.sum() + np.interp(found.stored[-1] - market.store.low, edges, left))
            if best is None or total > best[0]:
                best = total, _Trade(usd, found.out, found.stored)
        assert best is not None  # noqa: S101  # the first offer is always there
        return best[1]

    def _end(self, k: int, row: Array, rows: Index) -> tuple[Array, Array]:
        """What energy left at the end of the day may be worth on the next: that day again, or one of the last seven."""
        origin, season = int(self.origins[k]), self.series.season
        flat = worth.flat_worth(self.market.battery, row / 1000.0)
        shapes = [(row, float(RECENT_DAYS))]
        for back in range(1, RECENT_DAYS + 1):
            past = self.series.y[max(0, origin + 1 - back * season) : origin + 1 - (back - 1) * season]
            if len(past) == season:
                shapes.append((past - past.mean() + row.mean(), 1.0))
        days = [(self.market.expected(np.resize(rows, len(s)), s / 1000.0), weight) for s, weight in shapes]
        return worth.end_worth(self.market.store, days, flat)

    @staticmethod
    def _fit(row: Array, steps: int) -> Array:
        """A row for a day of so many steps: the clock changes make one an hour shorter or longer."""
        return np.asarray(np.pad(row, (0, max(0, steps - len(row))), mode="edge")[:steps])

    def result(self, best: merge.Found, trades: Mapping[str, _Trade]) -> Backtest:
        """Days and totals."""
        own, same = trades["own"], trades["persistence"]
        store, battery = self.market.store, self.market.battery

        def total(trade: _Trade) -> float:
            return float(trade.usd.sum() + self.worth * (trade.stored[-1] - self.begin))

        perfect = float(best.profit_usd.sum() + self.worth * (best.stored[-1] - self.begin))
        still = merge.step_profit(store, self.market.real(self.steps), np.zeros(len(self.steps)))
        if "fixed" in trades:
            ideal, fixed = total(trades["ideal"]), total(trades["fixed"])
            gap = {"horizon": perfect - ideal, "forecast": ideal - fixed, "profiles": fixed - total(own)}
        else:
            gap = {"information": perfect - total(own)}
        cut = np.cumsum([0, *(len(rows) for rows in self.rows)])
        zone, capacity = ZoneInfo(self.series.timezone), max(battery.capacity_kwh, np.finfo(float).tiny)
        days = tuple(
            Day(
                to_utc(self.series.timestamp[self.steps[a]]).astimezone(zone).date(),
                float(own.usd[a:b].sum()),
                float(best.profit_usd[a:b].sum()),
                float(same.usd[a:b].sum()),
                float(still[a:b].sum()),
                float(np.maximum(own.out[a:b], 0.0).sum()) / capacity,
                float(own.stored[b - 1]) / capacity,
            )
            for a, b in itertools.pairwise(cut)
            if b > a
        )
        return Backtest(
            revenue_usd=total(own),
            perfect_usd=perfect,
            persistence_usd=total(same),
            perfect_exact=best.exact,
            days=days,
            gap_usd=gap,
            stored_usd=self.worth * float(own.stored[-1] - self.begin),
            timestamp=self.series.timestamp[self.steps],
            price=self.series.y[self.steps],
            stored_kwh=own.stored,
            battery_kw=-merge.terminal(store, own.out) * 3600.0 / self.series.step_s,
        )


def _joined(parts: list[_Trade]) -> _Trade:
    return _Trade(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("usd", "out", "stored")))
