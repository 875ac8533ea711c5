"""INTENT, put, read back, RESULT: with a real ledger, a simulated site and the MARA stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, load_site
from gridpilot.dispatch.gateway import MaraGateway
from gridpilot.dispatch.reconcile import LOOK_S, Followed, difference, execute, follow, held, recover, sent
from gridpilot.domain import Dispatch, Reading
from gridpilot.errors import GatewayError, LeaseHeld, LedgerError, Refused, SafetyError
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import Faults, MaraServer
from gridpilot.market.mara import MaraClient

T0 = datetime(2024, 6, 12, 14, tzinfo=UTC)
LATER = T0 + timedelta(minutes=3)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Rig:
    """A site with faults: each put takes the next one; `None` is a good put."""

    faults: list[BaseException | str | None] = field(default_factory=list)
    unreadable: bool = False
    machines: Mapping[str, int] = field(default_factory=dict)
    puts: list[Mapping[str, int]] = field(default_factory=list)
    name: str = "rig"

    def read(self, now: datetime) -> Reading:
        if self.unreadable:
            raise GatewayError("no answer")
        return Reading(now, self.machines, 0.0)

    def put(self, dispatch: Dispatch, now: datetime) -> None:
        fault = self.faults.pop(0) if self.faults else None
        self.puts.append(dispatch.machines)
        if isinstance(fault, Refused) or fault == "ignored":
            if isinstance(fault, Refused):
                raise fault
            return
        self.machines = dict(dispatch.machines)
        if isinstance(fault, BaseException):
            raise fault


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def dispatch(hydro: int = 7) -> Dispatch:
    return Dispatch(
        at=T0,
        valid_until=T0 + timedelta(minutes=10),
        origin="plan",
        machines={"air": 0, "hydro": hydro},
        battery_kw=-20.0,
        jobs_kw={},
        tenants_kw={},
        cooling_kw=0.0,
        machine_kw=5.0 * hydro,
        total_power_kw=5.0 * hydro,
        payload={},
        constraints_satisfied=True,
    )


def kinds(ledger: Ledger) -> list[str]:
    return [e.kind for e in ledger.entries(newest_first=False)]


def result(ledger: Ledger) -> dict[str, object]:
    entry = ledger.latest("result")
    assert entry is not None
    return entry.body


def test_execute__good_way_is_intent_then_result(ledger: Ledger) -> None:
    rig = Rig()
    sent = execute(ledger, rig, dispatch(), T0, cycle_id="c1")
    assert sent.status == "applied"
    assert kinds(ledger) == ["intent", "result"]
    assert rig.puts == [{"air": 0, "hydro": 7}]
    assert result(ledger)["actual"] == {"air": 0, "hydro": 7}
    assert set(ledger.cycle("c1")) == {"intent", "result"}


def test_execute__intent_is_on_disk_before_the_put(ledger: Ledger) -> None:
    seen = []

    class Looks(Rig):
        def put(self, dispatch: Dispatch, now: datetime) -> None:
            seen.extend(kinds(ledger))
            super().put(dispatch, now)

    execute(ledger, Looks(), dispatch(), T0, cycle_id="c1")
    assert seen == ["intent"]


def test_execute__broken_limit_sends_nothing(ledger: Ledger) -> None:
    rig = Rig()
    bad = replace(dispatch(), constraints_satisfied=False, violations=("1200 kW is above 1000 kW",))
    with pytest.raises(SafetyError, match="1200 kW is above 1000 kW"):
        execute(ledger, rig, bad, T0, cycle_id="c1")
    assert (rig.puts, kinds(ledger)) == ([], ["refused"])


def test_execute__expired_dispatch_sends_nothing(ledger: Ledger) -> None:
    rig = Rig()
    with pytest.raises(SafetyError, match="expired at 2024-06-12T14:10:00Z"):
        execute(ledger, rig, dispatch(), T0 + timedelta(minutes=10), cycle_id="c1")
    assert (rig.puts, kinds(ledger)) == ([], ["refused"])


def test_execute__stale_token_sends_nothing(ledger: Ledger) -> None:
    stale = ledger.acquire_lease("pilot", "a", 10, T0)
    ledger.acquire_lease("pilot", "b", 10, T0 + timedelta(minutes=1))
    rig = Rig()
    with pytest.raises(LeaseHeld):
        execute(ledger, rig, dispatch(), T0, cycle_id="c1", token=stale)
    assert (rig.puts, kinds(ledger)) == ([], [])


def test_execute__ledger_that_cannot_be_written_sends_nothing(ledger: Ledger) -> None:
    rig = Rig()
    with (
        Ledger.open(f"sqlite:///{ledger.name}", read_only=True) as reader,
        pytest.raises(LedgerError),
    ):
        execute(reader, rig, dispatch(), T0, cycle_id="c1")
    assert rig.puts == []


def test_F38_execute__lost_acknowledgement_is_settled_by_reading(ledger: Ledger) -> None:
    rig = Rig([GatewayError("timed out")])
    assert execute(ledger, rig, dispatch(), T0, cycle_id="c1").status == "recovered"
    assert len(rig.puts) == 1
    assert result(ledger)["detail"] == "timed out"


def test_execute__other_state_is_put_once_more(ledger: Ledger) -> None:
    rig = Rig(["ignored"])
    assert execute(ledger, rig, dispatch(), T0, cycle_id="c1").status == "applied"
    assert (len(rig.puts), result(ledger)["puts"]) == (2, 2)


def test_F39_execute__still_another_state__put_twice_then_alarm_and_hold(ledger: Ledger) -> None:
    rig = Rig(["ignored", "ignored"], machines={"air": 2, "hydro": 5})
    before = rig.machines
    assert execute(ledger, rig, dispatch(), T0, cycle_id="c1", before=before).status == "mismatch"
    assert (len(rig.puts), result(ledger)["difference"]) == (2, {"air": -2, "hydro": 2})
    assert kinds(ledger) == ["intent", "result", "alarm", "alarm"]
    held_for = held(ledger)
    assert held_for is not None and "do not take the set points" in held_for["reason"]


def reading(machines: Mapping[str, int], told: Mapping[str, int] | None = None) -> Reading:
    return Reading(T0, machines, 0.0, told=told)


def alarms(ledger: Ledger) -> list[str]:
    return [entry.body["code"] for entry in ledger.entries("alarm", newest_first=False)]


def look(ledger: Ledger, sent_: Dispatch, *readings: Reading) -> Followed:
    """Follow a dispatch over readings, `LOOK_S` apart."""
    followed = sent(Followed(), T0)
    for n, seen in enumerate(readings, 1):
        followed = follow(ledger, followed, sent_, seen, T0 + n * timedelta(seconds=LOOK_S))
    return followed


def test_F41_execute__two_of_seven_machines_applied__partial_and_no_alarm_yet(ledger: Ledger) -> None:
    rig = Rig(["ignored", "ignored"], machines={"air": 0, "hydro": 2})
    out = execute(ledger, rig, dispatch(), T0, cycle_id="c1", before={"air": 0, "hydro": 0})
    assert (out.status, result(ledger)["difference"]) == ("partial", {"hydro": 5})
    assert alarms(ledger) == [] and held(ledger) is None


def test_F41_follow__machines_lag_behind__converge_without_alarm(ledger: Ledger) -> None:
    sent_ = replace(dispatch(), status="partial")
    followed = look(ledger, sent_, reading({"hydro": 2}), reading({"hydro": 5}), reading({"hydro": 7}))
    assert (followed.looks, followed.alarmed, alarms(ledger)) == (0, False, [])


def test_F41_follow__machines_stay_behind__one_alarm_after_three_looks(ledger: Ledger) -> None:
    sent_ = replace(dispatch(), status="applied")
    followed = look(ledger, sent_, *[reading({"hydro": 5}, told={"hydro": 7})] * 5)
    assert alarms(ledger) == ["NOT_FOLLOWED"]
    assert followed.alarmed and not followed.resend and held(ledger) is None


def test_F42_follow__changed_from_outside__set_once_more_and_held_the_second_time(ledger: Ledger) -> None:
    sent_ = replace(dispatch(), status="applied")
    followed = look(ledger, sent_, reading({"hydro": 7}), reading({"hydro": 3}), reading({"hydro": 3}))
    assert followed.resend and alarms(ledger) == ["OUTSIDE_CHANGE"] and held(ledger) is None
    followed = sent(followed, LATER)
    assert not followed.resend
    followed = follow(ledger, followed, sent_, reading({"hydro": 40}), LATER + timedelta(minutes=1))
    assert alarms(ledger) == ["OUTSIDE_CHANGE", "HOLD"]
    held_for = held(ledger)
    assert held_for is not None and "second time" in held_for["reason"]
    assert not followed.resend


def test_F42_follow__a_day_later__is_a_first_time_again(ledger: Ledger) -> None:
    sent_ = replace(dispatch(), status="applied")
    followed = sent(look(ledger, sent_, reading({"hydro": 3})), LATER)
    follow(ledger, followed, sent_, reading({"hydro": 3}), T0 + timedelta(hours=25))
    assert alarms(ledger) == ["OUTSIDE_CHANGE", "OUTSIDE_CHANGE"] and held(ledger) is None


def test_F40_execute__refusal_is_not_tried_again(ledger: Ledger) -> None:
    rig = Rig([Refused("409 not now", 409)])
    assert execute(ledger, rig, dispatch(), T0, cycle_id="c1").status == "refused"
    assert len(rig.puts) == 1
    assert kinds(ledger) == ["intent", "result", "alarm"]


def test_execute__machines_that_cannot_be_read_are_unknown(ledger: Ledger) -> None:
    rig = Rig(unreadable=True)
    assert execute(ledger, rig, dispatch(), T0, cycle_id="c1").status == "unknown"
    assert kinds(ledger) == ["intent", "result", "alarm"]


# --- recovery --------------------------------------------------------------------------------


def crash(ledger: Ledger, rig: Rig) -> None:
    rig.faults = [Killed()]
    with pytest.raises(Killed):
        execute(ledger, rig, dispatch(), T0, cycle_id="c1")
    assert kinds(ledger) == ["intent"]


def test_recover__nothing_open_does_nothing(ledger: Ledger) -> None:
    rig = Rig()
    execute(ledger, rig, dispatch(), T0, cycle_id="c1")
    assert recover(ledger, rig, LATER) == ()
    assert kinds(ledger) == ["intent", "result"]


def test_recover__applied_and_valid_is_recovered_without_a_put(ledger: Ledger) -> None:
    rig = Rig()
    crash(ledger, rig)
    assert recover(ledger, rig, LATER) == ("recovered",)
    assert len(rig.puts) == 1
    assert result(ledger)["intent"] == 1
    assert recover(ledger, rig, LATER) == ()


def test_recover__expired_is_never_sent(ledger: Ledger) -> None:
    rig = Rig()
    crash(ledger, rig)
    assert recover(ledger, rig, T0 + timedelta(hours=2)) == ("expired",)
    assert len(rig.puts) == 1


def test_recover__not_applied_is_a_mismatch_and_left_to_the_next_cycle(ledger: Ledger) -> None:
    rig = Rig()
    crash(ledger, rig)
    rig.machines = {}
    assert recover(ledger, rig, LATER) == ("mismatch",)
    assert len(rig.puts) == 1


def test_recover__unreadable_machines_are_unknown(ledger: Ledger) -> None:
    rig = Rig()
    crash(ledger, rig)
    rig.unreadable = True
    assert recover(ledger, rig, LATER) == ("unknown",)


def test_recover__only_the_newest_of_several_is_looked_at(ledger: Ledger) -> None:
    rig = Rig()
    crash(ledger, rig)
    rig.faults = [Killed()]
    with pytest.raises(Killed):
        execute(ledger, rig, dispatch(9), T0, cycle_id="c2")
    assert recover(ledger, rig, LATER) == ("superseded", "recovered")
    assert {e.cycle_id: e.body["status"] for e in ledger.entries("result")} == {"c1": "superseded", "c2": "recovered"}


def test_difference__types_left_out_count_as_zero() -> None:
    assert difference({"a": 2, "b": 0}, {"a": 2, "c": 0}) == {}
    assert difference({"a": 2}, {"c": 1}) == {"a": 2, "c": -1}


# --- over HTTP -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "status", "puts"),
    [(Faults(), "applied", 1), (Faults(lost_ack=True), "recovered", 1), (Faults(other_state=True), "mismatch", 2)],
)
def test_execute__mara_server(ledger: Ledger, faults: Faults, status: str, puts: int) -> None:
    with MaraServer(api_key="key") as server:
        gateway = MaraGateway(MaraClient(server.url, SecretStr("key")), load_site(DATA / "site-mara.toml"))
        server.faults = faults
        assert execute(ledger, gateway, dispatch(), T0, cycle_id="c1").status == status
        assert [method for method, _path in server.requests].count("PUT") == puts
    assert ledger.verify().ok
