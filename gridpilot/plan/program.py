"""A linear (or mixed-integer) program built of terms, and HiGHS held open for programs of the same shape.

A term adds columns (decisions) and rows (rules) and says what it does to the shared rows, as the power balance. The
matrix is made anew for each solve, which costs little; HiGHS keeps the one of the last solve with the same pattern, is
told what has changed, and starts from where it ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridpilot.errors import PlanError
from gridpilot.values import Array, Index

KEPT = 16  # programs of different patterns held open
NEW_COEFFICIENTS = 200  # more that differ are passed with the whole model


@dataclass(frozen=True, slots=True)
class Found:
    """Columns (N,) and, where the program is linear (`priced`), what a unit more adds to the objective: of each row's
    bound (M,), and of each column at its bound (N,)."""

    columns: Array
    row_worth: Array
    column_worth: Array
    priced: bool


@dataclass(slots=True)
class Program:
    """maximise cost @ x  subject to  low <= x <= high,  row_low <= A x <= row_high."""

    _columns: list[tuple[Array, Array, Array]] = field(default_factory=list)  # low, high, cost
    _rows: list[tuple[Array, Array]] = field(default_factory=list)  # low, high
    _cells: list[tuple[Index, Index, Array]] = field(default_factory=list)  # row, column, coefficient
    _whole: list[Index] = field(default_factory=list)
    _width: int = 0
    _height: int = 0

    def columns(self, count: int, low: Any = 0.0, high: Any = np.inf, cost: Any = 0.0) -> Index:
        """So many decisions with bounds and money for each unit; their numbers (count,)."""
        self._columns.append(tuple(np.broadcast_to(np.asarray(a, dtype=np.float64), count) for a in (low, high, cost)))  # type: ignore[arg-type]
        self._width += count
        return np.arange(self._width - count, self._width)

    def rows(self, count: int, low: Any = 0.0, high: Any = 0.0) -> Index:
        """So many rules, low <= ... <= high, without coefficients yet; their numbers (count,)."""
        self._rows.append(
            (np.broadcast_to(np.asarray(low, float), count), np.broadcast_to(np.asarray(high, float), count))
        )
        self._height += count
        return np.arange(self._height - count, self._height)

    def add(self, rows: Index, columns: Index, coefficient: Any) -> None:
        """Coefficients of columns (n,) in rows (n,), or of all columns in one row."""
        rows, columns = np.broadcast_arrays(rows, columns)
        self._cells.append((rows, columns, np.broadcast_to(np.asarray(coefficient, dtype=np.float64), rows.shape)))

    def whole(self, columns: Index) -> None:
        """These columns take whole numbers."""
        self._whole.append(columns)

    def solve(self, time_limit_s: float) -> Found:
        """The optimum. PlanError for any status but optimal: a time limit returns finite, wrong numbers."""
        if not self._width:
            return Found(np.zeros(0), np.zeros(0), np.zeros(0), priced=True)
        with _LOCK:
            return _solve(self._arrays(), time_limit_s)

    def _arrays(self) -> _Arrays:
        low, high, cost = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        row_low, row_high = (np.concatenate(part) for part in zip(*self._rows, strict=True)) if self._rows else _NONE
        row, column, value = (np.concatenate(part) for part in zip(*self._cells, strict=True))
        order = np.lexsort((row, column))
        whole = np.concatenate(self._whole) if self._whole else np.zeros(0, dtype=np.int64)
        return _Arrays(cost, low, high, row_low, row_high, row[order], column[order], value[order], whole)


@dataclass(frozen=True, slots=True)
class _Arrays:
    cost: Array
    low: Array
    high: Array
    row_low: Array
    row_high: Array
    row: Index
    column: Index
    value: Array
    whole: Index

    @property
    def pattern(self) -> tuple[bytes, ...]:
        """What two programs share that one can be turned into the other."""
        return self.row.tobytes(), self.column.tobytes(), self.whole.tobytes(), str(len(self.cost)).encode()


_NONE = (np.zeros(0), np.zeros(0))
_LOCK = threading.Lock()
_HELD: dict[tuple[bytes, ...], tuple[Any, _Arrays]] = {}


def forget() -> None:
    """Start anew with the next solve, so that what it finds depends on its program alone (of several optima that are
    equally good, where it starts from decides which one it ends with)."""
    with _LOCK:
        _HELD.clear()


def _solve(now: _Arrays, time_limit_s: float) -> Found:
    import highspy

    key = now.pattern
    highs, before = _HELD.pop(key, (None, None))
    if highs is None or before is None or len(now.whole):
        highs = _opened(now)
    else:
        _change(highs, before, now)
    highs.setOptionValue("time_limit", highs.getRunTime() + time_limit_s)  # its clock goes on from solve to solve
    highs.run()
    status = highs.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise PlanError(f"HiGHS ended with status {highs.modelStatusToString(status)}, only optimal counts")
    while len(_HELD) >= KEPT:
        _HELD.pop(next(iter(_HELD)))
    _HELD[key] = (highs, now)
    found = highs.getSolution()
    columns = np.array(found.col_value)
    if len(now.whole):
        return Found(columns, np.zeros(len(now.row_low)), np.zeros(len(columns)), priced=False)
    return Found(columns, np.array(found.row_dual), np.array(found.col_dual), priced=True)


def _opened(now: _Arrays) -> Any:
    """HiGHS with the program: one thread and simplex, from which a changed program starts best."""
    import highspy

    highs = highspy.Highs()
    whole = len(now.whole) > 0
    for name, value in (("output_flag", False), ("threads", 1), ("presolve", "on" if whole else "off")):
        highs.setOptionValue(name, value)
    if not whole:
        highs.setOptionValue("solver", "simplex")
    else:
        highs.setOptionValue("mip_rel_gap", 1e-9)
    if highs.passModel(_model(now)) == highspy.HighsStatus.kError:
        raise PlanError("HiGHS refuses the program: a number in it is not finite, or a bound is crossed")
    return highs


def _model(now: _Arrays) -> Any:
    """The program in HiGHS's own form."""
    import highspy

    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(now.cost), len(now.row_low)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_, model.col_lower_, model.col_upper_ = now.cost, now.low, now.high
    model.row_lower_, model.row_upper_ = now.row_low, now.row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(now.column, np.arange(len(now.cost) + 1)).astype(np.int32)
    model.a_matrix_.index_ = now.row.astype(np.int32)
    model.a_matrix_.value_ = now.value
    if len(now.whole):
        kinds = [highspy.HighsVarType.kContinuous] * len(now.cost)
        for column in now.whole:
            kinds[column] = highspy.HighsVarType.kInteger
        model.integrality_ = kinds
    return model


def _change(highs: Any, before: _Arrays, now: _Arrays) -> None:
    """Tell HiGHS what differs; where many coefficients do, the whole model, to start from the basis it ended with."""
    cells = np.flatnonzero(before.value != now.value)
    if len(cells) > NEW_COEFFICIENTS:
        basis = highs.getBasis()
        highs.passModel(_model(now))
        highs.setBasis(basis)
        return
    for i in cells:
        highs.changeCoeff(int(now.row[i]), int(now.column[i]), float(now.value[i]))
    if not np.array_equal(before.cost, now.cost):
        highs.changeColsCost(len(now.cost), np.arange(len(now.cost), dtype=np.int32), now.cost)
    if not (np.array_equal(before.low, now.low) and np.array_equal(before.high, now.high)):
        highs.changeColsBounds(len(now.low), np.arange(len(now.low), dtype=np.int32), now.low, now.high)
    if not (np.array_equal(before.row_low, now.row_low) and np.array_equal(before.row_high, now.row_high)):
        highs.changeRowsBounds(len(now.row_low), np.arange(len(now.row_low), dtype=np.int32), now.row_low, now.row_high)
