"""How quick the console is: its start, the first paint, a change of page, many sessions at once, and its memory.

    python benchmarks/console.py [--quick]

A day and a half of replayed cycles, the console with its pilot on it (a decision every ten seconds), a real Chromium,
and sessions that speak Streamlit's own messages without a browser. Linux alone: memory is read from /proc.
It takes seven minutes, two with --quick. Compare runs made side by side only: other load shows in every figure.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pydantic import SecretStr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gridpilot.config import Settings  # noqa: E402
from gridpilot.ledger.store import Ledger  # noqa: E402
from gridpilot.monitor.health import PilotState  # noqa: E402
from scripts.screenshots import HOURS, fill  # noqa: E402
from tests.browser.harness.server import Server, serve  # noqa: E402
from tests.browser.harness.session import Session, sessions  # noqa: E402
from tests.browser.harness.watch import ARGUMENTS, CHROMIUM  # noqa: E402

SPEED = 360.0  # replayed seconds a second: a decision of an hour every ten seconds
SESSIONS = 10
TTL_S = 120.0  # how long Streamlit keeps a session that went away (.streamlit/config.toml)
WAIT_MS = 60_000
CHART = ".main-svg"
# title in the navigation -> what is there only when that page has read a decision and drawn it
PAGES = {
    "Overview": f".st-key-overview_day {CHART}",
    "Prices": f".st-key-prices_history_7 {CHART}",
    "Forecast": f".st-key-forecast_energy_24 {CHART}",
    "Plan": f"[class*='st-key-plan_day_'] {CHART}",
    "Auction": f".st-key-auction_merit {CHART}",
    "Risk": f".st-key-risk_pnl {CHART}",
    "Dispatch": ".st-key-override_panel",
    "Globe": ".gp-globe canvas",
    "Backtest": ".st-key-backtest_run button",
    "Explain": "[data-testid='stChatInput']",
    "Health": ".st-key-shelf",
}
SENTENCE = "[data-testid='stMarkdownContainer'] strong"
TILES = "[data-testid='stMetricValue']"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    figure: str
    goal: str = ""

    def __str__(self) -> str:
        return f"{self.what:<66}{self.figure:>30}  {self.goal}".rstrip()


@dataclass(frozen=True)
class Effort:
    """How often and how long."""

    hours: int = HOURS
    opens: int = 5
    rounds: int = 3
    spell_s: float = 60.0
    comes: int = 50
    forgotten: bool = True  # wait until the server has forgotten the sessions that went away


QUICK = Effort(hours=8, opens=2, rounds=1, spell_s=20.0, comes=20, forgotten=False)


# --- the server ------------------------------------------------------------------------------


def prepare(folder: Path, hours: int) -> None:
    """A ledger of so many decisions, with the clock running."""
    url = f"sqlite:///{folder / 'gridpilot.db'}"
    fill(Settings(db_url=SecretStr(url)), hours)
    with Ledger.open(url) as ledger:
        state, wall = PilotState.load(ledger), datetime.now(UTC)
        assert state.clock is not None
        replace(state, clock=state.clock.with_speed(wall, SPEED)).save(ledger)


@contextmanager
def copied(ledger: Path) -> Iterator[Path]:
    """A folder of its own with that ledger."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(ledger, name, dirs_exist_ok=True)
        yield Path(name)


