"""Where in the record a past moment is that a viewer looks at: the decisions around it, and the ends of the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gridpilot.monitor.lapse import TICK, lapse
from gridpilot.values import iso
from gridpilot.views import base
from gridpilot.views.standing import current_site

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Times of the source. `before` and `after` are moments to look at: a decision and all that it led to at once."""

    at: datetime
    decided: datetime | None  # the newest decision then
    over: str  # why it was in force no longer: failsafe, estop or expired; empty while it was
    over_at: datetime | None
    before: datetime | None
    after: datetime | None
    first: datetime
    newest: datetime
    step_s: int
    site: str
    timezone: str


def whereabouts() -> Whereabouts | None:
    """Around the moment looked at; None where none is, or nothing was ever decided."""
    at, store = base.look().at, base.ledger()
    if at is None:
        return None
    first, newest = (store.entries("cycle", limit=1, newest_first=newer) for newer in (False, True))
    if not first:
        return None
    held = base.records().entries("cycle", limit=1)
    earlier = store.entries("cycle", until=shown_from(held[0].at) - SECOND + TICK, limit=1) if held else []
    later = store.entries("cycle", since=at + TICK, limit=1, newest_first=False)
    over = lapse(store, held[0], at) if held else None
    site = current_site()
    return Whereabouts(
        at=at,
        decided=held[0].at if held else None,
        over=over.why if over else "",
        over_at=over.since if over else None,
        before=shown_from(earlier[0].at) if earlier else None,
        after=shown_from(later[0].at) if later else None,
        first=first[0].at,
        newest=newest[0].at,
        step_s=int(newest[0].body["step_s"]),
        site=site.name,
        timezone=site.timezone,
    )


def around(each: int) -> tuple[datetime | None, ...]:
    """Moments of up to `each` decisions before and after the one looked at, oldest first.

    None stands for now: after the newest decision, where that is among them. Empty before the first decision.
    """
    at, store = base.look().at, base.ledger()
    upto = None if at is None else at + TICK
    earlier = store.entries("cycle", until=upto, limit=each + 1)
    later = [] if upto is None else store.entries("cycle", since=upto, limit=each, newest_first=False)
    found: list[datetime | None] = [shown_from(entry.at) for entry in [*reversed(earlier), *later]]
    if found and len(later) < each:
        found.append(None)
    return tuple(dict.fromkeys(found))


def shown_from(decided: datetime) -> datetime:
    """The first whole second from which on a decision is the one in force: an address has no parts of one."""
    whole = decided.replace(microsecond=0)
    return whole if whole == decided else whole + SECOND


def not_yet(at: datetime) -> str:
    """Why a moment cannot be looked at; empty where it can."""
    now = base.source_now()
    if now is None:
        return "nothing was decided yet"
    return f"it is {iso(now)} at the source" if at > shown_from(now) else ""
