"""One test (or more) per row of the fault table that belongs to prices, against real loopback servers and files."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.domain import DataFlag, PriceHistory, Site
from gridpilot.errors import DataError, RateLimited, Refused, SourceError, Unreachable
from gridpilot.mara_server import MaraServer
from gridpilot.market.csv_file import read_prices
from gridpilot.market.http import Http, Policy
from gridpilot.market.mara import MaraClient, MaraSource
from gridpilot.market.quality import beyond_market, plausibility
from gridpilot.values import as_array, iso

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

QUICK = Policy(deadline_s=8.0, attempt_s=2.0, backoff_s=0.01)
IMPATIENT = Policy(deadline_s=0.9, attempt_s=0.25, backoff_s=0.01)  # where the wait is the test
KEY = "4f9c0c1e-planted-secret"
T0 = datetime(2025, 6, 21, 12, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[MaraServer]:
    with MaraServer(seed=11) as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-mara.toml")


@pytest.fixture
def source(server: MaraServer, site: Site) -> MaraSource:
    return MaraSource(MaraClient(server.url, SecretStr(KEY), QUICK), site)


def wall() -> datetime:
    return datetime.now(UTC)


def flag(history: PriceHistory, code: str) -> DataFlag:
    return next(f for f in history.flags if f.code == code)


def codes(history: PriceHistory) -> list[str]:
    return [f.code for f in history.flags]


def ticks(energy: list[Any], step_s: int = 300, end: datetime = T0) -> list[dict[str, Any]]:
    """The API's list, newest first; `energy` is oldest first."""
    times = [end - timedelta(seconds=step_s * i) for i in range(len(energy))]
    return [
        {"energy_price": p, "hash_price": 4.0, "token_price": 2.0, "timestamp": t.replace(tzinfo=None).isoformat()}
        for t, p in zip(times, reversed(energy), strict=True)
    ]


def csv_of(tmp_path: Path, prices: list[Any], start: datetime = T0, step: timedelta = timedelta(hours=1)) -> Path:
    path = tmp_path / "prices.csv"
    rows = "".join(f"{iso(start + i * step)},{p}\n" for i, p in enumerate(prices) if p is not None)
    path.write_text("timestamp,energy_price\n" + rows)
    return path


