"""The public command line as a person or a program calls it: real processes, exit codes, one line on stderr."""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gridpilot import cli
from gridpilot.cli import main, texts
from gridpilot.config import load_settings, load_site
from gridpilot.dispatch.simulator import Faults, SimulatedGateway
from gridpilot.dispatch.way import open_gateway
from gridpilot.errors import DataError
from gridpilot.ledger.store import Ledger
from gridpilot.mara_server import MaraServer
from gridpilot.monitor.health import PilotState

pytestmark = pytest.mark.slow  # whole pilots, pages, ledgers or processes: not in `make quick`

ROOT = Path(__file__).resolve().parent.parent
HOURS = [f"2024-06-{1 + i // 24:02d}T{i % 24:02d}:00:00Z" for i in range(24 * 6)]
PRICES = "timestamp,energy_price\n" + "".join(f"{at},{50 + 40 * (i % 24 in (18, 19))}\n" for i, at in enumerate(HOURS))
BIDS = """bidder,service,kw,price_usd_per_kwh,divisible
acme,inference,200,0.30,true
acme,training,200,0.25,true
other,training,1400,0.20,true
"""
BATTERY_ALONE = "machines = []\n[battery]\nterminal_usd_per_mwh = 40\n"


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / 'ledger.db'}")


def write(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def ok(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    seen = capsys.readouterr()
    assert seen.err == ""
    return json.loads(seen.out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("gridpilot: ") and seen.err.count("\n") == 1
    return seen.err


@pytest.mark.parametrize("since", ["2024-06-01garbage", "2024-06-01T12:00:00+02:00", "20240601T", "0001-01-01"])
def test_day__anything_behind_it_or_no_year_of_prices__refused(
    since: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "export-ledger", "--out", str(tmp_path / "x"), "--since", since)
    assert f"argument --since: {since} is not" in said
    assert not (tmp_path / "x").exists()


# --- backtest --------------------------------------------------------------------------------


def test_backtest__days_and_start__refused_for_each_says_where_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "backtest", "--days", "2", "--start", "2024-02-01")
    assert "--days and --start both say where it begins: give one of them" in said


def test_backtest__json_has_the_public_keys_and_the_steps_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = datetime(2024, 5, 1, tzinfo=UTC)
    hours = [(f"{first + timedelta(hours=i):%Y-%m-%dT%H:%M:%SZ}", i) for i in range(24 * 45)]
    rows = "".join(f"{at},{50 + 40 * (i % 24 in (8, 18, 19)) + i * 7 % 11}\n" for at, i in hours)
    prices = write(tmp_path, "p.csv", "timestamp,energy_price\n" + rows)
    site, out = write(tmp_path, "s.toml", BATTERY_ALONE), tmp_path / "steps.csv"
    words = ["backtest", "--prices", prices, "--site", site, "--start", "2024-06-01", "--end", "2024-06-07"]
    body = ok(capsys, *words, "--forecaster", "seasonal-naive", "--out", str(out))
    assert {"revenue_usd", "perfect_foresight_usd", "percent_of_perfect", "persistence_percent_of_perfect"} < set(body)
    assert body["n_days"] == len(body["days"]) == 7
    assert 60.0 < body["percent_of_perfect"] <= 100.0
    assert len(out.read_text().splitlines()) == 1 + 7 * 24
    assert main([*words, "--information", "published"]) == 0
    assert "of perfect" in (said := capsys.readouterr().out)
    assert re.search(r"missing to perfect +what was not known -?[\d,.]+ USD", said)
    assert "expected blind, published, realtime" in refused(capsys, *words, "--information", "psychic")
    assert "no model 'oracle'" in refused(capsys, *words, "--forecaster", "oracle")
    assert "--end 2024-06-07 is before" in refused(capsys, *words[:-3], "2024-06-09", "--end", "2024-06-07")


@pytest.mark.parametrize(("days", "said"), [(1, "1 day 2024"), (7, "7 days 2024")])
def test_backtest__text__the_pages_words_for_the_parts_of_the_gap(days: int, said: str) -> None:
    body = {
        **{"n_days": days, "start": "2024-06-01", "end": "2024-06-07", "information": "blind", "forecaster": "ridge"},
        **dict.fromkeys(("revenue_usd", "perfect_foresight_usd", "persistence_usd", "cycles"), 1.0),
        **dict.fromkeys(("percent_of_perfect", "persistence_percent_of_perfect", "percent_of_added"), None),
        "gap_usd": {"horizon": 1.0, "forecast": 2.0, "profiles": 3.0},
        "flags": [],
    }
    shown = texts.backtest(body)
    assert shown.startswith(said)
    assert "ends of days 1.00, forecast error 2.00, choice of profiles 3.00 USD" in shown


# --- each command ----------------------------------------------------------------------------


@pytest.mark.slow
def test_cycle__process__one_json_object_and_a_verified_ledger(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    run = [sys.executable, "-m", "gridpilot", "cycle", "--json"]
    done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    body = json.loads(done.stdout)
    assert body["dispatch"]["status"] == "applied"
    assert body["dispatch"]["total_power_kw"] <= 1000.0
    check = [sys.executable, "-m", "gridpilot", "verify-ledger", "--json"]
    verified = subprocess.run(check, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert json.loads(verified.stdout)["ok"] is True


def test_cycle__csv_source__decides_as_of_the_newest_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "prices.csv", PRICES)
    body = ok(capsys, "cycle", "--source", f"csv:{path}", "--dry-run")
    assert (body["source"], body["at"]) == ("csv", "2024-06-06T23:00:00Z")
    assert body["dispatch"]["status"] == "dry-run"


def test_forecast__file__a_day_of_ordered_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = ok(capsys, "forecast", "--prices", write(tmp_path, "p.csv", PRICES))
    assert body["timestamp"][0] == "2024-06-07T00:00:00Z"
    assert len(body["predicted_price"]) == len(body["timestamp"]) == 24
    for low, mid, high in zip(body["lower_bound"], body["predicted_price"], body["upper_bound"], strict=True):
        assert low <= mid <= high
    assert {"sigma_energy", "sigma_hash", "sigma_token", "quantiles", "method", "flags"} <= set(body)


def test_forecast__target_and_horizon__used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PRICES.replace("energy_price", "spot")
    path = write(tmp_path, "p.csv", text)
    assert len(ok(capsys, "forecast", "--prices", path, "--target", "spot", "--horizon", "48")["timestamp"]) == 48


def test_plan__battery_alone__buys_low_and_sells_high(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{at},{price}\n" for at, price in zip(HOURS, [20.0, 200.0], strict=False))
    prices = write(tmp_path, "p.csv", "timestamp,energy_price\n" + rows)
    site = write(tmp_path, "s.toml", BATTERY_ALONE)
    body = ok(capsys, "plan", "--prices", prices, "--site", site, "--soc", "0.5")
    assert body["status"] == "optimal" and body["loads_kw"] == {}
    assert body["charge_kw"][0] == pytest.approx(250.0)
    assert body["discharge_kw"][1] == pytest.approx(250.0)
    stored = 250 * 0.94 - 250 / 0.94
    money = -250 * 0.020 + 250 * 0.200 - 500 * 0.0002 + stored * 0.040
    assert body["objective_usd"] == pytest.approx(money, rel=1e-9)


def test_auction__file__payments_are_what_the_others_lose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "bidder,service,kw,price_usd_per_kwh\na,inference,60,0.30\nb,training,60,0.20\nc,cooling,60,0.10\n"
    body = ok(capsys, "auction", "--bids", write(tmp_path, "b.csv", rows), "--capacity-kw", "100")
    got = {row["bidder"]: row["kw"] for row in body["allocation"]}
    assert got == {"a": 60.0, "b": 40.0, "c": 0.0}
    paid = {row["bidder"]: row["usd_per_h"] for row in body["payments"]}
    assert paid["a"] == pytest.approx(20 * 0.20 + 40 * 0.10)  # b's lost 20 kW, then c's 40
    assert paid["b"] == pytest.approx(40 * 0.10)
    assert body["clearing_price"] == pytest.approx(0.20)


def test_risk__sample__var_and_cvar_are_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "pnl_usd\n" + "".join(f"{value}\n" for value in range(-10, 90))
    body = ok(capsys, "risk", "--pnl", write(tmp_path, "r.csv", rows), "--alpha", "0.95")
    assert body["n"] == 100
    assert body["cvar"] == pytest.approx(8.0)  # the mean of -10, -9, -8, -7, -6
    assert 5.0 <= body["var"] <= 6.0


# --- for people ------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_texts__figures_for_people__have_units_and_few_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pnl = "pnl_usd\n" + "".join(f"{1234.5678 * (-1) ** i * i:.6f}\n" for i in range(60))
    prices, bids = write(tmp_path, "p.csv", PRICES), write(tmp_path, "b.csv", BIDS)
    seen = [
        said(capsys, "cycle"),
        said(capsys, "risk", "--pnl", write(tmp_path, "r.csv", pnl)),
        said(capsys, "plan", "--prices", prices, "--soc", "0.5"),
        said(capsys, "auction", "--bids", bids, "--capacity-kw", "700"),
        said(capsys, "simulate", "--heat-c", "30", "--failed", "hydro=3", "--soc-lost"),
        said(capsys, "curtail", "--percent", "25"),
    ]
    assert [re.findall(r"\d\.\d{5,}|\d{5,}\.\d", text) for text in seen] == [[]] * len(seen)
    assert [text for text in seen if "$" in text] == []
    assert re.search(r"clears at \d+\.\d\d USD/MWh\n", seen[0])
    assert re.search(r"CVaR 0.95: -?[\d,]+ USD ", seen[0])
    assert re.search(r"VaR 0.95 +[\d,]+ USD", seen[1])
    assert re.search(r"optimal by .*: -?[\d,.]+ USD over 144 steps of 3,600 s", seen[2])
    assert seen[2].splitlines()[1].split()[4] == "USD/MWh"
    assert "clears at 200.00 USD/MWh, welfare 170.00 USD/h" in seen[3] and " USD/h\n" in seen[3].partition("pays")[2]
    assert seen[3].count("pays") == 2 and seen[3].count("acme") == 2  # one payment for both services of one bidder
    assert seen[4] == (
        "from now on: 3 hydro stand still; the hottest machine is 30 C hotter; the battery's sensor is lost\n"
    )
    assert said(capsys, "simulate") == "from now on: no faults\n"
    assert re.fullmatch(r"ok: \d+ entries, numbers 1 to \d+\nnewest    [0-9a-f]{64}\n", said(capsys, "verify-ledger"))
    assert said(capsys, "prune-ledger", "--keep-days", "2") == "no entry is as old as that\n"


def test_cycle__index_prices__no_money_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with MaraServer(api_key="cli-test") as mara:
        monkeypatch.setenv("GRIDPILOT_MARA_URL", mara.url)
        monkeypatch.setenv("GRIDPILOT_MARA_API_KEY", "cli-test")
        told = said(capsys, "cycle", "--source", "mara")
    cleared = re.search(r"clears at ([\d.]+) index/W\n", told)
    assert cleared and 0.0 <= float(cleared[1]) < 100.0
    assert re.search(r"CVaR 0.95: -?[\d,.]+ index ", told)
    assert "USD" not in told


def test_cycle__prices_of_another_source_than_the_ledgers__one_clear_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "GRIDPILOT_DB_URL" not in said(capsys, "cycle")
    assert "GRIDPILOT_DB_URL" not in said(capsys, "cycle")
    source = f"csv:{write(tmp_path, 'prices.csv', PRICES)}"
    other = said(capsys, "cycle", "--source", source, "--dry-run").splitlines()
    assert [row for row in other if "this ledger is of replay prices" in row and "GRIDPILOT_DB_URL" in row]
    assert ok(capsys, "cycle", "--source", source)["flags"][0]["code"] == "SWITCHED"
    assert ok(capsys, "cycle", "--source", source)["flags"][0]["code"] != "SWITCHED"


def test_help__every_command_has_a_line_in_a_group_and_every_option_says_what_it_is() -> None:
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    listed = parser.format_help()
    assert "Others:" not in listed
    for name, sub in commands.choices.items():
        assert len(re.findall(rf"^    {name} +\S", listed, re.MULTILINE)) == 1
        bare = [a.dest for a in sub._actions if not a.help or (a.nargs is None and not a.metavar and not a.choices)]
        assert bare == [], name
    for name, column in (("auction", "price_usd_per_kwh"), ("risk", "pnl_usd"), ("plan", "energy_price")):
        assert column in commands.choices[name].format_help()


# --- bad input: exit code 2, one line --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("when,energy_price\n2024-06-01T00:00:00Z,5\n", "timestamp"),
        ("timestamp,price\n2024-06-01T00:00:00Z,5\n", "energy_price"),
        ("timestamp,energy_price\n2024-06-01T00:00:00,5\n2024-06-01T01:00:00,5\n", "zone"),
        ("timestamp,energy_price\n2024-06-01T00:00:00Z,many\n2024-06-01T01:00:00Z,few\n", "no usable energy_price"),
    ],
)
def test_plan__bad_prices__one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    line = refused(capsys, "plan", "--prices", write(tmp_path, "p.csv", text), "--soc", "0.5")
    assert said in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--prices", "nowhere.csv", "--soc", "0.5"], "nowhere.csv"),
        (["plan", "--prices", "p.csv", "--soc", "68.7"], "fraction from 0 to 1"),
        (["plan", "--prices", "p.csv", "--soc", "nan"], "--soc"),
        (["forecast", "--prices", "p.csv", "--horizon", "0"], "--horizon"),
        (["auction", "--bids", "nowhere.csv", "--capacity-kw", "10"], "nowhere.csv"),
        (["auction", "--bids", "b.csv", "--capacity-kw", "-1"], "0 or more"),
        (["risk", "--pnl", "nowhere.csv"], "nowhere.csv"),
        (["risk", "--pnl", "p.csv", "--alpha", "1.5"], "--alpha"),
        (["cycle", "--source", "crystal-ball"], "mara, csv:PATH"),
        (["cycle", "--source", "csv:nowhere.csv"], "nowhere.csv"),
        (["dance"], "dance"),
        (["auction"], "see `.venv/bin/python -m gridpilot auction --help`"),
        (["up", "--port", "70000"], "70000 is not a port from 1 to 65535"),
        (["mara-server", "--port", "0"], "0 is not a port"),
        (["mara-server", "--speed", "-3"], "-3 is not 0 or more"),
        (["watchdog", "--grace", "-5"], "-5 is not 0 or more"),
        (["risk", "--pnl", "/dev/zero"], "/dev/zero has a line of more than"),
        (["plan", "--prices", "/dev/zero", "--soc", "0.5"], "/dev/zero has a line of more than"),
        (["auction", "--bids", "/dev/zero", "--capacity-kw", "1"], "/dev/zero has a line of more than"),
        (["plan", "--prices", "p.csv", "--site", "/dev/zero", "--soc", "0.5"], "/dev/zero has more than 10 MB"),
        (["fleet", "/dev/zero"], "/dev/zero has more than 10 MB"),
        (["plan", "--prices", "", "--soc", "0.5"], "argument --prices: it is empty: give the path"),
        (["risk", "--pnl", " "], "argument --pnl: it is empty"),
        (["forecast", "--prices", "p.csv", "--target", ""], "argument --target: it is empty"),
        ([], "COMMAND"),
    ],
)
def test_command__bad_option__one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("this is = not [ toml", "TOML"),
        ("[battery]\nsoc_min = 0.95\n", "soc_max"),
        ("[battery]\nefficency_charge = 0.9\n", "efficency_charge"),
        ("[grid]\nimport_kw = '1 MW'\n", "expected a number"),
        ("timezone = 'Europe/Atlantis'\n", "IANA"),
        ("[[machines]]\ntype = 'x'\ncount = 2.5\npower_w = 1\nrate = 1\nproduct = 'hash'\n", "whole number"),
        ("[[machines]]\ntype = 'x'\n", "has no 'count'"),
        ("[[jobs]]\nname='j'\nenergy_kwh=1\nmax_kw=1\nvalue_usd_per_kwh=1\ndeadline='soon'\n", "ISO 8601"),
    ],
)
def test_plan__bad_site_file__one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    site, prices = write(tmp_path, "s.toml", text), write(tmp_path, "p.csv", PRICES)
    assert said in refused(capsys, "plan", "--prices", prices, "--site", site, "--soc", "0.5")


