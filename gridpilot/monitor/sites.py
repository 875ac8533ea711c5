"""One site of a fleet as its ledger tells it: where it stands, and the work there that could run elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from gridpilot.domain import Site, Units
from gridpilot.fleet import Work
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import conditions, decision, revenue
from gridpilot.monitor.alarms import WARN
from gridpilot.monitor.decision import Snapshot
from gridpilot.monitor.health import STILL, PilotState, in_control

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Standing:
    """A site at its newest decision. `at` is the source's time; numbers are NaN where they are not known.

    Margin and loads are not known while nothing of the decision is carried out: stopped, in fail-safe or on hold.
    """

    site: Site
    units: Units
    at: datetime
    decided: datetime  # wall clock
    source: str
    simulated: bool
    price: float  # in `units.energy`
    margin_usd_per_h: float
    load_kw: float
    grid_kw: float
    soc_frac: float
    step_s: int
    control: str
    pilot: bool  # whether one is at work
    alarms: int  # that nobody has acknowledged
    grave: bool  # one of them is more than a warning
    work: tuple[Work, ...]  # that could run elsewhere


def standing(name: str, ledger: Ledger, wall: datetime, *, stopped: bool = False) -> Standing | None:
    """The newest decision of a site that the fleet calls `name`; None before the first one.

    `stopped` where its emergency stop is latched in a file, which the ledger does not know of.
    """
    snap = decision.load(ledger)
    if snap is None:
        return None
    soc, pilot = snap.cycle["soc_frac"], PilotState.load(ledger)
    control = in_control(ledger, pilot, stopped)
    still = control in STILL
    wanting = [a for a in conditions.on_the_list(ledger, wall) if a.wants_an_eye(wall)]
    return Standing(
        site=snap.site,
        units=snap.units,
        at=snap.at,
        decided=datetime.fromisoformat(snap.cycle["wall"]),
        source=snap.cycle["source"],
        simulated=decision.simulated(snap.cycle),
        price=float(snap.shown(snap.cycle["prices"]["energy_usd_per_mwh"])),
        margin_usd_per_h=NAN if still else float(snap.cycle["rate"]["profit_usd_per_h"]),
        load_kw=NAN if still else float(snap.dispatch["total_power_kw"]),
        grid_kw=NAN if still else float(snap.dispatch["grid_kw"]),
        soc_frac=NAN if soc is None or snap.site.battery.capacity_kwh <= 0.0 else float(soc),
        step_s=snap.step_s,
        control=control,
        pilot=ledger.lease_holder("pilot", wall) is not None,
        alarms=len(wanting),
        grave=any(alarm.severity != WARN for alarm in wanting),
        work=() if still else work(name, snap),
    )


def settled(ledger: Ledger, since: datetime) -> float:
    """P&L of the intervals that began since a moment of the source's time [money]; NaN where none is settled."""
    sums = [entry.body["profit_usd"] for entry in revenue.settlements(ledger, since)]
    return float(math.fsum(sums)) if sums else NAN


def work(name: str, snap: Snapshot) -> tuple[Work, ...]:
    """Inference at a site, by machine type [million tokens an hour].

    It needs tokens a second as rates, the worth of power from the recorded plan, and a connection within its limits.
    """
    site, units, power = snap.site, snap.units, snap.plan["power_price_usd_per_kwh"]
    worth = power[0] if power else None
    if worth is None or units.token != "USD/Mtok" or units.money != "USD":
        return ()
    state = snap.state
    most_kw = site.import_kw if state is None else state.import_kw(site.import_kw)
    room_kw = max(0.0, most_kw - float(snap.dispatch["grid_kw"]))
    found = []
    for machine in site.machines:
        if machine.product != "token" or machine.rate <= 0.0:
            continue
        each = machine.rate * 3600.0 / 1e6
        on = int(snap.dispatch["machines"].get(machine.type, 0))
        kwh = machine.power_kw * (1.0 + site.cooling.kw_per_kw) / each
        found.append(Work(name, on * each, max(0, machine.count - on) * each, kwh, float(worth), room_kw))
    return tuple(found)


def together(found: list[Standing]) -> list[Standing]:
    """Those whose decisions are of one moment: the largest group that lies within one step of one of them."""
    groups = [[b for b in found if abs(b.at - a.at) < timedelta(seconds=min(a.step_s, b.step_s))] for a in found]
    return max(groups, key=len, default=[])
