"""Sentences about the decision. Every number in one is the writing of a fact that it cites; names are inert.

Pure functions of `Facts`. A figure that the ledger does not have is not spoken of, or said to be missing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from gridpilot.explain.fact import Facts
from gridpilot.monitor.health import ALL_OFF

NO_DECISION = (
    "There is no decision yet: the first one follows when the pilot has read its prices. "
    "If it does not come, look at Health, or run a cycle by hand with `.venv/bin/python -m gridpilot cycle`."
)
STOPPING = (
    "Emergency stop: all machines and the battery are being switched off, until an operator releases it on Dispatch."
)
ORIGINS = {
    "override": "an operator's override is in force",
    "hold": "an operator's hold is in force",
    "failsafe": "the site is in its fail-safe state",
    "estop": "the emergency stop is in force",
}
CHANGED = "the emergency protocols changed what was decided, and that was sent"
NOT_DONE = {
    "mismatch": "The machines report another state than was asked of them; see Dispatch",
    "unknown": "It is not known whether the machines took the set points; see Dispatch",
    "refused": "The set points were refused and not sent; see Dispatch",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said, ready for Markdown, and the ids of the facts that it rests on."""

    text: str
    citations: tuple[str, ...] = ()


class Say:
    """Writes facts out and remembers which. `say(id)` has the unit, `say.bare(id)` has none."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.cited: dict[str, None] = {}

    def __call__(self, fact_id: str) -> str:
        """The value with its unit."""
        self.cited[fact_id] = None
        return self.facts[fact_id].text()

    def bare(self, fact_id: str) -> str:
        """The value alone; a name as it is shown."""
        self.cited[fact_id] = None
        return self.facts[fact_id].bare()

    def clock(self, fact_id: str) -> str:
        """The time of a fact at the site: 19:00 today, 02:00 tomorrow, 20:00 yesterday, 14:00 on 24 Jun."""
        self.cited[fact_id] = None
        at, now = self.facts[fact_id].at, self.facts.at
        days = None if now is None else (at.date() - now.date()).days
        near = {-1: " yesterday", 0: "", 1: " tomorrow"}
        return f"{at:%H:%M}{near[days]}" if days in near else f"{at:%H:%M} on {at.day} {at:%b}"

    def close(self, text: str) -> Sentence:
        """The sentence, with all that was cited for it."""
        return Sentence(text[:1].upper() + text[1:], tuple(self.cited))


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    words = list(parts)
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


# --- what it does --------------------------------------------------------------------------


def now_sentence(facts: Facts) -> Sentence:
    """What the site does and why, in one sentence."""
    if facts.at is None:
        return Sentence(NO_DECISION)
    trouble = control_sentence(facts)
    if trouble is not None:
        return trouble
    say = Say(facts)
    parts = [_battery(say)] if "battery.capacity" in facts else []
    parts += _machines(say)
    if not parts:
        parts = [f"the site takes {say('load.total')}"]
    return say.close("; ".join(parts) + ".")


def control_sentence(facts: Facts) -> Sentence | None:
    """Why the plan is not what runs; None where it is."""
    say = Say(facts)
    control, sent = facts.word("pilot.control"), facts.word("dispatch.status")
    if "pilot.stopping" in facts:
        say("pilot.stopping")
        return say.close(STOPPING)
    if control in ALL_OFF:
        say("pilot.control")
        what = "Emergency stop" if control == "ESTOP" else "Fail-safe"
        text = f"{what}: all machines are off and the battery rests"
        text += ", until an operator releases it on Dispatch" if control == "ESTOP" else ""
    elif control == "HOLD" and "pilot.alarm" in facts:
        text = "The last set points are held, because no new decision could be made"
    elif sent in NOT_DONE:
        say("dispatch.status")
        text = NOT_DONE[sent]
    else:
        return None
    if "pilot.alarm" in facts:
        text += f": {say('pilot.alarm')}"
    return say.close(text.rstrip(".") + ".")


def mode_sentence(facts: Facts) -> Sentence:
    """Who decides what is sent."""
    trouble = control_sentence(facts)
    if trouble is not None:
        return trouble
    say = Say(facts)
    say("dispatch.origin")
    by = ORIGINS.get(facts.word("dispatch.origin"), CHANGED)
    if facts.word("dispatch.origin") == "plan":
        now = "no override, hold or stop is in force, and " if "pilot.control" in facts else ""
        by = f"{now}what was sent is the plan's"
    mode = f"the mode is {say('pilot.control')}: " if "pilot.control" in facts else ""
    out = say.close(f"{mode}{by}. Who gave which command stands on Dispatch.")
    if facts.word("pilot.running") != "no":
        return out
    none = f"No pilot runs: nothing new is decided or sent. When one last did, {out.text[:1].lower()}{out.text[1:]}"
    return Sentence(none, ("pilot.running", *out.citations))


def grid_sentence(facts: Facts) -> Sentence:
    """What the site takes, and what it draws from the grid or delivers to it, of how much at most."""
    say = Say(facts)
    way, does = ("export", "delivers") if facts.number("grid.export") > 0.05 else ("import", "draws")
    where = "to" if way == "export" else "from"
    text = f"The loads take {say('load.total')}, {say('load.cooling')} of it for cooling"
    most = say(f"grid.{way}_limit")
    return say.close(f"{text}; the site {does} {say(f'grid.{way}')} {where} the grid, of {most} at most.")


def battery_sentence(facts: Facts) -> Sentence:
    """What the battery does and why, with the best hour for its energy."""
    say = Say(facts)
    if "battery.capacity" not in facts:
        return Sentence("This site has no battery.")
    text = _battery(say)
    known = "battery.soc" in facts and "plan.marginal_value" in facts
    resting = facts.number("battery.charging") < 0.05 and facts.number("battery.discharging") < 0.05
    if resting and known and "battery.cost" not in say.cited:
        text += f"; storing more costs {say('battery.cost')} now"
    if facts.number("plan.marginal_value_max") > facts.number("plan.marginal_value") * 1.001:
        text += f"; at most it is worth {say('plan.marginal_value_max')}, at {say.clock('plan.marginal_value_max')}"
    return say.close(text + ".")


def _battery(say: Say) -> str:
    facts = say.facts
    origin = facts.word("dispatch.origin")
    charging, discharging = facts.number("battery.charging"), facts.number("battery.discharging")
    verb = f"charging {say('battery.charging')}" if charging > 0.05 else "holding"
    verb = f"discharging {say('battery.discharging')}" if discharging > 0.05 else verb
    if verb == "holding" and "battery.stored" in facts:
        verb = f"holding {say('battery.stored')}"
    if origin in ORIGINS:
        say("dispatch.origin")
        return f"{verb}, because {ORIGINS[origin]}"
    if "battery.soc" not in facts:
        return "the battery rests, because its state of charge is not known"
    if "plan.marginal_value" not in facts:
        return f"{verb}; the plan is {say('plan.status')} and puts no value on stored energy"
    worth = say("plan.marginal_value")
    if charging > 0.05:
        return f"{verb}: stored energy is worth {worth}, and {_storing(say)}{_use(say)}"
    if discharging > 0.05:
        brings, kept = facts.number("battery.brings"), say.bare("plan.marginal_value")
        word = "more" if -facts.number("battery.gap") > 0.001 * abs(brings) else "no less"
        word = "less" if facts.number("battery.gap") > 0.001 * abs(brings) else word
        now = f"stored energy brings {say('battery.brings')} now after losses"
        return f"{verb}: {now}, {word} than the {kept} that it is worth when kept"
    return _holding(say, verb, worth)


def _holding(say: Say, verb: str, worth: str) -> str:
    facts = say.facts
    soc, low, high = (facts.number(f"battery.{name}") for name in ("soc", "soc_min", "soc_max"))
    if soc <= low + 0.1:
        limit = f"{verb}, the lower limit of {say('battery.soc_min')}"
        return f"{limit}: stored energy is worth {worth}, and {_storing(say)}"
    if soc >= high - 0.1:
        return f"{verb}, the upper limit of {say('battery.soc_max')}: stored energy is worth {worth}{_use(say)}"
    if facts.number("battery.gap") > 0.0:
        gap = f"{say.bare('battery.gap')} more than it brings now after losses and wear"
        return f"{verb}: stored energy is worth {worth}, {gap}{_use(say)}"
    return f"{verb}: stored energy is worth {worth}, it brings {say('battery.brings')} now, and {_storing(say)}"


def _storing(say: Say) -> str:
    """What storing more costs; where the connection is full, a load would have to give way."""
    facts = say.facts
    text = f"storing more costs {say('battery.cost')} now with losses"
    full = facts.number("plan.import") >= facts.number("grid.import_limit") - 0.5 > 0.0
    if full and facts.number("plan.power_price") > 1.01 * facts.number("price.energy"):
        text += f" (the connection is full: other loads would lose {say('plan.power_price')})"
    return text


def turn_sentence(facts: Facts, verb: str) -> Sentence:
    """When the plan next charges, or discharges."""
    say, key = Say(facts), f"battery.next_{verb}"
    if key not in facts:
        return say.close(f"The plan does not {verb} the battery in its {say('plan.hours')}.")
    doing = f"battery.{verb[:-1]}ing"
    now = f"the battery {verb}s {say(doing)} now, and then" if facts.number(doing) >= 0.05 else f"the battery {verb}s"
    return say.close(f"{now} at {say.clock(key)}, with {say(key)}, as planned.")


def _use(say: Say) -> str:
    """From when on the plan discharges."""
    key = "battery.next_discharge"
    return f" (the plan discharges from {say.clock(key)})" if key in say.facts else ""


# --- machines ------------------------------------------------------------------------------


def _machines(say: Say) -> list[str]:
    """Who runs and who is off; the reason is the break-even against the price."""
    facts = say.facts
    names = facts.members("machine")
    on = [name for name in names if facts.number(f"machine.{name}.running") > 0]
    off = [name for name in names if name not in on]
    if facts.word("dispatch.origin") in ORIGINS:
        who = listed(say.bare(f"machine.{name}.name") for name in off)
        by = "" if "battery.capacity" in facts else f", because {_other_reason(say, '')}"
        return [*_running(say, on), *([f"{who} {_are(off)} off{by}"] if off else [])]
    below = [name for name in off if facts.number(f"machine.{name}.strike") <= facts.number("price.energy")]
    parts = _running(say, on)
    if below:
        keys = [f"machine.{name}.strike" for name in below]
        strikes = listed([*(say.bare(key) for key in keys[:-1]), say(keys[-1])])
        owner = "its break-even" if len(below) == 1 else "their break-evens"
        who = listed(say.bare(f"machine.{name}.name") for name in below)
        parts.append(f"{who} {_are(below)} off: power is at {say('price.energy')}, {owner} at {strikes}")
    why: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for name in off:
        if _unpriced(facts, name):
            unknown.setdefault(say(f"machine.{name}.strike"), []).append(name)
        elif name not in below:
            why.setdefault(_other_reason(say, name), []).append(name)
    for reason, alike in unknown.items():
        who = listed(say.bare(f"machine.{name}.name") for name in alike)
        parts.append(f"{who} {_are(alike)} off: what {'it earns' if len(alike) == 1 else 'they earn'} is {reason}")
    for reason, alike in why.items():
        parts.append(f"{listed(say.bare(f'machine.{name}.name') for name in alike)} {_are(alike)} off: {reason}")
    return parts


def _running(say: Say, names: list[str]) -> list[str]:
    """Who is on; with the count, where machines that have work are left off."""
    parts = []
    for name in names:
        key = f"machine.{name}"
        some = say.facts.number(f"{key}.running") < say.facts.number(f"{key}.available")
        count = f" ({say.bare(f'{key}.running')} of {say.bare(f'{key}.available')})" if some else ""
        parts.append(say.bare(f"{key}.name") + count)
    return [f"{listed(parts)} {_are(names)} on"] if parts else []


def _unpriced(facts: Facts, name: str) -> bool:
    """Whether what machines earn is not known, and no rule with a strike of its own has curtailed them."""
    key = f"machine.{name}"
    ruled = facts.word(f"{key}.rule") == "curtailed" and not facts.word(f"{key}.rule_strike")
    return bool(facts.word(f"{key}.strike")) and not ruled


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _other_reason(say: Say, name: str) -> str:
    """Why machines that would earn at this price are off, or not all on."""
    facts = say.facts
    origin = facts.word("dispatch.origin")
    if origin in ORIGINS:
        say("dispatch.origin")
        return ORIGINS[origin]
    if facts.word(f"machine.{name}.rule") == "curtailed":
        say(f"machine.{name}.rule")
        return f"its rule, with the strike at {say(f'machine.{name}.rule_strike')}, has curtailed it"
    if facts.number(f"machine.{name}.available") == 0.0:
        return "there is no work for it at this hour"
    if facts.number(f"machine.{name}.running") >= facts.number(f"machine.{name}.available"):
        return f"only {say.bare(f'machine.{name}.available')} have work at this hour"
    if facts.number("plan.import") >= facts.number("grid.import_limit") - 1.0:
        return f"the grid limit of {say('grid.import_limit')} goes to loads that earn more"
    return f"the plan ({say('plan.status')}) leaves the rest off"


def machine_sentence(facts: Facts, name: str) -> Sentence:
    """Why machines of a type are on or off, and when that changes."""
    say = Say(facts)
    key = f"machine.{name}"
    running, count = facts.number(f"{key}.running"), facts.number(f"{key}.count")
    earns = facts.number(f"{key}.strike") > facts.number("price.energy")
    shown = f"{say.bare(f'{key}.name')}: {say.bare(f'{key}.running')} of {say.bare(f'{key}.count')} machines on"
    unknown = facts.word(f"{key}.strike")
    even = f"what they earn is {say(f'{key}.strike')}" if unknown else f"break-even at {say(f'{key}.strike')}"
    power = f"power is at {say('price.energy')}, {even}"
    text = f"{shown}; {power}"
    if facts.word("dispatch.origin") in ORIGINS or (earns and running < count):
        text += f"; {_other_reason(say, name)}"
    elif not earns and not unknown and running > 0 and f"{key}.rule" not in facts:
        text += "; the plan runs them at a loss now"
    if f"{key}.rule" in facts:
        text += _rule(say, key)
    elif f"{key}.returns" in facts:
        text += f"; they return at {say.clock(f'{key}.returns')}, when power is expected at {say(f'{key}.returns')}"
    elif f"{key}.stops" in facts:
        text += f"; they stop at {say.clock(f'{key}.stops')}, when power is expected at {say(f'{key}.stops')}"
    elif running == 0.0 and "plan.hours" in facts:
        text += f"; they stay off in the {say('plan.hours')} of the plan"
    return say.close(text + ".")


def _rule(say: Say, key: str) -> str:
    """What an operator's rule waits for, and when that is expected."""
    off = say.facts.word(f"{key}.rule") == "curtailed"
    say(f"{key}.rule")
    if say.facts.word(f"{key}.rule_strike"):
        return f"; their rule {'keeps them off' if off else 'lets them run'}, its strike {say(f'{key}.rule_strike')}"
    side = "at or under" if off else "over"
    waits = (
        f"for {say(f'{key}.rule_intervals')}" if say.facts.number(f"{key}.rule_intervals") > 1.0 else "for an interval"
    )
    what = "keeps them off" if off else "lets them run"
    text = f"; their rule {what} until power has been {side} its strike of {say(f'{key}.rule_strike')} {waits}"
    turns = f"{key}.rule_turns"
    return text + (f" (expected at {say.clock(turns)})" if turns in say.facts else "")


