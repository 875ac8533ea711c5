"""The audit of a curtailment, from readings on a real ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridpilot.config import DATA, load_site
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.domain import Reading
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import metering
from gridpilot.monitor.curtailments import Audit, audit, find

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def at(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def meter(ledger: Ledger, minutes: float, grid_kw: float) -> None:
    moment = at(minutes)
    ledger.append(metering.KIND, metering.record(Reading(moment, {}, 0.0, grid_kw=grid_kw)), at=moment)


def advance(ledger: Ledger, minutes: float) -> float:
    """Bring the events to that time; the limit of the first one."""
    _, limits = curtailment.advance(ledger, SITE, at(minutes), lambda a, b: metering.mean_kw(ledger, a, b))
    return limits[0].at(at(minutes)) if limits else math.inf


def given(ledger: Ledger, minutes: float = 0.0, lasts: float = 60.0, **target: float) -> None:
    event = Curtailment("e1", "utility", "grid", "peak", at(minutes), at(minutes + lasts), **target)
    curtailment.submit(ledger, event, at(-1.0))


def audited(ledger: Ledger, minutes: float) -> Audit:
    found = audit(ledger, find(ledger, "e1"), at(minutes))
    assert found is not None
    return found


def test_audit__kept_to_the_end__kept(ledger: Ledger) -> None:
    meter(ledger, -30.0, 800.0)
    given(ledger, percent=25.0)
    advance(ledger, 0.0)
    for n in range(60):
        meter(ledger, n + 4.0 / 60.0, 600.0)
    found = audited(ledger, 61.0)
    assert (found.kept, found.target_kw, found.reached_s) == (True, 600.0, 4.0)
    assert found.delivered_frac == pytest.approx(1.0)
    assert len(found.windows) == 12


def test_audit__the_meter_is_silent_half_way__not_called_kept(ledger: Ledger) -> None:
    meter(ledger, -30.0, 800.0)
    given(ledger, percent=25.0)
    advance(ledger, 0.0)
    for n in range(10):
        meter(ledger, n + 4.0 / 60.0, 500.0)
    found = audited(ledger, 61.0)
    assert not found.kept
    assert [math.isnan(window.mean_kw) for window in found.windows] == [False, False, *[True] * 10]
    assert found.reduced_kwh == pytest.approx(300.0 * 14.0 / 60.0, rel=0.02), "and what nobody saw is not counted"


def test_audit__cancelled_before_its_start__there_is_none(ledger: Ledger) -> None:
    meter(ledger, -30.0, 800.0)
    given(ledger, import_kw=100.0)
    curtailment.cancel(ledger, "e1", author="anna", reason="called off", now=at(-0.5))
    meter(ledger, 5.0, 800.0)
    assert audit(ledger, find(ledger, "e1"), at(30.0)) is None


def test_audit__waits_for_a_second_person__there_is_none(ledger: Ledger) -> None:
    event = Curtailment("e1", "operator", "anna", "peak", T0, at(60.0), import_kw=100.0)
    curtailment.submit(ledger, event, at(-1.0), propose=True)
    meter(ledger, 5.0, 800.0)
    assert audit(ledger, find(ledger, "e1"), at(30.0)) is None


@pytest.mark.parametrize(("kw", "kept"), [(5.0, True), (90.0, False)])
def test_audit__cancelled_in_its_ramp__judged_by_the_ramp_so_far(ledger: Ledger, kw: float, kept: bool) -> None:
    meter(ledger, -30.0, 800.0)
    given(ledger, import_kw=200.0, ramp_s=1800.0)  # 20 kW a minute
    advance(ledger, 0.0)
    for n in range(10):
        meter(ledger, float(n), 800.0 - 20.0 * (n + 1) - 5.0 + kw)
    curtailment.cancel(ledger, "e1", author="anna", reason="called off", now=at(10.0))
    found = audited(ledger, 30.0)
    assert found.kept is kept
    assert math.isnan(found.reached_s)
    assert [round(window.allowed_kw) for window in found.windows] == [749, 650]


def test_audit__nothing_metered_before_the_start__percent_is_not_judged_by_an_invented_target(ledger: Ledger) -> None:
    given(ledger, percent=25.0)
    advance(ledger, 0.0)
    for n in range(60):
        meter(ledger, float(n), 100.0)
    found = audited(ledger, 60.0)
    assert math.isnan(found.target_kw) and found.windows == () and not found.kept


def test_limit__nothing_metered_before_the_start__does_not_fall_with_what_it_curtails(ledger: Ledger) -> None:
    given(ledger, percent=25.0)
    for n in range(60):
        limit = advance(ledger, float(n))
        assert limit == pytest.approx(750.0), n
        meter(ledger, float(n), limit)


def test_mean__the_clock_went_back__what_was_lived_again_counts_once(ledger: Ledger) -> None:
    for n, kw in ((0, 900.0), (10, 900.0), (20, 100.0), (40, 100.0)):
        meter(ledger, float(n), kw)
    for n, kw in ((5, 500.0), (30, 700.0)):
        meter(ledger, float(n), kw)
    assert metering.mean_kw(ledger, T0, at(60.0)) == pytest.approx((900.0 * 5 + 500.0 * 25 + 700.0 * 30) / 60.0)
