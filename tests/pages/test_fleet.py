"""Many sites on one console: what each page shows, and that commands go to the console's own site alone."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import operate, views
from gridpilot.cli import main
from gridpilot.console import globe
from gridpilot.dispatch import reconcile, stopfile
from gridpilot.dispatch.override import stopped
from gridpilot.errors import InputError, LedgerError
from gridpilot.fleet import Work
from gridpilot.halt import finish
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import sites as read
from tests.pages.conftest import SHELL, console, copied, url, words

pytestmark = pytest.mark.slow

ANNA = operate.local("anna")
OTHERS = ("Odessa", "Dallas", "Houston", "Amarillo", "Frankfurt", "Stockholm", "Kristiansand")
Open = Callable[..., AppTest]


@pytest.fixture
def ten(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Ten sites: Rotterdam, the console's own, seven others, one whose ledger is broken and one that never decided."""
    own = copied(recorded, tmp_path)
    rows = [f'[[sites]]\nname = "Rotterdam"\nledger = "{own.name}"\n']
    for name in OTHERS:
        folder = tmp_path / name
        folder.mkdir()
        copied(recorded, folder)
        rows.append(f'[[sites]]\nname = "{name}"\nledger = "{name}/{own.name}"\n')
    (tmp_path / "broken.db").write_text("this is no database, whatever its name says" * 100)
    shutil.copy(Path(globe.__file__).parents[1] / "data" / "fleet" / "los-angeles.toml", tmp_path)
    rows.append('[[sites]]\nname = "Broken <b>one</b>"\nledger = "broken.db"\n')
    source = "gridstatus:caiso/TH_SP15_GEN-APND"
    los_angeles = f'name = "Los Angeles"\nledger = "none.db"\nsite = "los-angeles.toml"\nsource = "{source}"'
    rows.append(f"[[sites]]\n{los_angeles}\n")
    (tmp_path / "fleet.toml").write_text("\n".join(rows))
    monkeypatch.setenv("GRIDPILOT_FLEET", str(tmp_path / "fleet.toml"))
    with console(own, monkeypatch):

        def open_page(page: str, site: str = "") -> AppTest:
            app = AppTest.from_file(str(SHELL), default_timeout=30)
            if site:
                app.query_params["site"] = site
            app.run()
            if page != "overview":
                app.switch_page(f"../../pages/{page}.py").run()
            return app

        yield open_page
        views.look_by(views.Look)


def ledger_of(name: str) -> str:
    folder = Path(os.environ["GRIDPILOT_FLEET"]).parent
    return url(folder / name / "ledger.db")


# --- what is shown ---------------------------------------------------------------------------


def test_globe__ten_sites__sentence_table_and_what_is_missing(ten: Open) -> None:
    app = ten("globe")
    assert not app.exception and not app.error
    table = app.dataframe[0].value
    assert table["site"].tolist() == ["Rotterdam", *OTHERS, "Broken <b>one</b>", "Los Angeles"]
    assert set(table["is"][:8]) == {"earning"} and table["is"][8:].tolist() == ["no data", "no data"]
    assert "its ledger cannot be read" in table["data"][8]
    assert table["data"][9] == "no decision yet"
    assert table["data"][0] == "Dutch prices, replayed"
    text = words(app).replace("\\", "")
    assert "Los Angeles: no decision yet: needs the network, GRIDPILOT_GRIDSTATUS_API_KEY and a pilot." in text
    assert "8 sites make" in text and "2 of 10 have no decision to show" in text
    assert "No inference would have been cheaper elsewhere" in text, "all have the same price"


