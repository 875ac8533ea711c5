"""Where prices come from: the protocol, and the registry of the sources by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gridpilot.config import Settings
from gridpilot.domain import PriceHistory, Site
from gridpilot.errors import ConfigError


class PriceSource(Protocol):
    """A source of prices. `simulated` is true where time or prices are not those of the world right now."""

    @property
    def name(self) -> str:
        """The registry name: replay, mara, csv."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether the screen must say that this is not the world's present."""
        ...

    def present(self, wall: datetime) -> datetime:
        """What time it is for this source when the wall clock says `wall`."""
        ...

    def fetch(self, now: datetime) -> PriceHistory:
        """Everything known at `now`, up to and including the interval that contains it.

        Raises SourceError or DataError where there is nothing usable; older data carry a STALE flag.
        """
        ...


def _replay(rest: str, settings: Settings, site: Site) -> PriceSource:
    from gridpilot.market.replay import START, ReplayClock, ReplaySource

    start = settings.replay_start or START
    if start.tzinfo is None:
        raise ConfigError(f"GRIDPILOT_REPLAY_START is {start}: add the zone, as {start.isoformat()}Z")
    return ReplaySource(site, ReplayClock(datetime.now(UTC), start, settings.replay_speed))


def _mara(rest: str, settings: Settings, site: Site) -> PriceSource:
    from gridpilot.market.mara import MaraClient, MaraSource

    return MaraSource(MaraClient(settings.mara_url, settings.mara_api_key), site)


def _csv(rest: str, settings: Settings, site: Site) -> PriceSource:
    from gridpilot.market.csv_file import CsvSource

    if not rest:
        raise ConfigError("source is 'csv' without a file: write csv:PATH")
    return CsvSource(Path(rest), site)


SOURCES: dict[str, Callable[[str, Settings, Site], PriceSource]] = {"replay": _replay, "mara": _mara, "csv": _csv}
"""Registry name -> factory (what follows the colon, settings, site). The factories do no I/O on a network."""

_SPECS = {"csv": "csv:PATH"}


def open_source(spec: str, settings: Settings, site: Site) -> PriceSource:
    """The source that `spec` names: "replay", "mara" or "csv:PATH". ConfigError lists the choices."""
    name, _, rest = spec.partition(":")
    if name not in SOURCES or (rest and name not in _SPECS):
        choices = ", ".join(_SPECS.get(known, known) for known in SOURCES)
        raise ConfigError(f"source is {spec!r}: expected one of {choices}")
    return SOURCES[name](rest, settings, site)
