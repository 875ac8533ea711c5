from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.domain import PriceHistory, Site
from gridpilot.errors import SourceError
from gridpilot.market import energy_charts, gridstatus
from gridpilot.market.csv_file import CsvSource
from gridpilot.market.failover import Failover
from gridpilot.market.http import Policy
from gridpilot.market.watch import IN_USE, REFUSED, STANDBY, Standing
from gridpilot.values import iso
from tests.market.market_server import KEY, MarketServer

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

QUICK = Policy(deadline_s=9.0, attempt_s=6.0, backoff_s=0.01)
T0 = datetime(2026, 6, 10, 12, 7, tzinfo=UTC)
STEP = timedelta(hours=1)
FIRST, SECOND = "gridstatus:ercot/HB_NORTH", "energy-charts:NL"


@pytest.fixture
def texas() -> Iterator[MarketServer]:
    with MarketServer() as running:
        yield running


@pytest.fixture
def europe() -> Iterator[MarketServer]:
    with MarketServer() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-default.toml")


@pytest.fixture
def source(site: Site, texas: MarketServer, europe: MarketServer) -> Failover:
    first = gridstatus.source("ercot/HB_NORTH", SecretStr(KEY), site, url=f"{texas.url}/v1", policy=QUICK)
    return Failover([first, energy_charts.source("NL", site, url=europe.url, policy=QUICK)])


def told(history: PriceHistory) -> dict[str, str]:
    return {f.code: f.message for f in history.flags if f.code in ("FAILOVER", "SWITCHED", "STALE")}


def roles(source: Failover, now: datetime) -> dict[str, str]:
    return {standing.name: standing.role for standing in source.watch.standings(now)}


def test_fetch__first_is_good__it_is_used_and_the_age_of_all_is_known(source: Failover) -> None:
    history = source.fetch(T0)
    assert history.source == source.name == FIRST
    assert told(history) == {}
    first, second = source.watch.standings(T0)
    assert (first.role, first.unit, first.currency) == (IN_USE, "USD/MWh", "USD")
    assert (second.role, second.unit, second.currency) == (STANDBY, "EUR/MWh", "EUR")
    assert first.age_s == second.age_s == 7 * 60
    assert first.last_success == second.last_success == T0
    assert "SMARD" in second.credit


def test_fetch__first_fails__the_second_with_its_own_past_and_unit(
    source: Failover, texas: MarketServer, site: Site, europe: MarketServer
) -> None:
    source.fetch(T0)
    texas.published = T0  # nothing new is published in Texas, and the server goes
    texas.stop()
    now = T0 + timedelta(days=3)
    history = source.fetch(now)
    alone = energy_charts.source("NL", site, url=europe.url, policy=QUICK).fetch(now)
    assert history.source == source.name == SECOND
    both_know = np.isin(history.timestamp, alone.timestamp)
    assert np.array_equal(history.energy_usd_per_mwh[both_know], alone.energy_usd_per_mwh[-int(both_know.sum()) :])
    assert history.units.energy == "EUR/MWh"
    assert "SUSPECT" not in {f.code for f in history.flags}
    assert "connection refused" in told(history)["FAILOVER"]
    assert told(history)["SWITCHED"].startswith(f"prices come from {SECOND} in EUR/MWh from now on, until now from")
    first, second = source.watch.standings(now)
    assert (first.role, second.role) == (REFUSED, IN_USE)
    assert "connection refused" in first.refusal
    assert first.last_success == T0
    assert "SWITCHED" not in told(source.fetch(now + STEP))
    assert "FAILOVER" in told(source.fetch(now + STEP))


def test_fetch__comes_back_after_two_good_looks__no_flapping(source: Failover, texas: MarketServer) -> None:
    texas.faults.status = 500
    used = [source.fetch(T0).source]
    texas.faults.status = 0
    for i, broken in enumerate([False, True, False, False, False], 1):
        texas.faults.status = 500 if broken else 0
        texas.faults.empty = broken
        now = T0 + i * timedelta(days=3)  # so that nothing that was read before reaches so far
        used.append(source.fetch(now).source)
        assert sum(role == IN_USE for role in roles(source, now).values()) == 1
    assert used == [SECOND, SECOND, SECOND, SECOND, FIRST, FIRST]


