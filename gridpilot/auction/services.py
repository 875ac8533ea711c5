"""The site's own side of an auction: what its loads bid, what it could do with the power instead, and how much is sold.

A load of 1 kW takes 1 + k kW of site power, k for its cooling; so it pays for both in one payment, and cooling is no
bidder of its own. The site's alternatives bid as `house` and pay nothing: mining at what it earns, charging the battery
at what a stored kWh is worth, and the grid - importing less, or exporting - at what a kWh costs or brings at the meter.
What somebody displaces there is the site's opportunity cost, so nothing is sold below it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gridpilot.auction.book import POWER, Book, Supply
from gridpilot.auction.mechanism import clear_book
from gridpilot.domain import OWN_NAMES, Allocation, AuctionResult, Bid, Offer, Plan, RiskReport, Site
from gridpilot.errors import DataError, PlanError
from gridpilot.plan.problem import CHANGE_USD_PER_KWH

METER_KW = 0.001  # below what a meter can tell
HIGHEST = 1e6  # $/kWh, the most that a bid may say
BATTERY, COOLING, GRID = OWN_NAMES
A_LITTLE_LESS = 1.0 - 1e-9  # the grid's bid is rounded down by so much: who bids the same gets the power
# The rules of the system that GridPilot grew out of: fixed shares, and bids as a part of the energy price to come
SEED_SPLIT = {"inference": 0.40, "training": 0.30, COOLING: 0.30}
SEED_BID = 0.95
SEEDS = ("seed split", "seed bid")


def sell(site: Site, plan: Plan, risk: RiskReport | None = None) -> tuple[tuple[Bid, ...], AuctionResult]:
    """The auction of the plan's first interval: its bids, and who gets what for which payment. `risk`: the newest.

    The result has a row for the cooling of the loads that it serves; they pay for it.
    """
    offered = bids(site, plan, risk)
    book, offer = Book.of(offered), supply(site, plan, risk)
    try:
        result = clear_book(book, offer, core=site.auction.core).result()
    except (DataError, PlanError):  # core-selecting payments that are not found in time: the result's method says VCG
        result = clear_book(book, offer).result()
    cooling_kw = sum(row.kw for row in result.allocation if row.bidder not in OWN_NAMES) * site.cooling.kw_per_kw
    row = Allocation(COOLING, COOLING, cooling_kw, cooling_kw, 0.0)
    return offered, replace(result, allocation=(*result.allocation, row))


def supply(site: Site, plan: Plan, risk: RiskReport | None = None) -> Supply:
    """What is for sale in the plan's first interval: the connection, with what the battery gives and without what is
    kept as reserve down and what cools the room beside the loads' heat.

    With the seed's rules each service may take its fixed share of it, and cooling's share limits all that it cools.
    With a portfolio each may take the share that the risk report gives it, once there is one.
    """
    battery_kw = min(0.0, float(plan.battery_kw[0]))
    most = max(0.0, site.import_kw - battery_kw - float(plan.reserve_down_kw[0]) - float(plan.room_kw[0]))
    caps = dict(site.auction.caps_kw)
    others: dict[str, float] = {}
    split: dict[str, float] = {}
    if site.auction.strategy in SEEDS:
        split = {service: share * most for service, share in SEED_SPLIT.items()}
        others[COOLING] = split.pop(COOLING)
    elif site.auction.strategy == "portfolio" and risk is not None:
        k = site.cooling.kw_per_kw
        split = {service: share * most / (1.0 + k) for service, share in risk.service_shares.items()}
    caps |= {service: min(kw, caps.get(service, kw)) for service, kw in split.items()}
    return Supply(most, site.auction.reserve_usd_per_kwh, others, caps)


def bids(site: Site, plan: Plan, risk: RiskReport | None = None) -> tuple[Bid, ...]:
    """The site's bids for the plan's first interval.

    A load bids what a kWh is worth to it (`Plan.offers`): so it is served where the plan serves it, worth more than
    (1 + k) x the price of power. Customers of a machine type are blocks of its demand. A load at the margin asks for
    what the plan gives it. With the strategy "risk-adjusted" tenants and services bid the risk adjustment factor's part
    of their worth above that margin; with "seed bid" 95 % of the energy price of the next interval. Mining, the battery
    and the grid bid the same under any strategy.
    """
    k = site.cooling.kw_per_kw
    power = max(0.0, float(plan.power_price_usd_per_kwh[0]))
    factor = risk.risk_adjustment_factor if risk else 1.0
    mining = {machine.type for machine in site.machines if machine.product == "hash"}
    uses = {POWER: 1.0 + k} | ({COOLING: k} if site.auction.strategy in SEEDS else {})
    out = []
    for offer in plan.offers:
        planned_kw = _planned_kw(plan, offer)
        worth, margin = offer.worth_usd_per_kwh, (1.0 + k) * power
        tied = math.isclose(worth, margin, rel_tol=1e-6)  # worth the price of power, but for the solver's rounding
        kw = planned_kw if tied or plan.status != "optimal" else offer.kw  # and no more than the plan has cooling for
        house = offer.of in mining
        if site.auction.strategy == "risk-adjusted" and not house and worth > margin:
            worth, tied = margin + factor * (worth - margin), False
        if site.auction.strategy == "seed bid" and not house:
            kw, worth, tied = offer.kw, SEED_BID * (1.0 + k) * _energy_to_come(plan), False
        out.append(Bid(offer.of, offer.service, kw, _within(margin if tied else worth), uses=uses, house=house))
    asked = {offer.of for offer in plan.offers}
    out += [Bid(job.name, "training", 0.0, job.value_usd_per_kwh) for job in site.jobs if job.name not in asked]
    return (*out, *_alternatives(site, plan, power, max((bid.price_usd_per_kwh for bid in out), default=0.0)))


def _alternatives(site: Site, plan: Plan, power: float, highest: float) -> list[Bid]:
    """The battery's charging and the grid. A plan that is not the optimum keeps its battery power at any price."""
    out = []
    charge_kw = float(plan.charge_kw[0] - plan.discharge_kw[0])
    if charge_kw > METER_KW:
        stored = float(plan.marginal_value_usd_per_kwh[0]) * site.battery.efficiency_charge
        worth = stored - site.battery.wear_usd_per_kwh
        keep = plan.status != "optimal" or math.isclose(worth, power, rel_tol=1e-6, abs_tol=1.001 * CHANGE_USD_PER_KWH)
        price = max(worth, power, highest if plan.status != "optimal" else 0.0) if keep else worth
        out.append(Bid(BATTERY, "storage", charge_kw, _within(price), house=True))
    value = _at_the_meter(site, plan, power)
    if value > 0.0:
        out.append(Bid(GRID, "export", supply(site, plan).power_kw, _within(value * A_LITTLE_LESS), house=True))
    return out


def _at_the_meter(site: Site, plan: Plan, power: float) -> float:
    """What a kWh that nobody takes saves or brings [$/kWh]: the energy price, with what demand charge, ramp and the
    limit of export make of it. Where the connection is full, its scarcity is what the others bid."""
    full = float(plan.import_kw[0]) >= site.import_kw - float(plan.reserve_down_kw[0]) - METER_KW
    return float(plan.outlook.energy_usd_per_mwh[0]) / 1000.0 if full else power


def _energy_to_come(plan: Plan) -> float:
    """The forecast energy price of the next interval [$/kWh]; that of this one where the plan has no other."""
    return float(plan.outlook.energy_usd_per_mwh[:2][-1]) / 1000.0


def _within(usd_per_kwh: float) -> float:
    return min(max(usd_per_kwh, -HIGHEST), HIGHEST)


def _planned_kw(plan: Plan, offer: Offer) -> float:
    """What the plan gives the load of an offer in the first interval."""
    if offer.name in plan.customers_kw:
        return float(plan.customers_kw[offer.name][0])
    others = [other.name for other in plan.offers if other.of == offer.of and other.name != offer.name]
    return float(plan.loads_kw[offer.of][0]) - sum(float(plan.customers_kw[name][0]) for name in others)
