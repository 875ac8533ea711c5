"""The status strip on top of every page: mode and time, age of the prices, who is in control, alarms.

`strip_html(status)` is the reading part, a pure function; `render_strip(status, who)` adds the clock of a
replay, who is signed in, and the emergency stop. Both take the `Status` that `views.status()` gives; what is pressed
becomes a command row by `gridpilot.operate`, in the name of `who`.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from gridpilot.console import format as fmt
from gridpilot.console import runs
from gridpilot.console.widgets import inert
from gridpilot.dispatch.actor import LOCAL, OPERATOR, Actor
from gridpilot.errors import GridPilotError
from gridpilot.foreign import escape

if TYPE_CHECKING:
    from gridpilot.views import Status

SPEEDS: Final[dict[float, str]] = {0.0: "Pause", 1.0: "1×", 60.0: "60×"}

ASKED_S: Final = 5.0  # the pilot takes a command within a second or two
_ASKED: Final = "strip_asked"
_TROUBLE: Final = "strip_trouble"

# control -> (word, look, what it means)
CONTROL: Final[dict[str, tuple[str, str, str]]] = {
    "AUTO": ("AUTO", "", "The plan is sent as it is"),
    "HOLD": ("HOLD", "warning", "The last safe set points are held: no new plan could be made"),
    "OVERRIDE": ("OVERRIDE", "warning", "An operator's override is in force: see Dispatch"),
    "FAILSAFE": ("FAIL-SAFE", "alarm", "Machines are at their safe state: readings or prices are missing"),
    "ESTOP": ("E-STOP", "alarm", "Everything is off until an operator releases the stop on Dispatch"),
}


@dataclass(frozen=True, slots=True)
class Own:
    """The console's own site, which the emergency stop stops, whatever is on the screen."""

    name: str = ""  # empty where there is no other one, so that nothing has to be told apart
    shown: bool = True  # whether it is the site on the screen
    stopped: bool = False


_ALONE: Final = Own()
STANDS: Final = ". Its clock is the price file's: it stands still until the file has a newer row"


def own_site() -> Own:
    """The own site, read anew."""
    from gridpilot import views

    stopped, name, other = False, "", None
    with contextlib.suppress(GridPilotError):
        other = views.elsewhere()
    with views.looking(views.Look()):
        try:
            stopped = views.stopped() is not None
        except GridPilotError:
            stopped = views.stop_file() is not None
    with contextlib.suppress(GridPilotError):
        name = views.own_name() if len(views.site_names()) > 1 else ""
    return Own(name, other is None, stopped)


def stale(status: Status) -> bool:
    """True when the prices are of unknown age, or a whole interval is missing: the newest began two steps ago."""
    return status.price_age_s is None or status.price_age_s >= 2.0 * status.step_s


def strip_html(status: Status, signed_in: bool = True, own: Own = _ALONE) -> str:
    """The strip's text; every word that comes from outside is escaped."""
    when = fmt.local_date(status.at, status.timezone)
    mode = f"<b>{escape(status.mode)}</b> <span class='gp-muted'>{escape(when)}</span>"
    parts = [f"<span title='{escape(fmt.utc(status.at))}'>{mode}</span>"]
    if status.simulated:
        note = "The site's readings are simulated; nothing real is switched"
        note += STANDS if status.mode == "FILE" else ""
        parts.append(_chip("SIMULATED", "", note))
    elif status.source == "mara":
        parts.append(_chip("BATTERY SIMULATED", "", "The API has no battery: it is simulated beside the real machines"))
    parts.append(_prices(status))
    parts.append(_control(status))
    if status.curtailed:
        parts.append(_chip("CURTAILED", "warning", f"A curtailment is in force: {status.curtailed}. See Dispatch"))
    parts.append(_alarms(status))
    if status.proposals:
        parts.append(
            _chip(f"{status.proposals} to approve", "warning", "A command waits for a second person: Dispatch")
        )
    if not own.name:  # in a fleet the picker has it
        site = escape(status.site)
        parts.append(f"<span class='gp-site' title='{site}, prices from {escape(status.source)}'>{site}</span>")
    if not own.shown:
        parts.append(_chip("SHOWN ONLY", "", f"It is commanded on its own console; this one is of {own.name}"))
    if not signed_in:
        parts.append("<span class='gp-muted' title='Anyone at this machine may operate'>local, no sign-in</span>")
    if status.message:
        note = escape(status.message)
        parts.append(f"<span class='gp-note gp-muted' title='{note}'>{note}</span>")
    return f"<div class='gp-strip'>{''.join(parts)}</div>"


def _alarms(status: Status) -> str:
    """How many nobody has acknowledged or shelved; red only where one of them is more than a warning."""
    text = fmt.count(status.alarms, "alarm")
    if not status.alarms:
        return f"<span class='gp-muted'>{text}</span>"
    return _chip(text, "warning" if status.only_warnings else "alarm", "Not acknowledged yet: see Health")


def _prices(status: Status) -> str:
    text = "no prices yet" if status.price_age_s is None else f"prices {fmt.age(status.price_age_s)}"
    if stale(status):
        return _chip(text, "warning", "Prices are stale: see Health")
    return f"<span class='gp-muted' title='{escape(status.source)}'>{text}</span>"


