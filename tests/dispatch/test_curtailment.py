"""Curtailment events: taken over once, started, ended, cancelled; and the limits that they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot.config import DATA, load_site, site_from_json
from gridpilot.dispatch import curtailment
from gridpilot.dispatch.curtailment import Curtailment
from gridpilot.domain import CurtailmentTerms, GridLimit
from gridpilot.errors import Conflict, DataError, InputError
from gridpilot.ledger.store import Ledger
from gridpilot.values import to_jsonable

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def event(**changes: Any) -> Curtailment:
    body = {"id": "e1", "origin": "utility", "author": "grid operator", "reason": "evening peak"}
    body |= {"start": T0 + 10 * MINUTE, "end": T0 + 190 * MINUTE, "percent": 25.0}
    return Curtailment(**{**body, **changes})


def at(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def known(kw: float) -> curtailment.Metered:
    return lambda start, end: kw


def statuses(ledger: Ledger) -> list[str]:
    return [e.body["status"] for e in ledger.entries(curtailment.ENTRY, newest_first=False)]


# --- limits ----------------------------------------------------------------------------------


def test_limit__ramp__falls_in_a_straight_line_and_ends() -> None:
    limit = GridLimit(T0, at(60), 600.0, from_kw=800.0, ramp_s=600.0)
    assert [limit.at(at(m)) for m in (-1, 0, 5, 10, 59, 60)] == [math.inf, 800.0, 700.0, 600.0, 600.0, math.inf]
    assert limit.least(at(-10), at(5)) == pytest.approx(700.0)
    assert limit.least(at(30), at(90)) == 600.0
    assert limit.least(at(60), at(90)) == limit.least(at(-60), at(0)) == math.inf


def test_limit__ends_before_it_starts__refused() -> None:
    with pytest.raises(DataError, match="not after its start"):
        GridLimit(T0, T0, 1.0)


# --- events ----------------------------------------------------------------------------------


def test_event__percent__baseline_is_fixed_at_the_start(ledger: Ledger) -> None:
    curtailment.submit(ledger, event(), T0)
    turned, limits = curtailment.advance(ledger, SITE, T0, known(900.0))
    assert not turned and limits[0].import_kw == pytest.approx(675.0), "planned for by what is metered now"
    turned, limits = curtailment.advance(ledger, SITE, at(10), known(800.0))
    assert turned and limits[0].import_kw == pytest.approx(600.0)
    turned, limits = curtailment.advance(ledger, SITE, at(11), known(100.0))
    assert not turned and limits[0].import_kw == pytest.approx(600.0)
    turned, limits = curtailment.advance(ledger, SITE, at(190), known(100.0))
    assert turned and limits == ()
    assert statuses(ledger) == ["scheduled", "active", "ended"]
    assert curtailment.events(ledger)[0].baseline_kw == 800.0


def test_event__nothing_metered__percent_of_the_connection(ledger: Ledger) -> None:
    curtailment.submit(ledger, event(), T0)
    _, limits = curtailment.advance(ledger, SITE, at(10), known(math.nan))
    assert limits[0].import_kw == pytest.approx(750.0)


def test_event__the_same_twice__taken_once_and_another_under_its_id_refused(ledger: Ledger) -> None:
    curtailment.submit(ledger, event(), T0)
    assert curtailment.submit(ledger, event(), at(1)).id == "e1"
    with pytest.raises(Conflict, match="known with other content"):
        curtailment.submit(ledger, event(percent=30.0), at(1))
    assert statuses(ledger) == ["scheduled"]


def test_event__cancelled__before_and_while_active(ledger: Ledger) -> None:
    curtailment.submit(ledger, event(), T0)
    curtailment.submit(ledger, event(id="e2", import_kw=300.0, percent=None), T0)
    curtailment.cancel(ledger, "e1", author="anna", reason="called off", now=at(5))
    curtailment.advance(ledger, SITE, at(20), known(800.0))
    curtailment.cancel(ledger, "e2", author="anna", reason="called off", now=at(30))
    assert curtailment.advance(ledger, SITE, at(31), known(800.0))[1] == ()
    assert [(e.id, e.status) for e in curtailment.events(ledger)] == [("e1", "cancelled"), ("e2", "cancelled")]
    with pytest.raises(InputError, match="neither scheduled nor active"):
        curtailment.cancel(ledger, "e1", author="anna", reason="again", now=at(40))


def test_event__pilot_was_down_for_all_of_it__ended_without_a_start(ledger: Ledger) -> None:
    curtailment.submit(ledger, event(), T0)
    turned, limits = curtailment.advance(ledger, SITE, at(500), known(800.0))
    assert turned and limits == ()
    assert statuses(ledger) == ["scheduled", "ended"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"percent": None}, "give either import_kw"),
        ({"import_kw": 10.0}, "give either import_kw"),
        ({"percent": 120.0}, "percent is 120: expected 0 to 100"),
        ({"percent": math.nan}, "percent is nan"),
        ({"percent": None, "import_kw": -1.0}, "import_kw is -1"),
        ({"ramp_s": 1e6}, "ramp_s is 1e"),
        ({"end": T0}, "lasts -10 minutes"),
        ({"start": T0 - 90 * MINUTE, "end": T0 - MINUTE}, "is over"),
        ({"end": T0 + timedelta(hours=30)}, "at most 24 hours"),
        ({"start": T0 + timedelta(days=9), "end": T0 + timedelta(days=9, hours=1)}, "at most 7 days ahead"),
        ({"author": " "}, "author of the curtailment is ' '"),
        ({"reason": "x" * 501}, "1 to 500 characters"),
        ({"id": "a\nb"}, "in one line"),
        ({"origin": "stranger"}, "origin is 'stranger'"),
    ],
)
def test_event__impossible__one_clear_line_and_nothing_written(
    ledger: Ledger, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        curtailment.submit(ledger, event(**changes), T0)
    assert ledger.count() == 0


def test_event__too_many_waiting__refused(ledger: Ledger) -> None:
    for n in range(curtailment.MOST_LIVE):
        curtailment.submit(ledger, event(id=f"e{n}"), T0)
    with pytest.raises(InputError, match="cancel some first"):
        curtailment.submit(ledger, event(id="one more"), T0)


# --- schedule --------------------------------------------------------------------------------


def test_schedule__local_time_through_a_change_of_clocks_and_only_on_its_days(ledger: Ledger) -> None:
    terms = CurtailmentTerms("peak", "17:00", 2.0, import_kw=400.0, days=(0, 1, 2, 3, 4))
    site = replace(SITE, curtailments=(terms,))
    monday = datetime(2024, 4, 1, 6, tzinfo=UTC)  # clocks changed the night before
    assert [e.start.isoformat() for e in curtailment.scheduled(site, monday)] == ["2024-04-01T15:00:00+00:00"]
    friday = datetime(2024, 3, 29, 18, 30, tzinfo=UTC)  # over at 18:00 UTC, then a weekend
    assert curtailment.scheduled(site, friday) == []
    turned, limits = curtailment.advance(ledger, site, monday, known(800.0))
    assert not turned and limits[0].import_kw == 400.0
    curtailment.advance(ledger, site, monday + MINUTE, known(800.0))
    assert statuses(ledger) == ["scheduled"], "once, however often it is looked at"


def test_schedule__cancelled_one_does_not_come_back(ledger: Ledger) -> None:
    site = replace(SITE, curtailments=(CurtailmentTerms("peak", "17:00", 2.0, percent=20.0),))
    curtailment.advance(ledger, site, T0, known(800.0))
    found = curtailment.events(ledger)[0]
    curtailment.cancel(ledger, found.id, author="anna", reason="not today", now=T0)
    assert found.id not in [e.id for e in curtailment.events(ledger, curtailment.LIVE)]
    curtailment.advance(ledger, site, T0 + MINUTE, known(800.0))
    assert found.id not in [e.id for e in curtailment.events(ledger, curtailment.LIVE)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"at": "25:00"}, "at is '25:00'"), ({"percent": 10.0}, "give either"), ({"hours": 0.0}, "hours is 0"),
     ({"days": (7,)}, "expected 0 .Monday. to 6"), ({"name": ""}, "has no name")],
)  # fmt: skip
def test_terms__impossible__one_clear_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        CurtailmentTerms(**{"name": "peak", "at": "17:00", "hours": 1.0, "import_kw": 1.0, **changes})


def test_site__with_a_schedule__survives_its_json_form() -> None:
    site = replace(SITE, curtailments=(CurtailmentTerms("peak", "17:00", 2.0, import_kw=400.0, days=(0, 4)),))
    assert site_from_json(to_jsonable(site)) == site
