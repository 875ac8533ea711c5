from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.config import Settings
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import decision, reading
from gridpilot.monitor.decision import Change
from gridpilot.values import to_utc

WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)
START = datetime(2024, 6, 24, 12, tzinfo=UTC)


def decided(ledger: Ledger, hours: list[int]) -> decision.Snapshot:
    """Real cycles of the replay at these hours after its start."""
    engine = open_engine(Settings(source="replay"), ledger)
    source = engine.source
    assert isinstance(source, ReplaySource)
    for hour in hours:
        source.clock = type(source.clock)(WALL, START + timedelta(hours=hour), 0.0)
        run_cycle(engine, WALL)
    snap = decision.load(ledger)
    assert snap is not None
    return snap


def test_track__missed_cycles__held_while_valid_then_off(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        snap = decided(ledger, [0, 5])
        track = reading.track(ledger, snap, 8.0)
    assert len(track.timestamp) == 6
    total = np.sum(list(track.loads_kw.values()), axis=0)
    assert total[0] > 0.0
    assert total[1] == total[0]  # the set points of 12:00 are valid until 14:00
    assert total[2:5].tolist() == [0.0, 0.0, 0.0]
    assert track.battery_kw[2:5].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(track.soc_frac).tolist() == [False, True, True, True, True, False]
    assert total[5] == pytest.approx(snap.dispatch["total_power_kw"])
    assert track.grid_kw[5] == pytest.approx(snap.dispatch["grid_kw"])


def test_track__sent_anew_within_an_interval__counts_by_its_time_in_it(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        first = decided(ledger, [0])
        anew = {**first.dispatch, "battery_kw": first.dispatch["battery_kw"] - 200.0, "grid_kw": 55.0}
        ledger.append("guard", {"dispatch": anew}, at=START + timedelta(minutes=45), cycle_id=first.cycle_id)
        now = reading.track(ledger, first, 8.0)
        assert now.grid_kw.tolist() == [55.0], "of the running interval what is in force"
        track = reading.track(ledger, decided(ledger, [1]), 8.0)
    sent = first.dispatch
    assert track.battery_kw[0] == pytest.approx(sent["battery_kw"] - 50.0)
    assert track.grid_kw[0] == pytest.approx(0.75 * sent["grid_kw"] + 0.25 * 55.0)


def test_track__first_decision_within_an_interval__no_time_before_it_is_counted(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for minutes in (40, 60):
            source.clock = type(source.clock)(WALL, START + timedelta(minutes=minutes), 0.0)
            run_cycle(engine, WALL)
            if minutes == 40:
                first = decision.load(ledger)
        snap = decision.load(ledger)
        assert first is not None and snap is not None
        track = reading.track(ledger, snap, 8.0)
    assert track.grid_kw[0] == pytest.approx(first.dispatch["grid_kw"])


def test_why__load_over_its_break_even__names_it(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        snap = decided(ledger, [0])
    price = snap.plan["energy_usd_per_mwh"]
    t = next(t for t in range(1, len(price)) if price[t - 1] < 109.0 < price[t])
    at = to_utc(decision.times(snap.plan["timestamp"])[t])
    reason = reading.why(snap, Change(at, "hydro", 214.4, 0.0, price[t], 0.0))
    strike = next(s.strike for s in decision.strikes(snap) if s.type == "hydro")
    assert reason.kind == "over"
    assert reason.limit == pytest.approx(strike)


def test_why__charging__under_the_price_where_storing_pays(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        snap = decided(ledger, [0])
    changes = [c for c in decision.next_changes(snap, 50) if c.what == "battery"]
    for change in changes:
        reason = reading.why(snap, change)
        if reason.kind == "under":
            assert change.energy_price <= reason.limit + 1e-6
        if reason.kind == "over":
            assert change.energy_price >= reason.limit - 1e-6
    assert changes
