"""Which site and which moment a session looks at: in its address, so that every view can be linked to.

`?at=2024-06-24T18:00Z` shows the decision that was in force then, `?site=NAME` another site of the fleet. The address
loses its query when the page changes; the session remembers, and `follow` writes it back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import streamlit as st

from gridpilot import views
from gridpilot.console.widgets import inert

_LOOK: Final = "look"


def current() -> views.Look:
    """What this session looks at; now, and this console's own site, outside of a session."""
    return st.session_state.get(_LOOK) or views.Look()


def go(look: views.Look) -> None:
    """Look at something else from the next run on."""
    st.session_state[_LOOK] = look
    _write(look)


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
        look = views.Look(site, look.at)
    st.session_state[_LOOK] = look
    _write(look)


def address(look: views.Look) -> dict[str, str]:
    """A look as the query of an address."""
    site = {"site": look.site} if look.site else {}
    return site | ({"at": f"{look.at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"} if look.at else {})


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
