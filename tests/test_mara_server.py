"""The stand-in over real loopback HTTP: the documented figures, the captured figures, the faults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from gridpilot.mara_server import LIMIT_W, MaraServer, Tick


@pytest.fixture
def server() -> Iterator[MaraServer]:
    with MaraServer(seed=7) as running:
        yield running


def new_key(server: MaraServer) -> str:
    reply = requests.post(f"{server.url}/sites", json={"name": "here"}, timeout=5)
    assert reply.status_code == 200
    assert reply.json()["power"] == LIMIT_W
    return str(reply.json()["api_key"])


def put(server: MaraServer, key: str, **counts: object) -> requests.Response:
    return requests.put(f"{server.url}/machines", json=counts, headers={"X-Api-Key": key}, timeout=5)


def machines(server: MaraServer, key: str) -> dict[str, Any]:
    reply = requests.get(f"{server.url}/machines", headers={"X-Api-Key": key}, timeout=5)
    assert reply.status_code == 200
    return dict(reply.json())


def test_machines__captured_asic_site_earns_and_costs_as_captured(server: MaraServer) -> None:
    key = new_key(server)
    assert put(server, key, asic_compute=100).status_code == 200
    server.set_newest(Tick(2.124722828696537, 1.5738691781774316, 1.119040184111434))
    got = machines(server, key)
    assert got["total_power_used"] == 1_000_000
    assert got["total_revenue"] == pytest.approx(559_520.092055717, rel=1e-12)
    assert got["total_power_cost"] == pytest.approx(2_124_722.828696537, rel=1e-12)


def test_machines__captured_immersion_site_earns_as_captured(server: MaraServer) -> None:
    key = new_key(server)
    put(server, key, immersion_miners=100)
    server.set_newest(Tick(2.124722828696537, 1.5738691781774316, 1.119040184111434))
    got = machines(server, key)
    assert got["total_revenue"] == pytest.approx(786_934.5890887158, rel=1e-12)
    assert got["power"]["immersion_miners"] == 1_000_000


def test_machines__documentation_sample_is_reproduced() -> None:
    with MaraServer(inventory="documented") as server:
        key = new_key(server)
        # 30 GPU and 5 ASIC draw 225 kW; the sample's 325 kW need 100 kW more
        assert put(server, key, gpu_compute=30, asic_compute=5, hydro_miners=20).status_code == 200
        server.set_newest(Tick(0.73374263, 1.0, 0.85093774))
        got = machines(server, key)
    assert got["revenue"]["gpu_compute"] == pytest.approx(25_528.13, abs=0.01)
    assert got["revenue"]["asic_compute"] == pytest.approx(212_734.43, abs=0.01)
    assert got["total_power_used"] == 325_000
    assert got["total_power_cost"] == pytest.approx(238_466.36, abs=0.01)


def test_put__exactly_the_limit_is_accepted_and_one_more_refused(server: MaraServer) -> None:
    key = new_key(server)
    assert put(server, key, hydro_miners=200).status_code == 200
    refused = put(server, key, hydro_miners=200, air_miners=1)
    assert refused.status_code == 400
    assert "1003333" in refused.json()["detail"]
    assert machines(server, key)["hydro_miners"] == 200


def test_put__omitted_kept_unknown_ignored_text_coerced(server: MaraServer) -> None:
    key = new_key(server)
    put(server, key, air_miners=3)
    reply = put(server, key, gpu_compute="4", warp_drives=9)
    assert reply.json()["air_miners"] == 3
    assert reply.json()["gpu_compute"] == 4
    assert reply.json()["id"] == 2
    assert "warp_drives" not in reply.json()


@pytest.mark.parametrize("count", [-1, 1.5, "many", None, True])
def test_put__count_that_is_none_is_refused(server: MaraServer, count: object) -> None:
    assert put(server, new_key(server), air_miners=count).status_code == 422


def test_keys__missing_is_401_wrong_is_403_same_name_gives_another(server: MaraServer) -> None:
    assert requests.get(f"{server.url}/machines", timeout=5).status_code == 401
    assert requests.get(f"{server.url}/machines", headers={"X-Api-Key": "no"}, timeout=5).status_code == 403
    first, second = new_key(server), new_key(server)
    assert first != second
    site = requests.get(f"{server.url}/sites", headers={"X-Api-Key": first}, timeout=5).json()
    assert site["name"] == "here"


def test_prices__newest_first_naive_even_grid_that_ends_now(server: MaraServer) -> None:
    rows = requests.get(f"{server.url}/prices", timeout=5).json()
    times = [datetime.fromisoformat(row["timestamp"]) for row in rows]
    assert len(rows) == 147
    assert all(t.tzinfo is None for t in times)
    assert {a - b for a, b in itertools.pairwise(times)} == {timedelta(minutes=5)}
    age = datetime.now(UTC).replace(tzinfo=None) - times[0]
    assert timedelta(0) <= age < timedelta(minutes=5, seconds=5)
    assert (rows[-1]["energy_price"], rows[-1]["hash_price"], rows[-1]["token_price"]) == (3.0, 4.0, 2.0)


def test_prices__walk_stays_in_its_steps_and_bounds() -> None:
    ticks = [tick for _, tick in walk(seed=1, n=3000)]
    for old, new in itertools.pairwise(ticks):
        assert abs(new.energy_price / old.energy_price - 1) <= 0.10 + 1e-12 or new.energy_price == 0.1
        assert abs(new.hash_price / old.hash_price - 1) <= 0.25 + 1e-12
        assert 1.0 <= new.hash_price <= 5.0
        assert new.token_price >= 0.5
    assert {1.0, 5.0} & {tick.hash_price for tick in ticks}


def walk(seed: int, n: int) -> list[tuple[datetime, Tick]]:
    server = MaraServer(seed=seed, history=n)
    try:
        return server.ticks()
    finally:
        server.stop()


def test_prices__same_seed_same_walk_other_seed_other_walk() -> None:
    start = datetime(2025, 6, 21, 12, tzinfo=UTC)
    walks = []
    for seed in (1, 1, 2):
        server = MaraServer(seed=seed, start=start, history=50)
        walks.append([tick for _, tick in server.ticks()[:50]])
        server.stop()
    assert walks[0] == walks[1] != walks[2]


def test_tick__moves_the_clock_and_keeps_the_past(server: MaraServer) -> None:
    before = requests.get(f"{server.url}/prices", timeout=5)
    server.tick(2)
    after = requests.get(f"{server.url}/prices", timeout=5)
    assert len(after.json()) == len(before.json()) + 2
    assert after.json()[2:] == before.json()
    assert "X-Simulated-Time" not in before.headers
    assert after.headers["X-Simulated-Time"].endswith("; speed=1")


def test_speed__fast_clock_runs_ahead_of_the_world() -> None:
    with MaraServer(speed=1e6) as server:
        first = server.now()
        while server.now() - first < timedelta(hours=1):
            pass
        assert server.now() > datetime.now(UTC) + timedelta(minutes=30)
        assert len(server.ticks()) > 147


def test_faults__over_http_count_down_and_clear(server: MaraServer) -> None:
    url = f"{server.url}/inventory"
    requests.post(f"{server.url}/_faults", json={"status": 503, "status_times": 2, "retry_after": 1}, timeout=5)
    replies = [requests.get(url, timeout=5) for _ in range(3)]
    assert [r.status_code for r in replies] == [503, 503, 200]
    assert replies[0].headers["Retry-After"] == "1"
    requests.post(f"{server.url}/_faults", json={"html": True}, timeout=5)
    assert requests.get(url, timeout=5).text.startswith("<!DOCTYPE html>")
    requests.post(f"{server.url}/_faults", json={}, timeout=5)
    assert requests.get(url, timeout=5).json()["miners"]["hydro"] == {"hashrate": 10000, "power": 5000}
    unknown = requests.post(f"{server.url}/_faults", json={"gremlins": 1}, timeout=5)
    assert unknown.status_code == 422


def test_faults__lost_ack_applies_the_put(server: MaraServer) -> None:
    key = new_key(server)
    server.faults.lost_ack = True
    with pytest.raises(requests.exceptions.ConnectionError):
        put(server, key, air_miners=5)
    assert machines(server, key)["air_miners"] == 5


def test_faults__other_state_answers_what_was_asked_and_stores_less(server: MaraServer) -> None:
    key = new_key(server)
    server.faults.other_state = True
    assert put(server, key, air_miners=10).json()["air_miners"] == 10
    assert machines(server, key)["air_miners"] == 5


def test_unknown_path_and_method__404_and_405(server: MaraServer) -> None:
    assert requests.get(f"{server.url}/nothing", timeout=5).status_code == 404
    assert requests.put(f"{server.url}/prices", json={}, timeout=5).status_code == 405


def test_preset_key__has_a_site_from_the_start() -> None:
    with MaraServer(api_key="mine") as server:
        assert machines(server, "mine")["total_revenue"] == 0
