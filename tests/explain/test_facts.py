"""Facts come from the ledger alone, with unit, time and source; what is not known is left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot.explain.facts import Facts, gather
from gridpilot.explain.sentences import machine_sentence, now_sentence, stale_sentence
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplayClock
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.monitor.standing import RuleStanding

Make = Callable[..., Ledger]
WALL = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)  # when the decision was made
AT = datetime(2024, 6, 24, 17, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "value", "unit"),
    [
        ("price.energy", 96.0, "USD/MWh"),
        ("price.hash", 55.0, "USD/PH/day"),
        ("battery.soc", 41.2, "%"),
        ("battery.stored", 412.0, "kWh"),
        ("battery.brings", (96.0 - 0.2) * 0.94, "USD/MWh"),
        ("battery.cost", (96.0 + 0.2) / 0.94, "USD/MWh"),
        ("plan.marginal_value", 118.0, "USD/MWh"),
        ("plan.marginal_value@2024-06-24T19:00Z", 118.0, "USD/MWh"),
        ("plan.discharge@2024-06-24T18:00Z", 250.0, "kW"),
        ("plan.power_price", 96.0, "USD/MWh"),
        ("plan.objective", 412.5, "USD"),
        ("machine.air.strike", 104 * 55 / 24 / 3.12 / (1 + 1 / 3.5), "USD/MWh"),
        ("machine.gpu.available", 10.0, ""),
        ("rate.profit", 166.45, "USD/h"),
        ("rate.gain", 15.25, "USD/h"),
        ("pnl.profit", 212.7, "USD"),
        ("forecast.lowest", -5.0, "USD/MWh"),
        ("forecast.error", 15.731, "USD/MWh"),
        ("auction.price", 123.4, "USD/MWh"),
        ("bidder.render-farm.pays", 7.404, "USD/h"),
        ("bidder.render-farm.displaced_value", 6.25, "USD/h"),
        ("risk.tail_share", 5.0, "%"),
        ("risk.allowed", 87.0, "%"),
        ("spread.1.buy", 25.0 / 3.0, "USD/MWh"),
        ("spread.1.left", 127.5 - 25.0 / 3.0 / 0.94**2 - 0.2 * (1 + 1 / 0.94**2), "USD/MWh"),
        ("age.price", 12.0, "min"),
    ],
)
def test_gather__figure__value_and_unit(ledger_of: Make, key: str, value: float, unit: str) -> None:
    fact = gather(ledger_of())[key]
    assert fact.value == pytest.approx(value)
    assert fact.unit == unit


@pytest.mark.parametrize(
    ("key", "value", "unit"),
    [
        ("price.energy", 2.0, "index/W"),
        ("plan.marginal_value", 2.5, "index/W"),
        ("machine.hydro.strike", 6.0, "index/W"),
        ("rate.profit", 166.45, "index/h"),
        ("pnl.gain", 16.5, "index"),
    ],
)
def test_gather__mara__the_sources_own_units(
    ledger_of: Make, mara: dict[str, Any], key: str, value: float, unit: str
) -> None:
    fact = gather(ledger_of(**mara))[key]
    assert (fact.value, fact.unit) == (pytest.approx(value), unit)


def test_gather__every_fact__complete(ledger_of: Make) -> None:
    facts = gather(ledger_of())
    assert (facts.at, facts.cycle_id, facts.stale) == (AT, "20240624T170000-abc123", False)
    for key, fact in facts.items():
        assert fact.id == key
        assert fact.label
        assert str(fact.at.tzinfo) == "Europe/Amsterdam"
        assert fact.source.endswith(facts.cycle_id)
        assert isinstance(fact.value, str) or math.isfinite(fact.value)
    assert facts["plan.objective"].source.startswith("plan ")
    assert facts["plan.objective"].text() == "412 USD"


def test_gather__prices_rank__share_of_the_last_thirty_days(ledger_of: Make) -> None:
    facts = gather(ledger_of())
    assert facts["price.rank_days"].value == pytest.approx(30.0)
    assert facts["price.rank"].value == pytest.approx(100 * 630 / 721, rel=0.01)


def test_gather__live_error__newest_forecasts_against_what_came(ledger_of: Make) -> None:
    # the earlier forecast says 120, 110 .. for 13:00..18:00 UTC; the sine that came was above and below it
    facts = gather(ledger_of())
    came = [60.0 + 40.0 * math.sin((960 - h) / 24 * 2 * math.pi) for h in range(6, 0, -1)] + [96.0]
    told = [120.0, 110.0, 90.0, 70.0, 50.0, 40.0, 35.0]
    wanted = sum(abs(a - b) for a, b in zip(told, came, strict=True)) / 7
    assert facts["forecast.live_error"].value == pytest.approx(wanted)
    assert facts["forecast.live_n"].value == 7.0


def test_gather__unknown_figures__left_out(ledger_of: Make) -> None:
    facts = gather(ledger_of(soc=None, marginal=None, power_price=None, status="fallback", risk_status="too few"))
    for key in ("battery.soc", "battery.stored", "plan.marginal_value", "plan.power_price", "risk.var"):
        assert key not in facts
        assert math.isnan(facts.number(key))


def test_gather__no_hash_price__no_break_even_of_who_earns_by_it(ledger_of: Make) -> None:
    facts = gather(ledger_of(hash_price=math.nan))
    for name in ("air", "immersion", "hydro"):
        assert facts.word(f"machine.{name}.strike") == "not known without a hash price"
        assert f"machine.{name}.margin" not in facts
    assert facts.number("machine.gpu.strike") > 0.0


@pytest.mark.parametrize(("manual", "said"), [(False, "not known without a hash price"), (True, "")])
def test_gather__no_hash_price__a_rules_own_strike_is_still_known(
    ledger_of: Make, monkeypatch: pytest.MonkeyPatch, manual: bool, said: str
) -> None:
    rule = RuleStanding("air", 80.0 if manual else 0.0, manual, math.nan, False, 0, 1, None)
    monkeypatch.setattr("gridpilot.explain.facts.rule_standings", lambda snap: [rule])
    facts = gather(ledger_of(hash_price=math.nan))
    assert facts.word("machine.air.rule_strike") == said
    shown = machine_sentence(facts, "air").text
    assert ("its strike of 80 USD/MWh" in shown) == manual
    if not manual:
        assert "their rule keeps them off, its strike not known without a hash price" in shown
    else:
        assert "air is off: its rule, with the strike at 80 USD/MWh, has curtailed it" in now_sentence(facts).text


def test_gather__empty_ledger__no_facts(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'empty.db'}") as ledger:
        facts = gather(ledger, WALL)
    assert (len(facts), facts.at, facts.stale, facts.age) == (0, None, False, "")


def test_gather__read_only_ledger__nothing_written(ledger_of: Make) -> None:
    ledger = ledger_of()
    head = ledger.head()
    with Ledger.open(f"sqlite:///{ledger.name}", read_only=True) as reader:
        assert len(gather(reader, WALL)) > 100
    assert ledger.head() == head


def test_gather__names_alike_when_shortened__both_kept(ledger_of: Make) -> None:
    facts = gather(ledger_of(tenant="cold store"))
    assert {facts.word(f"bidder.{name}.name") for name in facts.members("bidder")} >= {"cold store", "cold-store"}


# --- age -----------------------------------------------------------------------------------


def _held(ledger: Ledger, wall: datetime) -> None:
    ledger.acquire_lease("pilot", "test", 30.0, wall)


def _story(speed: float) -> dict[str, Any]:
    return {"pilot": PilotState(AUTO, "", clock=ReplayClock(WALL, AT, speed))}


def test_gather__pilot_at_work_on_a_replay__age_in_replayed_time(ledger_of: Make) -> None:
    ledger = ledger_of(**_story(60.0))
    later = WALL + timedelta(minutes=3)
    _held(ledger, later)
    facts = gather(ledger, later)
    assert facts["age.price"].text() == "3.2 h"  # 12 minutes and 60 x 3 minutes
    assert facts["age.decision"].text() == "3 min"
    assert facts.stale
    assert facts.age == "newest price 3.2 h old, decision 3 min old"


def test_gather__pilot_just_decided__fresh(ledger_of: Make) -> None:
    ledger = ledger_of(**_story(60.0))
    later = WALL + timedelta(seconds=30)
    _held(ledger, later)
    assert not gather(ledger, later).stale


@pytest.mark.parametrize(("hours", "stale"), [(1.9, False), (2.1, True)])
def test_gather__no_pilot__stale_by_the_decisions_age(ledger_of: Make, hours: float, stale: bool) -> None:
    facts = gather(ledger_of(**_story(60.0)), WALL + timedelta(hours=hours))
    assert facts.stale is stale
    assert "no pilot is running" in stale_sentence(facts).text


@pytest.mark.parametrize(("minutes", "stale"), [(119, False), (120, True)])
def test_gather__price_age__stale_from_two_steps_on(ledger_of: Make, minutes: int, stale: bool) -> None:
    facts: Facts = gather(ledger_of(price_at=AT - timedelta(minutes=minutes)))
    assert facts.stale is stale
