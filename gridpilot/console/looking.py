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
from gridpilot.errors import GridPilotError
from gridpilot.views.whereabouts import not_yet, shown_from

_LOOK: Final = "look"


def current() -> views.Look:
    """What this session looks at; now, and this console's own site, outside of a session."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return views.Look()
    return st.session_state.get(_LOOK) or views.Look()


def go(look: views.Look) -> None:
    """Look at something else from the next run on."""
    st.session_state[_LOOK] = look
    _write(look)


def follow() -> str:
    """Take what the address asks for and keep the address true; what in it cannot be followed, in one line."""
    views.look_by(current)
    site, at, look, said = st.query_params.get("site"), st.query_params.get("at"), current(), ""
    if at is not None and {"at": at}.items() <= address(look).items():
        at = None  # what is looked at already
    if site is not None:
        look = views.Look(site, look.at)
    if at is not None:
        look, said = _asked(at, look.site)
    st.session_state[_LOOK] = look
    _write(look)
    return said


def _asked(at: str, site: str) -> tuple[views.Look, str]:
    """The look that an address asks for; now, with the reason, where it cannot be had."""
    try:
        moment = _moment(at)
        why = not_yet(moment)
    except (ValueError, OverflowError):
        return views.Look(site), f"The address asks for at={at}: expected a time like 2024-06-24T18:00Z. Shown is now."
    except GridPilotError:
        return views.Look(site), ""  # the strip says what is wrong with the ledger
    if why:
        return views.Look(site), f"The address asks for {at}, which is not over: {why}. Shown is now."
    return views.Look(site, moment), ""


def address(look: views.Look) -> dict[str, str]:
    """A look as the query of an address."""
    site = {"site": look.site} if look.site else {}
    if look.at is None:
        return site
    at = look.at.astimezone(UTC)
    return site | {"at": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at.second else f"{at:%Y-%m-%dT%H:%MZ}"}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address arrives as a space
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return shown_from(moment.astimezone(UTC))


def _write(look: views.Look) -> None:
    wanted = address(look)
    for name in ("site", "at"):
        if name not in wanted and name in st.query_params:
            del st.query_params[name]
        elif name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