def test_auction__bad_rows__refused_with_a_reason_and_the_rest_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "bidder,service,kw,price_usd_per_kwh\na,x,10,0.3\nb,x,many,0.2\nc,x,-5,0.2\nd,x,5,nan\ne,x,1e308,0.1\n"
    body = ok(capsys, "auction", "--bids", write(tmp_path, "b.csv", rows), "--capacity-kw", "100")
    assert {row["bidder"] for row in body["rejected"]} == {"b", "c", "d", "e"}
    assert [row["bidder"] for row in body["allocation"]] == ["a"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cap", "x=5", "--cap", "x=6"], "--cap 'x' is given more than once"),
        (["--resource", "gpus=5", "--resource", "gpus=6"], "--resource 'gpus' is given more than once"),
        (["--cap", "mining=5"], "--cap 'mining': no good bid is for it; services: x"),
        (["--resource", "cores=5"], "--resource 'cores': no good bid uses it; what is used: gpus, power"),
        (["--resource", "idle=5"], "--resource 'idle': no good bid uses it"),
        (["--resource", "power=5"], "give it as its capacity"),
        (["--reserve", "1_0"], "is not a number"),
        (["--cap", "x=\uff11"], "is not a number"),
    ],
)
def test_auction__option_that_fits_no_bid__one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    bids = write(tmp_path, "b.csv", "bidder,service,kw,price_usd_per_kwh,uses_gpus,uses_idle\na,x,10,0.3,1,0\n")
    assert said in refused(capsys, "auction", "--bids", bids, "--capacity-kw", "100", *options)


