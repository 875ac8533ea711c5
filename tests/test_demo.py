"""The demonstration: real decisions, a real fail-safe state, a real curtailment, and a tour with their figures."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot import demo
from gridpilot.cli import main
from gridpilot.config import Settings
from gridpilot.console import guide
from gridpilot.console.shell import PAGES
from gridpilot.errors import LedgerError
from gridpilot.evidence import replay
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor import curtailments, tour
from gridpilot.monitor.health import AUTO, PilotState

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recorded demonstration."""
    url = f"sqlite:///{tmp_path_factory.mktemp('demo') / 'demo.db'}"
    demo.record(Settings(db_url=SecretStr(url)))
    return url


def test_record__whole__verifies_and_is_marked_as_simulated(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        assert ledger.verify().ok
        cycles = ledger.entries("cycle")
        assert len(cycles) > 50
        assert all(c.body["simulated"] and c.body["source"] == "replay" for c in cycles)
        assert {c.body["state_source"] for c in cycles} == {"simulated"}
        assert all(c.body["dispatch"]["constraints_satisfied"] for c in cycles)
        assert replay(ledger, cycles[20].cycle_id).same, "a decision of the engine, made again bit for bit"


def test_record__outage__holds_then_fails_safe_and_recovers(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        start, end = demo.LOST
        assert ledger.entries("cycle", since=start, until=end) == []
        sent = ledger.entries("result", since=start, until=end + timedelta(minutes=1), newest_first=False)
        *off, back = [row.body["desired"]["origin"] for row in sent]
        assert set(off) == {"failsafe"}, "sent again each time that it ends"
        assert back == "plan"
        held = ledger.entries("cycle", until=start, limit=1)[0]
        assert sent[0].at >= datetime.fromisoformat(held.body["dispatch"]["valid_until"])
        assert not any(sent[0].body["desired"]["machines"].values())
        alarms = [row.body["message"] for row in ledger.entries("alarm", since=start, until=end)]
        assert any("simulated outage" in message for message in alarms)


def test_record__curtailment__is_followed_and_audited(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        event = curtailments.find(ledger, "demo-1")
        found = curtailments.audit(ledger, event, demo.END)
        assert event.status == "ended"
        assert found is not None and found.kept
        assert found.delivered_frac == pytest.approx(1.0, abs=0.05)


def test_record__days__hold_a_spike_and_a_price_below_zero(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        prices = [c.body["prices"]["energy_usd_per_mwh"] for c in ledger.entries("cycle")]
        assert max(prices) > 200.0
        sunday = ledger.entries("cycle", until=datetime(2024, 6, 23, 20, tzinfo=UTC))
        assert min(c.body["prices"]["energy_usd_per_mwh"] for c in sunday) < 0.0


def test_tour__chapters__are_pages_and_moments_of_the_record(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        chapters = tour.load(ledger)
        top = max(c.body["prices"]["energy_usd_per_mwh"] for c in ledger.entries("cycle"))
        assert len(chapters) == 7
        assert all(chapter.page in PAGES for chapter in chapters)
        assert all(chapter.at is None or demo.START <= chapter.at <= demo.END for chapter in chapters)
        assert chapters[-1].at is None
        assert f"{top:.0f} USD/MWh" in chapters[0].says
        assert f"{top:.0f} USD/MWh" in chapters[1].says
        assert chapters[4].says.startswith("Simulated outage")
        assert "<b>2 of 7" in guide.guide_html(chapters[1], 1, 7)


def test_record__end__the_replay_goes_on_from_there(url: str) -> None:
    with Ledger.open(url, read_only=True) as ledger:
        state, beat = PilotState.load(ledger), ledger.heartbeat()
    assert state.control == AUTO
    assert state.clock is not None and state.clock.speed == demo.SPEED
    assert demo.END <= state.clock.replay < demo.END + timedelta(hours=1)
    assert beat is not None and beat.every_s == pytest.approx(3600.0 / demo.SPEED)


def test_record__ledger_in_use__is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match="not empty"):
        demo.record(Settings(db_url=SecretStr(url)))


def test_environment__every_name__is_a_setting_and_nothing_leads_outside(tmp_path: Path) -> None:
    found = demo.environment(tmp_path)
    assert {name.removeprefix("GRIDPILOT_").lower() for name in found} <= set(Settings.model_fields)
    assert str(tmp_path) in found["GRIDPILOT_DB_URL"]
    assert str(tmp_path) in found["GRIDPILOT_HEAD_FILE"]
    assert found["GRIDPILOT_ALARM_WEBHOOK"] == ""


def test_demo_command__records_and_starts__in_a_folder_that_is_deleted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[str] = []
    seen = {name: os.environ.get(name) for name in demo.environment(Path("x"))}
    monkeypatch.setattr("gridpilot.demo.record", lambda settings, told: told(0, 54, demo.START) or ())
    monkeypatch.setattr("gridpilot.supervise.run", lambda programs: kept.extend(p.name for p in programs))
    try:
        assert main(["demo", "--port", "8777"]) == 0
        folder = Path(os.environ["GRIDPILOT_DB_URL"].removeprefix("sqlite:///")).parent
    finally:
        for name, value in seen.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    assert kept == ["console", "pilot", "watchdog", "watch"]
    assert not folder.exists()
    assert "http://localhost:8777" in capsys.readouterr().out


def test_silent_source__fetch__says_that_it_is_simulated() -> None:
    from gridpilot.config import DATA, load_site
    from gridpilot.errors import SourceError
    from gridpilot.market.replay import ReplayClock

    site = load_site(DATA / "site-default.toml")
    source: ReplaySource = demo.Silent(site, ReplayClock(datetime.now(UTC), demo.START, 0.0))
    with pytest.raises(SourceError, match="simulated outage"):
        source.fetch(demo.START)
