"""A fleet in a real browser: the globe, going into a site, deep links, and the stop while another site is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from gridpilot.config import DATA, Settings
from gridpilot.cycle import open_engine, run_cycle
from gridpilot.dispatch.override import stopped
from gridpilot.ledger.store import Ledger
from gridpilot.market.replay import ReplaySource
from gridpilot.monitor.health import AUTO, PilotState
from tests.browser.harness.server import Server, serve
from tests.browser.harness.watch import WAIT_MS, Watched

pytestmark = pytest.mark.browser

GLOBE = ".gp-globe canvas"
SITES = {"Rotterdam": "replay", "Odessa": "replay:ERCOT/HB_WEST"}
NIGHT = datetime(2022, 12, 24, 0, tzinfo=UTC)  # dear in Texas, cheap in Rotterdam, where machines stand still


def _decide(folder: Path, name: str, source: str) -> None:
    """One decision at the chosen hour, and the clock standing there."""
    address = SecretStr(f"sqlite:///{folder / name}.db")
    site = DATA / "fleet" / f"{name.lower()}.toml"
    settings = Settings(source=source, site=site, db_url=address, replay_start=NIGHT, replay_speed=0.0, refit=False)
    wall = datetime.now(UTC)
    with Ledger.open(settings.database_url()) as ledger:
        engine = open_engine(settings, ledger)
        assert isinstance(engine.source, ReplaySource)
        run_cycle(engine, wall)
        engine.control.follow(engine.source.present(wall) + timedelta(seconds=15), token=None)
        PilotState(AUTO, "", clock=engine.source.clock).save(ledger)
        ledger.acquire_lease("pilot", "test:1", 3600.0, wall)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The console of Rotterdam, with Odessa in its fleet and a site that never decided."""
    folder = tmp_path_factory.mktemp("fleet")
    rows = []
    for name, source in SITES.items():
        _decide(folder, name, source)
        rows.append(f'[[sites]]\nname = "{name}"\nledger = "{name}.db"\nsource = "{source}"\n')
    rows.append(
        f'[[sites]]\nname = "Frankfurt"\nledger = "none.db"\nsite = "{DATA}/fleet/frankfurt.toml"\n'
        'source = "energy-charts:DE-LU"\n'
    )
    (folder / "fleet.toml").write_text("\n".join(rows))
    env = {
        "GRIDPILOT_NO_PILOT": "1",
        "GRIDPILOT_FLEET": str(folder / "fleet.toml"),
        "GRIDPILOT_DB_URL": f"sqlite:///{folder / 'Rotterdam.db'}",
        "GRIDPILOT_SITE": str(DATA / "fleet" / "rotterdam.toml"),
    }
    with serve(folder, env=env) as server:
        yield server


def _globe(watched: Watched, server: Server) -> Page:
    page = watched.open(f"{server.url}/globe", GLOBE)
    watched.until("document.querySelector('.gp-globe').gridpilot?.deck?.layerManager?.getLayers().length > 4")
    page.wait_for_timeout(1500)  # the first frame, on a machine without a graphics card
    return page


def _place(page: Page, name: str) -> tuple[float, float]:
    """Where a site's column stands on the screen: found as deck.gl finds what is under the pointer."""
    box = page.locator(GLOBE).bounding_box()
    assert box is not None
    found = page.evaluate(
        """(name) => {
          const deck = document.querySelector('.gp-globe').gridpilot.deck;
          const hits = [];
          for (let y = 0; y < deck.height; y += 4) {
            const row = deck.pickObjects({ x: 0, y, width: deck.width, height: 4, layerIds: ['sites'] });
            if (!row.some((hit) => hit.object.name === name)) continue;
            for (let x = 2; x < deck.width; x += 4) {
              const one = deck.pickObject({ x, y: y + 2, radius: 0, layerIds: ['sites'] });
              if (one && one.object.name === name) hits.push([x, y + 2]);
            }
          }
          return hits.length ? hits[Math.floor(hits.length / 2)] : null;
        }""",
        name,
    )
    assert found is not None, f"{name} is not on the globe"
    return box["x"] + found[0], box["y"] + found[1]


def test_globe__column_pressed__lands_in_that_site(fleet: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = _globe(watched, fleet)
    x, y = _place(page, "Odessa")
    page.mouse.move(x, y)
    page.locator(".deck-tooltip", has_text="ERCOT HB_WEST prices, replayed").wait_for(timeout=WAIT_MS)
    page.mouse.down()
    page.wait_for_timeout(400)  # as long as a frame takes on a slow machine
    page.mouse.up()
    page.wait_for_url("**/?site=Odessa", timeout=WAIT_MS)
    expect(page.locator(".gp-strip")).to_contain_text("SHOWN ONLY", timeout=WAIT_MS)
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=WAIT_MS)
    watched.clean()