def test_F57_auction__name_that_would_steer_the_terminal__on_its_own_line_and_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 'bidder,service,kw,price_usd_per_kwh\n"a\nrefused b: forged",x,10,0.3\n\x1b[31mred,\u202ex,5,0.2\n'
    assert main(["auction", "--bids", write(tmp_path, "b.csv", rows), "--capacity-kw", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("a refused b: forged")
    assert lines[2].startswith("\ufffd[31mred") and " \ufffdx " in lines[2]
    assert "\x1b" not in refused(capsys, "auction", "--bids", "\x1b[31m.csv", "--capacity-kw", "1")


def test_auction__terminal_of_another_encoding__shown_in_escapes(tmp_path: Path) -> None:
    bids = write(tmp_path, "b.csv", "bidder,service,kw,price_usd_per_kwh\nJosé,x,10,0.3\n")
    command = [sys.executable, "-m", "gridpilot", "auction", "--bids", bids, "--capacity-kw", "100"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=60, check=True)
    assert done.stderr == b"" and b"Jos\\xe9" in done.stdout


def test_auction__many_bids_that_take_no_part__a_thousand_told_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bids = write(tmp_path, "b.csv", "bidder,service,kw,price_usd_per_kwh\n" + "a,x,5,0.1\n" * 5000)
    body = ok(capsys, "auction", "--bids", bids, "--capacity-kw", "100", "--reserve", "0.2")
    assert len(body["rejected"]) == 1001
    assert body["rejected"][-1] == {"bidder": "others", "reason": "4000 more bids take no part"}


def test_mara_server__address_that_is_not_this_machines__one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["mara-server", "--host", "198.51.100.1"]) == 2
    seen = capsys.readouterr().err
    assert "cannot listen on 198.51.100.1:8787" in seen and seen.count("\n") == 1


@pytest.mark.parametrize("host", ["nosuch.invalid", "a..b"])
def test_mara_server__host_that_is_none__another_is_asked_for(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mara-server", "--host", host]) == 2
    assert "give --host an address of this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["forecast"],
        ["evaluate", "--start", "2024-06-03", "--end", "2024-06-04"],
        ["backtest"],
    ],
)
def test_target__the_time_itself__one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = write(tmp_path, "p.csv", PRICES)
    assert "name another column by --target" in refused(capsys, *words, "--prices", prices, "--target", "timestamp")


