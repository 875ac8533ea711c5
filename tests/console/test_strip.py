from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot.console.strip import Own, stale, strip_html
from gridpilot.dispatch.actor import Actor, local
from gridpilot.dispatch.override import Command
from gridpilot.errors import LedgerError
from gridpilot.foreign import escape
from gridpilot.views import Status

GOOD = Status(
    mode="REPLAY",
    source="replay",
    simulated=True,
    at=datetime(2024, 6, 12, 12, 5, tzinfo=UTC),
    price_age_s=300.0,
    step_s=3600,
    control="AUTO",
    alarms=0,
    site="Rotterdam",
    timezone="Europe/Amsterdam",
    speed=60.0,
    pilot_alive=True,
    message="",
)


EVA = local("eva")
VIA = Actor("via@site.example", "viewer", "oidc", datetime(2100, 1, 1, tzinfo=UTC), "login-1")


class Given:
    """Stands for `gridpilot.operate` and remembers the commands."""

    def __init__(self, refuse: bool = False) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.refuse = refuse
        self.detail = ""  # where the stop is latched, when not in the ledger

    def _take(self, *command: Any) -> None:
        if self.refuse:
            raise LedgerError("the disk is full: free some space")
        self.commands.append(command)

    def emergency_stop(self, who: Actor) -> Command:
        self._take("stop", who.name)
        now = datetime.now(UTC)
        return Command(now, who.name, "pressed", "estop", {}, now, 0, detail=self.detail)

    def set_replay_speed(self, speed: float, who: Actor) -> None:
        self._take("speed", speed, who.name)

    def step_replay(self, who: Actor) -> None:
        self._take("step", who.name)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    return _install(Given(), monkeypatch)


