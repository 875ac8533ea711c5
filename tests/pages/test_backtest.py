"""Backtest: a real process over the recorded prices, and what the page says of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gridpilot import views
from gridpilot.console import backtest_job, backtest_parts, server
from gridpilot.console.backtest_job import Asked, Jobs
from gridpilot.monitor.revenue import Day
from gridpilot.values import midnight
from tests.pages.conftest import OpenPage, next_hour, words

WAIT_S = 60.0


def test_backtest__empty_ledger__says_what_comes(empty: OpenPage) -> None:
    app = empty("backtest")
    assert not app.exception
    assert "No prices yet" in words(app)


def test_backtest__stale_ledger__can_still_be_asked(stale: OpenPage) -> None:
    app = stale("backtest")
    assert not app.exception
    assert "Not run yet" in words(app)


def test_backtest__nothing_run__what_came_stands_there_as_the_ledger_settled_it(full: OpenPage) -> None:
    app = full("backtest")
    assert not app.exception
    bodies = [entry.body for entry in views.ledger().entries("settlement", newest_first=False)]
    gains = [body["profit_usd"] - body["always_on_usd"] for body in bodies]
    assert max(gains) < 0.0  # it charges in these hours
    assert "No hour of the last week brought more than every machine always on" in words(app)

    snap = views.newest()
    assert snap is not None
    found = views.on_record(snap)
    assert found is not None
    swapped = replace(
        found[0],
        cumulative_usd=found[0].cumulative_always_on_usd,
        cumulative_always_on_usd=found[0].cumulative_usd,
    )
    best = max(range(len(gains)), key=lambda i: -gains[i])
    when = datetime.fromisoformat(bodies[best]["start"]).astimezone(ZoneInfo("Europe/Amsterdam"))
    said = f"{when:%a %d %b %H:%M} was the best hour of the last week: {-gains[best]:.2f}\N{NO-BREAK SPACE}USD more"
    assert backtest_parts.record_title(swapped, snap).startswith(f"{said} than with")


def test_backtest__record__adds_up_and_stays_level_where_nothing_was_settled(full: OpenPage) -> None:
    full("backtest")
    snap = views.newest()
    assert snap is not None
    found = views.on_record(snap)
    assert found is not None
    pnl, prices = found
    apart = replace(pnl, starts=pnl.starts + np.timedelta64(600, "s"))  # each span began ten minutes later
    figure = backtest_parts.record_figure(apart, prices, snap)
    (line,) = (trace for trace in figure["data"] if trace.get("name") == "Above always on")
    above = pnl.cumulative_usd - pnl.cumulative_always_on_usd
    assert line["y"] == pytest.approx([0.0, *np.repeat(above, 2)[:-1]])
    assert len(line["x"]) == len(set(line["x"])) == 2 * len(above)


@pytest.mark.slow
def test_backtest__full_ledger__runs_in_a_process_of_its_own_and_shows_the_money(full: OpenPage) -> None:
    app = full("backtest")
    app.get("button_group")[-1].set_value(30).run()
    app.selectbox(key="backtest_forecaster").set_value("seasonal naive").run()
    app.button(key="backtest_run").click().run()
    assert not app.exception
    (job,) = backtest_job.jobs()._jobs.values()
    end = time.monotonic() + WAIT_S
    while job.running and time.monotonic() < end:
        time.sleep(0.1)
    assert job.trouble == ""
    assert job.result is not None
    app.run()
    assert not app.exception
    said = words(app)
    assert "In 30 days the engine added" in said
    table = app.dataframe[0].value
    assert len(table) == 30
    assert table["engine, USD"].sum() + job.result["stored_usd"] == pytest.approx(job.result["revenue_usd"])
    backtest_job.jobs.clear()


def test_backtest__stop__ends_the_process_and_asks_anew(full: OpenPage) -> None:
    app = full("backtest")
    app.selectbox(key="backtest_forecaster").set_value("ensemble").run()
    app.button(key="backtest_run").click().run()
    (job,) = backtest_job.jobs()._jobs.values()
    assert job.running
    next_hour()  # a decision comes, and it is still this backtest
    app.run()
    assert "Not run yet" not in words(app)
    app.button(key="backtest_stop").click().run()
    assert not app.exception
    assert not job.running
    assert "Not run yet" in words(app)
    backtest_job.jobs.clear()


@pytest.mark.slow
def test_jobs__a_new_one_ends_the_one_that_runs(full: OpenPage) -> None:
    full("backtest")
    jobs = Jobs()
    long, short = Asked(365, "ensemble", "blind", "2024-01-01"), Asked(30, "oracle", "blind", "2024-01-01")
    first = jobs.start(long)
    assert first.running
    assert jobs.start(long) is first  # a second press of the same
    second = jobs.start(short)
    assert not first.running
    assert jobs.find(long) is first
    assert "another backtest was asked for (30 days, oracle, Forecasts only)" in first.trouble
    end = time.monotonic() + WAIT_S
    while second.running and time.monotonic() < end:
        time.sleep(0.1)
    assert second.trouble.startswith("no model 'oracle'")


CONSOLE = """
import time
from gridpilot.console.backtest_job import Asked, Job

job = Job(Asked(365, "ensemble", "blind", "2024-01-01"))
while not job.progress()[0] > 0.0:
    assert job.running, job.trouble
    time.sleep(0.02)
