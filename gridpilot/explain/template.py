"""Answers to an operator's common questions, by keyword, from the facts alone. It cannot act.

A request to act, to tell a secret or to change its own rules is refused. What is asked is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gridpilot.explain import causes, course, happened, money, premise, refusal, stock, subject, tally, unkept, words
from gridpilot.explain import sentences as tell
from gridpilot.explain.fact import Facts, inert
from gridpilot.explain.sentences import Say, Sentence, listed
from gridpilot.explain.subject import has, named
from gridpilot.explain.when import FORMS, SEVERAL, Unclear, When, in_the_past, when
from gridpilot.monitor.health import ALL_OFF

__all__ = ["SUGGESTIONS", "Answer", "Sentence", "answer", "inert"]

SUGGESTIONS = (
    "What is the site doing, and why?",
    "What happens next, and when?",
    "Why are the machines on or off?",
    "How much money have we made today?",
    "What has happened so far today?",
    "What will happen tonight?",
    "What does power cost now, and is that high?",
    "How sure is the forecast?",
    "Who gets the power, and what do they pay?",
    "What could we lose?",
    "How old are the data, and is anything wrong?",
)
# What else a topic has, where a question is but a word.
MORE: Mapping[str, tuple[str, str]] = {
    "plan": ("What happens next, and when?", "What will happen tonight?"),
    "battery": ("When does the battery discharge next?", "How full is the battery?"),
    "soc": ("Why does the battery do that?", "When does the battery charge next?"),
    "price": ("When is power cheapest in the next day?", "What did power cost us today?"),
    "forecast": ("When is power cheapest in the next day?", "How good is the forecast?"),
    "risk": ("What does CVaR mean?", "How sure is the forecast?"),
    "machine": ("Why are the machines on or off?", "Which machine earns most?"),
    "money": ("Which machine earns most?", "What did power cost us today?"),
    "auction": ("How does the auction work?", "What does each tenant pay per kWh?"),
    "stale": ("What has happened so far today?", "Where do the prices come from?"),
    "grid": ("What is the grid limit?", "What was the peak demand today?"),
    "next": ("What will happen tonight?", "Is the plan optimal?"),
    "now": ("Why are the machines on or off?", "How much money have we made today?"),
}
LONGEST_QUESTION = 2000
DECIDES_NOTHING = ("when", "what-if", "unkept", "help")  # topics whose questions take nothing for granted
SHORT = 4  # words: what is but a time ("yesterday at 20:00?") is about the site
ANY = r"\w"  # a topic whose reply itself knows whether it has something to say

KNOWS = "I explain the newest decision, the past week and the plan ahead from the ledger. You can ask: "
UNKNOWN = "I do not know that. " + KNOWS

_SPENT = r"\bwear\b|\bbills?\b|\bspen[dt]\b|\bspending\b|\bexpens(es|e)\b"
_HANDOVER = r"\bshift\b|\bhand ?over\b|\btak(?:e|ing) over\b|\bbrief\w*\b|\bshould (?:i|we) know\b|\boverview\b"
_FORECAST = r"forecast|predict|foresee|foresaw|expected|\bbands?\b"
_ABOUT = re.compile(
    r"\bnumbers?\b|\bfigures?\b|\bresults?\b|\breport\b|\bhappen|\bplan|\bdo(ing|es)?\b|\bdid\b|price|\bcost|power|"
    r"batter|charg|machine|miner|load|\bearn|\bmade?\b|"
    r"\bmake\b|money|profit|\blos[et]|\bwhy\b|site|\brun|\bran\b|\bon\b|\boff\b|decision|decide|expect|cheap|dear|"
    r"what (was|is|about|comes)|\bso far\b|\bgo(es|ing)? on\b|went",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, with the facts behind it. `topic` names the matched kind of question."""

    text: str
    sentences: tuple[Sentence, ...]
    citations: tuple[str, ...]
    topic: str
    refused: bool = False


