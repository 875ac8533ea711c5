"""What a language model may look up: facts by topic, one fact, the history of a figure, a figure made of two others.

Read-only: a `Lookup` holds the facts of one moment and a ledger that it only reads. Its answers are JSON in which
everything from outside is a quoted text, with addresses and file paths taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from gridpilot.errors import DataError
from gridpilot.explain.fact import Fact, Facts, written
from gridpilot.explain.verify import combined
from gridpilot.foreign import line
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision
from gridpilot.monitor.decision import Snapshot
from gridpilot.values import to_utc

MOST_FACTS = 80  # of one topic that are listed
MOST_POINTS = 48  # of a history that are listed, the newest
MOST_HOURS = 24.0 * 7
DIGITS = 4  # significant digits that a model is told
LONGEST = 300  # characters of a text from outside

_PATH = re.compile(
    r"(?<![\w./\\])(?:[A-Za-z]:[\\/]|~?/|\\\\)(?:[\w.@+-]+[\\/])*[\w.@+-]+|"  # from a root
    r"(?<![\w./\\])\.{0,2}(?:[\w.@+-]*[\\/])+[\w.@+-]*\.\w{1,8}\b"  # a file in a folder
)
_ADDRESS = re.compile(r"(?i)\b(?:[a-z][a-z0-9+.-]*://|www\.)\S+")

# Figures of the cycle entry's body whose history can be had: [id, how it is read].
RECORDED: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    "load.total": lambda body: body["dispatch"]["total_power_kw"],
    "battery.power": lambda body: body["dispatch"]["battery_kw"],
    "battery.soc": lambda body: None if body["soc_frac"] is None else 100.0 * body["soc_frac"],
    "rate.profit": lambda body: body["rate"]["profit_usd_per_h"],
    "always_on.profit": lambda body: body["always_on"]["profit_usd_per_h"],
}
PRICES = ("price.energy", "price.hash", "price.token")


def plain(text: str) -> str:
    """A text from outside as one bounded line without addresses and file paths."""
    return _PATH.sub("(path)", _ADDRESS.sub("(address)", line(text)))[:LONGEST]


def told(fact: Fact) -> dict[str, str]:
    """A fact as a model is told it."""
    value = plain(fact.value) if isinstance(fact.value, str) else f"{written(fact.value, DIGITS)} {fact.unit}".rstrip()
    return {"id": fact.id, "label": plain(fact.label), "value": value, "about": f"{fact.at:%Y-%m-%d %H:%M}"}


class Lookup:
    """The facts of one question. `facts` grows by the histories that were asked for."""

    def __init__(self, facts: Facts, ledger: Ledger) -> None:
        self.facts: dict[str, Fact] = dict(facts.by_id)
        self.now = facts.at
        self.stale = facts.stale
        self._ledger = ledger

    def topics(self) -> dict[str, int]:
        """The topics, and how many facts each has."""
        heads = [key.split(".")[0] for key in self.facts]
        return {head: heads.count(head) for head in dict.fromkeys(heads)}

    def question(self, question: str, likely: Iterable[str]) -> str:
        """The question as a model is asked it: data, with the facts that the template would answer from."""
        body = {
            "question": line(question),
            "time_at_the_site": f"{self.now:%Y-%m-%d %H:%M}" if self.now else "",
            "data_are_stale": self.stale,
            "topics": self.topics(),
            "facts": [told(self.facts[key]) for key in likely if key in self.facts],
        }
        return _json(body)

    # --- tools: their names, parameters and docstrings are what a model reads ---

    def list_facts(self, topic: str) -> str:
        """List the facts of one topic with id, label, value with unit, and the time at the site they are about."""
        found = [fact for key, fact in self.facts.items() if key.split(".")[0] == topic]
        if not found:
            return _json({"error": "no such topic", "topics": self.topics()})
        cut = {"left_out": len(found) - MOST_FACTS} if len(found) > MOST_FACTS else {}
        return _json({"facts": [told(fact) for fact in found[:MOST_FACTS]], **cut})

    def get_fact(self, fact_id: str) -> str:
        """Get one fact by its id."""
        fact = self.facts.get(fact_id.strip())
        if fact is None:
            head = fact_id.strip().split(".")[0]
            near = [key for key in self.facts if key.split(".")[0] == head][:20]
            return _json({"error": "no such fact", "ids_of_this_topic": near, "topics": self.topics()})
        return _json(told(fact))

    def history(self, figure: str, hours: float = 24.0) -> str:
        """Get the recorded course of price.energy, price.hash, price.token, load.total, battery.power, battery.soc,
        rate.profit or always_on.profit over the last hours, with its mean, lowest and highest.
        """
        if figure not in (*PRICES, *RECORDED) or figure not in self.facts:
            known = [key for key in (*PRICES, *RECORDED) if key in self.facts]
            return _json({"error": "no history of this figure", "figures": known})
        if not 0.0 < hours <= MOST_HOURS:
            return _json({"error": f"hours must be above 0 and at most {MOST_HOURS:g}"})
        snap = decision.load(self._ledger)
        points = [] if snap is None else self._points(snap, figure, hours)
        if not points:
            return _json({"error": "nothing is recorded in that time"})
        for fact in points:
            self.facts[fact.id] = fact
        extremes = self._summary(figure, points, hours)
        return _json({"summary": [told(f) for f in extremes], "points": [told(f) for f in points[-MOST_POINTS:]]})

    def combine(self, operation: str, first_id: str, second_id: str) -> str:
        """Compute the sum, difference, ratio or share (first in % of second) of two facts of one unit.

        Cite the result by the id that is given back, in square brackets as it is.
        """
        missing = [key for key in (first_id, second_id) if key.strip() not in self.facts]
        if missing:
            return _json({"error": "no such fact", "ids": missing})
        try:
            found = combined(operation.strip(), self.facts[first_id.strip()], self.facts[second_id.strip()])
        except DataError as error:
            return _json({"error": plain(str(error))})
        return _json(told(found))

    # --- histories ---

    def _points(self, snap: Snapshot, figure: str, hours: float) -> list[Fact]:
        """The figure at each recorded time, oldest first."""
        present = self.facts[figure]
        since = snap.at - timedelta(hours=hours)
        if figure in RECORDED:
            entries = self._ledger.entries("cycle", since=since, newest_first=False)
            values = [(entry.at, RECORDED[figure](entry.body), f"cycle {entry.cycle_id}") for entry in entries]
        else:
            rows = self._ledger.prices(snap.cycle["source"], since=since, until=snap.at)
            shown = {"price.energy": snap.shown(rows.energy_usd_per_mwh), "price.hash": rows.hash_price}
            column = shown.get(figure, rows.token_price)
            values = [
                (to_utc(stamp), float(value), present.source)
                for stamp, value in zip(rows.timestamp, column, strict=True)
            ]
        zone = present.at.tzinfo
        return [
            Fact(
                f"{figure}@{at:%Y-%m-%dT%H:%MZ}", present.label, float(value), present.unit, at.astimezone(zone), source
            )
            for at, value, source in values
            if value is not None and np.isfinite(value)
        ]

    def _summary(self, figure: str, points: list[Fact], hours: float) -> list[Fact]:
        """Mean, lowest and highest of a course, and how long it is; kept as facts."""
        kept = [(float(fact.value), fact) for fact in points if not isinstance(fact.value, str)]
        low, high = min(kept, key=lambda pair: pair[0])[1], max(kept, key=lambda pair: pair[0])[1]
        last = points[-1]
        mean = float(np.mean([value for value, _ in kept]))
        out = [
            self._named(figure, "mean", "mean", mean, last, last.at),
            self._named(figure, "lowest", "lowest", float(low.value), low, low.at),
            self._named(figure, "highest", "highest", float(high.value), high, high.at),
            Fact(f"{figure}@hours", "hours of this history", hours, "h", last.at, last.source),
        ]
        self.facts.update({fact.id: fact for fact in out})
        return out

    @staticmethod
    def _named(figure: str, name: str, word: str, value: float, like: Fact, at: datetime) -> Fact:
        return Fact(f"{figure}@{name}", f"{word} of {like.label} in this history", value, like.unit, at, like.source)


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=True)
