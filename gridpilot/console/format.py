"""Numbers, money, ages and times as a person reads them.

Three significant digits on tiles, a real minus sign, a dash for what is not known; the unit is
returned apart (`Quantity`), so that a tile can set it smaller. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

DASH = "–"  # not known
MINUS = "−"
NBSP = "\u00a0"  # a number and its unit stay on one line


@dataclass(frozen=True, slots=True)
class Quantity:
    """A formatted number and its unit; `str()` joins them."""

    value: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value}{NBSP}{self.unit}" if self.unit and self.value != DASH else self.value


def known(value: float | None) -> bool:
    """True for a finite number."""
    return value is not None and math.isfinite(value)


def number(value: float | None, decimals: int = 0, sign: bool = False) -> str:
    """Fixed decimals, thousands apart, a real minus; `sign` writes the plus too."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):,.{decimals}f}"
    zero = not any(c in "123456789" for c in text)
    if zero:
        return text
    if value < 0:
        return MINUS + text
    return f"+{text}" if sign else text


def significant(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """`digits` significant digits, never in exponent form, whole digits before the point kept."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0.0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - magnitude)
    if rounded != 0.0:
        magnitude = math.floor(math.log10(abs(rounded)))  # 999.6 becomes 1,000, not 1000.0
    return number(rounded, min(6, max(0, digits - 1 - magnitude)), sign)


def compact(value: float | None) -> str:
    """Three significant digits without trailing zeros, whole digits never rounded: 15, 0.9, 1,012 (for limits)."""
    if value is not None and math.isfinite(value) and abs(value) >= 100.0:
        return number(value)
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float | None, unit: str, digits: int = 3) -> Quantity:
    """A number with any unit."""
    return Quantity(significant(value, digits), unit)


def _scaled(value: float | None, small: str, large: str) -> Quantity:
    """kW below 1,000, MW from there on (also for kWh and MWh)."""
    if value is None or not math.isfinite(value):
        return Quantity(DASH, small)
    if abs(value) < 999.5:
        return Quantity(significant(value) if abs(value) >= 1.0 else number(value, 1), small)
    return Quantity(significant(value / 1000.0), large)


def round_money(value: float | None, currency: str = "USD", per: str = "") -> Quantity:
    """Money on a tile: three significant digits, whole ones from 100 on, so that a title says the same: 76.7, 4,011."""
    return Quantity(compact(value), f"{currency}/{per}" if per else currency)


def power(kw: float | None) -> Quantity:
    """Power given in kW."""
    return _scaled(kw, "kW", "MW")


def energy(kwh: float | None) -> Quantity:
    """Energy given in kWh."""
    return _scaled(kwh, "kWh", "MWh")


def price(value: float | None, unit: str = "USD/MWh") -> Quantity:
    """A price in the unit that its source gives; two decimals under 100, one under 1,000."""
    if value is None or not math.isfinite(value):
        return Quantity(DASH, unit)
    size = abs(value)
    if 0.0 < size < 0.1:
        return Quantity(significant(value), unit)
    return Quantity(number(value, 2 if size < 99.995 else 1 if size < 999.95 else 0), unit)


def money(value: float | None, currency: str = "USD", per: str = "", sign: bool = False) -> Quantity:
    """Money, or a money rate with `per` ("h"): cents under 1,000, none from there on.

    `currency` is `Units.money`; a MARA source has "index", which is not money and is not shown as any.
    """
    unit = f"{currency}/{per}" if per else currency
    if value is None or not math.isfinite(value):
        return Quantity(DASH, unit)
    size = abs(value)
    if size < 0.005 and size > 0.0:
        return Quantity(significant(value, 2, sign), unit)
    return Quantity(number(value, 2 if size < 999.995 else 0, sign), unit)


def percent(fraction: float | None, decimals: int = 0, sign: bool = False) -> str:
    """A fraction 0..1 as percent."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    return f"{number(100.0 * fraction, decimals, sign)}{NBSP}%"


def duration(seconds: float | None) -> str:
    """A length of time: "40 s", "2 min", "1 h 24 min", from ten hours on "12 h", "4 d"; a negative one counts as 0."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    whole = max(0, int(seconds))
    if 3600 <= whole < 36_000 and whole % 3600 >= 60:
        return f"{whole // 3600}{NBSP}h {whole % 3600 // 60}{NBSP}min".replace(" ", NBSP)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (2 * 86400, 3600, "h")):
        if whole < limit:
            return f"{whole // size}{NBSP}{unit}"
    return f"{whole // 86400}{NBSP}d"


def milliseconds(ms: float | None) -> str:
    """A latency: ms under a second, else s."""
    if ms is None or not math.isfinite(ms):
        return DASH
    return f"{significant(ms)}{NBSP}ms" if abs(ms) < 999.5 else f"{significant(ms / 1000.0)}{NBSP}s"


def age(seconds: float | None) -> str:
    """How old something is, as a phrase: "2 min old"."""
    return f"{duration(seconds)} old" if known(seconds) else "age not known"


def local(moment: datetime | None, timezone: str, with_date: bool = True, with_year: bool = False) -> str:
    """ "Wed 12 Jun 14:00" in the site's zone; "14:00" without the date, "Wed 12 Jun 2024 14:00" with the year."""
    if moment is None:
        return DASH
    here = moment.astimezone(ZoneInfo(timezone))
    if not with_date:
        return f"{here:%H:%M}"
    return f"{here:%a} {here.day} {here:%b}{f' {here.year}' if with_year else ''} {here:%H:%M}"


def span(start: datetime, end: datetime, timezone: str) -> str:
    """ "Wed 12 Jun 14:00–15:00"; with both dates where they differ."""
    same = local(start, timezone)[:-5] == local(end, timezone)[:-5]
    return f"{local(start, timezone)}–{local(end, timezone, with_date=not same)}"


def local_date(moment: datetime | None, timezone: str) -> str:
    """ "12 Jun 2024 14:05" in the site's zone: for times that are not today's."""
    if moment is None:
        return DASH
    here = moment.astimezone(ZoneInfo(timezone))
    return f"{here.day} {here:%b %Y %H:%M}"


def day(iso: str) -> str:
    """ "Mon 24 Jun" of a date like "2024-06-24"."""
    there = date.fromisoformat(iso)
    return f"{there:%a} {there.day} {there:%b}"


def utc(moment: datetime | None) -> str:
    """ "12 Jun 12:00 UTC"."""
    if moment is None:
        return DASH
    there = moment.astimezone(UTC)
    return f"{there.day} {there:%b %H:%M} UTC"


def count(n: int, one: str, many: str = "") -> str:
    """ "1 alarm", "2 alarms"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
