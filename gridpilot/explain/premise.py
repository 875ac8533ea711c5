"""What a "why" takes for granted, held against the facts: where it is certainly not so, that is said first.

A claim is read from the clause behind "why" alone: a state (charging, off, curtailed, in override, exporting, at a
loss), or a number with its unit right behind what it is of. It is denied only where a fact decides it: of now, of the
decision in force at a clock time, or for prices and money of a stretch. What is a judgement ("so high"), a habit, a
part ("only some") or still to come is never denied; nor is anything while the data are stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
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
    r"\b(?:when|if|while|after|before|until|unless|because|though|although|than|instead of|rather than|but|even|"
    r"(?:and|or) (?:not|why|how|what|when))\b|[?!;,]|\.(?!\d)",
    re.IGNORECASE,
)
_OPEN = (  # what no fact of now decides
    r"\b(?:would|should|could|might|can|will|shall|need|must|ever|always|often|usually|sometimes|some|few|only|half|most|"
    r"many|part|partly|more|less|almost|nearly|about|around|so|too|plan\w*|expect\w*|forecast\w*|going to|reason|"
    r"means?|want\w*|allowed|possible|able)\b"
)
_NOT = r"\bnot\b|n['’]t\b|\bno longer\b|\bnever\b"
_STILL = r"(?:(?:is|are|was|were|'s|'re|not|now|still|currently|already|just|again|being|be) )*"
_SITE = r"\b(?:we|it|they|you|site|battery|batteries|batt)\b "
_LAST = r"(?= (?:now|again|today|yesterday|right|at (?:the|this|\d+)|on \d+|\d+|still|already|then)\b|\W*$)"
_FILL = (
    r"(?: (?:level|charge|now|still|only|already|just|is|are|was|were|at|to|on|go|goes|gone|going|went|up|down|rise|"
    r"rose|fall|fell|jump\w*|drop\w*|spik\w*|climb\w*|reach\w*|hit|charged|so|high|low|get|got|be|costs?|full|pays?|"
    r"paid|of|"
    r"(?P<over>over|above|more than|higher than)|(?P<under>under|below|less than|lower than)))* "
)
_NUMBER = (
    r"(?P<sign>[$€£]|usd |eur )?(?P<n>[-−]?\d[\d,]*(?:\.\d+)?) ?"
    r"(?P<unit>%|per ?cent|(?:\$|€|£|usd|eur|euros?|dollars?|bucks|index|cents?|ct|[kmg]?wh?)(?:(?:/| per | an? )"
    r"(?:mwh|kwh|w|h|hour|megawatt hour))?)?(?![\w%])"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The clause, lower case, and the facts of its time; `span` is the stretch of the past, `at` a clock time of it."""

    clause: str
    facts: Facts
    denied: bool
    span: When | None
    at: bool
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
    if not clause or facts.at is None or facts.stale or (time is not None and not time.past(facts.at)):
        return []
    past = in_the_past(clause) or has(r"\b(?:went|has|have)\b", clause)
    at = time is not None and time.moment
    then = facts.earlier if at else facts
    if then is None or then.at is None:
        return []
    span = None if at or not past else time or subject.past(asked, facts.at)
    one = _Asked(clause, then, has(_NOT, clause), span, at, time is None and not past)
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
    for claims in (_battery, _full, _machines, _served, _grid, _control, _curtailed):
        yield from claims(one)


# --- numbers ---------------------------------------------------------------------------------


def _stated(clause: str, what: str) -> re.Match[str] | None:
    """A number right behind what it is of."""
    return re.search(rf"(?:{what})(?:'s)?{_FILL}{_NUMBER}", clause)


def _number(found: re.Match[str], unit: str) -> float | None:
    """The number in the fact's unit; None where it has no unit, or one that may be another."""
    seen = (found["sign"] or "").strip() + (found["unit"] or "")
    seen = (
        re.sub(r"dollars?|bucks|usd", "$", re.sub(r"per ?cent", "%", seen)).replace("€", "eur").replace("euros", "eur")
    )
    seen = re.sub(r" per | an? ", "/", seen).replace("megawatt hour", "mwh").replace("/hour", "/h")
    value = float(found["n"].replace(",", "").replace("−", "-"))
    own = unit.lower().replace("usd", "$")
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
        named_time = "past.price_lowest" in facts and one.span is not None
        ends = tuple(f"{'past.price_' if named_time else 'price.'}{end}" for end in ("lowest", "highest"))
    some = ends[0].startswith("past.") and not _whole(one, "past.price_hours")
    if some or not all(key in facts for key in ends) or has(r"\bhash|\btoken|\bclearing|\breserve\b", one.clause):
        return
    values = [facts.number(key) for key in ends]

    def truth(say: Say) -> str:
        if len(ends) == 1:
            return f"power {one.be} at {say(ends[0])}"
        low, high = (f"{say(key)} at {say.clock(key)}" for key in ends)
        since = f"of the last {say('price.rank_days')}" if ends[0] == "price.lowest" else "of that time"
        return f"the prices {since} went from {low} to {high}"

    what = r"\bprices?|\bpower|\belectricity|\benergy|\bit cost"
    found = _stated(one.clause, what)
    stated = None if found is None else _number(found, facts[ends[0]].unit)
    if found is not None and stated is not None:
        yield _meets(found, stated, values[0], values[-1]), truth
    elif has(rf"(?:{what})\b.*\b(?:negative|below zero|under zero)\b|\bnegative prices?\b", one.clause):
        yield values[0] < 0.0, truth


