"""The console's terms, each in one sentence of plain words, with where it stands and its figure of now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gridpilot.explain.fact import Facts
from gridpilot.explain.sentences import Say, Sentence, listed


@dataclass(frozen=True, slots=True)
class Word:
    """A term: how it is written, what it means, on which page it stands, and the fact that is its figure now.

    A `*` in `figure` stands for each member of the group. Where it has none, or not one of now, it is empty.
    """

    pattern: str
    means: str
    page: str
    figure: str = ""


WORDS: Final = (
    Word(r"power", "how fast energy is used, in kW or MW", ""),
    Word(r"energy", "power over time, in kWh or MWh", ""),
    Word(r"tokens?", "a piece of a word: what inference reads and writes, and is paid for", "Prices", "price.token"),
    Word(r"[tp]h/s|(?:tera|peta)hash(?:es)?", "how many trials a second a bitcoin miner makes (TH/s, PH/s)", ""),
    Word(r"j/th|joules? per terahash", "the energy that a miner needs for its trials: the less, the better", "Plan"),
    Word(
        r"demand response",
        "using less power for a time when the grid asks for it; here by a curtailment or by reserve",
        "Dispatch",
    ),
    Word(
        r"auto(?: mode)?",
        "the mode in which the plan's set points are sent without a person",
        "Dispatch",
        "pilot.control",
    ),
    Word(r"optimal", "the solver has proved that no other plan within the limits brings more", "Plan", "plan.status"),
    Word(
        r"expired(?: set ?points)?",
        "set points hold for a time only: once that is over without a new decision, everything goes off",
        "Dispatch",
    ),
    Word(r"(?:planning )?horizon", "how far ahead the plan reaches", "Plan", "plan.hours"),
    Word(
        r"price paths?|scenarios?",
        "a course that prices may take, drawn at random from the forecast",
        "Risk",
        "risk.paths",
    ),
    Word(
        r"binding(?: limits?)?|(?:a )?limit binds?",
        "a limit binds where the plan stands at it: without it the plan would bring more",
        "Plan",
    ),
    Word(
        r"index(?:/w)?|index per watt",
        "the price source's own unit, which stands for no currency",
        "Prices",
    ),
    Word(
        r"batter(?:y|ies)",
        "stored energy: it is charged when power is cheap, and used or sold when it is dear, within its limits",
        "Plan",
        "battery.soc",
    ),
    Word(
        r"break[ -]?evens?|strike(?: price)?s?",
        "the energy price at which a machine earns just what its power and cooling cost: above it the machine "
        "loses money",
        "Overview and Plan",
        "machine.*.strike",
    ),
    Word(
        r"c-?var|conditional value at risk|expected shortfall",
        "how much is lost on average in the worst of the simulated price paths; a negative one is a gain",
        "Risk",
        "risk.cvar",
    ),
    Word(
        r"var|value at risk",
        "the loss that is not exceeded in most of the simulated price paths; a negative one is a gain",
        "Risk",
        "risk.var",
    ),
    Word(
        r"shadow prices?",
        "what one more unit of something scarce would bring: a stored kWh, or a kWh of site power",
        "Plan",
        "plan.power_price",
    ),
    Word(
        r"marginal values?(?: of (?:stored )?energy)?|worth of stored energy",
        "what one more stored kWh would bring, sold or used at the best hour that the plan has left for it",
        "Plan",
        "plan.marginal_value",
    ),
    Word(
        r"vcg(?: auction| payments?)?|vickrey(?:[ -]clarke[ -]groves)?(?: auction)?|externalit(?:y|ies)",
        "the rule of the auction (Vickrey, Clarke, Groves): a bidder pays what the others lose because it is "
        "served, so that nobody gains by bidding less than power is worth to it",
        "Auction",
    ),
    Word(
        r"auctions?",
        "how site power is shared: who bids most for a kW gets it, and pays what the others lose by that",
        "Auction",
        "auction.price",
    ),
    Word(
        r"clearing prices?",
        "the worth of the dearest kW that asked for power in this interval and got none",
        "Auction",
        "auction.price",
    ),
    Word(
        r"reserve prices?",
        "the least for which site power is sold in the auction: below it the site keeps the power",
        "Auction",
        "auction.reserve",
    ),
    Word(
        r"bidders?|bids?",
        "a bidder is a tenant, a machine type, a job or the battery, and its bid is what a kW is worth to it",
        "Auction",
    ),
    Word(
        r"tenants?",
        "a neighbour that buys power behind the site's meter when it is worth it to him",
        "Auction",
    ),
    Word(
        r"socs?|state of charge",
        "how full the battery is, as a share of its capacity (state of charge)",
        "Overview and Plan",
        "battery.soc",
    ),
    Word(
        r"hash ?prices?|price of hashing",
        "what a unit of computing power for bitcoin mining earns in a day",
        "Prices",
        "price.hash",
    ),
    Word(
        r"token prices?",
        "what inference earns for a number of tokens that it computes",
        "Prices",
        "price.token",
    ),
    Word(
        r"curtail(?:ment|ing|ed)?s?",
        "drawing less from the grid for a time, because a grid operator or an operator asks for it",
        "Dispatch",
        "curtail.load",
    ),
    Word(
        r"fail-?safe(?: state| mode)?",
        "the state in which all machines are off and the battery rests, because there is no valid decision: "
        "it ends by itself with the next one",
        "Dispatch",
        "pilot.control",
    ),
    Word(
        r"emergency stop|e-?stop",
        "an operator's command that switches everything off at once, until an operator releases it",
        "the top of every page",
        "pilot.control",
    ),
    Word(
        r"always on|reference",
        "what the site would do without a decision engine: every machine that has work runs, whatever power "
        "costs, and the battery rests; gains are counted against it",
        "Overview and Backtest",
        "always_on.profit",
    ),
    Word(
        r"set ?points?",
        "what is sent: how many machines of each type run, and the battery's power",
        "Dispatch",
    ),
    Word(
        r"overrid(?:e|es|ing)",
        "an operator's command that is laid over the plan for a time, with a reason and an end",
        "Dispatch",
        "dispatch.origin",
    ),
    Word(
        r"holds?",
        "a state in which nothing new is sent, until an operator resumes",
        "Dispatch",
        "pilot.control",
    ),
    Word(
        r"ledger",
        "the file in which every price, decision, command and payment is entered, each entry sealed by the "
        "hash of the one before, so that a change is seen",
        "Health",
        "ledger.entries",
    ),
    Word(
        r"(?:price |forecast )?bands?",
        "the range around a forecast that is made to hold a given share of the prices to come",
        "Forecast",
        "forecast.level",
    ),
    Word(
        r"forecasts?",
        "the prices that are expected for the coming hours, each with a band around it",
        "Forecast",
        "forecast.hours",
    ),
    Word(
        r"quantiles?",
        "the price that a given share of the outcomes lies below",
        "Forecast",
    ),
    Word(
        r"mwh|kwh|megawatt[ -]hours?|kilowatt[ -]hours?",
        "a measure of energy: a power of a megawatt or a kilowatt (MWh, kWh) for an hour",
        "",
    ),
    Word(
        r"mw|kw|megawatts?|kilowatts?",
        "a measure of power: how fast energy is used",
        "",
    ),
    Word(
        r"(?:settled|settlements?)(?: money| hours?)?",
        "money is settled when an interval is over: what the set points in force really earned and cost at "
        "the prices that came",
        "Overview and Health",
        "pnl.hours",
    ),
    Word(
        r"arbitrage|spreads?",
        "buying energy for the battery when it is cheap to sell or use it when it is dear; the spread is what "
        "lies between, less losses and wear",
        "Plan",
        "spread.1.left",
    ),
    Word(
        r"(?:battery )?wear",
        "what a kWh through the battery costs in its lifetime",
        "Plan",
        "rate.wear",
    ),
    Word(
        r"dispatch",
        "what is sent to machines and battery, and what became of it",
        "Dispatch",
        "dispatch.status",
    ),
    Word(
        r"pilot",
        "the process that reads prices, decides in each interval, and sends the set points",
        "Health",
        "pilot.running",
    ),
    Word(
        r"baseline",
        "what is taken for the draw without a curtailment: the mean that was metered in the hour before it",
        "Dispatch",
    ),
    Word(
        r"demand charges?",
        "a charge for the highest draw from the grid of a month",
        "Plan",
        "past.money_demand",
    ),
    Word(
        r"reserves?|sold reserve|ancillary services?",
        "power that the site keeps ready to be dropped or taken up for the grid, and is paid for",
        "Plan",
        "curtail.reserved",
    ),
    Word(
        r"perfect foresight",
        "what could have been made by who knew all prices of a day beforehand: a bound that nobody reaches",
        "Health",
    ),
    Word(
        r"draw ?down",
        "the largest fall of the money from a height reached before",
        "Risk",
        "risk.drawdown",
    ),
    Word(
        r"(?:a )?job(?: deadline)?s?",
        "work that needs some energy by a deadline, and may run at any hour before it",
        "Plan",
    ),
    Word(
        r"inference",
        "answering requests with trained models, on GPUs that are paid by the token",
        "Overview",
        "price.token",
    ),
    Word(
        r"behind the meter",
        "power that is used on the site itself and does not pass the grid's meter",
        "Auction",
    ),
    Word(
        r"p ?& ?l|pnl|profit and loss",
        "profit and loss: income of machines, tenants, jobs and export, less import and battery wear",
        "Overview",
        "pnl.profit",
    ),
    Word(
        r"solver|linear program(?:ming)?|highs",
        "the program that finds the plan that brings most within all limits",
        "Plan",
        "plan.method",
    ),
    Word(
        r"pue|power usage effectiveness",
        "all power of a site over that of its computers alone; the console shows cooling apart instead",
        "Overview",
        "load.cooling",
    ),
    Word(
        r"day[ -]ahead(?: price)?s?",
        "the prices of power for each hour of a day, fixed by the exchange the day before",
        "Prices",
        "price.energy",
    ),
    Word(
        r"negative prices?",
        "a price below zero: who draws power is paid for it, because more is fed in than is used",
        "Prices",
        "price.energy",
    ),
    Word(
        r"what-?if(?: panel)?",
        "a panel that plans anew with another battery, connection or price, and sends nothing",
        "Plan",
    ),
    Word(
        r"backtest(?:ing)?",
        "deciding anew over recorded prices, to see what would have been earned",
        "Backtest",
    ),
    Word(
        r"(?:replay|simulation)",
        "recorded prices played again with a simulated site, as if they were new",
        "Overview",
        "source.name",
    ),
)

_TERM = "|".join(word.pattern for word in WORDS)
_SAID = rf"['\"]?(?:{_TERM})['\"]?"
_OPENS = r"^\W*(?:and |so |please |hi,? |can you |could you )?"
# What asks for a meaning, up to the term and behind it.
_ASKS: Final = (
    (_OPENS + r"(?:what(?:'s| is| are|s)|whats|define|describe) (?:meant by )?(?:an? |the term )?", r"(?: here)?\W*$"),
    (r"\b(?:what|how) (?:do|does|did|is|are)\b.* (?:the |an? )?", r" (?:means?|meant|stand for|works?)\b"),
    (r"\b(?:meaning of|definition of|sense of|mean(?:s|t)? by) (?:the |an? )?", r"\b"),
    (
        _OPENS + r"(?:explain|define|describe)(?: to me| me)?(?: what)? (?:the |an? )?",
        r"(?: is| are| means?)?(?: please)?\W*$",
    ),
)
_ONLY_ONE = (  # of these there is one, and no figure: "the" asks for no figure
    r"^\W*(?:what(?:'s| is)|whats) the (fail-?safe(?: state| mode)?|ledger|auction|emergency stop|reference|pilot|"
    r"baseline|what-?if panel|solver)\W*$"
)
_BETWEEN = re.compile(rf"\bdifference between (?:an? |the )?({_SAID}) and (?:an? |the )?({_SAID})(?!\w)", re.IGNORECASE)
_QUESTIONS = [re.compile(f"{before}(?P<term>{_SAID}){behind}", re.IGNORECASE) for before, behind in _ASKS]


def meaning(facts: Facts, asked: str) -> list[Sentence]:
    """What a term means, where the question asks for that; empty where it asks for its figure."""
    two = _BETWEEN.search(asked)
    terms = [found.strip("'\"") for found in two.groups()] if two else [_term(asked)]
    return [sentence for term in terms if term for sentence in _told(facts, term)]


def _told(facts: Facts, term: str) -> list[Sentence]:
    word = next(w for w in WORDS if re.fullmatch(w.pattern, term, re.IGNORECASE))
    text = f"{term}: {word.means}." + (f" See {word.page}." if word.page else "")
    return [Sentence(text[:1].upper() + text[1:]), *_figure(facts, word)]


def _term(asked: str) -> str:
    """The term whose meaning is asked for; empty where none is."""
    only = re.search(_ONLY_ONE, asked, re.IGNORECASE)
    if only:
        return only[1]
    found = next((match for question in _QUESTIONS if (match := question.search(asked))), None)
    return "" if found is None else found["term"].strip("'\"")


def _figure(facts: Facts, word: Word) -> list[Sentence]:
    """Its figure of now, where there is one."""
    say, label = Say(facts), ""
    head, star, tail = word.figure.partition("*")
    if star:
        group = head.rstrip(".")
        keys = [f"{group}.{name}" for name in facts.members(group) if f"{group}.{name}{tail}" in facts]
        shown = listed(f"{say.bare(f'{key}.name')} {say(f'{key}{tail}')}" for key in keys)
    else:
        shown = say(word.figure) if word.figure in facts else ""
        label = f", {facts[word.figure].label}" if shown else ""
    return [say.close(f"As recorded now{label}: {shown}.")] if shown else []
