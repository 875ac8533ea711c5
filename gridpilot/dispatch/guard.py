"""The emergency protocols over any dispatch, in the order of their priority: a later one has the last word.

    frequency    the promised reserve follows the grid's frequency
    battery      at rest where the state of charge is unknown, only inward outside its band
    limit        whole machines under the limit of the moment: curtailment, what the site reports, what the meter saw
    heat         extra cooling above 75 C, then less load by priority
    transition   more only when less has happened: machines that go off still draw while others come on
    stagger      machines come on a few at a time, those that are worth most first; not where the grid asks for load
    export       no more discharge than the machines that run and the grid take

The result is a function of the dispatch that was decided, the reading and a small memory; so what is in force can be
worked out anew with each reading, and is sent only where it differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gridpilot.dispatch.emergency import (
    GRAIN_KW,
    MARGIN,
    Heat,
    battery_guard,
    cap_load,
    changed,
    droop_kw,
    grain,
    heat_step,
    respond,
    scale_down,
)
from gridpilot.dispatch.reconcile import OFF
from gridpilot.domain import DataFlag, Dispatch, Reading, Site, SiteState

ORIGIN = "emergency"
BROKEN_KW = 1.0  # by so much the meter must be over the limit, to be more than rounding
SETTLE_S = 15.0  # after a command the meter is believed: machines take their time
WAIT_KW = 1e-4  # over the limit for a moment: rounding


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision gives the protocols: reserve promised up and down [kW], what a kWh is worth in each load, and
    how far ahead a falling limit counts."""

    reserve_kw: tuple[float, float] = (0.0, 0.0)
    worth_usd_per_kwh: Mapping[str, float] | None = None
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the protocols remember: heat, the grid power of what was sent and when, and how much more than that the
    meter saw."""

    heat: Heat = field(default_factory=Heat)
    sent_kw: float = math.nan
    sent_at: datetime | None = None
    unseen_kw: float = 0.0


@dataclass(frozen=True, slots=True)
class Guarded:
    """The dispatch that may be sent, what was changed and why, and what to remember."""

    dispatch: Dispatch
    flags: tuple[DataFlag, ...]
    memory: Memory


def same(one: Dispatch, other: Dispatch) -> bool:
    """Whether two dispatches ask the same of the site."""
    asked = ("machines", "battery_kw", "jobs_kw", "tenants_kw", "room_kw")
    return all(getattr(one, name) == getattr(other, name) for name in asked)


def guard(
    site: Site, state: SiteState, decided: Dispatch, reading: Reading, memory: Memory, terms: Terms | None = None
) -> Guarded:
    """The protocols laid over `decided`, at the moment of `reading`."""
    if decided.origin in OFF:  # there is nothing left to do
        return Guarded(decided, (), replace(memory, heat=Heat(), unseen_kw=0.0))
    work = _Work(site, state, reading, terms or Terms(), decided)
    work.frequency()
    work.battery()
    memory = replace(memory, unseen_kw=work.unseen_kw(memory))
    work.limit(memory.unseen_kw)
    memory = replace(memory, heat=work.heat(memory.heat))
    origin = decided.origin if same(work.out, decided) else ORIGIN
    work.transition()
    work.stagger(memory)
    work.export()
    out = decided if same(work.out, decided) else replace(work.out, origin=origin)
    return Guarded(out, tuple(work.flags), memory)


@dataclass(slots=True)
class _Work:
    """A dispatch on its way through the protocols."""

    site: Site
    state: SiteState
    reading: Reading
    terms: Terms
    out: Dispatch
    flags: list[DataFlag] = field(default_factory=list)
    absorbs: bool = False  # more load because the frequency is high
    most_kw: float = math.inf  # that may be drawn, as the limits and the meter say

    def frequency(self) -> None:
        """Droop within the promised reserve."""
        up_kw, down_kw = self.terms.reserve_kw
        hertz = self.reading.frequency_hz
        if hertz is None or max(up_kw, down_kw) <= 0.0:
            return
        exact = droop_kw(self.site.frequency, hertz, up_kw, down_kw)
        kw = max(-down_kw, min(up_kw, math.copysign(math.ceil(abs(exact) / GRAIN_KW) * GRAIN_KW, exact)))
        if kw:
            self.absorbs = kw < 0.0
            self.out = respond(self.site, self.state, self.out, kw, self.terms.worth_usd_per_kwh)
            text = f"grid at {hertz:.3f} Hz: {abs(kw):.0f} kW {'less' if kw > 0.0 else 'more'} from it, as promised"
            self.flags.append(DataFlag("FREQUENCY", text, "warn", "dispatch"))

    def battery(self) -> None:
        """At rest, or inward only."""
        battery_kw, flag = battery_guard(self.site.battery, self.state.soc_frac, self.out.battery_kw)
        if flag is not None:
            self.flags.append(flag)
            if battery_kw != self.out.battery_kw:
                self.out = changed(self.site, self.state, self.out, battery_kw=battery_kw)

    def unseen_kw(self, memory: Memory) -> float:
        """How much more the meter sees than the set points in force draw, once it was over the limit; kept until the
        meter agrees with them again."""
        seen, now = self.reading.grid_kw, self.reading.at
        settled = memory.sent_at is not None and now - memory.sent_at >= timedelta(seconds=SETTLE_S)
        if seen is None or not (settled and math.isfinite(seen) and math.isfinite(memory.sent_kw)):
            return memory.unseen_kw
        if seen > self.state.import_kw(self.site.import_kw) + BROKEN_KW:
            return max(memory.unseen_kw, seen - memory.sent_kw)
        return memory.unseen_kw if seen > memory.sent_kw + BROKEN_KW else 0.0

    def limit(self, unseen_kw: float) -> None:
        """Under the limit of the moment; a tenth below it where the meter sees more than is known of."""
        later = self.reading.at + timedelta(seconds=self.terms.ahead_s)
        limit_kw = min([self.state.import_kw(self.site.import_kw), *(x.at(later) for x in self.state.limits)])
        unseen = unseen_kw > BROKEN_KW
        room_kw, margin = (max(0.0, limit_kw - unseen_kw), MARGIN) if unseen else (limit_kw, 0.0)
        worth, self.most_kw = self.terms.worth_usd_per_kwh, room_kw * (1.0 - margin)
        self.out, flag = scale_down(self.site, self.state, self.out, room_kw, worth, margin=margin)
        if flag is not None and unseen:
            text = f"the meter shows {unseen_kw:.1f} kW more than the set points draw; {flag.message}"
            flag = DataFlag("UNSEEN_LOAD", text, "alarm", "dispatch")
        elif flag is not None and limit_kw < self.site.import_kw:
            flag = DataFlag("CURTAILED", flag.message, "warn", "dispatch")
        if flag is not None:
            self.flags.append(flag)

    def heat(self, before: Heat) -> Heat:
        """Cooling first, then less load."""
        hottest_c = self.reading.hottest_c
        if hottest_c is None:
            return before
        site, room = self.site, self.site.room
        can_cool = room.planned and room.extra_kw > 0.0
        load_kw = self.out.total_power_kw - self.out.room_kw
        heat = heat_step(before, hottest_c, self.reading.at, load_kw, can_cool=can_cool)
        if heat.cap_kw is not None:
            worth = self.terms.worth_usd_per_kwh
            self.out = cap_load(site, self.state, self.out, heat.cap_kw, worth)
            text = f"hottest machine at {hottest_c:.1f} C: load held under {heat.cap_kw:.0f} kW"
            self.flags.append(DataFlag("HOT", text, "alarm", "dispatch"))
        if heat.cooling:
            self._more_cooling(hottest_c)
        return heat

    def _more_cooling(self, hottest_c: float) -> None:
        """As much as there is and the connection still carries; none where the room would get too cold."""
        extra_kw = min(self.site.room.extra_kw, self.most_kw - (self.out.grid_kw - self.out.room_kw))
        if extra_kw <= self.out.room_kw:
            return
        cooler = changed(self.site, self.state, self.out, room_kw=extra_kw)
        if cooler.constraints_satisfied:
            self.out = cooler
            text = f"hottest machine at {hottest_c:.1f} C: {extra_kw:.0f} kW of cooling more than the heat needs"
            self.flags.append(DataFlag("HOT_COOLING", text, "warn", "dispatch"))

    def transition(self) -> None:
        """What rises waits where it would be too much together with what has not fallen yet. Each thing that changes
        counts with the larger of what it draws and what it will. Not where machines obey at once."""
        reading, site, out = self.reading, self.site, self.out
        if reading.told is None:
            return
        heat, counts = 1.0 + site.cooling.kw_per_kw, dict(out.machines)
        others = sum(out.jobs_kw.values()) + sum(out.tenants_kw.values())
        it_kw = others + sum(
            m.power_kw * max(reading.machines.get(m.type, 0), counts.get(m.type, 0)) for m in site.machines
        )
        most_kw = self.state.import_kw(site.import_kw)
        over_kw = it_kw * heat + out.room_kw + out.battery_kw - most_kw
        if over_kw <= WAIT_KW:
            return
        waits_kw = min(over_kw, max(0.0, out.battery_kw))
        battery_kw = grain(out.battery_kw - waits_kw) if waits_kw else out.battery_kw
        over_kw -= waits_kw
        self._hold_back(counts, over_kw)
        self._wait(counts, battery_kw)

    def _hold_back(self, counts: dict[str, int], over_kw: float) -> None:
        """Fewer of those that don't run yet, those worth least first, until that much less would be drawn."""
        heat, worth = 1.0 + self.site.cooling.kw_per_kw, self.terms.worth_usd_per_kwh or {}
        for machine in sorted(self.site.machines, key=lambda m: worth.get(m.type, 0.0)):
            more = counts.get(machine.type, 0) - self.reading.machines.get(machine.type, 0)
            if over_kw > WAIT_KW and more > 0:
                waiting = min(more, math.ceil((over_kw - WAIT_KW) / (machine.power_kw * heat)))
                counts[machine.type] -= waiting
                over_kw -= waiting * machine.power_kw * heat

    def stagger(self, memory: Memory) -> None:
        """No more than `stagger_kw` of machines start at a time, one at least. The next ones may when a reading shows
        that these run, or when they have had their time: a machine that fails holds up no other."""
        site, told, counts = self.site, self.reading.target, dict(self.out.machines)
        if site.stagger_kw <= 0.0 or self.absorbs:
            return
        worth, starting_kw = self.terms.worth_usd_per_kwh or {}, 0.0
        if memory.sent_at is None or self.reading.at - memory.sent_at < timedelta(seconds=SETTLE_S):
            starting_kw = sum(
                m.power_kw * max(0, told.get(m.type, 0) - self.reading.machines.get(m.type, 0)) for m in site.machines
            )
        for machine in sorted(site.machines, key=lambda m: (-worth.get(m.type, 0.0), m.type)):
            more = counts.get(machine.type, 0) - told.get(machine.type, 0)
            if more <= 0:
                continue
            fits = max(0, int((site.stagger_kw - starting_kw) / machine.power_kw + WAIT_KW))
            starts = min(more, fits if starting_kw else max(fits, 1))
            starting_kw += starts * machine.power_kw
            counts[machine.type] -= more - starts
        if counts != self.out.machines:
            self._wait(counts, self.out.battery_kw)

    def export(self) -> None:
        """Machines that are starting, or failed, take nothing yet: what the grid does not take is not discharged, and
        of those that don't run yet no more come on than fit without that."""
        site, out, counts = self.site, self.out, dict(self.out.machines)
        heat, running = 1.0 + site.cooling.kw_per_kw, counts
        if self.reading.told is not None:
            running = {name: min(n, self.reading.machines.get(name, 0)) for name, n in counts.items()}
        it_kw = sum(out.jobs_kw.values()) + sum(out.tenants_kw.values())
        it_kw += sum(m.power_kw * running.get(m.type, 0) for m in site.machines)
        most_kw = max(0.0, it_kw * heat + out.room_kw) + site.export_kw
        if -out.battery_kw > most_kw + WAIT_KW:
            battery_kw = -most_kw
            self._hold_back(counts, out.total_power_kw + battery_kw - self.state.import_kw(site.import_kw))
            self._wait(counts, battery_kw)

    def _wait(self, counts: dict[str, int], battery_kw: float) -> None:
        """Fewer machines for now, and no less cooling than they need."""
        site, out = self.site, self.out
        it_kw = sum(out.jobs_kw.values()) + sum(out.tenants_kw.values())
        it_kw += sum(m.power_kw * counts.get(m.type, 0) for m in site.machines)
        room_kw = max(out.room_kw, -site.cooling.kw_per_kw * it_kw)
        self.out = changed(site, self.state, out, machines=counts, battery_kw=battery_kw, room_kw=room_kw)
