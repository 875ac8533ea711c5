"""A real ledger with one decision, written in the shapes that a cycle writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridpilot import report
from gridpilot.config import DATA, load_site
from gridpilot.domain import (
    Allocation,
    Attempt,
    AuctionResult,
    Band,
    DataFlag,
    Dispatch,
    Forecast,
    Payment,
    Plan,
    PriceHistory,
    PriceOutlook,
    RiskReport,
    Site,
    Tenant,
    Units,
)
from gridpilot.explain.facts import Facts, gather
from gridpilot.explain.grounding import ungrounded
from gridpilot.explain.recall import recall
from gridpilot.explain.template import answer
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.monitor.settle import Settlement
from gridpilot.values import iso, to_jsonable

START = datetime(2024, 6, 24, 17, 0, tzinfo=UTC)  # 19:00 in Rotterdam: the interval that runs
AT = START + timedelta(minutes=12)
MARA_UNITS = Units("index", "index/W", "index per hash rate", "index per token rate", 1e6, 1.0, 1.0)
EVENING = [96.0, 120.0, 110.0, 90.0, 70.0, 50.0, 40.0, 35.0, 30.0, 28.0, 30.0, 45.0]
PRICES = np.array([*EVENING, 60.0, 55.0, 40.0, 20.0, -5.0, 10.0, 30.0, 60.0, 80.0, 95.0, 130.0, 125.0])
T = len(PRICES)
ASSETS = {"hydro": 30.0, "gpu": 70.35, "tenants": 5.0, "battery": 1.0}  # who made the profit of a settled hour
STEP = timedelta(hours=1)


@dataclass
class Story:
    """What the test's decision looks like."""

    site: Site = field(default_factory=lambda: load_site(DATA / "site-default.toml"))
    units: Units = field(default_factory=Units)
    battery_kw: float = 0.0
    soc: float | None = 0.412
    origin: str = "plan"
    sent: str = "applied"
    scale: float = 1.0  # of the prices
    hash_price: float = 55.0
    token_price: float = 0.6
    machines: dict[str, int] = field(default_factory=lambda: {"hydro": 40, "gpu": 10})
    marginal: float | None = 0.118
    power_price: float | None = 0.096
    status: str = "optimal"
    import_kw: float = 420.5
    flags: tuple[DataFlag, ...] = (DataFlag("INTERPOLATED", "hashprice: monthly means, linear between mid-months"),)
    tenant: str = "render-farm"
    displaced: str = "air"
    price_at: datetime = START
    risk_status: str = "ok"
    pilot: PilotState | None = field(default_factory=lambda: PilotState(AUTO, ""))
    before: Story | None = None  # the decision of four hours earlier
    days: int = 0  # before today that are settled, hour by hour


def stamps(start: datetime, n: int) -> Any:
    first = np.datetime64(int(start.timestamp()), "s")
    return first + np.arange(n) * np.timedelta64(3600, "s")


def _forecast(story: Story) -> Forecast:
    point = np.append(PRICES[1:], 90.0) * story.scale
    wide = np.abs(point) * 0.2 + 5.0 * story.scale

    def band(values: Any, spread: Any) -> Band:
        quantiles = {0.1: values - spread, 0.5: values, 0.9: values + spread}
        return Band(values, values - spread, values + spread, spread / 1.28, quantiles, "mix of naive, ridge")

    return Forecast(
        origin=START,
        timestamp=stamps(START + STEP, T),
        step_s=3600,
        energy=band(point, wide),
        hash=band(np.full(T, story.hash_price), np.zeros(T)),
        token=band(np.full(T, story.token_price), np.zeros(T)),
        paths={name: np.zeros((2, T)) for name in ("energy", "hash", "token")},
        scores={"energy": {"naive": 21.4 * story.scale, "ridge": 16.2 * story.scale, "mix": 15.731 * story.scale}},
        score_days=56.0,
    )