def test_data_file__lines_without_an_end__refused_at_the_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gridpilot.risk.pnl_file.MAX_BYTES", 1000)
    pnl = write(tmp_path, "pnl.csv", "pnl_usd\n" + "1\n" * 1000)
    assert "pnl.csv has more than" in refused(capsys, "risk", "--pnl", pnl)


@pytest.mark.parametrize("folder", ["/dev/null", "/proc", "/nowhere/" + "x" * 300])
def test_ledger__default_folder_that_cannot_be_made__one_line(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", folder)
    monkeypatch.delenv("GRIDPILOT_DB_URL")
    said = refused(capsys, "verify-ledger")
    assert f"the data folder {folder}/gridpilot cannot be made" in said and "GRIDPILOT_DB_URL" in said


def test_settings__env_file_that_is_not_utf_8__named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(b"GRIDPILOT_SOURCE=\xff\n")
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path / '.env'} is not UTF-8 text (byte 17)" in refused(capsys, "verify-ledger")


def test_verify_ledger__parquet_of_something_else__what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"seq": [1], "colour": ["red"]}), tmp_path / "f.parquet")
    said = refused(capsys, "verify-ledger", "--file", str(tmp_path / "f.parquet"))
    assert "(it has no column at)" in said or "(it has no column" in said


