"""The pages for operators, analysts and integrators: their examples are run, their links lead somewhere."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import requests

from gridpilot.cli import main
from gridpilot.config import DATA, Settings, load_site
from gridpilot.console.strip import CONTROL
from gridpilot.cycle import Engine, open_engine, run_cycle
from gridpilot.dispatch import reconcile
from gridpilot.domain import Battery, Dispatch, PriceOutlook, Site, SiteState
from gridpilot.errors import GatewayError, Refused
from gridpilot.forecast import evaluate, models, registry
from gridpilot.forecast.ensemble import prepare
from gridpilot.ledger.export import export
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.market import source
from gridpilot.market.replay import ReplaySource
from gridpilot.plan import terms
from gridpilot.plan.problem import build_problem
from gridpilot.signing import headers, sign
from tests.forecast import test_models as forecaster_contract
from tests.market import test_contract as source_contract

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
WALL = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
SITE = load_site(DATA / "site-default.toml")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def example(page: str, first_line: str) -> dict[str, Any]:
    """What the block that begins so defines."""
    (text,) = (block for block in blocks(page) if block.startswith(f"# {first_line}"))
    found: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, page, "exec"), found)  # noqa: S102 - our own page
    return found


# --- links -----------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links__lead_to_a_file_and_a_heading(page: Path) -> None:
    wrong = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


def test_index__names_every_page() -> None:
    told = set(re.findall(r"\]\((\w+\.md)", (ROOT / "docs" / "README.md").read_text()))
    assert {page.name for page in DOCS} - {"README.md"} <= told


# --- for integrators -------------------------------------------------------------------------


def test_every_python_block_of_the_integrators_page_is_run_here() -> None:
    named = {block.splitlines()[0] for block in blocks("integrators.md")}
    assert named == {
        "# gridpilot/market/tariff.py",
        "# gridpilot/dispatch/rest.py",
        "# gridpilot/forecast/median_week.py",
        "# a function in gridpilot/plan/terms.py, called in solve()",
        "# a caller of the utility",
        "# a receiver of alarms",
    }


def test_price_source__of_the_page__keeps_the_contract_and_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = example("integrators.md", "gridpilot/market/tariff.py")
    monkeypatch.setitem(source.SOURCES, "tariff", made["tariff"])
    monkeypatch.setitem(source._SPECS, "tariff", "tariff:DAY/NIGHT")
    site = Site(timezone="Europe/Amsterdam", hash_usd_per_ph_day=50.0, token_usd_per_mtok=0.6)
    opened = source.open_source("tariff:140/60", Settings(), site)
    checks: list[Callable[[Any], None]] = [
        check for name, check in vars(source_contract).items() if name.startswith("test_fetch__")
    ]
    assert len(checks) >= 5
    for check in checks:
        check(opened)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        result = run_cycle(open_engine(Settings(source="tariff:140/60"), ledger), WALL, dry_run=True)
    assert (result.source, result.plan.status) == ("tariff", "optimal")
    assert opened.fetch(WALL).energy_usd_per_mwh[-1] == 140.0  # 13:30 in Rotterdam
    assert opened.fetch(WALL + timedelta(hours=12)).energy_usd_per_mwh[-1] == 60.0


def test_gateway__of_the_page__switches_the_stand_in_and_tells_what_it_refuses(tmp_path: Path) -> None:
    made = example("integrators.md", "gridpilot/dispatch/rest.py")
    with MaraServer(seed=1) as server, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        key = requests.post(f"{server.url}/sites", json={"name": "page"}, timeout=5).json()["api_key"]
        gateway = made["RestGateway"](server.url, key)
        assert set(gateway.read(WALL).machines.values()) == {0}
        sent = reconcile.execute(ledger, gateway, wanted({"air": 3, "gpu": 1}), WALL, cycle_id="c1")
        assert sent.status == "applied"
        assert gateway.read(WALL).machines == {"air": 3, "hydro": 0, "immersion": 0, "gpu": 1, "asic": 0}
        with pytest.raises(Refused, match="422"):
            gateway.put(wanted({"air": -1}), WALL)
        requests.post(f"{server.url}/_faults", json={"status": 500, "status_times": 2}, timeout=5)
        with pytest.raises(GatewayError, match="GET /machines failed"):
            gateway.read(WALL)


def wanted(machines: dict[str, int]) -> Dispatch:
    return Dispatch(WALL, WALL + timedelta(hours=1), "plan", machines, 0.0, {}, {}, 0.0, 0.0, 0.0, {}, True)


def test_forecaster__of_the_page__keeps_the_contract_and_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    made = example("integrators.md", "gridpilot/forecast/median_week.py")
    monkeypatch.setattr(models, "MODELS", {**models.MODELS, "median week": made["MedianWeek"]})
    monkeypatch.setattr(forecaster_contract, "MODELS", models.MODELS)
    forecaster_contract.test_model__registered_under_its_own_name("median week")
    forecaster_contract.test_model__exactly_min_history_is_enough("median week")
    for days in (3, 40):
        forecaster_contract.test_model__future_corrupted_gives_identical_forecasts("median week", days)
    for case in forecaster_contract.odd_series():
        if case != "spike at the end":
            forecaster_contract.test_model__odd_input_gives_the_right_length_and_finite_values("median week", case, 48)
    entry = registry.Entry(made["MedianWeek"])
    monkeypatch.setattr(evaluate, "REGISTRY", {**registry.REGISTRY, "median week": entry})
    history = source.open_source("replay", Settings(), SITE).fetch(datetime(2024, 3, 1, tzinfo=UTC))
    series = prepare(history.tail(24 * 60), "UTC").clock
    found = evaluate.evaluate(series, date(2024, 2, 20), date(2024, 2, 28), ["median week"])
    assert 0.3 < found.table()["median week"]["rmae"] < 1.5


def test_term__of_the_page__takes_its_energy_from_the_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    charger = example("integrators.md", "a function in gridpilot/plan/terms.py")["charger"]
    hours = np.datetime64("2024-06-24T12:00:00", "s") + np.arange(24) * np.timedelta64(3600, "s")
    price = np.where(np.arange(24) < 6, 20.0, 100.0)
    outlook = PriceOutlook(hours, 3600, price, np.full(24, np.nan), np.full(24, np.nan))
    alone = Site(battery=Battery(capacity_kwh=0.0))
    problem = build_problem(alone, SiteState(WALL, 0.5), outlook)
    assert terms.solve(problem, time_limit_s=5.0).import_kw.sum() == 0.0
    ramp = terms._ramp

    def with_charger(program: Any, made: Any, stated: Any) -> None:
        ramp(program, made, stated)
        charger(program, made, stated, max_kw=100.0, energy_kwh=300.0)

    monkeypatch.setattr(terms, "_ramp", with_charger)
    found = terms.solve(problem, time_limit_s=5.0)
    assert found.import_kw.max() <= 100.0 + 1e-6
    assert found.import_kw[:6].sum() == pytest.approx(300.0)  # in the cheap hours
    assert found.import_kw[6:].sum() == pytest.approx(0.0, abs=1e-6)


def test_receiver__of_the_page__knows_our_signature() -> None:
    genuine = example("integrators.md", "a receiver of alarms")["genuine"]
    secret, body, now = "whsec_" + "c2l4dGVlbiBieXRlcyAhIQ==", b"{}", int(time.time())
    assert genuine(secret, headers(secret, "alarm-1", now, body), body)
    assert not genuine(secret, headers(secret, "alarm-1", now, body), b"{ }")
    assert not genuine(secret, headers(secret, "alarm-1", now - 400, body), body)


def test_caller__of_the_page__signs_as_the_console_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    from gridpilot.signing import verify

    made, seen = example("integrators.md", "a caller of the utility"), []

    class Reply:
        def __enter__(self) -> Reply:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def read(self) -> bytes:
            return b'{"id": "peak-17"}'

    monkeypatch.setattr("urllib.request.urlopen", lambda call, timeout: seen.append(call) or Reply())
    assert made["curtail"]("http://127.0.0.1:1", "sixteen bytes !!", "peak-17", minutes=60)["id"] == "peak-17"
    (call,) = seen
    given = {name.lower(): value for name, value in call.header_items()}
    assert verify("sixteen bytes !!", given, call.data, time.time()) == "peak-17"
    assert sign("sixteen bytes !!", "peak-17", 1, call.data)
    assert (call.full_url, call.data) == ("http://127.0.0.1:1/api/curtailments", b'{"minutes": 60}')


# --- for analysts ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hours of the replay, as export-ledger writes them."""
    folder = tmp_path_factory.mktemp("exported")
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        engine: Engine = open_engine(Settings(source="replay"), ledger)
        replay = engine.source
        assert isinstance(replay, ReplaySource)
        for _ in range(5):
            run_cycle(engine, WALL)
            replay.clock = replay.clock.stepped(WALL).with_speed(WALL, 0.0)
        export(ledger, folder / "export")
    return folder


