"""A recorded plan made again: the same with nothing changed, and what a change brings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from gridpilot import report
from gridpilot.config import Settings
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.errors import DataError
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import Snapshot, load
from gridpilot.monitor.whatif import Change, kept_usd, limits, misfit, what_if


@pytest.fixture(scope="module")
def snap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    url = f"sqlite:///{tmp_path_factory.mktemp('whatif') / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        run_cycle(open_engine(Settings(source="replay", db_url=url), ledger), datetime.now(UTC))
        found = load(ledger)
    assert found is not None
    yield found


def test_what_if__nothing_changed_is_the_recorded_plan(snap: Snapshot) -> None:
    again = what_if(snap, Change())
    assert again.status == "optimal"
    assert again.objective_usd == pytest.approx(snap.plan["objective_usd"], rel=1e-9)
    assert np.allclose(again.import_kw, snap.plan["import_kw"], atol=1e-6)
    kept = kept_usd(snap, Change(), report.plan_json(again))
    assert kept == pytest.approx(snap.plan["objective_usd"], rel=1e-9)


@pytest.mark.parametrize(
    "change", [Change(price_shift_usd_per_mwh=60.0), Change(spread_factor=2.5), Change(service_factor=0.5)]
)
def test_what_if__planning_anew_is_never_worse_than_keeping_the_plan(snap: Snapshot, change: Change) -> None:
    then = what_if(snap, change)
    kept = kept_usd(snap, change, report.plan_json(then))
    assert kept is not None
    assert then.objective_usd >= kept - 1e-6


def test_what_if__limits_and_state_are_those_that_were_asked(snap: Snapshot) -> None:
    change = Change(soc_frac=0.3, battery_kw=40.0, grid_kw=200.0)
    then = what_if(snap, change)
    assert then.soc_start_frac == 0.3
    assert max(then.charge_kw.max(), then.discharge_kw.max()) <= 40.0 + 1e-6
    assert then.import_kw.max() <= 200.0 + 1e-6
    assert kept_usd(snap, change, report.plan_json(then)) is None


def test_misfit__each_limit_and_the_charge__says_what_the_plan_in_force_breaks(snap: Snapshot) -> None:
    most = float(np.max(snap.plan["import_kw"]))
    moved = max(float(np.max(snap.plan[key])) for key in ("charge_kw", "discharge_kw"))
    assert misfit(snap, Change(grid_kw=300.0)) == f"it takes {most:,.0f} kW, over 300 kW"
    assert misfit(snap, Change(battery_kw=10.0)) == f"it moves the battery by {moved:,.0f} kW, over 10 kW"
    assert misfit(snap, Change(soc_frac=0.3)).startswith("it begins at ")
    assert misfit(snap, Change(grid_kw=most, soc_frac=snap.plan["soc_start_frac"])) == ""
    wider = Change(grid_kw=snap.site.import_kw + 100.0)
    then = what_if(snap, wider)
    kept = kept_usd(snap, wider, report.plan_json(then))
    assert kept is not None and then.objective_usd >= kept - 1e-6


def test_limits__one_more_is_worth_what_planning_with_it_gains(snap: Snapshot) -> None:
    listed = limits(snap)
    assert listed is not None
    found = {limit.name: limit for limit in listed}
    assert {"grid connection", "battery power", "highest state of charge", "hydro machines"} <= set(found)
    base = what_if(snap, Change())
    wider = what_if(snap, Change(grid_kw=snap.site.import_kw + 1.0))
    assert found["grid connection"].one_more_usd == pytest.approx(wider.objective_usd - base.objective_usd, abs=1e-6)
    gains = [limit.one_more_usd for limit in listed]
    assert gains == sorted(gains, reverse=True)
    assert all(
        limit.binding > 0 for limit in found.values() if limit.one_more_usd > 1e-3 and "machines" not in limit.name
    )


def test_what_if__a_record_without_its_state_says_so(snap: Snapshot) -> None:
    old = Snapshot(**{name: getattr(snap, name) for name in snap.__slots__})
    plan = {key: value for key, value in snap.plan.items() if key != "state"}
    object.__setattr__(old, "plan", plan)
    assert limits(old) is None
    with pytest.raises(DataError, match="wait for the next one"):
        what_if(old, Change())
