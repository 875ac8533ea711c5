"""What every price source must keep, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.config import DATA, Settings, load_site
from gridpilot.domain import Site
from gridpilot.errors import ConfigError, SourceError
from gridpilot.mara_server import MaraServer
from gridpilot.market.source import SOURCES, PriceSource, open_source
from gridpilot.values import iso, to_stamp


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-default.toml")


@pytest.fixture(params=["replay", "csv", "mara"])
def source(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[PriceSource]:
    if request.param == "csv":
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
    assert history.source == source.name in SOURCES


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


@pytest.mark.parametrize("spec", ["", "nonsense", "replay:x", "CSV", "mara:http://x"])
def test_open_source__unknown_spec_lists_the_choices(spec: str, site: Site) -> None:
    with pytest.raises(ConfigError, match="expected one of replay, mara, csv:PATH"):
        open_source(spec, Settings(), site)


def test_open_source__csv_without_a_file_says_how(site: Site) -> None:
    with pytest.raises(ConfigError, match="write csv:PATH"):
        open_source("csv", Settings(), site)


def test_open_source__naive_replay_start_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="add the zone"):
        open_source("replay", Settings(replay_start=datetime(2024, 1, 1)), site)


def test_open_source__mara_address_that_is_none_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="expected http"):
        open_source("mara", Settings(mara_url="mara.example"), site)