# --- what comes ----------------------------------------------------------------------------


def change_sentences(facts: Facts, of: Container[str] | None = None) -> tuple[Sentence, ...]:
    """The next planned changes, or those of some loads: when, what, at which price, for how much money."""
    keys = (f"change.{i}" for i in facts.members("change"))
    return tuple(_change(facts, key) for key in keys if of is None or facts.word(f"{key}.what") in of)


def _change(facts: Facts, key: str) -> Sentence:
    say = Say(facts)
    kind = facts.word(f"{key}.kind")
    say(f"{key}.kind")
    if kind == "rests":
        what = "the battery comes to rest"
    elif kind in ("charges", "discharges"):
        what = f"the battery {kind} {say(f'{key}.after')}"
    else:
        span = f"from {say.bare(f'{key}.before')} to {say(f'{key}.after')}"
        what = f"{say.bare(f'{key}.what')} {kind} {span}"
    text = f"At {say.clock(f'{key}.price')} {what}, with power at {say(f'{key}.price')}{_crossing(say, key, kind)}"
    for side in ("brings",) if kind != "charges" else ("brings", "costs"):  # what else costs is forced by a limit
        if facts.number(f"{key}.{side}") >= 0.005:
            text += f": that {side} {say(f'{key}.{side}')} over its run"
    return say.close(text + ".")


