"""The emergency stop with everything against it: a locked ledger, no pilot, an API that is down, an ended sign-in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from gridpilot import halt, operate, views
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch import override, stopfile
from gridpilot.dispatch.actor import Actor
from gridpilot.errors import LedgerError
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.market.mara_key import key_file
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor.health import AUTO, PilotState

pytestmark = pytest.mark.slow  # real waits for a pilot that does not come

KEY = "0b7c0d6e-stop"
ANNA = operate.local("anna")
WAIT_S = 30.0


@pytest.fixture
def mara() -> Iterator[MaraServer]:
    """Machines that run, of a site whose key is known."""
    with MaraServer(seed=5, api_key=KEY) as server:
        counts = {"asic_compute": 1, "gpu_compute": 2}
        assert requests.put(f"{server.url}/machines", json=counts, headers={"X-Api-Key": KEY}, timeout=5).ok
        yield server


@pytest.fixture
def url(mara: MaraServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ledger of a console for that site; no pilot runs."""
    address = f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = {"DB_URL": address, "SOURCE": "mara", "MARA_URL": mara.url, "MARA_API_KEY": KEY, "REFIT": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"GRIDPILOT_{name}", value)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    views.reset()
    views.ledger()
    yield address
    assert halt.finish(WAIT_S)
    views.ledger().close()
    views.reset()


def running(mara: MaraServer) -> int:
    faults, mara.faults.status = mara.faults.status, 0
    try:
        reply = requests.get(f"{mara.url}/machines", headers={"X-Api-Key": KEY}, timeout=5).json()
        return sum(value for key, value in reply.items() if key.endswith(("_miners", "_compute")))
    finally:
        mara.faults.status = faults


def test_F56_stop__no_pilot__the_console_switches_off_itself_and_writes_it_down(url: str, mara: MaraServer) -> None:
    assert running(mara) == 3
    given = operate.emergency_stop(ANNA, "smoke in hall 2")
    assert (given.status, given.detail) == ("active", "")
    assert halt.finish(WAIT_S)
    assert running(mara) == 0
    result = views.ledger().latest("result")
    assert result is not None and (result.body["status"], result.body["desired"]["origin"]) == ("applied", "estop")
    assert views.stopped() is not None


def test_F56_stop__ledger_locked__latched_in_the_file_within_a_second_and_machines_off(
    url: str, mara: MaraServer
) -> None:
    with Ledger.open(url) as holder, holder.transaction():
        begun = time.monotonic()
        given = operate.emergency_stop(ANNA)
        assert time.monotonic() - begun < halt.LEDGER_S + 0.5
        assert "latched in the file ledger.db.estop, because the ledger did not answer within 1 s" in given.detail
        stop = views.stopped()
        assert stop is not None and stop["author"] == "anna"
        assert halt.finish(WAIT_S)
        assert running(mara) == 0
    ledger = views.ledger()
    assert stopfile.absorb(ledger, url)
    assert override.stopped(ledger) is not None and views.stop_file() is None


def test_F56_stop__api_down__tried_until_it_is_back(url: str, mara: MaraServer) -> None:
    mara.set_faults({"status": 503})
    operate.emergency_stop(ANNA)
    assert not halt.finish(2.0)
    assert running(mara) == 3
    mara.set_faults({})
    assert halt.finish(WAIT_S)
    assert running(mara) == 0


def test_F56_stop__what_nobody_expected_goes_wrong__tried_again(
    url: str, mara: MaraServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, tries = halt._send_off, []

    def broken(*given: Any) -> bool:
        tries.append(given)
        if len(tries) < 3:
            raise ValueError("a reply that no code was written for")
        return send(*given)

    monkeypatch.setattr(halt, "_send_off", broken)
    operate.emergency_stop(ANNA)
    assert halt.finish(WAIT_S)
    assert running(mara) == 0
    assert len(tries) == 3


def test_F56_stop__pilot_holds_the_lease_but_does_nothing__the_console_takes_over(url: str, mara: MaraServer) -> None:
    views.ledger().acquire_lease("pilot", "elsewhere:1", 60.0, datetime.now(UTC))
    operate.emergency_stop(ANNA)
    assert not halt.finish(halt.TAKE_OVER_S / 2)
    assert running(mara) == 3, "the pilot's turn"
    assert halt.finish(WAIT_S)
    assert running(mara) == 0


def test_F56_stop__nowhere_to_latch_it__said_and_machines_off_all_the_same(
    url: str, mara: MaraServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", "sqlite:////proc/ledger.db")
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/none")
    views.reset()
    with pytest.raises(LedgerError, match="stop the machines by hand"):
        operate.emergency_stop(ANNA)
    assert halt.finish(WAIT_S)
    assert running(mara) == 0
    monkeypatch.setenv("GRIDPILOT_DB_URL", url)
    views.reset()


@pytest.mark.parametrize(
    ("actor", "signed"),
    [
        (operate.local(""), "console"),
        (operate.local("x" * 10_000), "x" * 200),
        (operate.local("two\nlines \u202e"), "two\ufffdlines \ufffd"),
        (Actor("via@site.example", "viewer", "oidc", datetime.now(UTC)), "via@site.example (sign-in expired)"),
    ],
)
def test_F56_stop__whoever_presses__never_refused(url: str, mara: MaraServer, actor: Actor, signed: str) -> None:
    given = operate.emergency_stop(replace(actor), "\u202e" + "y" * 10_000)
    assert (given.author, given.status) == (signed, "active")
    assert views.stopped() is not None


def test_release_stop__latched_in_the_file__takes_the_two_steps_too(url: str, mara: MaraServer) -> None:
    stopfile.press(url, author="anna", reason="smoke", at=datetime.now(UTC))
    operate.release_stop("request", ANNA, reason="false alarm")
    assert views.stopped() is not None and views.stop_file() is None
    operate.release_stop("confirm", ANNA, reason="false alarm")
    assert views.stopped() is None


def test_stop__key_that_the_pilot_kept__reaches_its_site_and_makes_no_other(
    url: str, mara: MaraServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDPILOT_MARA_API_KEY")
    views.reset()
    operate.emergency_stop(ANNA)
    assert halt.finish(5.0) and running(mara) == 3, "no key was kept: there is no site to reach"
    body = {"url": mara.url, "api_key": KEY}
    key_file(views.settings()).write_text(json.dumps(body), "utf-8")
    operate.emergency_stop(ANNA)
    assert halt.finish(WAIT_S)
    assert running(mara) == 0
    assert ("POST", "/sites") not in mara.requests


def test_F56_stop__no_pilot_on_the_replay__off_in_the_replays_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / 'replay.db'}")
    views.reset()
    ledger, wall = views.ledger(), datetime.now(UTC)
    engine = open_engine(views.settings(), ledger)
    assert isinstance(engine.source, ReplaySource)
    engine.source.clock = engine.source.clock.with_speed(wall, 0.0)
    assert sum(run_cycle(engine, wall).dispatch.machines.values()) > 0
    PilotState(AUTO, "", clock=engine.source.clock).save(ledger)
    operate.emergency_stop(ANNA)
    assert halt.finish(WAIT_S)
    result = ledger.latest("result")
    assert result is not None and (result.body["status"], set(result.body["actual"].values())) == ("applied", {0})
    assert result.at == engine.source.present(wall), "no jump by two years"
    ledger.close()
    views.reset()
