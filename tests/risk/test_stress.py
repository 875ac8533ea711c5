"""Stress cases: each changes what it says and nothing else; bad ones are refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gridpilot import report
from gridpilot.config import load_site
from gridpilot.domain import Job, StressCase, Units
from gridpilot.errors import ConfigError, DataError
from gridpilot.risk import stress
from tests.risk.test_scenarios import SITE, STEPS, make_plan

NONE = {name: np.zeros(STEPS) for name in ("energy", "hash", "token")}
UNITS = Units()


def brings(case: StressCase, sigma: dict[str, np.ndarray] = NONE, **loads: float) -> float:
    plan = report.plan_json(make_plan(**(loads or {"air": 100.0})))
    return stress.plan_pnl(plan, SITE, UNITS, stress.changed(plan, case, sigma))


USUAL = brings(StressCase("as expected"))
ENERGY_COST = 0.1 * (40 + 50 + 50 + 50)  # 100 kW, $/MWh


def test_outcomes__built_in_cases__as_expected_first_and_own_ones_last() -> None:
    plan = report.plan_json(make_plan(air=100.0))
    own = (StressCase("ours", energy_factor=2.0),)
    found = stress.outcomes(plan, SITE, UNITS, NONE, own)
    assert [row.name for row in found] == [*(case.name for case in stress.CASES), "ours"]
    assert found[0].usd == pytest.approx(USUAL)
    assert found[-1].usd == pytest.approx(USUAL - ENERGY_COST)


def test_outcomes__source_without_money__no_case_in_dollars() -> None:
    plan = report.plan_json(make_plan(air=100.0))
    names = [row.name for row in stress.outcomes(plan, SITE, Units("index"), NONE)]
    assert not any("Texas" in name or "NL" in name for name in names) and len(names) == len(stress.CASES) - 2


@pytest.mark.parametrize(
    ("case", "more"),
    [
        (StressCase("x", energy_usd_per_mwh=9000.0), ENERGY_COST - 4 * 0.1 * 9000.0),
        (StressCase("x", energy_usd_per_mwh=-92.0), ENERGY_COST + 4 * 0.1 * 92.0),
        (StressCase("x", energy_factor=0.5, energy_shift_usd_per_mwh=10.0), 0.5 * ENERGY_COST - 4.0),
        (StressCase("x", dearest_factor=10.0), -9.0 * 5.0),
        (StressCase("x", energy_factor=3.0, start_h=1.5, hours=2.0), -2.0 * 0.1 * (0.5 * 50 + 50 + 0.5 * 50)),
        (StressCase("x", energy_factor=3.0, start_h=4.0), 0.0),
        (StressCase("x", hash_factor=0.5), -0.5 * 4 * 100 * 100 / 24_000 * (70 + 60 + 60 + 60) / 4),
        (StressCase("x", token_factor=0.5), 0.0),
    ],
)
def test_plan_pnl__case__changes_the_money_by_what_it_says(case: StressCase, more: float) -> None:
    assert brings(case) == pytest.approx(USUAL + more)


def test_plan_pnl__off_by_two_sigma__each_price_moves_against_the_plan() -> None:
    sigma = {
        "energy": np.array([0.0, 5.0, 5.0, 5.0]),
        "hash": np.array([0.0, 3.0, 3.0, 3.0]),
        "token": np.full(4, np.nan),
    }
    lost = 2.0 * 3 * (0.1 * 5.0 + 100 * 100 * 3.0 / 24_000)
    assert brings(StressCase("x", sigma=2.0), sigma) == pytest.approx(USUAL - lost)
    selling = report.plan_json(replace(make_plan(), export_kw=np.full(STEPS, 80.0), discharge_kw=np.full(STEPS, 80.0)))
    usual, off = (
        stress.plan_pnl(selling, SITE, UNITS, stress.changed(selling, StressCase("x", sigma=s), sigma))
        for s in (0.0, 2.0)
    )
    assert off - usual == pytest.approx(-2.0 * 3 * 0.08 * 5.0)


def test_plan_pnl__site_trips__nothing_is_earned_or_bought_and_jobs_fall_short() -> None:
    trip = StressCase("x", trip=True, hours=2.0)
    hours = 100 * 100 * np.array([70, 60, 60, 60]) / 24_000 - 0.1 * np.array([40.0, 50, 50, 50])
    assert brings(trip) == pytest.approx(hours[2:].sum())
    site = replace(SITE, jobs=(Job("training", 400.0, 100.0, 0.5, daily_deadline="18:00", shortfall_usd_per_kwh=0.2),))
    plan = report.plan_json(make_plan(training=100.0))
    found = stress.plan_pnl(plan, site, UNITS, stress.changed(plan, trip, NONE))
    assert found == pytest.approx(2 * (50.0 - 5.0) - 2 * 100 * 0.2)


def test_changed__sigma_of_another_length__refused() -> None:
    plan = report.plan_json(make_plan(air=1.0))
    with pytest.raises(DataError, match=r"expected \(4,\)"):
        stress.changed(plan, StressCase("x", sigma=2.0), {"energy": np.ones(3)})


def test_plan_pnl__load_that_the_site_does_not_have__refused() -> None:
    with pytest.raises(DataError, match="'sauna'"):
        stress.plan_pnl(report.plan_json(make_plan(sauna=1.0)), SITE, UNITS)


# --- the site file ---------------------------------------------------------------------------


def test_load_site__own_cases__are_read(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        '[[stress]]\nname = "evening"\nenergy_usd_per_mwh = 800\nstart_h = 3\nhours = 4\n'
        '[[stress]]\nname = "b"\ntrip = true\n'
    )
    assert load_site(file).stress == (
        StressCase("evening", energy_usd_per_mwh=800, start_h=3, hours=4),
        StressCase("b", trip=True),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hash_factor = 0.5", "has no 'name'"),
        ('name = " "', "a stress case has no name"),
        ('name = "a"\nhash_factor = -1', "stress a: hash_factor is -1: expected a number from 0"),
        ('name = "a"\nhours = 0', "stress a: hours is 0"),
        ('name = "a"\ntrip = 1', "trip is 1, expected true or false"),
        ('name = "a"\nenergy_usd_per_mwh = 5\nenergy_factor = 2', "give either energy_usd_per_mwh or a factor"),
        ('name = "a"\nprice = 3', "unknown key 'price'"),
        ('name = "a"\n[[stress]]\nname = "a"', "stress cases with the same name: a"),
    ],
)
def test_load_site__bad_case__one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(f"[[stress]]\n{text}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        load_site(file)
    assert "\n" not in str(caught.value)
