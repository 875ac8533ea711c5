"""What the constructors of the nouns check with."""

from __future__ import annotations

import math

from gridpilot.errors import DataError
from gridpilot.values import Array, Times


def require(ok: bool, message: str) -> None:
    """DataError with the message unless ok."""
    if not ok:
        raise DataError(message)


def finite(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """DataError unless the value is a number from low to high."""
    ok = math.isfinite(value) and low <= value <= high
    require(ok, f"{name} is {value:.15g}: expected a number from {low:g} to {high:g}")


def shapes(owner: str, length: int, **arrays: Array | Times) -> None:
    """DataError unless every array has the shape (length,)."""
    for name, array in arrays.items():
        require(array.shape == (length,), f"{owner}.{name} has shape {array.shape}: expected ({length},)")
