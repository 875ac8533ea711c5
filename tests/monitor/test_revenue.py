"""Money by asset and by day, from whole cycles of the replay in a real ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, Settings, load_site
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.domain import Units
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import revenue
from gridpilot.monitor.pnl import Prices, SetPoints, by_asset, rate
from gridpilot.monitor.service import service
from gridpilot.values import to_jsonable

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

SITE = load_site(DATA / "site-default.toml")
WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(
    st.floats(-500, 5000),
    st.floats(-250, 250),
    st.lists(st.integers(0, 100), min_size=len(SITE.machines), max_size=len(SITE.machines)),
    st.floats(0, 200),
    st.floats(0, 100),
    st.floats(0, 50),
)
@settings(deadline=None, max_examples=100)
def test_by_asset__whatever_runs__adds_up_to_the_profit(
    price: float, battery_kw: float, counts: list[int], tenant_kw: float, job_kw: float, room_kw: float
) -> None:
    prices = Prices(price, 55.0, 0.6, Units())
    machines = dict(zip((m.type for m in SITE.machines), counts, strict=True))
    jobs, tenants = {SITE.jobs[0].name: job_kw}, {"t1": tenant_kw}
    ran = SetPoints(machines, battery_kw, jobs, tenants, room_kw)
    earned = rate(
        SITE,
        prices,
        machines,
        battery_kw=battery_kw,
        jobs_kw=jobs,
        tenants_kw=tenants,
        tenants_usd_per_h=3.0,
        room_kw=room_kw,
    )
    parts = by_asset(SITE, prices, earned, ran)
    assert sum(parts.values()) == pytest.approx(earned.profit_usd_per_h, abs=1e-6)
    assert parts["battery"] == pytest.approx(-battery_kw * price / 1000.0 - earned.wear)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A day and some hours of the replay, each day closed by the cycle after it."""
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('lived') / 'ledger.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for _ in range(40):
            result = run_cycle(engine, WALL)
            revenue.close(ledger, result.at)
            source.clock = source.clock.stepped(WALL).with_speed(WALL, 0.0)
        yield ledger


def test_close__day_is_over__once_with_its_settlements_and_below_perfect_foresight(lived: Ledger) -> None:
    days = revenue.days(lived)
    assert len(days) == len({day.day for day in days}) >= 1
    for day in days:
        assert day.why == ""
        rows = [
            row for row in lived.entries("settlement", newest_first=False) if day.first_seq <= row.seq <= day.last_seq
        ]
        assert sum(row.body["profit_usd"] for row in rows) == pytest.approx(day.profit_usd)
        assert sum(row.body["always_on_usd"] for row in rows) == pytest.approx(day.nothing_usd)
        assert sum(day.assets.values()) == pytest.approx(day.profit_usd)
        assert sum(row.body["hours"] for row in rows) == pytest.approx(day.hours)
        assert day.profit_usd + day.stored_usd <= day.perfect_usd
        assert 0.5 < day.of_perfect <= 1.0
        assert {"air", "hydro", "battery"} <= set(day.assets)
    assert max(day.hours for day in days) == pytest.approx(24.0)


def test_close__before_anything_or_twice__none(lived: Ledger, tmp_path: Path) -> None:
    newest = lived.latest("cycle")
    assert newest is not None
    assert revenue.close(lived, newest.at) is None
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert revenue.close(ledger, WALL) is None


def test_day__json__comes_back_the_same(lived: Ledger) -> None:
    for day in revenue.days(lived):
        assert revenue.Day.from_json(to_jsonable(day)) == day
    some = revenue.days(lived)[0]
    assert math.isnan(revenue.Day.from_json({**to_jsonable(some), "perfect_usd": None}).of_perfect)


def test_service__every_interval_decided__all_of_them_and_ordered_latencies(lived: Ledger) -> None:
    newest = lived.latest("cycle")
    assert newest is not None
    found = service(lived, newest.at)
    assert found is not None
    assert (found.availability, found.due, found.cycles) == (1.0, 40, 40)
    low, mid, high = found.latency_ms["total"]
    assert 0.0 < low <= mid <= high
    away = service(lived, newest.at + timedelta(hours=10, minutes=30))
    assert away is not None
    assert (away.due, away.served) == (50 - 1, 40), "the running interval counts when it is over"


def test_service__only_what_the_machines_took__counts(lived: Ledger, tmp_path: Path) -> None:
    newest = lived.latest("cycle")
    assert newest is not None
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert service(ledger, newest.at) is None
        for i, status in enumerate(("applied", "mismatch", "held", "applied")):
            body = {**newest.body, "dispatch": {**newest.body["dispatch"], "status": status}}
            ledger.append("cycle", body, at=newest.at + timedelta(hours=i))
        found = service(ledger, newest.at + timedelta(hours=3))
    assert found is not None and (found.due, found.served) == (4, 3)
