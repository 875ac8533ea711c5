"""The sites of the fleet side by side, each at its newest decision, and what work would have been cheaper elsewhere."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

from gridpilot.config import Settings, load_site
from gridpilot.dispatch import stopfile
from gridpilot.domain import Site, Units
from gridpilot.errors import GridPilotError, LedgerError, NoLedger
from gridpilot.fleet import Move, moves
from gridpilot.fleetfile import FleetSite, load_fleet
from gridpilot.monitor import sites as read
from gridpilot.monitor.decision import recorded_site
from gridpilot.monitor.sites import Standing
from gridpilot.values import to_jsonable
from gridpilot.views import base
from gridpilot.views.standing import current_site

NAN = float("nan")
SQLITE = "sqlite:///"
UP = ".venv/bin/python -m gridpilot up --fleet"


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site of the fleet. Numbers are NaN before its first decision, and `trouble` says what is missing.

    Margin and load are NaN too while nothing of its decision is carried out: `control` says why.
    """

    name: str
    own: bool  # this console's own, the one that it commands
    latitude: float  # NaN where no site file and no ledger says it
    longitude: float
    price: float  # in `units.energy`
    margin_usd_per_h: float
    load_kw: float
    import_kw: float
    soc_frac: float
    units: Units
    simulated: bool
    prices: str = ""  # whose prices these are
    at: datetime | None = None  # of the decision, in the source's time
    timezone: str = "UTC"
    age_s: float | None = None  # since it was decided, wall clock
    alarms: int = 0  # that nobody has acknowledged
    grave: bool = False
    control: str = ""
    pilot: bool = False  # whether one is at work
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class FleetView:
    """All sites, and the moves of work between those whose decisions are of one moment. Nothing of it is sent."""

    sites: tuple[SiteView, ...]
    moves: tuple[Move, ...]
    compared: tuple[str, ...]  # names of the sites between which work could move
    later: tuple[str, ...]  # and of those whose newest decision is of another moment


def fleet() -> FleetView:
    """The fleet now, or the console's own site alone. A ledger that cannot be read leaves its site without numbers."""
    return _gathered(_entries(), base.wall())


def _gathered(entries: list[tuple[str, FleetSite | None]], wall: datetime) -> FleetView:
    views, standings = [], {}
    for name, entry in entries:
        found, trouble, site = None, "", None
        stopped = stopfile.pressed(_settings(entry).database_url()) is not None
        try:
            ledger = base.own_ledger() if entry is None else base.ledger_of(entry)
            found = read.standing(name, ledger, wall, stopped=stopped)
            site = found.site if found else recorded_site(ledger)
        except GridPilotError as error:
            trouble = _no_ledger(entry) or f"its ledger cannot be read: {error}"
        if found is not None:
            standings[name] = found
        else:
            trouble = ("its emergency stop is pressed; " if stopped else "") + (trouble or _wanting(entry))
        views.append(_view(name, entry, found, site or _file(entry), trouble, wall))
    able = {name: standing for name, standing in standings.items() if standing.work}
    same = read.together(list(able.values()))
    compared = [name for name, standing in able.items() if any(standing is other for other in same)]
    work = [row for name in compared for row in able[name].work]
    return FleetView(tuple(views), moves(work), tuple(compared), tuple(name for name in able if name not in compared))


def of_file(file: Path, hours: float) -> dict[str, Any]:
    """The sites of a fleet file for the command line, with their P&L of the last hours of the source's time."""
    entries: list[tuple[str, FleetSite | None]] = [(site.name, site) for site in load_fleet(file)]
    found = _gathered(entries, base.wall())
    rows = []
    for site, (_, entry) in zip(found.sites, entries, strict=True):
        body = to_jsonable(site)
        for left_out in ("own", "latitude", "longitude", "timezone", "units", "grave"):
            del body[left_out]
        money = {"margin_per_h": body.pop("margin_usd_per_h"), "pnl": _settled(entry, site.at, hours)}
        rows.append({**body, **money, "money": site.units.money, "price_unit": site.units.energy})
    return {"hours": hours, "sites": rows, "moves": to_jsonable(found.moves), "compared": list(found.compared)}


def _settled(entry: FleetSite | None, at: datetime | None, hours: float) -> float | None:
    """P&L of a site's last hours; None where nothing is settled, or its ledger cannot be read."""
    if at is None or entry is None:
        return None
    try:
        sum_ = read.settled(base.ledger_of(entry), at - timedelta(hours=hours))
    except GridPilotError:
        return None
    return sum_ if isfinite(sum_) else None


def site_names() -> tuple[str, ...]:
    """What `?site=` may name: the console's own site and those of the fleet; empty where there is no fleet."""
    return tuple(name for name, _ in _entries()) if base.fleet() else ()


