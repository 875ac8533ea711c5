"""The bar under the status strip while a session looks at a past moment, and the link to what is looked at.

The strip stays live: mode, alarms and the emergency stop are those of now. Each step of the bar runs the whole page
anew, because not all of it is live; charts keep their place and zoom (`live_chart`).
"""

from __future__ import annotations

import time
from datetime import datetime
from html import escape
from typing import Final
from urllib.parse import urlencode

import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import looking, widgets
from gridpilot.errors import GridPilotError
from gridpilot.views.whereabouts import shown_from

ALWAYS_NOW: Final = ("globe", "backtest", "health")
NO_COMMANDS: Final = "Commands act now: go back to now to give one."
OVER: Final = {"failsafe": "FAIL-SAFE, all off", "estop": "E-STOP, all off", "expired": "Set points expired"}
PLAY_S: Final = 1.0  # a decision each
_PLAYING: Final = "moment_playing"  # when the newest step was taken, by the monotonic clock; absent: it stands
_UNTIL: Final = "moment_until"  # where playing ends; None: at the newest decision
_BACK: Final = "Back to now"


def show(page: str) -> None:
    """What moment is looked at, with the way on and the way back; nothing while that is now."""
    try:
        place = views.whereabouts()
    except GridPilotError:
        return  # the strip says it
    if place is None:
        st.session_state.pop(_PLAYING, None)
        return
    with st.container(key="moment_bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(bar_html(place, page), width="stretch")
        _buttons(place)
    if _PLAYING in st.session_state:
        _play()


def bar_html(place: views.Whereabouts, page: str) -> str:
    """The bar's words."""
    zone = place.timezone
    said = f"<b>Looking back: {escape(fmt.local(place.at, zone))}</b>"
    parts = [f"<span title='{escape(fmt.utc(place.at))}'>{said} ({escape(place.site)} time)</span>"]
    behind = (place.newest - place.at).total_seconds()
    far = f"{fmt.duration(behind)} before the newest decision" if behind >= 1.0 else "the newest decision"
    parts.append(f"<span>{escape(far)}</span>")
    if place.decided is not None and place.over_at is not None:
        since = fmt.local(place.over_at, zone, with_date=False)
        parts.append(f"<span class='gp-chip gp-alarm'>{OVER[place.over]} since {escape(since)}</span>")
    if place.decided is not None and (place.at - place.decided).total_seconds() >= place.step_s:
        parts.append(f"<span>newest decision then: {escape(fmt.local(place.decided, zone))}</span>")
    if page in ALWAYS_NOW:
        parts.append("<span class='gp-chip'>This page always shows now</span>")
    return f"<div class='gp-strip'>{''.join(parts)}</div>"


def _buttons(place: views.Whereabouts) -> None:
    playing = _PLAYING in st.session_state
    look = looking.current()
    for word, moment, key in (("Previous", place.before, "moment_previous"), ("Next", place.after, "moment_next")):
        st.button(
            word,
            key=key,
            help=f"The decision {'before' if word == 'Previous' else 'after'} this one",
            disabled=moment is None,
            on_click=_step,
            args=(views.Look(look.site, moment),),
        )
        if word == "Previous":
            st.button(
                "Pause" if playing else "Play",
                key="moment_play",
                help="One decision after the other, a second each",
                disabled=place.after is None,
                on_click=_toggle,
            )
    st.button(_BACK, key="moment_now", on_click=_step, args=(views.Look(look.site),), type="primary")


def _step(look: views.Look) -> None:
    halt()
    looking.go(look)


def _toggle() -> None:
    if st.session_state.pop(_PLAYING, None) is None:
        start()


def start(until: datetime | None = None) -> None:
    """Play on from the moment that is looked at, to a moment or the newest decision."""
    st.session_state[_PLAYING], st.session_state[_UNTIL] = time.monotonic(), until


def halt() -> None:
    """Play no further."""
    st.session_state.pop(_PLAYING, None)


@st.fragment(run_every=PLAY_S)
def _play() -> None:
    """Ticks by itself; a whole run draws it too, and must not step."""
    taken = st.session_state.get(_PLAYING)
    if taken is None or time.monotonic() - taken < 0.8 * PLAY_S:
        return
    try:
        place = views.whereabouts()
    except GridPilotError:
        return
    end = st.session_state.get(_UNTIL)
    if place is None or place.after is None or (end is not None and place.after > end):
        st.session_state.pop(_PLAYING, None)
    else:
        st.session_state[_PLAYING] = time.monotonic()
        looking.go(views.Look(looking.current().site, place.after))
    st.rerun()


def nothing_then(page: str) -> bool:
    """Whether nothing was decided yet at the moment looked at; then it says what there is, in place of the page."""
    if page in ALWAYS_NOW:
        return False
    try:
        place = views.whereabouts()
    except GridPilotError:
        return False
    if place is None or place.decided is not None:
        return False
    first, newest = (fmt.local(at, place.timezone) for at in (place.first, place.newest))
    said = f"Decisions are on record from {first} to {newest} ({place.site} time). "
    widgets.empty_state("Nothing was decided yet at this moment", f"{said}Press {_BACK}, or Next for the first one.")
    return True


def commands_act_now() -> bool:
    """Whether a past moment is looked at: then a page says so in place of its panels that command."""
    if looking.current().at is None:
        return False
    st.caption(NO_COMMANDS)
    return True


# --- the link ------------------------------------------------------------------------------


@st.fragment
def link() -> None:
    """The address of what is shown: site, page and moment, to send to somebody else."""
    with st.popover("Link", key="moment_link", help="A link to this page at this moment", on_change="rerun"):
        try:
            look = looking.current()
            at = look.at or views.source_now()
        except GridPilotError as error:
            st.caption(widgets.inert(str(error)))
            return
        if at is None:
            st.caption("Nothing was decided yet, so there is no moment to link to.")
            return
        st.caption("This page as it is at this moment. It stays so, whatever comes later.")
        st.code(link_to(views.Look(look.site, shown_from(at))), language=None, wrap_lines=True)


def link_to(look: views.Look) -> str:
    """The page of this session with a look, as a whole address."""
    page = (st.context.url or "").partition("?")[0]
    return f"{page}?{urlencode(looking.address(look), safe=':')}"