def _install(stand_in: Given, monkeypatch: pytest.MonkeyPatch) -> Given:
    import gridpilot

    monkeypatch.setitem(sys.modules, "gridpilot.operate", stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(gridpilot, "operate", stand_in, raising=False)
    return stand_in


def _run(status: Status, who: Actor = EVA) -> AppTest:
    def script(status, who):  # its source is run alone, without this file's imports
        from gridpilot.console.strip import render_strip

        render_strip(status, who)

    app = AppTest.from_function(script, args=(status, who)).run()
    assert not app.exception
    return app


def test_strip__all_well__mode_time_age_control_alarms_site() -> None:
    text = strip_html(GOOD)
    for part in ("REPLAY", "12 Jun 2024 14:05", "12 Jun 12:05 UTC", "prices 5\xa0min old", ">AUTO<", "0 alarms"):
        assert part in text
    assert "Rotterdam" in text
    assert "SIMULATED" in text
    assert "gp-warning" not in text
    assert "gp-alarm" not in text


@pytest.mark.parametrize(
    ("change", "word", "look"),
    [
        ({"control": "HOLD"}, "HOLD", "gp-warning"),
        ({"control": "OVERRIDE"}, "OVERRIDE", "gp-warning"),
        ({"control": "FAILSAFE"}, "FAIL-SAFE", "gp-alarm"),
        ({"control": "ESTOP"}, "E-STOP", "gp-alarm"),
        ({"control": "ESTOP", "pilot_alive": False}, "E-STOP", "gp-alarm"),
        ({"control": "SOMETHING NEW"}, "SOMETHING NEW", "gp-warning"),
        ({"pilot_alive": False}, "NO PILOT", "gp-alarm"),
        ({"pilot_alive": False, "at": None, "price_age_s": None}, "NO PILOT YET", "gp-warning"),
        ({"alarms": 2}, "2 alarms", "gp-alarm"),
        ({"price_age_s": 7200.0}, "prices 2\xa0h old", "gp-warning"),
        ({"price_age_s": None}, "no prices yet", "gp-warning"),
    ],
)
def test_strip__anything_unusual__said_in_a_word_and_a_look(change: dict[str, Any], word: str, look: str) -> None:
    text = strip_html(replace(GOOD, **change))
    assert word in text
    assert look in text


def test_strip__names_from_outside__escaped() -> None:
    text = strip_html(replace(GOOD, site="<b>x</b>", message="it's <i>late</i>", source="a'b"))
    assert "<b>x" not in text
    assert "<i>" not in text
    assert "a&#x27;b" in text


@pytest.mark.parametrize(("age", "step", "expected"), [(3599, 3600, False), (7199, 3600, False), (7200, 3600, True)])
def test_stale__hourly_prices__after_a_missing_interval(age: float, step: int, expected: bool) -> None:
    assert stale(replace(GOOD, price_age_s=age, step_s=step)) is expected
    assert stale(replace(GOOD, mode="LIVE", price_age_s=age / 12, step_s=300)) is expected


def test_stop__one_press__one_command(given: Given) -> None:
    _run(GOOD).button(key="strip_stop").click().run()
    assert given.commands == [("stop", "eva")]


def test_stop__already_stopped__says_so_and_may_be_pressed_again(given: Given) -> None:
    button = _run(replace(GOOD, control="ESTOP")).button(key="strip_stop")
    assert button.label == "Stopped"
    assert button.disabled is False


def test_stop__refused__reason_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(Given(refuse=True), monkeypatch)
    app = _run(GOOD).button(key="strip_stop").click().run()
    assert not app.exception
    assert "the disk is full" in app.error[0].value


def test_stop__another_site_on_the_screen__names_the_one_that_it_stops_and_shows_its_state(given: Given) -> None:
    def script(status, who, own):
        from gridpilot.console.strip import render_strip

        render_strip(status, who, own)

    shown = replace(GOOD, control="ESTOP", site="West Texas")  # that one is stopped, not this console's own
    app = AppTest.from_function(script, args=(shown, EVA, Own("Rotterdam", False, False))).run()
    button = app.button(key="strip_stop")
    assert button.label == "Emergency stop: Rotterdam"
    assert "of Rotterdam, whose console this is" in button.help
    assert "SHOWN ONLY" in app.html[0].value
    with pytest.raises(KeyError):
        app.get_by_key("strip_speed")  # the clock is another site's
    button.click().run()
    assert given.commands == [("stop", "eva")]


def test_clock__replay__speed_and_step_become_commands(given: Given) -> None:
    app = _run(GOOD)
    speed = app.get_by_key("strip_speed")
    assert speed.value == 60.0
    speed.set_value(0.0).run()
    app.button(key="strip_step").click().run()
    assert given.commands == [("speed", 0.0, "eva"), ("step", "eva")]


def test_clock__just_asked__shown_until_the_pilot_has_taken_it(given: Given) -> None:
    app = _run(GOOD)
    app.get_by_key("strip_speed").set_value(1.0).run()
    assert app.run().get_by_key("strip_speed").value == 1.0  # the status still says 60


def test_clock__live__not_offered() -> None:
    app = _run(replace(GOOD, mode="LIVE", speed=None))
    with pytest.raises(KeyError):
        app.get_by_key("strip_speed")


def test_clock__for_a_viewer__not_offered_but_the_stop_is(given: Given) -> None:
    app = _run(GOOD, VIA)
    with pytest.raises(KeyError):
        app.get_by_key("strip_speed")
    app.button(key="strip_stop").click().run()
    assert given.commands == [("stop", "via@site.example")]


def test_who__local_or_signed_in__said_on_the_strip() -> None:
    assert "local, no sign-in" in "".join(html.value for html in _run(GOOD).html)
    assert _run(GOOD, VIA).button(key="strip_sign_out").label == "Sign out"


def test_stop__latched_in_a_file__said_under_the_strip(given: Given) -> None:
    given.detail = "latched in the file gridpilot.db.estop, because ledger is locked"
    app = _run(GOOD).button(key="strip_stop").click().run()
    assert "Stopped, latched in the file" in app.error[0].value


def test_strip__commands_that_wait__said() -> None:
    assert "2 to approve" in strip_html(replace(GOOD, proposals=2))


@pytest.mark.parametrize(("stopped", "label"), [(False, "Emergency stop"), (True, "Stopped")])
def test_failure__state_cannot_be_read__the_stop_stays(given: Given, stopped: bool, label: str) -> None:
    def script(who, stopped) -> None:
        from gridpilot.console.strip import Own, render_failure

        render_failure("ledger <gone>", who, Own(stopped=stopped))

    app = AppTest.from_function(script, args=(EVA, stopped)).run()
    assert "ledger &lt;gone&gt;" in app.html[0].value
    assert app.button(key="strip_stop").label == label
    app.button(key="strip_stop").click().run()
    assert given.commands == [("stop", "eva")]


def test_strip__curtailment_in_force__chip_says_by_how_much_and_until_when() -> None:
    assert "CURTAILED" not in strip_html(GOOD)
    html = strip_html(replace(GOOD, curtailed="at most 300 kW from the grid until 15:30"))
    assert "<span class='gp-chip gp-warning' title='A curtailment is in force: at most 300 kW" in html
    assert ">CURTAILED</span>" in html


@pytest.mark.parametrize(("only_warnings", "look"), [(True, "gp-warning"), (False, "gp-alarm")])
def test_strip__alarms__red_only_where_one_is_more_than_a_warning(only_warnings: bool, look: str) -> None:
    html = strip_html(replace(GOOD, alarms=2, only_warnings=only_warnings))
    assert f"<span class='gp-chip {look}' title='Not acknowledged yet: see Health'>2 alarms</span>" in html


def test_escape__a_mark_that_would_turn_the_text__is_seen() -> None:
    assert escape("<b>\u202eRotterdam") == "&lt;b&gt;\ufffdRotterdam"
