"""Who may do what: by the sign-in's claims and the lists in the settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gridpilot.dispatch.actor import APPROVER, OPERATOR, VIEWER, local, same_person, signed_in
from gridpilot.foreign import shown

T0 = datetime(2026, 6, 12, 14, tzinfo=UTC)
CLAIMS = {
    "iss": "https://id.example",
    "sub": "17",
    "email": "Ola@site.example",
    "email_verified": True,
    "iat": T0.timestamp(),
    "exp": (T0 + timedelta(hours=1)).timestamp(),
    "nonce": "n1",
}


def role(**claims: Any) -> str:
    return signed_in({**CLAIMS, **claims}, ["ola@site.example"], ["ada@site.example"]).role


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, OPERATOR),
        ({"email": "ADA@site.example "}, APPROVER),
        ({"email": "via@site.example"}, VIEWER),
        ({"email": None}, VIEWER),
        ({"email": "", "preferred_username": "ola@site.example"}, VIEWER),
        ({"email_verified": False}, VIEWER),
        ({"email_verified": "false"}, VIEWER),
        ({"email": "ｏla@site.example"}, VIEWER),
        ({"email": "ola@site.example\u200b"}, VIEWER),
    ],
)
def test_signed_in__role__by_the_verified_address_to_the_letter(claims: dict[str, Any], expected: str) -> None:
    assert role(**claims) == expected


def test_signed_in__provider_that_says_nothing_of_verification__counts() -> None:
    assert (
        signed_in({k: v for k, v in CLAIMS.items() if k != "email_verified"}, ["ola@site.example"], []).role == OPERATOR
    )


@pytest.mark.parametrize("exp", [None, "soon", -1, True, 1e300])
def test_signed_in__token_without_a_time__has_expired(exp: Any) -> None:
    assert signed_in({**CLAIMS, "exp": exp}, [], []).expired(T0)


def test_signed_in__each_sign_in__has_its_own_mark() -> None:
    first, same, later = (signed_in({**CLAIMS, "nonce": nonce}, [], []) for nonce in ("n1", "n1", "n2"))
    assert first.login == same.login != later.login


def test_lacks__role_and_time__said_in_a_line() -> None:
    ola = signed_in(CLAIMS, ["ola@site.example"], [])
    assert ola.lacks(OPERATOR, T0) == ""
    assert ola.lacks(APPROVER, T0) == "Ola@site.example is operator, this takes an approver"
    assert ola.lacks(VIEWER, T0 + timedelta(hours=1)) == "the sign-in has expired: sign in again"
    assert local(" anna ").lacks(APPROVER, T0 + timedelta(days=9000)) == ""
    assert local(" anna ").name == "anna"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ola", " ola", True),
        ("ｏla", "ola", True),
        ("ola", "o\u200bla", True),
        ("ola", "\u2060ola\ufeff", True),
        ("ola\u00ad", "ola", True),
        ("ola nor", "Ola  \u00a0Nor", True),
        ("ola", "ole", False),
        ("ola nor", "olanor", False),
    ],
)
def test_same_person__however_it_is_written(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same


def test_shown__what_cannot_be_seen__becomes_a_mark_and_the_name_no_other_persons() -> None:
    assert shown("ola\u200b\u202e\n@x") == "ola\ufffd\ufffd\ufffd@x"
    assert len(shown("x" * 10_000)) == 200
    hostile = signed_in({**CLAIMS, "email": "ada\u200b@site.example"}, [], [])
    assert not same_person(hostile.name, "ada@site.example")
    assert replace(hostile, role=APPROVER).lacks(APPROVER, T0) == ""
