from __future__ import annotations

from pathlib import Path

from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision
from tests.monitor.test_reading import WALL, decided


def test_load__asked_again__read_once_until_there_is_a_newer_entry_or_another_site(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        first = decided(ledger, [0])
        assert decision.load(ledger) is first
        ledger.append("note", {"said": "x"}, at=WALL)
        second = decision.load(ledger)
        assert second is not None and second is not first and second == first
        ledger.put_state(decision.SITE, {**ledger.get_state(decision.SITE).value, "name": "Elsewhere"})
        third = decision.load(ledger)
        assert third is not None and third.site.name == "Elsewhere"


def test_load__another_ledger_with_the_same_entries__read_by_itself(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        snap = decided(ledger, [0])
        with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}") as other:
            again = decision.load(other)
    assert again is not None and again is not snap and again == snap