def test_globe__one_site__says_what_a_fleet_is_and_offers_no_picker(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with console(copied(recorded, tmp_path), monkeypatch) as open_page:
        app = open_page("globe")
        assert "One site so far" in words(app)
        assert not app.selectbox
        assert app.button(key="strip_stop").label == "Emergency stop"


@pytest.mark.parametrize("page", ["overview", "prices", "plan", "dispatch", "health", "explain", "auction", "risk"])
def test_page__address_names_another_site__that_site_is_shown_and_only_shown(ten: Open, page: str) -> None:
    app = ten(page, "Odessa")
    assert not app.exception and not app.error
    assert app.selectbox(key="site_picker").value == "Odessa"
    assert app.query_params["site"] == "Odessa"
    assert "SHOWN ONLY" in words(app)
    assert app.button(key="strip_stop").label == "Emergency stop: Rotterdam"
    keys = {button.key for button in app.button}
    assert not keys & {"override_select", "curtailment_give", "shelve_give", "strip_step"}


def test_dispatch__another_site__says_where_it_is_commanded(ten: Open) -> None:
    app = ten("dispatch", "Odessa")
    assert "Commands for Odessa are given on its own console" in app.info[0].value
    assert ten("dispatch").button(key="override_select")


def test_picker__another_site_chosen__same_page_new_look(ten: Open) -> None:
    app = ten("plan")
    assert app.selectbox(key="site_picker").value == "Rotterdam"
    app.selectbox(key="site_picker").set_value("Dallas").run()
    assert not app.exception
    assert app.query_params["site"] == "Dallas"
    assert "What will we do" in words(app) or app.metric, "still the plan"
    assert "SHOWN ONLY" in words(app)


def test_address__unknown_site__one_line_and_the_own_site(ten: Open) -> None:
    app = ten("overview", "Atlantis")
    (line,) = app.warning
    assert "site=Atlantis" in line.value.replace("\\", "") and "Shown is Rotterdam" in line.value
    assert "site" not in app.query_params
    assert "SHOWN ONLY" not in words(app)


def test_page__site_whose_ledger_is_broken__the_reason_and_the_way_out(ten: Open) -> None:
    app = ten("overview", "Broken <b>one</b>")
    assert not app.exception
    assert "NO DATA" in words(app) and "broken.db" in words(app)
    assert app.selectbox(key="site_picker").value == "Broken <b>one</b>"
    assert app.button(key="strip_stop").label == "Emergency stop: Rotterdam"


@pytest.mark.parametrize("page", ["overview", "plan", "health"])
def test_page__site_without_a_ledger__what_helps_once_and_no_other_sites_advice(ten: Open, page: str) -> None:
    app = ten(page, "Los Angeles")
    assert not app.exception and not app.error
    text = words(app).replace("\\", "")
    assert text.count(">Los Angeles has no ledger yet<") == 1
    assert text.count(".venv/bin/python -m gridpilot up --fleet ") == 1 and "fleet.toml" in text
    assert "the network and GRIDPILOT_GRIDSTATUS_API_KEY" in text
    assert "run a cycle first" not in text and "GRIDPILOT_DB_URL" not in text
    assert app.button(key="strip_stop").label == "Emergency stop: Rotterdam"


def test_globe__looking_at_a_site_without_a_ledger__the_fleet_is_still_there(ten: Open) -> None:
    app = ten("globe", "Los Angeles")
    assert not app.exception and len(app.dataframe[0].value) == 10


def test_nothing_yet__its_pilot_is_not_run_here__says_what_to_set_first(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.toml").write_text('[[sites]]\nname = "Later"\nledger = "later.db"\nrun = false\n')
    monkeypatch.setenv("GRIDPILOT_FLEET", str(tmp_path / "fleet.toml"))
    with console(copied(recorded, tmp_path), monkeypatch):
        with views.looking(views.Look("Later")):
            assert views.nothing_yet().startswith(f"Set run = true for it in {tmp_path / 'fleet.toml'}, then ")
        assert views.nothing_yet() == "", "the console's own site"


def test_fleet_file__broken_after_the_start__said_and_the_own_site_goes_on(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.toml").write_text("[[sites")
    monkeypatch.setenv("GRIDPILOT_FLEET", str(tmp_path / "fleet.toml"))
    with console(copied(recorded, tmp_path), monkeypatch) as open_page:
        app = open_page("overview")
        assert not app.exception
        assert "not valid TOML" in app.warning[0].value
        assert app.metric and app.button(key="strip_stop")


def test_site__looked_at__its_own_figures(ten: Open) -> None:
    with Ledger.open(ledger_of("Odessa")) as ledger:
        ledger.put_state("site", {**ledger.get_state("site").value, "import_kw": 4321.0})
    with views.looking(views.Look("Odessa")):
        assert views.current_site().import_kw == 4321.0
        assert views.environment()["GRIDPILOT_DB_URL"] == ledger_of("Odessa")
    assert views.current_site().import_kw == 1000.0
    assert {s.name: s.import_kw for s in views.fleet().sites}["Odessa"] == 4321.0


def test_asking__in_a_thread_of_its_own__about_the_site_of_its_viewer(ten: Open) -> None:
    with Ledger.open(ledger_of("Odessa")) as ledger:
        ledger.put_state("site", {**ledger.get_state("site").value, "name": "Odessa"})
    with views.looking(views.Look("Odessa")):
        asking = views.Asking("What is the site doing?")
    asking.wait(20.0)
    assert asking.found is not None and not asking.failure


# --- what is commanded -----------------------------------------------------------------------


def test_commands__another_site_on_the_screen__all_refused_and_nothing_written(ten: Open) -> None:
    def rows() -> list[int]:
        found = []
        for path in (ledger_of("Odessa"), views.settings().database_url()):
            with Ledger.open(path, read_only=True) as ledger:
                found.append(len(ledger.commands()))
        return found

    before = rows()
    acts: list[Callable[[], object]] = [
        lambda: operate.select("machines", {"gpu": 3}),
        lambda: operate.curtail(ANNA, target={"percent": 10.0}, in_minutes=0, minutes=10, ramp_s=0, reason="x"),
        lambda: operate.cancel_curtailment(ANNA, "x", reason="x"),
        lambda: operate.release(1, ANNA, reason="x"),
        lambda: operate.approve(1, ANNA),
        lambda: operate.resume(ANNA, reason="x"),
        lambda: operate.release_stop("request", ANNA, reason="x"),
        lambda: operate.acknowledge(ANNA, 1),
        lambda: operate.shelve(ANNA, 1, minutes=5, reason="x"),
        lambda: operate.unshelve(ANNA, 1),
        lambda: operate.set_replay_speed(1.0, ANNA),
        lambda: operate.step_replay(ANNA),
    ]
    with views.looking(views.Look("Odessa")):
        for act in acts:
            with pytest.raises(InputError, match="commands for Odessa are given on its own console"):
                act()
    assert rows() == before


def test_commands__selected_at_home_given_elsewhere__refused(ten: Open) -> None:
    selected = operate.select("machines", {"gpu": 3})
    with views.looking(views.Look("Odessa")), pytest.raises(InputError, match="its own console"):
        operate.operate(selected, ANNA, {"gpu": 3}, reason="fan test", minutes=30)


def test_emergency_stop__another_site_on_the_screen__stops_the_own_site_alone(ten: Open) -> None:
    with views.looking(views.Look("Odessa")):
        operate.emergency_stop(ANNA)
        assert views.stopped() is None, "Odessa runs on"
    assert finish(20.0)
    assert stopped(views.own_ledger()) is not None
    with Ledger.open(ledger_of("Odessa"), read_only=True) as other:
        assert stopped(other) is None


def test_ledger__of_another_site__cannot_be_written(ten: Open) -> None:
    with views.looking(views.Look("Odessa")):
        assert views.ledger().read_only
        with pytest.raises(LedgerError):
            views.ledger().put_state("x", 1)
    assert views.ledger() is views.own_ledger()


# --- what work would have been cheaper elsewhere ---------------------------------------------


def test_standing__newest_decision__work_is_what_runs_and_what_stands_still(ten: Open) -> None:
    snap = views.snapshot()
    assert snap is not None
    (work,) = read.work("Rotterdam", snap)
    gpu = snap.site.machine("gpu")
    on, each = snap.dispatch["machines"]["gpu"], gpu.rate * 3600.0 / 1e6
    assert work.running == pytest.approx(on * each)
    assert work.running + work.spare == pytest.approx(gpu.count * each)
    assert work.running * work.kwh_per_unit == pytest.approx(on * gpu.power_kw * (1.0 + 1.0 / 3.5))
    assert work.usd_per_kwh == snap.plan["power_price_usd_per_kwh"][0]
    assert work.room_kw == pytest.approx(max(0.0, 1000.0 - snap.dispatch["grid_kw"]))


def test_standing__on_hold_or_stopped__says_so_at_once(ten: Open) -> None:
    """As the status strip does: not only when the pilot has taken it over."""
    ledger, wall = views.own_ledger(), datetime.now(UTC)
    for key, body, word in (
        (reconcile.HOLD_KEY, {"reason": "changed from outside"}, "HOLD"),
        (reconcile.ESTOP_KEY, {"latched": True}, "ESTOP"),
    ):
        ledger.put_state(key, body)
        found = read.standing("Rotterdam", ledger, wall)
        assert found is not None
        assert found.control == word == views.status().control
        assert math.isnan(found.margin_usd_per_h) and math.isnan(found.load_kw) and not found.work


def test_globe__stop_in_the_ledger_or_its_file_alone__no_margin_and_says_so(
    ten: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(ledger_of("Odessa")) as ledger:
        ledger.put_state(reconcile.ESTOP_KEY, {"latched": True})
    stopfile.press(ledger_of("Dallas"), author="anna", reason="smoke", at=datetime.now(UTC))
    folder = Path(os.environ["GRIDPILOT_FLEET"]).parent
    stopfile.press(url(folder / "broken.db"), author="anna", reason="smoke", at=datetime.now(UTC))
    app = ten("globe")
    table = app.dataframe[0].value.set_index("site")
    assert table.loc[["Odessa", "Dallas"], "is"].tolist() == ["stopped", "stopped"]
    assert table.loc[["Odessa", "Dallas"], ["USD/h", "load, %"]].isna().all(axis=None)
    assert table.loc["Broken <b>one</b>", "data"].startswith("its emergency stop is pressed; its ledger cannot")
    assert "6 sites make" in words(app) and "No plan is carried out at Odessa (stopped), Dallas (stopped)" in words(
        app
    ).replace("\\", "")
    assert main(["fleet", os.environ["GRIDPILOT_FLEET"]]) == 0
    assert capsys.readouterr().out.count("ESTOP") == 2


def test_together__another_moment__is_not_compared(ten: Open) -> None:
    wall = datetime.now(UTC)
    one = read.standing("Rotterdam", views.own_ledger(), wall)
    assert one is not None
    later = replace(one, at=one.at + timedelta(hours=3))
    assert read.together([one, later, one]) == [one, one]
    assert read.together([]) == []
    assert all(isinstance(row, Work) for row in one.work)


def test_cli__fleet__a_row_a_site_and_why_one_has_none(ten: Open, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", os.environ["GRIDPILOT_FLEET"]]) == 0
    text = capsys.readouterr().out
    assert text.count("24 Jun") == 0 and text.count("USD/MWh") == 8
    assert "no decision yet: needs the network" in text and "its ledger cannot be read" in text
    assert main(["fleet", "nothing.toml"]) == 2
    assert "fleet file nothing.toml does not exist" in capsys.readouterr().err
    assert main(["fleet", os.environ["GRIDPILOT_FLEET"], "--hours", "0"]) == 2


def test_cli__fleet_json__figures_are_those_of_the_ledger(ten: Open, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["fleet", os.environ["GRIDPILOT_FLEET"], "--json", "--hours", "2"]) == 0
    body = json.loads(capsys.readouterr().out)
    snap = views.snapshot()
    assert snap is not None
    odessa = body["sites"][1]
    assert odessa["margin_per_h"] == pytest.approx(snap.cycle["rate"]["profit_usd_per_h"])
    assert odessa["price_unit"] == "USD/MWh" and odessa["money"] == "USD" and odessa["alarms"] >= 0
    assert body["hours"] == 2.0 and odessa["pnl"] is not None
    assert body["sites"][9]["at"] is None and body["sites"][9]["price"] is None


CALLED: list[str] = []


def _leaves() -> None:
    """A page with the head's widgets that leaves for another site after they were drawn."""
    import streamlit as st

    from gridpilot import views
    from gridpilot.console import looking
    from tests.pages.test_fleet import CALLED

    for key in ("strip_speed", "moment_slider"):
        st.segmented_control(key, (0, 1), default=1, key=key, on_change=lambda key=key: CALLED.append(key))
    st.number_input("Battery, kW", value=7.0, key="battery_kw")
    if "away" in st.query_params:
        looking.go(views.Look("Odessa"))


def test_go__another_site__nothing_that_is_typed_follows_and_no_press_is_made_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    CALLED.clear()
    app = AppTest.from_function(_leaves).run()
    app.number_input(key="battery_kw").set_value(99.0).run()
    app.query_params["away"] = "1"
    shown = app._tree.get_widget_states()
    app.run()
    assert "battery_kw" not in app.session_state
    monkeypatch.setattr(app._tree, "get_widget_states", lambda: shown)  # the browser's next word, a moment later
    app.run()
    assert not app.exception
    assert CALLED == []
