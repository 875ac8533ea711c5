"""What a "why" takes for granted, held against the facts: where it is certainly not so, that is said first.

A claim is read from the clause behind "why" alone: a state (charging, off, curtailed, in override, exporting, at a
loss), or a number with its unit right behind what it is of. It is denied only where a fact decides it: of now, of the
decision in force at a clock time, or for prices and money of a stretch. What is a judgement ("so high"), a habit ("do
we charge"), a part ("only some"), a change ("20 USD/MWh higher"), supposed or still to come is never denied; nor is
anything while the data are stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gridpilot.explain import sentences as tell
from gridpilot.explain import subject
from gridpilot.explain.fact import Facts
from gridpilot.explain.recall import dated
from gridpilot.explain.sentences import ORIGINS, Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import When, in_the_past

_WHY = re.compile(r"\b(?:why|how come|what is the reason)\b(.*)", re.IGNORECASE)
_ENDS = re.compile(  # of the clause
    r"\b(?:when|if|while|after|before|until|unless|because|though|although|despite|than|instead of|rather than|but|"
    r"even|(?:and|or) (?:not|why|how|what|when))\b|[?!;,]|\.(?!\d)",
    re.IGNORECASE,
)
_SUPPOSED = (  # what no fact decides
    r"\b(?:would|should|could|might|can|cannot|will|shall|need|must|ever|always|often|usually|normally|sometimes|plan\w*|"
    r"expect\w*|forecast\w*|predict\w*|going to|reason|means?|want\w*|allowed|possible|able)\b|\b(?:ca|wo)n['’]t\b"
)
# Parts and judgements decide no state.
_OPEN = r"\b(?:some|few|only|half|most|many|part|partly|more|less|almost|nearly|about|around|so|too)\b"
_HABIT = r"^ (?:do|does|don['’]t|doesn['’]t)\b(?!.*\b(?:now|currently|at the moment|at present)\b)"
_NONE = r"^(?: (?:is|are|was|were|there))* (?:no|none|neither|nothing|nobody|zero|0)\b"
_LONG_AGO = r"\b(?:years?|months?|quarter|season|spring|summer|autumn|winter|crisis|once|(?:19|20)\d\d)\b"
_NOT = r"\bnot\b|n['’]t\b|\bno longer\b|\bnever\b"
_STILL = r"(?:(?:is|are|was|were|'s|'re|not|now|still|currently|already|just|again|being|be) )*"
_SITE = r"\b(?:we|it|they|you|site|battery|batteries|batt)\b "
_LAST = (
    r"(?= (?:now|currently|again|today|yesterday|right now|at (?:the moment|present|this|\d+)|on (?:\d+|\w+day)|"
    r"this|last|\d+|still|already|then)\b|\W*$)"
)
_MOVES = r"(?: (?:go|goes|gone|went|up|down|rise|rose|fall|fell|jump\w*|drop\w*|spik\w*|climb\w*))*"  # to, or beyond
_FILL = (
    r"(?: (?:level|charge|now|still|only|already|just|is|are|was|were|at|reach\w*|hit|charged|so|high|low|get|got|be|"
    rf"costs?|full|pays?|paid|of)|{_MOVES} (?:(?P<to>to)|(?P<over>over|above|more than|higher than)|"
    r"(?P<under>under|below|less than|lower than)))* "
)
_NUMBER = (
    r"(?P<sign>[$€£]|usd |eur )?(?P<n>[-−]?\d+(?:\.\d+)?) ?"
    r"(?P<unit>%|per ?cent|(?:\$|€|£|usd|eur|euros?|dollars?|bucks|index|cents?|ct|[kmg]?wh?)(?:(?:/| per | an? )"
    r"(?:mwh|kwh|w|h|hour|megawatt hour))?)?(?![\w%])"
    rf"(?:{_LAST}|(?= from the grid\b))"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The clause, lower case, and the facts of its time; `span` is the stretch of the past, `at` a clock time of it."""

    clause: str
    facts: Facts
    denied: bool
    span: When | None
    at: datetime | None
    now: bool

    @property
    def be(self) -> str:
        return "is" if self.now else "was"