def memory_mb(server: Server) -> tuple[float, float]:
    """Resident, and of it what the process has for itself."""
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text(encoding="ascii")
    kb = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return kb["Rss"] / 1024.0, (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024.0


def cpu_s(server: Server) -> float:
    """Processor time of the server so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def decisions_ms(folder: Path, since: datetime) -> list[float]:
    """What the pilot's decisions took since a moment of the wall clock."""
    with Ledger.open(f"sqlite:///{folder / 'gridpilot.db'}", read_only=True) as ledger:
        bodies = [entry.body for entry in ledger.entries("cycle", limit=100)]
    made = [body for body in bodies if datetime.fromisoformat(body["wall"]) >= since]
    return [float(body["timings_ms"]["total"]) for body in made]


# --- the browser -----------------------------------------------------------------------------


def context_of(browser: Browser) -> BrowserContext:
    """A visitor that the browser has never seen."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


class Spent:
    """Processor time of a page's main thread and of the server since this was made: other load does not show in it."""

    def __init__(self, tab: Page, server: Server) -> None:
        self._server = server
        self._thread = tab.context.new_cdp_session(tab)
        self._thread.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._page_s, self._server_s = self._main_s(), cpu_s(server)

    def _main_s(self) -> float:
        metrics = self._thread.send("Performance.getMetrics")["metrics"]
        return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")

    def seconds(self) -> tuple[float, float]:
        """The page's and the server's."""
        return self._main_s() - self._page_s, cpu_s(self._server) - self._server_s


MARKS = """
window.marks = {};
const look = () => {
  const seen = (name, there) => { if (!(name in window.marks) && there) window.marks[name] = performance.now(); };
  seen("text", document.querySelector("__SENTENCE__") && document.querySelectorAll("__TILES__").length > 4);
  seen("chart", document.querySelector("__CHART__"));
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def painted(tab: Page, url: str) -> tuple[float, float]:
    """Open the Overview: seconds to the sentence and the tiles, and to the chart beside them, by the page's own clock.

    Asked from outside, a page that is reading the chart's library would answer only when it has done so.
    """
    wanted = {"__SENTENCE__": SENTENCE, "__TILES__": TILES, "__CHART__": PAGES["Overview"]}
    tab.add_init_script(re.sub("|".join(wanted), lambda found: wanted[found[0]], MARKS))
    tab.goto(url, wait_until="commit")
    tab.locator(PAGES["Overview"]).first.wait_for(timeout=WAIT_MS)
    tab.wait_for_timeout(100)
    marks = tab.evaluate("window.marks")
    return marks["text"] / 1000.0, marks["chart"] / 1000.0


def go(tab: Page, title: str) -> float:
    """Press a page's name; seconds until its own content is there."""
    start = time.perf_counter()
    tab.get_by_role("link", name=title, exact=True).first.click()
    tab.locator(PAGES[title]).first.wait_for(timeout=WAIT_MS)
    return time.perf_counter() - start


def start_of(browser: Browser, ledger: Path) -> tuple[float, float]:
    """Seconds from starting a server to its first answer, and to the first tiles that somebody sees."""
    with copied(ledger) as folder:
        context = context_of(browser)
        tab, start = context.new_page(), time.perf_counter()
        with serve(folder) as server:
            answered = time.perf_counter() - start
            tab.goto(server.url, wait_until="commit")
            tab.locator(TILES).nth(4).wait_for(timeout=WAIT_MS)
            seen = time.perf_counter() - start
            context.close()
        return answered, seen


def walk(tab: Page) -> dict[str, float]:
    """Through all pages once: seconds by page."""
    out = {}
    for title in [*list(PAGES)[1:], "Overview"]:
        tab.wait_for_timeout(300)
        out[title] = go(tab, title)
    return out


# --- many sessions ---------------------------------------------------------------------------


def live(session: Session, until: float, times: list[float]) -> None:
    """Ask for each fragment as its timer would, until a moment; one after the other, as a session's script runs."""
    due = {fragment: time.monotonic() + every for fragment, every in session.fragments.items()}
    while time.monotonic() < until:
        fragment = min(due, key=due.__getitem__)
        time.sleep(max(0.0, due[fragment] - time.monotonic()))
        times.append(session.refresh(fragment).took_s)
        due[fragment] = max(due[fragment] + session.fragments[fragment], time.monotonic())


def together(opened: list[Session], spell_s: float) -> list[float]:
    """Seconds of every refresh of those sessions side by side."""
    until, times = time.monotonic() + spell_s, [[] for _ in opened]
    threads = [
        threading.Thread(target=live, args=(session, until, mine)) for session, mine in zip(opened, times, strict=True)
    ]
    for i, thread in enumerate(threads):
        thread.start()
        if i < len(threads) - 1:
            time.sleep(2.0 / len(threads))  # nobody opens a page at the same moment
    for thread in threads:
        thread.join()
    return [took for mine in times for took in mine]


def come_and_go(url: str, n: int) -> None:
    """So many people who open the Overview and leave."""
    for _ in range(n):
        with Session.open(url) as session:
            session.load()


# --- the table -------------------------------------------------------------------------------


def ms(seconds: list[float], share: float = 0.5) -> str:
    """A quantile in words."""
    return f"{1000.0 * float(np.quantile(seconds, share)):,.0f} ms"


def pair(times: list[float]) -> str:
    """Median and 95 % in words."""
    return f"{ms(times)}; {ms(times, 0.95)}"


def opening(browser: Browser, server: Server, effort: Effort) -> list[Row]:
    """First paint and changes of page, on a server that has shown all of them once."""
    context = context_of(browser)
    tab = context.new_page()
    painted(tab, server.url)
    first = list(walk(tab).values())
    walked = Spent(tab, server)
    rounds = [walk(tab) for _ in range(effort.rounds)]
    changed = [1000.0 * spent / (effort.rounds * len(PAGES)) for spent in walked.seconds()]
    context.close()
    paints, costs = [], []
    for _ in range(effort.opens):
        context = context_of(browser)
        tab = context.new_page()
        spent = Spent(tab, server)
        paints.append(painted(tab, server.url))
        costs.append(spent.seconds())
        context.close()
    text, chart = ([one[k] for one in paints] for k in (0, 1))
    page, ours = ([one[k] for one in costs] for k in (0, 1))
    every = [took for one in rounds for took in one.values()]
    return [
        Row("Overview in a new browser: sentence and tiles (median; worst)", f"{ms(text)}; {ms(text, 1.0)}"),
        Row("  and its chart (median; worst)", f"{ms(chart)}; {ms(chart, 1.0)}", "goal < 1,500 ms"),
        Row("  processor time: the page; the server (medians)", f"{ms(page)}; {ms(ours)}"),
        Row("a page's first opening since the start (median; worst)", f"{ms(first)}; {ms(first, 1.0)}"),
        Row("a change of page (median; worst)", f"{ms(every)}; {ms(every, 1.0)}", "goal < 700 ms median"),
        Row("  processor time: the page; the server (means)", f"{changed[0]:,.0f} ms; {changed[1]:,.0f} ms"),
        *(Row(f"  {title}", ms([one[title] for one in rounds])) for title in rounds[0]),
    ]


def crowd(browser: Browser, server: Server, folder: Path, effort: Effort) -> list[Row]:
    """Ten sessions on the Overview, alone and with somebody watching; what they cost pilot and memory."""
    quiet_from = datetime.now(UTC)
    time.sleep(effort.spell_s)
    quiet, before = decisions_ms(folder, quiet_from), memory_mb(server)
    with sessions(server.url, SESSIONS) as opened:
        load_from, spent = datetime.now(UTC), cpu_s(server)
        times = together(opened, effort.spell_s)
        spent = (cpu_s(server) - spent) / effort.spell_s
        after = memory_mb(server)
        context = context_of(browser)
        painted(context.new_page(), server.url)
        watched = together(opened, effort.spell_s)
        context.close()
        busy = decisions_ms(folder, load_from)
    each = (after[1] - before[1]) / SESSIONS
    goal = "goal p95 < 3,000 ms"
    return [
        Row(f"{SESSIONS} live sessions: a refresh (p50; p95 of {len(times)})", pair(times), goal),
        Row("  with a browser watching (p50; p95)", pair(watched), goal),
        Row("  processor time of the server", f"{100.0 * spent:.0f} % of a core"),
        Row("  a decision of the pilot: nobody there; ten sessions", f"{_decision(quiet)}; {_decision(busy)}"),
        Row("memory of the server, warm (resident; its own)", f"{before[0]:.0f}; {before[1]:.0f} MB"),
        Row("  each live session", f"{each:.2f} MB"),
    ]


def _decision(took: list[float]) -> str:
    return f"{statistics.median(took):,.0f} ms ({len(took)})" if took else "none"


def coming(server: Server, effort: Effort) -> list[Row]:
    """What remains of people who came and went."""
    before = memory_mb(server)[1]
    come_and_go(server.url, effort.comes)
    once = memory_mb(server)[1]
    rows = [Row(f"  after {effort.comes} came and went: more than before", f"{once - before:+.0f} MB")]
    if effort.forgotten:
        time.sleep(TTL_S + 15.0)
        come_and_go(server.url, 1)
        rows.append(Row("  when they are forgotten (two minutes later)", f"{memory_mb(server)[1] - before:+.0f} MB"))
        come_and_go(server.url, effort.comes)
        rows.append(Row(f"  after {effort.comes} more", f"{memory_mb(server)[1] - before:+.0f} MB"))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    effort = QUICK if parser.parse_args().quick else Effort()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        ledger = Path(temporary)
        prepare(ledger, effort.hours)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        print(
            f"{effort.hours} decisions on record; load of this machine before: {os.getloadavg()[0]:.1f}\n", flush=True
        )
        answered, seen = start_of(browser, ledger)
        print(
            Row("server start to its first answer; to the first tiles", f"{answered:.1f} s; {seen:.1f} s"), flush=True
        )
        with copied(ledger) as folder, serve(folder) as server:
            come_and_go(server.url, 1)  # when it has answered, its imports are done
            bare = memory_mb(server)
            rows = [Row("memory of the server after one page (resident; its own)", f"{bare[0]:.0f}; {bare[1]:.0f} MB")]
            for row in rows:
                print(row, flush=True)
            for part in (
                lambda: opening(browser, server, effort),
                lambda: crowd(browser, server, folder, effort),
                lambda: coming(server, effort),
            ):
                print("\n".join(map(str, part())), flush=True)
        browser.close()
        print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
