from __future__ import annotations

from pathlib import Path

import pytest

from gridpilot import views
from gridpilot.ledger.store import Ledger
from tests.pages.conftest import OpenPage, console, copied, url, words


def test_health__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("health")
    assert not app.exception
    assert "No cycle yet" in words(app)


def test_health__full_ledger__stages_in_order_and_chain_checked(full: OpenPage) -> None:
    app = full("health")
    assert not app.exception and not app.error
    assert app.metric[4].value == "whole"
    assert app.dataframe[0].value["stage"].tolist() == list(views.STAGES)


def test_health__alarm_in_the_ledger__is_in_the_log_as_text(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(recorded, tmp_path)
    with Ledger.open(url(path)) as ledger:
        newest = ledger.latest("cycle")
        assert newest is not None
        body = {
            "code": "NO_DECISION",
            "severity": "alarm",
            "stage": "pilot",
            "message": "<b>down</b> ![x](http://e.x/y)",
        }
        ledger.append("alarm", body, at=newest.at)
    with console(path, monkeypatch) as open_page:
        app = open_page("health")
        assert not app.exception
        assert app.dataframe[1].value["what"].tolist() == ["<b>down</b> ![x](http://e.x/y)"]
        assert "http://e.x/y" not in words(app)


def test_health__stale_ledger__says_how_old_the_prices_are(stale: OpenPage) -> None:
    app = stale("health")
    assert not app.exception
    assert app.metric[1].value.startswith("3")
