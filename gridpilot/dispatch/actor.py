"""Who acts, and what they may do.

role      may
viewer    look, and press the emergency stop
operator  that, and give, release and resume
approver  that, and approve what another person proposed
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gridpilot.foreign import hidden, shown

VIEWER, OPERATOR, APPROVER = ROLES = ("viewer", "operator", "approver")  # each may do what those before it may
LOCAL, OIDC = "local", "oidc"
NO_NAME = "console"  # who presses the stop on a local console without giving a name


@dataclass(frozen=True, slots=True)
class Actor:
    """A person at the console. `valid_until` is in wall-clock time; None: no sign-in, so that nothing expires."""

    name: str
    role: str
    source: str  # local or oidc
    valid_until: datetime | None = None
    login: str = ""  # which sign-in: signing out ends it in every tab

    def expired(self, wall: datetime) -> bool:
        """Whether the sign-in is over by its own time."""
        return self.valid_until is not None and wall >= self.valid_until

    def lacks(self, role: str, wall: datetime) -> str:
        """Why this person may not act as `role` now; empty where they may."""
        if self.expired(wall):
            return "the sign-in has expired: sign in again"
        if ROLES.index(self.role) < ROLES.index(role):
            return f"{self.name} is {self.role}, this takes an {role}"
        return ""


def local(name: str) -> Actor:
    """Whoever sits at a console without sign-in, by the name that they typed: it may do everything."""
    return Actor(name.strip(), APPROVER, LOCAL)


def signed_in(claims: Mapping[str, Any], operators: Iterable[str], approvers: Iterable[str]) -> Actor:
    """The person that an identity token names; who is on neither list of e-mail addresses is a viewer.

    An address that the provider calls unverified gives no role, and a token without a time has expired.
    """
    email = str(claims.get("email") or "").strip()
    verified = bool(email) and claims.get("email_verified", True) in (True, "true")
    role = VIEWER
    if verified and _listed(email, approvers):
        role = APPROVER
    elif verified and _listed(email, operators):
        role = OPERATOR
    name = shown(email or str(claims.get("preferred_username") or claims.get("sub") or "unknown"))
    marks = "|".join(str(claims.get(key, "")) for key in ("iss", "sub", "iat", "nonce"))
    login = hashlib.sha256(marks.encode("utf-8", "replace")).hexdigest()[:16]
    return Actor(name, role, OIDC, _moment(claims.get("exp")), login)


def same_person(one: str, other: str) -> bool:
    """Whether two names look like one: then the second is no second pair of eyes."""
    return _plain(one) == _plain(other)


def _listed(email: str, names: Iterable[str]) -> bool:
    """To the letter: what only looks like a listed address gets no role."""
    return email.casefold() in {name.strip().casefold() for name in names}


def _plain(name: str) -> str:
    """Without what cannot be seen, blanks in a row as one."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if not hidden(c))
    return unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())


def _moment(exp: Any) -> datetime:
    number = isinstance(exp, (int, float)) and not isinstance(exp, bool) and 0 <= exp < 1e11
    return datetime.fromtimestamp(exp if number else 0, UTC)
