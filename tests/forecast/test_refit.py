"""Fits behind the scenes: in a process of their own, swapped in whole, never inside a cycle."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType

import numpy as np
import pytest

from gridpilot.forecast import refit
from gridpilot.forecast.ensemble import ENSEMBLE, Prepared, fit_quick, forecast
from gridpilot.forecast.features import Series
from gridpilot.forecast.fitted import Fitted
from gridpilot.forecast.models import MODELS
from gridpilot.forecast.refit import Refitter, fit_ensemble, fit_prices, last_days, worth_fitting
from gridpilot.values import to_utc
from tests.forecast.conftest import market, spoiled

DAYS = 170
WAIT_S = 120.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridpilot.forecast.gp.STEPS", 3)
    monkeypatch.setattr("gridpilot.forecast.net.EPOCHS", 3)


@pytest.fixture(scope="module")
def fit() -> Fitted:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gridpilot.forecast.gp.STEPS", 3)
        patch.setattr("gridpilot.forecast.net.EPOCHS", 3)
        return fit_ensemble(market(DAYS).cut(24 * (DAYS - 1)))


@pytest.fixture(scope="module")
def quarters() -> Fitted:
    """A fit of quarter hours at the beginning of an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gridpilot.forecast.gp.STEPS", 3)
        patch.setattr("gridpilot.forecast.net.EPOCHS", 3)
        return fit_ensemble(market(DAYS, 900).cut(96 * (DAYS - 1)))


def prepared(series: Series) -> Prepared:
    return Prepared(to_utc(series.timestamp[-1]), series, {"energy": series})


@pytest.mark.slow
def test_forecast__with_a_fit_uses_it_and_says_which(fit: Fitted) -> None:
    series = market(DAYS)
    out = forecast(prepared(series), 24, fits={"energy": fit})
    assert out.energy.method == ENSEMBLE
    assert out.version == fit.version == "2023-06-18T23:00Z"
    assert set(out.energy.members) == set(out.weights) == {"gp", "gp whole", "net", "lear", "like day"}
    mixed = sum(out.weights[name] * values for name, values in out.energy.members.items())
    assert np.allclose(out.energy.point, mixed)
    stack = np.stack(list(out.energy.quantiles.values()))
    assert np.all(np.diff(stack, axis=0) >= 0.0)
    assert {"mix", "seasonal naive", "gp", "net"} <= set(out.scores["energy"])
    assert out.paths["energy"].shape == (200, 24)
    trial = out.trials["energy"]
    assert len(trial.origin) == len(trial.mae["mix"]) == 28
    assert trial.mae["mix"][-1] == pytest.approx(np.abs(fit.errors[-1]).mean())
    assert set(trial.coverage) == {0.5, 0.8, 0.9}
    assert 0.6 < trial.coverage[0.8] < 0.95
    assert {"yesterday's prices", "outside forecasts", "weekday"} <= set(out.drivers)
    assert not [flag for flag in out.flags if flag.severity != "info"]


@pytest.mark.slow
def test_forecast__fit_that_does_not_serve_leaves_the_quick_models(fit: Fitted) -> None:
    series = market(DAYS + 20)
    for known in (series.cut(24 * DAYS - 5), series):
        out = forecast(prepared(known), 24, fits={"energy": fit})
        assert out.energy.method != ENSEMBLE
        assert out.version == ""
        assert [flag.code for flag in out.flags] == ["EXOG_UNUSED"]


@pytest.mark.slow
def test_forecast__second_day_goes_on_from_the_first_with_wider_bands(fit: Fitted) -> None:
    series = market(DAYS)
    day, two = (forecast(prepared(series), horizon, fits={"energy": fit}) for horizon in (24, 48))
    assert two.energy.method == ENSEMBLE
    assert np.array_equal(two.energy.point[:24], day.energy.point)
    assert np.array_equal(two.energy.quantiles[0.9][:24], day.energy.quantiles[0.9])
    assert np.all(np.diff(np.stack(list(two.energy.quantiles.values())), axis=0) >= 0.0)
    width = two.energy.upper - two.energy.lower
    assert width[24:].mean() > width[:24].mean()
    assert two.paths["energy"].shape == (200, 48)
    assert np.all(np.isfinite(two.paths["energy"]))


@pytest.mark.slow
def test_forecast__within_the_hour_the_steps_already_known_correct_what_is_left(quarters: Fitted) -> None:
    series = market(DAYS, 900)
    fitted_at = 96 * (DAYS - 1)
    for late in range(4):
        known = series.cut(fitted_at + late)
        assert quarters.lag(known) == late
        out = forecast(prepared(known), 96, fits={"energy": quarters})
        assert out.energy.method == ENSEMBLE
        assert len(out.energy.point) == 96
        assert np.all(np.isfinite(out.paths["energy"]))
    assert quarters.lag(series.cut(fitted_at + 4)) is None
    known = series.cut(fitted_at + 2)
    high = replace(known, y=np.concatenate([known.y[:-2], known.y[-2:] + 20.0]))
    moved = quarters.predict(high, 96)[0] - quarters.predict(known, 96)[0]
    assert 0.0 < moved[0] < 20.0
    assert abs(moved[90:].mean()) < moved[0]


