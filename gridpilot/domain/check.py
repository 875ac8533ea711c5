"""What the constructors of the nouns check with."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from gridpilot.errors import DataError
from gridpilot.values import Array, Times


def require(ok: bool, message: str) -> None:
    """DataError with the message unless ok."""
    if not ok:
        raise DataError(message)


def finite(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """DataError unless the value is a number from low to high."""
    ok = math.isfinite(value) and low <= value <= high
    if math.isfinite(low) and math.isfinite(high):
        bound = f"a number from {low:g} to {high:g}"
    else:
        bound = f"a number from {low:g} up" if low > -math.inf else "a finite number"
    require(ok, f"{name} is {value:.15g}: expected {bound}")


def twice(names: Iterable[str]) -> list[str]:
    """The names that are there more than once."""
    counts = Counter(names)
    return sorted(name for name, n in counts.items() if n > 1)


def clock(text: str) -> bool:
    """Whether it is a time of day as HH:MM."""
    return re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text) is not None


def shapes(owner: str, length: int, **arrays: Array | Times) -> None:
    """DataError unless every array has the shape (length,)."""
    for name, array in arrays.items():
        require(array.shape == (length,), f"{owner}.{name} has shape {array.shape}: expected ({length},)")
