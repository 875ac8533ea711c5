from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.errors import DataError
from gridpilot.market.quality import Grid, Rows, plausibility, regularise, staleness, suspect
from gridpilot.values import as_array, as_times

START = np.datetime64("2024-03-01T00:00:00", "s")


def rows(hours: Sequence[float], prices: Sequence[float], **others: Sequence[float]) -> Rows:
    times = [START + np.timedelta64(int(h * 3600), "s") for h in hours]
    series = {"energy": as_array(prices), **{k: as_array(v) for k, v in others.items()}}
    return Rows(as_times(times), series, "energy", np.arange(1, len(prices) + 1))


def clean(given_rows: Rows, min_rows: int = 3) -> Grid:
    return regularise(given_rows, "test", min_rows=min_rows)


def codes(flags: Sequence[DataFlag]) -> list[str]:
    return [flag.code for flag in flags]


def test_regularise__clean_rows_pass_unchanged_and_unflagged() -> None:
    grid = clean(rows(range(5), [1, -2, 3, 0, 5]))
    assert grid.flags == ()
    assert grid.step_s == 3600
    assert grid.series["energy"].tolist() == [1, -2, 3, 0, 5]


@given(st.permutations(range(12)))
@settings(deadline=None, max_examples=40)
def test_regularise__any_order_gives_the_same_grid(order: list[int]) -> None:
    grid = clean(rows(order, [float(h) for h in order]))
    assert grid.series["energy"].tolist() == list(range(12))
    assert ("UNSORTED" in codes(grid.flags)) == (order != sorted(order))


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.one_of(st.floats(-500, 5000), st.just(float("nan")))), min_size=1, max_size=60
    )
)
@settings(deadline=None, max_examples=150)
def test_regularise__whatever_comes_in_an_even_finite_grid_or_one_data_error_comes_out(
    raw: list[tuple[int, float]],
) -> None:
    try:
        grid = clean(rows([h for h, _ in raw], [p for _, p in raw]))
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(grid.series["energy"]).all()
    assert set(np.diff(grid.timestamp).astype(int)) <= {grid.step_s}
    usable = {h for h, p in raw if np.isfinite(p)}
    if len(grid.timestamp) != len(raw) or len(usable) != len(raw):
        assert grid.flags


def test_regularise__row_between_the_steps_is_dropped_and_named() -> None:
    grid = clean(rows([0, 1, 2, 2.5, 3, 4, 5], [1, 2, 3, 99, 4, 5, 6]))
    assert grid.series["energy"].tolist() == [1, 2, 3, 4, 5, 6]
    assert "2024-03-01T02:30:00Z" in grid.flags[0].message


def test_regularise__too_many_rows_dropped_is_a_data_error() -> None:
    with pytest.raises(DataError, match="3 of 10 rows dropped"):
        clean(rows(range(10), [1, np.nan, 2, 3, np.inf, 4, 5, np.nan, 6, 7]))


def test_regularise__too_many_single_gaps_is_a_data_error() -> None:
    hours = [0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14]
    with pytest.raises(DataError, match="4 of 15 rows missing"):
        clean(rows(hours, [1.0] * len(hours)))


def test_regularise__no_rows_and_one_row_say_what_is_needed() -> None:
    with pytest.raises(DataError, match="no price rows at all"):
        clean(rows([], []))
    with pytest.raises(DataError, match="give at least two"):
        clean(rows([0], [1]))
    assert regularise(rows([0], [1]), "test", step_s=300).step_s == 300


def test_regularise__holes_in_another_series_are_filled_or_the_series_left_out() -> None:
    grid = clean(rows(range(6), [1, 2, 3, 4, 5, 6], load=[0, np.nan, 2, 3, 4, 5], wind=[np.nan] * 3 + [1, 2, 3]))
    assert grid.series["load"].tolist() == [0, 1, 2, 3, 4, 5]
    assert "wind" not in grid.series
    assert codes(grid.flags) == ["GAP_FILLED", "DROPPED"]


# --- plausibility ---

USUAL = [60 + 20 * np.sin(i / 4) for i in range(200)]


def test_suspect__usual_negative_and_moderately_high_prices_are_not() -> None:
    for price in (-20.0, 0.0, 45.0, 200.0):
        assert suspect("energy", as_array([*USUAL, price]), 3600) is None


def test_suspect__says_nothing_with_little_history() -> None:
    assert suspect("energy", as_array([50.0] * 5 + [50_000.0]), 3600) is None


def test_suspect__looks_at_the_last_30_days_only() -> None:
    old = [3000.0] * 500 + [60 + i % 7 for i in range(800)]
    assert suspect("energy", as_array([*old, 3000.0]), 3600) is not None


@given(st.lists(st.floats(20, 120), min_size=30, max_size=60), st.floats(-40, 200))
@settings(deadline=None, max_examples=60)
def test_suspect__never_changes_a_price(prices: list[float], newest: float) -> None:
    values = as_array([*prices, newest])
    before = values.copy()
    suspect("energy", values, 3600)
    assert np.array_equal(values, before)


def test_plausibility__names_the_series() -> None:
    series = {"energy": as_array(USUAL), "hash": as_array([*[50.0 + i % 3 for i in range(199)], 50_000.0])}
    flags = plausibility(series, 3600, "energy")
    assert codes(flags) == ["SUSPECT"]
    assert flags[0].message.startswith("hash is 50000")


# --- age ---


@pytest.mark.parametrize(
    ("age_s", "severity"), [(0, None), (359, None), (361, "warn"), (900, "warn"), (901, "alarm"), (90_000, "alarm")]
)
def test_staleness__none_then_warn_then_alarm_beyond_three_steps(age_s: int, severity: str | None) -> None:
    start = datetime(2024, 3, 1, tzinfo=UTC)
    one = as_array([1.0])
    history = PriceHistory("test", as_times([START]), 300, one, one, one)
    flag = staleness(history, start + timedelta(seconds=age_s), grace_s=60)
    assert (flag.severity if flag else None) == severity
