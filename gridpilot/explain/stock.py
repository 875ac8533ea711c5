"""Sentences about what the site has and is: how many machines and tenants, its limits, its ledger, its sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gridpilot.explain.fact import Facts
from gridpilot.explain.sentences import Say, Sentence, grid_sentence, listed, machine_sentence
from gridpilot.explain.subject import has, named

_MOST = r"\blimits?\b|\bmaximum\b|\bmax\b|\bcapacity\b|\bhow (?:big|large)\b|\bsize\b|\bat most\b|\bminimum\b|\bmin\b"
_PAGES: Final = (
    (r"alarm|warning|health", "Health"), (r"forecast|\bbands?\b", "Forecast"), (r"auction|\bbids?\b|tenant", "Auction"),
    (r"\brisk|\bc?var\b", "Risk"), (r"backtest|\bweek\b", "Backtest"), (r"\bplan\b|\bwhat.?if\b", "Plan"),
    (r"\bprices?\b", "Prices"), (r"command|curtail|\blog\b", "Dispatch"), (r"money|profit", "Overview and Health"),
)  # fmt: skip


def reply(facts: Facts, asked: str) -> list[Sentence]:
    """The first of these that the question is about; empty where it is about none."""
    if has(r"\bwhy\b", asked):
        return []
    return next((said for told in _TOLD if (said := told(facts, asked))), [])


def _counts(facts: Facts, asked: str) -> list[Sentence]:
    """How many machines, tenants or bidders there are."""
    listing = r"\bhow many\b|\bnumber of\b|\bcount of\b|\blist\b|\b(?:which|what) machines (?:are|do|run|we)\b"
    if not has(listing, asked):
        return []
    if has(r"\btenants?\b|\bbidders?\b|\bcustomers?\b", asked) and "site.tenants" in facts:
        say = Say(facts)
        names = listed(say.bare(f"bidder.{name}.name") for name in facts.members("bidder") if _tenant(facts, name))
        return [say.close(f"Tenants of this site: {say('site.tenants')}{f' ({names})' if names else ''}.")]
    if has(r"\bmachines?\b|\bminers?\b", asked) and "machines.count" in facts and not named(facts, "machine", asked):
        return [machines(facts)]
    return []


def machines(facts: Facts) -> Sentence:
    """How many machines are on, in all and of each type."""
    say = Say(facts)
    text = f"{say('machines.running')} of {say('machines.count')} machines are on, {say('machines.off')} are off"
    each = listed(
        f"{say.bare(f'machine.{name}.name')} {say(f'machine.{name}.running')} of {say(f'machine.{name}.count')}"
        for name in facts.members("machine")
    )
    return say.close(f"{text}: {each}.")


def _tenant(facts: Facts, name: str) -> bool:
    return facts.word(f"bidder.{name}.is") == "tenant"


def _battery(facts: Facts, asked: str) -> list[Sentence]:
    """What the battery holds and takes at most."""
    if not has(r"\bbatter|\bround.?trip\b", asked) and not has(r"\b(?:dis)?charg(?:e|ing) (?:power|limit|rate)", asked):
        return []
    if has(r"efficien|\bround.?trip\b", asked) and "battery.round_trip" in facts:
        say = Say(facts)
        return [say.close(f"Of the energy charged {say('battery.round_trip')} comes back.")]
    if not has(_MOST, asked) or "battery.capacity" not in facts or has(r"\bbind|\bfull\b", asked):
        return []
    say = Say(facts)
    text = f"The battery holds {say('battery.capacity')}, of which {say.bare('battery.soc_min')} to "
    text += f"{say('battery.soc_max')} are used; it charges with {say('battery.charge_limit')} at most"
    return [say.close(f"{text}, and discharges with {say('battery.discharge_limit')} at most.")]


def connection(facts: Facts, asked: str) -> list[Sentence]:
    """How much may be drawn from the grid, and delivered to it."""
    if has(r"\bwhy\b", asked):
        return []
    asks = has(r"\b(?:import|export|grid|connection|site)\b", asked) and has(_MOST, asked)
    asks = asks or has(r"\bhow much more\b.*\b(?:import|export|draw|grid)\b", asked)
    if not asks or "grid.import_limit" not in facts or has(r"\bbind|\bsoc\b|\bwhat limits\b|\bwhich limits\b", asked):
        return []
    say = Say(facts)
    text = (
        f"At most {say('grid.import_limit')} may be drawn from the grid, and {say('grid.export_limit')} delivered to it"
    )
    out = [say.close(text + "."), grid_sentence(facts)]
    if facts.number("plan.import") >= facts.number("grid.import_limit") - 0.5 and "plan.power_price" in facts:
        say = Say(facts)
        say("plan.import")
        out.append(say.close(f"The limit binds in the plan: more would be worth {say('plan.power_price')}."))
    return out


def _reserve(facts: Facts, asked: str) -> list[Sentence]:
    if not has(r"\breserves?\b(?! price)|\bancillary\b", asked) or has(r"reserve price", asked):
        return []
    if "curtail.reserved" not in facts:
        return [Sentence("No reserve is sold now.")]
    say = Say(facts)
    return [say.close(f"Of what could be curtailed at once {say('curtail.reserved')} is sold as reserve.")]


def _cooling(facts: Facts, asked: str) -> list[Sentence]:
    if not has(r"\bcooling\b", asked) or "load.cooling" not in facts or named(facts, "bidder", asked) != ["cooling"]:
        return []
    say = Say(facts)
    text = f"Cooling takes {say('load.cooling')} of the {say('load.total')} that the loads take now"
    out = [say.close(text + ".")]
    if has(r"\bcosts?\b|\bpa(?:y|id)|\bmoney\b|\bspen", asked):
        out.append(Sentence("Its cost is not settled by itself: each load pays for the cooling of its own heat."))
    return out


def _machine(facts: Facts, asked: str) -> list[Sentence]:
    """What a machine type that is named takes, what it earns above its power, and at which price it stops."""
    figure = (
        r"\bpower\b|\benergy\b|\bkw\b|\bdraws?\b|\buses?\b|\bconsum|\bmargins?\b|"
        r"\bprice\b|\bmakes\b|\bprofitable\b|\bhash ?price\b"
    )
    if not has(figure, asked) or has(r"\btenants?\b|\bwill\b|\bdid\b|\bwhen\b|\bkwh\b|\bearn|\bmoney\b", asked):
        return []
    out = []
    for name in named(facts, "machine", asked):
        out.append(machine_sentence(facts, name))
        say, key = Say(facts), f"machine.{name}"
        if has(r"\bmargins?\b", asked) and f"{key}.margin" in facts:
            out.append(say.close(f"Its margin is {say(f'{key}.margin')} at the price now."))
        elif not has(r"price\b|\bmakes\b|profitable", asked) and f"bidder.{name}.kw" in facts:
            out.append(say.close(f"It takes {say(f'bidder.{name}.kw')} now, without its cooling."))
    return out


def _way(facts: Facts, asked: str) -> list[Sentence]:
    """Where something is done or seen: who asks how has not ordered it."""
    if not has(r"\b(?:how|where) (?:do|can|could|should|would) (?:i|we)\b|\bhow to\b", asked):
        return []
    if has(r"\b(?:stop|override|curtail|charge|discharge|switch|turn|set|hold|release|shut|command)\b", asked):
        text = "That is done on Dispatch: select a command, look at its effect, give a reason and an end, then operate"
        return [Sentence(f"{text}. The emergency stop is at the top of every page.")]
    page = next((page for pattern, page in _PAGES if has(pattern, asked)), "")
    return [Sentence(f"That stands on {page}.")] if page and has(r"\b(?:see|find|look|read|get|check)\b", asked) else []


def _program(facts: Facts, asked: str) -> list[Sentence]:
    """Where the record and the versions stand."""
    if has(r"\bledger\b|\bchain\b|\brecords?\b(?= (?:intact|kept|complete))", asked) and "ledger.entries" in facts:
        say = Say(facts)
        out = [say.close(f"The newest entry of the ledger is number {say('ledger.entries')}.")]
        text = (
            "Whether its chain is whole stands on Health, and `.venv/bin/python -m gridpilot verify-ledger` checks it"
        )
        if has(r"\bhash\b", asked):
            say = Say(facts)
            out.append(say.close(f"Its hash is {say('ledger.head')}."))
        return [*out, Sentence(f"{text}; where it is kept is a setting, and no fact of the ledger.")]
    if has(r"\b(?:pending|open|waiting)\b.*\b(?:commands?|approvals?)\b|\bcommands? pending\b|\bapprovals?\b", asked):
        return [Sentence("Which commands wait, and for whose approval, stands on Dispatch.")]
    if has(r"\bwhere is (?:the|this|our) site\b|\bwhich site\b|\bsite'?s? name\b|\bname of (?:the|this) site\b", asked):
        say = Say(facts)
        return [say.close(f"This site is {say('site.name')}.")] if "site.name" in facts else []
    if has(r"\bpilot\b", asked) and "pilot.running" in facts:
        say, runs = Say(facts), facts.word("pilot.running") == "yes"
        say("pilot.running")
        return [
            say.close(f"{'A pilot is' if runs else 'No pilot is'} running; its newest decision is told on Overview.")
        ]
    if has(r"\bversion\b|\bwho (?:made|built|wrote) you\b|\byour name\b|\bwhat are you\b", asked):
        text = "I am the explainer of GridPilot-GT, an operator console for sites with flexible compute; its version is"
        return [Sentence(f"{text} not in the ledger: it stands in the changelog.")]
    if has(r"\b(?:language model|llm|(?:chat)?gpt|ai)\b|\bare you (?:an? )?(?:robot|human|bot)\b", asked):
        text = "This answer is made from the ledger's facts by a template, without a language model; which one is"
        return [Sentence(f"{text} connected, if any, stands under the title of Explain.")]
    return []


_TOLD: Final[tuple[Callable[[Facts, str], list[Sentence]], ...]] = (
    _way, _counts, _battery, _reserve, _cooling, _machine, _program,
)  # fmt: skip
