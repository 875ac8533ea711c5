"""How each price source stands: its last success, age, latency, retries and last error, for screens and records."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from gridpilot.domain import PriceHistory
from gridpilot.errors import DataError, SourceError
from gridpilot.market.beside import PER_PH_DAY, Companion
from gridpilot.market.http import Stats
from gridpilot.market.source import PriceSource
from gridpilot.values import to_jsonable

STATE = "sources"  # key of the ledger's state: the standings at the newest look, good or not
IN_USE, STANDBY, REFUSED, BESIDE = "in use", "standby", "refused", "beside"


@runtime_checkable
class Counted(Protocol):
    """A source that asks a server."""

    @property
    def stats(self) -> Stats:
        """Counters of its calls."""
        ...


@runtime_checkable
class Accompanied(Protocol):
    """A source whose hash price may come from elsewhere."""

    companion: Companion | None


@dataclass(frozen=True, slots=True)
class Standing:
    """One source at a look. Times are the source's; None where nothing ever came."""

    name: str
    role: str  # in use, standby, refused (why: `refusal`), beside (a hash price's source)
    unit: str  # of its own numbers, as EUR/MWh; empty before the first ones
    refusal: str = ""
    last_success: datetime | None = None
    price_at: datetime | None = None  # start of the newest interval
    age_s: float | None = None  # of it, at the look
    latency_ms: float = 0.0  # of the newest look, in all
    calls: int = 0  # since the process began, as the next two
    retries: int = 0
    failures: int = 0
    error: str = ""  # the newest one, kept after it has passed; never holds a key
    error_at: datetime | None = None
    credit: str = ""  # whose the prices are, with their licence

    @property
    def currency(self) -> str:
        """Of its unit: EUR of EUR/MWh."""
        return self.unit.partition("/")[0]

    def to_json(self) -> dict[str, Any]:
        """For the ledger."""
        body: dict[str, Any] = to_jsonable(self)
        return {**body, "currency": self.currency}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Standing:
        """The inverse of `to_json`; keys of later versions are left out."""
        known: dict[str, Any] = {f.name: body[f.name] for f in fields(cls) if f.name in body}
        for name in ("last_success", "price_at", "error_at"):
            known[name] = datetime.fromisoformat(known[name]) if known.get(name) else None
        return cls(**known)


@dataclass(slots=True)
class Watch:
    """Reads sources and remembers how that went; one source after the other, or several at once.

    `companion` is where the hash price of the source read last comes from.
    """

    companion: Companion | None = None
    _known: dict[str, Standing] = field(default_factory=dict)

    def expect(self, names: Sequence[str]) -> None:
        """The sources that will be read, in the order in which they are to be told."""
        self._known = {name: Standing(name, STANDBY, "") for name in names}

    def fetch(self, source: PriceSource, now: datetime) -> PriceHistory:
        """What the source gives at `now`; its SourceError or DataError, noted."""
        name = source.name
        before = self._known.get(name, Standing(name, STANDBY, ""))
        if isinstance(source, Accompanied):
            self.companion = source.companion
        began = time.perf_counter()
        try:
            history = source.fetch(now)
        except (SourceError, DataError) as error:
            self._known[name] = replace(
                before, error=str(error), error_at=now, latency_ms=_ms(began), **_counts(source)
            )
            raise
        trouble = next((f.message for f in history.flags if f.code in ("STALE", "UNREACHABLE", "CREDENTIALS")), "")
        self._known[name] = replace(
            before,
            unit=history.units.energy,
            last_success=before.last_success if trouble else now,
            price_at=history.last,
            latency_ms=_ms(began),
            error=trouble or before.error,
            error_at=now if trouble else before.error_at,
            credit=history.credit,
            **_counts(source),
        )
        return history

    def judge(self, name: str, role: str, refusal: str = "") -> None:
        """What became of a source that was read at this look."""
        self._known[name] = replace(self._known[name], role=role, refusal=refusal)

    def standings(self, now: datetime) -> tuple[Standing, ...]:
        """All sources, and the companion last; ages as at `now`."""
        out = [replace(known, age_s=_age_s(known.price_at, now)) for known in self._known.values()]
        if self.companion is not None:
            out.append(_beside(self.companion, now))
        return tuple(out)


def _beside(companion: Companion, now: datetime) -> Standing:
    stats, read_at = companion.stats, companion.read_at
    return Standing(
        companion.name,
        BESIDE,
        PER_PH_DAY,
        last_success=read_at,
        price_at=read_at,
        age_s=_age_s(read_at, now),
        latency_ms=stats.last_s * 1000.0,
        calls=stats.calls,
        retries=stats.retries,
        failures=stats.failures,
        error=companion.trouble,
        credit="mempool.space: bitcoin price, block rewards and hashrate of the network",
    )


def _age_s(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else (now - at).total_seconds()


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000.0


def _counts(source: PriceSource) -> dict[str, Any]:
    stats = source.stats if isinstance(source, Counted) else Stats()
    return {"calls": stats.calls, "retries": stats.retries, "failures": stats.failures}
