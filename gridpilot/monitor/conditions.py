"""What is wrong now, by the ledger alone: each condition says what happened and what to do.

Looked at are the pilot's heartbeat and its own trouble, the watchdog's latch, a held site, the flags of the newest
decision (data, price anomaly, forecast drift, plan, emergency protocols), the age of the prices, the state of charge,
the heat and the load that were read last, machines that do not answer or do not run, what a cycle takes, the check of
the ledger's chain, and the receiver of the messages. A limit that was passed counts as passed until the value is back
by a margin (`open_`).
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gridpilot.config import site_from_json
from gridpilot.dispatch import reconcile
from gridpilot.dispatch.emergency import COOL_C, HOT_C
from gridpilot.domain import DataFlag, Site
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import alarms, decision, latch, metering
from gridpilot.monitor.alarms import ALARM, WARN, Alarm, Condition
from gridpilot.monitor.health import PilotState

VERIFIED = "ledger_verified"  # keys of the ledger's state: {at, ok, reason, seq} of the newest check of the chain
RECEIVER = "alarm_receiver"  # {failures, detail, since} of the messages' receiver
WATCH = "watch"  # {at, seq}: when a watch last looked, by the wall clock, and up to which entry
WATCH_SILENT_S = 30.0
OLD_STEPS, TOO_OLD_STEPS = 2.0, 3.0  # prices are old, and too old to decide on, after so many intervals
SOC_MARGIN = 0.01  # beyond the band before it is said, so that a sensor's last digit says nothing
WARM_C = 73.0  # of the hottest machine: two degrees before the emergency protocols act
LAGGING, LAGGING_BACK = 0.9, 0.95  # share of the machines that were told to run and do
OVER_KW, OVER_BACK_KW = 1.0, 0.0  # above the connection's limit by the meter
SLOW_MS, SLOW_BACK_MS = 2000.0, 1500.0  # median of the last cycles, all stages
SLOW_OVER = 5  # cycles
DEAD_AFTER = 3  # messages that failed in a row
RECENT = timedelta(minutes=10)  # a reading that is older, in the source's time, says nothing of now

Open = Collection[tuple[str, str]]  # code and subject of the conditions that hold already

ADVICE: Mapping[str, str] = {
    "BAD_FILE": "Correct the file in the watched folder, or move it away.",
    "CLOCK": "Set this machine's clock (NTP), or ask who runs the API about theirs.",
    "CLOCK_BACK": "See who set the source's clock back; nothing was settled for the time in between.",
    "CONFLICT": "Ask the price source which of the two prices holds; the later one is used.",
    "CREDENTIALS": "Correct the key in the settings and restart the pilot.",
    "CURTAILED": "Nothing: load comes back by itself when the limit ends.",
    "CVAR_LIMIT": "See on Risk what could be lost; lower the risk weight or raise the limit in the site file.",
    "DAY_AHEAD_GAP": "Nothing at once: real-time prices go on; see the day-ahead source's standing on Prices.",
    "DEPRECATED": "Look for a newer version of this software before the price source ends the call.",
    "DRIFT": "See on Forecast what the prices do that they did not do before; the ensemble comes back by itself.",
    "DROPPED": "See the rows named in the price source; correct them there.",
    "EXOG_FILLED": "Give the outside series further ahead, or forecast without it.",
    "EXPIRED": "See in the pilot's log why no cycle came in time; the site was counted as off.",
    "FAILOVER": "See on Prices why the sources before it were refused; they come back by themselves.",
    "FALLBACK": "A simpler method stands in: see a plan's attempts on Plan, what a forecast lacks on Forecast.",
    "FLATLINE": "Compare with the market's own page: a source may have stopped while it still answers.",
    "FREQUENCY": "Nothing: the site answers the grid's frequency within its reserve.",
    "FUTURE": "Check the clock of this machine and that of the price source.",
    "GAP": "Have the price source fill the gap; the forecast knows only what followed it.",
    "GAP_FILLED": "See which intervals the price source lacks; they were filled as the message says.",
    "HALF_WRITTEN": "Write files under another name and rename them when they are whole.",
    "HASH_GAP": "Check GRIDPILOT_HASH_SOURCE, or give the site file's hash_usd_per_ph_day instead of it.",
    "HASH_STALE": "Check the way to the hash price's source; the hashprice is carried for six hours.",
    "HOLD": "Find out who changed the machines, then resume on Dispatch.",
    "HOT": "See that the cooling works: load comes back by itself below 72 C.",
    "HOT_COOLING": "See that the cooling works; more of it is used than the heat needs.",
    "INVENTORY": "Bring the site file and the API's inventory together.",
    "JOB_LATE": "Give the job more time or power in the site file; what fits before its deadline is planned.",
    "JOB_SHORT": "Give the job more time or power in the site file, or raise what its shortfall costs.",
    "LEDGER": "See that the ledger's disk has room and that no other program locks it.",
    "LEDGER_BROKEN": "Stop the pilot, keep a copy of the ledger and restore a backup (docs/operations.md).",
    "LIMIT_LOST": "Check the sensor of the site's own limit: the last one that it reported holds meanwhile.",
    "MISMATCH": "Look at desired, sent and actual on Dispatch, and at the machines themselves.",
    "MODEL_SKIPPED": "Free memory for the fit (it comes again in ten minutes), or turn fits off by GRIDPILOT_REFIT=0.",
    "NOT_FOLLOWED": "Look at the machines that lag behind on Dispatch; switch them at the site if they do not answer.",
    "NOT_RAISED": "Compare the price with another source; hold or command on Dispatch if you know better.",
    "OUTSIDE_CHANGE": "Find out who else switches the machines; a second change puts the site on hold.",
    "OVER_LIMIT": "Lower the load on Dispatch (curtail), and find what draws power beside the plan.",
    "PARTIAL": "Look at desired, sent and actual on Dispatch; the pilot sends again.",
    "PILOT": "Check the price source and the machine API on Health; the pilot keeps trying.",
    "PRICE_UNKNOWN": "Give the price as the message says; until then what earns by it stays off.",
    "PRICE_ANOMALY": "See on Prices whether it is scarcity or an error; hold on Dispatch if you do not believe it.",
    "RAMP": "Raise ramp_kw_per_min in the site file if the connection allows it.",
    "REFUSED": "Read the reason: the machines' API does not take these set points.",
    "REPLAY_END": "Set GRIDPILOT_REPLAY_START and restart to replay again.",
    "RESERVE_SHORT": "Sell less reserve for these intervals, or free battery and load for it.",
    "REVISED": "Nothing: later decisions use the corrected price; earlier ones keep what was known.",
    "SERVICE_SHORT": "See on Plan whose service level is short, and free power for it.",
    "SHED": "Lower the load for good, or ask for a higher limit: a limit was broken and load was shed.",
    "SILENT": "See whether a pilot runs, and in its log whether the ledger has room and can be written.",
    "SLOW": "See on Health which stage takes the time; another program may be using the machine.",
    "SOC_LIMIT": "Nothing: the battery rests at the edge of its band.",
    "SOC_OUTSIDE": "Check the battery's own controller; the plan brings it back into its band.",
    "SOC_UNKNOWN": "The battery is held at 0 kW until a state of charge is read: check its sensor.",
    "STALE": "Check the price source on Health; the last safe set points hold meanwhile.",
    "SUSPECT": "Compare the price with another source; load does not rise until a second reading confirms it.",
    "SWITCHED": "Nothing: the forecast is made from this market's own past; the ensemble is fitted to it anew.",
    "UNIT_DOUBTFUL": "Say in [prices] of the site file what the price file's numbers mean (docs/site.md).",
    "UNKNOWN": "Read the machines on Dispatch: it is not known whether they took the last command.",
    "UNREACHABLE": "Check the way to the price source: the prices it has published before will run out.",
    "UNREADABLE": "Check the machines' API and the network to it; nothing is sent that cannot be read back.",
    "UNSEEN_LOAD": "Find what draws power beside the machines, jobs and tenants of the site file.",
    "WARM": "See that the cooling works before load has to go.",
    "WATCH": "Restart the console or `.venv/bin/python -m gridpilot watch`: alarms are not brought up to date.",
    "WATCHDOG": "See in the pilot's log why it was silent; the next good cycle switches the site on again.",
    "WEBHOOK": "Check GRIDPILOT_ALARM_WEBHOOK and its receiver; alarms reach nobody outside meanwhile.",
}
OTHERWISE = "Read the message, and the page of its stage ({stage}), for what it concerns."
STANDING = ("HOLD", "LEDGER_BROKEN", "NO_DECISION", "UNREADABLE", "WATCHDOG")  # entries whose condition is seen itself


def advice(code: str, stage: str = "") -> str:
    """What to do about it; never empty."""
    return ADVICE.get(code) or OTHERWISE.format(stage=stage or "Health")


@dataclass(frozen=True, slots=True)
class Look:
    """What the ledger says at one moment."""

    wall: datetime
    present: datetime  # the source's time
    pilot: PilotState
    cycles: Sequence[Entry]  # the newest, newest first
    reading: Entry | None
    site: Site | None

    @classmethod
    def at(cls, ledger: Ledger, wall: datetime) -> Look:
        """Read it."""
        pilot, site = PilotState.load(ledger), ledger.get_state(decision.SITE).value
        cycles = ledger.entries("cycle", limit=SLOW_OVER)
        newest = cycles[0].body if cycles else {}
        still = newest.get("source") == "csv" and newest["simulated"]  # a file: its time is its newest row
        present = cycles[0].at if still else pilot.present(wall)
        return cls(
            wall, present, pilot, cycles, ledger.latest(metering.KIND), None if site is None else site_from_json(site)
        )


def conditions(ledger: Ledger, wall: datetime, open_: Open = ()) -> list[Condition]:
    """All that is wrong now. `open_` are the conditions that held at the last look: those end by a margin."""
    look = Look.at(ledger, wall)
    return [
        *_processes(ledger, look),
        *_decided(ledger, look),
        *_read(ledger, look, open_),
        *_itself(ledger, look, open_),
    ]


def since(ledger: Ledger, seq: int) -> tuple[list[Condition], int]:
    """Alarm entries after entry number `seq` that tell of something that happened once; and the newest number."""
    head = ledger.head().seq
    if head == seq:
        return [], seq
    found = [entry for entry in ledger.entries("alarm", limit=50) if entry.seq > seq]
    wrong = [entry.body for entry in found if entry.body["severity"] in (WARN, ALARM)]
    once = [body for body in wrong if body["code"] not in STANDING]
    return [_said(body["code"], body["severity"], body["message"]) for body in once], head


def _said(code: str, severity: str, message: str, stage: str = "") -> Condition:
    return Condition(code, severity, message, advice(code, stage))


# --- processes -------------------------------------------------------------------------------


def _processes(ledger: Ledger, look: Look) -> Iterator[Condition]:
    if look.pilot.alarm:
        yield Condition("PILOT", ALARM, look.pilot.alarm, look.pilot.advice or advice("PILOT"))
    if silent := latch.silence(ledger.heartbeat(), look.wall):
        yield _said("SILENT", ALARM, silent)
    latched = latch.Latch.load(ledger)
    if latched is not None and latched.latched:
        yield _said("WATCHDOG", ALARM, f"everything is off: {latched.reason}")
    if hold := reconcile.held(ledger):
        yield _said("HOLD", ALARM, hold["reason"])
    unread = ledger.latest("alarm")
    if (
        unread is not None
        and unread.body["code"] == "UNREADABLE"
        and (look.reading is None or unread.seq > look.reading.seq)
    ):
        yield _said("UNREADABLE", ALARM, unread.body["message"])
    if watch_silent(ledger, look.wall):
        yield _said("WATCH", WARN, f"no watch has looked for more than {WATCH_SILENT_S:.0f} s")


def watch_silent(ledger: Ledger, wall: datetime) -> bool:
    """Whether a watch was at work once, and is not now."""
    last = ledger.get_state(WATCH).value
    return last is not None and not _young(last["at"], wall)


def on_the_list(ledger: Ledger, wall: datetime) -> list[Alarm]:
    """The alarms that are not over, the gravest first. While no watch keeps the list, what is wrong now by the ledger
    joins those that are on it, without a number."""
    listed = alarms.listed(ledger)
    if watch_seen(ledger, wall):
        return listed
    known = {alarm.key for alarm in listed}
    found = [c for c in conditions(ledger, wall, known) if c.key not in known]
    live = [Alarm(c.code, c.severity, c.message, c.advice, wall, wall, c.subject) for c in found]
    return sorted([*live, *listed], key=lambda alarm: alarm.severity != ALARM)


def watch_seen(ledger: Ledger, wall: datetime) -> bool:
    """Whether a watch is at work."""
    last = ledger.get_state(WATCH).value
    return last is not None and _young(last["at"], wall)


def _young(at: str, wall: datetime) -> bool:
    return wall - datetime.fromisoformat(at) <= timedelta(seconds=WATCH_SILENT_S)


# --- the newest decision ---------------------------------------------------------------------


def _decided(ledger: Ledger, look: Look) -> Iterator[Condition]:
    if not look.cycles:
        return
    cycle = look.cycles[0]
    flags = [flag for flag in decision.flags_now(ledger, cycle) if flag.severity in (WARN, ALARM)]
    yield from (_flagged(code, [f for f in flags if f.code == code]) for code in dict.fromkeys(f.code for f in flags))
    step_s = float(cycle.body["step_s"])
    age_s = (look.present - datetime.fromisoformat(cycle.body["price_at"])).total_seconds()
    if age_s >= OLD_STEPS * step_s:
        text = f"the newest price began {age_s / 60:.0f} min ago, one comes every {step_s / 60:g} min"
        yield _said("STALE", ALARM if age_s > TOO_OLD_STEPS * step_s else WARN, text)


def _flagged(code: str, flags: Sequence[DataFlag]) -> Condition:
    gravest = min(flags, key=lambda flag: flag.severity != ALARM)
    more = f" (and {len(flags) - 1} more of its kind)" if len(flags) > 1 else ""
    return _said(code, gravest.severity, gravest.message + more, gravest.stage)


# --- what was read ---------------------------------------------------------------------------


def _read(ledger: Ledger, look: Look, open_: Open) -> Iterator[Condition]:
    entry, site = look.reading, look.site
    if entry is None or site is None or look.present - entry.at > RECENT:
        return
    body: Mapping[str, Any] = entry.body
    soc, battery = body["soc_frac"], site.battery
    margin = 0.0 if ("SOC_OUTSIDE", "") in open_ else SOC_MARGIN
    if soc is not None and battery.capacity_kwh > 0 and not battery.soc_min - margin <= soc <= battery.soc_max + margin:
        band = f"{battery.soc_min:.0%} to {battery.soc_max:.0%}"
        yield _said("SOC_OUTSIDE", WARN, f"state of charge is {soc:.1%}, outside its band of {band}")
    hottest_c = body["hottest_c"]
    if hottest_c is not None and hottest_c >= (COOL_C - 1.0 if ("WARM", "") in open_ else WARM_C):
        yield _said("WARM", WARN, f"the hottest machine is at {hottest_c:.1f} C; load goes off from {HOT_C:g} C")
    grid_kw, most_kw = body["grid_kw"], site.import_kw
    most_kw = most_kw if body["import_kw"] is None else min(most_kw, body["import_kw"])
    if grid_kw is not None and grid_kw > most_kw + (OVER_BACK_KW if ("OVER_LIMIT", "") in open_ else OVER_KW):
        yield _said("OVER_LIMIT", ALARM, f"the meter reads {grid_kw:.0f} kW, the connection carries {most_kw:.0f} kW")
    yield from _lagging(body, ("NOT_FOLLOWED", "") in open_)


def _lagging(body: Mapping[str, Any], known: bool) -> Iterator[Condition]:
    told, shown = body["told"], body["machines"]
    wanted = sum(told.values()) if told else 0
    if not wanted:
        return
    running = sum(min(count, shown.get(name, 0)) for name, count in told.items())
    if running < (LAGGING_BACK if known else LAGGING) * wanted:
        missing = {name: count - shown.get(name, 0) for name, count in told.items() if count > shown.get(name, 0)}
        named = ", ".join(f"{count} {name}" for name, count in missing.items())
        yield _said("NOT_FOLLOWED", WARN, f"of {wanted} machines that were told to run {running} do: {named} missing")


# --- the system itself -----------------------------------------------------------------------


def _itself(ledger: Ledger, look: Look, open_: Open) -> Iterator[Condition]:
    if len(look.cycles) >= SLOW_OVER:
        spent = [entry.body["timings_ms"] for entry in look.cycles]
        usual_ms = statistics.median(row["total"] for row in spent)
        if usual_ms > (SLOW_BACK_MS if ("SLOW", "") in open_ else SLOW_MS):
            stages = _medians(spent)
            slowest = max(stages, key=stages.__getitem__)
            text = f"a cycle takes {usual_ms / 1000:.1f} s, {stages[slowest] / 1000:.1f} s of it in {slowest}"
            yield _said("SLOW", WARN, text)
    checked = ledger.get_state(VERIFIED).value
    if checked and not checked["ok"]:
        yield _said("LEDGER_BROKEN", ALARM, f"the ledger's chain is broken: {checked['reason']}")
    receiver = ledger.get_state(RECEIVER).value
    if receiver and receiver["failures"] >= DEAD_AFTER:
        text = (
            f"{receiver['failures']} messages in a row were not taken, since {receiver['since']}: {receiver['detail']}"
        )
        yield _said("WEBHOOK", WARN, text)


def _medians(spent: Iterable[Mapping[str, float]]) -> dict[str, float]:
    rows = list(spent)
    return {name: statistics.median(row.get(name, 0.0) for row in rows) for name in rows[0] if name != "total"}