def _crossing(say: Say, key: str, kind: str) -> str:
    """The break-even that the price passes, where that is why a machine type changes."""
    facts = say.facts
    what = facts.word(f"{key}.what")
    for name in facts.members("machine"):
        strike = f"machine.{name}.strike"
        if facts.word(f"machine.{name}.name") == what and not facts.word(strike):
            above = facts.number(f"{key}.price") > facts.number(strike)
            if above == (kind == "falls"):
                return f", {'above' if above else 'below'} its break-even of {say(strike)}"
    return ""


def spread_sentences(facts: Facts) -> tuple[Sentence, ...]:
    """Each purchase of the plan with the sale that follows: buy at x at 13:00, sell at y at 20:00."""
    out = []
    for i in facts.members("spread"):
        say, key = Say(facts), f"spread.{i}"
        buy = f"Buy {say(f'{key}.bought')} at {say(f'{key}.buy')} from {say.clock(f'{key}.buy')}"
        sell = f"sell {say(f'{key}.sold')} at {say(f'{key}.sell')} from {say.clock(f'{key}.sell')}"
        out.append(say.close(f"{buy}, {sell}: {say(f'{key}.left')} is left after losses and wear."))
    return tuple(out)


def curtail_sentences(facts: Facts) -> tuple[Sentence, ...]:
    """What could be dropped at once, and what customers were promised."""
    if "curtail.load" not in facts:
        return ()
    say = Say(facts)
    text = f"{say('curtail.load')} of load could be curtailed at once without breaking a promise"
    if facts.number("curtail.battery") > 0.5:
        text += f", and the battery could add {say('curtail.battery')}"
    if "curtail.reserved" in facts:
        text += f"; {say('curtail.reserved')} of this is sold as reserve"
    out = [say.close(text + ".")]
    for name in facts.members("customer"):
        say, key = Say(facts), f"customer.{name}"
        text = f"Customer {say.bare(f'{key}.name')} has {say(f'{key}.kw')} now and is slowed down by "
        text += f"{say(f'{key}.planned')} in the window that ends at {say.clock(f'{key}.planned')}"
        out.append(say.close(f"{text}; {say(f'{key}.allowed')} are allowed."))
    return tuple(out)