def answer(question: str, facts: Facts) -> Answer:
    """Answer from the facts, or say what can be asked. Where data are stale, their age comes first."""
    asked = subject.spelled(" ".join(question[:LONGEST_QUESTION].replace("’", "'").split()))
    if (refused := refusal.of(question[:LONGEST_QUESTION])) is not None:
        return _pack(refused[0], [Sentence(refused[1])], refused=True)
    if facts.at is None:
        return _pack("none", [Sentence(tell.NO_DECISION)])
    topic, said = _reply(facts, asked)
    time = when(asked, facts.at)
    if topic not in DECIDES_NOTHING and not isinstance(time, Unclear):
        said = [*premise.deny(facts, asked, time), *said]
    if _bare(asked):
        said = _short(topic, said)
    if facts.stale and topic not in ("stale", "help", "unknown"):
        said = [tell.stale_sentence(facts), *said]
    return _pack(topic, said)


def _bare(asked: str) -> bool:
    """Whether it is but a word: "plan", "the battery?"."""
    return has(r"^\W*(?:the |our |my )?[\w&-]+\W*$", asked)


def _short(topic: str, said: list[Sentence]) -> list[Sentence]:
    """The first three sentences, and what else can be asked of that."""
    more = MORE.get(topic, ())
    return [*said[:3], Sentence(f"You can also ask: {' '.join(more)}")] if more else said


def _reply(facts: Facts, asked: str) -> tuple[str, list[Sentence]]:
    """The first topic that fits the question and has something to say."""
    for topic, pattern, reply in TOPICS:
        said = reply(facts, asked) if re.search(pattern, asked, re.IGNORECASE) else []
        if said:
            return topic, said
    if _bare(asked) and (meaning := words.meaning(facts, f"what is {asked}?")):
        return "word", meaning
    return "unknown", [Sentence(UNKNOWN + _suggested())]


def _pack(topic: str, said: list[Sentence], *, refused: bool = False) -> Answer:
    cited = tuple(dict.fromkeys(key for sentence in said for key in sentence.citations))
    return Answer(" ".join(sentence.text for sentence in said), tuple(said), cited, topic, refused)


def _suggested() -> str:
    return " ".join(SUGGESTIONS)


# --- one reply for each topic --------------------------------------------------------------


def _now(facts: Facts, asked: str) -> list[Sentence]:
    wrong = _stale(facts, asked) if has(_HANDOVER, asked) else []
    return [tell.now_sentence(facts), *wrong, *tell.change_sentences(facts)[:1]]


def _battery(facts: Facts, asked: str) -> list[Sentence]:
    trouble = tell.control_sentence(facts)
    return [*([trouble] if trouble else []), *_not_so(facts, asked), tell.battery_sentence(facts)]


def _not_so(facts: Facts, asked: str) -> list[Sentence]:
    """What the question takes for granted of the battery, where it is not so."""
    if "battery.power" not in facts:
        return []
    for verb, pattern in (("discharging", r"\bdischarg"), ("charging", r"\bcharg")):
        if has(pattern, asked):
            does = facts.number(f"battery.{verb}") >= 0.05
            told = f"It is {verb} now." if does else f"It is not {verb} now."
            doubted = has(r"\bnot\b|n't\b", asked)
            denied = has(r"\bwhy\b", asked) and does == doubted  # before anything else is said
            return [] if denied or (does and not doubted) else [Sentence(told, (f"battery.{verb}",))]
    return []


def _machine(facts: Facts, asked: str) -> list[Sentence]:
    own = named(facts, "machine", asked)
    if not own and _bare(asked) and "machines.count" in facts:  # in short; another word has its meaning
        return [stock.machines(facts)] if has(r"\bmachines?\b|\bminers?\b", asked) else []
    general = re.search(r"\b(machines?|miners?|mining|break[ -]?evens?|strikes?|strike price)\b", asked, re.IGNORECASE)
    chosen = own or (facts.members("machine") if general else [])
    trouble = tell.control_sentence(facts) if chosen else None
    return [*([trouble] if trouble else []), *(tell.machine_sentence(facts, name) for name in chosen)]


def _bidder(facts: Facts, asked: str) -> list[Sentence]:
    """What each named one has; asked for a time, with its planned changes."""
    chosen = named(facts, "bidder", asked)
    later = re.search(r"\bwhen\b|\bnext\b|\bwill\b", asked, re.IGNORECASE) is not None
    names = {facts.word(f"bidder.{name}.name") for name in chosen} if later else set()
    changes = tell.change_sentences(facts, names)
    none = [Sentence("Its next change is not among the next three of the plan: see Plan.")] if names else []
    return [*(tell.tenant_sentence(facts, name) for name in chosen), *(changes or none)]


