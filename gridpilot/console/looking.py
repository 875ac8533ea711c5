"""Which site and which moment a session looks at: in its address, so that every view can be linked to.

`?at=2024-06-24T18:00Z` shows the decision that was in force then, `?site=NAME` another site of the fleet. The address
loses its query when the page changes; the session remembers, and `follow` writes it back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import streamlit as st

from gridpilot import views
from gridpilot.console import signin
from gridpilot.console.server import ROOT
from gridpilot.console.widgets import inert
from gridpilot.errors import GridPilotError
from gridpilot.foreign import line

_LOOK: Final = "look"
_PICKER: Final = "site_picker"
_KEPT: Final = (_LOOK, _PICKER, signin.NAME)  # of a session, when it looks at another site


def current() -> views.Look:
    """What this session looks at; now, and this console's own site, outside of a session."""
    return st.session_state.get(_LOOK) or views.Look()


def go(look: views.Look) -> None:
    """Look at something else from the next run on. What was typed or asked at one site does not follow to another."""
    if look.site != current().site:
        for key in [key for key in st.session_state if key not in _KEPT]:
            del st.session_state[key]
    st.session_state[_LOOK] = look
    _write(look)


def enter(site: str) -> None:
    """Go into a site: the Overview page, looking at it."""
    go(views.Look(site if site in views.site_names() else "", current().at))
    st.switch_page(str(ROOT / "pages" / "overview.py"))


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


def follow() -> None:
    """Take what the address asks for, say what in it is not understood, and keep the address true."""
    views.look_by(current)
    site, at, look = st.query_params.get("site"), st.query_params.get("at"), current()
    if at is not None:
        try:
            look = views.Look(look.site, _moment(at))
        except ValueError:
            st.warning(inert(f"The address asks for at={at}: expected a time like 2024-06-24T18:00Z. Shown is now."))
            look = views.Look(look.site)
    if site is not None:
        look = views.Look(_known(site), look.at)
    go(look)


def address(look: views.Look) -> dict[str, str]:
    """A look as the query of an address."""
    site = {"site": look.site} if look.site else {}
    return site | ({"at": f"{look.at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"} if look.at else {})


def _known(site: str) -> str:
    """The site that an address asks for, or else the console's own, with one line that says so."""
    try:
        names = views.site_names()
        if site in names:
            return site
        of = "there is no fleet here" if not names else f"the fleet has {', '.join(names)}"
        st.warning(inert(f"The address asks for site={site[:60]}: {of}. Shown is {views.own_name()}."))
    except GridPilotError as error:
        st.warning(inert(f"The address asks for site={site[:60]}, and the fleet cannot be read: {error}"))
    return ""


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address arrives as a space
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _write(look: views.Look) -> None:
    wanted = address(look)
    for name in ("site", "at"):
        if name not in wanted and name in st.query_params:
            del st.query_params[name]
        elif name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
