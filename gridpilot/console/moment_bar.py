"""The bar under the status strip while a session looks at a past moment, and the link to what is looked at.

The strip stays live: mode, alarms and the emergency stop are those of now. Each step of the bar runs the whole page
anew, because not all of it is live; charts keep their place and zoom (`live_chart`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import looking, runs, widgets
from gridpilot.console.charts import NOW
from gridpilot.errors import GridPilotError
from gridpilot.foreign import escape
from gridpilot.views.whereabouts import shown_from

ALWAYS_NOW: Final = ("globe", "backtest", "health")
NO_COMMANDS: Final = "Commands act now: go back to now to give one."
OVER: Final = {"failsafe": "FAIL-SAFE, all off", "estop": "E-STOP, all off", "expired": "Set points expired"}
PLAY_S: Final = 1.0  # a decision each
_PLAYING: Final = "moment_playing"  # when the newest step was taken, by the monotonic clock; absent: it stands
_UNTIL: Final = "moment_until"  # where playing ends; None: at the newest decision
_BACK: Final = "Back to now"
AROUND: Final = 24  # decisions on each side of the one that is looked at, on the slider
_SLIDER: Final = "moment_slider"
_ASKED: Final = "moment_asked_"


def show(page: str, led: bool = False) -> None:
    """What moment is looked at, with the way on and the way back; nothing while that is now.

    Where a tour leads, the way on is the tour's.
    """
    try:
        place = views.whereabouts()
    except GridPilotError:
        return  # the strip says it
    if place is None:
        st.session_state.pop(_PLAYING, None)
        return
    with st.container(key="moment_bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(bar_html(place, page), width="stretch")
        if not led:
            _on(place)
        st.button(_BACK, key="moment_now", on_click=_step, args=(views.Look(looking.current().site),), type="primary")
    if playing():
        _play()


def bar_html(place: views.Whereabouts, page: str) -> str:
    """The bar's words."""
    zone = place.timezone
    said = f"<b>Looking back: {escape(fmt.local(place.at, zone, with_year=True))}</b>"
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


def _on(place: views.Whereabouts) -> None:
    """One decision on or back, or on by itself."""
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
                "Pause" if playing() else "Play",
                key="moment_play",
                help="One decision after the other, a second each",
                disabled=place.after is None,
                on_click=_toggle,
            )


def _step(look: views.Look) -> None:
    halt()
    looking.go(look)


def _toggle() -> None:
    if st.session_state.pop(_PLAYING, None) is None:
        start()


def start(until: datetime | None = None) -> None:
    """Play on from the moment that is looked at, to a moment or the newest decision."""
    st.session_state[_PLAYING], st.session_state[_UNTIL] = time.monotonic(), until


def playing() -> bool:
    """Whether it goes on by itself."""
    return _PLAYING in st.session_state


def halt() -> None:
    """Play no further."""
    st.session_state.pop(_PLAYING, None)


@st.fragment(run_every=PLAY_S)
def _play() -> None:
    """Ticks by itself; a run of the whole page draws it too, and must not step."""
    taken = st.session_state.get(_PLAYING)
    if taken is None or runs.is_of_the_page() or time.monotonic() - taken < 0.8 * PLAY_S:
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


# --- another moment, and the link ----------------------------------------------------------


def choose(more: Callable[[], None]) -> None:
    """Another moment to look at, and the address of what is shown: site, page and moment, to send to somebody else;
    `more` draws below it.

    No fragment: what is chosen here runs the whole page anew.
    """
    box = st.popover("Time", key="moment_choose", help="Look at another moment; a link to this one", on_change="rerun")
    if not box.open:
        return
    with box:
        try:
            look, now, site = looking.current(), views.source_now(), views.current_site()
            moments = views.around(AROUND)
        except GridPilotError as error:
            st.caption(widgets.inert(str(error)))
            return
        if now is None or not moments:
            st.caption("Nothing was decided yet, so there is no moment to look at.")
            return
        _slider(moments, look, site.timezone)
        _any_moment(look.at or now, now, site.timezone)
        st.caption("This page as it is at this moment. It stays so, whatever comes later.")
        st.code(link_to(views.Look(look.site, look.at or shown_from(now))), language=None, wrap_lines=True)
        more()


def _slider(moments: Sequence[datetime | None], look: views.Look, zone: str) -> None:
    """The decisions around the one that is looked at."""
    options: dict[str, datetime | None] = {}
    for one in moments:
        name = NOW if one is None else fmt.local(one, zone)
        options[f"{name}, {one:%H:%M:%S} UTC" if one is not None and name in options else name] = one
    then = [name for name, one in options.items() if one is not None and look.at is not None and one <= look.at]
    st.session_state[_SLIDER] = then[-1] if then else next(iter(options)) if look.at is not None else NOW
    st.select_slider("Decisions", list(options), key=_SLIDER, on_change=_slid, args=(options,))


def _slid(options: Mapping[str, datetime | None]) -> None:
    _step(views.Look(looking.current().site, options[st.session_state[_SLIDER]]))


def _any_moment(shown: datetime, now: datetime, zone: str) -> None:
    """A field for any moment; its key has the moment that is shown, so that it begins there."""
    value, most = (at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in (shown, now))
    key, label = f"{_ASKED}{value:%Y%m%d%H%M%S}", f"Any moment, {zone.replace('_', ' ')}"
    most = max(value, most)  # a clock that was set back shows less than before
    st.datetime_input(label, value, max_value=most, key=key, on_change=_asked, args=(key, zone), step=3600)
    other = other_pass(shown, zone)
    if other is not None and other <= now:
        name = (
            f"{value:%H:%M} comes twice that night: the {'later' if other > shown else 'earlier'} one, {fmt.utc(other)}"
        )
        st.button(name, key="moment_pass", on_click=_step, args=(views.Look(looking.current().site, other),))


def other_pass(moment: datetime, zone: str) -> datetime | None:
    """The other moment that a clock there shows alike, in the night when summer time ends; None at any other time."""
    here = moment.astimezone(ZoneInfo(zone))
    other = here.replace(fold=1 - here.fold).astimezone(UTC)
    return other if other != moment else None


def _asked(key: str, zone: str) -> None:
    asked = st.session_state[key]
    if asked is not None:
        moment = shown_from(asked.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))
        _step(views.Look(looking.current().site, moment))


def link_to(look: views.Look) -> str:
    """The page of this session with a look, as a whole address."""
    page = (st.context.url or "").partition("?")[0]
    return f"{page}?{urlencode(looking.address(look), safe=':')}"