def _auction(facts: Facts, asked: str) -> list[Sentence]:
    chosen = named(facts, "bidder", asked)
    if has(r"\bper kwh\b|\bper unit\b|\brates?\b|\btariff", asked):
        return tell.per_kwh_sentences(facts, chosen)
    if (
        not chosen
        and not has(r"\bgets?\b|\bbids?\b", asked)
        and has(r"\b(?:most|best|biggest|largest|top|highest|least)\b", asked)
    ):
        tenants_only = has(r"\btenants?\b|\bcustomers?\b", asked)
        return [tell.most_sentence(facts, tenants=tenants_only), tell.auction_sentence(facts)]
    tenants = [name for name in facts.members("bidder") if facts.word(f"bidder.{name}.is") == "tenant"]
    if not chosen and tenants and has(r"\btenants?\b|\bcustomers?\b", asked):
        return [tell.tenant_sentence(facts, name) for name in tenants]
    told = chosen or [name for name in facts.members("bidder") if name in tenants or f"bidder.{name}.pays" in facts]
    rest = [] if chosen else tell.others_sentence(facts, told)
    return [tell.auction_sentence(facts), *(tell.tenant_sentence(facts, name) for name in told), *rest]


def _control(facts: Facts, asked: str) -> list[Sentence]:
    sent = "dispatch.status" in facts and tell.control_sentence(facts) is None
    if sent and has(r"\bobey|\btold\b|\bsen[dt]\b", asked):
        say = Say(facts)
        return [say.close(f"The newest set points are: {say('dispatch.status')}."), tell.mode_sentence(facts)]
    return [tell.mode_sentence(facts)]


def _grid(facts: Facts, asked: str) -> list[Sentence]:
    if any(named(facts, group, asked) for group in ("machine", "bidder")):
        return []  # a topic of its own tells of one that is named
    why = re.search(r"\bwhy\b", asked, re.IGNORECASE) is not None
    return [tell.grid_sentence(facts), *([tell.now_sentence(facts)] if why else [])]


def _next(facts: Facts, asked: str) -> list[Sentence]:
    changes = tell.change_sentences(facts)
    if turn := re.search(r"\b(dis)?charg", asked, re.IGNORECASE):
        return [tell.turn_sentence(facts, "discharge" if turn[1] else "charge")]
    say = Say(facts)
    return list(changes) or [say.close(f"Nothing changes in the {say('plan.hours')} of the plan.")]


def _spread(facts: Facts, asked: str) -> list[Sentence]:
    none = Sentence("The plan does not buy energy to sell it later: no spread in it pays for losses and wear.")
    return list(tell.spread_sentences(facts)) or [none]


def _at_time(facts: Facts, asked: str) -> list[Sentence]:
    """What was or will be at the time that the question names, where it is about the site."""
    time = _time(facts, asked)
    if isinstance(time, Unclear):
        return [Sentence(f"{time.why} {FORMS}")]
    if time is None or facts.at is None:
        return []
    market = has(r"\bwhy (?:is|was|are|were|did|does|will)\b(?: \w+){0,2} prices?\b", asked)
    cause = [Sentence(unkept.NO_CAUSE)] if market else []
    if not time.past(facts.at) and has(r"\brisk|\blose\b|\bgo wrong\b|\bworst\b|\bbands?\b", asked):
        return []  # these are of the whole plan
    foreseen = re.search(_FORECAST, asked, re.IGNORECASE) is not None
    return cause + course.about(facts, asked, time, facts.at, foreseen=foreseen)