# --- who pays, what may go wrong, how old --------------------------------------------------


def tenant_sentence(facts: Facts, name: str) -> Sentence:
    """What a bidder got, what it pays, and whose loss the payment is."""
    say, key = Say(facts), f"bidder.{name}"
    if facts.number(f"{key}.asked") < 0.05:
        say(f"{key}.asked")
        return say.close(f"Bidder {say.bare(f'{key}.name')} asks for nothing now.")
    text = f"Bidder {say.bare(f'{key}.name')} gets {say.bare(f'{key}.kw')} of {say(f'{key}.asked')}"
    if facts.number(f"{key}.kw") < 0.05:
        below = "auction.price" in facts
        return say.close(text + (f": power clears at {say('auction.price')}." if below else "."))
    if name == "cooling":
        return say.close(f"{text}, for the loads that it cools: they pay for it")
    text += f", worth {say(f'{key}.value')} to it, and pays "
    if f"{key}.pays" not in facts:
        return say.close(f"{text}nothing: it is the site's own alternative, which others must outbid.")
    if facts.number(f"{key}.pays") < 0.005:
        return say.close(text + "nothing: nobody else would have paid for that power.")
    text += say(f"{key}.pays")
    if f"{key}.displaced" in facts:
        kw, value, taker = say(f"{key}.displaced_kw"), say(f"{key}.displaced_value"), say.bare(f"{key}.displaced")
        others = f"without it, {taker} would have had {kw} of that power, worth {value} there"
        unsold = f"{kw} of that power would stay unsold at the reserve price, which is worth {value} to the site"
        grid = f"without it the site would import {kw} less or export that much more, worth {value}"
        battery = f"without it the battery would charge with {kw} more, worth {value}"
        kinds = {"reserve": unsold, "grid": grid, "battery": battery}
        text += f": {kinds.get(facts.word(f'{key}.displaced'), others)}"
    return say.close(text + ".")