def own_name() -> str:
    """What the fleet calls the console's own site, or else its own name: told apart from a site of the fleet."""
    entry = next((site for site in base.fleet() if base.is_own(site)), None)
    if entry is not None:
        return entry.name
    with base.looking(base.Look()):
        name = current_site().name
    return f"{name} (this console)" if any(site.name == name for site in base.fleet()) else name


def site_looked_at() -> str:
    """The name of the site on the screen."""
    other = base.elsewhere()
    return own_name() if other is None else other.name


def _entries() -> list[tuple[str, FleetSite | None]]:
    """Each site by name; None for the own one where the fleet file does not list it."""
    listed = base.fleet()
    rows: list[tuple[str, FleetSite | None]] = [(site.name, site) for site in listed]
    return rows if any(base.is_own(site) for site in listed) else [(own_name(), None), *rows]


def _view(
    name: str, entry: FleetSite | None, found: Standing | None, site: Site | None, trouble: str, wall: datetime
) -> SiteView:
    own = entry is None or base.is_own(entry)
    place = (NAN, NAN) if site is None else (site.latitude, site.longitude)
    if found is None:
        limit, zone = (NAN, "UTC") if site is None else (site.import_kw, site.timezone)
        units, whose = Units(), prices_of(_settings(entry).source)
        return SiteView(
            name, own, *place, NAN, NAN, NAN, limit, NAN, units, False, whose, timezone=zone, trouble=trouble
        )
    return SiteView(
        name,
        own,
        *place,
        found.price,
        found.margin_usd_per_h,
        found.load_kw,
        found.site.import_kw,
        found.soc_frac,
        found.units,
        found.simulated,
        prices_of(found.source),
        found.at,
        found.site.timezone,
        max(0.0, (wall - found.decided).total_seconds()),
        found.alarms,
        found.grave,
        found.control,
        found.pilot,
    )


def prices_of(source: str) -> str:
    """Whose prices a source has, so that no site shows another place's as its own."""
    kind, _, place = source.partition(":")
    if kind == "replay":
        return f"{place.replace('/', ' ') or 'Dutch'} prices, replayed"
    if kind == "mara":
        return "MARA's index, live"
    if kind in ("csv", "folder"):
        return "a price file" if kind == "csv" else "a folder of price files"
    first = place.partition(",")[0]  # of a list, in the order in which they are wanted
    real_time = " real-time" if first.endswith("/real-time") else ""
    return f"{first.removesuffix('/real-time').replace('/', ' ').upper()}{real_time} prices, live"


def _settings(entry: FleetSite | None) -> Settings:
    """Those of a site, the console's own where it is not listed."""
    return base.settings() if entry is None else entry.settings(base.settings())


def _file(entry: FleetSite | None) -> Site | None:
    try:
        if entry is not None:
            return None if entry.site is None else _loaded(entry.site, entry.site.stat().st_mtime_ns)
        return load_site(base.settings().site_file())
    except (GridPilotError, OSError):
        return None


@functools.lru_cache(maxsize=64)
def _loaded(path: Path, written: int) -> Site:
    """A site file as it was when it was `written`."""
    return load_site(path)


def _no_ledger(entry: FleetSite | None) -> str:
    """What is missing where a site has no ledger file yet; empty where it has one."""
    url = "" if entry is None else entry.ledger.get_secret_value()
    try:
        missing = url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists()
    except OSError:  # a folder that we may not enter: what opening it says is told
        return ""
    return _wanting(entry) if missing else ""


def _wanting(entry: FleetSite | None) -> str:
    """What a site needs for its first decision."""
    needs = [*_outside(entry), "a pilot"]
    return f"no decision yet: needs {' and '.join(filter(None, (', '.join(needs[:-1]), needs[-1])))}"


def _outside(entry: FleetSite | None) -> list[str]:
    """What its pilot needs of the world outside."""
    kind = _settings(entry).source.partition(":")[0]
    needs = ["the network"] if kind in ("gridstatus", "energy-charts", "mara") else []
    keyless = kind == "gridstatus" and base.settings().gridstatus_api_key is None
    return [*needs, "GRIDPILOT_GRIDSTATUS_API_KEY"] if keyless else needs


def nothing_yet() -> str:
    """What helps where the site looked at is another one whose ledger is not there yet; empty where it is."""
    entry, file = base.elsewhere(), base.settings().fleet
    if entry is None:
        return ""
    try:
        base.ledger_of(entry)
        return ""
    except NoLedger:
        pass
    except LedgerError:
        return ""
    first = f"End this console and start it with the fleet's pilots: {UP} {file}."
    if not entry.run:
        first = f"Set run = true for it in {file}, then end this console and start it with the pilots: {UP} {file}."
    needs = " and ".join(_outside(entry))
    needed = f" Its pilot needs {needs}." if needs else ""
    return f"{first}{needed} Where its pilot runs elsewhere, correct its ledger in the fleet file."