@contextmanager
def raw_server(handle: Any) -> Iterator[str]:
    """A TCP server that speaks as `handle(socket, stopping)` does."""
    stopping = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            try:
                handle(self.request, stopping)
            except OSError:
                return  # the client has left

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as tcp:
        tcp.daemon_threads = True
        thread = threading.Thread(target=tcp.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{tcp.server_address[1]}"
        finally:
            stopping.set()
            tcp.shutdown()
            thread.join()


def drip(connection: socket.socket, stopping: threading.Event, head: bytes, letter: bytes) -> None:
    connection.sendall(head)
    while not stopping.wait(0.02):
        connection.sendall(letter)


# --- the API does not answer ---


def test_F01__nobody_listens_three_attempts_then_unreachable(site: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    client = MaraClient(f"http://127.0.0.1:{port}", policy=QUICK)
    with pytest.raises(Unreachable, match="connection refused"):
        MaraSource(client, site).fetch(wall())
    assert (client.stats.attempts, client.stats.retries, client.stats.failures) == (3, 2, 1)


def test_F01__connection_that_is_never_answered_ends_at_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        client = MaraClient(f"http://127.0.0.1:{silent.getsockname()[1]}", policy=IMPATIENT)
        with pytest.raises(Unreachable, match=r"within 0\.\d s"):
            client.prices()
    assert client.stats.attempts == 3


def test_F01__cached_prices_are_flagged_with_age_and_cause(server: MaraServer, source: MaraSource) -> None:
    now = wall()
    good = source.fetch(now)
    server.stop()
    for minutes, severity in ((5, "warn"), (20, "alarm")):
        kept = source.fetch(good.last + timedelta(minutes=minutes))
        assert np.array_equal(kept.energy_usd_per_mwh, good.energy_usd_per_mwh)
        stale = flag(kept, "STALE")
        assert stale.severity == severity
        assert f"{minutes} min old" in stale.message
        assert "connection refused" in stale.message


@pytest.mark.slow
def test_F02__body_that_drips_forever_ends_at_the_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n["
    with raw_server(lambda c, stopping: drip(c, stopping, head, b" ")) as url:
        client = MaraClient(url, policy=IMPATIENT)
        with pytest.raises(Unreachable):
            client.prices()
    assert client.stats.attempts == 3


@pytest.mark.slow
def test_F02__headers_that_drip_forever_end_at_the_deadline() -> None:
    with raw_server(lambda c, stopping: drip(c, stopping, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"z")) as url:
        client = MaraClient(url, policy=IMPATIENT)
        with pytest.raises(Unreachable, match="no complete reply"):
            client.prices()


def test_F02__hang_after_the_headers_gives_the_cached_prices(server: MaraServer, site: Site) -> None:
    source = MaraSource(MaraClient(server.url, policy=IMPATIENT), site)
    source.fetch(wall())
    server.faults.hang_s = 30.0
    assert flag(source.fetch(wall()), "STALE").severity == "warn"


def test_F03__two_500_then_200_succeeds_and_counts(server: MaraServer, source: MaraSource) -> None:
    server.set_faults({"status": 500, "status_times": 2})
    history = source.fetch(wall())
    assert codes(history) == []
    assert (source.client.stats.attempts, source.client.stats.retries, source.client.stats.failures) == (3, 2, 0)


def test_F04__long_retry_after_is_obeyed_without_a_storm(server: MaraServer, source: MaraSource) -> None:
    server.set_faults({"status": 429, "retry_after": 120})
    now = wall()
    with pytest.raises(RateLimited) as caught:
        source.fetch(now)
    assert caught.value.retry_after_s == 120
    with pytest.raises(RateLimited, match="not asked again before"):
        source.fetch(now + timedelta(seconds=60))
    assert len(server.requests) == 1
    server.set_faults({})
    assert len(source.fetch(now + timedelta(seconds=121))) == 147


def test_F04__short_retry_after_is_waited_for(server: MaraServer, source: MaraSource) -> None:
    server.set_faults({"status": 429, "status_times": 1, "retry_after": 0})
    assert len(source.fetch(wall())) == 147
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_F05__credentials_are_not_retried_alarm_and_stay_secret(
    server: MaraServer, source: MaraSource, status: int
) -> None:
    source.fetch(wall())
    server.requests.clear()
    server.faults.status = status
    kept = source.fetch(wall())
    alarm = flag(kept, "CREDENTIALS")
    assert alarm.severity == "alarm"
    assert "GRIDPILOT_MARA_API_KEY" in alarm.message
    assert len(server.requests) == 1
    assert KEY not in repr(kept.flags)


def test_F05__server_that_repeats_the_key_does_not_get_it_into_a_message() -> None:
    body = b'{"detail": "key ' + KEY.encode() + b' is not allowed"}'
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    with raw_server(lambda c, stopping: c.sendall(head + body)) as url:
        client = MaraClient(url, SecretStr(KEY), QUICK)
        with pytest.raises(Refused, match=r"key \*\*\* is not allowed") as caught:
            client.machines()
    assert KEY not in repr(caught.value) + repr(caught.value.__cause__)
    assert KEY not in repr(Http(url, QUICK, SecretStr(KEY)))


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"html": True}, "body is not JSON: '<!DOCTYPE html>"),
        ({"truncate": True}, "cut short: '\\[{"),
        ({"prices": {"energy": 1}}, "expected a list of objects"),
        ({"prices": [{"energy_price": 1.0, "timestamp": "2025-06-21T12:00:00"}]}, "expected rows with timestamp"),
        ({"prices": [[1, 2, 3]]}, "expected a list of objects"),
        ({"pad_bytes": 50_000_000}, "longer than 5 MB"),
    ],
)
def test_F06__nonsense_body_is_a_data_error_then_the_stale_path(
    server: MaraServer, source: MaraSource, faults: dict[str, Any], says: str
) -> None:
    server.set_faults(faults)
    with pytest.raises(DataError, match=says) as caught:
        source.fetch(wall())
    assert len(str(caught.value)) < 250
    server.set_faults({})
    source.fetch(wall())
    server.set_faults(faults)
    assert flag(source.fetch(wall()), "STALE").severity == "warn"


def test_F07__redirect_to_another_host_is_refused(server: MaraServer, source: MaraSource) -> None:
    with MaraServer() as other:
        server.faults.redirect = f"{other.url}/prices"
        with pytest.raises(Refused, match="which is not followed"):
            source.fetch(wall())
        assert other.requests == []
    assert len(server.requests) == 1


