"""What every price source must keep, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, Settings, load_site
from gridpilot.domain import Site
from gridpilot.errors import ConfigError, SourceError
from gridpilot.mara_server import MaraServer
from gridpilot.market.csv_file import CsvSource
from gridpilot.market.failover import Failover
from gridpilot.market.source import SOURCES, PriceSource, open_source
from gridpilot.values import iso, to_stamp
from tests.market.market_server import KEY, MarketServer


def live(server: MarketServer) -> Settings:
    return Settings(energy_charts_url=server.url, gridstatus_url=f"{server.url}/v1", gridstatus_api_key=SecretStr(KEY))


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-default.toml")


LIVE = {
    "energy-charts": "energy-charts:DE-LU",
    "day-ahead": "gridstatus:ercot/HB_NORTH",
    "real-time": "gridstatus:pjm/WESTERN HUB/real-time",
    "failover": "gridstatus:caiso/TH_SP15_GEN-APND, energy-charts:NL",
}


@pytest.fixture(params=["replay", "csv", "folder", "mara", *LIVE])
def source(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[PriceSource]:
    if request.param in LIVE:
        with MarketServer() as server:
            yield open_source(LIVE[request.param], live(server), replace(site, hash_usd_per_ph_day=50.0))
    elif request.param == "folder":
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=239)
        for part in range(3):
            hours = [start + timedelta(hours=80 * part + i) for i in range(80)]
            rows = [f"{iso(at)},{50 + at.hour},{60 + at.hour % 5},1.5\n" for at in hours]
            (tmp_path / f"{part}.csv").write_text("timestamp,energy_price,hash_price,token_price\n" + "".join(rows))
        yield open_source(f"folder:{tmp_path}", Settings(), site)
    elif request.param == "csv":
        path = tmp_path / "prices.csv"
        start = datetime(2024, 3, 1, tzinfo=UTC)
        rows = [f"{iso(start + timedelta(hours=i))},{50 + i % 24},{60 + i % 5},1.5,{i}\n" for i in range(240)]
        path.write_text("timestamp,energy_price,hash_price,token_price,load\n" + "".join(rows))
        yield open_source(f"csv:{path}", Settings(), site)
    elif request.param == "mara":
        with MaraServer(seed=2) as server:
            yield open_source("mara", Settings(mara_url=server.url), load_site(DATA / "site-mara.toml"))
    else:
        yield open_source("replay", Settings(), site)


def test_fetch__even_ascending_grid_ends_with_the_interval_that_contains_now(source: PriceSource) -> None:
    now = source.present(datetime.now(UTC))
    history = source.fetch(now)
    assert len(history) > 100
    assert set(np.diff(history.timestamp).astype(int)) == {history.step_s}
    assert history.last <= now < history.last + timedelta(seconds=history.step_s)
    assert not [f for f in history.flags if f.code == "STALE"]


def test_fetch__energy_is_finite_and_units_are_complete(source: PriceSource) -> None:
    history = source.fetch(source.present(datetime.now(UTC)))
    assert np.isfinite(history.energy_usd_per_mwh).all()
    assert np.isfinite(history.hash_price).all()
    assert np.isfinite(history.token_price).all()
    units = history.units
    assert all((units.money, units.energy, units.hash, units.token))
    assert min(units.energy_usd_per_mwh, units.hash_usd_per_h, units.token_usd_per_h) > 0
    assert history.credit
    assert history.source == source.name
    assert source.name.partition(":")[0] in SOURCES


def test_fetch__earlier_is_what_later_says_about_the_past(source: PriceSource) -> None:
    now = source.present(datetime.now(UTC))
    later = source.fetch(now)
    early = source.fetch(now - timedelta(seconds=30 * later.step_s))
    assert early.last == later.last - timedelta(seconds=30 * later.step_s)
    both = np.intersect1d(early.timestamp, later.timestamp)
    a, b = np.isin(early.timestamp, both), np.isin(later.timestamp, both)
    assert len(both) >= len(later) - 30
    for name in ("energy_usd_per_mwh", "hash_price", "token_price"):
        assert np.array_equal(getattr(early, name)[a], getattr(later, name)[b])


def test_fetch__nothing_later_than_now(source: PriceSource) -> None:
    now = source.present(datetime.now(UTC)) - timedelta(hours=3, seconds=1)
    assert source.fetch(now).timestamp[-1] <= to_stamp(now)


def test_fetch__before_all_data_is_a_source_error(source: PriceSource) -> None:
    with pytest.raises(SourceError, match="no price at or before 2001"):
        source.fetch(datetime(2001, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("spec", ["", "nonsense", "replay:x", "CSV", "mara:http://x", "energy-charts:NL, nonsense:x"])
def test_open_source__unknown_spec_lists_the_choices(spec: str, site: Site) -> None:
    choices = r"replay\[:ERCOT/HUB\], mara, csv:PATH, folder:PATH, energy-charts:ZONE, gridstatus:ISO/LOCATION"
    if "," in spec:  # what follows a comma and is no source belongs to the place before it
        choices = "expected a bidding zone"
    if spec == "replay:x":
        choices = "expected replay, or replay: and ERCOT/HB_HOUSTON, ERCOT/HB_NORTH"
    with pytest.raises(ConfigError, match=choices):
        open_source(spec, Settings(), site)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("csv", "write csv:PATH"),
        ("folder: ", "write folder:PATH"),
        ("energy-charts", "write energy-charts:ZONE"),
        ("energy-charts:de", "expected a bidding zone"),
        ("gridstatus:", "write gridstatus:ISO/LOCATION"),
        ("gridstatus:ercot", "expected gridstatus:ISO/LOCATION"),
        ("gridstatus:aemo/NSW1", "ISO one of caiso, ercot, isone, miso, nyiso, pjm, spp"),
        ("gridstatus:ercot/HB_NORTH", "GRIDPILOT_GRIDSTATUS_API_KEY is empty"),
        ("energy-charts:NL, replay", "'replay' has a clock and units of its own"),
        ("mara,csv:x.csv", "'mara' has a clock and units of its own"),
        ("energy-charts:NL, energy-charts:NL", "lists 'energy-charts:NL' twice"),
        ("csv:a.csv, csv:b.csv", "lists 'csv' twice"),
    ],
)
def test_open_source__incomplete_or_impossible_spec_says_what_to_write(spec: str, says: str, site: Site) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        open_source(spec, Settings(), site)
    assert "\n" not in str(caught.value)


def test_open_source__list__keeps_the_order_and_commas_of_a_path(site: Site, tmp_path: Path) -> None:
    found = open_source(f"energy-charts:DE-LU,csv:{tmp_path}/a, b.csv ,folder:{tmp_path}", Settings(), site)
    assert isinstance(found, Failover)
    assert [member.name for member in found.members] == ["energy-charts:DE-LU", "csv", "folder"]
    assert isinstance(found.members[1], CsvSource)
    assert found.members[1].path == tmp_path / "a, b.csv"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (Settings(source="replay", hash_source="mempool"), "GRIDPILOT_HASH_SOURCE is for live energy prices"),
        (Settings(source="energy-charts:NL", hash_source="guess"), "expected mempool, or nothing"),
        (
            Settings(
                source="gridstatus:ercot/HB_NORTH",
                gridstatus_url="http://gridstatus.example/v1",
                gridstatus_api_key=SecretStr(KEY),
            ),
            "the key is sent over https alone",
        ),
    ],
)
def test_open_source__settings_that_do_not_fit_are_refused(settings: Settings, says: str, site: Site) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_source(settings.source, settings, site)
    assert KEY not in str(caught.value) + repr(settings)


def test_open_source__naive_replay_start_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="add the zone"):
        open_source("replay", Settings(replay_start=datetime(2024, 1, 1)), site)


def test_open_source__mara_address_that_is_none_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="expected http"):
        open_source("mara", Settings(mara_url="mara.example"), site)
