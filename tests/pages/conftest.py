"""Ledgers that a page may meet (empty, full, stale), and the whole console opened on one of them.

`empty`, `full` and `stale` each give `open_page(name)`: an AppTest that ran the shell and then that page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gridpilot import views
from gridpilot.config import Settings
from gridpilot.console import server
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.domain import DataFlag
from gridpilot.forecast.ensemble import Prepared, prepare
from gridpilot.forecast.features import Series
from gridpilot.forecast.fitted import Fitted
from gridpilot.forecast.refit import fit_prices
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplayClock, ReplaySource
from gridpilot.monitor.health import AUTO, PilotState

ROOT = Path(__file__).resolve().parents[2]
SHELL = server.SHELL
server.hold_path()  # as app.py does
server.see_through()
CYCLES = 5
LEASE_S = 3600.0

OpenPage = Callable[[str], AppTest]


def url(path: Path) -> str:
    """The SQLAlchemy URL of a ledger file."""
    return f"sqlite:///{path}"


class Fits:
    """Fits made beforehand, in place of the background worker."""

    def __init__(self, fits: dict[str, Fitted]) -> None:
        self.fits = fits

    def current(self, prepared: Prepared) -> dict[str, Fitted]:
        return {price: fit for price, fit in self.fits.items() if fit.lag(prepared.series[price]) is not None}

    def waiting(self, series: Series) -> tuple[DataFlag, ...]:
        return ()


@pytest.fixture
def fitted(full: OpenPage, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """The full ledger with one more cycle, by a fitted ensemble of few training steps."""
    monkeypatch.setattr("gridpilot.forecast.gp.STEPS", 2)
    monkeypatch.setattr("gridpilot.forecast.net.EPOCHS", 2)
    monkeypatch.setattr("gridpilot.forecast.refit.CALIBRATION_ROWS", 60)
    next_hour(refit=True)
    return full


def next_hour(*, refit: bool = False) -> None:
    """Another decision, an hour after the newest, while a page is open."""
    wall = datetime.now(UTC)
    with Ledger.open(os.environ["GRIDPILOT_DB_URL"]) as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        clock = PilotState.load(ledger).clock
        assert clock is not None
        source.clock = clock.stepped(wall).with_speed(wall, 0.0)
        if refit:
            history = source.fetch(source.present(wall)).tail(200 * 24)
            engine.refitter = Fits(fit_prices(prepare(history, engine.site.timezone, country=engine.site.country)))
        run_cycle(engine, wall)
        PilotState(AUTO, "", clock=source.clock).save(ledger)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with some real cycles of the built-in replay, an hour apart; its clock stands at the last."""
    path = tmp_path_factory.mktemp("recorded") / "ledger.db"
    wall = datetime.now(UTC)
    with Ledger.open(url(path)) as ledger:
        engine = open_engine(Settings(source="replay"), ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        for _ in range(CYCLES):
            source.clock = source.clock.stepped(wall).with_speed(wall, 0.0)
            run_cycle(engine, wall)
        engine.control.follow(source.present(wall) + timedelta(seconds=15), token=None)  # the machines obey by then
        PilotState(AUTO, "", clock=source.clock).save(ledger)
        ledger.acquire_lease("pilot", "test:1", LEASE_S, wall)
    return path


def copied(recorded: Path, folder: Path) -> Path:
    """A copy of the recorded ledger that a test may change; with the head file beside it."""
    for file in recorded.parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder / recorded.name


@contextmanager
def console(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """The console on a ledger."""
    monkeypatch.setenv("GRIDPILOT_DB_URL", url(path))
    views.reset()

    def open_page(name: str) -> AppTest:
        app = AppTest.from_file(str(SHELL), default_timeout=20)
        app.run()
        if name != "overview":
            app.switch_page(f"../../pages/{name}.py").run()
        return app

    yield open_page
    views.ledger().close()
    views.reset()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """A ledger without any decision."""
    with console(tmp_path / "empty.db", monkeypatch) as open_page:
        yield open_page


@pytest.fixture
def full(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """A ledger with real decisions, the newest of this interval."""
    with console(copied(recorded, tmp_path), monkeypatch) as open_page:
        yield open_page


@pytest.fixture
def stale(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """The same, three hours later and without a new price: more than two steps old."""
    path = copied(recorded, tmp_path)
    with Ledger.open(url(path)) as ledger:
        state = PilotState.load(ledger)
        assert state.clock is not None
        later = ReplayClock(state.clock.wall, state.clock.replay + timedelta(hours=3), 0.0)
        replace(state, clock=later).save(ledger)
    with console(path, monkeypatch) as open_page:
        yield open_page


def words(app: AppTest) -> str:
    """All text on the page, for a search."""
    kinds = (app.markdown, app.caption, app.title, app.error, app.text)
    shown = [str(element.value) for kind in kinds for element in kind]
    shown += [f"{metric.label} {metric.value} {metric.delta}" for metric in app.metric]
    return "\n".join([*shown, *(str(html.proto.body) for html in app.get("html"))])


def approve_above(kw: float) -> None:
    """Commands that move the connection by more need a second person, from now on."""
    ledger = views.ledger()
    site = ledger.get_state("site").value
    ledger.put_state("site", {**site, "operators": {"approve_above_kw": kw}})
