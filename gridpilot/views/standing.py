"""How things stand: the status strip and the alarms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gridpilot.config import load_site
from gridpilot.dispatch import curtailment, override
from gridpilot.domain import Site
from gridpilot.monitor import alarms as keeper
from gridpilot.monitor import conditions
from gridpilot.monitor.alarms import Alarm
from gridpilot.monitor.decision import Snapshot, recorded_site, simulated
from gridpilot.monitor.health import ESTOP, FAILSAFE, HOLD, PilotState, in_control
from gridpilot.views import base
from gridpilot.views.commanded import sent_off, stopped


@dataclass(frozen=True, slots=True)
class Status:
    """The status strip. `control` is AUTO, HOLD, OVERRIDE, FAILSAFE or ESTOP."""

    mode: str  # REPLAY, LIVE, FILE
    source: str
    simulated: bool  # prices, machines or both
    at: datetime | None  # the source's time now
    price_age_s: float | None  # since the start of the newest price interval, in source time
    step_s: int
    control: str
    alarms: int
    site: str
    timezone: str
    speed: float | None  # of the replay clock
    pilot_alive: bool
    message: str
    proposals: int = 0  # commands that wait for a second person
    only_warnings: bool = False  # none of the alarms is a grave one
    curtailed: str = ""  # what the curtailment that holds now asks for, and until when; empty while none does


MODES = {"replay": "REPLAY", "csv": "FILE"}


def status() -> Status:
    """Who is in control, how old the prices are, and what time it is at the source."""
    store, wall = base.ledger(), base.wall()
    pilot = PilotState.load(store)
    cycle = store.latest("cycle")
    alive = store.lease_holder("pilot", wall) is not None
    site = current_site()
    at = base.source_time(pilot, cycle, alive, wall)
    price_at = datetime.fromisoformat(cycle.body["price_at"]) if cycle else None
    source = cycle.body["source"] if cycle else base.here().source.partition(":")[0]
    stop, wanting = stopped(), unseen()
    return Status(
        mode="LIVE"
        if cycle and source == "csv" and not base.of_file(cycle)
        else MODES.get(source.partition(":")[0], "LIVE"),
        source=source,
        simulated=simulated(cycle.body) if cycle else source != "mara",
        at=at,
        price_age_s=max(0.0, (at - price_at).total_seconds()) if at and price_at else None,
        step_s=int(cycle.body["step_s"]) if cycle else 3600,
        control=in_control(store, pilot, stop is not None),
        alarms=len(wanting),
        only_warnings=all(alarm.severity == keeper.WARN for alarm in wanting),
        site=site.name,
        timezone=site.timezone,
        speed=pilot.speed,
        pilot_alive=alive,
        message=pilot.message,
        proposals=len(override.proposals(store, at, wall)) if at and not stop else 0,
        curtailed=_curtailed(at, site) if at else "",
    )


def present() -> datetime | None:
    """The moment looked at; now, the source's time."""
    return base.look().at or base.source_now()


HALTED = {
    ESTOP: "Nothing changes until the emergency stop is released.",
    FAILSAFE: "Nothing of the plan is done while the site is in its fail-safe state.",
    HOLD: "Nothing of the plan is done while the last set points are held.",
}


def control(snap: Snapshot) -> str:
    """Who is in control; of a moment looked at ESTOP or FAILSAFE where all was off by what was sent, else empty."""
    if base.look().at is None:
        return status().control
    return {"estop": ESTOP, "failsafe": FAILSAFE}.get(sent_off(snap) or snap.dispatch["origin"], "")


def halted(snap: Snapshot) -> str:
    """Why nothing of a decision's plan is carried out, now or at the moment looked at; empty while it is."""
    if base.look().at is not None:
        return HALTED.get(control(snap), "")
    now = status()
    if now.control != ESTOP and not now.pilot_alive:
        return "Nothing changes while no pilot is at work."
    return HALTED.get(now.control, "")


def _curtailed(at: datetime, site: Site) -> str:
    """The curtailment that holds now, if any: by how much, until when."""
    store = base.ledger()
    live = [event for event in curtailment.events(store, curtailment.LIVE) if event.start <= at < event.end]
    if live:
        limit_kw = min(event.limit(site.import_kw).at(at) for event in live)
        until = max(event.end for event in live).astimezone(ZoneInfo(site.timezone))
        return f"at most {limit_kw:.0f} kW from the grid until {until:%H:%M}"
    command = override.active_override(store, at)
    if command is not None and command.kind == "curtail":
        until = command.valid_until.astimezone(ZoneInfo(site.timezone))
        return f"by {command.author} until {until:%H:%M}"
    return ""


def current_site() -> Site:
    """The site as the pilot last used it (with an API's inventory), or the site file before the first cycle."""
    return recorded_site(base.ledger()) or load_site(base.here().site_file())


def alarms() -> list[Alarm]:
    """The alarms that are not over, the gravest first."""
    return conditions.on_the_list(base.ledger(), base.wall())


def alarm_history(limit: int = 100) -> list[Alarm]:
    """All alarms, newest first."""
    return keeper.history(base.ledger(), limit)


def unseen() -> list[Alarm]:
    """Those that nobody has acknowledged or shelved: what the strip counts."""
    wall = base.wall()
    return [alarm for alarm in alarms() if alarm.wants_an_eye(wall)]
