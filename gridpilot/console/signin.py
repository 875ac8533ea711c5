"""Who is at the console: the sign-in gate, and the `Actor` of every act.

With `[auth]` in `.streamlit/secrets.toml` people sign in by OpenID Connect, and nothing is drawn for who has not.
Without it the console is for one machine: it answers on the loopback address alone, and the typed name acts. The
session's token is looked at anew in each act, on the server; what the browser shows or hides is no protection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from gridpilot.console import widgets
from gridpilot.errors import ConfigError, Forbidden, GridPilotError, LedgerError

if TYPE_CHECKING:
    from gridpilot.dispatch.actor import Actor

NAME: Final = "acting_name"  # what was typed, kept from page to page
SECRET: Final = 32  # least characters of the key that signs the session cookies
PROVIDER: Final = ("client_id", "client_secret", "server_metadata_url")
HIDDEN: Final = "Sign in to go on."


def configured() -> bool:
    """Whether people sign in here."""
    return bool(_auth())


def require_safe_start() -> None:
    """ConfigError where the console could be reached from outside without a sign-in, or the sign-in is half set up."""
    auth = _auth()
    if auth:
        _check(auth)
        return
    open_to = [name for name in (st.get_option("server.address") or "every address",) if not loopback(name)]
    open_to += [name for name in st.get_option("server.allowedHosts") or () if not loopback(name)]
    if open_to:
        raise ConfigError(
            f"the console would answer on {open_to[0]} without a sign-in: set one up in .streamlit/secrets.toml "
            "(docs/operators.md), or leave server.address at 127.0.0.1"
        )


def providers() -> dict[str | None, str]:
    """Where one can sign in: Streamlit's name of it (None: the only one), and the button's words."""
    auth = _auth()
    if "client_id" in auth:
        return {None: "Sign in"}
    return {name: f"Sign in with {name}" for name, table in auth.items() if isinstance(table, Mapping)}


def actor() -> Actor | None:
    """Who acts now; None where sign-in is set up and nobody has."""
    from gridpilot import operate

    if not configured():
        return operate.local(str(st.session_state.get(NAME, "")))
    claims: dict[str, Any] = dict(st.user.to_dict())
    return operate.signed_in(claims) if claims.get("is_logged_in") is True else None


def name_field(key: str, note: str, most: int) -> None:
    """The name of who acts on a console without sign-in, kept from page to page; `key` is the page's own."""
    # Set anew at each run, it would undo what is being typed.
    st.session_state.setdefault(key, st.session_state.get(NAME, ""))
    st.text_input("Your name", key=key, max_chars=most, help=note, on_change=_keep_name, args=(key,))


def _keep_name(key: str) -> None:
    if key in st.session_state:  # gone where the session has just left for another site
        st.session_state[NAME] = st.session_state[key]


def act(said: str, do: Callable[[Actor], str]) -> None:
    """Carry something out in the name of who is here now. What came of it is kept under `said`, for
    `widgets.last_words`."""
    try:
        who = actor()
        if who is None:
            raise Forbidden("nobody is signed in: sign in again")
        widgets.say(said, "success", do(who))
    except GridPilotError as error:
        widgets.say(said, "error", str(error))


def over(who: Actor) -> str:
    """Why a sign-in holds no longer; empty where it does."""
    from gridpilot import operate

    if who.expired(datetime.now(UTC)):
        return "Your sign-in has expired."
    with contextlib.suppress(LedgerError):  # a ledger that cannot be read takes no act either
        if operate.signed_out(who):
            return "You have signed out."
    return ""


def sign_in_page(why: str = "") -> None:
    """The way in, and nothing else."""
    with st.container(key="sign_in", horizontal_alignment="center"):
        st.title("GridPilot", width="content")
        st.text(why or HIDDEN)
        for name, words in providers().items():
            st.button(words, key=f"sign_in_{name or 'default'}", type="primary", on_click=_sign_in, args=(name,))


def sign_out() -> None:
    """End this sign-in in every tab and at the provider."""
    from gridpilot import operate

    who = actor()
    if who is not None:
        with contextlib.suppress(GridPilotError):
            operate.sign_out(who)
    st.logout()


def _sign_in(provider: str | None) -> None:
    st.login(provider)


def _auth() -> Mapping[str, Any]:
    """The `[auth]` table of the secrets; empty where there is none. ConfigError for secrets that cannot be read."""
    if st.secrets.load_if_toml_exists():
        found: Any = st.secrets.get("auth", {})
        if not isinstance(found, Mapping):
            raise ConfigError("auth in .streamlit/secrets.toml is no table: see docs/operators.md")
        return found
    broken = [name for name in st.get_option("secrets.files") if Path(name).is_file()]
    if broken:
        raise ConfigError(f"{broken[0]} cannot be read, so nobody could sign in: correct its TOML")
    return {}


def _check(auth: Mapping[str, Any]) -> None:
    where = "[auth] in .streamlit/secrets.toml"
    for key in ("redirect_uri", "cookie_secret"):
        if not auth.get(key):
            raise ConfigError(f"{where} has no {key}: see docs/operators.md")
    if len(str(auth["cookie_secret"])) < SECRET:
        raise ConfigError(
            f"{where}: cookie_secret is shorter than {SECRET} characters: make one with `openssl rand -hex 32`"
        )
    tables = [auth] if "client_id" in auth else [table for table in auth.values() if isinstance(table, Mapping)]
    missing = [key for table in tables for key in PROVIDER if not table.get(key)]
    if missing or not tables:
        raise ConfigError(f"{where} has no {(missing or PROVIDER)[0]}: see docs/operators.md")


def loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
