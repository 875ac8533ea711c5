"""What the commands share: values of options, read with one clear line for what is wrong."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO

from gridpilot.errors import GridPilotError, InputError
from gridpilot.values import EARLIEST, LATEST, YEARS, usable, written_plainly

Result = dict[str, Any]
Command = Callable[..., argparse.ArgumentParser]  # name, what it runs, help, its text for people


class Unheard(GridPilotError):
    """Stdout cannot be written."""


def tell(text: str) -> None:
    """Write to stdout at once; Unheard where it cannot be written, BrokenPipeError where nobody reads on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if is_descriptor_1(sys.stdout):  # what it could not write is not tried again at the end
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)
        if isinstance(error, BrokenPipeError):
            raise
        raise Unheard(f"stdout cannot be written: {error.strerror}; send it to where there is room") from None


def is_descriptor_1(file: TextIO) -> bool:
    """Whether it is the process's own stdout."""
    try:
        return file.fileno() == 1
    except (OSError, ValueError):  # a test's
        return False


def number(text: str) -> float:
    """A finite number."""
    value = float(_plain(text))
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def count(text: str) -> int:
    """A whole number from 1 to 10,000."""
    value = int(_plain(text))
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 10000")
    return value


def port(text: str) -> int:
    """A port to listen on."""
    value = int(_plain(text))
    if not 1 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1 to 65535")
    return value


def from_zero(text: str) -> float:
    """0 or more."""
    value = number(text)
    if value < 0.0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def within(low: float, high: float) -> Callable[[str], float]:
    """A number from `low` to `high`."""

    def read(text: str) -> float:
        value = number(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:,.0f} to {high:,.0f}")
        return value

    read.__name__ = "number"  # as argparse calls what is none
    return read


def _plain(text: str) -> str:
    """A number as people write it, not as Python does: no 1_000, no digits of other scripts."""
    if not written_plainly(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, as 1000 or 0.5")
    return text


def by_name(option: str, amounts: Sequence[tuple[str, float]]) -> dict[str, float]:
    """NAME=NUMBER given any number of times, each name once."""
    out = dict(amounts)
    for name in out:
        if sum(other == name for other, _ in amounts) > 1:
            raise InputError(f"{option} {name!r} is given more than once: give it once")
    return out


def amount(text: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER, as gpus=64")
    return name, number(value)


def file(text: str) -> Path:
    """A file's path."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: give the path of a file")
    return Path(text)


def name(text: str) -> str:
    """A name that says something."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: give a name, or leave the option out")
    return text.strip()


def fraction(text: str) -> float:
    """0 to 1."""
    value = number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a fraction from 0 to 1 (68.7 % is 0.687)")
    return value


def day(text: str) -> date:
    """A day of the years that prices are of, and nothing behind it."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a day, as 2024-01-01") from None
    if not EARLIEST.date() <= found < LATEST.date():
        raise argparse.ArgumentTypeError(f"{text} is not of {YEARS}")
    return found


def alpha(text: str) -> float:
    """A confidence."""
    value = number(text)
    if not 0.5 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a confidence from 0.5 up to, not including, 1 (as 0.95)")
    return value


def moment(text: str) -> datetime:
    """A time with a zone, in UTC, of the years that prices are of."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} is not a time with a zone, as 2024-06-24T15:00:00Z")
    if not usable(found):
        raise argparse.ArgumentTypeError(f"{text} is not of {YEARS}")
    return found.astimezone(UTC)