def test_F07__redirect_with_a_password_or_to_no_address__refused_without_it(server: MaraServer) -> None:
    client = MaraClient(server.url.replace("://", "://u:SECRETPW@"), policy=QUICK)
    for target in ("https://u:SECRETPW@elsewhere.example/prices", "http://[::1"):
        server.faults.redirect = target
        with pytest.raises((Refused, Unreachable), match=r"redirects to .*check the address") as caught:
            client.prices()
        assert "SECRETPW" not in str(caught.value)


def test_F07__redirect_loop_on_the_same_host_ends(server: MaraServer, source: MaraSource) -> None:
    server.faults.redirect = "/prices"
    with pytest.raises(Refused, match="more than 3 redirects"):
        source.fetch(wall())


def test_F07__tls_error_is_unreachable_without_a_retry(server: MaraServer) -> None:
    client = MaraClient(server.url.replace("http://", "https://"), policy=QUICK)
    with pytest.raises(Unreachable, match="TLS"):
        client.prices()
    assert client.stats.attempts == 1


def test_F08__down_at_the_start_recovers_by_itself(site: Site, server: MaraServer) -> None:
    server.set_faults({"status": 503})
    source = MaraSource(MaraClient(server.url, policy=QUICK), site)
    with pytest.raises(Unreachable):
        source.fetch(wall())
    server.set_faults({})
    assert codes(source.fetch(wall())) == []


def test_F09__empty_list_is_no_data_never_zeros(server: MaraServer, source: MaraSource) -> None:
    server.faults.empty = True
    with pytest.raises(DataError, match="the list is empty"):
        source.fetch(wall())
    server.set_faults({})
    good = source.fetch(wall())
    server.faults.empty = True
    kept = source.fetch(wall())
    assert np.array_equal(kept.energy_usd_per_mwh, good.energy_usd_per_mwh)
    assert "the list is empty" in flag(kept, "STALE").message


# --- the numbers are wrong ---


@pytest.mark.parametrize("bad", [None, "NaN", float("nan"), float("inf"), "3.0", True, {}])
def test_F10__price_that_is_no_number_is_dropped_and_flagged(server: MaraServer, source: MaraSource, bad: Any) -> None:
    server.faults.prices = ticks([3.0, 2.9, bad, 2.7, 2.6, 2.5, 2.4, 2.3, 2.2, 2.1])
    history = source.fetch(T0)
    assert codes(history) == ["DROPPED", "GAP_FILLED"]
    assert "row 8" in flag(history, "DROPPED").message
    assert history.energy_usd_per_mwh[2] == pytest.approx(2.8e6)


def test_F10__more_than_a_fifth_missing_is_a_data_error(server: MaraServer, source: MaraSource) -> None:
    server.faults.prices = ticks([3.0, None, 2.8, None, 2.6, None, 2.4, 2.3, 2.2, 2.1])
    with pytest.raises(DataError, match="3 of 10 rows dropped"):
        source.fetch(T0)


@pytest.mark.parametrize("bad", ["", "abc", "nan", "inf", "1e999"])
def test_F10__text_or_nan_in_a_file_is_dropped_by_row(tmp_path: Path, bad: str) -> None:
    history = read_prices(csv_of(tmp_path, [*range(30), bad, *range(30)]), Site())
    assert codes(history) == ["DROPPED", "GAP_FILLED"]
    assert flag(history, "DROPPED").message.startswith("row 32:")


def test_F11__negative_prices_are_kept(tmp_path: Path) -> None:
    history = read_prices(csv_of(tmp_path, [50.0 - 3 * i for i in range(40)]), Site())
    assert history.energy_usd_per_mwh[-1] == -67.0
    assert codes(history) == []


def test_F12__factor_of_a_thousand_is_suspect_even_when_it_comes_twice() -> None:
    usual = [50.0 + i % 9 for i in range(100)]
    for newest in ([52_000.0], [52_000.0, 51_000.0], [-52_000.0]):
        flags = plausibility({"energy": as_array([*usual, *newest])}, 3600, "energy")
        assert [f.code for f in flags] == ["SUSPECT"]
        assert "slip of units" in flags[0].message