# Whether the claim holds (None: not decided), and what is so instead.
_Claim = tuple[bool | None, Callable[[Say], str]]


def deny(facts: Facts, asked: str, time: When | None) -> list[Sentence]:
    """That what the question takes for granted is not so, with what is; empty where it is, or is not certain.

    `time` is the time that the question names: one to come decides nothing.
    """
    clause = _clause(asked)
    if not clause or facts.at is None or facts.stale or has(_SUPPOSED, clause):
        return []
    past = in_the_past(clause) or has(r"\b(?:went|has|have)\b", clause)
    at = time.start if time is not None and time.moment else None
    span, then = None if at else time, facts.earlier if at else facts
    if then is None or then.at is None or (time is not None and not time.past(facts.at)):
        return []
    if not past and (span is not None or has(r"\btoday\b", clause)):  # some of it is to come, perhaps
        return []
    one = _Asked(clause, then, has(_NOT, clause), span, at, now=not past and not at)
    for claim, truth in _claims(one, facts):
        if claim is not None and claim == one.denied:
            say = Say(replace(then, at=facts.at))
            said = say.close(f"That {one.be} not so: {truth(say)}.")
            return [replace(said, citations=tuple(dated(key, then) for key in said.citations)) if at else said]
    return []


def _clause(asked: str) -> str:
    """What follows "why", up to a condition or a comparison."""
    why = _WHY.search(asked)
    return f" {_ENDS.split(why[1].strip() or ' ')[0].strip().lower()}" if why else ""


def _claims(one: _Asked, newest: Facts) -> Iterator[_Claim]:
    """What the clause claims. Set points say what is so only where they were carried out."""
    yield from _price(one)
    yield from _loss(one, newest)
    yield from _course(one)
    if not (one.now or one.at) or tell.control_sentence(one.facts) is not None:
        return
    yield from _figures(one)
    if has(_OPEN, one.clause):
        return
    yield from _served(one)
    if one.now and has(rf"{_HABIT}|\bat [$€£]?[-−]?\d", one.clause):  # what it does at a price, not what is so now
        return
    for claims in (_battery, _full, _machines, _grid, _control, _curtailed):
        yield from claims(one)


# --- numbers ---------------------------------------------------------------------------------


def _stated(clause: str, what: str) -> re.Match[str] | None:
    """A number right behind what it is of."""
    return re.search(rf"(?:{what})(?:'s)?{_FILL}{_NUMBER}", clause)


CENTS: Final = 2.0  # money below it, without a "per", may be of a kWh


def _number(found: re.Match[str], unit: str) -> float | None:
    """The number in the fact's unit; None where it has no unit, or one that may be another."""
    seen = (found["sign"] or "").strip() + (found["unit"] or "")
    seen = (
        re.sub(r"dollars?|bucks|usd", "$", re.sub(r"per ?cent", "%", seen)).replace("€", "eur").replace("euros", "eur")
    )
    seen = re.sub(r" per | an? ", "/", seen).replace("megawatt hour", "mwh").replace("/hour", "/h")
    value = float(found["n"].replace("−", "-"))
    own = unit.lower().replace("usd", "$")
    if own.endswith("/mwh") and "/" not in seen and abs(value) < CENTS:
        return None
    if seen and seen in (own, own.split("/")[0] if own.endswith(("/mwh", "/w")) else own):
        return value
    return 1000.0 * value if seen == f"m{own[1:]}" and own in ("kw", "kwh") else None


def _meets(found: re.Match[str], stated: float, low: float, high: float) -> bool:
    """Whether some value from `low` to `high` is what was stated, rounded as people do."""
    if found["over"]:
        return high > stated
    if found["under"]:
        return low < stated
    decimals = len(found["n"].partition(".")[2])
    near = max(0.02 * abs(stated), 0.5 * 10.0**-decimals)
    return low - near <= stated <= high + near


