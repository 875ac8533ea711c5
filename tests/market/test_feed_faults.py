"""Rows F01 to F09, F17 and F18 of the fault table for every source that asks a server over the internet."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.domain import DAY_AHEAD, DataFlag, PriceHistory, Site
from gridpilot.errors import DataError, RateLimited, Refused, SourceError, Unreachable
from gridpilot.market import energy_charts, gridstatus
from gridpilot.market.feed import FedSource
from gridpilot.market.http import Policy
from tests.market.market_server import KEY, LICENCE, MarketServer

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

QUICK = Policy(deadline_s=8.0, attempt_s=2.0, backoff_s=0.01)
IMPATIENT = Policy(deadline_s=0.9, attempt_s=0.25, backoff_s=0.01)  # where the wait is the test
T0 = datetime(2026, 6, 10, 12, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)

Make = Callable[..., FedSource]


def _energy_charts(site: Site, url: str, policy: Policy) -> FedSource:
    return energy_charts.source("DE-LU", site, url=url, policy=policy)


def _day_ahead(site: Site, url: str, policy: Policy) -> FedSource:
    return gridstatus.source("ercot/HB_NORTH", SecretStr(KEY), site, url=f"{url}/v1", policy=policy)


def _real_time(site: Site, url: str, policy: Policy) -> FedSource:
    return gridstatus.source("nyiso/N.Y.C./real-time", SecretStr(KEY), site, url=f"{url}/v1", policy=policy)


ADAPTERS = {"energy-charts": _energy_charts, "day-ahead": _day_ahead, "real-time": _real_time}
KEYED = {"day-ahead", "real-time"}


@pytest.fixture
def server() -> Iterator[MarketServer]:
    with MarketServer() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Site:
    return replace(load_site(DATA / "site-default.toml"), hash_usd_per_ph_day=50.0)


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(adapter: str, server: MarketServer, site: Site) -> Make:
    def made(policy: Policy = QUICK, url: str = "") -> FedSource:
        return ADAPTERS[adapter](site, url or server.url, policy)

    return made


def flag(history: PriceHistory, code: str) -> DataFlag:
    return next(f for f in history.flags if f.code == code)


def codes(history: PriceHistory) -> set[str]:
    return {f.code for f in history.flags} - {"CONSTANT"}


def later(source: FedSource, good: PriceHistory) -> datetime:
    """When nothing that was read before is of the running interval, and it is not yet far too old."""
    last = source.kept.last
    assert last is not None
    return last.last + timedelta(seconds=1.5 * good.step_s)


# --- F01 to F09 ---


def test_F01__nobody_listens__three_attempts_then_unreachable(make: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        source = make(url=f"http://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(Unreachable, match="connection refused"):
        source.fetch(T0)
    assert (source.stats.attempts, source.stats.retries, source.stats.failures) == (3, 2, 1)


def test_F01__never_answered__ends_at_the_deadline(make: Make) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        source = make(IMPATIENT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"within 0\.\d s"):
            source.fetch(T0)
    assert source.stats.attempts == 3


def test_F01__down_later__kept_prices_are_flagged_with_age_and_cause(server: MarketServer, make: Make) -> None:
    source = make()
    good = source.fetch(T0)
    server.stop()
    soon = source.fetch(T0 + timedelta(minutes=31 if source.feed.terms.ahead else 11))
    assert codes(soon) == ({"UNREACHABLE"} if source.feed.terms.ahead else {"STALE", "LATE"})
    now = later(source, good)
    kept = source.fetch(now)
    assert flag(kept, "STALE").severity == "warn"
    assert "connection refused" in flag(kept, "STALE").message
    assert np.array_equal(kept.energy_usd_per_mwh[: len(good)], good.energy_usd_per_mwh)
    old = source.fetch(now + timedelta(seconds=4 * good.step_s))
    assert flag(old, "STALE").severity == "alarm"


def test_F02__hang_after_the_headers__total_deadline(server: MarketServer, make: Make) -> None:
    source = make()
    good = source.fetch(T0)
    server.faults.hang_s = 30.0
    source.feed.http.policy = IMPATIENT
    kept = source.fetch(later(source, good))
    assert re.search(r"no (complete )?reply|still coming", flag(kept, "STALE").message)


def test_F03__two_500_then_200__succeeds_and_counts(server: MarketServer, make: Make) -> None:
    source = make()
    server.faults.status, server.faults.status_times = 500, 2
    assert codes(source.fetch(T0)) == set()
    assert (source.stats.attempts, source.stats.retries, source.stats.failures) == (3, 2, 0)


def test_F04__retry_after_120__obeyed_without_a_storm(server: MarketServer, make: Make) -> None:
    source = make()
    server.faults.status, server.faults.retry_after = 429, 120
    with pytest.raises(RateLimited) as caught:
        source.fetch(T0)
    assert caught.value.retry_after_s == 120
    with pytest.raises(RateLimited, match="not asked again before"):
        source.fetch(T0 + timedelta(seconds=60))
    assert len(server.requests) == 1
    server.faults.status = 0
    assert codes(source.fetch(T0 + timedelta(seconds=121))) == set()


@pytest.mark.parametrize("status", [401, 403])
def test_F05__refused_key__no_retry_alarm_and_never_in_a_text(
    server: MarketServer, make: Make, adapter: str, status: int
) -> None:
    source = make()
    good = source.fetch(T0)
    server.requests.clear()
    server.faults.status, server.faults.echo_key = status, True
    kept = source.fetch(later(source, good))
    alarm = flag(kept, "CREDENTIALS")
    assert alarm.severity == "alarm"
    assert ("GRIDPILOT_GRIDSTATUS_API_KEY" in alarm.message) == (adapter in KEYED)
    assert len(server.requests) == 1
    assert KEY not in repr(kept.flags) + repr(source)
    fresh = make()
    with pytest.raises(
        Refused, match="check " + ("GRIDPILOT_GRIDSTATUS_API_KEY" if adapter in KEYED else "the key")
    ) as caught:
        fresh.fetch(T0)
    assert KEY not in repr(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"html": True}, "body is not JSON: '<!DOCTYPE html>"),
        ({"truncate": True}, r"cut short: '\{"),
        ({"body": [1, 2]}, r"expected an object .*, got '\[1, 2\]'"),
        ({"body": {"data": {"a": 1}, "unix_seconds": 5}}, "expected an object"),
        ({"pad_bytes": 50_000_000}, "longer than 5 MB"),
    ],
)
def test_F06__nonsense_body__data_error_then_the_stale_path(
    server: MarketServer, make: Make, faults: dict[str, Any], says: str
) -> None:
    source = make()
    server.faults = replace(server.faults, **faults)
    with pytest.raises(DataError, match=says) as caught:
        source.fetch(T0)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
    server.faults = replace(server.faults, html=False, truncate=False, body=None, pad_bytes=0)
    good = source.fetch(T0)
    server.faults = replace(server.faults, **faults)
    assert flag(source.fetch(later(source, good)), "STALE").severity == "warn"


def test_F07__redirect_to_another_host__refused_and_the_key_stays(server: MarketServer, make: Make) -> None:
    with MarketServer() as other:
        server.faults.redirect = f"{other.url}/price"
        with pytest.raises(Refused, match="which is not followed"):
            make().fetch(T0)
        assert other.requests == []
    assert len(server.requests) == 1


def test_F07__tls_error__unreachable_without_a_retry(server: MarketServer, make: Make) -> None:
    source = make(url=server.url.replace("http://", "https://"))
    with pytest.raises(Unreachable, match="TLS"):
        source.fetch(T0)
    assert source.stats.attempts == 1


def test_F08__down_at_the_start__recovers_by_itself(server: MarketServer, make: Make) -> None:
    server.faults.status = 503
    source = make()
    with pytest.raises(Unreachable):
        source.fetch(T0)
    server.faults.status = 0
    assert codes(source.fetch(T0)) == set()


def test_F09__empty_list__no_data_never_zeros(server: MarketServer, make: Make) -> None:
    source = make()
    server.faults.empty = True
    with pytest.raises(SourceError, match="no price at or before 2026-06-10T12:07:00Z: the list is empty"):
        source.fetch(T0)
    server.faults.empty = False
    good = source.fetch(T0)
    server.faults.empty = True
    kept = source.fetch(later(source, good))
    assert "the list is empty" in flag(kept, "STALE").message
    assert np.array_equal(kept.energy_usd_per_mwh[: len(good)], good.energy_usd_per_mwh)


@pytest.mark.parametrize(("skew_s", "severity"), [(1, None), (20, "warn"), (90, "alarm"), (-90, "alarm")])
def test_F17__date_header__compared_with_our_clock(
    server: MarketServer, make: Make, skew_s: float, severity: str | None
) -> None:
    server.faults.date_skew_s = skew_s
    history = make().fetch(T0)
    assert next((f.severity for f in history.flags if f.code == "CLOCK"), None) == severity


# --- F18 ---

DAYS = [("Europe/Berlin", datetime(2026, 3, 29), 23), ("Europe/Berlin", datetime(2025, 10, 26), 25)]


@pytest.mark.parametrize("step_s", [3600, 900])
@pytest.mark.parametrize(("zone", "day", "hours"), DAYS)
def test_F18__change_of_the_clock__every_interval_of_the_local_day_once(
    server: MarketServer, site: Site, zone: str, day: datetime, hours: int, step_s: int
) -> None:
    server.step_s = step_s
    start = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end = (day + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    history = energy_charts.source("DE-LU", site, url=server.url, policy=QUICK).fetch(end - timedelta(seconds=1))
    at = history.timestamp.astype(np.int64)
    inside = (at >= start.timestamp()) & (at < end.timestamp())
    assert int(inside.sum()) == hours * 3600 // step_s
    assert history.step_s == step_s
    assert codes(history) == set()
    shown = history.energy_usd_per_mwh[inside] / site.usd_per_eur
    assert shown == pytest.approx([server.price(int(stamp)) for stamp in at[inside]])


@pytest.mark.parametrize(("place", "per_hour"), [("ercot/HB_NORTH", 1), ("ercot/HB_NORTH/real-time", 4)])
@pytest.mark.parametrize(("day", "hours"), [(datetime(2026, 3, 8), 23), (datetime(2025, 11, 2), 25)])
def test_F18__change_of_the_clock_in_texas__every_interval_once(
    server: MarketServer, site: Site, day: datetime, hours: int, place: str, per_hour: int
) -> None:
    chicago = ZoneInfo("America/Chicago")
    start, end = (d.replace(tzinfo=chicago).astimezone(UTC) for d in (day, day + timedelta(days=1)))
    source = gridstatus.source(place, SecretStr(KEY), site, url=f"{server.url}/v1", policy=QUICK)
    history = source.fetch(end - timedelta(seconds=1))
    at = history.timestamp.astype(np.int64)
    assert int(np.sum((at >= start.timestamp()) & (at < end.timestamp()))) == hours * per_hour
    assert codes(history) == set()


def test_F18__naive_time__refused(server: MarketServer, site: Site) -> None:
    server.faults.naive = True
    with pytest.raises(DataError, match=r"time '2025-06-10T13:00:00' has no zone, expected UTC"):
        _day_ahead(site, server.url, QUICK).fetch(T0)


def test_F18__from_hours_to_quarters__the_hours_before_are_set_aside_with_a_flag(
    server: MarketServer, site: Site
) -> None:
    change = datetime(2026, 6, 1, tzinfo=UTC)
    source = _energy_charts(site, server.url, QUICK)
    server.published = change - HOUR
    assert source.fetch(change - HOUR).step_s == 3600
    server.published, server.step_s = None, 900
    server.begins = change
    history = source.fetch(change + timedelta(days=2))
    assert history.step_s == 900
    assert history.timestamp[0] == np.datetime64("2026-06-01T00:00:00")
    assert flag(history, "STEP_CHANGED").count > 8000


# --- what is the adapters' own ---


def test_energy_charts__euro__converted_once_and_shown_in_its_own_unit(server: MarketServer, site: Site) -> None:
    history = _energy_charts(site, server.url, QUICK).fetch(T0)
    assert (history.units.energy, history.units.energy_usd_per_mwh) == ("EUR/MWh", site.usd_per_eur)
    shown = history.energy_usd_per_mwh[-1] / history.units.energy_usd_per_mwh
    assert shown == pytest.approx(server.price(int(history.last.timestamp())))
    assert LICENCE in history.credit
    assert "EUR counted at 1.08 USD (site file)" in history.credit


@pytest.mark.parametrize("unit", ["EUR / kWh", "GBP / MWh", ""])
def test_energy_charts__another_unit__refused(server: MarketServer, site: Site, unit: str) -> None:
    server.faults.unit = unit
    with pytest.raises(DataError, match="nothing is converted"):
        _energy_charts(site, server.url, QUICK).fetch(T0)


def test_energy_charts__zone_that_is_none__says_so(server: MarketServer, site: Site) -> None:
    source = energy_charts.source("XX-YY", site, url=server.url, policy=QUICK)
    with pytest.raises(DataError, match="check the zone's name"):
        source.fetch(T0)


def test_energy_charts__null_and_deprecated__flagged(server: MarketServer, site: Site) -> None:
    start = int((T0 - timedelta(hours=60)).timestamp()) // 3600 * 3600
    times = [start + 3600 * i for i in range(61)]
    server.faults.body = {
        "license_info": "",
        "unix_seconds": times,
        "price": [None if i == 30 else -5.0 + i for i in range(61)],
        "unit": "EUR / MWh",
        "deprecated": True,
    }
    history = _energy_charts(site, server.url, QUICK).fetch(T0)
    assert codes(history) == {"DROPPED", "GAP_FILLED", "DEPRECATED"}
    assert history.energy_usd_per_mwh[0] == pytest.approx(-5.0 * site.usd_per_eur)
    assert "no licence text was sent" in history.credit
    assert list(history.filled) == [np.datetime64(times[30], "s")]


@pytest.mark.parametrize("known", [70, 61, 59, 0])
def test_energy_charts__null_after_the_newest_price__not_yet_published(
    server: MarketServer, site: Site, known: int
) -> None:
    start = int((T0 - timedelta(hours=60)).timestamp()) // 3600 * 3600
    times = [start + 3600 * i for i in range(70)]
    prices = [40.0 + i if i < known else None for i in range(70)]
    server.faults.body = {"license_info": "", "unix_seconds": times, "price": prices, "unit": "EUR / MWh"}
    source = _energy_charts(site, server.url, QUICK)
    if not known:
        with pytest.raises(SourceError, match="the list is empty"):
            source.fetch(T0)
        return
    history = source.fetch(T0)
    assert len(history) == min(known, 61)
    assert codes(history) == ({"STALE"} if known < 61 else set())


def test_fetch__day_ahead__asked_once_in_half_an_hour_and_only_for_the_newest_days(
    server: MarketServer, site: Site
) -> None:
    source = _energy_charts(site, server.url, QUICK)
    first = source.fetch(T0)
    assert "start=2025-06-10T12:07Z&end=2026-06-12T12:07Z" in server.requests[0]
    source.fetch(T0 + timedelta(minutes=29))
    assert len(server.requests) == 1
    stamp = int(first.last.timestamp())
    server.changes[stamp] = 123.0
    again = source.fetch(T0 + timedelta(minutes=30))
    assert "start=2026-06-09T12:37Z" in server.requests[1]
    assert flag(again, "REVISED").message.startswith("2026-06-10T12:00:00Z")
    assert again.energy_usd_per_mwh[-1] == pytest.approx(123.0 * site.usd_per_eur)
    assert len(again) in (len(first), len(first) - 1)  # a year back from each moment


def test_fetch__real_time__newest_price_is_carried_to_the_running_interval_and_marked(
    server: MarketServer, site: Site
) -> None:
    source = _real_time(site, server.url, QUICK)
    server.published = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)
    history = source.fetch(datetime(2026, 6, 10, 12, 11, tzinfo=UTC))
    assert history.last == datetime(2026, 6, 10, 12, 10, tzinfo=UTC)
    assert len(set(history.energy_usd_per_mwh[-3:])) == 1
    assert [str(t) for t in history.filled] == ["2026-06-10T12:05:00", "2026-06-10T12:10:00"]
    assert codes(history) == {"LATE"}
    assert "of 2026-06-10T12:00:00Z" in flag(history, "LATE").message
    server.published = datetime(2026, 6, 10, 12, 15, tzinfo=UTC)
    came = source.fetch(datetime(2026, 6, 10, 12, 16, tzinfo=UTC))
    assert codes(came) == set()
    assert len(set(came.energy_usd_per_mwh[-4:])) == 4


def test_fetch__real_time__day_ahead_prices_beside_and_ahead(server: MarketServer, site: Site) -> None:
    source = _real_time(site, server.url, QUICK)
    history = source.fetch(T0)
    assert [request.split("/")[3] for request in server.requests] == [
        "nyiso_lmp_real_time_5_min",
        "nyiso_lmp_day_ahead_hourly",
    ]
    hours = history.timestamp.astype("datetime64[h]").astype("datetime64[s]").astype(np.int64)
    known = np.isfinite(history.columns[DAY_AHEAD])
    assert known[-1] and known.sum() > len(history) - 13  # the first hour began before the time that was asked for
    assert history.columns[DAY_AHEAD][known] == pytest.approx([server.price(int(stamp)) for stamp in hours[known]])
    ahead = history.ahead[DAY_AHEAD]
    reach = datetime(2026, 6, 12, 13, tzinfo=UTC) - (history.last + timedelta(minutes=5))  # two days, to the hour's end
    assert len(ahead) == reach // timedelta(minutes=5)
    assert np.isfinite(ahead).all()
    assert ahead[-1] == server.price(int(datetime(2026, 6, 12, 12, tzinfo=UTC).timestamp()))
    source.fetch(T0 + timedelta(minutes=5))
    assert len(server.requests) == 3  # those of the day ahead are asked for once in half an hour


def test_fetch__real_time__goes_on_without_day_ahead_prices(server: MarketServer, site: Site) -> None:
    source = _real_time(site, server.url, QUICK)
    server.lost = "nyiso_lmp_day_ahead_hourly"
    history = source.fetch(T0)
    assert codes(history) == {"DAY_AHEAD_GAP"}
    assert "check the dataset nyiso_lmp_day_ahead_hourly and your plan" in flag(history, "DAY_AHEAD_GAP").message
    assert dict(history.columns) == dict(history.ahead) == {}
    server.lost = ""
    assert set(source.fetch(T0 + timedelta(minutes=5)).columns) == {DAY_AHEAD}


def test_fetch__real_time_too_late__not_carried_but_stale(server: MarketServer, site: Site) -> None:
    source = _real_time(site, server.url, QUICK)
    server.published = datetime(2026, 6, 10, 11, 0, tzinfo=UTC)
    history = source.fetch(T0)
    assert history.last == datetime(2026, 6, 10, 11, 0, tzinfo=UTC)
    assert codes(history) == {"STALE"}
    assert flag(history, "STALE").severity == "alarm"


def test_gridstatus__pages__all_are_read_with_the_key_in_the_header_alone(server: MarketServer, site: Site) -> None:
    server.page_size = 3000
    history = _day_ahead(site, server.url, QUICK).fetch(T0)
    assert len(history) == 8760
    assert [request.partition("cursor=")[2].partition("&")[0] for request in server.requests] == ["", "3000", "6000"]
    assert all(request.startswith("/v1/datasets/ercot_spp_day_ahead_hourly/query?") for request in server.requests)
    assert "filter_column=location&filter_value=HB_NORTH" in server.requests[0]
    assert all(headers.get("x-api-key") == KEY for headers in server.headers)
    assert not [request for request in server.requests if KEY in request]


def test_gridstatus__pages_without_an_end__stop(server: MarketServer, site: Site) -> None:
    server.page_size = 10
    with pytest.raises(DataError, match="more than 20 pages"):
        _day_ahead(site, server.url, QUICK).fetch(T0)


@pytest.mark.parametrize("iso", gridstatus.ISOS)
def test_gridstatus__every_operator__day_ahead_and_real_time(server: MarketServer, site: Site, iso: str) -> None:
    for place, ahead in ((f"{iso}/HUB A", True), (f"{iso.upper()}/HUB A/real-time", False)):
        source = gridstatus.source(place, SecretStr(KEY), site, url=f"{server.url}/v1", policy=QUICK)
        history = source.fetch(T0)
        assert source.name == f"gridstatus:{iso}/HUB A{'' if ahead else '/real-time'}"
        assert history.units.energy == "USD/MWh"
        assert source.feed.terms.ahead is ahead
        assert history.last <= T0 < history.last + timedelta(seconds=history.step_s)