def test_F13__spike_is_suspect_for_one_tick(server: MaraServer, source: MaraSource) -> None:
    usual = [2.0 + 0.1 * (i % 5) for i in range(40)]
    for prices, suspect in (([*usual, 60.0], True), ([*usual, 60.0, 2.1], False), ([*usual, 60.0, 61.0], False)):
        server.faults.prices = ticks(prices)
        history = source.fetch(T0)
        assert ("SUSPECT" in codes(history)) == suspect
        assert history.energy_usd_per_mwh[-1] == prices[-1] * 1e6


def test_F14__same_time_twice_equal_is_merged(server: MaraServer, source: MaraSource) -> None:
    rows = ticks([3.0, 2.9, 2.8])
    server.faults.prices = [rows[0], *rows]
    history = source.fetch(T0)
    assert len(history) == 3
    assert codes(history) == ["DUPLICATE"]


def test_F14__same_time_twice_conflicting_keeps_the_later(
    server: MaraServer, source: MaraSource, tmp_path: Path
) -> None:
    rows = ticks([3.0, 2.9, 2.8])
    server.faults.prices = [{**rows[0], "energy_price": 9.0}, *rows]  # newest first: the first row came last
    assert source.fetch(T0).energy_usd_per_mwh[-1] == 9.0e6
    path = csv_of(tmp_path, [1, 2, 3])
    with path.open("a") as file:
        file.write(f"{iso(T0 + timedelta(hours=2))},7\n")
    history = read_prices(path, Site())
    assert history.energy_usd_per_mwh.tolist() == [1, 2, 7]
    assert codes(history) == ["CONFLICT"]


def test_F15__rows_out_of_order_are_sorted(server: MaraServer, source: MaraSource) -> None:
    rows = ticks([3.0, 2.9, 2.8, 2.7])
    server.faults.prices = [rows[2], rows[0], rows[3], rows[1]]
    history = source.fetch(T0)
    assert history.energy_usd_per_mwh.tolist() == [3.0e6, 2.9e6, 2.8e6, 2.7e6]
    assert codes(history) == ["UNSORTED"]


def test_F15__changed_past_is_told_and_an_earlier_history_stays_as_it_was(
    server: MaraServer, source: MaraSource
) -> None:
    server.faults.prices = ticks([3.0, 2.9, 2.8])
    before = source.fetch(T0)
    server.faults.prices = ticks([3.0, 2.5, 2.8])
    history = source.fetch(T0)
    assert flag(history, "REVISED").message.startswith("2025-06-21T11:55:00Z")
    assert history.energy_usd_per_mwh.tolist() == [3.0e6, 2.5e6, 2.8e6]
    assert before.energy_usd_per_mwh.tolist() == [3.0e6, 2.9e6, 2.8e6]
    assert codes(source.fetch(T0)) == []


def test_F16__one_missing_interval_is_interpolated(tmp_path: Path) -> None:
    history = read_prices(csv_of(tmp_path, [10, 20, None, 40, 50, 60, 70]), Site())
    assert history.energy_usd_per_mwh.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert codes(history) == ["GAP_FILLED"]
    assert "2025-06-21T14:00:00Z" in flag(history, "GAP_FILLED").message


def test_F16__six_missing_intervals_keep_what_follows_if_it_is_long_enough(tmp_path: Path) -> None:
    before, gap = [1.0] * 10, [None] * 6
    history = read_prices(csv_of(tmp_path, [*before, *gap, *range(48)]), Site())
    assert len(history) == 48
    assert codes(history) == ["GAP"]
    assert "6 intervals missing" in flag(history, "GAP").message
    assert flag(history, "GAP").count == 10
    with pytest.raises(DataError, match=r"6 intervals missing after .* fill the gap"):
        read_prices(csv_of(tmp_path, [*before, *gap, *range(47)]), Site())


# --- the time is wrong ---


def test_F17__prices_from_the_future_are_left_out_with_a_clock_alarm(site: Site) -> None:
    with MaraServer(start=wall() + timedelta(seconds=390), announce=False) as ahead:
        now = ahead.now() - timedelta(seconds=390)
        history = MaraSource(MaraClient(ahead.url, policy=QUICK), site).fetch(now)
    assert history.last <= now
    assert flag(history, "FUTURE").severity == "alarm"