def _plan(story: Story) -> Plan:
    charge, discharge = np.zeros(T), np.zeros(T)
    charge[0], discharge[0] = max(story.battery_kw, 0.0), max(-story.battery_kw, 0.0)
    discharge[1:2], charge[15:18], discharge[22:24] = 250.0, 250.0, 240.0
    air, immersion = np.zeros(T), np.zeros(T)
    air[5:12], immersion[4:13] = 249.6, 264.6
    loads = {"hydro": np.full(T, 241.2), "gpu": np.full(T, 102.0), "air": air, "immersion": immersion}
    loads |= {story.tenant: np.full(T, 60.0), "cold-store": np.full(T, 40.0), "training": np.zeros(T)}
    outlook = PriceOutlook(
        stamps(START, T),
        3600,
        PRICES * story.scale,
        np.full(T, story.hash_price),
        np.full(T, story.token_price),
        story.units,
    )
    nan = float("nan")
    worth = np.full(T, nan if story.marginal is None else story.marginal)
    power = PRICES * story.scale / 1000.0
    power[0] = nan if story.power_price is None else story.power_price
    return Plan(
        status=story.status,
        method="highs" if story.status == "optimal" else "heuristic",
        objective_usd=412.5,
        timestamp=stamps(START, T),
        step_s=3600,
        soc_start_frac=nan if story.soc is None else story.soc,
        charge_kw=charge,
        discharge_kw=discharge,
        soc_frac=np.full(T, nan if story.soc is None else story.soc),
        import_kw=np.full(T, story.import_kw),
        export_kw=np.zeros(T),
        cooling_kw=np.full(T, 120.0),
        loads_kw=loads,
        marginal_value_usd_per_kwh=worth,
        power_price_usd_per_kwh=power,
        terminal_usd_per_mwh=40.0,
        outlook=outlook,
        attempts=(Attempt("highs", "optimal"),),
        solve_ms=23.4,
    )


def _auction(story: Story) -> AuctionResult:
    return AuctionResult(
        welfare_usd_per_h=101.25,
        allocation=(
            Allocation(story.tenant, "inference", 60.0, 60.0, 9.6),
            Allocation("cold-store", "cooling", 40.0, 40.0, 4.8),
            Allocation("air", "mining", 249.6, 0.0, 0.0),
        ),
        payments=(
            Payment(
                story.tenant,
                7.404,
                120.0,
                112.596,
                ((story.displaced, 50.0, 0.1, 6.25), ("reserve", 10.0, 0.1154, 1.154)),
            ),
            Payment("cold-store", 0.0, 100.0, 100.0),
        ),
        clearing_price_usd_per_kwh=0.1234,
        reserve_usd_per_kwh=0.096,
        capacity_kw=777.8,
        method="merit order",
        exact=True,
    )


def _risk(story: Story) -> RiskReport:
    nan = float("nan")
    if story.risk_status != "ok":
        return RiskReport(story.risk_status, 0.95, 3, nan, nan, nan, nan, 1.0)
    return RiskReport("ok", 0.95, 200, 12.5, 31.25, 40.0, 22.0, 0.87, 405.1)


def _cycle(story: Story, wall: datetime) -> dict[str, Any]:
    machines = {machine.type: story.machines.get(machine.type, 0) for machine in story.site.machines}
    dispatch = Dispatch(
        at=AT,
        valid_until=AT + 2 * STEP,
        origin=story.origin,
        machines=machines,
        battery_kw=story.battery_kw,
        jobs_kw={},
        tenants_kw={story.tenant: 60.0},
        cooling_kw=126.6,
        machine_kw=343.2,
        total_power_kw=569.8,
        payload={},
        constraints_satisfied=True,
        status=story.sent,
    )
    parts = {"tenants": 7.4, "jobs": 0.0, "export_income": 0.0, "import_cost": 54.7, "wear": 0.05, "load_kw": 569.8}
    return {
        "at": iso(AT),
        "wall": iso(wall),
        "source": "replay",
        "simulated": True,
        "site": story.site.name,
        "credit": "Ember, European wholesale electricity prices, CC BY 4.0",
        "step_s": 3600,
        "units": to_jsonable(story.units),
        "price_at": iso(story.price_at),
        "prices": {
            "energy_usd_per_mwh": float(PRICES[0]) * story.scale,
            "hash": story.hash_price,
            "token": story.token_price,
        },
        "soc_frac": story.soc,
        "state_source": "simulated",
        "dispatch": report.dispatch_json(dispatch),
        "rate": {"machines": {"hydro": 34.5, "gpu": 179.3}, **parts, "profit_usd_per_h": 166.45},
        "always_on": {"machines": {"hydro": 34.5}, **parts, "profit_usd_per_h": 151.2},
        "flags": to_jsonable(story.flags),
        "timings_ms": {"total": 800.0},
    }


def money_of(days_ago: int) -> dict[str, float]:
    """Money of each settled hour of an earlier day [USD]: the nearer the day, the less hashing and the dearer power."""
    power = {"import": 0.5 * (50.0 + 30.0 / days_ago), "wear": 0.2 / days_ago}  # of 500 kWh
    return {"hash": 20.0 * days_ago, "token": 10.0, "tenants": 8.4, "jobs": 0.0, "export": 0.0, **power}


def profit_of(days_ago: int) -> float:
    """What each hour of an earlier day made [USD]."""
    money = money_of(days_ago)
    return sum(money.values()) - 2.0 * (money["import"] + money["wear"])


