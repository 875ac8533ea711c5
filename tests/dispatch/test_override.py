"""Operators' commands on a real ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot.config import DATA, load_site
from gridpilot.dispatch import override
from gridpilot.dispatch.machines import from_counts
from gridpilot.dispatch.override import Command
from gridpilot.domain import Dispatch, SiteState
from gridpilot.errors import Conflict, InputError
from gridpilot.ledger.store import Ledger

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
SITE = load_site(DATA / "site-default.toml")
STATE = SiteState(T0, 0.5, {"air": 3, "immersion": 4, "hydro": 5, "gpu": 6}, 40.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def planned() -> Dispatch:
    counts = {"air": 0, "immersion": 20, "hydro": 30, "gpu": 6}
    return from_counts(SITE, STATE, counts, -50.0, {"training": 40.0}, {"cold-store": 10.0}, T0, T0 + HOUR, "plan")


def command(kind: str = "machines", target: dict[str, Any] | None = None, **changes: Any) -> Command:
    given = Command(
        T0, "ann", "test of the hydro loop", kind, {"hydro": 10} if target is None else target, T0 + HOUR, 0
    )
    return replace(given, **changes)


def statuses(ledger: Ledger) -> list[str]:
    return [row["status"] for row in reversed(ledger.commands())]


# --- effect ----------------------------------------------------------------------------------


def test_apply_override__machines_named_are_set_and_others_follow_the_plan() -> None:
    after = override.apply_override(SITE, STATE, planned(), "machines", {"hydro": 10})
    assert after.machines == {"air": 0, "immersion": 20, "hydro": 10, "gpu": 6}
    assert (after.battery_kw, after.origin) == (-50.0, "override")
    assert (dict(after.jobs_kw), dict(after.tenants_kw)) == ({"training": 40.0}, {"cold-store": 10.0})
    assert (after.at, after.valid_until) == (T0, T0 + HOUR)


def test_apply_override__battery_power_leaves_machines_to_the_plan() -> None:
    after = override.apply_override(SITE, STATE, planned(), "battery_kw", {"battery_kw": 25})
    assert (after.battery_kw, after.machines) == (25.0, planned().machines)


def test_apply_override__hold_keeps_what_was_read_and_rests_the_battery() -> None:
    after = override.apply_override(SITE, STATE, planned(), "hold", {})
    assert (after.machines, after.battery_kw, after.origin) == (STATE.machines, 0.0, "hold")


def test_preview__shows_power_and_money_before_and_after() -> None:
    seen = override.preview(SITE, STATE, planned(), "machines", {"hydro": 10}, lambda d: float(d.machines["hydro"]))
    assert seen.before_kw - seen.after_kw == pytest.approx(20 * 5.36 * (1 + 1 / 3.5))
    assert (seen.before_usd_per_h, seen.after_usd_per_h, seen.violations) == (30.0, 10.0, ())


def test_preview__names_the_limits_that_it_would_break() -> None:
    seen = override.preview(SITE, STATE, planned(), "machines", {"air": 80, "immersion": 70, "hydro": 45})
    assert seen.violations
    assert not seen.dispatch.constraints_satisfied
    assert math.isnan(seen.after_usd_per_h)


# --- submit ----------------------------------------------------------------------------------


def test_submit__is_in_force_at_once_and_on_record(ledger: Ledger) -> None:
    given = override.submit(ledger, command())
    assert (given.id, given.status) == (1, "accepted")
    assert override.active_override(ledger, T0) == given
    assert override.version(ledger) == 1
    entry = ledger.latest("command")
    assert entry is not None
    assert (entry.body["author"], entry.body["target"], entry.body["status"]) == ("ann", {"hydro": 10}, "accepted")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reason": "  "}, "reason is empty"),
        ({"reason": "x" * 501}, "reason has 501 characters"),
        ({"reason": "two\nlines"}, "control characters"),
        ({"reason": "half \ud800"}, "control characters"),
        ({"author": ""}, "author is empty"),
        ({"valid_until": T0}, "valid_until is 0.0 h ahead"),
        ({"valid_until": T0 + timedelta(hours=24, seconds=1)}, "at most 24 h"),
        ({"valid_until": datetime(2024, 6, 12, 15)}, "valid_until has no zone"),
        ({"kind": "explode"}, "kind of command is 'explode'"),
        ({"target": {}}, "target of machines"),
        ({"target": {"hydro": -1}}, "whole numbers from 0"),
        ({"target": {"hydro": 1.5}}, "whole numbers from 0"),
        ({"target": {"hydro": True}}, "whole numbers from 0"),
        ({"kind": "battery_kw", "target": {"battery_kw": math.nan}}, "target of battery_kw"),
        ({"kind": "battery_kw", "target": {}}, "target of battery_kw"),
        ({"kind": "hold", "target": {"x": 1}}, "target of hold"),
        ({"kind": "estop_release", "target": {}}, "target of estop_release"),
        ({"kind": "clock", "target": {"speed": -1}}, "target of clock"),
    ],
)
def test_submit__incomplete_command_is_refused_and_not_written(
    ledger: Ledger, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        override.submit(ledger, command(**changes))
    assert (ledger.commands(), ledger.count(), override.version(ledger)) == ([], 0, 0)


def test_submit__drawn_on_an_older_version_is_a_conflict_on_record(ledger: Ledger) -> None:
    override.submit(ledger, command())
    with pytest.raises(Conflict, match="drawn on version 0, the present one is 1"):
        override.submit(ledger, command(author="bob", target={"hydro": 0}))
    assert statuses(ledger) == ["accepted", "refused"]
    active = override.active_override(ledger, T0)
    assert active is not None
    assert active.author == "ann"


def test_submit__ten_threads_one_winner_a_version_and_every_try_on_record(ledger: Ledger) -> None:
    def race(i: int) -> bool:
        try:
            override.submit(ledger, command(author=f"operator {i}", base_version=i // 10))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        won = [sum(pool.map(race, range(10 * v, 10 * v + 10))) for v in range(4)]
    assert won == [1, 1, 1, 1]
    assert (len(ledger.commands()), override.version(ledger)) == (40, 4)
    tries = {(e.body["author"], e.body["status"]) for e in ledger.entries("command")}
    assert len({author for author, status in tries if status in ("accepted", "refused")}) == 40
    assert statuses(ledger).count("accepted") == 1
    assert ledger.verify().ok


def test_submit__a_new_override_supersedes_the_last(ledger: Ledger) -> None:
    override.submit(ledger, command())
    newer = override.submit(ledger, command("battery_kw", {"battery_kw": -10.0}, base_version=1))
    assert statuses(ledger) == ["superseded", "accepted"]
    assert override.active_override(ledger, T0) == newer


# --- the end of an override ------------------------------------------------------------------


def test_expire__marks_what_is_over_and_nothing_else(ledger: Ledger) -> None:
    override.submit(ledger, command())
    assert override.expire(ledger, T0 + HOUR - timedelta(seconds=1)) == ()
    assert override.expire(ledger, T0 + HOUR) == (1,)
    assert (statuses(ledger), override.version(ledger)) == (["expired"], 2)


def test_active_override__is_over_without_anybody_marking_it(ledger: Ledger) -> None:
    override.submit(ledger, command())
    assert override.active_override(ledger, T0 + HOUR) is None


def test_active_override__clock_turned_back_a_day_ends_it(ledger: Ledger) -> None:
    override.submit(ledger, command())
    assert override.active_override(ledger, T0 - timedelta(days=2)) is None
    assert override.expire(ledger, T0 - timedelta(days=2)) == (1,)


def test_release__ends_it_once(ledger: Ledger) -> None:
    override.submit(ledger, command())
    override.release(ledger, 1, author="bob", reason="test is over", now=T0)
    assert statuses(ledger) == ["released"]
    assert ledger.commands()[0]["detail"] == "by bob: test is over"
    with pytest.raises(InputError, match="command 1 is not in force"):
        override.release(ledger, 1, author="bob", reason="again", now=T0)


def test_settle__leaves_a_command_that_is_over(ledger: Ledger) -> None:
    override.submit(ledger, command())
    override.release(ledger, 1, author="bob", reason="test is over", now=T0)
    assert not override.settle(ledger, 1, "active", "", T0)
    assert statuses(ledger) == ["released"]


# --- what is sent ----------------------------------------------------------------------------


def test_in_force__plan_then_override_then_plan_again(ledger: Ledger) -> None:
    assert override.in_force(ledger, SITE, STATE, planned(), T0) == planned()
    override.submit(ledger, command())
    before = ledger.head()
    assert override.in_force(ledger, SITE, STATE, planned(), T0).machines["hydro"] == 10
    assert override.in_force(ledger, SITE, STATE, planned(), T0 + HOUR) == planned()
    assert ledger.head() == before


def test_note_sent__followed_override_becomes_active(ledger: Ledger) -> None:
    override.submit(ledger, command())
    sent = override.in_force(ledger, SITE, STATE, planned(), T0)
    override.note_sent(ledger, replace(sent, status="applied"), T0)
    override.note_sent(ledger, replace(sent, status="applied"), T0)
    assert (statuses(ledger), ledger.count()) == (["active"], 2)


def test_note_sent__override_that_breaks_a_limit_is_refused_and_the_plan_followed(ledger: Ledger) -> None:
    override.submit(ledger, command(target={"air": 80, "immersion": 70, "hydro": 45}))
    sent = override.in_force(ledger, SITE, STATE, planned(), T0)
    assert sent == planned()
    override.note_sent(ledger, replace(sent, status="applied"), T0)
    assert statuses(ledger) == ["refused"]
    assert override.active_override(ledger, T0) is None


# --- emergency stop --------------------------------------------------------------------------


def stop(**changes: Any) -> Command:
    return command("estop", {}, **{"base_version": 0, "valid_until": T0, **changes})


def release_step(ledger: Ledger, step: str, at: datetime) -> Command:
    return override.submit(
        ledger, command("estop_release", {"step": step}, created_at=at, base_version=override.version(ledger))
    )


def test_estop__latches_over_everything_and_is_idempotent(ledger: Ledger) -> None:
    override.submit(ledger, command())
    override.submit(ledger, stop(reason="smoke"))
    override.submit(ledger, stop(author="bob"))
    assert statuses(ledger) == ["superseded", "active", "active"]
    latched = override.stopped(ledger)
    assert latched is not None
    assert (latched["author"], latched["reason"]) == ("ann", "smoke")
    sent = override.in_force(ledger, SITE, STATE, planned(), T0 + 48 * HOUR)
    assert (sum(sent.machines.values()), sent.battery_kw, sent.origin) == (0, 0.0, "estop")
    assert sent.constraints_satisfied


def test_estop_release__takes_two_steps(ledger: Ledger) -> None:
    override.submit(ledger, stop())
    with pytest.raises(InputError, match="was not requested"):
        release_step(ledger, "confirm", T0)
    release_step(ledger, "request", T0)
    assert override.stopped(ledger) is not None
    release_step(ledger, "confirm", T0 + timedelta(seconds=30))
    assert override.stopped(ledger) is None
    assert override.in_force(ledger, SITE, STATE, planned(), T0) == planned()


def test_estop_release__late_confirmation_is_refused(ledger: Ledger) -> None:
    override.submit(ledger, stop())
    release_step(ledger, "request", T0)
    with pytest.raises(InputError, match="was requested 31 s ago"):
        release_step(ledger, "confirm", T0 + timedelta(seconds=31))
    assert override.stopped(ledger) is not None


def test_estop_release__without_a_stop_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no emergency stop"):
        release_step(ledger, "request", T0)


def test_estop__pressed_again_cancels_a_requested_release(ledger: Ledger) -> None:
    override.submit(ledger, stop())
    release_step(ledger, "request", T0)
    override.submit(ledger, stop(author="bob"))
    with pytest.raises(InputError, match="was not requested"):
        release_step(ledger, "confirm", T0 + timedelta(seconds=5))


# --- replay clock ----------------------------------------------------------------------------


def test_clock__waits_for_the_pilot_and_is_no_override(ledger: Ledger) -> None:
    first = override.submit(ledger, command("clock", {"speed": 60}))
    second = override.submit(ledger, command("clock", {"step_s": 300}))
    assert override.pending(ledger, "clock") == [first, second]
    assert override.settle(ledger, first.id, "released", "done", T0)
    assert override.pending(ledger, "clock") == [second]
    assert (override.version(ledger), override.active_override(ledger, T0)) == (0, None)
    assert [e.kind for e in ledger.entries()] == ["clock"] * 3
