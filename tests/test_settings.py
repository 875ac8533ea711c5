"""Settings that are wrong: one line that names the variable and what is expected, and no secret in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gridpilot.config import DATA, Settings, language_model, load_settings, load_site
from gridpilot.domain import Site
from gridpilot.errors import ConfigError
from gridpilot.market.http import Http
from gridpilot.market.source import open_source
from gridpilot.monitor.courier import receiver

ROOT = Path(__file__).resolve().parent.parent
BAD = (
    "htp://u:SECRETPW@127.0.0.1",
    "http://u:SECRETPW/PW@127.0.0.1:1",
    "http://u:12/SECRETPW@127.0.0.1",
    "http://u:SECRETPW@h:notaport",
    "http://u:SECRETPW@[::1",
    "http://u:SECRETPW@ho st",
    "SECRETPW",
    "",
)
SERVERS = (
    "GRIDPILOT_MARA_URL",
    "GRIDPILOT_ENERGY_CHARTS_URL",
    "GRIDPILOT_GRIDSTATUS_URL",
    "GRIDPILOT_MEMPOOL_URL",
)


@pytest.mark.parametrize("url", BAD)
@pytest.mark.parametrize("name", SERVERS)
def test_server__no_address__refused_by_name_and_not_repeated(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(ConfigError, match=f"^{name} is no address of a server: expected http://HOST or") as caught:
        load_settings()
    assert "SECRET" not in str(caught.value) and "PW" not in str(caught.value)


def test_server__password_in_its_address__taken_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://u:SECRETPW@relay.example:8443/mara"
    for name in SERVERS:
        monkeypatch.setenv(name, url)
    settings = load_settings()
    assert settings.mara_url == settings.mempool_url == url
    assert "SECRETPW" not in repr(settings) + repr(Http(url))


@pytest.mark.parametrize("url", BAD[:-1])
def test_webhook_and_language_model__no_address__not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Settings(alarm_webhook=SecretStr(url), alarm_webhook_secret=SecretStr("whsec_" + "a" * 32))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    for what, name in ((lambda: receiver(told), "GRIDPILOT_ALARM_WEBHOOK"), (lambda: language_model(told), "OPENAI")):
        with pytest.raises(ConfigError, match=f"^{name}.* is no (https )?address") as caught:
            what()
        assert "SECRET" not in str(caught.value) and "PW" not in str(caught.value)


@pytest.mark.parametrize("name", ["SOURCE", "SITE", "FLEET", "HEAD_FILE"])
def test_setting__empty__refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GRIDPILOT_{name}", " ")
    with pytest.raises(ConfigError, match=f"^GRIDPILOT_{name} is empty: give it a value, or unset it"):
        load_settings()


@pytest.mark.parametrize("at", ["9999-12-31T00:00:00Z", "0001-01-01T00:00:00+14:00", "2021-01-01T00:00:00Z"])
def test_replay_start__not_recorded__refused_by_name(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_REPLAY_START", at)
    with pytest.raises(ConfigError, match="GRIDPILOT_REPLAY_START"):
        open_source("replay", load_settings(), Site())


@pytest.mark.parametrize("spec", ["banana", "csv"])
def test_source__no_such_one__refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match="GRIDPILOT_SOURCE"):
        open_source(spec, Settings(), Site())


@pytest.mark.slow
def test_cycle__address_with_a_password_that_is_none__one_line_and_code_2(tmp_path: Path) -> None:
    told = {"GRIDPILOT_SOURCE": "mara", "GRIDPILOT_MARA_URL": BAD[1], "GRIDPILOT_DB_URL": f"sqlite:///{tmp_path}/a.db"}
    done = subprocess.run(
        [sys.executable, "-m", "gridpilot", "cycle", "--dry-run"],
        cwd=ROOT,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("gridpilot: GRIDPILOT_MARA_URL is no address")
    assert "PW" not in done.stderr


# --- the site file ---------------------------------------------------------------------------

HUGE = "1" + "0" * 400
HEX = "0x" + "f" * 6000
MACHINE = '[[machines]]\ntype = "x"\ncount = 1\npower_w = 1000\nrate = 1\nproduct = "hash"\n'
JOB = '[[jobs]]\nname = "j"\nenergy_kwh = 1\nmax_kw = 1\nvalue_usd_per_kwh = 1\ndeadline = '
EVENT = '[[curtailments]]\nname = "peak"\nat = "17:00"\nhours = 1\npercent = 20\n'
DAILY = (
    '[[jobs]]\nname = "training"\nenergy_kwh = 400\nmax_kw = 100\nvalue_usd_per_kwh = 0.5\ndaily_deadline = "18:00"\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[auction]\ncore = "no"', "[auction]: core is 'no', expected true or false"),
        ("[auction]\ncore = 0", "core is 0, expected true or false"),
        ('[[stress]]\nname = "s"\ntrip = 1', "trip is 1, expected true or false"),
        (f"[grid]\nimport_kw = {HUGE}", "... (401 characters), expected at most 10,000,000"),
        (f"[grid]\nimport_kw = {HEX}", "import_kw is a number of thousands of digits, expected at most 10,000,000"),
        (f"name = {HEX}", "name is a number of thousands of digits, expected text in quotes"),
        (MACHINE.replace("count = 1", f"count = {HUGE}"), "[[machines]] number 1: count is 1000"),
        (MACHINE.replace("1000", "1e308"), "power_w is 1e+308, expected at most 100,000,000"),
        (MACHINE.replace("rate = 1", "rate = 1e300"), "rate is 1e+300, expected at most 1,000,000,000"),
        (f"{MACHINE}demand_by_hour = [{HUGE}]", "demand_by_hour is 1000"),
        (f"{JOB}2024-06-01", "deadline is 2024-06-01, expected a time with a zone"),
        (f"{JOB}17:00:00", "expected a time with a zone"),
        (f"{JOB}2024-06-01T18:00:00", "deadline has no zone"),
        (f'{JOB}"9999-12-31T23:59:59-14:00"', "expected a time with a zone of the years 1970 to 2199"),
        (f"{JOB}9999-12-31T23:59:59-14:00", "expected a time with a zone of the years 1970 to 2199"),
        ("[auction]\ncaps_kw = [1]", "caps_kw is [1], expected a table of numbers"),
        (f"[auction]\ncaps_kw = {{ inference = {HUGE} }}", "caps_kw.inference is 1000"),
        ("[auction]\ncaps_kw = { inference = true }", "caps_kw.inference is True, expected a number"),
        (f"{EVENT}days = 1", "days is 1, expected a list of whole numbers, one at least"),
        (f"{EVENT}days = []", "days is [], expected a list of whole numbers, one at least"),
        (f"{EVENT}days = [true]", "days is [True], expected a list of whole numbers"),
        (f"{EVENT}days = [7]", "expected 0 (Monday) to 6"),
        (EVENT + EVENT, "curtailments with the same name: peak"),
        (EVENT.replace("20", "0"), "percent is 0, which leaves nothing out"),
        ("[simulation]\non_s = 1e300", "on_s is 1e+300, expected at most"),
        ("[simulation]\noff_s = 1e6", "simulation.off_s is 1000000: expected a number from 0 to 3600"),
        ("[grid]\nimport_kw = 1e308", "import_kw is 1e+308, expected at most 10,000,000"),
        ("[grid]\nimport_kw = nan", "import_kw is nan, expected a number"),
        ("[grid]\nimport_kw = -1", "import_kw is -1: expected a number from 0 up"),
        ("[prices]\ntoken_usd_per_mtok = 1e300", "token_usd_per_mtok is 1e+300, expected at most 1,000,000"),
        ("[prices]\nfloor_usd_per_mwh = -1e300", "floor_usd_per_mwh is -1e+300, expected no less than -1,000,000"),
        ("[reserve]\nup_usd_per_mw_h = 1e300", "up_usd_per_mw_h is 1e+300, expected at most 1,000,000"),
        (f"{EVENT}name = 1".replace('name = "peak"\n', ""), "name is 1, expected text in quotes"),
        (f"country = '{'N' * 5000}'", "... (5002 characters), expected text in quotes, of at most 300 characters"),
        ('[prices]\ntoken_unit = "EUR/t"', "token_unit is 'EUR/t': expected 'USD/h per rate' or 'USD/Mtok'"),
        (f"timezone = '{'a' * 5000}'", "... (5002 characters), expected an IANA name"),
        *(
            (EVENT.replace("17:00", at), f"curtailment peak: at is '{at}', expected HH:MM")
            for at in ("17", "T17", "17:00:30.5", "17:00+05:00", "24:00", "7:30")
        ),
        *(
            (DAILY.replace("18:00", at), f"job training: daily_deadline is '{at}', expected HH:MM")
            for at in ("17", "24:00", "7:30", "07:5", " 07:30")
        ),
    ],
)
def test_site_file__no_such_value__one_line_that_names_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ") and said in told
    assert "\n" not in told and len(told) < 500 and "inf" not in told.replace("inference", "")


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.toml")), ids=lambda p: p.stem)
def test_site_file__of_ours__taken(path: Path) -> None:
    if path.name != "ten.toml":
        load_site(path)
