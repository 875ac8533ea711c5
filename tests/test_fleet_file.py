"""The fleet file: what it may say, and one clear line for what it may not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridpilot.config import DATA, Settings, load_site
from gridpilot.errors import ConfigError
from gridpilot.fleetfile import load_fleet
from gridpilot.market.source import open_source
from gridpilot.supervise import fleet as programs

TEN = DATA / "fleet" / "ten.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path


BAD_LEDGERS = [
    ("${NOT_SET}", "names a variable that is not set"),
    ("sqlite:///${NOT_SET}/a.db", "names a variable that is not set"),
    ("sqlite:///$NOT_SET/a.db", r"has a \$ that begins no variable: write one as \$\{NAME\}"),
    ("$HOME/a.db", r"has a \$ that begins no variable"),
    ("${HOME", r"has a \$ that begins no variable"),
    ("postgresql://me:SECRETPW${HOME@db/x", r"has a \$ that begins no variable"),
    ("postgresql+psycopg:/me:SECRETPW@db/x", "is not a database URL"),
    ("postgresql+psycopg//me:SECRETPW@db/x", "is not a database URL"),
    ("postgresql+psycopg://me:SECRETPW@db:notaport/x", "is not a database URL"),
    ("mysql://me:SECRETPW@db/x", "is not a database URL"),
    ("postgresql://me:SECRET@PW@db/x", "has an @ inside its password"),
    ("sqlite://", "a ledger in memory"),
    ("a" * 5000, "cannot be read: File name too long"),
    ("a\\u0000b.db", "a character that no file's name has"),
    ("/dev/null", "is a folder or a device"),
    (".", "is a folder or a device"),
]


@pytest.mark.parametrize(("ledger", "says"), BAD_LEDGERS)
def test_fleet_file__ledger_that_is_none__refused_by_the_site_s_name_without_a_secret(
    ledger: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=rf"site 'A': its ledger.* {says}|site 'A': its ledger: {says}") as caught:
        load_fleet(write(tmp_path, f'[[sites]]\nname = "A"\nledger = "{ledger}"'))
    said = str(caught.value)
    assert "\n" not in said and len(said) < 400 and "SECRET" not in said and "PW" not in said


def test_fleet_file__dollar_within_a_password__left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "p$HOME")
    site = load_fleet(write(tmp_path, '[[sites]]\nname = "A"\nledger = "postgresql://me:a$HOME${SECRET}@db/x"'))[0]
    assert site.ledger.get_secret_value() == "postgresql://me:a$HOMEp$HOME@db/x"


def test_fleet_file__one_ledger_in_two_spellings__refused(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "link.db").symlink_to(folder / "a.db")
    (tmp_path / "way").symlink_to(folder)
    for other in ("../f/a.db", f"sqlite:////{folder}//a.db", "link.db", "../way/a.db", "./a.db"):
        text = f'[[sites]]\nname = "A"\nledger = "a.db"\n[[sites]]\nname = "B"\nledger = "{other}"'
        with pytest.raises(ConfigError, match="site 'B' has the ledger of another"):
            load_fleet(write(folder, text))
    servers = ("postgresql://me:SECRETPW@db/x", "postgresql+psycopg://you@DB:5432/x")
    text = "".join(f'[[sites]]\nname = "{n}"\nledger = "{url}"\n' for n, url in zip("AB", servers, strict=True))
    with pytest.raises(ConfigError, match="site 'B' has the ledger of another") as caught:
        load_fleet(write(folder, text))
    assert "SECRETPW" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("replay:NOPE", "replay:NOPE is not recorded"),
        ("banana:xyz", "is 'banana:xyz': expected one of"),
        ("", "is '': expected one of"),
        ("energy-charts:nowhere at all", "expected a bidding zone"),
        ("gridstatus:mars/HB", "expected gridstatus:ISO/LOCATION"),
    ],
)
def test_fleet_file__source_that_is_none__refused_as_cycle_does(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"site 'A': .*{says}"):
        load_fleet(write(tmp_path, f'[[sites]]\nname = "A"\nsource = "{source}"\nledger = "a.db"'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"a = {'[' * 5000}", "is nested too deeply"),
        (f"a = {'1' * 5000}", "cannot be read: Exceeds the limit"),
        ('[[sites]]\nname = "A"\nsite = "a\\u0000b.toml"', "cannot be read: embedded null byte"),
        ('[[sites]]\nname = "A"\n[[sites]]\nname = "\uff41"\nledger = "a.db"', "has the name of another"),
        ("", r"at least one \[\[sites\]\] table"),
        ("sites = 3", r"at least one \[\[sites\]\] table"),
        ("[[sites]]", "number 1: name is ''"),
        ('[[sites]]\nname = "A"\nsource = 3', "source is 3, expected text in quotes"),
        ('[[sites]]\nname = "A"\nrun = "no"', "run is 'no', expected true or false"),
        ('[[sites]]\nname = "A"\nurl = "x"', "unknown key 'url'; expected one of ledger, name"),
        ('[[sites]]\nname = "A"\n[[sites]]\nname = "A"\nledger = "a.db"', "'A' has the name of another"),
        ('[[sites]]\nname = "A"\nledger = "a.db"\n[[sites]]\nname = "B"\nledger = "a.db"', "the ledger of another"),
        ('[[sites]]\nname = "A"\nsite = "gone.toml"', "gone.toml does not exist"),
        ('replay_start = 2022-12-23\n[[sites]]\nname = "A"', "expected a time with a zone"),
        ("[[sites", "is not valid TOML"),
        (f'[[sites]]\nname = "{"A" * 41}"', "expected 1 to 40 printable characters"),
    ],
)
def test_fleet_file__what_is_wrong__said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_fleet(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_fleet_file__missing__says_that_it_is_the_fleet_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fleet file .*gone\.toml does not exist"):
        load_fleet(tmp_path / "gone.toml")


def test_fleet_file__site_file_of_another_name__refused(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('name = "B"')
    with pytest.raises(ConfigError, match=r"site 'A': its site file is of 'B'"):
        load_fleet(write(tmp_path, '[[sites]]\nname = "A"\nsite = "b.toml"'))


def test_fleet_file__ledgers__beside_it_by_url_or_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / "data"))
    text = """
    [[sites]]
    name = "A"
    ledger = "a.db"
    [[sites]]
    name = "B"
    ledger = "postgresql://me:${SECRET}@db/b"
    [[sites]]
    name = "Corpus Christi"
    """
    first, second, third = load_fleet(write(tmp_path, text))
    assert first.ledger.get_secret_value() == f"sqlite:///{tmp_path / 'a.db'}"
    assert second.ledger.get_secret_value() == "postgresql://me:hunter2@db/b"
    assert third.ledger.get_secret_value() == f"sqlite:///{tmp_path / 'data' / 'fleet' / 'corpus-christi.db'}"
    assert "hunter2" not in repr((first, second, third))


def test_fleet_file__secret_that_is_not_set__refused_without_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    path = write(tmp_path, '[[sites]]\nname = "A"\nledger = "postgresql://me:hunter2@${NOT_SET}/b"')
    with pytest.raises(ConfigError, match="names a variable that is not set") as caught:
        load_fleet(path)
    assert "hunter2" not in str(caught.value)


def test_examples__ten_sites__real_places_each_with_a_source_that_can_be_opened() -> None:
    sites = load_fleet(TEN)
    assert len(sites) == 10 and len({site.name for site in sites}) == 10
    for entry in sites:
        assert entry.site is not None
        site = load_site(entry.site)
        assert (site.latitude, site.longitude) != (0.0, 0.0)
        if not entry.source.startswith("gridstatus"):  # which wants a key at once
            assert open_source(entry.source, entry.settings(Settings()), site).simulated == entry.run
    assert [s.source for s in sites if s.run] == [
        "replay",
        *(f"replay:ERCOT/HB_{hub}" for hub in ("WEST", "NORTH", "HOUSTON", "SOUTH", "PAN")),
    ]


def test_site_settings__from_the_console_s__own_ledger_source_and_clock() -> None:
    odessa = load_fleet(TEN)[1]
    found = odessa.settings(Settings(source="replay", head_file=Path("head"), refit=False))
    assert found.source == "replay:ERCOT/HB_WEST" and found.head_file is None and not found.refit
    assert found.database_url().endswith("fleet/odessa.db")
    assert found.replay_start == datetime(2022, 12, 23, 20, tzinfo=UTC)


def test_up__fleet__three_processes_a_site_and_the_console_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRIDPILOT_HEAD_FILE", raising=False)
    console, *rest = programs(TEN, 8501)
    first = load_fleet(TEN)[0].ledger.get_secret_value()
    assert console.environment["GRIDPILOT_DB_URL"] == first
    assert console.environment["GRIDPILOT_FLEET"] == str(TEN)
    assert console.environment["GRIDPILOT_NO_PILOT"] == "1"
    assert len(rest) == 3 * 6
    assert [p.name for p in rest[:3]] == ["pilot of Rotterdam", "watchdog of Rotterdam", "watch of Rotterdam"]
    assert len({p.environment["GRIDPILOT_DB_URL"] for p in rest}) == 6


def test_up__fleet_that_cannot_run_here__said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="every site has run = false"):
        programs(write(tmp_path, '[[sites]]\nname = "A"\nrun = false'), 8501)
    monkeypatch.setenv("GRIDPILOT_HEAD_FILE", "head")
    with pytest.raises(ConfigError, match="GRIDPILOT_HEAD_FILE is one ledger's"):
        programs(TEN, 8501)
    monkeypatch.delenv("GRIDPILOT_HEAD_FILE")
    monkeypatch.setenv("GRIDPILOT_SITE", "mine.toml")
    with pytest.raises(ConfigError, match="GRIDPILOT_SITE is one site's"):
        programs(write(tmp_path, '[[sites]]\nname = "A"'), 8501)
    assert programs(TEN, 8501), "each of these has a file of its own"