print(job._process.pid, *job.progress(), flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_job__console_is_killed__ends_too_and_leaves_no_file(full: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    env = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(server.ROOT)}
    command = [sys.executable, "-c", CONSOLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as console:
        assert console.stdout is not None
        pid, share, *doing = console.stdout.readline().split()
        console.kill()
    assert 0.0 < float(share) <= 1.0 and doing
    end = time.monotonic() + WAIT_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert list(folder.iterdir()) == []


def test_backtest__another_one_is_asked_for__the_page_of_the_one_that_ended_says_so(full: OpenPage) -> None:
    app = full("backtest")
    app.selectbox(key="backtest_forecaster").set_value("ensemble").run()
    app.button(key="backtest_run").click().run()
    (job,) = backtest_job.jobs()._jobs.values()
    assert job.running
    backtest_job.jobs().start(replace(job.asked, days=30))  # as from another session
    app.run()
    assert not app.exception
    assert "another backtest was asked for (30 days, Ensemble" in app.error[0].value.replace("\\", "")
    assert "Not run yet" not in words(app)
    assert app.button(key="backtest_run").label == "Run again"
    for asked in list(backtest_job.jobs()._jobs):
        backtest_job.jobs().stop(asked)
    backtest_job.jobs.clear()


def test_backtest__a_day_ends_while_it_runs__still_there_and_can_be_stopped(full: OpenPage) -> None:
    app = full("backtest")
    app.selectbox(key="backtest_forecaster").set_value("ensemble").run()
    app.button(key="backtest_run").click().run()
    (job,) = backtest_job.jobs()._jobs.values()
    before = views.newest()
    for _ in range(8):  # past the next midnight
        next_hour()
    after = views.newest()
    assert before is not None and after is not None
    assert midnight(after.at, after.site.timezone) > midnight(before.at, before.site.timezone)
    app.run()
    assert job.running
    assert "Not run yet" not in words(app)
    app.button(key="backtest_stop").click().run()
    assert not job.running
    assert "Not run yet" in words(app)
    backtest_job.jobs.clear()


def test_backtest__a_result_of_the_day_before__shown_and_said_to_be_older(full: OpenPage) -> None:
    app = full("backtest")
    app.get("button_group")[-1].set_value(30).run()
    app.selectbox(key="backtest_forecaster").set_value("seasonal naive").run()
    asked = Asked(30, "seasonal naive", "blind", "2024-06-23")
    job = backtest_job.jobs().start(asked)
    end = time.monotonic() + WAIT_S
    while job.running and time.monotonic() < end:
        time.sleep(0.1)
    app.run()
    assert not app.exception
    assert "In 30 days the engine added" in words(app)
    assert backtest_parts.OLDER in words(app)
    app.button(key="backtest_run").click().run()
    assert backtest_job.jobs().find(asked) is not job
    for one in list(backtest_job.jobs()._jobs):
        backtest_job.jobs().stop(one)
    backtest_job.jobs.clear()


def test_titles__say_what_was_added_and_when_nothing_could_be() -> None:
    body = {"resting_usd": 100.0, "revenue_usd": 130.0, "perfect_foresight_usd": 160.0, "n_days": 7}
    body["percent_of_added"] = 50.0
    said = backtest_parts.money_title(body, "USD").replace("\u00a0", " ")
    assert said == "In 7 days the engine added 30.00 of the 60.00 USD that perfect foresight would have added: 50 %"
    assert "nothing" in backtest_parts.money_title({**body, "percent_of_added": None}, "USD")


def test_live_words__days_on_record__earned_against_always_on_and_perfect_foresight() -> None:
    start = datetime(2024, 6, 24, tzinfo=UTC)
    closed = Day("2024-06-24", start, start, 24.0, 2000.0, 1500.0, perfect_usd=2100.0, stored_usd=-5.0)
    running = Day("2024-06-25", start, start, 6.0, 500.0, 600.0)
    said = backtest_parts.live_words([running, closed], "USD").replace("\u00a0", " ")
    assert said == (
        "On record it earned 2,500 USD in 30 settled hours, 400.00 USD more than with every machine always on; "
        "over 1 closed day 95 % of perfect foresight"
    )
    assert "100.00 USD less" in backtest_parts.live_words([running], "USD").replace("\u00a0", " ")
    assert backtest_parts.live_words([], "USD") == ""
    first = Day("2024-06-25", start, start, 1.0, 500.0, 400.0)
    assert "in 1 settled hour, " in backtest_parts.live_words([first], "USD").replace("\u00a0", " ")


@pytest.mark.parametrize("forecaster", list(backtest_parts.FORECASTERS))
def test_what_comes__each_forecaster__says_what_and_how_long(forecaster: str) -> None:
    said = backtest_parts.what_comes(30, forecaster)
    assert "newest 30 whole days" in said and "can be stopped" in said and backtest_parts.TAKES[forecaster] in said


def test_backtest__left_and_come_back__what_was_chosen_is_still_chosen(full: OpenPage) -> None:
    app = full("backtest")
    app.get("button_group")[-1].set_value(30).run()
    app.selectbox(key="backtest_forecaster").set_value("seasonal naive").run()
    app.switch_page("../../pages/health.py").run()
    app.switch_page("../../pages/backtest.py").run()
    assert not app.exception
    assert "the newest 30 whole days" in words(app)
    assert app.selectbox(key="backtest_forecaster").value == "seasonal naive"
