from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gridpilot.config import DATA, load_site
from gridpilot.domain import DataFlag
from gridpilot.market import energy_charts
from gridpilot.market.hashprice import CARRY, Mempool, hashprice
from gridpilot.market.http import Policy
from gridpilot.values import Times, as_times, to_stamp
from tests.market.market_server import MarketServer

QUICK = Policy(deadline_s=8.0, attempt_s=2.0, backoff_s=0.01)


@pytest.fixture
def server() -> Iterator[MarketServer]:
    with MarketServer() as running:
        yield running


@pytest.fixture
def mempool(server: MarketServer) -> Mempool:
    return Mempool(server.url, QUICK)


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC)


def hours(now: datetime, n: int) -> Times:
    """The n hours up to the running one."""
    last = to_stamp(now.replace(minute=0, second=0, microsecond=0))
    return as_times(last - np.arange(n - 1, -1, -1) * np.timedelta64(1, "h"))


def flag(flags: tuple[DataFlag, ...], code: str) -> DataFlag:
    return next(f for f in flags if f.code == code)


def test_hashprice__is_144_rewards_of_a_day_for_the_share_of_a_petahash() -> None:
    assert hashprice(3.125, 100_000.0, 900e18) == pytest.approx(144 * 3.125 * 100_000 / 900_000)
    assert hashprice(3.125, 100_000.0, 900e18) == pytest.approx(50.0)
    assert np.isnan(hashprice(3.125, float("nan"), 900e18))


def test_series__now_by_the_price_of_now__the_past_by_its_own_prices(
    mempool: Mempool, server: MarketServer, now: datetime
) -> None:
    price, flags = mempool.series(hours(now, 48), now)
    assert price[-1] == pytest.approx(144 * 3.15 * 100_000 / 1e6)  # fees and subsidy, 1e21 H/s
    assert price[0] == pytest.approx(144 * 3.15 * 90_003 / 1e6, rel=1e-4)
    assert [f.code for f in flags] == ["COMPUTED"]
    assert len(server.requests) == 3


def test_series__what_was_seen_is_not_rewritten_and_the_server_is_asked_seldom(
    mempool: Mempool, server: MarketServer, now: datetime
) -> None:
    first, _ = mempool.series(hours(now, 48), now)
    mempool.series(hours(now, 48), now + timedelta(minutes=9))
    assert len(server.requests) == 3
    later = now + timedelta(hours=2)
    second, _ = mempool.series(hours(later, 50), later)
    assert len(server.requests) == 6
    assert np.array_equal(second[:48], first)


def test_series__further_back_than_published__unknown_and_said(mempool: Mempool, now: datetime) -> None:
    price, flags = mempool.series(hours(now, 24 * 366), now)
    unknown = int(np.isnan(price).sum())
    assert 0 < unknown < 24 * 20
    assert flag(flags, "HASH_PAST").count == unknown


def test_series__server_fails__carried_with_a_flag_then_a_gap_never_a_guess(
    mempool: Mempool, server: MarketServer, now: datetime
) -> None:
    first, _ = mempool.series(hours(now, 24), now)
    server.stop()
    soon = now + timedelta(hours=2)
    price, flags = mempool.series(hours(soon, 26), soon)
    assert price[-1] == first[-1]
    assert flag(flags, "HASH_STALE").severity == "warn"
    assert "120 min old, carried: " in flag(flags, "HASH_STALE").message
    assert "connection refused" in flag(flags, "HASH_STALE").message
    late = now + CARRY + timedelta(hours=2)
    price, flags = mempool.series(hours(late, 32), late)
    assert np.isnan(price[-1])
    assert np.isfinite(price[:-3]).all()
    assert flag(flags, "HASH_GAP").severity == "warn"


def test_series__never_read__unknown_and_asked_again_after_a_minute(
    mempool: Mempool, server: MarketServer, now: datetime
) -> None:
    server.faults.status = 503
    price, flags = mempool.series(hours(now, 24), now)
    assert np.isnan(price).all()
    assert "answered 503" in flag(flags, "HASH_GAP").message
    asked = len(server.requests)
    mempool.series(hours(now, 24), now + timedelta(seconds=30))
    assert len(server.requests) == asked
    server.faults.status = 0
    price, flags = mempool.series(hours(now, 24), now + timedelta(seconds=61))
    assert np.isfinite(price).all()
    assert mempool.trouble == ""


def test_F04__retry_after_120__obeyed(mempool: Mempool, server: MarketServer, now: datetime) -> None:
    server.faults.status, server.faults.retry_after = 429, 120
    mempool.series(hours(now, 24), now)
    mempool.series(hours(now, 24), now + timedelta(seconds=119))
    assert len(server.requests) == 1
    server.faults.status = 0
    price, _ = mempool.series(hours(now, 24), now + timedelta(seconds=121))
    assert np.isfinite(price).all()


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"status": 401}, "answered 401"),
        ({"html": True}, "not JSON"),
        ({"truncate": True}, "cut short"),
        ({"pad_bytes": 50_000_000}, "longer than 5 MB"),
        ({"redirect": "http://127.0.0.1:9/elsewhere"}, "which is not followed"),
        ({"empty": True}, "expected a list of objects"),
        ({"hang_s": 30.0}, r"no (complete )?reply|still coming"),
    ],
)
def test_F02_F05_F06_F07_F09__each_is_a_gap_that_says_why(
    server: MarketServer, now: datetime, faults: dict[str, Any], says: str
) -> None:
    hangs = "hang_s" in faults
    mempool = Mempool(server.url, Policy(deadline_s=0.9, attempt_s=0.4, backoff_s=0.01) if hangs else QUICK)
    server.faults = replace(server.faults, **faults)
    price, flags = mempool.series(hours(now, 24), now)
    assert np.isnan(price).all()
    assert re.search(says, flag(flags, "HASH_GAP").message)
    assert "\n" not in flag(flags, "HASH_GAP").message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([1], "expected a list of objects"),
        ({"a": 1}, "expected a list of objects"),
        ([{"timestamp": 1}], "expected an object with hashrates"),
    ],
)
def test_series__another_shape__a_gap_that_says_what_came(
    mempool: Mempool, server: MarketServer, now: datetime, body: object, says: str
) -> None:
    server.faults.body = body
    _, flags = mempool.series(hours(now, 24), now)
    assert says in flag(flags, "HASH_GAP").message


@pytest.mark.parametrize("usd", [0, -5, None, "100000", 1e12])
def test_series__price_that_makes_no_sense__a_gap(
    mempool: Mempool, server: MarketServer, now: datetime, usd: object
) -> None:
    server.usd = usd
    price, flags = mempool.series(hours(now, 24), now)
    assert np.isnan(price).all()
    assert "expected 0.1 to 10000" in flag(flags, "HASH_GAP").message


def test_source__with_companion__its_price_and_not_the_figure_of_the_site_file(
    mempool: Mempool, server: MarketServer, now: datetime
) -> None:
    site = replace(load_site(DATA / "site-default.toml"), hash_usd_per_ph_day=7.0)
    source = energy_charts.source("NL", site, url=server.url, policy=QUICK, companion=mempool)
    history = source.fetch(now)
    assert history.units.hash == "USD/PH/day"
    assert history.hash_price[-1] == pytest.approx(45.36)
    assert 7.0 not in history.hash_price
    mempool.http.base_url = "http://127.0.0.1:9"
    late = source.fetch(now + CARRY + timedelta(hours=2))
    assert np.isnan(late.hash_price[-1])
    assert np.isfinite(late.energy_usd_per_mwh).all()
