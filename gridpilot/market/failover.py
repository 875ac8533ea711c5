"""Several sources in the order in which they are wanted: the first that is usable and not stale gives the prices.

All are asked at each look, at once, so that each one's age is known and a switch takes no extra time. Where every one
is stale the first that is no alarm serves, flagged as it is; where none is, SourceError lists why each was refused. A
source that was refused comes back when it has been good twice in a row, so that one that stutters moves no plan.

Sources are never mixed: a history has one source's prices, in its unit and of its market, and is recorded under its
name. A switch is flagged; the forecast is then made from the other source's own past.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from gridpilot.domain import DataFlag, PriceHistory
from gridpilot.errors import ConfigError, DataError, SourceError
from gridpilot.market.source import PriceSource
from gridpilot.market.watch import IN_USE, REFUSED, STANDBY, Watch

STEADY = 2  # good looks in a row after which a source that was refused is used again


@dataclass(frozen=True, slots=True)
class _Look:
    """What one source gave: prices, or why it did not."""

    name: str
    history: PriceHistory | None
    refusal: str  # why it is not the best choice; empty where it is good
    alarm: bool  # it must not be used at all


class Failover:
    """A list of sources as one, on the wall clock."""

    simulated = False

    def __init__(self, members: Sequence[PriceSource]) -> None:
        names = [member.name for member in members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"source lists {twice[0]!r} twice: the histories of both would mix; leave one out")
        self.members = tuple(members)
        self.watch = Watch()
        self.watch.expect(names)
        self.used = ""  # the source of the newest prices
        self._unit = ""
        self._good: dict[str, int] = {}  # looks in a row that were good, of sources that were refused once

    @property
    def name(self) -> str:
        """Of the source in use; of the first one before any was read."""
        return self.used or self.members[0].name

    def present(self, wall: datetime) -> datetime:
        """The wall clock."""
        return wall

    def fetch(self, now: datetime) -> PriceHistory:
        """The prices of the first source that is usable; SourceError where none is."""
        with ThreadPoolExecutor(len(self.members), thread_name_prefix="gridpilot-source") as pool:
            looks = list(pool.map(lambda member: self._look(member, now), self.members))
        for look in looks:
            self._count(look)
        chosen = self._chosen(looks)
        for look in looks:
            refusal = look.refusal or ("" if self._steady(look) else "good again, but not for long enough")
            role = IN_USE if look is chosen else REFUSED if refusal else STANDBY
            self.watch.judge(look.name, role, "" if look is chosen else refusal)
        if chosen is None or chosen.history is None:
            raise SourceError(f"no price source is usable: {_why(looks)}")
        return self._flagged(chosen.history, looks[: looks.index(chosen)])

    def _look(self, member: PriceSource, now: datetime) -> _Look:
        try:
            history = self.watch.fetch(member, now)
        except (SourceError, DataError) as error:
            return _Look(member.name, None, str(error), True)
        alarm = next((f.message for f in history.flags if f.severity == "alarm"), "")
        stale = next((f.message for f in history.flags if f.code == "STALE"), "")
        return _Look(member.name, history, alarm or stale, bool(alarm))

    def _count(self, look: _Look) -> None:
        if look.refusal:
            self._good[look.name] = 0
        elif look.name in self._good:
            self._good[look.name] += 1

    def _steady(self, look: _Look) -> bool:
        return look.name == self.used or self._good.get(look.name, STEADY) >= STEADY

    def _chosen(self, looks: Sequence[_Look]) -> _Look | None:
        good = [look for look in looks if not look.refusal]
        steady = [look for look in good if self._steady(look)]
        usable = [look for look in looks if not look.alarm]
        return next(iter([*steady, *good, *usable]), None)

    def _flagged(self, history: PriceHistory, before: Sequence[_Look]) -> PriceHistory:
        flags = list(history.flags)
        unit, old, old_unit = history.units.energy, self.used, self._unit
        if before:
            said = f"prices of {history.source} in {unit}, in place of {_why(before)}"
            flags.append(DataFlag("FAILOVER", said, "warn"))
        if old and old != history.source:
            said = f"prices come from {history.source} in {unit} from now on, until now from {old} in {old_unit}"
            flags.append(DataFlag("SWITCHED", f"{said}: two markets, so this is no jump of a price", "warn"))
        self.used, self._unit = history.source, unit
        return replace(history, flags=tuple(flags))


def _why(looks: Sequence[_Look]) -> str:
    return "; ".join(f"{look.name} ({look.refusal or 'good again, but not for long enough'})" for look in looks)
