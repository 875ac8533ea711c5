"""How things stand: the status strip and the alarms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gridpilot.config import load_site, site_from_json
from gridpilot.dispatch import override, reconcile
from gridpilot.domain import Site
from gridpilot.monitor import decision
from gridpilot.monitor.health import ESTOP, HOLD, PilotState
from gridpilot.monitor.latch import silence
from gridpilot.views import base
from gridpilot.views.commanded import stopped


@dataclass(frozen=True, slots=True)
class Status:
    """The status strip. `control` is AUTO, HOLD, OVERRIDE, FAILSAFE or ESTOP."""

    mode: str  # REPLAY, LIVE, FILE
    source: str
    simulated: bool
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


MODES = {"replay": "REPLAY", "csv": "FILE"}


def status() -> Status:
    """Who is in control, how old the prices are, and what time it is at the source."""
    store, wall = base.ledger(), base.wall()
    pilot = PilotState.load(store)
    cycle = store.latest("cycle")
    alive = store.lease_holder("pilot", wall) is not None
    site = current_site()
    file = bool(cycle and cycle.body["source"] == "csv" and cycle.body["simulated"])  # its time is its newest row
    runs_on = alive and not file
    at = pilot.present(wall) if runs_on else (cycle.at if cycle else None)
    price_at = datetime.fromisoformat(cycle.body["price_at"]) if cycle else None
    source = cycle.body["source"] if cycle else base.settings().source.partition(":")[0]
    stop = stopped()
    return Status(
        mode="LIVE" if cycle and source == "csv" and not file else MODES.get(source, "LIVE"),
        source=source,
        simulated=bool(cycle.body["simulated"]) if cycle else source == "replay",
        at=at,
        price_age_s=max(0.0, (at - price_at).total_seconds()) if at and price_at else None,
        step_s=int(cycle.body["step_s"]) if cycle else 3600,
        control=ESTOP if stop else HOLD if reconcile.held(store) else pilot.control,
        alarms=len(alarms()),
        site=site.name,
        timezone=site.timezone,
        speed=pilot.speed,
        pilot_alive=alive,
        message=pilot.message,
        proposals=len(override.proposals(store, at, wall)) if at and not stop else 0,
    )


def current_site() -> Site:
    """The site as the pilot last used it (with an API's inventory), or the site file before the first cycle."""
    body = base.ledger().get_state("site").value
    return site_from_json(body) if body else load_site(base.settings().site_file())


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that wants an operator's eye."""

    at: datetime
    code: str
    severity: str  # warn or alarm
    message: str
    advice: str


def alarms() -> list[Alarm]:
    """What is wrong now: the pilot's standing alarm, and the flags of the newest decision that warn."""
    store = base.ledger()
    out = []
    pilot = PilotState.load(store)
    if pilot.alarm:
        out.append(Alarm(pilot.alarm_at or base.wall(), "PILOT", "alarm", pilot.alarm, pilot.advice))
    if silent := silence(store.heartbeat(), base.wall()):
        out.append(Alarm(base.wall(), "SILENT", "alarm", silent, ADVICE["SILENT"]))
    if hold := reconcile.held(store):
        out.append(Alarm(datetime.fromisoformat(hold["at"]), "HOLD", "alarm", hold["reason"], ADVICE["HOLD"]))
    cycle = store.latest("cycle")
    if cycle is not None:
        for flag in decision.flags_now(store, cycle):
            if flag.severity != "info":
                out.append(Alarm(cycle.at, flag.code, flag.severity, flag.message, ADVICE.get(flag.code, "")))
    return out


ADVICE = {
    "HOLD": "Find out who changed the machines, then resume on Dispatch.",
    "HOT": "See that the cooling works: load comes back by itself below 72 C.",
    "UNSEEN_LOAD": "Find what draws power beside the machines, jobs and tenants of the site file.",
    "CURTAILED": "Nothing: load comes back by itself when the limit ends.",
    "STALE": "Check the price source on Health; the last safe set points hold meanwhile.",
    "FAILOVER": "See on Prices why the sources before it were refused; they come back by themselves.",
    "SWITCHED": "Nothing: the forecast is made from this market's own past; the ensemble is fitted to it anew.",
    "UNREACHABLE": "Check the way to the price source: the prices it has published before will run out.",
    "CREDENTIALS": "Correct the key in the settings and restart the pilot.",
    "HASH_STALE": "Check the way to the hash price's source; the hashprice is carried for six hours.",
    "HASH_GAP": "Check GRIDPILOT_HASH_SOURCE, or give the site file's hash_usd_per_ph_day instead of it.",
    "BAD_FILE": "Correct the file in the watched folder, or move it away.",
    "HALF_WRITTEN": "Write files under another name and rename them when they are whole.",
    "DEPRECATED": "Look for a newer version of this software before the price source ends the call.",
    "SUSPECT": "Compare the price with another source before acting on it.",
    "FALLBACK": "The plan is not the optimum: see its attempts on Plan.",
    "SOC_UNKNOWN": "The battery is held at 0 kW until a state of charge is read.",
    "SILENT": "See whether a pilot runs, and in its log whether the ledger has room and can be written.",
    "REPLAY_END": "Set GRIDPILOT_REPLAY_START and restart to replay again.",
}
