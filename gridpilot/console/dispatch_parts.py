"""What the page Dispatch says where no decision is followed."""

from __future__ import annotations

from typing import Final

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets

WHY: Final = {"failsafe": "fail-safe", "estop": "emergency stop"}


def off_text(snap: views.Snapshot, sent: views.Sent) -> str:
    """Everything was sent off since the decision: what that wanted is not what is. Ready for Markdown."""
    when, seen = fmt.local(sent.at, snap.site.timezone), views.shown()
    outcome = "read back as asked" if sent.status == "applied" else f"outcome: {sent.status}"
    text = f"Everything was sent off on {when} ({WHY.get(sent.origin, sent.origin)}), {outcome}."
    if seen is not None and seen.grid_kw is not None:
        text += f" The meter last showed {fmt.power(seen.grid_kw)} from the grid."
    return f"**{widgets.inert(text)}** The plan is not followed."
