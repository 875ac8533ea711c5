"""The simulated site: battery, machines that take their time, heat, faults."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.machines import from_counts
from gridpilot.dispatch.simulator import Faults, SimulatedGateway, advance
from gridpilot.domain import Battery, Dispatch, Room, SiteState
from gridpilot.errors import DataError, Refused
from gridpilot.ledger.store import Ledger

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
ALL = {m.type: m.count for m in SITE.machines}


def dispatch(machines: dict[str, int], battery_kw: float = 0.0, room_kw: float = 0.0) -> Dispatch:
    until = T0 + timedelta(hours=1)
    state = SiteState(T0, 0.5)
    return from_counts(SITE, state, machines, battery_kw, {}, {}, T0, until, "plan", room_kw=room_kw)


def simulated(site: Any = SITE) -> SimulatedGateway:
    kept: dict[str, Any] = {}

    def save(body: dict[str, Any]) -> None:
        kept.clear()
        kept.update(body)

    return SimulatedGateway(site, lambda: kept, save)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


# --- battery ---------------------------------------------------------------------------------


def test_advance__charging_stores_what_the_efficiency_leaves() -> None:
    assert advance(Battery(), 0.5, 100.0, 3600.0) == (pytest.approx(0.594), 100.0)


def test_advance__discharging_takes_more_than_it_delivers() -> None:
    assert advance(Battery(), 0.5, -94.0, 3600.0) == (pytest.approx(0.4), pytest.approx(-94.0))


def test_advance__full_battery_takes_nothing_more() -> None:
    soc, kw = advance(Battery(), 0.99, 250.0, 3600.0)
    assert soc == 1.0
    assert kw == pytest.approx(10.0 / 0.94)


def test_advance__unknown_state_of_charge_stays_unknown() -> None:
    soc, kw = advance(Battery(), float("nan"), 100.0, 3600.0)
    assert math.isnan(soc)
    assert kw == 0.0


@settings(deadline=None, max_examples=100)
@given(
    soc=st.floats(0.0, 1.0),
    kw=st.floats(-2000.0, 2000.0),
    seconds=st.floats(0.0, 100_000.0),
    capacity=st.sampled_from([0.0, 1.0, 1000.0]),
)
def test_advance__any_request_energy_balances_within_limits(
    soc: float, kw: float, seconds: float, capacity: float
) -> None:
    battery = Battery(capacity_kwh=capacity, charge_kw=250.0, discharge_kw=300.0)
    after, delivered = advance(battery, soc, kw, seconds)
    assert 0.0 <= after <= 1.0
    assert -300.0 <= delivered <= 250.0
    assert abs(delivered) <= abs(kw) + 1e-9
    factor = battery.efficiency_charge if delivered > 0 else 1.0 / battery.efficiency_discharge
    assert (after - soc) * capacity == pytest.approx(delivered * factor * seconds / 3600.0 * (capacity > 0), abs=1e-6)


# --- machines --------------------------------------------------------------------------------


def test_simulated__machines_take_their_time__off_in_4_s_on_in_10(tmp_path: Path) -> None:
    site = simulated()
    site.put(dispatch({"hydro": 10, "gpu": 2}), T0)
    assert site.read(after(9.9)).machines["hydro"] == 0
    assert site.read(after(9.9)).target["hydro"] == 10
    on = site.read(after(10.0))
    assert on.machines == {"air": 0, "immersion": 0, "hydro": 10, "gpu": 2}
    assert on.power_kw == pytest.approx(10 * 5.36 + 2 * 10.2)
    assert on.grid_kw == pytest.approx(on.power_kw * (1.0 + 1.0 / 3.5))

    site.put(dispatch({"hydro": 4, "gpu": 2}), after(20.0))
    assert site.read(after(23.9)).machines["hydro"] == 10
    assert site.read(after(24.0)).machines["hydro"] == 4


def test_simulated__the_same_again_while_it_switches__does_not_start_anew() -> None:
    site = simulated()
    site.put(dispatch({"hydro": 10}), T0)
    site.put(dispatch({"hydro": 10}), after(8.0))
    assert site.read(after(10.0)).machines["hydro"] == 10


def test_simulated__fewer_and_fewer__each_goes_off_in_its_own_time_and_a_turn_begins_anew() -> None:
    site = simulated()
    site.put(dispatch({"hydro": 10}), T0)
    for second, count in ((20, 8), (22, 5)):
        site.put(dispatch({"hydro": count}), after(second))
    assert [site.read(after(s)).machines["hydro"] for s in (23.9, 24.0, 25.9, 26.0)] == [10, 8, 8, 5]
    site.put(dispatch({"hydro": 2}), after(30.0))
    site.put(dispatch({"hydro": 9}), after(32.0))
    assert [site.read(after(s)).machines["hydro"] for s in (34.0, 41.9, 42.0)] == [5, 5, 9]


def test_simulated__kept_in_a_ledger__goes_on_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"

    def gateway(ledger: Ledger) -> SimulatedGateway:
        return SimulatedGateway(SITE, lambda: ledger.get_state("sim").value, lambda v: ledger.put_state("sim", v))

    with Ledger.open(url) as ledger:
        assert sum(gateway(ledger).read(T0).machines.values()) == 0
        gateway(ledger).put(dispatch({"hydro": 10}, battery_kw=94.0), T0)
    with Ledger.open(url) as ledger:
        reading = gateway(ledger).read(after(3600.0))
    assert reading.machines["hydro"] == 10
    assert reading.soc_frac == pytest.approx(0.5 + 0.94 * 94.0 / 1000.0)
    assert reading.battery_kw == 94.0


@pytest.mark.parametrize("machines", [{"hydro": 46}, {"hydro": -1}, {"toaster": 1}])
def test_simulated__impossible_counts_are_refused(machines: dict[str, int]) -> None:
    site = simulated()
    with pytest.raises(Refused):
        site.put(dispatch(machines), T0)
    assert site.read(T0).machines == dict.fromkeys(ALL, 0)


def test_simulated__clock_goes_back__stays_as_it_was() -> None:
    site = simulated()
    site.put(dispatch({"hydro": 10}, battery_kw=-100.0), T0)
    later = site.read(after(600.0))
    assert site.read(after(-600.0)).machines["hydro"] == 0
    assert site.read(after(600.0)) == later


def test_simulated__empty_battery__delivers_nothing_more() -> None:
    site = simulated()
    site.put(dispatch({}, battery_kw=-250.0), T0)
    reading = site.read(after(4 * 3600.0))
    assert (reading.soc_frac, reading.battery_kw, reading.grid_kw) == (0.0, 0.0, 0.0)


# --- heat ------------------------------------------------------------------------------------


def test_simulated__all_machines_on__hot_but_below_the_limit_and_cool_again_when_off() -> None:
    site = simulated()
    site.put(dispatch(ALL), T0)
    hot = site.read(after(3600.0))
    assert hot.room_c == pytest.approx(22.0)
    assert hot.hottest_c == pytest.approx(22.0 + 45.0, abs=0.1)
    site.put(dispatch(dict.fromkeys(ALL, 0)), after(3600.0))
    assert site.read(after(3600.0 + 120.0)).hottest_c < 45.0


def test_simulated__cooling_fails__room_and_machines_heat_up_and_extra_cooling_helps() -> None:
    planned = dataclasses.replace(SITE, room=Room(kwh_per_c=10.0, loss_kw_per_c=2.0, extra_kw=100.0))
    site = simulated(planned)
    site.put(dispatch(ALL), T0)
    site.inject(Faults(cooling_frac=0.9), T0)
    hot = site.read(after(1800.0))
    assert hot.room_c > 24.0 and hot.hottest_c > hot.room_c + 40.0
    site.put(dispatch(ALL, room_kw=60.0), after(1800.0))
    assert site.read(after(3600.0)).room_c < hot.room_c


# --- faults ----------------------------------------------------------------------------------


def test_simulated__failed_machines_stand_still_and_stuck_ones_stay_as_they_are() -> None:
    site = simulated()
    site.put(dispatch({"hydro": 40}), T0)
    site.inject(Faults(failed={"hydro": 3}, stuck={"hydro": 5}), after(60.0))
    assert site.read(after(60.0)).machines["hydro"] == 37
    site.put(dispatch({"hydro": 0}), after(60.0))
    reading = site.read(after(120.0))
    assert (reading.machines["hydro"], reading.target["hydro"]) == (5, 0)


def test_simulated__sensors__lie_or_are_lost_as_they_are_told() -> None:
    site = simulated()
    site.inject(Faults(soc_frac=68.7, frequency_hz=49.7, import_kw=300.0, heat_c=30.0), T0)
    reading = site.read(after(3600.0))
    assert (reading.soc_frac, reading.frequency_hz, reading.import_kw) == (68.7, 49.7, 300.0)
    assert reading.hottest_c == pytest.approx(52.0, abs=0.1)
    site.inject(Faults(soc_lost=True), after(3600.0))
    assert math.isnan(site.read(after(3601.0)).soc_frac)


def test_simulated__changed_from_outside__shows_at_once() -> None:
    site = simulated()
    site.put(dispatch({"hydro": 10}), T0)
    site.outside({"hydro": 25}, after(30.0))
    assert site.read(after(30.0)).machines["hydro"] == 25


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"failed": {"hydro": -1}}, "failed.hydro is -1"), ({"cooling_frac": 2.0}, "cooling_frac is 2"),
     ({"frequency_hz": math.nan}, "frequency_hz is nan")],
)  # fmt: skip
def test_faults__impossible__one_clear_line(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Faults(**wrong)