@pytest.mark.slow
def test_analysts_page__pandas_example__is_run_on_an_export(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    made = example("analysts.md", "what was forecast, and what came")
    said, scores = made["said"], made["scores"]
    assert len(said) == 5 * 24 and len(made["known"]) == 4 + 3 + 2 + 1
    assert list(scores.columns) == ["mean absolute error", "inside 80 %", "forecasts"]
    assert scores["forecasts"].tolist() == [4, 3, 2, 1]
    money = example("analysts.md", "money, interval by interval")["money"]
    assert len(money) == 4 and money["profit_usd"].notna().all()
    income = sum(money[f"{name}_usd"] for name in ("hash", "token", "tenants", "jobs", "export", "reserve"))
    costs = sum(money[f"{name}_usd"] for name in ("import", "wear", "credits", "demand"))
    assert (income - costs).to_numpy() == pytest.approx(money["profit_usd"].to_numpy())


@pytest.mark.slow
def test_analysts_page__price_file_example__is_one_that_the_commands_read(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported)
    example("analysts.md", "a price file out of the ledger")
    days = ["--start", "2024-05-30", "--end", "2024-05-31"]
    assert main(["evaluate", "--prices", "nl.csv", *days, "--models", "ridge", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["n_days"] == 2
    assert {flag["code"] for flag in body["flags"]}.isdisjoint({"GAP", "GAP_FILLED", "DROPPED", "CONFLICT"})


@pytest.mark.slow
def test_analysts_page__duckdb_example__runs(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    (query,) = blocks("analysts.md", "sql")
    rows = duckdb.sql(query).fetchall()
    assert len(rows) == 4


# --- for operators ---------------------------------------------------------------------------


def test_shift_page__every_word_of_the_strip_is_explained() -> None:
    text = (ROOT / "docs" / "shift.md").read_text()
    words = {word for word, _, _ in CONTROL.values()}
    more = {
        "NO PILOT",
        "NO PILOT YET",
        "NO DATA",
        "CURTAILED",
        "SIMULATED",
        "BATTERY SIMULATED",
        "REPLAY",
        "SIGNED OUT",
    }
    assert [word for word in sorted(words | more) if f"`{word}`" not in text] == []


# --- the reference ---------------------------------------------------------------------------


@pytest.mark.slow
def test_reference__example_files_are_taken_and_the_json_has_the_keys_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    bids, pnl = blocks("reference.md", "csv")
    hours = (f"2024-06-{1 + i // 24:02d}T{i % 24:02d}:00:00Z,{50 + i % 24}\n" for i in range(24 * 14))
    head, rows = pnl.split("\n", 1)
    files = {"b": bids, "r": head + "\n" + rows * 10, "p": "timestamp,energy_price\n" + "".join(hours)}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    days = ["--start", "2024-06-10", "--end", "2024-06-11"]
    asked = (
        ["cycle"],
        ["forecast", "--prices", "p.csv", "--quick"],
        ["evaluate", "--prices", "p.csv", *days, "--models", "seasonal-naive"],
        ["backtest", "--prices", "p.csv", *days, "--forecaster", "seasonal-naive"],
        ["plan", "--prices", "p.csv", "--soc", "0.5"],
        ["auction", "--bids", "b.csv", "--capacity-kw", "300", "--resource", "gpus=400"],
        ["risk", "--pnl", "r.csv"],
        ["verify-ledger"],
        ["replay", "last"],
        ["export-ledger", "--out", "out"],
        ["curtail", "--percent", "25"],
        ["simulate"],
        ["prune-ledger", "--keep-days", "2"],
    )
    text = (ROOT / "docs" / "reference.md").read_text()
    told = dict(re.findall(r"^\| `([a-z-]+)` \| `(.+)` \|$", text[text.index("## JSON") :], re.MULTILINE))
    assert set(told) == {words[0] for words in asked}
    for words in asked:
        assert main([*words, "--json"]) == 0, words
        body = json.loads(capsys.readouterr().out)
        outer = re.sub(r"\{[^{}]*\}", "", re.sub(r"\{[^{}]*\}", "", told[words[0]]))
        assert [key for key in re.findall(r"\w+", outer) if key not in body] == [], words
        if words[0] == "auction":
            assert body["rejected"] == [] and sum(row["kw"] for row in body["allocation"]) > 200.0
