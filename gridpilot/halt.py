"""The emergency stop of the console: latched in the ledger or beside it, and seen through until the machines are off.

It works while the ledger is locked, the sign-in is over, the API is down or no pilot runs. The pilot switches off what
is latched; where it has not done so within `TAKE_OVER_S`, or none runs, this process does it, again and again until the
machines show it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from gridpilot import views
from gridpilot.config import Settings
from gridpilot.dispatch import emergency, override, reconcile, stopfile
from gridpilot.dispatch.actor import NO_NAME, Actor
from gridpilot.dispatch.override import MAX_TEXT, Command
from gridpilot.domain import SiteState
from gridpilot.errors import GridPilotError, LedgerError
from gridpilot.foreign import shown
from gridpilot.ledger.store import Ledger
from gridpilot.market.mara_key import known_key
from gridpilot.monitor.health import PilotState

if TYPE_CHECKING:
    from gridpilot.cycle import Engine

log = logging.getLogger(__name__)

LEDGER_S = 1.0  # how long the ledger may take before the stop is latched in a file
TAKE_OVER_S = 3.0  # how long a pilot that holds the lease may take to switch off
RETRY_S = 1.0
VALID = timedelta(minutes=15)

_thread: threading.Thread | None = None


def emergency_stop(actor: Actor, reason: str = "emergency stop pressed") -> Command:
    """Everything off at the console's own site, now, whatever is looked at, until it is released in two steps.

    Needs no role; may be pressed any number of times. Its detail says where it is latched, when that is not the
    ledger. LedgerError where it can be latched nowhere: the machines are switched off all the same.
    """
    now, settings = datetime.now(UTC), views.settings()
    who = replace(actor, name=_signature(actor, now))
    command = Command(now, who.name, shown(reason, MAX_TEXT) or "emergency stop pressed", "estop", {}, now, 0)
    try:
        return _within(LEDGER_S, lambda: override.submit(views.own_ledger(), command, who, wall=now))
    except GridPilotError as error:
        path = stopfile.press(settings.database_url(), author=command.author, reason=command.reason, at=now)
        log.warning("emergency stop latched in %s: %s", path, error)
        return replace(command, status="active", detail=f"latched in the file {path.name}, because {error}")
    finally:
        _see_to_it(settings)


def finish(timeout_s: float) -> bool:
    """Wait until the last stop was seen through; False where it was not in this time."""
    thread = _thread
    if thread is not None:
        thread.join(timeout_s)
    return thread is None or not thread.is_alive()


def _signature(actor: Actor, wall: datetime) -> str:
    """A name that the log takes whatever it is, and by what right it was pressed."""
    name = shown(actor.name) or NO_NAME
    return f"{name} (sign-in expired)" if actor.expired(wall) else name


def _within(seconds: float, act: Callable[[], Command]) -> Command:
    """What `act` gives; LedgerError when it takes longer. It then goes on by itself."""
    done: queue.SimpleQueue[Command | GridPilotError] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put(act())
        except GridPilotError as error:
            done.put(error)

    threading.Thread(target=run, name="emergency-stop", daemon=True).start()
    try:
        given = done.get(timeout=seconds)
    except queue.Empty:
        raise LedgerError(f"the ledger did not answer within {seconds:g} s") from None
    if isinstance(given, GridPilotError):
        raise given
    return given


# --- until the machines are off ----------------------------------------------------------------


def _see_to_it(settings: Settings) -> None:
    """Begin to watch that the machines go off; once at a time."""
    global _thread  # noqa: PLW0603 - one stop in a process
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_watch, args=(settings,), name="stop-watch", daemon=True)
        _thread.start()


def _watch(settings: Settings) -> None:
    begun, engine, ledger = time.monotonic(), None, None
    while True:
        try:
            if settings.source == "mara" and known_key(settings) is None:
                log.warning("there is no site yet whose machines could be switched off: no key was set or kept")
                break
            ledger = ledger or _ledger(settings)
            if ledger is not None and (_is_off(ledger) or _released(ledger, settings)):
                break
            waited = time.monotonic() - begun
            if waited >= TAKE_OVER_S or (ledger is not None and not _pilot_runs(ledger)):
                engine = engine or _open(settings, ledger)
                if _send_off(engine, ledger, settings):
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, the machines are to be off
            log.warning("emergency stop: the machines are not off yet (%r); next try in %g s", error, RETRY_S)
        time.sleep(RETRY_S)
    if ledger is not None:
        ledger.close()


def _ledger(settings: Settings) -> Ledger | None:
    try:
        return Ledger.open(settings.database_url(), busy_timeout_s=LEDGER_S)
    except GridPilotError:
        return None


def _is_off(ledger: Ledger) -> bool:
    """Whether the newest command to the site was to stand still, and the machines were read back so."""
    last = ledger.latest("result")
    if last is None or last.body["actual"] is None:
        return False
    desired = last.body["desired"]
    still = desired["total_power_kw"] == 0.0 and desired["battery_kw"] == 0.0
    return still and not any(last.body["actual"].values())


def _released(ledger: Ledger, settings: Settings) -> bool:
    return stopfile.pressed(settings.database_url()) is None and override.stopped(ledger) is None


def _pilot_runs(ledger: Ledger) -> bool:
    return ledger.lease_holder("pilot", datetime.now(UTC)) is not None


def _open(settings: Settings, ledger: Ledger | None) -> Engine:
    from gridpilot.cycle import open_engine

    if ledger is None and settings.source != "mara":
        raise LedgerError("the simulated machines are in the ledger, which cannot be opened")
    return open_engine(settings, cast(Ledger, ledger))  # an API's machines need no ledger


def _send_off(engine: Engine, ledger: Ledger | None, settings: Settings) -> bool:
    """The off state by the gateway, with INTENT and RESULT where the ledger takes them; True when it is read back."""
    now = _present(engine, ledger)
    off = emergency.failsafe(engine.site, SiteState(now, float("nan")), now, now + VALID, "estop")
    if ledger is not None and stopfile.pressed(settings.database_url()) is None:
        try:
            sent = reconcile.execute(ledger, engine.gateway, off, now, cycle_id="estop")
            return sent.status in ("applied", "recovered")
        except LedgerError as error:
            log.warning("emergency stop: sent without an entry in the ledger (%s)", error)
    engine.gateway.put(off, now)
    return not any(engine.gateway.read(now).target.values())


def _present(engine: Engine, ledger: Ledger | None) -> datetime:
    """The source's time: the replay's clock is the pilot's."""
    wall = datetime.now(UTC)
    clock = None if ledger is None else PilotState.load(ledger).clock
    return engine.source.present(wall) if clock is None else clock.at(wall)
