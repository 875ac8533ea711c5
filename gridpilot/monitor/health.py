"""The pilot's own state, as it writes it down for the screens: who is in control, what is wrong, what time it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gridpilot.dispatch import reconcile
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplayClock

KEY = "pilot"

AUTO, HOLD, OVERRIDE, FAILSAFE, ESTOP = "AUTO", "HOLD", "OVERRIDE", "FAILSAFE", "ESTOP"
ALL_OFF = (FAILSAFE, ESTOP)  # in these all machines are off and the battery rests
STILL = (HOLD, *ALL_OFF)  # in these nothing of a plan is carried out


@dataclass(frozen=True, slots=True)
class PilotState:
    """Until the first good cycle the site is in its fail-safe state. `clock` is the replay's, None when live."""

    control: str = FAILSAFE
    message: str = "no decision yet"
    alarm: str = ""
    alarm_at: datetime | None = None
    advice: str = ""
    clock: ReplayClock | None = None

    @property
    def speed(self) -> float | None:
        """Replayed seconds per second; None when live."""
        return self.clock.speed if self.clock else None

    @property
    def notice(self) -> timedelta:
        """A second of the wall clock, in the source's time: a pilot has seen by then what was just written."""
        return timedelta(seconds=max(1.0, self.speed or 0.0))

    def present(self, wall: datetime) -> datetime:
        """The source's time."""
        return self.clock.at(wall) if self.clock else wall

    def save(self, ledger: Ledger) -> None:
        """Write it where the screens read it."""
        body: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        body["clock"] = self.clock.to_dict() if self.clock else None
        ledger.put_state(KEY, body)

    @classmethod
    def load(cls, ledger: Ledger) -> PilotState:
        """The newest state; the first one, where no pilot ever ran."""
        body = ledger.get_state(KEY).value
        if not body:
            return cls()
        clock = ReplayClock.from_dict(body["clock"]) if body["clock"] else None
        alarm_at = datetime.fromisoformat(body["alarm_at"]) if body["alarm_at"] else None
        return cls(**{**body, "clock": clock, "alarm_at": alarm_at})


def in_control(ledger: Ledger, pilot: PilotState, stopped: bool = False) -> str:
    """Who is in control now: a stop or a hold counts at once, before the pilot has taken it over into its state.

    `stopped`: by a stop that the ledger does not know of.
    """
    from gridpilot.dispatch import override  # the watchdog, which stays small, needs none of it

    if stopped or override.stopped(ledger) is not None:
        return ESTOP
    return HOLD if reconcile.held(ledger) else pilot.control