def others_sentence(facts: Facts, told: Container[str]) -> list[Sentence]:
    """What the bidders that pay nothing for it get, in one sentence: the site's own machines, jobs and battery."""
    say = Say(facts)
    rest = [name for name in facts.members("bidder") if name not in told and facts.number(f"bidder.{name}.kw") >= 0.05]
    if not rest:
        return []
    got = listed(f"{say.bare(f'bidder.{name}.name')} {say(f'bidder.{name}.kw')}" for name in rest)
    return [say.close(f"The site's own loads get the rest and pay nothing: {got}.")]


def most_sentence(facts: Facts, *, tenants: bool) -> Sentence:
    """Who pays most now, from most to least; of all bidders, or of the tenants alone."""
    say = Say(facts)
    paying = [name for name in facts.members("bidder") if facts.number(f"bidder.{name}.pays") >= 0.005]
    paying = [name for name in paying if not tenants or facts.word(f"bidder.{name}.is") == "tenant"]
    if not paying:
        return Sentence("Nobody pays for power now.")
    paying.sort(key=lambda name: -facts.number(f"bidder.{name}.pays"))
    shown = listed(f"{say.bare(f'bidder.{name}.name')} {say(f'bidder.{name}.pays')}" for name in paying)
    own = [name for name in paying if facts.word(f"bidder.{name}.is") != "tenant"]
    note = ""
    if own and len(own) < len(paying):
        names = listed(say.bare(f"bidder.{name}.name") for name in own)
        note = f"; {names} {_are(own)} the site's own: that is on paper only"
    return say.close(f"From most to least, they pay: {shown}{note}.")


