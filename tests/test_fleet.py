"""Work that would have been cheaper elsewhere: by hand, and for any fleet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridpilot.errors import InputError
from gridpilot.fleet import LEAST, Work, moves

DEAR = Work("Odessa", running=100.0, spare=0.0, kwh_per_unit=0.5, usd_per_kwh=0.5, room_kw=1000.0)
CHEAP = Work("Rotterdam", running=20.0, spare=60.0, kwh_per_unit=0.5, usd_per_kwh=0.1, room_kw=1000.0)


def test_moves__one_dear_one_cheap__spare_machines_are_filled() -> None:
    """60 units an hour fit: 30 kW there and here, at 0.4 USD/kWh saved, 12 USD/h."""
    (move,) = moves([DEAR, CHEAP])
    assert (move.origin, move.target) == ("Odessa", "Rotterdam")
    assert move.units_per_h == pytest.approx(60.0)
    assert (move.frees_kw, move.takes_kw) == (pytest.approx(30.0), pytest.approx(30.0))
    assert move.usd_per_h == pytest.approx(12.0)


def test_moves__connection_nearly_full__only_what_it_has_room_for() -> None:
    (move,) = moves([DEAR, replace(CHEAP, room_kw=10.0)])
    assert move.takes_kw == pytest.approx(10.0)
    assert move.usd_per_h == pytest.approx(4.0)


def test_moves__cheap_power_but_hungry_machines__stays() -> None:
    """0.1 USD/kWh x 3 kWh a unit is more than 0.5 x 0.5."""
    assert moves([DEAR, replace(CHEAP, kwh_per_unit=3.0)]) == ()


def test_moves__two_dear_sites_want_the_same_machines__the_dearer_one_gets_them() -> None:
    dearer = replace(DEAR, site="Dallas", usd_per_kwh=0.9, running=40.0)
    found = moves([DEAR, dearer, CHEAP])
    assert [(m.origin, m.target, round(m.units_per_h)) for m in found] == [
        ("Dallas", "Rotterdam", 40),
        ("Odessa", "Rotterdam", 20),
    ]


def test_moves__being_paid_to_consume__attracts_work() -> None:
    (move,) = moves([replace(DEAR, usd_per_kwh=0.0), replace(CHEAP, usd_per_kwh=-0.05)])
    assert move.usd_per_h == pytest.approx(60.0 * 0.5 * 0.05)


@pytest.mark.parametrize("fleet", [[], [DEAR], [DEAR, replace(CHEAP, site="Odessa")], [DEAR, replace(DEAR, site="B")]])
def test_moves__no_other_or_no_cheaper_site__none(fleet: list[Work]) -> None:
    assert moves(fleet) == ()


@pytest.mark.parametrize(
    "change", [{"running": -1.0}, {"spare": math.nan}, {"room_kw": math.inf}, {"usd_per_kwh": math.nan}]
)
def test_work__numbers_that_cannot_be__refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Odessa"):
        replace(DEAR, **change)


amount = st.floats(0.0, 1e4)
any_work = st.builds(
    Work,
    site=st.sampled_from("ABCDE"),
    running=amount,
    spare=amount,
    kwh_per_unit=st.floats(0.01, 10.0),
    usd_per_kwh=st.floats(-1.0, 5.0),
    room_kw=amount,
)


@given(st.lists(any_work, max_size=7))
@settings(deadline=None, max_examples=60)
def test_moves__any_fleet__none_loses_and_every_limit_holds(work: list[Work]) -> None:
    found = moves(work)
    close = 1e-6 * (1.0 + 1e4)
    for site in "ABCDE":
        here = [row for row in work if row.site == site]
        out = sum(m.units_per_h for m in found if m.origin == site)
        came = [m for m in found if m.target == site]
        assert out <= sum(row.running for row in here) + close
        assert sum(m.units_per_h for m in came) <= sum(row.spare for row in here) + close
        assert sum(m.takes_kw for m in came) <= min((row.room_kw for row in here), default=0.0) + 10 * close
    for move in found:
        assert move.usd_per_h > 0.0 and move.units_per_h > LEAST and move.origin != move.target
