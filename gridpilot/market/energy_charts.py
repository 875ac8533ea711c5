"""Day-ahead prices of European bidding zones from energy-charts.info (Fraunhofer ISE), free and without a key.

`GET /price?bzn=DE-LU&start=..&end=..` with ISO 8601 times answers

    {"license_info": "...", "unix_seconds": [...], "price": [...], "unit": "EUR / MWh", "deprecated": false}

(https://api.energy-charts.info, its OpenAPI description). A price is null where it is missing or not yet published; a
time without any price is 404. Zones settle in hours until 30 September 2025 and mostly in quarter hours since. The
licence differs by zone (CC BY 4.0 of Bundesnetzagentur | SMARD.de, or private and internal use only), so its text goes
with the prices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import numpy as np

from gridpilot.config import ENERGY_CHARTS_URL as URL
from gridpilot.domain import DataFlag, Site
from gridpilot.errors import ConfigError, DataError, Refused
from gridpilot.market.beside import Companion
from gridpilot.market.feed import ENERGY, Batch, FedSource, Terms
from gridpilot.market.http import Http, Policy
from gridpilot.market.kept import number
from gridpilot.market.quality import Rows
from gridpilot.values import as_array, as_times

NAME = "energy-charts"
UNIT, SHOWN = "EUR / MWh", "EUR/MWh"  # as the API writes it, and as we do
LOOKBACK = timedelta(days=365)
ZONE = re.compile(r"[A-Z]{2}[A-Za-z0-9_-]{0,18}")
ROW_KEYS = ("unix_seconds", "price")
_YEAR_2200 = 7_258_118_400


def source(
    zone: str, site: Site, *, url: str = URL, policy: Policy | None = None, companion: Companion | None = None
) -> FedSource:
    """The day-ahead prices of a bidding zone as the API calls it: DE-LU, FR, NL, IT-North. ConfigError for no zone."""
    if not ZONE.fullmatch(zone):
        raise ConfigError(f"source {NAME}:{zone!r}: expected a bidding zone, as {NAME}:DE-LU or {NAME}:NL")
    return FedSource(EnergyCharts(zone, site.usd_per_eur, url, policy), site, companion)


class EnergyCharts:
    """The calls for one zone."""

    def __init__(self, zone: str, usd_per_eur: float, url: str = URL, policy: Policy | None = None) -> None:
        self.terms = Terms(f"{NAME}:{zone}", SHOWN, usd_per_eur, ahead=True, lookback=LOOKBACK)
        self.zone = zone
        self.http = Http(url, policy or Policy())

    def read(self, since: datetime, until: datetime) -> Batch:
        """The prices of [since, until) as far as they are published."""
        path = f"/price?bzn={quote(self.zone, safe='')}&start={_asked(since)}&end={_asked(until)}"
        try:
            reply = self.http.call("GET", path, headers={"Accept": "application/json"})
        except Refused as error:
            if error.status == 404:
                raise DataError(f"{error}; no prices of zone {self.zone} then: check the zone's name") from None
            raise
        body = self.http.json(path, reply)
        if not isinstance(body, dict) or not all(isinstance(body.get(key), list) for key in ROW_KEYS):
            raise self.http.wrong(path, f"an object with lists {' and '.join(ROW_KEYS)}", body)
        times, prices = body["unix_seconds"], body["price"]
        if len(times) != len(prices):
            raise DataError(f"/price: {len(times)} times and {len(prices)} prices, expected as many of each")
        if body.get("unit") != UNIT:
            raise DataError(f"/price: unit is {str(body.get('unit'))[:40]!r}, expected {UNIT!r}; nothing is converted")
        values = as_array([number(value) for value in prices])
        stamps = as_times([_time(value) for value in times])
        rows = Rows(stamps, {ENERGY: values}, ENERGY, np.arange(1, len(times) + 1))
        published = max(np.flatnonzero(np.isfinite(values)), default=-1) + 1  # later ones are still to come
        return Batch(rows.take(np.arange(published)), _credit(body), reply.skew_s, _said(body))


def _asked(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _time(value: Any) -> np.datetime64:
    """Seconds since 1970; NaT for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _YEAR_2200:
        return np.datetime64("NaT")
    return np.datetime64(int(value), "s")


def _credit(body: Mapping[str, Any]) -> str:
    told = body.get("license_info")
    licence = " ".join(told.split())[:400] if isinstance(told, str) and told.strip() else "no licence text was sent"
    return f"energy-charts.info (Fraunhofer ISE): {licence}"


def _said(body: Mapping[str, Any]) -> tuple[DataFlag, ...]:
    if body.get("deprecated") is not True:
        return ()
    return (DataFlag("DEPRECATED", "energy-charts says that this call will end: look for a newer version", "warn"),)
