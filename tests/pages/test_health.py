from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridpilot import operate, views
from gridpilot.console.health_parts import money_table
from gridpilot.dispatch.actor import Actor
from gridpilot.errors import Forbidden
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.alarms import ENTRY, Condition, listed, watch
from tests.pages.conftest import OpenPage, console, copied, url, words

HOSTILE = "<b>down</b> ![x](http://e.x/y)"


def raised(path: Path, *conditions: Condition) -> None:
    """With these alarms on the list, and a watch that has just looked."""
    wall = datetime.now(UTC)
    with Ledger.open(url(path)) as ledger:
        watch(ledger, conditions, wall, wall)
        ledger.put_state("watch", {"at": wall, "seq": ledger.head().seq})
        ledger.put_state("watchdog_seen", wall)
        ledger.put_state("ledger_verified", {"at": wall, "ok": True, "reason": "", "entries": 9, "seq": 9})


HOT = Condition("HOT", "alarm", HOSTILE, "see that the cooling works")
SLOW = Condition("SLOW", "warn", "a cycle takes 3 s", "see which stage")


def test_health__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("health")
    assert not app.exception
    assert "No cycle yet" in words(app)
    assert "No alarm was ever raised" in words(app)


def test_health__full_ledger__service_stages_data_and_money(full: OpenPage) -> None:
    app = full("health")
    assert not app.exception and not app.error
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Availability"] == "100\\.00 %"
    assert values["Processes"] == "1 of 3"
    assert app.dataframe[0].value["stage"].tolist() == list(views.STAGES)
    money = app.dataframe[1].value
    today = views.today()
    assert today is not None
    assert money["profit"].tolist() == [pytest.approx(today.profit_usd)]
    assert sum(money[name][0] for name in today.assets) == pytest.approx(today.profit_usd, abs=0.05)


def test_health__stale_ledger__says_how_old_the_prices_are(stale: OpenPage) -> None:
    app = stale("health")
    assert not app.exception
    assert next(m.value for m in app.metric if m.label == "Newest price").startswith("3")
    assert "STALE" in words(app)


def test_health__alarms__gravest_first_as_text_with_what_to_do(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(recorded, tmp_path)
    raised(path, SLOW, HOT)
    with console(path, monkeypatch) as open_page:
        app = open_page("health")
        assert not app.exception and not app.error
        text = words(app)
        assert text.index("&lt;b&gt;down&lt;/b&gt;") < text.index("a cycle takes 3 s")
        assert "<b>down" not in text and "see that the cooling works" in text
        assert "2 alarms nobody has acknowledged" in text
        assert views.status().alarms == 2


def test_health__acknowledged_and_shelved__on_record_by_whom_and_off_the_count(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(recorded, tmp_path)
    raised(path, HOT, SLOW)
    with console(path, monkeypatch) as open_page:
        app = open_page("health")
        hot, slow = (alarm.id for alarm in listed(views.ledger()))
        assert not any("name" in expander.label for expander in app.expander), "who acts is in sight"
        app.text_input(key="alarm_author").input("anna").run()
        app.button(key=f"ack_{hot}").click().run()
        assert not app.exception
        assert "HOT is acknowledged" in words(app) or any("HOT" in s.value for s in app.success)
        app.selectbox(key="shelve_which").select(slow).run()
        app.button(key="shelve_give").click().run()
        assert "the reason is" in app.error[0].value, "a shelf needs a reason"
        app.text_input(key="shelve_why").input("known, disk is replaced tonight").run()
        app.button(key="shelve_give").click().run()
        assert not app.exception and not app.error
        assert views.status().alarms == 0
        shelved = next(alarm for alarm in listed(views.ledger()) if alarm.id == slow)
        assert shelved.shelved_until is not None
        assert timedelta(minutes=58) < shelved.shelved_until - datetime.now(UTC) <= timedelta(hours=1)
        told = [(row.body["event"], row.body.get("by")) for row in views.ledger().entries(ENTRY, limit=2)]
        assert told == [("shelved", "anna"), ("acknowledged", "anna")]
        app.button(key=f"unshelve_{slow}").click().run()
        assert views.status().alarms == 1


def test_F55_alarms__viewer__refused_on_record_and_nothing_changed(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(recorded, tmp_path)
    raised(path, HOT)
    viewer = Actor("via@site.example", "viewer", "oidc", datetime(2100, 1, 1, tzinfo=UTC), "login-1")
    with console(path, monkeypatch):
        number = listed(views.ledger())[0].id
        before = listed(views.ledger())
        for act in (
            lambda: operate.acknowledge(viewer, number),
            lambda: operate.shelve(viewer, number, minutes=10, reason="no"),
            lambda: operate.unshelve(viewer, number),
        ):
            with pytest.raises(Forbidden, match="is viewer, this takes an operator"):
                act()
        assert listed(views.ledger()) == before
        refused = [row for row in views.ledger().commands(kinds=["alarm"]) if row["status"] == "refused"]
        assert [row["author"] for row in refused] == ["via@site.example"] * 3


def test_money_table__unknown_reference__empty_and_no_minus_zero(full: OpenPage) -> None:
    full("health")
    today = views.today()
    assert today is not None
    rows = money_table([today])
    assert rows["of perfect foresight"].isna().all()
    assert not any(str(value) == "-0.0" for value in rows.iloc[0])