# --- nobody listens, and ends ----------------------------------------------------------------


def shell(words: str, **more: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, **more, "GP": f"{sys.executable} -m gridpilot"}
    command = ["bash", "-o", "pipefail", "-c", f"$GP {words}"]
    return subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("risk --pnl {pnl} > /dev/full", 1, "stdout cannot be written: No space left on device"),
        ("risk --pnl {pnl} --json > /dev/full", 1, "stdout cannot be written: No space left on device"),
        ("risk --help > /dev/full", 1, "stdout cannot be written: No space left on device"),
        ("mara-server --port 8797 > /dev/full", 1, "stdout cannot be written: No space left on device"),
        ("risk --pnl {pnl} >&-", 1, "stdout is closed: open it, or send it to /dev/null; nothing was done"),
        ("curtail --percent 1 >&-", 1, "nothing was done"),
        ("risk --pnl {pnl} | true", 0, ""),
        ("risk --pnl nowhere.csv 2>&-", 2, ""),
        ("forecast --prices nowhere.csv 2>&-", 2, ""),
    ],
)
def test_stdout__full_or_closed__one_line(words: str, code: int, said: str, tmp_path: Path) -> None:
    done = shell(words.format(pnl=write(tmp_path, "pnl.csv", "pnl_usd\n1\n-2\n")))
    assert done.returncode == code
    assert done.stderr.count("\n") == bool(said) and said in done.stderr