@pytest.mark.slow
def test_forecast__what_comes_after_the_origin_changes_no_bit(fit: Fitted) -> None:
    series, cut = market(DAYS + 3), 24 * DAYS
    a, b = (forecast(prepared(s.cut(cut)), 24, fits={"energy": fit}) for s in (series, spoiled(series, cut)))
    assert np.array_equal(a.energy.point, b.energy.point)
    assert np.array_equal(a.paths["energy"], b.paths["energy"])


@pytest.mark.slow
def test_forecast__fit_that_breaks_is_flagged_and_replaced(fit: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no numbers")

    monkeypatch.setattr("gridpilot.forecast.gp.GaussianProcess.predict", broken)
    out = forecast(prepared(market(DAYS)), 24, fits={"energy": fit})
    assert out.energy.method != ENSEMBLE
    assert np.all(np.isfinite(out.energy.point))
    assert any("left out: no numbers" in flag.message for flag in out.flags)


@pytest.mark.slow
def test_fit_prices__hash_is_fitted_at_the_same_origins_so_that_paths_are_joint(quick: None) -> None:
    energy = market(DAYS)
    shared = np.repeat(np.random.default_rng(1).normal(0, 8, DAYS), 24)
    energy = replace(energy, y=energy.y + shared)
    hashes = replace(
        energy.without_exog(), y=60.0 + 0.5 * shared + np.random.default_rng(2).normal(0, 0.1, len(energy))
    )
    both = Prepared(to_utc(energy.timestamp[-1]), energy, {"energy": energy, "hash": hashes})
    fits = fit_prices(both)
    assert fits["hash"].errors.shape == fits["energy"].errors.shape
    out = forecast(both, 24, fits=fits)
    assert out.hash.method == fits["hash"].method
    together = np.corrcoef(out.paths["energy"].mean(axis=1), out.paths["hash"].mean(axis=1))[0, 1]
    assert together > 0.5
    assert np.array_equal(both.without(24).clock.y, energy.y[:-24])


def test_fit_quick__origins_a_local_day_apart_over_a_clock_change_leave_no_model_out() -> None:
    series = market(DAYS, zone="Europe/Amsterdam").without_exog()
    origins = last_days(series, 90)  # of which the first 20 or so are in winter time
    assert len(set(np.diff(origins))) == 2
    fitted = fit_quick("hash", series, 24, origins, MODELS)
    assert [flag.message for flag in fitted.flags] == []
    assert set(fitted.scores) == {*MODELS, "mix"}


def test_worth_fitting__needs_days_and_a_price_that_moves() -> None:
    series = market(DAYS)
    assert worth_fitting(series)
    assert not worth_fitting(market(100))
    assert worth_fitting(market(DAYS, 300))
    assert not worth_fitting(replace(series, y=np.full(len(series), 3.0)))


@pytest.mark.parametrize("step_s", [3600, 900])
def test_refitter__next_hour_first_then_the_rest_and_none_twice(step_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    done = fit_like(market(DAYS))

    class Pool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, _: object, known: Prepared) -> Done:
            asked.append(f"{known.origin:%Y-%m-%dT%H:%M}")
            return Done({"energy": replace(done, origin=known.origin)})

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(refit, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(Fitted, "lag", lambda self, series: 0)
    refitter, series = Refitter(), market(DAYS, step_s)
    for _ in range(30):
        refitter.offer(prepared(series))
    assert len(asked) == 24
    # the series ends at midnight; the next hour's beginning was last seen a day before its own last interval
    origins = [datetime.fromisoformat(text) + timedelta(seconds=step_s) for text in asked]
    assert origins == [datetime(2023, 6, 19, 1) + timedelta(hours=i) for i in range(24)]


class Done:
    """A finished future."""

    def __init__(self, fitted: dict[str, Fitted]) -> None:
        self.fitted = fitted

    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None

    def result(self) -> dict[str, Fitted]:
        return self.fitted


def fit_like(series: Series) -> Fitted:
    return Fitted(ENSEMBLE, to_utc(series.timestamp[-1]), {}, {}, np.zeros((3, 24)), 24, {})


@pytest.mark.slow
def test_refitter__real_worker_fits_is_killed_and_fits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit, "RETRY_S", 0.0)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # what AppTest leaves there can't be spawned
    series, refitter = market(DAYS + 1), Refitter()
    try:
        known = series.cut(24 * DAYS + 1)  # the end of the next interval
        assert refitter.current(prepared(known)) == {}
        assert [flag.code for flag in refitter.waiting(known)] == ["COLD_START"]
        refitter.offer(prepared(series.cut(24 * DAYS)))
        assert refitter._pool is not None
        (worker,) = refitter._pool._processes.values()
        time.sleep(1.0)
        os.kill(worker.pid, signal.SIGKILL)
        assert refitter.wait(WAIT_S)
        assert "BrokenProcessPool" in refitter.trouble
        assert refitter.current(prepared(known)) == {}
        refitter.offer(prepared(series.cut(24 * DAYS)))
        assert refitter.wait(WAIT_S)
        found = refitter.current(prepared(known))
        assert refitter.trouble == ""
        assert found["energy"].scores["mix"] < found["energy"].scores["seasonal naive"]
        assert forecast(prepared(known), 24, fits=found).energy.method == ENSEMBLE
    finally:
        refitter.close()
