"""Which site and which moment a session looks at: in its address, so that every view can be linked to.

`?at=2024-06-24T18:00Z` shows the decision that was in force then, `?site=NAME` another site of the fleet. The address
loses its query when the page changes; the session remembers, and `follow` writes it back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from gridpilot import views
from gridpilot.console import signin
from gridpilot.console.server import ROOT
from gridpilot.console.widgets import empty_state, inert
from gridpilot.errors import GridPilotError
from gridpilot.foreign import line
from gridpilot.values import usable
from gridpilot.views.whereabouts import not_yet, shown_from

LOOK_AGAIN_S: Final = 5.0  # for a ledger that is not there yet
NOW: Final = "now"  # in an address, where a moment was before
_LOOK: Final = "look"
_PICKER: Final = "site_picker"
_AIM: Final = "looking_aim"
# Of a session, when it looks at another site. The head's widgets are not of a site: without their state the browser's
# next word of what they show would count as a press.
_KEPT: Final = (_LOOK, _PICKER, signin.NAME, "strip_", "moment_")


def current() -> views.Look:
    """What this session looks at; now, and this console's own site, outside of a session."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return views.Look()
    return st.session_state.get(_LOOK) or views.Look()


def go(look: views.Look) -> None:
    """Look at something else from the next run on. What was typed or asked at one site does not follow to another."""
    if look.site != current().site:
        for key in [key for key in st.session_state if not str(key).startswith(_KEPT)]:
            del st.session_state[key]
    st.session_state[_LOOK] = look
    _write(look)


def enter(site: str) -> None:
    """Go into a site: the Overview page, looking at it."""
    go(views.Look(site if site in views.site_names() else "", current().at))
    st.switch_page(str(ROOT / "pages" / "overview.py"))


def aim(site: str) -> None:
    """Into the site that was pressed or chosen on the Globe, before anything more is drawn; empty: none was."""
    if site:
        st.session_state[_AIM] = site
        st.rerun()  # a fragment cannot change the page: the run of the whole one does


def arrive(page: str) -> None:
    """What was aimed at on the Globe is gone into from there alone: on another page that is over."""
    site = st.session_state.pop(_AIM, "")
    if site and page == "globe":
        enter(site)


def picker() -> None:
    """The site on the screen and the way to the others, on every page; nothing where there is no fleet."""
    try:
        names = views.site_names()
    except GridPilotError as error:
        st.warning(inert(str(error)))
        return
    if len(names) < 2:
        return
    st.session_state[_PICKER] = views.site_looked_at()
    st.selectbox(
        "Site",
        names,
        key=_PICKER,
        label_visibility="collapsed",
        format_func=line,
        width=190,
        help="The site on the screen. Commands go to this console's own site only.",
        on_change=_picked,
    )


def _picked() -> None:
    go(views.Look(str(st.session_state[_PICKER]), current().at))


def without_ledger() -> str:
    """One line where the site looked at has no ledger yet; empty where it has one."""
    return f"{views.site_looked_at()} has no ledger yet" if views.nothing_yet() else ""


def nothing_yet(page: str) -> bool:
    """Whether the site looked at has no ledger yet; then it says what helps, in place of the page."""
    if page == "globe" or not views.nothing_yet():
        return False
    _until_ledger()
    return True


@st.fragment(run_every=LOOK_AGAIN_S)
def _until_ledger() -> None:
    what_helps = views.nothing_yet()
    if not what_helps:
        st.rerun()
    empty_state("Its pilot has not run yet", what_helps)


def follow() -> str:
    """Take what the address asks for and keep the address true; what in it cannot be followed, in one line."""
    views.look_by(current)
    site, at, look, said = st.query_params.get("site"), st.query_params.get("at"), current(), ""
    if at == NOW:
        look, at = views.Look(look.site), None
    elif at is not None and {"at": at}.items() <= address(look).items():
        at = None  # what is looked at already
    if site is not None:
        known, said = _known(site)
        look = views.Look(known, look.at)
    if at is not None:
        with views.looking(look):
            look, why = _asked(at, look.site)
        said = " ".join(filter(None, (said, why)))
    go(look)
    return said


def _asked(at: str, site: str) -> tuple[views.Look, str]:
    """The look that an address asks for; now, with the reason, where it cannot be had."""
    try:
        moment = _moment(at)
        why = not_yet(moment)
    except (ValueError, OverflowError):
        return views.Look(site), f"The address asks for at={at[:60]}: expected a time like 2024-06-24T18:00Z."
    except GridPilotError:
        return views.Look(site), ""  # the strip says what is wrong with the ledger
    if why:
        return views.Look(site), f"The address asks for {at[:60]}, which is not over: {why}."
    return views.Look(site, moment), ""


def address(look: views.Look) -> dict[str, str]:
    """A look as the query of an address."""
    site = {"site": look.site} if look.site else {}
    if look.at is None:
        return site
    at = look.at.astimezone(UTC)
    return site | {"at": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at.second else f"{at:%Y-%m-%dT%H:%MZ}"}


def _known(site: str) -> tuple[str, str]:
    """The site that an address asks for, or else the console's own, and one line that says so."""
    try:
        names = views.site_names()
        if site in names:
            return site, ""
        of = "there is no fleet here" if not names else f"the fleet has {', '.join(names)}"
        return "", f"The address asks for site={site[:60]}: {of}. Shown is {views.own_name()}."
    except GridPilotError as error:
        return "", f"The address asks for site={site[:60]}, and the fleet cannot be read: {error}"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address arrives as a space
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if not usable(moment):
        raise ValueError("no year of which anything can be on record")
    return shown_from(moment.astimezone(UTC))


def _write(look: views.Look) -> None:
    wanted = address(look)
    if not wanted and not {"site", "at"}.isdisjoint(st.query_params):
        wanted = {"at": NOW}  # Streamlit does not tell the browser of an address that has nothing left
    for name in ("site", "at"):
        if name not in wanted and name in st.query_params:
            del st.query_params[name]
        elif name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