def _price(one: _Asked) -> Iterator[_Claim]:
    """The price of now, or the range of the prices of the time that is meant."""
    facts: Facts = one.facts
    ends: tuple[str, ...] = ("price.energy",)
    if not (one.now or one.at):
        ends = tuple(f"{'past.price_' if one.span else 'price.'}{end}" for end in ("lowest", "highest"))
    if not all(key in facts for key in ends) or has(_LONG_AGO, one.clause):
        return
    if (one.span and not _whole(one, "past.price_hours")) or (one.at and not _of_that_hour(facts, one.at)):
        return
    values = [facts.number(key) for key in ends]

    def truth(say: Say) -> str:
        if len(ends) == 1:
            return f"power {one.be} at {say(ends[0])}"
        low, high = (f"{say(key)} at {say.clock(key)}" for key in ends)
        since = f"of the last {say('price.rank_days')}" if ends[0] == "price.lowest" else "of that time"
        return f"the prices {since} went from {low} to {high}"

    found = _stated(one.clause, _PRICE)
    stated = None if found is None else _number(found, facts[ends[0]].unit)
    general = one.now and has(r"\bprices\b", one.clause)  # or rather of any time
    if found is not None and stated is not None:
        if not (one.now and found["to"]):
            yield _meets(found, stated, values[0], values[-1]), truth
    elif not general and has(rf"(?:{_PRICE}) (?:\w+ )*(?:negative|(?:below|under) zero){_LAST}", one.clause):
        yield values[0] < 0.0, truth


def _of_that_hour(facts: Facts, at: datetime) -> bool:
    """Whether the price of a decision is of the clock hour that is meant: later ones may have come without another."""
    return timedelta() <= at - facts["price.energy"].at.replace(minute=0, second=0) < timedelta(hours=1)


# The market's own; a word before it makes another one of it: the break-even price, hydro power, stored energy.
_PRICE: Final = (
    r"(?:^|\b(?:is|was|are|were|did|does|do|has|have|the|this|current|market|spot|energy|power|electricity|today's))"
    r" (?:prices?|power|electricity|energy)(?: prices?)?|\bit cost"
)
NEXT_H: Final = 1.0  # to the next decision, as a rule
_FIGURES: Final = (  # what it is of -> the facts that may be meant; the one that is not nothing, if there are two
    (r"\bbatter(?:y|ies)|\bbatt\b|\bsoc\b|\bstate of charge", ("battery.soc", "battery.stored")),
    (r"\bdischarging", ("battery.discharging",)),
    (r"\bcharging", ("battery.charging",)),
    (rf"\bimport(?:s|ing)?|\b(?:we|site) {_STILL}draw(?:s|ing)?", ("grid.import",)),
    (r"\bexport(?:s|ing)?", ("grid.export",)),
    (r"\b(?:the|our|total|site|site's) (?:load|consumption)", ("load.total",)),
    (rf"\b(?:we|site) {_STILL}(?:earn(?:s|ing)?|mak(?:e|es|ing))|\b(?:the|our|site's) profit", ("rate.profit",)),
)  # fmt: skip


def _figures(one: _Asked) -> Iterator[_Claim]:
    """A figure of the decision that is stated with its unit."""
    names = named(one.facts, "bidder", one.clause)
    if named(one.facts, "machine", one.clause) or len(names) > 1:
        return
    for what, keys in ((r"\bpay(?:s|ing)?\b", (f"bidder.{names[0]}.pays",)),) if names else _FIGURES:
        found = _stated(one.clause, what)
        for key in keys if found is not None and not found["to"] else ():
            stated = _number(found, one.facts[key].unit) if found is not None and key in one.facts else None
            if found is not None and stated is not None:
                low, high = _by_now(one, key)
                whole = one.facts.number("battery.capacity")  # "the 1 MWh battery"
                size = key == "battery.stored" and _meets(found, stated, whole, whole)
                yield None if size else _meets(found, stated, low, high), _is(key, one)


