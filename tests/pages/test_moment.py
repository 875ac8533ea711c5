"""Pages at a past moment: the decision in force then, nothing that commands, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import operate, views
from gridpilot.console import format as fmt
from gridpilot.console.moment_bar import ALWAYS_NOW, NO_COMMANDS, other_pass
from gridpilot.console.shell import PAGES
from gridpilot.errors import InputError
from gridpilot.monitor import decision
from tests.pages.conftest import SHELL, OpenPage, words

pytestmark = pytest.mark.slow
FOLLOW = [name for name in PAGES if name not in ALWAYS_NOW]


def look(at: str, name: str = "overview") -> AppTest:
    """The console by a deep link."""
    app = AppTest.from_file(str(SHELL), default_timeout=20)
    app.query_params["at"] = at
    app.run()
    if name != "overview":
        app.switch_page(f"../../pages/{name}.py").run()
    return app


def cycle_times() -> list[datetime]:
    """Of the decisions on record, oldest first."""
    return [entry.at for entry in reversed(views.ledger().entries("cycle"))]


def address(app: AppTest) -> str:
    """The moment in the address."""
    found = app.query_params["at"]
    return found if isinstance(found, str) else found[0]


def link(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


@pytest.mark.parametrize("name", FOLLOW)
def test_page__past_moment__shows_the_decision_in_force_then(full: OpenPage, name: str) -> None:
    second = cycle_times()[1]
    app = look(link(second), name)
    assert not app.exception
    assert not app.error
    text = words(app)
    assert f"Looking back: {fmt.local(second, 'Europe/Amsterdam', with_year=True)}" in text
    assert "3 h before the newest decision" in text.replace(fmt.NBSP, " ")
    assert address(app) == link(second), "the address stays true when the page changes"


@pytest.mark.parametrize("name", ALWAYS_NOW)
def test_page__always_now__says_so_while_a_moment_is_looked_at(full: OpenPage, name: str) -> None:
    app = look(link(cycle_times()[0]), name)
    assert not app.exception
    assert "This page always shows now" in words(app)


def test_backtest__moment_before_the_first_decision__what_it_earned_is_told_all_the_same(full: OpenPage) -> None:
    assert "On record it earned" in words(look("2023-01-01T00:00Z", "backtest"))


def test_overview__past_moment__tiles_are_of_that_decision(full: OpenPage) -> None:
    at = cycle_times()[1]
    then = decision.load(views.ledger(), next(e.cycle_id for e in views.ledger().entries("cycle") if e.at == at))
    assert then is not None
    app = look(link(at + timedelta(minutes=59)))
    price = fmt.price(then.cycle["prices"]["energy_usd_per_mwh"], "USD/MWh").value
    assert app.metric[0].value.replace("\\", "").startswith(price)
    assert "Said of this decision" in words(app)


def test_bar__previous_next_and_back__step_through_the_decisions(full: OpenPage) -> None:
    stamps = cycle_times()
    app = look(link(stamps[1]))
    app.button(key="moment_next").click().run()
    assert address(app) == link(stamps[2])
    app.button(key="moment_previous").click().run()
    app.button(key="moment_previous").click().run()
    assert address(app) == link(stamps[0])
    assert app.button(key="moment_previous").disabled
    app.button(key="moment_now").click().run()
    assert address(app) == "now"
    assert "Looking back" not in words(app)


def test_bar__play__turns_to_pause(full: OpenPage) -> None:
    app = look(link(cycle_times()[0]))
    app.button(key="moment_play").click().run()
    assert not app.exception
    assert app.button(key="moment_play").label == "Pause"
    app.button(key="moment_play").click().run()
    assert app.button(key="moment_play").label == "Play"


@pytest.mark.parametrize(
    "at", ["yesterday", "2024-13-01T00:00Z", "9999-12-31T23:59:59.5Z", "0001-01-01T00:00Z", "x" * 3000, "2024-06-24"]
)
def test_look__malformed_or_impossible__one_line_and_now(full: OpenPage, at: str) -> None:
    app = look(at)
    assert not app.exception
    if at == "2024-06-24":  # midnight: a moment before the first decision
        assert "Nothing was decided yet at this moment" in words(app)
        return
    assert len(app.warning) == 1
    assert "The address asks for" in app.warning[0].value and "Looking back" not in words(app)
    assert address(app) == "now"
    assert len(app.metric) == 5


def test_look__future__one_line_and_now(full: OpenPage) -> None:
    app = look(link(cycle_times()[-1] + timedelta(days=3)))
    assert not app.exception
    assert "not over" in app.warning[0].value
    assert "Looking back" not in words(app)


def test_look__before_the_first_decision__range_and_the_way_back(full: OpenPage) -> None:
    stamps = cycle_times()
    app = look("2023-01-01T00:00Z", "plan")
    text = words(app)
    assert not app.exception
    for at in (stamps[0], stamps[-1]):
        assert fmt.local(at, "Europe/Amsterdam") in text
    app.button(key="moment_next").click().run()
    assert address(app) == link(stamps[0])


def test_look__empty_ledger__no_bar(empty: OpenPage) -> None:
    app = look("2024-06-24T18:00Z")
    assert not app.exception
    assert "nothing was decided yet" in app.warning[0].value.replace("\\", "")


def test_dispatch__past_moment__no_panel_commands(full: OpenPage) -> None:
    app = look(link(cycle_times()[1]), "dispatch")
    assert not app.exception
    assert NO_COMMANDS in words(app)
    keys = {button.key for button in app.button}
    assert not keys & {"override_select", "curtailment_give"}
    assert "strip_stop" in keys
    assert not app.text_input


def test_risk__past_moment__another_appetite_is_asked_of_that_decision(full: OpenPage) -> None:
    """As what-if on Plan: a question sends nothing, so that it may be asked of the past."""
    app = look(link(cycle_times()[1]), "risk")
    app.slider(key="risk_weight").set_value(80).run()
    assert not app.exception and not app.error
    assert any(metric.label == "Battery now" for metric in app.metric)
    assert NO_COMMANDS not in words(app)


def test_stop__past_moment__works_and_the_past_is_as_it_was(full: OpenPage) -> None:
    app = look(link(cycle_times()[1]))
    sentence = app.markdown[0].value
    app.button(key="strip_stop").click().run()
    assert views.stopped() is not None
    assert app.markdown[0].value == sentence
    assert "Nothing changes until the emergency stop is released" not in words(app)


def test_overview__past_moment_after_a_failsafe__says_what_the_figures_are_of(full: OpenPage) -> None:
    """As the page said then: the decision's load is not what runs any more."""
    at = cycle_times()[1] + timedelta(minutes=20)
    newest = views.ledger().latest("result")
    assert newest is not None
    desired = {**newest.body["desired"], "origin": "failsafe"}
    views.ledger().append("result", {**newest.body, "desired": desired}, at=at, cycle_id="failsafe")
    before, after = look(link(at - timedelta(minutes=10))), look(link(at + timedelta(minutes=10)))
    deltas = [" ".join(m.delta for m in app.metric).replace("\\", "") for app in (before, after)]
    assert "before the fail-safe" not in deltas[0]
    assert "before the fail-safe" in deltas[1]
    assert "fail-safe state" in words(after)


