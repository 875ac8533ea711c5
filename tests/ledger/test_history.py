"""Price history in the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridpilot.domain import PriceHistory
from gridpilot.ledger.chain import canonical
from gridpilot.ledger.store import Ledger

T0 = datetime(2024, 6, 12, tzinfo=UTC)
NAN = float("nan")


def history(energy: list[float], *, start: datetime = T0, hash_price: float = 50.0) -> PriceHistory:
    first = np.datetime64(start.replace(tzinfo=None), "s")
    n = len(energy)
    stamps = first + np.arange(n) * np.timedelta64(3600, "s")
    return PriceHistory("test", stamps, 3600, np.array(energy), np.full(n, hash_price), np.full(n, NAN))


def test_record_prices__comes_back_exactly(ledger: Ledger) -> None:
    given_ = history([0.1 + 0.2, -50.0, 1e-300])
    assert ledger.record_prices(given_, T0) == 3
    stored = ledger.prices("test")
    np.testing.assert_array_equal(stored.timestamp, given_.timestamp)
    np.testing.assert_array_equal(stored.energy_usd_per_mwh, given_.energy_usd_per_mwh)
    np.testing.assert_array_equal(stored.hash_price, given_.hash_price)
    np.testing.assert_array_equal(stored.token_price, given_.token_price)


def test_record_prices__again_adds_nothing_and_a_longer_one_adds_its_end(ledger: Ledger) -> None:
    ledger.record_prices(history([1.0, 2.0]), T0)
    assert ledger.record_prices(history([1.0, 2.0]), T0) == 0
    assert ledger.record_prices(history([1.0, 2.0, 3.0]), T0) == 1
    assert ledger.record_prices(history([0.0, 1.0], start=T0 - timedelta(hours=1)), T0) == 1
    assert ledger.prices("test").energy_usd_per_mwh.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_record_prices__revision_wins_and_other_price_counts_too(ledger: Ledger) -> None:
    ledger.record_prices(history([1.0, 2.0, 3.0]), T0)
    assert ledger.record_prices(history([1.0, 9.0, 3.0]), T0) == 1
    assert ledger.prices("test").energy_usd_per_mwh.tolist() == [1.0, 9.0, 3.0]
    assert ledger.record_prices(history([1.0, 9.0, 3.0], hash_price=NAN), T0) == 3
    assert np.isnan(ledger.prices("test").hash_price).all()


def test_prices__half_open_range_and_unknown_source(ledger: Ledger) -> None:
    ledger.record_prices(history([1.0, 2.0, 3.0, 4.0]), T0)
    hour = timedelta(hours=1)
    assert ledger.prices("test", T0 + hour, T0 + 3 * hour).energy_usd_per_mwh.tolist() == [2.0, 3.0]
    assert len(ledger.prices("other")) == 0


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.lists(st.sampled_from([1.0, 2.0, -3.5]), min_size=1, max_size=5), min_size=1, max_size=4))
def test_record_prices__any_sequence_the_newest_row_of_each_hour_holds(ledger: Ledger, runs: list[list[float]]) -> None:
    expected = dict(enumerate(ledger.prices("test").energy_usd_per_mwh))
    for energy in runs:
        ledger.record_prices(history(energy), T0)
        expected |= dict(enumerate(energy))
    assert ledger.prices("test").energy_usd_per_mwh.tolist() == list(expected.values())


def test_record_prices__a_year_of_hours(ledger: Ledger) -> None:
    year = history(np.random.default_rng(1).normal(80.0, 40.0, 8760).tolist())
    assert ledger.record_prices(year, T0) == 8760
    assert ledger.record_prices(year, T0) == 0
    np.testing.assert_array_equal(ledger.prices("test").energy_usd_per_mwh, year.energy_usd_per_mwh)


def test_record_prices__long_history__new_rows_and_recent_revisions_are_found(ledger: Ledger) -> None:
    values = [float(i) for i in range(24 * 60)]
    assert ledger.record_prices(history(values), T0) == len(values)
    assert ledger.record_prices(history([*values, 7.0, 8.0]), T0) == 2
    values[-30] = -1.0
    assert ledger.record_prices(history([*values, 7.0, 8.0]), T0) == 1
    earlier = history([1.0, 2.0, *values, 7.0, 8.0], start=T0 - timedelta(hours=2))
    assert ledger.record_prices(earlier, T0) == 2
    stored = ledger.prices("test")
    assert len(stored) == len(values) + 4
    assert stored.energy_usd_per_mwh[-32] == -1.0


# --- further columns, and what was known before -----------------------------------------------


def with_columns(**columns: list[float]) -> PriceHistory:
    plain = history([1.0, 2.0, 3.0])
    return replace(plain, columns={name: np.array(values) for name, values in columns.items()})


def test_record_prices__further_columns_come_back_exactly(ledger: Ledger) -> None:
    given_ = with_columns(outdoor_c=[21.5, NAN, 0.1 + 0.2], **{'load "MW", é\n': [-0.0, 1e-300, 1e22]}, none=[NAN] * 3)
    ledger.record_prices(given_, T0)
    stored = ledger.prices("test")
    assert set(stored.columns) == set(given_.columns)
    for name, values in given_.columns.items():
        np.testing.assert_array_equal(stored.columns[name], values)
        assert not stored.columns[name].flags.writeable
    assert ledger.record_prices(given_, T0) == 0


def test_record_prices__further_columns_are_canonical_json(ledger: Ledger) -> None:
    given_ = with_columns(**{'b "é"\n': [1.0, 1e16, -0.0]}, a=[NAN, 0.1, 1e-7])
    ledger.record_prices(given_, T0)
    with ledger.reading() as connection:
        texts = connection.exec_driver_sql("SELECT extra FROM prices ORDER BY id").scalars().all()
    rows = [{name: values[i] for name, values in given_.columns.items()} for i in range(3)]
    assert texts == [canonical(row) for row in rows]


def test_record_prices__changed_column_is_a_revision_of_its_row_alone(ledger: Ledger) -> None:
    ledger.record_prices(with_columns(outdoor_c=[20.0, 21.0, 22.0]), T0)
    assert ledger.record_prices(with_columns(outdoor_c=[20.0, 21.5, 22.0]), T0) == 1
    assert ledger.record_prices(with_columns(outdoor_c=[20.0, 21.5, 22.0], load=[1.0, 2.0, 3.0]), T0) == 3
    assert ledger.prices("test").columns["outdoor_c"].tolist() == [20.0, 21.5, 22.0]
    assert ledger.record_prices(history([1.0, 2.0, 3.0]), T0) == 3
    assert ledger.prices("test").columns == {}


def test_prices__as_of_an_id__is_what_was_known_then(ledger: Ledger) -> None:
    assert ledger.price_id("test") == 0
    ledger.record_prices(with_columns(outdoor_c=[20.0, 21.0, NAN]), T0)
    then = ledger.price_id("test")
    ledger.record_prices(replace(history([5.0, 6.0]), source="other"), T0)
    assert ledger.price_id("test") == then
    revised = replace(history([1.0, 9.0, 3.0, 4.0]), columns={"outdoor_c": np.array([20.0, 21.0, 22.0, 23.0])})
    assert ledger.record_prices(revised, T0) == 3
    assert ledger.price_id("other") > then
    known = ledger.prices("test", as_of_id=then)
    assert known.energy_usd_per_mwh.tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(known.columns["outdoor_c"], [20.0, 21.0, NAN])
    assert ledger.prices("test", T0 + timedelta(hours=1), as_of_id=then).energy_usd_per_mwh.tolist() == [2.0, 3.0]
    assert ledger.prices("test").energy_usd_per_mwh.tolist() == [1.0, 9.0, 3.0, 4.0]
    assert len(ledger.prices("test", as_of_id=0)) == 0


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.lists(st.sampled_from([1.0, 2.0, -3.5]), min_size=1, max_size=5), min_size=1, max_size=4))
def test_prices__any_sequence_every_moment_can_be_read_again(ledger: Ledger, runs: list[list[float]]) -> None:
    seen = []
    for energy in runs:
        ledger.record_prices(history(energy), T0)
        seen.append((ledger.price_id("test"), ledger.prices("test").energy_usd_per_mwh.tolist()))
    for price_id, energy in seen:
        assert ledger.prices("test", as_of_id=price_id).energy_usd_per_mwh.tolist() == energy