def _control(status: Status) -> str:
    if status.at is None and not status.pilot_alive:
        return _chip("NO PILOT YET", "warning", "The pilot has not started: the first decision follows its start")
    if not status.pilot_alive and status.control != "ESTOP":
        return _chip("NO PILOT", "alarm", "No pilot is running: nothing is decided or sent. See Health")
    word, look, meaning = CONTROL.get(status.control, (status.control, "warning", ""))
    return _chip(word, look, meaning)


def _chip(text: str, look: str, title: str) -> str:
    kind = f" gp-{look}" if look else ""
    return f"<span class='gp-chip{kind}' title='{escape(title)}'>{escape(text)}</span>"


def render_strip(status: Status, who: Actor, own: Own | None = None) -> None:
    """Draw the strip; the emergency stop is ONE press, always there and never disabled, and of the console's own site.

    `own` is left out where there is no other site.
    """
    own = own or Own(stopped=status.control == "ESTOP")
    with st.container(key="strip", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(strip_html(status, who.source != LOCAL, own), width="stretch")
        if own.shown and status.mode == "REPLAY" and not who.lacks(OPERATOR, datetime.now(UTC)):
            _clock(status, who)
        if who.source != LOCAL:
            _who(who)
        _stop_button(own, who)
    _said()


def render_failure(reason: str, who: Actor, own: Own) -> None:
    """The strip when the state cannot be read at all. The stop stays: where the ledger fails, a file latches it."""
    control = _chip("E-STOP", "alarm", CONTROL["ESTOP"][2]) if own.stopped and own.shown else ""
    text = f"<div class='gp-strip'>{_chip('NO DATA', 'alarm', reason)}{control}<span>{escape(reason)}</span></div>"
    with st.container(key="strip", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(text, width="stretch")
        _stop_button(own, who)
    _said()


def render_stop_only(why: str, who: Actor) -> None:
    """What is left of the strip for whose sign-in is over: they may still stop the site."""
    with st.container(key="strip", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(f"<div class='gp-strip'>{_chip('SIGNED OUT', 'warning', why)}</div>", width="stretch")
        _stop_button(own_site(), who)
    _said()


def _said() -> None:
    """What became of the last press, where it did not go the usual way."""
    trouble = st.session_state.pop(_TROUBLE, "")
    if trouble:
        st.error(inert(trouble))


def _who(who: Actor) -> None:
    """Who is signed in, with the way out."""
    with st.popover(inert(f"{who.name}, {who.role}"), key="strip_who"):
        st.text(f"Signed in as {who.name} until {fmt.utc(who.valid_until)}.")
        st.button("Sign out", key="strip_sign_out", on_click=_sign_out)


def _sign_out() -> None:
    from gridpilot.console import signin

    signin.sign_out()


def _stop_button(own: Own, who: Actor) -> None:
    """It names the site that it stops wherever there is another one."""
    label = "Stopped" if own.stopped else "Emergency stop"
    of = f" of {own.name}, whose console this is" if own.name else ""
    release = "Everything is off. Release it on Dispatch"
    pressed = st.button(
        f"{label}: {inert(own.name)}" if own.name else label,
        key="strip_stop",
        help=inert(release + of if own.stopped else f"Switches all machines and the battery{of} off now"),
        on_click=_stop,
        args=(who,),
    )
    if pressed and not runs.is_of_the_page():
        st.rerun()  # the whole page: it says at once what the strip says


def _stop(who: Actor) -> None:
    """One press; where it went another way than the ledger, that is said."""
    from gridpilot import operate

    try:
        given = operate.emergency_stop(who)
        if given.detail:
            st.session_state[_TROUBLE] = f"Stopped, {given.detail}."
    except GridPilotError as error:
        st.session_state[_TROUBLE] = str(error)


def _clock(status: Status, who: Actor) -> None:
    """The replay's clock. The pilot's speed is the truth; what was just asked shows until it has taken it."""
    speed = status.speed
    asked, until = st.session_state.get(_ASKED, (None, 0.0))
    if asked is not None and time.monotonic() < until:
        speed = asked
    st.session_state["strip_speed"] = speed if speed in SPEEDS else None
    st.segmented_control(
        "Replay speed",
        tuple(SPEEDS),
        format_func=lambda value: SPEEDS[value],
        key="strip_speed",
        label_visibility="collapsed",
        on_change=_set_speed,
        args=(who,),
    )
    st.button("Step", key="strip_step", help="One interval forward", on_click=_give, args=("step_replay", who))


def _set_speed(who: Actor) -> None:
    """The pressed speed; pressing the lit one again takes it back in the browser, and means it once more here."""
    speed = st.session_state["strip_speed"]
    if speed is None:
        return
    st.session_state[_ASKED] = (speed, time.monotonic() + ASKED_S)
    _give("set_replay_speed", speed, who)


def _give(command: str, *values: Any) -> None:
    """Write a command row; a refusal is told under the strip."""
    from gridpilot import operate

    try:
        getattr(operate, command)(*values)
    except GridPilotError as error:
        st.session_state[_TROUBLE] = f"The command was not accepted: {error}"