def test_fetch__second_has_alarms_only__the_first_that_is_stale_serves(
    source: Failover, texas: MarketServer, europe: MarketServer
) -> None:
    source.fetch(T0)
    texas.published = europe.published = T0 + 47 * STEP
    europe.faults.status = 401
    now = T0 + timedelta(days=2, hours=1)
    history = source.fetch(now)
    assert history.source == FIRST
    assert "nothing newer has come" in told(history)["STALE"]
    assert roles(source, now) == {FIRST: IN_USE, SECOND: REFUSED}


def test_fetch__none_is_usable__an_error_that_lists_all(
    source: Failover, texas: MarketServer, europe: MarketServer
) -> None:
    texas.faults.status, texas.faults.echo_key = 403, True
    europe.faults.html = True
    with pytest.raises(SourceError, match=f"no price source is usable: {FIRST} .*403.*; {SECOND} .*not JSON") as caught:
        source.fetch(T0)
    assert KEY not in str(caught.value)
    first, second = source.watch.standings(T0)
    assert (first.role, second.role) == (REFUSED, REFUSED)
    assert "answered 403" in first.error
    assert (first.price_at, first.age_s, first.error_at) == (None, None, T0)
    assert KEY not in repr((first, second))


def test_fetch__all_are_asked_at_once(source: Failover, texas: MarketServer, europe: MarketServer) -> None:
    texas.together = europe.together = threading.Barrier(2)  # neither answers before the other is asked
    source.fetch(T0)
    assert roles(source, T0) == {FIRST: IN_USE, SECOND: STANDBY}


def test_fetch__file_in_a_list__judged_by_the_wall_clock(site: Site, texas: MarketServer, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    hours = [T0.replace(minute=0) - timedelta(hours=99 - i) for i in range(100)]
    path.write_text("timestamp,energy_price\n" + "".join(f"{iso(at)},{40 + at.hour}\n" for at in hours))
    texas.faults.status = 500
    first = gridstatus.source("ercot/HB_NORTH", SecretStr(KEY), site, url=f"{texas.url}/v1", policy=QUICK)
    source = Failover([first, CsvSource(path, site)])
    assert source.present(T0) == T0
    assert source.fetch(T0).source == "csv"
    with pytest.raises(SourceError, match=r"csv \(newest price is of .* nothing newer has come"):
        source.fetch(T0 + timedelta(hours=4))


def test_standing__survives_its_json_form(source: Failover, texas: MarketServer) -> None:
    texas.faults.status = 500
    source.fetch(T0)
    for standing in source.watch.standings(T0):
        body = standing.to_json()
        assert body["currency"] == standing.currency
        assert Standing.from_json(body | {"of_a_later_version": 1}) == standing


@pytest.mark.parametrize(("status", "code"), [(0, 0), (403, 1)])
def test_command_line__key_of_a_source__in_no_output_and_not_in_the_ledger(
    texas: MarketServer, europe: MarketServer, tmp_path: Path, status: int, code: int
) -> None:
    texas.faults.status, texas.faults.echo_key, europe.faults.status = status, True, status
    env = {
        "GRIDPILOT_SOURCE": f"{FIRST}, {SECOND}",
        "GRIDPILOT_GRIDSTATUS_URL": f"{texas.url}/v1",
        "GRIDPILOT_ENERGY_CHARTS_URL": europe.url,
        "GRIDPILOT_GRIDSTATUS_API_KEY": KEY,
        "GRIDPILOT_DB_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gridpilot", "cycle", "--json"],
        env={**os.environ, **env},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    if code:
        assert done.stderr.count("\n") == 1
        assert f"no price source is usable: {FIRST}" in done.stderr
    else:
        assert json.loads(done.stdout)["source"] == FIRST
    assert texas.headers[0]["x-api-key"] == KEY
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY not in done.stdout + done.stderr
    assert written and KEY.encode() not in written