def _by_now(one: _Asked, key: str) -> tuple[float, float]:
    """A fact's number, from that at the decision to what its battery power may have made of it since."""
    value = one.facts.number(key)
    if key not in ("battery.soc", "battery.stored"):
        return value, value
    hours = NEXT_H if one.at is None or one.facts.at is None else (one.at - one.facts.at) / timedelta(hours=1)
    kwh = hours * one.facts.number("battery.power")
    moved = value + (kwh if key == "battery.stored" else 100.0 * kwh / one.facts.number("battery.capacity"))
    return min(value, moved), max(value, moved)


def _is(key: str, one: _Asked) -> Callable[[Say], str]:
    label = "payment" if key.endswith(".pays") else one.facts[key].label.split(",")[0].removesuffix(" now")
    return lambda say: f"the {label} {one.be} {say(key)}"


# --- states ----------------------------------------------------------------------------------


def _battery(one: _Asked) -> Iterator[_Claim]:
    facts, clause = one.facts, one.clause
    if "battery.power" not in facts:
        return
    doing = {verb: facts.number(f"battery.{verb}") >= 0.05 for verb in ("charging", "discharging")}
    doing["at rest"] = not any(doing.values())
    verb = next(verb for verb, does in doing.items() if does)

    def truth(say: Say) -> str:
        does = _rests(say) if verb == "at rest" else f"{verb} {say(f'battery.{verb}')}"
        return f"the battery {one.be} {does}"

    ways = re.search(
        rf"(?:{_SITE}{_STILL}|^ {_STILL})(dis)?charging{_LAST}|"
        rf"\b(?:do|does|did|don't|doesn't) (?:the )?(?:{_SITE.strip()}) (?:not |now )*(dis)?charge{_LAST}",
        clause,
    )
    if ways:
        yield doing["discharging" if ways[1] or ways[2] else "charging"], truth
    elif re.search(rf"\bbatt\w* {_STILL}(?:idle|idling|resting|at rest|holding|doing nothing|unused)\b", clause):
        yield doing["at rest"], truth


def _rests(say: Say) -> str:
    say("battery.charging")
    say("battery.discharging")
    return f"at rest, at {say('battery.soc')}" if "battery.soc" in say.facts else "at rest"


def _full(one: _Asked) -> Iterator[_Claim]:
    found = re.search(rf"\bbatt\w* {_STILL}(full|empty)\b", one.clause)
    limit = "" if found is None else "battery.soc_max" if found[1] == "full" else "battery.soc_min"
    if limit and limit in one.facts and "battery.soc" in one.facts:
        gap = min(abs(soc - one.facts.number(limit)) for soc in _by_now(one, "battery.soc"))
        yield (
            (True if gap < 0.1 else False if gap > 2.0 else None),
            lambda say: (
                f"the battery {one.be} at {say('battery.soc')}, its limits are {say.bare('battery.soc_min')} to "
                f"{say('battery.soc_max')}"
            ),
        )


_ALL = r"|\beverything\b|\bsite\b|\bwe\b(?!.*\bdown\b)"  # "we are down" is about money


def _machines(one: _Asked) -> Iterator[_Claim]:
    """Machines that are on or off: of a type, or of all; where some are on and some off, only "all" is decided."""
    facts, clause = one.facts, one.clause
    off = has(rf"\b(?:off|stopped|idle|idling|down){_LAST}", clause)
    on = has(rf"\b(?:on|running|runs?|mining){_LAST}", clause)
    names, every = named(facts, "machine", clause), has(r"\b(?:all|every|everything|whole|entire|both)\b", clause)
    if not names and named(facts, "bidder", clause):
        return
    if not names and has(r"\bminers?\b|\bmining\b", clause):
        names = [name for name in facts.members("machine") if facts.word(f"machine.{name}.product") != "token"]
    elif not names and has(rf"\bmachines?\b{_ALL if off else ''}", clause):
        names, every = facts.members("machine"), every or not has(r"\bmachines?\b", clause)
    if on == off or not names or not all(f"machine.{name}.running" in facts for name in names):
        return
    if has(_NONE, clause):
        on, off, every = off, on, True
    if one.denied:  # not all are on: some are off
        on, off, every = off, on, False
    runs = [(facts.number(f"machine.{name}.running"), facts.number(f"machine.{name}.count")) for name in names]
    none, full = all(n == 0.0 for n, _ in runs), all(n == of for n, of in runs)
    holds = (full if on else none) if every else not (none if on else full)

    def truth(say: Say) -> str:
        each = (
            f"{say.bare(f'machine.{name}.running')} of {say.bare(f'machine.{name}.count')} "
            f"{say.bare(f'machine.{name}.name')}"
            for name in names
        )
        return f"{listed(each)} machines {'are' if one.now else 'were'} on"

    yield holds != one.denied, truth


