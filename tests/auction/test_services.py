"""The site's own side of the auction agrees with its plan, and pays nobody's cooling twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.auction.services import bids, sell, supply
from gridpilot.config import DATA, load_site
from gridpilot.domain import AuctionTerms, PriceOutlook, RiskReport, Site, SiteState, Tenant
from gridpilot.errors import DataError
from gridpilot.plan.loads import job_needs
from gridpilot.plan.solve import plan

AT = datetime(2024, 6, 24, 12, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")


def outlook(prices: list[float], hashprice: float = 55.0) -> PriceOutlook:
    n = len(prices)
    stamps = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(n) * np.timedelta64(3600, "s")
    return PriceOutlook(stamps, 3600, np.array(prices), np.full(n, hashprice), np.full(n, 0.6))


@settings(deadline=None, max_examples=60)
@given(
    prices=st.lists(st.floats(-80.0, 400.0), min_size=4, max_size=12),
    hashprice=st.floats(30.0, 110.0),
    soc=st.floats(0.15, 0.9),
)
def test_site_bids__any_prices__the_auction_gives_what_the_plan_planned(
    prices: list[float], hashprice: float, soc: float
) -> None:
    ahead = outlook(prices, hashprice)
    state = SiteState(AT, soc, jobs=job_needs(SITE, AT, len(prices) * 3600.0, {}))
    made = plan(SITE, state, ahead)
    offered, result = sell(SITE, made)
    got = {name: result.kw(name) for name in [*made.loads_kw, "cooling"]}
    planned = {name: float(kw[0]) for name, kw in made.loads_kw.items()} | {"cooling": float(made.cooling_kw[0])}
    # at the margin a load, the battery and the grid may be worth the same: then kW may differ, money not
    off = {name for name in got if abs(got[name] - planned[name]) > 0.2} - {"cooling"}
    margin = max(0.0, float(made.power_price_usd_per_kwh[0]))
    for bid in offered:
        if bid.bidder in off:
            assert bid.price_usd_per_kwh / bid.uses["power"] == pytest.approx(margin, rel=1e-3, abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(prices=st.lists(st.floats(-80.0, 400.0), min_size=4, max_size=12), soc=st.floats(0.15, 0.9))
def test_sell__any_prices__nobody_pays_less_than_the_grid_would_or_more_than_it_bid(
    prices: list[float], soc: float
) -> None:
    made = plan(SITE, SiteState(AT, soc, jobs=job_needs(SITE, AT, len(prices) * 3600.0, {})), outlook(prices))
    offered, result = sell(SITE, made)
    power = {bid.bidder: bid.uses.get("power", 1.0) for bid in offered}
    house = set(result.house)
    assert {bid.bidder for bid in offered if bid.house} == house
    assert not house & {payment.bidder for payment in result.payments}
    assert sum(a.kw for a in result.allocation) <= result.capacity_kw + 1e-9
    for payment in result.payments:
        worth = sum(a.value_usd_per_h for a in result.allocation if a.bidder == payment.bidder)
        cost = max(0.0, prices[0]) / 1000.0 * result.kw(payment.bidder) * power[payment.bidder]
        assert cost * (1.0 - 1e-6) - 1e-6 <= payment.usd_per_h <= worth + 1e-9


def test_supply__discharging_gives_room_and_charging_bids_for_it() -> None:
    state = SiteState(AT, 0.5)
    cheap = plan(SITE, state, outlook([10.0, 10.0, 500.0, 500.0]))
    offered, result = sell(SITE, cheap)
    assert supply(SITE, cheap).power_kw == SITE.import_kw
    assert {b.bidder: b.kw for b in offered}["battery"] == pytest.approx(float(cheap.battery_kw[0]))
    assert result.kw("battery") == pytest.approx(float(cheap.battery_kw[0]))
    dear = plan(SITE, state, outlook([500.0, 10.0, 10.0, 10.0]))
    assert supply(SITE, dear).power_kw == pytest.approx(SITE.import_kw - float(dear.battery_kw[0]))
    assert "battery" not in {b.bidder for b in sell(SITE, dear)[0]}


def terms(strategy: str, **more: object) -> Site:
    return replace(SITE, auction=AuctionTerms(strategy, **more))  # type: ignore[arg-type]


def risk(factor: float, **shares: float) -> RiskReport:
    return RiskReport("ok", 0.95, 200, 1.0, 2.0, 3.0, 4.0, factor, service_shares=shares)


def test_sell__seed_split__each_service_within_its_share() -> None:
    site = terms("seed split")
    made = plan(site, SiteState(AT, 0.5, jobs=job_needs(site, AT, 4 * 3600.0, {})), outlook([20.0] * 4))
    _, result = sell(site, made)
    got = {s: sum(a.kw for a in result.allocation if a.service == s) for s in ("inference", "training", "cooling")}
    shares = {"inference": 0.40, "training": 0.30, "cooling": 0.30}
    assert all(kw <= shares[s] * result.capacity_kw + 1e-9 for s, kw in got.items())
    assert got["inference"] > 0.0


def test_sell__cap_of_a_service__holds() -> None:
    site = terms("marginal value", caps_kw={"inference": 30.0})
    made = plan(site, SiteState(AT, 0.5), outlook([20.0] * 4))
    _, result = sell(site, made)
    assert sum(a.kw for a in result.allocation if a.service == "inference") == pytest.approx(30.0)


def test_bids__risk_adjusted__services_bid_nearer_to_the_margin_and_mining_does_not() -> None:
    site = terms("risk-adjusted")
    made = plan(site, SiteState(AT, 0.5), outlook([20.0] * 4))
    plain, shaded = ({b.bidder: b.price_usd_per_kwh for b in bids(site, made, risk(f))} for f in (1.0, 0.5))
    margin = (1.0 + site.cooling.kw_per_kw) * float(made.power_price_usd_per_kwh[0])
    assert shaded["gpu"] == pytest.approx(margin + 0.5 * (plain["gpu"] - margin))
    assert shaded["hydro"] == plain["hydro"]


def test_bids__seed_bid__buys_power_only_below_95_percent_of_the_price_to_come() -> None:
    site = terms("seed bid")
    for ahead, buys in ((30.0, True), (21.0, False), (10.0, False)):
        made = plan(site, SiteState(AT, 0.5), outlook([20.0, ahead, 20.0, 20.0]))
        offered, result = sell(site, made)
        bid = next(bid for bid in offered if bid.bidder == "gpu")
        assert bid.price_usd_per_kwh == pytest.approx(0.95 * (1.0 + site.cooling.kw_per_kw) * ahead / 1000.0)
        assert (result.kw("gpu") > 0.0) is buys


def test_sell__portfolio__each_service_within_the_share_of_the_risk_report_and_own_caps() -> None:
    site = terms("portfolio", caps_kw={"inference": 50.0})
    made = plan(site, SiteState(AT, 0.5), outlook([20.0] * 4))
    free = supply(site, made)
    assert free.caps_kw == {"inference": 50.0}  # before there is a report
    offer = supply(site, made, risk(1.0, inference=0.02, mining=0.5))
    k = 1.0 + site.cooling.kw_per_kw
    assert offer.caps_kw["inference"] == pytest.approx(min(50.0, 0.02 * offer.power_kw / k))
    assert offer.caps_kw["mining"] == pytest.approx(0.5 * offer.power_kw / k)
    _, result = sell(site, made, risk(1.0, inference=0.02, mining=0.5))
    assert result.kw("gpu") <= offer.caps_kw["inference"] + 1e-9


def test_site__load_with_a_name_that_the_site_bids_with__is_refused() -> None:
    with pytest.raises(DataError, match="grid: a name that the site itself bids with"):
        replace(SITE, tenants=(Tenant("grid", "inference", 10.0, 0.2),))
