"""Which way leads to a site's machines: the same for the pilot and for the watchdog."""

from __future__ import annotations

from typing import Any, Protocol

from gridpilot.dispatch.gateway import MachineGateway, MaraClient, MaraGateway
from gridpilot.dispatch.simulator import SimulatedGateway
from gridpilot.domain import Site

MACHINES = "machines"  # key of the ledger's state: what a simulated site was told


class State(Protocol):
    """The ledger's small state. The ledger comes after dispatch, so it is handed in and not imported."""

    def get_state(self, key: str) -> tuple[Any, int]:
        """Value and version of a key; (None, 0) where there is none."""

    def put_state(self, key: str, value: Any) -> int:
        """Write a key; returns its new version."""


def open_gateway(site: Site, store: State, client: MaraClient | None) -> MachineGateway:
    """The MARA API where there is a client of it, else the simulated site that the ledger's state keeps."""
    if client is not None:
        return MaraGateway(client, site)
    return SimulatedGateway(
        site,
        load=lambda: store.get_state(MACHINES)[0] or {},
        save=lambda value: store.put_state(MACHINES, value),
    )