def _served(one: _Asked) -> Iterator[_Claim]:
    """A tenant without power, or one that pays nothing."""
    names = [name for name in named(one.facts, "bidder", one.clause) if one.facts.word(f"bidder.{name}.is") == "tenant"]
    if len(names) != 1:
        return
    key, shown = f"bidder.{names[0]}", f"bidder.{names[0]}.name"
    if has(rf"\b(?:off|without power|get no power|get nothing|get no energy){_LAST}", one.clause):
        yield (
            one.facts.number(f"{key}.kw") < 0.05,
            lambda say: f"{say.bare(shown)} {'gets' if one.now else 'got'} {say(f'{key}.kw')}",
        )
    elif has(r"\bpays? (?:nothing|no money|zero)\b|\bfor free\b", one.clause) and f"{key}.pays" in one.facts:
        yield (
            one.facts.number(f"{key}.pays") < 0.005,
            lambda say: f"{say.bare(shown)} {'pays' if one.now else 'paid'} {say(f'{key}.pays')}",
        )


def _grid(one: _Asked) -> Iterator[_Claim]:
    facts, ways = one.facts, r"(import|export|draw|buy|sell|deliver)"
    found = re.search(
        rf"(?:{_SITE}{_STILL}{ways}ing|\b(?:do|does|don't|doesn't) (?:the )?{_SITE}(?:not |now |currently )*{ways})"
        rf"(?! 0\b)(?:{_LAST}|(?= (?:power|energy|electricity|from|to)\b))",
        one.clause,
    )
    way = "" if found is None else found[1] or found[2]
    if way not in ("import", "export", "") and not has(r"\bgrid\b", one.clause):
        return
    if way and "grid.import" in facts and "grid.export" in facts:
        goes = "export" if way in ("export", "sell", "deliver") else "import"
        other = "export" if facts.number("grid.export") > 0.05 else "import"
        side = "delivery to" if other == "export" else "draw from"
        yield (
            facts.number(f"grid.{goes}") > 0.05,
            lambda say: say(f"grid.{goes}") and f"the {side} the grid {one.be} {say(f'grid.{other}')}",
        )


_MODES: Final = {
    "override": r"(?:manual )?override", "hold": r"(?:on )?hold", "failsafe": r"fail-?safe(?: state| mode)?",
    "estop": r"(?:emergency stop|e-?stop)",
}  # fmt: skip


def _control(one: _Asked) -> Iterator[_Claim]:
    """An override, a hold or a stop that is in force."""
    facts = one.facts
    others = named(facts, "machine", one.clause) + named(facts, "bidder", one.clause)
    if "pilot.control" not in facts or others or has(rf"\bbatt|{_NONE}", one.clause):
        return
    for mode, word in _MODES.items():
        there = rf"\b(?:in|under|by|on)(?: an?| the| any| operator's)* {word}\b(?! (?:page|button))"
        active = rf"\b{word} {_STILL}(?:active|in force|on|engaged)\b"
        if has(f"{there}|{active}" + (r"|\boverridden\b" if mode == "override" else ""), one.clause):
            yield facts.word("dispatch.origin") == mode or facts.word("pilot.control").lower() == mode, _mode


