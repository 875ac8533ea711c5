"""Take the README's pictures, or every page in both themes and two widths, from a running console.

    python scripts/screenshots.py                     the README's pictures, into docs/images/
    python scripts/screenshots.py --all DIR           every page, light and dark, 1440 and 420 px wide
    python scripts/screenshots.py --fleet --pages globe   the same of the ten example sites (README's globe)

It runs a day and a half of replayed cycles into a ledger of its own, starts the console on it with the
clock stopped, and ends it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright
from pydantic import SecretStr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import Settings  # noqa: E402
from gridpilot.cycle import open_engine, run_cycle  # noqa: E402
from gridpilot.fleetfile import load_fleet  # noqa: E402
from gridpilot.ledger.store import Ledger  # noqa: E402
from gridpilot.market.replay import ReplaySource  # noqa: E402
from gridpilot.monitor.health import AUTO, PilotState  # noqa: E402
from gridpilot.pilot import REPLAY_START  # noqa: E402
from gridpilot.values import iso  # noqa: E402
from tests.browser.harness.server import serve  # noqa: E402
from tests.browser.harness.watch import ARGUMENTS, CHROMIUM  # noqa: E402

PAGES = ["overview", *sorted(path.stem for path in ROOT.glob("pages/*.py") if path.stem != "overview")]
README = ("overview", "plan", "dispatch", "globe")
TEN = ROOT / "gridpilot" / "data" / "fleet" / "ten.toml"
FLEET_HOURS = 5  # of the fleet: to the first evening of the storm
HOURS = 31  # from the start of the replay to the evening of the next day
SETTLE_MS = 3500  # charts and tables draw after the text


def fill(settings: Settings, hours: int) -> None:
    """Cycles of so many replayed hours, and the clock left standing at the last one."""
    with Ledger.open(settings.database_url()) as ledger:
        engine = open_engine(settings, ledger)
        source = engine.source
        assert isinstance(source, ReplaySource)
        ledger.put_state(REPLAY_START, iso(source.clock.replay))
        wall = datetime.now(UTC)
        for n in range(hours):
            source.clock = (source.clock.stepped(wall) if n else source.clock).with_speed(wall, 0.0)
            run_cycle(engine, wall)
        PilotState(AUTO, "", clock=source.clock).save(ledger)


def fill_fleet(folder: Path) -> dict[str, str]:
    """The example sites that replay, each with a ledger in `folder`; the console's environment."""
    text = TEN.read_text(encoding="utf-8")
    for name in ("rotterdam", "odessa", "dallas", "houston", "corpus-christi", "amarillo"):
        text = text.replace(f'site = "{name}.toml"', f'site = "{TEN.parent / name}.toml"\nledger = "{name}.db"')
    file = folder / "fleet.toml"
    file.write_text(re.sub(r'site = "([a-z])', rf'site = "{TEN.parent}/\1', text), encoding="utf-8")
    sites = [site for site in load_fleet(file) if site.run]
    for site in sites:
        fill(site.settings(Settings(refit=False)), FLEET_HOURS)
    return {**sites[0].environment(), "GRIDPILOT_FLEET": str(file)}


def shoot(browser: Browser, url: str, page: str, theme: Literal["light", "dark"], width: int, file: Path) -> None:
    """One picture; a phone's is of the whole page."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(f"{url}/{'' if page == 'overview' else page}")
    tab.locator(".gp-strip", has_text="AUTO").first.wait_for(timeout=120_000)
    if page == "globe":
        tab.locator(".gp-globe canvas").wait_for(timeout=120_000)
    tab.wait_for_timeout(SETTLE_MS)
    tab.screenshot(path=str(file), full_page=width < 900)
    context.close()
    print(file)


def main() -> None:
    """Read the options and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="DIR")
    parser.add_argument("--pages", default="", help="only these, comma separated")
    parser.add_argument("--fleet", action="store_true", help="of the ten example sites")
    options = parser.parse_args()
    folder = options.all or ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    pages = [name for name in options.pages.split(",") if name] or (PAGES if options.all else list(README))
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        environment: dict[str, str] = {}
        if options.fleet:
            environment = fill_fleet(Path(temporary))
        else:
            fill(Settings(db_url=SecretStr(f"sqlite:///{Path(temporary) / 'gridpilot.db'}")), HOURS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with serve(Path(temporary), env=environment) as server:
            for page in pages:
                if not options.all:
                    shoot(browser, server.url, page, "light", 1440, folder / f"{page}.png")
                    continue
                for theme in ("light", "dark"):
                    for width in (1440, 420):
                        shoot(browser, server.url, page, theme, width, folder / f"{page}-{theme}-{width}.png")
        browser.close()


if __name__ == "__main__":
    main()