def _code(facts: Facts, asked: str) -> list[Sentence]:
    """The flag whose code the question holds."""
    code = re.search(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", asked)
    if code is None:
        return []
    say = Say(facts)
    told = [key for i in facts.members("flag") if code[0] in facts[key := f"flag.{i}.message"].label]
    if not told:
        return [Sentence("No such flag stands in the newest decision: the alarm log on Health has earlier ones.")]
    return [say.close(f"Warning: {say(key)}.") for key in told]


def _no_time(facts: Facts, asked: str) -> list[Sentence]:
    """What is not understood of the time that the question names; several times are a model's to tell apart."""
    time = _time(facts, asked)
    return _at_time(facts, asked) if isinstance(time, Unclear) and time.why != SEVERAL else []


def _time(facts: Facts, asked: str) -> When | Unclear | None:
    """The time that a question about the site names."""
    if facts.at is None:
        return None
    topics = (pattern for _, pattern, _ in TOPICS if pattern != ANY)
    known = (
        len(asked.split()) <= SHORT
        or _ABOUT.search(asked)
        or any(named(facts, group, asked) for group in ("machine", "bidder"))
    )
    known = known or any(re.search(pattern, asked, re.IGNORECASE) for pattern in topics)
    return when(asked, facts.at) if known else None


def _money(facts: Facts, asked: str) -> list[Sentence]:
    """The site's money now and today; of one that is named, its own topic tells."""
    if any(named(facts, group, asked) for group in ("machine", "bidder")):
        return []
    say = Say(facts)
    earns = f"The site earns {say('rate.profit')} now, {say('rate.gain')} against every machine always on"
    income = [("rate.machines", "machines"), ("rate.tenants", "tenants"), ("rate.jobs", "jobs")]
    income += [("rate.export_income", "export")]
    costs = [("rate.import_cost", "import"), ("rate.wear", "battery wear")]
    parts = [
        listed(f"{name} {say(key)}" for key, name in side if abs(facts.number(key)) >= 0.005)
        for side in (income, costs)
    ]
    text = earns + (f": {parts[0]}" if parts[0] else "") + (f", less {parts[1]}" if parts[1] else "") + "."
    out = [say.close(text)]
    say = Say(facts)
    if "pnl.profit" in facts:
        today = f"Today it has made {say('pnl.profit')} in {say('pnl.hours')} settled"
        out.append(say.close(f"{today}, {say('pnl.gain')} against always on."))
        if re.search(_SPENT, asked, re.IGNORECASE):
            say = Say(facts)
            spent = f"Today power from the grid has cost {say('pnl.import')} and battery wear {say('pnl.wear')}"
            out.append(say.close(f"{spent}; power to the grid has brought {say('pnl.export')}."))
    else:
        out.append(Sentence("Nothing is settled today yet: that comes with the next cycle."))
    return out


def _price(facts: Facts, asked: str) -> list[Sentence]:
    """What power costs, and how that is among the last prices; the causes of the market's price are not on record."""
    if has(r"\bcharg|\bstor(e|ing)\b", asked):
        return []  # the battery's sentence has what storing costs
    only = next((name for name in ("hash", "token") if has(rf"\b{name} ?price", asked)), "")
    if only and f"price.{only}" in facts:
        say = Say(facts)
        return [say.close(f"The {only} price is {say(f'price.{only}')}.")]
    why = [Sentence(unkept.NO_CAUSE)] if has(r"\bwhy\b", asked) else []
    say = Say(facts)
    text = f"Power costs {say('price.energy')} since {say.clock('price.energy')}"
    if "price.rank" in facts:
        text += f"; {say('price.rank')} of the prices of the last {say('price.rank_days')} were lower"
        text += f" (mean {say.bare('price.mean')}, {say.bare('price.lowest')} to {say('price.highest')})"
    out = [*why, say.close(text + ".")]
    if "price.highest" in facts and has(r"\bhighest\b|\blowest\b|\bspikes?\b|\bever\b|\bunusual", asked):
        say = Say(facts)
        high, low = (f"{say(f'price.{end}')} at {say.clock(f'price.{end}')}" for end in ("highest", "lowest"))
        out.append(say.close(f"The highest of them was {high}, the lowest {low}."))
    for product in ("hash", "token") if not why and has(r"\bprices\b", asked) else ():
        if f"price.{product}" in facts:
            say = Say(facts)
            out.append(say.close(f"The {product} price is {say(f'price.{product}')}."))
    return out


def _forecast(facts: Facts, asked: str) -> list[Sentence]:
    if has(r"\bspikes?\b", asked) and in_the_past(asked):
        return _price(facts, asked)
    if has(r"\bwhy\b", asked) and not has(_FORECAST + r"|price|\bpower\b|\bit\b|\bcost", asked):
        return []  # why something else goes up or down
    if has(r"\b(?:which|what|who|how)\b.*\b(?:model|method|makes?|made)\b", asked):
        say = Say(facts)
        return [say.close(f"The forecast is made by: {say('forecast.method')}."), *_missed(facts)]
    quality = has(r"\baccura|\bmae\b|\bbias|\bhow good|\bwrong\b|\berrors?\b|\bright\b|\bmiss", asked)
    return [*([] if quality else [_foretold(facts)]), *_missed(facts)]


def _foretold(facts: Facts) -> Sentence:
    """Where the forecast is lowest and highest."""
    say = Say(facts)
    ends = []
    for name in ("lowest", "highest"):
        key = f"forecast.{name}"
        band = f"{say.bare(f'{key}_lower')} to {say(f'{key}_upper')}"
        ends.append(f"{name} at {say.clock(key)}, {say(key)} (band {band})")
    text = f"Over the next {say('forecast.hours')} the price is forecast {listed(ends)}; the band is made to hold "
    return say.close(f"{text}{say('forecast.level')} of the prices. Method: {say('forecast.method')}.")


def _missed(facts: Facts) -> list[Sentence]:
    """How far forecasts have missed."""
    out = []
    say = Say(facts)
    if "forecast.error" in facts:
        text = f"The forecast's mean error on {say('forecast.days')} that it had not seen is {say('forecast.error')}."
        out.append(say.close(text))
    say = Say(facts)
    if "forecast.live_error" in facts:
        held = f"{say('forecast.live_inside')} of {say.bare('forecast.live_n')} prices were inside the band"
        text = f"The newest recorded forecasts missed by {say('forecast.live_error')} on average; {held}."
        out.append(say.close(text))
    return out


def _risk(facts: Facts, asked: str) -> list[Sentence]:
    out = [tell.risk_sentence(facts)]
    if has(r"draw ?down", asked) and "risk.drawdown" in facts:
        say = Say(facts)
        out.insert(0, say.close(f"The largest drawdown is {say('risk.drawdown')}."))
    return out


def _stale(facts: Facts, asked: str) -> list[Sentence]:
    out = [tell.stale_sentence(facts)]
    if has(r"\bold\b|\bage\b|\bfresh|\blive\b|\bupdated?\b|up to date", asked) and not has(r"\bwrong\b|alarm", asked):
        return out
    trouble = tell.control_sentence(facts)
    if trouble is not None:
        out.append(trouble)
        say = Say(facts)
        if "pilot.advice" in facts:
            out.append(say.close(say("pilot.advice")))
    for i in facts.members("flag"):
        say = Say(facts)
        out.append(say.close(f"Warning: {say(f'flag.{i}.message')}."))
    return out if len(out) > 1 else [*out, Sentence("Nothing is flagged as wrong.")]


def _soc(facts: Facts, asked: str) -> list[Sentence]:
    say = Say(facts)
    if "battery.soc" not in facts:
        return [Sentence("The state of charge is not known.")]
    if has(r"\bm(?:in|ax)(?:imum)?\b|\blimits?\b", asked):
        return [say.close(f"The battery's limits are {say.bare('battery.soc_min')} to {say('battery.soc_max')}.")]
    limits = f"its limits are {say.bare('battery.soc_min')} to {say('battery.soc_max')}"
    stored = f"{say('battery.stored')} of {say('battery.capacity')}"
    return [say.close(f"The battery is at {say('battery.soc')}, {stored}; {limits}."), tell.battery_sentence(facts)]


def _limits(facts: Facts, asked: str) -> list[Sentence]:
    """Limits that the plan's first step touches; the shadow price says what the grid limit costs."""
    say = Say(facts)
    found = []
    for way in ("import", "export"):
        limit = facts.number(f"grid.{way}_limit")
        if limit > 0.0 and facts.number(f"plan.{way}") >= limit - 0.5:
            found.append(f"the grid {way} limit of {say(f'grid.{way}_limit')}")
    for verb, doing in (("charge", "charging"), ("discharge", "discharging")):
        limit = facts.number(f"battery.{verb}_limit")
        if limit > 0.0 and facts.number(f"battery.{doing}") >= limit - 0.5:
            found.append(f"the battery's {doing} limit of {say(f'battery.{verb}_limit')}")
    soc = facts.number("battery.soc")
    if soc <= facts.number("battery.soc_min") + 0.1:
        found.append(f"the lowest state of charge, {say('battery.soc_min')}")
    if soc >= facts.number("battery.soc_max") - 0.1:
        found.append(f"the highest state of charge, {say('battery.soc_max')}")
    for name in facts.members("machine"):
        key = f"machine.{name}"
        if 0.0 < facts.number(f"{key}.available") <= facts.number(f"{key}.running"):
            found.append(f"the stock of {say.bare(f'{key}.name')}, {say.bare(f'{key}.available')} machines with work")
    text = f"These limits bind now: {listed(found)}" if found else "No limit binds now"
    if "plan.power_price" in facts:
        text += f"; more site power would be worth {say('plan.power_price')}"
    return [say.close(text + ".")]


def _curtail(facts: Facts, asked: str) -> list[Sentence]:
    if has(r"\bhow long\b", asked):
        return [Sentence("A curtailment lasts as long as it was asked for: its end stands on Dispatch.")]
    if in_the_past(asked):
        where = "What was curtailed, and what the meter read of it, stands on Dispatch under Curtailments."
        return [Sentence(where)] if has("curtail", asked) else []
    off = facts.word("pilot.control") in ALL_OFF  # then there is nothing to curtail
    trouble = tell.control_sentence(facts) if off else None
    return [trouble] if trouble else list(tell.curtail_sentences(facts))


def _source(facts: Facts, asked: str) -> list[Sentence]:
    say = Say(facts)
    text = f"Prices come from the source {say('source.name')}"
    text += f": {say('source.credit')}" if "source.credit" in facts else ""
    return [say.close(f"{text}; readings of the site: {say('source.state')}.")]


def _plan(facts: Facts, asked: str) -> list[Sentence]:
    say = Say(facts)
    text = f"The plan is {say('plan.status')}, made by {say('plan.method')} in {say('plan.solve_time')}"
    if "plan.objective" in facts:
        text += f"; over its {say('plan.hours')} it is worth {say('plan.objective')}"
    if has(r"\bsolver|\bhow long\b|\bworth\b|objective|\boptim", asked):
        return [say.close(text + ".")]
    return [say.close(text + "."), *tell.spread_sentences(facts), *tell.change_sentences(facts)]


def _what_if(facts: Facts, asked: str) -> list[Sentence]:
    first = Sentence("I do not compute what would be: the what-if panel on the Plan page does. The break-evens are:")
    if has(r"\blose\b|\bworst\b|\bbad case\b", asked) and not has(r"\bif\b", asked):
        return []  # that is simulated
    if has(r"\bbids?\b|\bbidding\b", asked):
        return [Sentence("I do not compute what would be: the Auction page tries other bids, and sends nothing.")]
    out = [first]
    for name in facts.members("machine"):
        say = Say(facts)
        out.append(say.close(f"{say.bare(f'machine.{name}.name')} {say(f'machine.{name}.strike')}."))
    return out


def _help(facts: Facts, asked: str) -> list[Sentence]:
    return [Sentence(KNOWS + _suggested())]


Reply = Callable[[Facts, str], list[Sentence]]

# The first pattern that is found, and whose reply has something to say, answers.
TOPICS: tuple[tuple[str, str, Reply], ...] = (
    (
        "help",
        r"\bhelp\b|what can (you|i)\b|what do you know|suggest|example|who are you|^\W*(hello|hi|hey|"
        r"thanks?)( (you|there|all))?\W*$",
        _help,
    ),
    ("money", ANY, money.perfect),
    ("what-if", r"\bwhat if\b|\bsuppose\b|\bif (the |power |it )|what would|how much would", _what_if),
    ("unkept", ANY, unkept.reply),
    ("flag", ANY, _code),
    ("word", ANY, words.meaning),
    ("money", ANY, causes.reply),
    ("money", ANY, money.compare),
    ("when", ANY, _no_time),
    ("happened", ANY, happened.reply),
    ("ahead", ANY, tally.crossing),
    ("money", ANY, money.reply),
    ("count", ANY, tally.reply),
    ("at", ANY, _at_time),
    ("stock", ANY, stock.reply),
    ("limits", ANY, stock.connection),
    (
        "source",
        r"\bfrom where\b|where (do|does|are|is)\b.*\b(from|come)|credit|licen[cs]e|attribution|data source|"
        r"\b(is|are) (this|it|that|these|they) (real|simulated|a simulation)\b|\breal (data|prices|money|machines)\b|"
        r"which (market|source)",
        _source,
    ),
    (
        "forecast",
        r"forecast|predict|\bspikes?\b|\bprices? peak|\bpeak price|\bmae\b|\bbias|cheapest|dearest|most expensive|"
        r"how (sure|certain|confident)|confiden|uncertain|\bbands?\b|\berrors?\b|accura|"
        r"\bprices?\b.*\b(go|going|goes|come|coming) (up|down)\b|\bris(e|ing)\b",
        _forecast,
    ),
    (
        "curtail",
        r"curtail|(could|can) (be|we) (shed|drop|curtail)|interruptible|(?<!best )customers?\b|service level|\bsla\b|"
        r"slow(ed)?[ -]?down",
        _curtail,
    ),
    (
        "risk",
        r"\brisk|\bpaths?\b|\bscenario|\bc?var\b|worst|\blose\b|\bgo wrong\b|\btail\b|drawdown|\bbad case\b",
        _risk,
    ),
    (
        "soc",
        r"\bsoc\b|state of charge|marginal value|energy worth|worth of (stored )?energy|"
        r"how full|stored|\bempty\b|battery level|energy (is )?left",
        _soc,
    ),
    ("limits", r"\blimits?\b|\bbind|bottleneck|constrain|shadow", _limits),
    (
        "auction",
        r"auction|\bwho (gets|has|pays)|\bbest customer|\bserved\b|\bper kwh\b|\btariff|\bpa(y|ys|ying|yments?|id)\b|"
        r"tenants?|"
        r"bidders?|"
        r"\bbids?\b|clearing|reserve price",
        _auction,
    ),
    (
        "stale",
        r"stale|\blive\b|\bupdated\b|\bhow old\b|\bage\b|\bfresh|up to date|\bwrong\b|alarm|problem|warning|\bflag|"
        r"broken|"
        r"health|trust|\bfeed\b|^\W*(?:the )?data\W*$|\b(everything|all) (ok|okay|fine|right|good|well)\b",
        _stale,
    ),
    (
        "control",
        r"in control|\bin charge\b|\bon hold\b|\bobey|\bas (they|it) (was|were) told|\bwhat (was|did we) sen[dt]\b|"
        r"\b(is|are) (the site|we|everything) (stopped|off|on hold)\b|overr(id|ule)|\bmode\b|e-?stop\b|emergency|"
        r"fail-?safe|by hand",
        _control,
    ),
    ("plan", r"\bsolver|\boptim|objective", _plan),
    ("spread", r"spread|arbitrage|buy (low|at|and)|sell at", _spread),
    (
        "money",
        r"money|\bgain\b|\balways on\b|\bdoing nothing\b|\bearn|profit|p ?& ?l\b|\bpnl\b|\bmargins?\b|revenue|income|"
        r"\bmade\b|\bmaking\b|\bmake\b|per hour|" + _SPENT,
        _money,
    ),
    (
        "grid",
        r"\b(ex|im)port(s|ing|ed)?\b|\bsell(ing)?\b|\bbuying\b|\bdraw(s|n|ing)?\b|\bload\b|consum|how much power|"
        r"\bgrid\b",
        _grid,
    ),
    ("next", r"\bnext\b|upcoming|what (comes|happens|follows)|going to happen|what changes|later\b", _next),
    (
        "machine",
        r"\bwhy\b|\bon\b|\boff\b|\bwhen\b|running|\bruns?\b|stopp|break[ -]?even|strike|machine|miner|mining",
        _machine,
    ),
    ("price", r"\bprices?\b|\bcosts?\b|expensive|cheap|hashprice|electricity", _price),
    ("battery", r"batter|\bcharg|discharg|\bhold|\bidle|\brest", _battery),
    ("plan", r"\bplan(ned|s)?\b", _plan),
    ("machine", ANY, _machine),
    ("bidder", ANY, _bidder),
    ("next", r"\bwhen\b|\bsoon\b", _next),
    (
        "now",
        r"\bdoing\b|\bstatus\b|what is (it|happening|going)|what'?s up|what happened\W*$|what('s| is) new|going on|"
        r"summary|\bnow\b|\bdecision\b|\bwhat (?:has )?changed\b|" + _HANDOVER + r"|^\W*today\W*$|\bwhy\b|\bsite\b",
        _now,
    ),
)