def _mode(say: Say) -> str:
    plan = "what was sent is the plan's, and no override, hold or stop is in force"
    say("pilot.control")
    say("dispatch.origin")
    return ORIGINS.get(say.facts.word("dispatch.origin"), plan)


def _curtailed(one: _Asked) -> Iterator[_Claim]:
    """A curtailment in force; where a rule has curtailed machines, that may be meant."""
    facts = one.facts
    ruled = any(facts.word(f"machine.{name}.rule") == "curtailed" for name in facts.members("machine"))
    if one.now and not ruled and "curtailments.n" in facts and has(rf"{_SITE}{_STILL}curtailed\b", one.clause):
        key = "last.curtailment_status" if "last.curtailment_status" in facts else "curtailments.n"
        yield facts.word(key) == "active", lambda say: say(key) and "no curtailment is in force"


def _whole(one: _Asked, hours: str) -> bool:
    """Whether the hours on record are all of the stretch: else what is not on record may be what is meant."""
    length = 0.0 if one.span is None else (one.span.end - one.span.start) / timedelta(hours=1)
    return one.facts.number(hours) >= 0.99 * length


def _course(one: _Asked) -> Iterator[_Claim]:
    """What the battery did in a stretch, and machines that are named: denied where it was never so."""
    facts, names = one.facts, named(one.facts, "machine", one.clause)
    if one.span is None or "past.covered" not in facts or has(_OPEN, one.clause):
        return
    said, sign, off = one.span.said, subject.turned(one.clause), subject.off(one.clause)
    idle = has(r"\bbatt\w*\b.*\b(?:(?:stay|remain)\w* (?:idle|at rest)|unused|nothing)\b", one.clause)
    if idle and not sign and "past.charged" in facts and "past.discharged" in facts:
        moved = facts.number("past.charged") + facts.number("past.discharged")
        yield (
            moved < 0.5,
            lambda say: f"{said} the battery charged {say('past.charged')} and discharged {say('past.discharged')}",
        )
    elif not _whole(one, "past.covered"):
        return
    elif sign and not names and f"past.{'charged' if sign > 0 else 'discharged'}" in facts:
        key = f"past.{'charged' if sign > 0 else 'discharged'}"
        yield facts.number(key) >= 0.5, lambda say: f"{said} the battery {key.removeprefix('past.')} {say(key)}"
    elif len(names) == 1 and off is not None and f"past.on_{names[0]}" in facts:
        ran, shown = f"past.on_{names[0]}", f"machine.{names[0]}.name"
        hours = facts.number(ran)
        was = hours < facts.number("past.covered") - 0.01 if off else hours > 0.0
        yield (  # `off` has heard a "not"
            was != one.denied,
            lambda say: f"{said} {say.bare(shown)} ran {say(ran)} of {say('past.covered')}",
        )


_PARTS = r"\b(?:machines?|min(?:ers?|ing)|hash\w*|inference|batt\w*|tenants?|customers?|jobs?|cooling|reserve)\b"


def _loss(one: _Asked, newest: Facts) -> Iterator[_Claim]:
    """Money that is lost: an hour of now, or in a stretch of the past."""
    loss = r"\b(?:los(?:e|ing)|lost) money\b|\bat a loss\b|\bin the red\b|\b(?:mak\w+|made) (?:a |any )?loss"
    others = named(newest, "machine", one.clause) + named(newest, "bidder", one.clause)
    if others or has(_PARTS, one.clause) or not has(rf"(?:{loss}){_LAST}", one.clause) or has(_OPEN, one.clause):
        return
    if one.now or one.at:
        lost = one.facts.number("rate.profit") < 0.0
        today = one.now and one.facts.number("pnl.profit") < 0.0  # that may be what is meant
        yield None if today else lost, lambda say: f"the profit {one.be} {say('rate.profit')}"
    elif one.span is not None and "past.profit" in one.facts:
        said = one.span.said
        yield (
            one.facts.number("past.profit") < 0.0,
            lambda say: f"{said} the site made {say('past.profit')} in {say('past.hours')} settled",
        )