def test_operate__past_moment__refuses_all_but_the_stop(full: OpenPage) -> None:
    at, anna = cycle_times()[1], operate.local("anna")
    before = len(views.ledger().commands())
    views.look_by(lambda: views.Look("", at))
    try:
        for act in (
            lambda: operate.select("hold", {}),
            lambda: operate.approve(1, anna),
            lambda: operate.release(1, anna, reason="no"),
            lambda: operate.resume(anna, reason="no"),
            lambda: operate.release_stop("request", anna, reason="no"),
            lambda: operate.cancel_curtailment(anna, "x", reason="no"),
            lambda: operate.curtail(anna, target={"percent": 10.0}, in_minutes=0, minutes=10, ramp_s=0, reason="no"),
        ):
            with pytest.raises(InputError, match="go back to now"):
                act()
        assert len(views.ledger().commands()) == before
        operate.emergency_stop(anna)
        assert views.stopped() is not None
    finally:
        views.look_by(views.Look)


def test_explain__past_moment__answers_from_that_decision(full: OpenPage) -> None:
    at = cycle_times()[1]
    app = look(link(at), "explain")
    app.chat_input(key="question").set_value("What does power cost now?").run()
    assert not app.exception
    then = decision.load(views.ledger(), next(e.cycle_id for e in views.ledger().entries("cycle") if e.at == at))
    assert then is not None
    text = words(app)
    assert "What does power cost now?" in text
    app.button(key="moment_next").click().run()
    assert "What does power cost now?" not in words(app), "what was said of another moment is not shown"


@pytest.mark.parametrize(
    ("shown", "other"),
    [
        ("2024-10-27T00:30Z", "2024-10-27T01:30Z"),  # 02:30 in Amsterdam, first in summer time
        ("2024-10-27T01:30Z", "2024-10-27T00:30Z"),
        ("2024-10-27T02:30Z", None),
        ("2024-03-31T00:30Z", None),
        ("2024-03-31T01:30Z", None),
    ],
)
def test_moment__clock_shows_an_hour_twice__the_other_one_is_known(shown: str, other: str | None) -> None:
    found = other_pass(datetime.fromisoformat(shown), "Europe/Amsterdam")
    assert found == (None if other is None else datetime.fromisoformat(other))


def test_moment__clock_set_back_since_the_one_that_is_shown__its_field_is_drawn() -> None:
    def field() -> None:
        from datetime import UTC, datetime

        from gridpilot.console.moment_bar import _any_moment

        shown, now = datetime(2024, 10, 27, 0, 50, tzinfo=UTC), datetime(2024, 10, 27, 1, 10, tzinfo=UTC)
        _any_moment(shown, now, "Europe/Amsterdam")

    app = AppTest.from_function(field).run()
    assert not app.exception
    assert f"{app.datetime_input[0].value:%H:%M}" == "02:50"
