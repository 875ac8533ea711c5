"""The backtest: what was earned with what was known, on days of every length."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest

from gridpilot.backtest import Backtest, Terms, backtest, default_days
from gridpilot.domain import Battery, Job, MachineType, PriceHistory, Site
from gridpilot.errors import DataError
from gridpilot.forecast.ensemble import prepare
from gridpilot.values import as_times

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

ALONE = Site(battery=Battery(charge_kw=1000.0, discharge_kw=1000.0))
START, END = date(2023, 3, 20), date(2023, 4, 2)  # the clocks change on 26 March
RIDGE = Terms("ridge", "blind")


def history(days: int = 100, step_s: int = 3600, seed: int = 3, lift: float = 60.0) -> PriceHistory:
    """Two peaks a day and noise that persists, from New Year's Eve 23:00 UTC [USD/MWh]."""
    rng, per = np.random.default_rng(seed), 86_400 // step_s
    hour = np.arange(days * per) % per * step_s / 3600.0
    shape = 18.0 * np.sin((hour - 5.0) / 12.0 * np.pi) + 14.0 * np.sin((hour - 3.0) / 6.0 * np.pi)
    noise = np.zeros(days * per)
    for i in range(1, len(noise)):
        noise[i] = 0.9 * noise[i - 1] + rng.normal(0.0, 4.0 * (step_s / 3600.0) ** 0.5)
    stamps = np.datetime64("2022-12-31T23:00:00", "s") + np.arange(days * per) * np.timedelta64(step_s, "s")
    nothing = np.full(len(noise), np.nan)
    return PriceHistory("test", stamps, step_s, lift + shape + noise, nothing, nothing)


def run(
    known: PriceHistory, terms: Terms = RIDGE, site: Site = ALONE, zone: str = "Europe/Amsterdam", end: date = END
) -> Backtest:
    there = replace(site, timezone=zone)
    return backtest(there, known, prepare(known, zone).clock, START, end, terms)


@cache
def told(information: str, profiles: int = 24) -> Backtest:
    return run(history(), Terms("ridge", information, profiles))


@pytest.mark.parametrize("information", ["blind", "published", "realtime"])
def test_backtest__money_adds_up_over_days_of_23_and_24_hours(information: str) -> None:
    found = told(information)
    assert [day.date for day in found.days] == [START + timedelta(days=i) for i in range(14)]
    assert len(found.timestamp) == 14 * 24 - 1
    assert sum(day.revenue_usd for day in found.days) + found.stored_usd == pytest.approx(found.revenue_usd)
    assert 0.0 < found.percent_of_perfect <= 100.0
    assert sum(found.gap_usd.values()) == pytest.approx(found.perfect_usd - found.revenue_usd)
    assert np.all((found.stored_kwh >= 150.0 - 1e-9) & (found.stored_kwh <= 900.0 + 1e-9))
    assert found.perfect_exact


def test_backtest__knowing_more_earns_more() -> None:
    blind, fixed, published = (told(*k).percent_of_perfect for k in (("blind",), ("blind", 1), ("published",)))
    assert told("blind").persistence_percent_of_perfect < blind
    assert fixed < blind < published
    assert published > 99.0


@pytest.mark.parametrize("information", ["blind", "realtime"])
def test_backtest__prices_to_come_change_nothing_before_them(information: str) -> None:
    known, day = history(), 7
    cut = int(np.searchsorted(known.timestamp, np.datetime64("2023-03-26T22:00:00", "s")))  # midnight of the eighth day
    wild = np.concatenate([known.energy_usd_per_mwh[:cut], 500.0 - 3.0 * known.energy_usd_per_mwh[cut:]])
    other = run(replace(known, energy_usd_per_mwh=wild), Terms("ridge", information))
    ours = told(information)
    steps = day * 24 - 1
    assert np.array_equal(ours.battery_kw[:steps], other.battery_kw[:steps])
    assert [d.revenue_usd for d in ours.days[:day]] == [d.revenue_usd for d in other.days[:day]]
    assert not np.array_equal(ours.battery_kw[steps:], other.battery_kw[steps:])