def _settle_days(ledger: Ledger, days: int) -> None:
    """Settlements of whole local days, each hour with its own auction; render-farm pays 6 USD/h, cold-store 2.4."""
    for hour in range(24 * days):
        start = START - timedelta(hours=19 + 24 * days - hour)  # from midnight on
        ago, name = days - hour // 24, f"settled-{hour}"
        payments = [{"bidder": "render-farm", "usd_per_h": 6.0}, {"bidder": "cold-store", "usd_per_h": 2.4}]
        ledger.append("auction", {"payments": payments, "allocation": []}, at=start, cycle_id=name)
        made = profit_of(ago)
        settled = Settlement(start, start + STEP, 1.0, made, made - 1.0, money_of(ago), 500.0, 0.0, name)
        ledger.append("settlement", to_jsonable(settled), at=start + STEP, cycle_id=name)


WALL = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def write(path: Path, story: Story) -> Ledger:
    """A ledger with that story's decision."""
    if story.tenant != "render-farm":
        first = Tenant(story.tenant, "inference", 60.0, 0.16)
        story.site = replace(story.site, tenants=(first, *story.site.tenants[1:]))
    ledger = Ledger.open(f"sqlite:///{path / 'ledger.db'}")
    n = 24 * 40
    past = 60.0 + 40.0 * np.sin(np.arange(n) / 24.0 * 2 * np.pi)
    energy = np.append(past, PRICES[0]) * story.scale
    times_, flat = stamps(START - n * STEP, n + 1), np.full(n + 1, story.hash_price)
    history = PriceHistory("replay", times_, 3600, energy, flat, np.full(n + 1, story.token_price), story.units)
    ledger.record_prices(history, AT)
    ledger.put_state("site", to_jsonable(story.site))
    if story.pilot is not None:
        story.pilot.save(ledger)
    _settle_days(ledger, story.days)
    money = {"hash": 80.0, "token": 210.0, "tenants": 14.8, "jobs": 0.0, "export": 3.0, "import": 95.0, "wear": 0.1}
    for hours in (3, 2):
        start = START - hours * STEP
        settled = Settlement(start, start + STEP, 1.0, 106.35, 98.1, money, 570.0, 0.0, "earlier", ASSETS)
        ledger.append("settlement", to_jsonable(settled), at=start + STEP, cycle_id="earlier")
    early = report.forecast_record(_forecast(story))
    early["timestamp"] = [iso(START - (6 - i) * STEP) for i in range(T)]
    ledger.append("forecast", early, at=START - 7 * STEP, cycle_id="earlier")
    if story.before is not None:
        four = 4 * STEP
        cycle = _cycle(story.before, WALL - four) | {"price_at": iso(START - four)}
        cycle["dispatch"] |= {"at": iso(AT - four), "valid_until": iso(AT - 2 * STEP)}
        ledger.append_many([*_parts(story.before), ("cycle", cycle)], at=AT - four, cycle_id="20240624T130000-abc122")
    ledger.append_many([*_parts(story), ("cycle", _cycle(story, WALL))], at=AT, cycle_id="20240624T170000-abc123")
    return ledger


def _parts(story: Story) -> list[tuple[str, Any]]:
    return [
        ("forecast", report.forecast_record(_forecast(story))),
        ("plan", report.plan_json(_plan(story))),
        ("auction", report.auction_json(_auction(story))),
        ("risk", report.risk_json(_risk(story), sample=True)),
    ]


@pytest.fixture
def ledger_of(tmp_path: Path) -> Callable[..., Ledger]:
    """A ledger of a `Story` with these figures."""
    opened: list[Ledger] = []

    def make(**figures: Any) -> Ledger:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(write(folder, Story(**figures)))
        return opened[-1]

    yield make  # type: ignore[misc]
    for ledger in opened:
        ledger.close()


@pytest.fixture
def mara() -> dict[str, Any]:
    """Figures of a decision on MARA's index prices: 2 index/W is 2,000,000 $/MWh in our terms."""
    site = load_site(DATA / "site-mara.toml")
    return {
        "site": site,
        "units": MARA_UNITS,
        "scale": 2e6 / 96.0,
        "hash_price": 3.0,
        "token_price": 1.1,
        "machines": {"hydro": 80, "asic": 10},
        "marginal": 2500.0,
        "power_price": 2000.0,
    }


def recalled(ledger: Ledger, question: str) -> Facts:
    """The facts that a question is answered from."""
    return recall(question, gather(ledger), ledger)


def told(ledger: Ledger, question: str) -> str:
    """The answer; each of its numbers is a cited fact's."""
    facts = recalled(ledger, question)
    found = answer(question, facts)
    for sentence in found.sentences:
        assert ungrounded(sentence.text, [facts[key] for key in sentence.citations]) == ()
    return found.text
