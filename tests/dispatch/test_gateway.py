"""The MARA gateway against the stand-in server over loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.gateway import MaraGateway
from gridpilot.domain import Dispatch, Site
from gridpilot.errors import ConfigError, GatewayError, Refused
from gridpilot.mara_server import Faults, MaraServer
from gridpilot.market.mara import MaraClient

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
MARA = load_site(DATA / "site-mara.toml")


def dispatch(machines: dict[str, int]) -> Dispatch:
    return Dispatch(
        at=T0,
        valid_until=T0 + timedelta(minutes=10),
        origin="plan",
        machines=machines,
        battery_kw=0.0,
        jobs_kw={},
        tenants_kw={},
        cooling_kw=0.0,
        machine_kw=0.0,
        total_power_kw=0.0,
        payload={},
        constraints_satisfied=True,
    )


# --- MARA ------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[MaraServer]:
    with MaraServer(api_key="key") as running:
        yield running


@pytest.fixture
def gateway(server: MaraServer) -> MaraGateway:
    return MaraGateway(MaraClient(server.url, SecretStr("key")), MARA)


def test_mara__counts_power_and_money_come_back(server: MaraServer, gateway: MaraGateway) -> None:
    gateway.put(dispatch({"air": 1, "hydro": 20, "immersion": 3, "gpu": 4, "asic": 5}), T0)
    reading = gateway.read(T0)
    tick = server.ticks()[-1][1]
    assert reading.machines == {"air": 1, "hydro": 20, "immersion": 3, "gpu": 4, "asic": 5}
    assert reading.power_kw == pytest.approx(3.333 + 100.0 + 30.0 + 4 * 3.333 + 50.0)
    revenue = (1000 + 20 * 10_000 + 3 * 5000) * tick.hash_price + (4 * 1000 + 5 * 5000) * tick.token_price
    assert reading.revenue_usd_per_h == pytest.approx(revenue)
    assert reading.cost_usd_per_h == pytest.approx(reading.power_kw * 1000.0 * tick.energy_price)


def test_mara__types_left_out_are_switched_off(gateway: MaraGateway) -> None:
    gateway.put(dispatch({"air": 5, "gpu": 5}), T0)
    gateway.put(dispatch({"hydro": 7}), T0)
    assert gateway.read(T0).machines == {"air": 0, "hydro": 7, "immersion": 0, "gpu": 0, "asic": 0}


def test_mara__over_the_limit_is_refused(gateway: MaraGateway) -> None:
    with pytest.raises(Refused, match="exceeds the site limit"):
        gateway.put(dispatch({"hydro": 201}), T0)


def test_mara__lost_acknowledgement_is_an_unknown_outcome(server: MaraServer, gateway: MaraGateway) -> None:
    server.faults = Faults(lost_ack=True)
    with pytest.raises(GatewayError, match="unknown outcome"):
        gateway.put(dispatch({"hydro": 7}), T0)
    assert gateway.read(T0).machines["hydro"] == 7
    assert [method for method, _path in server.requests] == ["PUT", "GET"]  # a PUT is not repeated blindly


@pytest.mark.parametrize("faults", [Faults(html=True), Faults(truncate=True), Faults(status=403), Faults(status=429)])
def test_mara__reading_that_fails_is_one_kind_of_error(
    server: MaraServer, gateway: MaraGateway, faults: Faults
) -> None:
    server.faults = faults
    with pytest.raises(GatewayError, match="cannot be read"):
        gateway.read(T0)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"air_miners": "3"},
        dict.fromkeys(("air_miners", "hydro_miners", "immersion_miners", "gpu_compute", "asic_compute"), 1),
    ],
)
def test_mara__reply_without_counts_or_power_is_refused(reply: dict[str, Any]) -> None:
    class Odd:
        def machines(self) -> dict[str, Any]:
            return reply

        def put_machines(self, counts: object) -> dict[str, Any]:
            return {}

    with pytest.raises(GatewayError, match="GET /machines gave"):
        MaraGateway(Odd(), MARA).read(T0)


def test_mara__site_with_an_unknown_type_is_refused(server: MaraServer) -> None:
    strange = dataclasses.replace(MARA.machines[0], type="toaster")
    with pytest.raises(ConfigError, match="'toaster' is unknown to the MARA API"):
        MaraGateway(MaraClient(server.url), Site(machines=(strange,)))