def test_backtest__published_prices_are_known_from_13_on_and_not_before() -> None:
    known = history()
    cut = int(np.searchsorted(known.timestamp, np.datetime64("2023-03-26T22:00:00", "s")))
    wild = np.concatenate([known.energy_usd_per_mwh[:cut], 0.1 * known.energy_usd_per_mwh[cut:]])
    other = run(replace(known, energy_usd_per_mwh=wild), Terms("ridge", "published"))
    ours, noon, midnight = told("published").battery_kw, 6 * 24 + 13 - 1, 7 * 24 - 1
    assert np.array_equal(ours[:noon], other.battery_kw[:noon])
    assert not np.array_equal(ours[noon:midnight], other.battery_kw[noon:midnight])


def test_backtest__days_that_were_filled_are_left_out_with_a_flag() -> None:
    known = history()
    missing = as_times(known.timestamp[[24 * 85, 24 * 85 + 1]])
    found = run(replace(known, filled=missing))
    assert len(found.days) == 13
    assert [flag.code for flag in found.flags] == ["DAYS_LEFT_OUT"]
    assert "left out: 2023-03-27" in found.flags[0].message


@pytest.mark.slow
def test_backtest__quarter_hours() -> None:
    known = history(70, 900)
    series = prepare(known, "UTC").clock
    found = backtest(ALONE, known, series, date(2023, 2, 20), date(2023, 2, 24), Terms("ridge", "realtime"))
    assert len(found.timestamp) == 5 * 96
    assert 0.0 < found.percent_of_perfect < 100.0


@pytest.mark.slow
def test_backtest__negative_prices_stay_feasible_and_say_that_perfect_is_not_proven() -> None:
    found = run(history(lift=5.0))
    assert not found.perfect_exact
    assert "NOT_PROVEN" in [flag.code for flag in found.flags]
    assert 0.0 < found.percent_of_perfect < 100.0


def test_backtest__machines_run_when_they_earn_and_jobs_are_left_out_aloud() -> None:
    known = history()
    paid = replace(known, hash_price=np.full(len(known), 55.0))
    machine = MachineType("hydro", 100, 5000.0, 280.0, "hash")  # 280 TH/s at 55 USD/PH/day: 0.128 USD/kWh
    job = Job("training", 400.0, 100.0, 0.5, daily_deadline="18:00")
    site = replace(ALONE, machines=(machine,), jobs=(job,))
    found = run(paid, site=site)
    assert found.revenue_usd > told("blind").revenue_usd
    assert found.percent_of_added < found.percent_of_perfect
    assert "JOBS_LEFT_OUT" in [flag.code for flag in found.flags]


def test_backtest__no_battery_earns_nothing_and_divides_by_nothing() -> None:
    found = run(history(), site=Site(battery=Battery(capacity_kwh=0.0)))
    assert found.revenue_usd == pytest.approx(0.0)
    assert np.isnan(found.percent_of_perfect)
    assert np.isnan(found.percent_of_added)


def test_backtest__short_history_falls_back_aloud() -> None:
    known = history()
    found = run(known, Terms("ensemble"))
    assert found.forecaster == "ridge"
    assert found.flags[0].code == "MODEL_SKIPPED"


def test_backtest__forecaster_that_fails_is_replaced_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no numbers")

    monkeypatch.setattr("gridpilot.forecast.models.Ridge.fit", broken)
    found = run(history())
    assert found.forecaster == "seasonal naive"
    assert "ridge failed, a simpler one stands in: ValueError: no numbers" in found.flags[0].message


def test_backtest__outside_series_that_is_nearer_than_the_model_is_taken_in_real_time() -> None:
    known = history()
    rng = np.random.default_rng(9)
    near = replace(known, columns={"dam": known.energy_usd_per_mwh + rng.normal(0.0, 1.0, len(known))})
    series = prepare(near, "Europe/Amsterdam", exog=["dam"]).clock
    series = replace(series, exog=series.exog[: len(series)], known_ahead=25)
    found = backtest(
        replace(ALONE, timezone="Europe/Amsterdam"), near, series, START, END, Terms("seasonal naive", "realtime")
    )
    assert found.percent_of_perfect > 90.0


def test_terms__say_what_was_expected() -> None:
    with pytest.raises(DataError, match="expected blind, published, realtime"):
        Terms(information="oracle")
    with pytest.raises(DataError, match="expected 1 to 100"):
        Terms(profiles=0)


def test_default_days__leave_room_to_learn_from() -> None:
    series = prepare(history(), "UTC").clock
    assert default_days(series, "seasonal naive")[0] < default_days(series, "ensemble")[0]
    assert default_days(series, "ensemble") == (date(2023, 2, 20), date(2023, 4, 9))
