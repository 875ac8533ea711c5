"""Operators' commands on a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot.config import DATA, load_site
from gridpilot.dispatch import override
from gridpilot.dispatch.actor import Actor, local
from gridpilot.dispatch.machines import from_counts
from gridpilot.dispatch.override import Command
from gridpilot.domain import Dispatch, SiteState
from gridpilot.errors import Conflict, Forbidden, InputError
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


def give(ledger: Ledger, command: Command, actor: Actor | None = None, **options: Any) -> Command:
    return override.submit(ledger, command, actor or local(command.author), **{"wall": T0, **options})


def in_force(ledger: Ledger, now: datetime, energy_usd_per_mwh: float = 50.0) -> Dispatch:
    return override.in_force(ledger, SITE, STATE, planned(), now, energy_usd_per_mwh)


def note(ledger: Ledger, sent: Dispatch) -> None:
    override.note_sent(ledger, replace(sent, status="applied"), T0, override.active_override(ledger, T0))


def statuses(ledger: Ledger) -> list[str]:
    return [row["status"] for row in reversed(ledger.commands())]


# --- submit ----------------------------------------------------------------------------------


def test_submit__is_in_force_at_once_and_on_record(ledger: Ledger) -> None:
    given = give(ledger, command())
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
        ({"reason": "two\nlines"}, "control or invisible"),
        ({"reason": "half \ud800"}, "control or invisible"),
        ({"author": ""}, "author is empty"),
        ({"valid_until": T0}, "valid_until is 0.0 h ahead"),
        ({"valid_until": T0 + timedelta(hours=24, seconds=1)}, "at most 24 h"),
        ({"valid_until": datetime(2024, 6, 12, 15)}, "valid_until has no zone"),
        ({"kind": "explode"}, "kind of command is 'explode'"),
        ({"target": {}}, "target of machines"),
        ({"target": {"hydro": -1}}, "whole numbers from 0"),
        ({"target": {"hydro": 1.5}}, "whole numbers from 0"),
        ({"target": {"hydro": True}}, "whole numbers from 0"),
        ({"kind": "hold", "target": {"x": 1}}, "target of hold"),
        ({"reason": "right\u202eto left"}, "control or invisible"),
        ({"author": "an\u200bn"}, "control or invisible"),
        ({"author": "x" * 10_000}, "author has 10000 characters"),
    ],
)
def test_submit__incomplete_command_is_refused_and_not_written(
    ledger: Ledger, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        give(ledger, command(**changes))
    assert (ledger.commands(), ledger.count(), override.version(ledger)) == ([], 0, 0)


def test_submit__drawn_on_an_older_version_is_a_conflict_on_record(ledger: Ledger) -> None:
    give(ledger, command())
    with pytest.raises(Conflict, match="drawn on version 0, the present one is 1"):
        give(ledger, command(author="bob", target={"hydro": 0}))
    assert statuses(ledger) == ["accepted", "refused"]
    active = override.active_override(ledger, T0)
    assert active is not None
    assert active.author == "ann"


def test_F52_submit__ten_threads_at_once_one_winner_a_version_and_every_try_on_record(ledger: Ledger) -> None:
    def race(i: int) -> bool:
        try:
            give(ledger, command(author=f"operator {i}", base_version=i // 10))
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
    give(ledger, command())
    newer = give(ledger, command("battery_kw", {"battery_kw": -10.0}, base_version=1))
    assert statuses(ledger) == ["superseded", "accepted"]
    assert override.active_override(ledger, T0) == newer


# --- the end of an override ------------------------------------------------------------------


def test_expire__marks_what_is_over_and_nothing_else(ledger: Ledger) -> None:
    give(ledger, command())
    assert override.expire(ledger, T0 + HOUR - timedelta(seconds=1)) == ()
    assert override.expire(ledger, T0 + HOUR) == (1,)
    assert (statuses(ledger), override.version(ledger)) == (["expired"], 2)


def test_active_override__is_over_without_anybody_marking_it(ledger: Ledger) -> None:
    give(ledger, command())
    assert override.active_override(ledger, T0 + HOUR) is None


def test_active_override__clock_turned_back_a_day_ends_it(ledger: Ledger) -> None:
    give(ledger, command())
    assert override.active_override(ledger, T0 - timedelta(days=2)) is None
    assert override.expire(ledger, T0 - timedelta(days=2)) == (1,)


def test_release__ends_it_once(ledger: Ledger) -> None:
    give(ledger, command())
    override.release(ledger, 1, local("bob"), reason="test is over", now=T0, wall=T0)
    assert statuses(ledger) == ["released"]
    assert ledger.commands()[0]["detail"] == "by bob: test is over"
    with pytest.raises(InputError, match="command 1 is not in force"):
        override.release(ledger, 1, local("bob"), reason="again", now=T0, wall=T0)


def test_settle__leaves_a_command_that_is_over(ledger: Ledger) -> None:
    give(ledger, command())
    override.release(ledger, 1, local("bob"), reason="test is over", now=T0, wall=T0)
    assert not override.settle(ledger, 1, "active", "", T0)
    assert statuses(ledger) == ["released"]


# --- what is sent ----------------------------------------------------------------------------


def test_in_force__plan_then_override_then_plan_again(ledger: Ledger) -> None:
    assert in_force(ledger, T0) == planned()
    give(ledger, command())
    before = ledger.head()
    assert in_force(ledger, T0).machines["hydro"] == 10
    assert in_force(ledger, T0 + HOUR) == planned()
    assert ledger.head() == before


def test_note_sent__followed_override_becomes_active(ledger: Ledger) -> None:
    give(ledger, command())
    sent = in_force(ledger, T0)
    note(ledger, sent)
    note(ledger, sent)
    assert (statuses(ledger), ledger.count()) == (["active"], 2)


@pytest.mark.parametrize("before", [False, True])
def test_note_sent__given_while_the_cycle_ran__is_neither_refused_nor_called_sent(ledger: Ledger, before: bool) -> None:
    if before:
        give(ledger, command())
    known, sent = override.active_override(ledger, T0), in_force(ledger, T0)
    given = give(ledger, command(target={"hydro": 12}, base_version=override.version(ledger)))
    override.note_sent(ledger, replace(sent, status="applied"), T0, known)
    newest = override.active_override(ledger, T0)
    assert newest is not None and (newest.id, newest.status, newest.detail) == (given.id, "accepted", "")


def test_active_override__for_a_day__is_in_force_in_a_tick_that_began_before_it_was_given(ledger: Ledger) -> None:
    given = give(ledger, command(valid_until=T0 + 24 * HOUR))
    newest = override.active_override(ledger, T0 - timedelta(seconds=20))
    assert newest is not None and newest.id == given.id


def test_note_sent__override_that_breaks_a_limit_is_refused_and_the_plan_followed(ledger: Ledger) -> None:
    give(ledger, command(target={"air": 80, "immersion": 70, "hydro": 45}))
    sent = in_force(ledger, T0)
    assert sent == planned()
    note(ledger, sent)
    assert statuses(ledger) == ["refused"]
    assert override.active_override(ledger, T0) is None


# --- emergency stop --------------------------------------------------------------------------


def stop(**changes: Any) -> Command:
    return command("estop", {}, **{"base_version": 0, "valid_until": T0, **changes})


def release_step(ledger: Ledger, step: str, at: datetime) -> Command:
    return give(ledger, command("estop_release", {"step": step}, created_at=at, base_version=override.version(ledger)))


def test_estop__latches_over_everything_and_is_idempotent(ledger: Ledger) -> None:
    give(ledger, command())
    give(ledger, stop(reason="smoke"))
    give(ledger, stop(author="bob"))
    assert statuses(ledger) == ["superseded", "active", "active"]
    latched = override.stopped(ledger)
    assert latched is not None
    assert (latched["author"], latched["reason"]) == ("ann", "smoke")
    sent = in_force(ledger, T0 + 48 * HOUR)
    assert (sum(sent.machines.values()), sent.battery_kw, sent.origin) == (0, 0.0, "estop")
    assert sent.constraints_satisfied


def test_estop_release__takes_two_steps(ledger: Ledger) -> None:
    give(ledger, stop())
    with pytest.raises(InputError, match="was not requested"):
        release_step(ledger, "confirm", T0)
    release_step(ledger, "request", T0)
    assert override.stopped(ledger) is not None
    release_step(ledger, "confirm", T0 + timedelta(seconds=30))
    assert override.stopped(ledger) is None
    assert in_force(ledger, T0) == planned()


def test_estop_release__late_confirmation_is_refused(ledger: Ledger) -> None:
    give(ledger, stop())
    release_step(ledger, "request", T0)
    with pytest.raises(InputError, match="was requested 31 s ago"):
        release_step(ledger, "confirm", T0 + timedelta(seconds=31))
    assert override.stopped(ledger) is not None


def test_estop_release__without_a_stop_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no emergency stop"):
        release_step(ledger, "request", T0)


def test_estop__pressed_again_cancels_a_requested_release(ledger: Ledger) -> None:
    give(ledger, stop())
    release_step(ledger, "request", T0)
    give(ledger, stop(author="bob"))
    with pytest.raises(InputError, match="was not requested"):
        release_step(ledger, "confirm", T0 + timedelta(seconds=5))


# --- replay clock ----------------------------------------------------------------------------


def test_clock__waits_for_the_pilot_and_is_no_override(ledger: Ledger) -> None:
    first = give(ledger, command("clock", {"speed": 60}))
    second = give(ledger, command("clock", {"step_s": 300}))
    assert override.pending(ledger, "clock") == [first, second]
    assert override.settle(ledger, first.id, "released", "done", T0)
    assert override.pending(ledger, "clock") == [second]
    assert (override.version(ledger), override.active_override(ledger, T0)) == (0, None)
    assert [e.kind for e in ledger.entries()] == ["clock"] * 3


# --- who may ---------------------------------------------------------------------------------

SHIFT_END = T0 + 8 * HOUR
VIA, OLA, ADA = (
    Actor(f"{name}@site.example", role, "oidc", SHIFT_END, f"login-{name}")
    for name, role in (("via", "viewer"), ("ola", "operator"), ("ada", "approver"))
)


def by(actor: Actor, kind: str = "machines", target: dict[str, Any] | None = None, **changes: Any) -> Command:
    return command(kind, target, author=actor.name, **changes)


@pytest.mark.parametrize("kind", ["machines", "resume", "estop_release", "clock"])
def test_F55_submit__viewer_is_refused_on_record_whatever_the_command(ledger: Ledger, kind: str) -> None:
    target = {"machines": {"hydro": 1}, "estop_release": {"step": "request"}, "clock": {"speed": 1.0}}.get(kind, {})
    with pytest.raises(Forbidden, match="is viewer, this takes an operator"):
        give(ledger, by(VIA, kind, target), VIA)
    row = ledger.commands()[0]
    assert (row["author"], row["kind"], row["status"]) == (VIA.name, kind, "refused")
    assert override.pending(ledger, "clock") == [] and override.active_override(ledger, T0) is None
    entry = ledger.latest("clock" if kind == "clock" else "command")
    assert entry is not None and entry.body["actor"] == {"name": VIA.name, "role": "viewer", "source": "oidc"}


def test_F55_submit__expired_sign_in_is_refused_on_record(ledger: Ledger) -> None:
    with pytest.raises(Forbidden, match="sign-in has expired"):
        give(ledger, by(OLA), OLA, wall=SHIFT_END)
    assert statuses(ledger) == ["refused"]


def test_F55_submit__signed_out_in_another_tab_is_refused_and_another_sign_in_is_not(ledger: Ledger) -> None:
    override.sign_out(ledger, OLA, wall=T0)
    assert override.signed_out(ledger, OLA)
    with pytest.raises(Forbidden, match="has signed out"):
        give(ledger, by(OLA), OLA)
    assert give(ledger, by(OLA), replace(OLA, login="another")).status == "accepted"
    entry = ledger.latest("sign-out")
    assert entry is not None and entry.body["name"] == OLA.name


def test_sign_out__tokens_that_have_expired_are_forgotten(ledger: Ledger) -> None:
    override.sign_out(ledger, OLA, wall=T0)
    override.sign_out(ledger, replace(ADA, valid_until=SHIFT_END + HOUR), wall=SHIFT_END)
    assert not override.signed_out(ledger, OLA) and override.signed_out(ledger, ADA)


def test_submit__in_another_name_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="expected one name"):
        give(ledger, by(ADA), OLA)


def test_F55_release__by_a_viewer_is_refused_on_record_and_the_override_stays(ledger: Ledger) -> None:
    given = give(ledger, by(OLA), OLA)
    with pytest.raises(Forbidden):
        override.release(ledger, given.id, VIA, reason="forced", now=T0, wall=T0)
    row = ledger.commands()[0]
    assert (row["kind"], row["target"], row["status"]) == ("release", {"command": given.id}, "refused")
    assert override.active_override(ledger, T0) == given


def test_estop__anyone_who_signed_in_may_press_it_even_after_the_sign_in_expired(ledger: Ledger) -> None:
    give(ledger, stop(author=VIA.name), VIA, wall=SHIFT_END)
    assert override.stopped(ledger) is not None


def test_submit__void_is_refused_on_record(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="selected 31 s ago"):
        give(ledger, by(OLA), OLA, void="selected 31 s ago")
    assert (statuses(ledger), ledger.commands()[0]["detail"]) == (["refused"], "selected 31 s ago")


def test_submit__while_stopped_is_refused(ledger: Ledger) -> None:
    give(ledger, stop())
    with pytest.raises(InputError, match="release it first"):
        give(ledger, command(base_version=override.version(ledger)))


# --- a second person -------------------------------------------------------------------------


def propose(ledger: Ledger, **changes: Any) -> Command:
    return give(ledger, by(OLA, **changes), OLA, propose=True)


def approve(ledger: Ledger, number: int, actor: Actor = ADA, now: datetime = T0, wall: datetime = T0) -> Command:
    return override.approve(ledger, number, actor, now=now, wall=wall)


def test_propose__changes_nothing_until_another_person_approves(ledger: Ledger) -> None:
    given = propose(ledger)
    assert (given.status, override.version(ledger)) == ("proposed", 0)
    assert override.active_override(ledger, T0) is None
    assert [(c.id, until) for c, until in override.proposals(ledger, T0, T0)] == [(1, T0 + timedelta(minutes=10))]
    approved = approve(ledger, given.id)
    assert (approved.status, approved.detail) == ("accepted", "approved by ada@site.example")
    assert override.active_override(ledger, T0) == approved
    assert (override.version(ledger), override.proposals(ledger, T0, T0)) == (1, [])
    entry = ledger.latest("command")
    assert entry is not None and entry.body["actor"]["name"] == ADA.name and entry.body["author"] == OLA.name


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        (OLA, "is operator, this takes an approver"),
        (replace(OLA, role="approver"), "another person must approve it"),
        (replace(ADA, name=" OLA@Site.Example"), "another person must approve it"),
        (replace(ADA, valid_until=T0), "sign-in has expired"),
    ],
)
def test_F55_approve__by_who_may_not_is_refused_on_record_and_it_still_waits(
    ledger: Ledger, actor: Actor, said: str
) -> None:
    propose(ledger)
    with pytest.raises(Forbidden, match=said):
        approve(ledger, 1, actor)
    assert statuses(ledger) == ["proposed", "refused"]
    assert (ledger.commands()[0]["kind"], ledger.commands()[0]["author"]) == ("approve", actor.name)
    assert approve(ledger, 1).status == "accepted"


def test_approve__somebody_acted_since_is_a_conflict(ledger: Ledger) -> None:
    propose(ledger)
    give(ledger, command())
    with pytest.raises(Conflict, match="drawn on version 0, the present one is 1"):
        approve(ledger, 1)
    assert statuses(ledger) == ["refused", "accepted"]
    assert override.version(ledger) == 1


@pytest.mark.parametrize(
    ("now", "wall", "said"),
    [(T0, T0 + timedelta(seconds=601), "had to be approved by"), (T0 + HOUR, T0, "was valid until")],
)
def test_approve__too_late_is_void(ledger: Ledger, now: datetime, wall: datetime, said: str) -> None:
    propose(ledger)
    with pytest.raises(InputError, match=said):
        approve(ledger, 1, now=now, wall=wall)
    assert (statuses(ledger), override.version(ledger)) == (["expired"], 0)


def test_approve__on_hold_or_twice_is_refused(ledger: Ledger) -> None:
    propose(ledger)
    ledger.put_state(override.HOLD_KEY, {"reason": "machines were changed from outside", "at": T0})
    with pytest.raises(InputError, match="resume first"):
        approve(ledger, 1)
    with pytest.raises(InputError, match="does not wait for an approval"):
        approve(ledger, 1)


def test_expire__proposals_by_their_own_time_and_without_a_new_version(ledger: Ledger) -> None:
    propose(ledger)
    assert override.expire(ledger, T0, T0 + timedelta(minutes=10)) == ()
    assert override.expire(ledger, T0, T0 + timedelta(minutes=11)) == (1,)
    assert (statuses(ledger), override.version(ledger)) == (["expired"], 0)


def test_release__takes_a_proposal_back(ledger: Ledger) -> None:
    propose(ledger)
    override.release(ledger, 1, OLA, reason="not needed", now=T0, wall=T0)
    assert (statuses(ledger), override.version(ledger), override.proposals(ledger, T0, T0)) == (["released"], 0, [])


# --- a hold after outside changes ------------------------------------------------------------


def hold(ledger: Ledger) -> None:
    ledger.put_state(override.HOLD_KEY, {"reason": "machines were changed from outside", "at": T0})


def test_hold__stands_above_an_override_until_it_is_resumed(ledger: Ledger) -> None:
    give(ledger, command())
    hold(ledger)
    sent = in_force(ledger, T0)
    assert (sent.origin, dict(sent.machines)) == ("hold", dict(STATE.machines))
    note(ledger, sent)
    assert statuses(ledger) == ["accepted"]
    with pytest.raises(InputError, match="resume first"):
        give(ledger, command("hold", {}, base_version=1))
    version = override.version(ledger)
    resumed = override.resume(ledger, OLA, reason="seen to", base_version=version, now=T0, wall=T0)
    assert (resumed.kind, override.held(ledger), override.version(ledger)) == ("resume", None, version + 1)
    assert in_force(ledger, T0).machines["hydro"] == 10


def test_resume__without_a_hold_or_by_a_viewer_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="not on hold"):
        override.resume(ledger, OLA, reason="seen to", base_version=0, now=T0, wall=T0)
    hold(ledger)
    with pytest.raises(Forbidden):
        override.resume(ledger, VIA, reason="seen to", base_version=0, now=T0, wall=T0)
    assert override.held(ledger) is not None
