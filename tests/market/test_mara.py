from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.gateway import MaraGateway
from gridpilot.domain import MachineType, Site, value_usd_per_kwh
from gridpilot.errors import ConfigError, DataError, GatewayError, Refused, Unreachable
from gridpilot.mara_server import INVENTORIES, MaraServer, Tick
from gridpilot.market.http import Http, Policy
from gridpilot.market.mara import MaraClient, MaraSource, payload, site_from_inventory

QUICK = Policy(deadline_s=8.0, attempt_s=2.0, backoff_s=0.01)
ZERO = {"air_miners": 0, "hydro_miners": 0, "immersion_miners": 0, "gpu_compute": 0, "asic_compute": 0}


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-mara.toml")


@pytest.fixture
def server() -> Iterator[MaraServer]:
    with MaraServer(seed=5) as running:
        yield running


def wall() -> datetime:
    return datetime.now(UTC)


def test_fetch__newest_first_naive_rows_become_ascending_index_prices(server: MaraServer, site: Site) -> None:
    server.faults.prices = [
        {"energy_price": 2.5, "hash_price": 1.5, "token_price": 0.5, "timestamp": "2025-06-21T12:05:00"},
        {"energy_price": 3.0, "hash_price": 4.0, "token_price": 2.0, "timestamp": "2025-06-21T12:00:00"},
    ]
    history = MaraSource(MaraClient(server.url, policy=QUICK), site).fetch(datetime(2025, 6, 21, 12, 6, tzinfo=UTC))
    assert history.timestamp.astype(str).tolist() == ["2025-06-21T12:00:00", "2025-06-21T12:05:00"]
    assert history.energy_usd_per_mwh.tolist() == [3.0e6, 2.5e6]
    assert history.hash_price.tolist() == [4.0, 1.5]
    assert (history.units.money, history.units.energy, history.step_s) == ("index", "index/W", 300)


def test_fetch__rows_at_the_edge_of_the_calendar__left_out_as_rows_without_a_time(
    server: MaraServer, site: Site
) -> None:
    minutes = [f"2025-06-21T12:{5 * i:02d}:00" for i in range(9)]
    server.faults.prices = [
        {"energy_price": 2.5, "hash_price": 1.5, "token_price": 0.5, "timestamp": when}
        for when in ("9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", *minutes[::-1])
    ]
    history = MaraSource(MaraClient(server.url, policy=QUICK), site).fetch(datetime(2025, 6, 21, 12, 41, tzinfo=UTC))
    assert len(history) == 9 and "DROPPED" in [flag.code for flag in history.flags]


def test_money__our_rates_equal_what_the_machines_report(server: MaraServer, site: Site) -> None:
    client = MaraClient(server.url, policy=QUICK)
    client.create_site(site.name)
    site, _ = site_from_inventory(site, client.inventory())
    counts = {"air": 7, "hydro": 80, "immersion": 11, "gpu": 13, "asic": 17}
    client.put_machines(counts)
    source = MaraSource(client, site)
    history = source.fetch(source.present(wall()))
    told = client.machines()
    hash_price, token_price = history.hash_price[-1:], history.token_price[-1:]
    income = sum(
        float(value_usd_per_kwh(m, history.units, hash_price, token_price)[0]) * m.power_kw * counts[m.type]
        for m in site.machines
    )
    kw = sum(m.power_kw * counts[m.type] for m in site.machines)
    assert income == pytest.approx(told["total_revenue"], rel=1e-9)
    assert kw / 1000 * history.energy_usd_per_mwh[-1] == pytest.approx(told["total_power_cost"], rel=1e-9)


def test_put__all_five_keys_are_sent_and_read_back(server: MaraServer) -> None:
    client = MaraClient(server.url, policy=QUICK)
    client.create_site("here")
    client.put_machines({"air": 3, "gpu": 2})
    client.put_machines({"hydro": np.int64(4)})
    told = client.machines()
    assert {k: told[k] for k in ZERO} == {**ZERO, "hydro_miners": 4}


