"""Fitting behind the scenes: the forecasters for each time of day, in a process of their own.

A cycle never fits. After each cycle the pilot offers what it knows; where no fit is running the worker starts the
one that will be needed next, and finished fits are swapped in whole. A fit serves origins at its local time of
day, and within the hour after it: there are 24 of them, renewed once a day each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np

from gridpilot.domain import DataFlag
from gridpilot.ending import end_with
from gridpilot.forecast import bands
from gridpilot.forecast.dayahead import DayAhead, local_phase_s
from gridpilot.forecast.days import Tick, day_table, silent
from gridpilot.forecast.ensemble import ENSEMBLE, Prepared, fit_quick, trial_of
from gridpilot.forecast.features import HOUR_S, Series
from gridpilot.forecast.fitted import Fitted, digest
from gridpilot.forecast.models import MODELS, SeasonalNaive
from gridpilot.forecast.stack import CALIBRATION_ROWS, Stack
from gridpilot.values import Index, to_utc

FEWEST_DAYS = 150  # of history, for members and for weights and bands on errors really made
RETRY_S = 600.0  # after a fit that failed


def fit_prices(prepared: Prepared, tick: Tick = silent) -> dict[str, Fitted]:
    """Fits of all prices that move: the ensemble for energy, the quick models for the others.

    Their errors are those of the same origins, so that scenarios keep what the prices have in common. On one thread,
    wherever it runs: sums in another order are other numbers, and a replay makes the same fit.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _fit_prices(prepared, tick)


def _fit_prices(prepared: Prepared, tick: Tick) -> dict[str, Fitted]:
    energy = fit_ensemble(prepared.clock, tick)
    out = {"energy": energy}
    for price, series in prepared.series.items():
        origins = last_days(series, len(energy.errors))
        if price != "energy" and len(origins) == len(energy.errors) and float(np.ptp(series.y)) > 0.0:
            out[price] = fit_quick(price, series, series.season, origins, MODELS)
    return {price: replace(fit, digest=digest(prepared.series[price])) for price, fit in out.items()}


def fit_ensemble(series: Series, tick: Tick = silent) -> Fitted:
    """Fit on the whole series, scored over its newest days, each forecast from what was known then."""
    began = time.process_time()
    horizon, model = series.season, DayAhead(Stack)
    spare = (len(series) - model.min_history(series.step_s, horizon)) // series.season - 1
    origins = last_days(series, max(1, min(CALIBRATION_ROWS, spare)))
    guess = model.rolling(series, origins, horizon, tick)
    stack = model.model
    if guess is None or not isinstance(stack, Stack):
        raise ValueError(f"{len(series)} values hold no {FEWEST_DAYS} whole days")
    truth = series.y[origins[:, None] + np.arange(1, horizon + 1)]
    naive = SeasonalNaive()
    plain = np.stack([naive.predict(series.cut(int(o) + 1), horizon) for o in origins])
    errors = {"mix": truth - guess, naive.name: truth - plain}
    errors |= {name: truth - model.steps(rows, series, origins, horizon) for name, rows in stack.member_rows.items()}
    return Fitted(
        method=ENSEMBLE,
        origin=to_utc(series.timestamp[-1]),
        members={name: model.part(member) for name, member in stack.members.items()},
        weights=stack.weights,
        errors=truth - guess,
        spacing=series.season,
        scores={name: float(np.mean(np.abs(error))) for name, error in errors.items()},
        trial=trial_of(series, origins, errors, coverage=True),
        fade=bands.FADE,
        reach=stack.reach,
        flags=tuple(
            DataFlag("MODEL_SKIPPED", f"energy price: {name} left out of the ensemble: {why}", "info", "forecast")
            for name, why in stack.left_out.items()
        ),
        cpu_s=time.process_time() - began,
    )


def last_days(series: Series, count: int) -> Index:
    """The newest `count` origins (K,) a local day apart whose day to come is known to the end of the series."""
    ends = day_table(series.without_exog()).ends
    return ends[max(1, len(ends) - 1 - count) : -1]


class Refitter:
    """Keeps a fit for each time of day; `offer` after a cycle, `current` inside the next one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._running: tuple[int, Future[dict[str, Fitted]]] | None = None
        self._fits: dict[int, dict[str, Fitted]] = {}
        self._failed: dict[int, float] = {}
        self.trouble = ""  # why the newest fit failed

    def current(self, prepared: Prepared) -> Mapping[str, Fitted]:
        """Fits by price that serve the end of the series."""
        self._collect()
        found = self._fits.get(local_phase_s(prepared.clock) // HOUR_S, {})
        return {p: f for p, f in found.items() if p in prepared.series and f.lag(prepared.series[p]) is not None}

    def offer(self, prepared: Prepared) -> None:
        """Start the fit that will be needed soonest, unless one is running or all are of today."""
        self._collect()
        series = prepared.clock
        if self._running is not None or not worth_fitting(series):
            return
        for steps in range(1, series.season + 1):  # the next interval's time of day was last seen a day ago
            known = prepared.without(series.season - steps)
            hour, late_s = divmod(local_phase_s(known.clock), HOUR_S)
            found = self._fits.get(hour, {}).get("energy")
            if late_s >= series.step_s:  # within the hour the fit of its beginning serves
                continue
            if found is not None and found.origin >= known.origin and found.lag(known.clock) is not None:
                continue
            if time.monotonic() < self._failed.get(hour, 0.0):
                continue
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_calm)
            try:
                self._running = hour, self._pool.submit(fit_prices, known)
            except BrokenExecutor as error:  # it went while it had nothing to do
                self.trouble = str(error)
                self.close()
            return

    def forget(self) -> None:
        """The prices are those of another market from here on: drop all fits, and the running one."""
        self._fits, self._failed, self.trouble = {}, {}, ""
        if self._running is not None:
            self.close()

    def waiting(self, series: Series) -> tuple[DataFlag, ...]:
        """What to say while no fit serves the end of the series."""
        if not worth_fitting(series):
            return ()
        if self.trouble:
            text = f"energy price: the quick models stand in, the fit failed: {self.trouble}"
            return (DataFlag("MODEL_SKIPPED", text, "warn", "forecast"),)
        text = "energy price: the quick models stand in until the ensemble for this time of day is fitted"
        return (DataFlag("COLD_START", text, "info", "forecast"),)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the running fit, if any; True when none is running afterwards."""
        if self._running is not None:
            end = time.monotonic() + timeout_s
            while not self._running[1].done() and time.monotonic() < end:
                time.sleep(0.05)
        self._collect()
        return self._running is None

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._running = None

    def _collect(self) -> None:
        """Swap a finished fit in."""
        if self._running is None or not self._running[1].done():
            return
        (hour, future), self._running = self._running, None
        error = future.exception()
        if error is None:
            self._fits = {**self._fits, hour: future.result()}
            self.trouble = ""
            return
        self.trouble = f"{type(error).__name__}: {error}"
        self._failed[hour] = time.monotonic() + RETRY_S
        if isinstance(error, BrokenExecutor):  # the worker itself is gone: the next fit starts another
            self.close()


def worth_fitting(series: Series) -> bool:
    """More than one step a day, enough days, and a price that moves."""
    enough = len(series) >= (FEWEST_DAYS + 1) * series.season
    return series.season > 1 and enough and float(np.ptp(series.y)) > 0.0


def _calm() -> None:
    """In the worker: one thread and low priority, so that cycles are not slowed; gone when the pilot is."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threadpool_limits(1)
    with contextlib.suppress(OSError):
        os.nice(10)
    end_with(os.getppid())