def test_globe__row_chosen__lands_in_that_site_and_back(fleet: Server, new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    page = _globe(watched, fleet)
    table = page.locator("[data-testid='stDataFrame']").first
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 34 + 33 + 16)  # the box before the second row
    page.wait_for_url("**/?site=Odessa", timeout=WAIT_MS)
    page.get_by_role("link", name="Globe").first.click()
    page.locator(GLOBE).wait_for(timeout=WAIT_MS)
    page.wait_for_timeout(1000)
    assert page.url.endswith("/globe?site=Odessa"), "it goes nowhere by itself"
    watched.clean()


def test_globe__two_markets_at_one_moment__the_move_is_said_and_drawn(
    fleet: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page = _globe(watched, fleet)
    expect(page.get_by_text("Inference from Odessa to Rotterdam: would have saved")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("A suggestion, nothing is sent")).to_be_visible(timeout=WAIT_MS)
    arcs = "document.querySelector('.gp-globe').gridpilot.deck.layerManager.getLayers({layerIds: ['moves']})[0]"
    assert page.evaluate(f"{arcs}.props.data.length") == 1
    expect(page.get_by_text("Frankfurt: no decision yet: needs the network and a pilot")).to_be_visible()
    watched.clean()


@pytest.mark.parametrize("name", ["prices", "plan", "dispatch", "health"])
def test_deep_link__site_in_the_address__any_page_of_that_site(
    fleet: Server, new_page: Callable[..., Watched], name: str
) -> None:
    watched = new_page()
    page = watched.open(f"{fleet.url}/{name}?site=Odessa", ".gp-strip")
    expect(page.locator(".gp-strip")).to_contain_text("SHOWN ONLY", timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Emergency stop: Rotterdam")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("link", name="Overview").first.click()
    expect(page.locator(".gp-strip")).to_contain_text("SHOWN ONLY", timeout=WAIT_MS)
    page.wait_for_url("**site=Odessa", timeout=WAIT_MS)
    watched.clean()


def test_globe__pointer_away__turns_and_rests_under_the_pointer(
    fleet: Server, new_page: Callable[..., Watched]
) -> None:
    watched = new_page(width=420, height=600, motion=True)
    page = watched.open(f"{fleet.url}/globe", ".gp-strip")
    globe = "document.querySelector('.gp-globe')"
    watched.until(f"{globe}?.gridpilot?.turned > 0")
    page.evaluate(f"{globe}.dispatchEvent(new PointerEvent('pointerenter'))")
    page.wait_for_timeout(300)
    before = page.evaluate(f"{globe}.gridpilot.turned")
    page.wait_for_timeout(700)
    assert page.evaluate(f"{globe}.gridpilot.turned") == before


@pytest.mark.parametrize("width", [420, 700, 1024, 1440])
def test_head__any_width__picker_time_and_stop_in_reach(
    fleet: Server, new_page: Callable[..., Watched], width: int
) -> None:
    watched = new_page(width=width)
    watched.open(f"{fleet.url}/health", ".gp-strip")
    for key in ("site_picker", "moment_choose", "strip_stop"):
        # Its key stands on a place holder until the browser has fetched the widget's code.
        widget = f".st-key-{key} :is([data-testid=stSelectbox], [data-testid=stButton], [data-testid=stPopover])"
        box = f"document.querySelector('{widget}')?.getBoundingClientRect()"
        watched.until(f"(box => box?.width > 60 && box.left >= 0 && box.right <= {width})({box})")


def test_globe__less_motion_wanted__stands_still(fleet: Server, new_page: Callable[..., Watched]) -> None:
    page = _globe(new_page(), fleet)
    assert page.evaluate("document.querySelector('.gp-globe').gridpilot.turned") == 0


def test_emergency_stop__another_site_on_the_screen__the_named_one_stops(
    tmp_path: Path, new_page: Callable[..., Watched]
) -> None:
    for name, source in SITES.items():
        _decide(tmp_path, name, source)
    rows = [f'[[sites]]\nname = "{name}"\nledger = "{name}.db"\n' for name in SITES]
    (tmp_path / "fleet.toml").write_text("\n".join(rows))
    env = {
        "GRIDPILOT_NO_PILOT": "1",
        "GRIDPILOT_FLEET": str(tmp_path / "fleet.toml"),
        "GRIDPILOT_DB_URL": f"sqlite:///{tmp_path / 'Rotterdam.db'}",
    }
    with serve(tmp_path, env=env) as server:
        watched = new_page()
        page = watched.open(f"{server.url}/plan?site=Odessa", ".gp-strip")
        page.get_by_role("button", name="Emergency stop: Rotterdam").click()
        expect(page.get_by_role("button", name="Stopped: Rotterdam")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".gp-strip")).not_to_contain_text("E-STOP")
    for name, latched in (("Rotterdam", True), ("Odessa", False)):
        with Ledger.open(f"sqlite:///{tmp_path / name}.db", read_only=True) as ledger:
            assert (stopped(ledger) is not None) is latched
