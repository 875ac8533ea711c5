"""Sessions share the decision that was read: no page may change what is in it."""

from __future__ import annotations

import pytest

from gridpilot import views
from gridpilot.console.server import ROOT
from tests.pages.conftest import OpenPage

pytestmark = pytest.mark.slow  # every page


def test_pages__all_opened__the_decision_that_they_share_is_as_recorded(full: OpenPage) -> None:
    for path in sorted(ROOT.glob("pages/*.py")):
        assert not full(path.stem).exception
    shared = views.snapshot()
    assert shared is not None and shared is views.snapshot()
    recorded = views.ledger().cycle(shared.cycle_id)
    for kind in ("forecast", "plan", "auction", "risk"):
        assert getattr(shared, kind) == recorded[kind].body, kind
    assert {**shared.cycle} == {**recorded["cycle"].body}