def test_F17__future_row_beyond_a_minute_is_an_alarm(server: MaraServer, source: MaraSource) -> None:
    server.faults.prices = ticks([3.0, 2.9, 2.8], end=T0)
    history = source.fetch(T0 - timedelta(seconds=90))
    assert history.energy_usd_per_mwh.tolist() == [3.0e6, 2.9e6]
    assert flag(history, "FUTURE").severity == "alarm"


@pytest.mark.parametrize(("skew_s", "severity"), [(1, None), (20, "warn"), (-20, "warn"), (90, "alarm")])
def test_F17__date_header_is_compared_with_our_clock(
    server: MaraServer, source: MaraSource, skew_s: float, severity: str | None
) -> None:
    server.faults.date_skew_s = skew_s
    history = source.fetch(wall())
    assert next((f.severity for f in history.flags if f.code == "CLOCK"), None) == severity


@pytest.mark.parametrize(
    ("day", "local_hours"), [("2024-03-30T23:00", 23), ("2024-10-26T22:00", 25), ("2024-02-28T23:00", 24)]
)
def test_F18__dst_and_leap_days_stay_whole_in_utc(tmp_path: Path, day: str, local_hours: int) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    history = read_prices(
        csv_of(tmp_path, list(range(4 * local_hours)), start, timedelta(minutes=15)), Site(timezone="Europe/Amsterdam")
    )
    assert len(history) == 4 * local_hours
    assert history.step_s == 900
    assert codes(history) == []


@pytest.mark.parametrize("stamp", ["2024-03-31T02:30:00", "2024-03-31 02:30", "2024-03-31"])
def test_F18__naive_time_in_a_file_is_refused_with_row_and_remedy(tmp_path: Path, stamp: str) -> None:
    path = tmp_path / "naive.csv"
    path.write_text(f"timestamp,energy_price\n2024-03-31T01:00:00Z,1\n{stamp},2\n")
    with pytest.raises(DataError, match=r"row 3: time .* has no zone; write UTC with a Z"):
        read_prices(path, Site())


def test_F19__flat_price_is_a_warning_only(server: MaraServer, source: MaraSource) -> None:
    server.faults.prices = ticks([3.0] * 40)
    history = source.fetch(T0)
    assert codes(history) == ["FLATLINE"]
    assert flag(history, "FLATLINE").severity == "warn"
    server.faults.prices = ticks([3.0] * 30)
    assert codes(source.fetch(T0)) == []


def test_F20__price_in_kwh_is_suspect(tmp_path: Path) -> None:
    usual = [50.0 + i % 9 for i in range(100)]
    history = read_prices(csv_of(tmp_path, [*usual, 0.052]), Site())
    assert codes(history) == ["SUSPECT"]
    assert "slip of units" in flag(history, "SUSPECT").message


def test_F20__zero_and_low_prices_where_they_are_usual_are_not_suspect(tmp_path: Path) -> None:
    usual = [float(i % 50) for i in range(100)]
    assert codes(read_prices(csv_of(tmp_path, [*usual, 0.05]), Site())) == []


def test_stale__api_that_answers_but_stands_still_is_flagged(site: Site) -> None:
    with MaraServer(start=wall() - timedelta(hours=1), announce=False) as behind:
        history = MaraSource(MaraClient(behind.url, policy=QUICK), site).fetch(wall())
    assert flag(history, "STALE").severity == "alarm"
    assert "nothing newer has come" in flag(history, "STALE").message


def test_every_source_error_is_one_line(server: MaraServer, source: MaraSource) -> None:
    server.faults.status = 500
    with pytest.raises(SourceError) as caught:
        source.fetch(wall())
    assert "\n" not in str(caught.value)
    assert "answered 500" in str(caught.value)


@pytest.mark.parametrize(("price", "suspect"), [(-501.0, True), (-500.0, False), (4000.0, False), (4001.0, True)])
def test_F12__outside_the_markets_floor_and_cap__is_suspect(price: float, suspect: bool) -> None:
    at = T0.replace(tzinfo=None)
    stamps = np.arange(at - timedelta(hours=2), at + timedelta(hours=1), timedelta(hours=1), dtype="datetime64[s]")
    nothing = np.full(3, np.nan)
    history = PriceHistory("test", stamps, 3600, as_array([50.0, 60.0, price]), nothing, nothing)
    found = beyond_market(history, -500.0, 4000.0)
    assert [f.code for f in found] == (["SUSPECT"] if suspect else [])
    assert beyond_market(history, None, None) == ()
