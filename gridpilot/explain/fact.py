"""What a fact is: one figure of the ledger with an id, a unit, a time and a source, and how it is written out."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

MINUS = "−"
LONGEST = 300  # characters of a foreign text that are shown

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#|~$&!])")
_LINK = re.compile(r"(?i)(://|www\.|@|:(?=\S))")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, zero-width and direction marks, line ends


def inert(text: str) -> str:
    """Foreign text as Markdown shows it letter by letter: no markup, no link, no hidden character, bounded length.

    What would become a link or an icon of its own (`https://x`, `a@b`, `:name:`) is broken by a blank.
    """
    seen = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text)
    seen = " ".join(seen.split())
    if len(seen) > LONGEST:
        seen = seen[: LONGEST - 1] + "…"
    times = re.sub(r"(?<=\d):(?=\d)", "\0", seen)  # 19:00 is no icon
    return _SPECIAL.sub(r"\\\1", _LINK.sub(r"\1 ", times)).replace("\0", ":")


def written(value: float, digits: int = 3) -> str:
    """At least `digits` significant digits where there are any, whole numbers in full, thousands apart."""
    if value == 0.0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    text = f"{abs(value):,.{min(9, max(0, digits - 1 - magnitude))}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return MINUS + text if value < 0.0 and text != "0" else text


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure or word. `at` is the time that it is about, in the site's zone; `source` its ledger entry."""

    id: str
    label: str
    value: float | str
    unit: str
    at: datetime
    source: str

    def bare(self, digits: int = 3) -> str:
        """The value without its unit, inert in Markdown."""
        return inert(self.value) if isinstance(self.value, str) else written(self.value, digits)

    def text(self, digits: int = 3) -> str:
        """The value with its unit, inert in Markdown."""
        return f"{self.bare(digits)} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, eq=False)
class Facts(Mapping[str, Fact]):
    """The facts of one moment by id. `at` is the decision's time; None before the first decision."""

    by_id: Mapping[str, Fact] = field(default_factory=dict)
    at: datetime | None = None
    cycle_id: str = ""
    stale: bool = False  # the newest price, or the decision where no pilot runs, is two steps old or older
    earlier: Facts | None = None  # of the decision that was in force at the time that the question is about

    def __getitem__(self, fact_id: str) -> Fact:
        return self.by_id[fact_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id)

    @property
    def age(self) -> str:
        """How old prices and decision are, for a caption."""
        notes = (("newest price", "age.price"), ("decision", "age.decision"))
        return ", ".join(f"{name} {self[key].text()} old" for name, key in notes if key in self)

    def members(self, group: str) -> list[str]:
        """Short names of the members of a group (machine, bidder, change, spread, flag), in their order."""
        heads = (key.split(".") for key in self.by_id)
        return list(dict.fromkeys(head[1] for head in heads if head[0] == group and len(head) > 1))

    def number(self, fact_id: str) -> float:
        """The value of a numeric fact; NaN where the ledger has none."""
        fact = self.by_id.get(fact_id)
        return fact.value if fact is not None and isinstance(fact.value, float) else math.nan

    def word(self, fact_id: str) -> str:
        """The value of a text fact; empty where the ledger has none."""
        fact = self.by_id.get(fact_id)
        return fact.value if fact is not None and isinstance(fact.value, str) else ""
