"""Where prices come from: the protocol, and the registry of the sources by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gridpilot.config import Settings
from gridpilot.domain import PriceHistory, Site
from gridpilot.errors import ConfigError
from gridpilot.market.beside import Companion


class PriceSource(Protocol):
    """A source of prices. `simulated` is true where time or prices are not those of the world right now."""

    @property
    def name(self) -> str:
        """The registry name, and the place where it can have several: replay, csv, energy-charts:DE-LU."""
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


def _replay(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.replay import LOOKBACK, START, START_ERCOT, ReplayClock, ReplaySource

    start = settings.replay_start or (START_ERCOT if rest else START)
    if start.tzinfo is None:
        raise ConfigError(f"GRIDPILOT_REPLAY_START is {start}: add the zone, as {start.isoformat()}Z")
    return ReplaySource(site, ReplayClock(datetime.now(UTC), start, settings.replay_speed), LOOKBACK, rest)


def _mara(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.mara import MaraClient, MaraSource

    return MaraSource(MaraClient(settings.mara_url, settings.mara_api_key), site)


def _csv(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.csv_file import CsvSource

    return CsvSource(Path(rest), site, companion)


def _folder(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.folder import FolderSource

    return FolderSource(Path(rest), site, companion)


def _energy_charts(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.energy_charts import source

    return source(rest, site, url=settings.energy_charts_url, companion=companion)


def _gridstatus(rest: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    from gridpilot.market.gridstatus import source

    return source(rest, settings.gridstatus_api_key, site, url=settings.gridstatus_url, companion=companion)


SOURCES: dict[str, Callable[[str, Settings, Site, Companion | None], PriceSource]] = {
    "replay": _replay,
    "mara": _mara,
    "csv": _csv,
    "folder": _folder,
    "energy-charts": _energy_charts,
    "gridstatus": _gridstatus,
}
"""Registry name -> factory (what follows the colon, settings, site, where the hash price comes from). The factories do
no I/O on a network."""

_SPECS = {
    "replay": "replay[:ERCOT/HUB]",
    "csv": "csv:PATH",
    "folder": "folder:PATH",
    "energy-charts": "energy-charts:ZONE",
    "gridstatus": "gridstatus:ISO/LOCATION[/real-time]",
}
_OWN_CLOCK = ("replay", "mara")  # time and hash price are theirs, so nothing can stand in for them
_LIST = re.compile(rf",\s*(?=(?:{'|'.join(SOURCES)})\s*(?::|,|$))")


def open_source(spec: str, settings: Settings, site: Site) -> PriceSource:
    """The source that `spec` names, as "csv:PATH"; several, separated by commas, in the order in which they are wanted.

    ConfigError lists the choices.
    """
    specs = [part.strip() for part in _LIST.split(spec)]
    companion = _companion(settings)
    for name in (part.partition(":")[0] for part in specs):
        if name in _OWN_CLOCK and len(specs) > 1:
            raise ConfigError(f"source {name!r} has a clock and units of its own: it stands alone, not in a list")
        if name in _OWN_CLOCK and companion is not None:
            raise ConfigError(f"GRIDPILOT_HASH_SOURCE is for live energy prices, {name!r} has hash prices: unset it")
    members = [_one(part, settings, site, companion) for part in specs]
    if len(members) == 1:
        return members[0]
    from gridpilot.market.failover import Failover

    return Failover(members)


def own_file(spec: str) -> bool:
    """Whether only files of the user's are read for `spec`, so that what is wrong with the prices is theirs."""
    return all(part.strip().partition(":")[0] in ("csv", "folder") for part in _LIST.split(spec))


def _one(spec: str, settings: Settings, site: Site, companion: Companion | None) -> PriceSource:
    name, _, rest = spec.partition(":")
    if name not in SOURCES or (rest and name not in _SPECS):
        choices = ", ".join(_SPECS.get(known, known) for known in SOURCES)
        raise ConfigError(f"source (GRIDPILOT_SOURCE) is {spec!r}: expected one of {choices}")
    if name in _SPECS and name != "replay" and not rest.strip():
        what = "file" if name == "csv" else "folder" if name == "folder" else "place"
        raise ConfigError(f"source (GRIDPILOT_SOURCE) is {name!r} without a {what}: write {_SPECS[name]}")
    return SOURCES[name](rest.strip(), settings, site, companion)


def _companion(settings: Settings) -> Companion | None:
    if settings.hash_source not in ("", "mempool"):
        raise ConfigError(f"GRIDPILOT_HASH_SOURCE is {settings.hash_source!r}: expected mempool, or nothing")
    if not settings.hash_source:
        return None
    from gridpilot.market.hashprice import Mempool

    return Mempool(settings.mempool_url)
