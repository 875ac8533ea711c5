"""The drift test by itself, and in whole cycles with the decision made again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.config import Settings
from gridpilot.cycle import CycleResult, Engine, open_engine, run_cycle
from gridpilot.domain import PriceHistory
from gridpilot.errors import DataError
from gridpilot.evidence import replay
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import drift as drifts
from gridpilot.monitor.conditions import conditions
from gridpilot.monitor.drift import LIMIT_H, WATCHED, Drift, Score, follow
from gridpilot.values import Array, as_array, to_jsonable, to_utc

T0 = datetime(2024, 6, 12, tzinfo=UTC)


def after(drift: Drift, shares: list[float], step_s: float = 3600.0, start: int = 0) -> Drift:
    for i, share in enumerate(shares, start):
        drift = follow(drift, Score(T0 + i * timedelta(seconds=step_s), share * 5.0, 5.0), step_s)
    return drift


@pytest.mark.parametrize("step_s", [300, 900, 3600])
def test_F24_follow__errors_three_times_as_promised__fallback_after_a_day_and_not_before(step_s: int) -> None:
    day = 86_400 // step_s
    almost = after(Drift(), [3.0] * (day - 1), step_s)
    assert not almost.fallback
    there = after(almost, [3.0], step_s, day)
    assert there.fallback
    assert there.since == T0 + day * timedelta(seconds=step_s)
    said = there.flag()
    assert said is not None and (said.code, said.severity) == ("DRIFT", "alarm")


def test_follow__errors_twice_as_promised_for_weeks__no_fallback() -> None:
    assert after(Drift(), [2.0] * 24 * 21) == after(Drift(), [2.0] * 24 * 21)
    assert after(Drift(), [2.0] * 24 * 21).level == 0.0


def test_follow__one_wild_hour__no_fallback() -> None:
    wild = after(Drift(), [1.0] * 5 + [500.0] + [1.0] * 5)
    assert not wild.fallback and wild.level < LIMIT_H / 2


def test_F24_follow__errors_as_promised_again__comes_back_after_a_day_and_says_so_once() -> None:
    gone = after(Drift(), [5.0] * 8)
    assert gone.fallback
    almost = after(gone, [1.0] * 23, start=8)
    assert almost.fallback
    back = after(almost, [1.0], start=31)
    assert (back.fallback, back.recovered, back.since) == (False, True, None)
    said = back.flag()
    assert said is not None and said.code == "DRIFT_OVER"
    assert after(back, [1.0], start=32).flag() is None


def test_follow__between_the_thresholds__stays_as_it_is() -> None:
    gone = after(Drift(), [5.0] * 8)
    for i in range(200):
        gone = after(gone, [1.0 if i % 2 else 3.0], start=8 + i)
        assert gone.fallback


def test_follow__same_score_again_or_none__changes_nothing_and_time_back_starts_anew() -> None:
    one = after(Drift(), [6.0])
    assert follow(one, Score(T0, 30.0, 5.0), 3600.0) == one
    assert follow(one, None, 3600.0) == one
    assert follow(one, Score(T0 - timedelta(days=1), 5.0, 5.0), 3600.0).level == 0.0


def test_drift__json__comes_back_the_same() -> None:
    for state in (after(Drift(), [5.0] * 9), after(Drift(), [1.3] * 3)):
        assert Drift.from_json(to_jsonable(state)) == state
    assert math.isnan(Drift.from_json(None).share)


def test_drift__impossible__refused() -> None:
    with pytest.raises(DataError, match="drift level is 25"):
        Drift(level=25.0)
    with pytest.raises(DataError, match="give `since`"):
        Drift(fallback=True)


# --- whole cycles ---


@dataclass
class Hourly:
    """A price source whose hours are given; its clock is moved by hand."""

    prices: Array
    now: datetime
    name: str = "replay"
    simulated: bool = True

    def present(self, wall: datetime) -> datetime:
        return self.now

    def fetch(self, now: datetime) -> PriceHistory:
        n = int((now - T0).total_seconds()) // 3600 + 1
        at = np.datetime64(T0.replace(tzinfo=None), "s") + np.arange(n) * np.timedelta64(3600, "s")
        return PriceHistory(self.name, at, 3600, self.prices[:n], np.full(n, 50.0), np.full(n, 2.0))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def steps(engine: Engine, count: int) -> Iterator[CycleResult]:
    source = engine.source
    assert isinstance(source, Hourly)
    for _ in range(count):
        source.now += timedelta(hours=1)
        yield run_cycle(engine, source.now)


@pytest.mark.slow
def test_F24_cycles__prices_leave_their_pattern__naive_in_force_replayed_alike_then_the_ensemble_again(
    ledger: Ledger,
) -> None:
    rng = np.random.default_rng(5)
    hours = np.arange(24 * 26)
    price = 60.0 + 20.0 * np.sin(2.0 * np.pi * hours / 24.0) + rng.normal(0.0, 1.0, len(hours))
    begins = 24 * 20
    price[begins : begins + 12] += 150.0
    engine = open_engine(Settings(source="replay"), ledger)
    engine.source = Hourly(as_array(price), T0 + timedelta(hours=begins - 8))
    first = next(result for result in steps(engine, 20) if any(flag.code == "DRIFT" for flag in result.flags))
    assert first.forecast.energy.method == "seasonal naive"
    assert WATCHED in first.forecast.energy.members
    assert first.dispatch.constraints_satisfied
    wrong = {condition.code: condition.severity for condition in conditions(ledger, engine.source.now)}
    assert wrong["DRIFT"] == "alarm"
    assert replay(ledger, first.cycle_id).differences == ()
    last = next(result for result in steps(engine, 90) if any(flag.code == "DRIFT_OVER" for flag in result.flags))
    assert WATCHED not in last.forecast.energy.members
    assert not drifts.load(ledger).fallback
    assert replay(ledger, last.cycle_id).differences == ()
    assert to_utc(first.forecast.timestamp[0]) < to_utc(last.forecast.timestamp[0])
