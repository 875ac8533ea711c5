"""The guided tour of a recorded demonstration."""

from __future__ import annotations

from gridpilot.monitor import tour as recorded
from gridpilot.monitor.tour import Chapter
from gridpilot.views import base

__all__ = ["Chapter", "tour"]


def tour() -> tuple[Chapter, ...]:
    """Its chapters; empty for a ledger that is no demonstration's."""
    return recorded.load(base.ledger())
