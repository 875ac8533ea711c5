from __future__ import annotations

from tests.pages.conftest import OpenPage, words


def test_overview__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("overview")
    assert not app.exception
    assert "No decision yet" in words(app)
    assert not app.metric
