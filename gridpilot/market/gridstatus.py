"""Locational prices of the North American system operators from the hosted API of gridstatus.io, with a key.

`GET /v1/datasets/{dataset}/query` with the header `x-api-key` and the parameters start_time, end_time, filter_column,
filter_value, columns, order, page_size, cursor, return_format and json_schema answers with json_schema=array-of-arrays

    {"data": [["interval_start_utc", "lmp"], ["2026-01-01T06:00:00+00:00", 23.1], ...],
     "meta": {"hasNextPage": false, "cursor": "..."}, "dataset_metadata": {...}}

An empty cursor asks for the first page (the API's own client, gridstatusio 0.16, and the API reference at
docs.gridstatus.io). Prices are USD/MWh: LMP, at ERCOT the settlement point price. Day-ahead prices come a day before,
real-time ones some minutes after the interval. The free plan gives 500,000 rows a month: a location's prices at 5
minutes, read with an overlap of 3 hours each time and with day-ahead prices beside them, need some 390,000.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from pydantic import SecretStr

from gridpilot.config import GRIDSTATUS_URL as URL
from gridpilot.domain import Site
from gridpilot.errors import ConfigError, DataError, Refused, Unreachable
from gridpilot.market.beside import Companion
from gridpilot.market.feed import ENERGY, Batch, FedSource, Terms
from gridpilot.market.http import LOOPBACK, Http, Policy, Reply
from gridpilot.market.kept import number
from gridpilot.market.quality import Rows
from gridpilot.values import as_array, as_times, iso, to_stamp, usable

NAME = "gridstatus"
SETTING = "GRIDPILOT_GRIDSTATUS_API_KEY"
UNIT = "USD/MWh"
PAGE_SIZE = 10_000
MOST_PAGES = 20
REAL_TIME = "/real-time"
BESIDE = Policy(deadline_s=3.0, attempt_s=3.0, attempts=1)  # of the day-ahead prices beside real-time ones
FORM = "gridstatus:ISO/LOCATION or gridstatus:ISO/LOCATION/real-time"


@dataclass(frozen=True, slots=True)
class Iso:
    """The datasets of a system operator, and their price column."""

    day_ahead: str
    real_time: str
    column: str = "lmp"


ISOS = {
    "caiso": Iso("caiso_lmp_day_ahead_hourly", "caiso_lmp_real_time_5_min"),
    "ercot": Iso("ercot_spp_day_ahead_hourly", "ercot_spp_real_time_15_min", "spp"),
    "isone": Iso("isone_lmp_day_ahead_hourly", "isone_lmp_real_time_5_min"),
    "miso": Iso("miso_lmp_day_ahead_hourly", "miso_lmp_real_time_5_min"),
    "nyiso": Iso("nyiso_lmp_day_ahead_hourly", "nyiso_lmp_real_time_5_min"),
    "pjm": Iso("pjm_lmp_day_ahead_hourly", "pjm_lmp_real_time_5_min"),
    "spp": Iso("spp_lmp_day_ahead_hourly", "spp_lmp_real_time_5_min"),
}


def source(
    place: str,
    key: SecretStr | None,
    site: Site,
    *,
    url: str = URL,
    policy: Policy | None = None,
    companion: Companion | None = None,
) -> FedSource:
    """The prices at `place`, ISO/LOCATION[/real-time], as ercot/HB_NORTH. ConfigError where it or the key is wrong.

    Beside real-time prices goes what the day-ahead market said, read in a call of its own with a short deadline.
    """
    feed = GridStatus(place, key, url, policy)
    if feed.terms.ahead:
        return FedSource(feed, site, companion)
    beside = GridStatus(place.removesuffix(REAL_TIME), key, url, policy or BESIDE, lookback=feed.terms.lookback)
    return FedSource(feed, site, companion, FedSource(beside, site))


class GridStatus:
    """The calls for one location."""

    def __init__(
        self,
        place: str,
        key: SecretStr | None,
        url: str = URL,
        policy: Policy | None = None,
        *,
        lookback: timedelta | None = None,
    ) -> None:
        live = place.endswith(REAL_TIME)
        name, _, self.location = place.removesuffix(REAL_TIME).partition("/")
        operator = ISOS.get(name.lower())
        if operator is None or not self.location:
            raise ConfigError(f"source {NAME}:{place!r}: expected {FORM}, ISO one of {', '.join(ISOS)}")
        self.dataset = operator.real_time if live else operator.day_ahead
        self.column = operator.column
        lookback = lookback or timedelta(days=30 if live else 365)
        self.terms = Terms(
            f"{NAME}:{name.lower()}/{self.location}{REAL_TIME if live else ''}", UNIT, 1.0, not live, lookback, SETTING
        )
        self._key = _checked(key, url)
        self.http = Http(url, policy or Policy(), secret=key)

    def read(self, since: datetime, until: datetime) -> Batch:
        """The prices of [since, until), page by page, all within the policy's deadline."""
        end = time.monotonic() + self.http.policy.deadline_s
        stamps: list[np.datetime64] = []
        prices: list[float] = []
        cursor = ""
        for _ in range(MOST_PAGES):
            path = f"/datasets/{self.dataset}/query?{self._query(since, until, cursor)}"
            if time.monotonic() >= end:
                raise Unreachable(f"{self.terms.name}: not all pages came within {self.http.policy.deadline_s:g} s")
            reply = self._page(path, end)
            body = self.http.json(path, reply)
            for stamp, price in self._cells(path, body):
                stamps.append(self._time(stamp))
                prices.append(number(price))
            meta = body.get("meta")
            cursor = (
                str(meta.get("cursor") or "") if isinstance(meta, Mapping) and meta.get("hasNextPage") is True else ""
            )
            if not cursor:
                rows = Rows(as_times(stamps), {ENERGY: as_array(prices)}, ENERGY, np.arange(1, len(stamps) + 1))
                return Batch(rows, f"gridstatus.io, dataset {self.dataset}, {self.location}", reply.skew_s)
        raise DataError(
            f"{self.terms.name}: more than {MOST_PAGES} pages of {PAGE_SIZE} rows for {iso(since)} and later"
        )

    def _query(self, since: datetime, until: datetime, cursor: str) -> str:
        return urlencode(
            {
                "start_time": iso(since),
                "end_time": iso(until),
                "filter_column": "location",
                "filter_value": self.location,
                "filter_operator": "=",
                "columns": f"interval_start_utc,{self.column}",
                "order": "asc",
                "page_size": PAGE_SIZE,
                "cursor": cursor,
                "return_format": "json",
                "json_schema": "array-of-arrays",
            }
        )

    def _page(self, path: str, end: float) -> Reply:
        headers = {"Accept": "application/json", "x-api-key": self._key}
        try:
            return self.http.call("GET", path, headers=headers, end=end)
        except Refused as error:
            if error.status == 404:
                raise DataError(f"{error}; check the dataset {self.dataset} and your plan at gridstatus.io") from None
            raise

    def _cells(self, path: str, body: Any) -> list[tuple[Any, Any]]:
        """(interval start, price) of each row."""
        table = body.get("data") if isinstance(body, Mapping) else None
        if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
            raise self.http.wrong(path, "an object with data, a list of rows", body)
        if not table:
            return []
        header, wanted = table[0], ("interval_start_utc", self.column)
        if not all(name in header for name in wanted):
            raise self.http.wrong(path, f"a first row that names {' and '.join(wanted)}", header)
        when, price = (header.index(name) for name in wanted)
        if any(len(row) != len(header) for row in table):
            raise DataError(f"{self.terms.name}: rows of other lengths than the header {str(header)[:80]}")
        return [(row[when], row[price]) for row in table[1:]]

    def _time(self, value: Any) -> np.datetime64:
        """An ISO 8601 time with a zone; NaT for what is no time, DataError for a time without a zone."""
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return np.datetime64("NaT")
        if moment.tzinfo is None:
            raise DataError(
                f"{self.terms.name}: time {value!r} has no zone, expected UTC as interval_start_utc gives it"
            )
        return to_stamp(moment) if usable(moment) else np.datetime64("NaT")


def _checked(key: SecretStr | None, url: str) -> str:
    """The key as it is sent: only over TLS, or to this machine."""
    text = key.get_secret_value() if key is not None else ""
    if not (text and text.isascii() and text.isprintable()):
        raise ConfigError(
            f"{SETTING} is empty or has characters that can't be sent: set the key of your account at gridstatus.io"
        )
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(
            f"GRIDPILOT_GRIDSTATUS_URL is {parts.scheme}://{parts.hostname}: the key is sent over https alone"
        )
    return text
