"""What is owed between cycles: customers' windows, credits, the month's peak, reserve; and how it stands on screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridpilot.config import DATA, Settings, load_site
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.domain import Customer, Reserve, Served, Site, Switched
from gridpilot.explain.facts import gather
from gridpilot.explain.sentences import curtail_sentences, machine_sentence
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import settle
from gridpilot.monitor.decision import Snapshot, load
from gridpilot.monitor.promises import CREDITS, DEMAND, RESERVE, Promises, carried, job_credits
from gridpilot.monitor.standing import curtailable, customer_standings, rule_standings
from gridpilot.monitor.whatif import Change, what_if
from gridpilot.plan.loads import available_kw
from gridpilot.values import to_jsonable

DEFAULT = load_site(DATA / "site-default.toml")
GPU = replace(DEFAULT.machine("gpu"), demand_by_hour=())
T0 = datetime(2024, 6, 24, 10, tzinfo=UTC)  # noon in Amsterdam: a window of six hours begins


def site(**customer: object) -> Site:
    given = {"name": "acme", "type": "gpu", "share": 0.5, "short_usd_per_kwh": 0.5, **customer}
    return replace(DEFAULT, machines=(GPU,), customers=(Customer(**given),))  # type: ignore[arg-type]


def after(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def test_carried__service__adds_what_was_asked_and_what_was_had() -> None:
    half = 0.5 * GPU.count * GPU.power_kw
    kept, money = carried(site(), Promises(customers_kw={"acme": 40.0}), [], T0, after(2), after(3))
    assert kept.served == (Served("acme", T0, pytest.approx(80.0), pytest.approx(3 * half)),)  # set points ended at 2 h
    assert money == {RESERVE: 0.0, CREDITS: 0.0, DEMAND: 0.0}


def test_carried__window_ends_short__credits_are_due_once() -> None:
    asked = 6 * 0.5 * GPU.count * GPU.power_kw
    kept, money = carried(site(tier=1), Promises(customers_kw={"acme": 40.0}), [], T0, after(7), after(7))
    assert money[CREDITS] == pytest.approx(0.5 * (0.9 * asked - 240.0))
    assert kept.served[0].start == after(6)
    again, more = carried(site(tier=1), kept, [], after(7), after(8), after(8))
    assert more[CREDITS] == 0.0
    assert again.served[0].served_kwh == pytest.approx(80.0)


def test_carried__demand_charge__for_what_is_over_the_months_peak() -> None:
    billed = replace(site(), demand_usd_per_kw=2.0)
    kept, money = carried(
        billed, Promises(), [(T0, 300.0), (after(1), 250.0), (after(2), 420.0)], T0, after(3), after(3)
    )
    assert money[DEMAND] == pytest.approx(2.0 * 420.0)
    assert (kept.peak_kw, kept.peak_month) == (420.0, "2024-06")
    july = datetime(2024, 6, 30, 22, tzinfo=UTC)  # midnight in Amsterdam
    new, money = carried(billed, kept, [(july, 100.0)], july, july + timedelta(hours=1), july + timedelta(hours=1))
    assert (new.peak_kw, new.peak_month, money[DEMAND]) == (100.0, "2024-07", 200.0)


def test_carried__reserve__is_paid_while_the_set_points_are_in_force() -> None:
    paid = replace(site(), reserve=Reserve(up_kw=100.0, up_usd_per_mw_h=10.0, down_usd_per_mw_h=5.0))
    _, money = carried(paid, Promises(reserve_up_kw=100.0, reserve_down_kw=50.0), [], T0, after(2), after(5))
    assert money[RESERVE] == pytest.approx(2 * (100.0 * 0.010 + 50.0 * 0.005))


def test_carried__switched_machines__are_forgotten_after_a_day() -> None:
    old, new = Switched("gpu", after(-25), 3), Switched("gpu", after(-2), -1)
    kept, _ = carried(site(), Promises(switched=(old, new)), [], T0, T0, T0)
    assert kept.switched == (new,)


def test_job_credits__energy_missing_at_the_deadline__has_its_price() -> None:
    priced = replace(DEFAULT, jobs=(replace(DEFAULT.jobs[0], shortfall_usd_per_kwh=0.3),))
    due = datetime(2024, 6, 24, 17, tzinfo=UTC)  # 19:00 in Amsterdam
    delivered = {"training@2024-06-24T17:00:00Z": 150.0}
    assert job_credits(priced, delivered, due - timedelta(hours=1), due) == pytest.approx(0.3 * 250.0)
    assert job_credits(priced, delivered, due, due + timedelta(hours=1)) == 0.0


def test_promises__through_json_and_back__are_the_same() -> None:
    kept = Promises((Served("acme", T0, 1.0, 2.0),), (Switched("gpu", T0, 3),), 5.0, "2024-06", {"acme": 4.0}, 1.0, 2.0)
    assert Promises.from_json(to_jsonable(kept)) == kept


# --- through whole cycles --------------------------------------------------------------------

FULL = """
timezone = "Europe/Amsterdam"
[grid]
import_kw = 1000
export_kw = 1000
ramp_kw_per_min = 60
demand_usd_per_kw = 0.5
[battery]
depth_wear_usd_per_kwh = [0.0, 0.001, 0.004]
[reserve]
up_kw = 100
up_usd_per_mw_h = 8
hours = 0.5
[[customers]]
name = "acme"
type = "gpu"
share = 0.5
tier = 1
[[customers]]
name = "lab"
type = "gpu"
share = 0.25
tier = 3
short_usd_per_kwh = 0.4
[[rules]]
type = "air"
above = 2
below = 2
ramp_machines = 20
"""


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, list[Snapshot]]]:
    """Eight hours of a site that asks for everything."""
    folder: Path = tmp_path_factory.mktemp("full")
    path, url, wall = folder / "site.toml", f"sqlite:///{folder / 'ledger.db'}", datetime.now(UTC)
    path.write_text(FULL)
    found = []
    with Ledger.open(url) as ledger:
        engine = open_engine(Settings(source="replay", db_url=url, site=path), ledger)
        assert isinstance(engine.source, ReplaySource)
        for _ in range(8):
            assert run_cycle(engine, wall).dispatch.status == "applied"
            engine.source.clock = engine.source.clock.stepped(wall).with_speed(wall, 0.0)
            snap = load(ledger)
            assert snap is not None
            found.append(snap)
        yield ledger, found


def test_cycles__customers__get_no_less_than_their_tier(cycles: tuple[Ledger, list[Snapshot]]) -> None:
    for snap in cycles[1]:
        for row in customer_standings(snap):
            assert row.planned_frac <= row.allowed_frac + 1e-6
            assert row.kw <= available_kw(snap.site, snap.site.machine("gpu"), snap.at) + 1e-6


def test_cycles__settled__reserve_is_income_and_the_peak_is_charged_once(
    cycles: tuple[Ledger, list[Snapshot]],
) -> None:
    ledger, snaps = cycles
    settled = [entry.body for entry in ledger.entries("settlement", limit=50)]
    money = {key: sum(body["money"][key] for body in settled) for key in settled[0]["money"]}
    drawn = [snap.dispatch["grid_kw"] for snap in snaps[:-1]]
    assert money["demand"] == pytest.approx(0.5 * max(drawn))
    assert money["reserve"] >= 0.008 * 100.0 * len(settled) - 1e-6
    income = sum(money[key] for key in ("hash", "token", "tenants", "jobs", "export", "reserve"))
    cost = sum(money[key] for key in ("import", "wear", "credits", "demand"))
    assert sum(body["profit_usd"] for body in settled) == pytest.approx(income - cost)
    running = settle.load(ledger)
    assert running is not None
    assert running.promises.peak_kw == pytest.approx(max(drawn))


def test_cycles__the_recorded_state__makes_the_same_plan_again(cycles: tuple[Ledger, list[Snapshot]]) -> None:
    for snap in cycles[1]:
        again = what_if(snap, Change())
        assert again.objective_usd == pytest.approx(snap.plan["objective_usd"], rel=1e-4)


def test_cycles__rule_and_curtailable_power__are_told_with_their_facts(cycles: tuple[Ledger, list[Snapshot]]) -> None:
    ledger, snaps = cycles
    (rule,) = rule_standings(snaps[-1])
    assert (rule.type, rule.manual, rule.needed) == ("air", False, 2)
    facts = gather(ledger, None)
    said = machine_sentence(facts, "air").text
    assert "rule keeps them off until" in said if not rule.on else "rule lets them run until" in said
    found = curtailable(snaps[-1])
    assert found.load_kw <= snaps[-1].dispatch["total_power_kw"] + max(0.0, snaps[-1].dispatch["battery_kw"]) + 1e-6
    assert facts.number("curtail.load") == pytest.approx(found.load_kw)
    assert len(curtail_sentences(facts)) == 3