def per_kwh_sentences(facts: Facts, names: list[str]) -> list[Sentence]:
    """What a kWh costs those who are named, or every tenant."""
    tenants = [name for name in facts.members("bidder") if facts.word(f"bidder.{name}.is") == "tenant"]
    out = []
    for name in names or tenants:
        say, key = Say(facts), f"bidder.{name}"
        if f"{key}.per_kwh" in facts:
            text = f"{say.bare(f'{key}.name')} pays {say(f'{key}.per_kwh')} now"
            out.append(say.close(f"{text}: {say(f'{key}.pays')} for {say(f'{key}.kw')}."))
        else:
            out.append(say.close(f"{say.bare(f'{key}.name')} pays nothing now."))
    return out or [Sentence("This site has no tenants.")]


def auction_sentence(facts: Facts) -> Sentence:
    """What was offered, and at which price it cleared."""
    say = Say(facts)
    if "auction.capacity" not in facts:
        return Sentence("There is no auction result.")
    text = f"The auction offers {say('auction.capacity')}"
    if "auction.price" in facts:
        text += f" and clears at {say('auction.price')}"
    if "auction.reserve" in facts:
        text += f"; nothing is sold below the reserve price of {say('auction.reserve')}"
    return say.close(text + ".")


def risk_sentence(facts: Facts) -> Sentence:
    """What the plan may bring, at worst and on average."""
    say = Say(facts)
    if "risk.floor" not in facts:
        return say.close(f"There are no risk figures: {say('risk.status')}." if "risk.status" in facts else "No risk.")
    text = f"The plan is expected to bring {say('risk.expected')} over {say('plan.hours')}; "
    text += f"in {say('risk.level')} of {say.bare('risk.paths')} simulated price paths it brings at least "
    text += f"{say('risk.floor')} (VaR {say('risk.var')}), and in the worst {say('risk.tail_share')} it brings "
    text += f"{say('risk.tail')} on average (CVaR {say('risk.cvar')}); "
    return say.close(text + f"the risk allows {say('risk.allowed')} of the power that is free to choose.")


def stale_sentence(facts: Facts) -> Sentence:
    """How old the data are, and what that means."""
    if facts.at is None:
        return Sentence(NO_DECISION)
    say = Say(facts)
    age = f"the newest price is {say('age.price')} old (from {say.clock('price.at')})"
    if "age.decision" in facts:
        age += f", the decision was made {say('age.decision')} ago"
    if facts.word("pilot.running") == "no":
        say("pilot.running")
        age += " and no pilot is running"
    if facts.stale:
        return say.close(f"Careful, the data are stale: {age}; what follows is as of then.")
    return say.close(f"The data are fresh: {age}.")
