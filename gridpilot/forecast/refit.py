"""Fitting behind the scenes: the day-ahead ensemble for each time of day, in a process of its own.

A cycle never fits. After each cycle the pilot offers what it knows; where no fit is running the worker starts the
one that will be needed next, and finished fits are swapped in whole. A fit serves origins at its local time of
day: with hourly steps there are 24 of them, renewed once a day each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context

import numpy as np

from gridpilot.domain import DataFlag
from gridpilot.forecast.dayahead import TAIL_DAYS, DayAhead, local_phase_s
from gridpilot.forecast.days import Tick, day_table, position, silent, slots
from gridpilot.forecast.features import Series
from gridpilot.forecast.models import SeasonalNaive
from gridpilot.forecast.stack import CALIBRATION_ROWS, Stack
from gridpilot.values import Array, to_utc

OLDEST = timedelta(days=8)  # an older fit is not used any more
FEWEST_DAYS = 150  # of history, for members and for weights and bands on errors really made
RETRY_S = 600.0  # after a fit that failed


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted ensemble and the errors that it made before: errors (K, H), a day apart, newest last.

    `origin` is the newest value it has learnt from; scores are mean absolute errors of members over the K days.
    """

    version: str
    origin: datetime
    model: DayAhead
    errors: Array
    scores: Mapping[str, float]
    weights: Mapping[str, float]
    left_out: Mapping[str, str]
    cpu_s: float

    def predict(self, series: Series, horizon: int) -> tuple[Array, dict[str, Array]]:
        """The mix (H,) and what each member says, from the end of the series; H is a day at most."""
        stack = self.model.model
        if not isinstance(stack, Stack) or horizon > series.season or not self.model.fits(series):
            raise ValueError(
                f"the ensemble of {self.version} does not serve {horizon} steps from {series.timestamp[-1]}Z"
            )
        days = day_table(series.tail(TAIL_DAYS * series.season))
        width = days.y.shape[1]
        where = position(series.tail(2), 2 + horizon)[2:] % width
        members = {name: row[where] for name, row in stack.predict_members(days).items()}
        return sum_of(members, self.weights), members

    def serves(self, series: Series) -> bool:
        """Whether it can forecast from the end of the series, and is recent enough to."""
        age = to_utc(series.timestamp[-1]) - self.origin
        return self.model.fits(series) and timedelta(0) <= age <= OLDEST


def fit_ensemble(series: Series, tick: Tick = silent) -> Fitted:
    """Fit on the whole series, scored over its newest days, each forecast from what was known then."""
    began = time.process_time()
    horizon = series.season
    model = DayAhead(Stack)
    days = (len(series) - model.min_history(series.step_s, horizon)) // series.season - 1
    ends = model.ends(series)
    origins = ends[-1 - max(1, min(CALIBRATION_ROWS, days)) : -1]
    guess = model.rolling(series, origins, horizon, tick)
    stack = model.model
    if guess is None or not isinstance(stack, Stack):
        raise ValueError(f"{len(series)} values hold no {FEWEST_DAYS} whole days")
    truth = series.y[origins[:, None] + np.arange(1, horizon + 1)]
    naive = SeasonalNaive()
    plain = np.stack([naive.predict(series.cut(int(o) + 1), horizon) for o in origins])
    scores = {"mix": truth - guess, naive.name: truth - plain}
    scores |= {name: truth - model.steps(rows, series, origins, horizon) for name, rows in stack.member_rows.items()}
    stack.member_rows = {}
    origin = to_utc(series.timestamp[-1])
    return Fitted(
        version=f"{origin:%Y-%m-%dT%H:%MZ}",
        origin=origin,
        model=model,
        errors=truth - guess,
        scores={name: float(np.mean(np.abs(errors))) for name, errors in scores.items()},
        weights=stack.weights,
        left_out=dict(stack.left_out),
        cpu_s=time.process_time() - began,
    )


class Refitter:
    """Keeps a fit for each time of day; `offer` after a cycle, `current` inside the next one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._running: tuple[int, Future[Fitted]] | None = None
        self._fits: dict[int, Fitted] = {}
        self._failed: dict[int, float] = {}
        self.trouble = ""  # why the newest fit failed

    def current(self, series: Series) -> Fitted | None:
        """The fit that serves the end of the series, if there is one."""
        self._collect()
        found = self._fits.get(local_phase_s(series))
        return found if found is not None and found.serves(series) else None

    def offer(self, series: Series) -> None:
        """Start the fit that will be needed soonest, unless one is running or all are of today."""
        self._collect()
        if self._running is not None or not worth_fitting(series):
            return
        for steps in range(1, series.season + 1):  # the next interval's time of day was last seen a day ago
            known = series.cut(len(series) - series.season + steps)
            phase = local_phase_s(known)
            found = self._fits.get(phase)
            fresh = found is not None and found.serves(known) and found.origin >= to_utc(known.timestamp[-1])
            if fresh or time.monotonic() < self._failed.get(phase, 0.0):
                continue
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_calm)
            try:
                self._running = phase, self._pool.submit(fit_ensemble, known)
            except BrokenExecutor as error:  # it went while it had nothing to do
                self.trouble = str(error)
                self.close()
            return

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
        (phase, future), self._running = self._running, None
        error = future.exception()
        if error is None:
            self._fits = {**self._fits, phase: future.result()}
            self.trouble = ""
            return
        self.trouble = f"{type(error).__name__}: {error}"
        self._failed[phase] = time.monotonic() + RETRY_S
        if isinstance(error, BrokenExecutor):  # the worker itself is gone: the next fit starts another
            self.close()


def sum_of(members: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The weighted sum of the members (H,)."""
    return np.asarray(np.sum([weights[name] * values for name, values in members.items()], axis=0))


def worth_fitting(series: Series) -> bool:
    """Steps of an hour or more, enough days, and a price that moves."""
    enough = len(series) >= (FEWEST_DAYS + 1) * series.season
    return series.season == slots(series.step_s) and series.season > 1 and enough and float(np.ptp(series.y)) > 0.0


def _calm() -> None:
    """In the worker: one thread and low priority, so that cycles are not slowed; gone when the pilot is."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threadpool_limits(1)
    with contextlib.suppress(OSError):
        os.nice(10)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