def test_curtail__stdout_full__says_that_it_is_on_record(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    done = shell("curtail --percent 1 > /dev/full")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    found = re.search(r"Curtailment (\S+) is on record as scheduled: do not give it again", done.stderr)
    assert found is not None
    assert ok(capsys, "curtail", "--report", found[1])["event"]["id"] == found[1]


@pytest.mark.parametrize("source", ["mara", "csv"])
def test_cycle__prices_that_are_none__the_servers_are_no_input(
    source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object, **more: object) -> None:
        raise DataError("the prices are none")

    monkeypatch.setattr("gridpilot.pilot.one_cycle", none)
    assert main(["cycle", "--source", "mara" if source == "mara" else "csv:p.csv"]) == (1 if source == "mara" else 2)
    assert "gridpilot: the prices are none" in capsys.readouterr().err


def test_setting__wrong_value__names_the_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDPILOT_REPLAY_SPEED", "fast")
    assert "GRIDPILOT_REPLAY_SPEED" in refused(capsys, "cycle")


def test_verify_ledger__edited_entry__names_it_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    ok(capsys, "cycle")
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        (plan,) = raw.execute("SELECT seq FROM entries WHERE kind = 'plan'").fetchone()
        raw.execute("DROP TRIGGER entries_no_update")
        raw.execute("UPDATE entries SET body = replace(body, 'optimal', 'perfect') WHERE kind = 'plan'")
    raw.close()
    assert main(["verify-ledger"]) == 1
    seen = capsys.readouterr()
    assert f"does not verify: entry {plan} was edited" in seen.err


def test_cycle__unreachable_api__one_line_and_exit_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDPILOT_MARA_URL", "http://127.0.0.1:9")
    assert main(["cycle", "--source", "mara"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (
            '[[customers]]\nname = "a"\ntype = "nope"\nshare = 0.5',
            "type is 'nope', expected one of the site's machines",
        ),
        (
            '[[customers]]\nname = "a"\ntype = "gpu"\nshare = 1.5',
            "customer a: share is 1.5: expected a number from 0 to 1",
        ),
        ('[[customers]]\nname = "a"\ntype = "gpu"\nshare = 0.5\nwindow_h = 5', "window_h is 5, expected whole hours"),
        ("[[rules]]\nstrike_usd_per_mwh = 5", "[[rules]] number 1 has no 'type': it needs type"),
        ('[[rules]]\ntype = "air"\nabove = 1.5', "above is 1.5, expected a whole number"),
        ("[reserve]\nup_kw = -3", "reserve.up_kw is -3: expected a number from 0"),
        ("[risk]\nweight = 7", "risk.weight is 7: expected a number from 0 to 1"),
        ("[battery]\ndepth_wear_usd_per_kwh = [0.01, 0.0]", "depth_wear_usd_per_kwh falls with depth"),
        ("[battery]\ndepth_wear_usd_per_kwh = 0.1", "depth_wear_usd_per_kwh is 0.1, expected a list of numbers"),
        ('[grid]\nramp_kw_per_min = "fast"', "ramp_kw_per_min is 'fast', expected a number"),
    ],
)
def test_plan__bad_rules_and_promises__one_line(
    given: str, seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, prices = tmp_path / "site.toml", tmp_path / "prices.csv"
    site.write_text(given)
    prices.write_text("timestamp,energy_price\n2024-06-01T00:00:00Z,50\n2024-06-01T01:00:00Z,60\n")
    assert main(["plan", "--prices", str(prices), "--site", str(site), "--soc", "0.5"]) == 2
    said = capsys.readouterr().err
    assert seen in said
    assert said.count("\n") == 1


# --- decisions and the site ------------------------------------------------------------------


def test_replay__newest_decision__the_same(capsys: pytest.CaptureFixture[str]) -> None:
    cycle_id = ok(capsys, "cycle")["cycle_id"]
    body = ok(capsys, "replay", "last")
    assert (body["cycle_id"], body["same"], body["differences"], body["versions"]) == (cycle_id, True, [], {})
    assert main(["replay", cycle_id]) == 0
    assert f"{cycle_id}: the same" in capsys.readouterr().out


def test_replay__tampered_with__says_where_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute("DROP TRIGGER entries_no_update")
        raw.execute("UPDATE entries SET body = replace(body, '\"n\":200', '\"n\":199') WHERE kind = 'risk'")
    raw.close()
    assert main(["replay", "last"]) == 1
    seen = capsys.readouterr()
    assert "risk.n: 199 was recorded, 200 now" in seen.out
    assert seen.err.count("\n") == 1


def test_replay__no_such_cycle__refused(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    assert "cycle 'nothing' is not in the ledger" in refused(capsys, "replay", "nothing")


def test_replay__nothing_decided_yet__refused(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "simulate")
    assert said(capsys, "verify-ledger") == "ok: no entries yet\n"
    assert "no decision in the ledger yet" in refused(capsys, "replay", "last")


def test_curtail__given_reported_and_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    event = ok(capsys, "curtail", "--percent", "25", "--minutes", "90", "--reason", "peak")["event"]
    assert (event["percent"], event["status"], event["origin"]) == (25.0, "scheduled", "operator")
    assert ok(capsys, "curtail", "--report", event["id"])["event"]["id"] == event["id"]
    assert ok(capsys, "curtail", "--cancel", event["id"])["event"]["status"] == "cancelled"


def test_curtail__prices_of_a_file__begins_by_the_file_s_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = ok(capsys, "cycle", "--source", f"csv:{write(tmp_path, 'prices.csv', PRICES)}")["at"]
    event = ok(capsys, "curtail", "--percent", "25", "--minutes", "90", "--reason", "peak")["event"]
    assert event["start"][:16] == newest[:16]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either import_kw"),
        (["--percent", "25", "--import-kw", "3"], "give either import_kw"),
        (["--percent", "250"], "percent is 250"),
        (["--percent", "25", "--minutes", "-3"], "--minutes is -3"),
        (["--percent", "25", "--minutes", "1e9"], "--minutes is 1e+09"),
        (["--percent", "25", "--start", "tomorrow"], "tomorrow is not a time with a zone"),
        (["--percent", "25", "--start", "2024-06-24T12:00:00"], "is not a time with a zone"),
        (["--percent", "25", "--start", "2199-12-31T23:59:59Z"], "at most 7 days ahead"),
        (["--percent", "25", "--start", "9999-12-31T23:59:59Z"], "is not of the years 1970 to 2199"),
        (["--percent", "25", "--start", "0001-01-01T00:00:00+14:00"], "+14:00 is not of the years 1970 to 2199"),
        (["--percent", "0"], "percent is 0, which leaves nothing out"),
        (["--report", "x"], "no curtailment 'x'"),
        (["--report", "x" * 20_000], f"no curtailment '{'x' * 40}': look"),
        (["--report", "x", "--cancel", "y"], "--report and --cancel do not go together"),
        (["--report", "x", "--author", "me"], "--report and --author do not go together"),
        (["--cancel", "x", "--minutes", "60"], "--cancel and --minutes do not go together"),
        (["--cancel", "x", "--percent", "1"], "--cancel and --percent do not go together"),
        (["--cancel", ""], "argument --cancel: it is empty"),
        (["--cancel", "x"], "curtailment 'x' is neither scheduled nor active"),
    ],
)
def test_curtail__bad_input__one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    ok(capsys, "cycle")
    assert said in refused(capsys, "curtail", *words)


def test_curtail__before_the_first_decision__refused_for_the_source_s_time_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "wait for the first cycle" in refused(capsys, "curtail", "--percent", "25")


def test_fleet_text__long_names_and_no_pilot__columns_stay_and_it_is_said() -> None:
    row = {"at": "2024-06-24T12:00:00Z", "soc_frac": 0.5, "pnl": 1.0, "price": 26.0, "price_unit": "EUR/MWh"}
    row |= {"margin_per_h": 3.0, "load_kw": 900.0, "control": "", "alarms": 0, "age_s": 7.0}
    sites = [{**row, "name": "N" * 40, "pilot": True}, {**row, "name": "Odessa", "pilot": False}]
    waiting = {"name": "M" * 18, "at": None, "trouble": "no decision yet"}
    head, *lines = texts.fleet({"hours": 24.0, "sites": [*sites, waiting], "moves": []}).splitlines()
    assert {line.index(word) for line, word in zip(lines, ("2024", "2024", "no dec"), strict=True)} == {
        head.index("decided")
    }
    assert lines[0].endswith("  7 s") and lines[1].endswith("  7 s, no pilot at work")


def test_simulate__more_fail_than_there_are__none_runs_and_none_is_owed(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    settings = load_settings()
    with Ledger.open(settings.database_url()) as ledger:
        gateway = open_gateway(load_site(settings.site_file()), ledger, None)
        assert isinstance(gateway, SimulatedGateway)
        gateway.inject(Faults(failed={"hydro": 10**30}), PilotState.load(ledger).present(datetime.now(UTC)))
        for seconds in (0.0, 30.0):
            now = PilotState.load(ledger).present(datetime.now(UTC) + timedelta(seconds=seconds))
            seen = gateway.read(now)
            assert seen.machines["hydro"] == 0
            assert seen.grid_kw is not None and seen.grid_kw > 0.0


def test_simulate__faults_until_the_next_ones(capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "cycle")
    body = ok(capsys, "simulate", "--failed", "hydro=3", "--heat-c", "30", "--soc-lost")
    assert (body["failed"], body["heat_c"], body["soc_lost"]) == ({"hydro": 3}, 30.0, True)
    assert ok(capsys, "simulate")["failed"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--failed", "toaster=3"], "toaster=3: expected a whole number of air, immersion, hydro, gpu"),
        (["--stuck", "hydro=1.5"], "hydro=1.5: expected a whole number"),
        (["--failed", "hydro=-1"], "hydro=-1: the site has 40 of them, expected 0 to 40"),
        (["--failed", "hydro=1e10"], "hydro=1e+10: the site has 40 of them, expected 0 to 40"),
        (["--stuck", "hydro=41"], "hydro=41: the site has 40 of them"),
        (["--cooling-frac", "3"], "--cooling-frac: 3 is not from 0 to 1"),
        (["--heat-c", "1e300"], "--heat-c: 1e300 is not from -50 to 200"),
        (["--import-kw", "-5"], "--import-kw: -5 is not from 0 to 1,000,000"),
        (["--soc-frac", "1e9"], "--soc-frac: 1e9 is not from -1 to 2"),
        (["--frequency-hz", "-1"], "--frequency-hz: -1 is not from 0 to 1,000"),
        (["--heat-c", "hot"], "invalid number value"),
        (["--failed", "hydro=3", "--failed", "hydro=4"], "--failed 'hydro' is given more than once"),
    ],
)
def test_simulate__bad_input__one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert said in refused(capsys, "simulate", *words)


def test_json__a_library_in_c_that_prints__goes_to_stderr_and_the_output_stays_json() -> None:
    said = "import ctypes, sys; from gridpilot import cli; libc = ctypes.CDLL(None); "
    said += "cli.studies._auction = lambda args: (libc.printf(b'from C\\n'), {'good': 1})[1]; "
    said += "sys.exit(cli.main(sys.argv[1:]))"
    words = ["auction", "--bids", "x.csv", "--capacity-kw", "1", "--json"]
    command = [sys.executable, "-c", said, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"good": 1}\n', "from C\n")