def test_payload__types_and_api_keys_are_both_understood() -> None:
    assert payload({"air": 1, "asic_compute": 2}) == {**ZERO, "air_miners": 1, "asic_compute": 2}


@pytest.mark.parametrize("counts", [{"air": 1.0}, {"air": True}, {"air": -1}, {"air": "3"}, {"wind": 1}])
def test_payload__anything_but_whole_numbers_of_known_types_is_refused(counts: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected"):
        payload(counts)


def test_create_site__its_key_is_used_and_never_shown(server: MaraServer) -> None:
    client = MaraClient(server.url, policy=QUICK)
    made = client.create_site("here")
    assert client.has_key
    assert isinstance(made["api_key"], SecretStr)
    assert made["api_key"].get_secret_value() not in repr(made) + repr(vars(client))
    assert client.site()["name"] == "here"


def test_client__without_a_key_says_what_to_set_before_any_call(server: MaraServer) -> None:
    with pytest.raises(Refused, match="GRIDPILOT_MARA_API_KEY") as caught:
        MaraClient(server.url, policy=QUICK).machines()
    assert caught.value.credentials
    assert server.requests == []


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_client__key_that_is_no_header_is_refused_unseen(server: MaraServer, key: str) -> None:
    with pytest.raises(ConfigError, match="can't be sent") as caught:
        MaraClient(server.url, SecretStr(key))
    assert not key or key not in str(caught.value)


def test_put__over_the_limit_is_refused_with_the_server_s_reason(server: MaraServer) -> None:
    client = MaraClient(server.url, policy=QUICK)
    client.create_site("here")
    with pytest.raises(Refused, match="exceeds the site limit of 1000000 W") as caught:
        client.put_machines({"hydro": 201})
    assert caught.value.status == 400
    assert server.requests.count(("PUT", "/machines")) == 1


def test_put__failing_or_unanswered_is_not_repeated(server: MaraServer) -> None:
    client = MaraClient(server.url, policy=QUICK)
    client.create_site("here")
    server.faults.lost_ack = True
    with pytest.raises(Unreachable):
        client.put_machines({"air": 5})
    server.set_faults({"status": 503})
    with pytest.raises(Unreachable, match="503"):
        client.put_machines({"air": 6})
    server.set_faults({})
    assert server.requests.count(("PUT", "/machines")) == 2
    assert client.machines()["air_miners"] == 5


def test_source__follows_the_clock_that_a_stand_in_announces(server: MaraServer, site: Site) -> None:
    source = MaraSource(MaraClient(server.url, policy=QUICK), site)
    server.tick(12)
    first = source.fetch(source.present(wall()))
    assert "SIMULATED" in [f.code for f in first.flags]
    server.tick()
    server.set_newest(Tick(1.25, 1.5, 1.75))
    second = source.fetch(source.present(wall()))
    assert second.last - first.last == timedelta(minutes=5)
    assert second.energy_usd_per_mwh[-1] == 1.25e6
    assert abs(source.present(wall()) - server.now()) < timedelta(seconds=30)


# --- the inventory ---


def test_inventory__power_and_rate_come_from_the_api_the_stock_from_the_site(site: Site) -> None:
    fitted, flags = site_from_inventory(site, INVENTORIES["documented"])
    assert flags == ()
    assert fitted.machine("asic") == MachineType("asic", 40, 15000, 50000, "token")
    assert [m.count for m in fitted.machines] == [m.count for m in site.machines]


def test_inventory__missing_nonsense_and_extra_types_are_flagged(site: Site) -> None:
    inventory = {
        "miners": {"air": {"hashrate": 1000, "power": 0}, "hydro": {"hashrate": 1, "power": 4000}, "lunar": {}},
        "inference": {"gpu": None, "asic": {"tokens": 5, "power": "10"}, "tpu": {"tokens": 1, "power": 5}},
    }
    fitted, flags = site_from_inventory(site, inventory)
    assert {m.type: m.count for m in fitted.machines} == {"air": 0, "hydro": 80, "immersion": 0, "gpu": 0, "asic": 0}
    assert fitted.machine("hydro").power_w == 4000
    assert [f.severity for f in flags] == ["warn"] * 4 + ["info"]
    assert "tpu" in flags[-1].message


def test_inventory__empty_leaves_no_machine_and_no_error(site: Site) -> None:
    fitted, flags = site_from_inventory(site, {"miners": {}, "inference": {}})
    assert sum(m.count for m in fitted.machines) == 0
    assert len(flags) == 5


def test_inventory__power_far_from_the_site_files__the_larger_counts_and_it_is_said(site: Site) -> None:
    known = {machine.type: machine for machine in site.machines}
    inventory = {
        "miners": {"air": {"hashrate": 1000, "power": 1}, "hydro": {"hashrate": 1e4, "power": 500_000}},
        "inference": {"air": {"tokens": 9e9, "power": 3333}, "gpu": {"tokens": 1000, "power": 3333}},
    }
    fitted, flags = site_from_inventory(site, inventory)
    found = {machine.type: machine for machine in fitted.machines}
    assert found["air"].power_w == known["air"].power_w and found["air"].product == "hash"
    assert found["hydro"].power_w == 500_000
    assert [f.message.partition(":")[0] for f in flags if "the larger counts" in f.message] == ["air", "hydro"]


# --- replies that no server should give ---


@pytest.mark.parametrize(
    "body", ['{"api_key": "planted", "id": 1', '{"id": 1, "API_KEY":"planted"}', '{"api_key": "planted']
)
def test_F60_excerpt__a_body_with_a_key__the_key_is_blanked(body: str) -> None:
    shown = Http("http://127.0.0.1:1", QUICK).excerpt(body.encode())
    assert "***" in shown and "planted" not in shown


HUGE = "1" + "0" * 400
STRANGE = [
    ("503 Busy", "Retry-After: \xb2", "{}"),
    ("429 Busy", "Retry-After: \xb2", "{}"),
    ("500 Oops", "A: b", '{"detail": "\\ud800"}'),
    ("400 Oops", "A: b", "[" * 100_000),
    ("200 OK", "A: b", "[" * 100_000),
    ("200 OK", "A: b", f'{{"air_miners": {HUGE}, "total_power_used": 1}}'),
    ("200 OK", "A: b", f'{{"air_miners": 0, "total_power_used": {HUGE}}}'),
    ("200 OK", "A: b", '{"air_miners": 0, "total_power_used": -5}'),
    ("200 OK", "X-Simulated-Time: 2024-06-24T12:00:00+00:00; speed=inf", "{}"),
    ("200 OK", "X-Simulated-Time: 2024-06-24T12:00:00+00:00; speed=nan", "{}"),
    ("200 OK", "X-Simulated-Time: 2024-06-24T12:00:00+00:00; speed=1e300", "{}"),
    ("200 OK", "X-Simulated-Time: 2024-06-24T12:00:00+00:00; speed=-100", "{}"),
    ("200 OK", "X-Simulated-Time: 2024-06-24T12:00:00; speed=1", "{}"),
    ("200 OK", "X-Simulated-Time: 9999-12-31T23:59:59-23:00; speed=1", "{}"),
    ("200 OK", "X-Simulated-Time: 0001-01-01T00:00:00+23:00; speed=1", "{}"),
]


@pytest.mark.parametrize(("status", "header", "body"), STRANGE, ids=range(len(STRANGE)))
def test_F31_read__a_reply_that_no_server_should_give__one_line_and_no_other_error(
    site: Site, status: str, header: str, body: str
) -> None:
    raw = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    asked = server.accept()[0]
                    with asked:
                        asked.recv(65536)
                        asked.sendall(raw.encode("latin-1"))

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        client = MaraClient(url, SecretStr("k"), Policy(attempts=1))
        with pytest.raises(GatewayError, match=r"^[ -~]{10,400}$") as caught:
            MaraGateway(client, site).read(datetime.now(UTC))
        assert HUGE not in str(caught.value)
        server.shutdown(socket.SHUT_RDWR)