_FIGURES: Final = (  # what it is of -> the facts that may be meant; the one that is not nothing, if there are two
    (r"\bbatter(?:y|ies)|\bbatt\b|\bsoc\b|\bstate of charge", ("battery.soc", "battery.stored")),
    (r"\bdischarg(?:e|es|ing)", ("battery.discharging",)),
    (r"\bcharg(?:e|es|ing)", ("battery.charging",)),
    (r"\b(?:import(?:s|ing)?|draw(?:s|ing)?)", ("grid.import",)),
    (r"\bexport(?:s|ing)?", ("grid.export",)),
    (r"\bload|\bconsumption", ("load.total",)),
    (r"\b(?:earn(?:s|ing)?|profit|mak(?:e|es|ing))", ("rate.profit",)),
)  # fmt: skip


def _figures(one: _Asked) -> Iterator[_Claim]:
    """A figure of the decision that is stated with its unit."""
    payers = [name for name in named(one.facts, "bidder", one.clause) if f"bidder.{name}.pays" in one.facts]
    if named(one.facts, "machine", one.clause) or (payers and not has(r"\bpay(?:s|ing)?\b", one.clause)):
        return
    of_one = tuple((r"\bpay(?:s|ing)?\b", (f"bidder.{name}.pays",)) for name in payers if len(payers) == 1)
    for what, keys in of_one or _FIGURES:
        found = _stated(one.clause, what)
        for key in keys if found is not None else ():
            stated = _number(found, one.facts[key].unit) if found is not None and key in one.facts else None
            if found is not None and stated is not None:
                value = one.facts.number(key)
                yield _meets(found, stated, value, value), _is(key, one)


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
        gap = abs(one.facts.number("battery.soc") - one.facts.number(limit))
        yield (
            (True if gap < 0.1 else False if gap > 2.0 else None),
            lambda say: (
                f"the battery {one.be} at {say('battery.soc')}, its limits are {say.bare('battery.soc_min')} to "
                f"{say('battery.soc_max')}"
            ),
        )


def _machines(one: _Asked) -> Iterator[_Claim]:
    """Machines that are on or off: of a type, or of all; where some are on and some off, only "all" is decided."""
    facts, clause = one.facts, one.clause
    off = has(rf"\b(?:off|stopped|idle|idling|down|switched off|shut down){_LAST}", clause)
    on = has(rf"\b(?:on|running|runs?|mining){_LAST}", clause)
    names, every = named(facts, "machine", clause), has(r"\b(?:all|every|everything|whole|entire|both)\b", clause)
    if not names and named(facts, "bidder", clause):
        return
    if not names and has(r"\bminers?\b|\bmining\b", clause):
        names = [name for name in facts.members("machine") if facts.word(f"machine.{name}.product") != "token"]
    elif not names and has(r"\bmachines?\b" + (r"|\beverything\b|\b(?:site|we)\b" if off else ""), clause):
        names, every = facts.members("machine"), every or not has(r"\bmachines?\b", clause)
    if on == off or not names or not all(f"machine.{name}.running" in facts for name in names):
        return
    if has(r"\bno(?:ne of)?(?: \w+)? (?:machines?|miners?)\b", clause):
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
        rf"{_SITE}{_STILL}{ways}ing\b|\b(?:do|does|don't|doesn't) (?:the )?{_SITE}(?:not )*{ways}\b", one.clause
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
    if "pilot.control" not in facts or named(facts, "machine", one.clause) or named(facts, "bidder", one.clause):
        return
    for mode, word in _MODES.items():
        there = rf"\b(?:in|under|by|there|on)(?: an?| the| any| operator's)* {word}\b(?! (?:page|button))"
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
    idle = has(r"\bbatt\w*\b.*\b(?:idle|idling|rest(?:ed|ing)?|unused|nothing)\b", one.clause)
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


def _loss(one: _Asked, newest: Facts) -> Iterator[_Claim]:
    """Money that is lost: an hour of now, or in a stretch of the past."""
    loss = r"\b(?:los(?:e|ing)|lost) money\b|\bat a loss\b|\bin the red\b|\b(?:mak\w+|made) (?:a |any )?loss"
    others = named(newest, "machine", one.clause) + named(newest, "bidder", one.clause)
    if others or not has(rf"(?:{loss}){_LAST}", one.clause) or has(_OPEN, one.clause):
        return
    if one.now or one.at:
        yield one.facts.number("rate.profit") < 0.0, lambda say: f"the profit {one.be} {say('rate.profit')}"
    elif one.span is not None and "past.profit" in one.facts:
        said = one.span.said
        yield (
            one.facts.number("past.profit") < 0.0,
            lambda say: f"{said} the site made {say('past.profit')} in {say('past.hours')} settled",
        )
